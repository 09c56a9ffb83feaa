//! API keys: who may make tokens.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::{fs, io};

use thiserror::Error;

/// A shared secret that signs tokens. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// The keys in force, shared by all that verify or sign; re-read at any time.
#[derive(Debug, Clone)]
pub struct Keys {
    keys: Arc<RwLock<BTreeMap<String, Secret>>>,
}

#[derive(Debug, Error)]
pub enum KeysError {
    #[error("failed to read the API keys in {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the API key's file {path} is empty: it must hold the key's secret")]
    NoSecret { path: PathBuf },
    #[error("there is no API key in {path}: put one file there for each key, named as the key, holding its secret")]
    Empty { path: PathBuf },
}

impl Keys {
    pub fn new(keys: BTreeMap<String, Secret>) -> Self {
        Self { keys: Arc::new(RwLock::new(keys)) }
    }

    /// One file a key: the name is the key, the content its secret. Hidden files (Kubernetes' own links) are skipped.
    pub fn from_directory(path: &Path) -> Result<Self, KeysError> {
        Ok(Self::new(read_directory(path)?))
    }

    /// Takes over what the directory holds now. On an error the keys in force stay.
    ///
    /// Returns whether anything changed.
    pub fn reload(&self, path: &Path) -> Result<bool, KeysError> {
        let fresh = read_directory(path)?;
        let mut keys = self.keys.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let changed = *keys != fresh;
        *keys = fresh;
        Ok(changed)
    }

    pub fn secret(&self, key: &str) -> Option<Secret> {
        self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(key).cloned()
    }

    /// The key new tokens are signed with: the first by name, so that every SFU of a fleet takes the same.
    pub fn signing(&self) -> Option<(String, Secret)> {
        let keys = self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        keys.first_key_value().map(|(key, secret)| (key.clone(), secret.clone()))
    }
}

fn read_directory(path: &Path) -> Result<BTreeMap<String, Secret>, KeysError> {
    let read = |source| KeysError::Read { path: path.to_owned(), source };
    let mut keys = BTreeMap::new();
    for entry in fs::read_dir(path).map_err(read)? {
        let entry = entry.map_err(read)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Kubernetes mounts a secret as links into a hidden folder: follow the links, skip the folder.
        if name.starts_with('.') || !fs::metadata(entry.path()).map_err(read)?.is_file() {
            continue;
        }
        let secret = fs::read_to_string(entry.path()).map_err(read)?;
        let secret = secret.trim_end();
        // Anybody could sign with an empty secret.
        if secret.is_empty() {
            return Err(KeysError::NoSecret { path: entry.path() });
        }
        keys.insert(name, Secret::new(secret));
    }
    if keys.is_empty() {
        return Err(KeysError::Empty { path: path.to_owned() });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let keys = Keys::new(BTreeMap::from([("devkey".to_string(), Secret::new("hidden"))]));
        assert!(!format!("{keys:?}").contains("hidden"));
    }

    #[test]
    fn keys_are_files_and_reload_keeps_them_on_error() {
        let folder = std::env::temp_dir().join(format!("calls-keys-{}", std::process::id()));
        fs::create_dir_all(folder.join("..data")).unwrap();
        fs::write(folder.join("key1"), "secret1\n").unwrap();
        let keys = Keys::from_directory(&folder).unwrap();
        assert_eq!(keys.secret("key1"), Some(Secret::new("secret1")));
        fs::write(folder.join("key0"), "secret0").unwrap();
        assert!(keys.reload(&folder).unwrap());
        assert_eq!(keys.signing().unwrap().0, "key0");
        fs::write(folder.join("key2"), "\n").unwrap();
        assert!(matches!(keys.reload(&folder), Err(KeysError::NoSecret { .. })));
        fs::remove_dir_all(&folder).unwrap();
        assert!(keys.reload(&folder).is_err());
        assert_eq!(keys.secret("key1"), Some(Secret::new("secret1")));
    }
}
