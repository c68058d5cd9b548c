//! A call at the head of a code object, on 3.11.
//!
//! Job: give a decorated function a first step that switches tracing on, so that the function stays plain: no wrapper,
//! no second frame, the same recursion depth. Invariant: the function's own bytecode follows the call, byte for byte;
//! jumps are relative on 3.11, so only the exception table moves. Neighbour: the first step calls `tracing::hook`.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

/// A copy of `code` that calls `hook()` first.
pub(crate) fn prepend_call<'py>(code: &Bound<'py, PyAny>, hook: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = code.py();
    let consts = code.getattr("co_consts")?.cast_into::<PyTuple>()?;
    let head = head(consts.len());
    let bytes = |name: &str| -> PyResult<Vec<u8>> { code.getattr(name)?.extract() };
    let mut code_bytes = head.clone();
    code_bytes.extend(bytes("co_code")?);
    let units = head.len() / 2;
    let mut locations = no_location(units);
    locations.extend(bytes("co_linetable")?);
    let handlers = shifted(&bytes("co_exceptiontable")?, units);
    let mut all: Vec<Bound<'py, PyAny>> = consts.iter().collect();
    all.push(hook.clone());

    let replaced = PyDict::new(py);
    replaced.set_item("co_code", PyBytes::new(py, &code_bytes))?;
    replaced.set_item("co_linetable", PyBytes::new(py, &locations))?;
    replaced.set_item("co_exceptiontable", PyBytes::new(py, &handlers))?;
    replaced.set_item("co_consts", PyTuple::new(py, all)?)?;
    replaced.set_item("co_stacksize", code.getattr("co_stacksize")?.extract::<u32>()?.max(HEAD_STACK))?;
    code.call_method("replace", (), Some(&replaced))
}

/// Opcodes of 3.11, and how many cache units follow.
const POP_TOP: u8 = 1;
const PUSH_NULL: u8 = 2;
const LOAD_CONST: u8 = 100;
const EXTENDED_ARG: u8 = 144;
const PRECALL: (u8, usize) = (166, 1);
const CALL: (u8, usize) = (171, 4);

/// NULL, the callable, and two more for its result.
const HEAD_STACK: u32 = 4;

fn head(constant: usize) -> Vec<u8> {
    let mut head = vec![PUSH_NULL, 0];
    let wide = constant.to_be_bytes();
    for byte in wide[4..7].iter().skip_while(|byte| **byte == 0) {
        head.extend([EXTENDED_ARG, *byte]);
    }
    head.extend([LOAD_CONST, wide[7]]);
    for (opcode, caches) in [PRECALL, CALL] {
        head.extend([opcode, 0]);
        head.extend(std::iter::repeat_n(0, caches * 2));
    }
    head.extend([POP_TOP, 0]);
    head
}

/// Entries of the location table that say "no line" for `units` code units.
fn no_location(units: usize) -> Vec<u8> {
    const NONE: u8 = 0x80 | 15 << 3;
    let mut entries = Vec::new();
    let mut left = units;
    while left > 0 {
        let length = left.min(8);
        entries.push(NONE | (length - 1) as u8);
        left -= length;
    }
    entries
}

/// The exception table with every start and target `units` later. Each entry is start, length, target and depth as
/// big-endian groups of six bits; the first byte of an entry has its top bit set.
fn shifted(table: &[u8], units: usize) -> Vec<u8> {
    let mut rest = table.iter().copied();
    let mut moved = Vec::with_capacity(table.len() + 8);
    while let Some(first) = rest.next() {
        let start = read(first & 0x7f, &mut rest);
        let mut next = || rest.next().map(|byte| read(byte, &mut rest));
        let (Some(length), Some(target), Some(depth)) = (next(), next(), next()) else { break };
        let at = moved.len();
        write(&mut moved, start + units);
        if let Some(byte) = moved.get_mut(at) {
            *byte |= 0x80;
        }
        write(&mut moved, length);
        write(&mut moved, target + units);
        write(&mut moved, depth);
    }
    moved
}

fn read(first: u8, rest: &mut impl Iterator<Item = u8>) -> usize {
    let mut value = usize::from(first & 0x3f);
    let mut byte = first;
    while byte & 0x40 != 0 {
        byte = rest.next().unwrap_or(0);
        value = value << 6 | usize::from(byte & 0x3f);
    }
    value
}

fn write(out: &mut Vec<u8>, value: usize) {
    let groups = (1..10).find(|groups| value >> (6 * groups) == 0).unwrap_or(10);
    for group in (0..groups).rev() {
        let more = if group > 0 { 0x40 } else { 0 };
        out.push(more | (value >> (6 * group) & 0x3f) as u8);
    }
}
