//! Finds the shim, and makes the value of `LD_PRELOAD` for the program.
//!
//! Invariant: libraries that the user preloads stay preloaded, behind the shim.
//!
//! The dynamic linker splits `LD_PRELOAD` at spaces and colons. For each library that it cannot open, it writes an
//! error into the program's own output. A process of another user may lack the right to enter a folder. So if the path
//! of the library has a space or a colon, or a folder on the path is closed to other users, the program preloads a copy
//! that every user can read. The copy stays on the disk, because programs may outlive this process; later runs use it
//! again.
//!
//! The library `librscalene_shim_cxx.so` directs C++'s operators `new` and `delete` to the shim. It is preloaded only
//! before a library that has operators of its own. In all other programs no library comes between the program and
//! libstdc++. Neighbours: `build.rs` builds the libraries, `commands::run` preloads them.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{DirBuilder, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::cli::error::{EXIT_NO_PROFILE, EXIT_USAGE, Error};

/// File name of the preloaded library.
pub(crate) const NAME: &str = "librscalene_shim.so";
/// File name of the library that directs C++'s operators to the shim.
const CXX_NAME: &str = "librscalene_shim_cxx.so";

/// The shim, ready to be preloaded.
#[derive(Debug)]
pub(crate) struct Shim {
    path: PathBuf,
    /// The library for C++'s operators in the same folder; `None` if the installation has no such library.
    cxx: Option<PathBuf>,
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
        let cxx = Some(path.with_file_name(CXX_NAME)).filter(|cxx| cxx.is_file());
        if is_plain(&path) && is_open(&path) {
            return Ok(Self { path, cxx });
        }
        match copy_of(&path) {
            Some(copy) => Ok(Self { path: copy, cxx: cxx.as_deref().and_then(copy_of) }),
            None if is_plain(&path) => Ok(Self { path, cxx }),
            None => Err(Error::new(
                EXIT_NO_PROFILE,
                format!("cannot copy `{}`, whose path has a space or a colon", path.display()),
                "set TMPDIR to a folder that can be written, from which programs may be run",
            )),
        }
    }

    /// Value of `LD_PRELOAD` for the program. `before` is its present value.
    pub(crate) fn preload(&self, before: Option<&OsStr>) -> OsString {
        let mut value = self.path.clone().into_os_string();
        if let Some(cxx) = self.cxx.as_ref().filter(|_| brings_operators(before)) {
            value.push(":");
            value.push(cxx);
        }
        if let Some(before) = before.filter(|before| !before.is_empty()) {
            value.push(":");
            value.push(before);
        }
        value
    }
}

/// Can `LD_PRELOAD` hold this path?
fn is_plain(path: &Path) -> bool {
    !path.as_os_str().as_bytes().iter().any(|byte| b" :".contains(byte))
}

/// May every user open the file at this path?
fn is_open(path: &Path) -> bool {
    let readable = std::fs::metadata(path).is_ok_and(|facts| facts.mode() & 0o004 != 0);
    readable && path.ancestors().skip(1).all(enterable)
}

/// Copies a library into a folder of this user, readable for every user. The folder's name holds a hash of the content.
fn copy_of(library: &Path) -> Option<PathBuf> {
    let content = std::fs::read(library).ok()?;
    // FNV-1a: the hash of a content is the same in every version of rscalene.
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = content.iter().fold(0xcbf2_9ce4_8422_2325, fold);
    // SAFETY: geteuid has no preconditions.
    let user = unsafe { libc::geteuid() };
    let places = [std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp"), PathBuf::from("/dev/shm")];
    let usable = |place: &&PathBuf| is_plain(place) && place.ancestors().all(enterable) && may_run(place);
    places.iter().filter(usable).find_map(|place| {
        let folder = place.join(format!("rscalene-{user}-{hash:016x}"));
        let copy = folder.join(library.file_name()?);
        // Use the folder only if it belongs to this user and no other user may write to it. Another user could have
        // prepared the folder with a library of their own.
        let _ = DirBuilder::new().mode(0o755).create(&folder);
        let facts = std::fs::symlink_metadata(&folder).ok()?;
        if !facts.is_dir() || facts.uid() != user || facts.mode() & 0o022 != 0 {
            return None;
        }
        // Set the mode explicitly, because the umask may have removed bits.
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).ok()?;
        if std::fs::read(&copy).is_ok_and(|before| before == content) && is_open(&copy) {
            return Some(copy);
        }
        let mut file = tempfile::NamedTempFile::new_in(&folder).ok()?;
        file.write_all(&content).ok()?;
        file.as_file().set_permissions(Permissions::from_mode(0o644)).ok()?;
        file.persist(&copy).ok()?;
        Some(copy)
    })
}

/// May every user enter the folder?
fn enterable(folder: &Path) -> bool {
    std::fs::metadata(folder).is_ok_and(|facts| facts.mode() & 0o001 != 0)
}

/// May code be loaded from files of this folder (no `noexec`)?
fn may_run(folder: &Path) -> bool {
    let Ok(path) = CString::new(folder.as_os_str().as_bytes()) else { return false };
    // SAFETY: all bytes zero is a valid statvfs.
    let mut facts: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with NUL, and `facts` is a valid statvfs to write to.
    let failed = unsafe { libc::statvfs(path.as_ptr(), &raw mut facts) } != 0;
    !failed && facts.f_flag & libc::ST_NOEXEC == 0
}

/// Names of libraries whose allocator must be the first in a process. The shim's hooks must be the first, too.
const SANITIZERS: [&str; 5] = ["libasan", "libtsan", "liblsan", "libhwasan", "libclang_rt."];

/// Refuses to preload the shim before a sanitizer, because the sanitizer would end the program. `before` is the present
/// `LD_PRELOAD`.
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

/// Refuses to run if `/proc` belongs to another PID namespace: the shim finds the shared memory through `/proc`, and
/// the report would show the figures of another process.
pub(crate) fn refuse_foreign_proc() -> Result<(), Error> {
    let own = std::process::id().to_string();
    match std::fs::read_link("/proc/self") {
        Ok(number) if number.as_os_str() == own.as_str() => Ok(()),
        found => Err(Error::new(
            EXIT_NO_PROFILE,
            match found {
                Ok(_) => "cannot profile: `/proc` is that of another PID namespace",
                Err(_) => "cannot profile: there is no `/proc`",
            },
            "mount it: `mount -t proc proc /proc`, or `unshare --mount-proc` for a namespace of its own",
        )),
    }
}

/// C++'s operators `new` and `delete` for single objects, which no other operator replaces. An allocator with operators
/// of its own defines all of them.
const OPERATORS: [&CStr; 6] = [
    c"_Znwm",
    c"_ZnwmRKSt9nothrow_t",
    c"_ZnwmSt11align_val_t",
    c"_ZnwmSt11align_val_tRKSt9nothrow_t",
    c"_ZdlPv",
    c"_ZdlPvSt11align_val_t",
];

/// Does a preloaded library define C++'s operators? If the dynamic linker found the preloaded libraries, they are
/// loaded in this process too, so this code asks the dynamic linker. `before` is the present `LD_PRELOAD`.
fn brings_operators(before: Option<&OsStr>) -> bool {
    // SAFETY: the names end with NUL; dlsym only looks them up.
    let objects = OPERATORS.map(|name| object_of(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }));
    let [Some(object), others @ ..] = &objects else { return false };
    let same = others.iter().all(|other| other.as_ref() == Some(object));
    let file = std::fs::read("/etc/ld.so.preload").unwrap_or_default();
    same && preloads(before.unwrap_or_default().as_bytes(), &file, object)
}

/// Does the variable, or the file `/etc/ld.so.preload` with this content, preload `object` from every working folder?
fn preloads(variable: &[u8], file: &[u8], object: &Path) -> bool {
    let lines = file.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b'#').next());
    let mut entries = lines.chain([variable]).flat_map(|text| text.split(|byte| b" :\t".contains(byte)));
    entries.any(|entry| {
        let path = Path::new(OsStr::from_bytes(entry));
        let anywhere = path.is_absolute() || !entry.contains(&b'/');
        anywhere && path.file_name().is_some() && path.file_name() == object.file_name()
    })
}

/// The folder of the Python package `rscalene`.
pub(crate) fn package() -> Option<PathBuf> {
    beside_this_module()?.parent().map(Path::to_path_buf)
}

/// The path of the shim beside the shared object that contains this function.
fn beside_this_module() -> Option<PathBuf> {
    Some(object_of(beside_this_module as *mut libc::c_void)?.parent()?.join(NAME))
}

/// Path of the shared object that contains an address.
fn object_of(address: *mut libc::c_void) -> Option<PathBuf> {
    // SAFETY: all bytes zero is a valid Dl_info.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: dladdr accepts any address; `info` is a valid Dl_info to write to.
    let found = unsafe { libc::dladdr(address, &raw mut info) };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the dynamic linker's names end with NUL.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preloaded_library_is_known_by_its_file_name() {
        let object = Path::new("/usr/lib/libtcmalloc.so.4");
        let cases: [(&str, &str, bool); 9] = [
            ("/usr/lib/libtcmalloc.so.4", "", true),
            ("libm.so.6 libtcmalloc.so.4", "", true),
            ("/usr/$LIB/libtcmalloc.so.4:libm.so.6", "", true),
            ("", "# ours\nlibm.so.6\n/usr/lib/libtcmalloc.so.4 # theirs\n", true),
            ("", "# /usr/lib/libtcmalloc.so.4\n", false),
            ("libtcmalloc.so", "", false),
            // A relative path may name no file in another folder.
            ("./libtcmalloc.so.4", "", false),
            ("", "", false),
            (":", "\n", false),
        ];
        for (variable, file, truth) in cases {
            assert_eq!(preloads(variable.as_bytes(), file.as_bytes(), object), truth, "{variable:?} {file:?}");
        }
    }
}
