//! Cost of each stack node by thread, or by process.
//!
//! Job: keep the own figures of each node by sharer (a thread or a process). Invariant: the shares are complete or
//! absent. Beyond [`MOST`] shares, all are dropped, because a part would read as the whole. Neighbours: `book` fills
//! them, `write::tables` writes them.

use rustc_hash::FxHashMap;

use super::sums::{NodeSums, sorted};
use super::tree::NodeId;

/// Most shares: 24 MiB with their index.
const MOST: usize = 1 << 18;

/// The shares of all threads, or of all processes.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeShares {
    shares: FxHashMap<(NodeId, u32), NodeSums>,
    let_go: bool,
}

impl NodeShares {
    /// Adds `sums` to the share of `sharer` in `node`.
    pub(crate) fn add(&mut self, node: NodeId, sharer: usize, sums: &NodeSums) {
        if self.let_go {
            return;
        }
        self.shares.entry((node, sharer as u32)).or_default().add(sums);
        if self.shares.len() > MOST {
            self.shares = FxHashMap::default();
            self.let_go = true;
        }
    }

    /// Every share by node, then by sharer.
    pub(crate) fn sorted(&self) -> impl Iterator<Item = (NodeId, usize, &NodeSums)> {
        sorted(&self.shares).into_iter().map(|((node, sharer), sums)| (node, sharer as usize, sums))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_shares_are_none() {
        let mut shares = NodeShares::default();
        let one = NodeSums { cpu_s: 1.0, ..NodeSums::default() };
        for node in 0..MOST as u32 {
            shares.add(NodeId(node), 0, &one);
            shares.add(NodeId(0), 0, &one);
        }
        assert_eq!(shares.sorted().count(), MOST);
        shares.add(NodeId(0), 1, &one);
        shares.add(NodeId(0), 1, &one);
        assert_eq!(shares.sorted().count(), 0);
    }
}
