//! Files of `/proc` of another process, parsed.
//!
//! Job: the few files of `/proc/PID` that the observers read, as typed values. Files that are read at every tick stay
//! open and are read with `pread`. Invariant: a missing or malformed file is an error or `None`, never a zero.
//! Neighbours: `clocks`, `modules` and `remote` read through it.

use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

use rustix::fs::RawDir;

/// The scheduler's clock of a thread (`/proc/PID/task/TID/schedstat`).
///
/// The numbers are exact while the thread is blocked. While the thread runs, they are up to a scheduler tick old. A
/// wait for a core is added only when the wait ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds on a CPU, over the thread's life.
    pub run_ns: u64,
    /// Nanoseconds in which the thread was ready to run and waited for a core.
    pub delay_ns: u64,
    /// Number of times that the scheduler gave the thread a core. If two readings are equal, the thread did not run in
    /// between.
    pub slices: u64,
}

/// A thread's `schedstat`.
#[derive(Debug)]
pub struct Schedstat(Source);

/// The state of a thread, and the system call of a blocked thread (`/proc/PID/task/TID/syscall`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// On a CPU, or ready to run.
    Running,
    /// Blocked outside a system call, for example in a page fault.
    Blocked {
        /// Its stack pointer.
        sp: u64,
    },
    /// Blocked in a system call.
    Syscall {
        /// Its number.
        number: u64,
        /// Its six arguments.
        arguments: [u64; 6],
        /// Its stack pointer.
        sp: u64,
    },
}

impl Activity {
    /// The stack pointer of a blocked thread.
    #[must_use]
    pub fn stack_pointer(self) -> Option<u64> {
        match self {
            Self::Running => None,
            Self::Blocked { sp } | Self::Syscall { sp, .. } => Some(sp),
        }
    }
}

/// A thread's `syscall` file.
#[derive(Debug)]
pub struct SyscallFile(Source);

/// The fields of `stat` that callers need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// State letter (`R`, `S`, `D`, `Z`, `T`, ..).
    pub state: char,
    /// Parent's process id.
    pub parent: u32,
    /// The kernel's flags of the process.
    pub flags: u32,
    /// Start in clock ticks since boot. A later process with the same id has another start.
    pub start_ticks: u64,
}

/// `PF_FORKNOEXEC`: a fork made the process, and no exec has given it another program.
const FORKED: u32 = 0x40;

impl Stat {
    /// True if the process is a copy of its parent.
    #[must_use]
    pub fn is_forked(self) -> bool {
        self.flags & FORKED != 0
    }
}

/// A kept-open `status` of a process.
#[derive(Debug)]
pub struct StatusFile(File);

/// The resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Now.
    pub now: u64,
    /// High-water mark.
    pub most: u64,
    /// Part of `now` that is pages of files.
    pub files: u64,
}

/// A small file of `/proc`.
#[derive(Debug)]
enum Source {
    Open(File),
    Path(String),
}

impl Source {
    fn open(path: String, keep: bool) -> io::Result<Self> {
        let file = File::open(&path)?;
        Ok(if keep { Self::Open(file) } else { Self::Path(path) })
    }

    fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<&'a str> {
        match self {
            Self::Open(file) => read_start(file, buffer),
            Self::Path(path) => read_start(&File::open(path)?, buffer),
        }
    }
}

impl Schedstat {
    /// Opens the file of a thread. Without `keep` every reading opens the file anew, which is slow but needs no file
    /// descriptor.
    ///
    /// # Errors
    /// The thread has ended, or the kernel keeps no scheduler statistics.
    pub fn open(pid: u32, tid: u32, keep: bool) -> io::Result<Self> {
        Ok(Self(Source::open(format!("/proc/{pid}/task/{tid}/schedstat"), keep)?))
    }

    /// Reads the file now.
    ///
    /// # Errors
    /// The thread has ended (`ESRCH`), or the text is not three numbers.
    pub fn read(&self) -> io::Result<Clock> {
        let mut buffer = [0; 96];
        let text = self.0.read(&mut buffer)?;
        let mut numbers = text.split_ascii_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(run_ns)), Some(Ok(delay_ns)), Some(Ok(slices))) => Ok(Clock { run_ns, delay_ns, slices }),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl SyscallFile {
    /// Opens the file of a thread. Without `keep` every reading opens the file anew, which is slow but needs no file
    /// descriptor.
    ///
    /// # Errors
    /// The thread has ended, or the kernel has no such file.
    pub fn open(pid: u32, tid: u32, keep: bool) -> io::Result<Self> {
        Ok(Self(Source::open(format!("/proc/{pid}/task/{tid}/syscall"), keep)?))
    }

    /// Reads the file now.
    ///
    /// # Errors
    /// The thread has ended, or the process may not be inspected (`EPERM`, `EACCES`).
    pub fn read(&self) -> io::Result<Activity> {
        let mut buffer = [0; 256];
        parse_activity(self.0.read(&mut buffer)?).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl StatusFile {
    /// Opens the file of a process.
    ///
    /// # Errors
    /// The process has ended.
    pub fn open(pid: u32) -> io::Result<Self> {
        Ok(Self(File::open(format!("/proc/{pid}/status"))?))
    }

    /// The resident memory now.
    ///
    /// # Errors
    /// The process has ended, or is a zombie without memory.
    pub fn resident(&self) -> io::Result<Resident> {
        let mut buffer = [0; 4_096];
        let read = self.0.read_at(&mut buffer, 0)?;
        // Reads bytes, because the name of a process need not be UTF-8.
        let text = String::from_utf8_lossy(&buffer[..read]);
        let bytes = |name| kibibytes(field(&text, name)?);
        let resident = || Some(Resident { now: bytes("VmRSS:")?, most: bytes("VmHWM:")?, files: bytes("RssFile:")? });
        resident().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Threads of a process, in the kernel's order.
///
/// # Errors
/// The process has ended.
pub fn threads(pid: u32) -> io::Result<Vec<u32>> {
    let folder = File::open(format!("/proc/{pid}/task"))?;
    // Not `fs::read_dir`: libc's `opendir` calls `malloc`, which `Profiler` observes in its own process.
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&folder, &mut buffer);
    let mut tids = Vec::new();
    while let Some(entry) = entries.next() {
        tids.extend(entry?.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(tids)
}

/// Number of threads of a process, without listing them.
///
/// # Errors
/// The process has ended.
pub fn thread_count(pid: u32) -> io::Result<u64> {
    // The kernel keeps the link count of `task` at two more than the threads.
    Ok(fs::metadata(format!("/proc/{pid}/task"))?.nlink().saturating_sub(2))
}

/// Reads a whole file of `/proc`. These files have no size, and the kernel writes them anew for every short read. So
/// the first read asks for `first_bytes`, which callers choose large.
///
/// # Errors
/// The process has ended or may not be inspected.
pub fn read_whole(path: &str, first_bytes: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = vec![0; first_bytes];
    let mut filled: usize = 0;
    loop {
        let read = file.read_at(&mut bytes[filled..], filled as u64)?;
        if read == 0 {
            bytes.truncate(filled);
            return Ok(bytes);
        }
        filled += read;
        if filled == bytes.len() {
            bytes.resize(filled * 2, 0);
        }
    }
}

/// State, parent and start of a process.
///
/// # Errors
/// The process has ended.
pub fn stat(pid: u32) -> io::Result<Stat> {
    let bytes = read_whole(&format!("/proc/{pid}/stat"), 1_024)?;
    parse_stat(&String::from_utf8_lossy(&bytes)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// State letter of a thread; `None`: the thread has ended.
#[must_use]
pub fn thread_state(pid: u32, tid: u32) -> Option<char> {
    let bytes = read_whole(&format!("/proc/{pid}/task/{tid}/stat"), 1_024).ok()?;
    parse_stat(&String::from_utf8_lossy(&bytes)).map(|stat| stat.state)
}

/// User and kernel time of a thread, counted by the clock's ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Nanoseconds in user code.
    pub user_ns: u64,
    /// Nanoseconds in the kernel.
    pub kernel_ns: u64,
}

/// User and kernel time of a thread; `None`: the thread has ended.
#[must_use]
pub fn times(pid: u32, tid: u32) -> Option<Times> {
    let bytes = read_whole(&format!("/proc/{pid}/task/{tid}/stat"), 1_024).ok()?;
    parse_times(&String::from_utf8_lossy(&bytes), 1_000_000_000 / ticks_a_second())
}

/// Fields 14 and 15, in clock ticks.
fn parse_times(stat: &str, tick_ns: u64) -> Option<Times> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let mut ticks = |skipped| fields.nth(skipped)?.parse::<u64>().ok();
    Some(Times { user_ns: ticks(11)? * tick_ns, kernel_ns: ticks(0)? * tick_ns })
}

/// Child processes of all threads of a process; empty if the process has ended.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let numbers =
        |text: String| text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u32>>();
    let of_thread = |tid| fs::read_to_string(format!("/proc/{pid}/task/{tid}/children"));
    let tids = threads(pid).unwrap_or_default();
    match tids.iter().map(|&tid| of_thread(tid)).collect::<io::Result<Vec<String>>>() {
        Ok(lists) => lists.into_iter().flat_map(numbers).collect(),
        // The kernel lacks the file, or a thread has just ended.
        Err(_) => processes().filter(|&other| stat(other).is_ok_and(|stat| stat.parent == pid)).collect(),
    }
}

/// All processes.
pub fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// This moment in the unit of [`Stat::start_ticks`].
#[must_use]
pub fn clock_ticks_since_boot() -> u64 {
    clock_ns(libc::CLOCK_BOOTTIME) / (1_000_000_000 / ticks_a_second())
}

fn ticks_a_second() -> u64 {
    // SAFETY: `sysconf` reads a constant of the system.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|ticks| *ticks > 0).unwrap_or(100)
}

/// Raises this process' limit of open files to its maximum, at most 2^20. Returns the limit.
pub fn raise_file_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 256;
    }
    let more = libc::rlimit { rlim_cur: limit.rlim_max.min(1 << 20), ..limit };
    // SAFETY: the value is valid; a refusal leaves the limit as it was.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const more) } == 0;
    usize::try_from(if raised { more.rlim_cur } else { limit.rlim_cur }).unwrap_or(usize::MAX)
}

/// Number of times that a thread gave up its core by itself, so blocked (`voluntary_ctxt_switches`). `None`: the thread
/// has ended.
#[must_use]
pub fn blocks(pid: u32, tid: u32) -> Option<u64> {
    let bytes = read_whole(&format!("/proc/{pid}/task/{tid}/status"), 4_096).ok()?;
    field(&String::from_utf8_lossy(&bytes), "voluntary_ctxt_switches:")?.parse().ok()
}

/// Name of a thread in the kernel (at most 15 bytes); `None`: the thread has ended.
#[must_use]
pub fn comm(pid: u32, tid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/task/{tid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned())
}

/// Command line of a process; `None`: the process has ended or has no command line (a zombie).
#[must_use]
pub fn command_line(pid: u32) -> Option<Vec<String>> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
    if arguments.is_empty() {
        return None;
    }
    Some(arguments.split(|&byte| byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect())
}

/// High-water mark of the resident bytes (`VmHWM`); `None`: the process has ended or is a zombie.
#[must_use]
pub fn peak_resident_bytes(pid: u32) -> Option<u64> {
    Some(StatusFile::open(pid).ok()?.resident().ok()?.most)
}

/// The bytes of a number in kB.
fn kibibytes(text: &str) -> Option<u64> {
    Some(text.strip_suffix("kB")?.trim_end().parse::<u64>().ok()? * 1024)
}

/// Resident bytes that only this process has; `None`: the file cannot be read.
#[must_use]
pub fn private_bytes(pid: u32) -> Option<u64> {
    let text = read_whole(&format!("/proc/{pid}/smaps_rollup"), 2_048).ok()?;
    let text = String::from_utf8_lossy(&text);
    let bytes = |name| kibibytes(field(&text, name)?);
    Some(bytes("Private_Clean:")? + bytes("Private_Dirty:")?)
}

/// A field of `status`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// `CLOCK_MONOTONIC`, in nanoseconds: the clock of all events.
#[must_use]
pub fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// CPU time of the calling thread.
#[must_use]
pub fn own_cpu() -> Duration {
    Duration::from_nanos(clock_ns(libc::CLOCK_THREAD_CPUTIME_ID))
}

/// CPU time of this process, all its threads.
#[must_use]
pub fn whole_cpu() -> Duration {
    Duration::from_nanos(clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID))
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer, and the kernel writes nothing else.
    let status = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(status, 0, "these clocks exist on every Linux");
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Bytes of a page.
#[must_use]
pub fn page_bytes() -> u64 {
    // SAFETY: `sysconf` reads a constant of the system.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096).max(1)
}

fn read_start<'a>(file: &File, buffer: &'a mut [u8]) -> io::Result<&'a str> {
    let read = file.read_at(buffer, 0)?;
    std::str::from_utf8(&buffer[..read]).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Parses `running`, or `NUMBER 0xARG * 6 0xSP 0xPC`, or `-1 0xSP 0xPC`.
fn parse_activity(text: &str) -> Option<Activity> {
    let mut fields = text.split_ascii_whitespace();
    let first = fields.next()?;
    if first == "running" {
        return Some(Activity::Running);
    }
    let number: i64 = first.parse().ok()?;
    let mut argument_value = || u64::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok();
    let Ok(number) = u64::try_from(number) else { return Some(Activity::Blocked { sp: argument_value()? }) };
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = argument_value()?;
    }
    Some(Activity::Syscall { number, arguments, sp: argument_value()? })
}

/// Parses `stat`. The name in parentheses may contain parentheses, so fields are counted from the last parenthesis.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    Some(Stat {
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        flags: fields.nth(4)?.parse().ok()?,
        start_ticks: fields.nth(12)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields_of_stat() {
        let tail: Vec<String> = (5..=52).map(|field| field.to_string()).collect();
        let text = format!("7 (a) b ) (c) S 4 {}", tail.join(" "));
        assert_eq!(parse_stat(&text), Some(Stat { state: 'S', parent: 4, flags: 9, start_ticks: 22 }));
    }

    #[test]
    fn a_threads_times_stand_behind_any_name() {
        let tail: Vec<String> = (4..=52).map(|field| field.to_string()).collect();
        let text = format!("7 (a) b ) (c) S {}", tail.join(" "));
        assert_eq!(parse_times(&text, 10), Some(Times { user_ns: 140, kernel_ns: 150 }));
    }

    #[test]
    fn the_three_forms_of_the_syscall_file_are_parsed() {
        assert_eq!(parse_activity("running\n"), Some(Activity::Running));
        assert_eq!(parse_activity("-1 0x7ffe 0x7f00\n"), Some(Activity::Blocked { sp: 0x7ffe }));
        let futex = parse_activity("202 0x10 0x80 0x2 0x0 0x0 0xffffffff 0x7ffe 0x7f00\n");
        let arguments = [16, 128, 2, 0, 0, 0xffff_ffff];
        assert_eq!(futex, Some(Activity::Syscall { number: 202, arguments, sp: 0x7ffe }));
        assert_eq!(parse_activity("202 0x10"), None);
    }

    #[test]
    fn this_process_reads_as_itself() {
        let pid = std::process::id();
        assert!(threads(pid).expect("alive").contains(&pid));
        assert!(thread_count(pid).expect("alive") >= 1);
        assert_eq!(stat(pid).expect("alive").parent, std::os::unix::process::parent_id());
        assert!(!command_line(pid).expect("alive").is_empty());
        let resident = StatusFile::open(pid).and_then(|file| file.resident()).expect("alive");
        assert!(resident.files > 0 && resident.files < resident.now && resident.now <= resident.most, "{resident:?}");
        assert!(peak_resident_bytes(pid).expect("alive") >= resident.most);
        assert!(blocks(pid, pid).is_some());
        assert!(Schedstat::open(pid, pid, true).and_then(|file| file.read()).expect("alive").slices > 0);
    }
}
