//! One cluster at a time: the machine has two cores, and the addresses are there once.

use std::ops::Deref;
use std::sync::{Mutex, MutexGuard};

use crate::cluster::Cluster;
use crate::instances::Instances;
use crate::setup::Setup;

static RUNNING: Mutex<Option<Case>> = Mutex::new(None);

/// A cluster and the instances that are open in it.
#[derive(Debug)]
struct Case {
    cluster: Cluster,
    open: Instances,
}

/// The running cluster, for the length of a test. A test that fails takes it down, and the next one gets a new one.
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
}

/// A cluster on which nothing has ever happened.
pub fn new_cluster() -> Turn {
    let mut slot = lock();
    // The old one goes first: its addresses are needed.
    drop(slot.take());
    *slot = Some(start());
    Turn(slot)
}

/// A cluster with some open instances, on which other tests may have been.
pub fn used_cluster() -> Turn {
    let mut slot = lock();
    let case = slot.get_or_insert_with(start);
    case.cluster.wait_healthy();
    if case.open.is_empty() {
        case.open = case.cluster.create(12);
    }
    Turn(slot)
}

fn start() -> Case {
    let cluster = Cluster::start();
    cluster.configure(&Setup::default());
    cluster.deploy();
    Case {
        cluster,
        open: Instances::new(),
    }
}

fn lock() -> MutexGuard<'static, Option<Case>> {
    RUNNING.lock().unwrap_or_else(|failed| {
        RUNNING.clear_poison();
        let mut slot = failed.into_inner();
        drop(slot.take());
        slot
    })
}
