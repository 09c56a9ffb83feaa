//! The live configuration: a file and a folder of keys that may change at any time.
//!
//! Kubernetes swaps links when it refreshes a mounted `ConfigMap` or `Secret`, which file notifications miss in more
//! than one way; a look a second is cheap and misses nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use fleet::config::SfuConfig;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::interval;

use crate::keys::{Keys, KeysError};

const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("failed to read the configuration {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the configuration {path} is not valid")]
    Parse { path: PathBuf, source: serde_json::Error },
}

pub fn read(path: &Path) -> Result<SfuConfig, ConfigError> {
    let text = fs::read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
}

/// Takes over changes for ever. What cannot be read is logged once and the last good state stays: of the file or of the
/// keys, neither holds up the other.
pub async fn follow(file: PathBuf, config: watch::Sender<SfuConfig>, key_folder: PathBuf, keys: Keys) {
    let mut look = interval(LOOK_INTERVAL);
    let mut complaints = [None, None];
    let followed = Arc::new((file, config, key_folder, keys));
    loop {
        look.tick().await;
        let followed = Arc::clone(&followed);
        // A disk that hangs must not hold up the threads that serve clients.
        let looked = spawn_blocking(move || {
            let (file, config, key_folder, keys) = followed.as_ref();
            look_once(file, config, key_folder, keys)
        });
        let problems = looked.await.unwrap_or_else(|error| [Some(error.to_string()), None]);
        for (problem, complaint) in problems.into_iter().zip(&mut complaints) {
            if let Some(problem) = problem.as_ref().filter(|_| problem != *complaint) {
                tracing::error!(
                    problem,
                    "what is mounted changed to something that cannot be used; the last state stays"
                );
            }
            *complaint = problem;
        }
    }
}

/// What is wrong with the file, and with the keys.
fn look_once(file: &Path, config: &watch::Sender<SfuConfig>, key_folder: &Path, keys: &Keys) -> [Option<String>; 2] {
    let file = look_at_file(file, config).map_err(|error| describe(&error));
    let keys = look_at_keys(key_folder, keys).map_err(|error| describe(&error));
    [file.err(), keys.err()]
}

fn look_at_file(file: &Path, config: &watch::Sender<SfuConfig>) -> Result<(), ConfigError> {
    let fresh = read(file)?;
    let changed = config.send_if_modified(|current| {
        let changed = *current != fresh;
        *current = fresh;
        changed
    });
    if changed {
        tracing::info!(file = %file.display(), "configuration changed");
    }
    Ok(())
}

fn look_at_keys(key_folder: &Path, keys: &Keys) -> Result<(), KeysError> {
    if keys.reload(key_folder)? {
        tracing::info!(folder = %key_folder.display(), "API keys changed");
    }
    Ok(())
}

/// An error with its causes, in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file and two keys in a folder of the test's own.
    struct Mounted {
        folder: PathBuf,
        keys: Keys,
        config: watch::Sender<SfuConfig>,
    }

    impl Mounted {
        fn new(test: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("calls-config-{test}-{}", std::process::id()));
            fs::create_dir_all(folder.join("keys")).unwrap();
            fs::write(folder.join("keys/kept"), "a-secret-of-sixteen-bytes").unwrap();
            fs::write(folder.join("keys/revoked"), "a-secret-of-sixteen-bytes").unwrap();
            fs::write(folder.join("sfu.json"), r#"{"stunServers":["stun.example.com:3478"]}"#).unwrap();
            let keys = Keys::from_directory(&folder.join("keys")).unwrap();
            let mounted = Self { folder, keys, config: watch::Sender::new(SfuConfig::default()) };
            assert_eq!(mounted.look(), [None, None]);
            mounted
        }

        fn look(&self) -> [Option<String>; 2] {
            look_once(&self.folder.join("sfu.json"), &self.config, &self.folder.join("keys"), &self.keys)
        }
    }

    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_yet_holds_nobody_up() {
        let folder = std::env::temp_dir().join(format!("calls-config-slow-{}", std::process::id()));
        fs::create_dir_all(folder.join("keys")).unwrap();
        fs::write(folder.join("keys/key"), "a-secret-of-sixteen-bytes").unwrap();
        let keys = Keys::from_directory(&folder.join("keys")).unwrap();
        // Opening a pipe waits for somebody at its other end, as a disk that hangs would.
        let file = folder.join("sfu.json");
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let (config, _) = watch::channel(SfuConfig::default());
        runtime.spawn(follow(file.clone(), config, folder.join("keys"), keys));
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        runtime.spawn(async move { sender.send(()) });
        let served = receiver.recv_timeout(Duration::from_secs(10));
        // Lets the reader go, so that nothing is left that waits.
        fs::write(&file, "{}").unwrap();
        runtime.shutdown_background();
        assert!(served.is_ok(), "another task was held up");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_broken_file_keeps_the_last_good_configuration() {
        let mounted = Mounted::new("broken");
        fs::write(mounted.folder.join("sfu.json"), "{").unwrap();
        let [file, keys] = mounted.look();
        assert!(file.unwrap().contains("is not valid"));
        assert_eq!(keys, None);
        assert_eq!(mounted.config.borrow().stun_servers, ["stun.example.com:3478"]);
    }

    #[test]
    fn a_revoked_key_goes_even_while_the_file_is_broken() {
        let mounted = Mounted::new("revoked");
        fs::write(mounted.folder.join("sfu.json"), "{").unwrap();
        fs::remove_file(mounted.folder.join("keys/revoked")).unwrap();
        mounted.look();
        assert_eq!(mounted.keys.secret("revoked"), None);
        assert!(mounted.keys.secret("kept").is_some());
    }

    #[test]
    fn a_new_configuration_comes_even_while_the_keys_are_gone() {
        let mounted = Mounted::new("no-keys");
        fs::write(mounted.folder.join("sfu.json"), "{}").unwrap();
        fs::remove_dir_all(mounted.folder.join("keys")).unwrap();
        let [file, keys] = mounted.look();
        assert_eq!(file, None);
        assert!(keys.unwrap().contains("failed to read the API keys"));
        assert!(mounted.config.borrow().stun_servers.is_empty());
        assert!(mounted.keys.secret("kept").is_some());
    }
}
