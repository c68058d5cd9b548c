//! The part of labels in the samples of stacks.
//!
//! Job: divide each stack between the labels, as the line is divided whose time the stack is. Invariant: the parts of a
//! label add up to its figures of the line, and parts of a stack never exceed the stack; how a label divides between
//! the stacks of a line is an estimate. Neighbour: `pprof` writes a sample for each part.

use std::collections::HashMap;

use crate::profile::model::{Profile, StackNode};

/// A label by number, and its part of the CPU time and of the bytes of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) label: usize,
    pub(super) cpu: f64,
    pub(super) alloc: f64,
}

/// A line by file and number.
type Place = (usize, u32);

/// The parts of each line that bears labels.
pub(super) struct Parts {
    lines: HashMap<Place, Vec<Part>>,
    /// The innermost frame in scope of each node.
    owners: Vec<Option<Place>>,
}

impl Parts {
    pub(super) fn new(profile: &Profile) -> Self {
        let mut lines: HashMap<Place, Vec<Part>> = HashMap::new();
        if profile.labels.is_empty() {
            return Self { lines, owners: Vec::new() };
        }
        let owners = owners(profile);
        let mut sums: HashMap<Place, (f64, f64)> = HashMap::new();
        for (node, owner) in profile.stacks.nodes.iter().zip(&owners) {
            if let Some(owner) = owner {
                let sum = sums.entry(*owner).or_default();
                *sum = (sum.0 + node.cpu_s, sum.1 + node.alloc_bytes as f64);
            }
        }
        for (label, row) in profile.labels.iter().enumerate() {
            for line in &row.lines {
                let place = (line.file, line.line);
                let (cpu, alloc) = sums.get(&place).copied().unwrap_or_default();
                let part = |own: f64, all: f64| if all > 0.0 { (own / all).clamp(0.0, 1.0) } else { 0.0 };
                let (cpu_s, bytes) = (line.cpu_s.unwrap_or(0.0), line.alloc_bytes.unwrap_or(0) as f64);
                let part = Part { label, cpu: part(cpu_s, cpu), alloc: part(bytes, alloc) };
                lines.entry(place).or_default().push(part);
            }
        }
        lines.values_mut().for_each(|parts| fit(parts));
        Self { lines, owners }
    }

    /// The parts of a node.
    pub(super) fn of(&self, node: usize) -> &[Part] {
        let owner = self.owners.get(node).copied().flatten();
        owner.and_then(|owner| self.lines.get(&owner)).map_or(&[], Vec::as_slice)
    }
}

/// Together at most the whole, whatever rounding did.
fn fit(parts: &mut [Part]) {
    let sum = |of: fn(&Part) -> f64| parts.iter().map(of).sum::<f64>().max(1.0);
    let (cpu, alloc) = (sum(|part| part.cpu), sum(|part| part.alloc));
    for part in parts {
        (part.cpu, part.alloc) = (part.cpu / cpu, part.alloc / alloc);
    }
}

fn owners(profile: &Profile) -> Vec<Option<Place>> {
    let mut owners: Vec<Option<Place>> = Vec::with_capacity(profile.stacks.nodes.len());
    for StackNode { parent, frame, .. } in &profile.stacks.nodes {
        let frame = &profile.stacks.frames[*frame];
        let above = parent.and_then(|parent| owners[parent]);
        owners.push(if frame.file < profile.files.len() { Some((frame.file, frame.line)) } else { above });
    }
    owners
}
