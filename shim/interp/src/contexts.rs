//! The value of a context variable in the context of a thread.
//!
//! Job: find the value without a call of the interpreter, from a hook, a signal handler, or another process. Invariant:
//! the result is `None` if a word cannot be read or a map has an unknown shape. Callers: the extension module finds the
//! offsets and addresses by search, and compares the results with Python's; the shim then reads labels.
//!
//! ```text
//! thread state -> context -> ctx_vars (a map) -> h_root -> nodes, five bits of the variable's hash each -> value
//! ```

use crate::memory::{Memory, at, unaligned};

/// Offsets that 3.11 to 3.15 share: `PyContext.ctx_vars`, `PyHamtObject.h_root`.
const CONTEXT_VARS: u32 = 24;
const MAP_ROOT: u32 = 16;
/// A bitmap node's and a collision node's: their word, and their pairs of key and value.
const NODE_WORD: u32 = 24;
const NODE_PAIRS: u32 = 32;
/// A full node's children.
const NODE_CHILDREN: u32 = 16;
const OB_TYPE: u32 = 8;
const OB_SIZE: u32 = 16;
/// Most levels of a map: five bits of the 32-bit hash for each level, and a level of collisions.
const DEEPEST: usize = 8;
/// Words of a collision node in which this file searches.
const MOST_WORDS: u64 = 64;

/// Offsets and addresses with which to read a variable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContextVariable {
    /// Offset of the context in the thread state.
    pub context: u32,
    /// The variable's hash, folded as maps fold hashes.
    pub hash: u32,
    /// Address of the variable.
    pub variable: u64,
    /// Address of the type of bitmap nodes.
    pub bitmap: u64,
    /// Address of the type of full nodes.
    pub array: u64,
}

impl ContextVariable {
    /// The root node of a context's map.
    #[inline]
    #[must_use]
    pub fn root(memory: &impl Memory, context: u64) -> Option<u64> {
        let map = memory.u64(at(context, CONTEXT_VARS)).filter(|&map| map != 0 && !unaligned(map))?;
        memory.u64(at(map, MAP_ROOT))
    }

    /// Address of the variable's value in the context of a thread state; `None` without a value.
    #[inline]
    #[must_use]
    pub fn value(&self, memory: &impl Memory, tstate: u64) -> Option<u64> {
        let context = memory.u64(at(tstate, self.context)).filter(|&context| context != 0 && !unaligned(context))?;
        let mut node = Self::root(memory, context)?;
        let mut hash = self.hash;
        for _ in 0..DEEPEST {
            if node == 0 || unaligned(node) {
                return None;
            }
            let kind = memory.u64(at(node, OB_TYPE))?;
            let digit = hash & 31;
            hash >>= 5;
            if kind == self.array {
                node = memory.u64(at(at(node, NODE_CHILDREN), digit << 3))?;
            } else if kind == self.bitmap {
                let bits = memory.u32(at(node, NODE_WORD))?;
                let bit = 1_u32 << digit;
                if bits & bit == 0 {
                    return None;
                }
                let pair = at(at(node, NODE_PAIRS), (bits & bit.wrapping_sub(1)).count_ones() << 4);
                let (key, value) = (memory.u64(pair)?, memory.u64(at(pair, 8))?);
                if key != 0 {
                    return (key == self.variable).then_some(value);
                }
                node = value;
            } else {
                let slots = memory.u64(at(node, OB_SIZE))?.min(MOST_WORDS) as u32;
                let mut pairs = (0..slots / 2).map(|number| at(at(node, NODE_PAIRS), number << 4));
                let pair = pairs.find(|&pair| memory.u64(pair) == Some(self.variable))?;
                return memory.u64(at(pair, 8));
            }
        }
        None
    }
}
