//! memcpy and memmove: bytes moved, sampled.
//!
//! Invariant: one countdown in the thread's block, then a jump to libc's own; our own copies (made while busy or in the
//! signal handler) are not counted. Neighbours: `hooks`, `interval` (the weights).

use core::ffi::c_void;

use rscalene_wire as wire;
use wire::Kind;

use super::{interval, running_stack, thread};
use crate::real::{Next, call_next};
use crate::tls::{Busy, tls};
use crate::{process, sys, threads};

static MEMCPY: Next = Next::new(c"memcpy");
static MEMMOVE: Next = Next::new(c"memmove");
static MEMCPY_CHK: Next = Next::new(c"__memcpy_chk");
static MEMMOVE_CHK: Next = Next::new(c"__memmove_chk");

/// Mean bytes between two samples: copies run at some 10 GB/s, so this is at most a few thousand a second.
const INTERVAL: u64 = 4 * 1024 * 1024;
/// Bytes between two looks before sampling has begun.
const LOOK: i64 = 1 << 20;

type Block = *mut c_void;
type Source = *const c_void;

#[inline(always)]
fn count(bytes: usize) {
    let block = tls();
    let left = block.copy_countdown.get().wrapping_sub(bytes as i64);
    block.copy_countdown.set(left);
    if left < 0 {
        sample(bytes);
    }
}

#[cold]
#[inline(never)]
fn sample(bytes: usize) {
    let block = tls();
    if !interval::running() {
        block.copy_countdown.set(LOOK);
        return;
    }
    if process::settings().copy_volume == 0 {
        block.copy_countdown.set(i64::MAX / 2);
        return;
    }
    let first = block.copying.replace(1) == 0;
    let Some(_busy) = Busy::enter() else {
        block.copy_countdown.set(0);
        return;
    };
    block.copy_countdown.set(interval::gap(threads::next_random(block), INTERVAL));
    if first {
        return;
    }
    let _errno = sys::KeepErrno::new();
    let Some(segment) = process::segment() else { return };
    let (stack, sent) = running_stack(&segment);
    if !sent {
        segment.lose(Kind::Copy, 1);
        return;
    }
    let weight = bytes as f64 / interval::one_minus_exp(bytes as f64 / INTERVAL as f64);
    let record = wire::Copy { time_ns: sys::now_ns(), stack, weight: weight as u64, tid: thread(), reserved: 0 };
    segment.emit(Kind::Copy, 0, &record, &[]);
}

/// Copies byte by byte, overlapping or not: for the moment in which libc's own function is still being looked up.
#[cold]
#[inline(never)]
fn plainly(to: Block, from: Source, bytes: usize) -> Block {
    let (into, out) = (to.cast::<u8>(), from.cast::<u8>());
    let copy = |at: usize| {
        // SAFETY: `at` is below `bytes`, which the caller vouches for; volatile, so that no call of memcpy is made of it.
        unsafe { into.add(at).write_volatile(out.add(at).read_volatile()) };
    };
    if (into as usize) < out as usize {
        (0..bytes).for_each(copy)
    } else {
        (0..bytes).rev().for_each(copy)
    }
    to
}

/// `memcpy`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: Block, from: Source, bytes: usize) -> Block {
    count(bytes);
    call_next!(MEMCPY, fn(Block, Source, usize) -> Block, (to, from, bytes), plainly(to, from, bytes))
}

/// `memmove`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: Block, from: Source, bytes: usize) -> Block {
    count(bytes);
    call_next!(MEMMOVE, fn(Block, Source, usize) -> Block, (to, from, bytes), plainly(to, from, bytes))
}

/// `memcpy` as compilers call it under `_FORTIFY_SOURCE`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn __memcpy_chk(to: Block, from: Source, bytes: usize, room: usize) -> Block {
    count(bytes);
    call_next!(MEMCPY_CHK, fn(Block, Source, usize, usize) -> Block, (to, from, bytes, room), plainly(to, from, bytes))
}

/// `memmove` as compilers call it under `_FORTIFY_SOURCE`.
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn __memmove_chk(to: Block, from: Source, bytes: usize, room: usize) -> Block {
    count(bytes);
    call_next!(MEMMOVE_CHK, fn(Block, Source, usize, usize) -> Block, (to, from, bytes, room), plainly(to, from, bytes))
}
