//! From the bytes of a record to an event.
//!
//! Invariant: any bytes give an event or `None`; a count in a record is never trusted beyond the bytes of the record.
//! Neighbours: `drain` calls it, `rscalene_wire` fixes the bytes, `event` defines the result.

use rscalene_wire as wire;
use wire::{Bytes, CodeFlags, Flags, Kind, RecordHeader};

use super::event::{Body, CodeDef, StackDef};
use super::template_lines;

/// Reads the first sixteen bytes of a record.
#[must_use]
pub fn header(bytes: &[u8]) -> Option<RecordHeader> {
    Bytes(bytes).read()
}

/// Reads a payload; `None` if the payload contradicts the header.
#[must_use]
pub fn body(header: RecordHeader, payload: &[u8]) -> Option<Body> {
    let flags = header.flags;
    let mut bytes = Bytes(payload);
    let b = &mut bytes;
    Some(match Kind::from_u8(header.kind)? {
        Kind::ProcessStart => Body::ProcessStart(b.read()?),
        Kind::ThreadStart => Body::ThreadStart(b.read()?),
        Kind::ThreadEnd => Body::ThreadEnd(b.read()?),
        Kind::CodeDef => code(b, Flags::of(flags))?,
        Kind::StackDef => stack(b)?,
        Kind::CpuSample => Body::CpuSample { sample: b.read()?, flags: Flags::of(flags) },
        Kind::SelfTest => Body::SelfTest(b.read()?),
        Kind::ProcessEnd => Body::ProcessEnd(b.read()?),
        Kind::Alloc => Body::Alloc { alloc: b.read()?, flags: Flags::of(flags) },
        Kind::Free => Body::Free(b.read()?),
        Kind::Copy => Body::Copy(b.read()?),
        Kind::Map => Body::Map { map: b.read()?, flags: Flags::of(flags) },
        Kind::Label => label(b)?,
        Kind::Notice => Body::Notice(b.read()?),
        Kind::Allocator => {
            let fixed: wire::Allocator = b.read()?;
            Body::Allocator(text(b, usize::try_from(fixed.bytes).ok()?)?)
        }
        Kind::Teardown => Body::Teardown(b.read()?),
        Kind::Section => {
            let section = b.read()?;
            Body::Section { section, name: String::from_utf8_lossy(b.0).into_owned() }
        }
        Kind::Span => Body::Span(b.read()?),
        Kind::Query => Body::Query(b.read()?),
    })
}

fn text(b: &mut Bytes<'_>, bytes: usize) -> Option<String> {
    Some(String::from_utf8_lossy(b.take(bytes)?).into_owned())
}

/// A code object. If its line table is not in the record, `table` is the place of the table, for `line_table` to read.
/// Code of a template gets the lines of the template.
fn code(b: &mut Bytes<'_>, flags: CodeFlags) -> Option<Body> {
    let def: wire::CodeDef = b.read()?;
    let filename = text(b, def.filename_bytes as usize)?;
    let qualname = text(b, def.name_bytes as usize)?;
    let apart = flags.has(CodeFlags::TABLE_APART);
    let table = b.take(if apart { wire::TABLE_PLACE_BYTES } else { def.table_bytes as usize })?.to_vec();
    let mut code = CodeDef { def, filename, qualname, table };
    if flags.has(CodeFlags::TEMPLATE) && !apart {
        template_lines::translate(&mut code, b.0);
    }
    Some(Body::CodeDef(code))
}

fn stack(b: &mut Bytes<'_>) -> Option<Body> {
    let def: wire::StackDef = b.read()?;
    let mut rest = Bytes(b.take((def.depth as usize).checked_mul(size_of::<wire::StackEntry>())?)?);
    let mut entries = Vec::with_capacity(def.depth as usize);
    while !rest.0.is_empty() {
        entries.push(rest.read()?);
    }
    Some(Body::StackDef(StackDef { def, entries }))
}

/// Refuses a label without a number, with a longer text or with more pairs than a label may have.
fn label(b: &mut Bytes<'_>) -> Option<Body> {
    let def: wire::Label = b.read()?;
    let bytes = def.text_bytes as usize;
    if def.label == 0 || bytes > wire::LABEL_BYTES {
        return None;
    }
    let text = text(b, bytes)?;
    let mut parts = text.split_terminator('\0');
    let mut pairs = Vec::new();
    while let Some(key) = parts.next() {
        pairs.push((key.to_owned(), parts.next()?.to_owned()));
    }
    (pairs.len() <= wire::LABEL_PAIRS).then_some(Body::Label { label: def.label, pairs })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, payload_bytes: u32) -> RecordHeader {
        RecordHeader { commit: 0, kind, flags: 0, reserved: 0, payload_bytes }
    }

    #[test]
    fn any_bytes_of_any_kind_give_an_event_or_none() {
        let mut state = 88_172_645_463_325_252_u64;
        for round in 0..20_000_u64 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let length = usize::try_from(state % 90).unwrap_or(0);
            let bytes: Vec<u8> = (0..length).map(|at| (state >> (at % 57)) as u8).collect();
            let _ = body(record(round.to_le_bytes()[0], length as u32), &bytes);
        }
    }

    #[test]
    fn a_code_object_that_promises_more_text_than_it_has_is_refused() {
        let mut bytes = Vec::new();
        for word in [1_u32, 7, 4, 1_000_000, 0, 0] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(b"a.pyf");
        assert_eq!(body(record(Kind::CodeDef as u8, bytes.len() as u32), &bytes), None);
    }

    #[test]
    fn a_table_that_stands_apart_takes_the_bytes_of_its_place() {
        let mut bytes = Vec::new();
        for word in [1_u32, 7, 1, 1, 3_000_000] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(b"af");
        bytes.extend_from_slice(&[9; wire::TABLE_PLACE_BYTES]);
        let mut header = record(Kind::CodeDef as u8, bytes.len() as u32);
        assert_eq!(body(header, &bytes), None, "no such table follows");
        header.flags = CodeFlags::TABLE_APART.bits();
        let Some(Body::CodeDef(code)) = body(header, &bytes) else { panic!("no code") };
        assert_eq!((code.def.table_bytes, code.table.len()), (3_000_000, wire::TABLE_PLACE_BYTES));
    }

    #[test]
    fn a_stack_is_read_leaf_first() {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&9_u64.to_ne_bytes());
        for word in [2_u32, 0, 11, 4, 13, 8] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        let Some(Body::StackDef(stack)) = body(record(Kind::StackDef as u8, 32), &bytes) else { panic!("no stack") };
        let leaf = wire::StackEntry { code: 11, offset: 4 };
        assert_eq!(stack.entries, [leaf, wire::StackEntry { code: 13, offset: 8 }]);
    }

    fn label(number: u32, text: &str) -> Option<Body> {
        let mut bytes = 5_u64.to_ne_bytes().to_vec();
        for word in [number, text.len() as u32] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(text.as_bytes());
        body(record(Kind::Label as u8, bytes.len() as u32), &bytes)
    }

    #[test]
    fn a_label_is_read_in_pairs() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let pairs = vec![pair("route", "/user/<id>"), pair("method", "")];
        assert_eq!(label(3, "route\0/user/<id>\0method\0\0"), Some(Body::Label { label: 3, pairs }));
        assert_eq!(label(3, ""), Some(Body::Label { label: 3, pairs: Vec::new() }));
    }

    #[test]
    fn a_label_beyond_its_bounds_is_refused() {
        assert_eq!(label(0, "a\0b\0"), None, "no number");
        assert_eq!(label(1, "a\0b\0c\0"), None, "a key without a value");
        let longest = "k\0v\0".repeat(wire::LABEL_PAIRS);
        assert!(label(1, &longest).is_some());
        assert_eq!(label(1, &format!("{longest}k\0v\0")), None, "too many pairs");
        assert_eq!(label(1, &format!("k\0{}\0", "v".repeat(wire::LABEL_BYTES))), None, "too long a text");
    }
}
