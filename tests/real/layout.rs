//! Where the data directories lie, and what the program leaves on disk there.
//! Must not know what is in a data directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::rig::{Kind, Rig, tool};

/// How the data directories of a cluster lie. In each, broker N's is `broker-N/data` below the rig's `mnt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Btrfs subvolumes inside a bigger mount.
    Subvolumes,
    /// Folders of one file system that has no snapshots.
    Folders(Kind),
    /// Mount points: broker 0's is an ext4, broker 1's an xfs, broker 2's a subvolume of a btrfs that is mounted by `subvol=`.
    MountPoints,
    /// Folders of one btrfs subvolume, beside other things. Broker 1's is named by a symbolic link.
    SharedSubvolume,
    /// Each on what has snapshots of its own, or has none.
    Volumes([Held; 3]),
}

/// What holds a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A ZFS dataset that is mounted there.
    Dataset,
    /// A thin logical volume with xfs that is mounted there.
    Thin,
    /// A folder of an ext4.
    Folder,
}

/// The data directories of a cluster.
#[derive(Debug)]
pub struct Place {
    layout: Layout,
    dir: PathBuf,
}

impl Place {
    /// Makes the file systems and empty data directories.
    pub fn create(rig: &Rig, layout: Layout) -> Place {
        let place = Place {
            layout,
            dir: rig.dir().to_owned(),
        };
        let root = place.root();
        match layout {
            Layout::Subvolumes => {
                rig.mount(&rig.disk("disk", Kind::Btrfs), "loop", &root);
                for broker in 0..3 {
                    fs::create_dir(root.join(format!("broker-{broker}"))).unwrap();
                    create_subvolume(&place.data(broker));
                }
            }
            Layout::Folders(kind) => {
                rig.mount(&rig.disk("disk", kind), "loop", &root);
                for broker in 0..3 {
                    fs::create_dir_all(place.data(broker)).unwrap();
                }
            }
            Layout::MountPoints => {
                rig.mount(&rig.disk("disk-0", Kind::Ext4), "loop", &place.data(0));
                rig.mount(&rig.disk("disk-1", Kind::Xfs), "loop", &place.data(1));
                let btrfs = rig.disk("disk-2", Kind::Btrfs);
                rig.mount(&btrfs, "loop", &place.data(2));
                create_subvolume(&place.data(2).join("@zeebe"));
                tool(Command::new("umount").arg(place.data(2)));
                rig.mount(&btrfs, "loop,subvol=@zeebe", &place.data(2));
            }
            Layout::SharedSubvolume => {
                rig.mount(&rig.disk("disk", Kind::Btrfs), "loop", &root);
                for broker in 0..3 {
                    fs::create_dir_all(place.data(broker)).unwrap();
                }
                symlink(place.data(1), place.link()).unwrap();
            }
            Layout::Volumes(held) => {
                let name = rig.volumes();
                for (broker, held) in held.into_iter().enumerate() {
                    place.hold(rig, &name, broker, held);
                }
            }
        }
        place
    }

    /// Makes what holds a broker's data, in the pool and the volume group of that name.
    fn hold(&self, rig: &Rig, name: &str, broker: usize, held: Held) {
        let (data, volume) = (self.data(broker), format!("data-{broker}"));
        match held {
            Held::Dataset => {
                let mountpoint = format!("mountpoint={}", data.display());
                let dataset = format!("{name}/{volume}");
                tool(Command::new("zfs").args(["create", "-o", &mountpoint, &dataset]));
            }
            Held::Thin => {
                let thin = ["-T", &format!("{name}/pool"), "-V", "1G", "-n", &volume];
                tool(Command::new("lvcreate").args(["-q", "-y"]).args(thin));
                let device = PathBuf::from(format!("/dev/{name}/{volume}"));
                tool(Command::new("mkfs.xfs").arg("-q").arg(&device));
                rig.mount(&device, "rw", &data);
            }
            Held::Folder => {
                let disk = rig.disk(&format!("disk-{broker}"), Kind::Ext4);
                rig.mount(&disk, "loop", data.parent().unwrap());
                fs::create_dir(data).unwrap();
            }
        }
    }

    /// Where all of it is mounted.
    pub fn root(&self) -> PathBuf {
        self.dir.join("mnt")
    }

    /// A broker's data directory itself.
    pub fn data(&self, broker: usize) -> PathBuf {
        self.root().join(format!("broker-{broker}/data"))
    }

    /// A broker's data directory as the admin names it, to the broker and to the program.
    pub fn named(&self, broker: usize) -> PathBuf {
        match (self.layout, broker) {
            (Layout::SharedSubvolume, 1) => self.link(),
            _ => self.data(broker),
        }
    }

    /// The symbolic link to broker 1's data directory.
    pub fn link(&self) -> PathBuf {
        self.dir.join("data-1")
    }

    /// The folder that a broker's snapshots are in.
    pub fn store(&self, broker: usize) -> PathBuf {
        match self.layout {
            Layout::Subvolumes | Layout::Folders(_) => {
                self.data(broker).with_file_name(".zeebe-snap/data")
            }
            Layout::MountPoints => self.data(broker).join(".zeebe-snap"),
            // That of a folder; the others' are in the volume itself.
            Layout::Volumes(_) => self.data(broker).with_file_name(".zeebe-snap/data"),
            Layout::SharedSubvolume => self.root().join(".zeebe-snap"),
        }
    }

    /// A broker's snapshot of the set.
    pub fn snapshot(&self, broker: usize, set: &str) -> PathBuf {
        self.store(broker).join(format!("zeebe-snap-{set}"))
    }

    /// All the program's folders that there are.
    pub fn stores(&self) -> Vec<PathBuf> {
        // Brokers make and remove files meanwhile.
        let what = "-ignore_readdir_race -name .zeebe-snap -prune";
        let find = tool(Command::new("find").arg(self.root()).args(what.split(' ')));
        find.lines().map(PathBuf::from).collect()
    }

    /// How many bytes are free where a broker's data is.
    pub fn free(&self, broker: usize) -> u64 {
        let stat = nix::sys::statvfs::statvfs(&self.data(broker)).unwrap();
        stat.blocks_free() * stat.fragment_size()
    }

    /// Waits until what is deleted there has given its room back, as far as there is a command that waits.
    pub fn settle(&self, broker: usize) {
        let at = self.data(broker);
        // Elsewhere than on btrfs it fails, and there is nothing to wait for.
        let mut btrfs = Command::new("btrfs");
        btrfs.args(["subvolume", "sync"]).arg(&at).output().unwrap();
        tool(Command::new("sync").arg("-f").arg(&at));
    }

    /// Deletes a broker's data directory, or what is in it where it is a mount point.
    pub fn lose(&self, broker: usize) {
        let data = self.data(broker);
        match self.layout {
            Layout::Subvolumes => {
                tool(
                    Command::new("btrfs")
                        .args(["subvolume", "delete"])
                        .arg(&data),
                );
            }
            Layout::Folders(_) | Layout::SharedSubvolume => fs::remove_dir_all(&data).unwrap(),
            Layout::MountPoints | Layout::Volumes(_) => return self.lose_contents(broker),
        }
        assert!(!data.exists());
    }

    /// Deletes what the broker has in its data directory.
    pub fn lose_contents(&self, broker: usize) {
        for entry in fs::read_dir(self.data(broker)).unwrap() {
            let entry = entry.unwrap();
            if [".zeebe-snap", "lost+found"].contains(&entry.file_name().to_str().unwrap()) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                fs::remove_dir_all(entry.path()).unwrap();
            } else {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

fn create_subvolume(path: &Path) {
    tool(
        Command::new("btrfs")
            .args(["subvolume", "create"])
            .arg(path),
    );
}
