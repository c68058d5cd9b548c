//! The place of a program in a job: the machine, and the rank that a launcher gave.
//!
//! Job: read both, for the head of a profile and for names of files. Invariant: a rank that no launcher gave is `None`.
//! Neighbours: `commands::run` and `inprocess` ask, `profile::merge` compares ranks and machines.

use std::ffi::OsString;

/// Environment variables with a rank, in the order of the search: torchrun and others, Open MPI, MPICH and Intel MPI,
/// PMIx, SLURM, JAX.
const RANKS: [&str; 6] = ["RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID", "JAX_PROCESS_ID"];

/// The rank that a launcher gave this process.
#[must_use]
pub fn rank() -> Option<u32> {
    rank_in(|name| std::env::var_os(name))
}

/// The rank in these variables. A variable without a number counts as not set.
fn rank_in(variable: impl Fn(&str) -> Option<OsString>) -> Option<u32> {
    RANKS.iter().find_map(|name| variable(name)?.to_str()?.trim().parse().ok())
}

/// The name of this machine.
#[must_use]
pub fn host() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty() && name != "(none)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_with_a_number_is_the_rank() {
        let of = |set: &[(&str, &str)]| {
            rank_in(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
        };
        assert_eq!(of(&[("SLURM_PROCID", "7"), ("OMPI_COMM_WORLD_RANK", "3")]), Some(3));
        assert_eq!(of(&[("RANK", "first"), ("SLURM_PROCID", "7")]), Some(7));
        assert_eq!(of(&[("RANK", "-1")]), None);
        assert_eq!(of(&[]), None);
    }
}
