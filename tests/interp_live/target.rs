//! Interpreters to test with, and a blocked process of one.
//!
//! Job: find them, start a script in one, read its memory. Invariant: a target dies with its [`Target`].

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use rscalene::observe::locate::Runtime;
use rscalene_interp::{Layout, Memory};
use serde_json::Value;

/// What every target can say: `stop` prints the caller's stack and waits for a line, outermost frame last.
const PRELUDE: &str = r#"
import json, os, sys, threading
def stop(**more):
    frames = []
    f = sys._getframe(1)
    while f is not None:
        c = f.f_code
        frames.append([id(c), c.co_filename, c.co_qualname, c.co_firstlineno, f.f_lineno, f.f_lasti, c.co_flags])
        f = f.f_back
    more.update(frames=frames, code=id(stop.__code__), tid=threading.get_native_id())
    os.write(1, (json.dumps(more) + "\n").encode())
    os.read(0, 1)
"#;

/// Every supported interpreter on this machine, one of each version and build.
pub(crate) fn interpreters() -> &'static [PathBuf] {
    static FOUND: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let mut candidates: Vec<PathBuf> =
            std::env::var_os("RSCALENE_PYTHONS").map(|list| std::env::split_paths(&list).collect()).unwrap_or_default();
        let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
        let root = root.or_else(|| std::env::home_dir().map(|home| home.join(".pyenv")));
        if let Some(versions) = root.and_then(|root| std::fs::read_dir(root.join("versions")).ok()) {
            candidates.extend(versions.flatten().map(|version| version.path().join("bin/python3")));
        }
        for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
            candidates.extend((11..=15).map(|minor| folder.join(format!("python3.{minor}"))));
        }
        let mut versions = BTreeMap::new();
        for python in candidates {
            let asked = Command::new(&python)
                .args(["-I", "-c", "import sys; print(sys.version_info[:2], sys.version)"])
                .output();
            let Ok(answer) = asked else { continue };
            let version = String::from_utf8_lossy(&answer.stdout).into_owned();
            if answer.status.success() && (11..=15).any(|minor| version.starts_with(&format!("(3, {minor})"))) {
                versions.entry(version).or_insert(python);
            }
        }
        versions.into_values().collect()
    });
    assert!(!found.is_empty(), "no CPython 3.11 to 3.15 found: set RSCALENE_PYTHONS");
    found
}

/// Runs `script` in `python` and answers its output, parsed.
pub(crate) fn ask(python: &PathBuf, script: &str) -> Value {
    let answer = Command::new(python).args(["-I", "-c", script]).output().expect("python starts");
    assert!(answer.status.success(), "{python:?}: {}", String::from_utf8_lossy(&answer.stderr));
    serde_json::from_slice(&answer.stdout).expect("the script prints JSON")
}

/// The memory of another process.
pub(crate) struct Remote {
    pid: libc::pid_t,
    reads: Cell<u64>,
}

impl Memory for Remote {
    fn u64(&self, addr: u64) -> Option<u64> {
        let mut raw = [0; 8];
        self.bytes(addr, &mut raw).then(|| u64::from_ne_bytes(raw))
    }

    fn bytes(&self, addr: u64, into: &mut [u8]) -> bool {
        self.reads.set(self.reads.get() + 1);
        let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        let remote = libc::iovec { iov_base: addr as *mut libc::c_void, iov_len: into.len() };
        // SAFETY: the kernel writes at most `into.len()` bytes into `into`, which is borrowed mutably meanwhile; the
        // remote address is only looked up in the other process.
        let got = unsafe { libc::process_vm_readv(self.pid, &raw const local, 1, &raw const remote, 1, 0) };
        usize::try_from(got).is_ok_and(|got| got == into.len())
    }
}

/// A running interpreter with its layout.
pub(crate) struct Target {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub(crate) mem: Remote,
    pub(crate) layout: Layout,
    pub(crate) runtime: Runtime,
    /// What the target said when it stopped first.
    pub(crate) truth: Value,
}

impl Target {
    /// Starts `script` after the prelude in `python` and waits until it stops for the first time.
    pub(crate) fn start(python: &PathBuf, script: &str) -> Self {
        let code = OsString::from(format!("{PRELUDE}{script}"));
        let mut child = Command::new(python)
            .args(["-I", "-c"])
            .arg(code)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let input = child.stdin.take().expect("stdin is piped");
        let mut output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let truth = read_truth(&mut output, python);
        let runtime = Runtime::locate(child.id()).expect("the interpreter is located");
        let mem = Remote { pid: libc::pid_t::try_from(child.id()).expect("a process id"), reads: Cell::new(0) };
        let layout = Layout::of(runtime.version, runtime.runtime, runtime.code_type, &mem).expect("a supported layout");
        let target = Self { child, input, output, mem, layout, runtime, truth };
        target.wait_until_blocked();
        target
    }

    /// Lets the target run on to its next stop and reads what it says there.
    pub(crate) fn resume(&mut self) {
        self.input.write_all(b"\n").expect("the target reads");
        self.truth = read_truth(&mut self.output, &self.runtime.image);
        self.wait_until_blocked();
    }

    /// Lets the target run on without waiting for what it says next.
    pub(crate) fn release(&mut self) {
        self.input.write_all(b"\n").expect("the target reads");
    }

    /// The kernel's id of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The thread state of the thread that stopped.
    pub(crate) fn tstate(&self) -> u64 {
        let tid = self.truth["tid"].as_u64().expect("the truth names its thread");
        self.tstate_of(tid)
    }

    /// The thread state of the thread with kernel id `tid`.
    pub(crate) fn tstate_of(&self, tid: u64) -> u64 {
        let mut found = None;
        rscalene_interp::threads(&self.mem, &self.layout, |thread| {
            if thread.native_thread_id == tid {
                found = Some(thread.tstate);
            }
            true
        });
        found.expect("the thread is in the interpreter's list")
    }

    /// The truth is printed just before the read that blocks: wait until the kernel says that it does.
    fn wait_until_blocked(&self) {
        let tid = self.truth["tid"].as_u64().expect("the truth names its thread");
        let path = format!("/proc/{}/task/{tid}/syscall", self.pid());
        for _ in 0..10_000 {
            // System call 0 (x86-64) or 63 (aarch64) is read, of file 0.
            let state = std::fs::read_to_string(&path).unwrap_or_default();
            if state.starts_with("0 0x0 ") || state.starts_with("63 0x0 ") {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("the target does not block");
    }

    /// The text of the `str` at `addr`.
    pub(crate) fn text(&self, addr: u64) -> String {
        let mut buffer = [0; 4096];
        let len = rscalene_interp::text(&self.mem, &self.layout, addr, &mut buffer).expect("a str");
        std::str::from_utf8(&buffer[..len]).expect("UTF-8").to_owned()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_truth(output: &mut BufReader<ChildStdout>, who: &PathBuf) -> Value {
    let mut line = String::new();
    output.read_line(&mut line).expect("the target's output can be read");
    assert!(!line.is_empty(), "{who:?} ended before it said anything");
    serde_json::from_str(&line).expect("the target prints JSON")
}
