//! The builder takes whatever comes: events of a corrupt or lying ring, and more of everything than it keeps apart.

use super::recording::{MS, Recording, cpu, lines_cpu, same};
use fastrand::Rng;
use rscalene::transport::event::{Body, CodeDef, Counters, Module, ProcessExit, StackDef, ThreadClock, Wait};
use rscalene_wire as wire;

/// A number of the kind that breaks arithmetic.
fn odd(dice: &mut Rng) -> u64 {
    match dice.u64(..8) {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << 63,
        3 => dice.u64(..),
        4 => u64::from(u32::MAX),
        _ => dice.u64(..5),
    }
}

fn small(dice: &mut Rng) -> u32 {
    odd(dice) as u32
}

fn body(dice: &mut Rng) -> Body {
    let (time_ns, stack, address, size) = (odd(dice), odd(dice) % 7, odd(dice), odd(dice));
    let (tid, flags, other) = (small(dice), dice.u8(..), odd(dice));
    match dice.u64(..22) {
        0 => Body::ProcessStart(wire::ProcessStart {
            time_ns,
            pid: tid,
            python_version: small(dice),
            ..Default::default()
        }),
        1 => Body::ThreadStart(wire::ThreadStart {
            time_ns,
            tid,
            source: wire::Source::of(tid % 6),
            cpu_ns: size,
            interval_ns: other,
        }),
        2 => Body::ThreadEnd(wire::ThreadEnd { time_ns, tid, cpu_ns: size, system_ns: other, reserved: 0 }),
        3 => Body::CodeDef(CodeDef {
            def: wire::CodeDef { code: tid, first_line: small(dice), ..Default::default() },
            filename: ["", "<string>", "a/../..", "/w/x.py", "\u{0}"][(other % 5) as usize].to_owned(),
            qualname: "f".repeat((size % 3) as usize),
            table: (0..dice.u64(..40)).map(|_| dice.u8(..)).collect(),
        }),
        4 | 5 => Body::StackDef(StackDef {
            def: wire::StackDef { stack, ..Default::default() },
            entries: (0..other % 9).map(|_| wire::StackEntry { code: small(dice), offset: small(dice) }).collect(),
        }),
        6 | 7 => Body::CpuSample {
            sample: wire::CpuSample {
                time_ns,
                stack,
                pc: address,
                weight_ns: size,
                tid,
                kind: wire::CpuKind::of(flags),
                ..Default::default()
            },
            flags: wire::CpuFlags::of(flags),
        },
        8 => Body::SelfTest(wire::SelfTest {
            verdict: wire::Verdict::of(if other == 3 { 2 } else { 1 }),
            ..Default::default()
        }),
        9 => Body::ProcessEnd(wire::ProcessEnd {
            time_ns,
            cpu_ns: size,
            how: wire::EndedBy::of(tid % 4),
            status: wire::ExitStatus::exited(small(dice).cast_signed()),
            peak_rss: other,
        }),
        10 | 11 => Body::Alloc {
            alloc: wire::Alloc { time_ns, stack, address, size, interval: other, tid, label: small(dice) },
            flags: wire::AllocFlags::of(flags),
        },
        12 => Body::Free(wire::Free {
            time_ns,
            stack,
            address,
            tid,
            how: wire::FreeHow::of(tid % 4),
            label: 0,
            reserved: 0,
        }),
        13 => Body::Copy(wire::Copy { time_ns, stack, weight: size, tid, label: 0 }),
        14 | 15 => Body::Map {
            map: wire::Map {
                time_ns,
                stack,
                address,
                size,
                old_address: odd(dice),
                old_size: other,
                change: wire::MapChange::of(tid % 6),
                label: 0,
            },
            flags: wire::MapFlags::of(flags),
        },
        16 if other % 2 == 0 => {
            Body::Label { label: tid, pairs: vec![("k".repeat((size % 3) as usize), "\u{0}".to_owned())] }
        }
        16 => Body::Span(wire::Span {
            time_ns,
            wall_ns: size,
            cpu_ns: other,
            stack,
            tid,
            label: small(dice),
            name: tid,
            count: small(dice),
        }),
        17 if other % 2 == 0 => Body::Query(wire::Query {
            time_ns,
            stack,
            wall_ns: size,
            rows: other,
            label: small(dice),
            name: tid,
            parameters: tid,
            mark: wire::QueryMark::of(tid % 6),
        }),
        17 => Body::Notice(wire::Notice { time_ns, code: wire::NoticeCode::of(tid), detail: small(dice) }),
        18 => Body::Counters(Box::new(Counters {
            lost: [size; wire::LOST_KINDS],
            frames_rejected: other,
            memory_interval_bytes: address,
            malformed: other,
        })),
        19 => Body::ThreadClock(ThreadClock { time_ns, tid, cpu_ns: size, name: "\u{1b}[31m".to_owned() }),
        20 => Body::Wait(Wait { time_ns, tid, stack, wait_ns: size, gil_ns: (other > 2).then_some(other), label: tid }),
        _ => match other % 7 {
            0 => Body::ProcessExit(ProcessExit {
                time_ns,
                code: None,
                signal: Some(9),
                peak_rss: Some(size),
                cpu_ns: Some(other),
            }),
            1 => Body::Rss { time_ns, bytes: size, files: other, most: size },
            6 => Body::Untouched { time_ns, ranges: vec![(address, size), (other, address), (size, 9)].into() },
            2 => Body::Teardown(wire::Teardown { time_ns }),
            3 => Body::Allocator("lib.so".repeat((size % 3) as usize)),
            4 => Body::Modules(vec![Module { start: address, end: size, offset: other, path: String::new() }]),
            _ => Body::Command(vec![String::new()]),
        },
    }
}

#[test]
fn no_event_however_wrong_breaks_the_merge() {
    for seed in 1..150 {
        let mut dice = Rng::with_seed(seed * 0x9e37_79b9);
        let mut run = Recording::new("perf", "sampled");
        for _ in 0..500 {
            let pid = dice.u32(..3);
            let body = body(&mut dice);
            run.feed(pid, body);
        }
        let profile = run.finish();
        assert!(profile.stacks.nodes.iter().enumerate().all(|(at, node)| node.parent.is_none_or(|parent| parent < at)));
        let text = serde_json::to_string(&profile).expect("every number is finite or null");
        assert_eq!(
            serde_json::from_str::<rscalene::profile::model::Profile>(&text).expect("json").files.len(),
            profile.files.len()
        );
    }
}

#[test]
fn more_processes_and_threads_than_are_kept_apart_still_add_up() {
    let mut run = Recording::new("timer", "off");
    for pid in 1..=600u32 {
        run.process(pid, 0);
        let main = run.code(pid, "/w/app.py", "<module>", 1);
        let stack = run.stack(pid, &[(main, pid % 3)]);
        for tid in [pid, 1000 + 20 * pid] {
            run.thread(pid, tid, 2, 0);
            run.samples(pid, tid, stack, 0, 20);
            run.end(pid, tid, 20 * MS);
        }
        for tid in 1..10u32 {
            run.thread(pid, 1000 + 20 * pid + tid, 2, 0);
            run.end(pid, 1000 + 20 * pid + tid, MS);
        }
        run.leave(pid, 1, 49 * MS);
    }
    let profile = run.finish();
    same(cpu(&profile.totals.time), 600.0 * 0.049);
    same(lines_cpu(&profile), 600.0 * 0.04);
    same(profile.threads.iter().map(|thread| cpu(&thread.time)).sum::<f64>(), 600.0 * 0.049);
    assert!(profile.threads.len() <= 4096 && profile.processes.len() == 600);
    let shares =
        |line: &rscalene::profile::model::Line| line.by_process.iter().map(|share| cpu(&share.time)).sum::<f64>();
    let shared: f64 = profile.files.iter().flat_map(|file| &file.lines).map(shares).sum();
    assert!(shared > 256.0 * 0.039 && shared < 24.0, "{shared}");
}
