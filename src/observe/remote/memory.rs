//! The memory of another process.
//!
//! Job: serve the interpreter's readers with `process_vm_readv`, in blocks, so that neighbouring fields cost a single
//! system call. Invariant: blocks are valid for a single look ([`ProcessMemory::forget`]); the process is read, never
//! stopped or written. Neighbours: `stacks` and `process` read through it.

use std::cell::{Cell, RefCell};
use std::io;

use rscalene_interp::Memory;

/// Bytes of a block. The number divides a page, so that a block is readable as a whole or not at all.
const BLOCK: usize = 512;
/// Number of blocks that are remembered; a power of two.
const BLOCKS: usize = 128;

/// Number of reads of both words in [`ProcessMemory::watch`]: 45 µs. A system call takes up to 512 of them.
pub const WATCHED: usize = 128;

/// Another process' memory.
#[derive(Debug)]
pub struct ProcessMemory {
    pid: libc::pid_t,
    /// Empty until the first read, because most processes are never read.
    blocks: RefCell<Vec<(u64, [u8; BLOCK])>>,
    denied: Cell<bool>,
}

impl ProcessMemory {
    /// A memory of which no block is read yet.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        let pid = libc::pid_t::try_from(pid).unwrap_or(0);
        Self { pid, blocks: RefCell::default(), denied: Cell::new(false) }
    }

    /// Forgets all blocks, so that the next look reads the memory anew.
    pub fn forget(&self) {
        for block in self.blocks.borrow_mut().iter_mut() {
            block.0 = u64::MAX;
        }
    }

    /// True once the kernel has refused a read.
    #[must_use]
    pub fn denied(&self) -> bool {
        self.denied.get()
    }

    /// Reads two words [`WATCHED`] times, about 0.35 µs apart (measured), in a single system call. False unless all
    /// reads succeed.
    #[must_use]
    pub fn watch(&self, addresses: (u64, u64), into: &mut [[u64; 2]; WATCHED]) -> bool {
        let place = |address: u64| libc::iovec {
            iov_base: std::ptr::without_provenance_mut(usize::try_from(address).unwrap_or(0)),
            iov_len: size_of::<u64>(),
        };
        let mut remote = [place(addresses.0); 2 * WATCHED];
        remote.iter_mut().skip(1).step_by(2).for_each(|second| *second = place(addresses.1));
        let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: size_of_val(into) };
        // SAFETY: `local` spans `into`, which this function may write; the kernel checks every place in `remote`.
        let read = unsafe {
            libc::process_vm_readv(self.pid, &raw const local, 1, remote.as_ptr(), remote.len() as libc::c_ulong, 0)
        };
        usize::try_from(read) == Ok(size_of_val(into))
    }

    /// Reads a byte at `addr` to see the kernel's answer: `PermissionDenied` if the process may not be read.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn probe(&self, addr: u64) -> io::Result<()> {
        self.read(addr, &mut [0])
    }

    fn read(&self, addr: u64, into: &mut [u8]) -> io::Result<()> {
        let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        let there = usize::try_from(addr).map_err(|_| io::ErrorKind::InvalidInput)?;
        let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(there), iov_len: into.len() };
        // SAFETY: `local` spans `into`, which this function may write; the kernel checks `remote`, and this process
        // never touches that address.
        let read = unsafe { libc::process_vm_readv(self.pid, &raw const local, 1, &raw const remote, 1, 0) };
        match usize::try_from(read) {
            Ok(read) if read == into.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::PermissionDenied {
                    self.denied.set(true);
                }
                Err(error)
            }
        }
    }

    /// Fills `into` from `addr` on; all of `into` lies in a single block.
    fn within(&self, addr: u64, into: &mut [u8]) -> bool {
        let start = addr & !(BLOCK as u64 - 1);
        let mut blocks = self.blocks.borrow_mut();
        if blocks.is_empty() {
            blocks.resize(BLOCKS, (u64::MAX, [0; BLOCK]));
        }
        let place = usize::try_from(start / BLOCK as u64).unwrap_or(0) & (BLOCKS - 1);
        let block = &mut blocks[place];
        if block.0 != start {
            block.0 = u64::MAX;
            if self.read(start, &mut block.1).is_err() {
                return false;
            }
            block.0 = start;
        }
        let from = usize::try_from(addr - start).unwrap_or(0);
        into.copy_from_slice(&block.1[from..from + into.len()]);
        true
    }
}

impl Memory for ProcessMemory {
    fn u64(&self, addr: u64) -> Option<u64> {
        let mut raw = [0; 8];
        self.bytes(addr, &mut raw).then(|| u64::from_ne_bytes(raw))
    }

    fn bytes(&self, addr: u64, into: &mut [u8]) -> bool {
        if into.len() > 4 * BLOCK {
            return self.read(addr, into).is_ok();
        }
        let mut addr = addr;
        let mut rest = into;
        while !rest.is_empty() {
            let until_block_end = BLOCK - usize::try_from(addr % BLOCK as u64).unwrap_or(0);
            let (now, later) = rest.split_at_mut(until_block_end.min(rest.len()));
            if !self.within(addr, now) {
                return false;
            }
            let Some(next) = addr.checked_add(now.len() as u64) else { return later.is_empty() };
            addr = next;
            rest = later;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cross_blocks_and_fail_outside_of_the_mappings() {
        let bytes: Vec<u8> = (0..=255).cycle().take(5_003).collect();
        let memory = ProcessMemory::new(std::process::id());
        let address = bytes.as_ptr() as u64;
        for (skip, length) in [(0, 8), (500, 40), (3, 2_000), (1, 5_000)] {
            let mut into = vec![0; length];
            assert!(memory.bytes(address + skip as u64, &mut into));
            assert_eq!(into, bytes[skip..skip + length]);
        }
        assert_eq!(memory.u64(8), None);
        assert_eq!(memory.u64(u64::MAX - 3), None);
        assert!(!memory.denied());
    }

    #[test]
    fn a_change_is_seen_after_forgetting() {
        let value = std::sync::atomic::AtomicU64::new(1);
        let memory = ProcessMemory::new(std::process::id());
        let address = std::ptr::from_ref(&value) as u64;
        assert_eq!(memory.u64(address), Some(1));
        value.store(2, std::sync::atomic::Ordering::SeqCst);
        memory.forget();
        assert_eq!(memory.u64(address), Some(2));
    }
}
