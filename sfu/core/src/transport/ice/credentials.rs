//! Our half of the ICE credentials.

use std::fmt;

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};

/// ice-char of RFC 8839, section 5.4: each is worth six bits.
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Workers one character can name.
pub const MAX_WORKERS: u8 = 64;
/// One character names the worker; the others are random, 66 bits (at least 24, RFC 8445, section 5.3).
const UFRAG_LEN: usize = 12;
/// 144 bits (at least 128, RFC 8445, section 5.3).
const PWD_LEN: usize = 24;

/// A user fragment and its password. Debug output has no password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceCredentials {
    pub ufrag: String,
    pub pwd: String,
}

impl IceCredentials {
    /// Random credentials whose ufrag names `worker`, so that whichever worker gets the first check can hand it to
    /// that one (see [`worker_of_ufrag`]).
    ///
    /// # Errors
    /// [`NoRandomness`] if the system's generator fails, which it does only at a broken start of the system.
    pub fn generate(worker: u8) -> Result<Self, NoRandomness> {
        let mut random = [0; UFRAG_LEN - 1 + PWD_LEN];
        rand::fill(&mut random).map_err(|_| NoRandomness)?;
        let (ufrag, pwd) = random.split_at(UFRAG_LEN - 1);
        let worker = ICE_CHARS[usize::from(worker % MAX_WORKERS)];
        Ok(Self {
            ufrag: std::iter::once(char::from(worker)).chain(ice_chars(ufrag)).collect(),
            pwd: ice_chars(pwd).collect(),
        })
    }
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceCredentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// The system gives no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("system gives no random numbers")]
pub struct NoRandomness;

/// The worker named by a ufrag of ours; `None` for what no [`IceCredentials::generate`] made. An attacker can name any
/// worker, also one that does not exist.
pub fn worker_of_ufrag(ufrag: &str) -> Option<u8> {
    let first = ufrag.as_bytes().first().filter(|_| ufrag.len() == UFRAG_LEN)?;
    ICE_CHARS.iter().position(|c| c == first).map(|at| at as u8)
}

fn ice_chars(random: &[u8]) -> impl Iterator<Item = char> {
    random.iter().map(|byte| char::from(ICE_CHARS[usize::from(byte % 64)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_fresh_and_name_their_worker() {
        for worker in 0..MAX_WORKERS {
            let one = IceCredentials::generate(worker).unwrap();
            let other = IceCredentials::generate(worker).unwrap();
            assert_eq!(worker_of_ufrag(&one.ufrag), Some(worker));
            assert_ne!(one.ufrag, other.ufrag);
            assert_ne!(one.pwd, other.pwd);
            assert_eq!((one.ufrag.len(), one.pwd.len()), (12, 24));
        }
    }

    #[test]
    fn a_foreign_ufrag_names_no_worker() {
        assert_eq!(worker_of_ufrag(""), None);
        assert_eq!(worker_of_ufrag("abcd"), None);
        assert_eq!(worker_of_ufrag("-bcdefghijkl"), None);
    }

    #[test]
    fn debug_output_has_no_password() {
        let credentials = IceCredentials::generate(0).unwrap();
        assert!(!format!("{credentials:?}").contains(&credentials.pwd));
    }
}
