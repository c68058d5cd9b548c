//! Laws of the builder about stacks: whose the cost of a node is, and which stacks held the peak.

use super::recording::{MS, Recording, line};
use rscalene::profile::model::Profile;

const APP: &str = "/w/app.py";

/// Bytes at the peak of the nodes on line `number`.
fn peak_of(profile: &Profile, number: u32) -> u64 {
    let stacks = &profile.stacks;
    stacks.nodes.iter().filter(|node| stacks.frames[node.frame].line == number).map(|node| node.peak_bytes).sum()
}

#[test]
fn the_stacks_at_the_peak_add_up_to_its_lines() {
    let mut run = Recording::new("off", "exact");
    run.process(1, 0);
    let main = run.code(1, APP, "<module>", 1);
    let inner = run.code(1, APP, "load", 50);
    let library = run.code(1, "/usr/lib/python3.12/json.py", "loads", 9);
    let [low, through, other] = [
        run.stack(1, &[(main, 0)]),
        run.stack(1, &[(library, 0), (inner, 1), (main, 2)]),
        run.stack(1, &[(inner, 1), (main, 3)]),
    ];
    run.alloc(1, 1, low, 0x10, 7919, 0);
    run.alloc(1, 2, through, 0x20, 104_729, 0);
    run.alloc(1, 3, other, 0x30, 1_299_709, 0);
    run.alloc(1, 4, other, 0x40, 13, 0);
    run.free(1, 5, low, 0x30);
    run.free(1, 6, low, 0x20);
    run.alloc(1, 7, through, 0x50, 17, 0);
    let profile = run.finish();
    assert_eq!([peak_of(&profile, 1), peak_of(&profile, 9), peak_of(&profile, 51)], [7919, 104_729, 1_299_722]);
    assert_eq!(line(&profile, APP, 51).memory.peak_bytes, Some(104_729 + 1_299_722));
    let all: u64 = profile.stacks.nodes.iter().map(|node| node.peak_bytes).sum();
    assert_eq!(Some(all), profile.totals.tracked_peak_bytes);
}

#[test]
fn stacks_have_the_blocks_the_live_bytes_and_the_kinds_of_their_lines() {
    let mut run = Recording::new("timer", "exact");
    run.process(1, 0);
    run.thread(1, 1, 2, 0);
    let main = run.code(1, APP, "<module>", 1);
    let inner = run.code(1, APP, "load", 50);
    let [low, high] = [run.stack(1, &[(main, 0)]), run.stack(1, &[(inner, 1), (main, 1)])];
    run.samples(1, 1, low, 0, 70);
    run.samples(1, 1, high, 70, 30);
    run.end(1, 1, 100 * MS);
    run.alloc(1, 1, low, 0x10, 7919, 0);
    run.alloc(1, 2, high, 0x20, 104_729, 0);
    run.alloc(1, 3, high, 0x30, 13, 0);
    run.free(1, 4, low, 0x20);
    let profile = run.finish();
    let of = |number: u32| {
        let stacks = &profile.stacks;
        stacks.nodes.iter().find(|node| stacks.frames[node.frame].line == number).expect("a node")
    };
    assert_eq!([of(1).alloc_count, of(51).alloc_count], [1, 2]);
    assert_eq!([of(1).live_bytes, of(51).live_bytes], [7919, 13]);
    for number in [1, 51] {
        let (node, time) = (of(number), line(&profile, APP, number).time);
        assert_eq!(
            [node.python_s, node.native_s, node.system_s].map(Some),
            [time.python_s, time.native_s, time.system_s]
        );
        assert!((node.python_s + node.native_s + node.system_s - node.cpu_s).abs() < 1e-9);
    }
}

#[test]
fn shares_of_threads_and_processes_add_up_to_the_stacks() {
    let mut run = Recording::new("timer", "exact");
    for (pid, threads) in [(1, 1..4), (9, 9..10)] {
        run.process(pid, 0);
        let main = run.code(pid, APP, "<module>", 1);
        let at = [run.stack(pid, &[(main, 0)]), run.stack(pid, &[(main, 1)])];
        for tid in threads {
            run.thread(pid, tid, 2, 0);
            run.samples(pid, tid, at[0], 0, 100);
            run.samples(pid, tid, at[tid as usize % 2], 1, 60);
            run.end(pid, tid, 160 * MS);
        }
        run.alloc(pid, 1, at[0], 0x10, 7919, 0);
        run.alloc(pid, 2, at[1], 0x20, 104_729, 0);
    }
    let profile = run.finish();
    let stacks = &profile.stacks;
    let near = |left: f64, right: f64| (left - right).abs() < 1e-9;
    for (at, node) in stacks.nodes.iter().enumerate() {
        let threads: Vec<_> = stacks.by_thread.iter().filter(|share| share.node == at).collect();
        let processes: Vec<_> = stacks.by_process.iter().filter(|share| share.node == at).collect();
        assert!(near(threads.iter().map(|share| share.cpu_s).sum(), node.cpu_s), "{node:?} {threads:?}");
        assert!(near(processes.iter().map(|share| share.wall_s).sum(), node.wall_s), "{node:?} {processes:?}");
        assert_eq!(threads.iter().map(|share| share.alloc_bytes).sum::<u64>(), node.alloc_bytes);
        assert_eq!(processes.iter().map(|share| share.alloc_bytes).sum::<u64>(), node.alloc_bytes);
        assert_eq!(processes.iter().map(|share| share.peak_bytes).sum::<u64>(), node.peak_bytes);
    }
    let of = |tid: u32| profile.threads.iter().position(|thread| thread.tid == tid).expect("the thread");
    let mine: f64 = stacks.by_thread.iter().filter(|share| share.thread == of(2)).map(|share| share.cpu_s).sum();
    assert!(near(mine, 0.16), "{mine}");
    let first = &line(&profile, APP, 1).by_thread;
    let bytes = |tid| first.iter().find(|share| share.thread == of(tid)).and_then(|share| share.alloc_bytes);
    assert_eq!(
        [bytes(1), bytes(2), bytes(9)],
        [Some(7919), Some(0), Some(7919)],
        "the recorder's blocks are the first thread's"
    );
}

#[test]
fn one_thread_has_no_shares() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    let main = run.code(1, APP, "<module>", 1);
    let at = run.stack(1, &[(main, 0)]);
    run.thread(1, 1, 2, 0);
    run.samples(1, 1, at, 0, 100);
    run.end(1, 1, 100 * MS);
    let profile = run.finish();
    assert!(profile.stacks.by_thread.is_empty() && profile.stacks.by_process.is_empty());
}
