//! One container for all tests, one test at a time.

use std::ops::Deref;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::cluster::Cluster;
use crate::instances::Instances;
use crate::program::run;

static RUNNING: Mutex<Option<Case>> = Mutex::new(None);

/// Tests that wait for their turn.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// A cluster, the instances that are open in it, and those that are in its newest backup.
#[derive(Debug)]
struct Case {
    cluster: Cluster,
    open: Instances,
    saved: Option<Instances>,
}

/// The running cluster, for the length of a test. It is handed on to the next test; one that fails takes it down, and so
/// does the last. (With a single test thread no test ever waits, and each has a cluster of its own.)
#[derive(Debug)]
pub struct Turn(MutexGuard<'static, Option<Case>>);

impl Deref for Turn {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        &self.0.as_ref().unwrap().cluster
    }
}

impl Turn {
    /// The instances that are open.
    pub fn open(&self) -> &Instances {
        &self.0.as_ref().unwrap().open
    }

    /// Starts more, and gives all that are open.
    pub fn create(&mut self, count: usize) -> Instances {
        let case = self.0.as_mut().unwrap();
        case.open.extend(case.cluster.create(count));
        case.open.clone()
    }

    /// Backs up, by this command, which has to end well and to report in JSON.
    #[track_caller]
    pub fn back_up(&mut self, mut command: Command) {
        let outcome = run(&mut command).exits(0);
        assert_eq!(outcome.json()["result"], "complete", "{outcome}");
        let case = self.0.as_mut().unwrap();
        case.saved = Some(case.open.clone());
    }

    /// The instances in the newest backup, which is made now if there is none.
    pub fn saved(&mut self) -> Instances {
        if self.0.as_ref().unwrap().saved.is_none() {
            self.back_up(self.program(&["backup", "--json"]));
        }
        self.0.as_ref().unwrap().saved.clone().unwrap()
    }

    /// Insists that these are open, and no other.
    #[track_caller]
    pub fn has(&mut self, instances: &Instances) {
        self.wait_healthy();
        assert_eq!(&self.activate_all().instances(), instances);
        self.0.as_mut().unwrap().open = instances.clone();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if std::thread::panicking() || WAITING.load(Ordering::SeqCst) == 0 {
            drop(self.0.take());
        }
    }
}

/// A cluster on which other tests may have been: healthy, with some open instances.
pub fn used_cluster() -> Turn {
    WAITING.fetch_add(1, Ordering::SeqCst);
    let slot = RUNNING.lock();
    WAITING.fetch_sub(1, Ordering::SeqCst);
    // A test that failed has taken its cluster down already.
    let mut slot = slot.unwrap_or_else(|failed| {
        RUNNING.clear_poison();
        failed.into_inner()
    });
    slot.get_or_insert_with(|| {
        let cluster = Cluster::start();
        cluster.deploy();
        let open = cluster.create(12);
        Case {
            cluster,
            open,
            saved: None,
        }
    });
    Turn(slot)
}
