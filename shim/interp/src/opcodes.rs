//! The kind of the instruction under a frame's instruction pointer.
//!
//! Job: separate C calls from the interpreter's own work. While the program counter lies in the interpreter or in libc,
//! this decides whether a sample is Python time or native time. Invariant: an instruction counts as a C call if its
//! time may pass inside a C function called by the line. An instruction that only pushes a Python frame does not count,
//! because the pushed frame is the innermost frame from then on. Neighbour: `walk` gives the address of the opcode
//! byte.
//!
//! The numbers come from `dis` of each version; `tests/interp_live` compares them with every installed interpreter.
//! Not calls: `CALL_INTRINSIC_*` (the interpreter's own work), 3.11's `PRECALL` and `PRECALL_ADAPTIVE` (the following
//! `CALL` does the call; the specialised `PRECALL_*` forms of builtins do the call themselves).

/// The work of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// The interpreter's own work.
    Other,
    /// Calls a C function, or an object that may be a C function.
    CallsC,
    /// Calls a Python function by pushing its frame.
    CallsPython,
    /// Replaces another instruction (monitoring, JIT), so the kind of the real instruction is unknown.
    Hidden,
}

/// An instruction other than [`Op::Other`]: its number, its name in `dis`, its kind.
pub type Entry = (u8, &'static str, Op);

/// The kind of `opcode` in CPython 3.`minor`; [`Op::Hidden`] for an unknown version.
#[inline]
#[must_use]
pub fn op_kind(minor: u8, opcode: u8) -> Op {
    let table = match minor {
        11 => &KINDS_3_11,
        12 => &KINDS_3_12,
        13 => &KINDS_3_13,
        14 => &KINDS_3_14,
        15 => &KINDS_3_15,
        _ => return Op::Hidden,
    };
    table.get(usize::from(opcode)).copied().unwrap_or(Op::Other)
}

/// Is `opcode` of CPython 3.`minor` a jump backwards? An empty loop (`while True: pass`) is such a jump to itself.
#[must_use]
pub fn jumps_back(minor: u8, opcode: u8) -> bool {
    let jumps: &[u8] = match minor {
        11 => &[38, 134, 140],
        12 => &[134, 140, 246],
        13 => &[77, 78, 249],
        14 => &[75, 76, 175, 176, 253],
        15 => &[74, 75, 181, 182, 252],
        _ => &[],
    };
    jumps.contains(&opcode)
}

/// The instructions of CPython 3.`minor` other than [`Op::Other`]; empty for an unknown version.
#[must_use]
pub fn entries(minor: u8) -> &'static [Entry] {
    match minor {
        11 => PYTHON_3_11,
        12 => PYTHON_3_12,
        13 => PYTHON_3_13,
        14 => PYTHON_3_14,
        15 => PYTHON_3_15,
        _ => &[],
    }
}

static KINDS_3_11: [Op; 256] = kinds(PYTHON_3_11);
static KINDS_3_12: [Op; 256] = kinds(PYTHON_3_12);
static KINDS_3_13: [Op; 256] = kinds(PYTHON_3_13);
static KINDS_3_14: [Op; 256] = kinds(PYTHON_3_14);
static KINDS_3_15: [Op; 256] = kinds(PYTHON_3_15);

/// Spreads entries over all numbers, at compile time.
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "evaluated at compile time only")]
const fn kinds(entries: &[Entry]) -> [Op; 256] {
    let mut all = [Op::Other; 256];
    let mut i = 0;
    while i < entries.len() {
        all[entries[i].0 as usize] = entries[i].2;
        i += 1;
    }
    all
}

const PYTHON_3_11: &[Entry] = &[
    (19, "BINARY_SUBSCR_GETITEM", Op::CallsPython),
    (22, "CALL_ADAPTIVE", Op::CallsC),
    (23, "CALL_PY_EXACT_ARGS", Op::CallsPython),
    (24, "CALL_PY_WITH_DEFAULTS", Op::CallsPython),
    (49, "WITH_EXCEPT_START", Op::CallsC),
    (52, "BEFORE_ASYNC_WITH", Op::CallsC),
    (53, "BEFORE_WITH", Op::CallsC),
    (65, "PRECALL_BOUND_METHOD", Op::CallsPython),
    (66, "PRECALL_BUILTIN_CLASS", Op::CallsC),
    (67, "PRECALL_BUILTIN_FAST_WITH_KEYWORDS", Op::CallsC),
    (72, "PRECALL_METHOD_DESCRIPTOR_FAST_WITH_KEYWORDS", Op::CallsC),
    (73, "PRECALL_NO_KW_BUILTIN_FAST", Op::CallsC),
    (76, "PRECALL_NO_KW_BUILTIN_O", Op::CallsC),
    (77, "PRECALL_NO_KW_ISINSTANCE", Op::CallsC),
    (78, "PRECALL_NO_KW_LEN", Op::CallsC),
    (79, "PRECALL_NO_KW_LIST_APPEND", Op::CallsC),
    (80, "PRECALL_NO_KW_METHOD_DESCRIPTOR_FAST", Op::CallsC),
    (81, "PRECALL_NO_KW_METHOD_DESCRIPTOR_NOARGS", Op::CallsC),
    (113, "PRECALL_NO_KW_METHOD_DESCRIPTOR_O", Op::CallsC),
    (121, "PRECALL_NO_KW_STR_1", Op::CallsC),
    (127, "PRECALL_NO_KW_TUPLE_1", Op::CallsC),
    (141, "PRECALL_NO_KW_TYPE_1", Op::CallsC),
    (142, "CALL_FUNCTION_EX", Op::CallsC),
    (143, "PRECALL_PYFUNC", Op::CallsPython),
    (171, "CALL", Op::CallsC),
];

const PYTHON_3_12: &[Entry] = &[
    (20, "BINARY_SUBSCR_GETITEM", Op::CallsPython),
    (23, "CALL_PY_EXACT_ARGS", Op::CallsPython),
    (24, "CALL_PY_WITH_DEFAULTS", Op::CallsPython),
    (28, "CALL_BOUND_METHOD_EXACT_ARGS", Op::CallsPython),
    (29, "CALL_BUILTIN_CLASS", Op::CallsC),
    (34, "CALL_BUILTIN_FAST_WITH_KEYWORDS", Op::CallsC),
    (38, "CALL_METHOD_DESCRIPTOR_FAST_WITH_KEYWORDS", Op::CallsC),
    (39, "CALL_NO_KW_BUILTIN_FAST", Op::CallsC),
    (40, "CALL_NO_KW_BUILTIN_O", Op::CallsC),
    (41, "CALL_NO_KW_ISINSTANCE", Op::CallsC),
    (42, "CALL_NO_KW_LEN", Op::CallsC),
    (43, "CALL_NO_KW_LIST_APPEND", Op::CallsC),
    (44, "CALL_NO_KW_METHOD_DESCRIPTOR_FAST", Op::CallsC),
    (45, "CALL_NO_KW_METHOD_DESCRIPTOR_NOARGS", Op::CallsC),
    (46, "CALL_NO_KW_METHOD_DESCRIPTOR_O", Op::CallsC),
    (47, "CALL_NO_KW_STR_1", Op::CallsC),
    (48, "CALL_NO_KW_TUPLE_1", Op::CallsC),
    (49, "WITH_EXCEPT_START", Op::CallsC),
    (52, "BEFORE_ASYNC_WITH", Op::CallsC),
    (53, "BEFORE_WITH", Op::CallsC),
    (56, "CALL_NO_KW_TYPE_1", Op::CallsC),
    (65, "FOR_ITER_GEN", Op::CallsPython),
    (72, "LOAD_ATTR_GETATTRIBUTE_OVERRIDDEN", Op::CallsPython),
    (77, "LOAD_ATTR_PROPERTY", Op::CallsPython),
    (142, "CALL_FUNCTION_EX", Op::CallsC),
    (168, "SEND_GEN", Op::CallsPython),
    (171, "CALL", Op::CallsC),
    (241, "INSTRUMENTED_CALL", Op::CallsC),
    (244, "INSTRUMENTED_CALL_FUNCTION_EX", Op::CallsC),
    (253, "INSTRUMENTED_INSTRUCTION", Op::Hidden),
    (254, "INSTRUMENTED_LINE", Op::Hidden),
];

const PYTHON_3_13: &[Entry] = &[
    (1, "BEFORE_ASYNC_WITH", Op::CallsC),
    (2, "BEFORE_WITH", Op::CallsC),
    (44, "WITH_EXCEPT_START", Op::CallsC),
    (53, "CALL", Op::CallsC),
    (54, "CALL_FUNCTION_EX", Op::CallsC),
    (57, "CALL_KW", Op::CallsC),
    (70, "ENTER_EXECUTOR", Op::Hidden),
    (158, "BINARY_SUBSCR_GETITEM", Op::CallsPython),
    (162, "CALL_ALLOC_AND_ENTER_INIT", Op::CallsPython),
    (163, "CALL_BOUND_METHOD_EXACT_ARGS", Op::CallsPython),
    (164, "CALL_BOUND_METHOD_GENERAL", Op::CallsPython),
    (165, "CALL_BUILTIN_CLASS", Op::CallsC),
    (166, "CALL_BUILTIN_FAST", Op::CallsC),
    (167, "CALL_BUILTIN_FAST_WITH_KEYWORDS", Op::CallsC),
    (168, "CALL_BUILTIN_O", Op::CallsC),
    (169, "CALL_ISINSTANCE", Op::CallsC),
    (170, "CALL_LEN", Op::CallsC),
    (171, "CALL_LIST_APPEND", Op::CallsC),
    (172, "CALL_METHOD_DESCRIPTOR_FAST", Op::CallsC),
    (173, "CALL_METHOD_DESCRIPTOR_FAST_WITH_KEYWORDS", Op::CallsC),
    (174, "CALL_METHOD_DESCRIPTOR_NOARGS", Op::CallsC),
    (175, "CALL_METHOD_DESCRIPTOR_O", Op::CallsC),
    (176, "CALL_NON_PY_GENERAL", Op::CallsC),
    (177, "CALL_PY_EXACT_ARGS", Op::CallsPython),
    (178, "CALL_PY_GENERAL", Op::CallsPython),
    (179, "CALL_STR_1", Op::CallsC),
    (180, "CALL_TUPLE_1", Op::CallsC),
    (181, "CALL_TYPE_1", Op::CallsC),
    (187, "FOR_ITER_GEN", Op::CallsPython),
    (192, "LOAD_ATTR_GETATTRIBUTE_OVERRIDDEN", Op::CallsPython),
    (200, "LOAD_ATTR_PROPERTY", Op::CallsPython),
    (208, "SEND_GEN", Op::CallsPython),
    (244, "INSTRUMENTED_CALL", Op::CallsC),
    (245, "INSTRUMENTED_CALL_KW", Op::CallsC),
    (246, "INSTRUMENTED_CALL_FUNCTION_EX", Op::CallsC),
    (247, "INSTRUMENTED_INSTRUCTION", Op::Hidden),
    (254, "INSTRUMENTED_LINE", Op::Hidden),
];

const PYTHON_3_14: &[Entry] = &[
    (4, "CALL_FUNCTION_EX", Op::CallsC),
    (43, "WITH_EXCEPT_START", Op::CallsC),
    (52, "CALL", Op::CallsC),
    (55, "CALL_KW", Op::CallsC),
    (136, "BINARY_OP_SUBSCR_GETITEM", Op::CallsPython),
    (143, "CALL_ALLOC_AND_ENTER_INIT", Op::CallsPython),
    (144, "CALL_BOUND_METHOD_EXACT_ARGS", Op::CallsPython),
    (145, "CALL_BOUND_METHOD_GENERAL", Op::CallsPython),
    (146, "CALL_BUILTIN_CLASS", Op::CallsC),
    (147, "CALL_BUILTIN_FAST", Op::CallsC),
    (148, "CALL_BUILTIN_FAST_WITH_KEYWORDS", Op::CallsC),
    (149, "CALL_BUILTIN_O", Op::CallsC),
    (150, "CALL_ISINSTANCE", Op::CallsC),
    (151, "CALL_KW_BOUND_METHOD", Op::CallsPython),
    (152, "CALL_KW_NON_PY", Op::CallsC),
    (153, "CALL_KW_PY", Op::CallsPython),
    (154, "CALL_LEN", Op::CallsC),
    (155, "CALL_LIST_APPEND", Op::CallsC),
    (156, "CALL_METHOD_DESCRIPTOR_FAST", Op::CallsC),
    (157, "CALL_METHOD_DESCRIPTOR_FAST_WITH_KEYWORDS", Op::CallsC),
    (158, "CALL_METHOD_DESCRIPTOR_NOARGS", Op::CallsC),
    (159, "CALL_METHOD_DESCRIPTOR_O", Op::CallsC),
    (160, "CALL_NON_PY_GENERAL", Op::CallsC),
    (161, "CALL_PY_EXACT_ARGS", Op::CallsPython),
    (162, "CALL_PY_GENERAL", Op::CallsPython),
    (163, "CALL_STR_1", Op::CallsC),
    (164, "CALL_TUPLE_1", Op::CallsC),
    (165, "CALL_TYPE_1", Op::CallsC),
    (171, "FOR_ITER_GEN", Op::CallsPython),
    (179, "LOAD_ATTR_GETATTRIBUTE_OVERRIDDEN", Op::CallsPython),
    (187, "LOAD_ATTR_PROPERTY", Op::CallsPython),
    (197, "SEND_GEN", Op::CallsPython),
    (238, "INSTRUMENTED_INSTRUCTION", Op::Hidden),
    (250, "INSTRUMENTED_CALL", Op::CallsC),
    (251, "INSTRUMENTED_CALL_KW", Op::CallsC),
    (252, "INSTRUMENTED_CALL_FUNCTION_EX", Op::CallsC),
    (254, "INSTRUMENTED_LINE", Op::Hidden),
    (255, "ENTER_EXECUTOR", Op::Hidden),
];

const PYTHON_3_15: &[Entry] = &[
    (4, "CALL_FUNCTION_EX", Op::CallsC),
    (41, "WITH_EXCEPT_START", Op::CallsC),
    (50, "CALL", Op::CallsC),
    (53, "CALL_KW", Op::CallsC),
    (136, "BINARY_OP_SUBSCR_GETITEM", Op::CallsPython),
    (144, "CALL_ALLOC_AND_ENTER_INIT", Op::CallsPython),
    (145, "CALL_BOUND_METHOD_EXACT_ARGS", Op::CallsPython),
    (146, "CALL_BOUND_METHOD_GENERAL", Op::CallsPython),
    (147, "CALL_BUILTIN_CLASS", Op::CallsC),
    (148, "CALL_BUILTIN_FAST", Op::CallsC),
    (149, "CALL_BUILTIN_FAST_WITH_KEYWORDS", Op::CallsC),
    (150, "CALL_BUILTIN_O", Op::CallsC),
    (151, "CALL_EX_NON_PY_GENERAL", Op::CallsC),
    (152, "CALL_EX_PY", Op::CallsPython),
    (153, "CALL_ISINSTANCE", Op::CallsC),
    (154, "CALL_KW_BOUND_METHOD", Op::CallsPython),
    (155, "CALL_KW_NON_PY", Op::CallsC),
    (156, "CALL_KW_PY", Op::CallsPython),
    (157, "CALL_LEN", Op::CallsC),
    (158, "CALL_LIST_APPEND", Op::CallsC),
    (159, "CALL_METHOD_DESCRIPTOR_FAST", Op::CallsC),
    (160, "CALL_METHOD_DESCRIPTOR_FAST_WITH_KEYWORDS", Op::CallsC),
    (161, "CALL_METHOD_DESCRIPTOR_NOARGS", Op::CallsC),
    (162, "CALL_METHOD_DESCRIPTOR_O", Op::CallsC),
    (163, "CALL_NON_PY_GENERAL", Op::CallsC),
    (164, "CALL_PY_EXACT_ARGS", Op::CallsPython),
    (165, "CALL_PY_GENERAL", Op::CallsPython),
    (166, "CALL_STR_1", Op::CallsC),
    (167, "CALL_TUPLE_1", Op::CallsC),
    (168, "CALL_TYPE_1", Op::CallsC),
    (174, "FOR_ITER_GEN", Op::CallsPython),
    (185, "LOAD_ATTR_GETATTRIBUTE_OVERRIDDEN", Op::CallsPython),
    (193, "LOAD_ATTR_PROPERTY", Op::CallsPython),
    (202, "SEND_ASYNC_GEN", Op::CallsPython),
    (203, "SEND_GEN", Op::CallsPython),
    (237, "INSTRUMENTED_INSTRUCTION", Op::Hidden),
    (249, "INSTRUMENTED_CALL", Op::CallsC),
    (250, "INSTRUMENTED_CALL_KW", Op::CallsC),
    (251, "INSTRUMENTED_CALL_FUNCTION_EX", Op::CallsC),
    (253, "INSTRUMENTED_LINE", Op::Hidden),
    (254, "ENTER_EXECUTOR", Op::Hidden),
    (255, "TRACE_RECORD", Op::Hidden),
];
