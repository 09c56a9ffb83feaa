//! The library's configurations, built once for all associations with one certificate.

use std::sync::Arc;
use std::time::Duration;

use rtc_crypto::providers::AwsLcRsProvider;
use rtc_crypto::{RTCCryptoProvider, SignatureScheme};
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate as LibraryCertificate;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use crate::transport::certificate::{Certificate, Fingerprint};
use crate::transport::srtp::Profile;

/// After how long a flight is repeated first; each repetition doubles it, and the eighth ends the handshake after
/// about 25 s. libwebrtc begins with 50 ms; that repeats needlessly on paths of 100 ms.
pub(super) const RETRANSMIT_INTERVAL: Duration = Duration::from_millis(100);
/// The longest handshake fragment; record and handshake headers add 25 bytes and stay within 1,200.
const HANDSHAKE_MTU: usize = 1150;

/// A certificate ready to shake hands with. Cheap to clone; shared by all transports of a process.
#[derive(Clone)]
pub struct DtlsIdentity(Arc<Shared>);

struct Shared {
    provider: Arc<dyn RTCCryptoProvider>,
    fingerprint: Fingerprint,
    client: Arc<HandshakeConfig>,
    /// One a profile, each with that profile alone, so that ours is the choice.
    servers: [(Profile, Arc<HandshakeConfig>); 3],
}

impl DtlsIdentity {
    /// # Errors
    /// [`DtlsConfigError`] if certificate and key are not an ECDSA P-256 certificate and its key.
    pub fn new(certificate: &Certificate) -> Result<Self, DtlsConfigError> {
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(AwsLcRsProvider::new());
        let key = provider
            .crypto()
            .import_signing_key(SignatureScheme::EcdsaP256Sha256, certificate.key_der())
            .map_err(|error| DtlsConfigError::Key(error.to_string()))?;
        let shown = LibraryCertificate::from_signing_key(vec![certificate.der().to_vec().into()], key);
        let build = |profiles: &[Profile], is_client: bool| {
            let config = ConfigBuilder::default()
                .with_crypto_provider(provider.clone())
                .with_certificates(vec![shown.clone()])
                .with_cipher_suites(vec![
                    CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
                    CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
                    CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256,
                ])
                .with_srtp_protection_profiles(profiles.iter().copied().map(library_profile).collect())
                // The session description vouches for the certificate, not an authority (RFC 8827, section 6.5). That
                // the peer has the certificate's key is verified all the same.
                .with_client_auth(ClientAuthType::RequireAnyClientCert)
                .with_insecure_skip_verify(true)
                .with_extended_master_secret(ExtendedMasterSecretType::Require)
                .with_flight_interval(RETRANSMIT_INTERVAL)
                .with_mtu(HANDSHAKE_MTU)
                .with_server_name("calls".into())
                .build(is_client, None)
                .map_err(|error| DtlsConfigError::Build(error.to_string()))?;
            Ok::<_, DtlsConfigError>(Arc::new(config))
        };
        let all = [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::Aes128CmHmacSha1_80];
        let server = |profile| Ok::<_, DtlsConfigError>((profile, build(&[profile], false)?));
        let (client, servers) = (build(&all, true)?, [server(all[0])?, server(all[1])?, server(all[2])?]);
        Ok(Self(Arc::new(Shared { fingerprint: certificate.fingerprint(), client, servers, provider })))
    }

    /// What our session descriptions say of the certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    pub(super) fn client(&self) -> Arc<HandshakeConfig> {
        self.0.client.clone()
    }

    pub(super) fn server(&self, profile: Profile) -> Arc<HandshakeConfig> {
        let [first, ..] = &self.0.servers;
        self.0.servers.iter().find(|(p, _)| *p == profile).unwrap_or(first).1.clone()
    }

    pub(super) fn provider(&self) -> Arc<dyn RTCCryptoProvider> {
        self.0.provider.clone()
    }
}

impl std::fmt::Debug for DtlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DtlsIdentity").field("fingerprint", &self.0.fingerprint).finish_non_exhaustive()
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DtlsConfigError {
    #[error("failed to read the certificate's key: {0}")]
    Key(String),
    #[error("failed to configure DTLS: {0}")]
    Build(String),
}

fn library_profile(profile: Profile) -> SrtpProtectionProfile {
    match profile {
        Profile::AeadAes128Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
        Profile::AeadAes256Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
        Profile::Aes128CmHmacSha1_80 => SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
    }
}

/// Our name of a negotiated profile; `None` for those we do not speak.
pub(super) fn profile(library: SrtpProtectionProfile) -> Option<Profile> {
    match library {
        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Some(Profile::AeadAes128Gcm),
        SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => Some(Profile::AeadAes256Gcm),
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Some(Profile::Aes128CmHmacSha1_80),
        _ => None,
    }
}
