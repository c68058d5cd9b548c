//! What each line costs with everything it calls, from the tree of stacks.
//!
//! Job: sum, for every line in scope, the subtrees of the stacks that pass through it. Invariant: a stack that passes
//! twice through a line (recursion) counts once. Neighbours: `payload` sends the sums beside the lines' own figures.

use std::collections::HashMap;

use crate::profile::model::Stacks;

/// Cost with callees.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct WithCallees {
    /// CPU seconds.
    pub(super) cpu_s: f64,
    /// CPU and off-CPU seconds.
    pub(super) wall_s: f64,
    /// Bytes allocated.
    pub(super) alloc_bytes: u64,
}

impl WithCallees {
    fn add(&mut self, other: Self) {
        self.cpu_s += other.cpu_s;
        self.wall_s += other.wall_s;
        self.alloc_bytes = self.alloc_bytes.saturating_add(other.alloc_bytes);
    }
}

/// Every node's own cost and its callees', in the order of the nodes. Parents that do not come first are ignored.
pub(super) fn subtrees(stacks: &Stacks) -> Vec<WithCallees> {
    let mut sums: Vec<WithCallees> = stacks
        .nodes
        .iter()
        .map(|node| WithCallees { cpu_s: node.cpu_s, wall_s: node.wall_s, alloc_bytes: node.alloc_bytes })
        .collect();
    for at in (0..sums.len()).rev() {
        if let Some(parent) = stacks.nodes[at].parent.filter(|&parent| parent < at) {
            let sum = sums[at];
            sums[parent].add(sum);
        }
    }
    sums
}

/// Sums by (file, line), files as the frames number them.
pub(super) fn by_line(stacks: &Stacks, subtrees: &[WithCallees]) -> HashMap<(usize, u32), WithCallees> {
    let mut sums: HashMap<(usize, u32), WithCallees> = HashMap::new();
    // A node's line is repeated when an ancestor has it: each node keeps its nearest ancestor's answer by walking up,
    // bounded by the depth of the stack.
    for (at, node) in stacks.nodes.iter().enumerate() {
        let Some(frame) = stacks.frames.get(node.frame) else { continue };
        let key = (frame.file, frame.line);
        let mut above = node.parent.filter(|&parent| parent < at);
        let mut repeated = false;
        while let Some(up) = above {
            let ancestor = &stacks.nodes[up];
            repeated = stacks.frames.get(ancestor.frame).is_some_and(|f| (f.file, f.line) == key);
            if repeated {
                break;
            }
            above = ancestor.parent.filter(|&parent| parent < up);
        }
        if !repeated {
            sums.entry(key).or_default().add(subtrees[at]);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::{StackFrame, StackNode};

    #[test]
    fn recursion_counts_once() {
        let frame = |line| StackFrame { file: 0, function: "f".into(), line };
        let node = |parent, frame| StackNode { parent, frame, cpu_s: 1.0, wall_s: 2.0, alloc_bytes: 3 };
        let stacks = Stacks {
            frames: vec![frame(1), frame(2)],
            nodes: vec![node(None, 0), node(Some(0), 1), node(Some(1), 0), node(Some(2), 1)],
            other_files: vec![],
        };
        let sums = by_line(&stacks, &subtrees(&stacks));
        assert_eq!(sums[&(0, 1)], WithCallees { cpu_s: 4.0, wall_s: 8.0, alloc_bytes: 12 });
        assert_eq!(sums[&(0, 2)], WithCallees { cpu_s: 3.0, wall_s: 6.0, alloc_bytes: 9 });
    }
}
