//! Addresses in config files: found and exchanged as whole hosts, everything else left byte for byte.
//!
//! Only values count. Comments stay as they are, and an address in a comment is not one that is left: nobody reads it but
//! people, and to them it tells what the file was.
//!
//! What is a host: an IP address or a name with a dot wherever it stands whole in a value (`127.0.0.1` is not in
//! `127.0.0.11`, nor `a.example` in `b.a.example`) and is not part of a path. A name of one label could be any word, so it counts before a port, as
//! the host of a URL, or under a key that asks for a host.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::properties::parted;
use super::yaml;

/// The host of "host:port", "[::1]:port" or "host".
pub fn host_of(point: &str) -> &str {
    if let Some((host, _)) = point
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return host;
    }
    match point.split_once(':') {
        // More colons: an IPv6 address without brackets.
        Some((host, rest)) if !rest.contains(':') => host,
        _ => point,
    }
}

/// `text` with every host that `map` names in a value exchanged for what it is mapped to, all at once. Comments, layout
/// and quoting stay.
pub fn map_addresses(text: &str, map: &BTreeMap<String, String>) -> String {
    let hosts: BTreeSet<String> = map.keys().cloned().collect();
    let mut out = text.to_owned();
    for (range, host) in found(text, &hosts).into_iter().rev() {
        if let Some(new) = map.get(host) {
            out.replace_range(range, new);
        }
    }
    out
}

/// Where `text` still has one of `hosts` in a value: line, from 1, and host.
pub fn addresses_left(text: &str, hosts: &BTreeSet<String>) -> Vec<(usize, String)> {
    let line = |range: &Range<usize>| text[..range.start].matches('\n').count() + 1;
    let found = found(text, hosts).into_iter();
    found
        .map(|(range, host)| (line(&range), host.clone()))
        .collect()
}

/// Every one of `hosts` in a value, in order.
fn found<'a>(text: &str, hosts: &'a BTreeSet<String>) -> Vec<(Range<usize>, &'a String)> {
    let mut found: Vec<(Range<usize>, &String)> = Vec::new();
    for (span, asks) in values(text) {
        for host in hosts.iter().filter(|host| !host.is_empty()) {
            let ranges = occurrences(&text[span.clone()], host, asks);
            found.extend(
                ranges.map(|range| (range.start + span.start..range.end + span.start, host)),
            );
        }
    }
    found.sort_by_key(|(range, _)| range.start);
    // Two spellings of one host in `hosts`.
    found.dedup_by(|next, before| next.0.start < before.0.end);
    found
}

/// The values of a text, and whether their key asks for a host. What is not a YAML map is read line by line.
fn values(text: &str) -> Vec<(Range<usize>, bool)> {
    if let Some(leaves) = yaml::scalars(text) {
        let value = |leaf: yaml::Leaf| {
            let key = leaf
                .path
                .iter()
                .rev()
                .find(|key| key.parse::<u32>().is_err());
            (leaf.span, key.is_some_and(|key| asks_for_host(key)))
        };
        return leaves.into_iter().map(value).collect();
    }
    let mut values = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        let (key, value) = parted(trimmed.trim_end());
        if !trimmed.starts_with(['#', '!']) && !value.is_empty() {
            let end = start + line.trim_end().len();
            values.push((end - value.len()..end, asks_for_host(key)));
        }
        start += line.len();
    }
    values
}

fn asks_for_host(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    let key: String = last
        .chars()
        .filter(char::is_ascii_alphabetic)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    [
        "host",
        "address",
        "contactpoint",
        "url",
        "uri",
        "endpoint",
        "server",
        "broker",
        "proxy",
    ]
    .iter()
    .any(|word| key.contains(word))
}

fn occurrences(value: &str, host: &str, asks: bool) -> impl Iterator<Item = Range<usize>> {
    let lower = value.to_ascii_lowercase();
    let wanted = host.to_ascii_lowercase();
    let six = wanted.contains(':');
    let plain = !wanted.contains('.') && !six;
    let mut ranges = Vec::new();
    let mut from = 0;
    while let Some(start) = lower[from..].find(&wanted).map(|at| at + from) {
        let end = start + wanted.len();
        let (before, after) = (&lower[..start], &lower[end..]);
        let of_host = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let whole_before = !before.ends_with(|c| of_host(c) || c == '.' || (six && c == ':'));
        let mut next = after.chars();
        let whole_after = match next.next() {
            Some('.') => !next.next().is_some_and(of_host),
            Some(':') => !six,
            Some(c) => !of_host(c),
            None => true,
        };
        let port = after
            .strip_prefix(':')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let in_path = before.ends_with('/') && !before.ends_with("//");
        let authority = before.ends_with("//") || before.ends_with('@');
        if whole_before && whole_after && !in_path && (!plain || asks || port || authority) {
            ranges.push(start..end);
        }
        from = end;
    }
    ranges.into_iter()
}
