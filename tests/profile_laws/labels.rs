//! Laws of the builder about labels: requests, tasks, and blocks that the program named.

use super::recording::{MS, Recording, same};
use rscalene::profile::model::{Label, Profile};
use rscalene::transport::event::Body;
use rscalene_wire as wire;
use wire::{AllocFlags, CpuFlags};

const APP: &str = "/w/app.py";

fn recording() -> (Recording, u64) {
    let mut run = Recording::new("timer", "exact");
    run.process(1, 0);
    run.thread(1, 1, 2, 0);
    let main = run.code(1, APP, "<module>", 1);
    let at = run.stack(1, &[(main, 0)]);
    (run, at)
}

fn define(run: &mut Recording, pid: u32, label: u32, key: &str, value: &str) {
    run.feed(pid, Body::Label { label, pairs: vec![(key.to_owned(), value.to_owned())] });
}

fn sample(run: &mut Recording, pid: u32, stack: u64, label: u32, ms: u64) {
    let sample = wire::CpuSample { time_ns: 1, stack, weight_ns: ms * MS, tid: pid, label, ..Default::default() };
    run.feed(pid, Body::CpuSample { sample, flags: CpuFlags::NONE });
}

fn alloc(run: &mut Recording, stack: u64, address: u64, size: u64, label: u32) {
    let alloc = wire::Alloc { time_ns: 1, stack, address, size, interval: 0, tid: 1, label };
    run.feed(1, Body::Alloc { alloc, flags: AllocFlags::CERTAIN });
}

fn end(run: &mut Recording, pid: u32, label: u32, name: u32, wall_ms: u64, cpu_ns: u64) {
    let span = wire::Span { wall_ns: wall_ms * MS, cpu_ns, label, name, tid: pid, ..Default::default() };
    run.feed(pid, Body::Span(span));
}

fn label<'a>(profile: &'a Profile, value: &str) -> &'a Label {
    profile.labels.iter().find(|row| row.labels.values().any(|known| known == value)).expect("the label is there")
}

#[test]
fn figures_under_the_number_of_a_request_move_to_its_route_at_its_end() {
    let (mut run, at) = recording();
    for request in 1..=100 {
        sample(&mut run, 1, at, request, 1);
        alloc(&mut run, at, u64::from(request) * 16, 1_009, request);
        define(&mut run, 1, 1_000, "route", "/a");
        end(&mut run, 1, request, 1_000, u64::from(request), 2 * MS);
        // A thread that the request started goes on.
        sample(&mut run, 1, at, request, 1);
    }
    // Of the blocks half are freed after the ends.
    (1..=50).for_each(|request| run.free(1, 2, at, request * 16));
    sample(&mut run, 1, at, 7_777, 3);
    let profile = run.finish();
    let row = label(&profile, "/a");
    assert_eq!((row.count, row.alloc_bytes, row.kept_bytes), (100, Some(100_900), Some(50_450)));
    same(row.cpu_s.expect("clocks were read"), 0.2);
    same(row.elapsed_s, 5.05);
    let near = |value: Option<f64>, wanted: f64| (value.expect("there are some") / wanted - 1.0).abs() < 0.01;
    assert!(near(row.median_s, 0.050) && near(row.p95_s, 0.095), "{row:?}");
    same(row.longest_s.expect("there are some"), 0.1);
    same(row.lines[0].cpu_s.expect("sampled"), 0.2);
    // One that did not end has no route, but it has its costs.
    let open = label(&profile, "(did not end)");
    same(open.cpu_s.expect("sampled"), 0.003);
    assert_eq!((open.count, open.median_s), (0, None));
}

#[test]
fn without_all_clocks_samples_say_how_much() {
    let (mut run, at) = recording();
    define(&mut run, 1, 5, "task", "resize");
    sample(&mut run, 1, at, 5, 7);
    end(&mut run, 1, 0, 5, 10, 4 * MS);
    end(&mut run, 1, 0, 5, 10, wire::UNKNOWN_NS);
    let profile = run.finish();
    same(label(&profile, "resize").cpu_s.expect("sampled"), 0.007);
}

#[test]
fn labels_of_the_same_text_share_a_row_over_all_processes_and_children_know_their_parents() {
    let (mut run, at) = recording();
    define(&mut run, 1, 5, "task", "a");
    sample(&mut run, 1, at, 5, 1);
    let start = wire::ProcessStart { pid: 2, parent: 1, flags: wire::ProcessFlags::FORKED, ..Default::default() };
    run.feed(2, Body::ProcessStart(start));
    run.thread(2, 2, 2, 0);
    sample(&mut run, 2, 0, 5, 1);
    define(&mut run, 2, 9, "task", "a");
    sample(&mut run, 2, 0, 9, 1);
    let profile = run.finish();
    assert_eq!(profile.labels.len(), 1);
    same(profile.labels[0].cpu_s.expect("sampled"), 0.003);
}

#[test]
fn a_refused_resize_keeps_the_block_of_its_label() {
    let (mut run, at) = recording();
    define(&mut run, 1, 5, "task", "a");
    alloc(&mut run, at, 0x10, 1_009, 5);
    for how in [wire::FreeHow::RESIZED, wire::FreeHow::REFUSED] {
        run.feed(1, Body::Free(wire::Free { time_ns: 2, stack: at, address: 0x10, tid: 1, how, ..Default::default() }));
    }
    assert_eq!(label(&run.finish(), "a").kept_bytes, Some(1_009));
}

#[test]
fn labels_without_end_share_a_row() {
    let (mut run, at) = recording();
    for number in 1..=2_000 {
        define(&mut run, 1, number, "route", &format!("/{number}"));
        sample(&mut run, 1, at, number, 1);
    }
    let profile = run.finish();
    assert!(profile.labels.len() <= 1_025);
    let all: f64 = profile.labels.iter().filter_map(|row| row.cpu_s).sum();
    same(all, 2.0);
    assert!(label(&profile, "(others)").cpu_s.expect("sampled") > 0.9);
}
