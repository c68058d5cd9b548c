//! Laws of the builder about memory: estimators, moments, mappings, leaks.

use super::recording::{MS, Recording, file, function, line};
use fastrand::Rng;
use rscalene::profile::model::Profile;
use rscalene::transport::event::{Body, Limit, NearLimit, ProcessExit};
use rscalene_wire as wire;
use wire::{MapChange, MapFlags};

const APP: &str = "/w/app.py";
/// Mean gap of the sampled recordings.
const T: u64 = 65_536;

/// A recording with one process, and stacks on the lines 1 to `lines` of the program.
fn recording(memory: &str, lines: u32) -> (Recording, Vec<u64>) {
    let mut run = Recording::new("off", memory);
    run.process(1, 0);
    let main = run.code(1, APP, "<module>", 1);
    let stacks = (0..lines).map(|number| run.stack(1, &[(main, number)])).collect();
    (run, stacks)
}

fn map(run: &mut Recording, stack: u64, address: u64, size: u64, old: (u64, u64), flags: wire::MapFlags) {
    let (old_address, old_size) = old;
    let change = if old_size == 0 { MapChange::MAPPED } else { MapChange::MOVED };
    let map = wire::Map { time_ns: 1, stack, address, size, old_address, old_size, change, label: 0 };
    run.feed(1, Body::Map { map, flags });
}

fn unmap(run: &mut Recording, stack: u64, address: u64, size: u64) {
    let map = wire::Map { time_ns: 1, stack, address, size, change: MapChange::UNMAPPED, ..Default::default() };
    run.feed(1, Body::Map { map, flags: wire::MapFlags::NONE });
}

/// What a thread records before it asks the kernel to unmap or, with `flags`, to move memory, and after a refusal.
fn end(run: &mut Recording, change: MapChange, stack: u64, address: u64, size: u64, flags: MapFlags) {
    let map = wire::Map { time_ns: 1, stack, address, size, change, ..Default::default() };
    run.feed(1, Body::Map { map, flags });
}

fn live(profile: &Profile, number: u32) -> u64 {
    line(profile, APP, number).memory.live_bytes.expect("memory was recorded")
}

#[test]
fn exact_records_add_up_to_the_byte() {
    let (mut run, at) = recording("exact", 3);
    run.alloc(1, 1, at[0], 0x10, 7919, 0);
    run.alloc(1, 2, at[1], 0x20, 104_729, 0);
    run.alloc(1, 3, at[1], 0x30, 1_299_709, 0);
    run.free(1, 4, at[2], 0x20);
    run.free(1, 5, at[2], 0x999);
    run.alloc(1, 6, at[0], 0, 0, 0);
    let profile = run.finish();
    let [first, second, third] = [1, 2, 3].map(|number| line(&profile, APP, number).memory);
    assert_eq!((first.alloc_bytes, first.alloc_count, first.live_bytes), (Some(7919), Some(2), Some(7919)));
    assert_eq!(
        (second.alloc_bytes, second.live_bytes, second.alloc_bytes_se),
        (Some(1_404_438), Some(1_299_709), Some(0.0))
    );
    assert_eq!((third.free_bytes, third.increment_bytes, third.live_bytes), (Some(104_729), Some(-104_729), Some(0)));
    let totals = profile.totals.memory;
    assert_eq!(totals.increment_bytes.map(i64::unsigned_abs), totals.live_bytes);
    assert_eq!(profile.totals.alloc_samples, 4);
}

#[test]
fn the_peak_belongs_to_the_blocks_live_at_it() {
    let (mut run, at) = recording("exact", 4);
    run.alloc(1, 1, at[0], 1, 50_021, 0);
    run.free(1, 2, at[0], 1);
    run.alloc(1, 3, at[1], 2, 30_011, 0);
    run.alloc(1, 4, at[2], 3, 40_009, 0);
    run.alloc(1, 5, at[1], 4, 1_009, 0);
    run.free(1, 6, at[2], 3);
    run.free(1, 7, at[1], 2);
    run.alloc(1, 8, at[3], 5, 60_013, 0);
    run.alloc(1, 9, at[2], 6, 5_003, 0);
    let profile = run.finish();
    let peaks = [1, 2, 3, 4].map(|number| line(&profile, APP, number).memory.peak_bytes.expect("memory"));
    assert_eq!(peaks, [0, 31_020, 40_009, 0]);
    assert_eq!(profile.totals.tracked_peak_bytes, Some(71_029));
    assert_eq!(peaks.iter().sum::<u64>(), 71_029);
    assert_eq!(profile.timeline.live.iter().map(|&(_, bytes)| bytes).max(), Some(71_029));
}

#[test]
fn recursion_that_holds_and_drops_blocks_owns_the_peak_at_its_deepest() {
    let (mut run, at) = recording("exact", 1);
    for size in 1..=10u64 {
        for held in 1..=size {
            run.alloc(1, held, at[0], held, 1021, 0);
        }
        for held in 1..=size {
            run.free(1, held, at[0], held);
        }
    }
    let profile = run.finish();
    assert_eq!(line(&profile, APP, 1).memory.peak_bytes, Some(10_210));
    assert_eq!(live(&profile, 1), 0);
}

#[test]
fn the_teardown_of_an_interpreter_does_not_count_as_freeing() {
    for (how, expected) in [(0, 70_001), (1, 0)] {
        let (mut run, at) = recording("exact", 2);
        run.alloc(1, 1, at[0], 1, 70_001, 0);
        run.alloc(1, 2, at[1], 2, 50_021, 0);
        run.free(1, 3, at[1], 2);
        run.free(1, 4, 0, 1);
        run.leave(1, how, 0);
        assert_eq!(live(&run.finish(), 1), expected);
    }
}

#[test]
fn a_killed_process_keeps_its_figures() {
    let (mut run, at) = recording("exact", 1);
    run.alloc(1, 1, at[0], 1, 70_001, 0);
    run.feed(1, Body::ProcessExit(ProcessExit { signal: Some(9), peak_rss: Some(1 << 20), ..Default::default() }));
    let profile = run.finish();
    assert_eq!(live(&profile, 1), 70_001);
    assert_eq!((profile.processes[0].exit.signal, profile.totals.peak_rss_bytes), (Some(9), Some(1 << 20)));
}

#[test]
fn a_block_at_an_address_that_was_never_freed_replaces_the_lost_one() {
    let (mut run, at) = recording("exact", 2);
    run.alloc(1, 1, at[0], 1, 70_001, 0);
    run.alloc(1, 2, at[1], 1, 50_021, 0);
    let profile = run.finish();
    assert_eq!((live(&profile, 1), live(&profile, 2)), (0, 50_021));
}

#[test]
fn mappings_are_counted_by_the_byte_through_partial_unmaps_and_moves() {
    const PAGE: u64 = 4096;
    let (mut run, at) = recording("sampled", 4);
    map(&mut run, at[0], 0x10_0000, 8 * PAGE, (0, 0), MapFlags::NONE);
    map(&mut run, at[1], 0x20_0000, 100 * PAGE, (0, 0), MapFlags::FILE);
    map(&mut run, at[1], 0x80_0000, 256 * PAGE, (0, 0), MapFlags::ARENA);
    map(&mut run, at[1], 0xa0_0000, 512 * PAGE, (0, 0), MapFlags::RESERVED);
    map(&mut run, at[1], 0xc0_0000, 200 * PAGE, (0xa0_0000, 512 * PAGE), MapFlags::NONE);
    unmap(&mut run, at[2], 0x10_0000 + 3 * PAGE, PAGE);
    map(&mut run, at[3], 0x40_0000, 16 * PAGE, (0x10_0000, 3 * PAGE), MapFlags::NONE);
    let profile = run.finish();
    assert_eq!(live(&profile, 1), 4 * PAGE);
    assert_eq!(line(&profile, APP, 3).memory.free_bytes, Some(PAGE));
    assert_eq!(live(&profile, 4), 16 * PAGE);
    assert_eq!(line(&profile, APP, 4).memory.increment_bytes, Some(13 * PAGE as i64));
    assert_eq!(profile.totals.memory.live_bytes, Some(20 * PAGE));
    assert_eq!(profile.totals.mapped_files_peak_bytes, Some(100 * PAGE));
    assert_eq!(profile.totals.arenas_peak_bytes, Some(256 * PAGE));
    assert!(!file(&profile, APP).lines.iter().any(|line| line.line == 2));
}

#[test]
fn frees_are_credited_to_the_running_line_and_live_bytes_to_the_allocating_one() {
    let (mut run, at) = recording("sampled", 2);
    for block in 0..100u64 {
        run.alloc(1, block, at[0], block + 1, 100, T);
    }
    for block in 0..50u64 {
        run.free(1, 100 + block, at[1], block + 1);
    }
    let profile = run.finish();
    let (giver, taker) = (line(&profile, APP, 1).memory, line(&profile, APP, 2).memory);
    let (live, freed) = (giver.live_bytes.expect("memory"), taker.free_bytes.expect("memory"));
    assert!(live.abs_diff(freed) <= 1 && giver.free_bytes == Some(0), "{giver:?} {taker:?}");
    let (alloc_se, live_se) = (giver.alloc_bytes_se.expect("memory"), giver.live_bytes_se.expect("memory"));
    // Two more than the samples that there were: 100 and 50.
    assert!((alloc_se / live_se - (102f64 / 52.0).sqrt()).abs() < 1e-9);
}

#[test]
fn copies_have_a_standard_error() {
    let (mut run, at) = recording("sampled", 2);
    let weigh = |bytes: f64| (bytes / (1.0 - (-bytes / wire::COPY_INTERVAL as f64).exp())) as u64;
    for (stack, copies, size) in [(at[0], 40, 1 << 20), (at[1], 8, 64 << 20)] {
        for _ in 0..copies {
            let weight = weigh(f64::from(size));
            run.feed(1, Body::Copy(wire::Copy { stack, weight, ..Default::default() }));
        }
    }
    let profile = run.finish();
    let (small, large) = (line(&profile, APP, 1).memory, line(&profile, APP, 2).memory);
    let share = small.copy_bytes_se.expect("measured") / small.copy_bytes.expect("measured") as f64;
    // 40 samples of a probability of 0.22 each: sqrt(0.78 / 40), and two samples for the error of few.
    assert!((0.13..0.15).contains(&share), "{share}");
    assert!(large.copy_bytes_se.expect("measured") < 2e-4 * large.copy_bytes.expect("measured") as f64, "{large:?}");
    let both = profile.totals.memory.copy_bytes_se.expect("measured") / small.copy_bytes_se.expect("measured");
    assert!((0.95..=1.0).contains(&both), "{both}");
}

#[test]
fn copies_and_python_bytes_land_on_the_running_line() {
    let (mut run, at) = recording("sampled", 2);
    run.feed(1, Body::Copy(wire::Copy { stack: at[1], weight: 123_457, ..Default::default() }));
    let alloc = wire::Alloc { stack: at[0], address: 9, size: 500, interval: 0, ..Default::default() };
    run.feed(1, Body::Alloc { alloc, flags: wire::AllocFlags::CERTAIN.and(wire::AllocFlags::PYTHON) });
    run.alloc(1, 3, at[0], 10, 300_007, 0);
    let profile = run.finish();
    assert_eq!(line(&profile, APP, 2).memory.copy_bytes, Some(123_457));
    // A line without a sampled copy has no error; a copy far above the mean distance of samples is always sampled.
    assert_eq!(line(&profile, APP, 1).memory.copy_bytes_se, Some(0.0));
    let first = line(&profile, APP, 1).memory;
    assert_eq!((first.python_alloc_bytes, first.alloc_bytes), (Some(500), Some(300_507)));
    let whole = function(&profile, APP, "<module>").cumulative.alloc_bytes;
    assert_eq!(whole, Some(300_507));
}

#[test]
fn memory_that_was_not_recorded_is_unknown_and_not_zero() {
    let (mut run, _) = recording("off", 1);
    let main = run.code(1, APP, "main", 1);
    let stack = run.stack(1, &[(main, 0)]);
    run.samples(1, 1, stack, 0, 20);
    let profile = run.finish();
    let line = line(&profile, APP, 1);
    assert_eq!(line.memory, rscalene::profile::model::Memory::default());
    assert_eq!((line.time.python_s, profile.leaks), (None, None));
}

/// The shim's sampler: a block of `size` bytes is recorded with probability `1 - exp(-size / T)`.
fn sampled(dice: &mut Rng, size: u64, interval: u64) -> bool {
    dice.f64() < -(-(size as f64) / interval as f64).exp_m1()
}

#[test]
fn estimates_are_unbiased_and_their_intervals_hold_the_truth() {
    const RUNS: u64 = 1000;
    let mut dice = Rng::with_seed(20_261_121);
    let (mut sum, mut squares) = (0.0, 0.0);
    let mut held = [0u64; 3];
    // Small blocks, medium ones, and an interval that adapts on the way; the last third is freed again at once, so the
    // peak stands where it begins.
    let blocks: Vec<(u64, u64, f64, bool)> = (0..9000u64)
        .map(|block| {
            let size = [48, 3001, 613][(block % 3) as usize] * (1 + block % 5);
            let interval = if block < 4000 { 16_384 } else { 65_536 };
            (size, interval, -(-(size as f64) / interval as f64).exp_m1(), block >= 6000)
        })
        .collect();
    let bytes = |held: &dyn Fn(bool) -> bool| -> f64 {
        blocks.iter().filter(|block| held(block.3)).map(|block| block.0 as f64).sum()
    };
    let truth = [bytes(&|_| true), bytes(&|freed| !freed), bytes(&|freed| !freed)];
    for _ in 0..RUNS {
        let (mut run, at) = recording("sampled", 1);
        for (block, &(size, interval, chance, freed)) in blocks.iter().enumerate() {
            let block = block as u64;
            if dice.f64() < chance {
                run.alloc(1, block, at[0], block + 1, size, interval);
                if freed {
                    run.free(1, block, at[0], block + 1);
                }
            }
        }
        let profile = run.finish();
        let memory = line(&profile, APP, 1).memory;
        let estimates = [
            (memory.alloc_bytes, memory.alloc_bytes_se),
            (memory.live_bytes, memory.live_bytes_se),
            (memory.peak_bytes, memory.peak_bytes_se),
        ];
        for (number, (bytes, error)) in estimates.into_iter().enumerate() {
            let (bytes, error) = (bytes.expect("memory") as f64, error.expect("memory"));
            // The peak of the estimate may stand a block later than the truth's: up to one freed block is in it.
            let slack = if number == 2 { 2.0 * T as f64 } else { 0.0 };
            held[number] += u64::from((bytes - truth[number]).abs() <= 1.96 * error + slack);
        }
        let relative = memory.alloc_bytes.expect("memory") as f64 / truth[0] - 1.0;
        sum += relative;
        squares += relative * relative;
    }
    let mean = sum / RUNS as f64;
    let sigma = (squares / RUNS as f64).sqrt() / (RUNS as f64).sqrt();
    assert!(mean.abs() < 3.5 * sigma, "bias {mean}, sigma {sigma}");
    for (name, held) in ["alloc", "live", "peak"].iter().zip(held) {
        assert!(held >= 930, "{name}: {held} of {RUNS} intervals hold {truth:?}");
    }
}

#[test]
fn a_leak_is_listed_and_a_cache_and_churn_are_not() {
    let mut dice = Rng::with_seed(7);
    let (mut run, at) = recording("sampled", 4);
    let mut address = 0;
    let mut block = |run: &mut Recording, time, stack, size| {
        address += 1;
        let interval = if size >= 4 * T { 0 } else { T };
        if interval == 0 || sampled(&mut dice, size, interval) {
            run.alloc(1, time, stack, address, size, interval);
        }
        address
    };
    for step in 0..4000u64 {
        let time = step * 2 * MS;
        block(&mut run, time, at[0], 10_007);
        if step < 1500 {
            block(&mut run, time, at[1], 20_011);
        }
        let churned = block(&mut run, time, at[2], 1_000_003);
        run.free(1, time, at[2], churned);
        if step == 100 {
            block(&mut run, time, at[3], 50_000_017);
        }
    }
    let profile = run.finish();
    let leaks = profile.leaks.as_ref().expect("memory was recorded");
    assert_eq!(leaks.iter().map(|leak| leak.line).collect::<Vec<_>>(), [1], "{leaks:?}");
    let truth = 10_007.0 / 0.002;
    assert!((leaks[0].bytes_per_s / truth - 1.0).abs() < 0.15, "{leaks:?}");
    assert!(leaks[0].confidence > 0.99 && leaks[0].live_bytes == live(&profile, 1));
}

#[test]
fn memory_held_by_a_single_unfinished_call_is_no_leak() {
    // `model.fit(x)` grows for a second in one call; a loop with the same blocks leaves the line each time.
    let leaks = |loops: bool| {
        let mut run = Recording::new("off", "exact");
        run.process(1, 0);
        let main = run.code(1, APP, "<module>", 1);
        let library = run.code(1, "/usr/lib/python3.12/forest.py", "fit", 1);
        let fit = run.stack(1, &[(library, 0), (main, 0)]);
        let other = run.stack(1, &[(main, 1)]);
        for step in 0..1000 {
            run.alloc(1, step * MS, fit, step + 1, 10_007, 0);
            if loops && step % 10 == 0 {
                run.alloc(1, step * MS, other, 1 << 40, 16, 0);
            }
        }
        run.finish().leaks.expect("memory was recorded").len()
    };
    assert_eq!((leaks(false), leaks(true)), (0, 1));
}

#[test]
fn bytes_of_processes_add_up_and_footprints_do_not() {
    let mut run = Recording::new("off", "exact");
    for (pid, rss) in [(1, 5 << 20), (2, 9 << 20)] {
        run.process(pid, 0);
        let main = run.code(pid, APP, "<module>", 1);
        let stack = run.stack(pid, &[(main, 0)]);
        run.feed(pid, Body::Rss { time_ns: 10 * u64::from(pid), bytes: rss, files: rss / 2, most: 0 });
        run.alloc(pid, 10 * u64::from(pid) + 1, stack, 64, 1_000_003, 0);
    }
    let profile = run.finish();
    let memory = line(&profile, APP, 1).memory;
    assert_eq!((memory.live_bytes, memory.mem_usage_bytes), (Some(2_000_006), Some(9 << 20)));
    assert_eq!(profile.totals.peak_rss_bytes, Some(9 << 20));
    assert_eq!(profile.totals.resident_files_peak_bytes, Some(9 << 19));
    assert_eq!(profile.timeline.rss.last().map(|&(_, bytes)| bytes), Some(14 << 20));
    let live = |share: &rscalene::profile::model::ProcessShare| share.memory.live_bytes;
    assert_eq!(line(&profile, APP, 1).by_process.iter().map(live).collect::<Vec<_>>(), [Some(1_000_003); 2]);
}

#[test]
fn a_block_whose_realloc_fails_stays_live() {
    let (mut run, at) = recording("exact", 3);
    let end = |stack, address, tid, how| {
        Body::Free(wire::Free { time_ns: 2, stack, address, tid, how, ..Default::default() })
    };
    run.alloc(1, 1, at[0], 1, 70_001, 0);
    run.alloc(1, 1, at[0], 2, 90_001, 0);
    run.feed(1, end(at[1], 1, 7, wire::FreeHow::RESIZED));
    // Another thread gets the address before the answer is known.
    run.feed(1, end(at[1], 2, 8, wire::FreeHow::RESIZED));
    run.alloc(1, 3, at[2], 2, 50_021, 0);
    run.feed(1, end(at[1], 1, 7, wire::FreeHow::REFUSED));
    run.feed(1, end(at[1], 2, 9, wire::FreeHow::REFUSED));
    let profile = run.finish();
    assert_eq!([1, 2, 3].map(|number| live(&profile, number)), [70_001, 0, 50_021]);
    assert_eq!(line(&profile, APP, 2).memory.free_bytes, Some(90_001));
}

#[test]
fn finalizers_that_run_in_the_teardown_do_not_move_the_end() {
    let (mut run, at) = recording("exact", 2);
    run.alloc(1, 1, at[0], 1, 70_001, 0);
    run.feed(1, Body::Teardown(wire::Teardown { time_ns: 2 }));
    run.free(1, 3, 0, 1);
    run.alloc(1, 4, at[1], 2, 50_021, 0);
    run.samples(1, 1, at[1], 0, 1);
    run.leave(1, 0, 0);
    let profile = run.finish();
    assert_eq!([1, 2].map(|number| live(&profile, number)), [70_001, 0]);
    assert_eq!(profile.totals.memory.live_bytes, Some(70_001));
}

#[test]
fn the_largest_footprint_stays_when_a_smaller_one_follows() {
    let mut run = Recording::new("off", "exact");
    for (pid, footprints) in [(1, [9, 5]), (2, [4, 2])] {
        run.process(pid, 0);
        let main = run.code(pid, APP, "<module>", 1);
        let stack = run.stack(pid, &[(main, 0)]);
        for (at, mib) in (1..).zip(footprints) {
            let time_ns = 10 * at;
            run.feed(pid, Body::Rss { time_ns, bytes: mib << 20, files: (mib << 20) / 4, most: 0 });
            run.alloc(pid, time_ns + 1, stack, 64 * at, 1_000, 0);
        }
    }
    let profile = run.finish();
    assert_eq!(line(&profile, APP, 1).memory.mem_usage_bytes, Some(9 << 20));
    let peaks: Vec<_> = profile.processes.iter().map(|process| process.peak_rss_bytes).collect();
    assert_eq!(peaks, [Some(9 << 20), Some(4 << 20)]);
    assert_eq!(profile.totals.peak_rss_bytes, Some(9 << 20));
    assert_eq!(profile.totals.resident_files_peak_bytes, Some(9 << 18));
    assert_eq!(profile.timeline.rss.last().map(|&(_, bytes)| bytes), Some(7 << 20));
}

#[test]
fn a_moment_near_a_limit_names_its_process_and_the_largest_lines() {
    let mut run = Recording::new("off", "exact");
    let near = |time_ns, limit| Body::NearLimit(NearLimit { time_ns, limit, used_bytes: 90, limit_bytes: 100 });
    for pid in [1, 2, 3] {
        run.process(pid, 0);
        let main = run.code(pid, APP, "<module>", 1);
        for held in 0..u64::from(pid) {
            let stack = run.stack(pid, &[(main, held as u32)]);
            run.alloc(pid, 10 + held, stack, 64 * (1 + held), 1_000 * (1 + held), 0);
        }
    }
    run.feed(3, near(30, Limit::Cgroup));
    run.feed(2, near(20, Limit::Machine));
    // A later moment of the same process and limit takes the place of the earlier one.
    run.feed(2, near(40, Limit::Machine));
    let profile = run.finish();
    let told: Vec<_> = profile
        .near_limits
        .iter()
        .map(|near| {
            let held: Vec<_> = near.lines.iter().map(|held| (held.file, held.line, held.live_bytes)).collect();
            (near.limit.as_str(), profile.processes[near.process].pid, held)
        })
        .collect();
    let third = vec![(0, 3, 3_000), (0, 2, 2_000), (0, 1, 1_000)];
    assert_eq!(told, [("cgroup", 3, third), ("machine", 2, vec![(0, 2, 2_000), (0, 1, 1_000)])]);
    assert_eq!(profile.near_limits.iter().map(|near| near.at_s).collect::<Vec<_>>(), [30e-9, 40e-9]);
}

#[test]
fn memory_that_the_kernel_refuses_to_unmap_stays_with_its_line() {
    for flags in [MapFlags::NONE, MapFlags::MOVES] {
        let (mut run, at) = recording("sampled", 2);
        map(&mut run, at[0], 0x10_0000, 0x4000, (0, 0), MapFlags::NONE);
        map(&mut run, at[1], 0x10_4000, 0x4000, (0, 0), MapFlags::NONE);
        end(&mut run, MapChange::UNMAPPED, at[1], 0x10_2000, 0x4000, flags);
        end(&mut run, MapChange::REFUSED, at[1], 0x10_2000, 0x4000, flags);
        let profile = run.finish();
        assert_eq!((live(&profile, 1), live(&profile, 2)), (0x4000, 0x4000));
        assert_eq!(line(&profile, APP, 2).memory.free_bytes, Some(0));
    }
}

#[test]
fn an_address_that_another_thread_maps_during_a_move_is_that_threads() {
    let (mut run, at) = recording("sampled", 3);
    map(&mut run, at[0], 0x10_0000, 0x4000, (0, 0), MapFlags::FILE);
    end(&mut run, MapChange::UNMAPPED, at[0], 0x10_0000, 0x4000, MapFlags::MOVES);
    map(&mut run, at[1], 0x10_0000, 0x4000, (0, 0), MapFlags::NONE);
    map(&mut run, at[0], 0x20_0000, 0x8000, (0x10_0000, 0x4000), MapFlags::NONE);
    // The moved memory is still a file's, and no line's.
    map(&mut run, at[2], 0x40_0000, 0x2000, (0, 0), MapFlags::NONE);
    let profile = run.finish();
    assert_eq!((live(&profile, 2), live(&profile, 3)), (0x4000, 0x2000));
    assert_eq!(profile.totals.memory.live_bytes, Some(0x6000));
}

#[test]
fn a_refusal_long_after_its_record_changes_nothing() {
    let (mut run, at) = recording("sampled", 1);
    map(&mut run, at[0], 0x10_0000, 0x4000, (0, 0), MapFlags::NONE);
    unmap(&mut run, at[0], 0x10_0000, 0x4000);
    map(&mut run, at[0], 0x10_0000, 0x4000, (0, 0), MapFlags::NONE);
    end(&mut run, MapChange::REFUSED, at[0], 0x20_0000, 0x4000, MapFlags::NONE);
    assert_eq!(live(&run.finish(), 1), 0x4000);
}
