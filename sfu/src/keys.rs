//! API keys: who may make tokens.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use std::{fs, io};

use fleet::keys::{MIN_SECRET_BYTES, secret_in};
use thiserror::Error;

/// How long an SFU only verifies with a new key before it signs with it, so that no other SFU refuses what it signed:
/// kubelets refresh a mounted Secret within a minute and a half, each at its own time.
const SETTLED_AFTER: Duration = Duration::from_mins(2);

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
    keys: Arc<RwLock<BTreeMap<String, Known>>>,
}

/// A key's secret, and since when it is known here; `None` if since the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    secret: Secret,
    since: Option<Instant>,
}

impl Known {
    fn is_settled(&self, now: Instant) -> bool {
        self.since.is_none_or(|since| now.duration_since(since) >= SETTLED_AFTER)
    }
}

#[derive(Debug, Error)]
pub enum KeysError {
    #[error("failed to read the API keys in {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the API key's file {path} is not text of at least {MIN_SECRET_BYTES} bytes: write a longer secret to it")]
    Weak { path: PathBuf },
    #[error("there is no API key in {path}: put one file there for each key, named as the key, holding its secret")]
    Empty { path: PathBuf },
}

impl Keys {
    pub fn new(keys: BTreeMap<String, Secret>) -> Self {
        let known = |(name, secret)| (name, Known { secret, since: None });
        Self { keys: Arc::new(RwLock::new(keys.into_iter().map(known).collect())) }
    }

    /// One file a key: the name is the key, the content its secret. Hidden files (Kubernetes' own links) are skipped.
    pub fn from_directory(path: &Path) -> Result<Self, KeysError> {
        Ok(Self::new(read_directory(path)?))
    }

    /// Takes over what the directory holds now. On an error the keys in force stay, all of them: a weak secret among good
    /// ones is a mistake in the making, and the operator says of it that what runs is left as it is.
    ///
    /// Returns whether anything changed.
    pub fn reload(&self, path: &Path) -> Result<bool, KeysError> {
        Ok(self.take_over(read_directory(path)?, Instant::now()))
    }

    fn take_over(&self, fresh: BTreeMap<String, Secret>, now: Instant) -> bool {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let known = |(name, secret): (String, Secret)| {
            let before = keys.get(&name).filter(|known| known.secret == secret);
            let since = before.map_or(Some(now), |known| known.since);
            (name, Known { secret, since })
        };
        let fresh: BTreeMap<_, _> = fresh.into_iter().map(known).collect();
        let changed = *keys != fresh;
        *keys = fresh;
        changed
    }

    pub fn secret(&self, key: &str) -> Option<Secret> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(key).map(|known| known.secret.clone())
    }

    /// The key new tokens are signed with: the first by name, so that every SFU of a fleet takes the same, of those that
    /// every SFU has by now. If all are new, there is none that others know better.
    pub fn signing(&self) -> Option<(String, Secret)> {
        self.signing_at(Instant::now())
    }

    fn signing_at(&self, now: Instant) -> Option<(String, Secret)> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let settled = keys.iter().find(|(_, known)| known.is_settled(now));
        settled.or_else(|| keys.first_key_value()).map(|(name, known)| (name.clone(), known.secret.clone()))
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
        let content = fs::read(entry.path()).map_err(read)?;
        let secret = secret_in(&content).ok_or_else(|| KeysError::Weak { path: entry.path() })?;
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

    fn named(entries: &[(&str, &str)]) -> BTreeMap<String, Secret> {
        entries.iter().map(|(name, secret)| ((*name).to_owned(), Secret::new(*secret))).collect()
    }

    #[test]
    fn a_new_key_signs_only_when_every_sfu_has_it() {
        let keys = Keys::new(named(&[("old", "1")]));
        let added = Instant::now();
        let signs = |seconds| keys.signing_at(added + Duration::from_secs(seconds)).unwrap().0;
        assert!(keys.take_over(named(&[("old", "1"), ("new", "2")]), added));
        assert_eq!(keys.secret("new"), Some(Secret::new("2")), "it verifies at once");
        assert_eq!(signs(119), "old");
        // Looking again changes nothing.
        assert!(!keys.take_over(named(&[("old", "1"), ("new", "2")]), added + Duration::from_mins(1)));
        assert_eq!(signs(120), "new");
    }

    #[test]
    fn a_key_whose_secret_changed_is_a_new_one() {
        let keys = Keys::new(named(&[("a", "1"), ("b", "2")]));
        let changed = Instant::now();
        keys.take_over(named(&[("a", "3"), ("b", "2")]), changed);
        assert_eq!(keys.signing_at(changed).unwrap().0, "b");
        assert_eq!(keys.signing_at(changed + SETTLED_AFTER).unwrap(), ("a".into(), Secret::new("3")));
    }

    #[test]
    fn when_every_key_is_new_the_first_signs_at_once() {
        let keys = Keys::new(named(&[("old", "1")]));
        let replaced = Instant::now();
        keys.take_over(named(&[("a", "1"), ("b", "2")]), replaced);
        assert_eq!(keys.signing_at(replaced).unwrap().0, "a");
        assert_eq!(keys.secret("old"), None);
    }

    #[test]
    fn keys_are_files_and_reload_keeps_them_on_error() {
        let folder = std::env::temp_dir().join(format!("calls-keys-{}", std::process::id()));
        fs::create_dir_all(folder.join("..data")).unwrap();
        fs::write(folder.join("key1"), "the-secret-of-key1\n").unwrap();
        let keys = Keys::from_directory(&folder).unwrap();
        assert_eq!(keys.secret("key1"), Some(Secret::new("the-secret-of-key1")));
        fs::write(folder.join("key0"), "the-secret-of-key0").unwrap();
        assert!(keys.reload(&folder).unwrap());
        assert!(keys.secret("key0").is_some());
        for weak in ["\n", "short", "fifteen-bytes-1\n"] {
            fs::write(folder.join("key1"), weak).unwrap();
            assert!(
                matches!(keys.reload(&folder), Err(KeysError::Weak { path }) if path.ends_with("key1")),
                "{weak:?}"
            );
            assert_eq!(keys.secret("key1"), Some(Secret::new("the-secret-of-key1")));
        }
        fs::remove_dir_all(&folder).unwrap();
        assert!(keys.reload(&folder).is_err());
        assert_eq!(keys.secret("key1"), Some(Secret::new("the-secret-of-key1")));
    }
}
