//! The user's lines on the stack of this thread.
//!
//! Job: walk this thread's own frames and make a site of them. The walk is sound without the GIL: the frames and code
//! objects on this thread's own stack live as long as the thread stays in the call, and the walk neither calls the
//! interpreter nor changes its data. Invariant: a layout is used only if a walk with it matched the interpreter's own
//! list of frames ([`prepare`]). Neighbours: `lock` keeps the sites, `ledger` and `sqlite` ask for them.

use std::sync::{Arc, OnceLock};

use pyo3::ffi;
use pyo3::prelude::*;
use rscalene_interp::linetable::line_at;
use rscalene_interp::{Frame, Identity, Layout, Memory, template_map, text, walk};
use rustc_hash::FxHashMap;

use super::book::{Place, Site};
use super::codes;
use crate::bindings::symbols;
use crate::profile::build::scope::Scope;
use crate::transport::template_lines;

/// Most frames in a walk.
const MAX_DEPTH: u32 = 1_000;
/// Most lines of the user in a site.
const MOST_LINES: usize = 64;
/// A table with more entries is emptied.
const LARGE: usize = 50_000;
/// Longest file name or qualified name to read, in bytes.
const LONGEST_TEXT: usize = 4_096;

/// Reads this process' own memory, on the thread whose frames are read.
struct Own;

impl Memory for Own {
    #[inline(always)]
    fn u64(&self, addr: u64) -> Option<u64> {
        // SAFETY: `walk` follows pointers of this thread's interpreter structures, which are alive; see the head of
        // this file.
        (addr >= 4_096).then(|| unsafe { (addr as usize as *const u64).read_unaligned() })
    }

    #[inline(always)]
    fn u32(&self, addr: u64) -> Option<u32> {
        // SAFETY: as above.
        (addr >= 4_096).then(|| unsafe { (addr as usize as *const u32).read_unaligned() })
    }

    #[inline(always)]
    fn u8(&self, addr: u64) -> Option<u8> {
        // SAFETY: as above.
        (addr >= 4_096).then(|| unsafe { (addr as usize as *const u8).read() })
    }

    fn bytes(&self, addr: u64, into: &mut [u8]) -> bool {
        if addr < 4_096 {
            return false;
        }
        // SAFETY: as above; lengths come from the objects' own headers.
        unsafe { std::ptr::copy_nonoverlapping(addr as usize as *const u8, into.as_mut_ptr(), into.len()) };
        true
    }
}

static LAYOUT: OnceLock<Option<Layout>> = OnceLock::new();

/// The layout of this interpreter's frames. `None` if the layout is unknown, or if a walk with it differs from Python's
/// own list of frames.
pub(super) fn prepare(py: Python<'_>) -> Option<&'static Layout> {
    let layout = LAYOUT.get_or_init(|| learn(py)).as_ref();
    if layout.is_some() {
        codes::watch(py);
    }
    layout
}

fn learn(py: Python<'_>) -> Option<Layout> {
    let at = |name: &std::ffi::CStr| symbols::address(name) as u64;
    // SAFETY: the address is null, or that of the interpreter's constant of this type (3.11 and later).
    let version = unsafe { symbols::address(c"Py_Version").cast::<libc::c_ulong>().as_ref() }.copied()?;
    let layout = Layout::of(u32::try_from(version).ok()?, at(c"_PyRuntime"), at(c"PyCode_Type"), &Own).ok()?;
    if layout.free_threaded {
        return None;
    }
    // The code objects from here outwards, according to Python.
    let mut said = Vec::new();
    let mut frame = py.import("sys").ok()?.getattr("_getframe").ok()?.call0().ok()?;
    while !frame.is_none() {
        said.push(frame.getattr("f_code").ok()?.as_ptr() as u64);
        frame = frame.getattr("f_back").ok()?;
    }
    let mut seen = Vec::new();
    // SAFETY: the GIL is held.
    walk(&Own, &layout, unsafe { ffi::PyThreadState_Get() } as u64, MAX_DEPTH, |frame| {
        seen.push(frame.code);
        true
    });
    said.truncate(seen.len());
    (!seen.is_empty() && seen == said).then_some(layout)
}

/// Number of a code object that is not the user's; from [`FIRST_USER`] on, numbers count the user's code objects.
const OTHER: u32 = 1;
const FIRST_USER: u32 = 2;

/// A place in a code object: the number of the code object, and an offset in its bytecode.
fn position(number: u32, offset: u32) -> u64 {
    u64::from(number) << 32 | u64::from(offset)
}

/// A code object of the user.
struct User {
    file: Arc<str>,
    function: Arc<str>,
    first_line: u32,
    table: Vec<u8>,
}

/// Sites made so far, and the code objects in them.
#[derive(Default)]
pub(super) struct Sites {
    /// Numbers of code objects by identity. `codes` has those by address.
    numbers: FxHashMap<u64, u32>,
    users: Vec<User>,
    /// Sites by [`position`] of each frame. Most walks find their site here.
    by_positions: FxHashMap<Box<[u64]>, Site>,
    by_lines: FxHashMap<Site, Site>,
}

impl Sites {
    /// Forgets everything, because the scope has changed.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
        codes::clear();
    }

    /// The site of the running thread; `tstate` is its thread state.
    pub(super) fn here(&mut self, scope: &Scope, tstate: usize) -> Site {
        let Some(Some(layout)) = LAYOUT.get() else { return Site::from([]) };
        let mut user = [0; MOST_LINES];
        let mut lines = 0;
        if self.numbers.len() > LARGE {
            self.clear();
        }
        walk(&Own, layout, tstate as u64, MAX_DEPTH, |frame| {
            let number = codes::find(frame.code).unwrap_or_else(|| self.number(layout, scope, frame));
            if number >= FIRST_USER
                && let Some(slot) = user.get_mut(lines)
            {
                *slot = position(number, frame.offset_bytes);
                lines += 1;
            }
            lines < MOST_LINES
        });
        let user = user.get(..lines).unwrap_or_default();
        if let Some(site) = self.by_positions.get(user) {
            return site.clone();
        }
        self.make(user)
    }

    /// The number of a frame's code object.
    #[cold]
    fn number(&mut self, layout: &Layout, scope: &Scope, frame: Frame) -> u32 {
        let Some(identity) = Identity::read(&Own, layout, frame.code) else { return OTHER };
        let hash = identity.hash64();
        let number = match self.numbers.get(&hash) {
            Some(&number) => number,
            None => {
                let user = describe(layout, scope, &identity, frame.frame);
                let number = user.as_ref().map_or(OTHER, |_| self.users.len() as u32 + FIRST_USER);
                self.users.extend(user);
                self.numbers.insert(hash, number);
                number
            }
        };
        codes::keep(frame.code, number);
        number
    }

    #[cold]
    fn make(&mut self, user: &[u64]) -> Site {
        let place = |&position: &u64| {
            let (number, offset) = ((position >> 32) as u32, position as u32);
            let User { file, function, first_line, table } = self.users.get((number - FIRST_USER) as usize)?;
            let line = line_at(table, *first_line, offset).unwrap_or(*first_line);
            Some(Place { file: file.clone(), line, function: function.clone() })
        };
        let made: Site = user.iter().filter_map(place).collect();
        self.intern(Some(user), made)
    }

    /// Returns the stored site with these places, so that equal sites have the same address.
    pub(super) fn intern(&mut self, positions: Option<&[u64]>, made: Site) -> Site {
        if self.by_lines.len() > LARGE {
            self.by_lines.clear();
        }
        let site = self.by_lines.entry(made.clone()).or_insert(made).clone();
        if let Some(positions) = positions {
            if self.by_positions.len() > LARGE {
                self.by_positions.clear();
            }
            self.by_positions.insert(positions.into(), site.clone());
        }
        site
    }
}

/// The code object in the frame at `frame`; `None` if it is not the user's. Code of a template gets the lines of the
/// template.
fn describe(layout: &Layout, scope: &Scope, identity: &Identity, frame: u64) -> Option<User> {
    let string = |address| {
        let mut buffer = [0; LONGEST_TEXT];
        let length = text(&Own, layout, address, &mut buffer)?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    let (file, function) = (string(identity.filename)?, string(identity.qualname)?);
    let path = scope.absolute(&file);
    if !scope.holds(&path, &function, identity.first_line) {
        return None;
    }
    let bytes = |address, length: u32| {
        let mut bytes = vec![0; length as usize];
        if Own.bytes(address, &mut bytes) { bytes } else { Vec::new() }
    };
    let (address, length) = identity.linetable(layout);
    let (mut first_line, mut table) = (identity.first_line, bytes(address, length));
    if let Some(map) = template_map(&Own, layout, frame, file.as_bytes()) {
        (first_line, table) = template_lines::translated(first_line, &table, &bytes(map.address, map.bytes));
    }
    Some(User { file: path.as_ref().into(), function: function.into(), first_line, table })
}
