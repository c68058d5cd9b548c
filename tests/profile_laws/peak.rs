//! Laws of the builder about the peak: one moment for all processes, that of the highest footprint.

use super::recording::{Recording, line};
use rscalene::profile::model::Profile;
use rscalene::transport::event::Body;
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
