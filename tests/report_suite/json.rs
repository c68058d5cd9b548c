//! Laws of writing and reading the profile.

use rscalene::profile::model::{Notice, Profile};
use rscalene::report::json::{Layout, read, read_bytes, write};

use crate::profiles::{adversarial, cpu_only, realistic};

fn text(profile: &Profile, layout: Layout) -> String {
    let mut out = Vec::new();
    write(profile, layout, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn error(bytes: &[u8]) -> String {
    read_bytes("run.json", bytes).unwrap_err().to_string()
}

#[test]
fn a_written_profile_reads_back_equal_and_writes_the_same_bytes() {
    for profile in [realistic(), cpu_only(), adversarial(), Profile::default()] {
        for layout in [Layout::Compact, Layout::Pretty] {
            let written = text(&profile, layout);
            let back = read("run.json", written.as_bytes()).unwrap();
            let differs = back
                .files
                .iter()
                .zip(&profile.files)
                .flat_map(|(a, b)| a.lines.iter().zip(&b.lines))
                .find(|(a, b)| a != b);
            assert!(back == profile, "{differs:?}");
            assert!(text(&back, layout) == written);
        }
    }
}

#[test]
fn keys_stand_in_the_order_of_the_format() {
    let written = text(&realistic(), Layout::Compact);
    let keys = [
        "format",
        "tool",
        "target",
        "clock",
        "settings",
        "totals",
        "files",
        "timeline",
        "threads",
        "processes",
        "stacks",
        "leaks",
        "notices",
    ];
    let places: Vec<_> = keys.map(|key| written.find(&format!("\"{key}\":")).unwrap()).to_vec();
    assert!(places.is_sorted(), "{places:?}");
    assert!(written.starts_with(r#"{"format":{"name":"rscalene-profile","major":1,"minor":3},"#));
}

#[test]
fn figures_that_are_not_finite_become_unknown_and_are_counted() {
    let mut profile = realistic();
    profile.files[0].lines[0].time.python_s = Some(f64::NAN);
    profile.totals.memory.alloc_bytes_se = Some(f64::INFINITY);
    profile.clock.elapsed_s = f64::NEG_INFINITY;
    let back = read_bytes("run.json", text(&profile, Layout::Compact).as_bytes()).unwrap();
    assert_eq!(back.files[0].lines[0].time.python_s, None);
    assert_eq!(back.totals.memory.alloc_bytes_se, None);
    assert_eq!(back.clock.elapsed_s, 0.0);
    let told = "3 figures were not finite numbers and are left out";
    assert_eq!(back.notices, [Notice::of_run("not_finite", told)]);
}

#[test]
fn a_newer_major_is_refused_and_a_newer_minor_with_unknown_keys_is_read() {
    let written = text(&realistic(), Layout::Compact);
    let major = written.replacen("\"major\":1,\"minor\":3", "\"major\":3,\"minor\":1", 1);
    assert_eq!(
        error(major.as_bytes()),
        "cannot read `run.json`: it was written in format 3.1, this build reads 1.0 up to 1.3\n\
         hint: `pip install -U rscalene`, or record again with this version"
    );
    // A newer major may have changed everything but `format`.
    let changed = r#"{"lines": [], "format": {"name": "rscalene-profile", "major": 2, "minor": 0, "more": 1}}"#;
    assert!(error(changed.as_bytes()).contains("format 2.0"));
    let minor = written
        .replacen("\"minor\":3", "\"minor\":7,\"patch\":[1]", 1)
        .replacen("\"line\":6,", "\"line\":6,\"energy_j\":{\"cpu\":1.5},", 1)
        .replacen("{\"format\"", "{\"gpu\":[null,{}],\"format\"", 1);
    let back = read_bytes("run.json", minor.as_bytes()).unwrap();
    assert_eq!(back.format.minor, 7);
    assert_eq!(back.files, realistic().files);
}

#[test]
fn keys_that_may_be_absent_are_unknown() {
    let mut value: serde_json::Value = serde_json::from_str(&text(&realistic(), Layout::Compact)).unwrap();
    value.as_object_mut().unwrap().remove("leaks");
    value.as_object_mut().unwrap().remove("notices");
    value["files"][0]["lines"][0].as_object_mut().unwrap().remove("peak_bytes");
    let back = read_bytes("run.json", value.to_string().as_bytes()).unwrap();
    assert_eq!((back.leaks, back.files[0].lines[0].memory.peak_bytes), (None, None));
}

#[test]
fn no_file_is_read_that_is_not_a_whole_profile() {
    let cases: [(&[u8], &str); 12] = [
        (b"", "it is empty"),
        (b" \n\t", "it is empty"),
        (b"\x80\x81PNG", "it is not UTF-8 text (byte 0)"),
        (b"\x1f\x8b\x08", "it is not UTF-8 text (byte 1)"),
        (b"#!/bin/sh\n", "it is not JSON"),
        (b"{}", "not a profile"),
        (b"[1, 2]", "not a profile"),
        (b"\"text\"", "not a profile"),
        (br#"{"format": "speedscope"}"#, "not a profile"),
        (br#"{"format": {"name": "other", "major": 1, "minor": 0}}"#, "its format is `other`"),
        (
            br#"{"format": {"name": "rscalene-profile", "major": 1, "minor": 0}}"#,
            "not a whole profile: missing field `tool`",
        ),
        (br#"{"format": {"name": "rscalene-profile", "major": 0, "minor": 9}}"#, "written in format 0.9"),
    ];
    for (bytes, why) in cases {
        let message = error(bytes);
        let (first, hint) = message.split_once('\n').unwrap();
        assert!(first.starts_with("cannot read `run.json`: ") && first.contains(why), "{message}");
        assert!(hint.starts_with("hint: "), "{message}");
    }
}

#[test]
fn a_profile_cut_off_anywhere_is_refused_without_a_panic() {
    let written = text(&realistic(), Layout::Compact);
    let whole = written.trim_end();
    for end in (0..whole.len()).step_by(61) {
        let message = error(&whole.as_bytes()[..end]);
        assert!(
            end == 0 || message.contains("ends in the middle") || message.contains("not UTF-8"),
            "{end}: {message}"
        );
    }
}

#[test]
fn nesting_without_end_and_numbers_out_of_range_are_refused() {
    let deep = format!("{{\"format\":{}", "[".repeat(1_000_000));
    assert!(error(deep.as_bytes()).starts_with("cannot read"));
    let written = text(&realistic(), Layout::Compact);
    for (from, to) in [
        ("\"line\":6,", "\"line\":-6,"),
        ("\"line\":6,", "\"line\":4294967296,"),
        ("\"elapsed_s\":3.21", "\"elapsed_s\":1e999"),
        ("\"pid\":4211", "\"pid\":4211.5"),
        ("\"lost_records\":0", "\"lost_records\":null"),
    ] {
        assert!(written.contains(from));
        assert!(error(written.replacen(from, to, 1).as_bytes()).contains("run.json"), "{to}");
    }
}

#[test]
fn indices_that_lead_nowhere_are_refused() {
    type Harm = fn(&mut Profile);
    let cases: [(Harm, &str); 14] = [
        (
            |p| p.files[0].lines[7].by_thread[0].thread = 2,
            "`files[0].lines[7].by_thread[0].thread` is 2, there are 2 threads",
        ),
        (|p| p.files[0].lines[7].by_process[0].process = 9, "`files[0].lines[7].by_process[0].process` is 9"),
        (|p| p.stacks.frames[0].file = 2, "`stacks.frames[0].file` is 2, there are 2 files"),
        (|p| p.stacks.nodes[1].frame = 5, "`stacks.nodes[1].frame` is 5, there are 5 frames"),
        (|p| p.stacks.nodes[1].parent = Some(1), "`stacks.nodes[1].parent` is 1, which is not before it"),
        (|p| p.stacks.nodes[0].parent = Some(usize::MAX), "`stacks.nodes[0].parent`"),
        (|p| p.stacks.by_thread[0].node = 6, "`stacks.by_thread[0]` is of node 6 and thread 1, there are 6 nodes"),
        (|p| p.stacks.by_thread[0].thread = 2, "`stacks.by_thread[0]` is of node 2 and thread 2"),
        (|p| p.stacks.by_process[0].node = 6, "`stacks.by_process[0]` is of node 6 and process 0"),
        (|p| p.stacks.by_process[0].process = 9, "`stacks.by_process[0]` is of node 2 and process 9"),
        (|p| p.leaks.as_mut().unwrap()[0].file = 1, "`leaks[0].file` is 1, there are 1 files"),
        (|p| p.sections[0].lines[0].file = 1, "`sections[0].lines[0].file` is 1, there are 1 files"),
        (|p| p.near_limits[0].process = 9, "`near_limits[0].process` is 9, there are 1 processes"),
        (|p| p.near_limits[0].lines[0].file = 1, "`near_limits[0].lines"),
    ];
    for (harm, why) in cases {
        let mut profile = realistic();
        harm(&mut profile);
        assert!(error(text(&profile, Layout::Compact).as_bytes()).contains(why), "{why}");
    }
}

#[test]
fn a_source_that_fails_is_an_error_with_its_reason() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    assert!(read("run.json", Broken).unwrap_err().message.contains("the disk is gone"));
}

#[test]
fn notices_of_older_profiles_are_plain_strings_and_still_read() {
    let mut value: serde_json::Value = serde_json::from_str(&text(&realistic(), Layout::Compact)).unwrap();
    value["format"]["minor"] = 1.into();
    value["notices"] =
        serde_json::json!(["process 7: lost records: CPU samples 2", "old", {"code": "new", "text": "new"}]);
    let back = read_bytes("run.json", value.to_string().as_bytes()).unwrap();
    let shown: Vec<String> = back.notices.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["process 7: lost records: CPU samples 2", "old", "new"]);
    let codes: Vec<&str> = back.notices.iter().map(|notice| notice.code.as_str()).collect();
    assert_eq!(codes, ["other", "other", "new"]);
    let again = read_bytes("run.json", text(&back, Layout::Compact).as_bytes()).unwrap();
    assert_eq!(again.notices, back.notices);
}
