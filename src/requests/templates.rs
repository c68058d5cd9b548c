//! Templates that are compiled to Python code: Jinja2 and Mako.
//!
//! Job: find the map from the lines of the generated code to the lines of the template, and the template's file.
//! Invariant: no Python code runs, because an event of the interpreter is being handled. Neighbours: `functions` asks
//! when a code object first runs, `transport::template_lines` applies the map. Django's templates are not compiled:
//! `rscalene.web.django_templates` gives their nodes code objects of their own.

use std::collections::HashMap;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::transport::template_lines::TemplateLines;

/// A template whose generated code runs.
pub(super) struct Template {
    /// File to report in place of the file name of the code; `None`: the code bears the template's file name.
    pub(super) file: Option<String>,
    /// Lines of the template.
    pub(super) lines: TemplateLines,
}

/// The file name under which scope rules know templates without a file.
const NO_FILE: &str = "<template>";
/// Marks around the JSON object at the end of code that Mako generated.
const METADATA: (&str, &str) = ("__M_BEGIN_METADATA", "__M_END_METADATA");

/// The template whose code runs in the current frame.
pub(super) fn of_running_frame(py: Python<'_>) -> Option<Template> {
    // SAFETY: the GIL is held; the result is a borrowed reference, or null if no frame runs.
    let globals = unsafe { Bound::from_borrowed_ptr_or_opt(py, ffi::PyEval_GetGlobals()) }?;
    let globals = globals.cast::<PyDict>().ok()?;
    jinja(globals).or_else(|| mako(globals))
}

/// Jinja2 puts the map into the globals of its code: `debug_info`, for example `1=12&7=20` (template line 1 is code
/// line 12).
fn jinja(globals: &Bound<'_, PyDict>) -> Option<Template> {
    let py = globals.py();
    globals.get_item(intern!(py, "environment")).ok()??;
    let Some(map) = globals.get_item(intern!(py, "debug_info")).ok()? else {
        // This is the body of the template's module. The body runs once and creates the map.
        let made_by_hand = globals.contains(intern!(py, "__name__")).unwrap_or(true);
        return (!made_by_hand).then(|| Template { file: None, lines: TemplateLines::default() });
    };
    let map: String = map.extract().ok()?;
    Some(Template { file: None, lines: TemplateLines::parse(&map) })
}

/// Mako appends the map to the text of its code, and `mako.template.ModuleInfo._modules` finds the text by the name of
/// the module.
fn mako(globals: &Bound<'_, PyDict>) -> Option<Template> {
    let py = globals.py();
    let file = globals.get_item(intern!(py, "_template_filename")).ok()??;
    let file = file.extract().unwrap_or_else(|_| NO_FILE.to_owned());
    let lines = mako_lines(globals).unwrap_or_default();
    Some(Template { file: Some(file), lines })
}

fn mako_lines(globals: &Bound<'_, PyDict>) -> Option<TemplateLines> {
    let py = globals.py();
    let name = globals.get_item(intern!(py, "__name__")).ok()??;
    // SAFETY: the GIL is held; the result is a borrowed reference.
    let modules = unsafe { Bound::from_borrowed_ptr_or_opt(py, ffi::PyImport_GetModuleDict()) }?;
    let module = modules.cast::<PyDict>().ok()?.get_item(intern!(py, "mako.template")).ok()??;
    let known = module.getattr(intern!(py, "ModuleInfo")).ok()?.getattr(intern!(py, "_modules")).ok()?;
    // The weak dictionary's own methods are Python code; its references are called as C code.
    let reference = known.getattr(intern!(py, "data")).ok()?.cast::<PyDict>().ok()?.get_item(name).ok()??;
    let info = reference.call0().ok()?;
    let source = match info.getattr(intern!(py, "module_source")).ok()? {
        source if source.is_instance_of::<PyString>() => source.extract().ok()?,
        _ => std::fs::read_to_string(info.getattr(intern!(py, "module_filename")).ok()?.extract::<String>().ok()?)
            .ok()?,
    };
    mako_map(&source)
}

/// The map in the text of a module that Mako made.
fn mako_map(source: &str) -> Option<TemplateLines> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        line_map: HashMap<String, u32>,
    }
    let (_, metadata) = source.rsplit_once(METADATA.0)?;
    let (metadata, _) = metadata.split_once(METADATA.1)?;
    let metadata: Metadata = serde_json::from_str(metadata).ok()?;
    let pairs = metadata.line_map.into_iter().filter_map(|(code, line)| Some((code.parse().ok()?, line)));
    Some(TemplateLines::new(pairs.collect()))
}

#[cfg(test)]
mod tests {
    use super::mako_map;

    #[test]
    fn makos_metadata_is_the_map_of_its_lines() {
        let source = "def render_body(context):\n    pass\n\n\"\"\"\n__M_BEGIN_METADATA\n{\"filename\": \"p.html\", \
                      \"line_map\": {\"16\": 0, \"27\": 1, \"31\": 4, \"40\": 31}}\n__M_END_METADATA\n\"\"\"\n";
        let lines = mako_map(source).expect("the metadata is read");
        assert_eq!([1, 28, 31, 39].map(|line| lines.line(line)), [1, 1, 4, 4]);
        assert!(mako_map("__M_BEGIN_METADATA {").is_none());
    }
}
