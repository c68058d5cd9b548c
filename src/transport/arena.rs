//! The arena: the shared memory into which the targets write.
//!
//! Job: create the arena, give its address to the targets, and read its segments. Invariant: no other file of the
//! launcher accesses the mapping. The file returns only copies, made with atomic loads or of bytes that the owner of
//! the slot has committed, and it reduces every position to the ring before use. Neighbours: `rscalene_wire` (layout),
//! `drain`.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, SystemTime};

use rscalene_wire as wire;
use wire::{ARENA_MAGIC, ArenaHeader, PAGE, SLOT, SegmentHeader, Settings, WIRE_VERSION};

use super::event::Counters;

/// A segment whose owner has ended keeps its memory if the owner used at most this many slots of the ring.
const KEPT_SLOTS: u64 = (4 * PAGE / SLOT) as u64;

/// The arena of a run. The kernel frees the memory once the last process that maps the arena has ended.
#[derive(Debug)]
pub struct Arena {
    file: OwnedFd,
    base: *mut u8,
    bytes: usize,
    segments: u32,
    segment_bytes: usize,
    nonce: u64,
}

// SAFETY: all shared words are atomics, and committed slots are only read; the mapping lives as long as the value.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Creates an arena of `segments` segments, a segment per process, of `segment_bytes` bytes each (whole pages).
    /// Creates fewer segments if the address space or the length of files is limited. A page takes memory only after
    /// the first write.
    ///
    /// # Errors
    /// The system has no memory or no descriptor left.
    pub fn create(settings: Settings, segments: u32, segment_bytes: usize) -> io::Result<Self> {
        let (segments, segment_bytes) = affordable(segments, segment_bytes);
        let name = CString::new("rscalene-arena").unwrap_or_default();
        // SAFETY: the name ends with NUL.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and has no other owner.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        let first = usize::try_from(wire::first_segment(segments)).map_err(io::Error::other)?;
        let bytes = segment_bytes
            .checked_mul(segments as usize)
            .and_then(|all| all.checked_add(first))
            .ok_or_else(|| io::Error::other("the arena is too large"))?;
        let length = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
        lengthen(&file, length)?;
        // SAFETY: a fresh shared mapping of the file created above.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let arena = Self { file, base: base.cast(), bytes, segments, segment_bytes, nonce: random() };
        let header = ArenaHeader {
            magic: ARENA_MAGIC,
            version: WIRE_VERSION,
            launcher_pid: std::process::id(),
            nonce: arena.nonce,
            segment_bytes: segment_bytes as u64,
            segment_count: segments,
            hint: AtomicU32::new(0),
            stop: AtomicU32::new(0),
            wake: AtomicU32::new(0),
            refused: AtomicU64::new(0),
            settings,
            first: AtomicU32::new(0),
            elsewhere: AtomicU32::new(0),
            signal_cost_ns: AtomicU64::new(0),
            burst_ns: AtomicU64::new(0),
        };
        // SAFETY: the mapping starts with a whole page, aligned, and no target knows the address yet.
        unsafe { arena.base.cast::<ArenaHeader>().write(header) };
        Ok(arena)
    }

    /// Value of the environment variable [`wire::ARENA_ENV`], by which a target finds this arena.
    #[must_use]
    pub fn address(&self) -> OsString {
        format!("{}:{}:{:x}", std::process::id(), self.file.as_raw_fd(), self.nonce).into()
    }

    /// The descriptor of the arena's file.
    pub(super) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// The number that a target must know.
    pub(super) fn nonce(&self) -> u64 {
        self.nonce
    }

    /// The whole mapping, for a shim in the launcher's own process. The shim must stop using the mapping before this
    /// value is dropped.
    #[must_use]
    pub fn lend(&self) -> *mut ArenaHeader {
        self.base.cast()
    }

    fn header(&self) -> &ArenaHeader {
        // SAFETY: `create` wrote the header; only its atomics change later.
        unsafe { &*self.base.cast::<ArenaHeader>() }
    }

    /// Number of segments.
    #[must_use]
    pub fn segments(&self) -> u32 {
        self.segments
    }

    /// Slots in the ring of a segment.
    #[must_use]
    pub fn slots(&self) -> u64 {
        ((self.segment_bytes - PAGE) / SLOT) as u64
    }

    fn owner_word(&self, segment: u32) -> &AtomicU64 {
        let at = PAGE + (segment % self.segments.max(1)) as usize * size_of::<AtomicU64>();
        // SAFETY: a word per segment follows the header page, inside the mapping and aligned.
        unsafe { &*self.base.add(at).cast::<AtomicU64>() }
    }

    /// Claim of a segment: 0: free; otherwise the owner's process id in the low 32 bits.
    #[must_use]
    pub fn owner(&self, segment: u32) -> u64 {
        // Pairs with the shim's compare-and-swap.
        self.owner_word(segment).load(Acquire)
    }

    fn offset(&self, segment: u32) -> usize {
        let first = usize::try_from(wire::first_segment(self.segments)).unwrap_or(usize::MAX);
        first + (segment % self.segments.max(1)) as usize * self.segment_bytes
    }

    fn segment(&self, segment: u32) -> &SegmentHeader {
        // SAFETY: every segment starts with a header page inside the mapping; its fields are atomics.
        unsafe { &*self.base.add(self.offset(segment)).cast::<SegmentHeader>() }
    }

    /// Number of slots reserved since the segment was claimed.
    #[must_use]
    pub fn head(&self, segment: u32) -> u64 {
        self.segment(segment).head.load(Acquire)
    }

    /// Allows the writers to overwrite all slots before `position`.
    pub fn set_tail(&self, segment: u32, position: u64) {
        // Pairs with the Acquire load of a reservation.
        self.segment(segment).tail.store(position, Release);
    }

    fn slot(&self, segment: u32, position: u64) -> *const u8 {
        let slots = self.slots().max(1);
        let at = self.offset(segment) + PAGE + usize::try_from(position % slots).unwrap_or(0) * SLOT;
        // SAFETY: the position is reduced to the ring, which lies inside the mapping.
        unsafe { self.base.add(at) }
    }

    /// True if a whole record begins at `position`.
    #[must_use]
    pub fn committed(&self, segment: u32, position: u64) -> bool {
        // SAFETY: slots are 64-byte aligned inside the mapping.
        let word = unsafe { &*self.slot(segment, position).cast::<AtomicU64>() };
        // Pairs with the writer's Release store.
        word.load(Acquire) == wire::commit_word(position)
    }

    /// Copies slots out of the ring, `into.len()` bytes from the slot at `position` on.
    pub fn copy(&self, segment: u32, position: u64, into: &mut [u8]) {
        for (index, chunk) in into.chunks_mut(SLOT).enumerate() {
            let from = self.slot(segment, position.wrapping_add(index as u64));
            // SAFETY: `from` is a whole slot of the mapping. A hostile writer may change the slot meanwhile: then the
            // copy holds garbage, and the decoder checks every copy.
            unsafe { std::ptr::copy_nonoverlapping(from, chunk.as_mut_ptr(), chunk.len()) };
        }
    }

    /// The counters of the segment; `malformed` is the drain's own count.
    #[must_use]
    pub fn counters(&self, segment: u32, malformed: u64) -> Counters {
        let header = self.segment(segment);
        let mut lost = [0; wire::LOST_KINDS];
        for (to, from) in lost.iter_mut().zip(&header.lost) {
            *to = from.load(Relaxed);
        }
        Counters {
            lost,
            frames_rejected: header.frames_rejected.load(Relaxed),
            memory_interval_bytes: header.memory_interval_bytes.load(Relaxed),
            malformed,
        }
    }

    /// Frees a segment whose owner has ended and whose ring is drained; its pages then read as zero. Returns false if
    /// the call fails: then no process gets the segment again.
    #[must_use]
    pub fn release(&self, segment: u32) -> bool {
        let used = self.head(segment).min(self.slots());
        if used <= KEPT_SLOTS {
            self.zero(segment, used);
        } else if !self.punch(segment) {
            return false;
        }
        self.owner_word(segment).store(0, Release);
        true
    }

    /// Returns the memory of a segment to the system.
    fn punch(&self, segment: u32) -> bool {
        let offset = libc::off_t::try_from(self.offset(segment)).unwrap_or(0);
        let length = libc::off_t::try_from(self.segment_bytes).unwrap_or(0);
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: the file belongs to this value, and no process reads the segment any more.
        unsafe { libc::fallocate(self.file.as_raw_fd(), mode, offset, length) == 0 }
    }

    /// Clears a segment with `slots` used slots, and keeps its memory for the next owner. Otherwise many short
    /// processes would ask the system for the same pages again and again.
    fn zero(&self, segment: u32, slots: u64) {
        let bytes = usize::try_from(slots).unwrap_or(0) * SLOT;
        // SAFETY: header and slots lie in the segment, and no process reads or writes them any more.
        unsafe {
            let header = self.base.add(self.offset(segment));
            header.write_bytes(0, size_of::<SegmentHeader>());
            header.add(PAGE).write_bytes(0, bytes);
        }
    }

    /// Number of processes that found no free segment.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.header().refused.load(Relaxed)
    }

    /// Number of processes that were not profiled because they have a PID namespace of their own.
    #[must_use]
    pub fn elsewhere(&self) -> u32 {
        self.header().elsewhere.load(Relaxed)
    }

    /// Asks every shim to stop.
    pub fn stop(&self) {
        self.header().stop.store(1, Release);
    }

    /// Ends the current [`wait`](Self::wait), or the next.
    pub fn wake(&self) {
        let word = &self.header().wake;
        word.fetch_add(1, Relaxed);
        // SAFETY: the word lives in the mapping; FUTEX_WAKE does not even read the word.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
    }

    /// Sleeps until a shim asks for a look, for `patience` at most.
    pub fn wait(&self, patience: Duration) {
        let word = &self.header().wake;
        let seen = word.swap(0, Relaxed);
        if seen != 0 {
            return;
        }
        let time = libc::timespec {
            tv_sec: libc::time_t::try_from(patience.as_secs()).unwrap_or(1),
            tv_nsec: libc::c_long::from(patience.subsec_nanos()),
        };
        // SAFETY: the word lives in the mapping; FUTEX_WAIT only reads the word.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, 0, &raw const time) };
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping belongs to this value, and no reference to the mapping is left.
        unsafe { libc::munmap(self.base.cast(), self.bytes) };
    }
}

/// A limit of this process, soft and hard; infinite if the limit cannot be read.
fn limit_of(what: libc::__rlimit_resource_t) -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` is a local variable as large as the kernel's struct.
    unsafe { libc::getrlimit(what, &raw mut limit) };
    limit
}

/// The size of an arena within the limits of this process: at most `segments` segments, at least one, in a quarter of
/// the allowed address space and within the longest allowed file. Returns the number of segments and the bytes of each.
/// The bytes are fewer than `segment_bytes` only if not even a single segment would fit the file.
fn affordable(segments: u32, segment_bytes: usize) -> (u32, usize) {
    let space = limit_of(libc::RLIMIT_AS).rlim_cur;
    let file = limit_of(libc::RLIMIT_FSIZE).rlim_max.saturating_sub(FIRST_PAGES);
    let longest = usize::try_from(file).unwrap_or(usize::MAX) & !(PAGE - 1);
    let segment_bytes = if longest < segment_bytes { longest.max(LEAST_SEGMENT) } else { segment_bytes };
    let fit = |bytes: u64| u32::try_from(bytes / segment_bytes.max(1) as u64).unwrap_or(u32::MAX).max(1);
    let fit_space = if space == libc::RLIM_INFINITY { u32::MAX } else { fit(space / 4) };
    (segments.min(fit_space).min(fit(file)), segment_bytes)
}

/// Most bytes before the first segment.
const FIRST_PAGES: u64 = 4 * PAGE as u64;
/// Least bytes of a segment: a smaller ring would lose most records.
const LEAST_SEGMENT: usize = 32 * PAGE;

/// Sets the length of the file. The user's limit on the size of files (`ulimit -f`) is meant for files on disks. So the
/// function raises the soft limit during the call, as far as the hard limit allows.
fn lengthen(file: &OwnedFd, length: libc::off_t) -> io::Result<()> {
    let limit = limit_of(libc::RLIMIT_FSIZE);
    let lifted = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: the soft limit may have any value up to the hard limit.
    unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const lifted) };
    // SAFETY: the descriptor is open while `file` lives.
    let made = unsafe { libc::ftruncate(file.as_raw_fd(), length) };
    let error = io::Error::last_os_error();
    // SAFETY: sets the limit read above.
    unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
    if made == 0 { Ok(()) } else { Err(error) }
}

/// A number that is hard to guess, or at least different from the numbers of earlier runs.
fn random() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: `bytes` has space for 8 bytes.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    if got == 8 {
        return u64::from_ne_bytes(bytes);
    }
    let clock =
        SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| u64::from(time.subsec_nanos()) ^ time.as_secs() << 30);
    clock ^ u64::from(std::process::id()) << 32
}
