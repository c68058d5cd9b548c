//! Laws of the builder about the peak: one moment for all processes, that of the highest footprint.

use super::recording::{Recording, line};
use rscalene::profile::model::Profile;
use rscalene::transport::event::{Body, ProcessExit};
use rscalene_wire as wire;

const APP: &str = "/w/app.py";
const MIB: u64 = 1 << 20;
const MS: u64 = 1_000_000;

/// A recording with one process, and stacks on the lines 1 to `lines` of the program.
fn recording(lines: u32) -> (Recording, Vec<u64>) {
    let mut run = Recording::new("off", "exact");
    run.process(1, 0);
    let main = run.code(1, APP, "<module>", 1);
    let stacks = (0..lines).map(|number| run.stack(1, &[(main, number)])).collect();
    (run, stacks)
}

/// The footprint of a process was read, and the kernel's high-water mark, in MiB.
fn read(run: &mut Recording, pid: u32, ms: u64, mib: u64, most: u64) {
    run.feed(pid, Body::Rss { time_ns: ms * MS, bytes: mib * MIB, files: 0, most: most * MIB });
}

fn peaks<const N: usize>(profile: &Profile, lines: [u32; N]) -> [u64; N] {
    lines.map(|number| line(profile, APP, number).memory.peak_bytes.expect("memory was recorded") / MIB)
}

#[test]
fn the_peak_is_the_moment_of_the_highest_footprint_and_not_of_most_bytes_asked_for() {
    let (mut run, at) = recording(2);
    read(&mut run, 1, 1, 10, 10);
    run.alloc(1, 2 * MS, at[0], 1, 200 * MIB, 0);
    read(&mut run, 1, 10, 10, 10);
    run.free(1, 20 * MS, 0, 1);
    run.alloc(1, 30 * MS, at[1], 2, 120 * MIB, 0);
    read(&mut run, 1, 40, 131, 131);
    run.free(1, 50 * MS, 0, 2);
    read(&mut run, 1, 60, 11, 131);
    let profile = run.finish();
    assert_eq!(peaks(&profile, [1, 2]), [0, 120]);
    let totals = &profile.totals;
    assert_eq!((totals.footprint_peak_bytes, totals.footprint_peak_at_s), (Some(131 * MIB), Some(0.04)));
    assert_eq!((totals.tracked_peak_bytes, totals.most_allocated_bytes), (Some(120 * MIB), Some(200 * MIB)));
}

#[test]
fn a_peak_between_two_readings_is_known_by_the_kernels_mark() {
    let (mut run, at) = recording(2);
    run.alloc(1, MS, at[0], 1, 60 * MIB, 0);
    read(&mut run, 1, 10, 70, 70);
    run.free(1, 11 * MS, 0, 1);
    run.alloc(1, 12 * MS, at[1], 2, 90 * MIB, 0);
    run.free(1, 13 * MS, 0, 2);
    read(&mut run, 1, 20, 10, 100);
    run.alloc(1, 30 * MS, at[0], 3, 300 * MIB, 0);
    run.free(1, 31 * MS, 0, 3);
    read(&mut run, 1, 40, 10, 100);
    let profile = run.finish();
    assert_eq!(peaks(&profile, [1, 2]), [0, 90]);
    assert_eq!(profile.totals.footprint_peak_bytes, Some(100 * MIB));
    assert_eq!(profile.totals.footprint_peak_at_s, Some(0.012));
}

#[test]
fn readings_apply_to_the_records_of_their_time_however_late_these_come() {
    let (mut run, at) = recording(2);
    read(&mut run, 1, 10, 60, 60);
    read(&mut run, 1, 20, 20, 60);
    run.alloc(1, 5 * MS, at[0], 1, 50 * MIB, 0);
    run.free(1, 15 * MS, 0, 1);
    run.alloc(1, 16 * MS, at[1], 2, 10 * MIB, 0);
    assert_eq!(peaks(&run.finish(), [1, 2]), [50, 0]);
}

#[test]
fn of_moments_with_the_same_footprint_the_peak_is_the_one_with_most_live_bytes() {
    let (mut run, at) = recording(2);
    run.alloc(1, MS, at[0], 1, 90 * MIB, 0);
    read(&mut run, 1, 10, 100, 100);
    // The allocator keeps what was freed.
    run.free(1, 20 * MS, 0, 1);
    run.alloc(1, 21 * MS, at[1], 2, MIB, 0);
    read(&mut run, 1, 30, 101, 101);
    assert_eq!(peaks(&run.finish(), [1, 2]), [90, 0]);
}

#[test]
fn what_was_freed_shortly_before_a_reading_owns_the_peak_if_the_footprint_stayed() {
    // With a rise of 1 MiB the allocator kept the freed block; a rise of 60 MiB made most of the footprint itself.
    for (rise, owners) in [(1, [90, 0]), (60, [0, 60])] {
        let (mut run, at) = recording(2);
        read(&mut run, 1, 1, 10, 10);
        run.alloc(1, 2 * MS, at[0], 1, 90 * MIB, 0);
        run.free(1, 3 * MS, 0, 1);
        run.alloc(1, 4 * MS, at[1], 2, rise * MIB, 0);
        read(&mut run, 1, 10, 100, 100);
        let profile = run.finish();
        assert_eq!(peaks(&profile, [1, 2]), owners);
        assert_eq!(profile.totals.footprint_peak_bytes, Some(100 * MIB));
    }
}

#[test]
fn processes_have_one_moment_together_and_the_dead_hold_nothing() {
    let mut run = Recording::new("off", "exact");
    for pid in 1..=9 {
        run.process(pid, u32::from(pid > 1));
        let main = run.code(pid, APP, "<module>", 1);
        let at = [0, 1].map(|number| run.stack(pid, &[(main, number)]));
        let ms = u64::from(pid) * 100;
        if pid == 1 {
            run.alloc(pid, ms * MS, at[0], 1, 20 * MIB, 0);
            read(&mut run, pid, ms, 30, 30);
            continue;
        }
        run.alloc(pid, ms * MS, at[1], 1, 50 * MIB, 0);
        read(&mut run, pid, ms + 1, 60, 60);
        let (time_ns, how) = ((ms + 50) * MS, wire::EndedBy::UNDERSCORE_EXIT);
        let end = wire::ProcessEnd { time_ns, how, peak_rss: 60 * MIB, ..Default::default() };
        run.feed(pid, Body::ProcessEnd(end));
    }
    let profile = run.finish();
    assert_eq!(peaks(&profile, [1, 2]), [20, 50]);
    assert_eq!(profile.totals.footprint_peak_bytes, Some(90 * MIB));
    assert_eq!(profile.totals.memory.live_bytes, Some(20 * MIB));
    assert_eq!(profile.timeline.rss.iter().map(|&(_, bytes)| bytes).max(), Some(90 * MIB));
    assert_eq!(profile.timeline.live.iter().map(|&(_, bytes)| bytes).max(), Some(70 * MIB));
}

/// The page tables were looked at: stretches without pages, in MiB; and the footprint was read.
fn look<const N: usize>(run: &mut Recording, ms: u64, untouched: [(u64, u64); N], mib: u64) {
    let ranges = untouched.map(|(at, bytes)| (at * MIB, bytes * MIB)).into();
    run.feed(1, Body::Untouched { time_ns: ms * MS, ranges });
    read(run, 1, ms, mib, mib);
}

#[test]
fn a_block_that_the_program_was_filling_at_a_reading_was_full_a_moment_later() {
    for untouched in [1, 200] {
        let (mut run, at) = recording(4);
        look(&mut run, 1, [], 10);
        run.alloc(1, 2 * MS, at[3], 900 * MIB, untouched * MIB, 0);
        look(&mut run, 10, [(900, untouched)], 10);
        run.alloc(1, 11 * MS, at[0], 1200 * MIB, 31 * MIB, 0);
        read(&mut run, 1, 20, 41, 41);
        run.alloc(1, 21 * MS, at[1], 1300 * MIB, 29 * MIB, 0);
        read(&mut run, 1, 30, 45, 45);
        run.free(1, 31 * MS, 0, 1200 * MIB);
        run.free(1, 32 * MS, 0, 1300 * MIB);
        run.alloc(1, 33 * MS, at[2], 1400 * MIB, 41 * MIB, 0);
        read(&mut run, 1, 40, 20, 70);
        assert_eq!(peaks(&run.finish(), [1, 2, 3, 4]), [31, 29, 0, 0]);
    }
}

#[test]
fn what_was_never_touched_does_not_choose_the_moment_of_the_peak() {
    let (mut run, at) = recording(2);
    look(&mut run, 1, [], 10);
    run.alloc(1, 2 * MS, at[0], 300 * MIB, 200 * MIB, 0);
    look(&mut run, 10, [(300, 200)], 10);
    read(&mut run, 1, 20, 10, 10);
    run.free(1, 21 * MS, 0, 300 * MIB);
    run.alloc(1, 22 * MS, at[1], 600 * MIB, 50 * MIB, 0);
    run.free(1, 23 * MS, 0, 600 * MIB);
    read(&mut run, 1, 30, 10, 60);
    assert_eq!(peaks(&run.finish(), [1, 2]), [0, 50]);
}

#[test]
fn untouched_memory_has_no_share_of_the_peak() {
    let (mut run, at) = recording(3);
    look(&mut run, 1, [], 10);
    run.alloc(1, 2 * MS, at[0], 300 * MIB, 200 * MIB, 0);
    look(&mut run, 10, [(300, 200)], 10);
    run.alloc(1, 20 * MS, at[1], 600 * MIB, 120 * MIB, 0);
    run.alloc(1, 21 * MS, at[2], 800 * MIB, 50 * MIB, 0);
    look(&mut run, 30, [(300, 200), (810, 40)], 140);
    run.free(1, 40 * MS, 0, 600 * MIB);
    run.free(1, 41 * MS, 0, 300 * MIB);
    look(&mut run, 50, [(810, 40)], 20);
    let profile = run.finish();
    assert_eq!(peaks(&profile, [1, 2, 3]), [0, 120, 10]);
    let totals = &profile.totals;
    assert_eq!((totals.tracked_peak_bytes, totals.untouched_peak_bytes), (Some(130 * MIB), Some(240 * MIB)));
    assert_eq!(totals.most_allocated_bytes, Some(370 * MIB));
    assert_eq!(line(&profile, APP, 1).memory.alloc_bytes, Some(200 * MIB));
}

#[test]
fn growth_of_the_footprint_between_looks_fills_the_youngest_blocks_first() {
    let (mut run, at) = recording(3);
    look(&mut run, 1, [], 10);
    run.alloc(1, 2 * MS, at[0], 300 * MIB, 200 * MIB, 0);
    run.alloc(1, 3 * MS, at[1], 600 * MIB, 120 * MIB, 0);
    // Half filled when it was looked at; full, and gone, before the next reading.
    look(&mut run, 10, [(300, 200), (660, 60)], 70);
    run.alloc(1, 12 * MS, at[2], 900 * MIB, 30 * MIB, 0);
    run.free(1, 15 * MS, 0, 900 * MIB);
    run.free(1, 16 * MS, 0, 600 * MIB);
    read(&mut run, 1, 20, 10, 160);
    let profile = run.finish();
    assert_eq!(peaks(&profile, [1, 2, 3]), [0, 120, 30]);
    assert_eq!(profile.totals.untouched_peak_bytes, Some(200 * MIB));
}

#[test]
fn blocks_touched_at_the_peak_stay_known_after_thousands_of_later_blocks() {
    let (mut run, at) = recording(2);
    run.alloc(1, 2 * MS, at[0], 300 * MIB, 200 * MIB, 0);
    look(&mut run, 10, [(350, 150)], 60);
    for number in 0..40_000 {
        run.alloc(1, (11 + number) * MS, at[1], 900 * MIB, MIB, 0);
        run.free(1, (11 + number) * MS, 0, 900 * MIB);
    }
    read(&mut run, 1, 50_000, 20, 60);
    assert_eq!(peaks(&run.finish(), [1, 2]), [50, 0]);
}

#[test]
fn memory_mapped_without_reserve_counts_as_it_is_touched() {
    let (mut run, at) = recording(1);
    let map = wire::Map {
        time_ns: 10,
        stack: at[0],
        address: 1024 * MIB,
        size: 1024 * MIB,
        change: wire::MapChange::MAPPED,
        ..Default::default()
    };
    run.feed(1, Body::Map { map, flags: wire::MapFlags::LAZY });
    look(&mut run, 1, [(1032, 1016)], 20);
    // No record comes between the look and the end of the program's own code.
    run.feed(1, Body::Teardown(wire::Teardown { time_ns: 5 * MS }));
    run.alloc(1, 6 * MS, 0, 7, 100, 0);
    let profile = run.finish();
    let memory = line(&profile, APP, 1).memory;
    assert_eq!([memory.alloc_bytes, memory.live_bytes, memory.peak_bytes], [Some(8 * MIB); 3]);
}

#[test]
fn pages_that_a_fork_shares_with_its_parent_count_once() {
    let (mut run, at) = recording(1);
    run.alloc(1, MS, at[0], 1, 200 * MIB, 0);
    read(&mut run, 1, 10, 210, 210);
    for child in 2..8 {
        let flags = wire::ProcessFlags::FORKED;
        let start =
            wire::ProcessStart { pid: child, parent: 1, python_version: 0x030c_01f0, flags, ..Default::default() };
        run.feed(child, Body::ProcessStart(start));
        run.feed(child, Body::Shared { time_ns: 20 * MS, bytes: 205 * MIB });
        read(&mut run, child, 20, 210, 210);
    }
    // One of them takes 30 MiB for itself; its mark holds what it shares, too.
    read(&mut run, 7, 30, 240, 240);
    let profile = run.finish();
    assert_eq!(profile.totals.footprint_peak_bytes, Some((210 + 6 * 5 + 30) * MIB));
    assert_eq!(profile.timeline.rss.iter().map(|point| point.1).max(), Some((210 + 6 * 5 + 30) * MIB));
    assert_eq!(peaks(&profile, [1]), [200]);
}

#[test]
fn shared_blocks_belong_to_the_fork_once_its_parent_has_ended() {
    let (mut run, _) = recording(1);
    read(&mut run, 1, 10, 100, 100);
    let flags = wire::ProcessFlags::FORKED;
    let start = wire::ProcessStart { pid: 2, parent: 1, python_version: 0x030c_01f0, flags, ..Default::default() };
    run.feed(2, Body::ProcessStart(start));
    run.feed(2, Body::Shared { time_ns: 20 * MS, bytes: 90 * MIB });
    read(&mut run, 2, 20, 95, 100);
    run.feed(1, Body::ProcessExit(ProcessExit { time_ns: 30 * MS, ..ProcessExit::default() }));
    read(&mut run, 2, 40, 300, 300);
    assert_eq!(run.finish().totals.footprint_peak_bytes, Some(300 * MIB));
}
