//! Pipes of real tools and of our own code, that go well and that fail in every order.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::*;
use crate::host::Host;

fn host() -> Host {
    Host::new(&[])
}

fn shell(script: &str) -> Cmd {
    Cmd::new("sh").args(["-c", script])
}

fn pipe(from: &str, to: &str) -> Result<u64, PipeError> {
    run(
        &host(),
        Sender::Tool(shell(from)),
        Receiver::Tool(shell(to)),
        &Flow::new(),
    )
}

/// What a person is told.
fn complaint(from: &str, to: &str) -> String {
    pipe(from, to).unwrap_err().to_string()
}

/// What a shell was told to write its process id to: that process is gone, and waited for.
fn is_gone(pid: &Path) -> bool {
    let pid = fs::read_to_string(pid).unwrap();
    !Path::new("/proc").join(pid.trim()).exists()
}

#[test]
fn all_bytes_get_through_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let [from, to] = ["from", "to"].map(|name| dir.path().join(name));
    let mut bytes = vec![0; (7 << 20) + 13];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    fs::write(&from, &bytes).unwrap();
    let told = AtomicU64::new(0);
    let flow = Flow {
        progress: &|bytes| told.store(bytes, Ordering::Relaxed),
        ..Flow::new()
    };
    let open = || fs::File::open(&from).unwrap();
    let cat = || Cmd::new("cat").arg(&from);
    let save = || Cmd::new("dd").args(["status=none", &format!("of={}", to.display())]);
    let appended = || {
        fs::File::options()
            .append(true)
            .create(true)
            .open(&to)
            .unwrap()
    };
    let mut rest = open();
    rest.seek(SeekFrom::Start(60_000)).unwrap();
    let ends = [
        (
            Sender::Begun(bytes[..60_000].to_vec(), rest),
            Receiver::Tool(save()),
        ),
        (Sender::Tool(cat()), Receiver::Tool(save())),
        (Sender::Open(open()), Receiver::Tool(save())),
        (
            Sender::Tool(cat()),
            Receiver::Open(fs::File::create(&to).unwrap()),
        ),
        (
            Sender::Open(open()),
            Receiver::Open(fs::File::create(&to).unwrap()),
        ),
    ];
    for (sender, receiver) in ends {
        let line = format!("{sender} | {receiver}");
        assert_eq!(
            run(&host(), sender, receiver, &flow).unwrap(),
            bytes.len() as u64,
            "{line}"
        );
        assert!(fs::read(&to).unwrap() == bytes, "{line}");
        assert_eq!(
            told.swap(0, Ordering::Relaxed),
            bytes.len() as u64,
            "{line}"
        );
    }
    // The kernel moves nothing into a file that is appended to.
    run(
        &host(),
        Sender::Tool(cat()),
        Receiver::Open(appended()),
        &flow,
    )
    .unwrap();
    assert!(fs::read(&to).unwrap() == bytes.repeat(2));
}

#[test]
fn an_end_that_fails_is_the_cause() {
    insta::assert_snapshot!(
        complaint("echo some; echo no such snapshot >&2; exit 3", "cat >/dev/null"),
        @"sh -c 'echo some; echo no such snapshot >&2; exit 3' exited with 3: no such snapshot"
    );
    insta::assert_snapshot!(
        complaint("yes", "head -c 1 >/dev/null; echo no room >&2; exit 1"),
        @"sh -c 'head -c 1 >/dev/null; echo no room >&2; exit 1' exited with 1: no room"
    );
    insta::assert_snapshot!(
        complaint("echo all of it", "cat >/dev/null; echo does not fit >&2; exit 1"),
        @"sh -c 'cat >/dev/null; echo does not fit >&2; exit 1' exited with 1: does not fit"
    );
    insta::assert_snapshot!(
        complaint("echo all of it", "kill -9 $$"),
        @"sh -c 'kill -9 $$' was ended by signal 9 and said nothing"
    );
}

#[test]
fn the_words_of_the_other_end_are_kept() {
    insta::assert_snapshot!(
        complaint(
            "trap '' PIPE; cat /dev/zero 2>/dev/null; echo broken pipe >&2; exit 5",
            "exec <&-; echo no room >&2; exit 1"
        ),
        @r#"sh -c 'exec <&-; echo no room >&2; exit 1' exited with 1: no room; afterwards sh -c 'trap '\'''\'' PIPE; cat /dev/zero 2>/dev/null; echo broken pipe >&2; exit 5' exited with 5: broken pipe"#
    );
    insta::assert_snapshot!(
        complaint("echo I/O error >&2; exit 2", "cat; echo stream is too short >&2; exit 1"),
        @r"sh -c 'echo I/O error >&2; exit 2' exited with 2: I/O error; afterwards sh -c 'cat; echo stream is too short >&2; exit 1' exited with 1: stream is too short"
    );
}

#[test]
fn a_receiver_that_does_not_read_all_is_an_error() {
    insta::assert_snapshot!(
        complaint("yes", "head -c 1 >/dev/null"),
        @"sh -c 'head -c 1 >/dev/null' ended before the stream did, and says that all is well"
    );
}

#[test]
fn what_cannot_be_started_leaves_the_other_end_alone() {
    let dir = tempfile::tempdir().unwrap();
    let touched = dir.path().join("touched");
    let touch = Cmd::new("touch").arg(&touched);
    let missing = || Cmd::new("no-such-tool");
    let ran = |from: Cmd, to: Cmd| {
        run(
            &host(),
            Sender::Tool(from),
            Receiver::Tool(to),
            &Flow::new(),
        )
        .unwrap_err()
        .to_string()
    };
    let said = ran(touch, missing());
    assert!(
        said.contains("no-such-tool") && said.contains("not installed"),
        "{said}"
    );
    assert!(!touched.exists(), "nothing is read for nobody");
    let said = ran(missing(), Cmd::new("cat"));
    assert!(
        said.contains("no-such-tool") && said.contains("not installed"),
        "{said}"
    );
}

#[test]
fn what_is_given_up_leaves_nothing_running() {
    // One that writes, one that does nothing, one that does not want to end.
    for script in [
        "yes",
        "sleep 600",
        "trap '' TERM; while :; do sleep 1; done",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| dir.path().join(name));
        let stop = || from.exists() && to.exists();
        let flow = Flow {
            stop: &stop,
            ..Flow::new()
        };
        // Written whole: the file is looked for.
        let pid = |at: &Path| format!("echo $$ >{0}.new; mv {0}.new {0}", at.display());
        let sender = Sender::Tool(shell(&format!("{}; {script}", pid(&from))));
        let receiver = Receiver::Tool(shell(&format!("{}; cat >/dev/null", pid(&to))));
        let given_up = run(&host(), sender, receiver, &flow).unwrap_err();
        assert!(matches!(given_up, PipeError::GivenUp { .. }), "{given_up}");
        assert!(is_gone(&from) && is_gone(&to), "{script}");
    }
}

#[test]
fn a_limit_is_kept() {
    let begun = Instant::now();
    let flow = Flow {
        limit: Some(1 << 20),
        ..Flow::new()
    };
    let sender = Sender::Tool(shell("head -c 600000 /dev/zero"));
    let receiver = Receiver::Tool(shell("cat >/dev/null"));
    assert_eq!(run(&host(), sender, receiver, &flow).unwrap(), 600_000);
    // It takes longer on a machine that is busy, but never less: what goes at once is a twentieth of a second's.
    assert!(
        begun.elapsed().as_secs_f64() >= 0.5,
        "{:?}",
        begun.elapsed()
    );
}

/// Writes so many bytes, then ends or says why not.
#[derive(Debug)]
struct Wrote(usize, Option<&'static str>);

/// Reads so many bytes, or all there are, and then says what it thinks of it.
#[derive(Debug)]
struct ReadUpTo(usize, Option<&'static str>);

macro_rules! shown {
    ($($type:ident $as:literal)*) => {
        $(impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($as)
            }
        })*
    };
}

shown!(Wrote "our own sender" ReadUpTo "our own receiver");

fn said(why: Option<&'static str>) -> crate::Result<()> {
    match why {
        Some("panic") => panic!("as the test wants it"),
        Some(why) => Err(crate::Error::State(why.to_owned())),
        None => Ok(()),
    }
}

impl Writes for Wrote {
    fn write(&mut self, _: &dyn System, mut to: File, _: Stop<'_>) -> crate::Result<()> {
        for _ in 0..self.0 {
            to.write_all(b"x")
                .map_err(crate::Error::io("write", "it".as_ref()))?;
        }
        said(self.1)
    }
}

impl Reads for ReadUpTo {
    fn read(&mut self, _: &dyn System, from: File, _: Stop<'_>) -> crate::Result<()> {
        let mut all = Vec::new();
        from.take(self.0 as u64)
            .read_to_end(&mut all)
            .map_err(crate::Error::io("read", "it".as_ref()))?;
        said(self.1)
    }
}

#[test]
fn our_own_code_is_an_end_like_any_other() {
    const ALL: usize = usize::MAX;
    let own = |from: Wrote, to: ReadUpTo| {
        let (sender, receiver) = (Sender::Own(Box::new(from)), Receiver::Own(Box::new(to)));
        run(&host(), sender, receiver, &Flow::new()).map_err(|error| error.to_string())
    };
    assert_eq!(own(Wrote(100_000, None), ReadUpTo(ALL, None)), Ok(100_000));
    let failed = |from, to| own(from, to).unwrap_err();
    insta::assert_snapshot!(
        failed(Wrote(10, Some("the device is broken")), ReadUpTo(ALL, Some("too short"))),
        @"our own sender: the device is broken; afterwards our own receiver: too short"
    );
    insta::assert_snapshot!(
        failed(Wrote(ALL, None), ReadUpTo(10, Some("no room"))),
        @"our own receiver: no room"
    );
    insta::assert_snapshot!(
        failed(Wrote(10, Some("panic")), ReadUpTo(ALL, None)),
        @"our own sender: it panicked"
    );
}
