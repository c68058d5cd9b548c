//! The line map of a Jinja2 template.
//!
//! Job: Jinja2 compiles a template to Python code with the template's file name and with lines of its own. The code's
//! globals hold the map from these lines to lines of the template: the string `debug_info`, for example `1=12&7=20`
//! (template line 1 is code line 12). This file finds the string for a frame. Invariants: only code whose file name
//! does not end like a Python file's is asked, and at most [`MOST_NAMES`] names of its globals. Neighbours: `dict`
//! searches, `text` reads the header of the string. Callers: the shim and the launcher's observer, when they define a
//! code object; `transport::template_lines` in the launcher applies the map.

use crate::dict;
use crate::fields::Layout;
use crate::memory::{Memory, at};
use crate::text::{shape, text};

/// Most names of a frame's globals among which the map is searched. Jinja2 makes some twenty, and one for each macro
/// and import of the template.
const MOST_NAMES: u64 = 512;
/// Most bytes of a map: a template of some 8,000 lines.
const MOST_BYTES: u64 = 64 * 1024;
/// Bytes at the end of a file name that decide whether the file may be a template.
const ENDING: usize = 4;

/// The place of a template's line map in memory, as ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateMap {
    /// Address of the first byte.
    pub address: u64,
    /// Number of bytes; 0 while the template's own module runs, because the map does not exist yet.
    pub bytes: u32,
}

/// Finds the line map of the template whose code, with file name `filename`, runs in the frame at `frame`. `None` if
/// the code belongs to no template of Jinja2.
pub fn template_map<M: Memory>(mem: &M, layout: &Layout, frame: u64, filename: &[u8]) -> Option<TemplateMap> {
    if frame == 0 || filename.first() == Some(&b'<') || is_python(filename) {
        return None;
    }
    let globals = mem.u64(at(frame, layout.frame_globals()))?;
    let find = |name: &[u8]| dict::lookup_among(mem, layout, globals, name, MOST_NAMES);
    find(b"environment")?;
    let Some(map) = find(b"debug_info") else {
        // A module has a name; the module of a template that has just been compiled has none.
        return if find(b"__name__").is_some() { None } else { Some(TemplateMap { address: globals, bytes: 0 }) };
    };
    let shape = shape(mem, layout, map)?;
    let mut first = [0; 1];
    let is_map = text(mem, layout, map, &mut first)? == 0 || first.first().is_some_and(u8::is_ascii_digit);
    let bytes = u32::try_from(shape.length).ok().filter(|_| shape.length <= MOST_BYTES)?;
    (is_map && shape.width == 1).then_some(TemplateMap { address: shape.data, bytes })
}

/// Does the file hold Python source or bytecode, or a notebook's cell?
fn is_python(filename: &[u8]) -> bool {
    let end = filename.get(filename.len().saturating_sub(ENDING)..).unwrap_or(filename);
    end.ends_with(b".py") || end == b".pyc" || end == b".pyw"
}
