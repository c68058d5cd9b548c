//! Laws of the builder about processes and threads: forks, execs, exit codes, and the time of those too short to be hit.

use super::recording::{MS, Recording, cpu, line, same};
use rscalene::transport::event::{Body, ProcessExit};
use rscalene_wire as wire;
use wire::{EndedBy, ExitStatus};

const APP: &str = "/w/app.py";

#[test]
fn code_numbers_of_a_forked_child_are_its_own() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    let code = run.code(1, APP, "parent", 1);
    let stack = run.stack(1, &[(code, 0)]);
    run.thread(1, 1, 2, 0);
    run.thread(1, 1, 2, 0);
    run.samples(1, 1, stack, 0, 50);
    run.process(2, 1);
    run.thread(2, 2, 2, 0);
    // The child has defined nothing, so the parent's stack means nothing in it.
    run.samples(2, 2, stack, 0, 20);
    let other = run.code(2, "/w/child.py", "child", 1);
    let own = run.stack(2, &[(other, 0)]);
    run.samples(2, 2, own, 0, 30);
    run.end(2, 2, 50 * MS);
    run.leave(2, 1, 50 * MS);
    run.end(1, 1, 50 * MS);
    let profile = run.finish();
    same(cpu(&line(&profile, "/w/child.py", 1).time), 0.030);
    same(cpu(&line(&profile, APP, 1).time), 0.050);
    same(cpu(&profile.totals.outside_scope), 0.020);
    assert_eq!(
        profile.processes.iter().map(|process| (process.pid, process.parent)).collect::<Vec<_>>(),
        [(1, 0), (2, 1)]
    );
    let shares = &line(&profile, "/w/child.py", 1).by_process;
    assert_eq!(shares.len(), 1);
    assert_eq!(shares[0].process, 1);
    same(cpu(&shares[0].time), 0.030);
}

#[test]
fn an_exec_goes_on_with_the_clock_and_counts_nothing_twice() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    let code = run.code(1, APP, "before", 1);
    let stack = run.stack(1, &[(code, 0)]);
    run.thread(1, 1, 2, 0);
    run.samples(1, 1, stack, 0, 40);
    run.thread(1, 2, 2, 0);
    run.end(1, 2, 0);
    run.leave(1, 2, 40 * MS);
    run.clock(1, 1, 5, 40 * MS);
    run.process(1, 0);
    // The launcher's last look at the program before, whose other thread is over.
    run.clock(1, 2, 5, 30 * MS);
    run.thread(1, 1, 2, 50 * MS);
    let code = run.code(1, "/w/after.py", "after", 1);
    let stack = run.stack(1, &[(code, 0)]);
    run.samples(1, 1, stack, 0, 50);
    run.end(1, 1, 100 * MS);
    run.leave(1, 0, 100 * MS);
    let profile = run.finish();
    same(cpu(&profile.totals.time), 0.100);
    same(cpu(&line(&profile, APP, 1).time), 0.040);
    same(cpu(&line(&profile, "/w/after.py", 1).time), 0.050);
    same(cpu(&profile.totals.outside_scope), 0.010);
    assert_eq!(profile.processes.len(), 1);
}

#[test]
fn the_exit_code_comes_from_the_process_or_the_launcher_or_is_unknown() {
    let mut run = Recording::new("perf", "off");
    for pid in 1..=5 {
        run.process(pid, 1);
    }
    let end = |how, status| Body::ProcessEnd(wire::ProcessEnd { how, status, ..Default::default() });
    run.feed(1, end(EndedBy::EXIT, ExitStatus::exited(3)));
    run.feed(2, end(EndedBy::UNDERSCORE_EXIT, ExitStatus::exited(0)));
    run.feed(3, end(EndedBy::EXIT, ExitStatus::UNKNOWN));
    run.feed(4, end(EndedBy::EXEC, ExitStatus::exited(4)));
    run.feed(5, end(EndedBy::EXIT, ExitStatus::exited(5)));
    let killed = ProcessExit { time_ns: 9, code: None, signal: Some(9), peak_rss: None, cpu_ns: None };
    run.feed(5, Body::ProcessExit(killed));
    let profile = run.finish();
    let mut ends: Vec<_> = profile.processes.iter().map(|process| (process.pid, process.exit)).collect();
    ends.sort_unstable_by_key(|(pid, _)| *pid);
    let codes: Vec<_> = ends.iter().map(|(_, exit)| exit.code).collect();
    assert_eq!(codes, [Some(3), Some(0), None, None, None]);
    assert_eq!(ends[4].1.signal, Some(9));
}

#[test]
fn short_threads_share_their_time_in_proportion_to_all_their_samples() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    let left = run.code(1, APP, "left", 1);
    let right = run.code(1, APP, "right", 100);
    let stacks = [run.stack(1, &[(left, 0)]), run.stack(1, &[(right, 0)])];
    for number in 0..1000u32 {
        let tid = 100 + number;
        run.thread(1, tid, 2, 0);
        // Every fourth thread is hit by the tick; three quarters of the work is on the left.
        if number % 4 == 0 {
            run.samples(1, tid, stacks[usize::from(number % 16 == 0)], 0, 1);
        }
        run.end(1, tid, MS);
    }
    let profile = run.finish();
    same(cpu(&profile.totals.time), 1.0);
    let (left, right) = (cpu(&line(&profile, APP, 1).time), cpu(&line(&profile, APP, 100).time));
    same(left + right, 1.0);
    assert!((left / right - 187.0 / 63.0).abs() < 1e-9, "{left} {right}");
    same(profile.threads.iter().map(|thread| cpu(&thread.time)).sum::<f64>(), 1.0);
}

#[test]
fn short_forked_children_share_their_time_in_proportion_to_all_their_samples() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    run.thread(1, 1, 2, 0);
    for number in 0..240u32 {
        let child = 100 + number;
        let start = wire::ProcessStart {
            pid: child,
            parent: 1,
            python_version: 0x030c_01f0,
            flags: wire::ProcessFlags::FORKED,
            ..Default::default()
        };
        run.feed(child, Body::ProcessStart(start));
        run.thread(child, child, 2, 0);
        // Every fourth child is hit by the tick; three quarters of the work is on the left.
        if number % 4 == 0 {
            let name = if number % 16 == 0 { "right" } else { "left" };
            let code = run.code(child, APP, name, if number % 16 == 0 { 100 } else { 1 });
            let stack = run.stack(child, &[(code, 0)]);
            run.samples(child, child, stack, 0, 1);
        }
        run.end(child, child, MS);
        run.leave(child, 1, MS);
    }
    run.end(1, 1, 0);
    let profile = run.finish();
    same(cpu(&profile.totals.time), 0.24);
    let (left, right) = (cpu(&line(&profile, APP, 1).time), cpu(&line(&profile, APP, 100).time));
    same(left + right, 0.24);
    assert!((left / right - 3.0).abs() < 1e-9, "{left} {right}");
    // Each child has its own clock, divided as that of all children.
    let parts: Vec<f64> = line(&profile, APP, 1).by_process.iter().map(|share| cpu(&share.time)).collect();
    assert_eq!(parts.len(), 240);
    parts.iter().for_each(|&part| same(part, 0.000_75));
}

#[test]
fn threads_too_short_to_be_hit_do_not_add_to_those_that_were() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    let code = run.code(1, APP, "longer", 1);
    let stack = run.stack(1, &[(code, 0)]);
    for number in 0..100u32 {
        run.thread(1, 100 + number, 2, 0);
        run.samples(1, 100 + number, stack, 0, 8);
        run.end(1, 100 + number, 8 * MS);
        run.thread(1, 1000 + number, 2, 0);
        run.end(1, 1000 + number, MS / 10);
    }
    let profile = run.finish();
    same(cpu(&line(&profile, APP, 1).time), 0.8);
    same(cpu(&profile.totals.outside_scope), 0.01);
    same(profile.totals.unsampled_s.expect("CPU was sampled"), 0.01);
}

#[test]
fn a_clock_that_is_read_late_counts_a_thread_once() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    run.thread(1, 1, 2, 0);
    for tid in 10..200 {
        run.thread(1, tid, 2, 0);
        run.end(1, tid, MS);
    }
    for tid in 10..200 {
        run.clock(1, tid, 1, MS / 2);
    }
    run.end(1, 1, 10 * MS);
    let profile = run.finish();
    same(cpu(&profile.totals.time), 0.2);
    assert_eq!(profile.threads.len(), 191);
}
