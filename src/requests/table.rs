//! The table of functions, with the columns of cProfile and pstats.
//!
//! Job: sum the call tree by function and by caller; print the table, and write it as a `.prof` file. Invariants: pure;
//! calls, primitive calls and times are defined as in cProfile, so that pstats, SnakeViz and werkzeug can read the
//! file. Neighbours: `tree` counts, `text` prints.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyString};
use rustc_hash::FxHashMap;

use super::functions::Function;
use super::text::{self, Key, Line, Restriction};
use super::tree::Tree;
use crate::lines::clock;
use crate::report::export::marshal::Marshal;

/// Cost of a function, or of its calls from one caller.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    calls: u64,
    primitive: u64,
    own_s: f64,
    total_s: f64,
}

/// The same cost in ticks, while it is summed.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    calls: u64,
    primitive: u64,
    own: u64,
    total: u64,
}

impl Sum {
    fn add(&mut self, calls: u64, own: u64, total: u64, outermost: bool) {
        self.calls += calls;
        self.own += own;
        if outermost {
            self.primitive += calls;
            self.total += total;
        }
    }

    fn figures(self, rate: f64) -> Figures {
        let (calls, primitive) = (self.calls, self.primitive);
        Figures { calls, primitive, own_s: self.own as f64 * rate, total_s: self.total as f64 * rate }
    }
}

#[derive(Debug)]
struct Entry {
    file: Box<str>,
    line: u32,
    name: Box<str>,
    figures: Figures,
    callers: Vec<(usize, Figures)>,
}

/// A table of functions: calls, primitive calls, own and cumulative time, and callers.
#[pyclass(frozen, module = "rscalene._rscalene")]
pub(super) struct CallTable {
    entries: Vec<Entry>,
}

impl CallTable {
    pub(super) fn of(tree: &Tree<Arc<Function>>) -> Self {
        let nodes = &tree.nodes;
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: FxHashMap<(&str, u32, &str), usize> = FxHashMap::default();
        let of_node: Vec<Option<usize>> = nodes
            .iter()
            .map(|node| {
                let function = node.function.as_ref()?;
                let key = (&*function.file, function.line, &*function.name);
                Some(*places.entry(key).or_insert_with(|| {
                    entries.push(Entry {
                        file: function.file.clone(),
                        line: function.line,
                        name: function.name.clone(),
                        figures: Figures::default(),
                        callers: Vec::new(),
                    });
                    entries.len() - 1
                }))
            })
            .collect();
        let mut totals: Vec<u64> = nodes.iter().map(|node| node.own).collect();
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
        for (index, node) in nodes.iter().enumerate().rev() {
            let parent = node.parent as usize;
            if parent < index {
                totals[parent] += totals[index];
                children[parent].push(index);
            }
        }
        let rate = clock::rate();
        let mut sums = vec![Sum::default(); entries.len()];
        let mut callers: FxHashMap<(usize, usize), Sum> = FxHashMap::default();
        let mut active = vec![0_u32; entries.len()];
        let mut pairs: FxHashMap<(usize, usize), u32> = FxHashMap::default();
        let mut pending = vec![Step::Enter { node: 0, caller: None }];
        while let Some(step) = pending.pop() {
            match step {
                Step::Enter { node, caller } => {
                    let at = of_node[node];
                    if let Some(at) = at {
                        let (node, total) = (&nodes[node], totals[node]);
                        sums[at].add(node.calls, node.own, total, active[at] == 0);
                        active[at] += 1;
                        if let Some(caller) = caller {
                            let depth = pairs.entry((caller, at)).or_default();
                            let sum = callers.entry((caller, at)).or_default();
                            sum.add(node.calls, node.own, total, *depth == 0);
                            *depth += 1;
                        }
                        pending.push(Step::Leave { at, caller });
                    }
                    pending.extend(children[node].iter().map(|&node| Step::Enter { node, caller: at }));
                }
                Step::Leave { at, caller } => {
                    active[at] -= 1;
                    if let Some(caller) = caller {
                        pairs.entry((caller, at)).and_modify(|depth| *depth -= 1);
                    }
                }
            }
        }
        let mut callers: Vec<_> = callers.into_iter().collect();
        callers.sort_by_key(|(pair, _)| *pair);
        for ((caller, at), sum) in callers {
            entries[at].callers.push((caller, sum.figures(rate)));
        }
        for (entry, sum) in entries.iter_mut().zip(sums) {
            entry.figures = sum.figures(rate);
        }
        Self { entries }
    }
}

/// A step of the walk over the tree. A recursive walk could overflow the stack, because the tree may be very deep.
enum Step {
    Enter { node: usize, caller: Option<usize> },
    Leave { at: usize, caller: Option<usize> },
}

/// A restriction of pstats: an int, a float from 0 to 1, or a regular expression.
fn restriction<'py>(given: &Bound<'py, PyAny>, patterns: &mut Vec<Bound<'py, PyAny>>) -> PyResult<Restriction> {
    let shown = given.repr()?.to_string();
    if given.is_instance_of::<PyString>() {
        let re = given.py().import("re")?;
        let pattern = match re.call_method1("compile", (given,)) {
            Ok(pattern) => {
                patterns.push(pattern);
                Some(patterns.len() - 1)
            }
            Err(error) if error.is_instance(given.py(), &re.getattr("error")?) => None,
            Err(error) => return Err(error),
        };
        return Ok(Restriction::Found { pattern, shown });
    }
    // pstats ignores values of other types: every row stays.
    if given.is_instance_of::<PyFloat>() {
        let share = given.extract::<f64>()?;
        let share = if (0.0..1.0).contains(&share) { share } else { 1.0 };
        return Ok(Restriction::Share { share, shown });
    }
    let rows = given.extract::<i64>().ok().and_then(|rows| usize::try_from(rows).ok()).unwrap_or(usize::MAX);
    Ok(Restriction::First { rows, shown })
}

#[pymethods]
impl CallTable {
    /// A table from rows in the form of [`CallTable::rows`], without callers.
    #[staticmethod]
    fn of_rows(rows: Vec<(String, u32, String, u64, u64, f64, f64)>) -> Self {
        let entries = rows.into_iter().map(|(file, line, name, calls, primitive, own_s, total_s)| Entry {
            file: file.into(),
            line,
            name: name.into(),
            figures: Figures { calls, primitive, own_s, total_s },
            callers: Vec::new(),
        });
        Self { entries: entries.collect() }
    }

    /// `(file, line, name, calls, primitive_calls, own_s, total_s)` of each function.
    fn rows(&self) -> Vec<(&str, u32, &str, u64, u64, f64, f64)> {
        let rows = self.entries.iter().map(|entry| {
            let figures = entry.figures;
            (&*entry.file, entry.line, &*entry.name, figures.calls, figures.primitive, figures.own_s, figures.total_s)
        });
        rows.collect()
    }

    /// The content of a file for `pstats.Stats`.
    fn prof<'py>(&self, py: Python<'py>) -> Bound<'py, pyo3::types::PyBytes> {
        let mut out = Marshal::default();
        out.dict();
        for entry in &self.entries {
            key(&mut out, entry);
            out.tuple(5);
            figures(&mut out, entry.figures.primitive, entry.figures.calls, entry.figures);
            out.dict();
            for (caller, cost) in &entry.callers {
                key(&mut out, &self.entries[*caller]);
                out.tuple(4);
                // For callers, pstats expects calls before primitive calls; for functions, the reverse.
                figures(&mut out, cost.calls, cost.primitive, *cost);
            }
            out.end_dict();
        }
        out.end_dict();
        pyo3::types::PyBytes::new(py, &out.into_bytes())
    }

    /// The text that `pstats.Stats(...).sort_stats(*sort_by).print_stats(*restrictions)` prints. `sort_by` holds full
    /// names.
    #[expect(clippy::needless_pass_by_value, reason = "from Python")]
    fn text(&self, sort_by: Vec<String>, restrictions: Vec<Bound<'_, PyAny>>) -> PyResult<String> {
        let keys = sort_by.iter().map(|name| {
            Key::named(name).ok_or_else(|| PyValueError::new_err(format!("no key of pstats is called `{name}`")))
        });
        let keys = keys.collect::<PyResult<Vec<_>>>()?;
        let lines: Vec<Line<'_>> = self
            .entries
            .iter()
            .map(|entry| Line {
                file: &entry.file,
                line: entry.line,
                name: &entry.name,
                calls: entry.figures.calls,
                primitive: entry.figures.primitive,
                own_s: entry.figures.own_s,
                total_s: entry.figures.total_s,
            })
            .collect();
        let mut patterns = Vec::new();
        let restrictions =
            restrictions.iter().map(|given| restriction(given, &mut patterns)).collect::<PyResult<Vec<_>>>()?;
        text::render(lines, &keys, &restrictions, |pattern, name| {
            Ok(!patterns[pattern].call_method1("search", (name,))?.is_none())
        })
    }
}

fn key(out: &mut Marshal, entry: &Entry) {
    out.tuple(3);
    out.text(&entry.file);
    out.int(i32::try_from(entry.line).unwrap_or(i32::MAX));
    out.text(&entry.name);
}

fn figures(out: &mut Marshal, first: u64, second: u64, figures: Figures) {
    out.int(i32::try_from(first).unwrap_or(i32::MAX));
    out.int(i32::try_from(second).unwrap_or(i32::MAX));
    out.float(figures.own_s);
    out.float(figures.total_s);
}
