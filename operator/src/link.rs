//! `calls-operator link`: an invitation link, made with the rights of whoever runs it.

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{Node, Secret, Service};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client};

use crate::api::CallsCluster;
use crate::cli::LinkArgs;
use crate::connect::connect;
use crate::invite;
use crate::keys::read_keys;
use crate::name::ClusterName;

/// The link, ready to print.
///
/// # Errors
/// If the CallsCluster, its keys or the page's address cannot be found; the message says what to do.
pub async fn link(args: &LinkArgs) -> anyhow::Result<String> {
    let client = connect().await?;
    let namespace = args.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let clusters: Api<CallsCluster> = Api::namespaced(client.clone(), &namespace);
    let cluster = clusters
        .get_opt(&args.name)
        .await
        .with_context(|| format!("failed to read CallsCluster {namespace}/{}", args.name))?
        .with_context(|| {
            format!("there is no CallsCluster {} in namespace {namespace}: see --namespace and --name", args.name)
        })?;
    if !cluster.spec.page.enabled {
        bail!("the page of CallsCluster {} is off: set page.enabled", args.name);
    }
    let name = ClusterName::new(&args.name)?;
    let secret = if cluster.spec.auth.secret_name.is_empty() { name.keys() } else { cluster.spec.auth.secret_name };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let keys = secrets.get(&secret).await.with_context(|| format!("failed to read the API keys in Secret {secret}"))?;
    let keys = read_keys(&keys)?;
    let key = keys.first().with_context(|| format!("Secret {secret} has no API key"))?;
    let url = match &args.url {
        Some(url) => url.clone(),
        None => node_url(&client, &namespace, &name).await?,
    };
    let ttl = i64::try_from(args.ttl.as_secs()).context("the time is too long")?;
    Ok(invite::link(&url, &args.call, key, Timestamp::now().as_second(), ttl)?)
}

/// The page over the Service's NodePort, for clusters without an Ingress.
async fn node_url(client: &Client, namespace: &str, name: &ClusterName) -> anyhow::Result<String> {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let service = services.get(&name.service()).await.context("failed to read the Service: give --url")?;
    let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
    let port = ports.iter().find_map(|port| port.node_port).context("the Service has no NodePort: give --url")?;
    let nodes = Api::<Node>::all(client.clone()).list(&kube::api::ListParams::default()).await;
    let nodes = nodes.context("failed to list Nodes: give --url")?;
    let address = |wanted: &str| {
        nodes
            .items
            .iter()
            .flat_map(|node| node.status.iter().flat_map(|status| status.addresses.iter().flatten()))
            .find(|address| address.type_ == wanted)
            .map(|address| address.address.clone())
    };
    let address =
        address("ExternalIP").or_else(|| address("InternalIP")).context("no Node has an address: give --url")?;
    let host = if address.contains(':') { format!("[{address}]") } else { address };
    Ok(format!("http://{host}:{port}"))
}
