//! What was written to a file system is put on its disk.
//!
//! Must not know why.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{OFlags, fstatfs};

use crate::{Error, Result};

/// ZFS_SUPER_MAGIC, statfs(2).
pub(crate) const ZFS: i64 = 0x2FC1_2FC1;

/// All of the file system that has `dir` (syncfs(2)). Of ZFS the files in `dir` first, one by one: pages that were written
/// through mmap are written out by syncfs, too, but nothing hurries what they wait for then, the end of the transaction group,
/// which may be 5 seconds away (zpl_writepages in zpl_file.c, 2.1.11; seen: 5 s a dataset).
pub fn flush(dir: &Path) -> Result<()> {
    let open = File::open(dir).map_err(Error::io("open", dir))?;
    let fs = fstatfs(open.as_fd()).map_err(Error::io("look at the file system of", dir))?;
    if fs.f_type == ZFS {
        files_in(dir)?;
    }
    rustix::fs::syncfs(open).map_err(Error::io("sync the file system of", dir))
}

/// Those that go meanwhile need nothing more, nor do those of snapshots, which are in `.zfs` where that is to be seen.
fn files_in(dir: &Path) -> Result<()> {
    let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if is_gone(&error) => continue,
            entries => entries.map_err(Error::io("list", &folder))?,
        };
        for entry in entries {
            let entry = entry.map_err(Error::io("list", &folder))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(Error::io("look at", &path))?;
            if entry.file_name() == ".zfs" {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
                let mut options = OpenOptions::new();
                let options = options.read(true).custom_flags(flags.bits().cast_signed());
                match options.open(&path).and_then(|file| file.sync_all()) {
                    Err(error) if is_gone(&error) => {}
                    synced => synced.map_err(Error::io("sync", &path))?,
                }
            }
        }
    }
    Ok(())
}
