//! The arena in this process: its settings, and the segment that belongs to this process.
//!
//! Invariant: [`segment`] answers only in the process that claimed it: the word that says so lies in a page that the
//! kernel wipes in a forked child, so that a child made behind libc's back stays silent instead of writing into its
//! parent's ring. Neighbours: `ring` (the segment's slots), `life` (claims at the start, after a fork).

use core::ffi::{CStr, c_char};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64};

use rscalene_wire as wire;
use wire::{ArenaHeader, NoticeCode, PAGE};

use crate::arena::ring::Segment;
use crate::ground::sys;

static ARENA: AtomicPtr<ArenaHeader> = AtomicPtr::new(core::ptr::null_mut());
static BASE: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
/// Points to the word that a fork wipes: 1 while this process owns `BASE`.
static ALIVE: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());
static PID: AtomicU32 = AtomicU32::new(0);
static ARENA_FD: AtomicI32 = AtomicI32::new(0);
/// [`NEVER`], [`LENT`] or [`RETURNED`].
static LOAN: AtomicU32 = AtomicU32::new(NEVER);
/// The arena, if there is one, is a launcher's and stays for good.
const NEVER: u32 = 0;
/// The extension module of this process lends it.
const LENT: u32 = 1;
/// It was lent, and nobody may enter it any more.
const RETURNED: u32 = 2;
/// Threads that are in a lent arena.
static USERS: AtomicU32 = AtomicU32::new(0);
/// Raised by every fork, so that slots of the parent are told from the child's own.
static GENERATION: AtomicU64 = AtomicU64::new(1);

/// Number of the fork generation this process is.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Relaxed)
}

/// This process' segment, while it is armed.
#[inline]
pub(crate) fn segment() -> Option<Segment> {
    let alive = ALIVE.load(Acquire);
    // SAFETY: a non-null pointer names a word in a page that is never unmapped.
    if alive.is_null() || unsafe { (*alive).load(Acquire) } == 0 {
        return None;
    }
    let arena = ARENA.load(Relaxed);
    // SAFETY: `claim` stored both before it raised the word; neither mapping is taken away while it is raised.
    Some(unsafe { Segment::new(arena, BASE.load(Relaxed), (*arena).segment_bytes) })
}

/// Holds a lent arena while it lives.
pub(crate) struct Using(bool);

/// To be had before anything of the arena is touched outside of `tap`; `None` once the arena was asked back.
#[inline]
pub(crate) fn using() -> Option<Using> {
    if LOAN.load(Relaxed) == NEVER {
        return Some(Using(false));
    }
    // Both orders are SeqCst, as in `take_back`: either it sees this user, or this user sees that it is too late.
    USERS.fetch_add(1, SeqCst);
    let using = Using(true);
    (LOAN.load(SeqCst) == LENT).then_some(using)
}

impl Drop for Using {
    fn drop(&mut self) {
        if self.0 {
            USERS.fetch_sub(1, SeqCst);
        }
    }
}

/// Does the arena belong to the extension module of this process (now, or before)?
#[inline]
pub(crate) fn lent() -> bool {
    LOAN.load(Relaxed) != NEVER
}

/// Takes segment 0 of a whole arena that the extension module has mapped; false where the system gives no page.
///
/// # Safety
/// The GIL is held, this process has no segment, and the mapping stays until [`take_back`] has returned.
pub(crate) unsafe fn lend(arena: *mut ArenaHeader) -> bool {
    // SAFETY: the module wrote the header; its mapping covers the owner word and the segment behind it.
    let (owner, base) = unsafe {
        let first = wire::first_segment((*arena).segment_count) as usize;
        (&*arena.cast::<u8>().add(PAGE).cast::<AtomicU64>(), arena.cast::<u8>().add(first))
    };
    let pid = sys::pid();
    let stamp = u64::from(sys::now_ns() as u32 | 1);
    owner.store(stamp << 32 | u64::from(pid), Release);
    ARENA.store(arena, Relaxed);
    BASE.store(base, Relaxed);
    PID.store(pid, Relaxed);
    if !raise_alive() {
        forget_loan();
        return false;
    }
    LOAN.store(LENT, SeqCst);
    true
}

/// Gives a lent arena back: when this returns, no thread is in it.
pub(crate) fn take_back() {
    LOAN.store(RETURNED, SeqCst);
    while USERS.load(SeqCst) != 0 {
        sys::sleep_ns(20_000);
    }
    forget_loan();
}

fn forget_loan() {
    set_alive(0);
    ARENA.store(core::ptr::null_mut(), Relaxed);
    BASE.store(core::ptr::null_mut(), Relaxed);
}

/// Is an arena open, and a segment of it mapped?
pub(crate) fn mapped() -> bool {
    !ARENA.load(Relaxed).is_null() && !BASE.load(Relaxed).is_null()
}

/// In a forked child: slots of the parent's threads are not its own.
pub(crate) fn next_generation() {
    GENERATION.fetch_add(1, Relaxed);
}

/// In a forked child of a process that was lent an arena: the module's thread that reads the ring is not in this
/// process. Its mapping is the module's to give back.
pub(crate) fn abandon_loan() {
    LOAN.store(RETURNED, SeqCst);
    USERS.store(0, SeqCst);
    forget_loan();
}

/// In a forked child: the parent's segment is of no use here; the child's mapping of it goes, the parent's stays.
pub(crate) fn unmap_parents() {
    let old = BASE.swap(core::ptr::null_mut(), Relaxed);
    // SAFETY: the segment was mapped whole, and no other thread is in this process.
    unsafe { sys::unmap(old, (*ARENA.load(Relaxed)).segment_bytes as usize) };
}

/// What the launcher asks for.
pub(crate) fn settings() -> wire::Settings {
    let arena = ARENA.load(Relaxed);
    // SAFETY: a non-null pointer names the arena's header page, whose settings never change.
    if arena.is_null() { wire::Settings::default() } else { unsafe { (*arena).settings } }
}

/// This process records nothing more: [`segment`] answers `None`, in forked children too.
pub(crate) fn fall_silent() {
    set_alive(0);
}

/// This process, which fell silent, records again.
pub(crate) fn speak_again() {
    set_alive(1);
}

fn set_alive(word: u64) {
    let alive = ALIVE.load(Relaxed);
    if !alive.is_null() {
        // SAFETY: the page is never unmapped.
        unsafe { (*alive).store(word, Release) };
    }
}

/// True where the launcher has asked every shim to stop.
pub(crate) fn stopped() -> bool {
    let arena = ARENA.load(Relaxed);
    // SAFETY: as in `settings`; the field is an atomic.
    arena.is_null() || unsafe { (*arena).stop.load(Relaxed) } != 0
}

/// Is there no launcher any more?
pub(crate) fn launcher_gone() -> bool {
    let arena = ARENA.load(Relaxed);
    // SAFETY: as in `settings`; the launcher's pid never changes.
    let pid = if arena.is_null() { return true } else { unsafe { (*arena).launcher_pid } };
    // SAFETY: signal 0 only asks.
    let answer = unsafe { sys::call3(libc::SYS_kill, pid as usize, 0, 0) };
    answer == -(libc::ESRCH as isize)
}

/// True where children are not to be profiled.
pub(crate) fn alone() -> bool {
    let arena = ARENA.load(Relaxed);
    !arena.is_null() && (stopped() || !settings().follow_children.is_on())
}

/// False in a vfork child, which shares this memory but is another process.
pub(crate) fn is_own() -> bool {
    segment().is_some() && sys::pid() == PID.load(Relaxed)
}

/// Opens the arena that the environment names and checks that it is one of ours; false leaves the process unprofiled.
pub(crate) fn open_arena(launcher: u32, fd: u32, nonce: u64) -> bool {
    let descriptor = open_launcher_file(launcher, fd);
    if descriptor < 0 {
        return false;
    }
    let page = sys::map_shared(descriptor, 0, PAGE).cast::<ArenaHeader>();
    if page.is_null() {
        sys::close(descriptor);
        return false;
    }
    // SAFETY: a whole page was mapped; a file that is shorter would fault, but only the launcher's memfd, which is
    // longer, answers to this path, and `guard` is not needed for it: /proc names the very file.
    let header = unsafe { &*page };
    let whole = header.magic == wire::ARENA_MAGIC
        && header.version == wire::WIRE_VERSION
        && header.nonce == nonce
        && header.launcher_pid == launcher
        && header.segment_count > 0;
    let bytes = wire::first_segment(header.segment_count) as usize;
    // SAFETY: the page was mapped above and is not used any more.
    unsafe { sys::unmap(page.cast(), PAGE) };
    let all = if whole { sys::map_shared(descriptor, 0, bytes) } else { core::ptr::null_mut() };
    sys::close(descriptor);
    ARENA.store(all.cast(), Relaxed);
    ARENA_FD.store(fd as i32, Relaxed);
    !all.is_null()
}

fn open_launcher_file(launcher: u32, fd: u32) -> i32 {
    let mut path = [0u8; 48];
    let mut at = 0;
    for part in [Part::Text(b"/proc/"), Part::Number(launcher), Part::Text(b"/fd/"), Part::Number(fd)] {
        at = part.append(&mut path, at);
    }
    // SAFETY: the last byte was never written, so the buffer ends with NUL.
    let path = unsafe { CStr::from_ptr(path.as_ptr().cast::<c_char>()) };
    sys::open(path) as i32
}

enum Part {
    Text(&'static [u8]),
    Number(u32),
}

impl Part {
    /// Writes itself at `at`, leaving the last byte of `into` alone; answers where the next part goes.
    fn append(&self, into: &mut [u8; 48], mut at: usize) -> usize {
        let mut put = |byte: u8| {
            if let Some(place) = into.get_mut(at).filter(|_| at < 47) {
                *place = byte;
                at += 1;
            }
        };
        match self {
            Self::Text(text) => text.iter().for_each(|byte| put(*byte)),
            Self::Number(number) => {
                let mut divisor = 1_000_000_000;
                let mut begun = false;
                while divisor > 0 {
                    let digit = (number / divisor % 10) as u8;
                    begun |= digit != 0 || divisor == 1;
                    if begun {
                        put(b'0' + digit);
                    }
                    divisor /= 10;
                }
            }
        }
        at
    }
}

/// Claims a free segment for this process and maps it; false where there is none.
pub(crate) fn claim() -> bool {
    let arena = ARENA.load(Relaxed);
    if arena.is_null() {
        return false;
    }
    // SAFETY: the mapping covers the header page and the owner words.
    let header = unsafe { &*arena };
    // SAFETY: owner words follow the header page, one a segment, all inside the mapping.
    let owners = unsafe {
        core::slice::from_raw_parts(arena.cast::<u8>().add(PAGE).cast::<AtomicU64>(), header.segment_count as usize)
    };
    let now = sys::now_ns();
    let pid = sys::pid();
    // Without children, the first to come is the only one, whatever programs it becomes.
    if let Err(first) = header.first.compare_exchange(0, pid, Relaxed, Relaxed)
        && !header.settings.follow_children.is_on()
        && first != pid
    {
        return false;
    }
    // In a PID namespace of its own: the launcher would take its number for another process.
    if ![0, pid].contains(&sys::pid_in_proc()) {
        header.elsewhere.fetch_add(1, Relaxed);
        return false;
    }
    let stamp = ((now as u32) | 1) as u64;
    let from = header.hint.fetch_add(1, Relaxed) as usize;
    for step in 0..owners.len() {
        let index = (from + step) % owners.len().max(1);
        let Some(owner) = owners.get(index) else { break };
        if owner.load(Relaxed) != 0 {
            continue;
        }
        let word = stamp << 32 | u64::from(pid);
        // Pairs with the drain's Release store of 0: a free segment's pages are zero.
        if owner.compare_exchange(0, word, AcqRel, Relaxed).is_err() {
            continue;
        }
        let offset = wire::first_segment(header.segment_count) + index as u64 * header.segment_bytes;
        let base = map_segment(header, offset);
        if base.is_null() {
            owner.store(0, Release);
            break;
        }
        BASE.store(base, Relaxed);
        PID.store(pid, Relaxed);
        return raise_alive();
    }
    header.refused.fetch_add(1, Relaxed);
    false
}

/// Maps a segment from the launcher's file; where that cannot be opened (no /proc, as in a chroot), from the mapping
/// of the header, which a forked child has inherited.
fn map_segment(header: &ArenaHeader, offset: u64) -> *mut u8 {
    let bytes = header.segment_bytes as usize;
    let fd = open_launcher_file(header.launcher_pid, ARENA_FD.load(Relaxed) as u32);
    if fd >= 0 {
        let base = sys::map_shared(fd, offset, bytes);
        sys::close(fd);
        return base;
    }
    // mremap with an old size of 0 maps a shared mapping a second time, from its start and as long as asked.
    let whole = offset as usize + bytes;
    // SAFETY: the header's own mapping stays as it is.
    let second = unsafe {
        sys::call6(libc::SYS_mremap, (&raw const *header) as usize, 0, whole, libc::MREMAP_MAYMOVE as usize, 0, 0)
    };
    if second < 0 {
        return core::ptr::null_mut();
    }
    let second = second as *mut u8;
    // SAFETY: the part before the segment is ours and unused.
    unsafe {
        sys::unmap(second, offset as usize);
        second.add(offset as usize)
    }
}

fn raise_alive() -> bool {
    let mut alive = ALIVE.load(Relaxed);
    if alive.is_null() {
        alive = sys::map_private(PAGE).cast();
        if alive.is_null() {
            return false;
        }
        // SAFETY: a page of ours; where the kernel is too old for it (before 4.14) only libc's fork is followed.
        unsafe { sys::call3(libc::SYS_madvise, alive as usize, PAGE, libc::MADV_WIPEONFORK as usize) };
    }
    // SAFETY: the page is mapped and never unmapped.
    unsafe { (*alive).store(1, Release) };
    ALIVE.store(alive, Release);
    true
}

/// A notice for the report.
pub(crate) fn notice(code: NoticeCode, detail: u32) {
    if let Some(segment) = segment() {
        segment.emit(&wire::Notice { time_ns: sys::now_ns(), code, detail });
    }
}
