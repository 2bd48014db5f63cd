//! Process instances, through Zeebe's own client: made, found again by their jobs, completed.
//! Must not know the program under test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::Cluster;
use crate::rig::tool;

/// One service task of type `t`: an instance waits there until its job is completed.
const PROCESS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:zeebe="http://camunda.org/schema/zeebe/1.0"
    targetNamespace="http://example.com" id="definitions">
  <process id="p" isExecutable="true">
    <startEvent id="start"/>
    <sequenceFlow id="in" sourceRef="start" targetRef="task"/>
    <serviceTask id="task">
      <extensionElements><zeebe:taskDefinition type="t"/></extensionElements>
    </serviceTask>
    <sequenceFlow id="out" sourceRef="task" targetRef="end"/>
    <endEvent id="end"/>
  </process>
</definitions>
"#;

/// Several times as long as brokers of these tests take to see that the lock of a job has run out
/// (`timeoutCheckerPollingInterval`).
const ENOUGH: Duration = Duration::from_secs(1);

/// Keys of process instances, sorted.
pub type Instances = BTreeSet<u64>;

/// Instances that have a job to do, each with the key of that job.
#[derive(Debug)]
pub struct Jobs(BTreeMap<u64, u64>);

impl Jobs {
    /// The instances the jobs belong to.
    pub fn instances(&self) -> Instances {
        self.0.keys().copied().collect()
    }
}

impl Cluster {
    /// Deploys the process that `create` starts instances of.
    pub fn deploy(&self) {
        let file = self.dir().join("p.bpmn");
        fs::write(&file, PROCESS).unwrap();
        tool(&mut self.client(&["deploy", "resource", file.to_str().unwrap()]));
    }

    /// Starts `count` instances and returns their keys.
    pub fn create(&self, count: usize) -> Instances {
        let created: Instances = (0..count)
            .map(|_| {
                let answer = json(&mut self.client(&["create", "instance", "p"]));
                key(&answer["processInstanceKey"])
            })
            .collect();
        assert_eq!(created.len(), count, "every instance has a key of its own");
        created
    }

    /// All instances that have an open job. Their jobs are locked for a second only, so that a later call finds them again.
    /// Those that were locked when their brokers stopped come free some time after these are healthy again, and so there are
    /// no more only when there have been no more for a while.
    pub fn activate_all(&self) -> Jobs {
        let mut all = BTreeMap::new();
        let mut newest = Instant::now();
        while newest.elapsed() < ENOUGH {
            let before = all.len();
            let arguments = "activate jobs t --maxJobsToActivate 1000 --timeout 1s";
            let arguments: Vec<_> = arguments.split(' ').collect();
            let answer = json(&mut self.client(&arguments));
            for job in answer["jobs"].as_array().expect("jobs") {
                all.insert(key(&job["processInstanceKey"]), key(&job["key"]));
            }
            if all.len() != before {
                newest = Instant::now();
            }
            sleep(ENOUGH / 10);
        }
        Jobs(all)
    }

    /// Completes the jobs, and with them their instances.
    pub fn complete(&self, jobs: &Jobs) {
        for job in jobs.0.values() {
            tool(&mut self.client(&["complete", "job", &job.to_string()]));
        }
    }
}

/// How many of the instances lie on each partition.
pub fn by_partition(instances: &Instances) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for key in instances {
        // Zeebe puts the partition's id into the upper bits of a key (Protocol.java, KEY_BITS = 51).
        *counts.entry(key >> 51).or_default() += 1;
    }
    counts
}

fn json(command: &mut Command) -> Value {
    let text = tool(command);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{command:?}: {error}: {text}"))
}

/// A key: zbctl prints 64-bit numbers as JSON strings or numbers, by the message they stand in.
fn key(value: &Value) -> u64 {
    value
        .as_u64()
        .or_else(|| value.as_str()?.parse().ok())
        .unwrap_or_else(|| panic!("a key, not {value}"))
}
