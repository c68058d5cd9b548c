//! Reports: pure functions of a profile. No clock, no environment, no files.

pub mod json;
pub mod style;
mod text;
pub mod view;
