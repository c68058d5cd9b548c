//! CPU time and allocations by module: the user's files individually, libraries by package.
//!
//! Job: show which package takes the time before a reader looks at lines. Invariants: the own figures of all modules
//! add up to the tree of stacks; a total counts each stack once, even if the module is on the stack several times.
//! Neighbours: `report::tree` names packages, `table::modules` and the page list the rows.

use std::collections::HashMap;

use super::export::walk::path;
use super::tree::package;
use crate::profile::model::Profile;

/// A file of the user, or a package of a library.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Module {
    /// Path of the file, or the package's name.
    pub(crate) name: String,
    /// Whether the module is a package of a library.
    pub(crate) library: bool,
    /// CPU seconds in the module's own code.
    pub(crate) own_s: f64,
    /// CPU seconds in the module's own code and in all callees.
    pub(crate) total_s: f64,
    /// Bytes allocated in the module's own code.
    pub(crate) alloc_bytes: u64,
}

/// All modules, in descending order of own CPU time.
pub(crate) fn modules(profile: &Profile) -> Vec<Module> {
    let stacks = &profile.stacks;
    let mut rows: Vec<Module> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    let row_of: Vec<usize> = (0..profile.files.len() + stacks.other_files.len())
        .map(|file| {
            let library = file >= profile.files.len();
            let frame = crate::profile::model::StackFrame { file, ..Default::default() };
            let path = path(profile, &frame);
            let name = if library { package(path) } else { path };
            *known.entry(name).or_insert_with(|| {
                rows.push(Module { name: name.to_owned(), library, ..Module::default() });
                rows.len() - 1
            })
        })
        .collect();
    let mut totals: Vec<f64> = stacks.nodes.iter().map(|node| node.cpu_s).collect();
    for at in (0..stacks.nodes.len()).rev() {
        if let Some(parent) = stacks.nodes[at].parent {
            totals[parent] += totals[at];
        }
    }
    let row = |at: usize| stacks.frames.get(stacks.nodes[at].frame).and_then(|frame| row_of.get(frame.file)).copied();
    for (at, node) in stacks.nodes.iter().enumerate() {
        let Some(own) = row(at) else { continue };
        rows[own].own_s += node.cpu_s;
        rows[own].alloc_bytes = rows[own].alloc_bytes.saturating_add(node.alloc_bytes);
        // Only the outermost node of a module adds to the module's total: its weight includes all nodes below.
        let mut above = node.parent;
        while let Some(caller) = above {
            if row(caller) == Some(own) {
                break;
            }
            above = stacks.nodes[caller].parent;
        }
        if above.is_none() {
            rows[own].total_s += totals[at];
        }
    }
    // A file without lines only called code out of scope.
    let bare: Vec<&str> =
        profile.files.iter().filter(|file| file.lines.is_empty()).map(|file| file.path.as_str()).collect();
    rows.retain(|module| {
        (module.total_s > 0.0 || module.alloc_bytes > 0) && (module.library || !bare.contains(&module.name.as_str()))
    });
    rows.sort_by(|a, b| {
        b.own_s.total_cmp(&a.own_s).then(b.total_s.total_cmp(&a.total_s)).then_with(|| a.name.cmp(&b.name))
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::{File, StackFrame, StackNode};

    #[test]
    fn a_module_that_is_twice_on_a_stack_counts_once() {
        let mut profile = Profile::default();
        profile.files.push(File { path: "/w/app.py".into(), lines: vec![Default::default()], ..File::default() });
        profile.stacks.other_files = vec!["/l/python3.12/json/a.py".into(), "/l/python3.12/json/b.py".into()];
        profile.stacks.frames = (0..3).map(|file| StackFrame { file, ..StackFrame::default() }).collect();
        let node = |parent, frame, cpu_s| StackNode { parent, frame, cpu_s, alloc_bytes: 1, ..StackNode::default() };
        profile.stacks.nodes =
            vec![node(None, 0, 1.0), node(Some(0), 1, 2.0), node(Some(1), 2, 4.0), node(Some(2), 0, 8.0)];
        let rows = modules(&profile);
        let row =
            |name: &str| rows.iter().find(|row| row.name == name).map(|row| (row.own_s, row.total_s, row.alloc_bytes));
        assert_eq!(row("/w/app.py"), Some((9.0, 15.0, 2)));
        assert_eq!(row("json"), Some((6.0, 14.0, 2)));
    }
}
