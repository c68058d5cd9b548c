//! Stacks: a tree for all processes, and for each process the leaves of its stacks.
//!
//! Job: turn a stack definition into a leaf of the tree and into its owner, the innermost frame in scope. Invariant:
//! the number of a parent is smaller than the numbers of its children. The tree stops growing at a limit: deeper frames
//! then share the last node before the limit, and the stack counts as folded; the owner is still exact. A stack that
//! the shim has forgotten is forgotten here too, because the shim sends the stack again before any record names it. So
//! the shim's table bounds the stacks that are kept. Neighbours: `code` makes frames, `functions` sums over the tree.

use rscalene_wire::{StackEntry, stack_slot};
use rustc_hash::{FxHashMap, FxHashSet};

use super::code::{CodeId, Codes};
use super::idle;
use super::text_of;
use crate::profile::book::intern::{FrameId, Names};
use crate::profile::book::tree::{NodeId, Place, Tree};
use crate::transport::event::StackDef;

/// Stacks that are kept for each slot of the shim's table. The shim remembers only the last stack, but another thread
/// may be about to send a record with an earlier stack.
const RECENT: usize = 4;

/// The stacks and code objects that one process defined.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    codes: FxHashMap<u32, CodeId>,
    /// A second meaning of code numbers: source strings that a `-c` program executes, where the module has a caller.
    executed: FxHashMap<u32, CodeId>,
    /// Each stack's place, its innermost frame, and the instruction of its owner.
    stacks: FxHashMap<u64, (Place, FrameId, u32)>,
    /// The latest stacks of each slot in the shim's table, the latest first; 0: empty.
    recent: FxHashMap<u32, [u64; RECENT]>,
    /// Stacks in which a thread off the CPU counts as idle.
    idle: FxHashSet<u64>,
    /// The last definition, outermost frame first, with its frames and the places of its prefixes. Successive
    /// definitions share most frames, so only the rest is looked up.
    last: Vec<(StackEntry, FrameId, Place)>,
}

impl Definitions {
    /// Takes in a code object.
    pub(crate) fn define_code(&mut self, number: u32, code: CodeId) {
        if self.codes.insert(number, code).is_some_and(|former| former != code) {
            self.last.clear();
        }
    }

    /// Takes in a second meaning for the code object of a `-c` program's module: a source string that the program
    /// executes. The second meaning applies where the module has a caller, because the program's own module has none.
    pub(crate) fn define_executed(&mut self, number: u32, code: CodeId) {
        self.executed.insert(number, code);
    }

    /// Takes in a stack.
    pub(crate) fn define_stack(&mut self, tree: &mut Tree, codes: &mut Codes, names: &mut Names, stack: &StackDef) {
        let outermost_first = stack.entries.iter().rev();
        let shared = outermost_first.clone().zip(&self.last).take_while(|(entry, (known, ..))| *entry == known).count();
        self.last.truncate(shared);
        let mut place = self.last.last().map_or(Place::NOWHERE, |(.., place)| *place);
        for entry in outermost_first.skip(shared) {
            let executed = self.executed.get(&entry.code).filter(|_| !self.last.is_empty());
            let frame = match executed.or_else(|| self.codes.get(&entry.code)) {
                Some(&code) => codes.frame(names, code, entry.offset),
                None => codes.unknown(names),
            };
            place.node = tree.child(place.node, frame);
            if names.in_scope(frame) && !self.is_anothers_text(names, frame, codes.user_makes_code) {
                place.owner = frame;
                names.let_own(frame);
            }
            self.last.push((*entry, frame, place));
        }
        if tree.is_full() {
            // A frame beyond the limit has the node of its caller.
            let above = std::iter::once(NodeId::NONE).chain(self.last.iter().map(|(.., place)| place.node));
            let cut = above.zip(&self.last).any(|(above, (.., place))| above == place.node);
            tree.folded += u64::from(cut);
        }
        if stack.def.lasting == 0 {
            self.forget_oldest(stack.def.stack);
        }
        let leaf = self.last.last().map_or(FrameId::NONE, |(_, frame, _)| *frame);
        let by_owner = self.last.iter().rev().find(|(_, frame, _)| *frame == place.owner);
        let instruction = by_owner.map_or(0, |(entry, ..)| entry.offset);
        self.stacks.insert(stack.def.stack, (place, leaf, instruction));
        let innermost_first = self.last.iter().rev().map(|(_, frame, _)| {
            let function = names.function_name(names.frame_at(*frame).function);
            (&**names.path(function.file), &*function.qualname)
        });
        if idle::idles(innermost_first) {
            self.idle.insert(stack.def.stack);
        }
    }

    /// Forgets a stack that another stack replaced in the shim's table: the shim sends the forgotten stack again before
    /// a record names it.
    fn forget_oldest(&mut self, stack: u64) {
        let recent = self.recent.entry(stack_slot(stack) as u32).or_default();
        let place = recent.iter().position(|known| *known == stack).unwrap_or(RECENT - 1);
        let former = std::mem::replace(&mut recent[place], stack);
        recent[..=place].rotate_right(1);
        if former != stack {
            self.stacks.remove(&former);
            self.idle.remove(&former);
        }
    }

    /// True if a thread off the CPU in this stack waits for work, or for another thread to end.
    pub(crate) fn is_idle(&self, stack: u64) -> bool {
        self.idle.contains(&stack)
    }

    /// True if the frame, called by the last frame of `last`, runs a source string that code out of scope made and
    /// executed under no file name. For example, `site` runs the lines of `.pth` files like this. The time of the frame
    /// then belongs to the line that called that code. The code of a string begins at its `<module>` frame. If other
    /// code calls a function of such a string, the function is the user's only if the user's code compiles strings;
    /// otherwise a library made the function (a wrapper, a template).
    fn is_anothers_text(&self, names: &Names, frame: FrameId, user_makes_code: bool) -> bool {
        let text = |frame: FrameId| {
            let function = names.function_name(names.frame_at(frame).function);
            text_of::is_text(names.path(function.file)).then(|| &*function.qualname == "<module>")
        };
        let (Some(module), Some((caller, owner))) =
            (text(frame), self.last.last().map(|(_, frame, place)| (*frame, place.owner)))
        else {
            return false;
        };
        match (module || text(caller).is_some(), owner == caller) {
            (true, by_user) => !by_user,
            (false, _) => !user_makes_code,
        }
    }

    /// The place of a stack, by its hash; [`Place::NOWHERE`] for 0 and for a stack whose definition was lost.
    pub(crate) fn place(&self, stack: u64) -> Place {
        self.stacks.get(&stack).map_or(Place::NOWHERE, |(place, ..)| *place)
    }

    /// The innermost frame of a stack, in scope or not; [`FrameId::NONE`] where [`Self::place`] finds no place.
    pub(crate) fn leaf(&self, stack: u64) -> FrameId {
        self.stacks.get(&stack).map_or(FrameId::NONE, |(_, leaf, _)| *leaf)
    }

    /// The instruction that the owner of a stack executes; 0 where [`Self::place`] finds no place.
    pub(crate) fn instruction(&self, stack: u64) -> u32 {
        self.stacks.get(&stack).map_or(0, |(.., instruction)| *instruction)
    }
}

#[cfg(test)]
mod tests {
    use rscalene_wire::STACK_SLOTS;

    use super::*;

    #[test]
    fn stacks_that_the_shim_sends_again_are_not_kept_for_ever() {
        let mut definitions = Definitions::default();
        for stack in (1..1_000_001u64).step_by(2) {
            definitions.forget_oldest(stack);
            definitions.stacks.insert(stack, (Place::NOWHERE, FrameId::NONE, 0));
            assert!(definitions.stacks.contains_key(&stack.saturating_sub(2).max(1)), "a record may still name it");
        }
        assert_eq!(definitions.stacks.len(), RECENT * STACK_SLOTS);
        // A stack that the shim sends again is the latest.
        let oldest = 1_000_001 - 2 * (RECENT * STACK_SLOTS) as u64;
        definitions.forget_oldest(oldest);
        definitions.forget_oldest(oldest + 2 * STACK_SLOTS as u64 * RECENT as u64);
        assert!(definitions.stacks.contains_key(&oldest));
    }
}
