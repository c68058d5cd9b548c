//! Reads of garbage memory: no function may panic, hang, or accept garbage as data.

use rscalene_interp::linetable::{Location, line_at, locations};
use rscalene_interp::{
    Identity, Layout, Memory, Unsupported, WalkEnd, cached_lines, collected, collector_lists, gil, hub, is_of_hub,
    parked_frame, text, threads, walk, walk_from, walk_interrupted, woken_by,
};

/// Readable bytes from an address on; a read of any other address fails.
struct Array {
    base: u64,
    bytes: Vec<u8>,
}

impl Array {
    fn zeroed(base: u64, len: usize) -> Self {
        Self { base, bytes: vec![0; len] }
    }

    fn put(&mut self, addr: u64, raw: &[u8]) {
        let at = usize::try_from(addr - self.base).unwrap();
        self.bytes[at..at + raw.len()].copy_from_slice(raw);
    }

    fn put_u64(&mut self, addr: u64, word: u64) {
        self.put(addr, &word.to_ne_bytes());
    }
}

impl Memory for Array {
    fn u64(&self, addr: u64) -> Option<u64> {
        let mut raw = [0; 8];
        self.bytes(addr, &mut raw).then(|| u64::from_ne_bytes(raw))
    }

    fn bytes(&self, addr: u64, into: &mut [u8]) -> bool {
        let from = addr.checked_sub(self.base).and_then(|at| usize::try_from(at).ok());
        let Some(found) = from.and_then(|from| self.bytes.get(from..from.checked_add(into.len())?)) else {
            return false;
        };
        into.copy_from_slice(found);
        true
    }
}

const BASE: u64 = 0x10_0000;
const CODE_TYPE: u64 = BASE + 0x100;
const V3_11: u32 = 0x030b_07f0;
const V3_12: u32 = 0x030c_01f0;
const V3_14: u32 = 0x030e_0af0;

fn layout(version: u32, mem: &Array) -> Layout {
    Layout::of(version, BASE, CODE_TYPE, mem).expect("known")
}

/// A 3.12 frame at `frame` running `code`, called by the frame at `previous`.
fn put_frame(mem: &mut Array, frame: u64, code: u64, previous: u64, offset: u64) {
    mem.put_u64(frame, code);
    mem.put_u64(frame + 8, previous);
    mem.put_u64(frame + 56, (code + 192).wrapping_add(offset));
}

fn put_code(mem: &mut Array, code: u64, units: u64) {
    mem.put_u64(code + 8, CODE_TYPE);
    mem.put_u64(code + 16, units);
}

#[test]
fn untested_versions_are_refused() {
    let mem = Array::zeroed(BASE, 0x1000);
    let of = |version| Layout::of(version, BASE, CODE_TYPE, &mem);
    assert_eq!(of(0x030a_0df0), Err(Unsupported::Version(0x030a_0df0)));
    assert_eq!(of(0x0310_00f0), Err(Unsupported::Version(0x0310_00f0)));
    assert_eq!(of(0x040b_00f0), Err(Unsupported::Version(0x040b_00f0)));
    assert_eq!(of(0x030b_00a1), Err(Unsupported::Prerelease(0x030b_00a1)));
    assert_eq!(of(0x030c_00b4), Err(Unsupported::Prerelease(0x030c_00b4)));
    assert_eq!(of(V3_14), Err(Unsupported::NoCookie));
    assert_eq!(Layout::of(V3_11, BASE, 8, &mem), Err(Unsupported::Unreadable));
    assert_eq!(Layout::of(V3_14, 8, CODE_TYPE, &mem), Err(Unsupported::Unreadable));
}

#[test]
fn debug_offsets_of_another_version_or_beyond_their_structures_are_refused() {
    let mut mem = Array::zeroed(BASE, 0x1000);
    mem.put(BASE, b"xdebugpy");
    mem.put_u64(BASE + 8, u64::from(V3_14) + 0x100);
    assert_eq!(Layout::of(V3_14, BASE, CODE_TYPE, &mem), Err(Unsupported::OtherVersion(V3_14 + 0x100)));
    mem.put_u64(BASE + 8, u64::from(V3_14));
    // All offsets and sizes are zero: no field fits into a structure of size 0.
    assert!(matches!(Layout::of(V3_14, BASE, CODE_TYPE, &mem), Err(Unsupported::Implausible(_, 0))));
    mem.put_u64(BASE + 8, 0x030d_00f0);
    mem.put_u64(BASE + 16, 1);
    assert_eq!(Layout::of(0x030d_00f0, BASE, CODE_TYPE, &mem), Err(Unsupported::FreeThreaded(0x030d_00f0)));
}

#[test]
fn a_chain_in_a_circle_is_cut() {
    let mut mem = Array::zeroed(BASE, 0x4000);
    let (a, b, code) = (BASE + 0x1000, BASE + 0x2000, BASE + 0x3000);
    put_code(&mut mem, code, 8);
    put_frame(&mut mem, a, code, b, 2);
    put_frame(&mut mem, b, code, a, 4);
    let layout = layout(V3_12, &mem);
    let walked = walk_from(&mem, &layout, a, 100, |_| true);
    assert_eq!((walked.end, walked.frames), (WalkEnd::Cut, 100));
    // The same cycle, of frames without a valid code object.
    mem.put_u64(code + 8, 0);
    let walked = walk_from(&mem, &layout, a, 100, |_| true);
    assert_eq!((walked.end, walked.frames, walked.rejected), (WalkEnd::Cut, 0, 264));
    put_frame(&mut mem, a, code, a, 2);
    assert_eq!(walk_from(&mem, &layout, a, 100, |_| true).end, WalkEnd::Broken);
}

#[test]
fn a_frame_without_a_code_object_is_skipped_and_counted_unless_it_has_returned() {
    let mut mem = Array::zeroed(BASE, 0x4000);
    let (a, b, code) = (BASE + 0x1000, BASE + 0x2000, BASE + 0x3000);
    put_code(&mut mem, code, 8);
    put_frame(&mut mem, a, 0xdead_beef_0000, b, 2);
    put_frame(&mut mem, b, code, 0, 4);
    let layout = layout(V3_12, &mem);
    let mut seen = Vec::new();
    let walked = walk_from(&mem, &layout, a, 100, |frame| {
        seen.push((frame.frame, frame.offset_bytes));
        true
    });
    // The invalid frame is the innermost: it has returned, so it does not count.
    assert_eq!((walked.end, walked.frames, walked.rejected), (WalkEnd::Complete, 1, 0));
    assert_eq!(seen, [(b, 4)]);
    // The invalid frame is the caller of a valid frame, so it counts.
    put_frame(&mut mem, b, code, a, 4);
    put_frame(&mut mem, a, 0xdead_beef_0000, 0, 2);
    let walked = walk_from(&mem, &layout, b, 100, |_| true);
    assert_eq!((walked.end, walked.frames, walked.rejected), (WalkEnd::Complete, 1, 1));
    // The invalid frame is the only frame, so it counts.
    let walked = walk_from(&mem, &layout, a, 100, |_| true);
    assert_eq!((walked.end, walked.frames, walked.rejected), (WalkEnd::Complete, 0, 1));
}

#[test]
fn a_call_before_its_code_object_is_set_counts_for_its_caller() {
    let mut mem = Array::zeroed(BASE, 0x4000);
    let (tstate, entered, before) = (BASE + 0x200, BASE + 0x300, BASE + 0x400);
    let (stale, caller, code) = (BASE + 0x1000, BASE + 0x2000, BASE + 0x3000);
    put_code(&mut mem, code, 8);
    put_frame(&mut mem, caller, code, 0, 4);
    // Old bytes on the C stack: a frame that has returned, with an invalid caller.
    put_frame(&mut mem, stale, 0xdead_beef_0000, 0xdead_beef_0000, 2);
    mem.put_u64(tstate + 56, entered);
    mem.put_u64(entered, stale);
    mem.put_u64(entered + 8, before);
    mem.put_u64(before, caller);
    let layout = layout(V3_12, &mem);
    for garbage in [stale, 0xdead_beef_0000, 7] {
        mem.put_u64(entered, garbage);
        let mut seen = Vec::new();
        let walked = walk(&mem, &layout, tstate, 100, |frame| {
            seen.push(frame.frame);
            true
        });
        assert_eq!((walked.end, walked.rejected, seen), (WalkEnd::Complete, 0, vec![caller]), "{garbage:#x}");
    }
    mem.put_u64(entered + 8, 0);
    assert_eq!(walk(&mem, &layout, tstate, 100, |_| true).end, WalkEnd::Broken);
}

#[test]
fn a_frame_that_is_current_before_it_is_linked_was_called_by_the_one_in_a_register() {
    let mut mem = Array::zeroed(BASE, 0x6000);
    let (tstate, inner, outer, code) = (BASE + 0x200, BASE + 0x300, BASE + 0x400, BASE + 0x5000);
    let [callee, generator, around, gone] = [0x1000, 0x2000, 0x3000, 0x4000].map(|place| BASE + place);
    put_code(&mut mem, code, 8);
    // Fields of a 3.11 frame: code, caller, the last executed instruction, and whether C code entered the frame.
    let put = |mem: &mut Array, frame: u64, previous: u64, offset: u64, entry: u8| {
        mem.put_u64(frame + 32, code);
        mem.put_u64(frame + 48, previous);
        mem.put_u64(frame + 56, (code + 184).wrapping_add(offset));
        mem.put(frame + 68, &[entry]);
    };
    put(&mut mem, generator, around, 4, 1);
    put(&mut mem, around, 0, 6, 1);
    put(&mut mem, gone, around, 4, 0);
    mem.put_u64(tstate + 56, inner);
    mem.put_u64(inner + 8, callee);
    mem.put_u64(inner + 16, outer);
    mem.put_u64(outer + 8, around);
    let layout = layout(V3_11, &mem);
    let registers = [0, 7, 0xdead_beef_0000, code, callee, around, gone, generator];
    let begins = 0u64.wrapping_sub(2);
    // The callee's link is left from a call by the enclosing loop; is not set; points to a frame that has returned; is
    // left from the generator; is valid (the last two).
    for (previous, offset, entry, expected) in [
        (around, begins, 0, vec![callee, generator, around]),
        (0, begins, 0, vec![callee, generator, around]),
        (gone, begins, 0, vec![callee, generator, around]),
        (generator, begins, 0, vec![callee, generator, around]),
        (around, begins, 1, vec![callee, around]),
        (around, 2, 0, vec![callee, around]),
    ] {
        put(&mut mem, callee, previous, offset, entry);
        let mut seen = Vec::new();
        let walked = walk_interrupted(&mem, &layout, tstate, &registers, 100, |frame| {
            seen.push(frame.frame);
            true
        });
        assert_eq!((walked.end, walked.rejected, seen), (WalkEnd::Complete, 0, expected), "{previous:#x} {offset}");
    }
    put(&mut mem, callee, around, begins, 0);
    let walked = walk_interrupted(&mem, &layout, tstate, &registers[..7], 100, |_| true);
    assert_eq!((walked.end, walked.frames), (WalkEnd::Broken, 1), "who called it is not known");
}

#[test]
fn a_generator_that_is_current_before_it_is_linked_is_run_by_the_frame_in_a_register() {
    let mut mem = Array::zeroed(BASE, 0x7000);
    let (tstate, inner, outer, code) = (BASE + 0x200, BASE + 0x300, BASE + 0x400, BASE + 0x6000);
    let [generator, caller, entered, around, first] =
        [0x1000, 0x2000, 0x3000, 0x4000, 0x5000].map(|place| BASE + place);
    put_code(&mut mem, code, 8);
    // C code entered a loop for `around`, and from this loop another loop for `caller`.
    put_frame(&mut mem, caller, code, entered, 4);
    put_frame(&mut mem, around, code, first, 4);
    for (frame, previous) in [(entered, around), (first, 0)] {
        put_frame(&mut mem, frame, 0, previous, 0);
        mem.put(frame + 70, &[3]);
    }
    mem.put_u64(tstate + 56, inner);
    mem.put_u64(inner, generator);
    mem.put_u64(inner + 8, outer);
    mem.put_u64(outer, around);
    let layout = layout(V3_12, &mem);
    let begins = 0u64.wrapping_sub(2);
    for (previous, offset) in [(0, 6), (0, begins), (around, begins), (caller, 6), (caller, begins)] {
        put_frame(&mut mem, generator, code, previous, offset);
        let mut seen = Vec::new();
        let registers = [0, generator, around, entered, caller];
        let walked = walk_interrupted(&mem, &layout, tstate, &registers, 100, |frame| {
            seen.push(frame.frame);
            true
        });
        assert_eq!((walked.end, seen), (WalkEnd::Complete, vec![generator, caller, around]), "{previous:#x} {offset}");
    }
}

#[test]
fn an_instruction_outside_the_bytecode_has_no_offset() {
    let mut mem = Array::zeroed(BASE, 0x4000);
    let (frame, code) = (BASE + 0x1000, BASE + 0x3000);
    put_code(&mut mem, code, 20);
    let layout = layout(V3_12, &mem);
    for (offset, expected) in [(0, 0), (38, 38), (40, u32::MAX), (u64::MAX - 1, u32::MAX), (1 << 40, u32::MAX)] {
        put_frame(&mut mem, frame, code, 0, offset);
        walk_from(&mem, &layout, frame, 1, |frame| {
            assert_eq!(frame.offset_bytes, expected);
            true
        });
    }
}

#[test]
fn a_chain_into_memory_that_is_gone_is_broken() {
    let mut mem = Array::zeroed(BASE, 0x4000);
    let (a, code) = (BASE + 0x1000, BASE + 0x3000);
    put_code(&mut mem, code, 8);
    put_frame(&mut mem, a, code, BASE + 0x9000, 2);
    let layout = layout(V3_12, &mem);
    let walked = walk_from(&mem, &layout, a, 100, |_| true);
    assert_eq!((walked.end, walked.frames), (WalkEnd::Broken, 1));
    assert_eq!(walk(&mem, &layout, 3, 100, |_| true).end, WalkEnd::Broken);
    assert_eq!(walk_from(&mem, &layout, a + 4, 100, |_| true).end, WalkEnd::Broken);
}

#[test]
fn random_memory_never_panics_nor_hangs() {
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..2000 {
        let mut mem = Array::zeroed(BASE, 0x1000);
        for addr in (BASE..BASE + 0x1000).step_by(8) {
            let word = next();
            // Half of all words point back into the memory, so that chains are long.
            mem.put_u64(addr, if word & 1 == 0 { BASE + (word >> 8 & 0xff8) } else { word });
        }
        for addr in (BASE..BASE + 0x1000).step_by(64) {
            mem.put_u64(addr + 8, CODE_TYPE);
        }
        let layout = layout(if round % 2 == 0 { V3_11 } else { V3_12 }, &mem);
        let mut out = [0; 64];
        for addr in (BASE..BASE + 0x1000).step_by(64) {
            walk(&mem, &layout, addr, 1000, |_| true);
            walk_interrupted(&mem, &layout, addr, &[next(), addr, addr + 64], 1000, |_| true);
            if let Some(identity) = Identity::read(&mem, &layout, addr) {
                assert_ne!(identity.hash64(), 0);
            }
            if let Some(len) = text(&mem, &layout, addr, &mut out) {
                assert!(std::str::from_utf8(&out[..len]).is_ok());
            }
            let _ = gil(&mem, &layout, addr);
        }
        let mut left = 10_000;
        threads(&mem, &layout, |_| {
            left -= 1;
            left > 0
        });
    }
}

#[test]
fn text_is_cut_at_a_character() {
    let mut mem = Array::zeroed(BASE, 0x1000);
    let object = BASE + 0x200;
    mem.put_u64(object + 16, 4);
    // Compact, two bytes a character, not ASCII.
    mem.put(object + 32, &(2u32 << 2 | 1 << 5).to_ne_bytes());
    for (i, unit) in "aé日語".encode_utf16().enumerate() {
        mem.put(object + 56 + 2 * i as u64, &unit.to_ne_bytes());
    }
    let layout = layout(V3_12, &mem);
    for (length, expected) in
        [(0, ""), (1, "a"), (2, "a"), (3, "aé"), (5, "aé"), (6, "aé日"), (8, "aé日"), (9, "aé日語")]
    {
        let mut out = vec![0; length];
        let len = text(&mem, &layout, object, &mut out).unwrap();
        assert_eq!(std::str::from_utf8(&out[..len]).unwrap(), expected, "{length} bytes");
    }
    // A lone surrogate, as in a file name that is not UTF-8.
    mem.put(object + 56, &0xdce9u16.to_ne_bytes());
    let mut out = [0; 16];
    let len = text(&mem, &layout, object, &mut out).unwrap();
    assert_eq!(std::str::from_utf8(&out[..len]).unwrap(), "\u{fffd}é日語");
}

#[test]
fn any_bytes_decode_to_lines_or_to_an_end() {
    let mut state = 88_172_645_463_325_252u64;
    for _ in 0..20_000 {
        let mut table = [0u8; 24];
        for byte in &mut table {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state.to_le_bytes()[3];
        }
        table[0] |= 128;
        let mut end = 0;
        for location in locations(&table, u32::MAX) {
            assert_eq!(location.start, end);
            assert!(location.end > location.start && location.end - location.start <= 16);
            end = location.end;
        }
        assert_eq!(line_at(&table, 1, end), None);
        assert_eq!(line_at(&table, 1, u32::MAX), None);
    }
}

#[test]
fn each_form_of_entry_decodes() {
    // short (columns 8..12), one-line +2, no columns -3, long +1 over 2 lines, no line
    let table = [
        0b1000_1000,
        0x04, // k 1, one unit
        0b1110_0001,
        4,
        9, // k 12, two units
        0b1110_1000,
        7, // k 13, svarint -3
        0b1111_0010,
        2,
        2,
        1,
        71,
        1,           // k 14, three units: +1, 2 lines, column 0, column 70
        0b1111_1111, // k 15, eight units
    ];
    let at = |start, end, line, end_line, columns| Location { start, end, line, end_line, columns };
    let read: Vec<_> = locations(&table, 10).collect();
    assert_eq!(
        read,
        [
            at(0, 2, Some(10), Some(10), Some((8, 12))),
            at(2, 6, Some(12), Some(12), Some((4, 9))),
            at(6, 8, Some(9), Some(9), None),
            at(8, 14, Some(10), Some(12), Some((0, 70))),
            at(14, 30, None, None, None),
        ]
    );
    assert_eq!(line_at(&table, 10, 7), Some(9));
    assert_eq!(line_at(&table, 10, 29), None);
}

#[test]
fn the_collectors_lists_are_found_by_their_shape_and_end_in_every_circle() {
    let (interp, lists) = (BASE + 0x1000, BASE + 0x1100);
    let mut mem = Array::zeroed(BASE, 0x10_000);
    let python = layout(V3_12, &mem);
    assert_eq!(collector_lists(&mem, &python, interp), None);
    for head in [lists, lists + 24, lists + 48] {
        mem.put_u64(head, head);
        mem.put_u64(head + 8, head);
    }
    // Two objects in the youngest list, the collector's flags in their links.
    let (older, newer) = (BASE + 0x2000, BASE + 0x2100);
    for (link, before, next) in [(lists, newer, older), (older, lists, newer), (newer, older, lists)] {
        mem.put_u64(link, next);
        mem.put_u64(link + 8, before | 2);
    }
    assert_eq!(collector_lists(&mem, &python, interp), Some(lists));
    let shown = |mem: &Array| {
        let mut objects = Vec::new();
        collected(mem, &python, lists, 1_000, |object, _| {
            objects.push(object);
            true
        });
        objects
    };
    assert_eq!(shown(&mem), [newer + 16, older + 16]);
    // The links disagree, as while the program changes the list: the walk stops there.
    mem.put_u64(older, older);
    assert_eq!(shown(&mem), [newer + 16]);
    mem.put_u64(newer + 8, newer);
    assert_eq!(shown(&mem), [newer + 16]);
    // A cycle that does not contain the head.
    for (link, before, next) in [(newer, older, lists), (older, newer, newer), (newer, older, older)] {
        mem.put_u64(link, next);
        mem.put_u64(link + 8, before);
    }
    mem.put_u64(lists + 8, older);
    mem.put_u64(older, lists);
    assert!(collected(&mem, &python, lists, 1_000, |_, _| true) <= 1_000);
}

#[test]
fn noise_is_no_greenlet_and_no_text() {
    let mut mem = Array::zeroed(BASE, 0x2000);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for place in (0..0x2000).step_by(8) {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Half of the words point into the noise.
        let word = if seed >> 63 == 0 { seed } else { BASE + (seed >> 33 & 0x1ff8) };
        mem.put_u64(BASE + place, word);
    }
    let python = layout(V3_12, &mem);
    for place in (0..0x2000).step_by(8) {
        let address = BASE + place;
        assert_eq!(parked_frame(&mem, &python, address), None);
        let _ = hub(&mem, &python, address).map(|hub| is_of_hub(&mem, hub, address));
        woken_by(&mem, &python, address, |_| {});
        assert!(collected(&mem, &python, address, 1_000, |_, _| true) <= 1_000);
    }
    assert!(!cached_lines(&mem, &python, b"<generated>", |_| true));
}
