//! What a restore refuses before it touches anything: each time the whole message.
//!
//! The brokers are down, and their data is made up: a folder says whose it is by the lock files of its partitions. The set is a
//! real one all the same, taken of that data.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const NODES: [usize; 3] = [0, 1, 2];

/// In every broker's settings; never to be seen.
const SECRET: &str = "sesame-open-4711";

const PROGRAM: &str = env!("CARGO_BIN_EXE_zeebe-snap");

/// For `--map`: what the program cannot know.
const MAPPED: &str = "broker-2.example=127.0.97.2";

/// A cluster that is down, one set of it, and data that is another since.
struct Down {
    dir: tempfile::TempDir,
    set: String,
}

impl Down {
    /// Brokers of Zeebe 8.5.8.
    fn new() -> Down {
        // On a memory file system.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut down = Down {
            dir,
            set: String::new(),
        };
        for node in NODES {
            for partition in 1..=3 {
                let at = down
                    .data(node)
                    .join(format!("raft-partition/partitions/{partition}"));
                fs::create_dir_all(&at).unwrap();
                let name = format!("raft-partition-partition-{partition}");
                fs::write(at.join(format!(".{name}.lock")), node.to_string()).unwrap();
                fs::write(at.join(format!("{name}-1.log")), [b'x'; 4096]).unwrap();
            }
            fs::create_dir_all(down.settings(node).parent().unwrap()).unwrap();
            fs::write(down.settings(node), settings(node)).unwrap();
        }
        down.write("cluster.toml", &down.cluster("", "127.0.98"));
        let said = down.run("cluster.toml", &["backup"]);
        assert!(said.ends_with("[exit 0]"), "{said}");
        let sets = fs::read_dir(down.dir.path().join("state/sets")).unwrap();
        let set = sets.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        down.set = set.last().expect("a set");
        for node in NODES {
            fs::write(down.data(node).join("since"), "written since").unwrap();
        }
        down
    }

    fn data(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("broker-{node}/data"))
    }

    fn settings(&self, node: usize) -> PathBuf {
        self.dir
            .path()
            .join(format!("broker-{node}/config/application.yaml"))
    }

    fn snapshot(&self, node: usize) -> PathBuf {
        let store = self.data(node).with_file_name(".zeebe-snap/data");
        store.join(format!("zeebe-snap-{}", self.set))
    }

    /// A cluster.toml of brokers whose folders lie in that folder.
    fn cluster(&self, within: &str, network: &str) -> String {
        let broker = |node: usize| {
            let home = self.dir.path().join(within).join(format!("broker-{node}"));
            format!(
                "[[broker]]\nnode_id = {node}\ndata = {:?}\nconfig = [{:?}]\n\
                 management = \"http://{network}.{node}:9600\"\n",
                home.join("data"),
                home.join("config/application.yaml"),
            )
        };
        format!(
            "name = \"orders\"\n[broker_defaults]\nversion = \"8.5.8\"\n\
             service = {{ start = [\"/bin/true\"], log = \"/dev/null\" }}\n{}",
            NODES.map(broker).concat()
        )
    }

    /// Where the brokers are to go instead: folders with nothing in them, and other addresses.
    fn replacement(&self) -> &'static str {
        for node in NODES {
            let home = self.dir.path().join(format!("other/broker-{node}"));
            fs::create_dir_all(home.join("config")).unwrap();
        }
        self.write("other.toml", &self.cluster("other", "127.0.97"));
        "other.toml"
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    /// Changes one of the files: each place where the text is.
    fn edit(&self, name: &str, from: &str, to: &str) {
        let path = self.dir.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} is not in {name}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    /// Standard output, standard error and exit code as one text, with what changes from run to run made plain.
    fn run(&self, cluster: &str, arguments: &[&str]) -> String {
        self.output(Command::new(PROGRAM), cluster, arguments)
    }

    /// The same on a host that has this /etc/fstab.
    fn run_with_fstab(&self, fstab: &str, arguments: &[&str]) -> String {
        let mut apart = Command::new("unshare");
        // There may be none to mount it over.
        let mount = "mount -t tmpfs none /mnt && cp -a /etc /mnt && cp \"$1\" /mnt/etc/fstab && \
                     mount --bind /mnt/etc /etc && shift && exec \"$@\"";
        apart.args(["--mount", "sh", "-c", mount, "sh"]);
        apart.arg(self.dir.path().join(fstab)).arg(PROGRAM);
        self.output(apart, "cluster.toml", arguments)
    }

    fn output(&self, mut program: Command, cluster: &str, arguments: &[&str]) -> String {
        let output = program
            .arg("--cluster")
            .arg(self.dir.path().join(cluster))
            .arg("--state-dir")
            .arg(self.dir.path().join("state"))
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let said = format!(
            "{}---\n{}[exit {}]",
            text(&output.stdout),
            text(&output.stderr),
            output.status.code().unwrap()
        );
        let said = said.replace(self.dir.path().to_str().unwrap(), "/srv");
        match self.set.is_empty() {
            true => said,
            false => said.replace(&self.set, "SET"),
        }
    }

    /// What was said, with the ids of runs made plain.
    fn plain(&self, said: &str) -> String {
        let runs = fs::read_dir(self.dir.path().join("state/runs")).unwrap();
        runs.fold(said.to_owned(), |said, entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            said.replace(name.trim_end_matches(".jsonl"), "RUN")
        })
    }

    /// What a restore says that is refused, and has to leave all as it was.
    fn refused(&self, set: &str) -> String {
        self.refused_on("cluster.toml", &["restore", set, "--yes"])
    }

    fn refused_on(&self, cluster: &str, arguments: &[&str]) -> String {
        let before = self.files();
        let said = self.run(cluster, arguments);
        let after = self.files();
        let mut other: Vec<_> = before.keys().chain(after.keys()).collect();
        other.retain(|path| before.get(*path) != after.get(*path));
        assert!(other.is_empty(), "not as it was: {other:#?}; {said}");
        said
    }

    /// Every file there is, with its content; of the program's state, the sets.
    fn files(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.dir.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let path = entry.path();
                if path.ends_with("state/runs") || path.ends_with("state/lock") {
                    continue;
                }
                let is_folder = entry.file_type().unwrap().is_dir();
                files.insert(path.clone(), (!is_folder).then(|| fs::read(&path).unwrap()));
                if is_folder {
                    folders.push(path);
                }
            }
        }
        files
    }
}

/// What a broker's settings say; the last contact point is a name for broker 2 that nothing else says.
fn settings(node: usize) -> String {
    format!(
        "zeebe:\n  broker:\n    network:\n      host: 127.0.98.{node}\n      advertisedHost: 127.0.98.{node}\n    \
         cluster:\n      nodeId: {node}\n      clusterSize: 3\n      partitionsCount: 3\n      replicationFactor: 3\n      \
         initialContactPoints:\n        - 127.0.98.0:26502\n        - 127.0.98.1:26502\n        - broker-2.example:26502\n    \
         mail:\n      password: {SECRET}\n"
    )
}

#[test]
fn a_version_that_does_not_fit() {
    let down = Down::new();
    for (case, version) in [("a lower version", "8.5.7"), ("a skipped minor", "8.7.0")] {
        down.edit(
            "cluster.toml",
            "version = \"8.5.8\"",
            &format!("version = {version:?}"),
        );
        insta::assert_snapshot!(case, down.refused("latest"));
        down.edit(
            "cluster.toml",
            &format!("version = {version:?}"),
            "version = \"8.5.8\"",
        );
    }
    down.edit("cluster.toml", "version = \"8.5.8\"\n", "");
    insta::assert_snapshot!("an unknown version", down.refused("latest"));
}

#[test]
fn a_member_that_is_missing() {
    let down = Down::new();
    fs::remove_dir_all(down.snapshot(1)).unwrap();
    insta::assert_snapshot!("a missing member", down.refused("latest"));
}

#[test]
fn a_disk_that_is_not_mounted() {
    let down = Down::new();
    down.write(
        "fstab",
        &format!(
            "/dev/vg/zeebe-1\t{}/ xfs noatime 0 2\n",
            down.data(1).display()
        ),
    );
    let said = down.run_with_fstab("fstab", &["restore", "latest", "--yes"]);
    insta::assert_snapshot!("a disk that is not mounted", said);
}

#[test]
fn node_ids_that_are_swapped() {
    let down = Down::new();
    down.edit("broker-0/config/application.yaml", "nodeId: 0", "nodeId: 1");
    down.edit("broker-1/config/application.yaml", "nodeId: 1", "nodeId: 0");
    insta::assert_snapshot!("swapped node ids", down.refused("latest"));
}

#[test]
fn a_cluster_of_another_size() {
    let down = Down::new();
    for node in NODES {
        let settings = format!("broker-{node}/config/application.yaml");
        down.edit(&settings, "clusterSize: 3", "clusterSize: 5");
    }
    insta::assert_snapshot!("settings of another cluster size", down.refused("latest"));

    let down = Down::new();
    let whole = fs::read_to_string(down.dir.path().join("cluster.toml")).unwrap();
    let end = whole.rfind("[[broker]]").unwrap();
    down.write("cluster.toml", &whole[..end]);
    insta::assert_snapshot!("a broker too few", down.refused("latest"));
}

#[test]
fn a_process_that_holds_the_data() {
    let down = Down::new();
    let file = fs::File::open(down.data(1).join("since")).unwrap();
    let mut holder = Command::new("sleep")
        .arg("600")
        .stdin(file)
        .spawn()
        .unwrap();
    let said = down.refused("latest");
    assert_eq!(holder.try_wait().unwrap(), None, "it is let live; {said}");
    holder.kill().unwrap();
    holder.wait().unwrap();
    let said = said.replace(&format!(" {}", holder.id()), " PID");
    insta::assert_snapshot!("a process that holds the data", said);
}

/// One bit, and the times as they were: nothing but the digest can tell.
#[test]
fn a_file_that_is_damaged() {
    let down = Down::new();
    let log = "raft-partition/partitions/2/raft-partition-partition-2-1.log";
    let path = down.snapshot(1).join(log);
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    let mut content = fs::read(&path).unwrap();
    content[2000] ^= 1;
    let mut file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all(&content).unwrap();
    file.set_modified(written).unwrap();
    drop(file);
    insta::assert_snapshot!("a damaged file", down.refused("latest"));
}

/// Where broker 1 is to go there is room for the bytes, and not for the files.
#[test]
fn a_disk_that_is_full() {
    let down = Down::new();
    let home = down.dir.path().join("other/broker-1");
    fs::create_dir_all(&home).unwrap();
    let full = Full::mount(&home.join("data"));
    let other = down.replacement();
    let said = down.refused_on(other, &["restore", "latest", "--yes", "--map", MAPPED]);
    drop(full);
    // Which file is the first that has no room is chance.
    let file = regex::Regex::new(r#"(create [^\n"]*)"[^"\n]+""#).unwrap();
    insta::assert_snapshot!("a full disk", file.replace_all(&said, "$1\"FILE\""));
}

/// A memory file system for few files.
struct Full(PathBuf);

impl Full {
    fn mount(at: &Path) -> Full {
        fs::create_dir(at).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "nr_inodes=10", "none"]);
        assert!(command.arg(at).status().unwrap().success());
        Full(at.to_owned())
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().ok();
    }
}

#[test]
fn an_address_of_the_source_that_is_left() {
    let down = Down::new();
    let other = down.replacement();
    let said = down.refused_on(other, &["restore", "latest", "--yes"]);
    insta::assert_snapshot!("an address that is left", said);
    assert!(!said.contains(SECRET));
    // What the hint says helps.
    let said = down.refused_on(other, &["restore", "latest", "--dry-run", "--map", MAPPED]);
    assert!(said.ends_with("[exit 0]"), "{said}");
    assert!(said.contains("+        - 127.0.97.2:26502"), "{said}");
    assert!(!said.contains(SECRET));
}

/// The environment is compared, and never written.
#[test]
fn an_address_of_the_source_in_the_environment() {
    let down = Down::new();
    let other = down.replacement();
    down.edit(
        other,
        "log = \"/dev/null\"",
        "log = \"/dev/null\", environment = { ZEEBE_BROKER_NETWORK_ADVERTISEDHOST = \"127.0.98.1\" }",
    );
    let said = down.refused_on(other, &["restore", "latest", "--yes", "--map", MAPPED]);
    insta::assert_snapshot!("an address in the environment", said);
}

#[test]
fn a_set_of_another_cluster() {
    let down = Down::new();
    down.edit("cluster.toml", "name = \"orders\"", "name = \"invoices\"");
    insta::assert_snapshot!("a set of another cluster", down.refused("latest"));
}

/// Its digests did not come in, so that nobody can say whether it is what was captured.
#[test]
fn a_set_that_is_not_complete() {
    let down = Down::new();
    let complete = format!("state/sets/{}/manifest.json", down.set);
    let captured = format!("state/sets/{}/captured.json", down.set);
    let text = fs::read_to_string(down.dir.path().join(&complete)).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    manifest["members"][1]["digest"] = serde_json::Value::Null;
    down.write(&captured, &manifest.to_string());
    fs::remove_file(down.dir.path().join(complete)).unwrap();
    insta::assert_snapshot!("a set that is not complete", down.refused(&down.set));
    let allowed = ["restore", &down.set, "--allow-unverified", "--dry-run"];
    let said = down.refused_on("cluster.toml", &allowed);
    assert!(said.ends_with("[exit 0]"), "{said}");
}

#[test]
fn a_cluster_toml_that_is_wrong() {
    let down = Down::new();
    for (case, from, to) in [
        (
            "a key of the cluster",
            "name =",
            "stop_timout = \"20s\"\nname =",
        ),
        ("a key of a broker", "management =", "managment ="),
        (
            "a key that is like no other",
            "management =",
            "zone = \"a\"\nmanagement =",
        ),
        ("a number that is a text", "node_id = 1", "node_id = \"1\""),
        (
            "a list that is a text",
            "config = [",
            "config = \"/etc/zeebe.yaml\" # [",
        ),
        (
            "a duration without its unit",
            "name =",
            "stop_timeout = 20\nname =",
        ),
    ] {
        let whole = fs::read_to_string(down.dir.path().join("cluster.toml")).unwrap();
        down.edit("cluster.toml", from, to);
        insta::assert_snapshot!(case, down.refused("latest"));
        down.write("cluster.toml", &whole);
    }
}

#[test]
fn a_set_that_does_not_exist() {
    let down = Down::new();
    let near = "20261123T014500Z";
    insta::assert_snapshot!("a set that does not exist", down.refused(near));
    insta::assert_snapshot!("a set that cannot be", down.refused("yesterday"));
}

/// `undo` obeys what `restore` obeys.
#[test]
fn an_undo_that_cannot_be() {
    let down = Down::new();
    let undo = || down.refused_on("cluster.toml", &["undo", "--yes"]);
    insta::assert_snapshot!("nothing to undo", undo());
    let said = down.run(
        "cluster.toml",
        &["restore", "latest", "--yes", "--no-start"],
    );
    assert!(said.ends_with("[exit 0]"), "{said}");
    let said = down.refused_on("cluster.toml", &["undo", "20261123T014500Z", "--yes"]);
    insta::assert_snapshot!("a run that does not exist", down.plain(&said));
    down.edit("cluster.toml", "8.5.8", "8.5.7");
    insta::assert_snapshot!("an undo onto a lower version", down.plain(&undo()));
    down.edit("cluster.toml", "8.5.7", "8.5.8");

    let said = down.run("cluster.toml", &["undo", "--yes", "--no-start"]);
    assert!(said.ends_with("[exit 0]"), "{said}");
    for node in NODES {
        assert!(down.data(node).join("since").exists(), "broker {node}");
    }
    let said = down.run("cluster.toml", &["release", "--all", "--yes"]);
    assert!(said.ends_with("[exit 0]"), "{said}");
    insta::assert_snapshot!("nothing left to undo", down.plain(&undo()));
}
