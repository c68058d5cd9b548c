//! The command line as it may be typed.

use clap::Parser;

/// For every line of a Python program: where its time and its memory go
#[derive(Debug, Parser)]
#[command(name = "rscalene", version)]
pub(crate) struct Cli {}
