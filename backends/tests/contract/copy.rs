//! copy: a data directory that is a folder, or a mount point, on whatever file system.

use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use zeebe_snap_backends::{SnapName, Volume};

use crate::attempt::Attempt;
use crate::site::{ODD, Site, furnish, run};
use crate::snapshots::{label, take};
use crate::{Fixture, snap};

mod on_ext4 {
    contract!(super::Folder<super::Ext4>);
}

mod on_xfs {
    contract!(super::Folder<super::Xfs>);
}

mod on_btrfs {
    contract!(super::Folder<super::Btrfs>);
}

mod on_a_subvolume {
    contract!(super::Subvolume);
}

/// What takes the place of a subvolume is one.
#[test]
fn a_subvolume_stays_one() {
    let fixture = Subvolume::fresh();
    let name = snap("zeebe-snap-1");
    take(&*fixture.volume(), &name, &label("1"));
    let volume = fixture.volume();
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    attempt.swap();
    run("btrfs", &[&"subvolume", &"show", &fixture.data()]);
}

mod mounted_ext4 {
    contract!(super::Mounted<super::Ext4>);
}

mod mounted_xfs {
    contract!(super::Mounted<super::Xfs>);
}

mod bound {
    contract!(super::Bound);
}

/// A kind of file system.
trait Kind {
    const NAME: &'static str;
    /// What is in the root of one, and not the data's.
    const IN_ROOT: &'static [&'static str] = &[".zeebe-snap"];
}

struct Ext4;

impl Kind for Ext4 {
    const NAME: &'static str = "ext4";
    const IN_ROOT: &'static [&'static str] = &[".zeebe-snap", "lost+found"];
}

struct Xfs;

impl Kind for Xfs {
    const NAME: &'static str = "xfs";
}

struct Btrfs;

impl Kind for Btrfs {
    const NAME: &'static str = "btrfs";
}

/// A folder among others.
struct Folder<K> {
    site: Site,
    data: PathBuf,
    kind: PhantomData<K>,
}

impl<K: Kind> Fixture for Folder<K> {
    const DRIVER: &'static str = "copy";
    const CAPABILITIES: &'static [&'static str] = &["rollback"];

    fn fresh() -> Folder<K> {
        let site = Site::new();
        let data = site.mounted(K::NAME, "mnt").join(ODD);
        furnish(data.parent().unwrap());
        fs::create_dir(&data).unwrap();
        let kind = PhantomData;
        Folder { site, data, kind }
    }

    fn site(&self) -> &Site {
        &self.site
    }

    fn data(&self) -> &Path {
        &self.data
    }

    fn another(&self) -> PathBuf {
        let another = self.data.with_file_name("another");
        fs::create_dir(&another).unwrap();
        another
    }

    fn elsewhere(&self) -> Vec<PathBuf> {
        vec![self.site.dir().join("missing/data")]
    }

    fn strangers(&self, volume: &dyn Volume) -> Vec<SnapName> {
        strangers(volume)
    }
}

/// A subvolume among others, of which no snapshots are to be taken.
struct Subvolume(Folder<Btrfs>);

impl Fixture for Subvolume {
    const DRIVER: &'static str = "copy";
    const CAPABILITIES: &'static [&'static str] = &["rollback"];

    fn fresh() -> Subvolume {
        let folder = Folder::fresh();
        fs::remove_dir(&folder.data).unwrap();
        run("btrfs", &[&"subvolume", &"create", &folder.data]);
        Subvolume(folder)
    }

    fn site(&self) -> &Site {
        self.0.site()
    }

    fn data(&self) -> &Path {
        self.0.data()
    }

    fn another(&self) -> PathBuf {
        self.0.another()
    }

    fn elsewhere(&self) -> Vec<PathBuf> {
        self.0.elsewhere()
    }

    fn strangers(&self, volume: &dyn Volume) -> Vec<SnapName> {
        strangers(volume)
    }
}

/// The root of a file system.
struct Mounted<K> {
    site: Site,
    data: PathBuf,
    kind: PhantomData<K>,
}

impl<K: Kind> Fixture for Mounted<K> {
    const DRIVER: &'static str = "copy";
    const CAPABILITIES: &'static [&'static str] = &["rollback"];
    const LEAVES_OUT: &'static [&'static str] = K::IN_ROOT;

    fn fresh() -> Mounted<K> {
        let site = Site::new();
        let data = site.mounted(K::NAME, Path::new("mnt").join(ODD));
        furnish(data.parent().unwrap());
        let kind = PhantomData;
        Mounted { site, data, kind }
    }

    fn site(&self) -> &Site {
        &self.site
    }

    fn data(&self) -> &Path {
        &self.data
    }

    fn another(&self) -> PathBuf {
        self.site.mounted(K::NAME, "another")
    }

    fn elsewhere(&self) -> Vec<PathBuf> {
        vec![self.site.dir().join("missing/data")]
    }

    fn strangers(&self, volume: &dyn Volume) -> Vec<SnapName> {
        strangers(volume)
    }
}

/// A folder that is mounted at another place.
struct Bound {
    site: Site,
    data: PathBuf,
}

impl Fixture for Bound {
    const DRIVER: &'static str = "copy";
    const CAPABILITIES: &'static [&'static str] = &["rollback"];
    const LEAVES_OUT: &'static [&'static str] = Ext4::IN_ROOT;

    fn fresh() -> Bound {
        let site = Site::new();
        let top = site.mounted(Ext4::NAME, "top");
        furnish(&top);
        let it = top.join("größe");
        fs::create_dir(&it).unwrap();
        let data = site.mount(&it, "bind", Path::new("mnt").join(ODD));
        furnish(data.parent().unwrap());
        Bound { site, data }
    }

    fn site(&self) -> &Site {
        &self.site
    }

    fn data(&self) -> &Path {
        &self.data
    }

    fn another(&self) -> PathBuf {
        let another = self.site.dir().join("top/another");
        fs::create_dir(&another).unwrap();
        self.site.mount(&another, "bind", "another")
    }

    fn elsewhere(&self) -> Vec<PathBuf> {
        vec![self.site.dir().join("missing/data")]
    }

    fn strangers(&self, volume: &dyn Volume) -> Vec<SnapName> {
        strangers(volume)
    }
}

/// A folder of which nothing is written down, and one that is not the one of which it is.
fn strangers(volume: &dyn Volume) -> Vec<SnapName> {
    let [unlabelled, replaced] = ["zeebe-snap-unlabelled", "zeebe-snap-replaced"].map(snap);
    let make = |name: &SnapName| {
        let path = volume.view(name).path;
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), "somebody's").unwrap();
    };
    make(&unlabelled);
    take(volume, &replaced, &label("replaced"));
    fs::remove_dir_all(volume.view(&replaced).path).unwrap();
    make(&replaced);
    vec![unlabelled, replaced]
}
