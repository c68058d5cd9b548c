//! Options of `rscalene run --push`.
//!
//! Job: parse the options, and make the server's address from them and from the environment. Invariant: the password
//! comes from the environment, never from the command line, which other users can read. Neighbours:
//! `commands::run::plan` checks the address, `push` sends.

use std::collections::BTreeMap;
use std::time::Duration;

use super::values::parse_duration;
use crate::push::server::Address;

/// The environment variable with `NAME:PASSWORD`, or with a token.
const AUTH: &str = "RSCALENE_PUSH_AUTH";

/// Options for sending the profile while the program runs.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Push {
    /// Send the profile to a server while the program runs, as pprof (`POST /ingest`, as Grafana Pyroscope takes it)
    #[arg(long, value_name = "URL", env = "RSCALENE_PUSH")]
    pub(crate) push: Option<String>,

    /// Time between two windows of --push
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_duration, env = "RSCALENE_PUSH_EVERY")]
    pub(crate) push_every: Duration,

    /// Name of the application for --push [default: the program's name]
    #[arg(long, value_name = "NAME", env = "RSCALENE_PUSH_NAME")]
    pub(crate) push_name: Option<String>,

    /// A label for --push, e.g. env=test; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_label)]
    pub(crate) push_label: Vec<(String, String)>,
}

impl Push {
    /// The server's address, for a program with this short name on this host; `None` without `--push`.
    pub(crate) fn address(&self, program: &str, host: Option<String>) -> Option<Address> {
        let host = host.map(|host| ("host".to_owned(), host));
        let labels: BTreeMap<String, String> = host.into_iter().chain(self.push_label.iter().cloned()).collect();
        let name = || program.rsplit_once('.').map_or(program, |(stem, _)| stem).to_owned();
        Some(Address {
            url: self.push.clone()?,
            name: self.push_name.clone().unwrap_or_else(name),
            labels,
            auth: std::env::var(AUTH).ok().filter(|auth| !auth.is_empty()).map(|auth| parse_auth(&auth)),
            headers: BTreeMap::new(),
        })
    }
}

/// Splits `NAME:PASSWORD`. A token alone gets an empty name.
fn parse_auth(text: &str) -> (String, String) {
    let (name, secret) = text.split_once(':').unwrap_or(("", text));
    (name.to_owned(), secret.to_owned())
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label looks like KEY=VALUE".to_owned()),
    }
}
