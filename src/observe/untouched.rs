//! Memory of another process that was asked for and never touched.
//!
//! Job: find the stretches of private memory that have no page behind them, as the kernel's page map tells. The reader's
//! question: *who holds the memory?* An untouched array of 200 MiB holds none. Invariant: constant work for each page, at
//! most [`SHARE`] of the time, and only where the footprint has grown. Neighbour: `clocks` asks at its readings.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use super::proc;

/// Pages of a stretch that is told.
const SHORTEST: u64 = 16;
/// Mappings from this size on are looked into.
const SMALLEST: u64 = 1 << 20;
/// Pages whose entries are read at once.
const AT_ONCE: u64 = 8192;
/// Bytes of address space that are looked through at most.
const MOST: u64 = 16 << 30;
/// Stretches that are told at most.
const MOST_RANGES: usize = 4096;
/// A look may take one part in so many of the time.
const SHARE: u32 = 15;
/// Bits of an entry: in memory, or swapped out.
const TOUCHED: u64 = 0b11 << 62;

/// When to look again.
#[derive(Debug, Default)]
pub(super) struct Untouched {
    /// The largest footprint that was looked into.
    most: u64,
    due_ns: u64,
    /// The kernel refuses.
    denied: bool,
}

impl Untouched {
    /// Is a footprint of `bytes` worth a look?
    pub(super) fn is_worth(&self, bytes: u64, now_ns: u64) -> bool {
        !self.denied && bytes > self.most + self.most / 128 && now_ns >= self.due_ns
    }

    /// The untouched stretches, in order: first address, and bytes.
    pub(super) fn look(&mut self, pid: u32, bytes: u64) -> Option<Box<[(u64, u64)]>> {
        let before = proc::own_cpu();
        let ranges = ranges(pid);
        self.denied = ranges.is_none();
        self.most = bytes;
        let cost = proc::own_cpu().saturating_sub(before) * SHARE;
        self.due_ns = proc::monotonic_ns() + u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX >> 1);
        ranges.map(Vec::into_boxed_slice)
    }
}

fn ranges(pid: u32) -> Option<Vec<(u64, u64)>> {
    let maps = fs::read(format!("/proc/{pid}/maps")).ok()?;
    let pagemap = File::open(format!("/proc/{pid}/pagemap")).ok()?;
    let page = proc::page_bytes();
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut left = MOST;
    for (start, end) in String::from_utf8_lossy(&maps).lines().filter_map(private).filter(|(s, e)| e - s >= SMALLEST) {
        if end - start > left || ranges.len() >= MOST_RANGES {
            break;
        }
        left -= end - start;
        look_into(&pagemap, (start, end), page, &mut ranges)?;
    }
    Some(ranges)
}

/// The addresses of a line of `maps`, if it is private, writable memory of no file.
fn private(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let writable = words.next()?.as_bytes();
    let inode = words.nth(2)?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    (writable.get(1) == Some(&b'w') && writable.get(3) == Some(&b'p') && inode == "0")
        .then(|| Some((address(start)?, address(end)?)))?
}

/// Appends the untouched stretches of `start..end`; `None` where the kernel does not tell.
fn look_into(pagemap: &File, (start, end): (u64, u64), page: u64, ranges: &mut Vec<(u64, u64)>) -> Option<()> {
    let mut entries = vec![0_u8; (AT_ONCE * 8) as usize];
    let mut run = None;
    let mut at = start;
    while at < end {
        let pages = ((end - at) / page).min(AT_ONCE);
        let part = &mut entries[..(pages * 8) as usize];
        pagemap.read_exact_at(part, at / page * 8).ok()?;
        for entry in part.chunks_exact(8) {
            let touched = u64::from_ne_bytes(entry.try_into().unwrap_or_default()) & TOUCHED != 0;
            match (touched, run) {
                (false, None) => run = Some(at),
                (true, Some(first)) => {
                    push(ranges, first, at, page);
                    run = None;
                }
                _ => {}
            }
            at += page;
        }
    }
    run.iter().for_each(|&first| push(ranges, first, end, page));
    Some(())
}

fn push(ranges: &mut Vec<(u64, u64)>, first: u64, end: u64, page: u64) {
    if end - first >= SHORTEST * page {
        ranges.push((first, end - first));
    }
}

#[cfg(test)]
mod tests {
    use super::{private, ranges};

    #[test]
    fn an_untouched_array_is_found_and_a_touched_one_is_not() {
        let untouched = vec![0_u8; 64 << 20];
        let touched = vec![1_u8; 32 << 20];
        let ranges = ranges(std::process::id()).expect("the own page map can be read");
        let of = |block: &[u8]| {
            let (start, end) = (block.as_ptr() as u64, block.as_ptr() as u64 + block.len() as u64);
            let overlap = |&(at, bytes): &(u64, u64)| (at + bytes).min(end).saturating_sub(at.max(start));
            ranges.iter().map(overlap).sum::<u64>()
        };
        assert!(of(&untouched) > 63 << 20, "{}", of(&untouched));
        assert!(of(&touched) < 1 << 20, "{}", of(&touched));
    }

    #[test]
    fn only_private_memory_of_no_file_is_looked_into() {
        assert_eq!(private("7f00-7fff rw-p 00000000 00:00 0 "), Some((0x7f00, 0x7fff)));
        assert_eq!(private("7f00-7fff rw-p 00000000 00:00 0 [heap]"), Some((0x7f00, 0x7fff)));
        assert_eq!(private("7f00-7fff r--p 00000000 00:00 0 "), None);
        assert_eq!(private("7f00-7fff rw-s 00000000 00:01 7 /dev/zero"), None);
        assert_eq!(private("7f00-7fff rw-p 00001000 08:01 99 /lib/x.so"), None);
    }
}
