//! Streams: what gets to another volume is what was captured, or it is known not to be there.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use zeebe_snap_backends::stream::pipe::{self, Flow, PipeError, Receiver, Sender};
use zeebe_snap_backends::stream::{
    self, Agreement, Form, Landed, Landing, Point, Shipment, Stream, Whole, agree, ship,
};
use zeebe_snap_backends::{Cmd, Label, SnapName, Volume, tree as trees};

use crate::apart::{Cut, What, cut_everywhere};
use crate::around::{no_trace, traces};
use crate::interruptions::task;
use crate::snapshots::{captured, label, look_at, remove, take};
use crate::{Fixture, host, perform, snap, tree};

/// A volume, and a place on another one.
pub struct Sides<F: Fixture> {
    pub fixture: F,
    pub volume: Box<dyn Volume>,
    pub landing: Box<dyn Landing>,
}

impl<F: Fixture> Sides<F> {
    /// `None` for a backend that has no streams.
    pub fn fresh() -> Option<Sides<F>> {
        if !F::CAPABILITIES.contains(&"stream") {
            return None;
        }
        Some(Sides::of(F::fresh()))
    }

    pub fn of(fixture: F) -> Sides<F> {
        let place = fixture.place("target");
        Sides {
            volume: fixture.volume(),
            landing: landing::<F>(&place),
            fixture,
        }
    }

    pub fn stream(&self) -> &dyn Stream {
        self.volume.stream().unwrap()
    }

    fn point(&self, name: &SnapName) -> Point {
        Point::of(&self.volume.find(&host(), name).unwrap().unwrap())
    }

    pub fn agree(&self, name: &SnapName) -> Agreement {
        agreed(&self.point(name), self.stream(), &*self.landing)
    }

    #[track_caller]
    pub fn shipment(&self, name: &SnapName) -> (Shipment, Vec<SnapName>) {
        self.shipment_from(self.stream(), &*self.landing, name)
    }

    /// The same, from another side to another place.
    pub fn shipment_from(
        &self,
        from: &dyn Stream,
        to: &dyn Landing,
        name: &SnapName,
    ) -> (Shipment, Vec<SnapName>) {
        match agreed(&self.point(name), from, to) {
            Agreement::Send(shipment, abandon) => (shipment, abandon),
            other => panic!("{other:?}"),
        }
    }

    /// Sends it though there may be obstacles; what is said of it.
    pub fn try_to_ship(&self, shipment: &Shipment) -> Result<(), String> {
        let label = label(shipment.of.name.as_str());
        let shipped = ship(
            &host(),
            self.stream(),
            &*self.landing,
            shipment,
            &[],
            &label,
            &Flow::new(),
        );
        shipped.map(drop).map_err(|error| error.to_string())
    }

    /// Sends it, as it is agreed on now, and gives the base.
    #[track_caller]
    pub fn ship(&self, name: &SnapName) -> Option<SnapName> {
        let (shipment, abandon) = self.shipment(name);
        for gone in &abandon {
            perform(&self.landing.abandon(gone));
        }
        send::<F>(
            self.stream(),
            &*self.landing,
            &shipment,
            &label(name.as_str()),
        );
        shipment.base.map(|base| base.name)
    }

    /// What has landed there as `name`.
    pub fn seen(&self, name: &SnapName) -> tree::Seen {
        seen(&*self.landing, name, self.stream())
    }

    pub fn whole(&self, name: &SnapName) -> Option<Landed> {
        let mut all = self.landing.landed(&host()).unwrap();
        all.retain(|it| it.point.name == *name && !matches!(it.whole, Whole::Cut { .. }));
        all.pop()
    }

    /// The stream itself, in a file.
    pub fn stream_in(&self, file: &Path, shipment: &Shipment) -> u64 {
        let to = Receiver::Open(File::create(file).unwrap());
        pipe::run(&host(), self.stream().send(shipment), to, &Flow::new()).unwrap()
    }

    /// Receives what is in a file, and says whether it counts.
    fn receive(&self, from: File, shipment: &Shipment) -> Result<(), String> {
        perform(
            &self
                .landing
                .prepare(shipment, &label(shipment.of.name.as_str())),
        );
        let to = self.landing.receive(shipment);
        pipe::run(&host(), Sender::Open(from), to, &Flow::new())
            .map_err(|error| error.to_string())?;
        let finish = self
            .landing
            .finish(&host(), shipment)
            .map_err(|error| error.to_string())?;
        perform(&finish);
        Ok(())
    }
}

/// The place, opened again by what names it.
pub fn landing<F: Fixture>(place: &str) -> Box<dyn Landing> {
    let found = stream::landing(&host(), place)
        .unwrap()
        .expect("streams land there");
    let text = serde_json::to_string(&found.id()).unwrap();
    let again = stream::open_landing(&serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(again.id(), found.id());
    assert_eq!(again.id().backend, F::DRIVER);
    again
}

fn agreed(of: &Point, from: &dyn Stream, to: &dyn Landing) -> Agreement {
    let (points, landed) = (from.points(&host()).unwrap(), to.landed(&host()).unwrap());
    agree(of, &points, &landed)
}

#[track_caller]
fn send<F: Fixture>(from: &dyn Stream, to: &dyn Landing, shipment: &Shipment, label: &Label) {
    let bytes = from.estimate(&host(), shipment).unwrap();
    assert_eq!(from.obstacles(&host(), shipment).unwrap(), []);
    assert_eq!(to.obstacles(&host(), shipment, bytes).unwrap(), []);
    let told = AtomicU64::new(0);
    let flow = Flow {
        progress: &|bytes| told.store(bytes, Ordering::Relaxed),
        ..Flow::new()
    };
    let shipped = ship(&host(), from, to, shipment, &[], label, &flow).unwrap();
    assert!(shipped.bytes > 0 && shipped.bytes == told.into_inner());
    const AROUND: u64 = 100_000;
    let least = match shipment.resume {
        // ZFS does not count the records around the data, and takes those that have flowed off what it counts.
        Some(_) => (shipped.bytes / 2).saturating_sub(AROUND),
        None => shipped.bytes / 2,
    };
    let near = least..shipped.bytes * 2 + AROUND + F::ZEROS;
    assert!(
        bytes.is_none_or(|bytes| near.contains(&bytes)),
        "{bytes:?} were to be {shipped:?}"
    );
}

fn seen(at: &dyn Landing, name: &SnapName, of: &dyn Stream) -> tree::Seen {
    look_at(&at.view(name, &of.part()))
}

pub fn what_is_sent_is_what_was_captured<F: Fixture>() {
    let Some(sides) = Sides::<F>::fresh() else {
        return;
    };
    let [first, second, third] = ["zeebe-snap-1", "zeebe-snap-2", "zeebe-snap-3"].map(snap);
    let (site, data) = (sides.fixture.site(), sides.fixture.data());
    let before = traces(site, data);
    tree::fill(data, "old");
    let old = take(&*sides.volume, &first, &label("1"));
    tree::change(data);
    assert_eq!(sides.landing.landed(&host()).unwrap(), []);
    assert_eq!(sides.ship(&first), None, "all of it");
    tree::same(&sides.seen(&first), &old, "the first");
    assert_eq!(sides.agree(&first), Agreement::Landed);

    let new = take(&*sides.volume, &second, &label("2"));
    assert_eq!(sides.ship(&second), Some(first.clone()));
    tree::work(data);
    let newest = take(&*sides.volume, &third, &label("3"));
    // One that neither side has any more is no base.
    assert_eq!(sides.ship(&third), Some(second.clone()));
    let all = |when: &str| {
        for (name, was) in [(&first, &old), (&second, &new), (&third, &newest)] {
            tree::same(&sides.seen(name), was, &format!("{name}, {when}"));
            tree::same(
                &captured(&*sides.volume, name),
                was,
                &format!("captured {name}, {when}"),
            );
            let landed = sides.whole(name).unwrap();
            assert_eq!(landed.point, sides.point(name));
            assert_eq!(landed.label, Some(label(name.as_str())));
        }
        tree::same(&sides.fixture.look(), &newest, when);
    };
    all("all sent");
    site.reboot();
    all("after a boot");

    // It is brought back by a clone of the tree; those of the backend's own are its own tests.
    let view = sides.landing.view(&second, &sides.stream().part());
    let back = site.mounted("ext4", "around").join("back");
    let pass = trees::Pass {
        leave_out: &view.leave_out,
        ..trees::Pass::new()
    };
    let clone = |path: &Path| trees::clone(path, &back, &pass, &mut |_| Ok(()));
    view.read(&host(), clone).unwrap().unwrap();
    tree::same(&tree::look(&back, &[]), &new, "brought back");
    trees::remove(&back).unwrap();

    for name in [&first, &second, &third] {
        perform(&sides.landing.destroy(name));
        assert_eq!(sides.whole(name), None);
        remove(&*sides.volume, name);
    }
    assert_eq!(sides.landing.landed(&host()).unwrap(), []);
    let after = traces(site, data);
    let left: Vec<_> = after
        .difference(&before)
        .filter(|path| !path.is_dir())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A name says nothing, and nothing is written over.
pub fn a_base_is_told_by_its_identity<F: Fixture>() {
    let Some(sides) = Sides::<F>::fresh() else {
        return;
    };
    let [first, second] = ["zeebe-snap-1", "zeebe-snap-2"].map(snap);
    let data = sides.fixture.data();
    tree::fill_small(data, "older");
    let old = take(&*sides.volume, &first, &label("1"));
    sides.ship(&first);
    remove(&*sides.volume, &first);
    fs::write(data.join("same"), "other").unwrap();
    take(&*sides.volume, &first, &label("1"));
    assert!(matches!(sides.agree(&first), Agreement::Refused(_)));
    tree::same(&sides.seen(&first), &old, "what is there is left");
    take(&*sides.volume, &second, &label("2"));
    // The old one, where a bookmark of it is kept; else none.
    let landed = sides.whole(&first).unwrap().point.identity;
    let base = sides.shipment(&second).0.base;
    assert!(
        base.as_ref()
            .is_none_or(|base| base.form == Form::Bookmark && base.identity == landed),
        "{base:?}"
    );
}

/// What was to be started from is gone from there: refused, and nothing is left of a try.
pub fn a_base_that_is_missing_is_refused<F: Fixture>() {
    let Some(sides) = Sides::<F>::fresh() else {
        return;
    };
    let [first, second] = ["zeebe-snap-1", "zeebe-snap-2"].map(snap);
    let (site, data) = (sides.fixture.site(), sides.fixture.data());
    tree::fill_small(data, "older");
    take(&*sides.volume, &first, &label("1"));
    sides.ship(&first);
    fs::write(data.join("same"), "newer").unwrap();
    let new = take(&*sides.volume, &second, &label("2"));
    let (shipment, _) = sides.shipment(&second);
    assert!(shipment.base.is_some());
    perform(&sides.landing.destroy(&first));
    let before = traces(site, data);
    let obstacles = sides.landing.obstacles(&host(), &shipment, None).unwrap();
    assert_eq!(obstacles.len(), 1, "{obstacles:?}");
    assert!(obstacles[0].what.contains(first.as_str()), "{obstacles:?}");
    let tried = ship(
        &host(),
        sides.stream(),
        &*sides.landing,
        &shipment,
        &[],
        &label("2"),
        &Flow::new(),
    );
    let said = tried.unwrap_err().to_string();
    assert!(!said.is_empty(), "{said}");
    assert_eq!(sides.landing.landed(&host()).unwrap(), []);
    no_trace(site, data, &before, &said);
    assert_eq!(sides.ship(&second), None, "all of it");
    tree::same(&sides.seen(&second), &new, "all of it");
}

/// So many places in so many bytes, the first and the last among them; others on each run.
fn places(bytes: u64, many: u64) -> impl Iterator<Item = u64> {
    let seed = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .subsec_nanos();
    let place = move |n: u64| {
        let hash = blake3::hash(&[n.to_le_bytes(), u64::from(seed).to_le_bytes()].concat());
        let number = u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap());
        number % bytes
    };
    [0, bytes - 1].into_iter().chain((0..many).map(place))
}

/// A full stream and one from a base, ready to be sent, each with what it is of.
fn two_streams<F: Fixture>(sides: &Sides<F>) -> [(SnapName, tree::Seen); 2] {
    let names = ["zeebe-snap-1", "zeebe-snap-2"].map(snap);
    tree::fill(sides.fixture.data(), "old");
    let old = take(&*sides.volume, &names[0], &label("1"));
    tree::change(sides.fixture.data());
    let new = take(&*sides.volume, &names[1], &label("2"));
    let [first, second] = names;
    [(first, old), (second, new)]
}

/// Cut anywhere, it is not there; then it is gone on with or begun anew, and nothing else is left.
pub fn a_stream_that_is_cut_is_made_whole<F: Fixture>() {
    let Some(sides) = Sides::<F>::fresh() else {
        return;
    };
    let file = sides.fixture.site().dir().join("stream");
    for (name, was) in two_streams(&sides) {
        let (shipment, _) = sides.shipment(&name);
        let bytes = sides.stream_in(&file, &shipment);
        let before = sides.landing.landed(&host()).unwrap();
        for at in places(bytes, 5) {
            let mut part = tempfile::tempfile().unwrap();
            std::io::copy(&mut File::open(&file).unwrap().take(at), &mut part).unwrap();
            part.rewind().unwrap();
            let said = sides
                .receive(part, &shipment)
                .expect_err(&format!("{name} cut at {at}"));
            assert_eq!(sides.whole(&name), None, "{name} cut at {at}: {said}");
            sides.ship(&name);
            tree::same(&sides.seen(&name), &was, &format!("{name} cut at {at}"));
            perform(&sides.landing.destroy(&name));
            assert_eq!(
                sides.landing.landed(&host()).unwrap(),
                before,
                "{name} cut at {at}"
            );
        }
        sides.ship(&name);
    }
}

/// A bit that is another is found, or makes no difference.
pub fn a_stream_that_is_damaged_is_not_taken<F: Fixture>() {
    let Some(sides) = Sides::<F>::fresh() else {
        return;
    };
    let path = sides.fixture.site().dir().join("stream");
    for (name, was) in two_streams(&sides) {
        let (shipment, _) = sides.shipment(&name);
        let bytes = sides.stream_in(&path, &shipment);
        let mut refused = 0;
        for at in places(bytes, 6) {
            let mut file = File::options().read(true).write(true).open(&path).unwrap();
            let mut flip = || {
                let mut byte = [0];
                file.seek(SeekFrom::Start(at)).unwrap();
                file.read_exact(&mut byte).unwrap();
                file.seek(SeekFrom::Start(at)).unwrap();
                file.write_all(&[byte[0] ^ 1 << (at % 8)]).unwrap();
            };
            flip();
            match sides.receive(File::open(&path).unwrap(), &shipment) {
                Ok(()) => tree::same(&sides.seen(&name), &was, &format!("{name} damaged at {at}")),
                Err(_) => refused += 1,
            }
            perform(&sides.landing.abandon(&name));
            flip();
        }
        assert!(refused > 4, "{refused}");
        sides.ship(&name);
        tree::same(&sides.seen(&name), &was, "undamaged");
    }
}

/// The receiver is killed in the midst of it: that is the cause, and the next try gets it there.
pub fn a_killed_receive_is_made_whole<F: Fixture>() {
    let Some(sides) = Sides::<F>::fresh() else {
        return;
    };
    let dir = sides.fixture.site().dir();
    let (file, pid) = (dir.join("stream"), dir.join("pid"));
    for (name, was) in two_streams(&sides) {
        let (shipment, _) = sides.shipment(&name);
        let bytes = sides.stream_in(&file, &shipment);
        perform(&sides.landing.prepare(&shipment, &label(name.as_str())));
        let Receiver::Tool(tool) = sides.landing.receive(&shipment) else {
            return;
        };
        let noted = format!("echo $$ >'{}'; exec \"$@\"", pid.display());
        let receiver = Cmd::new("sh").args(["-c", &noted, "sh"]);
        let receiver = receiver.arg(tool.program()).args(tool.arguments());
        // Half of it, then the end of who reads it, then the rest.
        let script = format!(
            "head -c {half} '{0}'; until kill -9 \"$(cat '{1}')\"; do sleep 0.01; done; exec tail -c +{half} '{0}'",
            file.display(),
            pid.display(),
            half = bytes / 2,
        );
        let sender = Sender::Tool(Cmd::new("sh").args(["-c", &script]));
        let error = pipe::run(&host(), sender, Receiver::Tool(receiver), &Flow::new()).unwrap_err();
        assert!(
            error.to_string().contains("was ended by signal 9"),
            "{error}"
        );
        assert_eq!(sides.whole(&name), None);
        sides.ship(&name);
        tree::same(&sides.seen(&name), &was, "sent after one was killed");
    }
}

/// Whenever it is given up, nothing runs and nothing is left that cannot be gone on with.
pub fn a_stream_that_is_given_up_is_made_whole<F: Fixture>() {
    let Some(sides) = Sides::<F>::fresh() else {
        return;
    };
    let (site, data) = (sides.fixture.site(), sides.fixture.data());
    for (name, was) in two_streams(&sides) {
        let before = traces(site, data);
        for patience in [0, 1, 3] {
            let (shipment, _) = sides.shipment(&name);
            let asked = AtomicU64::new(0);
            let flow = Flow {
                // So that it takes longer than somebody is asked.
                limit: Some(100_000),
                stop: &|| asked.fetch_add(1, Ordering::Relaxed) >= patience,
                ..Flow::new()
            };
            let label = label(name.as_str());
            let tried = ship(
                &host(),
                sides.stream(),
                &*sides.landing,
                &shipment,
                &[],
                &label,
                &flow,
            );
            match tried.unwrap_err() {
                zeebe_snap_backends::Error::Pipe(PipeError::GivenUp { .. }) => {}
                other => panic!("{other}"),
            }
            assert_eq!(sides.whole(&name), None);
            let landed = sides.landing.landed(&host()).unwrap();
            if !landed.iter().any(|it| it.point.name == name) {
                let after = traces(site, data);
                let left: Vec<_> = after
                    .difference(&before)
                    .filter(|path| !path.is_dir())
                    .collect();
                assert!(left.is_empty(), "{left:?}");
            }
        }
        sides.ship(&name);
        tree::same(&sides.seen(&name), &was, "not given up");
    }
}

/// To a third volume, and from there to the first: it is still the same.
pub fn what_has_landed_can_be_sent_on_and_back<F: Fixture>() {
    let Some(sides) = Sides::<F>::fresh() else {
        return;
    };
    let Some(from) = sides.landing.stream() else {
        return;
    };
    let [further, back] = ["further", "back"].map(|name| landing::<F>(&sides.fixture.place(name)));
    let both = two_streams(&sides);
    for (n, (name, was)) in both.iter().enumerate() {
        sides.ship(name);
        let pairs = [(from, &further), (further.stream().unwrap(), &back)];
        for (from, to) in pairs {
            let (shipment, _) = sides.shipment_from(from, &**to, name);
            assert_eq!(shipment.base.is_some(), n > 0);
            send::<F>(from, &**to, &shipment, &label("on"));
            tree::same(&seen(&**to, name, sides.stream()), was, "sent on");
        }
    }
}

/// The program or a tool is killed anywhere on the way: it is not there, or it is whole; and then it is made whole.
pub fn a_killed_shipment_is_made_whole<F: Fixture>(cut: Cut) {
    let sides = Sides::<F>::fresh().expect("it has streams");
    let [first, second] = ["zeebe-snap-1", "zeebe-snap-2"].map(snap);
    let data = sides.fixture.data();
    tree::fill_small(data, "older");
    take(&*sides.volume, &first, &label("1"));
    sides.ship(&first);
    tree::empty(data, &F::leaves_out());
    tree::fill_small(data, "newest");
    let new = take(&*sides.volume, &second, &label("2"));
    let (shipment, _) = sides.shipment(&second);
    let before = traces(sides.fixture.site(), data);
    let landed = sides.landing.landed(&host()).unwrap();
    let what = What::Ship(sides.landing.id(), shipment, label("2"));
    cut_everywhere(cut, &task(&*sides.volume, what), |when| {
        if sides.whole(&second).is_none() {
            sides.ship(&second);
        }
        tree::same(&sides.seen(&second), &new, when);
        perform(&sides.landing.destroy(&second));
        assert_eq!(sides.landing.landed(&host()).unwrap(), landed, "{when}");
        no_trace(sides.fixture.site(), data, &before, when);
    });
}
