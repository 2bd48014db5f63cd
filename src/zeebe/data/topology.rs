//! `.topology.meta`: the members of the cluster and their partitions, which win over the config once it is there.
//!
//! A byte of version (1), the CRC32C of the rest as 8 bytes little endian, and a protobuf message `ClusterTopology`
//! (`PersistedClusterTopology.java`, `topology.proto`; 8.4 and later). Only what is known of it is looked at; a file of
//! another form, or a damaged one, says nothing, since Zeebe itself judges it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::content;
use crate::id::NodeId;

/// Reads the file in the data directory.
pub fn read(data: &Path) -> Result<Option<BTreeMap<NodeId, Vec<u32>>>> {
    let bytes = content(&data.join(".topology.meta"))?;
    Ok(bytes.as_deref().and_then(members))
}

fn members(bytes: &[u8]) -> Option<BTreeMap<NodeId, Vec<u32>>> {
    let (header, message) = bytes.split_at_checked(9)?;
    let (version, sum) = header.split_first()?;
    let sum = u64::from_le_bytes(sum.try_into().ok()?);
    if *version != 1 || sum != u64::from(crc32c::crc32c(message)) {
        return None;
    }
    let mut members = BTreeMap::new();
    // ClusterTopology: 2 is the map of members, from their id to MemberState, whose 4 is that of partitions, whose key is 1.
    for entry in fields(message)?.filter_map(|field| field.bytes(2)) {
        let mut id = None;
        let mut partitions = Vec::new();
        for field in fields(entry)? {
            if let Some(text) = field.bytes(1) {
                id = std::str::from_utf8(text).ok()?.parse().map(NodeId).ok();
            }
            let Some(state) = field.bytes(2) else {
                continue;
            };
            for partition in fields(state)?.filter_map(|field| field.bytes(4)) {
                let key = fields(partition)?.find_map(|field| field.number(1))?;
                partitions.push(u32::try_from(key).ok()?);
            }
        }
        partitions.sort_unstable();
        members.insert(id?, partitions);
    }
    (!members.is_empty()).then_some(members)
}

/// A field of a protobuf message.
#[derive(Debug, Clone, Copy)]
struct Field<'a> {
    tag: u64,
    value: Value<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Field<'a> {
    fn bytes(&self, tag: u64) -> Option<&'a [u8]> {
        match self.value {
            Value::Bytes(bytes) if self.tag == tag => Some(bytes),
            _ => None,
        }
    }

    fn number(&self, tag: u64) -> Option<u64> {
        match self.value {
            Value::Number(number) if self.tag == tag => Some(number),
            _ => None,
        }
    }
}

/// The fields of a message; `None` where it is not one.
fn fields(mut message: &[u8]) -> Option<impl Iterator<Item = Field<'_>>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut message)?),
            1 => take(&mut message, 8).map(|_| Value::Other)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                Value::Bytes(take(&mut message, length)?)
            }
            5 => take(&mut message, 4).map(|_| Value::Other)?,
            _ => return None,
        };
        let tag = key >> 3;
        found.push(Field { tag, value });
    }
    Some(found.into_iter())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a broker 8.5.8 in a cluster of three, with three partitions on each (`xxd -p .topology.meta`).
    const REAL: &str = "015b3e3b8300000000080112320a0130122d120b0880a890a381e2f8c7ff01180222080801120408021003220808021204080210012208080312040802100212320a0131122d120b0880a890a381e2f8c7ff01180222080801120408021002220808021204080210032208080312040802100112320a0132122d120b0880a890a381e2f8c7ff011802220808011204080210012208080212040802100222080803120408021003";

    fn real() -> Vec<u8> {
        let digits = REAL.as_bytes().chunks(2);
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.map(byte).collect()
    }

    #[test]
    fn members_and_their_partitions_are_read() {
        let all = vec![1, 2, 3];
        let expected = (0..3).map(|node| (NodeId(node), all.clone())).collect();
        assert_eq!(members(&real()), Some(expected));
    }

    #[test]
    fn what_is_damaged_or_of_another_form_says_nothing() {
        let mut flipped = real();
        flipped[20] ^= 1;
        assert_eq!(members(&flipped), None);
        let mut other = real();
        other[0] = 2;
        assert_eq!(members(&other), None);
        for length in 0..real().len() {
            assert_eq!(members(&real()[..length]), None);
        }
        // Whatever the checksum: no message makes it panic.
        for at in 9..real().len() {
            for byte in [0, 0x7f, 0x80, 0xff] {
                let mut bytes = real();
                bytes[at] = byte;
                let sum = u64::from(crc32c::crc32c(&bytes[9..])).to_le_bytes();
                bytes[1..9].copy_from_slice(&sum);
                members(&bytes);
            }
        }
    }
}
