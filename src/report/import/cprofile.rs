//! Files of cProfile and profile (`-o`, `dump_stats`), as pstats reads them.
//!
//! Job: make a profile with the file's seconds of each function. A function's own seconds stand on its first line,
//! because cProfile times functions. Functions in C have lines in a file `~`, in the order of their names. Invariant: own
//! and total seconds of each function equal those of pstats. Neighbour: `marshal` reads the bytes.

use std::collections::BTreeMap;

use super::marshal::{self, Value};
use crate::profile::model::{
    Clock, CpuSettings, Cumulative, File, Function, Line, MemorySettings, Notice, Profile, Settings, Target, Time,
    Totals, codes,
};
use crate::units;

/// File name of functions in C.
const BUILT_IN: &str = "~";

/// Do the bytes look like a marshalled dict? JSON has a quote, a brace or a space behind its first brace.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    match bytes {
        [0xfb, ..] => true,
        [b'{', next, ..] => matches!(next & 0x7f, b'(' | b')' | b'0' | b'r'),
        _ => false,
    }
}

/// Reads a file; `None` if it is damaged.
pub(super) fn read(bytes: &[u8]) -> Option<Profile> {
    let Value::Dict(entries) = marshal::read(bytes)? else { return None };
    let mut files: BTreeMap<String, Vec<Function>> = BTreeMap::new();
    let mut calls = 0_u64;
    let (mut time, mut elapsed_s) = (Time::default(), 0.0);
    for (key, value) in entries {
        let [Value::Text(path), Value::Int(line), Value::Text(name)] = tuple(key)? else { return None };
        let [_, Value::Int(count), own, total, Value::Dict(_)] = tuple(value)? else { return None };
        calls = u64::try_from(count).ok().and_then(|count| count.checked_add(calls)).unwrap_or(calls);
        let (own_s, total_s) = (seconds(&own)?, seconds(&total)?);
        elapsed_s += own_s;
        let kind = if path == BUILT_IN { &mut time.native_s } else { &mut time.python_s };
        *kind = Some(kind.unwrap_or(0.0) + own_s);
        let own = match path.as_str() {
            BUILT_IN => Time { native_s: Some(own_s), ..Time::default() },
            _ => Time { python_s: Some(own_s), ..Time::default() },
        };
        let line = u32::try_from(line).unwrap_or(0).max(1);
        let function = Function {
            qualname: name.clone(),
            name,
            first_line: line,
            last_line: line,
            own,
            cpu_s_se: None,
            cumulative: Cumulative { cpu_s: Some(total_s), wall_s: Some(total_s), alloc_bytes: None },
        };
        files.entry(path).or_default().push(function);
    }
    let text = format!(
        "the file is cProfile's ({} calls): seconds are wall time, waiting included, and each function stands on its \
         first line",
        units::count(calls)
    );
    Some(Profile {
        target: Target { command: vec!["cProfile".to_owned()], ..Target::default() },
        clock: Clock { elapsed_s, ..Clock::default() },
        settings: Settings {
            cpu: CpuSettings { source: "cProfile".to_owned(), interval_s: 0.0 },
            memory: MemorySettings { mode: "off".to_owned(), interval_bytes: None },
            ..Settings::default()
        },
        totals: Totals { time, ..Totals::default() },
        files: files.into_iter().map(file).collect(),
        notices: vec![Notice::of_run(codes::FOREIGN, text)],
        ..Profile::default()
    })
}

fn file((path, mut functions): (String, Vec<Function>)) -> File {
    functions.sort_by(|left, right| (left.first_line, &left.name).cmp(&(right.first_line, &right.name)));
    let built_in = path == BUILT_IN;
    if built_in {
        for (line, function) in (1..).zip(&mut functions) {
            (function.first_line, function.last_line) = (line, line);
        }
    }
    let mut lines: Vec<Line> = Vec::new();
    for function in &functions {
        if let Some(line) = lines.last_mut().filter(|line| line.line == function.first_line) {
            line.time.python_s = sum(line.time.python_s, function.own.python_s);
            continue;
        }
        lines.push(Line {
            line: function.first_line,
            function: function.qualname.clone(),
            source: built_in.then(|| function.name.clone()),
            time: function.own,
            ..Line::default()
        });
    }
    File { path, text_sha256: None, lines, functions }
}

fn sum(left: Option<f64>, right: Option<f64>) -> Option<f64> {
    left.zip(right).map(|(left, right)| left + right).or(left).or(right)
}

fn tuple<const N: usize>(value: Value) -> Option<[Value; N]> {
    let Value::Tuple(items) = value else { return None };
    items.try_into().ok()
}

fn seconds(value: &Value) -> Option<f64> {
    match value {
        Value::Float(s) => Some(s).filter(|s| s.is_finite()).map(|s| s.max(0.0)),
        // The program's own timer may count in whole numbers.
        Value::Int(s) => Some((*s).max(0) as f64),
        _ => None,
    }
}
