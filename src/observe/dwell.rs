//! Time that a thread spends at an instruction, observed from outside.
//!
//! Job: decide whether an operator (`a * b`, `x in xs`, `del xs`) that a look met runs long enough to count as native.
//! A look has no program counter; instead, `Operators::is_long` reads the thread's instruction pointer [`WATCHED`]
//! times within 45 µs. Invariant: the reads count only if the thread's CPU clock shows that the thread ran meanwhile.
//! Neighbours: `looks` asks; where the shim takes samples, `profile::build::operators` decides by the program counter.
//!
//! A loop over a short operator (20 to 200 ns) moves the pointer between any two reads. The reads are then as
//! independent as draws, and at least one in seven meets another instruction of the loop. An operation of several µs
//! holds the pointer for many reads in a row.

use std::collections::HashMap;
use std::time::Instant;

use rscalene_interp::{Layout, innermost};

use super::remote::memory::{ProcessMemory, WATCHED};

/// Most moves of the pointer during a long operation, in the mean over all looks at an instruction. A loop that spends
/// 90 % of its time at the operation moves the pointer 23 ± 5 times; at 95 %, or in operations of 3 to 4 µs, 12 times.
const FEW_MOVES: u64 = 16;
/// Outside of this range, a single look decides: the operands of an instruction can be small now and large later.
const CLEAR: std::ops::Range<u64> = 6..32;
/// Most instructions that are remembered.
const MOST_KNOWN: usize = 4_096;

/// The operators that looks have met.
#[derive(Debug, Default)]
pub(super) struct Operators {
    /// Number of moves, and of looks, by the instruction's address.
    known: HashMap<u64, (u64, u64)>,
}

impl Operators {
    /// True if the instruction that the thread runs now takes long. `cpu_ns` reads the thread's CPU clock.
    pub(super) fn is_long(
        &mut self,
        memory: &ProcessMemory,
        layout: &Layout,
        tstate: u64,
        cpu_ns: impl Fn() -> u64,
    ) -> bool {
        memory.forget();
        let Some(words) = innermost(memory, layout, tstate) else { return false };
        let mut reads = [[0; 2]; WATCHED];
        let (before_ns, before) = (cpu_ns(), Instant::now());
        if !memory.watch(words, &mut reads) {
            return false;
        }
        let passed_ns = u128::from(cpu_ns().saturating_sub(before_ns));
        let ran = passed_ns * 2 >= before.elapsed().as_nanos();
        let instruction = reads[0][1];
        self.judge(instruction, ran.then(|| moves(&reads)))
    }

    /// `moved`: number of moves of the pointer; `None` if the thread had no core meanwhile.
    fn judge(&mut self, instruction: u64, moved: Option<u64>) -> bool {
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        let (moves, looks) = self.known.entry(instruction).or_default();
        if let Some(moved) = moved {
            (*moves, *looks) = (*moves + moved, *looks + 1);
            if !CLEAR.contains(&moved) {
                return moved < CLEAR.start;
            }
        }
        *looks > 0 && *moves <= FEW_MOVES * *looks
    }
}

/// Number of reads that differ from the previous read.
fn moves(reads: &[[u64; 2]]) -> u64 {
    reads.windows(2).map(|pair| u64::from(pair[0] != pair[1])).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_counted_between_neighbours() {
        assert_eq!(moves(&[[1, 1]; 8]), 0);
        assert_eq!(moves(&[[1, 1], [1, 2], [1, 2], [2, 2]]), 2);
    }

    #[test]
    fn an_unclear_look_is_decided_by_the_mean_of_its_instruction() {
        let mut operators = Operators::default();
        assert!(!operators.judge(1, None), "nothing is known");
        assert!([10, 20, 11, 18].map(|moved| operators.judge(1, Some(moved)))[3]);
        assert!(operators.judge(1, None));
        assert!(!operators.judge(1, Some(60)) && operators.judge(1, Some(0)));
        assert!(![20, 14, 25, 21].map(|moved| operators.judge(2, Some(moved)))[3]);
    }

    #[test]
    fn both_addresses_are_read_repeatedly_and_an_unmapped_address_is_refused() {
        let memory = ProcessMemory::new(std::process::id());
        let mut reads = [[0; 2]; WATCHED];
        let word = 7u64;
        let address = std::ptr::from_ref(&word) as u64;
        assert!(memory.watch((address, address), &mut reads));
        assert!(reads.iter().all(|read| *read == [7, 7]));
        assert!(!memory.watch((8, address), &mut reads));
    }
}
