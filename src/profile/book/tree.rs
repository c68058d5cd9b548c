//! The tree of all stacks, shared by all processes.
//!
//! Job: a small number for every distinct stack. Invariant: the number of a parent is smaller than the numbers of its
//! children; the tree stops growing at [`MAX_NODES`] (deeper frames then share the last node before the limit).
//! Neighbours: `build::stacks` adds nodes, `write` sums over the tree.

use rustc_hash::FxHashMap;

use super::intern::FrameId;

/// Most nodes of the tree: 100 MiB with all sums of each node, measured at the end of a run.
pub(crate) const MAX_NODES: usize = 1 << 18;

/// A node of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) u32);

impl NodeId {
    /// No stack, or the parent of an outermost frame.
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// Index of the node; `None` for no node.
    pub(crate) fn index(self) -> Option<usize> {
        (self != Self::NONE).then_some(self.0 as usize)
    }
}

/// The stack and the line of an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// Its stack.
    pub(crate) node: NodeId,
    /// Its line: the innermost frame in scope.
    pub(crate) owner: FrameId,
}

impl Place {
    /// No Python stack.
    pub(crate) const NOWHERE: Self = Self { node: NodeId::NONE, owner: FrameId::NONE };
}

/// The tree of all stacks.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: Vec<(NodeId, FrameId)>,
    children: FxHashMap<(NodeId, FrameId), NodeId>,
    /// Number of stacks whose innermost frames are beyond the limit.
    pub(crate) folded: u64,
}

impl Tree {
    /// Parent and frame by node.
    pub(crate) fn nodes(&self) -> &[(NodeId, FrameId)] {
        &self.nodes
    }

    /// True if the tree has reached its limit.
    pub(crate) fn is_full(&self) -> bool {
        self.nodes.len() >= MAX_NODES
    }

    /// The node of a frame below its caller's node; the caller's own node if the tree is full.
    pub(crate) fn child(&mut self, parent: NodeId, frame: FrameId) -> NodeId {
        if let Some(&node) = self.children.get(&(parent, frame)) {
            return node;
        }
        if self.is_full() {
            return parent;
        }
        let node = NodeId(self.nodes.len() as u32);
        self.nodes.push((parent, frame));
        self.children.insert((parent, frame), node);
        node
    }
}
