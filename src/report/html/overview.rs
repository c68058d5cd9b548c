//! The first view of the page: notices, findings, the bar of time, the memory timeline, the hottest lines.
//!
//! Job: show the main results at a glance. Invariant: notices and lost records stand above the figures that they
//! affect.
//! Neighbours: `findings`, `timeline` and `tables` draw its parts; `assets/tables.js` makes the table sortable.

use crate::profile::model::{Line, Profile};
use crate::report::order::keep_first;
use crate::report::spread::peak_owner;
use crate::report::table::elapsed_text;
use crate::report::view::{time_inside, wait_outside, waiting_s};
use crate::units;

use super::findings::{self, kinds, lines, plus_minus};
use super::page::{Page, total_s};
use super::parts::{bar, percent, push_lines};
use super::{courses, escape, moments, timeline};

const HOTTEST: usize = 20;
const OWNERS: usize = 5;

/// Appends the view.
pub(super) fn push(out: &mut String, page: &Page<'_>) {
    out.push_str("<section id=\"overview\" class=\"view\" aria-labelledby=\"overview-h\"><h2 id=\"overview-h\" class=\"sr\">Overview</h2>");
    push_facts(out, page);
    push_notices(out, page);
    findings::push(out, page);
    push_time(out, page.profile);
    if page.profile.settings.memory.mode != "off" || page.profile.timeline.rss.len() > 1 {
        push_memory(out, page);
    }
    moments::push_leaks(out, page);
    push_hottest(out, page);
    out.push_str("</section>");
}

fn push_facts(out: &mut String, page: &Page<'_>) {
    let p = page.profile;
    let mut facts = vec![match p.clock.program_s {
        Some(_) => format!("<b>{}</b>", elapsed_text(&p.clock)),
        None => format!("<b>{}</b> elapsed", units::seconds(p.clock.elapsed_s)),
    }];
    if let Some(cpu) = p.totals.cpu_clock_s {
        facts.push(format!("<b>{}</b> CPU", units::seconds(cpu)));
    }
    if let Some(peak) = p.totals.peak() {
        let owner = p.merge.as_deref().and_then(peak_owner);
        let of = match (owner, p.processes.len() > 1, p.totals.footprint_peak_bytes) {
            (Some(owner), ..) => format!(" of {}", escape::text(&owner)),
            (None, false, _) => String::new(),
            (None, true, Some(_)) => " of all processes".to_owned(),
            (None, true, None) => " of the largest process".to_owned(),
        };
        facts.push(format!("<b>{}</b> peak RSS{of}", units::bytes(peak)));
    }
    if let Some(python) = &p.target.python {
        facts.push(format!("Python {}", escape::text(python)));
    }
    facts.push(match (p.target.exit.code, p.target.exit.signal) {
        (_, Some(signal)) => format!("ended by {}", units::signal(signal)),
        (Some(code), _) => format!("exit code {code}"),
        _ => "did not end".to_owned(),
    });
    let samples =
        |count: u64, kind: &str| format!("{} {kind} sample{}", units::count(count), if count == 1 { "" } else { "s" });
    facts.push(samples(p.totals.cpu_samples, "CPU"));
    if p.totals.alloc_samples > 0 {
        facts.push(samples(p.totals.alloc_samples, "allocation"));
    }
    facts.push(match p.totals.lost_records {
        0 => "no records lost".to_owned(),
        1 => "<b>1 record lost</b>".to_owned(),
        lost => format!("<b>{} records lost</b>", units::count(lost)),
    });
    out.push_str("<ul class=\"facts\" aria-label=\"Run\">");
    for fact in facts {
        out.push_str(&format!("<li>{fact}</li>"));
    }
    out.push_str("</ul>");
}

fn push_notices(out: &mut String, page: &Page<'_>) {
    let p = page.profile;
    let mut notices: Vec<String> = p.notices.iter().map(|notice| escape::text(&notice.to_string())).collect();
    if p.totals.lost_records > 0 {
        notices.push(format!(
            "{} records were lost: the figures are too low by their contents.",
            units::count(p.totals.lost_records)
        ));
    }
    if page.texts.iter().any(|text| text.changed) {
        notices.push("Some files have changed since the run: measured lines show their former text.".to_owned());
    }
    notices.extend(moments::limits(page));
    if notices.is_empty() {
        return;
    }
    out.push_str("<ul class=\"notices\" aria-label=\"Notices\">");
    for notice in notices {
        out.push_str(&format!("<li>{notice}</li>"));
    }
    out.push_str("</ul>");
}

fn push_time(out: &mut String, profile: &Profile) {
    let time = &time_inside(&profile.totals);
    let all = total_s(time);
    if all <= 0.0 {
        return;
    }
    out.push_str("<div class=\"panel\" id=\"time\"><h3>CPU time by kind</h3>");
    out.push_str(&bar(time, all).replace("class=\"bar\"", "class=\"bar big\""));
    out.push_str("<ul class=\"legend\">");
    for (letter, class, name, seconds) in kinds(time) {
        let figure = seconds
            .map_or("not measured".to_owned(), |s| format!("{} \u{b7} {}", units::seconds(s), units::percent(s / all)));
        out.push_str(&format!("<li><i class=\"sw {class}\"></i><b>{letter}</b> {name} <span>{figure}</span></li>"));
    }
    if let Some(user) = time.user_s {
        let (spelt, share) = (units::seconds(user), units::percent(user / all));
        out.push_str(&format!("<li>kind unknown <span>{spelt} \u{b7} {share}</span></li>"));
    }
    if let Some(wait) = waiting_s(time) {
        out.push_str(&format!(
            "<li><i class=\"sw wa\"></i><b>W</b> waiting <span>{}</span></li>",
            units::seconds(wait)
        ));
    }
    if let Some(idle) = profile.totals.time.idle_s {
        out.push_str(&format!(
            "<li><span>idle, waiting for work or for a thread to end {}</span></li>",
            units::seconds(idle)
        ));
    }
    if let Some(queued) = time.core_wait_s.filter(|s| *s >= 0.01 * profile.clock.elapsed_s) {
        out.push_str(&format!("<li><span>no core was free for {}</span></li>", units::seconds(queued)));
    }
    if let Some(gil) = time.gil_wait_s.filter(|gil| *gil > 0.0) {
        out.push_str(&format!("<li><span>thereof waiting for the GIL {}</span></li>", units::seconds(gil)));
    }
    if let Some(outside) = wait_outside(profile) {
        let spelt = units::seconds(outside);
        out.push_str(&format!(
            "<li><span>not drawn: {spelt} that threads waited in files that are not reported</span></li>"
        ));
    }
    out.push_str("</ul></div>");
}

fn push_memory(out: &mut String, page: &Page<'_>) {
    out.push_str("<div class=\"panel mem\"><div class=\"tlbox\"><h3>Memory over time <span class=\"key\"><i class=\"kr\"></i>resident (RSS)");
    match page.profile.merge.as_deref().and_then(peak_owner) {
        Some(owner) => out.push_str(&format!(" of {}", escape::text(&owner))),
        None if page.profile.processes.len() > 1 => out.push_str(" of all processes"),
        None => {}
    }
    if !page.profile.timeline.live.is_empty() {
        out.push_str(" <span class=\"nb\"><i class=\"kl\"></i>live, tracked</span>");
    }
    out.push_str("</span></h3>");
    timeline::push(out, page.profile);
    courses::push(out, page);
    moments::push_made_of(out, page);
    out.push_str("</div>");
    let mut owners: Vec<_> = lines(page).filter(|(_, line)| line.memory.peak_bytes.unwrap_or(0) > 0).collect();
    keep_first(&mut owners, OWNERS, |a, b| {
        b.1.memory.peak_bytes.cmp(&a.1.memory.peak_bytes).then((a.0, a.1.line).cmp(&(b.0, b.1.line)))
    });
    if !owners.is_empty() {
        let scale = owners[0].1.memory.peak_bytes.unwrap_or(0) as f64;
        out.push_str("<div class=\"owners\"><h3>Who owns the peak</h3><ol>");
        for (file, line) in &owners {
            let bytes = line.memory.peak_bytes.unwrap_or(0);
            out.push_str(&format!(
                "<li data-f=\"{file}\" data-n=\"{}\">{}<span class=\"n\">{}{}</span><code>{}</code><span class=\"bar\" aria-hidden=\"true\"><i class=\"pk w{}\"></i></span></li>",
                line.line,
                page.names[*file].link(line.line),
                units::bytes(bytes),
                plus_minus(line.memory.peak_bytes, line.memory.peak_bytes_se),
                escape::text(page.texts[*file].get(line.line).map(str::trim).unwrap_or_default()),
                percent(bytes as f64, scale)
            ));
        }
        out.push_str("</ol></div>");
    }
    out.push_str("</div>");
}

fn push_hottest(out: &mut String, page: &Page<'_>) {
    let worth = |line: &Line| total_s(&line.time) > 0.0 || line.memory.alloc_bytes.unwrap_or(0) > 0;
    let mut hottest: Vec<_> = lines(page).filter(|(_, line)| worth(line)).collect();
    keep_first(&mut hottest, HOTTEST, |a, b| {
        let by_time = total_s(&b.1.time).total_cmp(&total_s(&a.1.time));
        let by_bytes = || b.1.memory.alloc_bytes.cmp(&a.1.memory.alloc_bytes);
        by_time.then_with(by_bytes).then_with(|| (a.0, a.1.line).cmp(&(b.0, b.1.line)))
    });
    out.push_str("<div class=\"panel\" id=\"hot\"><h3>Hottest lines</h3>");
    if hottest.is_empty() {
        out.push_str("<p class=\"none\">No line in scope has a figure.</p>");
    } else {
        push_lines(out, page, &hottest, "Hottest lines");
    }
    out.push_str("</div>");
}
