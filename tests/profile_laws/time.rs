//! Laws of the builder about time: what is booked where, and that nothing gets lost or comes twice.

use super::recording::{MS, Recording, cpu, file, function, line, lines_cpu, same};
use rscalene::profile::build::scope::ScopeRules;
use rscalene::transport::event::{Body, Counters, Module, Wait};
use rscalene_wire as wire;

const APP: &str = "/w/app.py";
const LIB: &str = "/usr/lib/python3.12/json/decoder.py";

#[test]
fn lines_and_outside_scope_add_up_to_the_threads_clocks() {
    for source in [1, 2] {
        let mut run = Recording::new("perf", "off");
        run.process(1, 0);
        let main = run.code(1, APP, "<module>", 1);
        let work = run.code(1, APP, "work", 10);
        let there = run.stack(1, &[(work, 3), (main, 5)]);
        let here = run.stack(1, &[(main, 7)]);
        run.thread(1, 1, source, 12 * MS);
        run.thread(1, 2, source, 0);
        run.thread(1, 3, source, 0);
        run.samples(1, 1, there, 0, 700);
        run.samples(1, 1, here, 1, 200);
        run.samples(1, 1, here, 2, 50);
        run.samples(1, 1, 0, 0, 9);
        run.samples(1, 2, there, 0, 3);
        run.end(1, 2, 4 * MS);
        run.end(1, 3, MS / 2);
        run.end(1, 1, 1000 * MS);
        let profile = run.finish();
        let total = cpu(&profile.totals.time);
        same(total, 1.0045);
        same(lines_cpu(&profile) + cpu(&profile.totals.outside_scope), total);
        for (thread, clock) in profile.threads.iter().zip([0.004, 0.0005, 1.0]) {
            let mut clocks = [clock, thread.cpu_clock_s.expect("it was read"), cpu(&thread.time)];
            clocks.sort_by(f64::total_cmp);
            assert!(profile.threads.len() == 3);
            let known = [0.004, 0.0005, 1.0].iter().any(|&known: &f64| (known - cpu(&thread.time)).abs() < 1e-9);
            assert!(known, "{thread:?}");
        }
        same(profile.totals.cpu_clock_s.expect("clocks were read"), 1.0045);
        assert!(profile.totals.unsampled_s.expect("CPU was sampled") >= 0.012);
        assert_eq!(profile.settings.cpu.source, if source == 1 { "perf" } else { "timer" });
    }
}

#[test]
fn time_goes_to_the_innermost_line_in_scope_with_its_kind() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    let main = run.code(1, "app.py", "<module>", 1);
    let decode = run.code(1, LIB, "decode", 40);
    let stack = run.stack(1, &[(decode, 2), (decode, 9), (main, 4)]);
    let library = run.stack(1, &[(decode, 2)]);
    run.thread(1, 1, 2, 0);
    run.samples(1, 1, stack, 0, 60);
    run.samples(1, 1, stack, 1, 30);
    run.samples(1, 1, library, 0, 10);
    run.end(1, 1, 100 * MS);
    let profile = run.finish();
    assert_eq!(profile.files.len(), 1);
    let line = line(&profile, APP, 5);
    same(line.time.python_s.expect("python"), 0.060);
    same(line.time.native_s.expect("native"), 0.030);
    assert_eq!((line.cpu_samples, line.function.as_str()), (90, "<module>"));
    same(cpu(&profile.totals.outside_scope), 0.010);
    assert_eq!(profile.stacks.other_files, [LIB]);
    let leaf = profile.stacks.nodes.iter().find(|node| node.cpu_s > 0.08).expect("the leaf");
    assert_eq!(profile.stacks.frames[leaf.frame].line, 42);
    assert_eq!(profile.stacks.frames[leaf.frame].file, 1);
}

#[test]
fn unnamed_code_belongs_to_its_caller() {
    let mut recording = Recording::new("perf", "off");
    recording.process(1, 0);
    recording.thread(1, 1, 1, 0);
    let site = recording.code(1, "<frozen site>", "addpackage", 10);
    let user = recording.code(1, "/w/app.py", "f", 10);
    let library = recording.code(1, "/usr/lib/python3.12/asyncio/events.py", "_run", 10);
    let module = recording.code(1, "<string>", "<module>", 1);
    let function = recording.code(1, "<string>", "work", 3);
    for (frames, count) in [
        // A line of a .pth file, and a function that it defines and calls.
        (&[(module, 0), (site, 0)][..], 3),
        (&[(function, 0), (module, 1), (site, 0)], 5),
        // exec in the user's code.
        (&[(module, 2), (user, 0)], 7),
        (&[(function, 1), (module, 3), (user, 0)], 11),
        // python -c, also when a library calls back.
        (&[(module, 4)], 13),
        (&[(function, 2), (library, 0), (module, 5)], 17),
    ] {
        let stack = recording.stack(1, frames);
        recording.samples(1, 1, stack, 0, count);
    }
    recording.end(1, 1, 56 * MS);
    let profile = recording.finish();
    for (number, ms) in [(3, 7.0), (4, 11.0), (5, 13.0 + 17.0)] {
        let found = cpu(&line(&profile, "<string>", number).time) * 1e3;
        assert!((found - ms).abs() < 0.5, "line {number}: {found}");
    }
    assert!((cpu(&profile.totals.outside_scope) * 1e3 - 8.0).abs() < 0.5);
}

#[test]
fn nameless_text_that_another_runs_is_no_file_of_the_report() {
    let mut recording = Recording::new("perf", "off");
    recording.process(1, 0);
    recording.thread(1, 1, 1, 0);
    let site = recording.code(1, "<frozen site>", "addpackage", 10);
    let module = recording.code(1, "<string>", "<module>", 1);
    let stack = recording.stack(1, &[(module, 0), (site, 0)]);
    recording.samples(1, 1, stack, 0, 3);
    recording.end(1, 1, 3 * MS);
    assert!(recording.finish().files.is_empty());
}

#[test]
fn recursion_counts_a_function_once_a_sample() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    let main = run.code(1, APP, "<module>", 1);
    let fib = run.code(1, APP, "fib", 20);
    let mut frames = vec![(fib, 1); 900];
    frames.push((main, 0));
    let deep = run.stack(1, &frames);
    let shallow = run.stack(1, &[(fib, 1), (main, 0)]);
    run.thread(1, 1, 2, 0);
    run.samples(1, 1, deep, 0, 75);
    run.samples(1, 1, shallow, 0, 25);
    run.end(1, 1, 100 * MS);
    let profile = run.finish();
    let fib = function(&profile, APP, "fib");
    same(fib.cumulative.cpu_s.expect("CPU"), 0.1);
    same(cpu(&fib.own), 0.1);
    let main = function(&profile, APP, "<module>");
    same(main.cumulative.cpu_s.expect("CPU"), 0.1);
    same(main.own.python_s.expect("CPU"), 0.0);
    assert_eq!((fib.first_line, fib.last_line, fib.name.as_str()), (20, 219, "fib"));
    assert!(file(&profile, APP).lines.iter().all(|line| line.line == 21));
}

#[test]
fn waiting_belongs_to_the_line_that_waits() {
    let mut run = Recording::new("perf", "off");
    run.process(1, 0);
    let main = run.code(1, APP, "<module>", 1);
    let sleep = run.code(1, "/usr/lib/python3.12/threading.py", "wait", 300);
    let stack = run.stack(1, &[(sleep, 3), (main, 2)]);
    let wait = |wait_ns, gil_ns, stack| Body::Wait(Wait { time_ns: 5, tid: 1, stack, wait_ns, gil_ns, label: 0 });
    run.feed(1, wait(250 * MS, Some(30 * MS), stack));
    run.feed(1, wait(50 * MS, Some(0), 0));
    let profile = run.finish();
    let line = line(&profile, APP, 3);
    same(line.time.wait_s.expect("waits were seen"), 0.250);
    same(line.time.gil_wait_s.expect("the version tells"), 0.030);
    same(cpu(&line.time), 0.0);
    same(profile.totals.outside_scope.wait_s.expect("waits were seen"), 0.050);
    same(profile.totals.time.wait_s.expect("waits were seen"), 0.300);
    same(function(&profile, APP, "<module>").cumulative.wall_s.expect("waits were seen"), 0.250);
}

#[test]
fn every_loss_is_counted_and_lost_samples_are_made_up_for() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    let main = run.code(1, APP, "<module>", 1);
    let stack = run.stack(1, &[(main, 2)]);
    run.thread(1, 1, 2, 0);
    run.samples(1, 1, stack, 0, 100);
    let mut counters =
        Counters { lost: [0; wire::LOST_KINDS], frames_rejected: 7, memory_interval_bytes: 0, malformed: 2 };
    counters.lost[wire::Kind::CpuSample as usize] = 300;
    counters.lost[wire::Kind::Free as usize] = 5;
    run.feed(1, Body::Counters(Box::new(counters)));
    run.end(1, 1, 400 * MS);
    let profile = run.finish();
    assert_eq!(profile.totals.lost_records, 314);
    same(cpu(&line(&profile, APP, 3).time), 0.4);
}

#[test]
fn native_shares_of_a_line_add_up_and_each_place_is_looked_up_once() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    let main = run.code(1, APP, "<module>", 1);
    let stacks = [run.stack(1, &[(main, 2)]), run.stack(1, &[(main, 3)])];
    run.thread(1, 1, 2, 0);
    for (stack, pc, count) in [(0, 0x7000, 30), (0, 0x7010, 10), (1, 0x7000, 5), (0, 0x99, 20)] {
        for _ in 0..count {
            run.sample(1, 1, stacks[stack], 1, MS, pc);
        }
    }
    let library = Module { start: 0x6000, end: 0x8000, offset: 0x100, path: "/x/libblas.so.3".to_owned() };
    run.feed(1, Body::Modules(vec![library]));
    run.end(1, 1, 130 * MS);
    let mut asked = Vec::new();
    let profile = run.finish_with(&mut |_| None, &mut |path: &str, offset: u64| {
        asked.push((path.to_owned(), offset));
        Some(if offset == 0x1100 { "dgemm".to_owned() } else { "dgemv".to_owned() })
    });
    let line = line(&profile, APP, 3);
    let total: f64 = line.native.iter().map(|place| place.s).sum();
    same(total, line.time.native_s.expect("native"));
    assert_eq!((line.native[0].object.as_str(), line.native[0].symbol.as_deref()), ("libblas.so.3", Some("dgemm")));
    same(line.native[0].s, total / 2.0);
    assert_eq!(asked, [("/x/libblas.so.3".to_owned(), 0x1100), ("/x/libblas.so.3".to_owned(), 0x1110)]);
}

#[test]
fn a_forked_process_without_mappings_gets_its_parents_mappings() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    let library = Module { start: 0x6000, end: 0x8000, offset: 0, path: "/x/libblas.so.3".to_owned() };
    run.feed(1, Body::Modules(vec![library]));
    for (pid, flags) in [(2, wire::ProcessFlags::FORKED), (3, wire::ProcessFlags::NONE)] {
        let start = wire::ProcessStart { pid, parent: 1, flags, python_version: 0x030c_01f0, ..Default::default() };
        run.feed(pid, Body::ProcessStart(start));
        let code = run.code(pid, APP, "work", 10 * pid);
        let stack = run.stack(pid, &[(code, 0)]);
        run.thread(pid, pid, 2, 0);
        run.samples(pid, pid, stack, 1, 5);
        run.sample(pid, pid, stack, 1, MS, 0x7000);
        run.end(pid, pid, 6 * MS);
        run.leave(pid, 1, 6 * MS);
    }
    let profile = run.finish();
    let objects = |number| -> Vec<String> {
        line(&profile, APP, number).native.iter().map(|place| place.object.clone()).collect()
    };
    assert_eq!(objects(20), ["[unknown]", "libblas.so.3"], "forked");
    assert_eq!(objects(30), ["[unknown]"], "another program");
}

#[test]
fn a_line_is_named_after_the_function_that_costs_most_on_it_and_shows_its_source() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    let outer = run.code(1, APP, "f", 1);
    let inner = run.code(1, APP, "f.<locals>.<lambda>", 2);
    let stacks = [run.stack(1, &[(outer, 1)]), run.stack(1, &[(inner, 0), (outer, 1)])];
    run.thread(1, 1, 2, 0);
    run.samples(1, 1, stacks[0], 0, 30);
    run.samples(1, 1, stacks[1], 0, 70);
    run.end(1, 1, 100 * MS);
    let profile =
        run.finish_with(&mut |path| (path == APP).then(|| vec!["a".to_owned(), "b = 1".to_owned()]), &mut |_, _| None);
    let line = line(&profile, APP, 2);
    assert_eq!((line.function.as_str(), line.source.as_deref()), ("f.<locals>.<lambda>", Some("b = 1")));
    same(cpu(&line.time), 0.1);
}

#[test]
fn everything_is_in_scope_on_request() {
    let rules = ScopeRules { cwd: "/w".to_owned(), all: true, ..ScopeRules::default() };
    let mut run = Recording::with_rules("timer", "off", rules);
    run.process(1, 0);
    let frozen = run.code(1, "<frozen importlib._bootstrap>", "_find_and_load", 100);
    let main = run.code(1, APP, "<module>", 1);
    let stack = run.stack(1, &[(frozen, 2), (main, 0)]);
    run.thread(1, 1, 2, 0);
    run.samples(1, 1, stack, 0, 20);
    run.end(1, 1, 20 * MS);
    let profile = run.finish();
    same(cpu(&line(&profile, "<frozen importlib._bootstrap>", 102).time), 0.02);
    same(function(&profile, APP, "<module>").cumulative.cpu_s.expect("CPU"), 0.02);
}

#[test]
fn a_million_samples_of_deep_stacks_merge_to_the_same_bytes_twice() {
    let record = |samples: u64| {
        let mut run = Recording::new("timer", "off");
        run.process(1, 0);
        let codes: Vec<u32> = (0..50).map(|number| run.code(1, APP, &format!("f{number}"), number * 200 + 1)).collect();
        let stacks: Vec<u64> = (0..400u32)
            .map(|number| {
                let frames: Vec<_> = (0..120u32)
                    .rev()
                    .map(|depth| (codes[((depth * (1 + number / 100)) % 50) as usize], number % 7))
                    .collect();
                run.stack(1, &frames)
            })
            .collect();
        run.thread(1, 1, 2, 0);
        for number in 0..samples {
            run.sample(1, 1, stacks[(number * 7919 % 400) as usize], (number % 2) as u8, MS, 0x4000 + number % 1000);
        }
        run.end(1, 1, samples * MS);
        run.finish()
    };
    let (once, twice) = (record(1_000_000), record(1_000_000));
    assert_eq!(serde_json::to_string(&once).expect("json"), serde_json::to_string(&twice).expect("json"));
    same(lines_cpu(&once), 1000.0);
}

#[test]
fn samples_of_two_distances_count_by_what_each_stands_for() {
    for source in [1, 2] {
        let mut run = Recording::new("perf", "off");
        run.process(1, 0);
        let code = run.code(1, APP, "work", 1);
        let [early, late] = [(code, 0), (code, 3)].map(|place| run.stack(1, &[place]));
        run.thread(1, 1, source, 0);
        // Half a second each: close at first, then far apart.
        (0..1000).for_each(|_| run.sample(1, 1, early, 0, MS / 2, 0x1000));
        (0..250).for_each(|_| run.sample(1, 1, late, 0, 2 * MS, 0x1000));
        run.end(1, 1, 1000 * MS);
        let profile = run.finish();
        let lines = &profile.files[0].lines;
        assert_eq!(lines.len(), 2);
        let (early, late) = (cpu(&lines[0].time), cpu(&lines[1].time));
        assert!((early / late - 1.0).abs() < 1e-9, "{early} {late}");
        assert!((early + late - 1.0).abs() < 0.01, "{early} {late}");
        same(profile.settings.cpu.interval_s, 0.0005);
    }
}

#[test]
fn time_in_the_collector_is_a_part_of_the_line_s_time_and_scaled_with_it() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    let main = run.code(1, APP, "main", 1);
    let stack = run.stack(1, &[(main, 4)]);
    run.thread(1, 1, 2, 0);
    run.samples(1, 1, stack, 1, 150);
    for _ in 0..50 {
        let sample = wire::CpuSample { time_ns: 1, stack, weight_ns: MS, tid: 1, ..Default::default() };
        let flags = wire::CpuFlags::TIMER.and(wire::CpuFlags::COLLECTING);
        run.feed(1, Body::CpuSample { sample, flags });
    }
    run.end(1, 1, 220 * MS);
    let profile = run.finish();
    let gc_s = line(&profile, APP, 5).time.gc_s.expect("the collector was met");
    assert!((gc_s - 0.055).abs() < 1e-6, "{gc_s}");
    assert_eq!(profile.totals.time.gc_s, Some(gc_s));
}
