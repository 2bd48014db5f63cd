//! lvm: a data directory that is the mount point of its own thin volume, or a folder on one; and the mount point of a volume
//! that is not thin.

use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use zeebe_snap_backends::{SnapName, Volume};

use crate::apart::Cut;
use crate::site::{ODD, Site, answer, furnish, run};
use crate::snapshots::{label, take};
use crate::{Fixture, Moves, snap};

#[path = "lvm_faults.rs"]
mod faults;
#[path = "lvm_streams.rs"]
mod streams;

mod thin_xfs {
    contract!(#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"] super::Whole<super::Xfs>);
}

mod thin_ext4 {
    contract!(#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"] super::Whole<super::Ext4>);
}

mod thin_folder {
    contract!(
        #[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
        super::Folder
    );
}

mod thick_ext4 {
    contract!(
        #[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
        super::Thick
    );
}

/// How commands begin that change nothing.
const LOOKS: &[&str] = &[
    "lvs ",
    "vgs ",
    "lvmconfig ",
    "dmsetup status ",
    "thin_delta ",
    "thin_dump ",
    "blkid ",
];

/// The journal of a new file system is zero, and is mapped.
const JOURNAL: u64 = 80 << 20;

/// A kind of file system.
trait Kind {
    const NAME: &'static str;
    /// What is in the root of one, and not the data's.
    const IN_ROOT: &'static [&'static str];
    /// How one is looked at that has the uuid of another.
    const READ: &'static str;
}

struct Xfs;

impl Kind for Xfs {
    const NAME: &'static str = "xfs";
    const IN_ROOT: &'static [&'static str] = &[];
    const READ: &'static str = "ro,norecovery,nouuid";
}

struct Ext4;

impl Kind for Ext4 {
    const NAME: &'static str = "ext4";
    const IN_ROOT: &'static [&'static str] = &["lost+found"];
    const READ: &'static str = "ro,noload";
}

/// A thin pool for most of the group.
fn pool(group: &str, chunk: &str) {
    let pool = format!("{group}/pool");
    run(
        "lvcreate",
        &[&"-q", &"-y", &"-l", &"85%FREE", &"-c", &chunk, &"-T", &pool],
    );
}

/// A volume group, with a thin pool or without.
struct Group {
    site: Site,
    name: String,
    is_thin: bool,
}

impl Group {
    fn thick() -> Group {
        let site = Site::new();
        let name = site.group();
        Group {
            site,
            name,
            is_thin: false,
        }
    }

    fn thin() -> Group {
        Group::thick().with_pool()
    }

    fn with_pool(self) -> Group {
        pool(&self.name, "64k");
        Group {
            is_thin: true,
            ..self
        }
    }

    /// A place in a pool of another group, with larger chunks.
    fn place(&self, name: &str) -> String {
        let group = self.site.group();
        pool(&group, "256k");
        format!("lvm:{group}/pool/{name}-1")
    }

    fn lv(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    fn node(&self, name: &str) -> PathBuf {
        Path::new("/dev").join(&self.name).join(name)
    }

    /// A new volume.
    fn volume(&self, name: &str, size: &str) {
        let pool = self.lv("pool");
        match self.is_thin {
            true => run(
                "lvcreate",
                &[&"-q", &"-y", &"-V", &size, &"-T", &pool, &"-n", &name],
            ),
            false => run(
                "lvcreate",
                &[&"-q", &"-y", &"-L", &size, &"-n", &name, &self.name],
            ),
        }
    }

    /// A new one with a file system of `kind` on it, mounted.
    fn mounted(&self, name: &str, kind: &str, at: impl AsRef<Path>) -> PathBuf {
        // Room for two, and for what changes.
        let size = if self.is_thin { "400m" } else { "140m" };
        self.volume(name, size);
        let node = self.node(name);
        run(&format!("mkfs.{kind}"), &[&"-q", &node]);
        self.site.mount(&node, "noatime", at)
    }

    /// All there are, and what is written on them but for what they belong to.
    fn names(&self) -> Vec<String> {
        let words: [&dyn AsRef<std::ffi::OsStr>; 6] = [
            &"--noheadings",
            &"-o",
            &"lv_name,lv_tags",
            &"--separator",
            &" ",
            &self.name,
        ];
        let listed = answer("lvs", &words);
        let line = |line: &str| {
            let (name, tags) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            let tags = tags.split(',');
            let tags: Vec<&str> = tags
                .filter(|tag| !tag.starts_with("zeebe-snap.volume="))
                .collect();
            format!("{name} {}", tags.join(","))
        };
        listed.lines().map(line).collect()
    }

    /// The one that is called `name` by the program, which adds what it belongs to.
    fn called(&self, name: &str) -> String {
        let all = self.names();
        let names = all.iter().filter_map(|line| line.split(' ').next());
        let found: Vec<&str> = names
            .filter(|found| {
                found
                    .rsplit_once('.')
                    .is_some_and(|(first, _)| first == name)
            })
            .collect();
        let [found] = <[&str; 1]>::try_from(found).unwrap();
        found.to_owned()
    }

    fn remove(&self, name: &str) {
        run("lvremove", &[&"-q", &"-y", &self.lv(name)]);
    }

    /// A snapshot with nothing written on it, one in the place of ours, and one that can be written to.
    fn strangers(&self, volume: &dyn Volume) -> Vec<SnapName> {
        let [unlabelled, replaced, thawed] = [
            "zeebe-snap-unlabelled",
            "zeebe-snap-replaced",
            "zeebe-snap-thawed",
        ]
        .map(snap);
        for name in [&unlabelled, &replaced, &thawed] {
            take(volume, name, &label("of ours"));
        }
        for name in [&unlabelled, &replaced] {
            let lv = self.called(name.as_str());
            self.remove(&lv);
            match name == &unlabelled {
                true if self.is_thin => run(
                    "lvcreate",
                    &[&"-q", &"-y", &"-s", &"-n", &lv, &self.lv("data")],
                ),
                true => run(
                    "lvcreate",
                    &[
                        &"-q",
                        &"-y",
                        &"-s",
                        &"-L",
                        &"8m",
                        &"-n",
                        &lv,
                        &self.lv("data"),
                    ],
                ),
                false => self.volume(&lv, "4m"),
            }
        }
        let lv = self.lv(&self.called(thawed.as_str()));
        run("lvchange", &[&"-q", &"-prw", &lv]);
        vec![unlabelled, replaced, thawed]
    }

    fn elsewhere(&self) -> Vec<PathBuf> {
        let on_a_disk = self.site.mounted("ext4", "on a disk");
        let foreign = self.site.foreign();
        vec![
            on_a_disk.join("missing"),
            on_a_disk,
            foreign.join("missing"),
            foreign,
        ]
    }
}

/// All of a thin volume, at the data directory.
struct Whole<K> {
    group: Group,
    data: PathBuf,
    kind: PhantomData<K>,
}

impl<K: Kind> Whole<K> {
    fn on(group: Group) -> Whole<K> {
        let data = group.mounted("data", K::NAME, Path::new("mnt").join(ODD));
        furnish(data.parent().unwrap());
        let kind = PhantomData;
        Whole { group, data, kind }
    }
}

impl<K: Kind> Fixture for Whole<K> {
    const DRIVER: &'static str = "lvm";
    const CAPABILITIES: &'static [&'static str] = &["rollback", "stream"];
    const LEAVES_OUT: &'static [&'static str] = K::IN_ROOT;
    const MOVES: Moves = Moves::Volume;
    const ALONE: bool = true;
    const ZEROS: u64 = JOURNAL;
    const CUT: Cut = Cut::Commands { looks: LOOKS };

    fn fresh() -> Whole<K> {
        Whole::on(Group::thin())
    }

    fn site(&self) -> &Site {
        &self.group.site
    }

    fn data(&self) -> &Path {
        &self.data
    }

    fn another(&self) -> PathBuf {
        self.group.mounted("another", K::NAME, "another")
    }

    fn strangers(&self, volume: &dyn Volume) -> Vec<SnapName> {
        self.group.strangers(volume)
    }

    fn elsewhere(&self) -> Vec<PathBuf> {
        self.group.elsewhere()
    }

    fn place(&self, name: &str) -> String {
        self.group.place(name)
    }

    fn names(&self) -> Vec<String> {
        self.group.names()
    }

    fn beside<T>(&self, name: &str, read: impl FnOnce(&Path) -> T) -> T {
        let name = self.group.called(name);
        let (lv, at) = (self.group.lv(&name), self.site().dir().join("beside"));
        fs::create_dir(&at).unwrap();
        run("lvchange", &[&"-q", &"-ay", &"-K", &lv]);
        run("mount", &[&"-o", &K::READ, &self.group.node(&name), &at]);
        let said = read(&at);
        run("umount", &[&at]);
        run("lvchange", &[&"-q", &"-an", &lv]);
        fs::remove_dir(&at).unwrap();
        said
    }

    fn move_beside(&self, name: &str, to: &str) {
        let from = self.group.called(name);
        let to = from.replace(name, to);
        run("lvrename", &[&"-q", &self.group.name, &from, &to]);
    }

    fn make_beside(&self, other: &str, name: &str) {
        let other = self.group.called(other);
        let tail = other.rsplit_once('.').unwrap().1;
        self.group.volume(&format!("{name}.{tail}"), "4m");
    }

    fn remove_beside(&self, name: &str) {
        self.group.remove(&self.group.called(name));
    }
}

/// A folder among others on a thin volume.
struct Folder {
    group: Group,
    data: PathBuf,
}

impl Folder {
    fn on(group: Group) -> Folder {
        let data = group.mounted("data", "xfs", "mnt").join(ODD);
        furnish(data.parent().unwrap());
        fs::create_dir(&data).unwrap();
        Folder { group, data }
    }
}

impl Fixture for Folder {
    const DRIVER: &'static str = "lvm";
    const CAPABILITIES: &'static [&'static str] = &["rollback", "stream"];
    const ZEROS: u64 = JOURNAL;
    const CUT: Cut = Cut::CommandsAndOwnCalls { looks: LOOKS };
    const TOGETHER: bool = true;

    fn fresh() -> Folder {
        Folder::on(Group::thin())
    }

    fn site(&self) -> &Site {
        &self.group.site
    }

    fn data(&self) -> &Path {
        &self.data
    }

    fn another(&self) -> PathBuf {
        let another = self.data.with_file_name("another");
        fs::create_dir(&another).unwrap();
        another
    }

    fn strangers(&self, volume: &dyn Volume) -> Vec<SnapName> {
        self.group.strangers(volume)
    }

    fn elsewhere(&self) -> Vec<PathBuf> {
        self.group.elsewhere()
    }

    fn place(&self, name: &str) -> String {
        self.group.place(name)
    }

    fn names(&self) -> Vec<String> {
        self.group.names()
    }
}

/// All of a volume that is not thin, at the data directory.
struct Thick {
    group: Group,
    data: PathBuf,
}

impl Fixture for Thick {
    const DRIVER: &'static str = "lvm";
    const CAPABILITIES: &'static [&'static str] = &["rollback"];
    const LEAVES_OUT: &'static [&'static str] = &[".zeebe-snap", "lost+found"];
    const CUT: Cut = Cut::CommandsAndOwnCalls { looks: LOOKS };

    fn fresh() -> Thick {
        let group = Group::thick();
        let data = group.mounted("data", "ext4", Path::new("mnt").join(ODD));
        furnish(data.parent().unwrap());
        Thick { group, data }
    }

    fn site(&self) -> &Site {
        &self.group.site
    }

    fn data(&self) -> &Path {
        &self.data
    }

    fn another(&self) -> PathBuf {
        self.group.mounted("another", "ext4", "another")
    }

    fn strangers(&self, volume: &dyn Volume) -> Vec<SnapName> {
        self.group.strangers(volume)
    }

    fn elsewhere(&self) -> Vec<PathBuf> {
        self.group.elsewhere()
    }

    fn names(&self) -> Vec<String> {
        self.group.names()
    }
}
