//! Any set of changes gets through; no stream with a flaw does.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::apply::{ApplyError, Onto, apply};
use super::explain::{As, explain};
use super::read::{ReadError, Reader, Record};
use super::write::{Writer, send};
use super::*;

const CHUNK: usize = 512;

fn volume(name: &str, thin_id: u32) -> Volume {
    Volume {
        name: name.to_owned(),
        identity: format!("uuid-of-{name}"),
        pool: "vg-pool".to_owned(),
        thin_id,
    }
}

fn header(base: Option<u32>, device_size: u64) -> Header {
    Header {
        of: volume("zeebe-snap-2", 3),
        base: base.map(|id| volume("zeebe-snap-1", id)),
        device_size,
        chunk_size: CHUNK as u64,
    }
}

fn file(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file
}

fn content(file: &File, size: usize) -> Vec<u8> {
    let mut all = vec![0; size];
    file.read_exact_at(&mut all, 0).unwrap();
    all
}

/// Two states of a device, by chunks: `None` is not mapped.
fn states() -> impl Strategy<Value = Vec<(Option<u8>, Option<u8>)>> {
    let chunk = || prop_oneof![Just(None), (0..4_u8).prop_map(Some)];
    prop::collection::vec((chunk(), chunk()), 1..40)
}

fn device(states: impl Iterator<Item = Option<u8>>) -> Vec<u8> {
    states
        .flat_map(|chunk| [chunk.unwrap_or_default(); CHUNK])
        .collect()
}

/// As `thin_delta` tells them, with neighbours joined or not.
fn changes(states: &[(Option<u8>, Option<u8>)], join: bool) -> Vec<Extent> {
    let mut extents: Vec<Extent> = Vec::new();
    for (n, (before, after)) in states.iter().enumerate() {
        if before == after {
            continue;
        }
        let holds = if after.is_some() {
            Holds::Data
        } else {
            Holds::Zero
        };
        let offset = (n * CHUNK) as u64;
        match extents.last_mut() {
            Some(last) if join && last.offset + last.length == offset && last.holds == holds => {
                last.length += CHUNK as u64;
            }
            _ => extents.push(Extent {
                offset,
                length: CHUNK as u64,
                holds,
            }),
        }
    }
    extents
}

fn stream(of: &[u8], extents: Vec<Extent>, base: Option<u32>) -> Vec<u8> {
    let mut stream = Vec::new();
    send(
        &file(of),
        extents,
        &header(base, of.len() as u64),
        &mut stream,
        &|| false,
    )
    .unwrap();
    stream
}

fn drain(stream: &[u8]) -> Result<Totals, ReadError> {
    let mut reader = Reader::new(stream)?;
    loop {
        if let Record::End(totals) = reader.next_record()? {
            return Ok(totals);
        }
    }
}

proptest! {
    #[test]
    fn any_changes_get_through(states in states(), join: bool) {
        let (before, after) = (device(states.iter().map(|it| it.0)), device(states.iter().map(|it| it.1)));
        let stream = stream(&after, changes(&states, join), Some(2));
        let mut target = file(&before);
        apply(&mut Reader::new(&stream[..]).unwrap(), &mut target, Onto::Base("uuid-of-zeebe-snap-1"), &|| false).unwrap();
        prop_assert!(content(&target, after.len()) == after);
    }

    #[test]
    fn all_of_it_gets_through(states in states(), join: bool, larger in 0_u64..3) {
        let states: Vec<_> = states.into_iter().map(|it| (None, it.1)).collect();
        let after = device(states.iter().map(|it| it.1));
        let stream = stream(&after, changes(&states, join), None);
        let mut target = file(&[]);
        target.set_len(after.len() as u64 + larger * CHUNK as u64).unwrap();
        let totals = apply(&mut Reader::new(&stream[..]).unwrap(), &mut target, Onto::Nothing, &|| false).unwrap();
        prop_assert!(content(&target, after.len()) == after);
        let mapped = states.iter().filter(|it| it.1.is_some()).count() * CHUNK;
        prop_assert_eq!(totals.data + totals.zero, mapped as u64);
    }

    #[test]
    fn a_bit_that_is_another_is_refused(states in states(), at: prop::sample::Index, bit in 0..8_u32) {
        let after = device(states.iter().map(|it| it.1));
        let mut stream = stream(&after, changes(&states, true), Some(2));
        let at = at.index(stream.len());
        stream[at] ^= 1_u8 << bit;
        prop_assert!(drain(&stream).is_err(), "{at}");
    }

    #[test]
    fn what_is_cut_or_too_long_is_refused(states in states(), at: prop::sample::Index) {
        let after = device(states.iter().map(|it| it.1));
        let stream = stream(&after, changes(&states, false), Some(2));
        prop_assert!(drain(&stream).is_ok());
        prop_assert!(drain(&stream[..at.index(stream.len())]).is_err());
        prop_assert!(drain(&[&stream[..], &stream[..1]].concat()).is_err());
        prop_assert!(drain(&[&stream[..], b"\0"].concat()).is_err());
    }

    #[test]
    fn what_is_no_stream_is_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), as_one: bool) {
        let start: &[u8] = if as_one { b"ZSBLOCKS\x01\0\0\0" } else { b"" };
        prop_assert!(drain(&[start, &bytes].concat()).is_err());
    }
}

/// Every bit and every length of one, not only some.
#[test]
fn one_stream_is_proven_bit_by_bit() {
    let states = [
        (None, Some(1)),
        (Some(1), None),
        (Some(2), Some(2)),
        (Some(1), Some(3)),
    ];
    let after = device(states.iter().map(|it| it.1));
    let stream = stream(&after, changes(&states, true), Some(2));
    for at in 0..stream.len() {
        assert!(drain(&stream[..at]).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut other = stream.clone();
            other[at] ^= 1_u8 << bit;
            assert!(drain(&other).is_err(), "bit {bit} of {at}");
        }
    }
}

#[test]
fn records_cannot_be_left_out_or_change_places() {
    let written = |pieces: &[u64]| {
        let mut stream = Vec::new();
        let mut writer = Writer::new(&mut stream, &header(None, 4096)).unwrap();
        for offset in pieces {
            writer.data(*offset, &[7; CHUNK]).unwrap();
        }
        writer.end().unwrap();
        stream
    };
    let (none, both) = (written(&[]), written(&[0, 1024]));
    let record = 17 + CHUNK + 32;
    let head = none.len() - (25 + 32);
    // The first record, left out, leaves the second with a number that is not its own.
    let said = drain(&[&both[..head], &both[head + record..]].concat())
        .unwrap_err()
        .to_string();
    assert_eq!(
        said,
        "the block stream is damaged, in record 0: its checksum does not fit"
    );
}

#[test]
fn it_is_applied_to_its_base_alone() {
    let full = stream(&[1; CHUNK], vec![], None);
    let changed = stream(&[1; CHUNK], vec![], Some(2));
    let mut target = file(&[9; CHUNK]);
    let mut try_to = |stream: &[u8], onto| {
        apply(
            &mut Reader::new(stream).unwrap(),
            &mut target,
            onto,
            &|| false,
        )
        .unwrap_err()
        .to_string()
    };
    insta::assert_snapshot!(try_to(&full, Onto::Base("uuid-of-x")), @"the block stream is of all there is, and this is the base uuid-of-x; nothing was written");
    insta::assert_snapshot!(try_to(&changed, Onto::Nothing), @"the block stream is from the base uuid-of-zeebe-snap-1, and this is no base; nothing was written");
    insta::assert_snapshot!(try_to(&changed, Onto::Base("uuid-of-x")), @"the block stream is from the base uuid-of-zeebe-snap-1, and this is the base uuid-of-x; nothing was written");
    let large = stream(&[1; 2 * CHUNK], vec![], None);
    insta::assert_snapshot!(try_to(&large, Onto::Nothing), @"the block stream is of 1024 bytes, and the device has 512; nothing was written");
    assert_eq!(content(&target, CHUNK), [9; CHUNK]);
    let given_up = apply(
        &mut Reader::new(&full[..]).unwrap(),
        &mut target,
        Onto::Nothing,
        &|| true,
    );
    assert!(matches!(given_up, Err(ApplyError::GivenUp)));
}

#[test]
fn records_out_of_order_are_not_written() {
    let mut writer = Writer::new(Vec::new(), &header(None, 4096)).unwrap();
    writer.data(1024, &[1; CHUNK]).unwrap();
    for (offset, length) in [
        (1024, 512),
        (0, 512),
        (4096, 1),
        (3584, 1024),
        (u64::MAX, 2),
        (2048, 0),
    ] {
        assert!(writer.zero(offset, length).is_err(), "{length} at {offset}");
    }
    writer.zero(1536, 512).unwrap();
}

#[test]
fn large_pieces_are_cut_up() {
    let device = vec![5; LONGEST * 2 + 1024];
    let all = Extent {
        offset: 0,
        length: device.len() as u64,
        holds: Holds::Data,
    };
    let stream = stream(&device, vec![all], None);
    let totals = Totals {
        records: 3,
        data: device.len() as u64,
        zero: 0,
    };
    assert_eq!(drain(&stream).unwrap(), totals);
    let mut source = file(&device[..100]);
    source.rewind().unwrap();
    let short = send(
        &source,
        [all],
        &header(None, all.length),
        Vec::new(),
        &|| false,
    );
    assert!(short.is_err(), "the device is shorter than what is mapped");
}

#[test]
fn a_stream_is_explained() {
    let states = [
        (None, Some(1)),
        (Some(1), None),
        (Some(2), Some(2)),
        (Some(1), Some(0)),
    ];
    let after = device(states.iter().map(|it| it.1));
    let stream = stream(&after, changes(&states, true), Some(2));
    let told = |form| {
        let mut text = Vec::new();
        explain(&stream[..], &mut text, form).unwrap();
        String::from_utf8(text).unwrap()
    };
    insta::assert_snapshot!(told(As::Text), @r"
    of    zeebe-snap-2, uuid-of-zeebe-snap-2 (thin volume 3 of pool vg-pool)
    base  zeebe-snap-1, uuid-of-zeebe-snap-1 (thin volume 2 of pool vg-pool)
    size  2048 bytes, in chunks of 512
    data                 0         512  ec9e41b262aaafea
    zero               512         512
    zero              1536         512
    end   3 records, 512 bytes of data, 1024 bytes of zero; all checksums fit
    ");
    insta::assert_snapshot!("explained as json", told(As::Json));
    let mut text = Vec::new();
    let cut = explain(&stream[..stream.len() - 1], &mut text, As::Text).unwrap_err();
    insta::assert_snapshot!(cut, @"the block stream is cut, in the end");
}

/// Of metadata that `thin_restore` made, with three devices in it; thin-provisioning-tools 0.9.0 of Debian 12.
mod recorded {
    use super::super::delta::{parse_delta, parse_dump};
    use super::*;

    /// `thin_delta --snap1 2 --snap2 3 META`.
    const DELTA: &[u8] = include_bytes!("fixtures/thin_delta-0.9.0.xml");
    /// `thin_dump --dev-id 3 META`.
    const DUMP: &[u8] = include_bytes!("fixtures/thin_dump-0.9.0.xml");

    const CHUNK: u64 = 64 << 10;

    fn extent(chunk: u64, chunks: u64, holds: Holds) -> Extent {
        Extent {
            offset: chunk * CHUNK,
            length: chunks * CHUNK,
            holds,
        }
    }

    #[test]
    fn what_differs() {
        let changes = parse_delta(DELTA, 100 * CHUNK).unwrap();
        assert_eq!(changes.chunk_size, CHUNK);
        let expected = [
            extent(4, 2, Holds::Data),
            extent(20, 1, Holds::Data),
            extent(25, 4, Holds::Data),
            extent(40, 1, Holds::Zero),
        ];
        assert_eq!(changes.extents, expected);
    }

    #[test]
    fn what_is_mapped() {
        let changes = parse_dump(DUMP, 3, 100 * CHUNK).unwrap();
        let expected = [
            extent(0, 10, Holds::Data),
            extent(20, 1, Holds::Data),
            extent(25, 4, Holds::Data),
        ];
        assert_eq!(changes.extents, expected);
    }

    #[test]
    fn the_last_chunk_ends_with_the_device() {
        let size = 28 * CHUNK + 512;
        let changes = parse_dump(DUMP, 3, size).unwrap();
        let last = changes.extents.last().unwrap();
        assert_eq!(last.offset + last.length, size);
    }

    #[test]
    fn what_is_past_the_end_is_no_part_of_it() {
        let changes = parse_dump(DUMP, 3, 20 * CHUNK).unwrap();
        assert_eq!(changes.extents, [extent(0, 10, Holds::Data)]);
        let changes = parse_delta(DELTA, 26 * CHUNK).unwrap();
        let expected = [
            extent(4, 2, Holds::Data),
            extent(20, 1, Holds::Data),
            extent(25, 1, Holds::Data),
        ];
        assert_eq!(changes.extents, expected);
    }

    #[test]
    fn what_is_cut_or_not_what_was_asked_for_is_refused() {
        for text in [DELTA, DUMP] {
            for end in 0..text.len() - 1 {
                let cut = &text[..end];
                assert!(
                    parse_delta(cut, 1 << 40).is_err() && parse_dump(cut, 3, 1 << 40).is_err(),
                    "{end}"
                );
            }
        }
        assert!(parse_dump(DUMP, 2, 1 << 40).is_err());
        assert!(parse_delta(DUMP, 1 << 40).is_err() && parse_dump(DELTA, 3, 1 << 40).is_err());
        let text = String::from_utf8_lossy(DELTA);
        for (what, by) in [
            ("left_only", "upside_down"),
            ("begin=\"20\"", "begin=\"2\""),
            ("begin=\"20\"", "begin=\"x\""),
            ("length=\"4\"", "length=\"18446744073709551615\""),
            ("data_block_size=\"128\"", "data_block_size=\"0\""),
        ] {
            let odd = text.replace(what, by);
            assert_ne!(odd, text);
            assert!(parse_delta(odd.as_bytes(), 1 << 40).is_err(), "{what} {by}");
        }
    }
}
