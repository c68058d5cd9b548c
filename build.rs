//! Builds the preloaded library for the wheel.
//!
//! Job: leave `librscalene_shim.so` in `OUT_DIR`, where maturin picks it up and lays it beside the extension module.
//! Invariant: the shim is built in a target directory of its own with its own profile (no std, panic = abort) and without
//! the flags of the outer build, and only for the feature `python`, so that plain `cargo test` stays quick. Neighbours:
//! `pyproject.toml` names the file, `src/control/shim.rs` finds it at run time.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// File name of the preloaded library.
const SHIM: &str = "librscalene_shim.so";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=shim");
    println!("cargo::rerun-if-changed=Cargo.toml");
    println!("cargo::rerun-if-changed=Cargo.lock");
    if env::var_os("CARGO_FEATURE_PYTHON").is_some() {
        build_shim();
    }
}

fn build_shim() {
    let out = PathBuf::from(variable("OUT_DIR"));
    let target_dir = out.join("shim-target");
    let triple = variable("TARGET");
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .args(["rustc", "--package", "rscalene-shim", "--profile", "shim", "--lib", "--target"])
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
    let built = target_dir.join(triple).join("shim").join(SHIM);
    fs::copy(&built, out.join(SHIM)).unwrap_or_else(|error| panic!("cannot copy `{}`: {error}", built.display()));
}

fn variable(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("cargo did not set `{name}`"))
}
