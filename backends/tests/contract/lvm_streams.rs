//! What only streams of thin volumes must hold: what the metadata say is sent and nothing else, and nothing is left of asking.

use std::fs::{self, File};
use std::process::{Child, Stdio};

use zeebe_snap_backends::action::perform_all;
use zeebe_snap_backends::host::Host;
use zeebe_snap_backends::stream::blocks::read::{Reader, Record};
use zeebe_snap_backends::stream::blocks::{Holds, Totals};
use zeebe_snap_backends::stream::pipe::Flow;
use zeebe_snap_backends::stream::{self, Landing, Shipment, Whole as All, ship};
use zeebe_snap_backends::{Action, Cmd, Label, Obstacle, RunError, SnapName, System};

use super::faults::says;
use super::{Ext4, Group, LOOKS, Whole, Xfs};
use crate::apart::Cut;
use crate::site::{answer, run};
use crate::snapshots::{label, take};
use crate::streams::{Sides, landing};
use crate::{Fixture, host, perform, snap, tree};

impl Group {
    fn pool_device(&self) -> String {
        self.device("pool") + "-tpool"
    }

    fn message(&self, message: &str) {
        run(
            "dmsetup",
            &[&"message", &self.pool_device(), &"0", &message],
        );
    }

    /// Nobody holds the metadata, nothing says so, and nothing is active that is not by itself.
    #[track_caller]
    pub fn is_at_rest(&self, when: &str) {
        let status = answer("dmsetup", &[&"status", &self.pool_device()]);
        let held = status.split_whitespace().nth(6).unwrap().to_owned();
        assert_eq!(held, "-", "{when}: {status}");
        let words: [&dyn AsRef<std::ffi::OsStr>; 4] = [
            &"--noheadings",
            &"-o",
            &"lv_name,lv_attr,lv_tags",
            &self.name,
        ];
        for line in answer("lvs", &words).lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let active = words[1].as_bytes()[4] == b'a';
            assert!(
                !active || ["data", "pool"].contains(&words[0]),
                "{when}: {line}"
            );
            assert!(words[0] != "pool" || words.len() == 2, "{when}: {line}");
        }
    }
}

/// Two snapshots, of which the first has landed, and the way of the second.
fn two(sides: &Sides<Whole<Ext4>>) -> (SnapName, tree::Seen, Shipment) {
    let [first, second] = ["zeebe-snap-1", "zeebe-snap-2"].map(snap);
    let data = sides.fixture.data();
    tree::fill_small(data, "older");
    take(&*sides.volume, &first, &label("1"));
    sides.ship(&first);
    fs::write(data.join("same"), "newer").unwrap();
    let new = take(&*sides.volume, &second, &label("2"));
    let shipment = sides.shipment(&second).0;
    (second, new, shipment)
}

#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn a_killed_shipment_is_made_whole() {
    crate::streams::a_killed_shipment_is_made_whole::<Whole<Ext4>>(Cut::Commands { looks: LOOKS });
}

#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn nothing_is_left_of_a_stream() {
    let sides = Sides::<Whole<Ext4>>::fresh().unwrap();
    let (name, new, shipment) = two(&sides);
    let group = &sides.fixture.group;
    group.is_at_rest("the first was sent");
    let names = group.names();
    sides.ship(&name);
    group.is_at_rest("the second was sent");
    assert_eq!(group.names(), names);
    tree::same(&sides.seen(&name), &new, "sent");
    // It is not overwritten by another try.
    let said = sides.try_to_ship(&shipment).unwrap_err();
    says(&said, &["already exists"]);
    tree::same(&sides.seen(&name), &new, "tried again");
    group.is_at_rest("tried again");
}

/// What one of ours left when he died is let go of; what somebody else holds is not.
#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn somebody_elses_metadata_snapshot_is_left_alone() {
    let sides = Sides::<Whole<Ext4>>::fresh().unwrap();
    let (name, new, shipment) = two(&sides);
    let group = &sides.fixture.group;
    group.message("reserve_metadata_snap");
    let found = sides.stream().obstacles(&host(), &shipment).unwrap();
    let [Obstacle { what, todo, .. }] = &found[..] else {
        panic!("{found:?}")
    };
    says(what, &["metadata", &group.lv("pool")]);
    let said = sides.try_to_ship(&shipment).unwrap_err();
    says(&said, &["metadata", &group.lv("pool")]);
    assert_eq!(sides.whole(&name), None);
    // It is still theirs, and what is said to be done helps.
    let line = todo.rsplit_once(": ").unwrap().1;
    run("sh", &[&"-ec", &line]);
    group.is_at_rest("let go of by hand");

    // As one of ours leaves it.
    run(
        "lvchange",
        &[
            &"-q",
            &"--addtag",
            &"zeebe-snap.holds-metadata",
            &group.lv("pool"),
        ],
    );
    group.message("reserve_metadata_snap");
    sides.ship(&name);
    group.is_at_rest("after one that died");
    tree::same(&sides.seen(&name), &new, "sent");
}

/// A host on which some tools are missing.
#[derive(Debug)]
struct Without(Host, &'static str);

impl System for Without {
    fn run(&self, cmd: &Cmd) -> Result<Vec<u8>, RunError> {
        match cmd.program() == self.1 {
            true => Err(RunError::Start {
                cmd: cmd.clone(),
                source: std::io::ErrorKind::NotFound.into(),
            }),
            false => self.0.run(cmd),
        }
    }

    fn start(&self, cmd: &Cmd, input: Option<Stdio>, output: Stdio) -> Result<Child, RunError> {
        self.0.start(cmd, input, output)
    }
}

#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn thin_tools_that_are_missing_are_in_the_way() {
    let sides = Sides::<Whole<Ext4>>::fresh().unwrap();
    let (_, _, shipment) = two(&sides);
    for tool in ["thin_delta", "thin_dump"] {
        let found = sides.stream().obstacles(&Without(host(), tool), &shipment);
        let found = found.unwrap();
        let [Obstacle { what, todo, .. }] = &found[..] else {
            panic!("{found:?}")
        };
        says(what, &[tool]);
        says(todo, &["thin-provisioning-tools", "archive"]);
    }
    // With no LVM at all it is no place, which somebody else may know.
    let place = sides.fixture.place("further");
    let found = stream::landing(&Without(host(), "vgs"), &place).unwrap();
    assert!(found.is_none(), "{found:?}");
}

/// All that is in a stream from the first to the second.
fn totals(sides: &Sides<Whole<Xfs>>, shipment: &Shipment) -> Totals {
    let file = sides.fixture.site().dir().join("stream");
    sides.stream_in(&file, shipment);
    let mut stream = Reader::new(File::open(&file).unwrap()).unwrap();
    let mut zero = 0;
    loop {
        match stream.next_record().unwrap() {
            Record::Piece(piece, _) if piece.holds == Holds::Zero => zero += piece.length,
            Record::Piece(..) => {}
            Record::End(totals) => {
                assert_eq!(totals.zero, zero);
                return totals;
            }
        }
    }
}

/// How much of the pool is used where it lands.
fn used(sides: &Sides<Whole<Xfs>>) -> u64 {
    let pool = &sides.landing.id().detail;
    let pool = format!(
        "{}/{}",
        pool["vg"].as_str().unwrap(),
        pool["pool"].as_str().unwrap()
    );
    let words: [&dyn AsRef<std::ffi::OsStr>; 7] = [
        &"--noheadings",
        &"--units",
        &"b",
        &"--nosuffix",
        &"-o",
        &"lv_size,data_percent",
        &pool,
    ];
    let said = answer("lvs", &words);
    let numbers: Vec<f64> = said
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    (numbers[0] * numbers[1] / 100.0) as u64
}

/// What was discarded, or was never there, does not flow, and is not there on the other side; and a volume may grow.
#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn what_was_discarded_is_gone_and_what_grew_has_grown() {
    const MIB: u64 = 1 << 20;
    let sides = Sides::<Whole<Xfs>>::fresh().unwrap();
    let (data, group) = (sides.fixture.data(), &sides.fixture.group);
    let [first, second, third] = ["zeebe-snap-1", "zeebe-snap-2", "zeebe-snap-3"].map(snap);
    fs::write(data.join("large"), vec![7; 20 << 20]).unwrap();
    take(&*sides.volume, &first, &label("1"));
    sides.ship(&first);
    fs::remove_file(data.join("large")).unwrap();
    perform(&[Action::Sync(data.to_owned())]);
    run("fstrim", &[&data]);
    fs::write(data.join("other"), vec![8; 5 << 20]).unwrap();
    let new = take(&*sides.volume, &second, &label("2"));
    let all = totals(&sides, &sides.shipment(&second).0);
    assert!(
        all.zero > 10 * MIB && (5 * MIB..10 * MIB).contains(&all.data),
        "{all:?}"
    );
    let before = used(&sides);
    sides.ship(&second);
    tree::same(&sides.seen(&second), &new, "discarded");
    let takes = used(&sides) - before;
    assert!(takes < 12 * MIB, "{takes} bytes more");

    run("lvextend", &[&"-q", &"-L", &"+40m", &group.lv("data")]);
    run("xfs_growfs", &[&data]);
    fs::write(data.join("third"), vec![9; 5 << 20]).unwrap();
    let newest = take(&*sides.volume, &third, &label("3"));
    sides.ship(&third);
    tree::same(&sides.seen(&third), &newest, "grown");
    tree::same(&sides.seen(&second), &new, "before it grew");
}

/// The pool still has what a volume that was made smaller had beyond its end.
#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn what_shrank_is_sent_as_it_is() {
    let sides = Sides::<Whole<Ext4>>::fresh().unwrap();
    let (data, group) = (sides.fixture.data(), &sides.fixture.group);
    let [first, second] = ["zeebe-snap-1", "zeebe-snap-2"].map(snap);
    fs::write(data.join("large"), vec![7; 250 << 20]).unwrap();
    take(&*sides.volume, &first, &label("1"));
    sides.ship(&first);

    fs::remove_file(data.join("large")).unwrap();
    let node = group.node("data");
    run("umount", &[&data]);
    run("e2fsck", &[&"-fp", &node]);
    run("resize2fs", &[&node, &"100M"]);
    run(
        "lvreduce",
        &[&"-q", &"-f", &"-L", &"100m", &group.lv("data")],
    );
    run("mount", &[&"-o", &"noatime", &node, &data]);
    fs::write(data.join("other"), vec![8; 5 << 20]).unwrap();
    let new = take(&*sides.volume, &second, &label("2"));
    let shipment = sides.shipment(&second).0;
    let all = Shipment {
        base: None,
        ..shipment.clone()
    };
    let file = sides.fixture.site().dir().join("stream");
    sides.stream_in(&file, &all);
    let stream = Reader::new(File::open(&file).unwrap()).unwrap();
    assert_eq!(stream.header().device_size, 100 << 20);
    assert!(shipment.base.is_some());
    sides.ship(&second);
    tree::same(&sides.seen(&second), &new, "made smaller");
}

/// What stands at a name there and is not ours is told of, and stays.
#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn what_is_somebody_elses_at_a_place_stays() {
    let fixture = Whole::<Ext4>::fresh();
    let place = fixture.place("target");
    let to: Box<dyn Landing> = landing::<Whole<Ext4>>(&place);
    let [_, pool, name] = <[&str; 3]>::try_from(place.split('/').collect::<Vec<_>>()).unwrap();
    let group = place.split(['/', ':']).nth(1).unwrap();
    let lv = format!("zeebe-snap-1.{name}");
    let pool = format!("{group}/{pool}");
    run(
        "lvcreate",
        &[&"-q", &"-y", &"-V", &"8m", &"-T", &pool, &"-n", &lv],
    );
    let landed = to.landed(&host()).unwrap();
    let [theirs] = &landed[..] else {
        panic!("{landed:?}")
    };
    assert_eq!(theirs.point.name, snap("zeebe-snap-1"));
    assert_eq!((&theirs.label, &theirs.whole), (&None, &All::Whole));
    let gone = perform_all(&to.abandon(&snap("zeebe-snap-1")), &host(), &|| false);
    says(&gone.unwrap_err().to_string(), &[&lv, "left"]);
    let volume = fixture.volume();
    tree::fill_small(fixture.data(), "older");
    take(&*volume, &snap("zeebe-snap-1"), &label("1"));
    let points = volume.stream().unwrap().points(&host()).unwrap();
    let shipment = Shipment {
        of: points[0].clone(),
        base: None,
        resume: None,
    };
    let found = to.obstacles(&host(), &shipment, Some(1 << 40)).unwrap();
    let told: Vec<&str> = found.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    says(told[0], &[&lv, "already"]);
    says(told[1], &[&pool, "MiB free"]);
    says(told[2], &[&pool, "metadata"]);
    let label = Label::new();
    let stream = volume.stream().unwrap();
    let tried = ship(&host(), stream, &*to, &shipment, &[], &label, &Flow::new());
    says(&tried.unwrap_err().to_string(), &["already exists"]);
    assert_eq!(to.landed(&host()).unwrap(), landed);
}

/// What it reads from elsewhere is not in the pool.
#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn a_volume_that_reads_from_another_is_not_sent() {
    let group = Group::thin();
    let (outside, pool) = (group.lv("outside"), group.lv("pool"));
    run(
        "lvcreate",
        &[&"-q", &"-y", &"-L", &"40m", &"-n", &"outside", &group.name],
    );
    run("mkfs.ext4", &[&"-q", &group.node("outside")]);
    run("lvchange", &[&"-q", &"-an", &outside]);
    run("lvchange", &[&"-q", &"-pr", &outside]);
    run(
        "lvcreate",
        &[
            &"-q",
            &"-y",
            &"-s",
            &"--thinpool",
            &pool,
            &"-n",
            &"data",
            &outside,
        ],
    );
    let data = group.site.mount(&group.node("data"), "noatime", "mnt");
    let volume = Whole::<Ext4>::driver()
        .detect(&host(), &data)
        .unwrap()
        .unwrap();
    let to = landing::<Whole<Ext4>>(&group.place("target"));
    let [first, second] = ["zeebe-snap-1", "zeebe-snap-2"].map(snap);
    take(&*volume, &first, &label("1"));
    take(&*volume, &second, &label("2"));
    let stream = volume.stream().unwrap();
    for of in stream.points(&host()).unwrap() {
        let shipment = Shipment {
            of,
            base: None,
            resume: None,
        };
        let found = stream.obstacles(&host(), &shipment).unwrap();
        let [Obstacle { what, .. }] = &found[..] else {
            panic!("{found:?}")
        };
        says(what, &[shipment.of.name.as_str(), &outside]);
        let tried = ship(
            &host(),
            stream,
            &*to,
            &shipment,
            &[],
            &Label::new(),
            &Flow::new(),
        );
        says(&tried.unwrap_err().to_string(), &[&outside]);
        assert_eq!(to.landed(&host()).unwrap(), []);
    }
}
