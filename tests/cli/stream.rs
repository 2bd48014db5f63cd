//! The `stream` verb, as far as it goes with no volume.

use std::fs;

use zeebe_snap_backends::stream::blocks::write::Writer;
use zeebe_snap_backends::stream::blocks::{Header, Volume};

use crate::World;

#[test]
fn what_is_no_stream_is_not_explained() {
    let world = World::new();
    let file = world.dir.path().join("file");
    let dump = |arguments: &[&str]| {
        let all = [&["stream", "dump", file.to_str().unwrap()], arguments].concat();
        world.run(&all)
    };
    insta::assert_snapshot!("stream dump of nothing", dump(&[]));
    fs::write(&file, "PK\x03\x04").unwrap();
    insta::assert_snapshot!("stream dump of something else", dump(&[]));
    fs::write(&file, "btrfs-stream\0\x01\0\0\0").unwrap();
    insta::assert_snapshot!("stream dump json of btrfs", dump(&["--json"]));
    insta::assert_snapshot!("stream dump of what is cut", dump(&[]));
}

#[test]
fn a_block_stream_is_explained() {
    let world = World::new();
    let file = world.dir.path().join("file");
    let volume = |name: &str| Volume {
        name: name.to_owned(),
        identity: format!("uuid-of-{name}"),
        pool: "vg/pool".to_owned(),
        thin_id: 7,
    };
    let header = Header {
        of: volume("zeebe-snap-2"),
        base: Some(volume("zeebe-snap-1")),
        device_size: 1 << 20,
        chunk_size: 65536,
    };
    let mut stream = Vec::new();
    let mut writer = Writer::new(&mut stream, &header).unwrap();
    writer.data(65536, &[7; 65536]).unwrap();
    writer.zero(1 << 19, 65536).unwrap();
    writer.end().unwrap();
    let dump = |arguments: &[&str]| {
        let all = [&["stream", "dump", file.to_str().unwrap()], arguments].concat();
        world.run(&all)
    };
    fs::write(&file, &stream).unwrap();
    insta::assert_snapshot!("stream dump of blocks", dump(&[]));
    insta::assert_snapshot!("stream dump json of blocks", dump(&["--json"]));
    let at = stream.len() - 100;
    stream[at] ^= 1;
    fs::write(&file, &stream).unwrap();
    insta::assert_snapshot!("stream dump of damaged blocks", dump(&[]));
}

#[test]
fn what_has_no_streams_says_what_has() {
    let world = World::new();
    let data = world.dir.path().join("broker 0/data");
    let data = data.to_str().unwrap();
    insta::assert_snapshot!(
        "stream send of a copy",
        world.run(&["stream", "send", data, "zeebe-snap-1"])
    );
    let missing = world.run(&["stream", "send", "/no/such/dir", "zeebe-snap-1"]);
    insta::assert_snapshot!("stream send of nothing", missing);
    let odd = world.run(&["stream", "send", data, "-x/y", "--limit", "fast"]);
    insta::assert_snapshot!("stream send of what is no name", odd);
    insta::assert_snapshot!(
        "stream receive nowhere",
        world.run(&["stream", "receive", "nowhere"])
    );
    insta::assert_snapshot!(
        "stream receive here",
        world.run(&["stream", "receive", "./here"])
    );
}
