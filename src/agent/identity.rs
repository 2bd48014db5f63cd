//! Which process is the broker: one of which something says so, and no other. Reads only.
//!
//! What is taken for the broker is told to stop, and killed. So it does not do to have a file of the data open, which
//! anybody's `tail` has, nor to have a variable that names it, which every child of an admin's shell has.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs;
use std::net::ToSocketAddrs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;

use super::post::Post;
use crate::config::Service;
use crate::discover::{self, Running};
use crate::process::{self, Holder, Process, has_socket, holder, listeners};
use crate::service::{self, Desk, Phase, State};
use crate::zeebe::settings::{self, Sources};

/// What is known of a broker's process.
#[derive(Debug)]
pub struct Identified {
    /// What its service says, and what is seen besides.
    pub service: State,
    /// Which it is.
    pub process: Option<Process>,
}

/// Finds the process of a broker whose data `holders` have.
pub fn of(desk: &Desk, post: &Post, holders: &[Holder]) -> Result<Identified> {
    let mut service = service::state(desk, &post.broker)?;
    let signs = Signs {
        post,
        main: service.main.as_ref().map(|main| main.pid),
        zeebes: discover::running()?,
        sockets: OnceCell::new(),
    };
    let mut holding = Vec::new();
    for holder in holders {
        if signs.is_broker(holder)? {
            holding.push(holder.clone());
        }
    }
    // One that could not take its data holds nothing.
    let waiting = match holding.is_empty() {
        true => signs.waiting()?,
        false => Vec::new(),
    };
    let names = |all: &[Holder]| {
        let names: Vec<String> = all.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    let found = [top(&holding), top(&waiting)].concat();
    let by_command = matches!(post.broker.service, Service::Command { .. });
    if by_command && service.main.is_none() && !found.is_empty() {
        service.phase = Phase::Up;
        service.seen = format!("{} runs", names(&found));
        if let [one] = found.as_slice() {
            service.main = Some(one.process.clone());
        }
    }
    let also = match (top(&waiting).as_slice(), service.phase) {
        ([], _) | ([_], Phase::Up | Phase::Ending) => None,
        ([one], Phase::Down) => Some(format!("although {}, {one} runs", service.seen)),
        (all, _) => Some(format!("more than one broker runs: {}", names(all))),
    };
    service.trouble = service
        .trouble
        .or(also.map(|also| format!("{also} on {}", post.data.display())));
    // A unit that is down does not stop what runs besides it.
    let process = match found.as_slice() {
        [one] if service.phase != Phase::Down => Some(one.process.clone()),
        _ => service.main.clone(),
    };
    Ok(Identified { service, process })
}

/// Those that no other one of them started.
fn top(all: &[Holder]) -> Vec<Holder> {
    let by_another = |one: &Holder| all.iter().any(|other| other.process.pid == one.parent);
    all.iter().filter(|one| !by_another(one)).cloned().collect()
}

/// What can say that a process is the broker.
struct Signs<'a> {
    post: &'a Post,
    /// What the service knows.
    main: Option<i32>,
    /// All brokers of this host, by their main classes.
    zeebes: Vec<Running>,
    /// Those that listen where its management API is to be.
    sockets: OnceCell<BTreeSet<u64>>,
}

impl Signs<'_> {
    /// Whether one that holds its data is it.
    fn is_broker(&self, holder: &Holder) -> Result<bool> {
        let pid = holder.process.pid;
        if self.was_started_as_it(holder)? {
            return Ok(true);
        }
        let zeebe = self.zeebes.iter().find(|zeebe| zeebe.pid == pid);
        Ok(match zeebe {
            Some(Running { data: None, .. }) => true,
            // One that is told another folder is another broker.
            Some(Running {
                data: Some(said), ..
            }) => self.is_its(said),
            None => self.listens(pid) || self.is_java_of_it(&holder.process)?,
        })
    }

    /// The brokers that are told its data directory, whatever they hold. One that does not say listens as it should.
    fn waiting(&self) -> Result<Vec<Holder>> {
        let is_it = |zeebe: &&Running| match &zeebe.data {
            Some(said) => self.is_its(said),
            None => self.listens(zeebe.pid),
        };
        let all = self.zeebes.iter().filter(is_it);
        all.filter_map(|zeebe| holder(zeebe.pid).transpose())
            .collect()
    }

    /// It, or one it descends from, is what the service started, or what a person started as the service would.
    fn was_started_as_it(&self, one: &Holder) -> Result<bool> {
        let mut next = Some(one.clone());
        while let Some(one) = next.filter(|one| one.process.pid > 1) {
            if Some(one.process.pid) == self.main || self.is_start(&one.process)? {
                return Ok(true);
            }
            next = holder(one.parent)?;
        }
        Ok(false)
    }

    fn is_start(&self, process: &Process) -> Result<bool> {
        let Service::Command { start, .. } = &self.post.broker.service else {
            return Ok(false);
        };
        let words = process::start_of(process)?.unwrap_or_default().arguments;
        // A script comes after what reads it.
        let scripted = words.get(1..).unwrap_or_default();
        Ok(!start.is_empty() && (words.starts_with(start) || scripted.starts_with(start)))
    }

    /// A JVM with another main class, that is told its data directory.
    fn is_java_of_it(&self, process: &Process) -> Result<bool> {
        let program = fs::read_link(format!("/proc/{}/exe", process.pid));
        if !program.is_ok_and(|program| program.ends_with("java")) {
            return Ok(false);
        }
        let start = process::start_of(process)?.unwrap_or_default();
        let told = settings::read(&Sources {
            live: true,
            files: Vec::new(),
            environment: start.environment,
            arguments: start.arguments,
            base: None,
        });
        let said = told.ok().and_then(|told| told.data);
        Ok(said.is_some_and(|said| self.is_its(&said.value)))
    }

    fn is_its(&self, said: &Path) -> bool {
        let identity = |path: &Path| {
            let meta = fs::metadata(path).ok()?;
            Some((meta.dev(), meta.ino()))
        };
        let its = &self.post.data;
        said == its || identity(said).is_some_and(|said| Some(said) == identity(its))
    }

    fn listens(&self, pid: i32) -> bool {
        let find = || {
            let management = &self.post.broker.management;
            let places = point(management).and_then(|point| point.to_socket_addrs().ok());
            let places = places.into_iter().flatten();
            places.flat_map(|place| listeners(place).unwrap_or_default())
        };
        has_socket(pid, self.sockets.get_or_init(|| find().collect()))
    }
}

/// Host and port of a base URL.
fn point(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let point = rest.split('/').next()?;
    let has_port = point
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Some(match (has_port, scheme) {
        (true, _) => point.to_owned(),
        (false, "https") => format!("{point}:443"),
        (false, _) => format!("{point}:80"),
    })
}
