//! Finding a volume, naming it, and what is in its way.

use nix::mount::{MsFlags, mount};
use zeebe_snap_backends::{Kept, Label, Purpose, Snapshot, Volume, VolumeId};

use crate::attempt::stage;
use crate::{Fixture, Moves, host, snap, tree};

pub fn a_volume_is_found_and_nothing_elsewhere<F: Fixture>() {
    let fixture = F::fresh();
    assert_eq!(fixture.volume().data(), fixture.data());
    assert_eq!(fixture.volume().id().backend, F::driver().name());
    for purpose in [Purpose::Capture, Purpose::BringBack] {
        let obstacles = fixture.volume().obstacles(&host(), purpose).unwrap();
        assert_eq!(obstacles, [], "{purpose:?}");
    }
    for path in fixture.elsewhere() {
        let found = F::driver().detect(&host(), &path).unwrap();
        assert!(found.is_none(), "{path:?} is {found:?}");
    }
}

pub fn an_id_opens_again_as_the_same_volume<F: Fixture>() {
    let fixture = F::fresh();
    let same_again = || {
        let volume = fixture.volume();
        let text = serde_json::to_string(&volume.id()).unwrap();
        let id: VolumeId = serde_json::from_str(&text).unwrap();
        let again = zeebe_snap_backends::open(&id).unwrap();
        assert_eq!(again.id(), volume.id());
        assert_eq!(again.data(), volume.data());
        assert_eq!(actions(&*again), actions(&*volume));
        assert_eq!(again.freezes(), volume.freezes());
        assert_eq!(again.leave_out(), volume.leave_out());
        id
    };
    let first = same_again();
    tree::fill(fixture.data(), "old");
    assert_eq!(
        same_again(),
        first,
        "what is in it does not change its name"
    );
    fixture.remove_data();
    let second = same_again();
    fixture.remake_data();
    let third = same_again();
    if F::MOVES == Moves::Name {
        assert!(first != second && second != third && third != first);
    }
}

/// All that the volume can be asked to do.
fn actions(volume: &dyn Volume) -> String {
    let (name, label) = (snap("snap"), Label::new());
    let mut all = vec![
        volume.prepare(&name, &label),
        volume.snapshot(&name, &label),
        volume.destroy(&name),
        volume.unprepare(&name),
    ];
    if let Some(rollback) = volume.rollback() {
        let stage = stage("stage");
        let from = Snapshot {
            name: name.clone(),
            identity: "identity".to_owned(),
            label: None,
        };
        let kept = Kept {
            name: crate::attempt::stage("kept"),
            path: "/kept".into(),
            label: None,
            identity: "identity".to_owned(),
        };
        all.extend([
            rollback.stage(&from, &volume.view(&name), &stage, &label),
            rollback.swap(&stage),
            rollback.reverse(&stage),
            rollback.discard(&stage),
            rollback.clear(&stage),
            rollback.take_kept(&kept, &stage, &label),
            rollback.put_back(&kept.name, &stage),
            rollback.forget_kept(&kept.name),
        ]);
    }
    format!("{all:?} {:?}", volume.view(&name))
}

/// Each capability named here has its test in this suite: a backend that gains another one has to bring that along.
pub fn no_capability_goes_unexercised<F: Fixture>() {
    let fixture = F::fresh();
    let volume = fixture.volume();
    let has = [
        ("rollback", volume.rollback().is_some()),
        ("stream", volume.stream().is_some()),
        ("hold", volume.hold().is_some()),
        ("joint", volume.joint().is_some()),
    ];
    let names: Vec<&str> = has.iter().filter(|has| has.1).map(|has| has.0).collect();
    assert_eq!(names, F::CAPABILITIES);
}

pub fn a_mount_below_the_data_is_in_the_way<F: Fixture>() {
    let fixture = F::fresh();
    let below = fixture.data().join("ein Ordner");
    std::fs::create_dir(&below).unwrap();
    let none = None::<&str>;
    mount(Some("none"), &below, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    for purpose in [Purpose::Capture, Purpose::BringBack] {
        let obstacles = fixture.volume().obstacles(&host(), purpose).unwrap();
        assert_eq!(obstacles.len(), 1, "{obstacles:?}");
        let named = obstacles[0].what.contains(below.to_str().unwrap());
        assert!(named, "{obstacles:?}");
    }
}

pub fn data_that_is_missing_can_be_put_back_and_not_captured<F: Fixture>() {
    let fixture = F::fresh();
    fixture.remove_data();
    let obstacles = |purpose| fixture.volume().obstacles(&host(), purpose).unwrap();
    assert_eq!(obstacles(Purpose::BringBack), []);
    match fixture.look() {
        None => {
            let found = obstacles(Purpose::Capture);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].what.contains("does not exist"), "{found:?}");
        }
        Some(_) => assert_eq!(
            obstacles(Purpose::Capture),
            [],
            "an empty folder is data, too"
        ),
    }
}
