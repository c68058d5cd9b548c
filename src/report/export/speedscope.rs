//! The file format of speedscope, <https://www.speedscope.app>.
//!
//! Job: five profiles in a file, over the same frames: CPU seconds, wall seconds, bytes allocated, bytes live at the
//! peak and at the end; or a single profile. Invariant: each profile's end value is the sum of its weights. Neighbour:
//! `collapsed` for simpler tools.

use serde_json::{Value, json};

use super::walk::{Weight, each_stack, path};
use crate::profile::model::{Profile, StackFrame};

/// The profile's stacks as a speedscope file.
#[must_use]
pub fn speedscope(profile: &Profile, only: Option<Weight>) -> String {
    let frame = |frame: &StackFrame| json!({"name": frame.function, "file": path(profile, frame), "line": frame.line});
    let frames: Vec<Value> = profile.stacks.frames.iter().map(frame).collect();
    let kinds = [
        (Weight::Cpu, "CPU", "seconds"),
        (Weight::Wall, "wall", "seconds"),
        (Weight::Alloc, "allocated", "bytes"),
        (Weight::Peak, "live at the peak", "bytes"),
        (Weight::Live, "live at the end", "bytes"),
    ];
    let sampled = |(weight, name, unit)| {
        let (mut samples, mut weights, mut end) = (Vec::new(), Vec::new(), 0.0);
        each_stack(profile, weight, |frames, own| {
            samples.push(frames.to_vec());
            weights.push(own);
            end += own;
        });
        json!({"type": "sampled", "name": name, "unit": unit, "startValue": 0, "endValue": end, "samples": samples, "weights": weights})
    };
    let profiles: Vec<Value> = kinds
        .into_iter()
        .filter(|(weight, _, _)| only.is_none_or(|only| only == *weight))
        .map(sampled)
        .filter(|made| made["endValue"] != 0.0)
        .collect();
    let file = json!({
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": format!("rscalene@{}", profile.tool.version),
        "name": profile.target.command.join(" "),
        "activeProfileIndex": 0,
        "shared": {"frames": frames},
        "profiles": profiles,
    });
    let mut text = file.to_string();
    text.push('\n');
    text
}
