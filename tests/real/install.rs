//! What an admin installs for each broker: Zeebe, its settings, and what starts it.
//! Must not know the program under test.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::cluster::{BROKERS, Cluster, write_script};

/// The Zeebe that a broker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeebe {
    /// 8.5.8.
    Current,
    /// 8.6.0, the next minor. It has no client; that of 8.5.8 works with it.
    Next,
}

impl Zeebe {
    /// Where it is unpacked.
    pub fn home(self) -> PathBuf {
        match self {
            Zeebe::Current => variable("ZEEBE_HOME").into(),
            Zeebe::Next => variable("ZEEBE_NEXT_HOME").into(),
        }
    }
}

impl Zeebe {
    /// Its classes as a JVM has them in memory, where scripts/setup has kept them: a broker takes a third less to start.
    fn classes(self) -> Option<String> {
        std::env::var("ZEEBE_CLASSES")
            .ok()
            .filter(|_| self == Zeebe::Current)
    }
}

/// In the settings and the environment of every broker; nobody may ever read it in what the program says or writes down.
pub const SECRET: &str = "sesame-open-4711";

const SETTINGS: &str = "\
# Broker NODE. It listens on one address alone.
zeebe:
  broker:
    gateway:
      enable: true
      network:
        host: ADDRESS
    network:
      host: ADDRESS
      advertisedHost: ADDRESS   # what the others call it
      internalApi:
        port: PORT
    cluster:
      clusterName: NAME
      clusterSize: 3
      partitionsCount: 3
      replicationFactor: 3
      initialContactPoints:CONTACTS
mail:
  password: SECRET
";

impl Cluster {
    /// The home of a broker (Zeebe writes its log below it).
    pub fn home(&self, broker: usize) -> PathBuf {
        self.dir().join(format!("home-{broker}"))
    }

    /// A broker's settings.
    pub fn settings(&self, broker: usize) -> PathBuf {
        self.home(broker).join("config/application.yaml")
    }

    /// What starts a broker and stays in the foreground.
    pub fn start_script(&self, broker: usize) -> PathBuf {
        self.dir().join(format!("start-{broker}"))
    }

    /// Where the start script leaves the broker's pid.
    pub fn pid_file(&self, broker: usize) -> PathBuf {
        self.dir().join(format!("broker-{broker}.pid"))
    }

    /// Makes all brokers this Zeebe, from their next start on. Their settings stay.
    pub fn install(&self, zeebe: Zeebe) {
        for broker in BROKERS {
            let home = self.home(broker);
            for folder in ["bin", "config"] {
                fs::create_dir_all(home.join(folder)).unwrap();
            }
            let config = "config/log4j2.xml";
            fs::copy(zeebe.home().join(config), home.join(config)).expect(config);
            let start = fs::read_to_string(zeebe.home().join("bin/broker")).unwrap();
            let start = match zeebe.classes() {
                // With a folder on its class path a JVM would not take them.
                Some(_) => {
                    let folder = "\"$BASEDIR\"/config:";
                    assert!(start.contains(folder), "{start}");
                    start.replace(folder, "")
                }
                None => start,
            };
            write_script(&home.join("bin/broker"), &start);
            let more = zeebe.classes().map(|archive| {
                format!(
                    "export SPRING_CONFIG_ADDITIONAL_LOCATION='file:{home}/config/'\n\
                     JAVA_OPTS=\"$JAVA_OPTS -XX:SharedArchiveFile={archive}\"\n\
                     JAVA_OPTS=\"$JAVA_OPTS -Dlog4j2.configurationFile={home}/config/log4j2.xml\"\n",
                    home = home.display(),
                )
            });
            fs::write(home.join("bin/classes"), more.unwrap_or_default()).unwrap();
            let lib = home.join("lib");
            fs::remove_file(&lib).ok();
            symlink(zeebe.home().join("lib"), lib).unwrap();
        }
    }

    /// Writes a broker's settings: all that names an address, and what has to be the same on all.
    pub fn write_settings(&self, broker: usize) {
        let (address, port) = self.internal(broker);
        let contacts = BROKERS.map(|id| {
            let (address, port) = self.internal(id);
            format!("\n        - {address}:{port}")
        });
        let settings = SETTINGS
            .replace("NODE", &broker.to_string())
            .replace("ADDRESS", &address)
            .replace("PORT", &port.to_string())
            .replace("NAME", self.dir().file_name().unwrap().to_str().unwrap())
            .replace("CONTACTS", &contacts.concat())
            .replace("SECRET", SECRET);
        fs::write(self.settings(broker), settings).unwrap();
    }

    /// Writes what starts a broker.
    pub fn write_start_script(&self, broker: usize) {
        // The first compiler only: on two cores it halves the time to ready. No snapshot that the test did not ask for.
        let script = format!(
            r#"#!/bin/sh
echo $$ > '{pid}'
export JAVA_HOME='{java}'
export JAVA_OPTS='-Xms64m -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Djava.io.tmpdir={home}'
# In the settings these two have no effect: Zeebe brings an application.properties of its own, which comes before them.
export SERVER_ADDRESS={address} MANAGEMENT_SERVER_ADDRESS={address}
export ZEEBE_BROKER_CLUSTER_NODEID="${{ZEEBE_BROKER_CLUSTER_NODEID:?}}"
export ZEEBE_BROKER_DATA_DIRECTORY='{data}'
export ZEEBE_BROKER_DATA_LOGSEGMENTSIZE=8MB ZEEBE_BROKER_DATA_SNAPSHOTPERIOD=1h
export ZEEBE_BROKER_DATA_DISK_FREESPACE_PROCESSING=200MB ZEEBE_BROKER_DATA_DISK_FREESPACE_REPLICATION=100MB
export ZEEBE_BROKER_THREADS_CPUTHREADCOUNT=1 ZEEBE_BROKER_THREADS_IOTHREADCOUNT=1
export ZEEBE_BROKER_EXPERIMENTAL_ROCKSDB_MEMORYLIMIT=32MB
export ZEEBE_BROKER_EXPERIMENTAL_ENGINE_JOBS_TIMEOUTCHECKERPOLLINGINTERVAL=200ms
# Asking for jobs where there are none gets an empty answer at once, and no timeout.
export ZEEBE_BROKER_GATEWAY_LONGPOLLING_ENABLED=false
# The first is used by nobody, the second only where there is a backup store.
export ELASTICSEARCH_PASSWORD='{SECRET}' ZEEBE_BROKER_DATA_BACKUP_S3_SECRETKEY='{SECRET}'
. '{home}/bin/classes'
exec '{home}/bin/broker'
"#,
            address = self.address(broker),
            pid = self.pid_file(broker).display(),
            java = variable("JAVA_HOME"),
            data = self.place().named(broker).display(),
            home = self.home(broker).display(),
        );
        write_script(&self.start_script(broker), &script);
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: see scripts/setup"))
}
