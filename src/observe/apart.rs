//! A sampling thread that stays off the processor of the thread that it watches.
//!
//! Job: where the cores are all taken, a sampler that shares its target's core runs when the target has let go of it, and
//! a thread lets go on its way out of the kernel: since the kernel may put a wake-up off until then, system calls are seen
//! far more often than they take time (44 % of the samples for 1 % of the time, measured with both on one of two busy
//! cores, 2 % with one on each). From another core the target is seen wherever it is. Invariant: only the calling thread
//! is moved, within the processors that it may use. Neighbour: `looks` says who is watched.

use std::fs;
use std::mem;

/// Ticks between two looks at where the target runs: threads rarely move.
const LOOK_TICKS: u32 = 4;

/// The calling thread's place.
#[derive(Debug)]
pub struct Apart {
    allowed: libc::cpu_set_t,
    avoided: Option<usize>,
    ticks: u32,
}

impl Apart {
    /// The calling thread may use the processors that it may use now; `None` where that is one alone, or not known.
    #[must_use]
    pub fn new() -> Option<Self> {
        // SAFETY: all bytes zero is an empty set.
        let mut allowed: libc::cpu_set_t = unsafe { mem::zeroed() };
        // SAFETY: the set is ours and as large as stated; 0 is the calling thread.
        let failed = unsafe { libc::sched_getaffinity(0, size_of_val(&allowed), &raw mut allowed) };
        // SAFETY: only counts the set's bits.
        let several = failed == 0 && unsafe { libc::CPU_COUNT(&allowed) } > 1;
        several.then_some(Self { allowed, avoided: None, ticks: 0 })
    }

    /// Stays off the processor that thread `tid` of this process runs on or ran on last.
    pub fn keep(&mut self, tid: u32) {
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks % LOOK_TICKS != 1 {
            return;
        }
        let Some(processor) = processor(tid) else { return };
        // Where the target alone has moved, its old processor is as good as any.
        if self.avoided == Some(processor) || processor >= libc::CPU_SETSIZE as usize {
            return;
        }
        let mut others = self.allowed;
        // SAFETY: the number is below the set's size.
        let left = unsafe {
            libc::CPU_CLR(processor, &mut others);
            libc::CPU_COUNT(&others)
        };
        if left > 0 {
            // SAFETY: the set is ours and as large as stated; 0 is the calling thread.
            let failed = unsafe { libc::sched_setaffinity(0, size_of_val(&others), &raw const others) };
            self.avoided = (failed == 0).then_some(processor);
        }
    }
}

/// The processor that a thread of this process ran on last.
fn processor(tid: u32) -> Option<usize> {
    // Bytes: a thread names itself as it likes.
    parse_processor(&String::from_utf8_lossy(&fs::read(format!("/proc/self/task/{tid}/stat")).ok()?))
}

/// Field 39. The name in parentheses may hold anything, so fields are counted from behind it, where the third begins.
fn parse_processor(stat: &str) -> Option<usize> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(36)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_read_behind_any_name() {
        let fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        assert_eq!(parse_processor(&format!("12 (a) b 7) {}", fields.join(" "))), Some(39));
        assert_eq!(parse_processor("12 (a) S 1"), None);
    }

    #[test]
    fn a_thread_that_keeps_apart_leaves_the_processor() {
        // SAFETY: takes nothing.
        let tid = unsafe { libc::gettid() } as u32;
        let told = std::thread::spawn(move || {
            let Some(mut apart) = Apart::new() else { return };
            apart.keep(tid);
            let avoided = apart.avoided.expect("the thread lives");
            // SAFETY: takes nothing.
            let here = unsafe { libc::sched_getcpu() };
            assert_ne!(usize::try_from(here), Ok(avoided));
        });
        told.join().expect("kept apart");
    }
}
