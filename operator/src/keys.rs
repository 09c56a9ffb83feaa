//! API keys: the pair of a name and a secret that signs tokens.

use std::collections::BTreeMap;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleet::keys::{MIN_SECRET_BYTES, secret_in};
use k8s_openapi::api::core::v1::Secret;
use thiserror::Error;

/// Bytes of randomness in a secret: as many as the HMAC of HS256 can use.
const SECRET_BYTES: usize = 32;
/// Bytes of randomness in a key's name; it is no secret, only distinct.
const NAME_BYTES: usize = 6;

/// One API key.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub name: String,
    pub secret: String,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ApiKey({}, …)", self.name)
    }
}

/// Why a Secret does not serve as API keys.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeysError {
    #[error("the Secret {0} has no entries: add one named like the API key, its value the secret")]
    Empty(String),
    #[error("the entry {entry} of Secret {secret} is not text of at least {MIN_SECRET_BYTES} bytes: make it longer")]
    Weak { secret: String, entry: String },
}

/// The system's source of randomness failed.
#[derive(Debug, Error)]
#[error("failed to get random bytes from the system")]
pub struct NoRandomness;

impl ApiKey {
    /// A new random key.
    pub fn generate() -> Result<Self, NoRandomness> {
        Ok(Self {
            name: format!("API{}", random_text(NAME_BYTES)?.replace(['-', '_'], "x")),
            secret: random_text(SECRET_BYTES)?,
        })
    }
}

/// Reads and checks the keys in `secret`, sorted by name.
pub fn read_keys(secret: &Secret) -> Result<Vec<ApiKey>, KeysError> {
    let name = secret.metadata.name.clone().unwrap_or_default();
    let empty = BTreeMap::new();
    let entries = secret.data.as_ref().unwrap_or(&empty);
    if entries.is_empty() {
        return Err(KeysError::Empty(name));
    }
    entries
        .iter()
        .map(|(entry, value)| match secret_in(&value.0) {
            Some(secret) => Ok(ApiKey { name: entry.clone(), secret: secret.to_owned() }),
            None => Err(KeysError::Weak { secret: name.clone(), entry: entry.clone() }),
        })
        .collect()
}

fn random_text(n_bytes: usize) -> Result<String, NoRandomness> {
    let mut bytes = vec![0; n_bytes];
    rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(entries: &[(&str, &str)]) -> Secret {
        let mut secret = Secret::default();
        secret.metadata.name = Some("keys".into());
        secret.data =
            Some(entries.iter().map(|(name, value)| ((*name).into(), ByteString(value.as_bytes().to_vec()))).collect());
        secret
    }

    #[test]
    fn a_generated_key_is_one_that_is_accepted_and_a_valid_entry_name() {
        let key = ApiKey::generate().unwrap();
        assert!(key.name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{}", key.name);
        assert_eq!(read_keys(&secret(&[(&key.name, &key.secret)])), Ok(vec![key]));
    }

    #[test]
    fn a_trailing_newline_is_not_part_of_the_secret() {
        let keys = read_keys(&secret(&[("k", "0123456789abcdef\n")])).unwrap();
        assert_eq!(keys[0].secret, "0123456789abcdef");
    }

    #[test]
    fn empty_and_short_secrets_are_refused_by_name() {
        assert_eq!(read_keys(&secret(&[])), Err(KeysError::Empty("keys".into())));
        assert_eq!(
            read_keys(&secret(&[("k", "short")])),
            Err(KeysError::Weak { secret: "keys".into(), entry: "k".into() })
        );
    }

    #[test]
    fn a_key_does_not_print_its_secret() {
        let key = ApiKey::generate().unwrap();
        assert!(!format!("{key:?}").contains(&key.secret));
    }
}
