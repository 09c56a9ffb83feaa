//! The certificates of the fleet API: one authority per `CallsCluster`, one certificate per role.
//!
//! The authority is private to its `CallsCluster`, so a certificate says the role and nothing more. What is due is
//! decided here from what is stored and the time; keys are made here and kept in Secrets by `apply`.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, Pem, X509Certificate};

use crate::name::Role;

/// How long an authority is valid: longer than anybody wants to think about it.
const CA_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// An authority is replaced this long before its end; the old one stays trusted until then.
const CA_RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long a role's certificate is valid.
const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);
/// A third of its life is left for an operator that is away.
const LEAF_RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Certificates begin in the past, because the clocks of nodes differ.
const BACKDATE: SignedDuration = SignedDuration::from_mins(10);

/// Entry of the authority's Secret: its certificate, PEM.
pub const CA_CERT: &str = "tls.crt";
/// Entry of the authority's Secret: its key, PEM.
pub const CA_KEY: &str = "tls.key";
/// Entry of the authority's Secret: the certificate before the last renewal, PEM, still trusted.
pub const CA_PREVIOUS: &str = "previous.crt";

/// Why certificates could not be made.
#[derive(Debug, Error)]
pub enum CertificateError {
    #[error("failed to make a key for {0}")]
    Key(&'static str, #[source] rcgen::Error),
    #[error("failed to sign the certificate of {0}")]
    Sign(&'static str, #[source] rcgen::Error),
    #[error("failed to read the stored authority")]
    ReadCa(#[source] rcgen::Error),
}

/// A certificate with its key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub cert: String,
    pub key: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Credential(…)")
    }
}

/// The authority as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    pub current: Credential,
    /// PEM of the one before, while it is valid.
    pub previous: Option<String>,
}

impl Authority {
    /// All certificates to trust, PEM.
    pub fn bundle(&self) -> String {
        format!("{}{}", self.current.cert, self.previous.as_deref().unwrap_or_default())
    }
}

/// A role's certificate as stored, with the authorities it was stored with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub credential: Credential,
    pub bundle: String,
}

/// Everything the fleet API needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetCertificates {
    pub authority: Authority,
    pub leaves: BTreeMap<Role, Leaf>,
}

/// What the Secrets hold.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub authority: Option<Authority>,
    pub leaves: BTreeMap<Role, Leaf>,
}

impl FleetCertificates {
    /// Keeps what is good for long enough and makes the rest.
    pub fn ensure(stored: &Stored, now: Timestamp) -> Result<Self, CertificateError> {
        let authority = match &stored.authority {
            Some(authority) if is_fresh(&authority.current.cert, now, CA_RENEW_BEFORE) => authority.clone(),
            Some(old) => {
                let previous = is_fresh(&old.current.cert, now, SignedDuration::ZERO).then(|| old.current.cert.clone());
                Authority { current: make_authority(now)?, previous }
            }
            None => Authority { current: make_authority(now)?, previous: None },
        };
        let bundle = authority.bundle();
        let mut leaves = BTreeMap::new();
        for role in Role::ALL {
            let kept = stored
                .leaves
                .get(&role)
                .filter(|leaf| leaf.bundle == bundle && is_fresh(&leaf.credential.cert, now, LEAF_RENEW_BEFORE));
            let leaf = match kept {
                Some(leaf) => leaf.clone(),
                None => Leaf { credential: make_leaf(role, &authority.current, now)?, bundle: bundle.clone() },
            };
            leaves.insert(role, leaf);
        }
        Ok(Self { authority, leaves })
    }
}

/// Whether the first certificate in `pem` is readable and stays valid for longer than `margin`.
fn is_fresh(pem: &str, now: Timestamp, margin: SignedDuration) -> bool {
    not_after(pem).is_some_and(|end| end > now + margin)
}

/// End of the first certificate in `pem`.
pub fn not_after(pem: &str) -> Option<Timestamp> {
    let block = Pem::iter_from_buffer(pem.as_bytes()).next()?.ok()?;
    let (_, certificate) = X509Certificate::from_der(&block.contents).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

fn make_authority(now: Timestamp) -> Result<Credential, CertificateError> {
    let what = "the fleet's authority";
    let key = KeyPair::generate().map_err(|error| CertificateError::Key(what, error))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("calls fleet");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now, CA_LIFETIME);
    let cert = params.self_signed(&key).map_err(|error| CertificateError::Sign(what, error))?;
    Ok(Credential { cert: cert.pem(), key: key.serialize_pem() })
}

fn make_leaf(role: Role, authority: &Credential, now: Timestamp) -> Result<Credential, CertificateError> {
    let name = role.tls_name();
    let ca_key = KeyPair::from_pem(&authority.key).map_err(CertificateError::ReadCa)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.cert, ca_key).map_err(CertificateError::ReadCa)?;
    let key = KeyPair::generate().map_err(|error| CertificateError::Key(name, error))?;
    let mut params =
        CertificateParams::new(vec![name.to_owned()]).map_err(|error| CertificateError::Sign(name, error))?;
    params.distinguished_name = common_name(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, LEAF_LIFETIME);
    let cert = params.signed_by(&key, &issuer).map_err(|error| CertificateError::Sign(name, error))?;
    Ok(Credential { cert: cert.pem(), key: key.serialize_pem() })
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, lifetime: SignedDuration) {
    params.not_before = date(now - BACKDATE);
    params.not_after = date(now + lifetime);
}

fn date(time: Timestamp) -> OffsetDateTime {
    // Out of range only beyond the year 9999.
    OffsetDateTime::from_unix_timestamp(time.as_second()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + day * 86_400).unwrap()
    }

    fn stored(certificates: &FleetCertificates) -> Stored {
        Stored { authority: Some(certificates.authority.clone()), leaves: certificates.leaves.clone() }
    }

    #[test]
    fn fresh_certificates_are_kept_byte_for_byte() {
        let first = FleetCertificates::ensure(&Stored::default(), at(0)).unwrap();
        let later = FleetCertificates::ensure(&stored(&first), at(59)).unwrap();
        assert_eq!(first, later);
    }

    #[test]
    fn a_role_is_renewed_a_third_of_its_life_before_its_end() {
        let first = FleetCertificates::ensure(&Stored::default(), at(0)).unwrap();
        let later = FleetCertificates::ensure(&stored(&first), at(61)).unwrap();
        assert_eq!(first.authority, later.authority);
        for role in Role::ALL {
            assert_ne!(first.leaves[&role], later.leaves[&role]);
            assert_eq!(not_after(&later.leaves[&role].credential.cert), Some(at(61 + 90)));
        }
    }

    #[test]
    fn an_authority_near_its_end_is_replaced_and_the_old_one_stays_trusted() {
        let first = FleetCertificates::ensure(&Stored::default(), at(0)).unwrap();
        let later = FleetCertificates::ensure(&stored(&first), at(9 * 365 + 1)).unwrap();
        assert_ne!(first.authority.current, later.authority.current);
        assert_eq!(later.authority.previous.as_ref(), Some(&first.authority.current.cert));
        assert!(later.leaves[&Role::Sfu].bundle.contains(&first.authority.current.cert));
    }

    #[test]
    fn unreadable_certificates_are_replaced() {
        let mut broken = stored(&FleetCertificates::ensure(&Stored::default(), at(0)).unwrap());
        if let Some(leaf) = broken.leaves.get_mut(&Role::Director) {
            "garbage".clone_into(&mut leaf.credential.cert);
        }
        let mended = FleetCertificates::ensure(&broken, at(0)).unwrap();
        assert!(not_after(&mended.leaves[&Role::Director].credential.cert).is_some());
        assert_eq!(mended.leaves[&Role::Sfu], broken.leaves[&Role::Sfu]);
    }

    #[test]
    fn a_credential_does_not_print_its_key() {
        let certificates = FleetCertificates::ensure(&Stored::default(), at(0)).unwrap();
        assert!(!format!("{certificates:?}").contains("PRIVATE"));
    }
}
