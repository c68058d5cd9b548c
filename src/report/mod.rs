//! Reports: pure functions of a profile. No clock, no environment, no files.

mod answer;
mod bars;
pub mod diff;
pub mod export;
pub(crate) mod hidden;
pub mod html;
mod import;
pub mod json;
mod markdown;
mod modules;
mod order;
mod spread;
pub mod style;
mod table;
mod text;
mod tree;
pub mod view;

pub use export::Format;
pub use import::read as read_any;
pub use json::{read as read_json, write as write_json};
pub use markdown::render_markdown;
pub use style::Style;
pub use table::{render_leaks, render_table, summary_line};
pub use view::Options;
