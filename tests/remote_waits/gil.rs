//! Waiting for the GIL is told apart, and nothing else is taken for it.

use crate::watched::{close, on_each, watch};

#[test]
fn threads_that_fight_for_the_gil_wait_for_it_on_the_lines_they_run() {
    let script = "
truth, gate = {}, threading.Barrier(4)
def fight(n):
    gate.wait()
    begin, (run, delay), x = time.perf_counter(), clock(), 0
    while time.perf_counter() < begin + 2.0:
        for i in range(3_000): x += i * i  # fight
    then, waited = clock(), time.perf_counter() - begin
    truth[str(threading.get_native_id())] = waited - (then[0] - run) - (then[1] - delay)
threads = [threading.Thread(target=fight, args=(n,)) for n in range(4)]
for t in threads: t.start()
for t in threads: t.join()
done(**truth)
";
    on_each(|python| {
        let seen = watch(python, script);
        let threads = seen.truth.as_object().expect("a number for each thread").clone();
        assert_eq!(threads.len(), 4);
        let mut all = 0.0;
        for (tid, truth) in &threads {
            let truth = truth.as_f64().expect("seconds");
            let waited = seen.line_of(Some(tid.parse().expect("a thread id")), "fight");
            close(&format!("{python:?} {tid}"), waited.wait_s, truth, 0.06, 0.06);
            all += truth;
        }
        assert!(all > 1.0, "{python:?}: one of four runs at a time: {all}");
        let line = seen.line("fight");
        assert!(line.wait_s > 0.93 * all, "{python:?}: {line:?} of {all}");
        assert!(line.gil_s > 0.95 * line.wait_s, "{python:?}: {line:?}");
    });
}

#[test]
fn a_native_call_without_the_gil_causes_no_gil_wait() {
    let script = "
import hashlib
data = bytes(8_000_009)
def native():
    global waited
    begin, (run, delay) = time.perf_counter(), clock()
    while time.perf_counter() < end: hashlib.sha256(data)  # native
    waited = time.perf_counter() - begin - (clock()[0] - run) - (clock()[1] - delay)
end = time.perf_counter() + 1.0
thread = threading.Thread(target=native); thread.start()
while time.perf_counter() < end:
    for i in range(2_000): pass  # spin
thread.join()  # join
done(waited=waited)
";
    on_each(|python| {
        let seen = watch(python, script);
        let (native, spin) = (seen.line("native"), seen.line("spin"));
        close(&format!("{python:?} native"), native.wait_s, seen.truth("waited"), 0.1, 0.03);
        assert!(spin.wait_s < 0.15, "{python:?}: {spin:?}");
        assert!(native.gil_s > 0.7 * native.wait_s - 0.02, "{python:?}: {native:?}");
    });
}

#[test]
fn a_lock_that_is_no_gil_is_plain_waiting() {
    let script = "
lock = threading.Lock()
def hold():
    with lock: time.sleep(0.307)  # hold
thread = threading.Thread(target=hold); thread.start()
time.sleep(0.05)
with lock: pass  # acquire
thread.join()
done()
";
    on_each(|python| {
        let seen = watch(python, script);
        close("acquire", seen.line("acquire").wait_s, 0.257, 0.1, 0.02);
        assert!(seen.line("acquire").gil_s < 0.01 && seen.line("hold").gil_s < 0.01, "{python:?}");
        assert!(seen.waits().all(|wait| wait.gil_ns.is_some()), "{python:?}");
    });
}
