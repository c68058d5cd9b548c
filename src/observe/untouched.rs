//! Memory of another process that was allocated and never touched.
//!
//! Job: find the ranges of memory without a page, from the page tables. The question of a reader: *which lines hold the
//! memory?* An untouched array of 200 MiB holds none. Invariant: looks take at most one part in [`SHARE`] of the time,
//! and happen only when the footprint has grown (or, ever more rarely, when it stays at its height). Neighbour:
//! `clocks` calls [`Untouched::look`] at its readings.
//!
//! `PAGEMAP_SCAN` (Linux 6.7) returns ranges; older kernels return an entry of `pagemap` for every page.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use super::proc;

/// Shortest reported range, in pages.
const SHORTEST: u64 = 16;
/// Smallest examined mapping, in bytes.
const SMALLEST: u64 = 1 << 20;
/// Number of pages whose entries are read at once.
const AT_ONCE: u64 = 8192;
/// Most ranges that a scan returns.
const REGIONS: usize = 1024;
/// Most bytes of address space that are examined, if each page has an entry.
const MOST: u64 = 16 << 30;
/// Most ranges reported by a look.
const MOST_RANGES: usize = 16_384;
/// Looks may take a part of 1 / `SHARE` of the time.
const SHARE: u32 = 25;
/// Bits of an entry: the page is in memory, or swapped out.
const TOUCHED: u64 = 0b11 << 62;
/// Nanoseconds between two looks at a footprint near its height; the number doubles after each look.
const STAYS_NS: u64 = 100_000_000;

/// Categories of `PAGEMAP_SCAN`.
const PRESENT: u64 = 1 << 3;
const SWAPPED: u64 = 1 << 4;
const ZERO: u64 = 1 << 5;

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    regions_count: u64,
    most_pages: u64,
    inverted: u64,
    all_of: u64,
    any_of: u64,
    told: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::Ioctl = (3 << 30 | (size_of::<Scan>() as u64) << 16 | 0x66 << 8 | 16) as libc::Ioctl;

/// Decides when to look again.
#[derive(Debug)]
pub(super) struct Untouched {
    /// The largest footprint at any look.
    most: u64,
    due_ns: u64,
    stays_ns: u64,
    stays_due_ns: u64,
    /// True if the kernel refuses access.
    denied: bool,
    /// True if the kernel does not know `PAGEMAP_SCAN`.
    old: bool,
}

impl Untouched {
    pub(super) fn new() -> Self {
        Self { most: 0, due_ns: 0, stays_ns: STAYS_NS, stays_due_ns: 0, denied: false, old: false }
    }

    /// True if a footprint of `bytes` is worth a look.
    pub(super) fn is_worth(&self, bytes: u64, now_ns: u64) -> bool {
        let grown = bytes > self.most.saturating_add(self.most / 128);
        let stays = bytes > self.most - self.most / 64 && now_ns >= self.stays_due_ns;
        !self.denied && now_ns >= self.due_ns && (grown || stays)
    }

    /// Reads the untouched ranges, in order: first address, and bytes. The footprint is `bytes`.
    pub(super) fn look(&mut self, pid: u32, bytes: u64) -> Option<Box<[(u64, u64)]>> {
        let before = proc::own_cpu();
        let ranges = self.ranges(pid);
        self.denied = ranges.is_none();
        let now_ns = proc::monotonic_ns();
        let grown = bytes > self.most.saturating_add(self.most / 128);
        self.stays_ns = if grown { STAYS_NS } else { self.stays_ns.saturating_mul(2) };
        self.stays_due_ns = now_ns.saturating_add(self.stays_ns);
        self.most = self.most.max(bytes);
        let cost = proc::own_cpu().saturating_sub(before) * SHARE;
        self.due_ns = now_ns.saturating_add(u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX));
        ranges.map(Vec::into_boxed_slice)
    }

    fn ranges(&mut self, pid: u32) -> Option<Vec<(u64, u64)>> {
        let maps = fs::read(format!("/proc/{pid}/maps")).ok()?;
        let pagemap = File::open(format!("/proc/{pid}/pagemap")).ok()?;
        let page = proc::page_bytes();
        let mut ranges = Ranges { found: Vec::new(), shortest: SHORTEST * page };
        let mut left = MOST;
        for (start, end) in String::from_utf8_lossy(&maps).lines().filter_map(memory) {
            if end.saturating_sub(start) < SMALLEST {
                continue;
            }
            if ranges.found.len() >= MOST_RANGES {
                break;
            }
            if !self.old && scan(&pagemap, (start, end), &mut ranges).is_none() {
                self.old = true;
            }
            if self.old {
                if end - start > left {
                    break;
                }
                left -= end - start;
                read_entries(&pagemap, (start, end), page, &mut ranges)?;
            }
        }
        Some(ranges.found)
    }
}

/// Collects ranges that are long enough.
struct Ranges {
    found: Vec<(u64, u64)>,
    shortest: u64,
}

impl Ranges {
    fn push(&mut self, first: u64, end: u64) {
        let bytes = end.saturating_sub(first);
        if bytes >= self.shortest {
            self.found.push((first, bytes));
        }
    }
}

/// The addresses of a line of `maps`, if the line is writable memory without a file.
fn memory(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let writable = words.next()?.as_bytes();
    let inode = words.nth(2)?;
    // Memory that is shared with forked processes has this name.
    let of_no_file = if writable.get(3) == Some(&b's') { words.next() == Some("/dev/zero") } else { inode == "0" };
    let address = |text| u64::from_str_radix(text, 16).ok();
    (writable.get(1) == Some(&b'w') && of_no_file).then(|| Some((address(start)?, address(end)?)))?
}

/// Appends the untouched ranges of `start..end`; `None` if the kernel does not know the call.
fn scan(pagemap: &File, (start, end): (u64, u64), ranges: &mut Ranges) -> Option<()> {
    let mut regions = [Region::default(); REGIONS];
    // All memory before `told` has been reported.
    let (mut from, mut told) = (start, start);
    while from < end {
        let mut scan = Scan {
            size: size_of::<Scan>() as u64,
            start: from,
            end,
            regions: regions.as_mut_ptr() as u64,
            regions_count: REGIONS as u64,
            inverted: ZERO,
            all_of: ZERO,
            any_of: PRESENT | SWAPPED,
            told: PRESENT,
            ..Scan::default()
        };
        // SAFETY: `scan` has the layout of the call's argument, `regions` has `regions_count` elements, and both
        // outlive the call.
        let count = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut scan) };
        let touched = regions.get(..usize::try_from(count).ok()?)?;
        for region in touched {
            // After a full answer, the next scan begins inside of the last range.
            ranges.push(told, region.start);
            told = told.max(region.end);
        }
        if touched.len() < REGIONS || scan.walk_end <= from {
            break;
        }
        from = scan.walk_end;
    }
    ranges.push(told, end);
    Some(())
}

/// As [`scan`], from the entries of single pages; `None` if the kernel refuses.
fn read_entries(pagemap: &File, (start, end): (u64, u64), page: u64, ranges: &mut Ranges) -> Option<()> {
    let mut entries = vec![0_u8; (AT_ONCE * 8) as usize];
    let (mut at, mut told) = (start, start);
    while at < end {
        let pages = ((end - at) / page).clamp(1, AT_ONCE);
        let part = &mut entries[..(pages * 8) as usize];
        pagemap.read_exact_at(part, at / page * 8).ok()?;
        for entry in part.chunks_exact(8) {
            if u64::from_ne_bytes(entry.try_into().unwrap_or_default()) & TOUCHED != 0 {
                ranges.push(told, at);
                told = at.saturating_add(page);
            }
            at = at.saturating_add(page);
        }
    }
    ranges.push(told, end);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{Untouched, memory};

    #[test]
    fn an_untouched_array_is_found_and_a_touched_one_is_not_on_new_kernels_and_old() {
        let untouched = vec![0_u8; 64 << 20];
        let mut touched = vec![0_u8; 32 << 20];
        touched.fill(1);
        // More ranges than a scan returns.
        let mut sprinkled = vec![0_u8; 512 << 20];
        sprinkled.iter_mut().step_by(256 << 10).for_each(|byte| *byte = 1);
        let mut read_only = vec![0_u8; 16 << 20];
        read_only.truncate((16 << 20) - 1);
        assert_eq!(read_only.iter().map(|&byte| u64::from(byte)).sum::<u64>(), 0);
        for old in [false, true] {
            let mut looks = Untouched { old, ..Untouched::new() };
            let ranges = looks.look(std::process::id(), 1).expect("the own page map can be read");
            assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "in order and apart");
            let of = |block: &[u8]| {
                let (start, end) = (block.as_ptr() as u64, block.as_ptr() as u64 + block.len() as u64);
                let overlap = |&(at, bytes): &(u64, u64)| (at + bytes).min(end).saturating_sub(at.max(start));
                ranges.iter().map(overlap).sum::<u64>() >> 20
            };
            assert!(of(&untouched) >= 60, "{}", of(&untouched));
            assert!(of(&touched) < 3, "{}", of(&touched));
            // Huge pages, if enabled, touch 2 MiB at a time.
            assert!([0, 1, 2, 500, 503, 504].contains(&of(&sprinkled)), "{}", of(&sprinkled));
            assert!(old || looks.old || of(&read_only) >= 12, "pages of zeros that were read: {}", of(&read_only));
        }
    }

    #[test]
    fn only_memory_of_no_file_is_looked_into() {
        assert_eq!(memory("7f00-7fff rw-p 00000000 00:00 0 "), Some((0x7f00, 0x7fff)));
        assert_eq!(memory("7f00-7fff rw-p 00000000 00:00 0 [heap]"), Some((0x7f00, 0x7fff)));
        assert_eq!(memory("7f00-7fff r--p 00000000 00:00 0 "), None);
        assert_eq!(memory("7f00-7fff rw-s 00000000 00:01 7    /dev/zero (deleted)"), Some((0x7f00, 0x7fff)));
        assert_eq!(memory("7f00-7fff rw-p 00001000 08:01 99 /lib/x.so"), None);
        assert_eq!(memory("7f00-7fff rw-s 00001000 08:01 99 /tmp/x"), None);
    }
}
