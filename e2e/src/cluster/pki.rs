//! The cluster's certificates and kubeconfigs: one authority, one certificate per component.
//!
//! Made once and kept with the cluster's data; `down` removes them. Keys are readable by root alone.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};
use serde_json::json;

use super::layout::{API_PORT, API_SERVICE, CONTROL_PLANE, NodeLayout};

/// Who a certificate is for.
#[derive(Clone, Debug, Default)]
struct Subject {
    common_name: String,
    /// Kubernetes reads it as the group.
    organization: Option<&'static str>,
    names: Vec<&'static str>,
    addresses: Vec<Ipv4Addr>,
}

/// The cluster's authority and what it signed, as files in one folder.
#[derive(Debug)]
pub struct Pki {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    /// Opens the authority in a folder, or makes one.
    pub fn ensure(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let (certificate, key) = (folder.join("ca.crt"), folder.join("ca.key"));
        if !certificate.exists() {
            let pair = KeyPair::generate()?;
            let authority = authority_params().self_signed(&pair)?;
            write_private(&key, &pair.serialize_pem())?;
            fs::write(&certificate, authority.pem())?;
        }
        let pair = KeyPair::from_pem(&fs::read_to_string(&key)?).context("the cluster's CA key cannot be read")?;
        let issuer = Issuer::from_ca_cert_pem(&fs::read_to_string(&certificate)?, pair)?;
        let pki = Self { folder: folder.to_path_buf(), issuer };
        if !pki.service_account_public_key().exists() {
            let pair = KeyPair::generate()?;
            write_private(&pki.service_account_key(), &pair.serialize_pem())?;
            fs::write(pki.service_account_public_key(), pair.public_key_pem())?;
        }
        pki.ensure_component_certificates()?;
        Ok(pki)
    }

    /// The authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The authority's key, which the controller manager signs requests with.
    pub fn authority_key(&self) -> PathBuf {
        self.folder.join("ca.key")
    }

    /// The key service accounts' tokens are signed with.
    pub fn service_account_key(&self) -> PathBuf {
        self.folder.join("service-accounts.key")
    }

    /// The key they are checked with.
    pub fn service_account_public_key(&self) -> PathBuf {
        self.folder.join("service-accounts.pub")
    }

    /// The certificate of a component.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.crt"))
    }

    /// The key of a component.
    pub fn key(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.key"))
    }

    /// The kubeconfig of a component.
    pub fn kubeconfig(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.conf"))
    }

    /// Makes a node's certificate and kubeconfig.
    pub fn ensure_node(&self, node: NodeLayout) -> Result<()> {
        let name = node.name();
        let subject = Subject {
            common_name: format!("system:node:{name}"),
            organization: Some("system:nodes"),
            addresses: vec![node.address()],
            ..Subject::default()
        };
        self.ensure_certificate(&name, &subject)?;
        self.write_kubeconfig(&name, &self.kubeconfig(&name))
    }

    /// Writes a kubeconfig that signs in with the component's certificate.
    pub fn write_kubeconfig(&self, name: &str, file: &Path) -> Result<()> {
        let cluster = json!({
            "server": format!("https://{CONTROL_PLANE}:{API_PORT}"),
            "certificate-authority": self.authority(),
        });
        let user = json!({"client-certificate": self.certificate(name), "client-key": self.key(name)});
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "calls", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "calls", "context": {"cluster": "calls", "user": name}}],
            "current-context": "calls",
        });
        Ok(fs::write(file, serde_json::to_vec_pretty(&config)?)?)
    }

    fn ensure_component_certificates(&self) -> Result<()> {
        let api_server = Subject {
            common_name: "kube-apiserver".to_owned(),
            names: vec!["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"],
            addresses: vec![CONTROL_PLANE, API_SERVICE, Ipv4Addr::LOCALHOST],
            ..Subject::default()
        };
        self.ensure_certificate("apiserver", &api_server)?;
        for (name, common_name, organization) in [
            ("admin", "admin", Some("system:masters")),
            ("apiserver-to-kubelet", "kube-apiserver-kubelet-client", Some("system:masters")),
            ("controller-manager", "system:kube-controller-manager", None),
            ("scheduler", "system:kube-scheduler", None),
            ("proxy", "system:kube-proxy", None),
        ] {
            let subject = Subject { common_name: common_name.to_owned(), organization, ..Subject::default() };
            self.ensure_certificate(name, &subject)?;
            self.write_kubeconfig(name, &self.kubeconfig(name))?;
        }
        Ok(())
    }

    fn ensure_certificate(&self, name: &str, subject: &Subject) -> Result<()> {
        let file = self.certificate(name);
        if file.exists() {
            return Ok(());
        }
        let pair = KeyPair::generate()?;
        let certificate = params(subject)?.signed_by(&pair, &self.issuer)?;
        write_private(&self.key(name), &pair.serialize_pem())?;
        Ok(fs::write(file, certificate.pem())?)
    }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, "calls local cluster");
    set_validity(&mut params);
    params
}

fn params(subject: &Subject) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, subject.common_name.as_str());
    if let Some(organization) = subject.organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    for name in &subject.names {
        params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
    }
    let addresses = subject.addresses.iter().map(|address| SanType::IpAddress(IpAddr::V4(*address)));
    params.subject_alt_names.extend(addresses);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    set_validity(&mut params);
    Ok(params)
}

/// The cluster lives as long as somebody works on it: dates only keep clocks that are a little wrong from mattering.
fn set_validity(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
}

fn write_private(file: &Path, content: &str) -> Result<()> {
    let mut open = OpenOptions::new();
    let mut written = open.write(true).create(true).truncate(true).mode(0o600).open(file)?;
    Ok(written.write_all(content.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn certificates_are_made_once_and_keys_are_private() {
        let folder = std::env::temp_dir().join(format!("calls-e2e-pki-{}", std::process::id()));
        let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a file");
        let pki = Pki::ensure(&folder).expect("made");
        pki.ensure_node(NodeLayout::new(1)).expect("made");
        let first = (read("ca.crt"), read("admin.crt"), read("node-1.crt"));
        Pki::ensure(&folder).expect("opened").ensure_node(NodeLayout::new(1)).expect("kept");
        assert_eq!(first, (read("ca.crt"), read("admin.crt"), read("node-1.crt")));
        for key in ["ca.key", "admin.key", "node-1.key", "service-accounts.key"] {
            let mode = fs::metadata(folder.join(key)).expect("a key").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{key} may be read by others");
        }
        fs::remove_dir_all(&folder).expect("removed");
    }
}
