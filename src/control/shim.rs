//! Where the preloaded library lies, and how the environment names it to the program.
//!
//! Invariant: what was preloaded before stays preloaded, behind us. `LD_PRELOAD` is split at spaces and colons, so a
//! path with one of them is reached through a link of a plain name in a folder that only the user can enter.
//! Neighbours: `build.rs` builds the library, `run` preloads it.

use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::error::{EXIT_NO_PROFILE, EXIT_USAGE, Error};

/// File name of the preloaded library.
const NAME: &str = "librscalene_shim.so";

/// The preloaded library, ready to be named.
#[derive(Debug)]
pub(crate) struct Shim {
    path: PathBuf,
    /// Holds the link while the program runs.
    _folder: Option<tempfile::TempDir>,
}

impl Shim {
    /// Finds the library: `RSCALENE_SHIM` (for development), else beside the extension module.
    pub(crate) fn find() -> Result<Self, Error> {
        let path = std::env::var_os("RSCALENE_SHIM").map(PathBuf::from).or_else(beside_this_module);
        let Some(path) = path.filter(|path| path.is_file()) else {
            return Err(Error::new(
                EXIT_NO_PROFILE,
                format!("cannot find `{NAME}` beside the extension module"),
                "reinstall rscalene: the installation is not complete",
            ));
        };
        let path = std::path::absolute(&path).unwrap_or(path);
        if !path.as_os_str().as_bytes().iter().any(|byte| b" :".contains(byte)) {
            return Ok(Self { path, _folder: None });
        }
        let link = || -> std::io::Result<Self> {
            let folder = tempfile::Builder::new().prefix("rscalene-").tempdir()?;
            let plain = folder.path().join(NAME);
            std::os::unix::fs::symlink(&path, &plain)?;
            Ok(Self { path: plain, _folder: Some(folder) })
        };
        link().map_err(|error| {
            Error::new(
                EXIT_NO_PROFILE,
                format!("cannot link to `{}`, whose path has a space or a colon: {error}", path.display()),
                "set TMPDIR to a folder that can be written",
            )
        })
    }

    /// Value of `LD_PRELOAD` for the program, which has `before` now.
    pub(crate) fn preload(&self, before: Option<&OsStr>) -> OsString {
        let mut value = self.path.clone().into_os_string();
        if let Some(before) = before.filter(|before| !before.is_empty()) {
            value.push(":");
            value.push(before);
        }
        value
    }
}

/// Names of libraries whose allocator must be the first in a process, as our hooks must be.
const SANITIZERS: [&str; 5] = ["libasan", "libtsan", "liblsan", "libhwasan", "libclang_rt."];

/// Refuses to preload in front of a sanitizer, which would end the program: `before` is the `LD_PRELOAD` of now.
pub(crate) fn refuse_sanitizers(before: Option<&OsStr>) -> Result<(), Error> {
    let before = before.unwrap_or_default().to_string_lossy();
    let files = before.split([' ', ':']).map(|path| path.rsplit('/').next().unwrap_or(path));
    let Some(file) = files.into_iter().find(|file| SANITIZERS.iter().any(|name| file.starts_with(name))) else {
        return Ok(());
    };
    Err(Error::new(
        EXIT_USAGE,
        format!("cannot profile with `{file}` preloaded: a sanitizer must be the first library of its process"),
        "take it out of LD_PRELOAD; times and bytes under a sanitizer would not be the program's own anyway",
    ))
}

/// The folder of the object that this code lies in.
fn beside_this_module() -> Option<PathBuf> {
    // SAFETY: all bytes zero is a valid Dl_info.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: the address is that of a function of this object; `info` has room for the answer.
    let found = unsafe { libc::dladdr(beside_this_module as *const libc::c_void, &raw mut info) };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the dynamic linker's names end with NUL.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    let object = PathBuf::from(OsStr::from_bytes(name.to_bytes()));
    Some(object.parent()?.join(NAME))
}
