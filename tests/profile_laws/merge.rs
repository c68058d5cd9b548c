//! Laws of merged profiles: order and grouping make no difference, sums are exact, peaks are those of a single run.

use rscalene::profile::merge::{By, Merging, NotAdded};
use rscalene::profile::model::*;
use rscalene::report::json;

const TEXTS: [&str; 2] = ["aaaaaaaaaaaa", "bbbbbbbbbbbb"];

fn bytes(profile: &Profile) -> Vec<u8> {
    let mut bytes = Vec::new();
    json::write(profile, json::Layout::Compact, &mut bytes).expect("a vector takes all");
    bytes
}

/// Merges, after each was written and read, as files are.
fn merged(profiles: &[Profile]) -> Profile {
    let mut merging = Merging::new();
    for profile in profiles {
        let again = json::read_bytes("a profile", &bytes(profile)).expect("what was written is read");
        merging.add(again).expect("each is new");
    }
    merging.finish(None)
}

/// A run of `app.py` on two hosts, with all that a profile may have; the same for the same seed.
fn run(seed: u64) -> Profile {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut s = move || (random.f64() * 1e9).round() / 1e9;
    let mut numbers = fastrand::Rng::with_seed(!seed);
    let time = |s: &mut dyn FnMut() -> f64| Time {
        python_s: Some(s()),
        native_s: Some(s() / 3.0),
        system_s: (!seed.is_multiple_of(3)).then(&mut *s),
        wait_s: Some(s()),
        gil_wait_s: (!seed.is_multiple_of(2)).then(&mut *s),
        ..Time::default()
    };
    let memory = |s: &mut dyn FnMut() -> f64, random: &mut fastrand::Rng| match seed % 4 {
        3 => Memory::default(),
        _ => Memory {
            alloc_bytes: Some(random.u64(..1 << 40)),
            alloc_bytes_se: Some(s() * 1e7),
            alloc_count: Some(random.u64(..1000)),
            free_bytes: Some(random.u64(..1 << 40)),
            live_bytes: Some(random.u64(..1 << 30)),
            live_bytes_se: Some(s() * 1e6),
            peak_bytes: Some(random.u64(..1 << 30)),
            peak_bytes_se: Some(s() * 1e6),
            mem_usage_bytes: Some(random.u64(..1 << 34)),
            ..Memory::default()
        },
    };
    let pids: Vec<u32> = (0..1 + seed as u32 % 3).map(|at| 100 + at).collect();
    let mut line = |line: u32| Line {
        line,
        function: ["f", "g"][numbers.usize(..2)].to_owned(),
        source: Some(format!("line {line}")),
        time: time(&mut s),
        cpu_s_se: (seed != 4).then(|| s() / 50.0),
        cpu_samples: numbers.u64(..9),
        memory: memory(&mut s, &mut numbers),
        sql_count: (seed != 2).then_some(seed),
        sql_s: (seed != 2).then(|| seed as f64 / 7.0),
        sql_mark: (seed == 1).then(|| "duplicate".to_owned()),
        native: vec![NativeSymbol { object: "libx".into(), symbol: Some(format!("f{}", seed % 2)), s: s() / 9.0 }],
        by_process: (0..pids.len())
            .filter(|_| pids.len() > 1)
            .map(|process| ProcessShare { process, time: time(&mut s), memory: memory(&mut s, &mut numbers) })
            .collect(),
        ..Line::default()
    };
    let lines: Vec<Line> = (1..20).filter(|at| !(seed + at).is_multiple_of(5)).map(|at| line(at as u32)).collect();
    let (own, cumulative) = (time(&mut s), Cumulative { cpu_s: Some(s()), wall_s: Some(s()), alloc_bytes: Some(seed) });
    let function = Function {
        name: "f".into(),
        qualname: "C.f".into(),
        first_line: 1,
        last_line: 9,
        own,
        cpu_s_se: Some(s() / 50.0),
        cumulative,
    };
    let section_lines = vec![SectionLine { file: 0, line: 1, cpu_s: Some(s()), alloc_bytes: Some(seed) }];
    let label = |name: &str, s: f64| Label {
        labels: [("task".to_owned(), name.to_owned())].into(),
        count: 2,
        elapsed_s: s,
        median_s: Some(s / 2.0),
        longest_s: Some(s),
        cpu_s: Some(s / 3.0),
        lines: section_lines.clone(),
        ..Label::default()
    };
    let cwd = ["/home/one", "/scratch/two"][seed as usize % 2];
    let nodes = (0..30).map(|at: usize| StackNode {
        parent: (at > 0).then(|| (at - 1) / 2),
        frame: (at * (1 + seed as usize)) % 6,
        cpu_s: 0.001 * at as f64,
        wall_s: 0.002 * at as f64,
        alloc_bytes: at as u64,
        peak_bytes: at as u64 + seed,
        cpu_samples: at as u64,
        python_s: 0.0005 * at as f64,
        native_s: 0.0004 * at as f64,
        system_s: 0.0001 * at as f64,
        alloc_count: seed,
        live_bytes: at as u64,
    });
    let frames = (0..6).map(|at| StackFrame { file: at % 3, function: format!("f{}", at % 2), line: at as u32 });
    Profile {
        target: Target {
            command: vec!["python".into(), "app.py".into()],
            cwd: cwd.into(),
            python: Some(["3.11.7", "3.13.0"][seed as usize % 2].into()),
            pid: 100,
            host: Some(format!("host{}", seed % 2)),
            rank: (seed < 6).then_some(seed as u32),
            ..Target::default()
        },
        clock: Clock { started_at: format!("2026-01-01T00:00:{seed:02}Z"), elapsed_s: 10.0 + 0.1, program_s: None },
        totals: Totals {
            time: own,
            memory: lines[0].memory,
            peak_rss_bytes: Some((seed * 7919) % 7 * 1_000_000),
            footprint_peak_bytes: Some((seed * 7919) % 5 * 1_000_000),
            footprint_peak_at_s: Some(0.1 + seed as f64),
            resident_files_peak_bytes: Some(seed),
            cpu_samples: seed,
            cpu_clock_s: Some(0.3),
            tracked_peak_bytes: Some(seed),
            ..Totals::default()
        },
        files: vec![
            File {
                path: format!("{cwd}/app.py"),
                text_sha256: Some(TEXTS[usize::from(seed == 7)].into()),
                lines,
                functions: vec![function],
            },
            File { path: "/lib/unread.py".into(), ..File::default() },
        ],
        timeline: Timeline { rss: vec![(0.0, 1), (0.5 + 0.1, seed)], live: vec![(0.25, seed)], ..Timeline::default() },
        threads: vec![Thread { pid: 100, tid: 100, name: "main".into(), time: own, cpu_clock_s: Some(0.1) }],
        processes: pids.iter().map(|pid| Process { pid: *pid, time: own, ..Process::default() }).collect(),
        stacks: Stacks {
            frames: frames.collect(),
            nodes: nodes.collect(),
            other_files: vec!["/lib/other.py".into()],
            ..Stacks::default()
        },
        sections: vec![Section {
            name: "load".into(),
            pid: 100,
            count: 1,
            start_s: 0.1,
            end_s: 0.3,
            lines: section_lines.clone(),
            ..Section::default()
        }],
        labels: vec![label("a", 0.1 + seed as f64), label("b", 0.2)],
        sql: (!seed.is_multiple_of(2)).then(|| Sql {
            count: seed,
            time_s: 0.1 + seed as f64,
            rows: (seed > 3).then_some(seed),
            statements: vec![SqlStatement {
                file: Some(0),
                line: Some(1),
                statement: "SELECT ?".into(),
                count: seed,
                time_s: 0.1 + seed as f64,
                longest_s: 0.1 * seed as f64,
                mark: Some(["duplicate", Sql::N_PLUS_ONE][usize::from(seed == 3)].into()),
                cause: Some(SqlCause { file: seed as usize % 2, line: 3, rows: seed / 3 }),
                ..SqlStatement::default()
            }],
        }),
        leaks: Some(vec![Leak { file: 0, line: 3, live_bytes: seed, bytes_per_s: 0.1 + seed as f64, confidence: 0.9 }]),
        near_limits: vec![NearLimit {
            limit: "cgroup".into(),
            at_s: 0.3,
            process: pids.len() - 1,
            lines: vec![HeldBytes { file: 0, line: 2, live_bytes: 9 }],
            ..NearLimit::default()
        }],
        notices: vec![
            Notice::of_run("perf_denied", "perf events are denied"),
            Notice::of_run("x", format!("{}", seed / 2)),
        ],
        ..Profile::default()
    }
}

fn eight() -> Vec<Profile> {
    (0..8).map(run).collect()
}

#[test]
fn any_order_of_eight_profiles_gives_the_same_bytes() {
    let mut profiles = eight();
    let expected = bytes(&merged(&profiles));
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..40 {
        random.shuffle(&mut profiles);
        assert_eq!(bytes(&merged(&profiles)), expected);
    }
}

#[test]
fn any_grouping_of_eight_profiles_gives_the_same_bytes() {
    let profiles = eight();
    let expected = bytes(&merged(&profiles));
    let mut random = fastrand::Rng::with_seed(2);
    for _ in 0..40 {
        let mut left = profiles.clone();
        while left.len() > 1 {
            random.shuffle(&mut left);
            let taken = left.split_off(left.len() - random.usize(1..=left.len().min(3)));
            left.push(merged(&taken));
        }
        // One that is left alone is a merged one, or it is merged with nothing.
        assert_eq!(bytes(&merged(&left)), expected);
    }
}

#[test]
fn many_processes_and_threads_keep_the_law_too() {
    let many = |seed: u64, processes: u32, threads: u32| {
        let mut profile = run(seed);
        let row = profile.processes[0].clone();
        profile.processes = (0..processes).map(|pid| Process { pid, ..row.clone() }).collect();
        profile.near_limits.clear();
        let row = profile.threads[0].clone();
        profile.threads = (0..threads).map(|tid| Thread { tid, ..row.clone() }).collect();
        profile
    };
    let profiles = [many(1, 30, 2000), many(2, 30, 2000), many(4, 30, 2000), many(6, 1, 1)];
    let whole = merged(&profiles);
    let [a, b, c, d] = profiles;
    let parts = merged(&[merged(&[d, b]), merged(&[c, a])]);
    assert_eq!(bytes(&parts), bytes(&whole));
    assert_eq!((whole.threads.len(), whole.processes.len()), (1, 91), "threads are one row, processes all");
    assert!((whole.threads[0].cpu_clock_s.expect("known") - 600.1).abs() < 1e-9);
}

#[test]
fn sums_add_up_and_errors_as_squares() {
    let (a, b) = (run(1), run(5));
    let both = merged(&[a.clone(), b.clone()]);
    let line = |profile: &Profile, number: u32| {
        let file = profile.files.iter().find(|file| file.path.ends_with("app.py")).expect("there");
        file.lines.iter().find(|line| line.line == number).cloned().expect("both ran it")
    };
    let (x, y, sum) = (line(&a, 2), line(&b, 2), line(&both, 2));
    let (one, two) = (x.time.python_s.expect("known"), y.time.python_s.expect("known"));
    assert!((sum.time.python_s.expect("known") - one - two).abs() <= 1e-6);
    assert_eq!(
        sum.memory.alloc_bytes,
        Some(x.memory.alloc_bytes.expect("known") + y.memory.alloc_bytes.expect("known"))
    );
    let se = |line: &Line| line.memory.alloc_bytes_se.expect("known");
    assert!((se(&sum) - se(&x).hypot(se(&y))).abs() < 1.0, "{} {} {}", se(&sum), se(&x), se(&y));
    let se = |line: &Line| line.cpu_s_se.expect("known");
    assert!((se(&sum) - se(&x).hypot(se(&y))).abs() < 1e-6, "{} {} {}", se(&sum), se(&x), se(&y));
    assert_eq!(sum.cpu_samples, x.cpu_samples + y.cpu_samples);
}

#[test]
fn figures_at_a_peak_are_those_of_the_highest_run() {
    // The peaks of the seeds 0 to 7, in millions: 0 4 3 2 1 0 4 3; of the equal ones of 1 and 6, the tracked peak decides.
    let profiles = eight();
    let whole = merged(&profiles);
    let merge = whole.merge.clone().expect("it is merged");
    assert_eq!(whole.totals.footprint_peak_bytes, Some(4_000_000));
    // The largest process of all is that of seed 3.
    assert_eq!(whole.totals.peak_rss_bytes, Some(6_000_000));
    assert_eq!((merge.members[merge.peak_member].rank, whole.totals.tracked_peak_bytes), (None, Some(6)));
    let app = &profiles[6].files[0];
    let line = &app.lines[0];
    let found = whole.files.iter().flat_map(|file| &file.lines).find(|row| row.line == line.line).expect("there");
    assert_eq!(found.memory.peak_bytes, line.memory.peak_bytes);
    let missing = whole.files.iter().filter(|file| file.text_sha256 == app.text_sha256);
    let missing = missing.flat_map(|file| &file.lines).find(|row| app.lines.iter().all(|line| line.line != row.line));
    assert_eq!(missing.expect("a line that the run has not").memory.peak_bytes, Some(0));
    assert_eq!(whole.timeline.rss[1].1, 6);
}

#[test]
fn two_texts_of_one_path_stay_apart_and_one_text_of_two_folders_is_one_file() {
    let whole = merged(&eight());
    let paths: Vec<&str> = whole.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["./app.py (text aaaaaaaa)", "./app.py (text bbbbbbbb)", "/lib/unread.py"]);
    let one = merged(&[run(0), run(1)]);
    assert_eq!(one.files[0].path, "./app.py");
    let folder = merged(&[run(0), run(2)]);
    assert_eq!(folder.files[0].path, "/home/one/app.py");
    let mut unread = run(1);
    unread.files[0].text_sha256 = None;
    let apart = merged(&[run(3), unread]);
    let paths: Vec<&str> = apart.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        paths,
        ["/lib/unread.py", "/scratch/two/app.py", "/scratch/two/app.py"],
        "without a text nothing is proved"
    );
}

#[test]
fn a_run_counts_once() {
    let mut merging = Merging::new();
    assert_eq!(merging.add(run(1)), Ok(()));
    assert_eq!(merging.add(run(1)), Err(NotAdded::Twice));
    assert_eq!(merging.add(merged(&[run(1)])), Err(NotAdded::Twice));
    let overlaps = merged(&[run(1), run(2)]);
    assert_eq!(merging.add(overlaps), Err(NotAdded::Overlaps("rank 1".into())));
    assert_eq!(bytes(&merging.finish(None)), bytes(&merged(&[run(1)])));
}

#[test]
fn the_spread_compares_ranks_hosts_processes_and_labels() {
    let by = |by: By| {
        let mut merging = Merging::new();
        eight().into_iter().for_each(|profile| merging.add(profile).expect("each is new"));
        merging.finish(Some(by)).merge.expect("it is merged").spread.clone()
    };
    let ranks = by(By::Rank);
    assert_eq!(ranks.groups, ["rank 0", "rank 1", "rank 2", "rank 3", "rank 4", "rank 5", "host0:100", "host1:100"]);
    assert_eq!(by(By::Host).groups, ["host0", "host1"]);
    assert_eq!(by(By::Process).groups.len(), (0..8).map(|seed| 1 + seed % 3).sum::<usize>());
    assert_eq!(by(By::Label).groups, ["task=a", "task=b"]);
    let cpu = |profile: &Profile, number: u32| {
        let line = profile.files[0].lines.iter().find(|line| line.line == number);
        line.map_or(0.0, |line| {
            line.time.python_s.unwrap_or(0.0) + line.time.native_s.unwrap_or(0.0) + line.time.system_s.unwrap_or(0.0)
        })
    };
    // Line 2 of the six runs with one process, of which each has all of the line.
    let single: Vec<Profile> = [0, 3, 6].into_iter().map(run).collect();
    let spread = merged(&single).merge.expect("it is merged").spread.clone();
    let range = spread.lines.iter().find(|line| line.line == 2).and_then(|line| line.cpu_s).expect("known");
    let mut values: Vec<f64> = single.iter().map(|profile| cpu(profile, 2)).collect();
    values.sort_by(f64::total_cmp);
    for (found, value) in [(range.min, values[0]), (range.median, values[1]), (range.max, values[2])] {
        assert!((found - value).abs() < 3e-6, "{found} {value}");
    }
    assert!((range.imbalance - values[2] * 3.0 / values.iter().sum::<f64>()).abs() < 1e-4);
}

#[test]
fn a_figure_known_of_some_runs_is_shown() {
    let whole = merged(&[run(1), run(3)]);
    let notice = whole.notices.iter().find(|notice| notice.code == codes::PARTLY_KNOWN).expect("memory is off in one");
    assert_eq!(notice.text, "memory is known of 1 of 2 runs alone");
    assert!(whole.notices.iter().any(|notice| notice.text == "in 2 of 2 runs: perf events are denied"));
}
