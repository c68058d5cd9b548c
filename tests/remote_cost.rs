//! The reader is cheap, however much it watches. Alone in its program: it asks for this process' CPU time.

#[path = "remote_waits/watched.rs"]
#[expect(dead_code, reason = "the laws of the lines use more of it")]
mod watched;

use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use rscalene::observe::proc;
use rscalene::observe::remote::{Reader, Remote};

use self::watched::{Started, interpreters};

/// CPU seconds that the calling thread has used.
fn own_cpu_s() -> f64 {
    proc::own_cpu().as_secs_f64()
}

/// Share of a core that watching `threads` idle threads takes, and the seconds of waiting that were seen of each.
fn share_of_a_core(threads: usize) -> (f64, f64) {
    let script = format!(
        "
event = threading.Event()
threading.stack_size(65536)
for _ in range({threads}): threading.Thread(target=event.wait, daemon=True).start()
done(ready=1)
event.wait()
"
    );
    let mut started = Started::new(&interpreters()[0], &script);
    started.go();
    let truth = started.hear();
    let (send, events) = unbounded();
    let remote = Remote::start(send).expect("a thread is left");
    remote.watch(started.target);
    std::thread::sleep(Duration::from_millis(1_500));
    let (begin, before) = (Instant::now(), reader_cpu_s());
    std::thread::sleep(Duration::from_secs(2));
    let share = (reader_cpu_s() - before) / begin.elapsed().as_secs_f64();
    remote.stop();
    let seen = started.seen(truth, &events);
    (share, seen.total(None).wait_s / (threads + 1) as f64)
}

/// CPU seconds of the reader's thread: the one of its name.
fn reader_cpu_s() -> f64 {
    let pid = std::process::id();
    let named = |&tid: &u32| proc::comm(pid, tid).is_some_and(|name| name == "rscalene-remote");
    let tid = proc::threads(pid).expect("alive").into_iter().find(named).expect("it was started");
    proc::Schedstat::open(pid, tid, false).and_then(|file| file.read()).expect("alive").run_ns as f64 / 1e9
}

#[test]
fn looking_at_threads_that_do_nothing_is_nearly_free() {
    a_look_at_an_unchanged_thread_costs_microseconds();
    watching_idle_threads_takes_at_most_two_percent_of_a_core();
}

/// What else runs on the machine can only add to the share (cold caches, a slower clock), so the least of a few
/// measurements is the nearest to the reader's own.
fn watching_idle_threads_takes_at_most_two_percent_of_a_core() {
    for threads in [1, 100, 1_000] {
        let mut least = f64::INFINITY;
        for _ in 0..4 {
            let (share, waited) = share_of_a_core(threads);
            println!("{threads} idle threads: {:.2} % of a core, {waited:.3} s seen", share * 100.0);
            assert!(waited > 3.1, "{threads} threads: {waited} s of each were seen");
            least = least.min(share);
            if least < 0.02 {
                break;
            }
        }
        assert!(least < 0.02, "{threads} threads: {least}");
    }
}

fn a_look_at_an_unchanged_thread_costs_microseconds() {
    let mut started = Started::new(&interpreters()[0], "done(ready=1)\ntime.sleep(60)\n");
    started.go();
    started.hear();
    let (mut reader, mut out) = (Reader::new(), Vec::new());
    reader.watch(started.target, true, &mut out);
    for _ in 0..20 {
        reader.tick(&mut out);
    }
    let before = own_cpu_s();
    for _ in 0..2_000 {
        reader.tick(&mut out);
    }
    let each = (own_cpu_s() - before) / 2_000.0;
    println!("{:.1} us a tick", each * 1e6);
    assert!(each < 100e-6, "{each} s a tick");
    reader.finish(&mut out);
}
