//! The `init` verb, where no process is to be seen but those that a test starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::World;
use crate::mask::masked;

/// Runs the program in a process namespace of its own, beside `brokers`: a shell's commands that leave processes behind.
fn alone(world: &World, brokers: &str, arguments: &str) -> String {
    let own = env!("CARGO_BIN_EXE_zeebe-snap");
    let script =
        format!("{brokers}\n{own} --cluster \"$DIR/found/cluster.toml\" {arguments}\nexit $?");
    let mut command = Command::new("unshare");
    command.args([
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
        &script,
    ]);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TZ", "UTC")
        .env("DIR", world.dir.path());
    masked(&world.outcome(&mut command))
}

/// A world with an install of Zeebe, and with a JVM that is a shell.
fn world() -> World {
    let world = World::new();
    let dir = world.dir.path();
    for (file, content) in [
        ("zeebe/lib/zeebe-broker-8.5.8.jar", ""),
        ("zeebe/bin/broker", "#!/bin/sh\n"),
        (
            "zeebe/config/application.yaml",
            "zeebe.broker.cluster:\n  clusterName: orders\n  clusterSize: 2\n",
        ),
    ] {
        fs::create_dir_all(dir.join(file).parent().unwrap()).unwrap();
        fs::write(dir.join(file), content).unwrap();
    }
    fs::create_dir(dir.join("bin")).unwrap();
    fs::copy("/bin/sh", dir.join("bin/java")).unwrap();
    for program in ["zeebe/bin/broker", "bin/java"] {
        fs::set_permissions(dir.join(program), fs::Permissions::from_mode(0o755)).unwrap();
    }
    world
}

/// Two brokers that answer nobody.
const BROKERS: &str = r#"
broker() {
    export ZEEBE_BROKER_CLUSTER_NODEID=$1 ZEEBE_BROKER_DATA_DIRECTORY="$DIR/broker $1/data"
    export MANAGEMENT_SERVER_ADDRESS=127.0.99.$1 MANAGEMENT_SERVER_PORT=1 MY_PASSWORD=hunter2 ES_URL=http://es:9200
    "$DIR/bin/java" -c 'sleep 1000; true' "-Dapp.home=$DIR/zeebe" -Dapp.name=broker "-Dbasedir=$DIR/zeebe" \
        -classpath "$DIR/zeebe/config:$DIR/zeebe/lib/*" io.camunda.zeebe.broker.StandaloneBroker >>"$DIR/broker-$1.log" &
    until [ "$(readlink /proc/$!/exe)" = "$DIR/bin/java" ] && grep -qs StandaloneBroker /proc/$!/cmdline; do :; done
}
broker 0
broker 1
"#;

#[test]
fn where_no_broker_runs_it_says_what_it_looked_at() {
    let world = world();
    insta::assert_snapshot!("init finds nothing", alone(&world, "", "init"));
    insta::assert_snapshot!("init finds nothing json", alone(&world, "", "init --json"));
    assert!(!world.dir.path().join("found").exists());
}

#[test]
fn what_runs_is_written_down_once() {
    let world = world();
    insta::assert_snapshot!("init print", alone(&world, BROKERS, "init --print"));
    let file = world.dir.path().join("found/cluster.toml");
    assert!(!file.exists());
    insta::assert_snapshot!("init json", alone(&world, BROKERS, "init --json"));
    let written = fs::read_to_string(&file).unwrap();
    assert!(!written.contains("hunter2"), "{written}");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    insta::assert_snapshot!("init again", alone(&world, BROKERS, "init --name mine"));
    assert_eq!(fs::read_to_string(&file).unwrap(), written);

    fs::remove_file(&file).unwrap();
    insta::assert_snapshot!("init", alone(&world, BROKERS, "init --name mine"));
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .contains("\nname = \"mine\"\n")
    );
    insta::assert_snapshot!(
        "init with a wrong name",
        alone(&world, "", "init --name 'my cluster'")
    );
}
