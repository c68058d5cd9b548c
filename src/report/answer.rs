//! The two answers that every report gives: the slowest line, and the line that held most of the memory peak.
//!
//! Job: choose both lines once, so that terminal, page, notebook and summary name the same lines. Invariants: the
//! slowest line is the line in scope with the most CPU time (waits do not count); if the figure was not measured, the
//! answer says so. Neighbours: `table::closing` prints the sentences, `html::findings` shows the cards.

use super::bars::{CPU_KINDS, parts};
use super::view::{Place, SortKey, cpu_s, is_foreign, largest, share};
use crate::profile::model::{Profile, Time};

/// If the slowest line has fewer CPU samples than this, another line may be equally slow.
pub(crate) const FEW_SAMPLES: u64 = 5;

/// The line with the most CPU time.
pub(crate) struct Slowest<'p> {
    /// File and line.
    pub(crate) place: Place<'p>,
    /// CPU seconds.
    pub(crate) cpu_s: f64,
    /// Share of the CPU time of the run; `None` if unknown.
    pub(crate) share: Option<f64>,
    /// Whether the line has fewer than [`FEW_SAMPLES`] samples.
    pub(crate) unsure: bool,
}

/// The line that held most of the bytes live at the peak.
pub(crate) struct PeakOwner<'p> {
    /// File and line.
    pub(crate) place: Place<'p>,
    /// Bytes that the line held at the peak.
    pub(crate) bytes: u64,
}

/// The slowest line in scope; `None` if no line in scope has CPU time.
pub(crate) fn slowest(profile: &Profile) -> Option<Slowest<'_>> {
    let (place, seconds) = largest(profile, SortKey::Cpu, 1).into_iter().next()?;
    let all = cpu_s(&profile.totals.time).unwrap_or(0.0);
    let samples = place.line.cpu_samples;
    Some(Slowest {
        place,
        cpu_s: seconds,
        share: share(Some(seconds), all),
        unsure: samples < FEW_SAMPLES && !is_foreign(profile),
    })
}

/// The owner of the peak; `None` if memory was not profiled, or if no line in scope held memory.
pub(crate) fn peak_owner(profile: &Profile) -> Option<PeakOwner<'_>> {
    let (place, _) = largest(profile, SortKey::PEAK, 1).into_iter().next()?;
    Some(PeakOwner { place, bytes: place.line.memory.peak_bytes? })
}

/// The line with the most queries; `None` if no line in scope has a query.
pub(crate) fn asks_most(profile: &Profile) -> Option<Place<'_>> {
    let places = profile.files.iter().flat_map(|file| file.lines.iter().map(move |line| Place { file, line }));
    let asking = places.filter(|place| place.line.sql_count.is_some_and(|count| count > 0));
    // Of lines with equally many queries, the first.
    asking.reduce(|most, next| if next.line.sql_count > most.line.sql_count { next } else { most })
}

/// Whether memory was profiled.
pub(crate) fn memory_was_profiled(profile: &Profile) -> bool {
    !matches!(profile.settings.memory.mode.as_str(), "off" | "")
}

/// The kind with at least half of a line's CPU time, e.g. `mostly in the kernel`; `None` if no kind has half of it.
pub(crate) fn mostly(time: &Time) -> Option<&'static str> {
    const PHRASES: [[&str; 2]; CPU_KINDS] = [
        ["mostly Python code", "nearly all Python code"],
        ["mostly native code", "nearly all native code"],
        ["mostly native helper threads", "nearly all native helper threads"],
        ["mostly in the kernel", "nearly all in the kernel"],
    ];
    let cpu = cpu_s(time).filter(|cpu| *cpu > 0.0)?;
    let kinds = parts(time).into_iter().zip(PHRASES);
    kinds
        .filter_map(|(part, [most, all])| {
            let part = part? / cpu;
            (part >= 0.5).then_some(if part >= 0.9 { all } else { most })
        })
        .next()
}
