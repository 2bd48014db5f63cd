//! Config files changed for others that stand hidden beside them, and back. What a file is, is told by the hash of its content.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use zeebe_snap_backends::action::{sync_dir, write_durably};

use super::Job;
use super::volumes::{ALREADY, DONE, Done};
use crate::plan::configs::{ConfigSwap, hash};

/// Where the other one stands.
pub fn beside(swap: &ConfigSwap) -> PathBuf {
    let name = swap.path.file_name().unwrap_or_default().to_string_lossy();
    swap.path.with_file_name(format!(".{name}.{}", swap.stage))
}

/// The content of a file, if there is one.
pub fn content(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn is(path: &Path) -> Result<Option<String>> {
    Ok(content(path)?.as_deref().map(hash))
}

/// One change of a broker's files at a time, and none any more that was called off.
pub(super) fn in_turn(
    job: &Job<'_>,
    swap: &ConfigSwap,
    change: impl Fn(&ConfigSwap) -> Done,
) -> Done {
    let _turn = job.posts.of(swap.node)?.config(job.posts)?;
    job.still_wanted()?;
    change(swap)
}

/// Writes `new` beside the file, with the owner and mode of the one it is to replace.
pub fn stage(swap: &ConfigSwap, new: &[u8]) -> Done {
    let path = beside(swap);
    ensure!(
        swap.new.as_ref() == Some(&hash(new)),
        "{} is not what was planned",
        swap.path.display()
    );
    ensure!(
        is(&swap.path)? == swap.old,
        "{} was changed since it was looked at",
        swap.path.display()
    );
    write_durably(&path, new)?;
    if let Ok(old) = fs::metadata(&swap.path) {
        let wrong = || format!("give {} the owner and mode of the old one", path.display());
        std::os::unix::fs::chown(&path, Some(old.uid()), Some(old.gid())).with_context(wrong)?;
        let mode = fs::Permissions::from_mode(old.mode() & 0o7777);
        fs::set_permissions(&path, mode).with_context(wrong)?;
    }
    Ok(DONE)
}

/// Puts what stands beside in place of the file.
pub fn swap(swap: &ConfigSwap) -> Done {
    let (path, other) = (&swap.path, beside(swap));
    let now = (is(path)?, is(&other)?);
    if now == (swap.new.clone(), swap.old.clone()) {
        return Ok(ALREADY);
    }
    ensure!(
        now == (swap.old.clone(), swap.new.clone()),
        "{} or {} is not what it was; it was left",
        path.display(),
        other.display()
    );
    let (from, to, flags) = match (&swap.old, &swap.new) {
        (Some(_), Some(_)) => (&other, path, RenameFlags::EXCHANGE),
        (None, Some(_)) => (&other, path, RenameFlags::NOREPLACE),
        (Some(_), None) => (path, &other, RenameFlags::NOREPLACE),
        (None, None) => bail!("{} becomes nothing", path.display()),
    };
    renameat_with(CWD, from, CWD, to, flags)
        .with_context(|| format!("change {} for {}", path.display(), other.display()))?;
    sync_dir(path.parent().unwrap_or(Path::new("/")))?;
    Ok(DONE)
}

/// The reverse; what was not swapped is left.
pub fn swap_back(of: &ConfigSwap) -> Done {
    match is(&of.path)? == of.old {
        true => Ok(ALREADY),
        false => swap(&of.back()),
    }
}

/// Removes what stands beside, if it is what was put there.
pub fn discard(swap: &ConfigSwap) -> Done {
    let other = beside(swap);
    match is(&other)? {
        None => Ok(ALREADY),
        found if found == swap.new => {
            fs::remove_file(&other).with_context(|| format!("remove {}", other.display()))?;
            sync_dir(other.parent().unwrap_or(Path::new("/")))?;
            Ok(DONE)
        }
        Some(_) => bail!("{} is not what was put there; it was left", other.display()),
    }
}
