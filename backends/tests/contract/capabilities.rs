//! What some backends can besides: keep the system itself from destroying a snapshot; take several at one instant.

use zeebe_snap_backends::action::perform_all;
use zeebe_snap_backends::{Action, Label};

use crate::attempt::Attempt;
use crate::snapshots::{captured, label, remove, take};
use crate::{Fixture, host, perform, snap, tree};

/// Whoever asks for it, and wherever the snapshot has moved to.
pub fn a_held_snapshot_stays<F: Fixture>() {
    if !F::CAPABILITIES.contains(&"hold") {
        return;
    }
    let fixture = F::fresh();
    let (name, tag) = (snap("zeebe-snap-1"), "zeebe-snap: ein 'Set'");
    let before = fixture.traces();
    tree::fill_small(fixture.data(), "older");
    let old = take(&*fixture.volume(), &name, &label("1"));
    let volume = fixture.volume();
    let hold = volume.hold().unwrap();
    let holds = || hold.holds(&host(), &name).unwrap();
    assert_eq!(holds(), [""; 0]);
    for _ in 0..2 {
        perform(&hold.hold(&name, tag));
        assert_eq!(holds(), [tag]);
    }
    perform(&hold.hold(&name, "another"));
    let stays = |actions: &[Action]| {
        let error = perform_all(actions, &host(), &|| false).unwrap_err();
        for word in [tag, "another", name.as_str()] {
            assert!(error.to_string().contains(word), "{error}");
        }
        tree::same(&captured(&*volume, &name), &old, "held");
    };
    stays(&volume.destroy(&name));
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    attempt.swap();
    stays(&volume.destroy(&name));
    attempt.reverse();
    attempt.discard();
    for _ in 0..2 {
        perform(&hold.release(&name, tag));
        assert_eq!(holds(), ["another"]);
    }
    perform(&hold.release(&name, "another"));
    remove(&*volume, &name);
    perform(&hold.release(&name, tag));
    tree::empty(fixture.data(), &F::leaves_out());
    fixture.no_trace(&before, "nothing is left");
}

/// Each has its own label, and keeps it whatever is brought back.
pub fn several_are_taken_at_once<F: Fixture>() {
    if !F::CAPABILITIES.contains(&"joint") || F::TOGETHER {
        return;
    }
    let fixture = F::fresh();
    let name = snap("zeebe-snap-1");
    let paths = [fixture.data().to_owned(), fixture.another()];
    for (path, seed) in paths.iter().zip(["older", "new"]) {
        tree::fill_small(path, seed);
    }
    let find = || {
        paths
            .each_ref()
            .map(|path| F::driver().detect(&host(), path).unwrap().unwrap())
    };
    let volumes = find();
    let [one, other] = volumes.each_ref().map(|volume| volume.joint().unwrap());
    let labels = ["0", "1"].map(|node| {
        let own = [
            ("node".to_owned(), node.to_owned()),
            (format!("only {node}"), "x".to_owned()),
        ];
        let mut label: Label = label("1");
        label.extend(own);
        label
    });
    let ids = [0, 1].map(|at| (volumes[at].id(), labels[at].clone()));
    let together = one.snapshot(&ids, &name);
    if one.key() != other.key() {
        assert!(together.is_err(), "{together:?}");
        return;
    }
    let together = together.unwrap();
    assert_eq!(together.len(), 1, "{together:?}");
    let olds = [0, 1].map(|at| tree::look(&paths[at], &volumes[at].leave_out()));
    perform(&[
        Action::Sync(paths[0].clone()),
        Action::Sync(paths[1].clone()),
    ]);
    perform(&together);
    let is_right = |when: &str| {
        for (at, volume) in find().iter().enumerate() {
            let found = volume.find(&host(), &name).unwrap().unwrap();
            assert_eq!(found.label.as_ref(), Some(&labels[at]), "{when}");
            tree::same(&captured(&**volume, &name), &olds[at], when);
        }
    };
    is_right("taken");
    let attempt = Attempt::of(&*volumes[0], &name, "restore-1");
    attempt.stage();
    attempt.swap();
    is_right("one was brought back");
    remove(&*find()[1], &name);
    assert_eq!(find()[1].find(&host(), &name).unwrap(), None);
    assert!(find()[0].find(&host(), &name).unwrap().is_some());
}
