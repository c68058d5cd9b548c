//! The walk over all stacks of a profile, with a weight.
//!
//! Invariant: every node with a weight is visited once, with its frames from the outermost on. Neighbours: each format
//! of [`super`].

use crate::profile::model::{Profile, StackFrame, StackNode};

/// The weight of stacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    /// CPU seconds.
    #[default]
    Cpu,
    /// CPU and off-CPU seconds.
    Wall,
    /// Bytes allocated.
    Alloc,
    /// Bytes live at the peak.
    Peak,
    /// Bytes live at the end.
    Live,
}

impl Weight {
    /// All weights, in the order of help texts.
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Wall, Self::Alloc, Self::Peak, Self::Live];

    /// Name of the weight on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Alloc => "alloc",
            Self::Peak => "peak",
            Self::Live => "live",
        }
    }

    /// The weight called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|weight| weight.name() == name)
    }

    /// The own weight of a node, in seconds or bytes.
    pub(in crate::report) fn of(self, node: &StackNode) -> f64 {
        match self {
            Self::Cpu => node.cpu_s,
            Self::Wall => node.wall_s,
            Self::Alloc => node.alloc_bytes as f64,
            Self::Peak => node.peak_bytes as f64,
            Self::Live => node.live_bytes as f64,
        }
    }
}

/// The path of a frame's file.
pub(in crate::report) fn path<'p>(profile: &'p Profile, frame: &StackFrame) -> &'p str {
    let inside = profile.files.get(frame.file).map(|file| file.path.as_str());
    let outside = || profile.stacks.other_files.get(frame.file.checked_sub(profile.files.len())?).map(String::as_str);
    inside.or_else(outside).unwrap_or("?")
}

/// Calls `visit` for every node with a weight: the frames from the outermost on, and the weight.
pub(in crate::report) fn each_stack(profile: &Profile, weight: Weight, mut visit: impl FnMut(&[usize], f64)) {
    let nodes = &profile.stacks.nodes;
    let mut frames = Vec::new();
    for node in nodes {
        let own = weight.of(node);
        if own <= 0.0 {
            continue;
        }
        frames.clear();
        let mut at = Some(node);
        while let Some(node) = at {
            frames.push(node.frame);
            at = node.parent.and_then(|parent| nodes.get(parent));
        }
        frames.reverse();
        visit(&frames, own);
    }
}
