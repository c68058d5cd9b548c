//! Laws of the table.

use rscalene::profile::model::{Exit, HeldBytes, Leak, NearLimit, Process, ProcessShare, Profile, Time};
use rscalene::report::view::{Detail, SortKey};
use rscalene::report::{Options, Style, render_leaks, render_table, summary_line};
use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use crate::profiles::{SOURCE, adversarial, cpu_only, realistic, time};

const WIDTHS: [usize; 5] = [40, 60, 80, 120, 200];

fn plain(width: usize) -> Style {
    Style { width, ..Style::PLAIN }
}

fn render(profile: &Profile, options: &Options, style: &Style) -> String {
    render_table(profile, options, style, &|path| path.ends_with("orders.py").then(|| SOURCE.to_owned()))
}

/// Without colours.
fn stripped(painted: &str) -> String {
    let mut parts = painted.split('\u{1b}');
    let mut out = parts.next().unwrap_or_default().to_owned();
    parts.for_each(|part| out.push_str(part.split_once('m').unwrap().1));
    out
}

fn cells(row: &str) -> usize {
    row.graphemes(true).map(|cluster| cluster.width()).sum()
}

#[test]
fn a_statement_is_shown_whole_and_an_interpreter_by_its_name() {
    let mut profile = realistic();
    for (command, title) in [
        (vec!["%rscalene a = spin(6) / 2"], "── %rscalene a = spin(6) / 2 ──"),
        (vec!["/usr/bin/python", "a/app.py"], "── python a/app.py ──"),
    ] {
        profile.target.command = command.into_iter().map(str::to_owned).collect();
        assert!(render(&profile, &Options::default(), &plain(120)).contains(title), "{title}");
    }
}

#[test]
fn time_of_unclear_kind_is_neither_python_nor_native_time() {
    let mut profile = Profile::default();
    profile.totals.time = Time { system_s: Some(0.25), user_s: Some(0.75), ..Time::default() };
    let table = render(&profile, &Options::default(), &plain(120));
    assert!(table.contains("1.00 s CPU") && table.contains("system 250 ms 25%"), "{table}");
    assert!(table.contains("kind unknown 750 ms 75%"), "{table}");
    assert!(!table.contains("native 0") && !table.contains("wait"), "{table}");
    assert!(summary_line(&profile).contains("1.00 s CPU (system 25%)"), "{}", summary_line(&profile));
}

#[test]
fn no_row_is_wider_than_the_terminal() {
    for profile in [realistic(), cpu_only(), adversarial(), Profile::default()] {
        for width in WIDTHS {
            for unicode in [true, false] {
                let style = Style { width, color: true, unicode };
                for row in stripped(&render(&profile, &Options::default(), &style)).lines() {
                    assert!(cells(row) <= width, "{} cells of {width}: {row}", cells(row));
                    assert!(unicode || row.is_ascii(), "{row}");
                }
            }
        }
    }
}

#[test]
fn colour_adds_nothing_but_colour() {
    for profile in [realistic(), cpu_only()] {
        let painted = render(&profile, &Options::default(), &Style { color: true, ..plain(120) });
        assert!(painted.contains('\u{1b}'));
        assert_eq!(stripped(&painted), render(&profile, &Options::default(), &plain(120)));
    }
}

#[test]
fn nothing_from_the_profile_acts_on_the_terminal() {
    let options = Options { min_percent: 0.0, all_lines: true, ..Options::default() };
    let text = render(&adversarial(), &options, &plain(200));
    let acts = |c: char| {
        (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    assert_eq!(text.chars().find(|c| acts(*c)), None);
    assert!(text.contains("␛[2J"), "what would act is shown");
    assert!(text.contains("<U+202E>decaf"));
    let line = summary_line(&adversarial());
    assert!(line.chars().all(|c| matches!(c, ' '..='~')), "{line}");
}

#[test]
fn without_memory_there_is_no_memory_column() {
    for width in WIDTHS {
        let text = render(&cpu_only(), &Options::default(), &plain(width));
        for word in ["Allocated", "At peak", "Increment", "Mem usage", "Copied", "Live"] {
            assert!(!text.contains(word), "{word} at {width}");
        }
        let wide = render(&realistic(), &Options::default(), &plain(200));
        for word in ["Allocated", "At peak", "Increment", "Mem usage", "Copied", "Live", "Line #", "Line Contents"] {
            assert!(wide.contains(word), "{word} is missing");
        }
    }
}

#[test]
fn unknown_is_blank_and_zero_is_0() {
    let row = |profile: &Profile| {
        let text = render(profile, &Options::default(), &plain(200));
        let row = text.lines().find(|row| row.contains("│") && row.contains("time.sleep")).unwrap();
        row.split('│').next().unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut profile = realistic();
    let known = row(&profile);
    assert!(known.iter().filter(|cell| *cell == "0").count() >= 5, "{known:?}");
    let line = &mut profile.files[0].lines[10];
    line.memory = Default::default();
    line.time.python_s = None;
    line.time.native_s = None;
    let unknown = row(&profile);
    assert!(!unknown.contains(&"0".to_owned()), "{unknown:?}");
}

#[test]
fn numbers_are_whole_at_forty_columns() {
    let text = render(&realistic(), &Options::default(), &plain(40));
    for number in ["3.21 s", "peak 412 MiB at 1.50 s", "2,930", "287,444", "6.14", "44.4%", "1.290 s", "99.3%", "±3%"]
    {
        assert!(text.contains(number), "{number} is missing in\n{text}");
    }
}

#[test]
fn losses_are_shown_whenever_there_are_any() {
    let mut profile = realistic();
    assert!(!render(&profile, &Options::default(), &plain(80)).contains("lost"));
    profile.totals.lost_records = 1_234;
    for width in WIDTHS {
        assert!(render(&profile, &Options::default(), &plain(width)).contains("1,234 records"));
    }
    assert!(summary_line(&profile).contains("1,234 records lost"));
}

#[test]
fn standard_errors_above_one_per_cent_are_shown() {
    let mut profile = realistic();
    let row = |profile: &Profile| {
        let text = render(profile, &Options { sort: SortKey::memory("peak_bytes"), ..Options::default() }, &plain(80));
        text.lines().find(|row| row.starts_with("orders.py:21")).unwrap().to_owned()
    };
    assert!(row(&profile).contains("31.0 MiB ±4%"), "{}", row(&profile));
    let memory = &mut profile.files[0].lines[5].memory;
    memory.peak_bytes_se = memory.peak_bytes.map(|bytes| bytes as f64 * 0.01);
    assert!(row(&profile).contains("31.0 MiB   "), "{}", row(&profile));
}

#[test]
fn the_sorting_column_is_shown_at_every_width() {
    let heads = [
        (SortKey::memory("alloc_bytes"), "Allocated"),
        (SortKey::memory("live_bytes"), "Live"),
        (SortKey::memory("increment_bytes"), "Increment"),
        (SortKey::memory("copy_bytes"), "Copied"),
        (SortKey::Wait, "Wait"),
    ];
    for (sort, head) in heads {
        for width in WIDTHS {
            let text = render(&realistic(), &Options { sort, ..Options::default() }, &plain(width));
            let list = text.split("Hottest lines").nth(1).unwrap();
            assert!(list.lines().nth(1).unwrap().contains(head), "{head} at {width}:\n{list}");
        }
    }
}

#[test]
fn from_80_columns_on_time_wait_and_peak_stand_side_by_side_and_the_native_function_is_read() {
    // A peak with an error of 64 % has the widest column.
    let mut profile = realistic();
    for line in profile.files.iter_mut().flat_map(|file| &mut file.lines) {
        line.memory.peak_bytes_se = line.memory.peak_bytes.map(|bytes| bytes as f64 * 0.64);
    }
    for width in 80..160 {
        let list = render(&profile, &Options::default(), &plain(width));
        let heads = list.split("Hottest lines").nth(1).unwrap().lines().nth(1).unwrap();
        assert!(heads.contains("Wait") && heads.contains("At peak"), "{width}: {heads}");
    }
    let list = render(&realistic(), &Options::default(), &plain(80));
    let list = list.split("Hottest lines").nth(1).unwrap();
    let heads = list.lines().nth(1).unwrap();
    for head in ["CPU %", "CPU", "Wait", "At peak"] {
        assert!(heads.contains(head), "{head}: {heads}");
    }
    assert!(list.contains("1.02 s dgemm_kernel"), "{list}");
}

#[test]
fn a_share_of_cpu_time_is_of_the_run_in_every_table() {
    let mut profile = realistic();
    // Half of the run has no stack.
    let drawn: f64 = profile.stacks.nodes.iter().map(|node| node.cpu_s).sum();
    profile.totals.time = Time { python_s: Some(2.0 * drawn), ..Time::default() };
    let tree = render(&profile, &Options { tree: true, ..Options::default() }, &plain(120));
    let outermost = tree.split("Call tree").nth(1).unwrap().lines().nth(1).unwrap();
    assert!(outermost.contains(" 50%"), "{outermost}");
}

#[test]
fn cold_stretches_fold_to_one_row_and_unfold_on_request() {
    let folded = render(&realistic(), &Options::default(), &plain(120));
    let unfolded = render(&realistic(), &Options { all_lines: true, ..Options::default() }, &plain(120));
    assert!(folded.contains("     ⋮ 3 lines\n     4"), "{folded}");
    assert!(folded.contains("    43"), "two lines of context");
    assert!(folded.contains("     ⋮ 9 lines\n"));
    assert!(!unfolded.contains('⋮'));
    for number in 1..=SOURCE.lines().count() {
        let row = format!("\n{number:>6} ");
        assert_eq!(unfolded.matches(&row).count(), 1, "line {number}");
    }
    for text in [&folded, &unfolded] {
        assert!(text.contains("│ def wait_for_lock():"));
    }
}

#[test]
fn a_file_that_changed_is_not_shown_beside_figures_that_are_not_its_own() {
    let changed = |_: &str| Some(SOURCE.replacen("import json", "import json\nimport os", 1));
    let text = render_table(&realistic(), &Options::default(), &plain(120), &changed);
    assert!(text.contains("the file has changed since"));
    assert!(text.contains("│         total += float(weights.trace())") || text.contains("│         weights = prices"));
    assert!(!text.contains("def wait_for_lock"), "only what was recorded");
}

#[test]
fn wide_characters_keep_columns_aligned() {
    let mut profile = realistic();
    for (line, text) in profile.files[0].lines.iter_mut().zip(["합계", "日本語", "сумма", "x = '👩\u{200d}🚀'", "é"])
    {
        line.function = text.repeat(9);
        line.source = Some(format!("{text} = {text}"));
    }
    profile.files[0].path = "/srv/shop/주문/합계.py".into();
    let text = render(&profile, &Options::default(), &plain(200));
    let list: Vec<&str> = text.split("Hottest lines").nth(1).unwrap().lines().skip(1).take(8).collect();
    let column = cells(list[0].split("Source").next().unwrap());
    for row in &list[1..] {
        let mut at = 0;
        let before: String = row
            .graphemes(true)
            .take_while(|cluster| {
                at += cluster.width();
                at <= column
            })
            .collect();
        assert_eq!(cells(&before), column, "{row}");
        assert!(before.ends_with(' '), "{row}");
    }
}

#[test]
fn the_answer_stands_last_at_every_width_and_in_every_detail() {
    for width in WIDTHS {
        for detail in [Detail::Short, Detail::Full, Detail::Fitting { rows: 24 }, Detail::Fitting { rows: 999 }] {
            let text = render(&realistic(), &Options { detail, ..Options::default() }, &plain(width));
            let last: Vec<&str> = text.lines().rev().take(2).collect();
            assert!(last[1].starts_with("slowest: orders.py:28 took 1.29 s"), "{width}: {}", last[1]);
            let owner =
                if width == 40 { "most memory: orders.py:28" } else { "most memory: orders.py:28 held 300 MiB" };
            assert!(last[0].starts_with(owner), "{width}: {}", last[0]);
        }
    }
    let last = |profile: &Profile| {
        let text = render(profile, &Options::default(), &plain(100));
        text.lines().rev().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(last(&cpu_only())[0], "most memory: not measured");
    let mut profile = realistic();
    profile.files[0].lines[7].cpu_samples = 3;
    assert!(last(&profile)[1].contains("too few samples to be sure"), "{:?}", last(&profile));
}

#[test]
fn the_page_and_the_last_lines_name_the_same_lines() {
    let mut tied = realistic();
    for line in &mut tied.files[0].lines {
        line.time = time(100.0, 0.0, 0.0, 0.0);
        line.memory.peak_bytes = Some(1 << 20);
    }
    for profile in [realistic(), tied] {
        let text = render(&profile, &Options::default(), &plain(120));
        let page = rscalene::report::html::render_html(&profile, &Default::default(), &|_| None);
        for (label, card) in [("slowest: ", "Hottest line"), ("most memory: ", "Owner of the memory peak")] {
            let named = text.lines().find_map(|row| row.strip_prefix(label)).unwrap();
            let named = named.split(' ').next().unwrap();
            let card = page.split(&format!("<h3>{card}</h3>")).nth(1).unwrap();
            let shown = card.split("class=\"loc\"").nth(1).unwrap().split('>').nth(1).unwrap();
            assert!(shown.starts_with(&format!("{named}<")), "{label}{named}, but the card names {shown}");
        }
    }
}

#[test]
fn the_short_report_fits_a_small_screen_and_the_full_one_comes_where_it_fits() {
    let rows = |detail| {
        let text = render(&realistic(), &Options { detail, ..Options::default() }, &plain(80));
        (text.lines().count(), text.contains("Line Contents"))
    };
    let (full, annotated) = rows(Detail::Full);
    assert!(full > 24 && annotated);
    let (fitting, annotated) = rows(Detail::Fitting { rows: 24 });
    assert!(fitting < 24 && !annotated, "{fitting} rows");
    assert_eq!(rows(Detail::Fitting { rows: full + 1 }), (full, true));
    assert!(!rows(Detail::Short).1);
}

#[test]
fn the_tree_of_calls_comes_on_request() {
    let options = Options { tree: true, ..Options::default() };
    let text = render(&realistic(), &options, &plain(100));
    let tree = text.split("Call tree").nth(1).expect("a tree").split("\n\n").next().unwrap_or_default();
    assert!(tree.contains("simulate") && tree.contains("main orders.py:"), "{tree}");
    assert!(!render(&realistic(), &Options::default(), &plain(100)).contains("Call tree"));
    let bytes = render(&realistic(), &Options { sort: SortKey::memory("alloc_bytes"), ..options }, &plain(100));
    assert!(bytes.contains("bytes allocated"), "{bytes}");
}

#[test]
fn an_endless_line_costs_at_most_its_buffer() {
    let mut profile = realistic();
    profile.files[0].lines[7].source = Some("x = 1 + ".repeat(1_000_000));
    let text = render_table(&profile, &Options::default(), &plain(80), &|_| None);
    assert!(text.len() < 20_000);
    assert!(text.contains("x = 1 + x = 1"));
}

#[test]
fn equal_profiles_give_equal_bytes() {
    let style = Style { color: true, ..plain(120) };
    let options = Options::default();
    assert!(render(&adversarial(), &options, &style) == render(&adversarial(), &options, &style));
}

#[test]
fn an_empty_profile_is_a_short_report_not_a_panic() {
    for width in WIDTHS {
        let text = render(&Profile::default(), &Options::default(), &plain(width));
        assert!(text.contains("0 s elapsed"), "{text}");
        assert!(text.lines().count() <= 6, "{text}");
    }
    assert_eq!(summary_line(&Profile::default()), "rscalene: 0 s elapsed");
}

#[test]
fn the_summary_line_holds_the_run_in_one_line() {
    assert_eq!(
        summary_line(&realistic()),
        "rscalene: python orders.py orders.json 40: 3.21 s elapsed, 2.91 s CPU (python 27%, native 66%, system 7.2%), \
         277 ms wait, peak RSS 412 MiB, hottest line orders.py:28 44%"
    );
}

#[test]
fn files_elsewhere_are_called_by_their_last_part_unless_two_share_it() {
    let mut profile = cpu_only();
    let places = |profile: &Profile| {
        let text = render(profile, &Options::default(), &plain(160));
        let list = text.split("Hottest lines").nth(1).unwrap_or_default().split("\n\n").next().unwrap_or_default();
        list.to_owned()
    };
    profile.target.cwd = "/srv/other".into();
    profile.files[0].path = "/opt/tools/demo.py".into();
    assert!(!places(&profile).contains("/opt/") && places(&profile).contains("demo.py:"));
    let mut twin = profile.files[0].clone();
    twin.path = "/opt/more/demo.py".into();
    profile.files.push(twin);
    assert!(places(&profile).contains("/opt/tools/demo.py:") && places(&profile).contains("/opt/more/demo.py:"));
}

#[test]
fn functions_of_a_file_without_lines_are_not_listed() {
    let mut profile = cpu_only();
    let mut bare = profile.files[0].clone();
    bare.path = "<string>".into();
    bare.lines.clear();
    profile.files.push(bare);
    assert!(!render(&profile, &Options::default(), &plain(120)).contains("<string>"));
}

#[test]
fn the_list_of_leaks_always_answers() {
    let mut profile = realistic();
    let path = profile.files[0].path.clone();
    let leak = Leak { file: 0, line: 28, live_bytes: 5 << 20, bytes_per_s: 1_048_576.0, confidence: 0.998 };
    profile.leaks = Some(vec![leak.clone(), Leak { line: 21, confidence: 0.999_99, ..leak }]);
    for width in [40, 80, 160] {
        let listed = render_leaks(&profile, &plain(width));
        assert!(listed.lines().all(|row| cells(row) <= width), "{listed}");
    }
    let listed = render_leaks(&profile, &plain(100));
    for part in [":28", ":21", "1.00 MiB/s", "5.00 MiB", "99.8%", ">99.9%"] {
        assert!(listed.contains(part), "{part} of {path} in {listed}");
    }
    let whole = render(&profile, &Options::default(), &plain(100));
    let hint = whole.lines().find(|row| row.contains("leaks")).expect("a hint");
    assert!(
        hint.contains(":28 grew until the end, 1.00 MiB/s, 99.8% sure") && hint.contains("1 more: --leaks"),
        "{hint}"
    );
    profile.leaks = Some(Vec::new());
    assert!(render_leaks(&profile, &plain(100)).contains("none found"));
    assert!(!render(&profile, &Options::default(), &plain(100)).contains("leaks"));
    profile.leaks = None;
    assert!(render_leaks(&profile, &plain(100)).contains("memory was not profiled"));
}

#[test]
fn each_process_shows_its_own_lines_and_shares() {
    let mut profile = realistic();
    profile.processes = (0..25u32)
        .map(|pid| Process {
            pid: 100 + pid,
            command: vec![format!("worker{pid}.py")],
            exit: Exit { code: Some(pid as i32), signal: None },
            time: time(1000.0 + f64::from(pid), 0.0, 0.0, 0.0),
            ..Process::default()
        })
        .collect();
    let lines = &mut profile.files[0].lines;
    assert!(lines.len() > 1);
    lines[0].by_process = vec![ProcessShare { process: 24, time: time(512.0, 0.0, 0.0, 0.0), ..Default::default() }];
    lines[1].by_process = vec![ProcessShare { process: 23, time: time(1023.0, 0.0, 0.0, 0.0), ..Default::default() }];
    let (first, second) = (lines[0].line, lines[1].line);
    let text = render(&profile, &Options { per_process: true, ..Options::default() }, &plain(100));
    let (_, each) = text.split_once("Process 124").expect("the busiest is first");
    let (busiest, next) = each.split_once("Process 123").expect("the next follows");
    assert!(
        busiest.contains("1.02 s CPU") && busiest.contains("exit 24") && busiest.contains("worker24.py"),
        "{busiest}"
    );
    assert!(busiest.contains(&format!(":{first} ")) && busiest.contains("50.0%"), "{busiest}");
    assert!(next.contains(&format!(":{second} ")) && next.contains("100"), "{next}");
    assert!(!next.contains("Process 104") && text.contains("and 5 more"));
    assert!(!render(&profile, &Options::default(), &plain(100)).contains("Process 124"));
}

#[test]
fn the_summary_names_the_lines_that_held_memory_near_a_limit() {
    let mut profile = realistic();
    let held = |line, live_bytes| HeldBytes { file: 0, line, live_bytes };
    let near = |limit: &str, at_s, used_bytes| NearLimit {
        limit: limit.to_owned(),
        at_s,
        process: 0,
        used_bytes,
        limit_bytes: 512 << 20,
        lines: vec![held(28, 400 << 20), held(21, 3 << 20)],
    };
    profile.near_limits = vec![near("cgroup", 1.0, 470 << 20), near("cgroup", 2.0, 500 << 20)];
    let text = render(&profile, &Options::default(), &plain(120));
    let rows: Vec<&str> = text.lines().filter(|row| row.trim_start().starts_with("limit ")).collect();
    assert_eq!(rows.len(), 1, "the latest moment stands: {text}");
    for part in ["500 MiB of 512 MiB (cgroup) at 2.00 s", ":28 held 400 MiB", ":21 held 3.00 MiB"] {
        assert!(rows[0].contains(part), "{part}: {}", rows[0]);
    }
}

#[test]
fn idle_threads_outside_the_program_are_no_waits_of_the_program() {
    let mut profile = realistic();
    let lines = profile.totals.time.wait_s.unwrap_or(0.0);
    profile.totals.time.wait_s = Some(lines + 90.0);
    profile.totals.outside_scope.wait_s = Some(90.0);
    let text = render(&profile, &Options::default(), &plain(120));
    assert!(text.contains("of waiting threads in files that are not reported"), "{text}");
    assert!(!text.contains("wait 90") && !text.contains(" in 2 threads"), "{text}");
}

#[test]
fn the_most_allocated_bytes_are_shown_if_clearly_above_the_peak() {
    let mut profile = realistic();
    profile.totals.most_allocated_bytes = Some(800 << 20);
    let table = render(&profile, &Options::default(), &plain(120));
    assert!(table.contains("most allocated at any moment 800 MiB"), "{table}");
    profile.totals.most_allocated_bytes = Some(400 << 20);
    assert!(!render(&profile, &Options::default(), &plain(120)).contains("at any moment"));
}

#[test]
fn the_peak_is_one_figure_at_the_top_and_below_the_course_of_the_memory() {
    let mut profile = realistic();
    profile.totals.footprint_peak_bytes = Some(500 << 20);
    profile.totals.footprint_peak_at_s = Some(2.5);
    let table = render(&profile, &Options::default(), &plain(120));
    assert!(table.contains("500 MiB peak RSS") && table.contains("peak 500 MiB at 2.50 s"), "{table}");
    assert!(table.contains("at the peak of 500 MiB"), "{table}");
}
