//! The files of cProfile, for pstats, SnakeViz and similar viewers.
//!
//! Job: own and cumulative time of functions and of their callers: wall time (CPU and waiting), as cProfile measures
//! it, or another weight. Invariants, each for a reader that needs them: no keys but functions; callers are tuples of
//! four; one synthetic root calls every outermost frame (SnakeViz draws one root only). The format has no place for a
//! remark, so the root's name says which time and which counts the file holds. A sampling profiler counts no
//! calls: the counts are CPU samples whose stack has the function, 1 for a function that was only seen waiting. A
//! function that calls itself is counted once in cumulative time and in samples. Neighbour: `marshal` writes.

use std::collections::{BTreeMap, HashMap};

use super::marshal::Marshal;
use super::walk::{Weight, path};
use crate::profile::model::Profile;

/// The profile's stacks, weighed by `weight`, as the bytes of a pstats file.
#[must_use]
pub fn pstats(profile: &Profile, weight: Weight) -> Vec<u8> {
    let functions = Functions::of(profile, weight);
    let costs = costs(profile, &functions, weight);
    let mut out = Marshal::default();
    out.dict();
    for (index, cost) in costs.iter().enumerate() {
        key(&mut out, &functions.keys[index]);
        out.tuple(5);
        figures(&mut out, cost.figures);
        out.dict();
        for (caller, call) in &cost.callers {
            key(&mut out, &functions.keys[*caller]);
            out.tuple(4);
            figures(&mut out, *call);
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

fn figures(out: &mut Marshal, figures: Figures) {
    let count = i32::try_from(figures.samples.max(1)).unwrap_or(i32::MAX);
    out.int(count);
    out.int(count);
    out.float(figures.own);
    out.float(figures.total);
}

/// The name of the root, which says which figures the file holds.
fn root_name(profile: &Profile, weight: Weight) -> String {
    let unit = match weight {
        Weight::Wall if profile.totals.time.wait_s.is_some() => "wall seconds (CPU and waiting)",
        // Waits that were not measured are in no stack.
        Weight::Wall => "CPU seconds (waits are unknown)",
        Weight::Cpu => "CPU seconds",
        Weight::Alloc => "bytes allocated",
        Weight::Peak => "bytes held at the peak",
        Weight::Live => "bytes held at the end",
    };
    format!("<rscalene: {unit} of all threads; ncalls are CPU samples, not calls>")
}

/// The functions behind the frames.
struct Functions {
    keys: Vec<Key>,
    /// Function of each frame.
    of_frame: Vec<usize>,
}

impl Functions {
    fn of(profile: &Profile, weight: Weight) -> Self {
        let frames = &profile.stacks.frames;
        // If the profile does not know the first line of a function, take the smallest line seen.
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
        let mut keys = vec![("~".to_owned(), 0, root_name(profile, weight))];
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

/// Figures of a function, or of a caller's calls of the function.
#[derive(Clone, Copy, Default)]
struct Figures {
    /// Weight without callees.
    own: f64,
    /// Weight with callees.
    total: f64,
    /// CPU samples with callees.
    samples: u64,
}

impl Figures {
    /// Adds a subtree that is in no other subtree of the same function.
    fn add_subtree(&mut self, total: f64, samples: u64) {
        self.total += total;
        self.samples = self.samples.saturating_add(samples);
    }
}

/// Figures of a function, and the part that each of its callers caused.
#[derive(Clone, Default)]
struct Cost {
    figures: Figures,
    callers: BTreeMap<usize, Figures>,
}

fn costs(profile: &Profile, functions: &Functions, weight: Weight) -> Vec<Cost> {
    let nodes = &profile.stacks.nodes;
    let mut costs = vec![Cost::default(); functions.keys.len()];
    // Callers stand before the called: one pass backwards sums subtrees.
    let mut totals: Vec<f64> = nodes.iter().map(|node| weight.of(node)).collect();
    let mut samples: Vec<u64> = nodes.iter().map(|node| node.cpu_samples).collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut roots = Vec::new();
    for (index, node) in nodes.iter().enumerate().rev() {
        match node.parent.filter(|parent| *parent < index) {
            Some(parent) => {
                totals[parent] += totals[index];
                samples[parent] = samples[parent].saturating_add(samples[index]);
                children[parent].push(index);
            }
            None => roots.push(index),
        }
    }
    roots.iter().for_each(|&root| costs[ROOT].figures.add_subtree(totals[root], samples[root]));
    // Count of each function and each call on the stack above: only the outermost counts the subtree.
    let mut active = vec![0_u32; functions.keys.len()];
    let mut calls: HashMap<(usize, usize), u32> = HashMap::new();
    let mut pending: Vec<Step> = roots.into_iter().map(|node| Step::Enter { node, caller: ROOT }).collect();
    while let Some(step) = pending.pop() {
        match step {
            Step::Enter { node, caller } => {
                let Some(&function) = functions.of_frame.get(nodes[node].frame) else { continue };
                let (cost, own) = (&mut costs[function], weight.of(&nodes[node]));
                cost.figures.own += own;
                if active[function] == 0 {
                    cost.figures.add_subtree(totals[node], samples[node]);
                }
                active[function] += 1;
                let depth = calls.entry((caller, function)).or_default();
                let call = cost.callers.entry(caller).or_default();
                call.own += own;
                if *depth == 0 {
                    call.add_subtree(totals[node], samples[node]);
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

/// A step of the walk over the tree. The walk does not recurse, because the tree may be deeper than the own stack.
enum Step {
    Enter { node: usize, caller: usize },
    Leave { function: usize, caller: usize },
}
