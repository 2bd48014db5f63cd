//! The cluster.toml of a test. Knows the format of that file, and nothing of what the program makes of it.

use std::fs;
use std::path::PathBuf;

use crate::cluster::{BROKERS, Cluster, write_script};

/// What a test wants to be different from the plain case.
#[derive(Debug, Default)]
pub struct Setup {
    /// For each broker, the body of a shell script to be its `service.stop`; SIGTERM by the program itself where there is none.
    /// The script finds the broker's pid in `$pid`.
    pub stop: [Option<String>; 3],
    /// `stop_timeout`.
    pub stop_timeout: Option<&'static str>,
    /// `max_downtime`.
    pub max_downtime: Option<&'static str>,
    /// A folder that is searched for tools before all others.
    pub tools: Option<PathBuf>,
}

impl Cluster {
    /// Where `configure` writes.
    pub fn config(&self) -> PathBuf {
        self.dir().join("cluster.toml")
    }

    /// Writes cluster.toml.
    pub fn configure(&self, setup: &Setup) {
        let mut text = String::from("name = \"orders\"\n");
        if let Some(limit) = setup.stop_timeout {
            text += &format!("stop_timeout = {limit:?}\n");
        }
        if let Some(limit) = setup.max_downtime {
            text += &format!("max_downtime = {limit:?}\n");
        }
        if let Some(tools) = &setup.tools {
            text += &format!("tool_dirs = [{tools:?}]\n");
        }
        for broker in BROKERS {
            text += &format!(
                "[[broker]]\n\
                 node_id = {broker}\n\
                 data = {:?}\n\
                 config = [{:?}]\n\
                 install = {:?}\n\
                 management = \"http://{}:9600\"\n\
                 service.start = [{:?}]\n\
                 service.environment = {{ ZEEBE_BROKER_CLUSTER_NODEID = \"{broker}\" }}\n\
                 service.log = {:?}\n",
                self.place().named(broker),
                self.settings(broker),
                self.home(broker),
                self.address(broker),
                self.start_script(broker),
                self.log(broker),
            );
            if let Some(body) = &setup.stop[broker] {
                let script = self.dir().join(format!("stop-{broker}"));
                let pid = self.pid_file(broker);
                let head = format!("#!/bin/sh\nset -e\npid=$(cat {pid:?})\n");
                write_script(&script, &(head + body + "\n"));
                text += &format!("service.stop = [{script:?}]\n");
            }
        }
        fs::write(self.config(), text).unwrap();
    }
}
