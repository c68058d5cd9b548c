//! Lines and functions of merged profiles.
//!
//! Job: add up files, their lines and their functions, and keep the part of each process in each line. Invariants: a
//! value that cannot be added (a line's function, its source) is chosen by value, never by order; peaks belong to a
//! single run. Neighbours: `places` separates files, `spread` compares the parts.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::exact::{
    AtPeak, MemorySum, TimeSum, add, add_known, add_micros, at_peak, choose, cpu_micros, larger, micros, seconds,
    time_error, time_variance,
};
use super::places::{FileId, FileKey};
use super::sql::LineQueries;
use crate::profile::model::{Cumulative, File, Function, Line, LineParts, Memory, NativeSymbol, ProcessShare, Time};

/// Most processes of all runs for which each line keeps all figures of each process.
pub(super) const MOST_SHARES: u32 = 64;

/// The part of a process in a line: its number, CPU and off-CPU microseconds, bytes allocated, bytes at the process'
/// own peak.
pub(super) type Part = (u32, u64, u64, u64, u64);

/// Files by number.
#[derive(Debug, Default)]
pub(super) struct Files {
    ids: FxHashMap<FileKey, FileId>,
    pub(super) files: Vec<(FileKey, FileSum)>,
}

/// A file.
#[derive(Debug, Default)]
pub(super) struct FileSum {
    pub(super) lines: BTreeMap<u32, LineSum>,
    functions: BTreeMap<(u32, u32, String, String), FunctionSum>,
}

#[derive(Debug, Default)]
struct FunctionSum {
    own: TimeSum,
    cpu_variance: Option<u64>,
    cpu: Option<u64>,
    wall: Option<u64>,
    alloc: Option<u64>,
}

/// A line.
#[derive(Debug, Default)]
pub(super) struct LineSum {
    function: Option<String>,
    source: Option<String>,
    time: TimeSum,
    cpu_variance: Option<u64>,
    samples: u64,
    memory: MemorySum,
    pub(super) peak: AtPeak,
    queries: LineQueries,
    native: BTreeMap<(String, Option<String>), u64>,
    pub(super) parts: Vec<Part>,
    pub(super) shares: Vec<(u32, Time, Memory)>,
}

/// Numbers of the processes of the profile that is being added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Units {
    /// The number of the first process.
    pub(super) first: u32,
    /// Number of processes.
    pub(super) count: u32,
    /// True if each line keeps all figures of these processes.
    pub(super) shared: bool,
}

impl Files {
    /// The number of a file.
    pub(super) fn id(&mut self, key: FileKey) -> FileId {
        if let Some(&id) = self.ids.get(&key) {
            return id;
        }
        self.files.push((key.clone(), FileSum::default()));
        self.ids.insert(key, self.files.len() - 1);
        self.files.len() - 1
    }

    /// Adds a file of a profile. `parts`: the parts of its lines in a merged profile. `highest`: the profile has the
    /// highest peak.
    pub(super) fn add(&mut self, id: FileId, file: File, parts: &Parts<'_>, units: Units, highest: bool) {
        let sum = &mut self.files[id].1;
        for line in file.lines {
            let known = parts.lines.get(&line.line).copied();
            sum.lines.entry(line.line).or_default().add(line, known, units, highest);
        }
        for (at, function) in file.functions.into_iter().enumerate() {
            let Function { name, qualname, first_line, last_line, own, cpu_s_se, cumulative } = function;
            let variance = parts.functions.get(&at).copied().or(cpu_s_se.map(time_variance));
            let sum = sum.functions.entry((first_line, last_line, qualname, name)).or_default();
            sum.own.add(&own);
            add_known(&mut sum.cpu_variance, variance, add);
            add_known(&mut sum.cpu, cumulative.cpu_s.map(micros), add_micros);
            add_known(&mut sum.wall, cumulative.wall_s.map(micros), add_micros);
            add_known(&mut sum.alloc, cumulative.alloc_bytes, add);
        }
    }

    /// Forgets the bytes at a peak that is no longer the highest.
    pub(super) fn forget_peak(&mut self) {
        self.files.iter_mut().flat_map(|(_, file)| file.lines.values_mut()).for_each(|line| line.peak = None);
    }

    /// Forgets the figures of single processes, because there are too many processes.
    pub(super) fn forget_shares(&mut self) {
        self.files.iter_mut().flat_map(|(_, file)| file.lines.values_mut()).for_each(|line| line.shares = Vec::new());
    }
}

/// The line parts and function variances of a file in a merged profile.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts<'a> {
    pub(super) lines: FxHashMap<u32, &'a LineParts>,
    /// Variances of functions, by index.
    pub(super) functions: FxHashMap<usize, u64>,
}

impl LineSum {
    fn add(&mut self, line: Line, known: Option<&LineParts>, units: Units, highest: bool) {
        self.time.add(&line.time);
        add(&mut self.samples, line.cpu_samples);
        self.queries.add(&line);
        self.memory.add(&line.memory, known.map(|known| known.variances));
        let variance = known.and_then(|known| known.cpu_variance).or(line.cpu_s_se.map(time_variance));
        add_known(&mut self.cpu_variance, variance, add);
        if highest {
            self.peak = at_peak(&line.memory);
        }
        match known {
            Some(known) => {
                let own = known.parts.iter().filter(|part| part.0 < units.count);
                self.parts.extend(own.map(|part| (part.0 + units.first, part.1, part.2, part.3, part.4)));
            }
            None => self.parts.extend(parts(&line, units)),
        }
        if units.shared {
            if line.by_process.is_empty() {
                self.shares.push((units.first, line.time, line.memory));
            }
            let shares = line.by_process.iter().filter(|share| share.process < units.count as usize);
            self.shares.extend(shares.map(|share| (units.first + share.process as u32, share.time, share.memory)));
        }
        for NativeSymbol { object, symbol, s } in line.native {
            add_micros(self.native.entry((object, symbol)).or_default(), micros(s));
        }
        choose(&mut self.function, Some(line.function).filter(|name| !name.is_empty()));
        choose(&mut self.source, line.source);
    }

    /// The line of the merged profile. `numbers`: the final number of each process, by its number during the merge.
    pub(super) fn finish(self, line: u32, numbers: &[u32], peak_known: bool) -> (Line, LineParts) {
        let mut native: Vec<NativeSymbol> = self
            .native
            .into_iter()
            .map(|((object, symbol), s)| NativeSymbol { object, symbol, s: seconds(s) })
            .collect();
        // The sort is stable, so functions of equal time stay in the order of their names.
        native.sort_by(|left, right| right.s.total_cmp(&left.s));
        let mut by_process: Vec<ProcessShare> = self
            .shares
            .into_iter()
            .map(|(unit, time, memory)| ProcessShare { process: numbers[unit as usize] as usize, time, memory })
            .collect();
        by_process.sort_by_key(|share| share.process);
        let mut parts = self.parts;
        parts.iter_mut().for_each(|part| part.0 = numbers[part.0 as usize]);
        parts.sort_unstable();
        let mut row = Line {
            line,
            function: self.function.unwrap_or_default(),
            source: self.source,
            time: self.time.time(),
            cpu_s_se: self.cpu_variance.map(time_error),
            cpu_samples: self.samples,
            memory: self.memory.memory(self.peak, peak_known),
            native,
            by_process,
            ..Line::default()
        };
        self.queries.write(&mut row);
        let (cpu_variance, variances) = (self.cpu_variance, self.memory.variances());
        (row, LineParts { line, cpu_variance, variances, parts, ..LineParts::default() })
    }
}

/// The parts of the processes of an ordinary profile. The difference between a line and the sum of its processes goes
/// to the first process.
fn parts(line: &Line, units: Units) -> Vec<Part> {
    let whole = part(units.first, &line.time, &line.memory);
    if units.count < 2 || line.by_process.is_empty() {
        return vec![whole];
    }
    let shares = line.by_process.iter().filter(|share| share.process < units.count as usize);
    let mut parts: Vec<Part> =
        shares.map(|share| part(units.first + share.process as u32, &share.time, &share.memory)).collect();
    let sum = parts.iter().fold((0_u64, 0_u64, 0_u64), |sum, part| {
        (sum.0.saturating_add(part.1), sum.1.saturating_add(part.2), sum.2.saturating_add(part.3))
    });
    let rest = (whole.1.saturating_sub(sum.0), whole.2.saturating_sub(sum.1), whole.3.saturating_sub(sum.2));
    // Rounding alone leaves up to a microsecond, or a byte, for each process.
    let rounding = parts.len() as u64;
    if rest.0.max(rest.1).max(rest.2) > rounding {
        match parts.iter_mut().find(|part| part.0 == units.first) {
            Some(first) => {
                add_micros(&mut first.1, rest.0);
                add_micros(&mut first.2, rest.1);
                add(&mut first.3, rest.2);
            }
            None => parts.push((units.first, rest.0, rest.1, rest.2, 0)),
        }
    }
    parts
}

fn part(unit: u32, time: &Time, memory: &Memory) -> Part {
    let cpu = cpu_micros(time).unwrap_or(0);
    let wait = time.wait_s.map_or(0, micros);
    (unit, cpu, wait, memory.alloc_bytes.unwrap_or(0), memory.peak_bytes.unwrap_or(0))
}

impl FileSum {
    /// The functions of the merged profile, and the variance of the CPU time of each.
    pub(super) fn functions(&mut self) -> Vec<(Function, Option<u64>)> {
        let mut rows = Vec::with_capacity(self.functions.len());
        for ((first_line, last_line, qualname, name), sum) in std::mem::take(&mut self.functions) {
            let cumulative =
                Cumulative { cpu_s: sum.cpu.map(seconds), wall_s: sum.wall.map(seconds), alloc_bytes: sum.alloc };
            let (own, cpu_s_se) = (sum.own.time(), sum.cpu_variance.map(time_error));
            let row = Function { name, qualname, first_line, last_line, own, cpu_s_se, cumulative };
            rows.push((row, sum.cpu_variance));
        }
        rows
    }
}

/// Values by line (file and number), for the sums of sections, labels and leaks.
pub(super) type LineMap<V> = BTreeMap<(FileId, u32), V>;

/// Seconds and bytes of a line in a section or a label.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CpuAndBytes {
    pub(super) cpu: Option<u64>,
    pub(super) alloc: Option<u64>,
}

impl CpuAndBytes {
    pub(super) fn add(&mut self, cpu_s: Option<f64>, alloc_bytes: Option<u64>) {
        add_known(&mut self.cpu, cpu_s.map(micros), add_micros);
        add_known(&mut self.alloc, alloc_bytes, add);
    }
}

/// The growth of a line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    pub(super) live: u64,
    pub(super) bytes_per_s: u64,
    pub(super) confidence: Option<f64>,
}

impl Growth {
    pub(super) fn add(&mut self, live: u64, bytes_per_s: f64, confidence: f64) {
        add(&mut self.live, live);
        add(&mut self.bytes_per_s, bytes_per_s.round() as u64);
        larger(&mut self.confidence, Some(confidence));
    }
}
