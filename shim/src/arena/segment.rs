//! The arena in this process: its settings, and the segment that belongs to this process.
//!
//! Invariant: [`segment`] returns a segment only in the process that claimed the segment. The kernel wipes the page of
//! the word `ALIVE` in a forked child. So a child made without libc's `fork` records nothing, instead of writing into
//! its parent's ring. Neighbours: `ring` (the segment's slots), `life` (claims a segment at the start and after a
//! fork).

use core::ffi::{CStr, c_char};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64};

use rscalene_wire as wire;
use wire::{ArenaHeader, NoticeCode, PAGE};

use crate::arena::descriptor;
use crate::arena::ring::Segment;
use crate::ground::{quiet, sys};

static ARENA: AtomicPtr<ArenaHeader> = AtomicPtr::new(core::ptr::null_mut());
static BASE: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
/// Points to a word that is 1 while this process owns `BASE`; a fork makes the word 0 in the child.
static ALIVE: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());
static PID: AtomicU32 = AtomicU32::new(0);
static ARENA_FD: AtomicI32 = AtomicI32::new(0);
/// [`NEVER`], [`LENT`] or [`RETURNED`].
static LOAN: AtomicU32 = AtomicU32::new(NEVER);
/// The arena, if there is one, belongs to a launcher and stays mapped until the process ends.
const NEVER: u32 = 0;
/// The extension module of this process has lent the arena.
const LENT: u32 = 1;
/// The extension module has taken its arena back, so no thread may enter the arena any more.
const RETURNED: u32 = 2;
/// Threads that use a lent arena at the moment.
static USERS: AtomicU32 = AtomicU32::new(0);
/// Number of the fork generation. Each fork adds 1 in the child, so slots of the parent differ from the child's own.
static GENERATION: AtomicU64 = AtomicU64::new(1);

/// Number of this process' fork generation.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Relaxed)
}

/// This process' segment; `None` while this process records nothing.
#[inline]
pub(crate) fn segment() -> Option<Segment> {
    let alive = ALIVE.load(Acquire);
    // SAFETY: a non-null pointer points to a word in a page that is never unmapped.
    if alive.is_null() || unsafe { (*alive).load(Acquire) } == 0 {
        return None;
    }
    let arena = ARENA.load(Relaxed);
    // SAFETY: `claim` stored both pointers before it set the word to 1; both mappings stay while the word is 1.
    Some(unsafe { Segment::new(arena, BASE.load(Relaxed), (*arena).segment_bytes) })
}

/// While this value lives, [`take_back`] waits, so a lent arena stays mapped.
pub(crate) struct Using(bool);

/// Call this before any access to the arena outside of `exports::sample`. Returns `None` once the extension module has
/// taken the arena back.
#[inline]
pub(crate) fn using() -> Option<Using> {
    if LOAN.load(Relaxed) == NEVER {
        return Some(Using(false));
    }
    // Both orders are SeqCst, as in `take_back`: either `take_back` sees this user, or this user sees `RETURNED`.
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

/// Has the extension module of this process lent an arena, now or earlier?
#[inline]
pub(crate) fn lent() -> bool {
    LOAN.load(Relaxed) != NEVER
}

/// Takes segment 0 of an arena that the extension module has mapped as a whole; false if the system gives no page.
///
/// # Safety
/// The caller holds the GIL, this process has no segment, and the mapping stays until [`take_back`] has returned.
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

/// Gives a lent arena back: when this function returns, no thread uses the arena.
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

/// In a forked child: invalidates the slots of the parent's threads.
pub(crate) fn next_generation() {
    GENERATION.fetch_add(1, Relaxed);
}

/// In a forked child of a process with a lent arena: stops the use of the arena, because the module's thread that reads
/// the ring does not run in the child. The extension module unmaps the arena.
pub(crate) fn abandon_loan() {
    LOAN.store(RETURNED, SeqCst);
    USERS.store(0, SeqCst);
    forget_loan();
}

/// In a forked child: unmaps the parent's segment in the child. The parent keeps its mapping.
pub(crate) fn unmap_parents() {
    let old = BASE.swap(core::ptr::null_mut(), Relaxed);
    // SAFETY: the segment was mapped whole, and no other thread is in this process.
    unsafe { sys::unmap(old, (*ARENA.load(Relaxed)).segment_bytes as usize) };
}

/// The settings of the launcher; default values without an arena.
pub(crate) fn settings() -> wire::Settings {
    let arena = ARENA.load(Relaxed);
    // SAFETY: a non-null pointer points to the arena's header page; the settings in this page never change.
    if arena.is_null() { wire::Settings::default() } else { unsafe { (*arena).settings } }
}

/// Stops all recording in this process: [`segment`] returns `None`, in forked children too.
pub(crate) fn fall_silent() {
    set_alive(0);
}

/// Makes this process record again after [`fall_silent`].
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

/// Has the launcher asked every shim to stop? True without an arena.
pub(crate) fn stopped() -> bool {
    let arena = ARENA.load(Relaxed);
    // SAFETY: as in `settings`; the field is an atomic.
    arena.is_null() || unsafe { (*arena).stop.load(Relaxed) } != 0
}

/// Has the launcher ended? True without an arena.
pub(crate) fn launcher_gone() -> bool {
    let arena = ARENA.load(Relaxed);
    // SAFETY: as in `settings`; the launcher's pid never changes.
    let pid = if arena.is_null() { return true } else { unsafe { (*arena).launcher_pid } };
    // SAFETY: signal 0 sends nothing; the kernel only checks that the process exists.
    let answer = unsafe { sys::call3(libc::SYS_kill, pid as usize, 0, 0) };
    answer == -(libc::ESRCH as isize)
}

/// Must new child processes stay unprofiled? True after the launcher's stop, and without `follow_children`.
pub(crate) fn alone() -> bool {
    let arena = ARENA.load(Relaxed);
    !arena.is_null() && (stopped() || !settings().follow_children.is_on())
}

/// False in a vfork child, which shares this memory but is another process, and where this library must not ask for the
/// process' number.
pub(crate) fn is_own() -> bool {
    segment().is_some() && !quiet::is_on() && sys::pid() == PID.load(Relaxed)
}

/// Opens the arena that the environment variable names, and checks the arena's header. Returns false if the arena
/// cannot be opened or the header does not match; then the process stays unprofiled.
pub(crate) fn open_arena(launcher: u32, fd: u32, nonce: u64) -> bool {
    let mut descriptor = open_launcher_file(launcher, fd);
    if descriptor < 0 {
        descriptor = descriptor::receive(launcher, fd, nonce);
    }
    if descriptor < 0 {
        return false;
    }
    let page = sys::map_shared(descriptor, 0, PAGE).cast::<ArenaHeader>();
    if page.is_null() {
        sys::close(descriptor);
        return false;
    }
    // SAFETY: a whole page was mapped. A shorter file would fault, but this path in /proc leads to the launcher's
    // memfd, which is longer, and a received descriptor comes from the launcher. So no guarded load is needed.
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
    /// Writes the part at `at`, but never the last byte of `into`; returns the position of the next part.
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

/// Claims a free segment for this process and maps the segment; false if there is none.
pub(crate) fn claim() -> bool {
    let arena = ARENA.load(Relaxed);
    if arena.is_null() {
        return false;
    }
    // SAFETY: the mapping covers the header page and the owner words.
    let header = unsafe { &*arena };
    // SAFETY: the owner words follow the header page, one for each segment, all inside the mapping.
    let owners = unsafe {
        core::slice::from_raw_parts(arena.cast::<u8>().add(PAGE).cast::<AtomicU64>(), header.segment_count as usize)
    };
    let now = sys::now_ns();
    let pid = sys::pid();
    // Without `follow_children`, the first process that claims a segment is the only one, also after an exec.
    if let Err(first) = header.first.compare_exchange(0, pid, Relaxed, Relaxed)
        && !header.settings.follow_children.is_on()
        && first != pid
    {
        return false;
    }
    // This process is in another PID namespace: in the launcher's namespace its number means another process.
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

/// Maps a segment from the launcher's file. If the file cannot be opened (a chroot has no /proc), maps the segment from
/// the header's mapping, which a forked child has inherited.
fn map_segment(header: &ArenaHeader, offset: u64) -> *mut u8 {
    let bytes = header.segment_bytes as usize;
    let fd = open_launcher_file(header.launcher_pid, ARENA_FD.load(Relaxed) as u32);
    if fd >= 0 {
        let base = sys::map_shared(fd, offset, bytes);
        sys::close(fd);
        return base;
    }
    // mremap with an old size of 0 maps a shared mapping a second time, from its start, with the requested length.
    let whole = offset as usize + bytes;
    // SAFETY: the header's own mapping stays as it is.
    let second = unsafe {
        sys::call6(libc::SYS_mremap, (&raw const *header) as usize, 0, whole, libc::MREMAP_MAYMOVE as usize, 0, 0)
    };
    if second < 0 {
        return core::ptr::null_mut();
    }
    let second = second as *mut u8;
    // SAFETY: this function made the mapping, and no code uses the part before the segment.
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
        // SAFETY: this library mapped the page. A kernel before 4.14 refuses the call; then only forks by libc are
        // noticed.
        unsafe { sys::call3(libc::SYS_madvise, alive as usize, PAGE, libc::MADV_WIPEONFORK as usize) };
    }
    // SAFETY: the page is mapped and never unmapped.
    unsafe { (*alive).store(1, Release) };
    ALIVE.store(alive, Release);
    true
}

/// Records a notice for the report; does nothing while this process records nothing.
pub(crate) fn notice(code: NoticeCode, detail: u32) {
    if let Some(segment) = segment() {
        segment.emit(&wire::Notice { time_ns: sys::now_ns(), code, detail });
    }
}
