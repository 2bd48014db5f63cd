//! The program from outside: its whole output and its exit codes, as a person and a script see them. No broker runs here.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod down;
mod init;
mod lost;
mod mask;
mod refusals;
mod secrets;
mod stream;
mod tree;

use std::path::Path;
use std::process::{Command, Stdio};

/// A cluster.toml whose brokers do not run, and whose data is not where it says.
fn cluster(dir: &Path) -> String {
    let broker = |node: u32| {
        let data = dir.join(format!("broker {node}/data"));
        std::fs::create_dir_all(&data).unwrap();
        format!(
            "[[broker]]\nnode_id = {node}\ndata = {data:?}\nbackend = \"btrfs\"\nmanagement = \"http://127.0.99.1:1\"\n\
             service = {{ start = [\"/bin/true\"], log = \"/dev/null\", environment = {{ TOKEN = \"hunter2\" }} }}\n"
        )
    };
    format!("name = \"orders\"\n{}{}", broker(0), broker(1))
}

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        // On a memory file system.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        std::fs::write(dir.path().join("cluster.toml"), cluster(dir.path())).unwrap();
        World { dir }
    }

    fn edit(&self, from: &str, to: &str) {
        let path = self.dir.path().join("cluster.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    /// Runs the program on this cluster.
    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zeebe-snap"));
        command
            .arg("--cluster")
            .arg(self.dir.path().join("cluster.toml"))
            .arg("--state-dir")
            .arg(self.dir.path().join("state"))
            .args(arguments);
        self.outcome(&mut command)
    }

    /// Standard output, standard error and exit code as one text, with this world's folder made plain.
    fn outcome(&self, command: &mut Command) -> String {
        let output = command
            .env("COLUMNS", "100")
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        format!(
            "{}---\n{}[exit {}]",
            text(&output.stdout),
            text(&output.stderr),
            output.status.code().unwrap()
        )
        .replace(self.dir.path().to_str().unwrap(), "/srv")
    }
}

#[test]
fn help_names_every_verb_that_is_built() {
    insta::assert_snapshot!(World::new().run(&["--help"]));
    for verb in [
        "init", "check", "backup", "list", "show", "verify", "restore", "undo", "release",
        "forget", "status", "recover", "stream", "tree",
    ] {
        insta::assert_snapshot!(
            format!("help of {verb}"),
            World::new().run(&[verb, "--help"])
        );
    }
    for verb in ["send", "receive", "list", "extract", "destroy", "dump"] {
        insta::assert_snapshot!(
            format!("help of stream {verb}"),
            World::new().run(&["stream", verb, "--help"])
        );
    }
    for verb in ["clone", "digest", "compare"] {
        insta::assert_snapshot!(
            format!("help of tree {verb}"),
            World::new().run(&["tree", verb, "--help"])
        );
    }
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    for verb in ["ship", "prune", "drill"] {
        let said = World::new().run(&[verb, "latest", "--json"]);
        assert_eq!(
            said,
            format!("---\nzeebe-snap: `{verb}` is not built yet\n[exit 2]")
        );
    }
}

#[test]
fn a_verb_that_is_misspelt_is_usage() {
    insta::assert_snapshot!(World::new().run(&["bakup"]));
}

#[test]
fn a_cluster_whose_backend_does_not_fit_is_refused_with_reasons() {
    let world = World::new();
    insta::assert_snapshot!("check refused", world.run(&["check"]));
    insta::assert_snapshot!("check refused json", world.run(&["check", "--json"]));
    insta::assert_snapshot!("backup refused", world.run(&["backup"]));
    insta::assert_snapshot!("status of brokers that are down", world.run(&["status"]));
    assert!(!world.run(&["status", "--json"]).contains("hunter2"));
}

/// Brokers that are told something else than cluster.toml says.
#[test]
fn what_brokers_are_told_and_cannot_be_right_is_refused_and_no_secret_is_shown() {
    let world = World::new();
    let config = world.dir.path().join("application.yaml");
    std::fs::write(
        &config,
        "zeebe.broker:\n  cluster:\n    nodeId: ${ORDINAL:1}\n    clusterSize: 3\n  cluster.raft.flush.delayTime: 30s\n\
         \x20 exporters:\n    elasticsearch:\n      className: x\n      args.authentication.password: hunter2\n",
    )
    .unwrap();
    for node in [0, 1] {
        world.edit(
            "backend = \"btrfs\"",
            &format!("backend = \"auto\"\nconfig = [{config:?}]"),
        );
        world.edit(
            "environment = { TOKEN = \"hunter2\" }",
            &format!("environment = {{ TOKEN = \"hunter2\", ZEEBE_BROKER_CLUSTER_PARTITIONSCOUNT = \"{}\" }}", node + 3),
        );
    }
    let said = world.run(&["check"]);
    assert!(!said.contains("hunter2") && !world.run(&["check", "--json"]).contains("hunter2"));
    insta::assert_snapshot!("check of what brokers are told", said);
}

#[test]
fn how_each_broker_is_captured_is_said() {
    let world = World::new();
    for _ in 0..2 {
        world.edit("backend = \"btrfs\"", "backend = \"auto\"");
    }
    insta::assert_snapshot!("check good", world.run(&["check"]));
    insta::assert_snapshot!("check good json", world.run(&["check", "--json"]));
    insta::assert_snapshot!(
        "dry run of a backup",
        world
            .run(&["backup", "--dry-run"])
            .split_inclusive('\n')
            .map(without_times)
            .collect::<String>()
    );
}

/// A line with the set's id made plain.
fn without_times(line: &str) -> String {
    let id = |word: &str| word.len() == 16 && word.starts_with("20") && word.ends_with('Z');
    let between = |c: char| !c.is_ascii_alphanumeric();
    let ids: Vec<&str> = line.split(between).filter(|word| id(word)).collect();
    ids.iter()
        .fold(line.to_owned(), |line, id| line.replace(id, "SET"))
}

#[test]
fn an_empty_catalog_is_said_and_nothing_is_found_in_it() {
    let world = World::new();
    assert_eq!(world.run(&["list"]), "There are no sets.\n---\n[exit 0]");
    assert_eq!(world.run(&["recover"]), "Nothing is owed.\n---\n[exit 0]");
    insta::assert_snapshot!("no latest", world.run(&["restore", "latest", "--yes"]));
    insta::assert_snapshot!("no such set", world.run(&["show", "20261123T014500Z"]));
}

#[test]
fn a_wrong_cluster_toml_says_where_and_what() {
    let world = World::new();
    world.edit("management", "managment");
    insta::assert_snapshot!("unknown key", world.run(&["check"]));
    std::fs::remove_file(world.dir.path().join("cluster.toml")).unwrap();
    insta::assert_snapshot!("no cluster.toml", world.run(&["check"]));
}

#[test]
fn two_runs_do_not_meet() {
    let world = World::new();
    let state = world.dir.path().join("state");
    std::fs::create_dir_all(&state).unwrap();
    let lock = std::fs::File::create(state.join("lock")).unwrap();
    lock.lock().unwrap();
    insta::assert_snapshot!("locked", world.run(&["backup"]));
    drop(lock);
    assert!(world.run(&["backup"]).ends_with("[exit 3]"));
}
