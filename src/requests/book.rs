//! The calls and lines of a request, recorded during the request.
//!
//! Job: pass each event to the request's call tree and lines, on the stack of the event. Invariants: a stack belongs to
//! one context (each thread, task and greenlet has its own), so interleaved work never mixes. A context entered inside
//! another context of the same thread (`Context.run`) continues the outer stack. Neighbours: `context` finds book and
//! stack, `tree` and `ledger` count, `request` returns the sums.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use pyo3::ffi;
use pyo3::prelude::*;
use rustc_hash::{FxHashMap, FxHasher};

use super::functions::{self, Function, Kind};
use super::ledger::{Leaves, Ledger};
use super::{ledger, tree};
use crate::lines::clock;
use crate::lines::session::Reading;

/// Record of one request.
#[derive(Debug)]
pub(super) struct Book {
    /// Whether functions are recorded.
    pub(super) functions: bool,
    /// Whether lines are recorded.
    pub(super) lines: bool,
    /// Clock ticks at which the request stops recording functions.
    pub(super) deadline: u64,
    /// Whether the deadline has passed.
    pub(super) cut: bool,
    /// Calls by path.
    pub(super) tree: tree::Tree<Arc<Function>>,
    /// Lines of code in scope.
    pub(super) ledger: Ledger<Arc<Function>>,
    stacks: Vec<Stack>,
    by_context: FxHashMap<usize, u32>,
}

#[derive(Debug, Default)]
struct Stack {
    calls: Vec<tree::Frame>,
    lines: Vec<ledger::Frame>,
    suspended: Vec<ledger::Suspended>,
}

impl Stack {
    fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.lines.is_empty() && self.suspended.is_empty()
    }
}

/// At this number of contexts, the book removes contexts with an empty stack before it adds another.
const MANY_CONTEXTS: usize = 64;

impl Book {
    pub(super) fn new(lines: bool, functions: bool, deadline: u64) -> Self {
        Self {
            functions,
            lines,
            deadline,
            cut: false,
            tree: tree::Tree::new(),
            ledger: Ledger::new(),
            stacks: Vec::new(),
            by_context: FxHashMap::default(),
        }
    }

    /// The stack of `context`. `outer` yields the contexts around `context`, from the inside out.
    pub(super) fn stack_of(&mut self, context: usize, outer: impl Iterator<Item = usize>) -> u32 {
        let own = self.by_context.get(&context).copied();
        let runs = |stack: u32, stacks: &[Stack]| {
            stacks.get(stack as usize).is_some_and(|stack| !stack.calls.is_empty() || !stack.lines.is_empty())
        };
        if let Some(own) = own
            && runs(own, &self.stacks)
        {
            return own;
        }
        for context in outer {
            if let Some(&stack) = self.by_context.get(&context)
                && runs(stack, &self.stacks)
            {
                return stack;
            }
        }
        own.unwrap_or_else(|| self.add_stack(context))
    }

    #[cold]
    fn add_stack(&mut self, context: usize) -> u32 {
        let mut free = None;
        if self.by_context.len() >= MANY_CONTEXTS {
            let stacks = &self.stacks;
            self.by_context.retain(|_, stack| stacks.get(*stack as usize).is_some_and(|stack| !stack.is_empty()));
            let used: rustc_hash::FxHashSet<u32> = self.by_context.values().copied().collect();
            free = (0..self.stacks.len() as u32).find(|stack| !used.contains(stack));
        }
        let stack = free.unwrap_or_else(|| {
            self.stacks.push(Stack::default());
            self.stacks.len() as u32 - 1
        });
        self.by_context.insert(context, stack);
        stack
    }

    /// Records the start or the resumption of a Python function.
    #[inline(always)]
    pub(super) fn enter(&mut self, py: Python<'_>, stack: u32, code: *mut ffi::PyObject, starts: bool) {
        let Some(stack) = self.stacks.get_mut(stack as usize) else { return };
        self.tree.enter(
            &mut stack.calls,
            code as usize,
            |function| u64::from(starts || function.kind == Kind::Generator),
            || {
                let function = functions::of_code(py, code);
                let ours = function.ours;
                (function, ours)
            },
            clock::ticks,
        );
    }

    /// Records the start of a C function.
    #[inline(always)]
    pub(super) fn enter_builtin(&mut self, py: Python<'_>, stack: u32, key: usize, callable: *mut ffi::PyObject) {
        let Some(stack) = self.stacks.get_mut(stack as usize) else { return };
        if tree::Tree::<Arc<Function>>::silent(&stack.calls) {
            return;
        }
        let make = || {
            let function = functions::of_builtin(py, key, callable);
            let ours = function.ours;
            (function, ours)
        };
        self.tree.enter(&mut stack.calls, key, |_| 1, make, clock::ticks);
    }

    /// Records the return of a function of either kind.
    #[inline(always)]
    pub(super) fn leave(&mut self, stack: u32, key: usize, now: u64) {
        let Some(stack) = self.stacks.get_mut(stack as usize) else { return };
        self.tree.leave(&mut stack.calls, key, now);
        if now > self.deadline {
            self.end_functions(now);
        }
    }

    #[cold]
    fn end_functions(&mut self, now: u64) {
        self.cut = true;
        self.functions = false;
        for stack in &mut self.stacks {
            self.tree.clear(&mut stack.calls, now);
        }
    }

    /// Records the start (`starts`) or the resumption of code in scope.
    pub(super) fn enter_lines(
        &mut self,
        py: Python<'_>,
        stack: u32,
        code: *mut ffi::PyObject,
        starts: bool,
        now: Reading,
    ) {
        let Some(stack) = self.stacks.get_mut(stack as usize) else { return };
        let make = || {
            let function = functions::of_code(py, code);
            let (first, mut hasher) = (function.line, FxHasher::default());
            function.file.hash(&mut hasher);
            (function, first, hasher.finish())
        };
        self.ledger.enter(&mut stack.lines, code as usize, make, now);
        if !starts {
            self.ledger.resume(&mut stack.lines, &mut stack.suspended, code as usize, now.ticks);
        }
    }

    /// Records the start of a line of code in scope.
    #[inline(always)]
    pub(super) fn line(&mut self, py: Python<'_>, stack: u32, code: *mut ffi::PyObject, line: u32, now: Reading) {
        let Some(lines) = self.stacks.get_mut(stack as usize) else { return };
        if !self.ledger.line(&mut lines.lines, code as usize, line, now) {
            // The function began before the request.
            self.enter_lines(py, stack, code, true, now);
            if let Some(lines) = self.stacks.get_mut(stack as usize) {
                self.ledger.line(&mut lines.lines, code as usize, line, now);
            }
        }
    }

    /// Notes a resumption on 3.11, where the interpreter reports the current line once more.
    pub(super) fn told_again(&mut self, stack: u32) {
        if let Some(frame) = self.stacks.get_mut(stack as usize).and_then(|stack| stack.lines.last_mut()) {
            frame.told_again = true;
        }
    }

    /// Records the return or the suspension of code in scope.
    pub(super) fn leave_lines(&mut self, stack: u32, code: usize, how: Leaves, now: Reading) {
        let Some(stack) = self.stacks.get_mut(stack as usize) else { return };
        self.ledger.leave(&mut stack.lines, &mut stack.suspended, code, how, now);
    }

    /// Adds the counts of `other`: a nested request that has ended on this stack.
    pub(super) fn adopt(&mut self, stack: u32, other: &Self) {
        let Some(stack) = self.stacks.get_mut(stack as usize) else { return };
        if self.functions {
            self.tree.adopt(&mut stack.calls, &other.tree);
        }
        if self.lines {
            self.ledger.adopt(&mut stack.lines, &other.ledger);
        }
    }

    /// Ends the request. Later events are not recorded. `running`: the stack of the calling thread.
    pub(super) fn close(&mut self, running: Option<u32>, now: Reading) {
        for (number, stack) in self.stacks.iter_mut().enumerate() {
            self.tree.clear(&mut stack.calls, now.ticks);
            let same_thread = running.is_some_and(|running| running as usize == number);
            self.ledger.clear(&mut stack.lines, now, same_thread);
        }
        self.stacks = Vec::new();
        self.by_context = FxHashMap::default();
        self.functions = false;
        self.lines = false;
    }
}
