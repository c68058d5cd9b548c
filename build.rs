//! Builds the preloaded libraries for the wheel.
//!
//! Job: leave `librscalene_shim.so` and the one for C++ in `OUT_DIR`, where maturin picks them up and lays them beside the
//! extension module.
//! Invariant: the shim is built in a target directory of its own with its own profile (no std, panic = abort) and without
//! the flags of the outer build, and only for the feature `python`, so that plain `cargo test` stays quick. Neighbours:
//! `pyproject.toml` names the files, `src/launch/preload.rs` finds them at run time.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Packages of the preloaded libraries, and their file names.
const SHIMS: [(&str, &str); 2] =
    [("rscalene-shim", "librscalene_shim.so"), ("rscalene-shim-cxx", "librscalene_shim_cxx.so")];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=shim");
    println!("cargo::rerun-if-changed=Cargo.toml");
    println!("cargo::rerun-if-changed=Cargo.lock");
    if env::var_os("CARGO_FEATURE_PYTHON").is_some() {
        for (package, file) in SHIMS {
            build(package, file);
        }
    }
}

fn build(package: &str, file: &str) {
    let out = PathBuf::from(variable("OUT_DIR"));
    let target_dir = out.join("shim-target");
    let triple = variable("TARGET");
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .args(["rustc", "--package", package, "--profile", "shim", "--lib", "--target"])
        .arg(&triple)
        .arg("--target-dir")
        .arg(&target_dir)
        .current_dir(variable("CARGO_MANIFEST_DIR"))
        // The outer build's flags belong to the extension module.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    let status = cargo.status().unwrap_or_else(|error| panic!("cannot start `{cargo:?}`: {error}"));
    assert!(status.success(), "`{cargo:?}` ended with {status}");
    let built = target_dir.join(triple).join("shim").join(file);
    fs::copy(&built, out.join(file)).unwrap_or_else(|error| panic!("cannot copy `{}`: {error}", built.display()));
}

fn variable(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("cargo did not set `{name}`"))
}
