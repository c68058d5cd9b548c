//! How the lines of a merged profile differ between its groups, for the text and the page.
//!
//! Job: choose and format the rows. Invariant: lines are sorted by the figure of their largest group, the largest
//! first. Neighbours: `profile::merge` compares the groups, `table::spread` and `html::spread` do the layout.

use crate::profile::model::{LineSpread, Merge, Profile, Range};
use crate::units;

/// The table of one figure.
pub(super) struct SpreadTable<'p> {
    /// `CPU`, `Waiting`, `Allocated` or `Peak`.
    pub(super) name: &'static str,
    pub(super) rows: Vec<SpreadRow<'p>>,
}

/// A line with its figures as text.
pub(super) struct SpreadRow<'p> {
    /// Index of its file.
    pub(super) file: usize,
    pub(super) line: u32,
    /// Smallest, median and largest figure of the groups.
    pub(super) range: [String; 3],
    /// Largest divided by mean, e.g. `x2.01`.
    pub(super) imbalance: String,
    /// The group with the largest figure.
    pub(super) highest: &'p str,
}

/// The tables of a merged profile that have rows; empty for other profiles.
pub(super) fn tables(profile: &Profile) -> Vec<SpreadTable<'_>> {
    let Some(merge) = profile.merge.as_deref() else { return Vec::new() };
    let all = [
        table(merge, "CPU", |line| line.cpu_s, units::seconds),
        table(merge, "Waiting", |line| line.wait_s, units::seconds),
        table(merge, "Allocated", |line| line.alloc_bytes, units::bytes),
        table(merge, "Peak", |line| line.peak_bytes, units::bytes),
    ];
    all.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

fn table<'p, T: Copy + PartialOrd>(
    merge: &'p Merge,
    name: &'static str,
    range: impl Fn(&LineSpread) -> Option<Range<T>>,
    spell: impl Fn(T) -> String,
) -> SpreadTable<'p> {
    let mut found: Vec<(&LineSpread, Range<T>)> =
        merge.spread.lines.iter().filter_map(|line| Some((line, range(line)?))).collect();
    found.sort_by(|(_, left), (_, right)| right.max.partial_cmp(&left.max).unwrap_or(std::cmp::Ordering::Equal));
    let row = |(line, range): (&LineSpread, Range<T>)| SpreadRow {
        file: line.file,
        line: line.line,
        range: [range.min, range.median, range.max].map(&spell),
        imbalance: format!("x{:.2}", range.imbalance),
        highest: merge.spread.groups.get(range.highest).map_or("", String::as_str),
    };
    SpreadTable { name, rows: found.into_iter().map(row).collect() }
}

/// A description of the comparison, e.g. `8 runs, 4 ranks; every peak is that of rank 3, the highest`.
pub(super) fn remark(merge: &Merge) -> String {
    let count = |count: usize, what: &str| {
        let plural = match (count, what) {
            (1, _) => "",
            (_, "process") => "es",
            _ => "s",
        };
        format!("{} {what}{plural}", units::count(count as u64))
    };
    let peak = peak_owner(merge).map(|name| format!("; every peak is that of {name}, the highest")).unwrap_or_default();
    format!("{}, {}{peak}", count(merge.members.len(), "run"), count(merge.spread.groups.len(), &merge.spread.by))
}

/// The member whose peak the profile shows, if the profile was merged from several.
pub(super) fn peak_owner(merge: &Merge) -> Option<String> {
    let owner = merge.members.get(merge.peak_member).filter(|_| merge.members.len() > 1)?;
    owner.footprint_peak_bytes.map(|_| owner.name())
}
