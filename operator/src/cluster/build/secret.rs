//! Secrets: the first API key and the fleet's certificates.

use std::collections::BTreeMap;

use fleet::names::path;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::metadata;
use crate::certificates::{CA_CERT, CA_KEY, CA_PREVIOUS, FleetCertificates};
use crate::cluster::identity::Identity;
use crate::cluster::validate::ValidatedCluster;

/// The Secret with the first API key, while there is none.
pub fn first_key(cluster: &ValidatedCluster) -> Option<Secret> {
    let key = cluster.keys.first.as_ref()?;
    Some(secret(&cluster.identity, cluster.keys.secret_name.clone(), [(key.name.as_str(), key.secret.as_str())]))
}

/// The authority's Secret, mounted nowhere, and one Secret a role: [`ClusterName::certificates`].
///
/// [`ClusterName::certificates`]: crate::name::ClusterName::certificates
pub fn certificates(cluster: &Identity, certificates: &FleetCertificates) -> Vec<Secret> {
    let authority = &certificates.authority;
    let previous = authority.previous.as_deref().map(|previous| (CA_PREVIOUS, previous));
    let current = [(CA_CERT, authority.current.cert.as_str()), (CA_KEY, authority.current.key.as_str())];
    let mut secrets = vec![secret(cluster, cluster.name.fleet_ca(), current.into_iter().chain(previous))];
    secrets.extend(certificates.leaves.iter().map(|(role, leaf)| {
        let entries = [
            (path::TLS_CERT, leaf.credential.cert.as_str()),
            (path::TLS_KEY, leaf.credential.key.as_str()),
            (path::TLS_CA, leaf.bundle.as_str()),
        ];
        secret(cluster, cluster.name.tls(*role), entries)
    }));
    secrets
}

fn secret<'a>(cluster: &Identity, name: String, entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Secret {
    let data: BTreeMap<String, ByteString> =
        entries.into_iter().map(|(entry, text)| (entry.to_owned(), ByteString(text.as_bytes().to_vec()))).collect();
    Secret {
        metadata: metadata::object(cluster, name, None),
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}
