//! Laws of the launcher's outside view, held against real interpreters with scripts that know their own truth.

mod gil;
mod lines;
mod threads;
mod watched;
