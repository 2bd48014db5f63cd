use crate::cluster::BROKERS;
use crate::gate::{Gate, Then};
use crate::instances::*;
use crate::running::{new_cluster, used_cluster};
use std::time::Instant;
#[test]
fn a_probe() {
    let t = Instant::now();
    let c = new_cluster();
    eprintln!("{:?} up in {}", t.elapsed(), c.dir().display());
    let keys = c.create(60);
    eprintln!("{:?} created {:?}", t.elapsed(), by_partition(&keys));
    eprintln!("{:?}", c.zeebe_snapshots());
    c.take_snapshot();
    eprintln!("{:?} {:?}", t.elapsed(), c.zeebe_snapshots());
    let jobs = c.activate_all();
    eprintln!("{:?} activated", t.elapsed());
    assert_eq!(jobs.instances(), keys);
    let jobs = c.activate_all();
    eprintln!("{:?} activated again", t.elapsed());
    assert_eq!(jobs.instances(), keys);
    c.complete(&jobs);
    eprintln!("{:?} completed", t.elapsed());
    assert_eq!(c.activate_all().instances(), Instances::new());
    eprintln!("{:?} none; pids {:?}", t.elapsed(), c.one_pid_each());
    let gate = Gate::before_btrfs(&c);
    for (then, name) in [(Then::Go, "x1"), (Then::Fail, "x2")] {
        gate.hold(1);
        for b in BROKERS {
            let g = gate.dir().to_owned();
            let d = c.data(b);
            std::thread::spawn(move || {
                let o = std::process::Command::new(g.join("btrfs"))
                    .args(["subvolume", "snapshot", "-r"])
                    .arg(&d)
                    .arg(d.with_file_name(name))
                    .output()
                    .unwrap();
                eprintln!("{b} {o:?}");
            });
        }
        let held = gate.wait_held();
        eprintln!("{held:?}");
        held.release(then);
    }
    gate.pass();
    std::thread::sleep(std::time::Duration::from_secs(1));
    eprintln!("{:?}", c.volume().subvolumes());
    c.kill_all();
    for b in BROKERS {
        c.start_broker(b);
    }
    let t2 = Instant::now();
    c.wait_healthy();
    eprintln!("{:?} restarted", t2.elapsed());
    let mut wrong = c.create(3);
    wrong.pop_first();
    assert_eq!(
        c.activate_all().instances(),
        wrong,
        "SEEN FAILING: as it should"
    );
}
#[test]
fn b_probe_after_panic() {
    let t = Instant::now();
    let c = used_cluster();
    eprintln!("{:?} {:?} {}", t.elapsed(), c.open(), c.dir().display());
}
