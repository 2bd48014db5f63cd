//! The `stream` verb on real volumes. Needs root and the tools of btrfs.

#![allow(clippy::unwrap_used, clippy::expect_used)]

// What is made for the `tree` verb's tests serves here, too.
#[allow(dead_code)]
#[path = "../tree/volume.rs"]
mod volume;
#[path = "../tree/wait.rs"]
mod wait;

mod extracting;
mod landed;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::json;

use volume::{apart, tool, volume};

const PROGRAM: &str = env!("CARGO_BIN_EXE_zeebe-snap");

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env("COLUMNS", "100").args(arguments);
    command.stdin(Stdio::null());
    command
}

/// A data directory with two snapshots of ours, and a place on another disk.
struct World {
    dir: PathBuf,
    data: PathBuf,
    place: PathBuf,
}

impl World {
    fn new(dir: &Path) -> World {
        let data = volume(dir, "btrfs", 512).join("data");
        fs::create_dir(dir.join("other")).unwrap();
        let place = volume(&dir.join("other"), "btrfs", 512).join("node 0");
        tool(
            Command::new("btrfs")
                .args(["subvolume", "create"])
                .arg(&data),
        );
        let world = World {
            dir: dir.to_owned(),
            data,
            place,
        };
        world.take("zeebe-snap-1", "one\n");
        world.take("zeebe-snap-2", "two\n");
        world
    }

    /// As a backup leaves it.
    fn take(&self, name: &str, content: &str) {
        fs::write(self.data.join("file"), content).unwrap();
        let show = tool(
            Command::new("btrfs")
                .args(["subvolume", "show"])
                .arg(&self.data),
        );
        let uuid = show
            .lines()
            .find_map(|line| line.trim().strip_prefix("UUID:"))
            .unwrap();
        let store = self.data.with_file_name(".zeebe-snap").join("data");
        fs::create_dir_all(&store).unwrap();
        let label = json!({ "format": 1, "parent_uuid": uuid.trim(), "label": { "set": name } });
        fs::write(store.join(format!("{name}.json")), label.to_string()).unwrap();
        let mut snapshot = Command::new("btrfs");
        snapshot.args(["subvolume", "snapshot", "-r"]);
        tool(snapshot.arg(&self.data).arg(store.join(name)));
    }

    /// `zeebe-snap stream VERB`; what is sent is of the data directory.
    fn stream(&self, verb: &str, arguments: &[&str]) -> Command {
        match verb {
            "send" => self.send_from(&self.data, arguments),
            _ => program(&[&["stream", verb], arguments].concat()),
        }
    }

    fn send_from(&self, from: &Path, arguments: &[&str]) -> Command {
        program(&[&["stream", "send", from.to_str().unwrap()], arguments].concat())
    }

    fn place(&self) -> &str {
        self.place.to_str().unwrap()
    }

    /// Standard output, standard error and exit code as one text, with what differs from run to run made plain.
    fn said(&self, output: &Output) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = format!(
            "{}---\n{}[exit {}]",
            text(&output.stdout),
            text(&output.stderr),
            output.status.code().unwrap()
        );
        let said = said.replace(self.dir.to_str().unwrap(), "/srv");
        let plain = |said: &str, what: &str, by: &str| {
            regex::Regex::new(what)
                .unwrap()
                .replace_all(said, by)
                .into_owned()
        };
        let said = plain(&said, "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID");
        let said = plain(&said, r"\b[0-9a-f]{64}\b", "DIGEST");
        let said = plain(&said, r"[0-9.]+ \w?i?B/s", "RATE");
        let said = plain(&said, r"(bytes  +)\d+ \([0-9.]+ \w+, ", "${1}N (SIZE, ");
        let said = plain(&said, r"about [0-9.]+ \w+", "about SIZE");
        let said = plain(&said, r"# \d+ bytes", "# N bytes");
        plain(&said, r#""(bytes|estimate|seconds)": [0-9.]+"#, "\"$1\": N")
    }

    fn run(&self, verb: &str, arguments: &[&str]) -> String {
        self.said(&self.stream(verb, arguments).output().unwrap())
    }

    fn received(&self, place: &Path, name: &str) -> String {
        fs::read_to_string(place.join(name).join("file")).unwrap()
    }
}

#[test]
fn what_is_sent_to_a_place_starts_from_what_it_has() {
    apart(|dir| {
        let world = World::new(dir);
        let to = ["--to", world.place()];
        let send =
            |name: &str, more: &[&str]| world.run("send", &[&[name], &to[..], more].concat());
        insta::assert_snapshot!("dry run of all", send("zeebe-snap-1", &["--dry-run"]));
        assert!(!world.place.exists());
        insta::assert_snapshot!("all of it", send("zeebe-snap-1", &[]));
        assert_eq!(world.received(&world.place, "zeebe-snap-1"), "one\n");
        insta::assert_snapshot!("there already", send("zeebe-snap-1", &[]));
        insta::assert_snapshot!("there already json", send("zeebe-snap-1", &["--json"]));
        insta::assert_snapshot!(
            "dry run json",
            send("zeebe-snap-2", &["--dry-run", "--json"])
        );
        let limited = ["--json", "--limit", "10M"];
        insta::assert_snapshot!("what changed json", send("zeebe-snap-2", &limited));
        assert_eq!(world.received(&world.place, "zeebe-snap-2"), "two\n");
    });
}

#[test]
fn what_was_cut_is_removed_and_begun_anew() {
    apart(|dir| {
        let world = World::new(dir);
        world.run("send", &["zeebe-snap-1", "--to", world.place()]);
        fs::remove_file(world.place.join("zeebe-snap-1.seal")).unwrap();
        let said = world.run(
            "send",
            &["zeebe-snap-1", "--to", world.place(), "--dry-run"],
        );
        insta::assert_snapshot!("dry run of what was cut", said);
        world.run("send", &["zeebe-snap-1", "--to", world.place()]);
        assert!(world.place.join("zeebe-snap-1.seal").exists());
        assert_eq!(world.received(&world.place, "zeebe-snap-1"), "one\n");
    });
}

#[test]
fn a_stream_goes_through_a_file() {
    apart(|dir| {
        let world = World::new(dir);
        let file = |name: &str| world.dir.join(name);
        let save = |name: &str, arguments: &[&str]| {
            let mut command = world.stream("send", arguments);
            let output = command.stdout(File::create(file(name)).unwrap()).output();
            assert_eq!(world.said(&output.unwrap()), "---\n[exit 0]");
        };
        save("all", &["zeebe-snap-1"]);
        save("changed", &["zeebe-snap-2", "--base", "zeebe-snap-1"]);
        let receive = |name: &str, more: &[&str]| {
            let mut command = world.stream("receive", &[&[world.place()], more].concat());
            world.said(
                &command
                    .stdin(File::open(file(name)).unwrap())
                    .output()
                    .unwrap(),
            )
        };
        insta::assert_snapshot!("received without its base", receive("changed", &[]));
        insta::assert_snapshot!("dry run of receiving", receive("all", &["--dry-run"]));
        insta::assert_snapshot!("received", receive("all", &[]));
        insta::assert_snapshot!("received twice", receive("all", &[]));
        let said = receive("changed", &["--json"]);
        let good = said.contains("\"name\": \"zeebe-snap-1\"") && said.ends_with("[exit 0]");
        assert!(good, "{said}");
        for (name, content) in [("zeebe-snap-1", "one\n"), ("zeebe-snap-2", "two\n")] {
            assert_eq!(world.received(&world.place, name), content);
        }
        // What is received so is a base for what is sent.
        world.take("zeebe-snap-3", "three\n");
        let said = world.run("send", &["zeebe-snap-3", "--to", world.place(), "--json"]);
        assert!(said.contains("\"name\": \"zeebe-snap-2\""), "{said}");

        let all = fs::read(file("all")).unwrap();
        fs::write(file("cut"), &all[..all.len() - 10]).unwrap();
        let elsewhere = world.place.with_file_name("elsewhere");
        let mut command = world.stream("receive", &[elsewhere.to_str().unwrap()]);
        let said = world.said(
            &command
                .stdin(File::open(file("cut")).unwrap())
                .output()
                .unwrap(),
        );
        insta::assert_snapshot!("received, and cut", said);
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);

        let dump = world.run("dump", &[file("all").to_str().unwrap()]);
        assert!(
            dump.contains("subvol          ./zeebe-snap-1 ") && dump.ends_with("[exit 0]"),
            "{dump}"
        );
        let mut both = Command::new("bash");
        both.args([
            "-c",
            "set -o pipefail; \"$1\" stream dump \"$2\" | true",
            "-",
            PROGRAM,
        ]);
        assert!(
            both.arg(file("all")).status().unwrap().success(),
            "a reader that goes away"
        );
    });
}

#[test]
fn what_cannot_be_sent_is_refused_with_reasons() {
    apart(|dir| {
        let world = World::new(dir);
        let refused = |arguments: &[&str]| world.run("send", arguments);
        insta::assert_snapshot!("no such snapshot", refused(&["zeebe-snap-9"]));
        insta::assert_snapshot!(
            "no such snapshot json",
            refused(&["zeebe-snap-9", "--json", "--to", "/"])
        );
        let no_place = ["zeebe-snap-1", "--to", "/proc/nothing"];
        insta::assert_snapshot!("no place", refused(&no_place));
        let no_base = [
            "zeebe-snap-2",
            "--base",
            "zeebe-snap-1",
            "--to",
            world.place(),
        ];
        insta::assert_snapshot!("no base", refused(&no_base));
        let store = world.data.with_file_name(".zeebe-snap").join("data");
        fs::remove_file(store.join("zeebe-snap-2.json")).unwrap();
        insta::assert_snapshot!("not ours", refused(&["zeebe-snap-2"]));
        fs::create_dir_all(world.place.join("zeebe-snap-1")).unwrap();
        let taken = ["zeebe-snap-1", "--to", world.place()];
        insta::assert_snapshot!("taken", refused(&taken));
    });
}
