//! The tables of opcodes against `dis`.

use rscalene_interp::opcodes::{Op, entries, jumps_back, op_kind};

use crate::target::{ask, interpreters};

const ALL: &str = "import dis, json, sys\nprint(json.dumps([sys.version_info[1], {k: v for k, v in dis._all_opmap.items() if v < 256}]))";

#[test]
fn every_entry_has_the_number_that_the_interpreter_gives_it() {
    for python in interpreters() {
        let answer = ask(python, ALL);
        let minor = u8::try_from(answer[0].as_u64().unwrap()).unwrap();
        assert!(!entries(minor).is_empty(), "{python:?}");
        for (number, name, kind) in entries(minor) {
            assert_eq!(answer[1][name].as_u64(), Some(u64::from(*number)), "{python:?}: {name}");
            assert_eq!(op_kind(minor, *number), *kind, "{python:?}: {name}");
        }
    }
}

#[test]
fn every_instruction_that_calls_or_hides_is_in_the_table() {
    for python in interpreters() {
        let answer = ask(python, ALL);
        let minor = u8::try_from(answer[0].as_u64().unwrap()).unwrap();
        for (name, number) in answer[1].as_object().unwrap() {
            let kind = op_kind(minor, u8::try_from(number.as_u64().unwrap()).unwrap());
            let own_work = name.starts_with("CALL_INTRINSIC") || matches!(&**name, "PRECALL" | "PRECALL_ADAPTIVE");
            let hides =
                matches!(&**name, "INSTRUMENTED_LINE" | "INSTRUMENTED_INSTRUCTION" | "ENTER_EXECUTOR" | "TRACE_RECORD");
            if hides {
                assert_eq!(kind, Op::Hidden, "{python:?}: {name}");
            } else if name.contains("CALL") && !own_work {
                let python_only = ["CALL_PY", "CALL_KW_PY", "CALL_EX_PY", "BOUND_METHOD", "PYFUNC", "ENTER_INIT"];
                let expected =
                    if python_only.iter().any(|part| name.contains(part)) { Op::CallsPython } else { Op::CallsC };
                assert_eq!(kind, expected, "{python:?}: {name}");
            }
        }
    }
}

#[test]
fn every_jump_backwards_is_known_and_no_other_instruction_is_one() {
    for python in interpreters() {
        let answer = ask(python, ALL);
        let minor = u8::try_from(answer[0].as_u64().unwrap()).unwrap();
        for (name, number) in answer[1].as_object().unwrap() {
            let number = u8::try_from(number.as_u64().unwrap()).unwrap();
            assert_eq!(
                jumps_back(minor, number),
                name.trim_start_matches("INSTRUMENTED_").starts_with("JUMP_BACKWARD"),
                "{python:?}: {name}"
            );
        }
    }
}

#[test]
fn an_unknown_version_hides_every_instruction() {
    assert_eq!(op_kind(10, 171), Op::Hidden);
    assert_eq!(op_kind(16, 52), Op::Hidden);
    assert!(entries(16).is_empty());
}
