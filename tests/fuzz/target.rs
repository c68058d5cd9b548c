//! Gives libFuzzer's inputs to one target: `RSCALENE_FUZZ_TARGET` names it.
#![no_main]

#[path = "../corpus_suite/targets.rs"]
mod targets;

use std::sync::LazyLock;

use targets::{TARGETS, Target};

static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("RSCALENE_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let names = TARGETS.map(|(known, _)| known).join(", ");
    found.unwrap_or_else(|| panic!("RSCALENE_FUZZ_TARGET names none of {names}")).1
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| CHOSEN(bytes));
