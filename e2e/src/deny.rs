//! `cargo e2e deny`: cargo-deny over the dependencies, as `deny.toml` says.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::binaries;
use crate::command::command;
use crate::paths::Paths;
use crate::progress::Progress;

/// What needs nothing but the registry; advisories need a network that reaches their database.
const CHECKS: [&str; 3] = ["bans", "licenses", "sources"];

/// Runs these checks, or the customary ones; the exit code is cargo-deny's.
///
/// # Errors
/// When cargo-deny cannot be installed or started.
pub fn run(paths: &Paths, progress: &Progress, checks: &[String]) -> Result<ExitCode> {
    let program = progress.step("Installing cargo-deny", |step| binaries::install_cargo_deny(paths, step))?;
    let mut deny = command(program, ["--workspace", "check"]);
    deny.current_dir(paths.repository());
    if checks.is_empty() {
        deny.args(CHECKS)
    } else {
        deny.args(checks)
    };
    let status = deny.status().context("failed to start cargo-deny")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
