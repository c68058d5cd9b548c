//! A chain of frames as CPython 3.12 lays them out, in an array.

use rscalene_interp::{Layout, Memory};

const BASE: u64 = 0x10_0000;
const CODE_TYPE: u64 = BASE + 0x100;
const CODE: u64 = BASE + 0x400;
const FIRST: u64 = BASE + 0x1000;
const APART: u64 = 0x80;
const VERSION: u32 = 0x030c_01f0;

/// Bytes from [`BASE`] on.
pub(crate) struct Array(Vec<u8>);

impl Array {
    fn put(&mut self, address: u64, word: u64) {
        let at = (address - BASE) as usize;
        self.0[at..at + 8].copy_from_slice(&word.to_ne_bytes());
    }
}

impl Memory for Array {
    fn u64(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(BASE)?).ok()?;
        self.0.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_ne_bytes)
    }

    fn bytes(&self, address: u64, into: &mut [u8]) -> bool {
        let from = address.checked_sub(BASE).and_then(|at| usize::try_from(at).ok());
        let Some(found) = from.and_then(|at| self.0.get(at..at.checked_add(into.len())?)) else { return false };
        into.copy_from_slice(found);
        true
    }
}

/// A chain of `depth` frames of one function: the memory, its layout, and the address of the leaf.
pub(crate) fn chain(depth: u64) -> (Array, Layout, u64) {
    let mut memory = Array(vec![0; (FIRST - BASE + (depth + 1) * APART) as usize]);
    memory.put(CODE + 8, CODE_TYPE);
    memory.put(CODE + 16, 64);
    for number in 0..depth {
        let frame = FIRST + number * APART;
        memory.put(frame, CODE);
        memory.put(frame + 8, if number + 1 < depth { frame + APART } else { 0 });
        memory.put(frame + 56, CODE + 192 + 2 * (number % 64));
    }
    let layout = Layout::of(VERSION, BASE, CODE_TYPE, &memory).expect("a known version");
    (memory, layout, FIRST)
}
