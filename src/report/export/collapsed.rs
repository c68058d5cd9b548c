//! Collapsed stacks: one line a stack, as flame graph tools read them.
//!
//! Job: `outer (app.py:3);inner (app.py:9) 1200`. Weights are whole numbers, as the format asks for: microseconds or
//! bytes. Invariant: a frame's name holds no `;` and no line break, and no weight of less than a half is written.

use std::fmt::Write as _;

use super::walk::{Weight, each_stack, path};
use crate::profile::model::Profile;

/// The profile's stacks weighed by `weight`, in microseconds or bytes.
#[must_use]
pub fn collapsed(profile: &Profile, weight: Weight) -> String {
    let name = |index: usize| {
        let Some(frame) = profile.stacks.frames.get(index) else { return "?".to_owned() };
        let path = path(profile, frame);
        let file = path.rsplit('/').next().unwrap_or(path);
        let name = format!("{} ({file}:{})", frame.function, frame.line);
        name.replace(|c: char| c == ';' || c.is_control(), "_")
    };
    let names: Vec<String> = (0..profile.stacks.frames.len()).map(name).collect();
    let scale = if matches!(weight, Weight::Alloc | Weight::Peak) { 1.0 } else { 1e6 };
    let mut out = String::new();
    each_stack(profile, weight, |frames, own| {
        let whole = (own * scale).round() as u64;
        if whole == 0 {
            return;
        }
        for (depth, frame) in frames.iter().enumerate() {
            out.push_str(if depth > 0 { ";" } else { "" });
            out.push_str(names.get(*frame).map_or("?", String::as_str));
        }
        let _ = writeln!(out, " {whole}");
    });
    out
}
