//! Between dereference and validate: makes what must be random, where it is not stored yet.
//!
//! Kept apart so that building stays a function: same input, same bytes.

use k8s_openapi::jiff::Timestamp;
use thiserror::Error;

use crate::certificates::{CertificateError, FleetCertificates};
use crate::cluster::dereference::{Dereferenced, KeysFound};
use crate::keys::{ApiKey, NoRandomness};

/// Certificates and, for a new `CallsCluster`, an API key.
#[derive(Clone, Debug)]
pub struct Issued {
    pub certificates: FleetCertificates,
    /// The first API key, where the operator's own Secret does not exist yet.
    pub first_key: Option<ApiKey>,
}

/// Why nothing could be issued. Not the user's fault.
#[derive(Debug, Error)]
pub enum IssueError {
    #[error("failed to issue the fleet's certificates")]
    Certificates(#[from] CertificateError),
    #[error("failed to make an API key")]
    Key(#[from] NoRandomness),
}

/// Keeps what is stored and good, makes the rest.
pub fn issue(found: &Dereferenced, now: Timestamp) -> Result<Issued, IssueError> {
    let first_key = match found.keys {
        KeysFound::OwnMissing => Some(ApiKey::generate()?),
        KeysFound::Own(_) | KeysFound::Named(_) | KeysFound::NamedMissing(_) => None,
    };
    Ok(Issued { certificates: FleetCertificates::ensure(&found.certificates, now)?, first_key })
}
