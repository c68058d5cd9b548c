//! docs/design/wire.md lists every record, number and flag of the wire as the code declares them.
//!
//! `RSCALENE_WRITE_DOCS=1 cargo test --test wire_page` writes the page anew.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use rscalene_wire::{FLAGS, NUMBERS, PAYLOAD, RECORDS, SLOT, ValuesRow};

/// What stands above the tables in the page is written by hand.
const MARK: &str = "<!-- made from shim/wire/src: `RSCALENE_WRITE_DOCS=1 cargo test --test wire_page` -->";

/// A doc comment as one cell.
fn cell(about: &[&str]) -> String {
    let text = about.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    text.replace('|', "\\|").replace("[`", "`").replace("`]", "`").trim().to_owned()
}

fn values(out: &mut String, title: &str, rows: &[ValuesRow]) {
    writeln!(out, "\n## {title}").expect("text");
    for row in rows {
        writeln!(out, "\n### {}\n\n{}\n", row.name, cell(row.about)).expect("text");
        writeln!(out, "| value | name | meaning |\n|---|---|---|").expect("text");
        for value in row.values {
            writeln!(out, "| {} | `{}` | {} |", value.number, value.name, cell(value.about)).expect("text");
        }
    }
}

fn tables() -> String {
    let mut out = String::from("\n## Records\n");
    for record in RECORDS {
        let bytes: usize = record.fields.iter().map(|field| field.bytes).sum();
        let about = cell(record.about);
        let then = if record.then.is_empty() { String::new() } else { format!(" Then {}.", record.then) };
        let flags =
            if record.flags.is_empty() { String::new() } else { format!(" Flags of the header: `{}`.", record.flags) };
        writeln!(out, "\n### {} {}\n\n{about}{then}{flags}\n", record.kind, record.name).expect("text");
        writeln!(out, "| byte | field | type | meaning |\n|---|---|---|---|").expect("text");
        let mut at = 0;
        for field in record.fields {
            writeln!(out, "| {at} | `{}` | `{}` | {} |", field.name, field.of, cell(field.about)).expect("text");
            at += field.bytes;
        }
        let slots = if bytes <= PAYLOAD { "in one slot".to_owned() } else { format!("in slots of {SLOT}") };
        writeln!(out, "\n{bytes} bytes, {slots}.").expect("text");
    }
    values(&mut out, "Numbers", NUMBERS);
    values(&mut out, "Flags", FLAGS);
    out
}

#[test]
fn the_wire_page_matches_the_code() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/design/wire.md");
    let text = fs::read_to_string(&page).expect("the page is there");
    let (by_hand, made) = text.split_once(MARK).expect("the page has its mark");
    if std::env::var_os("RSCALENE_WRITE_DOCS").is_some() {
        fs::write(&page, format!("{by_hand}{MARK}\n{}", tables())).expect("the page can be written");
        return;
    }
    assert_eq!(made.trim(), tables().trim(), "write the page anew: see the top of this file");
}

#[test]
fn no_two_records_and_no_two_values_share_a_number() {
    let mut kinds: Vec<u8> = RECORDS.iter().map(|record| record.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), RECORDS.len());
    assert!(kinds.iter().all(|&kind| usize::from(kind) < rscalene_wire::LOST_KINDS), "lost ones are counted by kind");
    for row in NUMBERS.iter().chain(FLAGS) {
        let mut numbers: Vec<u64> = row.values.iter().map(|value| value.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), row.values.len(), "{}", row.name);
    }
    for row in FLAGS {
        assert!(row.values.iter().all(|flag| flag.number.is_power_of_two()), "{}", row.name);
    }
}

/// The Rust files below these folders, without comments.
fn code(folders: &[&str]) -> String {
    fn add(folder: &Path, out: &mut String) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                add(&path, out);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                lines.for_each(|line| out.extend([line, "\n"]));
            }
        }
    }
    let mut out = String::new();
    for folder in folders {
        add(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut out);
    }
    out
}

/// Whether `word` stands in `text` as a whole word.
fn has(text: &str, word: &str) -> bool {
    let inside = |found: char| found.is_alphanumeric() || found == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(inside) && !after.is_some_and(inside)
    })
}

#[test]
fn records_and_fields_are_named_by_a_writer_and_a_reader_and_values_by_one_of_them() {
    let writers = code(&["shim/src", "src/requests", "src/sql", "src/lines"]);
    let readers = code(&["src"]);
    for record in RECORDS {
        assert!(has(&writers, &format!("{} {{", record.name)), "nothing writes {}", record.name);
        assert!(has(&readers, record.name), "nothing reads {}", record.name);
        for field in record.fields.iter().filter(|field| !field.name.starts_with("reserved")) {
            assert!(has(&writers, field.name), "nothing writes {}.{}", record.name, field.name);
            assert!(has(&readers, field.name), "nothing reads {}.{}", record.name, field.name);
        }
    }
    let all = writers + &readers;
    for row in NUMBERS.iter().chain(FLAGS) {
        // Memory begins as 0, so code may set and test a 0 without its name.
        for value in row.values.iter().filter(|value| value.number != 0) {
            let name = format!("{}::{}", row.name, value.name);
            assert!(has(&all, &name), "nothing writes or reads {name}");
        }
    }
}
