//! The line table decoder against `co_lines` and `co_positions` over the standard library.

use rscalene_interp::linetable::{line_at, locations};

use crate::target::{ask, interpreters};

/// Code objects of many files, each as: first line, table in hex, `co_lines`, and `co_positions` where two bytes share.
const TABLES: &str = r#"
import glob, json, os, sys
out = []
def add(code):
    positions = [list(p) for p in code.co_positions()]
    out.append([code.co_firstlineno, code.co_linetable.hex(), [list(l) for l in code.co_lines()], positions])
    for const in code.co_consts:
        if hasattr(const, "co_code"):
            add(const)
folder = os.path.dirname(os.__file__)
files = sorted(glob.glob(folder + "/*.py") + glob.glob(folder + "/asyncio/*.py"))[::12]
for name in files:
    with open(name, encoding="utf-8") as f:
        add(compile(f.read(), name, "exec"))
add(compile("\n" * 40000 + "x = (" + "\n" * 70000 + "1)\n" + "y = " + " " * 3000 + "x + x\n", "long", "exec"))
print(json.dumps(out))
"#;

#[test]
fn lines_and_columns_are_those_of_the_interpreter() {
    for python in interpreters() {
        let answer = ask(python, TABLES);
        let codes = answer.as_array().unwrap();
        assert!(codes.len() > 500, "{python:?}: {} code objects", codes.len());
        for code in codes {
            check(code, &format!("{python:?}"));
        }
    }
}

fn check(code: &serde_json::Value, what: &str) {
    let first = u32::try_from(code[0].as_u64().unwrap()).unwrap();
    let hex = code[1].as_str().unwrap();
    let table: Vec<u8> = (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
    for range in code[2].as_array().unwrap() {
        let (start, end) = (range[0].as_u64().unwrap(), range[1].as_u64().unwrap());
        let said = range[2].as_u64().map(|line| u32::try_from(line).unwrap());
        for offset in [start, end - 1] {
            let offset = u32::try_from(offset).unwrap();
            assert_eq!(line_at(&table, first, offset), said, "{what}: line of byte {offset} in {hex}");
        }
    }
    let positions = code[3].as_array().unwrap();
    let mut unit = 0;
    for location in locations(&table, first) {
        let (from, to) = location.columns.unzip();
        let read = serde_json::json!([location.line, location.end_line, from, to]);
        assert_eq!(u64::from(location.start), unit as u64 * 2, "{what}");
        while unit < location.end as usize / 2 {
            assert_eq!(read, positions[unit], "{what}: unit {unit} of {hex}");
            unit += 1;
        }
    }
    assert_eq!(unit, positions.len(), "{what}: the table ends with the bytecode");
}
