//! Two who want the same brokers at once: one goes on, the other is told who has them.

use super::{Cases, UP, cluster_up, newest, settled, wait_for_line};
use crate::case::On;
use crate::killing::lines;

#[test]
fn two_coordinators_do_not_meet() {
    let cluster = cluster_up(On::Btrfs);
    let mut cases = Cases::default();
    cluster.run(&["backup"]).exits(0);
    let set = newest(&cluster);
    let other_state = cluster.dir().join("other-state");
    let other_state = other_state.to_str().unwrap();
    let first: [&[&str]; 2] = [&["backup"], &["restore", &set, "--yes"]];
    for (number, words) in first.into_iter().enumerate() {
        let now = 10 + number as u64;
        cluster.advance(now);
        cluster.slow_down(1, 3000);
        let before = lines(&cluster.state());
        let mut run = cluster.begin(words);
        assert!(
            wait_for_line(&cluster, &mut run, before, 3),
            "{words:?} ended before"
        );
        let others: [&[&str]; 5] = [
            &["backup"],
            &["restore", &set, "--yes"],
            &["forget", &set, "--yes"],
            &["recover"],
            &["--state-dir", other_state, "backup"],
        ];
        for other in others {
            let outcome = cluster.run(other);
            let what = format!("{other:?} while {words:?} is under way");
            assert_eq!(outcome.code, Some(3), "{what}: {outcome}");
            assert!(
                outcome.stderr.contains("another run has the lock"),
                "{what}: {outcome}"
            );
            assert!(outcome.stderr.contains("taken by pid"), "{what}: {outcome}");
            cases.count(&format!(
                "{} while another run is under way",
                other
                    .iter()
                    .find(|word| !word.contains('/') && !word.starts_with('-'))
                    .unwrap()
            ));
        }
        cluster.slow_down(1, 0);
        let outcome = run.finish();
        assert_eq!(outcome.code, Some(0), "{outcome}");
        let times: &[u64] = if number == 0 { &[now] } else { &[1] };
        settled(&cluster, &format!("{words:?} beside others"), UP, times);
    }
}
