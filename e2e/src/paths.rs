//! Where things lie: the repository, and the one cache folder that holds what is built and what runs.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::progress::Progress;

/// Folders the nodes see their own version of: the cache must not lie in them (see `cluster::node`).
pub const HIDDEN_IN_NODES: [&str; 3] = ["/run", "/var/lib", "/var/log"];

/// The folders everything else is found from.
#[derive(Clone, Debug)]
pub struct Paths {
    repository: PathBuf,
    cache: PathBuf,
}

impl Paths {
    /// Finds the folders and makes the cache.
    ///
    /// # Errors
    /// When there is neither `$CALLS_E2E_CACHE`, `$XDG_CACHE_HOME` nor `$HOME`, or the folder cannot be made.
    pub fn find() -> Result<Self> {
        let repository = repository_of(env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from))?;
        let cache = cache_folder(|name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
            .context("none of CALLS_E2E_CACHE, XDG_CACHE_HOME and HOME is set: set one")?;
        std::fs::create_dir_all(&cache).with_context(|| format!("failed to make the cache {}", cache.display()))?;
        let cache = cache.canonicalize()?;
        if let Some(hidden) = HIDDEN_IN_NODES.iter().find(|hidden| cache.starts_with(hidden)) {
            bail!(
                "the cache {} lies below {hidden}, which the cluster's nodes do not see: set CALLS_E2E_CACHE to another folder",
                cache.display()
            );
        }
        Ok(Self { repository, cache })
    }

    /// The root of this repository.
    pub fn repository(&self) -> &Path {
        &self.repository
    }

    /// Programs built from Go modules, a folder per version.
    pub fn programs(&self) -> PathBuf {
        self.cache.join("programs")
    }

    /// Image archives.
    pub fn images(&self) -> PathBuf {
        self.cache.join("images")
    }

    /// Logs of builds.
    pub fn build_logs(&self) -> PathBuf {
        self.cache.join("logs")
    }

    /// What was seen of the cluster when a test failed, a folder per failure.
    pub fn failures(&self) -> PathBuf {
        self.cache.join("failures")
    }

    /// All there is of the running cluster; gone after `down`.
    pub fn cluster(&self) -> PathBuf {
        self.cache.join("cluster")
    }

    /// Keeps others from changing the cluster until what is returned is dropped; waits for those who do.
    pub fn lock_cluster(&self, progress: &Progress) -> Result<File> {
        let path = self.cache.join("cluster.lock");
        let file = File::create(&path).with_context(|| format!("failed to make {}", path.display()))?;
        if file.try_lock().is_err() {
            progress.say("Another `cargo e2e` is changing the cluster: waiting for it.");
            file.lock().with_context(|| format!("failed to lock {}", path.display()))?;
        }
        Ok(file)
    }

    /// The kubeconfig of the cluster's administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.cluster().join("admin.conf")
    }
}

/// The root of the repository whose `cargo` runs this, given its `CARGO_MANIFEST_DIR`; a program started without `cargo`
/// belongs to the one it was built in. Two checkouts may share a target folder, and then also a built program.
fn repository_of(manifest: Option<PathBuf>) -> Result<PathBuf> {
    let manifest = manifest.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    Ok(manifest.parent().context("the crate lies in no folder")?.to_path_buf())
}

fn cache_folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    variable("CALLS_E2E_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("calls-operator")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/calls-operator")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(variables: &[(&str, &str)]) -> Option<String> {
        let found = cache_folder(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()));
        found.map(|path| path.display().to_string())
    }

    #[test]
    fn the_repository_is_the_one_cargo_runs_in() {
        assert_eq!(repository_of(Some("/code/e2e".into())).unwrap(), Path::new("/code"));
        let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert_eq!(repository_of(None).unwrap(), built_in, "where it was built, if nobody says where it runs");
    }

    #[test]
    fn the_most_particular_variable_names_the_cache() {
        let home = ("HOME", "/home/ana");
        let xdg = ("XDG_CACHE_HOME", "/cache");
        assert_eq!(folder(&[home, xdg, ("CALLS_E2E_CACHE", "/e2e")]).as_deref(), Some("/e2e"));
        assert_eq!(folder(&[home, xdg]).as_deref(), Some("/cache/calls-operator"));
        assert_eq!(folder(&[home]).as_deref(), Some("/home/ana/.cache/calls-operator"));
        assert_eq!(folder(&[]), None);
    }
}
