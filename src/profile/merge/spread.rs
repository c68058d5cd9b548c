//! Differences of the lines of a merged profile between ranks, machines, processes or labels.
//!
//! Job: put the parts of each line into groups, and compare the groups. Invariants: a group that did not run a line
//! counts as 0; a group with an unknown figure is left out. Peaks of a group's processes are compared, never added.
//! Neighbours: `lines` has the parts, `model::merge` the result.

use std::collections::BTreeMap;

use super::exact::{add, add_micros, micros, seconds};
use crate::profile::model::{Label, LineParts, LineSpread, Member, Process, Range, Spread};

/// The groups by which lines are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Ranks of a job; a run without rank is a group of its own.
    Rank,
    /// Machines.
    Host,
    /// Processes.
    Process,
    /// Labels: tasks, routes, the program's own.
    Label,
}

impl By {
    /// All, in the order of the help text.
    pub const ALL: [Self; 4] = [Self::Host, Self::Rank, Self::Process, Self::Label];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rank => "rank",
            Self::Host => "host",
            Self::Process => "process",
            Self::Label => "label",
        }
    }

    /// The value with a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.name() == name)
    }

    /// Ranks if a run has one, else machines if there are several, else processes.
    fn natural(members: &[Member]) -> Self {
        if members.iter().any(|member| member.rank.is_some()) {
            return Self::Rank;
        }
        let several = members.iter().any(|member| member.host != members[0].host);
        if several { Self::Host } else { Self::Process }
    }
}

/// Identity of a group: true without a rank, rank, machine, process id.
type Key = (bool, Option<u32>, Option<String>, u32);

/// Compares the lines. `processes` have the order of the members.
pub(super) fn spread(
    by: Option<By>,
    members: &[Member],
    processes: &[Process],
    labels: &[Label],
    parts: &[LineParts],
) -> Spread {
    let by = by.unwrap_or_else(|| By::natural(members));
    let name = by.name().to_owned();
    if by == By::Label {
        let groups = labels.iter().map(Label::name).collect();
        return Spread { by: name, groups, lines: by_label(labels) };
    }
    let groups = Groups::new(by, members, processes);
    let lines =
        if groups.names.len() < 2 { Vec::new() } else { parts.iter().filter_map(|line| groups.line(line)).collect() };
    Spread { by: name, groups: groups.names, lines }
}

struct Groups {
    names: Vec<String>,
    /// The group of each process.
    of: Vec<usize>,
    /// For each group, the known figures: CPU, waits, memory.
    known: Vec<[bool; 3]>,
}

impl Groups {
    fn new(by: By, members: &[Member], processes: &[Process]) -> Self {
        let mut rows = processes.iter();
        let mut keys: Vec<(Key, [bool; 3])> = Vec::new();
        for member in members {
            let known = [member.cpu_s.is_some(), member.wait_s.is_some(), member.alloc_bytes.is_some()];
            let (no_rank, host) = (member.rank.is_none(), member.host.clone());
            for Process { pid, .. } in rows.by_ref().take(member.processes) {
                let key = match by {
                    By::Host => (false, None, host.clone(), 0),
                    By::Rank if !no_rank => (false, member.rank, None, 0),
                    By::Rank => (true, None, host.clone(), member.pid),
                    By::Process | By::Label => (no_rank, member.rank, host.clone(), *pid),
                };
                keys.push((key, known));
            }
        }
        let mut numbers: BTreeMap<&Key, usize> = keys.iter().map(|(key, _)| (key, 0)).collect();
        numbers.values_mut().zip(0..).for_each(|(number, at)| *number = at);
        let mut known = vec![[false; 3]; numbers.len()];
        for (key, figures) in &keys {
            known[numbers[key]].iter_mut().zip(figures).for_each(|(known, figure)| *known |= figure);
        }
        let of = keys.iter().map(|(key, _)| numbers[key]).collect();
        Self { names: numbers.keys().map(|key| group_name(by, key)).collect(), of, known }
    }

    fn line(&self, line: &LineParts) -> Option<LineSpread> {
        let mut sums = vec![[0_u64; 4]; self.names.len()];
        for &(unit, cpu, wait, alloc, peak) in &line.parts {
            let Some(&group) = self.of.get(unit as usize) else { continue };
            let sum = &mut sums[group];
            add_micros(&mut sum[0], cpu);
            add_micros(&mut sum[1], wait);
            add(&mut sum[2], alloc);
            sum[3] = sum[3].max(peak);
        }
        let figure = |figure: usize, known: usize| {
            let values = sums.iter().zip(&self.known).enumerate();
            range(values.filter(|(_, (_, figures))| figures[known]).map(|(group, (sum, _))| (sum[figure], group)))
        };
        let row = LineSpread {
            file: line.file,
            line: line.line,
            cpu_s: figure(0, 0).map(in_seconds),
            wait_s: figure(1, 1).map(in_seconds),
            alloc_bytes: figure(2, 2),
            peak_bytes: figure(3, 2),
        };
        let has_value =
            row.cpu_s.is_some() || row.wait_s.is_some() || row.alloc_bytes.is_some() || row.peak_bytes.is_some();
        has_value.then_some(row)
    }
}

fn group_name(by: By, (_, rank, host, pid): &Key) -> String {
    let host = host.as_deref().unwrap_or("unknown host");
    match (by, rank) {
        (By::Host, _) => host.to_owned(),
        (By::Rank, Some(rank)) => format!("rank {rank}"),
        (_, Some(rank)) => format!("rank {rank}, {host}:{pid}"),
        (_, None) => format!("{host}:{pid}"),
    }
}

/// A label by number, with its CPU seconds and bytes on a line.
type LabelFigures = (usize, Option<f64>, Option<u64>);

fn by_label(labels: &[Label]) -> Vec<LineSpread> {
    if labels.len() < 2 {
        return Vec::new();
    }
    let mut lines: BTreeMap<(usize, u32), Vec<LabelFigures>> = BTreeMap::new();
    for (group, label) in labels.iter().enumerate() {
        for line in &label.lines {
            lines.entry((line.file, line.line)).or_default().push((group, line.cpu_s, line.alloc_bytes));
        }
    }
    let row = |((file, line), figures): ((usize, u32), Vec<LabelFigures>)| {
        let mut cpu: Vec<Option<u64>> = labels.iter().map(|label| label.cpu_s.map(|_| 0)).collect();
        let mut alloc: Vec<Option<u64>> = labels.iter().map(|label| label.alloc_bytes.map(|_| 0)).collect();
        for (group, cpu_s, alloc_bytes) in figures {
            (cpu[group], alloc[group]) = (cpu_s.map(micros).or(cpu[group]), alloc_bytes.or(alloc[group]));
        }
        let known = |values: Vec<Option<u64>>| {
            range(values.into_iter().enumerate().filter_map(|(group, value)| Some((value?, group))))
        };
        LineSpread { file, line, cpu_s: known(cpu).map(in_seconds), alloc_bytes: known(alloc), ..LineSpread::default() }
    };
    lines.into_iter().map(row).filter(|row| row.cpu_s.is_some() || row.alloc_bytes.is_some()).collect()
}

/// The range of the values of groups; `None` if all are 0, or there is no value.
fn range(values: impl Iterator<Item = (u64, usize)>) -> Option<Range<u64>> {
    let mut values: Vec<(u64, usize)> = values.collect();
    values.sort_unstable();
    let &(max, _) = values.last().filter(|(max, _)| *max > 0)?;
    let highest = values.iter().find(|(value, _)| *value == max).map_or(0, |(_, group)| *group);
    let (count, middle) = (values.len(), values.len() / 2);
    let median = if count % 2 == 1 { values[middle].0 } else { values[middle - 1].0.midpoint(values[middle].0) };
    let sum: u128 = values.iter().map(|(value, _)| u128::from(*value)).sum();
    let imbalance = max as f64 * count as f64 / sum as f64;
    Some(Range { min: values[0].0, median, max, imbalance, highest })
}

fn in_seconds(range: Range<u64>) -> Range<f64> {
    let Range { min, median, max, imbalance, highest } = range;
    Range { min: seconds(min), median: seconds(median), max: seconds(max), imbalance, highest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_groups_is_named() {
        let four = [(114, 0), (104, 1), (337, 2), (113, 3)].into_iter();
        let range = range(four).expect("there are values");
        assert_eq!((range.min, range.median, range.max, range.highest), (104, 113, 337, 2));
        assert!((range.imbalance - 337.0 / 167.0).abs() < 1e-9, "{}", range.imbalance);
        assert_eq!(super::range([(0, 0), (0, 1)].into_iter()), None);
    }

    #[test]
    fn figure_names_select_the_compared_figures() {
        for by in By::ALL {
            assert_eq!(By::from_name(by.name()), Some(by));
        }
        assert_eq!(By::from_name("thread"), None);
    }
}
