//! Samples of another thread's CPU time, taken by the kernel.
//!
//! Job: open a task-clock event on a thread and read its records: the program counter after every period of the
//! thread's CPU time. Invariant: the thread is never stopped or signalled (the kernel's timer interrupt does the work),
//! and every record is read once or counted as lost. Neighbour: `watched` reads the thread's frames when a record
//! arrives.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Data pages of a ring: 680 records of 24 bytes, seconds of samples.
const PAGES: usize = 4;
const PAGE: usize = 4096;
/// `PERF_TYPE_SOFTWARE`.
const SOFTWARE: u32 = 1;
/// `PERF_COUNT_SW_TASK_CLOCK`.
const TASK_CLOCK: u64 = 1;
/// `PERF_SAMPLE_IP`.
const INSTRUCTION_POINTER: u64 = 1;
/// Bit of `perf_event_attr`: no records of kernel time.
const EXCLUDE_KERNEL: u64 = 1 << 5;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOSE_ON_EXEC: libc::c_ulong = 8;
/// `PERF_EVENT_IOC_PERIOD`.
const SET_PERIOD: libc::c_ulong = 0x4008_2404;
/// Kinds of records that are read.
const RECORD_LOST: u32 = 2;
const RECORD_SAMPLE: u32 = 9;
/// Offsets of the positions in the ring's first page.
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;

/// `perf_event_attr`, as of its seventh version.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
    config2: u64,
    branch_sample_type: u64,
    sample_regs_user: u64,
    sample_stack_user: u32,
    clock_id: i32,
    sample_regs_intr: u64,
    aux_watermark: u32,
    sample_max_stack: u16,
    reserved: u16,
}

const _: () = assert!(size_of::<Attributes>() == 112);

/// The place of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// True if the sample is in the kernel.
    pub(super) kernel: bool,
    /// The program counter.
    pub(super) pc: u64,
    /// Weight of the sample in CPU nanoseconds.
    pub(super) weight_ns: u64,
}

/// The event of a thread with its ring.
#[derive(Debug)]
pub(super) struct Event {
    fd: OwnedFd,
    ring: NonNull<u8>,
    tail: u64,
    period_ns: u64,
    /// True if kernel time is recorded too.
    pub(super) kernel: bool,
}

// SAFETY: this value alone owns the mapping, and the kernel writes the mapping from any CPU in any case.
unsafe impl Send for Event {}

impl Event {
    /// Opens an event on thread `tid` with a record after each `period` of its CPU time: with kernel time if the kernel
    /// allows it, otherwise without.
    ///
    /// # Errors
    /// The kernel's error for the event without kernel time (`EACCES`, `EPERM`, `ENOSYS`, `ESRCH`, `EMFILE`).
    pub(super) fn open(tid: u32, period: Duration) -> io::Result<Self> {
        let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        match Self::with(tid, period_ns, true) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Self::with(tid, period_ns, false),
            answer => answer,
        }
    }

    fn with(tid: u32, period_ns: u64, kernel: bool) -> io::Result<Self> {
        let attributes = Attributes {
            kind: SOFTWARE,
            size: u32::try_from(size_of::<Attributes>()).unwrap_or(0),
            config: TASK_CLOCK,
            period: period_ns,
            sample_type: INSTRUCTION_POINTER,
            flags: if kernel { 0 } else { EXCLUDE_KERNEL },
            wakeup_events: 1,
            ..Attributes::default()
        };
        let anywhere: libc::c_int = -1;
        // SAFETY: `attributes` is a local variable of the size that it states; the kernel checks all other arguments.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                tid.cast_signed(),
                anywhere,
                anywhere,
                CLOSE_ON_EXEC,
            )
        };
        let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the kernel has just returned this descriptor, so no other value owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let ring = unsafe {
            libc::mmap(std::ptr::null_mut(), (1 + PAGES) * PAGE, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        if ring == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let ring = NonNull::new(ring.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { fd, ring, tail: 0, period_ns, kernel })
    }

    /// The descriptor to poll: readable after a record, hung up after the end of the thread.
    pub(super) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Sets the period from now on.
    pub(super) fn set_period(&mut self, period: Duration) {
        let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: the kernel reads a single number, which is a local variable.
        let answer = unsafe { libc::ioctl(self.fd.as_raw_fd(), SET_PERIOD, &raw const period_ns) };
        if answer == 0 {
            self.period_ns = period_ns;
        }
    }

    /// Takes the records that have arrived. Returns the number of records that the kernel lost because the ring was
    /// full.
    pub(super) fn take(&mut self, hits: &mut Vec<Hit>) -> u64 {
        let head = self.position(DATA_HEAD).load(Ordering::Acquire);
        let mut lost = 0;
        while self.tail < head {
            let header = self.word(self.tail);
            let (kind, misc, bytes) = (header as u32, (header >> 32) & 7, header >> 48);
            match kind {
                // `PERF_RECORD_MISC_KERNEL` is 1.
                RECORD_SAMPLE => {
                    hits.push(Hit { kernel: misc == 1, pc: self.word(self.tail + 8), weight_ns: self.period_ns });
                }
                RECORD_LOST => lost += self.word(self.tail + 16),
                _ => {}
            }
            if bytes == 0 {
                break;
            }
            self.tail += bytes;
        }
        self.position(DATA_TAIL).store(self.tail, Ordering::Release);
        lost
    }

    fn position(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: both positions lie in the first page of the mapping, which lives as long as `self`, aligned to 8
        // bytes.
        unsafe { self.ring.add(offset).cast().as_ref() }
    }

    /// Reads the word at a position of the data, whose size is a power of two; records are aligned to words.
    fn word(&self, position: u64) -> u64 {
        let offset = (usize::try_from(position).unwrap_or(0) % (PAGES * PAGE)) & !7;
        // SAFETY: the address is aligned and inside of the data pages, which follow the first page. The kernel has
        // finished all data before the head that was read.
        unsafe { self.ring.add(PAGE + offset).cast::<u64>().read_volatile() }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the mapping that `with` made; no reference to the mapping is left.
        unsafe { libc::munmap(self.ring.as_ptr().cast(), (1 + PAGES) * PAGE) };
    }
}

/// Waits until any of the descriptors is ready, for `longest` at most. Calls `ready` for each ready descriptor; the
/// flag is true if its thread has ended.
pub(super) fn wait(polled: &mut [libc::pollfd], longest: Duration, mut ready: impl FnMut(RawFd, bool)) {
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(longest.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: longest.subsec_nanos().into(),
    };
    let count = libc::nfds_t::try_from(polled.len()).unwrap_or(0);
    // SAFETY: the array belongs to the caller and is as long as stated; no signal mask is given.
    let answer = unsafe { libc::ppoll(polled.as_mut_ptr(), count, &raw const timeout, std::ptr::null()) };
    if answer > 0 {
        for polled in polled.iter().filter(|polled| polled.revents != 0) {
            ready(polled.fd, polled.revents & libc::POLLIN == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_computes_leaves_a_record_for_each_period() {
        // SAFETY: `gettid` has no preconditions.
        let own = unsafe { libc::gettid() }.cast_unsigned();
        // If the machine allows no perf at all, there is nothing to test.
        let Ok(mut event) = Event::open(own, Duration::from_millis(1)) else { return };
        let mut hits = Vec::new();
        let begin = crate::observe::proc::own_cpu();
        while crate::observe::proc::own_cpu() - begin < Duration::from_millis(50) {}
        assert_eq!(event.take(&mut hits), 0);
        assert!((35..=60).contains(&hits.len()), "{}", hits.len());
        assert!(hits.iter().all(|hit| hit.weight_ns == 1_000_000));
    }
}
