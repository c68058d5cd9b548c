//! Pairs of the same file, line and function in two profiles.
//!
//! Job: pair files by path, and lines by their source, so that lines which moved still pair, and with them functions
//! that were renamed. Invariant: each line and file of either side is in the answer exactly once. Neighbour: `diff`
//! subtracts the pairs.
//!
//! Lines in the same order in both files pair first, by a longest common subsequence of their source, as `diff` finds
//! it. A remaining line pairs with a line of equal source anywhere in the file. A line without source pairs with the
//! line of its number.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::profile::model::{File, Line};

/// A pair, or a single item without a partner.
pub(crate) type Pair<'a, T> = (Option<&'a T>, Option<&'a T>);

/// Most cells of the table of common subsequences; larger files pair by equal source alone.
const MOST_CELLS: usize = 16 << 20;

/// Pairs files: equal paths first, then equal names of file and folder, then equal names of file if the name is unique,
/// then files with the same lines (a file that was renamed, a cell of a notebook that was run again).
pub(crate) fn files<'a>(old: &'a [File], new: &'a [File]) -> Vec<Pair<'a, File>> {
    let mut partner: Vec<Option<usize>> = vec![None; new.len()];
    let mut free: Vec<bool> = vec![true; old.len()];
    for components in [usize::MAX, 2, 1] {
        // By ending: the files of either side that have no partner yet. A pair is certain only if each side has a
        // single file.
        let mut alone: HashMap<Vec<&str>, (Vec<usize>, Vec<usize>)> = HashMap::new();
        for at in (0..old.len()).filter(|&at| free[at]) {
            alone.entry(ending(&old[at].path, components)).or_default().0.push(at);
        }
        for at in (0..new.len()).filter(|&at| partner[at].is_none()) {
            alone.entry(ending(&new[at].path, components)).or_default().1.push(at);
        }
        for (olds, news) in alone.into_values() {
            if let ([old_at], [new_at]) = (olds.as_slice(), news.as_slice()) {
                free[*old_at] = false;
                partner[*new_at] = Some(*old_at);
            }
        }
    }
    for (old_at, new_at) in alike(old, new, &free, &partner) {
        free[old_at] = false;
        partner[new_at] = Some(old_at);
    }
    let mut pairs: Vec<_> =
        new.iter().zip(partner).map(|(file, old_at)| (old_at.map(|at| &old[at]), Some(file))).collect();
    pairs.extend(old.iter().zip(free).filter(|(_, free)| *free).map(|(file, _)| (Some(file), None)));
    pairs
}

/// Most files without a partner on a side; if there are more, they get none.
const MOST_ALONE: usize = 200;

/// Pairs, among the files without a partner, those that share half of their lines; most shared lines first.
fn alike(old: &[File], new: &[File], free: &[bool], partner: &[Option<usize>]) -> Vec<(usize, usize)> {
    let source_lines = |file: &File| -> HashSet<String> {
        file.lines.iter().filter_map(|line| line.source.as_deref()).map(|text| text.trim().to_owned()).collect()
    };
    let olds: Vec<_> = (0..old.len()).filter(|&at| free[at]).map(|at| (at, source_lines(&old[at]))).collect();
    let news: Vec<_> =
        (0..new.len()).filter(|&at| partner[at].is_none()).map(|at| (at, source_lines(&new[at]))).collect();
    if olds.len() > MOST_ALONE || news.len() > MOST_ALONE {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (old_at, old_lines) in &olds {
        for (new_at, new_lines) in &news {
            let same = old_lines.intersection(new_lines).count();
            if same > 0 && 2 * same >= old_lines.len().min(new_lines.len()) {
                found.push((std::cmp::Reverse(same), *old_at, *new_at));
            }
        }
    }
    found.sort_unstable();
    let (mut taken_old, mut taken_new) = (HashSet::new(), HashSet::new());
    found.retain(|(_, old_at, new_at)| {
        let alone = !taken_old.contains(old_at) && !taken_new.contains(new_at);
        alone && taken_old.insert(*old_at) && taken_new.insert(*new_at)
    });
    found.into_iter().map(|(_, old_at, new_at)| (old_at, new_at)).collect()
}

/// Pairs the lines of a file.
pub(crate) fn lines<'a>(old: &'a [Line], new: &'a [Line]) -> Vec<Pair<'a, Line>> {
    let sources = |lines: &'a [Line]| -> Vec<Option<&'a str>> {
        lines.iter().map(|line| line.source.as_deref().map(str::trim)).collect()
    };
    let (old_sources, new_sources) = (sources(old), sources(new));
    let mut partner: Vec<Option<usize>> = vec![None; new.len()];
    let mut free = vec![true; old.len()];
    for (old_at, new_at) in in_order(&old_sources, &new_sources) {
        partner[new_at] = Some(old_at);
        free[old_at] = false;
    }
    let mut waiting: HashMap<(Option<&str>, u32), VecDeque<usize>> = HashMap::new();
    let key = |text: Option<&'a str>, line: &Line| (text, if text.is_some() { 0 } else { line.line });
    for at in (0..old.len()).filter(|&at| free[at]) {
        waiting.entry(key(old_sources[at], &old[at])).or_default().push_back(at);
    }
    for at in 0..new.len() {
        if partner[at].is_none()
            && let Some(found) = waiting.get_mut(&key(new_sources[at], &new[at])).and_then(VecDeque::pop_front)
        {
            partner[at] = Some(found);
            free[found] = false;
        }
    }
    let mut pairs: Vec<_> =
        new.iter().zip(partner).map(|(line, old_at)| (old_at.map(|at| &old[at]), Some(line))).collect();
    pairs.extend(old.iter().zip(free).filter(|(_, free)| *free).map(|(line, _)| (Some(line), None)));
    pairs
}

/// Functions that were renamed: of the qualified names without a partner, the pairs whose lines are mostly the same.
/// Lines of inner functions count for the outer function too, because a comprehension is a function with lines of its
/// own.
pub(crate) fn renamed<'a>(
    lines: &[Pair<'a, Line>],
    old: &HashSet<&str>,
    new: &HashSet<&str>,
) -> Vec<(&'a str, &'a str)> {
    let mut same: BTreeMap<(&'a str, &'a str), usize> = BTreeMap::new();
    let (mut old_lines, mut new_lines): (HashMap<&str, usize>, HashMap<&str, usize>) = Default::default();
    for (before, after) in lines {
        let before = before.map(|line| line.function.as_str());
        let after = after.map(|line| line.function.as_str());
        before.into_iter().flat_map(around).for_each(|name| *old_lines.entry(name).or_default() += 1);
        after.into_iter().flat_map(around).for_each(|name| *new_lines.entry(name).or_default() += 1);
        let (Some(before), Some(after)) = (before, after) else { continue };
        for (before, after) in around(before).zip(around(after)) {
            if old.contains(before) && new.contains(after) {
                *same.entry((before, after)).or_default() += 1;
            }
            if last_name(before) != last_name(after) {
                break;
            }
        }
    }
    let mut found: Vec<_> = same
        .into_iter()
        .filter(|((before, after), count)| 2 * count >= old_lines[before].max(new_lines[after]))
        .map(|(names, count)| (std::cmp::Reverse(count), names))
        .collect();
    found.sort_unstable();
    let (mut taken_old, mut taken_new) = (HashSet::new(), HashSet::new());
    found.retain(|(_, (before, after))| {
        let alone = !taken_old.contains(before) && !taken_new.contains(after);
        alone && taken_old.insert(*before) && taken_new.insert(*after)
    });
    found.into_iter().map(|(_, names)| names).collect()
}

/// A qualified name, then the names of the functions around it, innermost first.
fn around(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.rsplit_once(LOCALS).map(|(outer, _)| outer))
}

fn last_name(name: &str) -> &str {
    name.rsplit_once(LOCALS).map_or(name, |(_, last)| last)
}

/// The part of a qualified name between a function and its inner function.
const LOCALS: &str = ".<locals>.";

/// Indices of a longest common subsequence; lines without source never match.
fn in_order(old: &[Option<&str>], new: &[Option<&str>]) -> Vec<(usize, usize)> {
    if old.len().saturating_mul(new.len()) > MOST_CELLS {
        return Vec::new();
    }
    let same = |at: usize, other: usize| old[at].is_some() && old[at] == new[other];
    let width = new.len() + 1;
    // longest[i][j]: length for the lines from i of the old file and from j of the new file on.
    let mut longest = vec![0u32; (old.len() + 1) * width];
    for at in (0..old.len()).rev() {
        for other in (0..new.len()).rev() {
            longest[at * width + other] = if same(at, other) {
                longest[(at + 1) * width + other + 1] + 1
            } else {
                longest[(at + 1) * width + other].max(longest[at * width + other + 1])
            };
        }
    }
    let (mut at, mut other, mut pairs) = (0, 0, Vec::new());
    while at < old.len() && other < new.len() {
        if same(at, other) {
            pairs.push((at, other));
            at += 1;
            other += 1;
        } else if longest[(at + 1) * width + other] >= longest[at * width + other + 1] {
            at += 1;
        } else {
            other += 1;
        }
    }
    pairs
}

/// The last `components` components of a path.
fn ending(path: &str, components: usize) -> Vec<&str> {
    path.rsplit('/').take(components).collect()
}
