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
use x509_parser::prelude::{FromDer as _, ParsedExtension, Pem, X509Certificate};

use crate::name::Role;

/// How long an authority is valid: longer than anybody wants to think about it.
const CA_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// An authority is replaced this long before its end.
const CA_RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long a new authority is only trusted before the certificates of roles that are due are signed by it. A mounted
/// Secret is in every pod within minutes; one that has a certificate of an authority another does not trust yet is cut off.
const CA_PUBLISH: SignedDuration = SignedDuration::from_hours(24);
/// How long a role's certificate is valid. That long an authority is trusted after another took its place: by then all it
/// signed has ended.
const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);
/// A third of its life is left for an operator that is away.
const LEAF_RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Certificates begin in the past, because the clocks of nodes differ.
const BACKDATE: SignedDuration = SignedDuration::from_mins(10);

/// Entry of the authority's Secret: its certificate, PEM.
pub const CA_CERT: &str = "tls.crt";
/// Entry of the authority's Secret: its key, PEM.
pub const CA_KEY: &str = "tls.key";
/// Entry of the authority's Secret: the authorities before it that are still trusted, PEM.
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
    /// PEM of those before it, while anything they signed may be valid.
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
        let authority = Authority::ensure(stored, now)?;
        let bundle = authority.bundle();
        let mut leaves = BTreeMap::new();
        for role in Role::ALL {
            let kept = stored.leaves.get(&role).filter(|leaf| authority.lets_stay(&leaf.credential, now));
            let credential = match kept {
                Some(leaf) => leaf.credential.clone(),
                None => make_leaf(role, &authority.current, now)?,
            };
            leaves.insert(role, Leaf { credential, bundle: bundle.clone() });
        }
        Ok(Self { authority, leaves })
    }
}

impl Authority {
    /// Keeps the stored authority while it is good for long enough, else makes one. What it takes the place of is trusted
    /// on, even if only the roles' Secrets still know it: pods hold certificates it signed.
    fn ensure(stored: &Stored, now: Timestamp) -> Result<Self, CertificateError> {
        let kept = stored.authority.as_ref().filter(|one| is_fresh(&one.current.cert, now, CA_RENEW_BEFORE));
        if let Some(kept) = kept {
            let replaced = made_at(&kept.current.cert).is_none_or(|made| now < made + LEAF_LIFETIME);
            let previous = kept.previous.as_deref().filter(|_| replaced).and_then(|before| valid([before], now));
            return Ok(Self { current: kept.current.clone(), previous });
        }
        let authorities =
            stored.authority.iter().flat_map(|one| [Some(one.current.cert.as_str()), one.previous.as_deref()]);
        let bundles = stored.leaves.values().map(|leaf| Some(leaf.bundle.as_str()));
        let previous = valid(authorities.chain(bundles).flatten(), now);
        Ok(Self { current: make_authority(now)?, previous })
    }

    /// Whether a role's certificate need not be made anew yet.
    fn lets_stay(&self, leaf: &Credential, now: Timestamp) -> bool {
        let is_published = made_at(&self.current.cert).is_some_and(|made| now >= made + CA_PUBLISH);
        let awaits_authority = !is_published && !signed_by(&leaf.cert, &self.current.cert);
        let margin = if awaits_authority { SignedDuration::ZERO } else { LEAF_RENEW_BEFORE };
        is_fresh(&leaf.cert, now, margin) && blocks(&self.bundle()).any(|authority| signed_by(&leaf.cert, authority))
    }
}

/// Those certificates in `pems` that are valid, each once; none if there is none.
fn valid<'a>(pems: impl IntoIterator<Item = &'a str>, now: Timestamp) -> Option<String> {
    let mut found: Vec<&str> = Vec::new();
    for block in pems.into_iter().flat_map(blocks) {
        if !found.contains(&block) && is_fresh(block, now, SignedDuration::ZERO) {
            found.push(block);
        }
    }
    (!found.is_empty()).then(|| found.concat())
}

/// The certificates in `pem`, one by one.
fn blocks(pem: &str) -> impl Iterator<Item = &str> {
    pem.split_inclusive("-----END CERTIFICATE-----\n")
}

/// Whether the first certificate in `pem` is readable and stays valid for longer than `margin`.
fn is_fresh(pem: &str, now: Timestamp, margin: SignedDuration) -> bool {
    not_after(pem).is_some_and(|end| end > now + margin)
}

/// End of the first certificate in `pem`.
pub fn not_after(pem: &str) -> Option<Timestamp> {
    let end = read(pem, |certificate| Some(certificate.validity().not_after.timestamp()))?;
    Timestamp::from_second(end).ok()
}

/// When the first certificate in `pem` was made by us.
fn made_at(pem: &str) -> Option<Timestamp> {
    let beginning = read(pem, |certificate| Some(certificate.validity().not_before.timestamp()))?;
    Timestamp::from_second(beginning).ok().map(|beginning| beginning + BACKDATE)
}

/// Whether `leaf` names the key of `authority` as the one that signed it (RFC 5280, section 4.2.1.1). No proof: it tells
/// authorities of our own apart.
fn signed_by(leaf: &str, authority: &str) -> bool {
    let signer = read(leaf, |leaf| {
        leaf.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
            _ => None,
        })
    });
    let key = read(authority, |authority| {
        authority.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
    });
    signer.is_some() && signer == key
}

/// What `look` finds in the first certificate in `pem`.
fn read<T>(pem: &str, look: impl FnOnce(&X509Certificate<'_>) -> Option<T>) -> Option<T> {
    let block = Pem::iter_from_buffer(pem.as_bytes()).next()?.ok()?;
    let (_, certificate) = X509Certificate::from_der(&block.contents).ok()?;
    look(&certificate)
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

    /// Whose authority signed each role's certificate.
    fn signer(of: &FleetCertificates, authority: &Authority) -> [bool; 3] {
        Role::ALL.map(|role| signed_by(&of.leaves[&role].credential.cert, &authority.current.cert))
    }

    /// The day on which an authority made on day 0 is replaced.
    const CA_DUE: i64 = 9 * 365 + 1;

    #[test]
    fn a_new_authority_is_trusted_everywhere_before_it_signs() {
        let first = FleetCertificates::ensure(&Stored::default(), at(0)).unwrap();
        // A role's certificates are not due on the day the authority is.
        let before = FleetCertificates::ensure(&stored(&first), at(CA_DUE - 30)).unwrap();
        let later = FleetCertificates::ensure(&stored(&before), at(CA_DUE)).unwrap();
        assert_ne!(first.authority.current, later.authority.current);
        assert_eq!(later.authority.previous.as_ref(), Some(&first.authority.current.cert));
        for role in Role::ALL {
            assert_eq!(later.leaves[&role].credential, before.leaves[&role].credential, "{role:?}");
            assert_eq!(later.leaves[&role].bundle, later.authority.bundle(), "{role:?}");
        }
        // The next renewal of the roles is by the new one, the old one goes when all it signed has ended.
        let renewed = FleetCertificates::ensure(&stored(&later), at(CA_DUE + 31)).unwrap();
        assert_eq!(signer(&renewed, &later.authority), [true; 3]);
        assert_eq!(renewed.authority, later.authority);
        let forgotten = FleetCertificates::ensure(&stored(&renewed), at(CA_DUE + 90)).unwrap();
        assert_eq!(forgotten.authority.current, later.authority.current);
        assert_eq!(forgotten.authority.previous, None);
        assert_eq!(forgotten.leaves[&Role::Sfu].bundle, later.authority.current.cert);
        assert_eq!(forgotten.leaves[&Role::Sfu].credential, renewed.leaves[&Role::Sfu].credential);
    }

    #[test]
    fn certificates_that_are_due_with_their_authority_wait_a_day_for_it() {
        let first = FleetCertificates::ensure(&Stored::default(), at(0)).unwrap();
        let before = FleetCertificates::ensure(&stored(&first), at(CA_DUE - 61)).unwrap();
        let later = FleetCertificates::ensure(&stored(&before), at(CA_DUE)).unwrap();
        assert_eq!(signer(&later, &first.authority), [true; 3]);
        let renewed = FleetCertificates::ensure(&stored(&later), at(CA_DUE + 1)).unwrap();
        assert_eq!(signer(&renewed, &later.authority), [true; 3]);
    }

    #[test]
    fn what_a_lost_authority_signed_is_trusted_on() {
        let first = FleetCertificates::ensure(&Stored::default(), at(0)).unwrap();
        let lost = Stored { authority: None, leaves: first.leaves.clone() };
        let later = FleetCertificates::ensure(&lost, at(5)).unwrap();
        assert_eq!(later.authority.previous.as_ref(), Some(&first.authority.current.cert));
        assert_eq!(signer(&later, &first.authority), [true; 3]);
        assert_eq!(later, FleetCertificates::ensure(&stored(&later), at(6)).unwrap());
    }

    #[test]
    fn a_certificate_of_an_authority_nobody_knows_is_replaced() {
        let ours = FleetCertificates::ensure(&Stored::default(), at(0)).unwrap();
        let foreign = FleetCertificates::ensure(&Stored::default(), at(0)).unwrap();
        let mixed = Stored { authority: Some(ours.authority.clone()), leaves: foreign.leaves };
        let mended = FleetCertificates::ensure(&mixed, at(0)).unwrap();
        assert_eq!(signer(&mended, &ours.authority), [true; 3]);
        assert_eq!(mended.leaves[&Role::Sfu].bundle, ours.authority.current.cert);
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
