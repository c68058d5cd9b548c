//! Profiles that somebody changed: what is read can be shown in every format, and everything else is refused.

use fastrand::Rng;
use rscalene::report::export::Look;
use rscalene::report::json::Layout;
use rscalene::report::{Format, Options, Style, read_json, write_json};
use serde_json::Value;

use super::profiles::realistic;

/// Values that break what does not look.
const ODD: [&str; 14] = [
    "null",
    "0",
    "-1",
    "1e308",
    "-1e-308",
    "18446744073709551615",
    "4294967296",
    "1.5",
    "\"\"",
    "\"\\u001b[2J\\u202e\"",
    "\"<script>alert(1)</script>\"",
    "[]",
    "{}",
    "true",
];

/// Changes one thing somewhere below `value`.
fn mutate(value: &mut Value, dice: &mut Rng) {
    let odd = || ODD.map(|text| serde_json::from_str::<Value>(text).expect("JSON"));
    match value {
        Value::Object(entries) if !entries.is_empty() && dice.usize(..8) > 0 => {
            let place = dice.usize(..entries.len());
            let key = entries.keys().nth(place).cloned().expect("a key");
            if dice.usize(..20) == 0 {
                entries.remove(&key);
            } else if let Some(inner) = entries.get_mut(&key) {
                mutate(inner, dice);
            }
        }
        Value::Array(items) if !items.is_empty() && dice.usize(..8) > 0 => {
            let place = dice.usize(..items.len());
            match dice.usize(..12) {
                0 => drop(items.remove(place)),
                1 => items.push(items[place].clone()),
                2 => items.reverse(),
                _ => mutate(&mut items[place], dice),
            }
        }
        other => *other = odd()[dice.usize(..ODD.len())].clone(),
    }
}

fn show(profile: &rscalene::profile::model::Profile) {
    let options = Options { per_process: true, all_lines: true, ..Options::default() };
    let look = Look { options, style: Style::PLAIN, source: true, weight: None, read_source: &|_| None };
    for format in Format::ALL {
        drop(format.encode(profile, &look));
    }
}

#[test]
fn every_accepted_profile_renders_in_every_format() {
    let whole = serde_json::to_value(realistic()).expect("JSON");
    let mut dice = Rng::with_seed(19);
    let rounds = std::env::var("RSCALENE_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(300);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..rounds {
        let mut value = whole.clone();
        for _ in 0..=dice.usize(..4) {
            mutate(&mut value, &mut dice);
        }
        match read_json("run.json", value.to_string().as_bytes()) {
            Ok(profile) => {
                show(&profile);
                read += 1;
            }
            Err(error) => {
                assert!(error.message.starts_with("cannot read `run.json`") && !error.hint.is_empty(), "{error}");
                refused += 1;
            }
        }
    }
    assert!(read > rounds / 20 && refused > rounds / 20, "{read} read, {refused} refused");
}

#[test]
fn changed_bytes_are_refused_or_shown() {
    let mut whole = Vec::new();
    write_json(&realistic(), Layout::Compact, &mut whole).expect("written");
    let mut dice = Rng::with_seed(23);
    let rounds = std::env::var("RSCALENE_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(300);
    for _ in 0..rounds {
        let mut bytes = whole.clone();
        for _ in 0..=dice.usize(..3) {
            let place = dice.usize(..bytes.len());
            bytes[place] = b"0123456789-e.,:[]{}\"ntf\xff\x00"[dice.usize(..25)];
        }
        if let Ok(profile) = read_json("run.json", bytes.as_slice()) {
            show(&profile);
        }
    }
}
