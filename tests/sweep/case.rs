//! One case: a verb that is killed somewhere, what comes after it, and what has to be true then.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::str::FromStr;
use std::time::Duration;

use rustix::process::Signal;

use crate::broker::BROKERS;
use crate::cluster::{Cluster, LONG};
use crate::folder::{self, Generation};
use crate::killing::{Killed, When, Who, journals, lines, tidy};
use crate::layout::Layout;
use crate::processes::signal;
use crate::rig::Kind;
use crate::wait::until;

/// Where and how the data lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    Btrfs,
    Copy,
}

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Backup,
    Restore,
    Undo,
    Forget,
}

/// What comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Recover,
    Backup,
}

/// See above. Its text is all that is needed to run it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub on: On,
    /// The last broker does not run before.
    pub one_is_down: bool,
    pub verb: Verb,
    pub who: Who,
    pub when: When,
    /// The recovery, too, is killed: who, and after how many lines of its own.
    pub again: Option<(Who, usize)>,
    pub then: Then,
    /// Decides how long brokers take to stop.
    pub seed: u64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case {
            on,
            one_is_down,
            verb,
            who,
            when,
            again,
            then,
            seed,
        } = self;
        let up = if *one_is_down { "one-down" } else { "all-up" };
        let again = again.map_or("once".to_owned(), |(who, line)| format!("{who}@{line}"));
        write!(
            f,
            "{on} {up} {} {who} {when} {again} {} {seed}",
            verb.word(),
            then.word()
        )
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Case, String> {
        let words: Vec<&str> = text.split(' ').collect();
        let [on, up, verb, who, when, again, then, seed] = words.as_slice() else {
            return Err(format!("{text:?} has {} words and not 8", words.len()));
        };
        let number = |text: &str| {
            text.parse::<u64>()
                .map_err(|error| format!("{text}: {error}"))
        };
        let who_of = |text: &str| {
            let all = [Who::Coordinator, Who::Agent, Who::Both];
            all.into_iter()
                .find(|who| who.to_string() == text)
                .ok_or(format!("{text:?} is nobody"))
        };
        let verbs = [Verb::Backup, Verb::Restore, Verb::Undo, Verb::Forget];
        Ok(Case {
            on: if *on == "btrfs" { On::Btrfs } else { On::Copy },
            one_is_down: *up == "one-down",
            verb: verbs
                .into_iter()
                .find(|one| one.word() == *verb)
                .ok_or(format!("{verb:?} is no verb"))?,
            who: who_of(who)?,
            when: match when.split_once('=') {
                Some(("line", line)) => When::Line(number(line)? as usize),
                Some(("ms", time)) => When::After(Duration::from_millis(number(time)?)),
                _ => return Err(format!("{when:?} is no time")),
            },
            again: match again.split_once('@') {
                Some((who, line)) => Some((who_of(who)?, number(line)? as usize)),
                None => None,
            },
            then: if *then == "backup" {
                Then::Backup
            } else {
                Then::Recover
            },
            seed: number(seed)?,
        })
    }
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            On::Btrfs => "btrfs",
            On::Copy => "copy",
        })
    }
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Verb::Backup => "backup",
            Verb::Restore => "restore",
            Verb::Undo => "undo",
            Verb::Forget => "forget",
        }
    }
}

impl Then {
    fn word(self) -> &'static str {
        match self {
            Then::Recover => "recover",
            Then::Backup => "backup",
        }
    }
}

impl Case {
    /// What it is counted as.
    pub fn kind(&self) -> String {
        let who = match self.who {
            Who::Coordinator => "coordinator",
            Who::Agent => "agent",
            Who::Both => "coordinator and agent",
        };
        let when = match self.when {
            When::Line(_) => "at a step boundary",
            When::After(_) => "at a random time",
        };
        let again = if self.again.is_some() {
            ", and then the recovery"
        } else {
            ""
        };
        format!(
            "{} on {}: {who} killed {when}{again}",
            self.verb.word(),
            self.on
        )
    }
}

/// A cluster on which one case is run after the other.
#[derive(Debug)]
pub struct Stage {
    cluster: Cluster,
    one_is_down: bool,
    /// The newest that there was.
    newest: Generation,
    /// The sets, all of them complete, and what they are of.
    sets: BTreeMap<String, Generation>,
    /// What former runs keep, by the runs' names, and what it is of.
    kept: BTreeMap<String, Generation>,
}

/// What a verb is going to do to what there is.
#[derive(Debug)]
struct Aim {
    arguments: Vec<String>,
    up: [bool; BROKERS],
    /// What all folders are of.
    old: Generation,
    /// What they are going to be.
    new: Option<Generation>,
    /// The set that goes.
    forgotten: Option<String>,
    /// The run whose kept trees are used up.
    taken: Option<String>,
}

/// More sets, or kept trees of more runs, are let go of.
const MOST: usize = 3;

impl Stage {
    /// A new one.
    pub fn set(on: On, one_is_down: bool) -> Stage {
        let cluster = Cluster::create(match on {
            On::Btrfs => Layout::Subvolumes,
            On::Copy => Layout::Folders(Kind::Ext4),
        });
        cluster.invite_strangers();
        Stage {
            cluster,
            one_is_down,
            newest: 1,
            sets: BTreeMap::new(),
            kept: BTreeMap::new(),
        }
    }

    fn run(&self, arguments: &[String]) {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.cluster.run(&arguments).exits(0);
    }

    fn words(&self, words: &[&str]) -> Vec<String> {
        let more = ["--allow-unhealthy"]
            .into_iter()
            .filter(|_| words == ["backup"] && self.one_is_down);
        words
            .iter()
            .copied()
            .chain(more)
            .map(str::to_owned)
            .collect()
    }

    /// Runs the verb undisturbed. How many lines that makes in the journal, and how long it takes.
    pub fn measure(&mut self, verb: Verb) -> (usize, Duration) {
        tidy(&self.cluster.state());
        let before = lines(&self.cluster.state());
        let aim = self.prepare(verb);
        let before = if journals(&self.cluster.state()).is_empty() {
            0
        } else {
            before.max(lines(&self.cluster.state()))
        };
        let begun = std::time::Instant::now();
        self.run(&aim.arguments);
        let measured = (lines(&self.cluster.state()) - before, begun.elapsed());
        self.look(&aim, None);
        measured
    }

    /// Brings everything to where the verb can begin.
    fn prepare(&mut self, verb: Verb) -> Aim {
        for node in 0..BROKERS {
            let is_up = self.cluster.running(node);
            match (is_up, self.one_is_down && node == BROKERS - 1) {
                (None, false) => self.cluster.start(node),
                (Some(running), true) => {
                    self.cluster.slow_down(node, 0);
                    signal(running.pid, Signal::TERM);
                    until("a broker to end", LONG, || {
                        self.cluster.running(node).is_none().then_some(())
                    });
                }
                _ => {}
            }
        }
        if self.sets.len() > MOST {
            let mut words = self.words(&["forget", "--yes"]);
            words.extend(self.sets.keys().cloned());
            self.run(&words);
            self.sets.clear();
        }
        if self.kept.len() > MOST {
            self.run(&self.words(&["release", "--all", "--yes"]));
            self.kept.clear();
        }
        if self.sets.is_empty() && matches!(verb, Verb::Restore | Verb::Forget)
            || self.kept.is_empty() && verb == Verb::Undo && self.sets.is_empty()
        {
            let aim = self.aim(Verb::Backup);
            self.run(&aim.arguments);
            self.look(&aim, None);
        }
        if self.kept.is_empty() && verb == Verb::Undo {
            self.advance();
            let aim = self.aim(Verb::Restore);
            self.run(&aim.arguments);
            self.look(&aim, None);
            return self.prepare(verb);
        }
        self.advance();
        self.aim(verb)
    }

    /// From here on all folders are of a time of which there is nothing yet.
    fn advance(&mut self) {
        self.newest += 1;
        self.cluster.advance(self.newest);
    }

    fn aim(&self, verb: Verb) -> Aim {
        // From here on starts count.
        fs::write(self.cluster.shared().join("starts"), "").unwrap();
        let mut aim = Aim {
            arguments: self.words(&[verb.word()]),
            up: self.cluster.up(),
            old: self.cluster.found(0).unwrap().generation,
            new: None,
            forgotten: None,
            taken: None,
        };
        let set = self.sets.first_key_value();
        match verb {
            Verb::Backup => {}
            Verb::Restore => {
                let (set, generation) = set.expect("a set");
                aim.arguments.extend([set.clone(), "--yes".to_owned()]);
                aim.new = Some(*generation);
            }
            Verb::Undo => {
                let (run, generation) = self
                    .kept
                    .iter()
                    .max_by_key(|(run, _)| run.rsplit('-').next().map(str::to_owned))
                    .expect("what is kept");
                aim.arguments.push("--yes".to_owned());
                aim.new = Some(*generation);
                aim.taken = Some(run.clone());
            }
            Verb::Forget => {
                let (set, _) = set.expect("a set");
                aim.arguments.extend([set.clone(), "--yes".to_owned()]);
                aim.forgotten = Some(set.clone());
            }
        }
        aim
    }

    /// Runs a case. What was killed, or nothing if the run ended before.
    pub fn play(&mut self, case: &Case) -> Option<Killed> {
        tidy(&self.cluster.state());
        let aim = self.prepare(case.verb);
        for node in 0..BROKERS {
            let random = (case.seed ^ node as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            self.cluster.slow_down(node, 20 + random % 280);
        }
        let arguments: Vec<&str> = aim.arguments.iter().map(String::as_str).collect();
        let killed = self.cluster.run_and_kill(&arguments, case.who, case.when);
        eprintln!(
            "{case}: killed at {:?}; coordinator {:?}",
            killed.at, killed.outcome.code
        );
        let undisturbed = killed.at.is_none();
        assert!(
            !undisturbed || killed.outcome.code == Some(0),
            "undisturbed, {}",
            killed.outcome
        );
        if killed.at.is_some() && case.who != Who::Both {
            // Whoever is left has seen to the brokers.
            self.brokers_are_right(&aim);
        }
        if case.who == Who::Agent {
            assert!(
                matches!(killed.outcome.code, Some(0 | 1)),
                "{}",
                killed.outcome
            );
        }
        self.no_broker_offends(&aim);
        if let Some((who, line)) = case.again {
            let killed = self
                .cluster
                .run_and_kill(&["recover"], who, When::Line(line));
            eprintln!("{case}: recovery killed at {:?}", killed.at);
            self.no_broker_offends(&aim);
        }
        let after = match case.then {
            Then::Recover => self.cluster.run(&["recover"]),
            Then::Backup => self.cluster.run(
                &self
                    .words(&["backup"])
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>(),
            ),
        };
        assert_eq!(
            after.code,
            Some(0),
            "{} after it: {after}",
            case.then.word()
        );
        self.look(&aim, Some(&killed));
        let again = self.cluster.run(&["recover"]).exits(0);
        assert_eq!(again.stdout, "Nothing is owed.\n", "{again}");
        killed.at.is_some().then_some(killed)
    }

    /// That brokers ran on one generation at a time, and on none but these, the new after the old.
    fn no_broker_offends(&self, aim: &Aim) {
        assert_eq!(self.cluster.offences(), "", "offences");
        let starts = fs::read_to_string(self.cluster.shared().join("starts")).unwrap();
        let mut of: Vec<Generation> = starts
            .lines()
            .map(|line| line.split(' ').nth(1).unwrap().parse().unwrap())
            .collect();
        of.dedup();
        let allowed: Vec<Generation> = std::iter::once(aim.old).chain(aim.new).collect();
        assert!(
            of == allowed || of.len() < 2 && of.iter().all(|of| allowed.contains(of)),
            "brokers started on {of:?}; {aim:?}; {starts}"
        );
    }

    /// That all folders are as they were, or all are the new ones, and that those brokers run that are to. What they are of.
    fn brokers_are_right(&self, aim: &Aim) -> Generation {
        let found = self.cluster.found(0).unwrap().generation;
        // What is brought back is started as a whole.
        let up = if Some(found) == aim.new {
            [true; BROKERS]
        } else {
            aim.up
        };
        let found = self.cluster.one_generation(up);
        assert!(
            found == aim.old || Some(found) == aim.new,
            "the folders are of generation {found}; {aim:?}"
        );
        found
    }

    /// That everything is as it may be after the verb, and takes note of it.
    fn look(&mut self, aim: &Aim, killed: Option<&Killed>) {
        let generation = self.brokers_are_right(aim);
        self.no_broker_offends(aim);
        let sets = self.cluster.sets();
        let mut known = BTreeMap::new();
        for (set, state) in &sets {
            assert_eq!(state, "complete", "set {set}");
            let of = self.cluster.set_is_whole(set);
            if let Some(before) = self.sets.get(set) {
                assert_eq!(of, *before, "set {set} is another");
            } else {
                assert!(
                    of == aim.old || of == generation,
                    "set {set} is of {of}; {aim:?}"
                );
                self.cluster.run(&["verify", set]).exits(0);
            }
            known.insert(set.clone(), of);
        }
        for set in self.sets.keys().filter(|set| !sets.contains_key(*set)) {
            assert_eq!(Some(set), aim.forgotten.as_ref(), "set {set} is gone");
        }
        let ended_well = killed.is_none_or(|killed| killed.outcome.code == Some(0));
        if ended_well {
            assert!(
                aim.new.is_none_or(|new| new == generation),
                "it ended well; {aim:?}"
            );
            assert!(
                aim.forgotten
                    .as_ref()
                    .is_none_or(|set| !sets.contains_key(set)),
                "it ended well; {aim:?}"
            );
        }
        self.sets = known;
        self.look_at_kept(aim, generation);
    }

    /// That nothing is lost of what was replaced.
    fn look_at_kept(&mut self, aim: &Aim, generation: Generation) {
        let sets = self.cluster.sets();
        let mut kept: BTreeMap<String, Vec<Generation>> = BTreeMap::new();
        for path in self.cluster.nothing_is_left(&sets) {
            let node = (0..BROKERS)
                .find(|node| path.starts_with(self.cluster.place.store(*node)))
                .expect("of a broker");
            let found = folder::look(&path, node, &[]).unwrap();
            assert!(found.at_rest, "{} was not at rest", path.display());
            let run = path.file_name().unwrap().to_str().unwrap().to_owned();
            kept.entry(run).or_default().push(found.generation);
        }
        let mut expected = self.kept.clone();
        if Some(generation) == aim.new {
            expected.retain(|run, _| Some(run) != aim.taken.as_ref());
            let run = kept
                .keys()
                .find(|run| !expected.contains_key(*run))
                .expect("what was replaced is kept");
            expected.insert(run.clone(), aim.old);
        }
        let all: BTreeMap<String, Vec<Generation>> = expected
            .iter()
            .map(|(run, of)| (run.clone(), vec![*of; BROKERS]))
            .collect();
        assert_eq!(kept, all, "what is kept");
        self.kept = expected;
    }
}
