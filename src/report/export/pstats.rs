//! The files of cProfile, for pstats, SnakeViz and all that reads them.
//!
//! Job: own and cumulative CPU seconds of functions and of who called them. Invariants, each because some reader needs
//! it: no keys but functions; callers are tuples of four; one synthetic root calls every outermost frame (SnakeViz draws
//! one root only); nobody counts calls when sampling, so every count is 1. A function that calls itself is counted
//! once in cumulative time. Neighbour: `marshal` writes.

use std::collections::{BTreeMap, HashMap};

use super::marshal::Marshal;
use super::walk::path;
use crate::profile::model::Profile;

/// The profile's CPU seconds as the bytes of a pstats file.
#[must_use]
pub fn pstats(profile: &Profile) -> Vec<u8> {
    let functions = Functions::of(profile);
    let costs = costs(profile, &functions);
    let mut out = Marshal::default();
    out.dict();
    for (index, cost) in costs.iter().enumerate() {
        key(&mut out, &functions.keys[index]);
        out.tuple(5);
        figures(&mut out, cost.own_s, cost.total_s);
        out.dict();
        for (caller, (own_s, total_s)) in &cost.callers {
            key(&mut out, &functions.keys[*caller]);
            out.tuple(4);
            figures(&mut out, *own_s, *total_s);
        }
        out.end_dict();
    }
    out.end_dict();
    out.into_bytes()
}

/// File, line and name, as pstats names functions.
type Key = (String, i32, String);

/// Index of the root among the functions.
const ROOT: usize = 0;

fn key(out: &mut Marshal, (file, line, name): &Key) {
    out.tuple(3);
    out.text(file);
    out.int(*line);
    out.text(name);
}

fn figures(out: &mut Marshal, own_s: f64, total_s: f64) {
    out.int(1);
    out.int(1);
    out.float(own_s);
    out.float(total_s);
}

/// The functions behind the frames.
struct Functions {
    keys: Vec<Key>,
    /// Function of each frame.
    of_frame: Vec<usize>,
}

impl Functions {
    fn of(profile: &Profile) -> Self {
        let frames = &profile.stacks.frames;
        // Where the profile does not say at which line a function starts, the smallest line seen stands for it.
        let mut smallest: HashMap<(usize, &str), u32> = HashMap::new();
        for frame in frames {
            let line = smallest.entry((frame.file, &frame.function)).or_insert(frame.line);
            *line = frame.line.min(*line);
        }
        let mut known: HashMap<(usize, &str), Vec<(u32, u32)>> = HashMap::new();
        for (index, file) in profile.files.iter().enumerate() {
            for function in &file.functions {
                let lines = (function.first_line, function.last_line);
                known.entry((index, &function.qualname)).or_default().push(lines);
            }
        }
        let mut keys = vec![("~".to_owned(), 0, "<rscalene>".to_owned())];
        let mut indices: HashMap<Key, usize> = HashMap::new();
        let of_frame = frames.iter().map(|frame| {
            let name = (frame.file, frame.function.as_str());
            let around = |(first, last): &&(u32, u32)| (*first..=*last).contains(&frame.line);
            let defined = known.get(&name).and_then(|all| all.iter().find(around)).map(|(first, _)| *first);
            let line = defined.or(smallest.get(&name).copied()).unwrap_or(frame.line);
            let line = i32::try_from(line).unwrap_or(i32::MAX);
            let key = (path(profile, frame).to_owned(), line, frame.function.clone());
            *indices.entry(key.clone()).or_insert_with(|| {
                keys.push(key);
                keys.len() - 1
            })
        });
        let of_frame = of_frame.collect();
        Self { keys, of_frame }
    }
}

/// What a function costs, own and in all, and how much of that its callers caused.
#[derive(Clone, Default)]
struct Cost {
    own_s: f64,
    total_s: f64,
    callers: BTreeMap<usize, (f64, f64)>,
}

fn costs(profile: &Profile, functions: &Functions) -> Vec<Cost> {
    let nodes = &profile.stacks.nodes;
    let mut costs = vec![Cost::default(); functions.keys.len()];
    // Callers stand before the called: one pass backwards sums subtrees.
    let mut totals: Vec<f64> = nodes.iter().map(|node| node.cpu_s).collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut roots = Vec::new();
    for (index, node) in nodes.iter().enumerate().rev() {
        match node.parent.filter(|parent| *parent < index) {
            Some(parent) => {
                totals[parent] += totals[index];
                children[parent].push(index);
            }
            None => roots.push(index),
        }
    }
    costs[ROOT].total_s = roots.iter().map(|root| totals[*root]).sum();
    // How often each function and each call is on the stack above: only the outermost counts the subtree.
    let mut active = vec![0_u32; functions.keys.len()];
    let mut calls: HashMap<(usize, usize), u32> = HashMap::new();
    let mut pending: Vec<Step> = roots.into_iter().map(|node| Step::Enter { node, caller: ROOT }).collect();
    while let Some(step) = pending.pop() {
        match step {
            Step::Enter { node, caller } => {
                let Some(&function) = functions.of_frame.get(nodes[node].frame) else { continue };
                let cost = &mut costs[function];
                cost.own_s += nodes[node].cpu_s;
                if active[function] == 0 {
                    cost.total_s += totals[node];
                }
                active[function] += 1;
                let depth = calls.entry((caller, function)).or_default();
                let call = cost.callers.entry(caller).or_default();
                call.0 += nodes[node].cpu_s;
                if *depth == 0 {
                    call.1 += totals[node];
                }
                *depth += 1;
                pending.push(Step::Leave { function, caller });
                pending.extend(children[node].iter().map(|&node| Step::Enter { node, caller: function }));
            }
            Step::Leave { function, caller } => {
                active[function] -= 1;
                calls.entry((caller, function)).and_modify(|depth| *depth -= 1);
            }
        }
    }
    costs
}

/// A step of the walk over the tree, which may be deeper than our own stack.
enum Step {
    Enter { node: usize, caller: usize },
    Leave { function: usize, caller: usize },
}
