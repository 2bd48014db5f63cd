//! Which variables of a broker's environment are written to a cluster.toml, and which are only named.
//!
//! Written is what is known to be the broker's and does not look like a secret, by its name or by its value. In doubt a
//! variable is named and not written.

use std::collections::{BTreeMap, BTreeSet};

/// A broker's environment, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// The broker's, with values.
    pub written: BTreeMap<String, String>,
    /// Names of those whose values look like secrets.
    pub secret: BTreeSet<String>,
    /// Names of those that can be the broker's or anybody's.
    pub other: BTreeSet<String>,
}

/// How the names begin that Zeebe, Spring and the JVM read, and those that the start script reads.
const THE_BROKERS: [&str; 12] = [
    "ZEEBE_",
    "CAMUNDA_",
    "SPRING_",
    "SERVER_",
    "MANAGEMENT_",
    "LOGGING_",
    "ATOMIX_",
    "JAVA_",
    "JDK_",
    "JAVACMD",
    "CLASSPATH",
    "LD_",
];

/// What a login, a shell or a service manager sets, for whatever runs below it.
const THE_SESSIONS: [&str; 32] = [
    "PATH",
    "HOME",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
    "TERM",
    "COLORTERM",
    "LANG",
    "LANGUAGE",
    "USER",
    "LOGNAME",
    "SHELL",
    "MAIL",
    "HOSTNAME",
    "LS_COLORS",
    "LINES",
    "COLUMNS",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "LESS",
    "LESSOPEN",
    "LESSCLOSE",
    "DISPLAY",
    "TMPDIR",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "SYSTEMD_EXEC_PID",
    "NOTIFY_SOCKET",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
];

/// The same, by how they begin.
const THE_SESSIONS_TOO: [&str; 9] = [
    "LC_",
    "SSH_",
    "SUDO_",
    "XDG_",
    "DBUS_",
    "TMUX",
    "STY",
    "PS1",
    "ZEEBE_SNAP_",
];

/// Words in the name of what is secret. `KEY` is in names of paths, too.
const SECRET_WORDS: [&str; 9] = [
    "PASS",
    "PWD",
    "SECRET",
    "TOKEN",
    "CREDENTIAL",
    "KEY",
    "CONNECTIONSTRING",
    "COOKIE",
    "SIGNATURE",
];

/// Words in a value that has a secret in it.
const SECRET_PARTS: [&str; 8] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "apikey",
    "-----begin",
];

/// Sorts the environment of a broker.
pub fn sorted(environment: &BTreeMap<String, String>) -> Environment {
    let mut sorted = Environment::default();
    for (name, value) in environment {
        let begins = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
        if THE_SESSIONS.contains(&name.as_str()) || begins(&THE_SESSIONS_TOO) {
            continue;
        }
        if is_secret(name, value) {
            sorted.secret.insert(name.clone());
        } else if is_the_brokers(name) && !value.contains(char::is_control) {
            sorted.written.insert(name.clone(), value.clone());
        } else {
            sorted.other.insert(name.clone());
        }
    }
    sorted
}

/// Spring reads `zeebe.broker.…` from the environment, too.
fn is_the_brokers(name: &str) -> bool {
    let name = name.to_uppercase().replace('.', "_");
    THE_BROKERS.iter().any(|start| name.starts_with(start))
}

/// Whether a variable looks like a secret. One that names a file does not, whatever that holds.
fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_uppercase();
    let path = value.starts_with('/')
        && ["PATH", "FILE", "DIR", "DIRECTORY"]
            .iter()
            .any(|end| name.ends_with(end));
    let by_name = !path && SECRET_WORDS.iter().any(|word| name.contains(word));
    by_name || has_secret(value)
}

/// Whether a text, such as options of a JVM, looks as if there were a secret in it. The name of a file is none.
pub fn has_secret(text: &str) -> bool {
    let mut words = text.split_whitespace();
    words.any(|word| has_user(word) || is_credential(word))
}

/// `http://user:password@host`
fn has_user(word: &str) -> bool {
    let host = word
        .split_once("://")
        .and_then(|(_, rest)| rest.split('/').next());
    host.is_some_and(|host| host.contains('@'))
}

fn is_credential(word: &str) -> bool {
    if let Some((name, value)) = word.split_once('=').filter(|(_, value)| !value.is_empty()) {
        // The last part of `-Dzeebe.broker.….password`; what is before it names things.
        let end = name.rsplit(['.', '-', '_']).next().unwrap_or_default();
        return is_secret(end, value);
    }
    let plain = word.to_lowercase();
    let says_so = SECRET_PARTS.iter().any(|part| plain.contains(part));
    ["bearer", "basic"].contains(&plain.as_str()) || says_so && !plain.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_named_and_what_is_the_brokers_is_written() {
        let all = [
            ("ZEEBE_BROKER_CLUSTER_NODEID", "0"),
            (
                "ZEEBE_BROKER_NETWORK_SECURITY_PRIVATEKEYPATH",
                "/etc/zeebe/key.pem",
            ),
            (
                "ZEEBE_BROKER_EXPORTERS_ES_ARGS_AUTHENTICATION_PASSWORD",
                "hunter2",
            ),
            (
                "ZEEBE_BROKER_EXPORTERS_ES_ARGS_AUTHENTICATION_USERNAME",
                "zeebe",
            ),
            (
                "ZEEBE_BROKER_EXPORTERS_ES_ARGS_URL",
                "http://zeebe:hunter2@es:9200",
            ),
            ("ZEEBE_BROKER_DATA_BACKUP_S3_ACCESSKEY", "hunter2"),
            (
                "ZEEBE_BROKER_DATA_BACKUP_AZURE_CONNECTIONSTRING",
                "AccountName=a;AccountKey=hunter2",
            ),
            (
                "JAVA_OPTS",
                "-Xmx1g -Djavax.net.ssl.keyStorePassword=hunter2",
            ),
            ("JAVA_TOOL_OPTIONS", "-Xmx1g -Djava.io.tmpdir=/tmp"),
            ("CAMUNDA_LICENSE_KEY", "hunter2"),
            ("SPRING_CONFIG_ADDITIONAL_LOCATION", "file:/etc/zeebe/"),
            ("MY_SECRET", "hunter2"),
            ("ES_URL", "http://es:9200"),
            ("PATH", "/bin"),
            ("SSH_AUTH_SOCK", "/tmp/x"),
        ];
        let all = all.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let sorted = sorted(&BTreeMap::from(all));
        assert!(!format!("{:?}", sorted.written).contains("hunter2"));
        assert_eq!(
            sorted.written.keys().collect::<Vec<_>>(),
            [
                "JAVA_TOOL_OPTIONS",
                "SPRING_CONFIG_ADDITIONAL_LOCATION",
                "ZEEBE_BROKER_CLUSTER_NODEID",
                "ZEEBE_BROKER_EXPORTERS_ES_ARGS_AUTHENTICATION_USERNAME",
                "ZEEBE_BROKER_NETWORK_SECURITY_PRIVATEKEYPATH",
            ]
        );
        assert_eq!(sorted.secret.len(), 7);
        assert_eq!(sorted.other, BTreeSet::from(["ES_URL".to_owned()]));
    }

    #[test]
    fn a_secret_in_options_is_seen_and_the_name_of_a_file_is_none() {
        for secret in [
            "-Dzeebe.broker.exporters.es.args.authentication.password=x",
            "--zeebe.broker.data.backup.s3.secretKey=x",
            "-Dproxy=http://a:b@c",
            "-Dsome.apiKey=x",
        ] {
            assert!(has_secret(secret), "{secret}");
        }
        for plain in [
            "-Xmx256m -XX:+UseSerialGC -Djava.io.tmpdir=/srv/a -Xshare:auto",
            "-Djavax.net.ssl.keyStoreFile=/etc/pki/keystore",
            "--spring.config.location=file:/etc/zeebe/application.yaml",
        ] {
            assert!(!has_secret(plain), "{plain}");
        }
    }
}
