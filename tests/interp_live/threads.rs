//! Thread lists and the GIL against the kernel.

use rscalene_interp::{gil, threads};

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
