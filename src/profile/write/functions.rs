//! Functions: own figures, and figures with callees.
//!
//! Job: sum lines by function, and stacks by every function on them. Invariant: a function that is on a stack several
//! times (recursion) counts the stack once. Neighbours: `lines` has the files to fill, `stacks` the tree.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::lines::{Files, Known};
use crate::profile::book::Book;
use crate::profile::book::intern::{FrameId, FunctionId, Names};
use crate::profile::book::sums::{Amount, NodeSums, Sums, sorted};
use crate::profile::book::tree::Tree;
use crate::profile::model::{Cumulative, Function};

/// Fills the functions of the files.
pub(crate) fn fill(
    files: &mut Files,
    names: &Names,
    with_callees: &[NodeSums],
    totals: &FxHashMap<FrameId, Sums>,
    known: Known,
) {
    let mut own: BTreeMap<FunctionId, Amount> = BTreeMap::new();
    for (owner, sums) in sorted(totals).into_iter().filter(|(owner, _)| owner.some().is_some()) {
        own.entry(names.frame_at(owner).function).or_default().add(&sums.time);
    }
    for (number, sums) in with_callees.iter().enumerate() {
        let id = FunctionId(number as u32);
        let name = names.function_name(id);
        let Some(&file) = files.index.get(&name.file.0).filter(|_| name.may_own) else { continue };
        if !own.contains_key(&id) && *sums == NodeSums::default() {
            continue;
        }
        files.files[file].functions.push(Function {
            name: name.qualname.rsplit('.').next().unwrap_or_default().to_owned(),
            qualname: name.qualname.to_string(),
            first_line: name.first_line,
            last_line: name.last_line,
            own: known.time(&own.get(&id).copied().unwrap_or_default()),
            cpu_s_se: own.get(&id).and_then(|own| known.cpu_error(own)),
            cumulative: Cumulative {
                cpu_s: known.cpu.then_some(sums.cpu_s),
                wall_s: (known.cpu || known.wait).then_some(sums.cpu_s + sums.wait_s),
                alloc_bytes: known.memory.then_some(sums.alloc.max(0.0).round() as u64),
            },
        });
    }
    for file in &mut files.files {
        file.functions.sort_by(|left, right| {
            (left.first_line, left.last_line, &left.qualname).cmp(&(right.first_line, right.last_line, &right.qualname))
        });
    }
}

/// The sums of each node with all nodes below.
pub(crate) fn subtrees(book: &Book, tree: &Tree) -> Vec<NodeSums> {
    let nodes = tree.nodes();
    let mut sums = book.nodes.clone();
    sums.resize(nodes.len(), NodeSums::default());
    // Children have larger numbers than their parents, so in reverse order every node is complete before it is added.
    for node in (0..nodes.len()).rev() {
        if let Some(parent) = nodes[node].0.index() {
            let child = sums[node];
            sums[parent].add(&child);
        }
    }
    sums
}

/// The functions in scope with any cost, own or of callees, to which time can belong.
pub(crate) fn listed(names: &Names, with_callees: &[NodeSums]) -> impl Iterator<Item = FunctionId> {
    (0..names.function_count())
        .filter(|&number| with_callees[number] != NodeSums::default())
        .map(|number| FunctionId(number as u32))
        .filter(|&id| names.function_name(id).may_own)
}

/// For every function, the sums of the subtrees in which the function is outermost.
pub(crate) fn cumulative(names: &Names, book: &Book, tree: &Tree) -> Vec<NodeSums> {
    let nodes = tree.nodes();
    let subtrees = subtrees(book, tree);
    let mut children: Vec<Vec<u32>> = vec![Vec::new(); nodes.len()];
    let mut roots = Vec::new();
    for (node, (parent, _)) in nodes.iter().enumerate() {
        match parent.index() {
            Some(parent) => children[parent].push(node as u32),
            None => roots.push(node as u32),
        }
    }
    let mut sums = vec![NodeSums::default(); names.function_count()];
    let mut depth = vec![0u32; names.function_count()];
    // The loop meets each node twice: on the way down, and (marked) on the way up.
    let mut path: Vec<(u32, bool)> = roots.into_iter().map(|root| (root, false)).collect();
    while let Some((node, done)) = path.pop() {
        let function = names.frame_at(nodes[node as usize].1).function.0 as usize;
        if done {
            depth[function] -= 1;
            continue;
        }
        if depth[function] == 0 {
            sums[function].add(&subtrees[node as usize]);
        }
        depth[function] += 1;
        path.push((node, true));
        path.extend(children[node as usize].iter().map(|&child| (child, false)));
    }
    sums
}
