//! The way from a browser on this machine to the page: a port on loopback, where browsers grant the microphone.
//!
//! Each connection goes to the NodePort of the first node that takes it, beginning with the one that took the last. It
//! knows nothing of pods, so that it outlives all of them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::cli::ProxyOptions;

/// A node on this machine answers at once, or is not there.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// More connections wait: a page holds a few, a test dozens.
const MAX_CONNECTIONS: usize = 4096;

/// Forwards connections until it is ended.
///
/// # Errors
/// When the port is taken.
pub fn serve(options: &ProxyOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("failed to listen on {}", options.listen))?;
        accept(listener, Nodes::new(options.to.clone())).await
    })
}

/// The addresses to forward to, and which of them answered last.
#[derive(Debug)]
struct Nodes {
    addresses: Vec<SocketAddr>,
    last: AtomicUsize,
}

impl Nodes {
    fn new(addresses: Vec<SocketAddr>) -> Arc<Self> {
        Arc::new(Self { addresses, last: AtomicUsize::new(0) })
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let first = self.last.load(Ordering::Relaxed);
        let mut failure = io::Error::other("there is no node to forward to");
        for step in 0..self.addresses.len() {
            let index = (first + step) % self.addresses.len();
            match timeout(CONNECT_LIMIT, TcpStream::connect(self.addresses[index])).await {
                Ok(Ok(stream)) => {
                    self.last.store(index, Ordering::Relaxed);
                    return Ok(stream);
                }
                Ok(Err(error)) => failure = error,
                Err(_) => failure = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(failure)
    }
}

async fn accept(listener: TcpListener, nodes: Arc<Nodes>) -> Result<()> {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.context("the proxy's semaphore was closed")?;
        let (client, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Out of file descriptors, mostly: those in use are given back sooner or later.
            Err(error) => {
                eprintln!("failed to accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let nodes = Arc::clone(&nodes);
        tokio::spawn(async move {
            if let Err(error) = forward(client, &nodes).await {
                eprintln!("a connection ended: {error}");
            }
            drop(place);
        });
    }
}

async fn forward(mut client: TcpStream, nodes: &Nodes) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut node = nodes.connect().await?;
    node.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut node).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn loopback() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    async fn echo_server() -> SocketAddr {
        let listener = TcpListener::bind(loopback()).await.expect("bound");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn a_node_that_is_away_is_passed_over() {
        let away = TcpListener::bind(loopback()).await.expect("bound").local_addr().expect("an address");
        let nodes = Nodes::new(vec![away, echo_server().await]);
        let listener = TcpListener::bind(loopback()).await.expect("bound");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(accept(listener, Arc::clone(&nodes)));

        let mut client = TcpStream::connect(address).await.expect("connected");
        client.write_all(b"hello").await.expect("written");
        client.shutdown().await.expect("half closed");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("read");
        assert_eq!(answer, "hello");
        assert_eq!(nodes.last.load(Ordering::Relaxed), 1, "the next connection begins with the node that answered");
    }
}
