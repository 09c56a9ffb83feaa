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

use crate::keys::Keys;

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

/// Takes over changes for ever. What cannot be read is logged once and the last good state stays.
pub async fn follow(file: PathBuf, config: watch::Sender<SfuConfig>, key_folder: PathBuf, keys: Keys) {
    let mut look = interval(LOOK_INTERVAL);
    let mut complaint = None;
    let followed = Arc::new((file, config, key_folder, keys));
    loop {
        look.tick().await;
        let followed = Arc::clone(&followed);
        // A disk that hangs must not hold up the threads that serve clients.
        let looked = spawn_blocking(move || {
            let (file, config, key_folder, keys) = followed.as_ref();
            look_once(file, config, key_folder, keys)
        });
        let problem = looked.await.unwrap_or_else(|error| Err(error.to_string())).err();
        if problem != complaint {
            if let Some(problem) = &problem {
                tracing::error!(
                    problem,
                    "the configuration changed to something that cannot be used; the last one stays"
                );
            }
            complaint = problem;
        }
    }
}

fn look_once(file: &Path, config: &watch::Sender<SfuConfig>, key_folder: &Path, keys: &Keys) -> Result<(), String> {
    let fresh = read(file).map_err(|error| describe(&error))?;
    let changed = config.send_if_modified(|current| {
        let changed = *current != fresh;
        *current = fresh;
        changed
    });
    if changed {
        tracing::info!(file = %file.display(), "configuration changed");
    }
    if keys.reload(key_folder).map_err(|error| describe(&error))? {
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

    #[test]
    fn a_file_that_cannot_be_read_yet_holds_nobody_up() {
        let folder = std::env::temp_dir().join(format!("calls-config-slow-{}", std::process::id()));
        fs::create_dir_all(folder.join("keys")).unwrap();
        fs::write(folder.join("keys/key"), "secret").unwrap();
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
        let folder = std::env::temp_dir().join(format!("calls-config-{}", std::process::id()));
        fs::create_dir_all(folder.join("keys")).unwrap();
        fs::write(folder.join("keys/key"), "secret").unwrap();
        let file = folder.join("sfu.json");
        fs::write(&file, r#"{"stunServers":["stun.example.com:3478"]}"#).unwrap();
        let keys = Keys::from_directory(&folder.join("keys")).unwrap();
        let (sender, receiver) = watch::channel(SfuConfig::default());
        look_once(&file, &sender, &folder.join("keys"), &keys).unwrap();
        fs::write(&file, "{").unwrap();
        assert!(look_once(&file, &sender, &folder.join("keys"), &keys).unwrap_err().contains("is not valid"));
        assert_eq!(receiver.borrow().stun_servers, ["stun.example.com:3478"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
