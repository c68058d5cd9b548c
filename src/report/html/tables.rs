//! The tables as HTML: lines, functions, files, threads, processes, and the facts of the run.
//!
//! Job: write all tables, readable without script. Invariants: header cells have a `scope`, figures have a unit.
//! Neighbour: `assets/tables.js` replaces the tables of lines, functions and files by sortable tables.

use crate::profile::model::{SectionLine, Time};
use crate::report::view::waiting_s;
use crate::units;

use super::escape;
use super::page::{Page, total_s};
use super::parts::{END, bar, bytes, dominant, has_memory, head, seconds};
use super::spread;

const ROWS: usize = 100;

fn open(out: &mut String, id: &str, title: &str) {
    out.push_str(&format!(
        "<section id=\"{id}\" class=\"view\" aria-labelledby=\"{id}-h\"><h2 id=\"{id}-h\">{title}</h2>"
    ));
}

/// Appends the functions, the costliest first.
pub(super) fn push_functions(out: &mut String, page: &Page<'_>) {
    let files = page.profile.files.iter().enumerate().filter(|(_, file)| !file.lines.is_empty());
    let mut all: Vec<_> = files.flat_map(|(at, file)| file.functions.iter().map(move |f| (at, f))).collect();
    all.sort_by(|a, b| total_s(&b.1.own).total_cmp(&total_s(&a.1.own)));
    open(out, "functions", "Functions");
    head(out, "Functions", &["Function", "Defined at", "Time", "#Own", "#Kind %", "#Total", "#Allocated with callees"]);
    let scale = all.first().map_or(0.0, |(_, f)| total_s(&f.own));
    for (file, function) in all.iter().take(ROWS) {
        out.push_str(&format!(
            "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escape::text(&function.qualname),
            page.names[*file].link(function.first_line),
            bar(&function.own, scale),
            units::seconds(total_s(&function.own)),
            dominant(&function.own),
            seconds(function.cumulative.cpu_s),
            bytes(function.cumulative.alloc_bytes)
        ));
    }
    out.push_str(END);
    push_rest(out, all.len(), "functions");
    out.push_str("</section>");
}

fn push_rest(out: &mut String, count: usize, what: &str) {
    if count > ROWS {
        out.push_str(&format!(
            "<p class=\"none static\">{} more {what} are listed when JavaScript is on.</p>",
            count - ROWS
        ));
    }
}

/// Appends the number of rows left out of a table, if the script does not list them either.
fn push_unlisted(out: &mut String, count: usize, what: &str) {
    if count > ROWS {
        out.push_str(&format!("<p class=\"none\">{} more {what} are in the JSON alone.</p>", count - ROWS));
    }
}

/// Appends the files, the costliest first.
pub(super) fn push_files(out: &mut String, page: &Page<'_>) {
    let mut all: Vec<(usize, Time, u64)> = Vec::new();
    for (at, file) in page.profile.files.iter().enumerate().filter(|(_, file)| !file.lines.is_empty()) {
        let mut time = Time::default();
        let mut alloc = 0;
        for line in &file.lines {
            for (sum, part) in [
                (&mut time.python_s, line.time.python_s),
                (&mut time.native_s, line.time.native_s),
                (&mut time.helpers_s, line.time.helpers_s),
                (&mut time.system_s, line.time.system_s),
                (&mut time.wait_s, line.time.wait_s),
            ] {
                *sum = part.map(|part| sum.unwrap_or(0.0) + part).or(*sum);
            }
            alloc += line.memory.alloc_bytes.unwrap_or(0);
        }
        all.push((at, time, alloc));
    }
    all.sort_by(|a, b| total_s(&b.1).total_cmp(&total_s(&a.1)).then(b.2.cmp(&a.2)));
    open(out, "files", "Files");
    head(out, "Files", &["File", "Time", "#CPU", "#Kind %", "#Allocated"]);
    let scale = all.first().map_or(0.0, |file| total_s(&file.1));
    for (at, time, alloc) in all.iter().take(ROWS) {
        let name = &page.names[*at];
        let first = page.profile.files[*at].lines.first().map_or(1, |line| line.line);
        out.push_str(&format!(
            "<tr><th scope=\"row\"><a class=\"loc\" href=\"#{}:{first}\">{}</a></th><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            name.fragment,
            escape::text(&name.shown),
            bar(time, scale),
            units::seconds(total_s(time)),
            dominant(time),
            if has_memory(page) { units::bytes(*alloc) } else { "\u{2013}".to_owned() }
        ));
    }
    out.push_str(END);
    push_rest(out, all.len(), "files");
    out.push_str("</section>");
}

/// Appends the facts of the run, its threads and processes, and an explanation of the terms.
pub(super) fn push_run(out: &mut String, page: &Page<'_>) {
    let p = page.profile;
    open(out, "run", "Run");
    out.push_str("<dl class=\"run\">");
    let interval = p
        .settings
        .memory
        .interval_bytes
        .map_or(String::new(), |bytes| format!(", one sample in {}", units::bytes(bytes)));
    let coverage = match (p.totals.sampled_cpu_s, p.totals.cpu_clock_s) {
        (Some(sampled), Some(clock)) if clock > 0.0 => {
            format!(
                "{} of {} on the CPU clocks ({})",
                units::seconds(sampled),
                units::seconds(clock),
                units::percent(sampled / clock)
            )
        }
        _ => "unknown".to_owned(),
    };
    for (term, fact) in [
        ("Command", p.target.command.join(" ")),
        ("Folder", p.target.cwd.clone()),
        ("Python", p.target.python.clone().unwrap_or_else(|| "none seen".to_owned())),
        ("Build", if p.target.free_threaded { "free-threaded" } else { "with GIL" }.to_owned()),
        ("Platform", p.target.platform.clone()),
        ("Started", p.clock.started_at.clone()),
        ("CPU samples", format!("{}, every {}", p.settings.cpu.source, units::seconds(p.settings.cpu.interval_s))),
        ("CPU time sampled", coverage),
        ("Outside the scope", units::seconds(total_s(&p.totals.outside_scope))),
        ("Memory samples", format!("{}{interval}", p.settings.memory.mode)),
        ("Lost records", units::count(p.totals.lost_records)),
        ("Written by", format!("rscalene {}", p.tool.version)),
    ] {
        out.push_str(&format!("<dt>{term}</dt><dd>{}</dd>", escape::text(&fact)));
    }
    out.push_str("</dl>");
    spread::push(out, page);
    push_labels(out, page);
    push_sections(out, page);
    push_threads(out, page);
    push_processes(out, page);
    out.push_str(MEANINGS);
    out.push_str("</section>");
}

/// Appends requests by route, and other work by label.
fn push_labels(out: &mut String, page: &Page<'_>) {
    let all = page.profile.totals.cpu_clock_s.filter(|all| *all > 0.0);
    let (routes, others): (Vec<_>, Vec<_>) = page.profile.labels.iter().partition(|label| label.route().is_some());
    for (title, column, labels) in [("Routes", "Route", routes), ("Labels", "Label", others)] {
        if labels.is_empty() {
            continue;
        }
        out.push_str(&format!("<h3>{title}</h3>"));
        let columns =
            ["#Count", "#Median", "#95 %", "#Longest", "#CPU", "#CPU %", "#Allocated", "#Kept", "Hottest lines"];
        head(out, title, &[&[column], &columns[..]].concat());
        for label in labels.iter().take(ROWS) {
            out.push_str(&format!("<tr><th scope=\"row\">{}</th>", escape::text(&label.name())));
            let figures = [
                units::count(label.count),
                seconds(label.median_s),
                seconds(label.p95_s),
                seconds(label.longest_s),
                seconds(label.cpu_s),
                label.cpu_s.zip(all).map_or("\u{2013}".to_owned(), |(s, all)| units::percent(s / all)),
                bytes(label.alloc_bytes),
                bytes(label.kept_bytes),
            ];
            for figure in figures {
                out.push_str(&format!("<td class=\"n\">{figure}</td>"));
            }
            out.push_str(&format!("<td>{}</td></tr>", hottest(page, &label.lines)));
        }
        out.push_str(END);
    }
}

/// The lines with the most CPU time.
fn hottest(page: &Page<'_>, lines: &[SectionLine]) -> String {
    let mut lines: Vec<_> = lines.iter().filter(|line| line.cpu_s.is_some_and(|s| s > 0.0)).collect();
    lines.sort_by(|left, right| right.cpu_s.unwrap_or(0.0).total_cmp(&left.cpu_s.unwrap_or(0.0)));
    let hottest = lines.iter().take(3).filter_map(|line| {
        let name = page.names.get(line.file)?;
        Some(format!("{}:{} {}", escape::text(&name.shown), line.line, seconds(line.cpu_s)))
    });
    hottest.collect::<Vec<_>>().join(", ")
}

fn push_sections(out: &mut String, page: &Page<'_>) {
    let sections = &page.profile.sections;
    if sections.is_empty() {
        return;
    }
    out.push_str("<h3>Sections</h3>");
    let columns = ["Section", "#pid", "#Calls", "#From", "#To", "#Wall", "#CPU", "#Allocated", "Hottest lines"];
    head(out, "Sections", &columns);
    for section in sections.iter().take(ROWS) {
        out.push_str(&format!(
            "<tr data-pid=\"{}\"><th scope=\"row\">{}</th>",
            section.pid,
            escape::text(&section.name)
        ));
        let wall = [section.start_s, section.end_s, section.elapsed_s].map(units::seconds);
        let figures = [
            section.pid.to_string(),
            units::count(section.count),
            wall[0].clone(),
            wall[1].clone(),
            wall[2].clone(),
            seconds(section.cpu_s),
            bytes(section.alloc_bytes),
        ];
        for figure in figures {
            out.push_str(&format!("<td class=\"n\">{figure}</td>"));
        }
        out.push_str(&format!("<td>{}</td></tr>", hottest(page, &section.lines)));
    }
    out.push_str(END);
}

fn push_threads(out: &mut String, page: &Page<'_>) {
    let threads = &page.profile.threads;
    out.push_str("<h3>Threads</h3>");
    head(
        out,
        "Threads",
        &[
            "Thread",
            "#pid",
            "#tid",
            "Time",
            "#python",
            "#native",
            "#system",
            "#Wait",
            "#Idle",
            "#No core",
            "#CPU clock",
        ],
    );
    let scale = threads.iter().map(|thread| total_s(&thread.time)).fold(0.0, f64::max);
    let mut busiest: Vec<_> = threads.iter().enumerate().collect();
    busiest.sort_by(|a, b| total_s(&b.1.time).total_cmp(&total_s(&a.1.time)));
    for (at, thread) in busiest.into_iter().take(ROWS) {
        out.push_str(&format!(
            "<tr data-at=\"{at}\" data-pid=\"{0}\"><th scope=\"row\">{1}</th><td class=\"n\">{0}</td><td class=\"n\">{2}</td><td>{3}</td>",
            thread.pid,
            escape::text(&thread.name),
            thread.tid,
            bar(&thread.time, scale)
        ));
        let time = &thread.time;
        let parts = [time.python_s, time.native_s, time.system_s, waiting_s(time), time.idle_s, time.core_wait_s];
        for part in parts {
            out.push_str(&format!("<td class=\"n\">{}</td>", seconds(part)));
        }
        out.push_str(&format!("<td class=\"n\">{}</td></tr>", seconds(thread.cpu_clock_s)));
    }
    out.push_str(END);
    push_unlisted(out, threads.len(), "threads, which took less time,");
}

fn push_processes(out: &mut String, page: &Page<'_>) {
    out.push_str("<h3>Processes</h3>");
    head(out, "Processes", &["pid", "#Parent", "Command", "#Exit", "#Peak RSS"]);
    for (at, process) in page.profile.processes.iter().enumerate().take(ROWS) {
        let exit = match (process.exit.code, process.exit.signal) {
            (_, Some(signal)) => format!("signal {signal}"),
            (Some(code), _) => code.to_string(),
            _ => "\u{2013}".to_owned(),
        };
        out.push_str(&format!(
            "<tr data-at=\"{at}\" data-pid=\"{0}\"><th scope=\"row\">{0}</th><td class=\"n\">{1}</td><td class=\"src\"><code>{2}</code></td><td class=\"n\">{exit}</td><td class=\"n\">{3}</td></tr>",
            process.pid,
            process.parent,
            escape::text(&process.command.join(" ")),
            bytes(process.peak_rss_bytes)
        ));
    }
    out.push_str(END);
    push_unlisted(out, page.profile.processes.len(), "processes");
}

const MEANINGS: &str = "<h3>What the figures mean</h3><dl class=\"run\">\
<dt>P Python</dt><dd>CPU time executing bytecode, the interpreter's own work included.</dd>\
<dt>N native</dt><dd>CPU time in C code called by the line: builtins and extension libraries.</dd>\
<dt>S system</dt><dd>CPU time in the kernel on behalf of the line.</dd>\
<dt>H helper threads</dt><dd>CPU time of native threads (BLAS, polars, thread pools of libraries) while this line ran or awaited native code.</dd>\
<dt>W waiting</dt><dd>Time off the CPU with this line innermost: sleep, I/O, locks. Part of no ranking by time and of no bar.</dd>\
<dt>Idle</dt><dd>Time off the CPU of threads that wait for work (a pool's, a server's) or for another thread to end.</dd>\
<dt>No core</dt><dd>Time that a thread was ready to run and no core was free.</dd>\
<dt>Allocated, live, at peak</dt><dd>Bytes requested by the line; the part not freed at the end of the profile; the part live at the highest footprint.</dd>\
<dt>Increment</dt><dd>Allocated minus freed while the line ran.</dd>\
<dt>Copied</dt><dd>Bytes moved by memcpy and memmove while the line ran.</dd>\
<dt>±</dt><dd>Standard error as a share of the figure: of bytes and of CPU time, as the samples tell it.</dd></dl>";
