//! `calls-operator preuninstall`: keeps the operator where it is needed.

use anyhow::{Context as _, bail};
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, ResourceExt as _};

use crate::api::CallsCluster;
use crate::connect::connect;

/// CallsClusters named in the message.
const MAX_NAMED: usize = 5;

/// Succeeds if no CallsCluster exists.
///
/// # Errors
/// If one does; the message names it and says what to do.
pub async fn preuninstall() -> anyhow::Result<()> {
    let client = connect().await?;
    let clusters: Api<CallsCluster> = Api::all(client);
    let list = match clusters.list_metadata(&ListParams::default()).await {
        Ok(list) => list.items,
        // The CRD is gone, and every CallsCluster with it.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        Err(error) => return Err(error).context("failed to list CallsClusters"),
    };
    if list.is_empty() {
        return Ok(());
    }
    bail!(refusal(&list))
}

fn refusal(list: &[PartialObjectMeta<CallsCluster>]) -> String {
    let named: Vec<String> = list
        .iter()
        .take(MAX_NAMED)
        .map(|one| format!("{}/{}", one.namespace().unwrap_or_default(), one.name_any()))
        .collect();
    let more = if list.len() > MAX_NAMED { format!(" and {} more", list.len() - MAX_NAMED) } else { String::new() };
    format!(
        "not uninstalled: {}{more} would be left without an operator. Delete it first (kubectl delete callsclusters \
         --all --all-namespaces) and uninstall again, or leave it without one (helm uninstall --no-hooks). To keep the \
         release, roll it back to the revision that helm history calls uninstalling",
        named.join(", ")
    )
}
