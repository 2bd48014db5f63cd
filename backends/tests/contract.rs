//! What every backend has to hold, shown as outcomes: one suite, run over each backend by its [`Fixture`].
//!
//! Needs root and the backend's tools, and python3 for one test. `KEEP=1` leaves what a fixture made for a look. A
//! backend's room holds its fixture, what only that backend must hold, and the line `contract!(ItsFixture)`.
//! The suite itself must not know any backend: no test here asks which one it runs over.

// A test ends by panicking, and says with `expect` what it had relied on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use zeebe_snap_backends::host::Host;
use zeebe_snap_backends::{Driver, SnapName, Volume};

/// Makes one test of each function of the suite, for the fixture named.
macro_rules! contract {
    ($fixture:ty) => {
        contract!($fixture:
            detection {
                a_volume_is_found_and_nothing_elsewhere
                an_id_opens_again_as_the_same_volume
                no_capability_goes_unexercised
                a_mount_below_the_data_is_in_the_way
            }
            snapshots {
                a_snapshot_is_what_the_data_was
                preparing_and_clearing_may_be_repeated
                somebody_elses_snapshot_has_no_label
                a_page_of_a_killed_process_is_in_the_snapshot
            }
            rollbacks {
                data_as_it_was_is_brought_back
                data_with_its_content_deleted_is_brought_back
                data_deleted_altogether_is_brought_back
                data_replaced_by_a_folder_is_brought_back
                a_rollback_that_keeps_nothing_leaves_nothing
                what_changed_since_the_look_is_unclear
            }
        );
    };
    ($fixture:ty: $($room:ident { $($test:ident)* })*) => {
        $($(#[test]
        fn $test() {
            crate::$room::$test::<$fixture>();
        })*)*
    };
}

#[path = "contract/btrfs.rs"]
mod btrfs;
#[path = "contract/detection.rs"]
mod detection;
#[path = "contract/rollbacks.rs"]
mod rollbacks;
#[path = "contract/snapshots.rs"]
mod snapshots;
#[path = "contract/tree.rs"]
mod tree;

/// A fresh volume with an empty data directory at an odd path. Dropping it removes every trace, also after a panic.
trait Fixture: Sized {
    /// What the backend can do besides snapshots.
    const CAPABILITIES: &'static [&'static str];

    fn fresh() -> Self;

    fn driver() -> &'static dyn Driver;

    /// The data directory.
    fn data(&self) -> &Path;

    /// Removes the data directory altogether, as an admin would.
    fn remove_data(&self);

    /// Empty folders, and paths where there is nothing, that are not on a volume of this backend.
    fn elsewhere(&self) -> Vec<PathBuf>;

    /// Makes whatever can stand at a snapshot's name and is not ours, and gives the names.
    fn strangers(&self, volume: &dyn Volume) -> Vec<SnapName>;

    /// The volume, as it is found now.
    fn volume(&self) -> Box<dyn Volume> {
        Self::driver()
            .detect(&host(), self.data())
            .unwrap()
            .expect("the data directory is on a volume of this backend")
    }
}

/// Runs tools.
fn host() -> Host {
    Host::new(&[])
}

/// A snapshot's name.
fn snap(name: &str) -> SnapName {
    SnapName::try_from(name.to_owned()).unwrap()
}
