//! Connections to SFUs: TCP, mutual TLS, HTTP/1.1; and a pool of idle ones for plain requests.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fleet::tls::{RELOAD_SECONDS, Reloading, sfu_server_name};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::sfu_address::SfuAddress;

/// Body of a request to an SFU: none (such a request can be sent again), the client's, or a short one of ours.
pub type RequestBody = Either<Empty<Bytes>, Either<Incoming, http_body_util::Full<Bytes>>>;

/// TCP and TLS together: two round trips to a node of the same cluster, and room for one lost packet.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// How long an idle connection is kept: shorter than an SFU keeps it (30 s), so that nothing is sent into one that is
/// just closing.
const IDLE_KEPT: Duration = Duration::from_secs(10);
/// Idle connections kept for one SFU.
const IDLE_MAX: usize = 32;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing listens there: the process is gone.
    #[error("connection refused")]
    Refused,
    #[error("no connection within {} s", CONNECT_LIMIT.as_secs())]
    TimedOut,
    #[error("connection failed")]
    Io(#[source] io::Error),
    #[error("HTTP connection failed")]
    Http(#[source] hyper::Error),
}

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The request was not sent and is given back.
    #[error("the request was not sent")]
    Connect(#[source] ConnectError, Box<Request<RequestBody>>),
    /// It may have been sent, and acted upon.
    #[error("connection broke before a response came")]
    Broke(#[source] hyper::Error),
}

/// Opens and keeps connections. Share it by `Arc`.
#[derive(Debug)]
pub struct Connector {
    tls: Arc<Reloading<ClientConfig>>,
    idle: Mutex<HashMap<SfuAddress, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<RequestBody>,
    since: Instant,
}

impl Connector {
    pub fn new(tls: Reloading<ClientConfig>) -> Self {
        Self { tls: Arc::new(tls), idle: Mutex::default() }
    }

    /// Reads the certificate directory again from time to time, for ever.
    pub async fn follow_certificates(&self) {
        let mut interval = tokio::time::interval(Duration::from_secs(RELOAD_SECONDS));
        loop {
            interval.tick().await;
            let tls = Arc::clone(&self.tls);
            // A disk that hangs must not hold up the threads that serve clients.
            let Ok(refreshed) = spawn_blocking(move || tls.refresh()).await else { continue };
            match refreshed {
                Ok(true) => info!("the director's certificate was renewed"),
                Ok(false) => {}
                Err(error) => warn!(%error, "certificate directory cannot be used; the certificate in force stays"),
            }
        }
    }

    /// A new connection, driven by a task of its own until it ends or `given_up` does. Upgrades work.
    pub async fn open(
        &self,
        address: &SfuAddress,
        given_up: CancellationToken,
    ) -> Result<SendRequest<RequestBody>, ConnectError> {
        let opening = async {
            let socket = TcpStream::connect(address.as_pair()).await?;
            socket.set_nodelay(true)?;
            TlsConnector::from(self.tls.get()).connect(sfu_server_name(), socket).await
        };
        let stream = match tokio::time::timeout(CONNECT_LIMIT, opening).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => return Err(ConnectError::Refused),
            Ok(Err(error)) => return Err(ConnectError::Io(error)),
            Err(_) => return Err(ConnectError::TimedOut),
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(ConnectError::Http)?;
        tokio::spawn(async move {
            tokio::select! {
                ended = connection.with_upgrades() => {
                    if let Err(error) = ended {
                        debug!(%error, "connection to an SFU broke");
                    }
                }
                () = given_up.cancelled() => {}
            }
        });
        Ok(sender)
    }

    /// Sends `request` on an idle connection if there is one, otherwise on a new one.
    pub async fn send(
        self: &Arc<Self>,
        address: &SfuAddress,
        given_up: &CancellationToken,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        while let Some(mut sender) = self.take_idle(address) {
            match sender.try_send_request(request).await {
                Ok(response) => {
                    self.keep_when_ready(address, sender);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(SendError::Broke(error.into_error())),
                },
            }
        }
        let mut sender = match self.open(address, given_up.clone()).await {
            Ok(sender) => sender,
            Err(error) => return Err(SendError::Connect(error, Box::new(request))),
        };
        let response = sender.try_send_request(request).await.map_err(|mut error| match error.take_message() {
            Some(unsent) => SendError::Connect(ConnectError::Http(error.into_error()), Box::new(unsent)),
            None => SendError::Broke(error.into_error()),
        })?;
        self.keep_when_ready(address, sender);
        Ok(response)
    }

    fn take_idle(&self, address: &SfuAddress) -> Option<SendRequest<RequestBody>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.get_mut(address)?;
        // The latest is the likeliest to live; if it is too old, so are the others.
        let newest = kept.pop().filter(|newest| newest.since.elapsed() < IDLE_KEPT && !newest.sender.is_closed());
        if newest.is_none() {
            idle.remove(address);
        }
        newest.map(|newest| newest.sender)
    }

    /// Puts the connection back once the response was read to its end.
    fn keep_when_ready(self: &Arc<Self>, address: &SfuAddress, mut sender: SendRequest<RequestBody>) {
        let (pool, address) = (Arc::downgrade(self), address.clone());
        tokio::spawn(async move {
            if sender.ready().await.is_err() {
                return;
            }
            if let Some(pool) = pool.upgrade() {
                let mut idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
                let kept = idle.entry(address).or_default();
                if kept.len() < IDLE_MAX {
                    kept.push(Idle { sender, since: Instant::now() });
                }
            }
        });
    }
}
