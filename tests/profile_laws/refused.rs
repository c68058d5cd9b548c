//! Laws of processes whose interpreter cannot be read: totals, and no more than is known.

use super::recording::{MS, Recording, cpu, line, same};
use rscalene::transport::event::Body;
use rscalene_wire as wire;

const APP: &str = "/w/app.py";

#[test]
fn user_time_of_a_refused_interpreter_is_of_no_kind() {
    let mut run = Recording::new("perf", "off");
    let refused = wire::ProcessStart {
        pid: 2,
        parent: 1,
        python_version: 0x030d_01f0,
        flags: wire::ProcessFlags::NO_FRAMES,
        ..Default::default()
    };
    run.process(1, 0);
    run.feed(2, Body::ProcessStart(refused));
    run.feed(2, Body::Notice(wire::Notice { code: wire::NoticeCode::LAYOUT_UNKNOWN, ..Default::default() }));
    let main = run.code(1, APP, "<module>", 1);
    let stack = run.stack(1, &[(main, 4)]);
    run.thread(1, 1, 1, 0);
    run.samples(1, 1, stack, 0, 600);
    run.end(1, 1, 600 * MS);
    run.thread(2, 2, 1, 10 * MS);
    run.samples(2, 2, 0, 1, 200);
    run.samples(2, 2, 0, 2, 90);
    run.end(2, 2, 300 * MS);
    let profile = run.finish();
    let child = profile.processes.iter().find(|process| process.pid == 2).expect("it began");
    let thread = profile.threads.iter().find(|thread| thread.pid == 2).expect("it began");
    for time in [&child.time, &thread.time, &profile.totals.outside_scope] {
        assert_eq!((time.python_s, time.native_s), (None, None));
        same(time.user_s.expect("it had some") + time.system_s.expect("it was sampled"), 0.3);
    }
    assert_eq!((child.time.wait_s, thread.time.wait_s), (None, None));
    // The other process' are known.
    let totals = &profile.totals.time;
    same(totals.python_s.expect("it is known"), 0.6);
    same(totals.python_s.unwrap() + totals.native_s.unwrap() + totals.system_s.unwrap() + totals.user_s.unwrap(), 0.9);
    assert_eq!(line(&profile, APP, 5).time.user_s, None);
    assert_eq!(totals.wait_s, Some(0.0));
}

#[test]
fn frames_that_failed_the_self_test_own_nothing() {
    let mut run = Recording::new("timer", "exact");
    run.process(1, 0);
    let main = run.code(1, APP, "<module>", 1);
    let stack = run.stack(1, &[(main, 2)]);
    run.thread(1, 1, 2, 0);
    run.samples(1, 1, stack, 0, 40);
    run.alloc(1, 2, stack, 64, 4099, 0);
    run.feed(1, Body::SelfTest(wire::SelfTest { verdict: wire::Verdict::FAILED, ..Default::default() }));
    run.samples(1, 1, stack, 0, 60);
    run.end(1, 1, 100 * MS);
    let profile = run.finish();
    assert!(profile.files.is_empty(), "{:?}", profile.files);
    same(cpu(&profile.totals.outside_scope), 0.1);
    assert_eq!(profile.totals.memory.alloc_bytes, Some(4099));
    assert_eq!(profile.totals.outside_scope_memory.alloc_bytes, Some(4099));
    assert!(profile.stacks.nodes.is_empty());
    assert_eq!((profile.notices[0].code.as_str(), profile.notices[0].process), ("frames_refused", Some(1)));
    assert!(profile.notices[0].text.contains("no line is trusted"), "{:?}", profile.notices);
}
