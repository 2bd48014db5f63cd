//! What zfs(8) and zpool(8) say, read.
//!
//! All of it is asked for with `-Hp`: fields between tabs, numbers as they are. A value holds no tab and no newline: those
//! that people choose are names, and of what we set ourselves both are escaped. Must not know what is asked for, or why.

use std::collections::BTreeMap;

use super::zfs;
use crate::cmd::{Cmd, System};
use crate::{Error, Result};

/// A property of a dataset or snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    pub text: String,
    /// Whether it was set right there: what is inherited was not.
    pub own: bool,
}

/// The properties of each dataset or snapshot, in the order told.
pub type Told = Vec<(String, BTreeMap<String, Value>)>;

/// Asks for `properties` of `what`, which are further words of the command.
pub fn get(sys: &dyn System, properties: &[&str], what: &[&str]) -> Result<Told> {
    let (options, names): (Vec<&str>, Vec<&str>) = match what.iter().position(|word| *word == "--")
    {
        Some(at) => (what[..at].to_vec(), what[at + 1..].to_vec()),
        None => (what.to_vec(), Vec::new()),
    };
    let cmd = zfs(["get", "-Hp"])
        .args(options)
        .args(["-o", "name,property,value,source"])
        .arg(properties.join(","))
        .args(names);
    parse_get(&cmd, &sys.run(&cmd)?)
}

fn wrong(cmd: &Cmd, line: &str, expected: &'static str) -> Error {
    Error::Answer {
        cmd: cmd.to_string(),
        line: line.chars().take(200).collect(),
        expected,
    }
}

fn parse_get(cmd: &Cmd, said: &[u8]) -> Result<Told> {
    let text = String::from_utf8_lossy(said);
    let mut told = Told::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, property, value, source] = fields[..] else {
            return Err(wrong(cmd, line, "name, property, value and source"));
        };
        let value = Value {
            text: value.to_owned(),
            own: source == "local" || source == "received",
        };
        match told.last_mut().filter(|last| last.0 == name) {
            Some((_, all)) => drop(all.insert(property.to_owned(), value)),
            None => told.push((
                name.to_owned(),
                BTreeMap::from([(property.to_owned(), value)]),
            )),
        }
    }
    Ok(told)
}

/// A value that is there: `-` is none.
pub fn text<'a>(all: &'a BTreeMap<String, Value>, property: &str) -> Option<&'a str> {
    let value = all.get(property).map(|value| value.text.as_str());
    value.filter(|value| *value != "-")
}

/// A value that was set right there.
pub fn own<'a>(all: &'a BTreeMap<String, Value>, property: &str) -> Option<&'a str> {
    let value = all.get(property).filter(|value| value.own);
    value.map(|value| value.text.as_str())
}

/// A value that is a number.
pub fn number(all: &BTreeMap<String, Value>, property: &str) -> u64 {
    let value = text(all, property).and_then(|value| value.parse().ok());
    value.unwrap_or_default()
}

/// The tags that hold a snapshot.
pub fn holds(sys: &dyn System, snapshot: &str) -> Result<Vec<String>> {
    let cmd = zfs(["holds", "-H"]).arg(snapshot);
    let said = sys.run(&cmd)?;
    let text = String::from_utf8_lossy(&said);
    let tag = |line: &str| {
        let tag = line.split('\t').nth(1).map(str::to_owned);
        tag.ok_or_else(|| wrong(&cmd, line, "name, tag and time"))
    };
    text.lines().map(tag).collect()
}

/// Of the pool: `properties`, in their order.
pub fn pool<const N: usize>(
    sys: &dyn System,
    properties: [&str; N],
    pool: &str,
) -> Result<[String; N]> {
    let cmd = Cmd::new("zpool")
        .args(["list", "-Hp", "-o"])
        .arg(properties.join(","))
        .arg(pool);
    let said = sys.run(&cmd)?;
    let text = String::from_utf8_lossy(&said);
    let line = text.lines().next().unwrap_or_default();
    let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
    <[String; N]>::try_from(fields).map_err(|_| wrong(&cmd, line, "the fields asked for"))
}

/// What is delegated on a dataset itself, each as the words of a `zfs allow` that does so. Those that name a set of
/// permissions come after it.
pub fn delegations(sys: &dyn System, dataset: &str) -> Result<Vec<Vec<String>>> {
    let cmd = zfs(["allow"]).arg(dataset);
    parse_allow(&cmd, &sys.run(&cmd)?, dataset)
}

fn parse_allow(cmd: &Cmd, said: &[u8], dataset: &str) -> Result<Vec<Vec<String>>> {
    const HEAD: &str = "---- Permissions on ";
    let text = String::from_utf8_lossy(said);
    let is_of_it = |line: &str| {
        let name = line
            .strip_prefix(HEAD)
            .map(|rest| rest.trim_end_matches('-'));
        name.is_some_and(|name| name.strip_suffix(' ').unwrap_or(name) == dataset)
    };
    let mut lines = text
        .lines()
        .skip_while(|line| !is_of_it(line))
        .skip(1)
        .peekable();
    let mut found = Vec::new();
    let mut kind: Option<&[&str]> = None;
    while let Some(line) = lines.next_if(|line| !line.starts_with(HEAD)) {
        let Some(entry) = line.strip_prefix('\t') else {
            kind = Some(match line {
                "Permission sets:" => &["-s"],
                "Create time permissions:" => &["-c"],
                "Local permissions:" => &["-l"],
                "Descendent permissions:" | "Descendant permissions:" => &["-d"],
                "Local+Descendent permissions:" | "Local+Descendant permissions:" => &[],
                _ => return Err(wrong(cmd, line, "a heading of zfs allow")),
            });
            continue;
        };
        let unknown = || wrong(cmd, line, "an entry of zfs allow");
        let kind = kind.ok_or_else(unknown)?;
        let mut words: Vec<String> = kind.iter().copied().map(str::to_owned).collect();
        let (who, permissions) = entry.rsplit_once(' ').unwrap_or(("", entry));
        match who.split_once(' ') {
            Some((class @ ("user" | "group"), name)) => {
                // One that has no name is told as `(unknown: 4242)`.
                let name = name
                    .strip_prefix("(unknown: ")
                    .and_then(|rest| rest.strip_suffix(')'))
                    .unwrap_or(name);
                words.extend([
                    if class == "user" { "-u" } else { "-g" }.to_owned(),
                    name.to_owned(),
                ]);
            }
            None if who == "everyone" => words.push("-e".to_owned()),
            None if who.is_empty() && kind == ["-c"] => {}
            None if who.starts_with('@') && kind == ["-s"] => words.push(who.to_owned()),
            _ => return Err(unknown()),
        }
        words.push(permissions.to_owned());
        found.push(words);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OpenZFS 2.1.11: `zfs allow 'zeebesnaptestx/data one'`.
    const ALLOW: &[u8] =
        b"---- Permissions on zeebesnaptestx/data one --------------------------\n\
Permission sets:\n\
\t@p receive,send\n\
Create time permissions:\n\
\tdestroy\n\
Local permissions:\n\
\tuser daemon rollback\n\
Descendent permissions:\n\
\tgroup daemon clone\n\
Local+Descendent permissions:\n\
\tuser (unknown: 4242) diff\n\
\tuser nobody mount,snapshot\n\
\tgroup adm @p\n\
\teveryone hold\n\
---- Permissions on zeebesnaptestx -----------------------------------\n\
Local+Descendent permissions:\n\
\tuser nobody userprop\n";

    #[test]
    fn reads_what_is_delegated() {
        let read = |dataset: &str| -> String {
            let found = parse_allow(&zfs(["allow"]), ALLOW, dataset).unwrap();
            found.iter().map(|words| words.join(" ") + "\n").collect()
        };
        insta::assert_snapshot!(read("zeebesnaptestx/data one"), @r"
        -s @p receive,send
        -c destroy
        -l -u daemon rollback
        -d -g daemon clone
        -u 4242 diff
        -u nobody mount,snapshot
        -g adm @p
        -e hold
        ");
        insta::assert_snapshot!(read("zeebesnaptestx"), @"-u nobody userprop");
        assert_eq!(read("zeebesnaptestx/data"), "");
        assert!(parse_allow(&zfs(["allow"]), b"---- Permissions on x ----\nNew:\n", "x").is_err());
    }

    /// OpenZFS 2.1.11: `zfs get -Hp -o name,property,value,source mounted,zeebe-snap:label …`.
    #[test]
    fn reads_properties() {
        let said = "p/data one@s1\tuserrefs\t1\t-\n\
p/data one@s1\tzeebe-snap:label\t{\"odd\":\"gr\u{f6}\u{df}e \\n\"}\tlocal\n\
p/x\tzeebe-snap:label\tof another\tinherited from p\n\
p/x\torigin\t-\t-\n";
        let told = parse_get(&zfs(["get"]), said.as_bytes()).unwrap();
        let [(one, first), (other, second)] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!((one.as_str(), other.as_str()), ("p/data one@s1", "p/x"));
        assert_eq!(number(first, "userrefs"), 1);
        assert_eq!(
            own(first, "zeebe-snap:label"),
            Some("{\"odd\":\"größe \\n\"}")
        );
        assert_eq!(own(second, "zeebe-snap:label"), None);
        assert_eq!(text(second, "origin"), None);
        assert!(parse_get(&zfs(["get"]), b"p\tguid\t1\n").is_err());
    }
}
