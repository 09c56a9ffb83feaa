//! The way to a client's websocket, which may be gone for a while.

use livekit_protocol as proto;
use livekit_protocol::signal_response::Message as Response;
use tokio::sync::mpsc;

use crate::control::RESPONSES;

#[derive(Debug)]
pub struct Outlet {
    socket: Option<(u64, mpsc::Sender<proto::SignalResponse>)>,
    /// The client's protocol version.
    protocol: i32,
}

impl Outlet {
    pub fn new(protocol: i32) -> Self {
        Self { socket: None, protocol }
    }

    pub fn attach(&mut self, epoch: u64) -> mpsc::Receiver<proto::SignalResponse> {
        let (sender, receiver) = mpsc::channel(RESPONSES);
        self.socket = Some((epoch, sender));
        receiver
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
        let Some((_, sender)) = &self.socket else { return };
        if sender.try_send(proto::SignalResponse { message: Some(message) }).is_err() {
            self.socket = None;
        }
    }
}
