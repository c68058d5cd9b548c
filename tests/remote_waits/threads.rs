//! Every thread's wall time is its CPU time, its time without a core, and its waiting, whatever becomes of it.

use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use rscalene::observe::remote::{Reader, Remote};
use rscalene::transport::event::Body;

use crate::watched::{Started, close, interpreters, on_each, watch};

#[test]
fn wall_time_is_cpu_and_delay_and_wait() {
    let script = "
import random
random.seed(7)
truth = {}
def mixed():
    begin, (run, delay) = time.perf_counter(), clock()
    for _ in range(40):
        time.sleep(random.random() * 0.03)
        spin(random.random() * 0.02)
    then = clock()
    truth[str(threading.get_native_id())] = time.perf_counter() - begin - (then[0] - run) - (then[1] - delay)
threads = [threading.Thread(target=mixed) for _ in range(3)]
for t in threads: t.start()
for t in threads: t.join()
done(**truth)
";
    on_each(|python| {
        let seen = watch(python, script);
        for (tid, truth) in seen.truth.as_object().expect("a number for each thread") {
            let waited = seen.total(Some(tid.parse().expect("a thread id")));
            // The thread waits a little before and after it keeps time, too.
            close(&format!("{python:?} {tid}"), waited.wait_s, truth.as_f64().expect("seconds"), 0.03, 0.04);
        }
    });
}

#[test]
fn threads_shorter_than_a_tick_wait_right_on_average() {
    let script = "
truth = [0.0]
def short():
    begin, (run, delay) = time.perf_counter(), clock()
    time.sleep(0.006)  # short
    then = clock()
    truth[0] += time.perf_counter() - begin - (then[0] - run) - (then[1] - delay)
for _ in range(150):
    thread = threading.Thread(target=short); thread.start(); thread.join()
done(slept=truth[0])
";
    on_each(|python| {
        let seen = watch(python, script);
        // Each is seen with a chance of about 0.6 and counts its inverse: one sigma of the sum is about 7 %.
        close(&format!("{python:?}"), seen.line("short").wait_s, seen.truth("slept"), 0.25, 0.0);
    });
}

#[test]
fn threads_have_the_names_that_python_gave_them() {
    let script = "
class Own(threading.Thread):
    def __init__(self, name):
        self.first, self.second = 'not the name', 12345
        super().__init__(name=name, daemon=True)
    def run(self):
        rest()
def rest():
    time.sleep(0.5); spin(0.02); time.sleep(0.2)
threads = [threading.Thread(target=rest, name='loader'), threading.Thread(target=rest, name='löscher'), Own('of a class')]
for t in threads: t.start()
truth = {t.name: t.native_id for t in threads}
for t in threads: t.join()
done(**truth)
";
    on_each(|python| {
        let seen = watch(python, script);
        let clocks = seen.clocks();
        for (name, tid) in seen.truth.as_object().expect("a number for each thread") {
            let tid = u32::try_from(tid.as_u64().expect("a number")).expect("a thread id");
            assert_eq!(&clocks[&tid].name, name, "{python:?}");
        }
    });
}

#[test]
fn clocks_and_names_of_threads_are_reported() {
    let script = "
def work():
    spin(0.2)
    truth['worker'], truth['cpu'] = threading.get_native_id(), clock()[0]
    time.sleep(0.1)
truth = {}
thread = threading.Thread(target=work); thread.start(); thread.join()
done(main=clock()[0], **truth)
";
    on_each(|python| {
        let seen = watch(python, script);
        let clocks = seen.clocks();
        let main = &clocks[&seen.events[0].pid];
        assert_eq!(main.name, "MainThread");
        close("main", main.cpu_ns as f64 / 1e9, seen.truth("main"), 0.05, 0.02);
        let worker = &clocks[&u32::try_from(seen.truth["worker"].as_u64().expect("a tid")).expect("a tid")];
        assert!(worker.name.starts_with("Thread-"), "{python:?}: {}", worker.name);
        close("worker", worker.cpu_ns as f64 / 1e9, seen.truth("cpu"), 0.01, 0.002);
    });
}

#[test]
fn a_killed_process_has_waited_until_it_was_killed() {
    let python = &interpreters()[0];
    let mut started = Started::new(python, "done(ready=1)\ntime.sleep(60)  # sleep\n");
    let (send, events) = unbounded();
    let remote = Remote::start(send).expect("a thread is left");
    remote.watch(started.target);
    started.go();
    let truth = started.hear();
    let begin = Instant::now();
    std::thread::sleep(Duration::from_millis(617));
    started.child.kill().expect("it is our child");
    let slept = begin.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_millis(100));
    // Not waited for yet: a zombie waits for nobody but its parent.
    remote.stop();
    let seen = started.seen(truth, &events);
    close("sleep", seen.line("sleep").wait_s, slept, 0.05, 0.02);
}

#[test]
fn unreadable_figures_are_unknown_with_a_notice() {
    let python = &interpreters()[0];
    let script = "
import ctypes
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
done(hidden=1)
time.sleep(0.5)
";
    let mut started = Started::new(python, script);
    started.go();
    let truth = started.hear();
    assert!(!truth.is_null(), "the script hides itself");
    let target = started.target;
    let (send, events) = unbounded();
    let watcher = std::thread::spawn(move || {
        drop_capabilities();
        let (mut reader, mut out) = (Reader::new(), Vec::new());
        reader.watch(target, true, &mut out);
        for _ in 0..20 {
            reader.tick(&mut out);
            std::thread::sleep(Duration::from_millis(10));
        }
        reader.finish(&mut out);
        send.send(out).expect("the test listens");
    });
    watcher.join().expect("no panic");
    let seen = started.seen(truth, &events);
    assert_eq!(seen.waits().count(), 0, "unknown is not zero");
    let denied = |event: &&rscalene::transport::event::Event| matches!(&event.body, Body::Notice(notice) if notice.code == rscalene_wire::NoticeCode::MEMORY_UNREADABLE);
    assert_eq!(seen.events.iter().filter(denied).count(), 1);
    assert!(!seen.clocks().is_empty(), "CPU clocks are public");
}

/// The calling thread gives up what root may do.
fn drop_capabilities() {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let sets = [0_u32; 6];
    // SAFETY: version 3 of the call reads a header and two sets of three words, all of them here.
    let status = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    assert_eq!(status, 0);
}
