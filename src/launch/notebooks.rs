//! The cells of notebooks that a program runs without a browser, as `jupyter nbconvert --execute` and papermill do.
//!
//! Job: give the code of a cell a name and a text. The kernel is a separate process. It compiles a cell under the name
//! `/tmp/ipykernel_PID/HASH.py`, which names no file; HASH is murmur2 of the cell's text. The command line names the
//! notebook, so this code hashes each of the notebook's cells and compares. Invariant: a cell is named only if its text
//! has the hash. Neighbours: `commands::run` renames the files of a profile, `commands::output` asks for the text.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Largest notebook to read, in bytes: outputs with pictures are larger than code.
const MOST: u64 = 256 << 20;
/// The seed of ipykernel's hash.
const SEED: u32 = 0xc70f_6907;
/// Stands between the name of a notebook and the number of a cell.
const ENDING: &str = ".ipynb[";

/// The name of the cell whose code has the file name `path`: the notebook and the number of the code cell from 1 on,
/// `/home/me/report.ipynb[3]`. `None` if no notebook on the command line has such a cell.
pub(crate) fn name(command: &[String], cwd: &str, path: &str) -> Option<String> {
    let hash: u32 = hash_in(path)?;
    command.iter().filter(|word| word.ends_with(".ipynb")).find_map(|word| {
        let notebook = Path::new(cwd).join(word);
        let place = cells(&notebook)?.iter().position(|cell| murmur2(cell.as_bytes()) == hash)?;
        Some(format!("{}[{}]", notebook.display(), place + 1))
    })
}

/// The text of a cell with a name made by [`name`].
pub(crate) fn text(name: &str) -> Option<String> {
    let (notebook, number) = name.strip_suffix(']')?.rsplit_once(ENDING)?;
    let place = number.parse::<usize>().ok()?.checked_sub(1)?;
    cells(Path::new(&format!("{notebook}.ipynb")))?.into_iter().nth(place)
}

/// The hash in a file name made by ipykernel.
fn hash_in(path: &str) -> Option<u32> {
    let path = Path::new(path);
    let folder = path.parent()?.file_name()?.to_str()?;
    if !folder.starts_with("ipykernel_") || path.extension()? != "py" {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

/// The texts of a notebook's code cells.
fn cells(notebook: &Path) -> Option<Vec<String>> {
    if fs::metadata(notebook).ok()?.len() > MOST {
        return None;
    }
    let notebook: Value = serde_json::from_slice(&fs::read(notebook).ok()?).ok()?;
    let code = |cell: &&Value| cell["cell_type"] == "code";
    let text = |cell: &Value| match &cell["source"] {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    };
    Some(notebook["cells"].as_array()?.iter().filter(code).map(text).collect())
}

/// `MurmurHash2` of 32 bits, as ipykernel computes it.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ bytes.len() as u32;
    let (chunks, rest) = bytes.as_chunks::<4>();
    for chunk in chunks {
        let mut k = u32::from_le_bytes(*chunk).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: &str = "x=[work(400_000) for _ in range(8)]";

    #[test]
    fn a_cell_is_named_by_its_notebook_and_read_back_by_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let cells = serde_json::json!({"cells": [
            {"cell_type": "markdown", "source": CELL},
            {"cell_type": "code", "source": "import time"},
            {"cell_type": "code", "source": ["x=[work(400_000) ", "for _ in range(8)]"]},
        ]});
        fs::write(folder.path().join("a.ipynb"), cells.to_string()).expect("written");
        let cwd = folder.path().to_str().expect("UTF-8");
        let command = ["jupyter", "nbconvert", "--execute", "a.ipynb"].map(str::to_owned);
        let found = name(&command, cwd, &format!("/tmp/ipykernel_7/{}.py", murmur2(CELL.as_bytes())));
        assert_eq!(found.as_deref(), Some(format!("{cwd}/a.ipynb[2]").as_str()));
        assert_eq!(text(&found.expect("named")).as_deref(), Some(CELL));
        for other in ["/tmp/ipykernel_7/5.py", "/tmp/other/5.py", "/tmp/ipykernel_7/a.py"] {
            assert_eq!(name(&command, cwd, other), None);
        }
        assert_eq!((text("a.ipynb[0]"), text("a.ipynb[x]"), text("a.py")), (None, None, None));
    }
}
