//! Laws of the exports.

use std::collections::BTreeMap;

use rscalene::profile::model::{Profile, StackFrame, StackNode};
use rscalene::report::export::{Weight, collapsed, pstats, speedscope};
use serde_json::Value;

use crate::profiles::realistic;

fn sum(profile: &Profile, of: fn(&StackNode) -> f64) -> f64 {
    profile.stacks.nodes.iter().map(of).sum()
}

#[test]
fn collapsed_stacks_read_outermost_first_and_keep_the_sum() {
    let profile = realistic();
    assert_eq!(
        collapsed(&profile, Weight::Cpu),
        "<module> (orders.py:52);main (orders.py:48) 250000\n\
         <module> (orders.py:52);main (orders.py:48);simulate (orders.py:28) 1000000\n\
         <module> (orders.py:52);main (orders.py:48);simulate (orders.py:28);simulate (orders.py:29) 500000\n\
         <module> (orders.py:52);main (orders.py:48);simulate (orders.py:28);simulate (orders.py:29);Random_State.draw (random.py:7) 125000\n\
         <module> (orders.py:52);main (orders.py:48);simulate (orders.py:29) 62500\n"
    );
    let total = |weight| -> u64 {
        collapsed(&profile, weight).lines().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    assert_eq!(total(Weight::Wall) as f64, sum(&profile, |node| node.wall_s) * 1e6);
    assert_eq!(total(Weight::Alloc) as f64, sum(&profile, |node| node.alloc_bytes as f64));
}

#[test]
fn speedscope_has_a_profile_for_each_weight_over_the_same_frames() {
    let profile = realistic();
    let file: Value = serde_json::from_str(&speedscope(&profile, None)).unwrap();
    let frames = file["shared"]["frames"].as_array().unwrap();
    assert_eq!(
        frames[4],
        serde_json::json!({"name": "Random;State.draw", "file": "/usr/lib/python3/random.py", "line": 7})
    );
    let profiles = file["profiles"].as_array().unwrap();
    assert_eq!(profiles.len(), 5, "CPU, wall, allocations, the peak and the end");
    for made in profiles {
        let weights: Vec<f64> = made["weights"].as_array().unwrap().iter().map(|w| w.as_f64().unwrap()).collect();
        assert_eq!(made["endValue"].as_f64().unwrap(), weights.iter().sum::<f64>());
        let samples = made["samples"].as_array().unwrap();
        assert_eq!(samples.len(), weights.len());
        for sample in samples {
            assert!(sample.as_array().unwrap().iter().all(|frame| (frame.as_u64().unwrap() as usize) < frames.len()));
            assert_eq!(sample[0], 0, "outermost first");
        }
    }
    assert_eq!(profiles[0]["endValue"].as_f64().unwrap(), sum(&profile, |node| node.cpu_s));
}

/// What of marshal a pstats file may hold.
#[derive(Clone, Debug, PartialEq)]
enum Object {
    Int(i32),
    Float(f64),
    Text(String),
    Tuple(Vec<Object>),
    Dict(Vec<(Object, Object)>),
    End,
}

fn load(bytes: &mut &[u8]) -> Object {
    fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
        let (head, rest) = bytes.split_at(N);
        *bytes = rest;
        head.try_into().unwrap()
    }
    let length = |bytes: &mut &[u8]| i32::from_le_bytes(take(bytes)) as usize;
    match take::<1>(bytes)[0] {
        b'i' => Object::Int(i32::from_le_bytes(take(bytes))),
        b'g' => Object::Float(f64::from_le_bytes(take(bytes))),
        b'u' => {
            let length = length(bytes);
            let (text, rest) = bytes.split_at(length);
            *bytes = rest;
            Object::Text(String::from_utf8(text.to_vec()).unwrap())
        }
        b'(' => {
            let length = length(bytes);
            Object::Tuple((0..length).map(|_| load(bytes)).collect())
        }
        b'{' => {
            let mut entries = Vec::new();
            loop {
                let key = load(bytes);
                if key == Object::End {
                    return Object::Dict(entries);
                }
                entries.push((key, load(bytes)));
            }
        }
        b'0' => Object::End,
        other => panic!("type {other} is not in version 2"),
    }
}

type Costs = BTreeMap<(String, i32, String), (f64, f64, i32, Vec<(String, f64, f64)>)>;

fn read(profile: &Profile, weight: Weight) -> Costs {
    let bytes = pstats(profile, weight);
    let mut rest = bytes.as_slice();
    let Object::Dict(entries) = load(&mut rest) else { panic!("no dict") };
    assert!(rest.is_empty());
    let key = |object: &Object| match object {
        Object::Tuple(parts) => match &parts[..] {
            [Object::Text(file), Object::Int(line), Object::Text(name)] => (file.clone(), *line, name.clone()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let read_entry = |(function, value): &(Object, Object)| {
        let Object::Tuple(parts) = value else { panic!("{value:?}") };
        let [Object::Int(count), Object::Int(calls), Object::Float(own), Object::Float(total), Object::Dict(callers)] =
            &parts[..]
        else {
            panic!("{parts:?}")
        };
        assert_eq!(count, calls);
        let read_caller = |(caller, value): &(Object, Object)| match value {
            Object::Tuple(parts) => match parts[..] {
                [Object::Int(1..), Object::Int(1..), Object::Float(own), Object::Float(total)] => {
                    (key(caller).2, own, total)
                }
                _ => panic!("{parts:?}"),
            },
            other => panic!("{other:?}"),
        };
        (key(function), (*own, *total, *count, callers.iter().map(read_caller).collect()))
    };
    entries.iter().map(read_entry).collect()
}

#[test]
fn pstats_count_recursion_once_and_hang_everything_on_one_root() {
    let costs = read(&realistic(), Weight::Cpu);
    let of = |name: &str| costs.iter().find(|((.., function), _)| function == name).unwrap();
    let (all, samples) = (1.9375, 1 + 251 + 1001 + 501 + 126 + 63);
    let root = "<rscalene: CPU seconds of all threads; ncalls are CPU samples, not calls>";
    assert_eq!(of(root), (&("~".into(), 0, root.into()), &(0.0, all, samples, vec![])));
    assert_eq!(of("<module>").1, &(0.0, all, samples, vec![(root.into(), 0.0, all)]));
    assert_eq!(of("main").1, &(0.25, all, samples - 1, vec![("<module>".into(), 0.25, all)]));
    // Its first line comes from the list of functions; a call of itself adds nothing to what it costs in all.
    let (place, simulate) = of("simulate");
    assert_eq!(place, &("/srv/shop/orders.py".into(), 24, "simulate".into()));
    assert_eq!((simulate.0, simulate.1, simulate.2), (1.5625, 1.6875, 1001 + 501 + 126 + 63));
    assert_eq!(simulate.3.len(), 2);
    assert!(simulate.3.contains(&("main".into(), 1.0625, 1.6875)));
    assert!(simulate.3.contains(&("simulate".into(), 0.5, 0.625)));
}

#[test]
fn pstats_hold_the_wall_time_of_a_wait_and_one_count_for_a_function_that_only_waited() {
    let mut profile = realistic();
    profile.stacks.frames = ["main", "wait"].map(|f| StackFrame { file: 0, function: f.into(), line: 9 }).into();
    profile.stacks.nodes = vec![
        StackNode { frame: 0, cpu_s: 0.25, wall_s: 0.25, cpu_samples: 25, ..StackNode::default() },
        StackNode { parent: Some(0), frame: 1, wall_s: 1.0, ..StackNode::default() },
    ];
    let costs = read(&profile, Weight::Wall);
    let of = |name: &str| costs.iter().find(|((.., function), _)| function.starts_with(name)).unwrap().1;
    assert_eq!(of("wait"), &(1.0, 1.0, 1, vec![("main".into(), 1.0, 1.0)]));
    assert_eq!((of("main").0, of("main").1, of("main").2), (0.25, 1.25, 25));
    assert_eq!(of("<rscalene: wall seconds (CPU and waiting)").1, 1.25);
    profile.totals.time.wait_s = None;
    let unknown = read(&profile, Weight::Wall);
    assert!(unknown.keys().any(|(.., name)| name.starts_with("<rscalene: CPU seconds (waits are unknown)")));
}

#[test]
fn pstats_own_times_add_up_to_the_tree_even_where_it_is_deeper_than_our_stack() {
    let mut profile = realistic();
    profile.stacks.frames = (0..3).map(|n| StackFrame { file: 0, function: format!("f{n}"), line: n }).collect();
    profile.stacks.nodes = (0..200_000)
        .map(|n: usize| StackNode { parent: n.checked_sub(1), frame: n % 3, cpu_s: 0.5, ..StackNode::default() })
        .collect();
    let costs = read(&profile, Weight::Cpu);
    assert_eq!(costs.values().map(|(own, ..)| own).sum::<f64>(), 100_000.0);
    assert!(costs.values().all(|(_, total, ..)| *total <= 100_000.0));
}

#[test]
fn a_profile_without_stacks_makes_empty_exports() {
    let profile = Profile::default();
    assert_eq!(collapsed(&profile, Weight::Cpu), "");
    assert_eq!(read(&profile, Weight::Wall).len(), 1);
    let file: Value = serde_json::from_str(&speedscope(&profile, None)).unwrap();
    assert_eq!(file["profiles"], serde_json::json!([]));
}
