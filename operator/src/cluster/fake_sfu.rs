//! An SFU on loopback that speaks the fleet API over the real TLS, and drains when told.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use fleet::api::{DRAIN_PATH, DrainOrder, DrainStatus, INFO_PATH, SfuLoad, SfuState, SfuStatus};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::certificates::FleetCertificates;
use crate::name::Role;

pub struct FakeSfu {
    pub port: u16,
    status: Arc<Mutex<SfuStatus>>,
    manner: Arc<Manner>,
}

/// How it answers.
#[derive(Default)]
struct Manner {
    n_asked: AtomicUsize,
    fails: AtomicBool,
}

impl FakeSfu {
    /// One that shows the certificate of `role`, wants one of the same authority, and has a call of two.
    pub async fn start(certificates: &FleetCertificates, role: Role, name: &str) -> Self {
        let status = Arc::new(Mutex::new(SfuStatus {
            name: name.into(),
            node: "node-a".into(),
            version: "1".into(),
            state: SfuState::Active,
            candidates: Vec::new(),
            address_problem: None,
            load: SfuLoad { calls: 1, participants: 2, percent: 0 },
            drain: None,
            can_drain: true,
        }));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let manner = Arc::<Manner>::default();
        let (acceptor, shared, mood) = (acceptor(certificates, role), Arc::clone(&status), Arc::clone(&manner));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let answer = service_fn(async |request| {
                    mood.n_asked.fetch_add(1, Ordering::Relaxed);
                    let mut response = answer(&shared, request).await?;
                    if mood.fails.load(Ordering::Relaxed) {
                        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    }
                    Ok::<_, hyper::Error>(response)
                });
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            }
        });
        Self { port, status, manner }
    }

    /// Has it answer with errors, or not any more.
    pub fn fail(&self, fails: bool) {
        self.manner.fails.store(fails, Ordering::Relaxed);
    }

    /// How often it was asked anything.
    pub fn n_asked(&self) -> usize {
        self.manner.n_asked.load(Ordering::Relaxed)
    }

    pub fn status(&self) -> SfuStatus {
        self.status.lock().unwrap().clone()
    }

    /// Changes what it says of itself.
    pub fn report(&self, change: impl FnOnce(&mut SfuStatus)) {
        change(&mut self.status.lock().unwrap());
    }

    /// Its last call is gone.
    pub fn empty(&self) {
        let mut status = self.status.lock().unwrap();
        let n_calls = std::mem::take(&mut status.load).calls;
        if let Some(drain) = &mut status.drain {
            (drain.calls_left, drain.calls_moved) = (0, n_calls);
        }
    }
}

fn acceptor(certificates: &FleetCertificates, role: Role) -> TlsAcceptor {
    let leaf = &certificates.leaves[&role];
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(leaf.bundle.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(leaf.credential.cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(leaf.credential.key.as_bytes()).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn answer(status: &Mutex<SfuStatus>, request: Request<Incoming>) -> Result<Response<String>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut status = status.lock().unwrap();
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::ACCEPTED;
    match (&head.method, head.uri.path()) {
        (&Method::GET, INFO_PATH) => {
            response = Response::new(serde_json::to_string(&*status).unwrap());
        }
        (&Method::POST, DRAIN_PATH) => {
            let order: DrainOrder = serde_json::from_slice(&body).unwrap();
            let since = status.drain.map_or(Timestamp::now().as_second(), |drain| drain.since);
            let deadline = Timestamp::now().as_second() + i64::from(order.within_seconds);
            let DrainOrder { mode, nobody_takes, .. } = order;
            let calls_left = status.load.calls;
            status.state = SfuState::Draining;
            status.drain = Some(DrainStatus { mode, nobody_takes, since, deadline, calls_left, calls_moved: 0 });
        }
        (&Method::DELETE, DRAIN_PATH) => {
            status.state = SfuState::Active;
            status.drain = None;
        }
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    Ok(response)
}
