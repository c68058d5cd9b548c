//! Sections, labels, leaks and messages of merged profiles.
//!
//! Job: add up rows with the same name. Invariant: rows have an order of their values. Neighbours: `lines` numbers the
//! files, `mod` adds the profiles.

use std::collections::{BTreeMap, BTreeSet};

use super::exact::{add, add_known, add_micros, larger, micros, seconds};
use super::lines::{CpuAndBytes, Growth, LineMap};
use super::places::FileId;
use crate::profile::model::{CountedNotice, Label, Leak, Notice, Profile, Section, SectionLine, codes};

/// All sections with the same name.
#[derive(Debug, Default)]
struct SectionSum {
    pids: BTreeSet<u32>,
    count: u64,
    /// First start and last end, microseconds since 1970.
    span: Option<(i64, i64)>,
    elapsed: u64,
    cpu: Option<u64>,
    alloc: Option<u64>,
    increment: Option<i64>,
    lines: LineMap<CpuAndBytes>,
}

/// All work with the same labels.
#[derive(Debug, Default)]
struct LabelSum {
    count: u64,
    elapsed: u64,
    /// Median and 95th percentile, if a single row has all ended pieces of work.
    quantiles: Option<(Option<f64>, Option<f64>)>,
    longest: Option<u64>,
    cpu: Option<u64>,
    alloc: Option<u64>,
    kept: Option<u64>,
    lines: LineMap<CpuAndBytes>,
}

/// The small tables.
#[derive(Debug, Default)]
pub(super) struct Tables {
    sections: BTreeMap<String, SectionSum>,
    labels: BTreeMap<BTreeMap<String, String>, LabelSum>,
    leaks: Option<LineMap<Growth>>,
    notices: BTreeMap<(String, String), u64>,
}

impl Tables {
    /// Adds the tables of a profile that began at `start` (microseconds since 1970).
    pub(super) fn add(&mut self, profile: &Profile, files: &[FileId], start: i64) {
        for section in &profile.sections {
            self.section(section, files, start);
        }
        for label in &profile.labels {
            self.label(label, files);
        }
        if let Some(leaks) = &profile.leaks {
            let all = self.leaks.get_or_insert_default();
            for leak in leaks {
                let growth = all.entry((files[leak.file], leak.line)).or_default();
                growth.add(leak.live_bytes, leak.bytes_per_s, leak.confidence);
            }
        }
        match &profile.merge {
            Some(merge) => {
                for notice in &merge.notices {
                    self.notice(notice.code.clone(), notice.text.clone(), notice.runs);
                }
            }
            None => {
                let own: BTreeSet<_> = profile.notices.iter().map(|notice| (&notice.code, &notice.text)).collect();
                own.into_iter().for_each(|(code, text)| self.notice(code.clone(), text.clone(), 1));
            }
        }
    }

    /// Adds a message of `runs` runs.
    pub(super) fn notice(&mut self, code: String, text: String, runs: u64) {
        add(self.notices.entry((code, text)).or_default(), runs);
    }

    fn section(&mut self, section: &Section, files: &[FileId], start: i64) {
        let sum = self.sections.entry(section.name.clone()).or_default();
        sum.pids.insert(section.pid);
        add(&mut sum.count, section.count);
        let at = |s: f64| start.saturating_add(micros(s) as i64);
        let (first, last) = (at(section.start_s), at(section.end_s));
        sum.span = Some(sum.span.map_or((first, last), |span| (span.0.min(first), span.1.max(last))));
        add_micros(&mut sum.elapsed, micros(section.elapsed_s));
        add_known(&mut sum.cpu, section.cpu_s.map(micros), add_micros);
        add_known(&mut sum.alloc, section.alloc_bytes, add);
        if let Some(increment) = section.increment_bytes {
            // A sum that overflows belongs to no real run; wrapping keeps the sum independent of the order.
            sum.increment = Some(sum.increment.unwrap_or(0).wrapping_add(increment));
        }
        lines(&mut sum.lines, &section.lines, files);
    }

    fn label(&mut self, label: &Label, files: &[FileId]) {
        let sum = self.labels.entry(label.labels.clone()).or_default();
        if label.count > 0 {
            // The durations of the pieces are unknown, so several rows have no common quantiles.
            sum.quantiles = if sum.count == 0 { Some((label.median_s, label.p95_s)) } else { None };
        }
        add(&mut sum.count, label.count);
        add_micros(&mut sum.elapsed, micros(label.elapsed_s));
        larger(&mut sum.longest, label.longest_s.map(micros));
        add_known(&mut sum.cpu, label.cpu_s.map(micros), add_micros);
        add_known(&mut sum.alloc, label.alloc_bytes, add);
        add_known(&mut sum.kept, label.kept_bytes, add);
        lines(&mut sum.lines, &label.lines, files);
    }

    /// Writes the tables into the merged profile, which began at `start` and in which file `id` has the number
    /// `files[id]`. Returns the messages, each with its number of runs.
    pub(super) fn finish(self, profile: &mut Profile, files: &[usize], start: i64, runs: u64) -> Vec<CountedNotice> {
        profile.sections = self.sections.into_iter().map(|(name, sum)| sum.row(name, files, start)).collect();
        profile.sections.sort_by(|left, right| left.start_s.total_cmp(&right.start_s));
        profile.labels = self.labels.into_iter().map(|(labels, sum)| sum.row(labels, files)).collect();
        profile.labels.sort_by(|left, right| right.cpu_s.unwrap_or(0.0).total_cmp(&left.cpu_s.unwrap_or(0.0)));
        profile.leaks = self.leaks.map(|leaks| {
            let row = |((file, line), growth): ((FileId, u32), Growth)| Leak {
                file: files[file],
                line,
                live_bytes: growth.live,
                bytes_per_s: growth.bytes_per_s as f64,
                confidence: growth.confidence.unwrap_or(0.0),
            };
            let mut rows: Vec<Leak> = leaks.into_iter().map(row).collect();
            rows.sort_by(|left, right| {
                let surer = right.confidence.total_cmp(&left.confidence);
                surer
                    .then(right.bytes_per_s.total_cmp(&left.bytes_per_s))
                    .then((left.file, left.line).cmp(&(right.file, right.line)))
            });
            rows
        });
        let counted = self.notices.into_iter().map(|((code, text), runs)| CountedNotice { code, text, runs });
        let counted: Vec<CountedNotice> = counted.collect();
        profile.notices = counted.iter().map(|notice| shown(notice, runs)).collect();
        counted
    }
}

/// A message for the reports.
fn shown(notice: &CountedNotice, all: u64) -> Notice {
    let CountedNotice { code, text, runs } = notice;
    if code == codes::NOT_MERGED || all == 1 {
        return Notice::of_run(code, text);
    }
    Notice::of_run(code, format!("in {runs} of {all} runs: {text}"))
}

fn lines(sums: &mut LineMap<CpuAndBytes>, lines: &[SectionLine], files: &[FileId]) {
    for line in lines {
        sums.entry((files[line.file], line.line)).or_default().add(line.cpu_s, line.alloc_bytes);
    }
}

fn rows(sums: LineMap<CpuAndBytes>, files: &[usize]) -> Vec<SectionLine> {
    let row = |((file, line), sum): ((FileId, u32), CpuAndBytes)| SectionLine {
        file: files[file],
        line,
        cpu_s: sum.cpu.map(seconds),
        alloc_bytes: sum.alloc,
    };
    let mut rows: Vec<SectionLine> = sums.into_iter().map(row).collect();
    rows.sort_by_key(|line| (line.file, line.line));
    rows
}

impl SectionSum {
    fn row(self, name: String, files: &[usize], start: i64) -> Section {
        let since = |at: i64| seconds(at.saturating_sub(start).max(0) as u64);
        let (first, last) = self.span.unwrap_or((start, start));
        Section {
            name,
            pid: if self.pids.len() == 1 { self.pids.into_iter().next().unwrap_or(0) } else { 0 },
            count: self.count,
            start_s: since(first),
            end_s: since(last),
            elapsed_s: seconds(self.elapsed),
            cpu_s: self.cpu.map(seconds),
            alloc_bytes: self.alloc,
            increment_bytes: self.increment,
            lines: rows(self.lines, files),
        }
    }
}

impl LabelSum {
    fn row(self, labels: BTreeMap<String, String>, files: &[usize]) -> Label {
        let (median_s, p95_s) = self.quantiles.unwrap_or_default();
        Label {
            labels,
            count: self.count,
            elapsed_s: seconds(self.elapsed),
            median_s,
            p95_s,
            longest_s: self.longest.map(seconds),
            cpu_s: self.cpu.map(seconds),
            alloc_bytes: self.alloc,
            kept_bytes: self.kept,
            lines: rows(self.lines, files),
        }
    }
}
