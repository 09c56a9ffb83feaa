//! The listener of probes and metrics: it answers whoever asks, however many others only hold a connection.
//!
//! Nobody shows a certificate here, so anybody who reaches the port may open connections. If they could use it up, the
//! kubelet would find the process dead and kill it with all its calls. So nobody is ever made to wait: when there are too
//! many connections, the oldest goes. A probe takes milliseconds; who holds a connection without a question is old.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, warn};

/// Connections at the same time: a kubelet's, some of Prometheus, and room. Each may hold [`MAX_HEADER_BYTES`].
const MAX_CONNECTIONS: usize = 64;
/// For a request's header to come, and for an idle connection to bring the next one.
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// A probe's header is some hundred bytes; the least that hyper takes.
const MAX_HEADER_BYTES: usize = 8 << 10;
/// After a failed accept (out of file descriptors, mostly), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers requests on `listener` for ever; dropped, it cuts its connections.
pub async fn serve<F, A, B>(listener: TcpListener, answer: F)
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connections = JoinSet::new();
    let mut by_age: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => by_age.retain(|connection| !connection.is_finished()),
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    if by_age.len() >= MAX_CONNECTIONS
                        && let Some(oldest) = by_age.pop_front()
                    {
                        oldest.abort();
                    }
                    by_age.push_back(connections.spawn(serve_connection(socket, answer.clone())));
                }
                Err(error) => {
                    warn!(%error, "failed to accept a connection for probes and metrics");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn serve_connection<F, A, B>(socket: TcpStream, answer: F)
where
    F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(socket), service_fn(answer));
    if let Err(error) = connection.await {
        debug!(%error, "connection for probes and metrics broke");
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Far more than anything here takes.
    const LIMIT: Duration = Duration::from_secs(20);

    async fn started() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, |_| async { Ok(Response::new(String::from("ok"))) }));
        address
    }

    /// What the server says until it closes the connection.
    async fn rest_of(mut socket: TcpStream) -> String {
        let mut text = String::new();
        // A connection that is cut is closed as well.
        let _ = tokio::time::timeout(LIMIT, socket.read_to_string(&mut text)).await.expect("it stays open");
        text
    }

    #[tokio::test]
    async fn a_probe_is_answered_however_many_hold_connections() {
        let address = started().await;
        let mut held = VecDeque::new();
        for _ in 0..3 * MAX_CONNECTIONS {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
            held.push_back(socket);
        }
        let mut probe = TcpStream::connect(address).await.unwrap();
        probe.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let answer = rest_of(probe).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(rest_of(held.pop_front().unwrap()).await, "", "the oldest is cut");
    }
}
