//! Asks SFUs how they are, and to leave: the fleet API over mutually authenticated TLS, in bounded time.
//!
//! The SFU is reached by the address of its node, but must show a certificate of the fleet's authority with the name of
//! its role: an address is not in certificates, because it may change hands.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fleet::api::{DRAIN_PATH, DrainOrder, INFO_PATH, SfuStatus};
use fleet::names::tls_name;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tracing::debug;

use crate::certificates::Leaf;

/// One SFU may take this long, connecting included. All are asked at once, so a reconcile waits for it at most once.
pub const INFO_LIMIT: Duration = Duration::from_secs(2);
/// Longest answer read.
const MAX_ANSWER: usize = 64 * 1024;

/// Why an SFU did not answer.
#[derive(Debug, Error)]
pub enum FleetError {
    #[error("the operator's fleet certificate is unusable")]
    Credential(#[source] rustls::Error),
    #[error("the operator's fleet certificate cannot be read")]
    Pem(#[source] rustls::pki_types::pem::Error),
    #[error("no connection")]
    Connect(#[source] std::io::Error),
    #[error("the HTTP exchange broke off")]
    Http(#[source] hyper::Error),
    #[error("the answer is too long or broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("what was to be sent or came as an answer is no JSON of the fleet API")]
    Json(#[source] serde_json::Error),
    #[error("no answer within {} s", INFO_LIMIT.as_secs())]
    TooSlow,
}

/// A client for the SFUs of one `CallsCluster`.
#[derive(Clone)]
pub struct FleetClient {
    connector: TlsConnector,
}

impl std::fmt::Debug for FleetClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FleetClient")
    }
}

impl FleetClient {
    /// A client that shows `leaf` and trusts the authorities stored with it.
    pub fn new(leaf: &Leaf) -> Result<Self, FleetError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(leaf.bundle.as_bytes()) {
            roots.add(certificate.map_err(FleetError::Pem)?).map_err(FleetError::Credential)?;
        }
        let chain = CertificateDer::pem_slice_iter(leaf.credential.cert.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(FleetError::Pem)?;
        let key = PrivateKeyDer::from_pem_slice(leaf.credential.key.as_bytes()).map_err(FleetError::Pem)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(FleetError::Credential)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(FleetError::Credential)?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// What the SFU at `address` says of itself.
    pub async fn info(&self, address: IpAddr, port: u16) -> Result<SfuStatus, FleetError> {
        let answer = self.ask(SocketAddr::new(address, port), Method::GET, INFO_PATH, Bytes::new()).await?;
        serde_json::from_slice(&answer).map_err(FleetError::Json)
    }

    /// Has the SFU at `address` leave.
    pub async fn drain(&self, address: IpAddr, port: u16, order: DrainOrder) -> Result<(), FleetError> {
        let body = serde_json::to_vec(&order).map_err(FleetError::Json)?;
        self.ask(SocketAddr::new(address, port), Method::POST, DRAIN_PATH, body.into()).await.map(drop)
    }

    /// Has the SFU at `address` stay after all.
    pub async fn undrain(&self, address: IpAddr, port: u16) -> Result<(), FleetError> {
        self.ask(SocketAddr::new(address, port), Method::DELETE, DRAIN_PATH, Bytes::new()).await.map(drop)
    }

    async fn ask(&self, address: SocketAddr, method: Method, path: &str, body: Bytes) -> Result<Bytes, FleetError> {
        let exchange = self.exchange(address, method, path, body);
        tokio::time::timeout(INFO_LIMIT, exchange).await.unwrap_or(Err(FleetError::TooSlow))
    }

    async fn exchange(
        &self,
        address: SocketAddr,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, FleetError> {
        let stream = TcpStream::connect(address).await.map_err(FleetError::Connect)?;
        let name =
            ServerName::try_from(tls_name::SFU).map_err(|error| FleetError::Connect(std::io::Error::other(error)))?;
        let stream = self.connector.connect(name, stream).await.map_err(FleetError::Connect)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(FleetError::Http)?;
        // Ends with the sender, which this function drops.
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(error = &error as &dyn std::error::Error, "connection to SFU ended");
            }
        });
        let _abort = AbortOnDrop(connection.abort_handle());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, tls_name::SFU)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| FleetError::Body(error.into()))?;
        let response = sender.send_request(request).await.map_err(FleetError::Http)?;
        if !response.status().is_success() {
            return Err(FleetError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(FleetError::Body)?;
        Ok(body.to_bytes())
    }
}

/// Ends a task with the exchange it serves, also when that is given up.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use fleet::api::{DrainMode, SfuState};
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::certificates::{FleetCertificates, Stored};
    use crate::cluster::fake_sfu::FakeSfu;
    use crate::name::Role;

    fn certificates() -> FleetCertificates {
        FleetCertificates::ensure(&Stored::default(), Timestamp::now()).unwrap()
    }

    async fn ask(asking: &FleetCertificates, port: u16) -> Result<SfuStatus, FleetError> {
        let client = FleetClient::new(&asking.leaves[&Role::Operator]).unwrap();
        client.info(Ipv4Addr::LOCALHOST.into(), port).await
    }

    #[tokio::test]
    async fn an_sfu_of_the_fleet_answers_whatever_its_address() {
        let certificates = certificates();
        let sfu = FakeSfu::start(&certificates, Role::Sfu, "blue-sfu-1").await;
        assert_eq!(ask(&certificates, sfu.port).await.unwrap(), sfu.status());
    }

    #[tokio::test]
    async fn an_sfu_is_asked_to_leave_and_to_stay() {
        let certificates = certificates();
        let sfu = FakeSfu::start(&certificates, Role::Sfu, "blue-sfu-1").await;
        let client = FleetClient::new(&certificates.leaves[&Role::Operator]).unwrap();
        let order = DrainOrder { mode: DrainMode::Move, within_seconds: 480, nobody_takes: false };
        client.drain(Ipv4Addr::LOCALHOST.into(), sfu.port, order).await.unwrap();
        assert_eq!((sfu.status().state, sfu.status().drain.unwrap().mode), (SfuState::Draining, DrainMode::Move));
        client.undrain(Ipv4Addr::LOCALHOST.into(), sfu.port).await.unwrap();
        assert_eq!((sfu.status().state, sfu.status().drain), (SfuState::Active, None));
    }

    #[tokio::test]
    async fn another_role_does_not_pass_for_an_sfu() {
        let certificates = certificates();
        let sfu = FakeSfu::start(&certificates, Role::Director, "blue-sfu-1").await;
        assert!(matches!(ask(&certificates, sfu.port).await, Err(FleetError::Connect(_))));
    }

    #[tokio::test]
    async fn an_sfu_of_another_fleet_is_not_believed() {
        let sfu = FakeSfu::start(&certificates(), Role::Sfu, "blue-sfu-1").await;
        assert!(matches!(ask(&certificates(), sfu.port).await, Err(FleetError::Connect(_))));
    }
}
