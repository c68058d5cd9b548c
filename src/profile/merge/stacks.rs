//! Merges the trees of stacks of many profiles.
//!
//! Job: add up nodes with the same callers. Invariant: the merged tree has the order of its frames, in whatever order
//! the profiles came. Neighbours: `places` numbers the files.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::exact::{add, add_micros, micros, seconds};
use super::places::FileId;
use crate::profile::model::{StackFrame, StackNode, Stacks};

/// The number of a file in scope, or of a file out of scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    File(FileId),
    Other(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Frame {
    place: Place,
    function: u32,
    line: u32,
}

/// Numbers of equal values.
#[derive(Debug)]
struct Numbers<T>(FxHashMap<T, u32>, Vec<T>);

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self(FxHashMap::default(), Vec::new())
    }
}

impl<T: Clone + Eq + std::hash::Hash> Numbers<T> {
    fn of(&mut self, value: &T) -> u32 {
        if let Some(&number) = self.0.get(value) {
            return number;
        }
        let number = self.1.len() as u32;
        self.0.insert(value.clone(), number);
        self.1.push(value.clone());
        number
    }
}

#[derive(Debug, Default)]
struct Node {
    parent: Option<u32>,
    frame: u32,
    cpu: u64,
    wall: u64,
    alloc: u64,
    peak: u64,
    samples: u64,
    /// Microseconds by kind: Python, native, system.
    kinds: [u64; 3],
    count: u64,
    live: u64,
}

/// The merged tree.
#[derive(Debug, Default)]
pub(super) struct Tree {
    names: Numbers<String>,
    others: Numbers<String>,
    frames: Numbers<Frame>,
    places: FxHashMap<(Option<u32>, u32), u32>,
    nodes: Vec<Node>,
}

impl Tree {
    /// Adds the stacks of a profile whose files have the numbers `files`. `highest`: the profile has the highest peak.
    pub(super) fn add(&mut self, stacks: &Stacks, files: &[FileId], highest: bool) {
        let mut frames = Vec::with_capacity(stacks.frames.len());
        for frame in &stacks.frames {
            let place = match files.get(frame.file) {
                Some(&file) => Place::File(file),
                None => Place::Other(self.others.of(&stacks.other_files[frame.file - files.len()])),
            };
            let function = self.names.of(&frame.function);
            frames.push(self.frames.of(&Frame { place, function, line: frame.line }));
        }
        let mut places: Vec<u32> = Vec::with_capacity(stacks.nodes.len());
        for node in &stacks.nodes {
            let (parent, frame) = (node.parent.map(|parent| places[parent]), frames[node.frame]);
            let place = *self.places.entry((parent, frame)).or_insert_with(|| {
                self.nodes.push(Node { parent, frame, ..Node::default() });
                self.nodes.len() as u32 - 1
            });
            places.push(place);
            let sum = &mut self.nodes[place as usize];
            add_micros(&mut sum.cpu, micros(node.cpu_s));
            add_micros(&mut sum.wall, micros(node.wall_s));
            add(&mut sum.alloc, node.alloc_bytes);
            add(&mut sum.samples, node.cpu_samples);
            for (sum, s) in sum.kinds.iter_mut().zip([node.python_s, node.native_s, node.system_s]) {
                add_micros(sum, micros(s));
            }
            add(&mut sum.count, node.alloc_count);
            add(&mut sum.live, node.live_bytes);
            if highest {
                add(&mut sum.peak, node.peak_bytes);
            }
        }
    }

    /// Forgets the bytes at a peak that is no longer the highest.
    pub(super) fn forget_peak(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.peak = 0);
    }

    /// The stacks of the merged profile, in which file `id` has the number `files[id]` of `count`.
    pub(super) fn finish(self, files: &[usize], count: usize) -> Stacks {
        let Self { names: Numbers(_, names), others: Numbers(_, others), frames: Numbers(_, frames), nodes, .. } = self;
        let mut other_files: Vec<(String, usize)> =
            others.into_iter().enumerate().map(|(at, path)| (path, at)).collect();
        other_files.sort();
        let mut other_numbers = vec![0; other_files.len()];
        for (number, (_, at)) in other_files.iter().enumerate() {
            other_numbers[*at] = count + number;
        }
        let row = |frame: &Frame| StackFrame {
            file: match frame.place {
                Place::File(id) => files[id],
                Place::Other(at) => other_numbers[at as usize],
            },
            function: names[frame.function as usize].clone(),
            line: frame.line,
        };
        let mut order: Vec<(StackFrame, usize)> = frames.iter().map(row).zip(0..).collect();
        order.sort_by(|(left, _), (right, _)| {
            (left.file, left.line, &left.function).cmp(&(right.file, right.line, &right.function))
        });
        let mut frame_numbers = vec![0; order.len()];
        for (number, (_, at)) in order.iter().enumerate() {
            frame_numbers[*at] = number;
        }
        let mut children: BTreeMap<(Option<u32>, usize), u32> = BTreeMap::new();
        for (at, node) in nodes.iter().enumerate() {
            children.insert((node.parent, frame_numbers[node.frame as usize]), at as u32);
        }
        let below = |parent: Option<u32>| children.range((parent, 0)..=(parent, usize::MAX)).rev();
        let mut rows = Vec::with_capacity(nodes.len());
        let mut open: Vec<(Option<usize>, usize, u32)> =
            below(None).map(|(&(_, frame), &node)| (None, frame, node)).collect();
        while let Some((parent, frame, at)) = open.pop() {
            let node = &nodes[at as usize];
            open.extend(below(Some(at)).map(|(&(_, frame), &node)| (Some(rows.len()), frame, node)));
            rows.push(StackNode {
                parent,
                frame,
                cpu_s: seconds(node.cpu),
                wall_s: seconds(node.wall),
                alloc_bytes: node.alloc,
                peak_bytes: node.peak,
                cpu_samples: node.samples,
                python_s: seconds(node.kinds[0]),
                native_s: seconds(node.kinds[1]),
                system_s: seconds(node.kinds[2]),
                alloc_count: node.count,
                live_bytes: node.live,
            });
        }
        Stacks {
            frames: order.into_iter().map(|(frame, _)| frame).collect(),
            nodes: rows,
            other_files: other_files.into_iter().map(|(path, _)| path).collect(),
            ..Stacks::default()
        }
    }
}
