//! The corpus: inputs that once were found to reach something new, or to break it, as they are and with changes.
//!
//! What fails is written to the corpus, so that it is tried first from then on. `RSCALENE_FUZZ_ROUNDS` sets how many
//! changed inputs each target is given; the seeds are fixed.

mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fastrand::Rng;
use targets::{TARGETS, Target};

/// Changes some bytes: others, odd ones, some more or less, a part of another input.
fn change(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Rng) {
    for _ in 0..=dice.usize(..4) {
        let at = dice.usize(..bytes.len() + 1);
        match dice.usize(..7) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << dice.usize(..8),
            2 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][dice.usize(..5)],
            3 => bytes.truncate(at),
            4 => drop(bytes.splice(at..(at + dice.usize(..16)).min(bytes.len()), [])),
            5 => drop(bytes.splice(at..at, std::iter::repeat_n(dice.usize(..256) as u8, 1 + dice.usize(..16)))),
            _ => {
                let from = dice.usize(..other.len() + 1);
                let part = &other[from..(from + dice.usize(..64)).min(other.len())];
                drop(bytes.splice(at..at, part.iter().copied()));
            }
        }
    }
}

/// Gives `bytes` to a target; what breaks it is kept.
fn try_one(name: &str, target: Target, bytes: &[u8], folder: &Path) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(bytes))) {
        let sum = bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let path = folder.join(format!("{sum:016x}"));
        let kept = fs::write(&path, bytes);
        eprintln!("{name}: {} breaks it ({kept:?})", path.display());
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn corpus_inputs_and_their_mutations_break_nothing() {
    let rounds = std::env::var("RSCALENE_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(100);
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
        let mut paths: Vec<PathBuf> =
            fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
        paths.sort_unstable();
        let inputs: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("readable")).collect();
        assert!(inputs.len() > 5, "{name} has a corpus");
        for bytes in &inputs {
            try_one(name, target, bytes, &folder);
        }
        let mut dice = Rng::with_seed(29);
        for _ in 0..rounds {
            let mut bytes = inputs[dice.usize(..inputs.len())].clone();
            let other = &inputs[dice.usize(..inputs.len())];
            change(&mut bytes, other, &mut dice);
            try_one(name, target, &bytes, &folder);
        }
    }
}
