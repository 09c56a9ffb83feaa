//! The fleet's mutual TLS: a directory with `tls.crt`, `tls.key` and `ca.crt` as rustls configurations.
//!
//! The CA is private to one `CallsCluster`; names in its certificates are roles ([`tls_name`]), never addresses. So a
//! client checks for [`tls_name::SFU`] whatever address it called, and an SFU tells its callers apart by [`Role`].

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::names::{path, tls_name};

/// The three files, as they were read. Compare two to see whether something changed.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsFiles {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

impl std::fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsFiles").finish_non_exhaustive()
    }
}

/// Who calls the control port, by the name in the certificate that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Director,
    Operator,
}

/// A configuration that follows its directory: certificates are renewed while programs run.
///
/// Nothing happens by itself: whoever owns it calls [`Reloading::refresh`] every [`RELOAD_SECONDS`].
#[derive(Debug)]
pub struct Reloading<T> {
    directory: PathBuf,
    build: fn(&TlsFiles) -> Result<T, TlsFilesError>,
    current: RwLock<(TlsFiles, Arc<T>)>,
}

/// How often a certificate directory is looked at. The files are small and in memory (a mounted Secret), and a
/// certificate is renewed days before it ends.
pub const RELOAD_SECONDS: u64 = 5;

impl<T> Reloading<T> {
    /// Reads `directory` for the first time; `build` is [`TlsFiles::client_config`] or [`TlsFiles::server_config`].
    pub fn open(directory: &Path, build: fn(&TlsFiles) -> Result<T, TlsFilesError>) -> Result<Self, TlsFilesError> {
        let files = TlsFiles::read(directory)?;
        let value = Arc::new(build(&files)?);
        Ok(Self { directory: directory.to_owned(), build, current: RwLock::new((files, value)) })
    }

    /// The configuration for the next connection.
    pub fn get(&self) -> Arc<T> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Reads the directory again; true if a new configuration is in force.
    ///
    /// # Errors
    /// The one in force stays when the files cannot be used, as when they are seen half written.
    pub fn refresh(&self) -> Result<bool, TlsFilesError> {
        let files = TlsFiles::read(&self.directory)?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).0 == files {
            return Ok(false);
        }
        let value = Arc::new((self.build)(&files)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (files, value);
        Ok(true)
    }
}

/// Why a certificate directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFilesError {
    #[error("failed to read {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    #[error("{0} is not PEM of the expected kind")]
    Pem(&'static str, #[source] rustls_pki_types::pem::Error),
    #[error("{0} holds no certificate")]
    NoCertificate(&'static str),
    #[error("{} cannot be trusted as a CA", path::TLS_CA)]
    Ca(#[source] rustls::Error),
    #[error("{} and {} cannot be used", path::TLS_CERT, path::TLS_KEY)]
    Identity(#[source] rustls::Error),
    #[error("failed to make the verifier of client certificates")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

impl TlsFiles {
    /// Reads `tls.crt`, `tls.key` and `ca.crt` in `directory`.
    ///
    /// # Errors
    /// [`TlsFilesError::Read`] when one of them cannot be read; what is in them is looked at by the other methods.
    pub fn read(directory: &Path) -> Result<Self, TlsFilesError> {
        let read = |name: &str| {
            let file = directory.join(name);
            std::fs::read(&file).map_err(|error| TlsFilesError::Read(file, error))
        };
        Ok(Self { certificate: read(path::TLS_CERT)?, key: read(path::TLS_KEY)?, ca: read(path::TLS_CA)? })
    }

    /// Configuration of one who calls SFUs: shows its certificate, trusts the fleet's CA alone. HTTP/1.1 only.
    ///
    /// Connect with [`sfu_server_name`].
    pub fn client_config(&self) -> Result<ClientConfig, TlsFilesError> {
        let (certificates, key) = self.identity()?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsFilesError::Identity)?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(certificates, key)
            .map_err(TlsFilesError::Identity)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Configuration of an SFU's control port: nobody gets in without a certificate of the fleet's CA. HTTP/1.1 only.
    pub fn server_config(&self) -> Result<ServerConfig, TlsFilesError> {
        let (certificates, key) = self.identity()?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), provider())
            .build()
            .map_err(TlsFilesError::Verifier)?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsFilesError::Identity)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates, key)
            .map_err(TlsFilesError::Identity)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn identity(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsFilesError> {
        let certificates = certificates(path::TLS_CERT, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| TlsFilesError::Pem(path::TLS_KEY, error))?;
        Ok((certificates, key))
    }

    fn roots(&self) -> Result<RootCertStore, TlsFilesError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path::TLS_CA, &self.ca)? {
            roots.add(certificate).map_err(TlsFilesError::Ca)?;
        }
        Ok(roots)
    }
}

/// The name every SFU's certificate is for.
pub fn sfu_server_name() -> ServerName<'static> {
    ServerName::try_from(tls_name::SFU).expect("the SFU's TLS name is a DNS name")
}

/// The role `certificate` is for. The certificate must have been verified; this looks at its names alone.
///
/// `None` for an SFU's certificate, or a name of no role.
pub fn role_of(certificate: &CertificateDer<'_>) -> Option<Role> {
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    let is_for = |name: &'static str| {
        ServerName::try_from(name).is_ok_and(|name| verify_server_name(&certificate, &name).is_ok())
    };
    if is_for(tls_name::DIRECTOR) {
        Some(Role::Director)
    } else if is_for(tls_name::OPERATOR) {
        Some(Role::Operator)
    } else {
        None
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificates(file: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsFilesError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsFilesError::Pem(file, error))?;
    if certificates.is_empty() { Err(TlsFilesError::NoCertificate(file)) } else { Ok(certificates) }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    fn files_for(name: &str) -> TlsFiles {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        TlsFiles {
            certificate: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            ca: ca.pem().into_bytes(),
        }
    }

    #[test]
    fn a_role_is_read_from_the_name_in_the_certificate() {
        let role = |name| role_of(&files_for(name).identity().unwrap().0[0]);
        assert_eq!(role(tls_name::DIRECTOR), Some(Role::Director));
        assert_eq!(role(tls_name::OPERATOR), Some(Role::Operator));
        assert_eq!(role(tls_name::SFU), None);
        assert_eq!(role("director.example"), None);
    }

    #[test]
    fn good_files_make_both_configurations() {
        let files = files_for(tls_name::SFU);
        files.client_config().unwrap();
        files.server_config().unwrap();
    }

    #[test]
    fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
        let directory = std::env::temp_dir().join(format!("calls-fleet-tls-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let write = |files: &TlsFiles| {
            std::fs::write(directory.join(path::TLS_CERT), &files.certificate).unwrap();
            std::fs::write(directory.join(path::TLS_KEY), &files.key).unwrap();
            std::fs::write(directory.join(path::TLS_CA), &files.ca).unwrap();
        };
        write(&files_for(tls_name::SFU));
        let tls = Reloading::open(&directory, TlsFiles::server_config).unwrap();
        let first = tls.get();
        assert!(!tls.refresh().unwrap());

        let renewed = files_for(tls_name::SFU);
        write(&TlsFiles { key: Vec::new(), ..renewed.clone() });
        tls.refresh().unwrap_err();
        assert!(Arc::ptr_eq(&first, &tls.get()));

        write(&renewed);
        assert!(tls.refresh().unwrap());
        assert!(!Arc::ptr_eq(&first, &tls.get()));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        let good = files_for(tls_name::SFU);
        let no_ca = TlsFiles { ca: Vec::new(), ..good.clone() };
        assert_eq!(no_ca.client_config().unwrap_err().to_string(), "ca.crt holds no certificate");
        let foreign_key = TlsFiles { key: files_for(tls_name::SFU).key, ..good.clone() };
        assert!(matches!(foreign_key.server_config().unwrap_err(), TlsFilesError::Identity(_)));
        let no_key = TlsFiles { key: b"nonsense".to_vec(), ..good };
        assert_eq!(no_key.server_config().unwrap_err().to_string(), "tls.key is not PEM of the expected kind");
        let missing = TlsFiles::read(Path::new("/nonexistent")).unwrap_err();
        assert_eq!(missing.to_string(), "failed to read /nonexistent/tls.crt");
    }
}
