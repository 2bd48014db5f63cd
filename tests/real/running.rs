//! One cluster at a time: the machine has two cores.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::cluster::Cluster;
use crate::instances::Instances;
use crate::layout::Layout;
use crate::setup::Setup;

static RUNNING: Mutex<Option<Case>> = Mutex::new(None);

/// Tests that wait for their turn.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// A cluster and the instances that are open in it.
#[derive(Debug)]
struct Case {
    layout: Layout,
    cluster: Cluster,
    open: Instances,
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
    /// The instances that have to be there, whatever a test does to the cluster.
    pub fn open(&self) -> &Instances {
        &self.0.as_ref().unwrap().open
    }

    /// Takes the cluster down: the next test could not use it.
    pub fn end(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if std::thread::panicking() || WAITING.load(Ordering::SeqCst) == 0 {
            drop(self.0.take());
        }
    }
}

/// A cluster on which nothing has ever happened.
pub fn new_cluster(layout: Layout) -> Turn {
    let mut turn = Turn(lock());
    // The old one goes first: two are too much for two cores.
    drop(turn.0.take());
    *turn.0 = Some(start(layout));
    turn
}

/// A cluster with some open instances, on which other tests may have been.
pub fn used_cluster(layout: Layout) -> Turn {
    let mut turn = Turn(lock());
    drop(turn.0.take_if(|case| case.layout != layout));
    let case = turn.0.get_or_insert_with(|| start(layout));
    case.cluster.wait_healthy();
    if case.open.is_empty() {
        case.open = case.cluster.create(12);
    }
    turn
}

fn start(layout: Layout) -> Case {
    let cluster = Cluster::start(layout);
    cluster.configure(&Setup::default());
    cluster.deploy();
    Case {
        layout,
        cluster,
        open: Instances::new(),
    }
}

fn lock() -> MutexGuard<'static, Option<Case>> {
    WAITING.fetch_add(1, Ordering::SeqCst);
    let slot = RUNNING.lock();
    WAITING.fetch_sub(1, Ordering::SeqCst);
    // A test that failed has taken its cluster down already.
    slot.unwrap_or_else(|failed| {
        RUNNING.clear_poison();
        failed.into_inner()
    })
}
