//! Processes and tools that are made up, and what is found of them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use anyhow::bail;
use zeebe_snap_backends::cmd::{Cmd, RunError, System};

use crate::discover::{Discovery, Eyes, Found, MAIN_CLASSES, Noted, Runner, cluster, find};
use crate::id::NodeId;

/// Knows two units and two containers.
#[derive(Debug)]
struct Tools;

impl System for Tools {
    fn run(&self, cmd: &Cmd) -> Result<Vec<u8>, RunError> {
        let line = cmd.to_string();
        let answer = match line.rsplit(' ').next().unwrap_or_default() {
            // systemd 252.
            "zeebe-0.service" => {
                "MainPID=100\nId=zeebe-0.service\nLoadState=loaded\nFragmentPath=/etc/systemd/system/zeebe-0.service\n"
            }
            "cron.service" => {
                "MainPID=50\nId=cron.service\nLoadState=loaded\nFragmentPath=/lib/systemd/system/cron.service\n"
            }
            // Docker 28.2.
            id if id == REMOVED => r#"{"name":"/zeebe","remove":true,"networks":{}}"#,
            _ => {
                return Err(RunError::Start {
                    cmd: cmd.clone(),
                    source: std::io::ErrorKind::NotFound.into(),
                });
            }
        };
        Ok(answer.as_bytes().to_vec())
    }
}

const REMOVED: &str = "3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f";

/// A folder of made-up processes, with an install and data for each broker.
struct Host(tempfile::TempDir);

/// What a made-up process is like, where it is not like all.
struct Process<'a> {
    pid: i32,
    words: &'a [&'a str],
    environment: &'a [&'a str],
    cgroup: &'a str,
    group: i32,
    parent: i32,
}

const PLAIN: Process<'static> = Process {
    pid: 100,
    words: &[],
    environment: &[],
    cgroup: "0::/user.slice/user-0.slice/session-3.scope\n",
    group: 100,
    parent: 1,
};

impl Host {
    fn new() -> Host {
        let host = Host(tempfile::tempdir().unwrap());
        host.process("java", Process { pid: 1, ..PLAIN });
        symlink("1", host.path("proc/self")).unwrap();
        for file in [
            "zeebe/lib/zeebe-broker-8.5.8.jar",
            "zeebe/config/application.yaml",
            "zeebe/bin/broker",
        ] {
            fs::create_dir_all(host.path(file).parent().unwrap()).unwrap();
            fs::write(host.path(file), "").unwrap();
        }
        let run = fs::Permissions::from_mode(0o755);
        fs::set_permissions(host.path("zeebe/bin/broker"), run).unwrap();
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `@` in words and environment is this host's folder.
    fn process(&self, program: &str, process: Process<'_>) {
        let folder = self.path(&format!("proc/{}", process.pid));
        let own = self.0.path().to_str().unwrap();
        let strings = |words: &[&str]| words.join("\0").replace('@', own) + "\0";
        fs::create_dir_all(folder.join("fd")).unwrap();
        let write = |name: &str, text: String| fs::write(folder.join(name), text).unwrap();
        write("cmdline", strings(process.words));
        write("environ", strings(process.environment));
        write("cgroup", process.cgroup.to_owned());
        write(
            "stat",
            format!(
                "{} (ja) va) S {} {} 1 0",
                process.pid, process.parent, process.group
            ),
        );
        write(
            "status",
            "Name:\tjava\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n".to_owned(),
        );
        write("comm", format!("{program}\n"));
        symlink(format!("/opt/jdk/bin/{program}"), folder.join("exe")).unwrap();
        symlink("/", folder.join("root")).unwrap();
        symlink("/tmp", folder.join("cwd")).unwrap();
        symlink(self.path("log"), folder.join("fd/1")).unwrap();
    }

    /// A broker whose start script is that of the install.
    fn broker(&self, node: usize, more: &[&str], process: Process<'_>) {
        let data = self.path(&format!("data-{node}"));
        fs::create_dir_all(&data).unwrap();
        let node = format!("ZEEBE_BROKER_CLUSTER_NODEID={node}");
        let data = format!("ZEEBE_BROKER_DATA_DIRECTORY={}", data.display());
        let environment = [&[node.as_str(), data.as_str()], more].concat();
        let words = [
            "/opt/jdk/bin/java",
            "-Xmx1g",
            "-classpath",
            "@/zeebe/config:@/zeebe/lib/*",
            "-Dapp.name=broker",
            "-Dapp.home=@/zeebe",
            "-Dbasedir=@/zeebe",
            MAIN_CLASSES[0],
        ];
        let process = Process {
            words: &words,
            environment: &environment,
            ..process
        };
        self.process("java", process);
    }

    fn find(&self) -> Discovery {
        let ask = |_: &str| bail!("nobody is there");
        find(Eyes {
            processes: &self.path("proc"),
            tools: &Tools,
            ask: &ask,
        })
        .unwrap()
    }

    fn only(&self) -> Found {
        let found = self.find();
        assert!(found.unclear.is_empty(), "{:?}", found.unclear);
        let [broker] = &found.brokers[..] else {
            panic!("{found:?}")
        };
        broker.clone()
    }

    fn unclear(&self) -> String {
        let found = self.find();
        let [unclear] = &found.unclear[..] else {
            panic!("{found:?}")
        };
        // It was given no name.
        assert_eq!(unclear.cluster.as_deref(), Some("zeebe-cluster"));
        format!("{:#}", unclear.why)
    }
}

#[test]
fn a_broker_is_told_by_its_main_class_and_other_programs_are_none() {
    let host = Host::new();
    let class = MAIN_CLASSES[0];
    host.process(
        "grep",
        Process {
            pid: 7,
            words: &["grep", class],
            ..PLAIN
        },
    );
    let other = [
        "java",
        "-jar",
        "x.jar",
        "io.camunda.zeebe.gateway.StandaloneGateway",
    ];
    host.process(
        "java",
        Process {
            pid: 8,
            words: &other,
            ..PLAIN
        },
    );
    let gateway = ["java", MAIN_CLASSES[2]];
    let environment = ["SPRING_PROFILES_ACTIVE=gateway,operate"];
    host.process(
        "java",
        Process {
            pid: 9,
            words: &gateway,
            environment: &environment,
            ..PLAIN
        },
    );
    let found = host.find();
    assert_eq!(
        (found.processes, found.brokers.len(), found.unclear.len()),
        (4, 0, 0)
    );

    host.broker(0, &[], PLAIN);
    let broker = host.only();
    assert_eq!(
        broker.node_id,
        Noted::new(NodeId(0), "environment ZEEBE_BROKER_CLUSTER_NODEID")
    );
    assert_eq!(broker.data.value, host.path("data-0"));
    assert_eq!(
        broker.config.value,
        [host.path("zeebe/config/application.yaml")]
    );
    assert_eq!(broker.install.unwrap().value, host.path("zeebe"));
}

#[test]
fn a_plain_broker_is_started_by_the_script_of_its_install() {
    let host = Host::new();
    host.broker(0, &["MY_SECRET=hunter2", "PATH=/bin"], PLAIN);
    let Runner::Plain {
        start, environment, ..
    } = host.only().runner
    else {
        panic!()
    };
    assert_eq!(start, [host.path("zeebe/bin/broker").to_str().unwrap()]);
    assert_eq!(environment.written["JAVA_HOME"], "/opt/jdk");
    assert!(environment.secret.contains("MY_SECRET"));
}

#[test]
fn config_files_are_those_that_spring_takes() {
    let host = Host::new();
    for file in [
        "more/application.yaml",
        "more/application-prod.yml",
        "one.yaml",
    ] {
        fs::create_dir_all(host.path(file).parent().unwrap()).unwrap();
        fs::write(host.path(file), "").unwrap();
    }
    let own = host.0.path().display().to_string();
    let more = format!(
        "SPRING_CONFIG_ADDITIONAL_LOCATION=optional:file:{own}/more/,optional:file:{own}/none.yaml"
    );
    host.broker(0, &[&more, "SPRING_PROFILES_ACTIVE=prod"], PLAIN);
    let files = |names: &[&str]| names.iter().map(|name| host.path(name)).collect::<Vec<_>>();
    assert_eq!(
        host.only().config.value,
        files(&[
            "zeebe/config/application.yaml",
            "more/application.yaml",
            "more/application-prod.yml"
        ])
    );
    let one = format!("SPRING_CONFIG_LOCATION=file://{own}/one.yaml");
    fs::write(
        host.path("proc/100/environ"),
        [
            one.as_str(),
            &format!("ZEEBE_BROKER_DATA_DIRECTORY={own}/data-0"),
        ]
        .join("\0"),
    )
    .unwrap();
    assert_eq!(host.only().config.value, files(&["one.yaml"]));
}

#[test]
fn one_that_reads_config_from_where_it_works_is_started_there() {
    let host = Host::new();
    fs::create_dir(host.path("work")).unwrap();
    fs::write(host.path("work/own.yaml"), "").unwrap();
    let starts = |more: &[&str]| {
        host.broker(0, more, PLAIN);
        let cwd = host.path("proc/100/cwd");
        fs::remove_file(&cwd).unwrap();
        symlink(host.path("work"), cwd).unwrap();
        let Runner::Plain { start, .. } = host.only().runner else {
            panic!()
        };
        fs::remove_dir_all(host.path("proc/100")).unwrap();
        start.join(" ")
    };
    let work = format!("--chdir={} ", host.path("work").display());
    assert!(!starts(&[]).contains(&work));
    assert!(starts(&["SPRING_CONFIG_ADDITIONAL_LOCATION=own.yaml"]).contains(&work));
    fs::write(host.path("work/application.yml"), "").unwrap();
    assert!(starts(&[]).contains(&work));
}

#[test]
fn a_unit_runs_what_is_its_own_and_not_what_it_happened_to_start() {
    let host = Host::new();
    let unit = |cgroup| Process { cgroup, ..PLAIN };
    host.broker(0, &[], unit("0::/system.slice/zeebe-0.service\n"));
    assert!(matches!(host.only().runner, Runner::Unit { name, .. } if name == "zeebe-0.service"));

    let host = Host::new();
    host.process(
        "cron",
        Process {
            pid: 50,
            group: 50,
            ..PLAIN
        },
    );
    host.broker(0, &[], unit("0::/system.slice/cron.service\n"));
    assert!(matches!(host.only().runner, Runner::Plain { .. }));
}

#[test]
fn what_cannot_be_driven_is_said() {
    let said = |cgroup: &str| {
        let host = Host::new();
        host.broker(0, &[], Process { cgroup, ..PLAIN });
        host.unclear()
    };
    insta::assert_snapshot!(
        [
            said("0::/kubepods.slice/x\n"),
            said("0::/user.slice/user-1000.slice/user@1000.service/app.slice/zeebe.service\n"),
            said(&format!("0::/system.slice/docker-{REMOVED}.scope\n")),
            said(&format!("0::/docker/{}\n", "2e".repeat(32))),
        ]
        .join("\n")
    );
}

#[test]
fn a_supervisor_is_warned_of() {
    let host = Host::new();
    host.process("supervisord", Process { pid: 60, ..PLAIN });
    host.broker(
        0,
        &[],
        Process {
            parent: 60,
            ..PLAIN
        },
    );
    let (cluster, findings) = cluster::one(host.find(), None);
    assert!(cluster.is_some());
    assert!(
        findings
            .0
            .iter()
            .any(|finding| finding.what == "broker 0 was started by supervisord (pid 60)")
    );
}
