//! What every backend has to hold wherever a data directory can lie, shown as outcomes: one suite, run over each backend
//! and layout by its [`Fixture`].
//!
//! Needs root, the backends' tools, their file systems in the kernel (tests of those that few kernels have are ignored, and
//! asked for by name), strace, and python3 for one test. `KEEP=1` leaves what a fixture made for a look. A
//! backend's room holds its fixtures, what only that backend must hold, and the line `contract!(ItsFixture)` for each.
//! The suite itself must not know any backend: no test here asks which one it runs over.

// A test ends by panicking, and says with `expect` what it had relied on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use zeebe_snap_backends::action::perform_all;
use zeebe_snap_backends::host::Host;
use zeebe_snap_backends::{Action, Driver, SnapName, Volume};

use crate::apart::Cut;
use crate::site::Site;

/// Makes one test of each function of the suite, for the fixture named.
macro_rules! contract {
    (with $attributes:tt $fixture:ty: $($room:ident { $($test:ident)* })*) => {
        $($(contract!{one $attributes $fixture, $room, $test})*)*
    };
    (one [$(#[$attribute:meta])*] $fixture:ty, $room:ident, $test:ident) => {
        #[test]
        $(#[$attribute])*
        fn $test() {
            crate::$room::$test::<$fixture>();
        }
    };
    ($(#[$attribute:meta])* $fixture:ty) => {
        contract!(with [$(#[$attribute])*] $fixture:
            detection {
                a_volume_is_found_and_nothing_elsewhere
                an_id_opens_again_as_the_same_volume
                no_capability_goes_unexercised
                a_mount_below_the_data_is_in_the_way
                data_that_is_missing_can_be_put_back_and_not_captured
            }
            obstacles {
                what_cannot_be_moved_is_in_the_way
                what_cannot_be_moved_further_down_is_not
                a_read_only_mount_is_in_the_way
                a_second_mount_of_a_folder_is_in_the_way
                a_mount_of_a_container_is_in_the_way_or_sees_what_is_brought_back
            }
            snapshots {
                a_snapshot_is_what_the_data_was
                papers_are_no_part_of_anything
                preparing_and_clearing_may_be_repeated
                somebody_elses_snapshot_has_no_label
                all_of_the_data_is_in_a_snapshot
                a_page_of_a_killed_process_is_in_the_snapshot
            }
            rollbacks {
                data_as_it_was_is_brought_back
                data_with_its_content_deleted_is_brought_back
                data_deleted_altogether_is_brought_back
                data_replaced_by_a_folder_is_brought_back
                a_rollback_that_keeps_nothing_leaves_nothing
                what_changed_since_the_look_is_unclear
                what_is_staged_is_what_was_captured
                what_was_taken_back_can_be_done_later
            }
            undoing {
                work_is_undone_and_done_again
                a_restore_of_deleted_data_is_undone
                deleted_data_is_undone
                data_replaced_by_a_folder_is_undone
                what_is_kept_outlives_the_snapshot
                an_undo_is_taken_back
                what_is_kept_is_let_go_of
                neighbours_do_not_notice_an_undo
            }
            streams {
                what_is_sent_is_what_was_captured
                a_base_is_told_by_its_identity
                a_base_that_is_missing_is_refused
                a_stream_that_is_cut_is_made_whole
                a_stream_that_is_damaged_is_not_taken
                a_killed_receive_is_made_whole
                a_stream_that_is_given_up_is_made_whole
                what_has_landed_can_be_sent_on_and_back
            }
            capabilities {
                a_held_snapshot_stays
                several_are_taken_at_once
            }
            surroundings {
                neighbours_do_not_notice
                what_is_mounted_stays_and_a_boot_finds_what_is_right
                each_of_two_is_brought_back_alone
                what_is_frozen_is_of_one_file_system
            }
            interruptions {
                a_killed_snapshot_is_none_or_whole
                a_stopped_snapshot_is_none_or_whole
                a_killed_stage_leaves_nothing
                a_killed_swap_is_finished_or_taken_back
                a_killed_swap_onto_nothing_is_finished_or_taken_back
            }
            undo_interrupted {
                what_is_kept_is_taken_or_not
                a_killed_undo_is_finished_or_taken_back
                a_killed_undo_onto_nothing_is_finished_or_taken_back
                a_killed_forget_is_finished
                a_killed_release_is_finished
            }
        );
    };
}

#[path = "contract/apart.rs"]
mod apart;
#[path = "contract/around.rs"]
mod around;
#[path = "contract/attempt.rs"]
mod attempt;
#[path = "contract/btrfs.rs"]
mod btrfs;
#[path = "contract/capabilities.rs"]
mod capabilities;
#[path = "contract/copy.rs"]
mod copy;
#[path = "contract/detection.rs"]
mod detection;
#[path = "contract/interruptions.rs"]
mod interruptions;
#[path = "contract/lvm.rs"]
mod lvm;
#[path = "contract/obstacles.rs"]
mod obstacles;
#[path = "contract/receiving.rs"]
mod receiving;
#[path = "contract/rollbacks.rs"]
mod rollbacks;
#[path = "contract/site.rs"]
mod site;
#[path = "contract/snapshots.rs"]
mod snapshots;
#[path = "contract/streams.rs"]
mod streams;
#[path = "contract/surroundings.rs"]
mod surroundings;
#[path = "contract/tree.rs"]
mod tree;
#[path = "contract/undo_interrupted.rs"]
mod undo_interrupted;
#[path = "contract/undoing.rs"]
mod undoing;
#[path = "contract/zfs.rs"]
mod zfs;

/// What changes places in a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moves {
    /// Two folders do: the data directory is one, and can be removed.
    Name,
    /// What is in two folders does: the data directory is a mount point.
    Entries,
    /// Two volumes do, which have names of their own: the data directory is where one of them is mounted.
    Volume,
}

/// A fresh volume with an empty data directory at an odd path. Dropping it removes every trace, also after a panic.
trait Fixture: Sized {
    /// The backend's name.
    const DRIVER: &'static str;

    /// What the backend can do besides snapshots.
    const CAPABILITIES: &'static [&'static str];

    /// The names in the data directory that are not the data's.
    const LEAVES_OUT: &'static [&'static str] = &[];

    /// What changes places in a swap.
    const MOVES: Moves = match Self::LEAVES_OUT {
        [] => Moves::Name,
        _ => Moves::Entries,
    };

    /// What is mounted at another place, too, cannot change places at all.
    const ALONE: bool = false;

    /// Bytes of a new volume that hold zeros: they are counted where it is estimated how much flows, and do not flow.
    const ZEROS: u64 = 0;

    /// How what changes it can be cut.
    const CUT: Cut = Cut::Calls;

    /// One snapshot holds [`Fixture::another`], too.
    const TOGETHER: bool = false;

    fn fresh() -> Self;

    /// Where all of it is.
    fn site(&self) -> &Site;

    /// The data directory.
    fn data(&self) -> &Path;

    /// Makes another data directory, as near to the first as the layout has it.
    fn another(&self) -> PathBuf;

    /// Makes whatever can stand at a snapshot's name and is not ours, and gives the names.
    fn strangers(&self, volume: &dyn Volume) -> Vec<SnapName>;

    /// Empty folders, and paths where there is nothing, that are not on a volume of this backend.
    fn elsewhere(&self) -> Vec<PathBuf>;

    /// A place called `name` where streams of this backend may land, on a volume of its own.
    fn place(&self, name: &str) -> String {
        panic!("{} has no streams, and none land at {name}", Self::DRIVER)
    }

    /// Removes the data directory altogether, as an admin would; all that is in it where it is a mount point.
    fn remove_data(&self) {
        match Self::MOVES {
            Moves::Name => fs::remove_dir_all(self.data()).unwrap(),
            Moves::Entries | Moves::Volume => tree::empty(self.data(), &Self::leaves_out()),
        }
    }

    /// Makes a folder of what was removed.
    fn remake_data(&self) {
        if Self::MOVES == Moves::Name {
            fs::create_dir(self.data()).unwrap();
        }
    }

    /// What there is that is no file: the names of volumes and of snapshots.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    /// Lets `read` have what is staged or kept under that name.
    fn beside<T>(&self, name: &str, read: impl FnOnce(&Path) -> T) -> T {
        read(&around::folder(self.site(), self.data(), name))
    }

    /// What is staged or kept under that name takes another.
    fn move_beside(&self, name: &str, to: &str) {
        let path = around::folder(self.site(), self.data(), name);
        fs::rename(&path, path.with_file_name(to)).unwrap();
    }

    /// Somebody makes something empty under the name `name`, where `other` is.
    fn make_beside(&self, other: &str, name: &str) {
        let path = around::folder(self.site(), self.data(), other);
        fs::create_dir(path.with_file_name(name)).unwrap();
    }

    /// Removes what is under that name altogether, as an admin would.
    fn remove_beside(&self, name: &str) {
        let path = around::folder(self.site(), self.data(), name);
        fs::remove_dir_all(path).unwrap();
    }

    /// Everything there is but for the data's own. What snapshots and rollbacks leave behind is seen here, wherever it is.
    fn traces(&self) -> BTreeSet<PathBuf> {
        let mut found = around::traces(self.site(), self.data());
        found.extend(self.names().into_iter().map(PathBuf::from));
        found
    }

    /// Insists that there is just what there was `before`.
    #[track_caller]
    fn no_trace(&self, before: &BTreeSet<PathBuf>, when: &str) {
        around::same(&self.traces(), before, when);
    }

    fn leaves_out() -> Vec<OsString> {
        Self::LEAVES_OUT.iter().map(OsString::from).collect()
    }

    fn driver() -> &'static dyn Driver {
        zeebe_snap_backends::driver(Self::DRIVER).unwrap()
    }

    /// The volume, as it is found now.
    fn volume(&self) -> Box<dyn Volume> {
        Self::driver()
            .detect(&host(), self.data())
            .unwrap()
            .expect("the data directory is on a volume of this backend")
    }

    /// The data as it is now.
    fn look(&self) -> tree::Seen {
        tree::look(self.data(), &Self::leaves_out())
    }
}

/// Runs tools.
fn host() -> Host {
    Host::new(&[])
}

/// Performs all of it.
#[track_caller]
fn perform(actions: &[Action]) {
    perform_all(actions, &host(), &|| false).unwrap();
}

/// A snapshot's name.
fn snap(name: &str) -> SnapName {
    SnapName::try_from(name.to_owned()).unwrap()
}

#[test]
#[ignore = "other tests run it, in a process of its own"]
fn does_a_task() {
    apart::perform();
}
