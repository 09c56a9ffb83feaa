//! The certificate we show in DTLS handshakes, and what a session description says of a certificate.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const CERTIFICATE_TAG: &str = "CERTIFICATE";
const KEY_TAG: &str = "PRIVATE KEY";
/// A name in the certificate that nobody checks; browsers use one as meaningless.
const COMMON_NAME: &str = "calls";

/// A self-signed ECDSA P-256 certificate with its key. Debug output has no key.
pub struct Certificate {
    der: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    fingerprint: Fingerprint,
}

impl Certificate {
    /// Makes a new one.
    ///
    /// # Errors
    /// [`CertificateError::Generate`] if the system gives no random numbers.
    pub fn generate() -> Result<Self, CertificateError> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, COMMON_NAME);
        let certificate = params.self_signed(&key)?;
        Ok(Self::from_der(certificate.der().to_vec(), key.serialize_der()))
    }

    /// From a certificate and its PKCS #8 key. Whether the two belong together shows in the first handshake.
    pub fn from_der(certificate: Vec<u8>, key: Vec<u8>) -> Self {
        let fingerprint = Fingerprint::of(&certificate);
        Self { der: certificate, key: Zeroizing::new(key), fingerprint }
    }

    /// From PEM with one certificate and one PKCS #8 key, in any order.
    ///
    /// # Errors
    /// [`CertificateError::Pem`] or [`CertificateError::Missing`].
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let blocks = pem::parse_many(text)?;
        let find = |tag: &'static str| {
            let block = blocks.iter().find(|block| block.tag() == tag);
            block.map(|block| block.contents().to_vec()).ok_or(CertificateError::Missing(tag))
        };
        Ok(Self::from_der(find(CERTIFICATE_TAG)?, find(KEY_TAG)?))
    }

    /// Certificate and key as PEM. Contains the key: keep it secret.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let blocks = [pem::Pem::new(CERTIFICATE_TAG, self.der.as_slice()), pem::Pem::new(KEY_TAG, self.key.as_slice())];
        Zeroizing::new(pem::encode_many(&blocks))
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The key in PKCS #8.
    pub fn key_der(&self) -> &[u8] {
        &self.key
    }

    /// What our session descriptions say of it.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("failed to make a certificate")]
    Generate(#[from] rcgen::Error),
    #[error("failed to read PEM")]
    Pem(#[from] pem::PemError),
    #[error("PEM has no {0}")]
    Missing(&'static str),
}

/// SHA-256 of a certificate in DER, as `a=fingerprint:sha-256` gives it (RFC 8122, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
        Self(bytes)
    }
}

/// Hexadecimal with colons, without the algorithm's name.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { ":" };
            write!(f, "{separator}{byte:02X}")?;
        }
        Ok(())
    }
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    /// Reads hexadecimal with colons, in either case, without the algorithm's name.
    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let mut bytes = [0; 32];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(pair.ok_or(NotAFingerprint)?, 16).map_err(|_| NotAFingerprint)?;
        }
        if pairs.next().is_some() { Err(NotAFingerprint) } else { Ok(Self(bytes)) }
    }
}

/// A text that is no SHA-256 fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 fingerprint")]
pub struct NotAFingerprint;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_survives_pem() {
        let certificate = Certificate::generate().unwrap();
        let read = Certificate::from_pem(&certificate.to_pem()).unwrap();
        assert_eq!(read.fingerprint(), certificate.fingerprint());
        assert_eq!(read.key_der(), certificate.key_der());
        let error = Certificate::from_pem("").unwrap_err();
        assert_eq!(error.to_string(), "PEM has no CERTIFICATE");
    }

    #[test]
    fn a_fingerprint_is_written_as_descriptions_have_it() {
        let fingerprint = Fingerprint::of(b"");
        let text = "E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:99:1B:78:52:B8:55";
        assert_eq!(fingerprint.to_string(), text);
        assert_eq!(text.to_lowercase().parse(), Ok(fingerprint));
        assert_eq!(text[..text.len() - 3].parse::<Fingerprint>(), Err(NotAFingerprint));
        assert_eq!(format!("{text}:00").parse::<Fingerprint>(), Err(NotAFingerprint));
        assert_eq!(text.replace("E3", "+3").parse::<Fingerprint>(), Err(NotAFingerprint));
    }

    #[test]
    fn debug_output_has_no_key() {
        let certificate = Certificate::generate().unwrap();
        assert!(!format!("{certificate:?}").contains("key"));
    }
}
