//! The data of the page's script.
//!
//! Job: write the whole profile as compact JSON: the overview, the source and figures of each file, and the stacks.
//! Each part is deflated alone, so that the page unpacks only the visible parts. Invariants: figures keep four
//! significant digits; an unknown figure is `null` or absent, never 0. Neighbours: `assets/data.js` reads the data,
//! `escape` makes the data safe inside the script element.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde_json::{Value, json};

use crate::profile::model::figures::{FIGURES, Figure};
use crate::profile::model::{File, Line, Profile, Time};
use crate::report::modules::modules;
use crate::report::table::short_path;

use crate::report::bars::parts;
use crate::report::view::waiting_s;

use super::columns;
use super::cumulative::{WithCallees, by_line, subtrees};
use super::digits::{micros, rounded};
use super::highlight::{Kind, Run};
use super::names::FileName;
use super::page::total_s;
use super::sql;
use super::stacks::stacks_json;
use super::text_of_files::FileText;
use super::timeline::thinned;
use crate::report::view::peak_moment;

/// Most lines in the table of hottest lines, for each sortable figure.
const HOT_LINES: usize = 150;
/// Most characters of source text in the row of a hottest line.
const HOT_TEXT: usize = 160;
/// Most modules and packages in the page.
const MODULES: usize = 300;
/// Number of parts into which the page divides a series. Each part keeps at most two points.
const STRETCHES: usize = 600;
/// Number of parts of the data before the files: the overview and the stacks.
const WHOLES: usize = 2;
/// The level of deflate. Compared with level 6, pages are 4 % smaller and take about as long.
const DEFLATE_LEVEL: u32 = 7;

/// The data of the page as JSON.
pub(super) fn payload(profile: &Profile, names: &[FileName], texts: &[FileText]) -> String {
    let sums = subtrees(&profile.stacks);
    let with_callees = by_line(&profile.stacks, &sums);
    let callees = |file: usize, line: u32| with_callees.get(&(file, line)).copied();
    let files = &with_callers(profile, &with_callees);
    let (stacks, folded) = stacks_json(&profile.stacks, &sums);
    let functions: Vec<Value> = profile
        .files
        .iter()
        .enumerate()
        .flat_map(|(at, file)| {
            file.functions.iter().map(move |f| {
                let t = times(&f.own);
                let c = &f.cumulative;
                let (cpu, wall) = (c.cpu_s.map(micros), c.wall_s.map(micros));
                let alloc = c.alloc_bytes.map(|b| rounded(b as f64));
                json!([at, f.qualname, f.first_line, f.last_line, t[0], t[1], t[2], t[3], t[4], cpu, wall, alloc])
            })
        })
        .collect();
    let threads: Vec<Value> = profile
        .threads
        .iter()
        .map(|thread| json!({"n": thread.name, "pid": thread.pid, "tid": thread.tid, "t": times(&thread.time), "us": user(&thread.time)}))
        .collect();
    let processes: Vec<Value> = profile
        .processes
        .iter()
        .map(|process| json!({"n": process.command.join(" "), "pid": process.pid, "t": times(&process.time), "us": user(&process.time), "al": process.memory.alloc_bytes}))
        .collect();
    let head = json!({
        "elapsed": profile.clock.elapsed_s,
        "memory": profile.settings.memory.mode,
        "totals": profile.totals,
        "files": files_json(files, names, texts),
        "figures": figures_json(),
        "functions": functions,
        "sql": sql::rows(profile),
        "hot": hot_json(files, texts, &callees),
        "peak": peak_moment(profile),
        "timeline": {"rss": thinned(&profile.timeline.rss, STRETCHES), "live": thinned(&profile.timeline.live, STRETCHES)},
        "leaks": profile.leaks,
        "threads": threads,
        "processes": processes,
        "modules": modules_json(profile),
        "folded": folded,
        "source": texts.iter().any(|text| !text.ranges.is_empty()),
    });
    let head = head.to_string();
    let part = |at: usize| match at.checked_sub(WHOLES) {
        Some(at) => Cow::Owned(file_json(&files[at], &texts[at], &|line| callees(at, line))),
        None => Cow::Borrowed([&head, &stacks][at].as_str()),
    };
    let mut packed = packed(WHOLES + files.len(), &part);
    let blobs = packed.split_off(WHOLES);
    json!({"head": packed[0], "stacks": packed[1], "blobs": blobs}).to_string()
}

/// The files, with added lines that only call others. Such a line has no figures of its own, but has the figures of its
/// callees.
fn with_callers<'a>(profile: &'a Profile, callees: &HashMap<(usize, u32), WithCallees>) -> Vec<Cow<'a, File>> {
    let mut files: Vec<Cow<'a, File>> = profile.files.iter().map(Cow::Borrowed).collect();
    let mut known: HashSet<(usize, u32)> =
        files.iter().enumerate().flat_map(|(at, file)| file.lines.iter().map(move |line| (at, line.line))).collect();
    for frame in &profile.stacks.frames {
        let place = (frame.file, frame.line);
        if frame.line > 0 && frame.file < files.len() && callees.contains_key(&place) && known.insert(place) {
            let line = Line { line: frame.line, function: frame.function.clone(), ..Line::default() };
            files[frame.file].to_mut().lines.push(line);
        }
    }
    for file in &mut files {
        if !file.lines.is_sorted_by_key(|line| line.line) {
            file.to_mut().lines.sort_by_key(|line| line.line);
        }
    }
    files
}

/// Packs `json(0)`, `json(1)`, ... up to `count` on all cores, because packing takes most of the time for making the
/// page.
fn packed<'a>(count: usize, json: &(dyn Fn(usize) -> Cow<'a, str> + Sync)) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let work = || {
        let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < count));
        numbers.map(|at| (at, pack(&json(at)))).collect::<Vec<_>>()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(count.div_ceil(8));
    let mut all = std::thread::scope(|scope| {
        let other = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads).filter_map(other).collect();
        let mut all = work();
        all.extend(
            others.into_iter().flat_map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
        );
        all
    });
    all.sort_unstable_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, packed)| packed).collect()
}

/// Deflates `json` and encodes it in base64.
fn pack(json: &str) -> String {
    let mut deflated = Vec::with_capacity(json.len() / 4);
    // Writing to a `Vec` never fails.
    let _ = DeflateEncoder::new(&mut deflated, Compression::new(DEFLATE_LEVEL)).write_all(json.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(deflated)
}

/// Microseconds by kind, in the order of the page's `KINDS`.
fn times(time: &Time) -> [Option<i64>; 5] {
    parts(time).map(|s| s.map(micros))
}

/// Microseconds of user time without a division into Python and native time.
fn user(time: &Time) -> Option<i64> {
    time.user_s.map(micros)
}

/// Modules and packages with CPU time or allocations, at most [`MODULES`].
fn modules_json(profile: &Profile) -> Vec<Value> {
    let rows = modules(profile).into_iter().take(MODULES);
    let rows = rows.map(|row| {
        let name = if row.library { row.name.as_str() } else { short_path(profile, &row.name) };
        json!({"n": name, "lib": row.library, "own": micros(row.own_s), "all": micros(row.total_s), "al": row.alloc_bytes})
    });
    rows.collect()
}

/// Key, label, and key of the error of each figure in the details of a line.
fn figures_json() -> Vec<Value> {
    let row = |(at, figure): (usize, &Figure)| {
        let error = FIGURES.get(at + 1).filter(|_| figure.row.has_error).map(|error| error.row.page);
        Some(json!([figure.row.page, figure.row.detail?, error]))
    };
    FIGURES.iter().enumerate().filter_map(row).collect()
}

fn files_json(files: &[Cow<'_, File>], names: &[FileName], texts: &[FileText]) -> Vec<Value> {
    let files = files.iter().zip(names).zip(texts);
    files
        .map(|((file, name), text)| {
            let mut time = [0.0; 5];
            let mut memory = [0_u64; 4];
            for line in &file.lines {
                let m = &line.memory;
                for (sum, part) in time.iter_mut().zip(parts(&line.time)) {
                    *sum += part.unwrap_or(0.0);
                }
                for (sum, part) in memory.iter_mut().zip([m.alloc_bytes, m.live_bytes, m.peak_bytes, m.copy_bytes]) {
                    *sum = sum.saturating_add(part.unwrap_or(0));
                }
            }
            let last = file.lines.last().map_or(0, |line| line.line).max(text.last_line());
            json!({"p": file.path, "d": name.shown, "k": name.fragment, "n": last, "lines": file.lines.len(),
                "changed": text.changed, "t": time.map(micros), "m": memory.map(|b| rounded(b as f64))})
        })
        .collect()
}

fn native(line: &Line) -> Vec<Value> {
    line.native.iter().take(12).map(|n| json!([n.object, n.symbol, micros(n.s)])).collect()
}

/// A figure of a line. The pair is the index of the file and the index of the line in it.
type Measure<'a> = &'a dyn Fn(&(usize, usize)) -> f64;

/// The [`HOT_LINES`] lines with the largest value, for each figure.
fn hot_json(
    files: &[Cow<'_, File>],
    texts: &[FileText],
    callees: &dyn Fn(usize, u32) -> Option<WithCallees>,
) -> Vec<Value> {
    let all: Vec<(usize, usize)> =
        files.iter().enumerate().flat_map(|(f, file)| (0..file.lines.len()).map(move |l| (f, l))).collect();
    let line = |&(f, l): &(usize, usize)| &files[f].lines[l];
    let measures: [Measure<'_>; 8] = [
        &|at| total_s(&line(at).time),
        &|at| waiting_s(&line(at).time).unwrap_or(0.0),
        &|at| line(at).memory.alloc_bytes.unwrap_or(0) as f64,
        &|at| line(at).memory.live_bytes.unwrap_or(0) as f64,
        &|at| line(at).memory.peak_bytes.unwrap_or(0) as f64,
        &|at| line(at).memory.copy_bytes.unwrap_or(0) as f64,
        &|at| line(at).sql_count.unwrap_or(0) as f64,
        &|at| callees(at.0, line(at).line).map_or(0.0, |c| c.cpu_s),
    ];
    let mut chosen = std::collections::BTreeSet::new();
    for measure in measures {
        let mut ranked: Vec<(f64, (usize, usize))> =
            all.iter().map(|at| (measure(at), *at)).filter(|(v, _)| *v > 0.0).collect();
        if ranked.len() > HOT_LINES {
            ranked.select_nth_unstable_by(HOT_LINES, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        }
        chosen.extend(ranked.into_iter().take(HOT_LINES).map(|(_, at)| at));
    }
    chosen
        .iter()
        .map(|at| {
            let line = line(at);
            let mut value = json!({"f": at.0, "fn": line.function});
            if let Some(text) = texts[at.0].get(line.line) {
                value["src"] = json!(text.trim().chars().take(HOT_TEXT).collect::<String>());
            }
            for (key, figure) in columns::figures(line, callees(at.0, line.line)) {
                if let Some(figure) = figure {
                    value[key] = json!(figure);
                }
            }
            if !line.native.is_empty() {
                value["nat"] = json!(native(line));
            }
            value
        })
        .collect()
}

/// The JSON of one file: ranges of source, runs of colour, and one array for each figure.
fn file_json(file: &File, text: &FileText, callees: &dyn Fn(u32) -> Option<WithCallees>) -> String {
    let (mut source, mut colours) = (String::new(), String::new());
    for ((_, lines), highlighted) in text.ranges.iter().zip(text.highlighted()) {
        for (line, runs) in lines.iter().zip(highlighted) {
            source.push_str(line);
            source.push('\n');
            push_runs(&mut colours, line, &runs);
            colours.push('\n');
        }
    }
    let ranges: Vec<(u32, usize)> = text.ranges.iter().map(|(start, lines)| (*start, lines.len())).collect();
    let mut function_names: Vec<&str> = Vec::new();
    let functions: Vec<usize> = file
        .lines
        .iter()
        .map(|line| {
            let known = function_names.iter().rposition(|name| *name == line.function);
            known.unwrap_or_else(|| {
                function_names.push(&line.function);
                function_names.len() - 1
            })
        })
        .collect();
    let natives: serde_json::Map<String, Value> = file
        .lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !line.native.is_empty())
        .map(|(at, line)| (at.to_string(), json!(native(line))))
        .collect();
    let head =
        json!({"rg": ranges, "src": source, "tok": colours, "fns": function_names, "fn": functions, "nat": natives});
    let mut out = head.to_string();
    out.pop();
    columns::push_file(&mut out, file, callees);
    out.push('}');
    out
}

/// Appends runs as letter and length in UTF-16 units. Plain text at the end of a line is left out.
fn push_runs(out: &mut String, line: &str, runs: &[Run]) {
    let mut at = 0;
    let shown = runs.iter().rposition(|run| run.kind != Kind::Plain).map_or(0, |last| last + 1);
    for run in &runs[..shown] {
        let text = &line[at..at + run.len];
        at += run.len;
        let _ = write!(out, "{}{}", run.kind.letter(), text.encode_utf16().count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_count_utf16_units() {
        let runs = [Run { kind: Kind::Text, len: 6 }, Run { kind: Kind::Plain, len: 1 }];
        let mut out = String::new();
        push_runs(&mut out, "'\u{1f600}' ", &runs);
        assert_eq!(out, "s4");
    }
}
