//! The rig itself: a set is taken and brought back, and nothing offends.

use crate::broker::BROKERS;
use crate::cluster::Cluster;
use crate::layout::Layout;
use crate::rig::Kind;

#[test]
fn a_set_comes_back_on_btrfs() {
    comes_back(Layout::Subvolumes);
}

#[test]
fn a_set_comes_back_by_copy() {
    comes_back(Layout::Folders(Kind::Ext4));
}

fn comes_back(layout: Layout) {
    let cluster = Cluster::create(layout);
    for node in 0..BROKERS {
        cluster.start(node);
        cluster.slow_down(node, 20 + 50 * node as u64);
    }
    cluster.run(&["backup"]).exits(0);
    let sets = cluster.sets();
    let (set, state) = sets.iter().next().expect("a set");
    assert_eq!((sets.len(), state.as_str()), (1, "complete"));
    cluster.advance(2);
    for node in 0..BROKERS {
        let captured = cluster.captured(node, set).unwrap();
        assert!(captured.at_rest && captured.generation == 1, "{captured:?}");
        assert_eq!(cluster.found(node).unwrap().generation, 2);
    }
    cluster.run(&["restore", "latest", "--yes"]).exits(0);
    for node in 0..BROKERS {
        assert_eq!(cluster.running(node).expect("it runs").generation, 1);
        assert_eq!(cluster.found(node).unwrap().generation, 1);
    }
    cluster.wait_for_silence();
    assert_eq!(cluster.offences(), "");
}
