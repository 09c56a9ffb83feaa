//! Writes how many SFUs are wanted where everybody reads it: `sfu.replicas`, through the scale subresource, as a
//! HorizontalPodAutoscaler would. The only writer of a spec.

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tracing::info;

use crate::api::CallsCluster;
use crate::cluster::scale::Scaled;
use crate::name::MANAGER;

/// Whether the spec says what was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    AsDecided,
    /// The `CallsCluster` was changed meanwhile: what was decided of another one is not written.
    Overtaken,
    /// The API server does not accept it, for lack of rights or by somebody's policy, and trying again changes nothing.
    Refused(String),
}

/// Writes what was decided, if it differs from what is there.
///
/// # Errors
/// If the API server cannot be reached or does not answer.
pub async fn rescale(cluster: &CallsCluster, scaled: &Scaled, client: &Client) -> Result<Written, kube::Error> {
    if scaled.replicas == scaled.before {
        return Ok(Written::AsDecided);
    }
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let api: Api<CallsCluster> = Api::namespaced(client.clone(), &namespace);
    let patch = json!({
        "metadata": {"resourceVersion": cluster.resource_version()},
        "spec": {"replicas": scaled.replicas},
    });
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_scale(&name, &params, &Patch::Merge(&patch)).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => return Ok(Written::Overtaken),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
            return Ok(Written::Refused(status.message.clone()));
        }
        Err(error) => return Err(error),
    }
    info!(%namespace, %name, before = scaled.before, replicas = scaled.replicas, reason = %scaled.reason, "scaled");
    Ok(Written::AsDecided)
}
