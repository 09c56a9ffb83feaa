//! ICE over TCP (RFC 6544): for clients whose network lets no UDP through.
//!
//! Each datagram is preceded by its length in two bytes (RFC 4571). The client connects; its first frame is a STUN
//! check whose user name tells the worker, and every later frame goes there too. The connection lives as long as the
//! worker keeps its outlet, which is not long if no check of it proves to be authentic.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use sfu_core::engine::path::Path;
use sfu_core::transport::ice;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;

use super::{Inbox, WorkerHandle};
use crate::metrics::Metrics;

/// Connections at once; each costs a task and a queue.
const MAX_CONNECTIONS: usize = 4096;
/// Of these, connections from one address: an office behind one NAT whose firewall lets no UDP through, two to a
/// person. Without it, one machine could keep everybody else out.
const MAX_CONNECTIONS_PER_ADDRESS: usize = 512;
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
    let mut places = Places::default();
    let mut serving = JoinSet::new();
    let mut connection = 0;
    loop {
        let accepted = tokio::select! {
            Some(ended) = serving.join_next_with_id() => {
                places.give_back(ended.map_or_else(|error: JoinError| error.id(), |(id, ())| id));
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: leave room for connections to end.
                tracing::warn!(%error, "failed to accept a media connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if !places.has_room(remote.ip()) {
            metrics.refused_connection();
            continue;
        }
        connection += 1;
        let path = Path::Tcp { remote, connection };
        let (workers, metrics) = (workers.clone(), metrics.clone());
        let task = serving.spawn(async move { serve_connection(stream, path, &workers, &metrics).await });
        places.take(task.id(), remote.ip());
    }
}

/// Who has how many connections. Media is IPv4 only, where an address is a machine, or a network behind NAT.
#[derive(Debug, Default)]
struct Places {
    by_task: HashMap<Id, IpAddr>,
    by_address: HashMap<IpAddr, usize>,
}

impl Places {
    fn has_room(&self, address: IpAddr) -> bool {
        let of_address = self.by_address.get(&address).copied().unwrap_or_default();
        self.by_task.len() < MAX_CONNECTIONS && of_address < MAX_CONNECTIONS_PER_ADDRESS
    }

    fn take(&mut self, task: Id, address: IpAddr) {
        self.by_task.insert(task, address);
        *self.by_address.entry(address).or_default() += 1;
    }

    fn give_back(&mut self, task: Id) {
        let Some(address) = self.by_task.remove(&task) else { return };
        if let Some(taken) = self.by_address.get_mut(&address) {
            *taken -= 1;
            if *taken == 0 {
                self.by_address.remove(&address);
            }
        }
    }
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
    let reading = async {
        while let Ok(Some(datagram)) = timeout(IDLE, read_frame(&mut reader)).await {
            worker.send(Inbox::Datagram { path, datagram, at: None });
        }
    };
    tokio::select! {
        () = reading => (),
        // The worker hung up: it has no client here.
        () = write_frames(writer, queue) => (),
    }
    worker.send(Inbox::TcpClosed { path });
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

    #[tokio::test]
    async fn one_address_cannot_take_every_place() {
        let mut tasks = JoinSet::new();
        let mut places = Places::default();
        let (greedy, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut first = None;
        while places.has_room(greedy) {
            let task = tasks.spawn(async {}).id();
            first.get_or_insert(task);
            places.take(task, greedy);
        }
        assert_eq!(places.by_task.len(), MAX_CONNECTIONS_PER_ADDRESS);
        assert!(places.has_room(other));
        places.give_back(first.expect("there was room"));
        assert!(places.has_room(greedy));
        places.take(tasks.spawn(async {}).id(), other);
        assert_eq!(places.by_address[&other], 1);
    }

    #[test]
    fn a_frame_is_its_length_and_its_bytes() {
        let mut frames = Vec::new();
        push_frame(&mut frames, b"abc");
        push_frame(&mut frames, b"");
        assert_eq!(frames, [0, 3, b'a', b'b', b'c', 0, 0]);
    }
}
