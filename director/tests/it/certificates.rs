//! A fleet's CA and certificate directories, in a temporary directory that goes with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleet::names::path;
use fleet::tls::{Reloading, TlsFiles};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::{ClientConfig, ServerConfig};

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The CA of one fleet.
pub struct Certificates {
    directory: PathBuf,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    pub fn new() -> Self {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("calls-director-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self { directory, ca: CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Directory of a certificate for the TLS name `name`.
    pub fn directory_for(&self, name: &str) -> PathBuf {
        let directory = self.directory.join(name);
        let key = KeyPair::generate().unwrap();
        let mut certificate = CertificateParams::new([name.to_owned()]).unwrap();
        certificate.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = certificate.signed_by(&key, &self.ca).unwrap();
        std::fs::create_dir_all(&directory).unwrap();
        write(&directory, path::TLS_CERT, &certificate.pem());
        write(&directory, path::TLS_KEY, &key.serialize_pem());
        write(&directory, path::TLS_CA, &self.ca.pem());
        directory
    }

    pub fn client(&self, name: &str) -> Reloading<ClientConfig> {
        Reloading::open(&self.directory_for(name), TlsFiles::client_config).unwrap()
    }

    pub fn server(&self, name: &str) -> Arc<Reloading<ServerConfig>> {
        Arc::new(Reloading::open(&self.directory_for(name), TlsFiles::server_config).unwrap())
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).unwrap();
}
