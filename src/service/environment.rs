//! What a broker that is down would be started with.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use zeebe_snap_backends::cmd::{Cmd, System};

use crate::process::Start;

/// A command gets this program's own environment, and what cluster.toml adds.
pub fn of_command(start: &[String], environment: &BTreeMap<String, String>) -> Start {
    let own = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let added = environment.clone();
    Start {
        environment: own.chain(added).collect(),
        arguments: start.to_vec(),
    }
}

fn show(unit: &str) -> Cmd {
    let properties = "--property=Environment,EnvironmentFiles,UnsetEnvironment,ExecStart";
    Cmd::new("systemctl")
        .args(["show", properties, "--"])
        .arg(unit)
}

/// A unit's own environment and command line. What systemd's manager adds to the environment is not known here, and the
/// command line is shown without its quotes.
pub fn of_unit(tools: &dyn System, unit: &str) -> Result<Start> {
    let output = tools
        .run(&show(unit))
        .with_context(|| format!("ask for the environment of {unit}"))?;
    let shown = parse(&output);
    let mut start = Start {
        environment: shown.environment,
        arguments: shown.arguments,
    };
    for (file, may_be_missing) in shown.files {
        match fs::read(&file) {
            Ok(text) => start.environment.extend(file_of_variables(&text)),
            Err(error) if may_be_missing && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("read {file}, of {unit}")),
        }
    }
    start
        .environment
        .retain(|name, _| !shown.unset.contains(name));
    Ok(start)
}

struct Shown {
    environment: BTreeMap<String, String>,
    files: Vec<(String, bool)>,
    unset: Vec<String>,
    arguments: Vec<String>,
}

fn parse(output: &[u8]) -> Shown {
    let text = String::from_utf8_lossy(output);
    let fields: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let all = |name: &str| {
        let found = fields.iter().filter(move |(key, _)| *key == name);
        found.map(|(_, value)| *value).collect::<Vec<_>>()
    };
    let words = |name: &str| -> Vec<String> { all(name).into_iter().flat_map(unquoted).collect() };
    // "/etc/zeebe.env (ignore_errors=no)", a line each.
    let file = |line: &str| {
        let (path, rest) = line.rsplit_once(" (ignore_errors=")?;
        Some((path.to_owned(), rest.starts_with("yes")))
    };
    // "{ path=/opt/zeebe/bin/broker ; argv[]=/opt/zeebe/bin/broker --a=b ; ignore_errors=no ; …".
    let argv = |line: &str| {
        let (_, rest) = line.split_once("argv[]=")?;
        let (words, _) = rest.split_once(" ; ignore_errors=")?;
        Some(
            words
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )
    };
    Shown {
        environment: words("Environment")
            .iter()
            .filter_map(|word| pair(word))
            .collect(),
        files: all("EnvironmentFiles")
            .into_iter()
            .filter_map(file)
            .collect(),
        unset: words("UnsetEnvironment"),
        arguments: all("ExecStart")
            .into_iter()
            .filter_map(argv)
            .flatten()
            .collect(),
    }
}

fn pair(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}

/// Words as systemd prints them: one that has blanks in it stands in `"…"` or `$'…'`, with backslashes.
fn unquoted(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut begun, mut quote) = (false, None);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('$', None) if chars.peek() == Some(&'\'') => begun = true,
            ('"' | '\'', None) => {
                quote = Some(c);
                begun = true;
            }
            (c, Some(open)) if c == open => quote = None,
            ('\\', _) => {
                begun = true;
                word.push(match chars.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some(other) => other,
                    None => '\\',
                });
            }
            (c, None) if c.is_whitespace() => {
                if begun {
                    words.push(std::mem::take(&mut word));
                    begun = false;
                }
            }
            (c, _) => {
                begun = true;
                word.push(c);
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// An `EnvironmentFile=` (systemd.exec(5)): a variable a line, comments with `#` or `;`, quotes around a value, a backslash at
/// the end of a line that goes on.
fn file_of_variables(text: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(text).replace("\\\n", "");
    let line = |line: &str| {
        let line = line.trim();
        let (name, value) = pair(line).filter(|_| !line.starts_with(['#', ';']))?;
        Some((name.trim().to_owned(), unquoted_value(value.trim())))
    };
    text.lines().filter_map(line).collect()
}

fn unquoted_value(value: &str) -> String {
    for quote in ['"', '\''] {
        let inner = value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return match quote {
                '"' => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
                _ => inner.to_owned(),
            };
        }
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `systemctl show --property=…`, systemd 252 (Debian 12).
    const SHOWN: &str = r#"ExecStart={ path=/bin/sleep ; argv[]=/bin/sleep 1000 --server.port=8081 two words -Dx=$QUOTES ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }
Environment=ZEEBE_BROKER_CLUSTER_NODEID=1 "JAVA_OPTS=-Xms64m -Da.b=c" "QUOTES=it\"s \$HOME \\ back" EMPTY= "SINGLE=it's" "SEMI=a;b,c" "TAB=a\tb"
EnvironmentFiles=/probe/zeebe.env (ignore_errors=no)
EnvironmentFiles=/etc/more env (ignore_errors=yes)
UnsetEnvironment=LANG
"#;

    #[test]
    fn a_unit_says_its_environment_files_and_command_line() {
        let shown = parse(SHOWN.as_bytes());
        let expected = [
            ("EMPTY", ""),
            ("JAVA_OPTS", "-Xms64m -Da.b=c"),
            ("QUOTES", "it\"s $HOME \\ back"),
            ("SEMI", "a;b,c"),
            ("SINGLE", "it's"),
            ("TAB", "a\tb"),
            ("ZEEBE_BROKER_CLUSTER_NODEID", "1"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(shown.environment, BTreeMap::from(expected));
        assert_eq!(
            shown.files,
            [
                ("/probe/zeebe.env".to_owned(), false),
                ("/etc/more env".to_owned(), true)
            ]
        );
        assert_eq!(shown.unset, ["LANG"]);
        assert_eq!(
            shown.arguments[..3],
            ["/bin/sleep", "1000", "--server.port=8081"]
        );
    }

    #[test]
    fn a_file_of_variables_is_read_as_systemd_reads_it() {
        let text = b"# A=1\n; B=2\nC = 3\nD=\"x \\\"y\\\" z\"\nE='q'\nF=a\\\nb\nnothing\n";
        let read = file_of_variables(text);
        let read: Vec<(&str, &str)> = read.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(
            read,
            [("C", "3"), ("D", "x \"y\" z"), ("E", "q"), ("F", "ab")]
        );
    }
}
