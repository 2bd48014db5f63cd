//! Java virtual machines that run a broker: their command lines and environments, as /proc has them.
//!
//! What is in here can be secret. It is read by this room alone, and neither printed nor written.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::MAIN_CLASSES;

/// A process that runs a broker.
#[derive(Clone, PartialEq, Eq)]
pub struct Jvm {
    /// Its number.
    pub pid: i32,
    /// Its own folder in /proc.
    pub folder: PathBuf,
    /// Its command line.
    pub words: Vec<String>,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// Where it works, by its own names.
    pub cwd: PathBuf,
    /// The program, by its own names: `…/bin/java`.
    pub program: PathBuf,
    /// `/proc/PID/cgroup`.
    pub cgroup: String,
    /// Its effective user and group.
    pub user: (u32, u32),
    /// Its parent and its process group.
    pub parent: i32,
    /// See above.
    pub group: i32,
}

/// Without values that may be secrets.
impl fmt::Debug for Jvm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jvm")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// What a look at all processes gave.
#[derive(Debug, Default)]
pub struct Looked {
    /// How many processes there are.
    pub processes: usize,
    /// Those that run a broker.
    pub brokers: Vec<Jvm>,
    /// Those that run one, but cannot be looked into.
    pub hidden: Vec<i32>,
}

/// Looks at every process below `proc`.
pub fn all(proc: &Path) -> Result<Looked> {
    let mut looked = Looked::default();
    let listing = fs::read_dir(proc).with_context(|| format!("list {}", proc.display()))?;
    for entry in listing {
        let name = entry
            .with_context(|| format!("list {}", proc.display()))?
            .file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        looked.processes += 1;
        let folder = proc.join(&name);
        // What cannot be read has ended meanwhile, or is a kernel's.
        let words = strings(&fs::read(folder.join("cmdline")).unwrap_or_default());
        if !runs_a_broker(&words) {
            continue;
        }
        match read(pid, &folder, words) {
            Ok(jvm) if jvm.is_java() && jvm.is_a_broker() => looked.brokers.push(jvm),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                looked.hidden.push(pid);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("read {}", folder.display())),
        }
    }
    looked.brokers.sort_by_key(|jvm| jvm.pid);
    Ok(looked)
}

/// A main class is a word by itself, and not the first.
fn runs_a_broker(words: &[String]) -> bool {
    words.iter().skip(1).any(|word| is_main_class(word))
}

fn is_main_class(word: &str) -> bool {
    MAIN_CLASSES.contains(&word)
}

fn read(pid: i32, folder: &Path, words: Vec<String>) -> io::Result<Jvm> {
    let environment = strings(&fs::read(folder.join("environ"))?)
        .into_iter()
        .filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect();
    let (parent, group) = family(&fs::read(folder.join("stat"))?);
    Ok(Jvm {
        pid,
        words,
        environment,
        cwd: fs::read_link(folder.join("cwd"))?,
        program: fs::read_link(folder.join("exe"))?,
        cgroup: fs::read_to_string(folder.join("cgroup")).unwrap_or_default(),
        user: owner(&fs::read(folder.join("status"))?),
        parent,
        group,
        folder: folder.to_owned(),
    })
}

fn strings(bytes: &[u8]) -> Vec<String> {
    bytes
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// Parent and process group (proc_pid_stat(5), fields 4 and 5). The name before them, in brackets, can hold anything.
pub fn family(stat: &[u8]) -> (i32, i32) {
    let text = String::from_utf8_lossy(stat);
    let rest = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let mut fields = rest.split(' ').skip(1).map(|field| field.parse().ok());
    let mut next = || fields.next().flatten().unwrap_or_default();
    (next(), next())
}

/// Effective user and group (proc_pid_status(5): real, effective, saved, file system).
fn owner(status: &[u8]) -> (u32, u32) {
    let text = String::from_utf8_lossy(status);
    let id = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or_default()
    };
    (id("Uid:"), id("Gid:"))
}

impl Jvm {
    /// A shell or a grep that has the class's name among its words is none.
    fn is_java(&self) -> bool {
        let name = self.program.file_name().and_then(|name| name.to_str());
        // What was replaced by an update is shown with this ending.
        name.is_some_and(|name| name.trim_end_matches(" (deleted)") == "java")
    }

    /// The all-in-one runs a broker unless its profiles leave it out.
    fn is_a_broker(&self) -> bool {
        let all_in_one = self.main_class().ends_with(".StandaloneCamunda");
        let profiles = self.setting("spring.profiles.active", "SPRING_PROFILES_ACTIVE");
        !all_in_one
            || profiles.is_none_or(|active| active.split(',').any(|one| one.trim() == "broker"))
    }

    fn main_at(&self) -> usize {
        let words = self.words.iter().skip(1);
        1 + words.take_while(|word| !is_main_class(word)).count()
    }

    /// The class it runs.
    pub fn main_class(&self) -> &str {
        self.words.get(self.main_at()).map_or("", String::as_str)
    }

    /// What stands before the class: what is for the JVM.
    pub fn options(&self) -> &[String] {
        self.words.get(1..self.main_at()).unwrap_or_default()
    }

    /// What stands after the class: what is for the broker.
    pub fn arguments(&self) -> &[String] {
        self.words.get(self.main_at() + 1..).unwrap_or_default()
    }

    /// All that can hold settings: `-D…` from the command line and from the variables that the JVM itself reads
    /// (JAVA_TOOL_OPTIONS; JDK_JAVA_OPTIONS, which its launcher reads), then the broker's arguments.
    pub fn settings(&self) -> Vec<String> {
        let variables = ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"];
        let read = variables
            .iter()
            .filter_map(|name| self.environment.get(*name));
        let read = read.flat_map(|text| text.split_whitespace().map(str::to_owned));
        read.chain(self.options().iter().cloned())
            .filter(|word| word.starts_with("-D"))
            .chain(self.arguments().iter().cloned())
            .collect()
    }

    /// The value of `-Dkey=…`; the last one holds.
    pub fn property(&self, key: &str) -> Option<String> {
        let of = |word: &String| {
            let (name, value) = word.strip_prefix("-D")?.split_once('=')?;
            (name == key).then(|| value.to_owned())
        };
        self.settings().iter().rev().find_map(of)
    }

    /// A setting that Spring itself reads: as an argument, else as a property, else from the environment.
    pub fn setting(&self, key: &str, variable: &str) -> Option<String> {
        let argument = |word: &String| {
            let (name, value) = word.strip_prefix("--")?.split_once('=')?;
            (name == key).then(|| value.to_owned())
        };
        let arguments = self.arguments().iter().rev().find_map(argument);
        arguments
            .or_else(|| self.property(key))
            .or_else(|| self.environment.get(variable).cloned())
            .filter(|value| !value.is_empty())
    }

    /// The entries of its class path.
    pub fn class_path(&self) -> Vec<PathBuf> {
        let options = self.options();
        let named = |word: &String| ["-cp", "-classpath", "--class-path"].contains(&word.as_str());
        let after = options
            .iter()
            .position(named)
            .and_then(|at| options.get(at + 1));
        let joined = options
            .iter()
            .find_map(|word| word.strip_prefix("--class-path="));
        let text = after.map(String::as_str).or(joined);
        let text = text.or_else(|| self.environment.get("CLASSPATH").map(String::as_str));
        text.unwrap_or_default()
            .split(':')
            .filter(|entry| !entry.is_empty())
            .map(|entry| self.cwd.join(entry))
            .collect()
    }

    /// The folder of its install, by its own names: what its start script says, else the one around the `lib` of its
    /// class path.
    pub fn install(&self) -> Option<(PathBuf, &'static str)> {
        for key in ["app.home", "basedir"] {
            if let Some(home) = self.property(key) {
                let from = match key {
                    "app.home" => "-Dapp.home of its command line",
                    _ => "-Dbasedir of its command line",
                };
                return Some((self.cwd.join(home), from));
            }
        }
        let path = self.class_path();
        let lib = path.iter().find_map(|entry| {
            let is_lib = |dir: &Path| dir.file_name().is_some_and(|name| name == "lib");
            let dir = entry.parent().filter(|dir| is_lib(dir))?;
            dir.parent().map(Path::to_owned)
        });
        lib.map(|home| (home, "the class path of its command line"))
    }
}
