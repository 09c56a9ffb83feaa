//! ICE over TCP (RFC 6544): for clients whose network lets no UDP through.
//!
//! Each datagram is preceded by its length in two bytes (RFC 4571). The client connects; its first frame is a STUN
//! check whose user name tells the worker, and every later frame goes there too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sfu_core::engine::path::Path;
use sfu_core::transport::ice;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::{Inbox, WorkerHandle};
use crate::metrics::Metrics;

/// Connections at once; each costs a task and a queue.
const MAX_CONNECTIONS: usize = 4096;
/// Datagrams a slow connection may be behind before they are dropped: about a second of a camera.
const OUTLET_SIZE: usize = 256;
/// Longest wait for a connection's first frame, so that a port scanner holds nothing.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// Longest silence: clients check every few seconds.
const IDLE: Duration = Duration::from_secs(45);
/// Largest frame: no datagram of ours or a client's is larger.
const MAX_FRAME: usize = 4096;

/// Takes connections for ever. Errors of one connection end that connection only.
pub async fn serve(listener: TcpListener, workers: Vec<WorkerHandle>, metrics: Metrics) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = AtomicU64::new(0);
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: leave room for connections to end.
                tracing::warn!(%error, "failed to accept a media connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            metrics.refused_connection();
            continue;
        };
        let path = Path::Tcp { remote: canonical(remote), connection: connections.fetch_add(1, Ordering::Relaxed) };
        let (workers, metrics) = (workers.clone(), metrics.clone());
        tokio::spawn(async move {
            let _slot = slot;
            serve_connection(stream, path, &workers, &metrics).await;
        });
    }
}

/// A client of an IPv4 address seen through an IPv6 socket keeps its IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

async fn serve_connection(stream: TcpStream, path: Path, workers: &[WorkerHandle], metrics: &Metrics) {
    // A frame is a packet someone waits for.
    let _ = stream.set_nodelay(true);
    let (mut reader, writer) = stream.into_split();
    let first = timeout(FIRST_FRAME, read_frame(&mut reader)).await.ok().flatten();
    let worker = first.as_deref().and_then(ice::peek_ufrag).and_then(ice::worker_of_ufrag);
    let worker = worker.and_then(|worker| workers.get(usize::from(worker)));
    let (Some(first), Some(worker)) = (first, worker) else {
        metrics.refused_connection();
        return;
    };
    let (outlet, queue) = mpsc::channel(OUTLET_SIZE);
    worker.send(Inbox::TcpOpened { path, outlet });
    worker.send(Inbox::Datagram { path, datagram: first, at: None });
    let writing = tokio::spawn(write_frames(writer, queue));
    while let Ok(Some(datagram)) = timeout(IDLE, read_frame(&mut reader)).await {
        worker.send(Inbox::Datagram { path, datagram, at: None });
    }
    worker.send(Inbox::TcpClosed { path });
    writing.abort();
}

/// The next frame; `None` at the connection's end or on a frame that cannot be ours.
async fn read_frame(reader: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let length = usize::from(reader.read_u16().await.ok()?);
    if length == 0 || length > MAX_FRAME {
        return None;
    }
    let mut frame = vec![0; length];
    reader.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

async fn write_frames(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) {
    let mut frames = Vec::with_capacity(MAX_FRAME);
    while let Some(datagram) = queue.recv().await {
        frames.clear();
        push_frame(&mut frames, &datagram);
        while let Ok(datagram) = queue.try_recv() {
            push_frame(&mut frames, &datagram);
        }
        if writer.write_all(&frames).await.is_err() {
            return;
        }
    }
}

fn push_frame(frames: &mut Vec<u8>, datagram: &[u8]) {
    let Ok(length) = u16::try_from(datagram.len()) else { return };
    frames.extend_from_slice(&length.to_be_bytes());
    frames.extend_from_slice(datagram);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_its_length_and_its_bytes() {
        let mut frames = Vec::new();
        push_frame(&mut frames, b"abc");
        push_frame(&mut frames, b"");
        assert_eq!(frames, [0, 3, b'a', b'b', b'c', 0, 0]);
    }
}
