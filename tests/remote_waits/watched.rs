//! A script under watch, and what the reader said of it.
//!
//! Job: run a script in an interpreter with the remote reader on it, and sum up its events by line. Invariant: the script
//! begins its work only once it is watched. A line in a test is named by a word that stands in its comment.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crossbeam_channel::{Receiver, unbounded};
use rscalene::observe::locate::Runtime;
use rscalene::observe::remote::{Remote, Target};
use rscalene::transport::event::{Batch, Body, CodeDef, Event, StackDef, ThreadClock, Wait};
use rscalene_interp::linetable;
use serde_json::Value;

/// Waits for the reader; `done` tells the truth of the script, which ends then.
const PRELUDE: &str = "import json, os, sys, threading, time
def done(**truth):
    os.write(1, (json.dumps(truth) + '\\n').encode())
def clock(tid=None):
    run, delay, _ = open(f'/proc/self/task/{tid or threading.get_native_id()}/schedstat').read().split()
    return int(run) / 1e9, int(delay) / 1e9
def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
os.write(1, b'{}\\n')
os.read(0, 1)
";

/// Every supported interpreter of this machine: `RSCALENE_PYTHONS`, pyenv's, and those on the path, one of each version.
pub(crate) fn interpreters() -> &'static [PathBuf] {
    static FOUND: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let listed = std::env::var_os("RSCALENE_PYTHONS").unwrap_or_default();
        let mut candidates: Vec<PathBuf> = std::env::split_paths(&listed).collect();
        let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
        let root = root.or_else(|| std::env::home_dir().map(|home| home.join(".pyenv")));
        let versions = root.and_then(|root| std::fs::read_dir(root.join("versions")).ok());
        candidates.extend(versions.into_iter().flatten().flatten().map(|version| version.path().join("bin/python3")));
        for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
            candidates.extend((11..=15).map(|minor| folder.join(format!("python3.{minor}"))));
        }
        let mut seen = HashMap::new();
        for python in candidates {
            let Ok(answer) = Command::new(&python).args(["-I", "-c", "import sys; print(sys.version)"]).output() else {
                continue;
            };
            let version = String::from_utf8_lossy(&answer.stdout).into_owned();
            if (11..=15).any(|minor| version.starts_with(&format!("3.{minor}."))) {
                seen.entry(version).or_insert(python);
            }
        }
        seen.into_values().collect()
    });
    assert!(!found.is_empty(), "no CPython 3.11 to 3.15 found: set RSCALENE_PYTHONS");
    found
}

/// A script that is about to begin.
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) target: Target,
    output: BufReader<std::process::ChildStdout>,
    script: String,
}

/// Seconds of a line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waited {
    pub(crate) wait_s: f64,
    pub(crate) gil_s: f64,
}

/// What was seen of a script.
#[derive(Debug)]
pub(crate) struct Seen {
    /// What the script said.
    pub(crate) truth: Value,
    pub(crate) events: Vec<Event>,
    script: String,
    codes: HashMap<u32, CodeDef>,
    stacks: HashMap<u64, StackDef>,
}

impl Started {
    /// Starts `script` in `python`; it waits for [`Started::go`].
    pub(crate) fn new(python: &PathBuf, script: &str) -> Self {
        let script = format!("{PRELUDE}{script}");
        let mut command = Command::new(python);
        command.args(["-I", "-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python starts");
        let mut output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        output.read_line(&mut String::new()).expect("the script begins");
        let runtime = Runtime::locate(child.id()).expect("the interpreter is located");
        let Runtime { runtime, code_type, version, .. } = runtime;
        let target = Target { pid: child.id(), runtime, code_type, version, forked: None };
        Self { child, target, output, script }
    }

    /// Lets the script begin.
    pub(crate) fn go(&mut self) {
        let input = self.child.stdin.as_mut().expect("stdin is piped");
        input.write_all(b"\n").expect("the script reads");
    }

    /// Reads what the script says next; null once it has ended.
    pub(crate) fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the script's output can be read");
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }

    /// Sums up the events.
    pub(crate) fn seen(mut self, truth: Value, events: &Receiver<Batch>) -> Seen {
        let _ = self.child.kill();
        let _ = self.child.wait();
        Seen::new(truth, self.script.clone(), events.try_iter().flatten().collect())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a script to its end under the reader.
pub(crate) fn watch(python: &PathBuf, script: &str) -> Seen {
    let mut started = Started::new(python, script);
    let (send, events) = unbounded();
    let remote = Remote::start(send).expect("a thread is left");
    remote.watch(started.target);
    started.go();
    let truth = started.hear();
    assert!(!truth.is_null(), "{python:?}: the script failed");
    let status = started.child.wait().expect("it is our child");
    assert!(status.success(), "{python:?}: {status}");
    // The reader finds out by itself that the process is gone.
    std::thread::sleep(std::time::Duration::from_millis(30));
    remote.stop();
    started.seen(truth, &events)
}

impl Seen {
    fn new(truth: Value, script: String, events: Vec<Event>) -> Self {
        let (mut codes, mut stacks) = (HashMap::new(), HashMap::new());
        for event in &events {
            match &event.body {
                Body::CodeDef(code) => {
                    assert_eq!(code.def.code >> 31, 1, "numbers of our own");
                    assert!(codes.insert(code.def.code, code.clone()).is_none(), "defined once");
                }
                Body::StackDef(stack) => {
                    assert!(stacks.insert(stack.def.stack, stack.clone()).is_none(), "defined once");
                }
                _ => {}
            }
        }
        Self { truth, events, script, codes, stacks }
    }

    /// All waits, as told.
    pub(crate) fn waits(&self) -> impl Iterator<Item = &Wait> {
        self.events.iter().filter_map(|event| if let Body::Wait(wait) = &event.body { Some(wait) } else { None })
    }

    /// Seconds off the CPU of one thread, or of all.
    pub(crate) fn total(&self, tid: Option<u32>) -> Waited {
        sum(self.waits().filter(|wait| tid.is_none_or(|tid| wait.tid == tid)))
    }

    /// Seconds of the line that the script's comment `# WORD` marks, as innermost line of the script.
    pub(crate) fn line(&self, word: &str) -> Waited {
        self.line_of(None, word)
    }

    /// The same for one thread.
    pub(crate) fn line_of(&self, tid: Option<u32>, word: &str) -> Waited {
        let place = |text: &str| text.split_once("# ").is_some_and(|(_, comment)| comment == word);
        let index = self.script.lines().position(place).expect("the script has that mark");
        let line = u32::try_from(index + 1).expect("a short script");
        let of = |wait: &&Wait| tid.is_none_or(|tid| wait.tid == tid) && self.innermost(wait.stack) == Some(line);
        sum(self.waits().filter(of))
    }

    /// The truth called `name`, in seconds.
    pub(crate) fn truth(&self, name: &str) -> f64 {
        self.truth[name].as_f64().unwrap_or_else(|| panic!("the script tells {name}: {}", self.truth))
    }

    /// Last clock that was told of each thread.
    pub(crate) fn clocks(&self) -> HashMap<u32, ThreadClock> {
        let clocks = self.events.iter().filter_map(|event| match &event.body {
            Body::ThreadClock(clock) => Some((clock.tid, clock.clone())),
            _ => None,
        });
        clocks.collect()
    }

    fn innermost(&self, stack: u64) -> Option<u32> {
        let stack = self.stacks.get(&stack)?;
        let named = stack.entries.iter().map(|entry| (&self.codes[&entry.code], entry.offset));
        let (code, offset) = named.into_iter().find(|(code, _)| code.filename == "<string>")?;
        Some(linetable::line_at(&code.table, code.def.first_line, offset).unwrap_or(code.def.first_line))
    }
}

fn sum<'a>(waits: impl Iterator<Item = &'a Wait>) -> Waited {
    waits.fold(Waited::default(), |sum, wait| Waited {
        wait_s: sum.wait_s + wait.wait_ns as f64 / 1e9,
        gil_s: sum.gil_s + wait.gil_ns.unwrap_or(0) as f64 / 1e9,
    })
}

/// Holds a law of timing on every interpreter, with two more tries where another program took the cores: what is wrong by
/// design is wrong three times.
#[track_caller]
pub(crate) fn on_each(law: impl Fn(&PathBuf) + std::panic::RefUnwindSafe) {
    for python in interpreters() {
        if (0..2).all(|_| std::panic::catch_unwind(|| law(python)).is_err()) {
            law(python);
        }
    }
}

/// Fails unless `seen` lies within `share` of `truth`, give or take `slack` seconds.
#[track_caller]
pub(crate) fn close(what: &str, seen: f64, truth: f64, share: f64, slack: f64) {
    assert!((seen - truth).abs() <= truth * share + slack, "{what}: {seen:.4} s for {truth:.4} s");
}
