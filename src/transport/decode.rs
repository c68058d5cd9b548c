//! From the bytes of a record to an event.
//!
//! Invariant: total. Any bytes give an event or `None`; no count in a record is believed beyond the bytes that are
//! there. Neighbours: `drain` calls it, `rscalene_wire` fixes the bytes, `event` is the answer.

use rscalene_wire as wire;
use wire::{Kind, RecordHeader};

use super::event::{Body, CodeDef, StackDef};

/// Bytes that are read front to back as plain integers.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_ne_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_ne_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self, count: u32) -> Option<String> {
        Some(String::from_utf8_lossy(self.take(count as usize)?).into_owned())
    }
}

/// Reads the first sixteen bytes of a record.
#[must_use]
pub fn header(bytes: &[u8]) -> Option<RecordHeader> {
    let mut bytes = Bytes(bytes);
    Some(RecordHeader {
        commit: bytes.u64()?,
        kind: bytes.u8()?,
        flags: bytes.u8()?,
        reserved: bytes.u16()?,
        payload_bytes: bytes.u32()?,
    })
}

/// Reads a payload; `None` where it is not what the header says.
#[must_use]
pub fn body(header: RecordHeader, payload: &[u8]) -> Option<Body> {
    let flags = header.flags;
    let mut b = Bytes(payload);
    Some(match Kind::from_u8(header.kind)? {
        Kind::ProcessStart => Body::ProcessStart(wire::ProcessStart {
            time_ns: b.u64()?,
            pid: b.u32()?,
            parent: b.u32()?,
            python_version: b.u32()?,
            flags: b.u32()?,
            runtime: b.u64()?,
            code_type: b.u64()?,
            cpu_ns: b.u64()?,
        }),
        Kind::ThreadStart => Body::ThreadStart(wire::ThreadStart {
            time_ns: b.u64()?,
            tid: b.u32()?,
            source: b.u32()?,
            cpu_ns: b.u64()?,
            interval_ns: b.u64()?,
        }),
        Kind::ThreadEnd => Body::ThreadEnd(wire::ThreadEnd {
            time_ns: b.u64()?,
            tid: b.u32()?,
            reserved: b.u32()?,
            cpu_ns: b.u64()?,
            system_ns: b.u64()?,
        }),
        Kind::CodeDef => code(&mut b)?,
        Kind::StackDef => stack(&mut b)?,
        Kind::CpuSample => Body::CpuSample {
            sample: wire::CpuSample {
                time_ns: b.u64()?,
                stack: b.u64()?,
                pc: b.u64()?,
                weight_ns: b.u64()?,
                tid: b.u32()?,
                kind: b.u8()?,
                opcode: b.u8()?,
                reserved: b.u16()?,
                reserved2: b.u64()?,
            },
            flags,
        },
        Kind::Section => Body::Section {
            section: wire::Section { time_ns: b.u64()?, cpu_ns: b.u64()?, section: b.u32()?, begins: b.u32()? },
            name: String::from_utf8_lossy(b.0).into_owned(),
        },
        Kind::SelfTest => Body::SelfTest(wire::SelfTest {
            time_ns: b.u64()?,
            verdict: b.u32()?,
            frames: b.u32()?,
            at: b.u32()?,
            reserved: b.u32()?,
        }),
        Kind::ProcessEnd => Body::ProcessEnd(wire::ProcessEnd {
            time_ns: b.u64()?,
            cpu_ns: b.u64()?,
            user_ns: b.u64()?,
            system_ns: b.u64()?,
            peak_rss: b.u64()?,
            how: b.u32()?,
            status: b.u32()?,
        }),
        Kind::Alloc => Body::Alloc {
            alloc: wire::Alloc {
                time_ns: b.u64()?,
                stack: b.u64()?,
                address: b.u64()?,
                size: b.u64()?,
                interval: b.u64()?,
                tid: b.u32()?,
                reserved: b.u32()?,
            },
            flags,
        },
        Kind::Free => Body::Free(wire::Free {
            time_ns: b.u64()?,
            stack: b.u64()?,
            address: b.u64()?,
            tid: b.u32()?,
            how: b.u32()?,
        }),
        Kind::Copy => Body::Copy(wire::Copy {
            time_ns: b.u64()?,
            stack: b.u64()?,
            weight: b.u64()?,
            tid: b.u32()?,
            reserved: b.u32()?,
        }),
        Kind::Map => Body::Map {
            map: wire::Map {
                time_ns: b.u64()?,
                stack: b.u64()?,
                address: b.u64()?,
                size: b.u64()?,
                old_address: b.u64()?,
                old_size: b.u64()?,
            },
            flags,
        },
        Kind::FreeVolume => Body::FreeVolume(wire::FreeVolume {
            time_ns: b.u64()?,
            stack: b.u64()?,
            weight: b.u64()?,
            tid: b.u32()?,
            reserved: b.u32()?,
        }),
        Kind::Allocator => {
            let fixed = wire::Allocator { time_ns: b.u64()?, bytes: b.u64()? };
            Body::Allocator(b.text(u32::try_from(fixed.bytes).ok()?)?)
        }
        Kind::Teardown => Body::Teardown(wire::Teardown { time_ns: b.u64()? }),
        Kind::Notice => Body::Notice(wire::Notice { time_ns: b.u64()?, code: b.u32()?, detail: b.u32()? }),
    })
}

fn code(b: &mut Bytes<'_>) -> Option<Body> {
    let def = wire::CodeDef {
        code: b.u32()?,
        first_line: b.u32()?,
        filename_bytes: b.u32()?,
        name_bytes: b.u32()?,
        table_bytes: b.u32()?,
        co_flags: b.u32()?,
    };
    let filename = b.text(def.filename_bytes)?;
    let qualname = b.text(def.name_bytes)?;
    let table = b.take(def.table_bytes as usize)?.to_vec();
    Some(Body::CodeDef(CodeDef { def, filename, qualname, table }))
}

fn stack(b: &mut Bytes<'_>) -> Option<Body> {
    let def = wire::StackDef { stack: b.u64()?, depth: b.u32()?, flags: b.u32()? };
    let mut rest = Bytes(b.take((def.depth as usize).checked_mul(size_of::<wire::StackEntry>())?)?);
    let mut entries = Vec::with_capacity(def.depth as usize);
    while !rest.0.is_empty() {
        entries.push(wire::StackEntry { code: rest.u32()?, offset: rest.u32()? });
    }
    Some(Body::StackDef(StackDef { def, entries }))
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
}
