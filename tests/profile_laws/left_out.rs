//! Laws of the builder about what is lost or finds no room: it is counted and said.

use super::recording::{MS, Recording, cpu, same};
use rscalene::profile::model::{Notice, codes};
use rscalene::transport::event::{Body, CodeDef};
use rscalene_wire as wire;

#[test]
fn more_processes_than_there_are_rows_share_the_last_one_and_it_is_said() {
    let mut run = Recording::new("timer", "off");
    for pid in 1..=5_000 {
        run.process(pid, 0);
        run.feed(pid, Body::Command(vec!["python".to_owned(), format!("{pid}.py")]));
        run.thread(pid, pid, 2, 0);
        run.samples(pid, pid, 0, 0, 1);
        run.end(pid, pid, MS);
        run.leave(pid, 0, MS);
        if pid > 4_900 {
            run.feed(
                pid,
                Body::Notice(wire::Notice { code: wire::NoticeCode::NO_TIMER, detail: 11, ..Default::default() }),
            );
        }
    }
    let profile = run.finish();
    same(cpu(&profile.totals.time), 5.0);
    let shared = profile.processes.iter().find(|process| process.pid == 0).expect("a row of many");
    assert_eq!(shared.command, ["other processes"]);
    let many = 5_000 - profile.processes.len() + 1;
    assert_eq!(shared.time.python_s, None, "unknown, not zero");
    for what in ["processes", "threads"] {
        let told = format!("there were too many {what} for a row each: the last {many} are told as one");
        let code = format!("many_{what}");
        assert!(profile.notices.contains(&Notice::of_run(code, told)), "{:?}", profile.notices);
    }
    let (last, rest) = profile.notices.split_last().expect("some");
    assert_eq!(last.text, format!("{} more notices were left out", 100 - (rest.len() - 2)));
    let timers = rest.iter().filter(|notice| notice.code == "no_timer").filter_map(|notice| notice.process);
    assert_eq!(timers.collect::<Vec<_>>(), (4_901..).take(rest.len() - 2).collect::<Vec<u32>>());
}

#[test]
fn sections_of_more_names_than_there_are_rows_are_counted() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    for number in 1..=1_100u32 {
        for (mark, name) in
            [(wire::SectionMark::BEGIN, format!("section {number}")), (wire::SectionMark::END, String::new())]
        {
            let section = wire::Section { time_ns: MS, cpu_ns: 0, section: number, mark };
            run.feed(1, Body::Section { section, name });
        }
    }
    let profile = run.finish();
    assert_eq!(profile.sections.len(), 1_024);
    let told = "there were too many names of sections: 76 calls are in no row";
    assert!(profile.notices.iter().any(|notice| notice.text == told), "{:?}", profile.notices);
}

#[test]
fn a_stack_whose_definition_was_lost_lies_outside_scope() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    run.thread(1, 1, 2, 0);
    run.samples(1, 1, 0xdead, 0, 10);
    let undefined = run.stack(1, &[(77, 0)]);
    run.samples(1, 1, undefined, 0, 10);
    run.end(1, 1, 20 * MS);
    let profile = run.finish();
    assert!(profile.files.is_empty());
    same(cpu(&profile.totals.outside_scope), 0.02);
}

#[test]
fn a_function_whose_line_table_could_not_be_read_is_named() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    let def = wire::CodeDef { code: 7, first_line: 12, table_bytes: 3 << 20, ..Default::default() };
    let (filename, qualname) = ("/w/app.py".to_owned(), "vast".to_owned());
    for _ in 0..2 {
        let (filename, qualname) = (filename.clone(), qualname.clone());
        run.feed(1, Body::CodeDef(CodeDef { def, filename, qualname, table: Vec::new() }));
    }
    let profile = run.finish();
    let told = "the line table of `vast` (/w/app.py) could not be read, so all its time stands on its first line, 12";
    assert_eq!(profile.notices, [Notice::of_run(codes::LINES_UNKNOWN, told)]);
}

#[test]
fn a_stack_deeper_than_the_limit_gives_one_notice() {
    let mut run = Recording::new("timer", "off");
    run.process(1, 0);
    let code = run.code(1, "/w/app.py", "deep", 1);
    run.stack(1, &vec![(code, 2); 1_023]);
    run.stack(1, &vec![(code, 2); 1_024]);
    run.stack(1, &vec![(code, 3); 1_024]);
    let profile = run.finish();
    let told: Vec<&str> = profile.notices.iter().map(|notice| notice.code.as_str()).collect();
    assert_eq!(told, [codes::DEEP_STACKS]);
}
