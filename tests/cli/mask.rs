//! What changes from run to run, made plain.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Ids of sets and runs.
static IDS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b20\d{6}T\d{6}Z").unwrap());

const CHANGING: [(&str, &str); 14] = [
    (
        r"\b20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC( \([^)]*\))?",
        "TIME",
    ),
    (r"\b20\d\d-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"\b\d+(\.\d+)? (ms|s)\b", "DURATION"),
    (
        r#""(\w+_ms|flush|sync|snapshot|stop|start|ready)": [\d.]+"#,
        r#""$1": DURATION"#,
    ),
    (r#""born": \[\s*\d+,\s*\d+\s*\]"#, r#""born": TIME"#),
    (r"mtime is @[\d.]+, not @[\d.]+", "mtime is TIME, not TIME"),
    (r#""(have|want)": \[\s*\d+,\s*\d+\s*\]"#, r#""$1": TIME"#),
    (r#""ino": \d+"#, r#""ino": INODE"#),
    (r"inode \d+ born @[\d.]+", "INODE"),
    // An inode is in it.
    (
        r"((?:restore|undo)-ID-\d+\.json' +#) \d+ bytes",
        "$1 SOME bytes",
    ),
    (r"\b[0-9a-f]{64}\b", "DIGEST"),
    (r#"(pid"?:?) \d+"#, "$1 PID"),
    (r"\b\d+ processes", "MANY processes"),
    // Columns are as wide as what is in them.
    (r"(\S) {2,}", "$1  "),
];

static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let pattern = |(pattern, plain)| (Regex::new(pattern).unwrap(), plain);
    CHANGING.map(pattern).into()
});

/// The text without what is different on another day or another machine.
pub fn masked(text: &str) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let host = Regex::new(&format!(r"\b{}\b", regex::escape(host.trim()))).unwrap();
    let text = numbered(&host.replace_all(text, "HOST"));
    PATTERNS.iter().fold(text, |text, (pattern, plain)| {
        pattern.replace_all(&text, *plain).into_owned()
    })
}

/// Ids as ID-1, ID-2 in the order in which they are named.
fn numbered(text: &str) -> String {
    let mut seen: Vec<String> = Vec::new();
    let name = |captures: &Captures<'_>| {
        let id = captures[0].to_owned();
        let at = seen.iter().position(|other| *other == id);
        let at = at.unwrap_or_else(|| {
            seen.push(id);
            seen.len() - 1
        });
        format!("ID-{}", at + 1)
    };
    IDS.replace_all(text, name).into_owned()
}
