//! Stacks of another process, as events.
//!
//! Job: read the stack of a blocked thread through its process' memory, and define each code object and each distinct
//! stack once, in the form of the shim's records. Invariant: numbers of code objects have the top bit set, which the
//! shim's numbers never have. A read that was not proved consistent defines nothing ([`Stacks::commit`]). Neighbours:
//! `process` proves the reads, `profile` takes the definitions.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use rscalene_interp::{Frame, Identity, Layout, Memory, WalkEnd, template_map, text, walk};
use rscalene_wire as wire;

use crate::transport::event::{Body, CodeDef, StackDef};
use crate::transport::template_lines;

/// Bit that separates the launcher's code numbers from the shim's.
pub const CODE_BIT: u32 = 1 << 31;
/// Longest file name or qualified name that is read, in bytes.
const LONGEST_TEXT: usize = 4096;
/// Longest line table that is read, in bytes.
const LONGEST_TABLE: u32 = 32 << 20;

/// Definitions made so far for a process.
#[derive(Debug, Default)]
pub struct Stacks {
    codes: HashMap<u64, (u32, Role)>,
    stacks: HashSet<u64>,
}

/// The role of a code object in an event loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// `BaseEventLoop.run_forever`, whose first local variable is the loop.
    RunForever,
    /// `BaseEventLoop._run_once`, which calls the selector, and then the ready callbacks.
    RunOnce,
    /// A function of `selectors.py`.
    Selector,
    /// `trio.run`.
    TrioRun,
    /// A trio function that waits for the system's events.
    TrioEvents,
    /// gevent's `Hub.run`, whose first local variable is the hub.
    GeventHub,
    Other,
}

/// A stack that was read and is not defined yet.
#[derive(Debug, Default)]
pub struct Draft {
    frames: Vec<(u64, u32)>,
    codes: Vec<(u64, CodeDef)>,
    /// Address of the innermost frame; 0: no frame.
    innermost: u64,
    /// The idle event loop of the thread, if its thread runs one.
    idle_loop: Option<IdleLoop>,
}

/// The frame of an event loop without ready work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleLoop {
    /// asyncio's own: the frame's first local variable is the loop.
    Asyncio(u64),
    /// trio's: the loop is in a local variable.
    Trio(u64),
    /// gevent's: the frame's first local variable is the hub.
    Gevent(u64),
}

impl Draft {
    /// The event loop of the thread, if the loop is idle.
    #[must_use]
    pub fn idle_loop(&self) -> Option<IdleLoop> {
        self.idle_loop
    }

    /// Address of the innermost frame; 0: no frame.
    #[must_use]
    pub fn innermost(&self) -> u64 {
        self.innermost
    }

    /// The stack of a task of this idle loop: the task's own frames on top of the loop's frames.
    #[must_use]
    pub fn of_task(&self, mut task: Self) -> Self {
        // Omits the frames in which the loop itself waits.
        let place = match self.idle_loop {
            Some(IdleLoop::Asyncio(_)) => 2,
            Some(IdleLoop::Trio(_) | IdleLoop::Gevent(_)) => 1,
            None => 0,
        };
        task.frames.extend_from_slice(self.frames.get(place..).unwrap_or(&[]));
        task
    }
}

impl Stacks {
    /// Reads the stack of the thread state at `tstate`; `None` if the frames cannot be read.
    pub fn read(&self, memory: &impl Memory, layout: &Layout, tstate: u64, max_depth: u32) -> Option<Draft> {
        let mut frames: Vec<Frame> = Vec::new();
        let walked = walk(memory, layout, tstate, max_depth, |frame| {
            frames.push(frame);
            true
        });
        let lost = walked.end == WalkEnd::Broken && frames.is_empty();
        (!lost).then(|| self.draft(memory, layout, &frames))
    }

    /// The draft of a stack of these frames, leaf first.
    pub fn draft(&self, memory: &impl Memory, layout: &Layout, frames: &[Frame]) -> Draft {
        let mut draft = Draft::default();
        let mut roles = Vec::with_capacity(frames.len());
        for frame in frames {
            let Some(identity) = Identity::read(memory, layout, frame.code) else {
                continue;
            };
            let hash = identity.hash64();
            let drafted = || draft.codes.iter().find(|(known, _)| *known == hash).map(|(_, code)| role(code));
            let role = match self.codes.get(&hash).map(|&(_, role)| role).or_else(drafted) {
                Some(role) => role,
                None => {
                    let Some(code) = read_code(memory, layout, &identity, frame.frame) else {
                        continue;
                    };
                    let role = role(&code);
                    draft.codes.push((hash, code));
                    role
                }
            };
            roles.push((role, frame.frame));
            draft.frames.push((hash, frame.offset_bytes));
        }
        draft.innermost = roles.first().map_or(0, |&(_, address)| address);
        draft.idle_loop = match roles[..] {
            [(Role::Selector, _), (Role::RunOnce, _), (Role::RunForever, address), ..] => {
                Some(IdleLoop::Asyncio(address))
            }
            [(Role::TrioEvents, _), (Role::TrioRun, address), ..] => Some(IdleLoop::Trio(address)),
            [(Role::GeventHub, address), ..] => Some(IdleLoop::Gevent(address)),
            _ => None,
        };
        draft
    }

    /// Takes in a stack whose read was consistent. Adds new definitions to `out` and returns the hash of the stack; 0:
    /// no frames.
    pub fn commit(&mut self, draft: Draft, out: &mut Vec<Body>) -> u64 {
        for (hash, mut code) in draft.codes {
            let number = u32::try_from(self.codes.len() + 1).unwrap_or(CODE_BIT - 1) | CODE_BIT;
            if self.codes.contains_key(&hash) {
                continue;
            }
            self.codes.insert(hash, (number, role(&code)));
            code.def.code = number;
            out.push(Body::CodeDef(code));
        }
        let known = |&(hash, offset): &(u64, u32)| Some(wire::StackEntry { code: self.codes.get(&hash)?.0, offset });
        let entries: Vec<wire::StackEntry> = draft.frames.iter().filter_map(known).collect();
        if entries.is_empty() {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        for entry in &entries {
            (entry.code, entry.offset).hash(&mut hasher);
        }
        let stack = hasher.finish().max(1);
        if self.stacks.insert(stack) {
            let depth = u32::try_from(entries.len()).unwrap_or(u32::MAX);
            let def = wire::StackDef { stack, depth, lasting: 1 };
            out.push(Body::StackDef(StackDef { def, entries }));
        }
        stack
    }
}

fn role(code: &CodeDef) -> Role {
    match code.qualname.as_str() {
        "BaseEventLoop.run_forever" => Role::RunForever,
        "BaseEventLoop._run_once" => Role::RunOnce,
        "run" if code.filename.ends_with("/trio/_core/_run.py") => Role::TrioRun,
        "Hub.run" if code.filename.ends_with("/gevent/hub.py") => Role::GeventHub,
        "EpollIOManager.get_events" if code.filename.ends_with("/trio/_core/_io_epoll.py") => Role::TrioEvents,
        _ if code.filename.ends_with("selectors.py") || code.filename == "<frozen selectors>" => Role::Selector,
        _ => Role::Other,
    }
}

fn read_code(memory: &impl Memory, layout: &Layout, identity: &Identity, frame: u64) -> Option<CodeDef> {
    let string = |address| {
        let mut buffer = [0; LONGEST_TEXT];
        let length = text(memory, layout, address, &mut buffer)?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    let (filename, qualname) = (string(identity.filename)?, string(identity.qualname)?);
    let (address, length) = identity.linetable(layout);
    let mut table = Vec::new();
    if length <= LONGEST_TABLE {
        table.resize(usize::try_from(length).ok()?, 0);
        if !memory.bytes(address, &mut table) {
            table.clear();
        }
    }
    let bytes = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let def = wire::CodeDef {
        code: 0,
        first_line: identity.first_line,
        filename_bytes: bytes(filename.len()),
        name_bytes: bytes(qualname.len()),
        table_bytes: length,
    };
    let map = template_map(memory, layout, frame, filename.as_bytes());
    let mut code = CodeDef { def, filename, qualname, table };
    if let Some(map) = map {
        let mut text = vec![0; usize::try_from(map.bytes).ok()?];
        let whole = memory.bytes(map.address, &mut text);
        template_lines::translate(&mut code, if whole { &text } else { &[] });
    }
    Some(code)
}
