//! Gives a new file the content of another: by sharing its blocks, else by a copy that keeps the holes.
//!
//! What the two file systems can do is found by trying, once for a whole tree. It must not know trees.

use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Advice, SeekFrom, copy_file_range, fadvise, ftruncate, ioctl_ficlone, seek};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use crate::tree::pass::Pass;

/// Copied at a time; after each the caller may stop it.
const CHUNK: u64 = 8 * 1024 * 1024;

/// As much as is read at a time where the kernel does not copy by itself.
pub(super) const BUFFER: usize = 128 * 1024;

/// From this size on a range is worth to be written on its own.
const LARGE: u64 = 1024 * 1024;

/// As many ranges of data are asked for at a time.
const RANGES: usize = 1024;

/// Why there is no content.
#[derive(Debug)]
pub(super) enum Stopped {
    Failed(&'static str, Errno),
    /// The file ends before it should.
    Short,
    Interrupted,
}

fn failed(what: &'static str) -> impl FnOnce(Errno) -> Stopped {
    move |errno| Stopped::Failed(what, errno)
}

/// What is known of a pair of file systems.
#[derive(Debug)]
pub(super) struct Ways {
    /// Blocks may be shared.
    share: AtomicBool,
    /// The kernel may copy by itself.
    range: AtomicBool,
}

impl Ways {
    pub(super) fn new() -> Ways {
        Ways {
            share: AtomicBool::new(true),
            range: AtomicBool::new(true),
        }
    }

    /// Makes the first `size` bytes of `from` the content of `to`, which is empty. Says whether blocks are shared.
    pub(super) fn copy(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        size: u64,
        buffer: &mut [u8],
        pass: &Pass<'_>,
    ) -> Result<bool, Stopped> {
        if size == 0 {
            return Ok(false);
        }
        if self.share.load(Ordering::Relaxed) && self.share(from, to)? {
            (pass.progress)(size);
            return Ok(true);
        }
        let mut done = 0;
        let mut more = true;
        while more {
            let ranges = data(from, done, size)?;
            more = ranges.len() == RANGES;
            for (data, hole) in ranges {
                (pass.progress)(data - done);
                self.copy_data(from, to, data, hole, buffer, pass)?;
                done = hole;
            }
        }
        if done < size {
            retry_on_intr(|| ftruncate(to, size))
                .map_err(failed("set the length of the copy of"))?;
            (pass.progress)(size - done);
        }
        Ok(false)
    }

    fn share(&self, from: &OwnedFd, to: &OwnedFd) -> Result<bool, Stopped> {
        loop {
            match ioctl_ficlone(to, from) {
                Ok(()) => return Ok(true),
                Err(Errno::INTR) => {}
                // These never do.
                Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS) => {
                    self.share.store(false, Ordering::Relaxed);
                    return Ok(false);
                }
                // This file does not.
                Err(Errno::INVAL | Errno::TXTBSY) => return Ok(false),
                Err(errno) => return Err(Stopped::Failed("clone", errno)),
            }
        }
    }

    fn copy_data(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        mut at: u64,
        end: u64,
        buffer: &mut [u8],
        pass: &Pass<'_>,
    ) -> Result<(), Stopped> {
        let mut begun = at;
        while at < end {
            if (pass.stop)() {
                return Err(Stopped::Interrupted);
            }
            let length = match self.copy_range(from, to, at, end)? {
                Some(length) => length,
                None => copy_bytes(from, to, at, end, buffer)?,
            };
            (pass.progress)(length);
            at += length;
            if at - begun >= CHUNK || (at == end && at - begun >= LARGE) {
                begin_writing(to, begun, at);
                begun = at;
            }
        }
        Ok(())
    }

    /// How much the kernel copied; `None` where it does not copy between these.
    fn copy_range(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        at: u64,
        end: u64,
    ) -> Result<Option<u64>, Stopped> {
        let length = (end - at).min(CHUNK) as usize;
        while self.range.load(Ordering::Relaxed) {
            let (mut read, mut written) = (at, at);
            match copy_file_range(from, Some(&mut read), to, Some(&mut written), length) {
                // Some file systems say so of a file that has more.
                Ok(0) => return Ok(None),
                Ok(length) => return Ok(Some(length as u64)),
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    self.range.store(false, Ordering::Relaxed);
                }
                Err(errno) => return Err(Stopped::Failed("copy", errno)),
            }
        }
        Ok(None)
    }
}

/// From where to where there is data at or after `at`, up to so many ranges; the rest is holes. None at the end.
///
/// They are asked for before anything between them is read: a preallocated range is a hole, until what the kernel reads
/// ahead of a copy puts its zeros into the page cache. Then it is data.
fn data(from: &OwnedFd, mut at: u64, size: u64) -> Result<Vec<(u64, u64)>, Stopped> {
    let mut ranges = Vec::new();
    while at < size && ranges.len() < RANGES {
        let data = match seek(from, SeekFrom::Data(at)) {
            Ok(data) if data < size => data,
            Ok(_) | Err(Errno::NXIO) => break,
            // A file system that cannot tell has none.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                ranges.push((at, size));
                break;
            }
            Err(errno) => return Err(Stopped::Failed("look for holes in", errno)),
        };
        let hole = seek(from, SeekFrom::Hole(data)).map_err(failed("look for holes in"))?;
        at = hole.min(size);
        ranges.push((data, at));
    }
    Ok(ranges)
}

/// Has the disk begin with what was just copied, while more is copied: otherwise it stands still until all of it is
/// synced at once. A hint; what it means is that the kernel writes dirty pages, and clean ones it may drop.
fn begin_writing(to: &OwnedFd, from: u64, end: u64) {
    fadvise(to, from, NonZeroU64::new(end - from), Advice::DontNeed).ok();
}

/// Copies some bytes, at least one.
fn copy_bytes(
    from: &OwnedFd,
    to: &OwnedFd,
    at: u64,
    end: u64,
    buffer: &mut [u8],
) -> Result<u64, Stopped> {
    let most = ((end - at) as usize).min(buffer.len());
    let length = loop {
        match pread(from, &mut buffer[..most], at) {
            Ok(0) => return Err(Stopped::Short),
            Ok(length) => break length,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Stopped::Failed("read", errno)),
        }
    };
    let mut written = 0;
    while written < length {
        match pwrite(to, &buffer[written..length], at + written as u64) {
            Ok(more) => written += more,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Stopped::Failed("write the copy of", errno)),
        }
    }
    Ok(length as u64)
}
