//! A process that is to zeebe-snap what a broker is: this test's own file, run again.
//!
//! It holds its data, maps its log and writes to it all the time, answers the management API, and takes a while to stop. It
//! refuses to run on what is not its own, beside another of its node, or on a folder of another time than those its
//! fellows run on; that is an offence, which is written down and fails the test. Must not know zeebe-snap.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::folder::{self, Generation, LOG_LENGTH, PAGE};

/// Names the node that this process is to be.
pub const NODE: &str = "ZEEBE_BROKER_CLUSTER_NODEID";
/// Names its data directory.
pub const DATA: &str = "ZEEBE_BROKER_DATA_DIRECTORY";
/// Names the folder that brokers share with the test. Without it this process is no broker.
pub const SHARED: &str = "ZEEBE_SNAP_SWEEP_SHARED";
/// Names the address it listens on.
pub const ADDRESS: &str = "ZEEBE_SNAP_SWEEP_ADDRESS";

/// How many there are.
pub const BROKERS: usize = 3;

/// The words that make this test's file a broker.
pub fn words() -> Vec<String> {
    let own = std::env::current_exe().unwrap();
    let own = own.to_str().unwrap().to_owned();
    [
        &own,
        "--exact",
        "broker::is_what_this_process_may_be",
        "--nocapture",
        "--test-threads=1",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The file in which a broker says that it runs, as long as it does: its pid and generation. It is locked meanwhile.
pub fn running_file(shared: &Path, node: usize) -> PathBuf {
    shared.join(format!("running-{node}"))
}

/// The file that says for how many milliseconds a broker goes on when it is told to stop.
pub fn slowness_file(shared: &Path, node: usize) -> PathBuf {
    shared.join(format!("slowness-{node}"))
}

/// A broker that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its process.
    pub pid: i32,
    /// What it found in its folder when it started, or was told to make of it since.
    pub generation: Generation,
}

/// The broker of that node, if it runs.
pub fn running(shared: &Path, node: usize) -> Option<Running> {
    let file = File::open(running_file(shared, node)).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let text = fs::read_to_string(running_file(shared, node)).ok()?;
    let mut words = text.split_whitespace();
    let (pid, generation) = (words.next()?, words.next()?);
    Some(Running {
        pid: pid.parse().ok()?,
        generation: generation.parse().ok()?,
    })
}

/// Run by the test harness in every test run, where it does nothing; and as a broker.
#[test]
fn is_what_this_process_may_be() {
    if let Some(shared) = std::env::var_os(SHARED) {
        let text = |name: &str| std::env::var(name).unwrap();
        let broker = Broker {
            node: text(NODE).parse().unwrap(),
            data: text(DATA).into(),
            address: text(ADDRESS),
            shared: shared.into(),
        };
        broker.run();
    }
}

struct Broker {
    node: usize,
    data: PathBuf,
    address: String,
    shared: PathBuf,
}

impl Broker {
    fn run(self) -> ! {
        let told_to_end = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&told_to_end))
            .unwrap();
        // Whoever runs as this node has it, wherever its data is.
        let said = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(running_file(&self.shared, self.node))
            .unwrap();
        // Who asks whether it runs has the lock for a moment.
        let deadline = Instant::now() + Duration::from_secs(1);
        while flock(&said, FlockOperation::NonBlockingLockExclusive).is_err() {
            if Instant::now() > deadline {
                self.offend("was started beside itself");
            }
            thread::sleep(Duration::from_millis(1));
        }
        // One that was killed left it as it was.
        said.set_len(0).unwrap();
        let lock = match File::open(self.data.join(folder::lock(self.node))) {
            Ok(lock) => lock,
            Err(error) => {
                eprintln!("its data is not there: {error}");
                exit(1);
            }
        };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            self.offend("found its folder held by another");
        }
        let found = folder::look(&self.data, self.node, &[".zeebe-snap", "lost+found"]);
        let found = found.unwrap_or_else(|why| {
            self.offend(&format!("found another folder than its own: {why}"))
        });
        let say = |generation: Generation| {
            let text = format!("{:<8} {generation:<10}\n", std::process::id());
            said.write_all_at(text.as_bytes(), 0).unwrap();
        };
        say(found.generation);
        for fellow in (0..BROKERS).filter(|node| *node != self.node) {
            if let Some(fellow) =
                running(&self.shared, fellow).filter(|fellow| fellow.generation != found.generation)
            {
                self.offend(&format!(
                    "started on generation {} while another runs on {}",
                    found.generation, fellow.generation
                ));
            }
        }
        self.note(
            "starts",
            &format!("{} {} {}", self.node, found.generation, std::process::id()),
        );

        let listener = TcpListener::bind((self.address.as_str(), 9600)).unwrap();
        let told = Arc::new(AtomicU64::new(found.generation));
        let reached = Arc::new(AtomicU64::new(found.generation));
        let (node, asked, made) = (self.node, Arc::clone(&told), Arc::clone(&reached));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that went away is no concern of a broker.
                answer(stream, node, &asked, &made).ok();
            }
        });

        let log = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.data.join(folder::log(self.node)))
            .unwrap();
        let mut log = Mapped::of(&log);
        let (mut written, mut generation) = (found.written, found.generation);
        let mut ending: Option<Instant> = None;
        log.write(0, &folder::words(generation, written, self.node, 0));
        loop {
            if told_to_end.load(Ordering::SeqCst) {
                let slow = || {
                    fs::read_to_string(slowness_file(&self.shared, self.node)).unwrap_or_default()
                };
                let until = *ending.get_or_insert_with(|| {
                    Instant::now() + Duration::from_millis(slow().trim().parse().unwrap_or(0))
                });
                if Instant::now() >= until {
                    break;
                }
            }
            let wanted = told.load(Ordering::SeqCst);
            if wanted != generation {
                generation = wanted;
                folder::write_files(&self.data, self.node, generation).unwrap();
                log.write(0, &folder::words(generation, written, self.node, 0));
                say(generation);
                reached.store(generation, Ordering::SeqCst);
            }
            written += 1;
            let page = 1 + written as usize % (LOG_LENGTH / PAGE - 1);
            log.write(page, &folder::words(generation, written, self.node, 0));
            thread::sleep(Duration::from_millis(4));
        }
        log.write(0, &folder::at_rest(generation, written, self.node));
        said.set_len(0).unwrap();
        exit(0)
    }

    fn note(&self, file: &str, text: &str) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.shared.join(file))
            .unwrap();
        file.write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    fn offend(&self, what: &str) -> ! {
        self.note("offences", &format!("broker {} {what}", self.node));
        exit(1)
    }
}

/// Answers one request as Zeebe 8.5 does. Each broker leads the one partition it has.
fn answer(
    mut stream: TcpStream,
    node: usize,
    told: &AtomicU64,
    reached: &AtomicU64,
) -> std::io::Result<()> {
    let mut request = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    request.read_line(&mut first)?;
    let mut line = String::new();
    while request.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let body = match path {
        "/ready" | "/health" => "{}".to_owned(),
        "/actuator/info" => r#"{"build":{"version":"8.5.8"}}"#.to_owned(),
        "/actuator/partitions" => format!(r#"{{"{}":{{"role":"LEADER"}}}}"#, node + 1),
        "/actuator/cluster" => {
            let broker = |node| format!(r#"{{"id":{node},"partitions":[{{"id":{}}}]}}"#, node + 1);
            let brokers: Vec<String> = (0..BROKERS).map(broker).collect();
            format!(
                r#"{{"brokers":[{}],"pendingChange":null}}"#,
                brokers.join(",")
            )
        }
        other => {
            if let Some(generation) = other
                .strip_prefix("/generation/")
                .and_then(|text| text.parse().ok())
            {
                told.store(generation, Ordering::SeqCst);
                while reached.load(Ordering::SeqCst) != generation {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            "{}".to_owned()
        }
    };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The log, mapped to be written.
struct Mapped {
    at: *mut u8,
}

#[allow(unsafe_code)]
impl Mapped {
    fn of(file: &File) -> Mapped {
        // SAFETY: a new map at an address that the kernel chooses, of a file that is LOG_LENGTH long. It is never unmapped.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                LOG_LENGTH,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        Mapped { at: at.cast() }
    }

    fn write(&mut self, page: usize, bytes: &[u8]) {
        assert!(page * PAGE + bytes.len() <= LOG_LENGTH);
        // SAFETY: inside the map, which nobody else in this process knows.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at.add(page * PAGE), bytes.len())
        };
    }
}
