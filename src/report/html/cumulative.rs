//! Cost of each line including its callees, from the tree of stacks.
//!
//! Job: sum, for every line in scope, the subtrees of the stacks that pass through the line. Invariant: a stack that
//! passes through a line twice (recursion) counts once. Neighbour: `payload` puts the sums beside the lines' own
//! figures.

use std::collections::HashMap;

use crate::profile::model::Stacks;

/// Cost of a line or a node, callees included.
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

/// For each node, its own cost plus its callees' cost, in the order of the nodes. Parents behind their children are
/// ignored.
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

/// Sums by (file, line). The file is the index used by frames.
pub(super) fn by_line(stacks: &Stacks, subtrees: &[WithCallees]) -> HashMap<(usize, u32), WithCallees> {
    let mut numbers: HashMap<(usize, u32), usize> = HashMap::new();
    let lines: Vec<usize> = stacks
        .frames
        .iter()
        .map(|frame| {
            let next = numbers.len();
            *numbers.entry((frame.file, frame.line)).or_insert(next)
        })
        .collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); stacks.nodes.len()];
    let mut open: Vec<(usize, bool)> = Vec::new();
    for (at, node) in stacks.nodes.iter().enumerate().rev() {
        match node.parent.filter(|&parent| parent < at) {
            Some(parent) => children[parent].push(at),
            None => open.push((at, false)),
        }
    }
    // Visit each node on the way down and on the way up, and count the occurrences of each line on the current stack. A
    // search through the callers would take quadratic time in a deep recursion.
    let mut sums = vec![None::<WithCallees>; numbers.len()];
    let mut depth = vec![0_usize; numbers.len()];
    while let Some((at, left)) = open.pop() {
        let line = lines.get(stacks.nodes[at].frame);
        if left {
            line.into_iter().for_each(|&line| depth[line] -= 1);
            continue;
        }
        if let Some(&line) = line {
            if depth[line] == 0 {
                sums[line].get_or_insert_default().add(subtrees[at]);
            }
            depth[line] += 1;
        }
        open.push((at, true));
        open.extend(children[at].iter().map(|&child| (child, false)));
    }
    numbers.into_iter().filter_map(|(place, line)| Some((place, sums[line]?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::{StackFrame, StackNode};

    #[test]
    fn recursion_counts_once() {
        let frame = |line| StackFrame { file: 0, function: "f".into(), line };
        let figures = StackNode { cpu_s: 1.0, wall_s: 2.0, alloc_bytes: 3, ..StackNode::default() };
        let node = |parent, frame| StackNode { parent, frame, ..figures.clone() };
        let stacks = Stacks {
            frames: vec![frame(1), frame(2)],
            nodes: vec![node(None, 0), node(Some(0), 1), node(Some(1), 0), node(Some(2), 1)],
            ..Stacks::default()
        };
        let sums = by_line(&stacks, &subtrees(&stacks));
        assert_eq!(sums[&(0, 1)], WithCallees { cpu_s: 4.0, wall_s: 8.0, alloc_bytes: 12 });
        assert_eq!(sums[&(0, 2)], WithCallees { cpu_s: 3.0, wall_s: 6.0, alloc_bytes: 9 });
    }
}
