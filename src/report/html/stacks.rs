//! The tree of stacks, reduced to a size for the flame graph.
//!
//! Job: write the tree as columns. If the tree has very many nodes, fold branches too small to see into their callers.
//! Invariant: sums do not change: the cost of a folded branch becomes its caller's own cost. Neighbour:
//! `assets/flame.js` draws the tree.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use crate::profile::model::Stacks;

use super::cumulative::WithCallees;
use super::digits::{rounded, to_digits};

/// Most nodes with which the page still zooms without delay.
const NODES: usize = 40_000;

/// The JSON of the tree, and the number of folded nodes.
pub(super) fn stacks_json(stacks: &Stacks, subtrees: &[WithCallees]) -> (String, usize) {
    let roots = stacks.nodes.iter().enumerate().filter(|(at, node)| node.parent.is_none_or(|p| p >= *at));
    let (mut wall, mut bytes) = (0.0, 0.0);
    for (at, _) in roots {
        wall += subtrees[at].wall_s;
        bytes += subtrees[at].alloc_bytes as f64;
    }
    let kept = |least: f64| {
        move |sum: &WithCallees| {
            least == 0.0 || sum.wall_s >= wall * least || (bytes > 0.0 && sum.alloc_bytes as f64 >= bytes * least)
        }
    };
    let mut least = 0.0;
    while subtrees.iter().filter(|sum| kept(least)(sum)).count() > NODES {
        least = if least == 0.0 { 1e-6 } else { least * 2.0 };
    }
    let keep = kept(least);
    let mut before = 0;
    let mut place: Vec<Option<usize>> = Vec::with_capacity(stacks.nodes.len());
    let (mut parents, mut frames) = (vec![], vec![]);
    let (mut cpu, mut wall_own, mut alloc, mut peak) = (vec![], vec![], vec![], vec![]);
    for (at, node) in stacks.nodes.iter().enumerate() {
        let parent = node.parent.filter(|&p| p < at);
        let above = parent.and_then(|p| place[p]);
        // Whenever a node is kept, its parent is kept too, because the parent's subtree is at least as large.
        if keep(&subtrees[at]) && (parent.is_none() || above.is_some()) && node.frame < stacks.frames.len() {
            place.push(Some(parents.len()));
            // Store the distance to the parent, and the difference to the previous frame: small numbers deflate well.
            parents.push(above.map_or(0, |above| parents.len() - above));
            frames.push(node.frame as i64 - before);
            before = node.frame as i64;
            cpu.push(node.cpu_s);
            wall_own.push(node.wall_s);
            alloc.push(node.alloc_bytes as f64);
            peak.push(node.peak_bytes as f64);
        } else {
            place.push(above);
            if let Some(up) = above {
                cpu[up] += node.cpu_s;
                wall_own[up] += node.wall_s;
                alloc[up] += node.alloc_bytes as f64;
                peak[up] += node.peak_bytes as f64;
            }
        }
    }
    let folded = stacks.nodes.len() - parents.len();
    let micros = |seconds: Vec<f64>| seconds.into_iter().map(|s| rounded(s * 1e6)).collect::<Vec<i64>>();
    let mut names: Vec<&str> = Vec::new();
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let functions: Vec<usize> = stacks
        .frames
        .iter()
        .map(|frame| {
            *numbers.entry(&frame.function).or_insert_with(|| {
                names.push(&frame.function);
                names.len() - 1
            })
        })
        .collect();
    let files: Vec<usize> = stacks.frames.iter().map(|frame| frame.file).collect();
    let lines: Vec<u32> = stacks.frames.iter().map(|frame| frame.line).collect();
    let whole = |bytes: Vec<f64>| bytes.into_iter().map(rounded).collect::<Vec<i64>>();
    let (alloc, peak) = (whole(alloc), whole(peak));
    let value = json!({"names": names, "functions": functions, "files": files, "lines": lines, "other": stacks.other_files, "p": parents, "f": frames,
        "c": micros(cpu), "w": micros(wall_own), "a": alloc, "k": peak,
        "threads": shares(stacks.by_thread.iter().map(|s| (s.node, s.thread, [s.wall_s * 1e6, s.cpu_s * 1e6, s.alloc_bytes as f64, 0.0])), &place),
        "processes": shares(stacks.by_process.iter().map(|s| (s.node, s.process, [s.wall_s * 1e6, s.cpu_s * 1e6, s.alloc_bytes as f64, s.peak_bytes as f64])), &place)});
    (value.to_string(), folded)
}

/// Shares of threads or processes in the kept nodes, as columns: distance to the node of the previous row, index of the
/// thread or process, then time, CPU time, bytes allocated and bytes at the peak. Three digits are enough: there are
/// many shares, and the page only draws their sums.
fn shares(all: impl Iterator<Item = (usize, usize, [f64; 4])>, place: &[Option<usize>]) -> Value {
    let mut merged: BTreeMap<(usize, usize), [f64; 4]> = BTreeMap::new();
    for (node, of, figures) in all {
        let Some(&Some(node)) = place.get(node) else { continue };
        let sums = merged.entry((node, of)).or_default();
        sums.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
    }
    let mut before = 0;
    let mut nodes = Vec::with_capacity(merged.len());
    for (node, _) in merged.keys() {
        nodes.push(node - before);
        before = *node;
    }
    let of: Vec<usize> = merged.keys().map(|(_, of)| *of).collect();
    let figures = [0, 1, 2, 3].map(|at| merged.values().map(|figures| to_digits(3, figures[at])).collect::<Vec<i64>>());
    json!({"n": nodes, "of": of, "w": figures[0], "c": figures[1], "a": figures[2], "k": figures[3]})
}

#[cfg(test)]
mod tests {
    use super::super::cumulative::subtrees;
    use super::*;
    use crate::profile::model::{StackFrame, StackNode};

    #[test]
    fn folding_keeps_the_sum() {
        let mut stacks = Stacks { frames: vec![StackFrame::default()], ..Stacks::default() };
        stacks.nodes.push(StackNode { wall_s: 1000.0, ..StackNode::default() });
        for _ in 0..NODES + 5 {
            stacks.nodes.push(StackNode { parent: Some(0), wall_s: 1e-4, ..StackNode::default() });
        }
        let (json, folded) = stacks_json(&stacks, &subtrees(&stacks));
        assert_eq!(folded, NODES + 5);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["w"], json!([1_004_000_000_u64]));
    }
}
