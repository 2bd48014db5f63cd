//! Config files as texts: masked, mapped, compared.

use super::super::*;
use proptest::prelude::*;

/// Every word that begins with hunter is a secret.
const SECRETS: &str = r#"# The license: key = hunter-in-a-comment
zeebe:
  broker:
    network.host: 10.0.0.1   # of this broker
    exporters:
      elasticsearch:
        className: io.camunda.zeebe.exporter.ElasticsearchExporter
        args:
          url: http://user:hunter,2/@es.example:9200
          authentication:
            username: elastic
            password: "hunter \" 2" # do not tell
          headers: {Authorization: Bearer hunter0123456, accept: json}
          tokens: [hunter1, 'hunter2', {deep: hunter3}]
          credentials:
            user: hunter4
            pass: |
              hunter5
              hunter6: x
            folded: >-
              hunter7

              hunter8
        jarPath: lib/x.jar
      # kafka:
        # args:
          # producer:
            # sasl.jaas.config: x required password="hunter9";
            # credentials:
              # any: hunter10
            # acks: all
    data.backup:
      s3: {accessKey: hunter11, secretKey: hunter12, bucketName: b}
      azure.connectionString: DefaultEndpointsProtocol=https;AccountName=a;AccountKey=hunter13==
      gcs.auth: none
    security:
      privateKeyPath: /etc/key.pem
      key-store.password: &pw hunter14
      again: {secret: *pw}
      multi: {token: hunter15
        hunter16, x: y}
      pem: |
        -----BEGIN PRIVATE KEY-----
        hunter17
        -----END PRIVATE KEY-----
after: "-Djavax.net.ssl.trustStorePassword=hunter18 -Dx=hunter19"
"#;

#[test]
fn secrets_are_not_shown() {
    insta::assert_snapshot!(masked(SECRETS));
    assert!(!masked(SECRETS).contains("hunter"));
}

#[test]
fn secrets_are_not_shown_in_what_does_not_parse() {
    let masked = masked(&format!("broken: [\n{SECRETS}"));
    assert!(!masked.contains("hunter"), "{masked}");
    assert!(masked.contains("bucketName") || masked.contains("jarPath: lib/x.jar"));
}

#[test]
fn secrets_in_properties_are_not_shown() {
    let text = "# password=hunter1\nzeebe.args.authentication.password=hunter2 hunter3\nserver.port=8080\nx.secret : hunter4\n";
    assert_eq!(
        masked(text),
        "# password=***\nzeebe.args.authentication.password=***\nserver.port=8080\nx.secret : ***\n"
    );
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |(old, new): &(&str, &str)| ((*old).to_owned(), (*new).to_owned());
    pairs.iter().map(own).collect()
}

const ADDRESSES: &str = "# of 10.0.0.1\r\nzeebe:\r\n  broker:\r\n    network: {host: 10.0.0.1, advertisedHost: \"zeebe\"} # 10.0.0.1\r\n\
    \x20   cluster:\r\n      clusterName: zeebe\r\n      initialContactPoints: [ '10.0.0.1:26502', 10.0.0.11:26502, 110.0.0.1:1,\r\n        zeebe:26502, \"B.Example.:26502\", a.b.example:1 ]\r\n\
    \x20   exporters:\r\n      e: {className: io.camunda.zeebe.X, args: {url: \"http://me@zeebe/zeebe?b.example\"}}\r\n\
    \x20   data.directory:   /opt/zeebe/10.0.0.1/x\r\n\t\r\n    v6: ['[fe80::1]:26502', 'fe80::12']\r\n";

#[test]
fn addresses_are_exchanged_whole_and_nothing_else_changes() {
    let map = map(&[
        ("10.0.0.1", "10.9.9.9"),
        ("zeebe", "other"),
        ("b.example", "c.example"),
        ("fe80::1", "fe80::2"),
    ]);
    let text = ADDRESSES.replace("\t\r\n", "");
    let mapped = map_addresses(&text, &map);
    let expected = text
        .replace(
            "{host: 10.0.0.1, advertisedHost: \"zeebe\"}",
            "{host: 10.9.9.9, advertisedHost: \"other\"}",
        )
        .replace("'10.0.0.1:26502', 10.0.0.11", "'10.9.9.9:26502', 10.0.0.11")
        .replace(
            "zeebe:26502, \"B.Example.:26502\"",
            "other:26502, \"c.example.:26502\"",
        )
        .replace(
            "http://me@zeebe/zeebe?b.example",
            "http://me@other/zeebe?c.example",
        )
        .replace("[fe80::1]", "[fe80::2]");
    assert_eq!(mapped, expected);
    let left = |text: &str| {
        let left = addresses_left(text, &map.keys().cloned().collect());
        left.into_iter()
            .map(|(line, host)| format!("{line} {host}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        left(&text),
        [
            "4 10.0.0.1",
            "4 zeebe",
            "7 10.0.0.1",
            "8 zeebe",
            "8 b.example",
            "10 zeebe",
            "10 b.example",
            "12 fe80::1"
        ]
    );
    assert_eq!(left(&mapped), [""; 0]);
}

#[test]
fn addresses_are_exchanged_all_at_once() {
    let swap = map(&[("127.0.0.1", "127.0.0.2"), ("127.0.0.2", "127.0.0.1")]);
    assert_eq!(
        map_addresses("a: 127.0.0.1:1,127.0.0.2:1\n", &swap),
        "a: 127.0.0.2:1,127.0.0.1:1\n"
    );
}

#[test]
fn addresses_of_properties_and_of_what_does_not_parse_are_exchanged_too() {
    let map = map(&[("127.0.0.1", "127.0.0.2")]);
    assert_eq!(
        map_addresses("# 127.0.0.1\nzeebe.host = 127.0.0.1\n\n127.0.0.1=x\n", &map),
        "# 127.0.0.1\nzeebe.host = 127.0.0.2\n\n127.0.0.1=x\n"
    );
    assert_eq!(
        map_addresses("a: [\nhost: 127.0.0.1", &map),
        "a: [\nhost: 127.0.0.2"
    );
}

#[test]
fn a_difference_is_shown_without_secrets() {
    let path = Path::new("/opt/zeebe/config/application.yaml");
    let new = map_addresses(
        SECRETS,
        &map(&[("10.0.0.1", "10.0.1.1"), ("es.example", "es")]),
    );
    assert_eq!(diff(path, Some(SECRETS), SECRETS), "");
    insta::assert_snapshot!("changed", diff(path, Some(SECRETS), &new));
    insta::assert_snapshot!("new", diff(path, None, "host: a\npassword: hunter2"));
    insta::assert_snapshot!(
        "hidden",
        diff(path, Some("password: hunter1\n"), "password: hunter2\n")
    );
}

/// What may stand as a scalar, with its quoting.
fn quoted(value: &str, style: usize) -> String {
    match style {
        0 => value.to_owned(),
        1 => format!("\"{value}\""),
        2 => format!("'{value}'"),
        _ => format!("|-\n            {value}"),
    }
}

proptest! {
    #[test]
    fn a_masked_text_never_has_a_secret(
        secret in "hunter[a-z0-9!$%=/+@.]{1,20}x",
        style in 0..4usize,
        key in prop::sample::select(vec!["password", "SECRET_KEY", "apiToken", "client-secret", "sasl.jaas.config", "credentials.any", "accessKey", "\"key\""]),
        comment in any::<bool>(),
        list in any::<bool>(),
        broken in any::<bool>(),
        newline in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let sign = if comment { "# " } else { "" };
        let value = quoted(&secret, style).replace('\n', &format!("\n{sign}"));
        let entry = if list {
            format!("{sign}          {key}:\n{sign}          - {}", value.replace("            ", "              "))
        } else {
            format!("{sign}          {key}: {value}")
        };
        let tail = if broken { "broken: [" } else { "" };
        let text = format!("zeebe:\n    args:\n          url: http://h\n{entry}\n          after: x\n{tail}").replace('\n', newline);
        let shown = masked(&text);
        prop_assert!(!shown.contains("hunter"), "{text}\n---\n{shown}");
        let (url, after) = ("url: http://h", "after: x");
        prop_assert!(shown.contains(url) && shown.contains(after), "{shown}");
        prop_assert_eq!(masked(&shown), shown);
    }

    #[test]
    fn mapping_twice_changes_nothing_the_second_time(
        hosts in prop::collection::vec("(10\\.0\\.[0-9]\\.[0-9]|[ab]\\.example|[ab])", 1..6),
        text in "((host|points|x|- y): ?|[ab.:,\\[\\]\"'# \n]|10\\.0\\.[0-9]\\.[0-9]|[ab]\\.example){0,40}",
    ) {
        let map: BTreeMap<String, String> =
            hosts.iter().map(|host| (host.clone(), format!("new-{}", host.replace('.', "-")))).collect();
        let once = map_addresses(&text, &map);
        prop_assert_eq!(&map_addresses(&once, &map), &once);
        let hosts: BTreeSet<String> = map.keys().cloned().collect();
        prop_assert!(addresses_left(&once, &hosts).is_empty());
        prop_assert_eq!(addresses_left(&text, &hosts).is_empty(), once == text);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a-z:\\-#|>&*{}\\[\\]'\"!%@= \té😀\n.0-9]{0,60}") {
        drop((masked(&text), map_addresses(&text, &map(&[("a", "b")])), yaml::documents(&text)));
    }
}
