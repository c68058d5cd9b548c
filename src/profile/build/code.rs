//! Code objects: from (code number of a process, byte offset) to a frame.
//!
//! Job: keep each distinct line table once, however many processes send it, and decode the table once, when a line is
//! first needed. Invariant: every frame has a line from 1 on. An offset without a line gets the previous line of the
//! table; an offset beyond the table gets the function's first line. Neighbours: `rscalene_interp::linetable` decodes,
//! `stacks` asks for frames.

use std::cell::OnceCell;
use std::sync::Arc;

use rscalene_interp::linetable::locations;
use rustc_hash::FxHashMap;

use super::scope::Scope;
use super::text_of::{self, is_pseudo, is_typed};
use crate::profile::book::intern::{FileId, Frame, FrameId, FunctionId, Names};
use crate::transport::event::CodeDef;

/// The file name that cloudpickle gives to functions sent to another process.
pub(crate) const SENT: &str = "<dynamic-code>";
/// Most files in scope whose source is read.
const MOST_USERS: usize = 512;

/// A distinct code object, over all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CodeId(u32);

#[derive(Debug)]
struct Code {
    function: FunctionId,
    first_line: u32,
    table: Arc<[u8]>,
    /// For each line, in the order of the bytecode: the end of its bytecode, and the line. Decoded at the first use.
    lines: OnceCell<Box<[(u32, u32)]>>,
}

/// The distinct code objects.
#[derive(Debug, Default)]
pub(crate) struct Codes {
    ids: FxHashMap<(FunctionId, Arc<[u8]>), CodeId>,
    codes: Vec<Code>,
    frames: FxHashMap<(CodeId, u32), FrameId>,
    /// Files in scope, in the order of their first definition.
    users: Vec<FileId>,
    /// True if the program's own code calls `exec`, `eval` or `compile`, or if its source is unknown. Source strings
    /// not run by a library may then be the user's.
    pub(crate) user_makes_code: bool,
}

impl Codes {
    /// Takes in a definition. `filename`: the file name of the code object, or a name that separates its source string
    /// from others with the same file name. `own`: the user wrote the source, though no file contains it.
    pub(crate) fn define(
        &mut self,
        names: &mut Names,
        scope: &Scope,
        code: &CodeDef,
        filename: &str,
        own: bool,
    ) -> CodeId {
        let first_line = code.def.first_line.max(1);
        let sent = if filename == SENT { self.origin(names, scope, &code.qualname, first_line) } else { None };
        let path = sent.as_deref().map_or_else(|| scope.absolute(filename), Into::into);
        let file = names.file(&path);
        let holds = || if own { scope.holds_own_text(&path) } else { scope.holds(&path, &code.qualname, first_line) };
        let function = names.function(file, &code.qualname, first_line, holds);
        if !own && names.function_name(function).in_scope && !self.users.contains(&file) {
            self.meet(scope, &path, file);
        }
        let table: Arc<[u8]> = Arc::from(code.table.as_slice());
        let next = CodeId(self.codes.len() as u32);
        let id = *self.ids.entry((function, table.clone())).or_insert(next);
        if id == next {
            let last = locations(&table, first_line).filter_map(|place| place.end_line.max(place.line)).max();
            names.extend_function(function, last.unwrap_or(first_line));
            self.codes.push(Code { function, first_line, table, lines: OnceCell::new() });
        }
        id
    }

    /// Takes in the first function of a file in scope.
    fn meet(&mut self, scope: &Scope, path: &str, file: FileId) {
        if is_typed(path) {
            self.user_makes_code = true;
        } else if !is_pseudo(path) && self.users.len() < MOST_USERS {
            self.users.push(file);
            let text = scope.files().map(|files| files.text(path));
            self.user_makes_code |= text.is_none_or(|text| text.is_some_and(|text| text_of::makes_code(&text)));
        }
    }

    /// The file of a function that arrived from another process without its file name: the only file in scope that
    /// defines a function of this name on this line.
    fn origin(&self, names: &Names, scope: &Scope, qualname: &str, first_line: u32) -> Option<Arc<str>> {
        let files = scope.files()?;
        let met = self.users.iter().map(|file| Arc::clone(names.path(*file)));
        let mut paths: Vec<Arc<str>> = scope.scripts().iter().map(|path| Arc::from(path.as_str())).chain(met).collect();
        paths.sort_unstable();
        paths.dedup();
        let mut defining = paths
            .into_iter()
            .filter(|path| files.text(path).is_some_and(|text| text_of::defines(&text, qualname, first_line)));
        defining.next().filter(|_| defining.next().is_none())
    }

    /// The frame of the instruction at `offset`.
    pub(crate) fn frame(&mut self, names: &mut Names, code: CodeId, offset: u32) -> FrameId {
        if let Some(&frame) = self.frames.get(&(code, offset)) {
            return frame;
        }
        let definition = &self.codes[code.0 as usize];
        let line = definition.line(offset);
        let frame = names.frame(Frame { function: definition.function, line });
        self.frames.insert((code, offset), frame);
        frame
    }

    /// The frame for a code object whose definition was lost.
    pub(crate) fn unknown(&mut self, names: &mut Names) -> FrameId {
        let file = names.file("<unknown>");
        let function = names.function(file, "<unknown>", 1, || false);
        names.frame(Frame { function, line: 1 })
    }
}

impl Code {
    fn line(&self, offset: u32) -> u32 {
        let lines = self.lines.get_or_init(|| self.decode());
        let at = lines.partition_point(|&(end, _)| end <= offset);
        lines.get(at).map_or(self.first_line, |&(_, line)| line)
    }

    fn decode(&self) -> Box<[(u32, u32)]> {
        let mut lines: Vec<(u32, u32)> = Vec::new();
        let mut before = self.first_line;
        for place in locations(&self.table, self.first_line) {
            before = place.line.filter(|&line| line > 0).unwrap_or(before);
            match lines.last_mut() {
                Some((end, line)) if *line == before => *end = place.end,
                _ => lines.push((place.end, before)),
            }
        }
        lines.into()
    }
}
