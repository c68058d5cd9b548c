//! Reads real interpreters from outside and compares with what they say of themselves.
//!
//! Job: hold `rscalene_interp` and `observe::locate` against every interpreter found: the executables of
//! `RSCALENE_PYTHONS` (a colon list), pyenv's, and `python3.11` to `python3.15` on `PATH`. A target prints its own
//! truth as JSON and blocks; the reader must agree. Invariant: no interpreter found is a failure, not a skip.

mod frames;
mod identity;
mod lines;
mod opcodes;
mod target;
mod tasks;
mod threads;
