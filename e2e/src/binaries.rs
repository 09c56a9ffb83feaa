//! Building programs: Kubernetes and helm from their Go modules, ours with Cargo, the page with npm.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use aws_lc_rs::digest::{Context as Digest, SHA256};
use serde_json::Value;

use crate::cli::Profile;
use crate::command::{describe, run_logged};
use crate::paths::Paths;
use crate::progress::Step;

/// The version of Kubernetes in `kubernetes/go.mod`; a test compares.
pub const KUBERNETES_VERSION: &str = "v1.34.4";

/// The programs in the one binary that `kubernetes/main.go` is.
const KUBERNETES_PROGRAMS: [&str; 6] =
    ["kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet"];

/// The version of cargo-deny; `deny.toml` is written for it.
const CARGO_DENY_VERSION: &str = "0.20.2";

/// Our programs that go into images.
pub const PRODUCT_PROGRAMS: [&str; 3] = ["calls-sfu", "calls-director", "calls-operator"];

/// The programs a cluster is made of.
#[derive(Clone, Debug)]
pub struct ClusterPrograms {
    kubernetes: PathBuf,
    helm: PathBuf,
}

impl ClusterPrograms {
    /// Where they are, or will be once built: the folders' names change with everything that goes into them.
    pub fn locate(paths: &Paths) -> Result<Self> {
        let sources = paths.repository().join("e2e");
        let folder = |name: &str| -> Result<PathBuf> {
            let digest = digest_of_files(&go_files(&sources.join(name))?)?;
            Ok(paths.programs().join(format!("{name}-{}", &digest[..12])))
        };
        Ok(Self { kubernetes: folder("kubernetes")?, helm: folder("helm")? })
    }

    /// The path of one of Kubernetes' programs.
    pub fn kubernetes(&self, program: &str) -> PathBuf {
        self.kubernetes.join(program)
    }

    /// The path of helm.
    pub fn helm(&self) -> PathBuf {
        self.helm.join("helm")
    }

    /// Builds Kubernetes unless it was built before.
    pub fn build_kubernetes(&self, paths: &Paths, step: &Step) -> Result<()> {
        let version = |name: &str, value: &str| format!("-X k8s.io/component-base/version.{name}={value}");
        let (major, minor) = major_and_minor(KUBERNETES_VERSION);
        let flags = [
            "-s -w".to_owned(),
            version("gitVersion", KUBERNETES_VERSION),
            version("gitMajor", major),
            version("gitMinor", minor),
        ];
        let source = paths.repository().join("e2e/kubernetes");
        build_go(paths, &source, &self.kubernetes, "kube", ".", &flags.join(" "), step)?;
        for program in KUBERNETES_PROGRAMS {
            let link = self.kubernetes.join(program);
            if link.symlink_metadata().is_err() {
                symlink("kube", &link)?;
            }
        }
        Ok(())
    }

    /// Builds helm unless it was built before.
    pub fn build_helm(&self, paths: &Paths, step: &Step) -> Result<()> {
        let source = paths.repository().join("e2e/helm");
        build_go(paths, &source, &self.helm, "helm", "helm.sh/helm/v3/cmd/helm", "-s -w", step)
    }
}

/// Installs cargo-deny into the cache unless that was done before; returns where it is.
///
/// # Errors
/// When Cargo cannot; its log is named.
pub fn install_cargo_deny(paths: &Paths, step: &Step) -> Result<PathBuf> {
    let folder = paths.programs().join(format!("cargo-deny-{CARGO_DENY_VERSION}"));
    let finished = folder.join("bin/cargo-deny");
    if finished.exists() {
        step.result("built before");
        return Ok(finished);
    }
    step.at("minutes the first time");
    let version = format!("={CARGO_DENY_VERSION}");
    let mut install = cargo(paths);
    // Not our own target folder: another Cargo may hold it, and nothing in it is of use here.
    install.env("CARGO_TARGET_DIR", folder.join("target"));
    install.args(["install", "cargo-deny", "--version", &version, "--locked", "--no-track", "--root"]).arg(&folder);
    run_logged(&mut install, &paths.build_logs().join("cargo-deny.log"))?;
    fs::remove_dir_all(folder.join("target"))?;
    Ok(finished)
}

/// Runs `npm ci` in a folder unless what is there is what its lock file says.
pub fn install_node_modules(paths: &Paths, folder: &Path, step: &Step) -> Result<()> {
    let stamp = folder.join("node_modules/.calls-e2e");
    let digest = digest_of_files(&[folder.join("package-lock.json")])?;
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == digest) {
        return Ok(());
    }
    step.at("npm ci");
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let log = paths.build_logs().join(format!("npm-ci-{name}.log"));
    // Browsers are Debian packages: npm packages that would fetch their own must not.
    let mut install = npm(folder);
    install.args(["ci", "--no-audit", "--no-fund"]).env("PUPPETEER_SKIP_DOWNLOAD", "1");
    run_logged(&mut install, &log)?;
    Ok(fs::write(stamp, digest)?)
}

/// Builds our programs with Cargo; returns where each is.
///
/// # Errors
/// When the compiler refuses; its messages went to the standard error stream of this process.
pub fn build_product(paths: &Paths, profile: Profile) -> Result<BTreeMap<String, PathBuf>> {
    let mut build = cargo(paths);
    build.args(["build", "--profile", profile.name(), "--message-format", "json-render-diagnostics"]);
    match profile {
        // Everything at once, as the tests are built: a dependency is compiled once, with what all crates ask of it.
        Profile::Ci => {
            build.args(["--workspace", "--bins"]);
        }
        Profile::Release => {
            for program in PRODUCT_PROGRAMS {
                build.args(["--package", program]);
            }
        }
    }
    let mut programs = executables(&mut build, "bin")?;
    programs.retain(|name, _| PRODUCT_PROGRAMS.contains(&name.as_str()));
    if let Some(absent) = PRODUCT_PROGRAMS.iter().find(|program| !programs.contains_key(**program)) {
        bail!("cargo built no program called {absent}");
    }
    Ok(programs)
}

/// Builds what is measured without a cluster, the SFU and the load generator; returns where each is.
///
/// # Errors
/// When the compiler refuses; its messages went to the standard error stream of this process.
pub fn build_measured(paths: &Paths, profile: Profile) -> Result<BTreeMap<String, PathBuf>> {
    let mut build = cargo(paths);
    build.args(["build", "--profile", profile.name(), "--message-format", "json-render-diagnostics"]);
    match profile {
        // As in `build_product`.
        Profile::Ci => build.args(["--workspace", "--bins"]),
        Profile::Release => build.args(["--package", "calls-sfu", "--package", "calls-bench"]),
    };
    executables(&mut build, "bin")
}

/// Runs a Cargo command that writes JSON messages; returns the executables of targets of `kind` it made, by name.
pub fn executables(cargo: &mut Command, kind: &str) -> Result<BTreeMap<String, PathBuf>> {
    let line = describe(cargo);
    let output = cargo.stderr(Stdio::inherit()).output().with_context(|| format!("failed to start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed ({}): what it said is above", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| executable(&message, kind))
        .collect())
}

/// Cargo, as the person would call it in this repository: without what `cargo run` put into our environment.
pub fn cargo(paths: &Paths) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.arg("--quiet").current_dir(paths.repository()).stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_BIN_", "CARGO_MANIFEST_"].iter().any(|prefix| text.starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// npm in a folder.
pub fn npm(folder: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(folder).stdin(Stdio::null());
    npm
}

/// The SHA-256 of the files' names and contents, in hexadecimal. Not of the folders they lie in: two checkouts of the
/// same files share what is built of them.
pub fn digest_of_files(files: &[PathBuf]) -> Result<String> {
    let mut digest = Digest::new(&SHA256);
    for file in files {
        let content = fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
        digest.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        digest.update(&(content.len() as u64).to_be_bytes());
        digest.update(&content);
    }
    Ok(hexadecimal(digest.finish().as_ref()))
}

/// Bytes in lower-case hexadecimal.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn build_go(
    paths: &Paths,
    source: &Path,
    folder: &Path,
    program: &str,
    package: &str,
    link_flags: &str,
    step: &Step,
) -> Result<()> {
    let finished = folder.join(program);
    if finished.exists() {
        step.result("built before");
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    let unfinished = folder.join(format!("{program}.unfinished"));
    let mut build = Command::new("go");
    build.current_dir(source).env("CGO_ENABLED", "0").stdin(Stdio::null());
    build.args(["build", "-mod=readonly", "-trimpath", "-ldflags", link_flags, "-o"]).arg(&unfinished).arg(package);
    step.at("minutes the first time; modules come from Go's proxy");
    run_logged(&mut build, &paths.build_logs().join(format!("go-{program}.log")))?;
    Ok(fs::rename(unfinished, finished)?)
}

fn go_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = files_below(folder, &[])?;
    files.retain(|file| {
        file.extension().is_some_and(|extension| extension == "go")
            || file.ends_with("go.mod")
            || file.ends_with("go.sum")
    });
    Ok(files)
}

/// All files below a folder, sorted, without the folders called one of `except`.
fn files_below(folder: &Path, except: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("failed to list {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_file() {
                files.push(entry.path());
            } else if kind.is_dir() && !except.iter().any(|name| entry.file_name() == *name) {
                folders.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn executable(message: &Value, kind: &str) -> Option<(String, PathBuf)> {
    let path = message["executable"].as_str()?;
    let target = &message["target"];
    let is_kind = target["kind"].as_array()?.iter().any(|k| k == kind);
    is_kind.then(|| (target["name"].as_str().unwrap_or_default().to_owned(), PathBuf::from(path)))
}

fn major_and_minor(version: &str) -> (&str, &str) {
    let mut parts = version.trim_start_matches('v').split('.');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_version_is_the_one_in_go_mod() {
        let go_mod = include_str!("../kubernetes/go.mod");
        assert!(go_mod.contains(&format!("k8s.io/kubernetes {KUBERNETES_VERSION}\n")));
        assert_eq!(major_and_minor(KUBERNETES_VERSION), ("1", "34"));
    }

    #[test]
    fn executables_are_read_from_cargos_messages() {
        let artifact = json!({"executable": "/t/ci/calls-sfu", "target": {"kind": ["bin"], "name": "calls-sfu"}});
        assert_eq!(executable(&artifact, "bin"), Some(("calls-sfu".to_owned(), PathBuf::from("/t/ci/calls-sfu"))));
        assert_eq!(executable(&artifact, "test"), None);
        assert_eq!(executable(&json!({"executable": null, "target": {"kind": ["lib"]}}), "lib"), None);
    }

    #[test]
    fn a_digest_is_lower_case_hexadecimal() {
        assert_eq!(hexadecimal(&[0, 10, 255]), "000aff");
    }
}
