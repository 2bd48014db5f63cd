//! Config files as they may be shown: with what looks like a secret as `***`.
//!
//! A value is a secret by its key, or by a key above it. Where a text does not parse, and in comments, the rest of the
//! line goes with it. Too much is hidden rather than too little.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::yaml;

const MASK: &str = "***";

/// In a key, whatever its spelling.
const WORDS: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
    "accesskey",
    "apikey",
    "privatekey",
    "jaas",
    "connectionstring",
];

/// A key that ends so says where or how, not what.
const NOT_ENDING: [&str; 14] = [
    "path",
    "file",
    "location",
    "enabled",
    "enable",
    "url",
    "uri",
    "endpoint",
    "ttl",
    "timeout",
    "period",
    "interval",
    "type",
    "algorithm",
];

/// Whether values under this key are secrets.
fn is_secret(key: &str) -> bool {
    let key: String = key
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let named = WORDS.iter().any(|word| key.contains(word))
        || key.ends_with("key")
        || ["authorization", "cookie"].contains(&key.as_str());
    named && !is_harmless(&key)
}

fn is_harmless(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    NOT_ENDING.iter().any(|ending| key.ends_with(ending))
}

/// A text of a config file with secret values as `***`. Layout and comments stay, but for secrets in them.
pub fn masked(text: &str) -> String {
    let parsed = yaml::scalars(text);
    let mut out = text.to_owned();
    let secret = parsed.iter().flatten().filter(|leaf| {
        let own = leaf.path.last().is_some_and(|key| is_harmless(key));
        !leaf.value.is_empty() && !own && leaf.path.iter().any(|key| is_secret(key))
    });
    // One that is aliased is there more than once.
    let spans: BTreeMap<usize, &Range<usize>> =
        secret.map(|leaf| (leaf.span.start, &leaf.span)).collect();
    for span in spans.into_values().rev() {
        out.replace_range(visible(text, span), MASK);
    }
    let out = PEM.replace_all(&out, MASK);
    let out = by_lines(&out, parsed.is_some());
    let out = USERINFO.replace_all(&out, "${1}***@");
    BEARER.replace_all(&out, "${1}***").into_owned()
}

/// A span without the white space at its end, which belongs to the layout.
fn visible(text: &str, span: &Range<usize>) -> Range<usize> {
    let length = text[span.clone()].trim_end().len();
    span.start..span.start + length
}

#[allow(clippy::expect_used, reason = "constants that a test compiles")]
fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern is a regular expression")
}

static PEM: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*-----|\z)"));
/// `scheme://user:password@host`; a password may hold anything but white space.
static USERINFO: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"([A-Za-z][A-Za-z0-9+.-]*://)[^\s"']*@"#));
static BEARER: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?i)\b(bearer\s+)[A-Za-z0-9+/=._~-]{8,}"));
/// A key and what is between it and its value.
static KEY: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"([A-Za-z0-9_.\-\[\]]+)["']?[ \t]*[:=][ \t]*"#));

/// Hides what follows a secret key on its line, and what is nested below one that has nothing on its line. Of a text that
/// parsed only comments can have such nests left.
fn by_lines(text: &str, parsed: bool) -> String {
    let mut out = String::with_capacity(text.len());
    // Whether it was in a comment, and how far it was indented.
    let mut nest: Option<(bool, usize)> = None;
    for line in text.split_inclusive('\n') {
        let body = line.trim_end();
        let after = |from: usize, signs: &[char]| {
            from + (body[from..].len() - body[from..].trim_start_matches(signs).len())
        };
        let blanks = after(0, &[' ', '\t']);
        let comment = body[blanks..].starts_with(['#', '!']);
        let indent = after(blanks, &['#', '!', ' ', '\t']);
        let item = body[indent..].starts_with("- ");
        if let Some((of_comment, depth)) = nest {
            let deeper = indent > depth || (indent == depth && item);
            if !body.is_empty() && of_comment == comment && deeper {
                let sign = if item {
                    body.len().min(indent + 2)
                } else {
                    indent
                };
                out.push_str(&body[..sign]);
                out.push_str(MASK);
                out.push_str(&line[body.len()..]);
                continue;
            }
            if !body.is_empty() && of_comment == comment {
                nest = None;
            }
        }
        let keys = KEY.captures_iter(body);
        let found = keys
            .filter_map(|found: Captures<'_>| Some((found.get(0)?, found.get(1)?)))
            .filter(|(_, key)| is_secret(last(key.as_str())))
            .find(|(whole, _)| {
                !body[whole.end()..]
                    .trim_start_matches(['"', '\''])
                    .starts_with(MASK)
            });
        match found {
            Some((whole, _)) => {
                let rest = &body[whole.end()..];
                let opens =
                    rest.is_empty() || rest.starts_with(['|', '>']) || rest.starts_with('#');
                // A value may go on further in, too.
                if !parsed || (opens && comment) {
                    nest = Some((comment, indent));
                }
                out.push_str(&body[..whole.end()]);
                if !opens {
                    out.push_str(MASK);
                } else {
                    out.push_str(rest);
                }
            }
            None => out.push_str(body),
        }
        out.push_str(&line[body.len()..]);
    }
    out
}

/// The last part of a dotted key, unless it is a list place.
fn last(key: &str) -> &str {
    // Any part may be the secret one: `credentials.user`.
    match key.split('.').find(|part| is_secret(part)) {
        Some(_) if is_harmless(key) => "",
        Some(part) => part,
        None => key,
    }
}
