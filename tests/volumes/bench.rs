//! Not a test: how long brokers stand still for a backup, beside the bare commands on the same volumes in the same run. Figures
//! in milliseconds on standard output.

use std::process::Command;
use std::time::Instant;

use crate::broker::BROKERS;
use crate::cluster::Cluster;
use crate::layout::Held;
use crate::rig::tool;
use crate::round_trip::started;
use crate::traces::name;

/// The number of runs of each.
const RUNS: &str = "ZEEBE_SNAP_BENCH_RUNS";

#[test]
#[ignore = "no test: scripts/bench volumes runs it"]
fn window() {
    let runs = std::env::var(RUNS).map_or(5, |runs| runs.parse().unwrap());
    println!("what          whose          min  median     max   (ms, {runs} runs)");
    for (what, held) in [("zfs", Held::Dataset), ("lvm thin", Held::Thin)] {
        let cluster = started([held; BROKERS]);
        let ours: Vec<f64> = (0..runs).map(|_| backup(&cluster)).collect();
        let bare: Vec<f64> = (0..runs).map(|run| commands(&cluster, held, run)).collect();
        for (whose, figures) in [("zeebe-snap", ours), ("bare", bare)] {
            let [least, median, most] = spread(figures);
            println!("{what:<12}  {whose:<10} {least:7.1} {median:7.1} {most:7.1}");
        }
    }
}

/// From the last broker's end to the last start.
fn backup(cluster: &Cluster) -> f64 {
    let report = cluster.run(&["backup", "--json"]).exits(0).json();
    let set = report["set"].as_str().expect("a set");
    cluster.run(&["forget", set, "--yes"]).exits(0);
    report["exit_to_start_ms"].as_f64().expect("a figure")
}

/// What an admin's script does between the two.
fn commands(cluster: &Cluster, held: Held, run: usize) -> f64 {
    let (name, nodes) = (name(cluster), 0..BROKERS);
    let mut script = String::new();
    for node in nodes.clone() {
        script += &format!("sync -f '{}'\n", cluster.place.data(node).display());
    }
    let (take, undo): (String, String) = match held {
        Held::Dataset => {
            let each = |node| format!(" {name}/data-{node}@bare-{run}");
            let all: String = nodes.clone().map(each).collect();
            let undo = nodes.map(|node| format!("zfs destroy {name}/data-{node}@bare-{run}\n"));
            (format!("zfs snapshot{all}\n"), undo.collect())
        }
        Held::Thin | Held::Folder => {
            let take = nodes.clone().map(|node| {
                format!("lvcreate -q -y -ky -pr -s -n bare-{run}-{node} {name}/data-{node}\n")
            });
            let undo = nodes.map(|node| format!("lvremove -q -y {name}/bare-{run}-{node}\n"));
            (take.collect(), undo.collect())
        }
    };
    let shell = |text: &str| tool(Command::new("sh").args(["-ec", text]));
    shell(&script);
    let begun = Instant::now();
    shell(&(script + &take));
    let took = begun.elapsed();
    shell(&undo);
    took.as_secs_f64() * 1000.0
}

fn spread(mut figures: Vec<f64>) -> [f64; 3] {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let median = match figures.len() % 2 {
        0 => (figures[middle - 1] + figures[middle]) / 2.0,
        _ => figures[middle],
    };
    [figures[0], median, figures[figures.len() - 1]]
}
