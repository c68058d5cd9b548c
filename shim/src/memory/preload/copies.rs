//! memcpy and memmove: the bytes that they move, sampled.
//!
//! Job: count down the bytes of each copy, and record a sample when the countdown ends. Invariant: the fast path is one
//! countdown in the thread's block, then a jump to libc's function. This library's own copies (made while busy or in
//! the signal handler) are not counted: `Busy` and the handler put the countdown aside. Neighbours: `sample`,
//! `interval` (the weights).

use core::ffi::c_void;

use rscalene_wire as wire;
use wire::Kind;

use crate::arena::segment;
use crate::ground::random::next_random;
use crate::ground::real::{Next, call_next};
use crate::ground::sys;
use crate::ground::tls::{Busy, FAR, tls};
use crate::memory::interval;
use crate::memory::preload::libc::jump;
use crate::memory::sample::{running_stack, thread};
use crate::python::labels;

static MEMCPY: Next = Next::new(c"memcpy");
static MEMMOVE: Next = Next::new(c"memmove");
static MEMCPY_CHK: Next = Next::new(c"__memcpy_chk");
static MEMMOVE_CHK: Next = Next::new(c"__memmove_chk");

/// Bytes between two checks whether sampling has begun.
const LOOK: i64 = 1 << 20;

/// Looks all of them up early: the allocator may copy while the dynamic linker is at work.
pub(crate) fn resolve() {
    for next in [&MEMCPY, &MEMMOVE, &MEMCPY_CHK, &MEMMOVE_CHK] {
        next.get();
    }
}

type Block = *mut c_void;
type Source = *const c_void;

/// Subtracts `bytes` from this thread's countdown; true if this copy may be a sample.
#[inline(always)]
fn runs_out(bytes: usize) -> bool {
    let block = tls();
    let left = block.copy_countdown.get().wrapping_sub(bytes as i64);
    block.copy_countdown.set(left);
    left < 0
}

#[cold]
#[inline(never)]
fn sample(bytes: usize) {
    let block = tls();
    if !interval::running() {
        block.copy_countdown.set(LOOK);
        return;
    }
    if !segment::settings().copy_volume.is_on() {
        block.copy_countdown.set(FAR);
        return;
    }
    let first = block.copying.replace(1) == 0;
    let Some(mut busy) = Busy::enter() else {
        block.copy_countdown.set(FAR);
        return;
    };
    if first {
        // The thread's first copy: a sample with the probability of any other.
        let left = interval::gap(next_random(block), wire::COPY_INTERVAL).saturating_sub_unsigned(bytes as u64);
        if left >= 0 {
            return busy.set_copies(left);
        }
    }
    busy.set_copies(interval::gap(next_random(block), wire::COPY_INTERVAL));
    let _errno = sys::KeepErrno::new();
    let Some(segment) = segment::segment() else { return };
    let (stack, sent) = running_stack(&segment);
    if !sent {
        segment.lose(Kind::Copy, 1);
        return;
    }
    let weight = bytes as f64 / interval::one_minus_exp(bytes as f64 / wire::COPY_INTERVAL as f64);
    let record =
        wire::Copy { time_ns: sys::now_ns(), stack, weight: weight as u64, tid: thread(), label: labels::current() };
    segment.emit(&record);
}

/// Copies byte by byte, overlapping or not. Used while libc's own function is still being looked up.
#[cold]
#[inline(never)]
fn plainly(to: Block, from: Source, bytes: usize) -> Block {
    let (into, out) = (to.cast::<u8>(), from.cast::<u8>());
    let copy = |at: usize| {
        // SAFETY: `at` is below `bytes`, which the caller guarantees; volatile, so that the compiler does not make a
        // call of memcpy of it.
        unsafe { into.add(at).write_volatile(out.add(at).read_volatile()) };
    };
    if (into as usize) < out as usize {
        (0..bytes).for_each(copy)
    } else {
        (0..bytes).rev().for_each(copy)
    }
    to
}

macro_rules! copying {
    ($name:ident, $slowly:ident, $next:ident, ($($destination_size:ident: usize)?), $doc:literal) => {
        #[doc = $doc]
        ///
        /// # Safety
        /// As libc's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(to: Block, from: Source, bytes: usize, $($destination_size: usize)?) -> Block {
            let next = $next.known();
            if runs_out(bytes) || next == 0 {
                return $slowly(to, from, bytes, $($destination_size)?);
            }
            jump!(next, fn(Block, Source, usize $(, copying!(@type $destination_size))?) -> Block, (to, from, bytes $(, $destination_size)?))
        }

        #[cold]
        #[inline(never)]
        fn $slowly(to: Block, from: Source, bytes: usize, $($destination_size: usize)?) -> Block {
            if tls().copy_countdown.get() < 0 {
                sample(bytes);
            }
            call_next!(
                $next,
                fn(Block, Source, usize $(, copying!(@type $destination_size))?) -> Block,
                (to, from, bytes $(, $destination_size)?),
                plainly(to, from, bytes)
            )
        }
    };
    (@type $destination_size:ident) => { usize };
}
copying!(memcpy, memcpy_slowly, MEMCPY, (), "`memcpy`.");
copying!(memmove, memmove_slowly, MEMMOVE, (), "`memmove`.");
copying!(
    __memcpy_chk,
    memcpy_chk_slowly,
    MEMCPY_CHK,
    (destination_size: usize),
    "`memcpy` as compilers call it under `_FORTIFY_SOURCE`."
);
copying!(
    __memmove_chk,
    memmove_chk_slowly,
    MEMMOVE_CHK,
    (destination_size: usize),
    "`memmove` as compilers call it under `_FORTIFY_SOURCE`."
);
