//! What `thin_delta` and `thin_dump` say, of thin-provisioning-tools 0.9: which chunks differ, which are mapped.
//!
//! Their XML has elements with attributes, and no text, comments or entities but in the pool's uuid, which is not read.

use super::{Extent, Holds};
use crate::{Error, Result};

/// Bytes of a sector, in which both tools count the size of a chunk.
const SECTOR: u64 = 512;

/// The extents that make a stream, and what they are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Bytes of a chunk.
    pub chunk_size: u64,
    /// They rise, and end at the device's end at the latest.
    pub extents: Vec<Extent>,
}

/// One element: its name, its attributes.
struct Element<'a> {
    name: &'a str,
    attributes: &'a str,
}

impl Element<'_> {
    fn number(&self, wanted: &'static str) -> Option<u64> {
        let mut rest = self.attributes;
        while let Some((name, tail)) = rest.split_once("=\"") {
            let (value, tail) = tail.split_once('"')?;
            if name.trim() == wanted {
                return value.parse().ok();
            }
            rest = tail;
        }
        None
    }
}

fn wrong(cmd: &str, line: &str, expected: &'static str) -> Error {
    Error::Answer {
        cmd: cmd.to_owned(),
        line: line.chars().take(200).collect(),
        expected,
    }
}

/// All elements that open, in order, and whether the first is closed at the end.
fn elements<'a>(cmd: &str, text: &'a str) -> Result<Vec<Element<'a>>> {
    let mut found = Vec::new();
    for tag in text.split('<').skip(1) {
        let (tag, _) = tag
            .split_once('>')
            .ok_or_else(|| wrong(cmd, tag, "an element"))?;
        if tag.starts_with(['/', '?', '!']) {
            continue;
        }
        let tag = tag.trim_end_matches('/');
        let (name, attributes) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        found.push(Element { name, attributes });
    }
    match text.trim_end().ends_with("</superblock>") {
        true => Ok(found),
        false => Err(wrong(
            cmd,
            text.trim_end().lines().last().unwrap_or_default(),
            "</superblock>",
        )),
    }
}

struct Chunks {
    cmd: &'static str,
    chunk_size: u64,
    device_size: u64,
    extents: Vec<Extent>,
}

impl Chunks {
    fn new(cmd: &'static str, elements: &[Element<'_>], device_size: u64) -> Result<Chunks> {
        let superblock = elements.first().filter(|it| it.name == "superblock");
        let sectors = superblock.and_then(|it| it.number("data_block_size"));
        let bytes = sectors
            .and_then(|it| it.checked_mul(SECTOR))
            .filter(|it| *it > 0);
        Ok(Chunks {
            cmd,
            chunk_size: bytes
                .ok_or_else(|| wrong(cmd, "", "a superblock with its data_block_size"))?,
            device_size,
            extents: Vec::new(),
        })
    }

    fn add(&mut self, begin: Option<u64>, length: Option<u64>, holds: Holds) -> Result<()> {
        let bytes = |chunks: Option<u64>| chunks.and_then(|it| it.checked_mul(self.chunk_size));
        let (offset, length) = bytes(begin)
            .zip(bytes(length))
            .ok_or_else(|| wrong(self.cmd, "", "a range of chunks"))?;
        // What a device that was made smaller still has beyond its end is no part of it.
        if offset >= self.device_size {
            return Ok(());
        }
        let last = self.extents.last().map_or(0, |it| it.offset + it.length);
        // The last chunk may be larger than what is left of the device.
        let end = offset
            .checked_add(length)
            .map(|end| end.min(self.device_size));
        let Some(end) = end.filter(|end| offset >= last && offset < *end) else {
            let line = format!(
                "{length} bytes at {offset}, after {last} of {}",
                self.device_size
            );
            return Err(wrong(self.cmd, &line, "ranges in order, in the device"));
        };
        match self.extents.last_mut() {
            Some(before) if last == offset && before.holds == holds => {
                before.length += end - offset
            }
            _ => self.extents.push(Extent {
                offset,
                length: end - offset,
                holds,
            }),
        }
        Ok(())
    }

    fn changes(self) -> Changes {
        Changes {
            chunk_size: self.chunk_size,
            extents: self.extents,
        }
    }
}

/// Reads `thin_delta --snap1 BASE --snap2 OF DEVICE`: what makes BASE into OF, a device of `device_size` bytes.
pub fn parse_delta(output: &[u8], device_size: u64) -> Result<Changes> {
    const CMD: &str = "thin_delta";
    let text = String::from_utf8_lossy(output);
    let elements = elements(CMD, &text)?;
    let mut chunks = Chunks::new(CMD, &elements, device_size)?;
    let mut diffs = 0;
    for element in &elements[1..] {
        let holds = match element.name {
            "diff" => {
                diffs += 1;
                continue;
            }
            "same" => continue,
            "different" | "right_only" => Holds::Data,
            "left_only" => Holds::Zero,
            other => {
                return Err(wrong(
                    CMD,
                    other,
                    "same, different, left_only or right_only",
                ));
            }
        };
        chunks.add(element.number("begin"), element.number("length"), holds)?;
    }
    match diffs {
        1 => Ok(chunks.changes()),
        _ => Err(wrong(CMD, &format!("{diffs} of them"), "one diff")),
    }
}

/// Reads `thin_dump --dev-id ID DEVICE`: what is mapped of that one, a device of `device_size` bytes.
pub fn parse_dump(output: &[u8], thin_id: u32, device_size: u64) -> Result<Changes> {
    const CMD: &str = "thin_dump";
    let text = String::from_utf8_lossy(output);
    let elements = elements(CMD, &text)?;
    let mut chunks = Chunks::new(CMD, &elements, device_size)?;
    let mut devices = elements[1..].iter().filter(|it| it.name == "device");
    let is_it = |it: &Element<'_>| it.number("dev_id") == Some(thin_id.into());
    if !devices.next().is_some_and(is_it) || devices.next().is_some() {
        return Err(wrong(CMD, "", "the one device that was asked for"));
    }
    for element in &elements[1..] {
        match element.name {
            "device" => {}
            "single_mapping" => chunks.add(element.number("origin_block"), Some(1), Holds::Data)?,
            "range_mapping" => {
                chunks.add(
                    element.number("origin_begin"),
                    element.number("length"),
                    Holds::Data,
                )?;
            }
            other => return Err(wrong(CMD, other, "a device and its mappings")),
        }
    }
    Ok(chunks.changes())
}
