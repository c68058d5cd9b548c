//! Thread lists and the GIL against the kernel.

use rscalene_interp::{Identity, gil, threads, walk};

use crate::target::{Target, interpreters};

const SPINNERS: &str = r#"
import time
done = False
ids = []
def wait():
    ids.append(threading.get_native_id())
    while not done:
        time.sleep(0.01)
ts = [threading.Thread(target=wait, daemon=True) for _ in range(5)]
for t in ts: t.start()
while len(ids) < 5: time.sleep(0.001)
stop(ids=ids + [threading.get_native_id()])
"#;

#[test]
fn every_thread_is_listed_once_with_the_kernels_id() {
    for python in interpreters() {
        let target = Target::start(python, SPINNERS);
        let mut seen = Vec::new();
        assert!(threads(&target.mem, &target.layout, |thread| {
            seen.push(thread.native_thread_id);
            true
        }));
        seen.sort_unstable();
        let mut said: Vec<u64> =
            target.truth["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
        said.sort_unstable();
        assert_eq!(seen, said, "{python:?}");
    }
}

const HOLDER: &str = r#"
import time, ctypes
def hold():
    # PyDLL keeps the GIL while it runs.
    libc = ctypes.PyDLL(None)
    go.wait()
    libc.usleep(3_000_000)
go = threading.Event()
t = threading.Thread(target=hold, daemon=True)
t.start()
def waiter():
    go.wait()
    while True:
        pass
w = threading.Thread(target=waiter, daemon=True)
w.start()
def main():
    stop(holder=t.native_id, waiter=w.native_id)
    go.set()
    stop()
main()
"#;

#[test]
fn a_thread_that_waits_for_the_gil_waits_inside_its_range() {
    for python in interpreters() {
        let mut target = Target::start(python, HOLDER);
        if target.layout.free_threaded {
            continue; // such a build runs without the lock: no thread can wait for it
        }
        let holder = target.tstate_of(target.truth["holder"].as_u64().unwrap());
        let waiter = target.truth["waiter"].as_u64().unwrap();
        target.release();
        let mut found = false;
        for _ in 0..2000 {
            let mut interp = 0;
            threads(&target.mem, &target.layout, |thread| {
                interp = thread.interp;
                false
            });
            let lock = gil(&target.mem, &target.layout, interp).expect("a GIL");
            let call = std::fs::read_to_string(format!("/proc/{}/task/{waiter}/syscall", target.pid())).unwrap();
            let mut words = call.split(' ');
            let (number, address) = (words.next().unwrap().trim(), words.next().unwrap_or("0x0"));
            let address = u64::from_str_radix(address.trim_start_matches("0x"), 16).unwrap_or(0);
            // 202 is futex on x86-64, 98 on aarch64.
            let inside = matches!(number, "202" | "98") && (lock.start..lock.end).contains(&address);
            if inside && lock.locked && lock.last_holder == holder {
                found = true;
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(found, "{python:?}: the waiter was never seen in the GIL while the holder held it");
    }
}

const SUBINTERPRETER: &str = r#"
import time
try:
    import _interpreters as interpreters
    run = interpreters.exec
except ImportError:
    import _xxsubinterpreters as interpreters
    run = interpreters.run_string
other = interpreters.create()
reading, writing = os.pipe()
source = f"import os\ndef inside():\n    os.read({reading}, 1)\ninside()\n"
t = threading.Thread(target=lambda: run(other, source), daemon=True)
t.start()
time.sleep(0.5)
stop(worker=t.native_id)
"#;

#[test]
fn the_threads_of_a_subinterpreter_are_listed_with_their_frames() {
    for python in interpreters() {
        let target = Target::start(python, SUBINTERPRETER);
        let worker = target.truth["worker"].as_u64().unwrap();
        let mut inside = Vec::new();
        threads(&target.mem, &target.layout, |thread| {
            let mut names = Vec::new();
            walk(&target.mem, &target.layout, thread.tstate, 100, |frame| {
                let identity = Identity::read(&target.mem, &target.layout, frame.code).unwrap();
                names.push(target.text(identity.qualname));
                true
            });
            if names == ["inside", "<module>"] {
                inside.push((thread.native_thread_id, gil(&target.mem, &target.layout, thread.interp).is_some()));
            }
            true
        });
        // 3.11 and 3.12 run it in the thread state that `create` made, whose thread id stays that of its maker.
        let expected = if target.layout.minor <= 12 { target.truth["tid"].as_u64().unwrap() } else { worker };
        assert_eq!(inside, [(expected, true)], "{python:?}");
    }
}
