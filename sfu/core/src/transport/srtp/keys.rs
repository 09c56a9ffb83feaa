//! Master keys, and how the DTLS handshake's keying material becomes two of them.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::profile::Profile;
use crate::transport::DtlsRole;

/// The master key and salt of one direction. Overwritten when dropped, never shown.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterKey {
    profile: Profile,
    key: Vec<u8>,
    salt: Vec<u8>,
}

impl MasterKey {
    /// # Errors
    /// [`InvalidKey`] if `key` or `salt` has not the profile's length.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, InvalidKey> {
        if key.len() != profile.key_len() || salt.len() != profile.salt_len() {
            return Err(InvalidKey { profile, actual: key.len() + salt.len() });
        }
        Ok(Self { profile, key: key.to_vec(), salt: salt.to_vec() })
    }

    pub fn profile(&self) -> Profile {
        self.profile
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(super) fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// For a checkpoint, and for nothing else: two sealers with one key would use nonces twice.
    pub(super) fn duplicate(&self) -> Self {
        Self { profile: self.profile, key: self.key.clone(), salt: self.salt.clone() }
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.key.zeroize();
        self.salt.zeroize();
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// The keys of both directions of one transport.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrtpKeys {
    /// What we seal with.
    pub local: MasterKey,
    /// What the client seals with.
    pub remote: MasterKey,
}

impl SrtpKeys {
    /// Splits the keying material exported with the label `EXTRACTOR-dtls_srtp`: client key, server key, client salt,
    /// server salt. `role` is ours. RFC 5764, section 4.2.
    ///
    /// # Errors
    /// [`InvalidKey`] if `material` has not [`Profile::keying_material_len`] bytes.
    pub fn from_keying_material(profile: Profile, material: &[u8], role: DtlsRole) -> Result<Self, InvalidKey> {
        if material.len() != profile.keying_material_len() {
            return Err(InvalidKey { profile, actual: material.len() });
        }
        let (keys, salts) = material.split_at(2 * profile.key_len());
        let (client_key, server_key) = keys.split_at(profile.key_len());
        let (client_salt, server_salt) = salts.split_at(profile.salt_len());
        let client = MasterKey::new(profile, client_key, client_salt)?;
        let server = MasterKey::new(profile, server_key, server_salt)?;
        Ok(match role {
            DtlsRole::Client => Self { local: client, remote: server },
            DtlsRole::Server => Self { local: server, remote: client },
        })
    }

    pub fn profile(&self) -> Profile {
        self.local.profile
    }
}

/// Key material whose length does not fit its profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{actual} bytes of key material do not fit {}", profile.name())]
pub struct InvalidKey {
    pub profile: Profile,
    /// Length that was given, in bytes.
    pub actual: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sides_local_key_is_the_others_remote_key() {
        let material: Vec<u8> = (0..56).collect();
        let client = SrtpKeys::from_keying_material(Profile::AeadAes128Gcm, &material, DtlsRole::Client).unwrap();
        let server = SrtpKeys::from_keying_material(Profile::AeadAes128Gcm, &material, DtlsRole::Server).unwrap();
        assert_eq!(client.local, server.remote);
        assert_eq!(client.remote, server.local);
        assert_eq!(client.local.key(), (0..16).collect::<Vec<u8>>());
        assert_eq!(server.local.salt(), (44..56).collect::<Vec<u8>>());
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let error = SrtpKeys::from_keying_material(Profile::AeadAes256Gcm, &[0; 56], DtlsRole::Client).unwrap_err();
        assert_eq!(error.to_string(), "56 bytes of key material do not fit AEAD_AES_256_GCM");
        assert!(MasterKey::new(Profile::Aes128CmHmacSha1_80, &[0; 16], &[0; 12]).is_err());
    }

    #[test]
    fn debug_output_shows_no_key() {
        let key = MasterKey::new(Profile::AeadAes128Gcm, &[0xAB; 16], &[0xCD; 12]).unwrap();
        let shown = format!("{key:?}");
        assert!(!shown.contains("171") && !shown.to_lowercase().contains("ab, "), "{shown}");
    }
}
