//! zfs: a data directory that a dataset is mounted at, by its own property or by mount(8), or a folder in one.
//!
//! All of these tests are ignored where they are not asked for: few kernels have ZFS.

use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use zeebe_snap_backends::{SnapName, Volume};

use crate::apart::Cut;
use crate::site::{ODD, Site, answer, furnish, run};
use crate::{Fixture, Moves, snap};

#[path = "zfs/faults.rs"]
mod faults;
#[path = "zfs/own.rs"]
mod own;

/// The contract, for a layout.
macro_rules! zfs {
    ($($module:ident $layout:ident)*) => {
        $(mod $module {
            contract!(#[ignore = "needs a kernel with ZFS: scripts/vm has one"] super::Zfs<super::$layout>);
        })*
    };
}

zfs! {
    mount_point MountPoint
    inherited Inherited
    legacy Legacy
    folder Folder
    pool_root PoolRoot
}

/// Commands that change nothing.
const LOOKS: &[&str] = &["zfs get ", "zfs list ", "zfs holds ", "zpool list "];

struct Zfs<L> {
    site: Site,
    place: Place,
    layout: PhantomData<L>,
}

/// Where things are.
struct Place {
    pool: String,
    data: PathBuf,
    /// What is frozen.
    dataset: String,
}

trait Layout {
    const LEAVES_OUT: &'static [&'static str] = &[".zfs"];
    const MOVES: Moves = Moves::Volume;
    const CUT: Cut = Cut::Commands { looks: LOOKS };
    const TOGETHER: bool = false;
    fn make(site: &Site) -> Place;
    fn another(site: &Site, place: &Place) -> PathBuf;
}

impl<L: Layout> Fixture for Zfs<L> {
    const DRIVER: &'static str = "zfs";
    const CAPABILITIES: &'static [&'static str] = &["rollback", "stream", "hold", "joint"];
    const LEAVES_OUT: &'static [&'static str] = L::LEAVES_OUT;
    const MOVES: Moves = L::MOVES;
    const ALONE: bool = matches!(L::MOVES, Moves::Volume);
    const CUT: Cut = L::CUT;
    const TOGETHER: bool = L::TOGETHER;

    fn fresh() -> Zfs<L> {
        let site = Site::new();
        Zfs {
            place: L::make(&site),
            site,
            layout: PhantomData,
        }
    }

    fn site(&self) -> &Site {
        &self.site
    }

    fn data(&self) -> &Path {
        &self.place.data
    }

    fn another(&self) -> PathBuf {
        L::another(&self.site, &self.place)
    }

    fn place(&self, name: &str) -> String {
        format!("zfs:{}/around/{name} 1", self.site.pool())
    }

    fn elsewhere(&self) -> Vec<PathBuf> {
        let foreign = self.site.foreign();
        let folder = foreign.join("data");
        fs::create_dir(&folder).unwrap();
        vec![folder, foreign.join("missing"), foreign]
    }

    /// One with nothing, and one that says what only a snapshot of another dataset of ours says.
    fn strangers(&self, _: &dyn Volume) -> Vec<SnapName> {
        let [unlabelled, of_another] = ["zeebe-snap-unlabelled", "zeebe-snap-of-another"].map(snap);
        let at = |name: &SnapName| format!("{}@{name}", self.place.dataset);
        run("zfs", &[&"snapshot", &at(&unlabelled)]);
        let [label, of] = [
            "zeebe-snap:label={\"set\":\"1\"}",
            "zeebe-snap:of={\"1\":{}}",
        ];
        run(
            "zfs",
            &[&"snapshot", &"-o", &label, &"-o", &of, &at(&of_another)],
        );
        vec![unlabelled, of_another]
    }

    fn names(&self) -> Vec<String> {
        let all = [
            "list",
            "-H",
            "-r",
            "-t",
            "all",
            "-o",
            "name",
            &self.place.pool,
        ];
        let all = all
            .each_ref()
            .map(|word| word as &dyn AsRef<std::ffi::OsStr>);
        let all = answer("zfs", &all);
        // Bookmarks are left for good, one for each place.
        let all = all.lines().filter(|name| !name.contains('#'));
        all.map(str::to_owned).collect()
    }

    fn beside<T>(&self, name: &str, read: impl FnOnce(&Path) -> T) -> T {
        if L::MOVES != Moves::Volume {
            return read(&crate::around::folder(&self.site, self.data(), name));
        }
        let peek = Peek::of(&self.site, &self.beside_it(name));
        read(&peek.0)
    }

    fn move_beside(&self, name: &str, to: &str) {
        if L::MOVES != Moves::Volume {
            let path = crate::around::folder(&self.site, self.data(), name);
            return fs::rename(&path, path.with_file_name(to)).unwrap();
        }
        let [from, to] = [name, to].map(|name| self.beside_it(name));
        run("zfs", &[&"rename", &from, &to]);
    }

    fn make_beside(&self, other: &str, name: &str) {
        if L::MOVES != Moves::Volume {
            let path = crate::around::folder(&self.site, self.data(), other);
            return fs::create_dir(path.with_file_name(name)).unwrap();
        }
        let name = self.beside_it(name);
        run("zfs", &[&"create", &"-o", &"canmount=noauto", &name]);
    }

    fn remove_beside(&self, name: &str) {
        if L::MOVES != Moves::Volume {
            let path = crate::around::folder(&self.site, self.data(), name);
            return fs::remove_dir_all(path).unwrap();
        }
        run("zfs", &[&"destroy", &self.beside_it(name)]);
    }
}

impl<L> Zfs<L> {
    fn beside_it(&self, name: &str) -> String {
        format!("{}.{name}", self.place.dataset)
    }
}

/// A dataset, mounted for a look.
struct Peek(PathBuf);

impl Peek {
    fn of(site: &Site, dataset: &str) -> Peek {
        let at = site.dir().join("peek");
        fs::create_dir(&at).unwrap();
        let mountpoint = answer("zfs", &[&"get", &"-Hpo", &"value", &"mountpoint", &dataset]);
        let options = match mountpoint.trim() {
            "legacy" => "ro",
            _ => "ro,zfsutil",
        };
        run("mount", &[&"-t", &"zfs", &"-o", &options, &dataset, &at]);
        Peek(at)
    }
}

impl Drop for Peek {
    fn drop(&mut self) {
        run("umount", &[&self.0]);
        fs::remove_dir(&self.0).unwrap();
    }
}

fn create(options: &[&str], name: &str) {
    let mut words = vec!["create"];
    words.extend(options.iter().flat_map(|option| ["-o", option]));
    words.push(name);
    let words: Vec<_> = words
        .iter()
        .map(|word| word as &dyn AsRef<std::ffi::OsStr>)
        .collect();
    run("zfs", &words);
}

/// A dataset that says itself where it is mounted.
struct MountPoint;

impl Layout for MountPoint {
    fn make(site: &Site) -> Place {
        let pool = site.pool();
        let dataset = format!("{pool}/zeebe data_0:1.x-y");
        let data = site.dir().join("mnt").join(ODD);
        furnish(data.parent().unwrap());
        create(
            &[
                &format!("mountpoint={}", data.display()),
                "xattr=sa",
                "acltype=posix",
            ],
            &dataset,
        );
        Place {
            pool,
            data,
            dataset,
        }
    }

    fn another(site: &Site, place: &Place) -> PathBuf {
        let another = site.dir().join("another");
        let mountpoint = format!("mountpoint={}", another.display());
        create(
            &[&mountpoint, "acltype=posix"],
            &format!("{}/another", place.pool),
        );
        another
    }
}

/// A dataset that is mounted below the one around it, by its name.
struct Inherited;

impl Layout for Inherited {
    fn make(site: &Site) -> Place {
        let pool = site.pool();
        let around = format!("{pool}/around");
        let top = site.dir().join("mnt größe");
        create(
            &[&format!("mountpoint={}", top.display()), "acltype=posix"],
            &around,
        );
        furnish(&top);
        let dataset = format!("{around}/data 0");
        create(&[], &dataset);
        Place {
            pool,
            data: top.join("data 0"),
            dataset,
        }
    }

    fn another(site: &Site, place: &Place) -> PathBuf {
        create(&[], &format!("{}/around/another", place.pool));
        site.dir().join("mnt größe/another")
    }
}

/// A dataset that mount(8) mounts.
struct Legacy;

impl Layout for Legacy {
    fn make(site: &Site) -> Place {
        let pool = site.pool();
        let dataset = format!("{pool}/data");
        create(&["mountpoint=legacy", "acltype=posix"], &dataset);
        let at = Path::new("mnt").join(ODD);
        let data = site.mount_as("zfs", Path::new(&dataset), "rw,noatime", at);
        furnish(data.parent().unwrap());
        Place {
            pool,
            data,
            dataset,
        }
    }

    fn another(site: &Site, place: &Place) -> PathBuf {
        let another = format!("{}/another", place.pool);
        create(&["mountpoint=legacy", "acltype=posix"], &another);
        site.mount_as("zfs", Path::new(&another), "rw", "another")
    }
}

/// A folder far down in a dataset; another one right in it.
struct Folder;

impl Layout for Folder {
    const LEAVES_OUT: &'static [&'static str] = &[];
    const MOVES: Moves = Moves::Name;
    const CUT: Cut = Cut::CommandsAndOwnCalls { looks: LOOKS };
    const TOGETHER: bool = true;

    fn make(site: &Site) -> Place {
        let pool = site.pool();
        let dataset = format!("{pool}/zeebe");
        let top = site.dir().join("mnt");
        create(
            &[&format!("mountpoint={}", top.display()), "acltype=posix"],
            &dataset,
        );
        furnish(&top);
        let data = top.join(ODD);
        furnish(data.parent().unwrap());
        fs::create_dir(&data).unwrap();
        Place {
            pool,
            data,
            dataset,
        }
    }

    fn another(site: &Site, _: &Place) -> PathBuf {
        let another = site.dir().join("mnt/another");
        fs::create_dir(&another).unwrap();
        another
    }
}

/// The dataset of a pool itself, which cannot be renamed.
struct PoolRoot;

impl Layout for PoolRoot {
    const LEAVES_OUT: &'static [&'static str] = &[".zeebe-snap", ".zfs"];
    const MOVES: Moves = Moves::Entries;
    const CUT: Cut = Cut::CommandsAndOwnCalls { looks: LOOKS };

    fn make(site: &Site) -> Place {
        let pool = site.pool();
        let data = site.dir().join("mnt").join(ODD);
        furnish(data.parent().unwrap());
        run("zfs", &[&"set", &"acltype=posix", &pool]);
        run(
            "zfs",
            &[&"set", &format!("mountpoint={}", data.display()), &pool],
        );
        Place {
            dataset: pool.clone(),
            pool,
            data,
        }
    }

    /// A dataset in it would be mounted in the data.
    fn another(site: &Site, _: &Place) -> PathBuf {
        let pool = site.pool();
        let data = site.dir().join("another");
        run("zfs", &[&"set", &"acltype=posix", &pool]);
        run(
            "zfs",
            &[&"set", &format!("mountpoint={}", data.display()), &pool],
        );
        data
    }
}
