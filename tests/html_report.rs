//! Laws of the HTML report that need no browser: it is self-contained, inert to what it shows, and bounded.

use base64::Engine;
use flate2::read::DeflateDecoder;
use rscalene::profile::model::{File, Label, Line, Memory, Notice, Profile, Section, SectionLine, Thread, Time};
use rscalene::report::html::{HtmlOptions, render_html};
use serde_json::Value;
use std::io::Read;

const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u{2028}\"'";

fn profile(lines: u32) -> Profile {
    let mut profile = Profile::default();
    profile.target.command = vec!["python".into(), HOSTILE.into()];
    profile.notices = vec![Notice::of_process(1, HOSTILE, HOSTILE)];
    profile.totals.time.python_s = Some(f64::from(lines));
    let line = |line| Line {
        line,
        function: HOSTILE.into(),
        source: Some(format!("SECRET = '{HOSTILE}'")),
        time: Time { python_s: Some(1.0), ..Time::default() },
        ..Line::default()
    };
    let hot = vec![SectionLine { file: 0, line: 2, cpu_s: Some(0.25), alloc_bytes: None }];
    profile.sections.push(Section {
        name: HOSTILE.into(),
        count: 3,
        cpu_s: Some(0.5),
        lines: hot,
        ..Section::default()
    });
    profile.labels.push(Label {
        labels: [("route".to_owned(), HOSTILE.to_owned())].into(),
        count: 7,
        p95_s: Some(0.75),
        lines: profile.sections[0].lines.clone(),
        ..Label::default()
    });
    profile.files.push(File { path: HOSTILE.into(), lines: (1..=lines).map(line).collect(), ..File::default() });
    profile
}

#[test]
fn nothing_shown_becomes_markup() {
    let page = render_html(&profile(3), &HtmlOptions::default(), &|_| None);
    assert_eq!(page.matches("<script").count(), 2, "the data and the page's own script");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<img"));
}

#[test]
fn the_sections_are_in_the_run_with_their_hottest_lines() {
    let page = render_html(&profile(3), &HtmlOptions::default(), &|_| None);
    let (_, rest) = page.split_once("<h3>Sections</h3>").expect("there is a section");
    let row = rest.split("</table>").next().expect("it has a table");
    assert!(row.contains(">500 ms<") && row.contains(":2 250 ms"), "{row}");
}

#[test]
fn routes_are_in_the_run_with_their_hottest_lines() {
    let page = render_html(&profile(3), &HtmlOptions::default(), &|_| None);
    let (_, rest) = page.split_once("<h3>Routes</h3>").expect("there is a route");
    let row = rest.split("</table>").next().expect("it has a table");
    assert!(row.contains(">7<") && row.contains(">750 ms<") && row.contains(":2 250 ms"), "{row}");
}

#[test]
fn time_of_unknown_kind_has_a_row_of_its_own() {
    let mut profile = Profile::default();
    profile.totals.time = Time { system_s: Some(0.25), user_s: Some(0.75), ..Time::default() };
    let page = render_html(&profile, &HtmlOptions::default(), &|_| None);
    assert!(page.contains("kind unknown <span>750 ms \u{b7} 75.0%"));
    assert!(page.contains("Python is not told from native code"));
    assert!(!page.contains("The kernel works for the program"));
}

#[test]
fn the_page_refers_to_nothing_outside_itself() {
    let page = render_html(&profile(3), &HtmlOptions::default(), &|_| None);
    let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!elsewhere.contains("http:") && !elsewhere.contains("https:") && !elsewhere.contains("url("));
    assert!(page.contains("default-src &#39;none&#39;"));
}

#[test]
fn without_source_no_text_of_a_line_is_left() {
    let options = HtmlOptions { source: false, ..HtmlOptions::default() };
    let page = render_html(&profile(3), &options, &|_| Some("SECRET".into()));
    assert!(!page.contains("SECRET"));
}

#[test]
fn waits_outside_the_lines_are_a_figure_and_no_bar() {
    let mut profile = profile(3);
    profile.clock.elapsed_s = 5.0;
    profile.totals.time.wait_s = Some(98.0);
    profile.totals.outside_scope.wait_s = Some(97.0);
    let page = render_html(&profile, &HtmlOptions::default(), &|_| None);
    assert!(page.contains("100% <small>Python"), "waiting is no CPU time");
    assert!(page.contains("waiting <span>1.00 s<"));
    assert!(page.contains("97.0 s that threads waited in files that are not reported"));
}

#[test]
fn the_busiest_threads_are_listed_and_the_others_counted() {
    let mut profile = profile(3);
    let thread = |tid: u32| Thread {
        pid: 1,
        tid,
        name: format!("t{tid}"),
        time: Time { python_s: Some(f64::from(tid)), ..Time::default() },
        ..Thread::default()
    };
    profile.threads = (1..=150).map(thread).collect();
    let page = render_html(&profile, &HtmlOptions::default(), &|_| None);
    let (_, rest) = page.split_once("<h3>Threads</h3>").expect("there are threads");
    let rows: Vec<&str> = rest.split("</table>").next().expect("a table").split("<tr data-at=").skip(1).collect();
    assert_eq!(rows.len(), 100);
    assert!(rows[0].starts_with("\"149\"") && rows[0].contains(">t150<"), "{}", rows[0]);
    assert!(rest.contains("50 more threads, which took less time,"));
}

#[test]
fn equal_profiles_give_equal_pages() {
    let render = || render_html(&profile(50), &HtmlOptions::default(), &|_| None);
    assert_eq!(render(), render());
}

#[test]
fn the_part_without_script_is_bounded() {
    let rows = |lines| {
        let page = render_html(&profile(lines), &HtmlOptions::default(), &|_| None);
        page.matches("class=\"ln\"").count()
    };
    assert_eq!(rows(30), 30);
    assert!(rows(20_000) < 620);
}

#[test]
fn each_figure_of_a_line_is_in_the_pages_data_under_its_own_key() {
    let mut profile = profile(1);
    profile.files[0].lines[0].time = Time {
        python_s: Some(1.0),
        native_s: Some(2.0),
        system_s: Some(3.0),
        wait_s: Some(4.0),
        gil_wait_s: Some(0.5),
        ..Time::default()
    };
    profile.files[0].lines[0].memory = Memory {
        alloc_bytes: Some(11),
        alloc_bytes_se: Some(12.0),
        free_bytes: Some(13),
        increment_bytes: Some(-14),
        live_bytes: Some(15),
        live_bytes_se: Some(16.0),
        peak_bytes: Some(17),
        peak_bytes_se: Some(18.0),
        mem_usage_bytes: Some(19),
        copy_bytes: Some(21),
        copy_bytes_se: Some(22.0),
        python_alloc_bytes: Some(10),
        ..Memory::default()
    };
    let line = &mut profile.files[0].lines[0];
    (line.sql_count, line.sql_s, line.sql_rows) = (Some(22), Some(23e-6), Some(24));
    (line.sql_mark, line.sql_build_s) = (Some("N+1".into()), Some(25e-6));
    let page = render_html(&profile, &HtmlOptions::default(), &|_| None);
    let (_, data) = page.split_once("id=\"profile-data\">").expect("the page has data");
    let data: Value = serde_json::from_str(data.split("</script>").next().expect("never empty")).expect("it is JSON");
    let packed = base64::engine::general_purpose::STANDARD.decode(data["blobs"][0].as_str().expect("a file's lines"));
    let mut lines = String::new();
    DeflateDecoder::new(packed.expect("it is base64").as_slice()).read_to_string(&mut lines).expect("it is deflated");
    let lines: Value = serde_json::from_str(&lines).expect("it is JSON");
    let figures = [
        ("py", 1_000_000),
        ("na", 2_000_000),
        ("sy", 3_000_000),
        ("wa", 4_000_000),
        ("gi", 500_000),
        ("al", 11),
        ("ae", 12),
        ("fr", 13),
        ("in", -14),
        ("li", 15),
        ("le", 16),
        ("pk", 17),
        ("pe", 18),
        ("mu", 19),
        ("cp", 21),
        ("ce", 22),
        ("pa", 10),
        ("qc", 22),
        ("qs", 23),
        ("qr", 24),
        ("qb", 25),
        ("qm", 2),
    ];
    for (key, figure) in figures {
        assert_eq!(lines[key], serde_json::json!([figure]), "{key}");
    }
}
