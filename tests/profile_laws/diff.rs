//! Laws of the comparison of two profiles.

use rscalene::profile::compare::diff::{Diff, LineChange, RUN_TO_RUN, diff};
use rscalene::profile::model::{Cumulative, File, Function, Line, Memory, Profile, Time, Totals};

fn time(seconds: f64) -> Time {
    Time { python_s: Some(seconds), native_s: Some(0.0), system_s: Some(0.0), wait_s: Some(0.0), ..Time::default() }
}

/// A profile of one file whose lines are (number, text, seconds), sampled every millisecond.
fn profile(path: &str, lines: &[(u32, &str, f64)]) -> Profile {
    let total: f64 = lines.iter().map(|line| line.2).sum();
    let row = |&(line, text, seconds): &(u32, &str, f64)| Line {
        line,
        source: Some(text.to_owned()),
        time: time(seconds),
        memory: Memory { alloc_bytes: Some(1000), alloc_bytes_se: Some(100.0), ..Memory::default() },
        ..Line::default()
    };
    let function = Function {
        qualname: "f".to_owned(),
        first_line: 1,
        own: time(total),
        cumulative: Cumulative { cpu_s: Some(total), ..Cumulative::default() },
        ..Function::default()
    };
    Profile {
        totals: Totals {
            time: time(total),
            memory: Memory { alloc_bytes: Some(1000), ..Memory::default() },
            cpu_samples: (total * 1000.0) as u64,
            ..Totals::default()
        },
        files: vec![File {
            path: path.to_owned(),
            lines: lines.iter().map(row).collect(),
            functions: vec![function],
            ..File::default()
        }],
        ..Profile::default()
    }
}

fn find<'a>(diff: &'a Diff, text: &str) -> Vec<&'a LineChange> {
    diff.lines.iter().filter(|line| line.source.as_deref() == Some(text)).collect()
}

#[test]
fn lines_that_moved_still_pair() {
    let before = profile("/w/a.py", &[(1, "x = 1", 1.0), (2, "y = 2", 2.0), (3, "pass", 0.5), (9, "pass", 0.25)]);
    let after = profile(
        "/w/a.py",
        &[(1, "new()", 3.0), (11, "  y = 2", 2.0), (12, "pass", 0.5), (20, "x = 1", 1.0), (21, "pass", 0.25)],
    );
    let diff = diff(&before, &after);
    assert_eq!(diff.lines.len(), 5);
    assert!(diff.lines.iter().skip(1).all(|line| line.changes.cpu_s.delta == Some(0.0)), "{:?}", diff.lines);
    let x = find(&diff, "x = 1");
    assert_eq!((x.len(), x[0].before_line, x[0].after_line), (1, Some(1), Some(20)));
    assert_eq!((diff.lines[0].source.as_deref(), diff.lines[0].before_line), (Some("new()"), None));
    assert_eq!(diff.lines[0].changes.cpu_s.delta, Some(3.0));
}

#[test]
fn a_function_moved_to_another_file_is_paired_with_its_old_place() {
    let before = profile("/w/a.py", &[(1, "x = 1", 1.0)]);
    let after = profile("/w/other.py", &[(1, "y = 2", 3.0)]);
    let diff = diff(&before, &after);
    assert_eq!(diff.functions.len(), 1, "{:?}", diff.functions);
    assert_eq!((diff.functions[0].path.as_str(), diff.functions[0].cpu_s.delta), ("/w/other.py", Some(2.0)));
}

#[test]
fn a_renamed_function_is_paired_with_its_old_name() {
    let named = |mut profile: Profile, name: &str| {
        let inner = format!("{name}.<locals>.<listcomp>");
        for line in &mut profile.files[0].lines {
            line.function.clone_from(&inner);
        }
        let whole = &profile.files[0].functions[0];
        let functions = [name, &inner].map(|name| Function { qualname: name.to_owned(), ..whole.clone() });
        profile.files[0].functions = functions.to_vec();
        profile
    };
    let before = named(profile("/w/a.py", &[(1, "x = 1", 1.0), (2, "y = 2", 1.0)]), "parse");
    let after = named(profile("/w/a.py", &[(5, "x = 1", 1.0), (6, "y = 3", 3.0)]), "load");
    let found = diff(&before, &after);
    let names: Vec<_> = found.functions.iter().map(|f| (f.qualname.as_str(), f.before_qualname.as_deref())).collect();
    let inner = ("load.<locals>.<listcomp>", Some("parse.<locals>.<listcomp>"));
    assert!(names.len() == 2 && names.contains(&("load", Some("parse"))) && names.contains(&inner), "{names:?}");
    assert!(found.functions.iter().all(|function| function.cpu_s.delta == Some(2.0)));
    // Another function with a line of the same text is not it.
    let other = named(profile("/w/a.py", &[(1, "x = 1", 1.0), (2, "a", 1.0), (3, "b", 1.0)]), "other");
    assert!(diff(&before, &other).functions.iter().all(|function| function.before_qualname.is_none()));
}

#[test]
fn a_cell_run_again_is_paired_with_its_earlier_run() {
    let mut before = profile("In [3]", &[(1, "x = 1", 1.0), (2, "y = 2", 2.0), (3, "z = 3", 2.0)]);
    before.files.extend(profile("In [1]", &[(1, "other()", 1.0)]).files);
    let after = profile("In [7]", &[(1, "x = 1", 1.0), (2, "y = 4", 2.0), (3, "z = 3", 2.5)]);
    let diff = diff(&before, &after);
    let z = find(&diff, "z = 3");
    assert_eq!((z.len(), z[0].path.as_str(), z[0].changes.cpu_s.delta), (1, "In [7]", Some(0.5)));
    assert_eq!(find(&diff, "other()")[0].after_line, None);
    assert_eq!(find(&diff, "y = 4")[0].before_line, None);
}

#[test]
fn a_difference_inside_the_noise_is_marked_as_noise() {
    let before = profile("/w/a.py", &[(1, "a", 1.000), (2, "b", 1.000)]);
    let after = profile("/w/a.py", &[(1, "a", 1.050), (2, "b", 1.200)]);
    let diff = diff(&before, &after);
    // A second in samples of a millisecond: errors of 32 ms on either side, and 2 % from run to run; 54 ms together.
    assert!(find(&diff, "a")[0].changes.cpu_s.noise);
    assert!(!find(&diff, "b")[0].changes.cpu_s.noise);
    let error = find(&diff, "b")[0].changes.cpu_s.se.expect("there were samples");
    // All else has changed by 5 %.
    let run_to_run = (RUN_TO_RUN.powi(2) + 0.05f64.powi(2) / 2.0) * (1.0 + 1.2 * 1.2);
    assert!((error - (0.001f64 + 0.0012 + run_to_run).sqrt()).abs() < 1e-6, "{error}");
    assert!(find(&diff, "a")[0].changes.alloc_bytes.noise);
    assert!(!diff.functions[0].cpu_s.noise);
}

#[test]
fn the_standard_error_of_a_line_decides_what_is_noise() {
    let with_error = |seconds: f64, se: f64| {
        let mut profile = profile("/w/a.py", &[(1, "a", seconds), (2, "b", 5.4)]);
        profile.files[0].lines[0].cpu_s_se = Some(se);
        profile.totals.cpu_samples = 600;
        profile
    };
    // 20 % more of 0.6 s, in samples of 10 ms: their number alone explains 110 ms, a few stretches do not.
    let scattered = diff(&with_error(0.6, 0.074), &with_error(0.72, 0.080));
    assert!(find(&scattered, "a")[0].changes.cpu_s.noise);
    let stretches = diff(&with_error(0.6, 0.010), &with_error(0.72, 0.010));
    assert!(!find(&stretches, "a")[0].changes.cpu_s.noise);
    // All lines take 15 % more: the machine's doing, as far as one can tell.
    let mut slower = with_error(0.69, 0.001);
    slower.files[0].lines[1].time = time(5.4 * 1.15);
    slower.totals.time = time(6.0 * 1.15);
    assert!(find(&diff(&with_error(0.6, 0.001), &slower), "a")[0].changes.cpu_s.noise);
    // The same work takes some per cent more or less each time.
    let again = diff(&with_error(0.6, 0.001), &with_error(0.62, 0.001));
    assert!(find(&again, "a")[0].changes.cpu_s.noise);
}

#[test]
fn a_project_in_another_folder_pairs_by_the_ends_of_its_paths() {
    let before = profile("/home/a/project/pkg/mod.py", &[(1, "a", 1.0)]);
    let after = profile("/home/b/project/pkg/mod.py", &[(1, "a", 1.0)]);
    let diff = diff(&before, &after);
    assert_eq!((diff.lines.len(), diff.functions.len()), (1, 1));
    assert_eq!(diff.lines[0].path, "/home/b/project/pkg/mod.py");
}

#[test]
fn unmeasured_figures_have_no_difference() {
    let before = profile("/w/a.py", &[(1, "a", 1.0)]);
    let mut after = before.clone();
    after.totals.memory = Memory::default();
    after.files[0].lines[0].memory = Memory::default();
    let diff = diff(&before, &after);
    let change = diff.lines[0].changes.alloc_bytes;
    assert_eq!((change.before, change.after, change.delta, change.se), (Some(1000.0), None, None, None));
    let text = serde_json::to_string(&diff).expect("json");
    assert_eq!(serde_json::from_str::<Diff>(&text).expect("json"), diff);
}

#[test]
fn allocation_differences_within_the_standard_error_are_noise() {
    // Ten thousand bytes in all, of which a sample stands for a hundred: a function of 2,500 is known to 500.
    let side = |bytes| {
        let mut side = profile("/w/a.py", &[(1, "x = 1", 1.0)]);
        side.totals.memory = Memory { alloc_bytes: Some(10_000), alloc_bytes_se: Some(1000.0), ..Memory::default() };
        side.files[0].functions[0].cumulative.alloc_bytes = Some(bytes);
        side
    };
    let of = |bytes| diff(&side(2500), &side(bytes)).functions[0].cumulative_alloc_bytes;
    assert!(of(3500).noise, "{:?}", of(3500));
    assert!(!of(5500).noise, "{:?}", of(5500));
    let exact = |bytes| {
        let mut side = side(bytes);
        side.totals.memory.alloc_bytes_se = Some(0.0);
        side
    };
    assert!(!diff(&exact(2500), &exact(2501)).functions[0].cumulative_alloc_bytes.noise);
}
