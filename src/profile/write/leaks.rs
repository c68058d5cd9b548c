//! Leaks: from lines that grow to the list of the report.
//!
//! Job: name the lines and omit imports: a module is loaded once, and its code and tables grow until the import ends.
//! Invariant: highest confidence first. Neighbours: `build::leaks` judges the growth, `lines` has the files.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::lines::{Files, LineKey};
use crate::profile::book::Book;
use crate::profile::book::intern::{FrameId, Names};
use crate::profile::book::tree::Tree;
use crate::profile::model::Leak;

/// Beginning of the paths of frames that import modules.
const IMPORT_MACHINERY: &str = "<frozen importlib._bootstrap";

/// The growing lines, highest confidence first.
pub(crate) fn leaks(names: &Names, book: &Book, tree: &Tree, files: &Files) -> Vec<Leak> {
    let importing = importing(names, book, tree);
    let mut found: BTreeMap<LineKey, Leak> = BTreeMap::new();
    for growth in book.growing.iter().filter(|growth| !importing.contains(&growth.owner)) {
        let frame = names.frame_at(growth.owner);
        let Some(&file) = files.index.get(&names.function_name(frame.function).file.0) else { continue };
        let line = files.files[file].lines.iter().find(|line| line.line == frame.line);
        let live_bytes = line.and_then(|line| line.memory.live_bytes).unwrap_or(0);
        let leak = found.entry((file, frame.line)).or_insert(Leak { file, line: frame.line, ..Leak::default() });
        leak.live_bytes = live_bytes;
        leak.bytes_per_s += growth.bytes_per_s;
        leak.confidence = leak.confidence.max(growth.confidence);
    }
    let mut leaks: Vec<Leak> = found.into_values().collect();
    leaks.sort_by(|left, right| {
        right.confidence.total_cmp(&left.confidence).then(right.bytes_per_s.total_cmp(&left.bytes_per_s))
    });
    leaks
}

/// The growing lines that allocated more than half of their bytes during the import of a module.
fn importing(names: &Names, book: &Book, tree: &Tree) -> FxHashSet<FrameId> {
    let growing: FxHashSet<FrameId> = book.growing.iter().map(|growth| growth.owner).collect();
    let mut bytes: FxHashMap<FrameId, (f64, f64)> = FxHashMap::default();
    if growing.is_empty() {
        return growing;
    }
    let nodes = tree.nodes();
    for (at, sums) in book.nodes.iter().enumerate().filter(|(_, sums)| sums.alloc > 0.0) {
        let mut imports = false;
        let mut node = Some(at);
        while let Some((parent, frame)) = node.and_then(|node| nodes.get(node)) {
            if growing.contains(frame) {
                let (all, importing) = bytes.entry(*frame).or_default();
                *all += sums.alloc;
                *importing += if imports { sums.alloc } else { 0.0 };
            }
            if names.in_scope(*frame) {
                break;
            }
            let function = names.function_name(names.frame_at(*frame).function);
            imports |= names.path(function.file).starts_with(IMPORT_MACHINERY);
            node = parent.index();
        }
    }
    bytes.into_iter().filter(|(_, (all, importing))| *importing > 0.5 * all).map(|(owner, _)| owner).collect()
}
