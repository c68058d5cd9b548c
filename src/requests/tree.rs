//! The exact call tree of one request.
//!
//! Job: count calls and time for each path of functions. Invariants: pure; each tick between two events belongs to one
//! node, and each call to one. From [`MOST`] nodes on, new paths are counted by function only, directly under the root;
//! calls and own time stay exact. Neighbours: `book` passes the events, `table` sums the nodes.

/// Most nodes of a tree.
pub(super) const MOST: usize = 20_000;

/// Index in place of no node.
const NONE: u32 = u32::MAX;

/// A path of functions from the outermost call to this function.
#[derive(Debug)]
pub(super) struct Node<F> {
    key: usize,
    /// The function; `None` for the root.
    pub(super) function: Option<F>,
    /// Index of the caller's node, which is smaller than this node's index.
    pub(super) parent: u32,
    first: u32,
    next: u32,
    /// Calls.
    pub(super) calls: u64,
    /// Ticks in the function itself.
    pub(super) own: u64,
}

/// A running function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    key: usize,
    node: u32,
    /// Whether the function is rscalene's own: then it has no node, and its time is left out.
    silent: bool,
    began: u64,
    inner: u64,
}

/// The call tree of one request.
#[derive(Debug)]
pub(super) struct Tree<F> {
    /// The root, then all other nodes, each after its caller.
    pub(super) nodes: Vec<Node<F>>,
    /// Whether a path was counted by its function only.
    pub(super) folded: bool,
}

impl<F> Tree<F> {
    pub(super) fn new() -> Self {
        let root = Node { key: 0, function: None, parent: NONE, first: NONE, next: NONE, calls: 0, own: 0 };
        Self { nodes: vec![root], folded: false }
    }

    /// Whether the innermost function belongs to rscalene.
    #[inline(always)]
    pub(super) fn silent(frames: &[Frame]) -> bool {
        frames.last().is_some_and(|frame| frame.silent)
    }

    /// Records the start or the resumption of a function. `make` is called at the first call on this path, and returns
    /// the function and whether the function is rscalene's own.
    #[inline(always)]
    pub(super) fn enter(
        &mut self,
        frames: &mut Vec<Frame>,
        key: usize,
        calls: impl FnOnce(&F) -> u64,
        make: impl FnOnce() -> (F, bool),
        now: impl FnOnce() -> u64,
    ) {
        let top = frames.last().map_or(0, |frame| frame.node);
        let node = match self.child(top, key) {
            Some(node) => node,
            None => {
                let (function, silent) = make();
                if silent {
                    frames.push(Frame { key, node: top, silent, began: now(), inner: 0 });
                    return;
                }
                self.add(top, key, function)
            }
        };
        if let Some(node) = self.nodes.get_mut(node as usize)
            && let Some(function) = &node.function
        {
            node.calls += calls(function);
        }
        frames.push(Frame { key, node, silent: false, began: now(), inner: 0 });
    }

    /// Records the end of a function by a return, a `yield` or an exception. Functions still open inside it end too.
    #[inline(always)]
    pub(super) fn leave(&mut self, frames: &mut Vec<Frame>, key: usize, now: u64) {
        if frames.last().is_some_and(|frame| frame.key == key) {
            self.pop(frames, now);
        } else if let Some(at) = frames.iter().rposition(|frame| frame.key == key) {
            while frames.len() > at {
                self.pop(frames, now);
            }
        }
    }

    /// Ends all running functions.
    pub(super) fn clear(&mut self, frames: &mut Vec<Frame>, now: u64) {
        while !frames.is_empty() {
            self.pop(frames, now);
        }
    }

    /// Adds the counts of another tree below the innermost function.
    pub(super) fn adopt(&mut self, frames: &mut [Frame], other: &Self)
    where
        F: Clone,
    {
        let mut places = vec![frames.last().map_or(0, |frame| frame.node)];
        for node in other.nodes.iter().skip(1) {
            let parent = places.get(node.parent as usize).copied().unwrap_or(0);
            let at = match (self.child(parent, node.key), &node.function) {
                (Some(there), _) => there,
                (None, Some(function)) => self.add(parent, node.key, function.clone()),
                (None, None) => parent,
            };
            places.push(at);
            if let Some(mine) = self.nodes.get_mut(at as usize) {
                mine.calls += node.calls;
                mine.own += node.own;
            }
        }
        if let Some(frame) = frames.last_mut() {
            frame.inner += other.nodes.iter().map(|node| node.own).sum::<u64>();
        }
    }

    #[inline(always)]
    fn pop(&mut self, frames: &mut Vec<Frame>, now: u64) {
        let Some(frame) = frames.pop() else { return };
        let total = now.saturating_sub(frame.began);
        if let Some(outer) = frames.last_mut() {
            outer.inner += total;
        }
        if !frame.silent
            && let Some(node) = self.nodes.get_mut(frame.node as usize)
        {
            node.own += total.saturating_sub(frame.inner);
        }
    }

    /// The callee of `parent` with this key. Moves it to the front of the list of callees.
    #[inline(always)]
    fn child(&mut self, parent: u32, key: usize) -> Option<u32> {
        let first = self.nodes.get(parent as usize)?.first;
        let (mut at, mut before) = (first, NONE);
        while let Some(node) = self.nodes.get(at as usize) {
            if node.key == key {
                if before != NONE {
                    let next = node.next;
                    self.nodes.get_mut(before as usize)?.next = next;
                    self.nodes.get_mut(at as usize)?.next = first;
                    self.nodes.get_mut(parent as usize)?.first = at;
                }
                return Some(at);
            }
            (before, at) = (at, node.next);
        }
        None
    }

    #[cold]
    fn add(&mut self, parent: u32, key: usize, function: F) -> u32 {
        let parent = if self.nodes.len() < MOST {
            parent
        } else {
            self.folded = true;
            if let Some(there) = self.child(0, key) {
                return there;
            }
            0
        };
        let at = self.nodes.len() as u32;
        let next = self.nodes.get(parent as usize).map_or(NONE, |parent| parent.first);
        self.nodes.push(Node { key, function: Some(function), parent, first: NONE, next, calls: 0, own: 0 });
        if let Some(parent) = self.nodes.get_mut(parent as usize) {
            parent.first = at;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(tree: &mut Tree<usize>, frames: &mut Vec<Frame>, key: usize, now: u64) {
        tree.enter(frames, key, |_| 1, || (key, key == 99), || now);
    }

    fn sum(tree: &Tree<usize>, key: usize) -> (u64, u64) {
        let nodes = tree.nodes.iter().filter(|node| node.function == Some(key));
        nodes.fold((0, 0), |(calls, own), node| (calls + node.calls, own + node.own))
    }

    #[test]
    fn each_tick_belongs_to_the_innermost_function() {
        let (mut tree, mut frames) = (Tree::new(), Vec::new());
        enter(&mut tree, &mut frames, 1, 10);
        enter(&mut tree, &mut frames, 2, 13);
        tree.leave(&mut frames, 2, 20);
        tree.leave(&mut frames, 1, 21);
        assert_eq!((sum(&tree, 1), sum(&tree, 2)), ((1, 4), (1, 7)));
    }

    #[test]
    fn a_call_without_a_return_event_ends_with_its_caller() {
        let (mut tree, mut frames) = (Tree::new(), Vec::new());
        enter(&mut tree, &mut frames, 1, 0);
        enter(&mut tree, &mut frames, 2, 1);
        enter(&mut tree, &mut frames, 3, 2);
        tree.leave(&mut frames, 1, 9);
        assert!(frames.is_empty());
        assert_eq!((sum(&tree, 1).1, sum(&tree, 2).1, sum(&tree, 3).1), (1, 1, 7));
    }

    #[test]
    fn functions_of_rscalene_have_no_rows_and_their_time_counts_nowhere() {
        let (mut tree, mut frames) = (Tree::new(), Vec::new());
        enter(&mut tree, &mut frames, 1, 0);
        enter(&mut tree, &mut frames, 99, 2);
        enter(&mut tree, &mut frames, 3, 5);
        tree.leave(&mut frames, 3, 11);
        tree.leave(&mut frames, 99, 12);
        tree.leave(&mut frames, 1, 20);
        assert_eq!((sum(&tree, 1), sum(&tree, 3), sum(&tree, 99)), ((1, 10), (1, 6), (0, 0)));
        let inner = tree.nodes.iter().find(|node| node.function == Some(3)).unwrap();
        assert_eq!(tree.nodes[inner.parent as usize].function, Some(1));
    }

    #[test]
    fn figures_of_an_inner_tree_count_in_the_outer_tree_too() {
        let (mut outer, mut frames) = (Tree::new(), Vec::new());
        enter(&mut outer, &mut frames, 1, 0);
        let (mut inner, mut inside) = (Tree::new(), Vec::new());
        enter(&mut inner, &mut inside, 2, 10);
        enter(&mut inner, &mut inside, 3, 12);
        inner.clear(&mut inside, 20);
        outer.adopt(&mut frames, &inner);
        outer.leave(&mut frames, 1, 30);
        assert_eq!((sum(&outer, 1), sum(&outer, 2), sum(&outer, 3)), ((1, 20), (1, 2), (1, 8)));
    }

    #[test]
    fn a_full_tree_still_counts_every_call() {
        let (mut tree, mut frames) = (Tree::new(), Vec::new());
        let deep = MOST + 100;
        for at in 0..deep {
            enter(&mut tree, &mut frames, 1 + at % 7, at as u64);
        }
        tree.clear(&mut frames, deep as u64);
        assert!(tree.folded && tree.nodes.len() <= MOST + 7);
        let all: u64 = tree.nodes.iter().map(|node| node.calls).sum();
        assert_eq!(all, deep as u64);
        assert_eq!(tree.nodes.iter().map(|node| node.own).sum::<u64>(), deep as u64);
    }
}
