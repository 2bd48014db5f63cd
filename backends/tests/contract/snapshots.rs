//! Snapshots: taken, read, told from somebody else's, destroyed.

use std::convert::Infallible;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use zeebe_snap_backends::{Action, Label, SnapName, View, Volume, papers};

use crate::around::{STAYS, is_private};
use crate::attempt::Attempt;
use crate::{Fixture, Moves, host, perform, snap, tree};

/// A label with what a tool may trip over.
pub fn label(set: &str) -> Label {
    Label::from([
        ("set".to_owned(), set.to_owned()),
        ("odd".to_owned(), "größe 'β' \"2\"=3, \\n\n".to_owned()),
    ])
}

/// Does all of a snapshot, in the order of a backup, and gives what the data was at that moment.
pub fn take(volume: &dyn Volume, name: &SnapName, label: &Label) -> tree::Seen {
    perform(&volume.prepare(name, label));
    let seen = tree::look(volume.data(), &volume.leave_out());
    perform(&[Action::Sync(volume.data().to_owned())]);
    perform(&volume.snapshot(name, label));
    seen
}

/// Does all of removing one.
pub fn remove(volume: &dyn Volume, name: &SnapName) {
    perform(&volume.destroy(name));
    perform(&volume.unprepare(name));
}

/// Opens the snapshot, gives the folder to `read`, and puts it away.
pub fn view<T>(volume: &dyn Volume, name: &SnapName, read: impl FnOnce(&Path) -> T) -> T {
    let view = volume.view(name);
    let read = |path: &Path| Ok::<T, Infallible>(read(path));
    view.read(&host(), read).unwrap().unwrap()
}

/// What is to be seen there.
pub fn look_at(view: &View) -> tree::Seen {
    let look = |path: &Path| Ok::<_, Infallible>(tree::look(path, &view.leave_out));
    view.read(&host(), look).unwrap().unwrap()
}

/// The digests of the captured tree.
pub fn captured(volume: &dyn Volume, name: &SnapName) -> tree::Seen {
    look_at(&volume.view(name))
}

/// What is listed: each name with its label, each found by its name, too.
fn listed(volume: &dyn Volume) -> Vec<(SnapName, Option<Label>)> {
    let list = volume.list(&host()).unwrap();
    for snapshot in &list {
        let found = volume.find(&host(), &snapshot.name).unwrap();
        assert_eq!(found.as_ref(), Some(snapshot));
    }
    list.into_iter().map(|s| (s.name, s.label)).collect()
}

pub fn a_snapshot_is_what_the_data_was<F: Fixture>() {
    let fixture = F::fresh();
    let (first, second) = (snap("zeebe-snap-1"), snap("zeebe-snap-2"));
    let volume = fixture.volume();
    let around = fixture.traces();
    assert_eq!(listed(&*volume), []);
    assert_eq!(volume.find(&host(), &first).unwrap(), None);

    tree::fill(fixture.data(), "old");
    let old = take(&*volume, &first, &label("1"));
    tree::same(&fixture.look(), &old, "prepared and taken");
    assert_eq!(listed(&*volume), [(first.clone(), Some(label("1")))]);
    tree::same(&captured(&*volume, &first), &old, "captured");

    tree::change(fixture.data());
    let new = fixture.look();
    assert_ne!(new, old);
    tree::same(
        &captured(&*volume, &first),
        &old,
        "captured, and changed since",
    );

    // Another, by a process that looks anew.
    let volume = fixture.volume();
    take(&*volume, &second, &label("2"));
    let both = [
        (first.clone(), Some(label("1"))),
        (second.clone(), Some(label("2"))),
    ];
    assert_eq!(listed(&*volume), both);
    let [one, two] = [&first, &second].map(|name| volume.find(&host(), name).unwrap().unwrap());
    assert_ne!(one.identity, two.identity);

    tree::empty(fixture.data(), &F::leaves_out());
    tree::same(&captured(&*volume, &first), &old, "captured first");
    tree::same(&captured(&*volume, &second), &new, "captured second");

    remove(&*volume, &first);
    assert_eq!(listed(&*volume), both[1..]);
    tree::same(&captured(&*volume, &second), &new, "the first removed");
    remove(&*volume, &second);
    assert_eq!(listed(&*volume), []);
    fixture.no_trace(&around, "nothing is left");
}

/// Names that are the program's own in a mount point are anybody's elsewhere; holes stay holes; nobody else can read it.
pub fn all_of_the_data_is_in_a_snapshot<F: Fixture>() {
    let fixture = F::fresh();
    let volume = fixture.volume();
    let name = snap("zeebe-snap-1");
    assert_eq!(volume.leave_out(), F::leaves_out());
    tree::fill(fixture.data(), "old");
    for own in STAYS.map(Into::into) {
        if !F::leaves_out().contains(&own) {
            fs::create_dir(fixture.data().join(&own)).unwrap();
            fs::write(fixture.data().join(&own).join("file"), "the data's").unwrap();
        }
    }
    let old = take(&*volume, &name, &label("1"));
    tree::same(&fixture.look(), &old, "taken");
    tree::same(&captured(&*volume, &name), &old, "captured");
    assert!(view(&*volume, &name, tree::keeps_its_hole));
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    if F::MOVES != Moves::Volume {
        is_private(fixture.site(), fixture.data());
    }
    tree::empty(fixture.data(), &F::leaves_out());
    attempt.swap();
    tree::same(&fixture.look(), &old, "brought back");
}

pub fn preparing_and_clearing_may_be_repeated<F: Fixture>() {
    let fixture = F::fresh();
    let volume = fixture.volume();
    let around = fixture.traces();
    let name = snap("zeebe-snap-1");
    let twice = |actions: Vec<Action>| {
        for action in &actions {
            action.perform(&host(), &|| false).unwrap();
            action.perform(&host(), &|| false).unwrap();
        }
        perform(&actions);
    };
    twice(volume.prepare(&name, &label("of a run that died")));
    assert_eq!(listed(&*volume), [], "nothing has been taken yet");
    twice(volume.prepare(&name, &label("1")));
    twice(vec![Action::Sync(volume.data().to_owned())]);
    perform(&volume.snapshot(&name, &label("1")));
    assert_eq!(listed(&*volume), [(name.clone(), Some(label("1")))]);
    perform(&volume.destroy(&name));
    twice(volume.unprepare(&name));
    fixture.no_trace(&around, "nothing is left");
}

pub fn somebody_elses_snapshot_has_no_label<F: Fixture>() {
    let fixture = F::fresh();
    let volume = fixture.volume();
    let ours = snap("zeebe-snap-ours");
    take(&*volume, &ours, &label("ours"));
    let strangers = fixture.strangers(&*volume);
    assert_ne!(strangers, []);
    let mut expected: Vec<_> = strangers.into_iter().map(|name| (name, None)).collect();
    expected.push((ours, Some(label("ours"))));
    expected.sort();
    let mut found = listed(&*volume);
    found.sort();
    assert_eq!(found, expected);
}

/// Maps the file named first, writes the text named second into each of its pages, says so, and waits to be killed.
const WRITER: &str = "
import mmap, sys, time
file = open(sys.argv[1], 'r+b')
pages = mmap.mmap(file.fileno(), 0)
for at in range(0, len(pages), 4096):
    pages[at:at + 4] = sys.argv[2].encode()
print('written', flush=True)
time.sleep(600)
";

/// Ended and waited for when dropped.
struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// How often what does not go wrong every time is tried: `ZEEBE_SNAP_CONTRACT_TRIES`.
fn tries() -> u32 {
    let asked = std::env::var("ZEEBE_SNAP_CONTRACT_TRIES");
    asked.map_or(6, |asked| asked.parse().unwrap())
}

pub fn a_page_of_a_killed_process_is_in_the_snapshot<F: Fixture>() {
    const PAGES: u64 = 64;
    let fixture = F::fresh();
    let volume = fixture.volume();
    let log = fixture.data().join("mapped.log");
    let file = fs::File::create(&log).unwrap();
    for page in 0..PAGES {
        file.write_all_at(b"none", page * 4096).unwrap();
    }
    file.set_len(PAGES * 4096).unwrap();
    file.sync_all().unwrap();
    drop(file);
    for number in 1000..1000 + tries() {
        let (name, text) = (snap(&format!("zeebe-snap-{number}")), number.to_string());
        perform(&volume.prepare(&name, &label(&text)));
        let mut writer = Command::new("python3")
            .args(["-c", WRITER])
            .arg(&log)
            .arg(&text)
            .stdout(Stdio::piped())
            .spawn()
            .map(Writer)
            .expect("this test needs python3");
        let mut line = String::new();
        BufReader::new(writer.0.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "written\n");
        drop(writer);
        perform(&[Action::Sync(volume.data().to_owned())]);
        perform(&volume.snapshot(&name, &label(&text)));
        let read = view(&*volume, &name, |path| fs::read(path.join("mapped.log")));
        let read = read.unwrap();
        for page in read.chunks(4096) {
            assert_eq!(&page[..4], text.as_bytes());
        }
        assert_eq!(read.len() as u64, PAGES * 4096);
        remove(&*volume, &name);
    }
}

/// They are beside the snapshot, in nobody's data and nobody's digest, for the owner alone, and gone with it.
pub fn papers_are_no_part_of_anything<F: Fixture>() {
    let fixture = F::fresh();
    let volume = fixture.volume();
    let (first, second) = (snap("zeebe-snap-1"), snap("zeebe-snap-2"));
    let around = fixture.traces();
    tree::fill(fixture.data(), "old");
    let old = take(&*volume, &first, &label("1"));
    let Some(folder) = volume.papers(&first) else {
        return remove(&*volume, &first);
    };
    let paper = |text: &str| ("manifest.json".to_owned(), text.as_bytes().to_vec());
    for text in ["one", "another"] {
        perform(&papers::write(&folder, vec![paper(text)]).unwrap());
        let read = papers::read(&folder, "manifest.json").unwrap();
        assert_eq!(read, Some(text.into()));
    }
    assert_eq!(papers::read(&folder, "nothing").unwrap(), None);
    is_private(fixture.site(), fixture.data());
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    tree::same(&fixture.look(), &old, "the data");
    tree::same(&captured(&*volume, &first), &old, "the snapshot");
    assert_eq!(listed(&*volume), [(first.clone(), Some(label("1")))]);
    // Nor are they in what is captured next.
    let next = take(&*volume, &second, &label("2"));
    tree::same(&next, &old, "captured next");
    tree::same(&captured(&*volume, &second), &old, "the next snapshot");
    remove(&*volume, &first);
    assert_eq!(papers::read(&folder, "manifest.json").unwrap(), None);
    remove(&*volume, &second);
    fixture.no_trace(&around, "nothing is left");
    // What was only made ready is found, and removed.
    perform(&volume.prepare(&first, &label("1")));
    assert_eq!(volume.prepared().unwrap(), [(first.clone(), label("1"))]);
    perform(&volume.unprepare(&first));
    assert_eq!(volume.prepared().unwrap(), []);
    fixture.no_trace(&around, "nothing was made ready");
}
