//! Random numbers of each thread: when its next sample is due.
//!
//! Invariant: no lock and no system call. Neighbours: `tls` (the state).

use crate::ground::sys;
use crate::ground::tls::Tls;

/// Spreads the bits of a seed over the whole word.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// The next random number of this thread (xorshift64*).
pub(crate) fn next_random(block: &Tls) -> u64 {
    let mut x = block.random.get();
    if x == 0 {
        // This thread was never armed, so it has no seed yet.
        x = mix(sys::now_ns() ^ core::ptr::from_ref(block) as u64) | 1;
    }
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    block.random.set(x);
    x.wrapping_mul(0x2545_f491_4f6c_dd1d)
}
