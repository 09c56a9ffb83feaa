//! Rings 0 to 2: the crates' own tests, built once for the whole workspace and run one program after the other.
//!
//! Built together, so that a dependency is compiled once with the features all crates ask for; run here, so that each
//! has its time and is told in the manner of the outer rings.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Ring, Tally};
use crate::binaries::cargo;
use crate::command::{describe, run_logged};
use crate::paths::Paths;
use crate::progress::Progress;

/// Test programs of the workspace.
#[derive(Debug)]
pub struct CrateTests {
    programs: Vec<TestProgram>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct TestProgram {
    package: String,
    target: String,
    ring: Ring,
    /// The crate's folder: tests run in it, as with `cargo test`.
    folder: PathBuf,
    executable: PathBuf,
}

impl CrateTests {
    /// Builds them.
    ///
    /// # Errors
    /// When the compiler refuses; its messages went to the standard error stream.
    pub fn build(paths: &Paths) -> Result<Self> {
        let mut build = cargo(paths);
        build.args([
            "test",
            "--workspace",
            "--profile",
            "ci",
            "--no-run",
            "--message-format",
            "json-render-diagnostics",
        ]);
        let line = describe(&build);
        let output = build.stderr(Stdio::inherit()).output().with_context(|| format!("failed to start `{line}`"))?;
        if !output.status.success() {
            bail!("`{line}` failed ({}): what it said is above", output.status);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut programs: Vec<TestProgram> = messages.filter_map(|message| test_program(&message)).collect();
        programs.sort_by_key(|program| (program.ring, program.package.clone(), program.target.clone()));
        Ok(Self { programs })
    }

    /// Runs those of a ring. With a filter: only tests whose name contains it, or all of a crate that is called so.
    pub fn run(&self, paths: &Paths, progress: &Progress, ring: Ring, filter: Option<&str>) -> Tally {
        let mut tally = Tally::default();
        for program in self.programs.iter().filter(|program| program.ring == ring) {
            let filter = filter.filter(|filter| *filter != program.package);
            tally.add(program.run(paths, progress, filter));
        }
        tally
    }
}

impl TestProgram {
    fn run(&self, paths: &Paths, progress: &Progress, filter: Option<&str>) -> Tally {
        let mut tally = Tally::default();
        let name = format!("{}: {}", self.package, self.target);
        let log = paths.build_logs().join(format!("test-{}-{}.log", self.package, self.target));
        let result = progress.step(&name, |step| {
            let mut test = Command::new(&self.executable);
            test.args(filter).current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder).stdin(Stdio::null());
            let ended = run_logged(&mut test, &log);
            tally = tally_of(&std::fs::read_to_string(&log).unwrap_or_default());
            step.result(format!("{} passed", tally.passed));
            ended
        });
        if let Err(error) = result {
            progress.say(&format!("{error:#}"));
            // A program that died said nothing of the test it died in.
            tally.failed = tally.failed.max(1);
        }
        tally
    }
}

fn test_program(message: &Value) -> Option<TestProgram> {
    let executable = PathBuf::from(message["executable"].as_str()?);
    if message["profile"]["test"] != true {
        return None;
    }
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_path_buf();
    let target = message["target"]["name"].as_str()?.to_owned();
    let is_integration = message["target"]["kind"].as_array()?.iter().any(|kind| kind == "test");
    let package = package_name(message["package_id"].as_str()?, &folder);
    let ring = match (package.as_str(), is_integration) {
        ("calls-tests", _) => Ring::Loopback,
        ("sfu-core", true) => Ring::Core,
        _ => Ring::Units,
    };
    Some(TestProgram { package, target, ring, folder, executable })
}

/// `path+file:///checkout/sfu/core#sfu-core@0.1.0`, or without the name where it is the folder's.
fn package_name(id: &str, folder: &Path) -> String {
    let fragment = id.rsplit_once('#').map_or(id, |(_, fragment)| fragment);
    match fragment.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

/// Adds up the lines in which the test programs of Rust tell their result.
fn tally_of(output: &str) -> Tally {
    let mut tally = Tally::default();
    for line in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        let counts: Vec<&str> = line.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
        let before = |word: &str| {
            let at = counts.iter().position(|found| *found == word)?;
            counts.get(at.checked_sub(1)?)?.parse().ok()
        };
        tally.add(Tally { passed: before("passed").unwrap_or(0), failed: before("failed").unwrap_or(0) });
    }
    tally
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_are_added_up() {
        let output = "running 2 tests\ntest result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
                      test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(tally_of(output), Tally { passed: 15, failed: 2 });
    }

    #[test]
    fn a_test_programs_ring_follows_from_its_crate_and_kind() {
        let message = |package: &str, kind: &str| {
            let target = json!({"name": "t", "kind": [kind]});
            let id = format!("path+file:///r/x#{package}@0.1.0");
            json!({"executable": "/t/x", "profile": {"test": true}, "manifest_path": "/r/x/Cargo.toml", "target": target, "package_id": id})
        };
        let ring = |package, kind| test_program(&message(package, kind)).expect("a test program").ring;
        assert_eq!(ring("sfu-core", "lib"), Ring::Units);
        assert_eq!(ring("sfu-core", "test"), Ring::Core);
        assert_eq!(ring("calls-tests", "test"), Ring::Loopback);
        assert_eq!(ring("fleet", "test"), Ring::Units);
    }

    #[test]
    fn a_package_called_like_its_folder_is_named_by_it() {
        assert_eq!(package_name("path+file:///r/fleet#0.1.0", Path::new("/r/fleet")), "fleet");
    }
}
