//! Accepting connections: how many at once, and what happens when the system has no more to give.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// After a failed accept (out of file descriptors, mostly), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One of the connections that are served at once. It is free for another when no clone of it is left: whoever goes on with
/// a connection that changed its protocol keeps one.
#[derive(Debug, Clone)]
pub struct Place {
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

/// Has each connection served by a task of its own until `stop` ends, at most `limit` at once: further ones wait in the
/// listener's queue. A connection counts for as long as its [`Place`] is kept. Returns the tasks that still run; dropping
/// them cuts their connections.
pub async fn accept<C>(
    listener: TcpListener,
    limit: usize,
    stop: impl Future<Output = ()>,
    mut serve: impl FnMut(TcpStream, SocketAddr, Place) -> C,
) -> JoinSet<()>
where
    C: Future<Output = ()> + Send + 'static,
{
    let free = Arc::new(Semaphore::new(limit));
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return connections,
            Some(_) = connections.join_next() => {}
            (accepted, place) = next(&listener, &free) => match accepted {
                Ok((socket, client)) => {
                    if let Err(error) = socket.set_nodelay(true) {
                        debug!(%error, "failed to set TCP_NODELAY");
                    }
                    connections.spawn(serve(socket, client, place));
                }
                Err(error) => {
                    warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn next(listener: &TcpListener, free: &Arc<Semaphore>) -> (io::Result<(TcpStream, SocketAddr)>, Place) {
    // The semaphore is never closed; without a permit the connection would only go uncounted.
    let permit = Arc::clone(free).acquire_owned().await.ok().map(Arc::new);
    (listener.accept().await, Place { _permit: permit })
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    #[tokio::test]
    async fn connections_above_the_limit_wait_and_stopping_leaves_those_that_are_served() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (begun, mut begins) = mpsc::channel(8);
        let (stop, stopped) = oneshot::channel::<()>();
        let accepting = tokio::spawn(accept(
            listener,
            1,
            async {
                let _ = stopped.await;
            },
            move |socket, client, place| {
                let begun = begun.clone();
                async move {
                    let (end, ended) = oneshot::channel::<()>();
                    begun.send((client, end)).await.unwrap();
                    let _ = ended.await;
                    drop((socket, place));
                }
            },
        ));
        let first = TcpStream::connect(address).await.unwrap();
        let second = TcpStream::connect(address).await.unwrap();
        let (served, end_first) = begins.recv().await.unwrap();
        assert_eq!(served, first.local_addr().unwrap());
        assert!(begins.try_recv().is_err(), "one at a time");
        end_first.send(()).unwrap();
        let (served, end_second) = begins.recv().await.unwrap();
        assert_eq!(served, second.local_addr().unwrap());
        stop.send(()).unwrap();
        let mut left = accepting.await.unwrap();
        assert_eq!(left.len(), 1);
        end_second.send(()).unwrap();
        assert!(left.join_next().await.is_some_and(|ended| ended.is_ok()));
    }
}
