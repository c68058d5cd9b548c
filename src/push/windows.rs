//! Makes windows: the difference between a running profile and the windows before.
//!
//! Job: subtract the contents of earlier windows from a profile so far, in place. Invariants: the windows of a stack
//! add up to its figures in the last profile; no figure is below 0; memory is bounded by the number of distinct stacks,
//! threads and labelled lines. Neighbours: [`super::pusher`] asks for windows, `report::export::pprof` writes them.
//!
//! A figure of a later profile may be a little smaller than before, because CPU seconds are samples scaled to a clock.
//! The window then has 0, and later windows have less, until the sum is right again.

use std::collections::BTreeMap;
use std::hash::Hash;

use rustc_hash::FxHashMap;

use crate::profile::model::{Profile, StackNode};

/// Sums over earlier windows. Seconds: CPU, wall, and the kinds python, native and system. Amounts: bytes and blocks.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    seconds: [f64; 5],
    amounts: [u64; 2],
}

impl Sent {
    /// Subtracts the sums of earlier windows from the figures, and adds the differences to the sums.
    fn reduce(&mut self, seconds: [&mut f64; 5], amounts: [&mut u64; 2]) {
        for (sent, now) in self.seconds.iter_mut().zip(seconds) {
            let gained = (*now - *sent).max(0.0);
            *sent += gained;
            *now = gained;
        }
        for (sent, now) in self.amounts.iter_mut().zip(amounts) {
            let gained = now.saturating_sub(*sent);
            *sent += gained;
            *now = gained;
        }
    }
}

/// Gives each distinct value a number.
#[derive(Debug)]
struct Numbers<T>(FxHashMap<T, u32>);

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self(FxHashMap::default())
    }
}

impl<T: Eq + Hash> Numbers<T> {
    fn of(&mut self, value: T) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(value).or_insert(next)
    }
}

/// A file by path, a function by name, and a line.
type Frame = (String, String, u32);
/// A label, and one of its lines by path and number.
type LabelLine = (BTreeMap<String, String>, String, u32);

/// The contents of all windows so far.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    frames: Numbers<Frame>,
    /// Numbers of stacks. A stack is the number of its caller's stack (`u32::MAX`: none) and the number of its frame.
    stacks: Numbers<(u32, u32)>,
    sent: FxHashMap<u32, Sent>,
    /// By number of the stack, process id and thread id.
    threads: FxHashMap<(u32, u32, u32), Sent>,
    labels: FxHashMap<LabelLine, Sent>,
}

impl Windows {
    /// Reduces a profile so far to a window. Returns false if the window is empty. Live bytes stay as they are.
    pub(crate) fn reduce(&mut self, profile: &mut Profile) -> bool {
        self.reduce_labels(profile);
        let files = profile.files.iter().map(|file| &file.path);
        let files: Vec<&String> = files.chain(&profile.stacks.other_files).collect();
        let frame = |number: &usize| {
            let frame = &profile.stacks.frames[*number];
            (files[frame.file].clone(), frame.function.clone(), frame.line)
        };
        let frames: Vec<u32> = (0..profile.stacks.frames.len()).map(|at| self.frames.of(frame(&at))).collect();
        let mut numbers: Vec<u32> = Vec::with_capacity(profile.stacks.nodes.len());
        let mut any = false;
        for node in &mut profile.stacks.nodes {
            let caller = node.parent.map_or(u32::MAX, |parent| numbers[parent]);
            let number = self.stacks.of((caller, frames[node.frame]));
            numbers.push(number);
            let StackNode { cpu_s, wall_s, python_s, native_s, system_s, alloc_bytes, alloc_count, .. } = node;
            let sent = self.sent.entry(number).or_default();
            sent.reduce([cpu_s, wall_s, python_s, native_s, system_s], [alloc_bytes, alloc_count]);
            any |= node.wall_s > 0.0 || node.alloc_bytes > 0;
            node.cpu_samples = 0;
        }
        let threads = &profile.threads;
        for share in &mut profile.stacks.by_thread {
            let Some(thread) = threads.get(share.thread) else { continue };
            let sent = self.threads.entry((numbers[share.node], thread.pid, thread.tid)).or_default();
            let (mut rest, mut blocks) = ([0.0; 3], 0);
            let [python, native, system] = &mut rest;
            sent.reduce(
                [&mut share.cpu_s, &mut share.wall_s, python, native, system],
                [&mut share.alloc_bytes, &mut blocks],
            );
        }
        any
    }

    fn reduce_labels(&mut self, profile: &mut Profile) {
        let files = &profile.files;
        for label in &mut profile.labels {
            for line in &mut label.lines {
                let Some(file) = files.get(line.file) else { continue };
                let sent = self.labels.entry((label.labels.clone(), file.path.clone(), line.line)).or_default();
                let (mut cpu_s, mut bytes) = (line.cpu_s.unwrap_or(0.0), line.alloc_bytes.unwrap_or(0));
                let (mut rest, mut blocks) = ([0.0; 4], 0);
                let [wall, python, native, system] = &mut rest;
                sent.reduce([&mut cpu_s, wall, python, native, system], [&mut bytes, &mut blocks]);
                (line.cpu_s, line.alloc_bytes) = (line.cpu_s.map(|_| cpu_s), line.alloc_bytes.map(|_| bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::{StackFrame, Stacks};

    fn profile(cpu_s: &[f64], alloc_bytes: u64) -> Profile {
        let frame = |line| StackFrame { file: 0, function: "f".into(), line };
        let node = |(at, cpu_s): (usize, &f64)| StackNode {
            parent: at.checked_sub(1),
            frame: at,
            cpu_s: *cpu_s,
            wall_s: *cpu_s,
            alloc_bytes,
            live_bytes: 7,
            ..StackNode::default()
        };
        let stacks = Stacks {
            frames: (0..cpu_s.len()).map(|at| frame(at as u32)).collect(),
            nodes: cpu_s.iter().enumerate().map(node).collect(),
            other_files: vec!["/a.py".into()],
            ..Stacks::default()
        };
        Profile { stacks, ..Profile::default() }
    }

    #[test]
    fn windows_add_up_to_the_last_profile_though_figures_waver() {
        let mut windows = Windows::default();
        let mut sum = [0.0; 3];
        let mut bytes = 0;
        for (cpu_s, alloc) in [(&[1.0, 2.0][..], 5), (&[0.9, 4.0, 1.0], 9), (&[1.5, 4.0, 1.5], 9)] {
            let mut window = profile(cpu_s, alloc);
            assert!(windows.reduce(&mut window));
            assert!(window.stacks.nodes.iter().all(|node| node.cpu_s >= 0.0 && node.live_bytes == 7));
            sum.iter_mut().zip(&window.stacks.nodes).for_each(|(sum, node)| *sum += node.cpu_s);
            bytes += window.stacks.nodes[0].alloc_bytes;
        }
        assert!(sum.iter().zip([1.5, 4.0, 1.5]).all(|(sum, whole)| (sum - whole).abs() < 1e-9), "{sum:?}");
        assert_eq!(bytes, 9);
        assert!(!windows.reduce(&mut profile(&[1.5, 4.0, 1.5], 9)), "nothing is new");
    }
}
