//! Names, each once: files, functions and frames as small numbers.
//!
//! Job: give every distinct path, function and (function, line) a number, so that all later code works on `u32`s.
//! Invariant: numbers are dense and never reused; equal values have equal numbers, across processes too. Neighbours:
//! `code` makes frames, `stacks` puts frames into a tree, `lines` and `functions` turn the numbers back into names.

use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::FxHashMap;

/// A source file (or pseudo file such as `<string>`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId(pub(crate) u32);

/// A function: a file, a qualified name and a first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FunctionId(pub(crate) u32);

/// A frame: a function at one of its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FrameId(pub(crate) u32);

impl FrameId {
    /// No frame: no frame of the stack is in scope.
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// The frame; `None` for [`FrameId::NONE`].
    pub(crate) fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

/// The function behind a [`FunctionId`].
#[derive(Clone, Debug)]
pub(crate) struct FunctionName {
    /// Its file.
    pub(crate) file: FileId,
    /// Its qualified name.
    pub(crate) qualname: Arc<str>,
    /// Its first line.
    pub(crate) first_line: u32,
    /// The last line in any of its line tables.
    pub(crate) last_line: u32,
    /// True if its lines are rows of the report.
    pub(crate) in_scope: bool,
    /// True if time can belong to the function: the function was on a stack, and not only as a source string executed
    /// by code out of scope.
    pub(crate) may_own: bool,
}

/// The frame behind a [`FrameId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Frame {
    /// The function.
    pub(crate) function: FunctionId,
    /// The line, from 1.
    pub(crate) line: u32,
}

/// All names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    files: Interner<Arc<str>>,
    function_ids: FxHashMap<(FileId, Arc<str>, u32), FunctionId>,
    functions: Vec<FunctionName>,
    frames: Interner<Frame>,
}

impl Names {
    /// The number of a path.
    pub(crate) fn file(&mut self, path: &str) -> FileId {
        FileId(match self.files.numbers.get(path) {
            Some(&number) => number,
            None => self.files.number(Arc::from(path)),
        })
    }

    /// The path of a number.
    pub(crate) fn path(&self, file: FileId) -> &Arc<str> {
        &self.files.values[file.0 as usize]
    }

    /// The number of a function; calls `in_scope` only for a new function.
    pub(crate) fn function(
        &mut self,
        file: FileId,
        qualname: &str,
        first_line: u32,
        in_scope: impl FnOnce() -> bool,
    ) -> FunctionId {
        let qualname: Arc<str> = Arc::from(qualname);
        let next = FunctionId(self.functions.len() as u32);
        let id = *self.function_ids.entry((file, qualname.clone(), first_line)).or_insert(next);
        if id == next {
            self.functions.push(FunctionName {
                file,
                qualname,
                first_line,
                last_line: first_line,
                in_scope: in_scope(),
                may_own: false,
            });
        }
        id
    }

    /// The function of a number.
    pub(crate) fn function_name(&self, function: FunctionId) -> &FunctionName {
        &self.functions[function.0 as usize]
    }

    /// Extends the function to `line`, if its last line is smaller.
    pub(crate) fn extend_function(&mut self, function: FunctionId, line: u32) {
        let last = &mut self.functions[function.0 as usize].last_line;
        *last = (*last).max(line);
    }

    /// Notes that time can belong to the function of a frame.
    pub(crate) fn let_own(&mut self, frame: FrameId) {
        let function = self.frame_at(frame).function;
        self.functions[function.0 as usize].may_own = true;
    }

    /// Number of functions so far.
    pub(crate) fn function_count(&self) -> usize {
        self.functions.len()
    }

    /// The number of a frame.
    pub(crate) fn frame(&mut self, frame: Frame) -> FrameId {
        FrameId(self.frames.number(frame))
    }

    /// The frame of a number.
    pub(crate) fn frame_at(&self, frame: FrameId) -> Frame {
        self.frames.values[frame.0 as usize]
    }

    /// True if the function of the frame is in scope.
    pub(crate) fn in_scope(&self, frame: FrameId) -> bool {
        self.function_name(self.frame_at(frame).function).in_scope
    }
}

/// Values by number and numbers by value.
#[derive(Clone, Debug)]
pub(crate) struct Interner<T> {
    numbers: FxHashMap<T, u32>,
    values: Vec<T>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { numbers: FxHashMap::default(), values: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Interner<T> {
    /// The number of `value`; a new number at the first call.
    pub(crate) fn number(&mut self, value: T) -> u32 {
        let next = self.values.len() as u32;
        let number = *self.numbers.entry(value.clone()).or_insert(next);
        if number == next {
            self.values.push(value);
        }
        number
    }

    /// All values, by number.
    pub(crate) fn values(&self) -> &[T] {
        &self.values
    }
}
