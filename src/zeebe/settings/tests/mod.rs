mod spelling;
mod texts;

use super::*;

fn sources(files: &[(&str, &str)], environment: &[(&str, &str)], arguments: &[&str]) -> Sources {
    Sources {
        live: false,
        files: files
            .iter()
            .map(|(name, text)| {
                (
                    PathBuf::from(format!("/c/{name}")),
                    text.as_bytes().to_vec(),
                )
            })
            .collect(),
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        base: Some(PathBuf::from("/opt/zeebe")),
    }
}

fn of(files: &[(&str, &str)], environment: &[(&str, &str)], arguments: &[&str]) -> Settings {
    read(&sources(files, environment, arguments)).unwrap()
}

fn told<T: std::fmt::Display>(said: &Option<Said<T>>) -> String {
    said.as_ref().map_or_else(
        || "nobody says it".to_owned(),
        |said| format!("{}, {}", said.value, said.by),
    )
}

const FILE: &str = r"
zeebe:
  broker:
    # the network
    network:
      host: 10.0.0.1
      portOffset: 2
      internal-api.port: 26600
      command_api: {advertisedHost: c.example}
    data.directory: var
    cluster:
      nodeId: 1
      initialContactPoints: [ 10.0.0.1:26502, '10.0.0.2:26502' ]
    exporters:
      Elastic-1:
        className: io.camunda.Exporter
        args: {url: http://es:9200}
";

#[test]
fn a_file_is_read_with_the_line_of_each_value() {
    let settings = of(&[("application.yaml", FILE)], &[], &[]);
    assert_eq!(told(&settings.node_id), "1, /c/application.yaml:12");
    assert_eq!(told(&settings.host), "10.0.0.1, /c/application.yaml:6");
    let data = settings.data.as_ref().unwrap();
    assert_eq!(data.value, Path::new("/opt/zeebe/var"));
    assert_eq!(
        told(&settings.internal_port),
        "26620, /c/application.yaml:8, /c/application.yaml:7 with the offset"
    );
    assert_eq!(told(&settings.command_port), "26521, /c/application.yaml:7");
    assert_eq!(told(&settings.gateway_port), "26520, /c/application.yaml:7");
    assert_eq!(told(&settings.management_port), "nobody says it");
    assert_eq!(
        settings.contact_points.as_ref().unwrap().value,
        ["10.0.0.1:26502", "10.0.0.2:26502"]
    );
    let [exporter] = settings.exporters.as_slice() else {
        panic!("{:?}", settings.exporters)
    };
    assert_eq!(exporter.value, "Elastic-1");
    let addresses: Vec<String> = settings.addresses().into_iter().collect();
    assert_eq!(addresses, ["10.0.0.1", "10.0.0.2", "c.example"]);
}

#[test]
fn arguments_win_over_properties_of_the_jvm_and_these_over_the_environment_and_that_over_files() {
    let files = [
        ("a.yaml", "zeebe.broker.cluster.nodeId: 1"),
        ("b.yml", "zeebe.broker.cluster.nodeId: 2"),
    ];
    let environment = [("ZEEBE_BROKER_CLUSTER_NODEID", "3")];
    let options = [(
        "JAVA_TOOL_OPTIONS",
        "-Xmx1g -Dzeebe.broker.cluster.nodeId=4",
    )];
    let java = ["java", "-Dzeebe.broker.cluster.nodeId=5", "io.camunda.Main"];
    let both = [&java[..], &["--zeebe.broker.cluster.node-id=6"]].concat();
    let node = |files, environment: &[&[_]], arguments| {
        told(&of(files, &environment.concat(), arguments).node_id)
    };
    assert_eq!(node(&files[..1], &[], &[]), "1, /c/a.yaml:1");
    assert_eq!(node(&files, &[], &[]), "2, /c/b.yml:1");
    assert_eq!(
        node(&files, &[&environment], &[]),
        "3, environment ZEEBE_BROKER_CLUSTER_NODEID"
    );
    let by = "argument -Dzeebe.broker.cluster.nodeId";
    assert_eq!(
        node(&files, &[&environment, &options], &[]),
        format!("4, {by}")
    );
    assert_eq!(
        node(&files, &[&environment, &options], &java),
        format!("5, {by}")
    );
    assert_eq!(
        node(&files, &[&environment, &options], &both),
        "6, argument --zeebe.broker.cluster.node-id"
    );
}

#[test]
fn nothing_said_is_nothing() {
    assert_eq!(of(&[("a.yaml", "")], &[], &[]), Settings::default());
    assert_eq!(of(&[], &[], &[]).node(), 0);
    let null = "zeebe.broker.data:\n  directory: null\n  runtimeDirectory:\n";
    assert_eq!(of(&[("a.yaml", null)], &[], &[]), Settings::default());
    assert_eq!(
        of(&[("log4j2.xml", "<a/>"), ("a.env", "%%")], &[], &[]),
        Settings::default()
    );
}

#[test]
fn lists_are_of_one_source() {
    let file = "zeebe.broker.cluster.initialContactPoints:\n- a:1\n- b:1\n- c:1\n";
    let points = |environment: &[(&str, &str)]| {
        of(&[("a.yaml", file)], environment, &[])
            .contact_points
            .map(|said| said.value.join(" "))
    };
    assert_eq!(points(&[]).unwrap(), "a:1 b:1 c:1");
    let name = "ZEEBE_BROKER_CLUSTER_INITIALCONTACTPOINTS";
    assert_eq!(points(&[(name, "d:1, e:1")]).unwrap(), "d:1 e:1");
    let (first, second) = (format!("{name}_0"), format!("{name}_1_"));
    assert_eq!(
        points(&[(&first, "f:1"), (&second, "g:1")]).unwrap(),
        "f:1 g:1"
    );
}

#[test]
fn placeholders_are_resolved() {
    let file = "zeebe.broker:\n  cluster:\n    nodeId: ${ORDINAL}\n    clusterName: ${NAME:${OTHER:x}-y}\n    clusterSize: ${a.size}\n  network.host: ${NOBODY}\na.size: 3\n";
    let settings = of(&[("a.yaml", file)], &[("ORDINAL", "2")], &[]);
    assert_eq!(told(&settings.node_id), "2, /c/a.yaml:3");
    assert_eq!(settings.cluster_name.unwrap().value, "x-y");
    assert_eq!(settings.cluster_size.unwrap().value, 3);
    assert_eq!(settings.host.unwrap().value, "${NOBODY}");
    let circle = of(
        &[(
            "a.yaml",
            "a: ${b}\nb: ${a}\nzeebe.broker.network.host: ${a}",
        )],
        &[],
        &[],
    );
    assert!(circle.host.unwrap().value.contains("${"));
}

#[test]
fn documents_anchors_and_profiles_are_read_as_spring_reads_them() {
    let file = "x: &net {host: h1}\nzeebe.broker.network: {<<: *net, portOffset: 0}\n\
        ---\nspring.config.activate.on-profile: east | west\nzeebe.broker.cluster.nodeId: 7\n\
        ---\nspring.config.activate.on-profile: '!east'\nzeebe.broker.cluster.nodeId: 8\n";
    let active = |profiles: &[(&str, &str)]| of(&[("a.yaml", file)], profiles, &[]);
    assert_eq!(told(&active(&[]).node_id), "8, /c/a.yaml:8");
    let east = active(&[("SPRING_PROFILES_ACTIVE", "broker,east")]);
    assert_eq!(told(&east.node_id), "7, /c/a.yaml:5");
    assert_eq!(told(&east.host), "h1, /c/a.yaml:1");
}

#[test]
fn properties_and_json_are_read_too() {
    let properties = "# c\nzeebe.broker.cluster.node-id : 4\nzeebe.broker.network.host=\\\n  h2\nzeebe.broker.cluster.initialContactPoints[0]=a:1\nzeebe.broker.cluster.initialContactPoints[1]=b:1\n";
    let settings = of(&[("application.properties", properties)], &[], &[]);
    assert_eq!(told(&settings.node_id), "4, /c/application.properties:2");
    assert_eq!(told(&settings.host), "h2, /c/application.properties:3");
    assert_eq!(settings.contact_points.unwrap().value, ["a:1", "b:1"]);
    let json = [(
        "SPRING_APPLICATION_JSON",
        "{\"zeebe.broker.cluster\": {\"nodeId\": 5}}",
    )];
    let settings = of(&[], &json, &["-Dzeebe.broker.cluster.nodeId=6"]);
    assert_eq!(
        told(&settings.node_id),
        "5, environment SPRING_APPLICATION_JSON"
    );
}

#[test]
fn the_names_of_8_8_are_read_and_one_that_contradicts_the_old_is_kept() {
    let file = "camunda:\n  cluster: {node-id: 1, size: 3}\n  data.primary-storage.directory: /d\n";
    let settings = of(
        &[("a.yaml", file)],
        &[("CAMUNDA_CLUSTER_PARTITIONCOUNT", "4")],
        &[],
    );
    assert_eq!(
        told(&settings.partitions),
        "4, environment CAMUNDA_CLUSTER_PARTITIONCOUNT"
    );
    assert_eq!(settings.data.unwrap().value, Path::new("/d"));
    assert!(settings.conflicts.is_empty());
    let both = of(
        &[("a.yaml", file)],
        &[
            ("ZEEBE_BROKER_CLUSTER_NODEID", "2"),
            ("ZEEBE_BROKER_CLUSTER_CLUSTERSIZE", "3"),
        ],
        &[],
    );
    assert_eq!(both.node(), 2);
    let [conflict] = both.conflicts.as_slice() else {
        panic!("{:?}", both.conflicts)
    };
    assert_eq!(conflict.unified.0, "camunda.cluster.node-id");
}

#[test]
fn flushing_is_immediate_unless_something_else_is_said() {
    let flush = |environment: &[(&str, &str)]| of(&[], environment, &[]).flush;
    let (enabled, delay) = (
        "ZEEBE_BROKER_CLUSTER_RAFT_FLUSH_ENABLED",
        "ZEEBE_BROKER_CLUSTER_RAFT_FLUSH_DELAYTIME",
    );
    assert_eq!(flush(&[(enabled, "true"), (delay, "0s")]), Flush::Immediate);
    assert_eq!(flush(&[(delay, "PT0S")]), Flush::Immediate);
    let by = format!("environment {delay}");
    let delay_of = "30s".to_owned();
    assert_eq!(
        flush(&[(delay, "30s")]),
        Flush::Delayed {
            delay: delay_of,
            by
        }
    );
    let by = format!("environment {enabled}");
    assert_eq!(
        flush(&[(enabled, "off"), (delay, "30s")]),
        Flush::Off { by }
    );
    let old = "ZEEBE_BROKER_EXPERIMENTAL_DISABLEEXPLICITRAFTFLUSH";
    let by = format!("environment {old}");
    assert_eq!(flush(&[(old, "true")]), Flush::Off { by });
}

#[test]
fn what_does_not_read_is_named_by_its_place_and_without_its_value() {
    let wrong = |text: &str, environment: &[(&str, &str)]| {
        format!(
            "{:#}",
            read(&sources(&[("a.yaml", text)], environment, &[])).unwrap_err()
        )
    };
    insta::assert_snapshot!(wrong("", &[("ZEEBE_BROKER_CLUSTER_NODEID", "hunter2")]), @"zeebe.broker.cluster.node-id is not a number (environment ZEEBE_BROKER_CLUSTER_NODEID)");
    insta::assert_snapshot!(wrong("zeebe.broker.gateway.network.port: 70000", &[]), @"zeebe.broker.gateway.network.port is not a port (/c/a.yaml:1)");
    insta::assert_snapshot!(wrong("a: b\n  hunter2: [", &[]), @"read /c/a.yaml: line 2: mapping values are not allowed in this context");
    insta::assert_snapshot!(wrong("a: &a [*a]", &[]), @"read /c/a.yaml: line 1: an alias stands before its anchor ends");
    let bomb: String = (1..20)
        .map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1))
        .collect();
    insta::assert_snapshot!(wrong(&format!("a0: &a0 []\n{bomb}"), &[]), @"read /c/a.yaml: line 1: its aliases make it too big");
    insta::assert_snapshot!(wrong(&format!("{}1", "[".repeat(5000)), &[]), @"read /c/a.yaml: line 1: recursion limit exceeded");
}
