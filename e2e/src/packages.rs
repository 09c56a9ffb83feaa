//! Debian packages: which are missing, and installing them without starting their services.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{command, run, run_logged, succeeds};
use crate::paths::Paths;
use crate::progress::Step;

/// What a cluster of network namespaces is made with.
pub const CLUSTER: [&str; 10] = [
    "etcd-server",
    "containerd",
    "runc",
    "containernetworking-plugins",
    "iptables",
    "conntrack",
    "iproute2",
    "mount",
    "util-linux",
    "busybox-static",
];

/// What our crates are built and tested with: libopus is built with cmake, and ffmpeg opens the recorder's files.
pub const CRATES: [&str; 2] = ["cmake", "ffmpeg"];

/// The browsers of the tests; Firefox plays sound only where there is a loudspeaker, if only a pretended one.
pub const BROWSERS: [&str; 3] = ["chromium", "firefox-esr", "pulseaudio"];

/// Services that packages of ours bring: on a machine run by systemd they would start with the next boot.
const SERVICES: [&str; 2] = ["etcd.service", "containerd.service"];

/// Asked by Debian's packages before they start a service; 101 means: may not.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs those of `packages` that are missing.
///
/// # Errors
/// When this is no Debian, or apt fails (its log is named).
pub fn ensure(paths: &Paths, packages: &[&str], step: &Step) -> Result<()> {
    if !Path::new("/usr/bin/dpkg-query").exists() {
        bail!("this is no Debian (no dpkg-query): install what {} stand for, on a Debian 12", packages.join(", "));
    }
    let missing = missing(packages);
    if missing.is_empty() {
        step.result("all there");
        return Ok(());
    }
    let had_services: Vec<&str> = SERVICES.into_iter().filter(|service| is_known_service(service)).collect();
    {
        let _policy = NoServices::begin()?;
        step.at("apt-get update");
        run_logged(apt().arg("update"), &paths.build_logs().join("apt-update.log"))?;
        step.at(&missing.join(", "));
        let mut install = apt();
        install.args(["install", "--yes", "--no-install-recommends"]).args(&missing);
        run_logged(&mut install, &paths.build_logs().join("apt-install.log"))?;
    }
    if Path::new("/run/systemd/system").exists() {
        for service in SERVICES.into_iter().filter(|service| !had_services.contains(service)) {
            run(&mut command("systemctl", ["disable", "--quiet", service]))?;
        }
    }
    step.result(format!("installed {}", missing.join(", ")));
    Ok(())
}

fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let is_installed = |package: &str| {
        let mut query = command("dpkg-query", ["--show", "--showformat", "${db:Status-Status}", package]);
        query.output().is_ok_and(|output| output.stdout == b"installed")
    };
    packages.iter().copied().filter(|package| !is_installed(package)).collect()
}

fn is_known_service(service: &str) -> bool {
    Path::new("/run/systemd/system").exists() && succeeds(&mut command("systemctl", ["cat", service]))
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.args(["--quiet", "-o", "DPkg::Lock::Timeout=120"]).env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

/// While it lives, no package may start a service. What the machine's own policy was comes back afterwards.
#[derive(Debug)]
struct NoServices {
    policy: PathBuf,
    aside: PathBuf,
}

impl NoServices {
    fn begin() -> Result<Self> {
        Self::begin_at(Path::new(POLICY))
    }

    fn begin_at(policy: &Path) -> Result<Self> {
        let aside = policy.with_extension("d.calls-e2e");
        // An aside file without us running is what an earlier, killed run left: the machine's policy is in there.
        if !aside.exists() {
            match fs::rename(policy, &aside) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                moved => moved.with_context(|| format!("failed to set {} aside", policy.display()))?,
            }
        }
        let guard = Self { policy: policy.to_path_buf(), aside };
        fs::write(policy, "#!/bin/sh\nexit 101\n").with_context(|| format!("failed to write {}", policy.display()))?;
        fs::set_permissions(policy, Permissions::from_mode(0o755))?;
        Ok(guard)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        let restored =
            if self.aside.exists() { fs::rename(&self.aside, &self.policy) } else { fs::remove_file(&self.policy) };
        if let Err(error) = restored {
            eprintln!("warning: {} could not be restored ({error}): remove it by hand", self.policy.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("calls-e2e-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        folder
    }

    #[test]
    fn the_machines_own_policy_comes_back() {
        let policy = folder("policy").join("policy-rc.d");
        fs::write(&policy, "mine").expect("written");
        let guard = NoServices::begin_at(&policy).expect("begun");
        assert!(fs::read_to_string(&policy).expect("read").contains("exit 101"));
        drop(guard);
        assert_eq!(fs::read_to_string(&policy).expect("read"), "mine");
        fs::remove_dir_all(policy.parent().expect("a folder")).expect("removed");
    }

    #[test]
    fn no_policy_is_left_where_there_was_none() {
        let policy = folder("no-policy").join("policy-rc.d");
        drop(NoServices::begin_at(&policy).expect("begun"));
        assert!(!policy.exists());
        fs::remove_dir_all(policy.parent().expect("a folder")).expect("removed");
    }
}
