//! The comparer that shares no code with the program (compare.py), as a process that is asked.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

#[derive(Debug)]
pub struct Comparer {
    child: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// One thing in which a tree is not as wanted.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// As Python shows bytes.
    pub path: String,
    /// One word.
    pub aspect: String,
    pub text: String,
}

impl Comparer {
    pub fn start() -> Comparer {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tree/compare.py");
        let mut child = Command::new("python3")
            .args([script, "--serve"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let asks = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Comparer {
            child,
            asks,
            answers,
        }
    }

    /// In what `have` is no faithful clone of `want`.
    pub fn differences(&mut self, want: &Path, have: &Path) -> Vec<Difference> {
        let answer = self.ask(&json!({ "want": want, "have": have }));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let difference = |value: &Value| Difference {
            path: text(&value[0]),
            aspect: text(&value[1]),
            text: text(&value[2]),
        };
        let answer = answer.as_array().expect("a list");
        answer.iter().map(difference).collect()
    }

    /// Insists that `have` is a faithful clone of `want`.
    #[track_caller]
    pub fn insist_equal(&mut self, want: &Path, have: &Path) {
        let found = self.differences(want, have);
        let some = &found[..found.len().min(20)];
        let count = found.len();
        assert!(
            found.is_empty(),
            "{have:?} differs from {want:?} in {count} places: {some:#?}"
        );
    }

    /// Changes with anything in the tree at `root`.
    pub fn fingerprint(&mut self, root: &Path) -> String {
        let answer = self.ask(&json!({ "fingerprint": root }));
        answer.as_str().unwrap().to_owned()
    }

    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.asks.as_mut().unwrap(), "{request}").expect("the comparer listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).expect("the comparer answers; what it died of is above")
    }
}

impl Drop for Comparer {
    fn drop(&mut self) {
        drop(self.asks.take());
        self.child.wait().ok();
    }
}
