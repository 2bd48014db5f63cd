//! btrfs: a data directory that is a subvolume inside a bigger mount, a mount point, or a folder beside others.

use std::ffi::OsStr;
use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::process::Command;

use zeebe_snap_backends::action::perform_all;
use zeebe_snap_backends::stream::pipe::Flow;
use zeebe_snap_backends::stream::{Agreement, Part, Point, Shipment, ship};
use zeebe_snap_backends::{Obstacle, Purpose, SnapName, Volume};

use crate::apart::Cut;
use crate::around::{no_trace, traces};
use crate::attempt::Attempt;
use crate::site::{ODD, Site, furnish, run};
use crate::snapshots::{label, take};
use crate::streams::Sides;
use crate::{Fixture, host, perform, snap, tree};

/// The contract, and what only btrfs must hold.
macro_rules! btrfs {
    ($($module:ident $layout:ident)*) => {
        $(mod $module {
            contract!(super::Btrfs<super::$layout>);

            #[test]
            fn a_nested_subvolume_is_in_the_way_of_a_capture() {
                super::a_nested_subvolume_is_in_the_way_of_a_capture::<super::$layout>();
            }

            #[test]
            fn a_nested_subvolume_is_kept_with_what_is_replaced() {
                super::a_nested_subvolume_is_kept_with_what_is_replaced::<super::$layout>();
            }

            #[test]
            fn what_is_not_frozen_is_no_snapshot_of_ours() {
                super::what_is_not_frozen_is_no_snapshot_of_ours::<super::$layout>();
            }

            #[test]
            fn data_that_was_received_is_not_sent() {
                super::data_that_was_received_is_not_sent::<super::$layout>();
            }
        })*
    };
}

btrfs! {
    nested Nested
    mounted_by_subvol BySubvol
    mounted_by_subvolid BySubvolid
    mounted_by_default ByDefault
    mounted_top_level TopLevel
    mounted_by_bind ByBind
    folder Folder
    folder_in_nested FolderInNested
    folder_in_mounted FolderInMounted
}

struct Btrfs<L> {
    site: Site,
    place: Place,
    layout: PhantomData<L>,
}

/// Where things are.
struct Place {
    data: PathBuf,
    /// The subvolume that a snapshot is taken of.
    frozen: PathBuf,
    /// The folder that the snapshots are in.
    store: PathBuf,
}

trait Layout {
    const LEAVES_OUT: &'static [&'static str] = &[];
    const TOGETHER: bool = false;
    fn make(site: &Site) -> Place;
    fn another(site: &Site, place: &Place) -> PathBuf;
}

impl<L: Layout> Fixture for Btrfs<L> {
    const DRIVER: &'static str = "btrfs";
    const CAPABILITIES: &'static [&'static str] = &["rollback", "stream"];
    const LEAVES_OUT: &'static [&'static str] = L::LEAVES_OUT;
    const TOGETHER: bool = L::TOGETHER;

    fn fresh() -> Btrfs<L> {
        let site = Site::new();
        Btrfs {
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
        let volume = self.site.mounted("btrfs", name);
        let place = volume.join("größe 'β'/-$1");
        place.to_str().unwrap().to_owned()
    }

    fn elsewhere(&self) -> Vec<PathBuf> {
        let foreign = self.site.foreign();
        let folder = foreign.join("data");
        fs::create_dir(&folder).unwrap();
        vec![folder, foreign.join("missing"), foreign]
    }

    fn strangers(&self, volume: &dyn Volume) -> Vec<SnapName> {
        let [unlabelled, replaced] = ["zeebe-snap-unlabelled", "zeebe-snap-replaced"].map(snap);
        let path = |name: &SnapName| self.place.store.join(name.as_str());
        let freeze = |source: &Path, name: &SnapName| {
            subvolume(&[&"snapshot", &"-r", &source, &path(name)]);
        };
        freeze(&self.place.frozen, &unlabelled);
        let another = self.place.store.join(".another");
        subvolume(&[&"create", &another]);
        take(volume, &replaced, &label("replaced"));
        subvolume(&[&"delete", &path(&replaced)]);
        freeze(&another, &replaced);
        subvolume(&[&"delete", &another]);
        vec![unlabelled, replaced]
    }
}

fn subvolume(arguments: &[&dyn AsRef<OsStr>]) {
    let first: [&dyn AsRef<OsStr>; 1] = [&"subvolume"];
    run("btrfs", &[&first, arguments].concat());
}

/// A subvolume of its own, reached inside a bigger mount.
struct Nested;

impl Layout for Nested {
    fn make(site: &Site) -> Place {
        let data = site.mounted("btrfs", "mnt").join(ODD);
        let around = data.parent().unwrap();
        furnish(around);
        subvolume(&[&"create", &data]);
        Place {
            store: around.join(".zeebe-snap").join(data.file_name().unwrap()),
            frozen: data.clone(),
            data,
        }
    }

    fn another(_: &Site, place: &Place) -> PathBuf {
        let another = place.data.with_file_name("another");
        subvolume(&[&"create", &another]);
        another
    }
}

/// Subvolumes that are mounted each; what else is on the disk is seen in another mount.
fn mounted(site: &Site, options: impl FnOnce(&Path) -> String) -> Place {
    let disk = site.disk("btrfs");
    let top = site.mount(&disk, "loop,subvolid=5", "top");
    furnish(&top);
    let it = top.join("@data größe");
    subvolume(&[&"create", &it]);
    let data = site.mount(&disk, &options(&it), Path::new("mnt").join(ODD));
    furnish(data.parent().unwrap());
    inside(data)
}

fn inside(data: PathBuf) -> Place {
    Place {
        store: data.join(".zeebe-snap"),
        frozen: data.clone(),
        data,
    }
}

fn another_mounted(site: &Site) -> PathBuf {
    let disk = site.disks().join("0");
    subvolume(&[&"create", &site.dir().join("top/@another")]);
    site.mount(&disk, "loop,subvol=@another", "another")
}

macro_rules! mounted {
    ($($(#[$doc:meta])* $layout:ident: $options:expr;)*) => {
        $($(#[$doc])*
        struct $layout;

        impl Layout for $layout {
            const LEAVES_OUT: &'static [&'static str] = &[".zeebe-snap"];

            fn make(site: &Site) -> Place {
                mounted(site, $options)
            }

            fn another(site: &Site, _: &Place) -> PathBuf {
                another_mounted(site)
            }
        })*
    };
}

mounted! {
    /// A mount that names its subvolume.
    BySubvol: |_| "loop,subvol=@data größe".to_owned();
    /// A mount that has its subvolume's number.
    BySubvolid: |it| format!("loop,subvolid={}", number(it));
    /// A mount of the subvolume that is mounted where none is named.
    ByDefault: |it| {
        subvolume(&[&"set-default", &it]);
        "loop".to_owned()
    };
}

fn number(subvolume: &Path) -> String {
    let mut command = Command::new("btrfs");
    command.args(["inspect-internal", "rootid"]).arg(subvolume);
    let said = command.output().unwrap().stdout;
    String::from_utf8(said).unwrap().trim().to_owned()
}

/// A subvolume that is mounted at another place than where it lies.
struct ByBind;

impl Layout for ByBind {
    const LEAVES_OUT: &'static [&'static str] = &[".zeebe-snap"];

    fn make(site: &Site) -> Place {
        let top = site.mounted("btrfs", "top");
        furnish(&top);
        let it = top.join("@data größe");
        subvolume(&[&"create", &it]);
        let data = site.mount(&it, "bind", Path::new("mnt").join(ODD));
        furnish(data.parent().unwrap());
        inside(data)
    }

    fn another(site: &Site, _: &Place) -> PathBuf {
        another_mounted(site)
    }
}

/// A mount of all of a file system.
struct TopLevel;

impl Layout for TopLevel {
    const LEAVES_OUT: &'static [&'static str] = &[".zeebe-snap"];

    fn make(site: &Site) -> Place {
        let data = site.mounted("btrfs", Path::new("mnt").join(ODD));
        furnish(data.parent().unwrap());
        inside(data)
    }

    /// A subvolume would be in the data.
    fn another(site: &Site, _: &Place) -> PathBuf {
        site.mounted("btrfs", "another")
    }
}

/// A folder in the subvolume `around`.
fn folder(around: &Path, data: PathBuf) -> Place {
    furnish(around);
    if data.parent() != Some(around) {
        furnish(data.parent().unwrap());
    }
    fs::create_dir(&data).unwrap();
    Place {
        data,
        frozen: around.to_owned(),
        store: around.join(".zeebe-snap"),
    }
}

fn another_folder(at: PathBuf) -> PathBuf {
    fs::create_dir_all(&at).unwrap();
    at
}

/// A folder far down in the top level; another one right in it.
struct Folder;

impl Layout for Folder {
    const TOGETHER: bool = true;

    fn make(site: &Site) -> Place {
        let mnt = site.mounted("btrfs", "mnt");
        folder(&mnt, mnt.join(ODD))
    }

    fn another(_: &Site, place: &Place) -> PathBuf {
        another_folder(place.frozen.join("another"))
    }
}

/// A folder right in a subvolume that is reached inside a bigger mount; another one beside it.
struct FolderInNested;

impl Layout for FolderInNested {
    const TOGETHER: bool = true;

    fn make(site: &Site) -> Place {
        let mnt = site.mounted("btrfs", "mnt");
        furnish(&mnt);
        let around = mnt.join("größe @");
        subvolume(&[&"create", &around]);
        folder(&around, around.join("-data $1"))
    }

    fn another(_: &Site, place: &Place) -> PathBuf {
        another_folder(place.frozen.join("another"))
    }
}

/// A folder in a subvolume that is mounted, as in a root file system; another one of the same name beside it.
struct FolderInMounted;

impl Layout for FolderInMounted {
    const TOGETHER: bool = true;

    fn make(site: &Site) -> Place {
        let around = mounted(site, |_| "loop,subvol=@data größe".to_owned()).data;
        folder(&around, around.join("0/data"))
    }

    fn another(_: &Site, place: &Place) -> PathBuf {
        another_folder(place.frozen.join("1/data"))
    }
}

/// There is one obstacle, and it speaks of `what`.
#[track_caller]
fn one(obstacles: &[Obstacle], what: &str) {
    assert_eq!(obstacles.len(), 1, "{obstacles:?}");
    assert!(obstacles[0].what.contains(what), "{obstacles:?}");
}

fn a_nested_subvolume_is_in_the_way_of_a_capture<L: Layout>() {
    let fixture = Btrfs::<L>::fresh();
    let obstacles = |purpose| fixture.volume().obstacles(&host(), purpose).unwrap();
    let nested = fixture.data().join("a folder/nested β");
    fs::create_dir(fixture.data().join("a folder")).unwrap();
    subvolume(&[&"create", &nested]);
    one(&obstacles(Purpose::Capture), "/a folder/nested β");
    assert_eq!(obstacles(Purpose::BringBack), []);
    subvolume(&[&"delete", &nested]);
    assert_eq!(obstacles(Purpose::Capture), []);
    // One that is elsewhere is in nobody's way.
    if fixture.place.frozen != fixture.place.data {
        subvolume(&[&"create", &fixture.data().with_file_name("beside the data")]);
        assert_eq!(obstacles(Purpose::Capture), []);
    }
}

/// One that was made since the snapshot is not in the way of a rollback, and not lost by it.
fn a_nested_subvolume_is_kept_with_what_is_replaced<L: Layout>() {
    let fixture = Btrfs::<L>::fresh();
    let name = snap("zeebe-snap-1");
    tree::fill(fixture.data(), "old");
    let old = take(&*fixture.volume(), &name, &label("1"));
    for nested in ["nested", "raft-partition/nested"] {
        let nested = fixture.data().join(nested);
        subvolume(&[&"create", &nested]);
        fs::write(nested.join("file"), "nested").unwrap();
    }
    let volume = fixture.volume();
    assert_eq!(volume.obstacles(&host(), Purpose::BringBack).unwrap(), []);
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    attempt.swap();
    tree::same(&fixture.look(), &old, "brought back");
    let kept = volume.rollback().unwrap().kept(&host()).unwrap();
    let is_in = |dir: &Path| {
        for nested in ["nested", "raft-partition/nested"] {
            assert_eq!(fs::read(dir.join(nested).join("file")).unwrap(), b"nested");
        }
    };
    is_in(&kept[0].path);
    attempt.reverse();
    is_in(fixture.data());

    // What cannot be let go of is still kept, and said to be.
    attempt.swap();
    let release = attempt.rollback.discard(&attempt.stage);
    assert!(perform_all(&release, &host(), &|| false).is_err());
    let volume = fixture.volume();
    let rollback = volume.rollback().unwrap();
    assert_eq!(rollback.kept(&host()).unwrap(), kept);
    is_in(&kept[0].path);
    for nested in ["nested", "raft-partition/nested"] {
        subvolume(&[&"delete", &kept[0].path.join(nested)]);
    }
    perform(&release);
    assert_eq!(rollback.kept(&host()).unwrap(), []);
}

fn what_is_not_frozen_is_no_snapshot_of_ours<L: Layout>() {
    let fixture = Btrfs::<L>::fresh();
    let (volume, name) = (fixture.volume(), snap("zeebe-snap-1"));
    take(&*volume, &name, &label("1"));
    let path = fixture.place.store.join(name.as_str());
    run("btrfs", &[&"property", &"set", &path, &"ro", &"false"]);
    let found = volume.find(&host(), &name).unwrap().unwrap();
    assert_eq!(found.label, None);
}

/// Makes a frozen subvolume writable and leaves it its received uuid, as older tools did (BTRFS_IOC_SUBVOL_SETFLAGS).
fn thaw(subvolume: &Path) {
    let script = "import fcntl, os, struct, sys\n\
        fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x4008941A, struct.pack('Q', 0))";
    run("python3", &[&"-c", &script, &subvolume]);
}

/// A snapshot of what was received, made writable and not by a snapshot, would pass for what was received.
fn data_that_was_received_is_not_sent<L: Layout>() {
    let Some(sides) = Sides::<Btrfs<L>>::fresh() else {
        panic!("btrfs has streams");
    };
    let [first, second] = ["zeebe-snap-1", "zeebe-snap-2"].map(snap);
    let (fixture, data) = (&sides.fixture, sides.fixture.data());
    tree::fill_small(data, "older");
    take(&*sides.volume, &first, &label("1"));
    if fixture.place.frozen != *data || !L::LEAVES_OUT.is_empty() {
        // Only a subvolume inside a bigger mount can be put there by a rename.
        return;
    }
    sides.ship(&first);
    let back = crate::streams::landing::<Btrfs<L>>(data.with_file_name("back").to_str().unwrap());
    let landed = back.view(&first, &Part::default()).path;
    let from = sides.landing.stream().unwrap();
    let (shipment, _) = sides.shipment_from(from, &*back, &first);
    ship(
        &host(),
        from,
        &*back,
        &shipment,
        &[],
        &label("1"),
        &Flow::new(),
    )
    .unwrap();
    fs::rename(data, data.with_file_name("old")).unwrap();
    thaw(&landed);
    fs::rename(&landed, data).unwrap();

    let volume = fixture.volume();
    take(&*volume, &second, &label("2"));
    let stream = volume.stream().unwrap();
    let of = Point::of(&volume.find(&host(), &second).unwrap().unwrap());
    let all = Shipment {
        of,
        base: None,
        resume: None,
    };
    let obstacles = stream.obstacles(&host(), &all).unwrap();
    one(&obstacles, "received uuid");

    // As the hint has it.
    subvolume(&[&"snapshot", &data, &data.with_file_name("new")]);
    fs::rename(data, data.with_file_name("thawed")).unwrap();
    fs::rename(data.with_file_name("new"), data).unwrap();
    let volume = fixture.volume();
    let third = snap("zeebe-snap-3");
    take(&*volume, &third, &label("3"));
    let of = Point::of(&volume.find(&host(), &third).unwrap().unwrap());
    let all = Shipment { of, ..all };
    assert_eq!(
        volume.stream().unwrap().obstacles(&host(), &all).unwrap(),
        []
    );
}

/// Another subvolume on the target passes for the base, by a received uuid that it inherited.
#[test]
fn a_base_that_has_a_twin_is_refused() {
    let sides = Sides::<Btrfs<Nested>>::fresh().unwrap();
    let [first, second] = ["zeebe-snap-1", "zeebe-snap-2"].map(snap);
    let (site, data) = (sides.fixture.site(), sides.fixture.data());
    tree::fill_small(data, "older");
    take(&*sides.volume, &first, &label("1"));
    sides.ship(&first);
    let base = sides.landing.view(&first, &Part::default()).path;
    let twin = site.dir().join("target/twin");
    subvolume(&[&"snapshot", &"-r", &base, &twin]);
    thaw(&twin);
    fs::write(twin.join("same"), "somebody else's").unwrap();
    run("btrfs", &[&"property", &"set", &twin, &"ro", &"true"]);

    // The tool takes the one that is older.
    perform(&sides.landing.destroy(&first));
    sides.ship(&first);

    fs::write(data.join("new"), "new").unwrap();
    let new = take(&*sides.volume, &second, &label("2"));
    let (shipment, _) = sides.shipment(&second);
    let before = traces(site, data);
    let obstacles = sides.landing.obstacles(&host(), &shipment, None).unwrap();
    one(&obstacles, "twin");
    let said = sides.try_to_ship(&shipment).unwrap_err();
    assert!(said.contains("it was made from"), "{said}");
    no_trace(site, data, &before, "from the twin");
    // The base itself was taken away, and only the twin is there.
    perform(&sides.landing.destroy(&first));
    assert_eq!(sides.whole(&first), None);
    let obstacles = sides.landing.obstacles(&host(), &shipment, None).unwrap();
    one(&obstacles, "is not in");
    let tried = sides.try_to_ship(&shipment).unwrap_err();
    assert!(tried.contains("its base zeebe-snap-1 is gone"), "{tried}");
    assert_eq!(sides.landing.landed(&host()).unwrap(), []);
    subvolume(&[&"delete", &twin]);
    assert_eq!(sides.ship(&second), None);
    tree::same(&sides.seen(&second), &new, "all of it");
}

/// What somebody else received, and what is no subvolume at all, is never a base and never removed.
#[test]
fn what_is_not_ours_on_the_target_is_left() {
    let sides = Sides::<Btrfs<Nested>>::fresh().unwrap();
    let [first, second] = ["zeebe-snap-1", "zeebe-snap-2"].map(snap);
    let data = sides.fixture.data();
    tree::fill_small(data, "older");
    let old = take(&*sides.volume, &first, &label("1"));
    sides.ship(&first);
    let folder = sides.landing.view(&first, &Part::default()).path;
    let folder = folder.parent().unwrap();
    for file in ["zeebe-snap-1.json", "zeebe-snap-1.seal"] {
        fs::remove_file(folder.join(file)).unwrap();
    }
    fs::create_dir(folder.join("zeebe-snap-3")).unwrap();
    let theirs = sides.landing.landed(&host()).unwrap();
    assert_eq!(theirs.len(), 2);
    assert!(theirs.iter().all(|it| it.label.is_none()), "{theirs:?}");
    assert!(matches!(sides.agree(&first), Agreement::Refused(_)));
    take(&*sides.volume, &second, &label("2"));
    assert_eq!(sides.ship(&second), None, "all of it");
    tree::same(&sides.seen(&first), &old, "somebody else's");
    // One whose seal is of another subvolume is not whole.
    let seal = folder.join("zeebe-snap-2.seal");
    let text = fs::read_to_string(&seal).unwrap();
    fs::write(&seal, text.replace("\"uuid\":\"", "\"uuid\":\"0")).unwrap();
    assert_eq!(sides.whole(&second), None);
}

/// It is said before, as far as it can be known; and what finds no room leaves nothing.
#[test]
fn a_target_without_room_is_left_as_it_was() {
    let sides = Sides::<Btrfs<Nested>>::fresh().unwrap();
    let name = snap("zeebe-snap-1");
    let (site, data) = (sides.fixture.site(), sides.fixture.data());
    tree::fill_small(data, "older");
    let mut random = vec![0; 40 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut random);
    fs::write(data.join("large"), &random).unwrap();
    let old = take(&*sides.volume, &name, &label("1"));
    let target = site.dir().join("target");
    let filler = target.join("filler");
    let mut full = fs::File::create(&filler).unwrap();
    let left = |keep: u64| {
        let free = nix::sys::statvfs::statvfs(&target).unwrap();
        free.blocks_available() * free.fragment_size() > keep
    };
    while left(20 << 20) {
        std::io::Write::write_all(&mut full, &random[..4 << 20]).unwrap();
        full.sync_all().unwrap();
    }
    let (shipment, _) = sides.shipment(&name);
    let bytes = sides
        .volume
        .stream()
        .unwrap()
        .estimate(&host(), &shipment)
        .unwrap();
    let obstacles = sides.landing.obstacles(&host(), &shipment, bytes).unwrap();
    one(&obstacles, "has room for");
    assert_eq!(
        sides.landing.obstacles(&host(), &shipment, None).unwrap(),
        []
    );
    let before = traces(site, data);
    let said = sides.try_to_ship(&shipment).unwrap_err();
    assert!(said.starts_with("btrfs receive "), "{said}");
    assert!(said.contains("No space left"), "{said}");
    assert_eq!(sides.landing.landed(&host()).unwrap(), []);
    let left: Vec<_> = traces(site, data)
        .difference(&before)
        .filter(|it| !it.is_dir())
        .cloned()
        .collect();
    assert!(left.is_empty(), "{left:?}");
    drop(full);
    fs::remove_file(&filler).unwrap();
    run("sync", &[&"-f", &target]);
    sides.ship(&name);
    tree::same(&sides.seen(&name), &old, "with room");
}

/// As `btrfs subvolume snapshot` has it: what is brought back so can be sent again.
#[test]
fn what_has_landed_is_brought_back_by_a_writable_snapshot() {
    let sides = Sides::<Btrfs<Nested>>::fresh().unwrap();
    let [first, second] = ["zeebe-snap-1", "zeebe-snap-2"].map(snap);
    tree::fill(sides.fixture.data(), "old");
    let old = take(&*sides.volume, &first, &label("1"));
    sides.ship(&first);
    let data = sides.fixture.site().dir().join("target/data");
    subvolume(&[
        &"snapshot",
        &sides.landing.view(&first, &Part::default()).path,
        &data,
    ]);
    tree::same(&tree::look(&data, &[]), &old, "brought back");
    let volume = Btrfs::<Nested>::driver()
        .detect(&host(), &data)
        .unwrap()
        .unwrap();
    tree::change(&data);
    let new = take(&*volume, &second, &label("2"));
    let there = crate::streams::landing::<Btrfs<Nested>>(&sides.fixture.place("third"));
    let stream = volume.stream().unwrap();
    let all = Shipment {
        of: Point::of(&volume.find(&host(), &second).unwrap().unwrap()),
        base: None,
        resume: None,
    };
    assert_eq!(stream.obstacles(&host(), &all).unwrap(), []);
    ship(
        &host(),
        stream,
        &*there,
        &all,
        &[],
        &label("2"),
        &Flow::new(),
    )
    .unwrap();
    tree::same(
        &tree::look(&there.view(&second, &stream.part()).path, &[]),
        &new,
        "sent again",
    );
}

#[test]
fn a_killed_shipment_is_made_whole() {
    crate::streams::a_killed_shipment_is_made_whole::<Btrfs<Nested>>(Cut::Calls);
}
