//! Laws of the builder about the stretches that a program marks.

use super::recording::{MS, Recording, same};
use rscalene::profile::model::{Profile, Section};
use rscalene::transport::event::Body;
use rscalene_wire as wire;

const APP: &str = "/w/app.py";

fn mark(run: &mut Recording, section: u32, name: &str, at_ms: u64, cpu_ms: u64) {
    let mark = if name.is_empty() { wire::SectionMark::END } else { wire::SectionMark::BEGIN };
    let section = wire::Section { time_ns: at_ms * MS, cpu_ns: cpu_ms * MS, section, mark };
    run.feed(1, Body::Section { section, name: name.to_owned() });
}

fn section<'a>(profile: &'a Profile, name: &str) -> &'a Section {
    profile.sections.iter().find(|section| section.name == name).expect("the section is there")
}

/// Two lines; a thread of the timer engine.
fn recording() -> (Recording, [u64; 2]) {
    let mut run = Recording::new("timer", "exact");
    run.process(1, 0);
    run.thread(1, 1, 2, 0);
    let main = run.code(1, APP, "<module>", 1);
    let at = [0, 1].map(|line| run.stack(1, &[(main, line)]));
    (run, at)
}

#[test]
fn overlapping_sections_each_have_all_that_passed_and_calls_of_a_name_add_up() {
    let (mut run, at) = recording();
    run.samples(1, 1, at[0], 0, 7);
    run.alloc(1, 1, at[0], 0x10, 500_009, 0);
    mark(&mut run, 1, "outer", 10, 10);
    run.samples(1, 1, at[0], 0, 30);
    run.alloc(1, 2, at[0], 0x20, 30_011, 0);
    mark(&mut run, 2, "inner", 50, 40);
    run.samples(1, 1, at[1], 1, 10);
    run.alloc(1, 3, at[1], 0x30, 1_009, 0);
    run.free(1, 4, at[1], 0x10);
    mark(&mut run, 2, "", 60, 60);
    mark(&mut run, 1, "", 80, 70);
    mark(&mut run, 3, "inner", 90, 70);
    mark(&mut run, 3, "", 95, 72);
    run.clock(1, 1, 100 * MS, 72 * MS);
    let profile = run.finish();

    let names: Vec<_> = profile.sections.iter().map(|section| section.name.as_str()).collect();
    assert_eq!(names, ["outer", "inner"], "in order of their beginning");
    let outer = section(&profile, "outer");
    assert_eq!((outer.count, outer.alloc_bytes, outer.increment_bytes), (1, Some(31_020), Some(31_020 - 500_009)));
    same(outer.elapsed_s, 0.07);
    same(outer.cpu_s.expect("the clock was read"), 0.06);
    // The clock says how much, samples say where: three to one.
    same(outer.lines[0].cpu_s.expect("sampled"), 0.045);
    same(outer.lines[1].cpu_s.expect("sampled"), 0.015);
    assert_eq!((outer.lines[0].line, outer.lines[0].alloc_bytes), (1, Some(30_011)));

    let inner = section(&profile, "inner");
    assert_eq!((inner.count, inner.alloc_bytes, inner.lines.len()), (2, Some(1_009), 1));
    same(inner.start_s, 0.05);
    same(inner.end_s, 0.095);
    same(inner.elapsed_s, 0.015);
    same(inner.cpu_s.expect("the clock was read"), 0.022);
}

#[test]
fn a_section_that_never_ended_ends_with_its_process() {
    let (mut run, at) = recording();
    mark(&mut run, 1, "for ever", 10, 10);
    run.samples(1, 1, at[0], 0, 10);
    run.alloc(1, 70 * MS, at[0], 0x10, 1_009, 0);
    mark(&mut run, 9, "", 75, 75);
    let profile = run.finish();
    let [section] = profile.sections.as_slice() else { panic!("one section") };
    same(section.end_s, 0.075);
    assert_eq!((section.cpu_s, section.alloc_bytes), (None, Some(1_009)));
    assert_eq!(section.lines[0].cpu_s, None);
}
