//! Laws of the builder about time in the kernel and waits for the GIL.

use super::recording::{MS, Recording, cpu, line, same};
use rscalene::profile::model::Time;
use rscalene::transport::event::{Body, Ticks, Wait};
use rscalene_wire as wire;

const APP: &str = "/w/app.py";

#[test]
fn ticks_divide_the_samples_of_their_line_and_none_of_another() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    let work = run.code(1, APP, "work", 10);
    let reading = run.stack(1, &[(work, 3)]);
    let adding = run.stack(1, &[(work, 7)]);
    run.thread(1, 1, 4, 0);
    run.samples(1, 1, reading, 1, 100);
    run.samples(1, 1, adding, 0, 300);
    let ticks = |stack: u64, kind: u8, user: u64, kernel: u64| {
        Body::Ticks(Ticks {
            tid: 1,
            stack,
            kind: wire::CpuKind::of(kind),
            user_ns: user * 4 * MS,
            kernel_ns: kernel * 4 * MS,
        })
    };
    run.feed(1, ticks(reading, 1, 5, 20));
    run.feed(1, ticks(adding, 0, 75, 0));
    run.end(1, 1, 400 * MS);
    let profile = run.finish();
    let (reading, adding) = (&line(&profile, APP, 13).time, &line(&profile, APP, 17).time);
    same(reading.system_s.expect("ticks came"), 0.08);
    same(reading.native_s.expect("it was sampled"), 0.02);
    same(adding.system_s.expect("ticks came"), 0.0);
    same(adding.python_s.expect("it was sampled"), 0.3);
    same(cpu(&profile.totals.time), 0.4);
}

#[test]
fn looks_without_ticks_leave_the_kernels_time_unknown() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    let work = run.code(1, APP, "work", 10);
    let here = run.stack(1, &[(work, 3)]);
    run.thread(1, 1, 4, 0);
    run.samples(1, 1, here, 0, 2);
    run.end(1, 1, 2 * MS);
    let profile = run.finish();
    assert_eq!(profile.totals.time.system_s, None);
    assert_eq!(line(&profile, APP, 13).time.system_s, None);
    same(line(&profile, APP, 13).time.python_s.expect("it was sampled"), 0.002);
}

#[test]
fn each_thread_has_its_own_waits_for_the_gil() {
    let mut run = Recording::new("perf", "off");
    run.process(1, 0);
    let main = run.code(1, APP, "<module>", 1);
    let stack = run.stack(1, &[(main, 2)]);
    for (tid, gil_ms) in [(1, 30), (2, 70)] {
        run.thread(1, tid, 1, 0);
        for _ in 0..2 {
            let wait = Wait { time_ns: 5, tid, stack, wait_ns: 100 * MS, gil_ns: Some(gil_ms * MS), label: 0 };
            run.feed(1, Body::Wait(wait));
        }
        run.end(1, tid, MS);
    }
    let profile = run.finish();
    let waits = |time: &Time| (time.wait_s.expect("waits were seen"), time.gil_wait_s.expect("the version tells"));
    for (tid, gil_s) in [(1, 0.060), (2, 0.140)] {
        let index = profile.threads.iter().position(|thread| thread.tid == tid).expect("it has a row");
        let share = line(&profile, APP, 3).by_thread.iter().find(|share| share.thread == index).expect("a share");
        for (wait, gil) in [waits(&profile.threads[index].time), waits(&share.time)] {
            same(wait, 0.200);
            same(gil, gil_s);
        }
    }
    same(waits(&line(&profile, APP, 3).time).1, 0.200);
    same(waits(&profile.totals.time).1, 0.200);
}
