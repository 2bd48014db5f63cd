//! A cluster as the commented text of a cluster.toml. Pure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Found;
use super::cluster::FoundCluster;
use super::runner::Runner;

/// Where and when a cluster was found.
#[derive(Debug, Clone)]
pub struct Occasion {
    /// The host's name.
    pub host: String,
    /// The time, for people.
    pub time: String,
}

/// One key of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    /// "service.start".
    path: String,
    /// What it is set to, as TOML.
    value: String,
    /// What it is for, in every file the same.
    why: &'static str,
    /// Where this value was learned.
    from: String,
    /// A person may want to set it: it is written as a comment.
    offered: bool,
}

/// The text of its cluster.toml. What may be secret is not in it: see [`super::Environment`].
pub fn text(cluster: &FoundCluster, occasion: &Occasion) -> String {
    let mut text = comment(&format!(
        "A Zeebe cluster for zeebe-snap, as `zeebe-snap init` found it on host {} on {}. In brackets: where each \
             value was learned. Change what you like; `zeebe-snap check` says whether it holds.",
        occasion.host, occasion.time
    ));
    text += "\n";
    text += &comment(&format!(
        "Part of every set's label. ({})",
        cluster.name.from
    ));
    text += &format!("name = {}\n\n", string(&cluster.name.value));
    text += DEFAULTS;

    let mut explained = BTreeSet::new();
    let mut brokers: Vec<Vec<Key>> = cluster.brokers.iter().map(keys).collect();
    let shared = match brokers.len() {
        1 => Vec::new(),
        _ => take_shared(&mut brokers),
    };
    if !shared.is_empty() {
        text += "\n# What all brokers share.\n[broker_defaults]\n";
        text += &table(&shared, &mut explained);
    }
    for (broker, keys) in cluster.brokers.iter().zip(&brokers) {
        text += &format!("\n[[broker]]\n{}", comment(&about(broker)));
        text += &table(keys, &mut explained);
    }
    for node in &cluster.elsewhere {
        text += "\n";
        text += &comment(&format!(
            "Broker {node} belongs to the cluster, too, and did not run on this host."
        ));
    }
    text
}

/// What holds if the file does not say otherwise.
const DEFAULTS: &str = r#"# These hold as they are.
#max_downtime = "3m"       # past this a backup gives up and starts the brokers
#stop_timeout = "60s"      # a broker that has not ended by then is killed and started
#ready_timeout = "5m"      # after a start, until every partition is healthy
#on_stuck_stop = "kill"    # or "leave": a broker that does not end is left for you to look at
#tool_dirs = []            # folders where tools such as btrfs are looked for first
"#;

fn about(broker: &Found) -> String {
    let version = broker
        .version
        .as_ref()
        .map(|version| format!(", Zeebe {version}"));
    format!("pid {}{}", broker.pid, version.unwrap_or_default())
}

fn keys(broker: &Found) -> Vec<Key> {
    let key = |path: &str, value: String, why: &'static str, from: &str| Key {
        path: path.to_owned(),
        value,
        why,
        from: from.to_owned(),
        offered: false,
    };
    let mut keys = vec![
        key(
            "node_id",
            broker.node_id.value.to_string(),
            "Its node id.",
            &broker.node_id.from,
        ),
        key(
            "data",
            path(&broker.data.value),
            "Its data directory: what is captured and brought back.",
            &broker.data.from,
        ),
        key(
            "management",
            string(&broker.management.value),
            "Its management API.",
            &broker.management.from,
        ),
    ];
    keys.push(key(
        "config",
        list(broker.config.value.iter().map(|file| path(file))),
        "Its config files. They are kept with every set.",
        &broker.config.from,
    ));
    match (&broker.install, &broker.version) {
        (Some(install), _) => keys.push(key(
            "install",
            path(&install.value),
            "Zeebe itself: where its version is read when it does not run.",
            &install.from,
        )),
        (None, Some(version)) => keys.push(Key {
            offered: true,
            ..key(
                "version",
                string(&version.to_string()),
                "Which Zeebe it is, for when it does not run and cannot be asked. To be kept up to date by hand.",
                "management API",
            )
        }),
        (None, None) => {}
    }
    keys.push(key(
        "backend",
        string("auto"),
        "How its data is captured: snapshots where the file system has them, else copies. Or \"btrfs\", or \"copy\".",
        "",
    ));
    match &broker.runner {
        Runner::Unit { name, file } => keys.push(key(
            "service.systemd",
            string(name),
            "The unit that is stopped and started.",
            &format!("its cgroup; {}", file.display()),
        )),
        Runner::Container {
            tool,
            program,
            name,
            ..
        } => {
            let command = |words: &[&str]| {
                list(
                    [path(program)]
                        .into_iter()
                        .chain(words.iter().map(|word| string(word))),
                )
            };
            let from = format!("its cgroup; {tool} inspect");
            keys.push(key(
                "service.start",
                command(&["start", "--attach", name]),
                STARTS,
                &from,
            ));
            // Its own timeout is 10 seconds, after which it kills; zeebe-snap has one of its own.
            keys.push(key(
                "service.stop",
                command(&["stop", "-t", "60", name]),
                "What stops it. It is killed if it has not ended after these seconds.",
                &from,
            ));
            keys.push(log(broker, None));
        }
        Runner::Plain {
            start,
            from,
            environment,
            log: output,
            ..
        } => {
            keys.push(key(
                "service.start",
                list(start.iter().map(|word| string(word))),
                STARTS,
                &format!("no unit and no container runs it; {from}"),
            ));
            keys.push(log(broker, output.as_deref()));
            for (name, value) in &environment.written {
                keys.push(key(
                    &format!("service.environment.{}", bare(name)),
                    string(value),
                    "What it is started with, besides zeebe-snap's own environment. (its own, in /proc)",
                    "",
                ));
            }
            keys.extend(environment.secret.iter().map(|name| Key {
                offered: true,
                ..key(
                    &format!("service.environment.{}", bare(name)),
                    string(""),
                    SECRETS,
                    "",
                )
            }));
            let others: Vec<&str> = environment.other.iter().map(String::as_str).collect();
            if !others.is_empty() {
                keys.push(key(NO_KEY, String::new(), OTHERS, &others.join(" ")));
            }
        }
    }
    keys
}

const STARTS: &str = "What starts it, and stays in the foreground: an argument list, no shell.";
const SECRETS: &str = "Not written, since their values look like secrets. A broker is started WITHOUT what is not written here.";
const OTHERS: &str = "Also in its environment, and not written, since they need not be its: if it does need one, write that.";

/// The path of what is only said.
const NO_KEY: &str = "";

fn log(broker: &Found, output: Option<&Path>) -> Key {
    let usual = PathBuf::from(format!(
        "/var/log/zeebe-broker-{}.log",
        broker.node_id.value
    ));
    Key {
        path: "service.log".to_owned(),
        value: path(output.unwrap_or(&usual)),
        why: "The file to which the output of what starts it is added.",
        from: match output {
            Some(_) => "where its output goes now",
            None => "a proposal",
        }
        .to_owned(),
        offered: false,
    }
}

/// Takes out what all have with the same value. Node id and data stay with each broker.
fn take_shared(brokers: &mut [Vec<Key>]) -> Vec<Key> {
    let own = |key: &Key| ["node_id", "data"].contains(&key.path.as_str());
    let has = |keys: &[Key], wanted: &Key| {
        let same = |key: &Key| {
            (&key.path, &key.value, key.offered) == (&wanted.path, &wanted.value, wanted.offered)
        };
        keys.iter().any(same)
    };
    let Some((first, rest)) = brokers.split_first() else {
        return Vec::new();
    };
    let shared: Vec<Key> = first
        .iter()
        .filter(|key| !own(key) && rest.iter().all(|keys| has(keys, key)))
        .cloned()
        .collect();
    for keys in brokers {
        keys.retain(|key| !has(&shared, key));
    }
    shared
}

/// Keys one after another. What is said of several in a row is said once, and what is `explained` not again.
fn table(keys: &[Key], explained: &mut BTreeSet<&'static str>) -> String {
    let mut text = String::new();
    let mut last = None;
    for key in keys {
        let from = match key.from.as_str() {
            "" => String::new(),
            from => format!("({from})"),
        };
        // What a person is to act on is said wherever it is.
        let acts = key.offered || key.path == NO_KEY;
        let said = match explained.insert(key.why) || acts {
            true => format!("{} {from}", key.why),
            false => from,
        };
        if last != Some(key.why) && !said.is_empty() {
            text += &comment(said.trim_end());
        }
        last = Some(key.why);
        let mark = if key.offered { "#" } else { "" };
        if key.path != NO_KEY {
            text += &format!("{mark}{} = {}\n", key.path, key.value);
        }
    }
    text
}

/// Comment lines of up to about 110 columns.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    let plain = text.replace(char::is_control, "?");
    for word in plain.split(' ') {
        if !line.is_empty() && line.chars().count() + word.chars().count() > 108 {
            lines += &format!("#{line}\n");
            line.clear();
        }
        line += " ";
        line += word;
    }
    lines + &format!("#{line}\n")
}

/// A TOML string.
fn string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn path(path: &Path) -> String {
    string(&path.to_string_lossy())
}

fn list(words: impl Iterator<Item = String>) -> String {
    format!("[{}]", words.collect::<Vec<_>>().join(", "))
}

/// A key: quoted where it has to be.
fn bare(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    match !name.is_empty() && name.chars().all(plain) {
        true => name.to_owned(),
        false => string(name),
    }
}
