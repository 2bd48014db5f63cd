//! Carries bytes from one descriptor to another: moved by the kernel where one of them is a pipe, else copied.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use super::Flow;

/// How a stream came to its end.
#[derive(Debug)]
pub enum Ended {
    /// There is no more to read.
    SenderDone,
    /// Nobody reads any more.
    ReceiverGone,
    /// [`Flow::stop`] said so.
    GivenUp,
    /// The system refused.
    Failed(io::Error),
}

/// How much is moved at once: as much as fits into a pipe of the largest size that every user may have.
pub const CHUNK: usize = 1 << 20;

/// How long nothing may happen before somebody is asked whether to go on, and told how far it got.
const TICK: Duration = Duration::from_millis(100);

/// Carries what is `first` and then all there is, and gives the number of bytes.
pub fn carry(first: &[u8], from: &OwnedFd, to: &OwnedFd, flow: &Flow<'_>) -> (u64, Ended) {
    let mut bytes = first.len() as u64;
    match put(to, first) {
        Ok(true) => {}
        Ok(false) => return (0, Ended::ReceiverGone),
        Err(error) => return (0, Ended::Failed(error)),
    }
    let mut told = Instant::now();
    let mut bucket = flow.limit.map(Bucket::new);
    let mut way = Way::Splice;
    loop {
        if (flow.stop)() {
            return (bytes, Ended::GivenUp);
        }
        if told.elapsed() >= TICK {
            told = Instant::now();
            (flow.progress)(bytes);
        }
        let most = match bucket.as_mut().map(Bucket::credit) {
            None => CHUNK,
            Some(Ok(credit)) => credit.min(CHUNK),
            Some(Err(wait)) => match wait_for(to.as_fd(), PollFlags::empty(), wait.min(TICK)) {
                Ok(Woke::Broken) => return (bytes, Ended::ReceiverGone),
                Ok(Woke::Ready | Woke::Nothing) => continue,
                Err(error) => return (bytes, Ended::Failed(error)),
            },
        };
        let moved = match &mut way {
            Way::Splice => move_some(from, to, most),
            Way::Copy(buffer) => copy_some(from, to, buffer, most),
        };
        match moved {
            Ok(Moved::Some(n)) => {
                bytes += n;
                if let Some(bucket) = &mut bucket {
                    bucket.take(n);
                }
            }
            Ok(Moved::Nothing) => {}
            Ok(Moved::All) => return (bytes, Ended::SenderDone),
            Ok(Moved::Refused) => return (bytes, Ended::ReceiverGone),
            // Neither is a pipe, or the file is only appended to.
            Err(error)
                if matches!(way, Way::Splice) && error.kind() == io::ErrorKind::InvalidInput =>
            {
                way = Way::Copy(vec![0; CHUNK]);
            }
            Err(error) => return (bytes, Ended::Failed(error)),
        }
    }
}

enum Way {
    Splice,
    Copy(Vec<u8>),
}

enum Moved {
    Some(u64),
    /// Not yet.
    Nothing,
    All,
    /// Nobody reads any more.
    Refused,
}

fn move_some(from: &OwnedFd, to: &OwnedFd, most: usize) -> io::Result<Moved> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    match splice(from, None, to, None, most, flags) {
        Ok(0) => Ok(Moved::All),
        Ok(n) => Ok(Moved::Some(n as u64)),
        Err(Errno::INTR) => Ok(Moved::Nothing),
        Err(Errno::PIPE) => Ok(Moved::Refused),
        Err(Errno::AGAIN) => wait(from, to),
        Err(error) => Err(error.into()),
    }
}

fn copy_some(from: &OwnedFd, to: &OwnedFd, buffer: &mut [u8], most: usize) -> io::Result<Moved> {
    if let Moved::Refused = wait(from, to)? {
        return Ok(Moved::Refused);
    }
    let n = match rustix::io::read(from, &mut buffer[..most]) {
        Ok(0) => return Ok(Moved::All),
        Ok(n) => n,
        Err(Errno::INTR | Errno::AGAIN) => return Ok(Moved::Nothing),
        Err(error) => return Err(error.into()),
    };
    match put(to, &buffer[..n])? {
        true => Ok(Moved::Some(n as u64)),
        false => Ok(Moved::Refused),
    }
}

/// Writes all of it; whether somebody is there who reads.
fn put(to: &OwnedFd, mut bytes: &[u8]) -> io::Result<bool> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                wait_for(to.as_fd(), PollFlags::OUT, TICK)?;
            }
            Err(Errno::PIPE) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Until there is something to read and room to write it, or for a while.
fn wait(from: &OwnedFd, to: &OwnedFd) -> io::Result<Moved> {
    let mut both = [
        PollFd::new(from, PollFlags::IN),
        PollFd::new(to, PollFlags::empty()),
    ];
    poll_for(&mut both, TICK)?;
    let [readable, broken] = both.map(|fd| fd.revents());
    if broken.intersects(PollFlags::ERR) {
        return Ok(Moved::Refused);
    }
    if readable.is_empty() {
        return Ok(Moved::Nothing);
    }
    match wait_for(to.as_fd(), PollFlags::OUT, TICK)? {
        Woke::Broken => Ok(Moved::Refused),
        Woke::Ready | Woke::Nothing => Ok(Moved::Nothing),
    }
}

enum Woke {
    Ready,
    Broken,
    Nothing,
}

fn wait_for(fd: BorrowedFd<'_>, what: PollFlags, long: Duration) -> io::Result<Woke> {
    let mut one = [PollFd::from_borrowed_fd(fd, what)];
    poll_for(&mut one, long)?;
    let woke = one[0].revents();
    Ok(if woke.intersects(PollFlags::ERR) {
        Woke::Broken
    } else if woke.is_empty() {
        Woke::Nothing
    } else {
        Woke::Ready
    })
}

/// Polls for so long, or until something happens; a signal is something.
pub fn poll_for(fds: &mut [PollFd<'_>], long: Duration) -> io::Result<()> {
    let long = Timespec {
        tv_sec: long.as_secs() as i64,
        tv_nsec: long.subsec_nanos().into(),
    };
    match poll(fds, Some(&long)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// So many bytes in a second; what was not used is not saved up for longer than a moment.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    full: f64,
    level: f64,
    filled: Instant,
}

impl Bucket {
    fn new(rate: u64) -> Bucket {
        let rate = rate.max(1) as f64;
        // At a low rate little at once, or nothing would be seen to go on; at a high one not too often.
        let full = (rate / 20.0).clamp(1.0, CHUNK as f64);
        Bucket {
            rate,
            full,
            level: full,
            filled: Instant::now(),
        }
    }

    /// How many bytes may go now, or how long to wait.
    fn credit(&mut self) -> Result<usize, Duration> {
        let now = Instant::now();
        let gained = now.duration_since(self.filled).as_secs_f64() * self.rate;
        self.level = (self.level + gained).min(self.full);
        self.filled = now;
        // Not byte by byte.
        let worth = (self.full / 2.0).max(1.0);
        if self.level >= worth {
            Ok(self.level as usize)
        } else {
            Err(Duration::from_secs_f64((worth - self.level) / self.rate))
        }
    }

    fn take(&mut self, bytes: u64) {
        self.level -= bytes as f64;
    }
}
