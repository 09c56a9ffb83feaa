//! The way to a client's websocket, which may be gone for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use livekit_protocol as proto;
use livekit_protocol::signal_response::Message as Response;
use prost::Message as _;
use tokio::sync::mpsc;

use crate::control::RESPONSES;

/// Bytes a websocket may be behind, beside the message that makes it so: descriptions of everybody in a large call fit
/// several times over.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub struct Outlet {
    socket: Option<(u64, Sender)>,
    /// The client's protocol version.
    protocol: i32,
}

/// A message and its bytes. Boxed, since an empty queue has room for some dozens: the enum is as large as its largest
/// message.
type Waiting = (Box<proto::SignalResponse>, usize);

#[derive(Debug)]
struct Sender {
    queue: mpsc::Sender<Waiting>,
    waiting: Arc<AtomicUsize>,
}

/// What a client is told, in order. Ends when it is cut off.
#[derive(Debug)]
pub struct Responses {
    queue: mpsc::Receiver<Waiting>,
    waiting: Arc<AtomicUsize>,
}

impl Responses {
    /// One message and the end.
    pub fn only(message: Response) -> Self {
        let (sender, responses) = queue();
        // An empty queue takes one message.
        sender.send(message);
        responses
    }

    pub async fn recv(&mut self) -> Option<proto::SignalResponse> {
        let (message, bytes) = self.queue.recv().await?;
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        Some(*message)
    }
}

fn queue() -> (Sender, Responses) {
    let (sender, receiver) = mpsc::channel(RESPONSES);
    let waiting = Arc::<AtomicUsize>::default();
    (Sender { queue: sender, waiting: Arc::clone(&waiting) }, Responses { queue: receiver, waiting })
}

impl Sender {
    /// False if too much waits already: too many messages, or too many bytes.
    fn send(&self, message: Response) -> bool {
        let message = proto::SignalResponse { message: Some(message) };
        let bytes = message.encoded_len();
        // Only this side adds, so what is read here can only have become less.
        if self.waiting.load(Ordering::Relaxed) > MAX_WAITING_BYTES {
            return false;
        }
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        self.queue.try_send((Box::new(message), bytes)).is_ok()
    }
}

impl Outlet {
    pub fn new(protocol: i32) -> Self {
        Self { socket: None, protocol }
    }

    pub fn attach(&mut self, epoch: u64) -> Responses {
        let (sender, responses) = queue();
        self.socket = Some((epoch, sender));
        responses
    }

    pub fn detach(&mut self) {
        self.socket = None;
    }

    pub fn epoch(&self) -> Option<u64> {
        self.socket.as_ref().map(|(epoch, _)| *epoch)
    }

    pub fn protocol(&self) -> i32 {
        self.protocol
    }

    /// Sends a message if a websocket is there. A client that does not read is cut off: it comes back by a resume,
    /// which tells it everything anew.
    pub fn send(&mut self, message: Response) {
        if self.socket.as_ref().is_some_and(|(_, sender)| !sender.send(message)) {
            self.socket = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(bytes: usize) -> Response {
        Response::RefreshToken("x".repeat(bytes))
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_cut_off_by_messages_or_by_bytes() {
        let taken = |bytes| {
            let mut outlet = Outlet::new(16);
            let responses = outlet.attach(1);
            let n = (0..10_000).take_while(|_| {
                outlet.send(token(bytes));
                outlet.epoch().is_some()
            });
            let n = n.count();
            drop(responses);
            n
        };
        assert_eq!(taken(10), RESPONSES);
        assert_eq!(taken(1024 * 1024), 4);
        assert_eq!(taken(64 * 1024 * 1024), 1, "a message of any size has its turn");
    }

    #[tokio::test]
    async fn what_was_read_makes_room() {
        let mut outlet = Outlet::new(16);
        let mut responses = outlet.attach(1);
        for _ in 0..20 {
            outlet.send(token(1024 * 1024));
            outlet.send(token(1024 * 1024));
            assert!(responses.recv().await.is_some() && responses.recv().await.is_some());
        }
        assert_eq!(outlet.epoch(), Some(1));
        outlet.detach();
        assert!(responses.recv().await.is_none());
    }
}
