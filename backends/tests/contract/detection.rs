//! Finding a volume, naming it, and what is in its way.

use nix::mount::{MsFlags, mount};
use zeebe_snap_backends::{Label, Purpose, StageName, Volume, VolumeId};

use crate::{Fixture, host, snap, tree};

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
    assert_ne!(same_again(), first);
    std::fs::create_dir(fixture.data()).unwrap();
    same_again();
}

/// All that the volume can be asked to do.
fn actions(volume: &dyn Volume) -> String {
    let (snap, label) = (snap("snap"), Label::new());
    let mut all = vec![
        volume.prepare(&snap, &label),
        volume.snapshot(&snap),
        volume.destroy(&snap),
        volume.unprepare(&snap),
        volume.view(&snap).open,
        volume.view(&snap).close,
    ];
    if let Some(rollback) = volume.rollback() {
        let stage = StageName::try_from("stage".to_owned()).unwrap();
        all.extend([
            rollback.stage(&snap, &stage, &label),
            rollback.swap(&stage),
            rollback.reverse(&stage),
            rollback.discard(&stage),
        ]);
    }
    format!("{all:?} {:?}", volume.view(&snap).path)
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
