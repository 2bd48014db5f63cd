//! Whether anybody at all has a file open for writing, or mapped from such a descriptor, asked of the kernel.
//!
//! A read lease (F_SETLEASE, fcntl(2)) is given only on a file that nobody has open for writing, whoever and wherever
//! that is. It is given back at once.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};

use anyhow::{Context, Result};

/// Whether anybody has the regular file at `path` open for writing.
pub fn has_writer(path: &Path) -> Result<bool> {
    ignore_lease_breaks();
    let wrong = || format!("ask who writes {}", path.display());
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if super::gone(&error) => return Ok(false),
        Err(error) => return Err(error).with_context(wrong),
    };
    match lease(&file, libc::F_RDLCK) {
        Ok(()) => lease(&file, libc::F_UNLCK)
            .map(|()| false)
            .with_context(wrong),
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(true),
        Err(error) => Err(error).with_context(wrong),
    }
}

/// Somebody who opens the file in the moment of the lease makes the kernel send SIGIO, which would end this process.
fn ignore_lease_breaks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Err(error) =
            signal_hook::flag::register(libc::SIGIO, Arc::new(AtomicBool::new(false)))
        {
            tracing::error!(%error, "SIGIO cannot be caught");
        }
    });
}

#[allow(unsafe_code)]
fn lease(file: &File, kind: i32) -> io::Result<()> {
    // SAFETY: F_SETLEASE takes an int and touches no memory; the descriptor is open as long as `file` lives. nix and
    // rustix have no call for it.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_writes_is_noticed_and_one_who_reads_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        std::fs::write(&path, "x").unwrap();
        assert!(!has_writer(&path).unwrap());
        let reader = File::open(&path).unwrap();
        assert!(!has_writer(&path).unwrap());
        let writer = OpenOptions::new().write(true).open(&path).unwrap();
        assert!(has_writer(&path).unwrap());
        drop((reader, writer));
        assert!(!has_writer(&path).unwrap());
        assert!(!has_writer(&dir.path().join("gone")).unwrap());
    }
}
