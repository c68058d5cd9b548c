//! callgrind's file, for `callgrind_annotate`, KCachegrind and QCachegrind.
//!
//! Job: own costs by line and inclusive costs by call, in microseconds of CPU and wall time and, where memory was
//! profiled, bytes allocated. Invariants: the own costs add up to the totals; a recursive call is counted once. A
//! sampler counts no calls, so every call has the count 1. Neighbour: `pprof` for other viewers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::walk::path;
use crate::profile::model::Profile;
use crate::profile::model::StackNode;

/// Costs of one place, in the order of the events.
type Costs = [u64; 3];
/// File and function, by the indices of files and of names.
type Function<'p> = (&'p str, &'p str);

/// The profile's stacks as a callgrind file.
#[must_use]
pub fn callgrind(profile: &Profile) -> String {
    let memory = profile.totals.memory.alloc_bytes.is_some();
    let events = if memory { "CPU_us Wall_us Alloc_B" } else { "CPU_us Wall_us" };
    let shown = |costs: &Costs| {
        let costs = &costs[..if memory { 3 } else { 2 }];
        costs.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
    };
    let table = Table::of(profile);
    let mut out = String::from("# callgrind format\nversion: 1\n");
    let command = profile.target.command.join(" ").replace(char::is_control, " ");
    let _ =
        writeln!(out, "creator: rscalene {}\ncmd: {command}\npositions: line\nevents: {events}", profile.tool.version);
    let _ = writeln!(out, "event: CPU_us : CPU time, microseconds\nevent: Wall_us : CPU and waiting, microseconds");
    if memory {
        let _ = writeln!(out, "event: Alloc_B : bytes allocated");
    }
    let _ = writeln!(out, "summary: {}", shown(&table.total));
    for ((file, name), lines) in &table.own {
        let _ = writeln!(out, "\nfl={}\nfn={}", plain(file), plain(name));
        for (line, costs) in lines {
            let _ = writeln!(out, "{line} {}", shown(costs));
        }
        for ((line, callee), costs) in table.calls.get(&(*file, *name)).into_iter().flatten() {
            let first = table.first_lines.get(callee).copied().unwrap_or(0);
            let _ = writeln!(
                out,
                "cfi={}\ncfn={}\ncalls=1 {first}\n{line} {}",
                plain(callee.0),
                plain(callee.1),
                shown(costs)
            );
        }
    }
    let _ = writeln!(out, "\ntotals: {}", shown(&table.total));
    out
}

/// A name without line breaks; a leading parenthesis would be an abbreviation.
fn plain(name: &str) -> String {
    let name = name.replace(char::is_control, "_");
    if name.starts_with('(') { format!("_{name}") } else { name }
}

#[derive(Default)]
struct Table<'p> {
    own: BTreeMap<Function<'p>, BTreeMap<u32, Costs>>,
    calls: BTreeMap<Function<'p>, BTreeMap<(u32, Function<'p>), Costs>>,
    first_lines: BTreeMap<Function<'p>, u32>,
    total: Costs,
}

impl<'p> Table<'p> {
    fn of(profile: &'p Profile) -> Self {
        let mut table = Self::default();
        let nodes = &profile.stacks.nodes;
        let place = |node: &StackNode| {
            let frame = profile.stacks.frames.get(node.frame)?;
            Some(((path(profile, frame), frame.function.as_str()), frame.line))
        };
        // Callers stand before the called: one pass backwards sums subtrees.
        let mut with_callees: Vec<Costs> = nodes.iter().map(costs).collect();
        for (index, node) in nodes.iter().enumerate().rev() {
            if let Some(parent) = node.parent.filter(|parent| *parent < index) {
                let below = with_callees[index];
                add(&mut with_callees[parent], &below);
            }
        }
        for (node, below) in nodes.iter().zip(&with_callees) {
            let Some((function, line)) = place(node) else { continue };
            let own = costs(node);
            add(table.own.entry(function).or_default().entry(line).or_default(), &own);
            add(&mut table.total, &own);
            let first = table.first_lines.entry(function).or_insert(line);
            *first = line.min(*first);
            let Some(parent) = node.parent.and_then(|parent| nodes.get(parent)) else { continue };
            let Some((caller, at)) = place(parent) else { continue };
            if !repeats(nodes, parent, &place, (caller, function)) {
                let call = table.calls.entry(caller).or_default().entry((at, function)).or_default();
                add(call, below);
            }
        }
        table
    }
}

/// Whether the call from `caller` to `callee` is on the stack above already, so that its costs are counted.
fn repeats<'p>(
    nodes: &'p [StackNode],
    from: &'p StackNode,
    place: &impl Fn(&StackNode) -> Option<(Function<'p>, u32)>,
    (caller, callee): (Function<'p>, Function<'p>),
) -> bool {
    let mut below = from;
    while let Some(above) = below.parent.and_then(|parent| nodes.get(parent)) {
        let function = |node| place(node).map(|(function, _)| function);
        if function(below) == Some(callee) && function(above) == Some(caller) {
            return true;
        }
        below = above;
    }
    false
}

fn costs(node: &StackNode) -> Costs {
    [(node.cpu_s * 1e6).round() as u64, (node.wall_s * 1e6).round() as u64, node.alloc_bytes]
}

fn add(sum: &mut Costs, more: &Costs) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}
