//! Names of files of many launchers: of the ranks of a job, of the machines of a job.
//!
//! Job: put machine, rank and process id into the names of `-o`, and know which ranks are profiled. Invariant: two ranks of a job
//! never have the same name, whatever was typed. Neighbours: `observe::rank` reads machine and rank, `run` asks, `save`
//! keeps launchers apart that have no rank.

use std::path::{Path, PathBuf};

use crate::save;

/// What `{rank}` is where no launcher gave one.
const NO_RANK: &str = "none";

/// The name for this machine and rank. Where there is a rank, and the name has neither `{rank}` nor `{pid}`, `.rank3` stands before
/// the ending.
pub(crate) fn placed(path: &Path, host: Option<&str>, rank: Option<u32>) -> PathBuf {
    let Some(text) = path.to_str().filter(|text| *text != "-") else { return path.to_owned() };
    let spelt = rank.map_or(NO_RANK.to_owned(), |rank| rank.to_string());
    let host = host.unwrap_or("unknown").replace('/', "_");
    let told = text.contains("{rank}") || text.contains("{pid}");
    let path = PathBuf::from(text.replace("{rank}", &spelt).replace("{host}", &host));
    match rank.filter(|_| !told) {
        Some(rank) => save::beside(&path, &format!("rank{rank}")),
        None => path,
    }
}

/// The name for the program's process id.
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
