//! Code of templates, on the lines of the template.
//!
//! Job: replace the line table of a code object that Jinja2 made, so that each instruction has its line in the
//! template; reports then show the template's own text beside the figures. Invariants: pure; the offsets of the
//! bytecode stay as they were; any bytes as a map give a valid table. Neighbours: `rscalene_interp::template_map` finds
//! the map, `decode` and `observe::remote::stacks` call [`translate`].

use rscalene_interp::linetable::locations;

use super::event::CodeDef;

/// Bytes of bytecode that an entry of a line table covers at most.
const ENTRY_BYTES: u32 = 16;
/// Head of an entry with a change of line and without columns; the low three bits hold the length.
const NO_COLUMNS: u8 = 0x80 | 13 << 3;

/// The map from lines of code to lines of a template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateLines(Box<[(u32, u32)]>);

impl TemplateLines {
    /// Reads a map such as `1=12&7=20`: template line 1 is code line 12. Invalid pairs are left out.
    #[must_use]
    pub fn parse(map: &str) -> Self {
        let pair = |pair: &str| {
            let (template, code) = pair.split_once('=')?;
            Some((code.parse().ok()?, template.parse().ok().filter(|&line: &u32| line > 0 && line <= 1 << 24)?))
        };
        Self::new(map.split('&').filter_map(pair).collect())
    }

    /// A map of pairs of a code line and a template line.
    #[must_use]
    pub fn new(mut pairs: Vec<(u32, u32)>) -> Self {
        pairs.sort_unstable();
        Self(pairs.into())
    }

    /// The template's line for a line of the code, from 1 on; 1 before the first pair.
    #[must_use]
    pub fn line(&self, code: u32) -> u32 {
        let at = self.0.partition_point(|(line, _)| *line <= code);
        at.checked_sub(1).and_then(|at| self.0.get(at)).map_or(1, |(_, template)| (*template).max(1))
    }
}

/// Gives the code object the lines of its template. `map`: the text of the line map.
pub fn translate(code: &mut CodeDef, map: &[u8]) {
    (code.def.first_line, code.table) = translated(code.def.first_line, &code.table, map);
}

/// The first line in the template, and the line table, of code with this first line and this table.
#[must_use]
pub fn translated(code_line: u32, code_table: &[u8], map: &[u8]) -> (u32, Vec<u8>) {
    let lines = TemplateLines::parse(std::str::from_utf8(map).unwrap_or(""));
    let first_line = lines.line(code_line);
    let mut table = Vec::new();
    let mut before = i64::from(first_line);
    for place in locations(code_table, code_line) {
        let line = place.line.map(|line| i64::from(lines.line(line)));
        let mut start = place.start;
        while start < place.end {
            let bytes = (place.end - start).min(ENTRY_BYTES);
            entry(&mut table, bytes, line.map(|line| line - before));
            before = line.unwrap_or(before);
            start += bytes;
        }
    }
    (first_line, table)
}

/// Appends an entry of `bytes` bytes of bytecode: `step` lines after the line before, or without a line.
fn entry(table: &mut Vec<u8>, bytes: u32, step: Option<i64>) {
    let units = (bytes / 2).saturating_sub(1).min(7) as u8;
    let Some(step) = step else {
        table.push(0x80 | 15 << 3 | units);
        return;
    };
    table.push(NO_COLUMNS | units);
    let mut left = step.unsigned_abs() << 1 | u64::from(step < 0);
    while left >= 64 {
        table.push(64 | (left & 63) as u8);
        left >>= 6;
    }
    table.push(left as u8);
}

#[cfg(test)]
mod tests {
    use rscalene_interp::linetable::line_at;
    use rscalene_wire as wire;

    use super::*;

    #[test]
    fn each_instruction_gets_the_line_of_its_template() {
        // Lines 10 (2 bytes), 11 (16 bytes), none (4 bytes), 20 (6 bytes), 12 (2 bytes).
        let mut table = Vec::new();
        for (bytes, step) in [(2, Some(0)), (16, Some(1)), (4, None), (6, Some(9)), (2, Some(-8))] {
            entry(&mut table, bytes, step);
        }
        let def = wire::CodeDef { first_line: 10, ..wire::CodeDef::default() };
        let mut code = CodeDef { def, table, ..CodeDef::default() };
        translate(&mut code, b"3=11&700=20&x=4&5&0=12&9=");
        let lines: Vec<_> = [0, 2, 16, 18, 22, 26, 28]
            .map(|offset| line_at(&code.table, code.def.first_line, offset))
            .into_iter()
            .collect();
        assert_eq!(code.def.first_line, 1);
        assert_eq!(lines, [Some(1), Some(3), Some(3), None, Some(700), Some(700), Some(3)]);
    }

    #[test]
    fn any_bytes_as_a_map_keep_the_offsets() {
        let mut table = Vec::new();
        entry(&mut table, 16, Some(70_000));
        entry(&mut table, 2, Some(-69_999));
        let def = wire::CodeDef { first_line: 1, ..wire::CodeDef::default() };
        for map in [&b""[..], b"\xff=1", b"4294967295=1&1=4294967295", b"99999999999=1", b"=&=", b"5=1&5=1"] {
            let mut code = CodeDef { def, table: table.clone(), ..CodeDef::default() };
            translate(&mut code, map);
            let ends: Vec<_> =
                locations(&code.table, code.def.first_line).map(|place| (place.start, place.end)).collect();
            assert_eq!(ends, [(0, 16), (16, 18)]);
        }
    }
}
