//! scalene's JSON (`scalene-profile.json`).
//!
//! Job: a profile with scalene's figures of each line. Invariants: per cent of time become seconds of the run, and
//! megabytes become bytes; scalene measures no waiting. Neighbour: `super` recognises the file.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::profile::model::{
    Clock, CpuSettings, File, Line, Memory, MemorySettings, Notice, Profile, Settings, Target, Time, Totals, codes,
};

const MEGABYTE: f64 = 1_048_576.0;

#[derive(Deserialize)]
struct Root {
    elapsed_time_sec: f64,
    files: BTreeMap<String, SourceFile>,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    max_footprint_mb: f64,
    #[serde(default)]
    memory: bool,
}

#[derive(Deserialize)]
struct SourceFile {
    lines: Vec<SourceLine>,
}

#[derive(Deserialize)]
struct SourceLine {
    lineno: u32,
    #[serde(default)]
    line: String,
    #[serde(default)]
    n_cpu_percent_python: f64,
    #[serde(default)]
    n_cpu_percent_c: f64,
    #[serde(default)]
    n_sys_percent: f64,
    #[serde(default)]
    n_malloc_mb: f64,
    #[serde(default)]
    n_mallocs: f64,
    #[serde(default)]
    n_peak_mb: f64,
    #[serde(default)]
    n_copy_mb_s: f64,
}

/// Reads a file; `None` if it is not scalene's.
pub(super) fn read(bytes: &[u8]) -> Option<Profile> {
    let root: Root = serde_json::from_slice(bytes).ok().filter(|root: &Root| root.elapsed_time_sec.is_finite())?;
    let elapsed_s = root.elapsed_time_sec.max(0.0);
    let mut totals = Totals::default();
    let mut files = Vec::new();
    for (path, file) in root.files {
        let mut lines: Vec<Line> = file.lines.iter().filter_map(|line| row(line, elapsed_s, root.memory)).collect();
        lines.sort_by_key(|line| line.line);
        lines.dedup_by_key(|line| line.line);
        for line in &lines {
            let sums = &mut totals.time;
            for (sum, more) in [
                (&mut sums.python_s, line.time.python_s),
                (&mut sums.native_s, line.time.native_s),
                (&mut sums.system_s, line.time.system_s),
            ] {
                *sum = Some(sum.unwrap_or(0.0) + more.unwrap_or(0.0));
            }
            if let Some(bytes) = line.memory.alloc_bytes {
                totals.memory.alloc_bytes = Some(totals.memory.alloc_bytes.unwrap_or(0).saturating_add(bytes));
            }
        }
        files.push(File { path, text_sha256: None, lines, functions: Vec::new() });
    }
    totals.footprint_peak_bytes = bytes_of(root.max_footprint_mb).filter(|_| root.memory);
    let text = "the file is scalene's: seconds are its per cent of the run's wall time; waiting is not known";
    let mode = if root.memory { "sampled" } else { "off" };
    Some(Profile {
        target: Target { command: root.args.unwrap_or_default(), ..Target::default() },
        clock: Clock { elapsed_s, ..Clock::default() },
        settings: Settings {
            cpu: CpuSettings { source: "scalene".to_owned(), interval_s: 0.0 },
            memory: MemorySettings { mode: mode.to_owned(), interval_bytes: None },
            ..Settings::default()
        },
        totals,
        files,
        notices: vec![Notice::of_run(codes::FOREIGN, text)],
        ..Profile::default()
    })
}

/// A line with any figure.
fn row(line: &SourceLine, elapsed_s: f64, memory: bool) -> Option<Line> {
    let seconds = |percent: f64| Some((percent * elapsed_s / 100.0).max(0.0)).filter(|s| s.is_finite());
    let time = Time {
        python_s: seconds(line.n_cpu_percent_python),
        native_s: seconds(line.n_cpu_percent_c),
        system_s: seconds(line.n_sys_percent),
        ..Time::default()
    };
    let known = |value: Option<u64>| value.filter(|_| memory);
    let amounts = Memory {
        alloc_bytes: known(bytes_of(line.n_malloc_mb)),
        alloc_count: known(whole(line.n_mallocs)),
        peak_bytes: known(bytes_of(line.n_peak_mb)),
        copy_bytes: known(bytes_of(line.n_copy_mb_s * elapsed_s)),
        ..Memory::default()
    };
    let any = [time.python_s, time.native_s, time.system_s].into_iter().flatten().any(|s| s > 0.0)
        || [amounts.alloc_bytes, amounts.peak_bytes, amounts.copy_bytes].into_iter().flatten().any(|bytes| bytes > 0);
    (any && line.lineno > 0).then(|| Line {
        line: line.lineno,
        source: Some(line.line.trim_end_matches(['\n', '\r']).to_owned()),
        time,
        memory: amounts,
        ..Line::default()
    })
}

fn bytes_of(megabytes: f64) -> Option<u64> {
    whole(megabytes * MEGABYTE)
}

fn whole(amount: f64) -> Option<u64> {
    amount.is_finite().then(|| amount.max(0.0).round() as u64)
}
