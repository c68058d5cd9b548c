//! The tree of calls by function, with runs of library frames folded into one row each.
//!
//! Job: turn the tree of stacks, whose nodes are lines, into the tree that a reader wants to see: the user's functions
//! in full, each run of library frames as one node that names its package. Invariants: the own weights of all nodes add
//! up to the tree of stacks; a function that calls itself is one node. Neighbours: `profile::model::Stacks` is the
//! input, `table::tree` draws.

use std::collections::HashMap;

use super::export::walk::{Weight, path};
use crate::profile::model::Profile;

/// A function, or a run of library frames.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// Qualified name of the function.
    pub(crate) function: String,
    /// Path of its file; for a run of library frames, the file of the first frame.
    pub(crate) path: String,
    /// The line of this function through which most weight passed.
    pub(crate) line: u32,
    /// Number of library frames in this node; 0 for a function of the user.
    pub(crate) folded: usize,
    /// Weight of the node itself, in seconds or bytes.
    pub(crate) own: f64,
    /// Weight of the node and everything below.
    pub(crate) total: f64,
    /// Callees, heaviest first.
    pub(crate) calls: Vec<Call>,
}

/// Deeper calls count for their caller at this depth, so that a hostile profile cannot overflow the stack.
const DEEPEST: usize = 200;

#[derive(PartialEq, Eq, Hash)]
struct Key {
    parent: Option<usize>,
    file: usize,
    function: String,
}

#[derive(Default)]
struct Made {
    call: Call,
    parent: Option<usize>,
    file: usize,
    library: bool,
    depth: usize,
    lines: HashMap<u32, f64>,
    frames: HashMap<(usize, String), ()>,
}

/// The outermost calls of `profile`, heaviest first.
pub(crate) fn calls(profile: &Profile, weight: Weight) -> Vec<Call> {
    let stacks = &profile.stacks;
    let mut totals: Vec<f64> = stacks.nodes.iter().map(|node| weight.of(node)).collect();
    // Add up from the end, because a caller's index is smaller than its callees'.
    for at in (0..stacks.nodes.len()).rev() {
        if let Some(parent) = stacks.nodes[at].parent {
            totals[parent] += totals[at];
        }
    }
    let mut made: Vec<Made> = Vec::new();
    let mut known: HashMap<Key, usize> = HashMap::new();
    // Index of the call to which each node of the stacks belongs.
    let mut home: Vec<usize> = Vec::with_capacity(stacks.nodes.len());
    for (at, node) in stacks.nodes.iter().enumerate() {
        let Some(frame) = stacks.frames.get(node.frame) else { return Vec::new() };
        let library = frame.file >= profile.files.len();
        let caller = node.parent.map(|parent| home[parent]);
        let joins = caller.filter(|caller| {
            let caller = &made[*caller];
            let same = caller.file == frame.file && caller.call.function == frame.function;
            caller.depth >= DEEPEST || (caller.library == library && (library || same))
        });
        let call = joins.unwrap_or_else(|| {
            let key = Key { parent: caller, file: frame.file, function: frame.function.clone() };
            *known.entry(key).or_insert_with(|| {
                let call =
                    Call { function: frame.function.clone(), path: path(profile, frame).to_owned(), ..Call::default() };
                let depth = caller.map_or(0, |caller| made[caller].depth + 1);
                made.push(Made { call, parent: caller, file: frame.file, library, depth, ..Made::default() });
                made.len() - 1
            })
        });
        home.push(call);
        let entry = &mut made[call];
        entry.call.own += weight.of(node);
        if joins.is_none() {
            *entry.lines.entry(frame.line).or_default() += totals[at];
        }
        if library {
            entry.frames.insert((frame.file, frame.function.clone()), ());
        }
    }
    nest(made)
}

/// Turns a list of calls with the index of their caller into a tree of calls with their callees.
fn nest(made: Vec<Made>) -> Vec<Call> {
    let mut outermost = Vec::new();
    let mut parents = Vec::with_capacity(made.len());
    let mut calls: Vec<Option<Call>> = Vec::with_capacity(made.len());
    for entry in made {
        let heaviest = entry.lines.into_iter().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        let line = heaviest.map_or(0, |(line, _)| line);
        let folded = if entry.library { entry.frames.len() } else { 0 };
        parents.push(entry.parent);
        calls.push(Some(Call { line, folded, total: entry.call.own, ..entry.call }));
    }
    for at in (0..calls.len()).rev() {
        let Some(mut call) = calls[at].take() else { continue };
        call.calls.sort_by(|a, b| b.total.total_cmp(&a.total).then_with(|| a.function.cmp(&b.function)));
        match parents[at].and_then(|parent| calls[parent].as_mut()) {
            Some(parent) => {
                parent.total += call.total;
                parent.calls.push(call);
            }
            None => outermost.push(call),
        }
    }
    outermost.sort_by(|a, b| b.total.total_cmp(&a.total).then_with(|| a.function.cmp(&b.function)));
    outermost
}

/// The package of a library's file: the folder below `site-packages` or the standard library, e.g. `numpy` for
/// `/usr/lib/python3/dist-packages/numpy/core/x.py` and `json` for `/usr/lib/python3.12/json/decoder.py`.
pub(crate) fn package(path: &str) -> &str {
    // Modules frozen into the interpreter: `<frozen importlib._bootstrap>` is `importlib`.
    if let Some(module) = path.strip_prefix("<frozen ").and_then(|rest| rest.strip_suffix('>')) {
        return module.split('.').next().unwrap_or(module);
    }
    let below =
        ["/site-packages/", "/dist-packages/"].iter().find_map(|mark| path.rsplit_once(mark)).map(|(_, rest)| rest);
    let standard = || {
        let (at, _) = path.match_indices("/python3.").last()?;
        path[at + 1..].split_once('/').map(|(_, rest)| rest)
    };
    let rest = below.or_else(standard).unwrap_or_else(|| path.rsplit('/').next().unwrap_or(path));
    let first = rest.split('/').next().unwrap_or(rest);
    first.strip_suffix(".py").unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::{File, StackFrame, StackNode};

    fn profile(nodes: &[(Option<usize>, usize, f64)]) -> Profile {
        let frame = |file, function: &str, line| StackFrame { file, function: function.into(), line };
        let mut profile = Profile::default();
        profile.files.push(File { path: "/w/app.py".into(), ..File::default() });
        profile.stacks.other_files =
            vec!["/usr/lib/python3.12/json/__init__.py".into(), "/usr/lib/python3.12/re/__init__.py".into()];
        profile.stacks.frames = vec![
            frame(0, "main", 3),
            frame(0, "main", 4),
            frame(0, "f", 9),
            frame(1, "dumps", 200),
            frame(2, "sub", 50),
        ];
        profile.stacks.nodes = nodes
            .iter()
            .map(|(parent, frame, cpu_s)| StackNode {
                parent: *parent,
                frame: *frame,
                cpu_s: *cpu_s,
                ..StackNode::default()
            })
            .collect();
        profile
    }

    #[test]
    fn lines_of_a_function_are_one_call_and_library_frames_fold() {
        // main:3 -> dumps -> sub -> f; main:4 -> dumps; f calls itself.
        let nodes = [
            (None, 0, 0.5),
            (Some(0), 3, 1.0),
            (Some(1), 4, 2.0),
            (Some(2), 2, 4.0),
            (Some(3), 2, 8.0),
            (None, 1, 0.25),
            (Some(5), 3, 16.0),
        ];
        let calls = calls(&profile(&nodes), Weight::Cpu);
        assert_eq!(calls.len(), 1);
        let main = &calls[0];
        assert_eq!((main.function.as_str(), main.line, main.own, main.total), ("main", 4, 0.75, 31.75));
        assert_eq!(main.calls.len(), 1);
        let library = &main.calls[0];
        assert_eq!((library.function.as_str(), library.folded, library.own), ("dumps", 2, 19.0));
        let f = &library.calls[0];
        assert_eq!((f.function.as_str(), f.folded, f.own, f.calls.len()), ("f", 0, 12.0, 0));
    }

    #[test]
    fn a_deep_tree_keeps_its_sum() {
        let nodes: Vec<_> = (0..5000).map(|i: usize| (i.checked_sub(1), [0, 3, 2][i % 3], 1.0)).collect();
        let calls = calls(&profile(&nodes), Weight::Cpu);
        assert!((calls[0].total - 5000.0).abs() < 1e-9);
    }

    #[test]
    fn packages_are_named_by_the_folder_below_the_libraries() {
        for (path, name) in [
            ("/v/lib/python3.11/site-packages/numpy/core/x.py", "numpy"),
            ("/v/lib/python3.11/site-packages/six.py", "six"),
            ("/usr/lib/python3/dist-packages/yaml/a.py", "yaml"),
            ("/usr/lib/python3.12/json/decoder.py", "json"),
            ("/usr/lib/python3.12/re.py", "re"),
            ("<frozen runpy>", "runpy"),
            ("<frozen importlib._bootstrap>", "importlib"),
            ("<string>", "<string>"),
        ] {
            assert_eq!(package(path), name);
        }
    }
}
