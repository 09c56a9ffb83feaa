//! Serving HTTP/1.1 connections: how many at once, how long a header may take and be.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use fleet::listen::Place;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// For a header to come, and for an idle connection to bring the next one.
const HEADER_LIMIT: Duration = Duration::from_secs(30);
/// Longest header: a join carries its token and a compressed offer in the URL.
const MAX_HEADER_BYTES: usize = 256 << 10;
const MAX_HEADERS: usize = 100;
/// How long requests under way may take to end when the director stops.
const FINISH_LIMIT: Duration = Duration::from_secs(2);

/// A socket on `port` of `address`, or of all addresses: IPv6 and IPv4, or IPv4 alone where there is no IPv6.
pub async fn bind(address: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    match address {
        Some(address) => TcpListener::bind((address, port)).await,
        None => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
            }
            bound => bound,
        },
    }
}

/// Serves connections until `stop`, at most `limit` at once; then lets the requests under way end.
///
/// The extensions of every request hold the [`Place`] of its connection: one that became a websocket counts for as long as
/// that is kept.
pub async fn serve<F, A, B, E>(listener: TcpListener, limit: usize, stop: CancellationToken, answer: F)
where
    F: Fn(SocketAddr, Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let until = stop.clone().cancelled_owned();
    let mut connections = fleet::listen::accept(listener, limit, until, |socket, client, place: Place| {
        let (answer, stop) = (answer.clone(), stop.clone());
        serve_connection(socket, client, stop, move |client, mut request: Request<Incoming>| {
            request.extensions_mut().insert(place.clone());
            answer(client, request)
        })
    })
    .await;
    let finished = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(FINISH_LIMIT, finished).await;
}

async fn serve_connection<F, A, B, E>(socket: TcpStream, client: SocketAddr, stop: CancellationToken, answer: F)
where
    F: Fn(SocketAddr, Request<Incoming>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(socket), service_fn(|request| answer(client, request)))
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection broke");
    }
}
