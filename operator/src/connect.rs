//! The client for the API server.

use hyper::header::{HeaderValue, USER_AGENT};
use kube::{Client, Config};
use thiserror::Error;

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ConnectError {
    #[error("neither a pod's service account nor a usable kubeconfig was found: set KUBECONFIG")]
    Config(#[from] kube::config::InferConfigError),
    #[error("the configuration of the cluster is unusable")]
    Client(#[from] kube::Error),
}

/// A client by the pod's service account, or by the kubeconfig. It sends nothing yet.
pub async fn connect() -> Result<Client, ConnectError> {
    let mut config = Config::infer().await?;
    // Audit logs tell by it who asked.
    let agent = HeaderValue::from_static(concat!("calls-operator/", env!("CARGO_PKG_VERSION")));
    config.headers.push((USER_AGENT, agent));
    Ok(Client::try_from(config)?)
}
