//! Names of output files for jobs with many launchers: one launcher for each rank, on several machines.
//!
//! Job: put host, rank and process id into the names of `-o`. Invariant: two ranks of a job never get the same name,
//! unless the name has `{pid}`. Neighbours: `observe::rank` reads host and rank, `run` calls, `save` separates
//! launchers without a rank.

use std::path::{Path, PathBuf};

use crate::save;

/// Text for `{rank}` if no job launcher set a rank.
const NO_RANK: &str = "none";

/// The name for this host and rank. If there is a rank, and the name has neither `{rank}` nor `{pid}`, the function
/// puts `.rankN` before the ending, for example `out.rank3.json`.
pub(crate) fn placed(path: &Path, host: Option<&str>, rank: Option<u32>) -> PathBuf {
    let Some(text) = path.to_str().filter(|text| *text != "-") else { return path.to_owned() };
    let spelt = rank.map_or(NO_RANK.to_owned(), |rank| rank.to_string());
    let host = host.unwrap_or("unknown").replace('/', "_");
    let unique = text.contains("{rank}") || text.contains("{pid}");
    let path = PathBuf::from(text.replace("{rank}", &spelt).replace("{host}", &host));
    match rank.filter(|_| !unique) {
        Some(rank) => save::beside(&path, &format!("rank{rank}")),
        None => path,
    }
}

/// The name with the program's process id in place of `{pid}`.
pub(crate) fn with_pid(path: &Path, pid: u32) -> PathBuf {
    path.to_str().map_or_else(|| path.to_owned(), |text| PathBuf::from(text.replace("{pid}", &pid.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rank_has_a_name_of_its_own() {
        let of = |path: &str, rank| placed(Path::new(path), Some("node1"), rank).to_string_lossy().into_owned();
        assert_eq!(of("out.json", None), "out.json");
        assert_eq!(of("d/out.json", Some(3)), "d/out.rank3.json");
        assert_eq!(of("out.speedscope.json", Some(0)), "out.rank0.speedscope.json");
        assert_eq!(of("p-{host}-{rank}.json", Some(3)), "p-node1-3.json");
        assert_eq!(of("p-{rank}.json", None), "p-none.json");
        assert_eq!(of("p-{host}.json", Some(3)), "p-node1.rank3.json");
        assert_eq!(of("p-{pid}.json", Some(3)), "p-{pid}.json");
        assert_eq!(of("-", Some(3)), "-");
        assert_eq!(with_pid(Path::new("p-{pid}.json"), 42), Path::new("p-42.json"));
    }
}
