//! The control port in a cluster: HTTPS with client certificates, because a host-network port is everybody's.
//!
//! In: a listener, a certificate directory that is read again when it changes, the SFU's whole router. Out: requests,
//! each with a [`Peer`] in its extensions, of callers who may make them: the fleet API serves director and operator (an
//! SFU's leaving the operator alone), everything else (signalling, page, server API) the director alone, which passes
//! clients' requests on.
//!
//! To wire it:
//! ```ignore
//! let tls = Arc::new(Reloading::open(&directory, TlsFiles::server_config)?);
//! tls::serve(listener, tls, app.merge(fleet_api::router(handle)), stopped).await;
//! ```

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use fleet::api::DRAIN_PATH;
use fleet::tls::{RELOAD_SECONDS, Reloading, Role, role_of};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_blocking;
use tokio_rustls::TlsAcceptor;
use tower::Service;
use tracing::{debug, info, warn};

/// Connections at the same time; each client's websocket is one. Further ones wait in the listener's queue.
const MAX_CONNECTIONS: usize = 16_384;
/// A handshake takes two round trips; who needs longer is not a director.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// For a request's header, and for an idle connection to bring the next one. Longer than directors keep idle
/// connections, so that they do not send into one that is just closing.
const HEADER_LIMIT: Duration = Duration::from_secs(30);
/// By this header a director says for whom it passes a request on; its own requests are without it.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Where the fleet API's paths begin.
const FLEET_PREFIX: &str = "/fleet/";

/// Who sent a request, in its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub role: Role,
    /// The caller's own address: a director's, not the client's. That is in `X-Forwarded-For`.
    pub address: SocketAddr,
}

/// Serves `router` on `listener` until `stop` ends; then plain connections are cut. Websockets that were upgraded
/// belong to their handlers and live on.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<Reloading<ServerConfig>>,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let reloading = async {
        let mut reload = tokio::time::interval(Duration::from_secs(RELOAD_SECONDS));
        loop {
            reload.tick().await;
            let tls = Arc::clone(&tls);
            // A disk that hangs must not hold up the threads that serve clients.
            let _ = spawn_blocking(move || refresh(&tls)).await;
        }
    };
    let serving = fleet::listen::accept(listener, MAX_CONNECTIONS, stop, |socket, address, place| {
        let connection = serve_connection(socket, address, TlsAcceptor::from(tls.get()), router.clone());
        async move {
            connection.await;
            drop(place);
        }
    });
    tokio::select! {
        // What is left is cut.
        _ = serving => (),
        () = reloading => (),
    }
}

/// Whether a caller with `role` may ask for `path`. What a director passes on for a client is never the fleet's own,
/// and the operator alone has an SFU leave.
fn may_ask(role: Role, path: &str, for_client: bool) -> bool {
    match (role, path.starts_with(FLEET_PREFIX)) {
        (Role::Director, true) => !for_client && path != DRAIN_PATH,
        (Role::Director, false) | (Role::Operator, true) => true,
        (Role::Operator, false) => false,
    }
}

fn refresh(tls: &Reloading<ServerConfig>) {
    match tls.refresh() {
        Ok(true) => info!("certificate of the control port renewed"),
        Ok(false) => {}
        Err(error) => warn!(%error, "certificate directory cannot be used; the certificate in force stays"),
    }
}

async fn serve_connection(socket: TcpStream, address: SocketAddr, acceptor: TlsAcceptor, router: Router) {
    let stream = match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "control connection refused: TLS handshake failed"),
        Err(_) => return debug!("control connection refused: TLS handshake took too long"),
    };
    let role = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).and_then(role_of);
    let peer = role.map(|role| Peer { role, address });
    let service = service_fn(|request| answer(router.clone(), peer, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        debug!(%error, "control connection broke");
    }
}

async fn answer(
    mut router: Router,
    peer: Option<Peer>,
    mut request: Request<Incoming>,
) -> Result<Response, std::convert::Infallible> {
    match peer {
        Some(peer) if may_ask(peer.role, request.uri().path(), request.headers().contains_key(FORWARDED_FOR)) => {
            request.extensions_mut().insert(peer);
            router.call(request.map(Body::new)).await
        }
        _ => Ok((StatusCode::FORBIDDEN, "this certificate's name may not ask for this path").into_response()),
    }
}
