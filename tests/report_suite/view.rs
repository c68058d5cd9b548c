//! Laws of the view.

use rscalene::profile::model::{Leak, Profile};
use rscalene::report::view::{Options, SortKey, View};

use crate::profiles::{adversarial, cpu_only, realistic};

fn lines(profile: &Profile, options: &Options) -> Vec<u32> {
    View::new(profile, options).lines.iter().map(|place| place.line.line).collect()
}

fn by(sort: SortKey) -> Options {
    Options { sort, ..Options::default() }
}

#[test]
fn lines_come_in_the_order_of_the_key_larger_first() {
    let profile = realistic();
    let first = |sort| lines(&profile, &by(sort))[0];
    assert_eq!(lines(&profile, &Options { top: 4, ..by(SortKey::Cpu) }), [28, 21, 27, 41]);
    assert_eq!(first(SortKey::Python), 21);
    assert_eq!(first(SortKey::Native), 28);
    assert_eq!(first(SortKey::System), 28);
    assert_eq!(first(SortKey::Wait), 35);
    assert_eq!(first(SortKey::memory("alloc_bytes")), 28);
    assert_eq!(first(SortKey::memory("live_bytes")), 30);
    assert_eq!(first(SortKey::memory("peak_bytes")), 28);
    assert_eq!(first(SortKey::memory("increment_bytes")), 15);
    assert_eq!(first(SortKey::memory("copy_bytes")), 30);
    assert_eq!(first(SortKey::Line), 6);
    assert_eq!(first(SortKey::Name), 6);
    assert!(lines(&profile, &by(SortKey::Line)).is_sorted());
}

#[test]
fn unknown_figures_come_last_and_are_not_taken_for_zero() {
    let mut profile = realistic();
    profile.files[0].lines[7].time.wait_s = None;
    let order = lines(&profile, &Options { sort: SortKey::Wait, top: 99, min_percent: 0.0, ..Options::default() });
    assert_eq!(order.last(), Some(&28));
    assert_eq!(order.len(), 13);
}

#[test]
fn a_line_below_the_least_share_of_every_total_is_cold() {
    let profile = realistic();
    // 46 has 0.7 ms of 2.9 s; 29 has 0.7 % of the CPU; 35 waits for 7.8 % of the wall; 30 leaks.
    let hot = lines(&profile, &Options { top: 99, ..Options::default() });
    assert!(hot.contains(&35) && hot.contains(&30));
    assert!(!hot.contains(&46) && !hot.contains(&29));
    assert!(lines(&profile, &Options { top: 99, min_percent: 0.0, ..Options::default() }).contains(&46));
    assert_eq!(lines(&profile, &Options { min_percent: 40.0, ..by(SortKey::memory("copy_bytes")) })[0], 30);
}

#[test]
fn a_line_that_leaks_is_never_cold() {
    let mut profile = realistic();
    let leak = |line| Leak { file: 0, line, live_bytes: 1, bytes_per_s: 1.0, confidence: 0.99 };
    profile.leaks = Some(vec![leak(46)]);
    let hot = lines(&profile, &Options { top: 99, ..Options::default() });
    assert!(hot.contains(&46));
}

#[test]
fn only_figures_that_a_line_has_are_present() {
    let (with, without) = (realistic(), cpu_only());
    let (with, without) = (View::new(&with, &Options::default()), View::new(&without, &Options::default()));
    assert!(
        with.present.has("alloc_bytes")
            && with.present.has("peak_bytes")
            && with.present.has("increment_bytes")
            && with.present.has("copy_bytes")
    );
    let memory = |v: &View<'_>| {
        [
            v.present.has("alloc_bytes"),
            v.present.has("live_bytes"),
            v.present.has("peak_bytes"),
            v.present.has("copy_bytes"),
            v.present.has("mem_usage_bytes"),
        ]
    };
    assert_eq!(memory(&without), [false; 5]);
    assert!(without.present.cpu && without.present.kinds && without.present.wait);
}

#[test]
fn files_with_nothing_hot_are_counted_not_shown() {
    let mut profile = realistic();
    let mut cold = profile.files[0].clone();
    cold.path = "/srv/shop/cold.py".into();
    cold.lines.truncate(2);
    cold.lines.iter_mut().for_each(|line| {
        line.time.python_s = Some(0.001);
        line.time.native_s = None;
        line.time.system_s = None;
        line.time.wait_s = None;
        line.memory = Default::default();
    });
    profile.files.push(cold);
    let view = View::new(&profile, &Options::default());
    assert_eq!(view.files.len(), 1);
    assert_eq!(view.files_left_out.0, 1);
    assert!((view.files_left_out.1 - 0.002).abs() < 1e-12);
    assert_eq!(View::new(&profile, &Options { all_lines: true, ..Options::default() }).files.len(), 2);
}

#[test]
fn every_key_has_a_name_that_leads_back_to_it() {
    for key in SortKey::all() {
        assert_eq!(SortKey::from_name(key.name()), Some(key));
    }
    assert_eq!(SortKey::from_name("hits"), None);
}

#[test]
fn absurd_figures_and_an_empty_profile_make_a_view() {
    for sort in SortKey::all() {
        let hostile = adversarial();
        assert_eq!(View::new(&hostile, &by(sort)).lines.len(), 10);
        assert!(View::new(&Profile::default(), &by(sort)).lines.is_empty());
    }
}
