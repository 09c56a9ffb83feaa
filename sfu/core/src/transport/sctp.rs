//! SCTP on the `dcsctp` crate, and the data channels on it (RFC 8831, RFC 8832).
//!
//! In: packets that DTLS decrypted, messages to send, the time. Out, by [`Sctp::poll`]: packets for DTLS to encrypt,
//! channels and messages. What a client may make us keep is bounded: channels, labels, message size, receive window.

mod dcep;
mod handover;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use dcsctp::api::{self, DcSctpSocket, Options, PpId, SendOptions, SocketEvent, SocketState, SocketTime, StreamId};
use serde::{Deserialize, Serialize};

pub use handover::{NotReady, SctpState};

use self::dcep::Control;
use super::DtlsRole;
use super::guard::{Panicked, guard};
use crate::time::Time;

/// The largest message we take or send, as our session description says (`a=max-message-size`, RFC 8841).
pub const MAX_MESSAGE_LEN: usize = 64 * 1024;
/// SCTP packets up to this length fit a DTLS datagram of 1,200 bytes.
const MTU: usize = 1150;
/// What a client may have in flight towards us, reassembled or not; several messages of the largest size.
const RECEIVE_WINDOW: usize = 512 * 1024;
/// Unsent reliable data of one channel; beyond it the receiver is too slow to be served.
const MAX_BUFFERED_RELIABLE: usize = 4 * 1024 * 1024;
/// Unsent data of a channel that may lose messages: older than the network's delay it is worthless.
const MAX_BUFFERED_LOSSY: usize = 64 * 1024;
/// Channels of one client; livekit-client opens two or three.
const MAX_CHANNELS: usize = 64;
/// The longest a retransmission waits; an outage shorter than ICE's consent then costs at most this afterwards.
const MAX_BACKOFF: Duration = Duration::from_secs(3);

// Payload protocol identifiers (RFC 8831, section 8).
const PPID_DCEP: PpId = PpId(50);
const PPID_STRING: PpId = PpId(51);
const PPID_BINARY: PpId = PpId(53);
const PPID_STRING_EMPTY: PpId = PpId(56);
const PPID_BINARY_EMPTY: PpId = PpId(57);

/// A data channel on one transport: its SCTP stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChannelId(pub u16);

/// A data channel as its OPEN message described it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataChannel {
    pub id: ChannelId,
    pub label: String,
    pub protocol: String,
    pub ordered: bool,
    pub reliability: Reliability,
}

/// How hard a channel tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reliability {
    Reliable,
    /// Gives a message up after this many retransmissions.
    MaxRetransmits(u16),
    /// Gives a message up after this many milliseconds.
    MaxLifetimeMs(u32),
}

/// What to open a channel with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelOptions {
    pub label: String,
    pub ordered: bool,
    pub reliability: Reliability,
}

/// Timers handled in one call that follow upon one another.
const MAX_TIMERS_AT_ONCE: usize = 16;

/// What SCTP gives out.
#[derive(Debug)]
pub enum SctpOutput {
    /// To be encrypted and sent.
    Packet(Vec<u8>),
    /// The peer opened a channel, or acknowledged one of ours.
    ChannelOpened(DataChannel),
    ChannelClosed(ChannelId),
    Message {
        channel: ChannelId,
        data: Vec<u8>,
        binary: bool,
    },
    /// The association is gone; nothing comes after it.
    Closed(SctpEnd),
}

/// Why an SCTP association ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SctpEnd {
    #[error("peer shut the association down")]
    PeerClosed,
    #[error("association was aborted")]
    Aborted,
    #[error("SCTP library failed")]
    Internal,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    Queued,
    /// The channel may lose messages, and its queue was full.
    Dropped,
}

/// Why a message or a channel was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ChannelError {
    #[error("channel does not exist")]
    NoChannel,
    #[error("association is not up yet")]
    NotConnected,
    #[error("message is longer than {MAX_MESSAGE_LEN} bytes")]
    TooLong,
    #[error("receiver is too slow: send buffer is full")]
    BufferFull,
    #[error("too many channels")]
    TooManyChannels,
    #[error("association has ended")]
    Ended,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Channel {
    description: DataChannel,
    state: ChannelState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum ChannelState {
    /// Ours, to be opened when the association is up.
    Waiting,
    /// Ours, OPEN is on its way. Messages go ordered behind it (RFC 8832, section 6).
    Opening,
    Open,
    /// We reset our direction and wait for the peer to reset its own.
    Closing,
}

/// An SCTP association with its data channels. Drain rule: after each method that changes it,
/// [`poll`](Self::poll) until `None`.
pub struct Sctp {
    role: DtlsRole,
    socket: Box<dyn DcSctpSocket>,
    /// The time the socket calls zero.
    origin: Time,
    channels: BTreeMap<ChannelId, Channel>,
    outputs: VecDeque<SctpOutput>,
    started: bool,
    connected: bool,
    ended: bool,
    dropped: u64,
}

impl fmt::Debug for Sctp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sctp")
            .field("connected", &self.connected)
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}

impl Sctp {
    /// An association that waits for the peer's INIT. `role` is ours in DTLS and decides the parity of our channels'
    /// ids (RFC 8832, section 6).
    pub fn new(role: DtlsRole, now: Time) -> Self {
        Self {
            role,
            socket: new_socket(),
            origin: now,
            channels: BTreeMap::new(),
            outputs: VecDeque::new(),
            started: false,
            connected: false,
            ended: false,
            dropped: 0,
        }
    }

    /// To be called once packets can be sent, before the first one is handled. The DTLS client sends INIT, since one
    /// side has to begin and libraries other than browsers' wait for that one to; a server does if it wants a channel.
    pub fn start(&mut self, now: Time) {
        self.started = true;
        if self.role == DtlsRole::Client || !self.channels.is_empty() {
            self.connect(now);
        }
    }

    /// Sends INIT, unless the association is up or under way. Both sides may do so at once.
    fn connect(&mut self, now: Time) {
        self.with_socket(now, |socket| {
            if socket.state() == SocketState::Closed {
                socket.connect();
            }
        });
    }

    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Messages dropped: for unknown channels, too long, or of unknown kind.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    pub fn channel(&self, id: ChannelId) -> Option<&DataChannel> {
        self.channels.get(&id).map(|channel| &channel.description)
    }

    /// Opens a channel of ours; [`SctpOutput::ChannelOpened`] follows when the peer has it. Waits for the association
    /// if that is not up yet.
    ///
    /// # Errors
    /// [`ChannelError::TooManyChannels`] or [`ChannelError::Ended`].
    pub fn open_channel(&mut self, now: Time, options: ChannelOptions) -> Result<ChannelId, ChannelError> {
        if self.ended {
            return Err(ChannelError::Ended);
        }
        let first = match self.role {
            DtlsRole::Client => 0,
            DtlsRole::Server => 1,
        };
        let mut ids = (first..u16::MAX).step_by(2).map(ChannelId);
        let id = ids.find(|id| !self.channels.contains_key(id)).ok_or(ChannelError::TooManyChannels)?;
        if self.channels.len() >= MAX_CHANNELS {
            return Err(ChannelError::TooManyChannels);
        }
        let ChannelOptions { label, ordered, reliability } = options;
        let description = DataChannel { id, label, protocol: String::new(), ordered, reliability };
        self.channels.insert(id, Channel { description, state: ChannelState::Waiting });
        if self.connected {
            self.send_opens(now);
        } else if self.started {
            self.connect(now);
        }
        Ok(id)
    }

    /// Closes a channel; [`SctpOutput::ChannelClosed`] follows when the peer has closed it too.
    pub fn close_channel(&mut self, now: Time, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if channel.state == ChannelState::Waiting {
            self.channels.remove(&id);
            self.outputs.push_back(SctpOutput::ChannelClosed(id));
        } else if channel.state != ChannelState::Closing {
            channel.state = ChannelState::Closing;
            self.with_socket(now, |socket| {
                // Refused only without a connection, or by a peer that cannot; both end the channel otherwise.
                let _ = socket.reset_streams(&[StreamId(id.0)]);
            });
        }
    }

    /// Sends a message. One for a channel that may lose messages is dropped if its queue is full.
    ///
    /// # Errors
    /// [`ChannelError`]; a reliable channel whose queue is full gives [`ChannelError::BufferFull`].
    pub fn send(&mut self, now: Time, id: ChannelId, data: &[u8], binary: bool) -> Result<Sent, ChannelError> {
        if self.ended {
            return Err(ChannelError::Ended);
        }
        let channel = self.channels.get(&id).ok_or(ChannelError::NoChannel)?;
        let opening = match channel.state {
            ChannelState::Waiting => return Err(ChannelError::NotConnected),
            ChannelState::Closing => return Err(ChannelError::NoChannel),
            ChannelState::Opening => true,
            ChannelState::Open => false,
        };
        if data.len() > MAX_MESSAGE_LEN {
            return Err(ChannelError::TooLong);
        }
        let lossy = channel.description.reliability != Reliability::Reliable;
        let limit = if lossy { MAX_BUFFERED_LOSSY } else { MAX_BUFFERED_RELIABLE };
        if self.socket.buffered_amount(StreamId(id.0)) + data.len() > limit.max(data.len()) {
            return if lossy { Ok(Sent::Dropped) } else { Err(ChannelError::BufferFull) };
        }
        let mut options = channel.description.send_options();
        options.unordered &= !opening;
        // SCTP has no empty messages (RFC 8831, section 6.6).
        let (ppid, payload) = match (data.is_empty(), binary) {
            (true, true) => (PPID_BINARY_EMPTY, vec![0]),
            (true, false) => (PPID_STRING_EMPTY, vec![0]),
            (false, true) => (PPID_BINARY, data.to_vec()),
            (false, false) => (PPID_STRING, data.to_vec()),
        };
        let message = api::Message::new(StreamId(id.0), ppid, payload);
        match self.with_socket(now, |socket| socket.send(message, &options)) {
            Some(Ok(())) => Ok(Sent::Queued),
            Some(Err(api::SendError::ResourceExhaustion)) if lossy => Ok(Sent::Dropped),
            Some(Err(api::SendError::ResourceExhaustion)) => Err(ChannelError::BufferFull),
            Some(Err(api::SendError::MessageTooLarge { .. })) => Err(ChannelError::TooLong),
            Some(Err(api::SendError::EmptyPayload | api::SendError::ShuttingDown)) | None => Err(ChannelError::Ended),
        }
    }

    /// Takes a packet that DTLS decrypted.
    pub fn handle_packet(&mut self, now: Time, packet: &[u8]) {
        self.with_socket(now, |socket| socket.handle_input(packet));
    }

    pub fn handle_timeout(&mut self, now: Time) {
        // One timer may set another that is due at once. Bounded, should the library ever set one for ever.
        for _ in 0..MAX_TIMERS_AT_ONCE {
            self.with_socket(now, |_| ());
            if self.poll_timeout().is_none_or(|at| at > now) {
                return;
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called; `None` if nothing is under way.
    pub fn poll_timeout(&self) -> Option<Time> {
        let at = self.socket.poll_timeout();
        // Rounded up to what a time can say: the library does nothing a nanosecond before its time.
        let round_up = Duration::from_nanos(999);
        (!self.ended && at != SocketTime::infinite_future()).then(|| self.origin + (at + round_up - SocketTime::zero()))
    }

    /// What is to be done next; `None` when nothing is left.
    pub fn poll(&mut self) -> Option<SctpOutput> {
        self.outputs.pop_front()
    }

    /// Calls into the library at a time, then takes out what it has to say. `None` once the association has ended.
    fn with_socket<R>(&mut self, now: Time, call: impl FnOnce(&mut dyn DcSctpSocket) -> R) -> Option<R> {
        if self.ended {
            return None;
        }
        let elapsed = SocketTime::zero() + now.since(self.origin);
        let socket = &mut self.socket;
        let called = guard(|| {
            socket.advance_time(elapsed);
            call(socket.as_mut())
        });
        let Ok(result) = called else {
            self.end(SctpEnd::Internal);
            return None;
        };
        self.drain(now);
        Some(result)
    }

    fn drain(&mut self, now: Time) {
        loop {
            let socket = &mut self.socket;
            match guard(|| (socket.get_next_message(), socket.poll_event())) {
                Err(Panicked) => return self.end(SctpEnd::Internal),
                Ok((None, None)) => return,
                Ok((message, event)) => {
                    // A message first: it may be what the peer sent before it closed the channel.
                    if let Some(message) = message {
                        self.handle_message(now, message);
                    }
                    if let Some(event) = event {
                        self.handle_event(now, event);
                    }
                }
            }
            if self.ended {
                return;
            }
        }
    }

    fn handle_event(&mut self, now: Time, event: SocketEvent) {
        match event {
            SocketEvent::SendPacket(packet) => self.outputs.push_back(SctpOutput::Packet(packet)),
            SocketEvent::OnConnected() => {
                self.connected = true;
                self.send_opens(now);
            }
            SocketEvent::OnClosed() => self.end(SctpEnd::PeerClosed),
            SocketEvent::OnAborted(..) => self.end(SctpEnd::Aborted),
            SocketEvent::OnIncomingStreamReset(streams) => self.handle_reset(now, &streams),
            SocketEvent::OnStreamsResetFailed(streams) | SocketEvent::OnStreamsResetPerformed(streams) => {
                for stream in streams {
                    self.remove_if_closing(ChannelId(stream.0));
                }
            }
            // A peer that restarts keeps its channels (RFC 9260, section 5.2.4.1). Errors that do not abort are the
            // library's to answer.
            _ => {}
        }
    }

    /// The peer closed channels; our direction follows (RFC 8831, section 6.7).
    fn handle_reset(&mut self, now: Time, streams: &[StreamId]) {
        let ours: Vec<StreamId> = streams
            .iter()
            .copied()
            .filter(|stream| self.channels.get(&ChannelId(stream.0)).is_some_and(|c| c.state != ChannelState::Closing))
            .collect();
        for stream in &ours {
            if let Some(channel) = self.channels.get_mut(&ChannelId(stream.0)) {
                channel.state = ChannelState::Closing;
            }
        }
        if ours.is_empty() {
            return;
        }
        let reset = self.with_socket(now, |socket| socket.reset_streams(&ours));
        if !matches!(reset, Some(Ok(()))) {
            for stream in ours {
                self.remove_if_closing(ChannelId(stream.0));
            }
        }
    }

    fn remove_if_closing(&mut self, id: ChannelId) {
        if self.channels.get(&id).is_some_and(|channel| channel.state == ChannelState::Closing) {
            self.channels.remove(&id);
            self.outputs.push_back(SctpOutput::ChannelClosed(id));
        }
    }

    fn handle_message(&mut self, now: Time, message: api::Message) {
        let channel = ChannelId(message.stream_id.0);
        if message.ppid == PPID_DCEP {
            self.handle_control(now, channel, &message.payload);
            return;
        }
        let (data, binary) = match message.ppid {
            PPID_STRING => (message.payload, false),
            PPID_BINARY => (message.payload, true),
            PPID_STRING_EMPTY => (Vec::new(), false),
            PPID_BINARY_EMPTY => (Vec::new(), true),
            _ => {
                self.dropped += 1;
                return;
            }
        };
        if data.len() > MAX_MESSAGE_LEN || !self.channels.contains_key(&channel) {
            self.dropped += 1;
            return;
        }
        self.outputs.push_back(SctpOutput::Message { channel, data, binary });
    }

    fn handle_control(&mut self, now: Time, id: ChannelId, payload: &[u8]) {
        match Control::parse(payload) {
            Some(Control::Open(open)) if !self.channels.contains_key(&id) && self.channels.len() < MAX_CHANNELS => {
                let description = open.channel(id);
                let channel = Channel { description: description.clone(), state: ChannelState::Open };
                self.channels.insert(id, channel);
                self.send_control(now, id, Control::Ack.to_bytes());
                self.outputs.push_back(SctpOutput::ChannelOpened(description));
            }
            Some(Control::Ack) => {
                let Some(channel) = self.channels.get_mut(&id).filter(|c| c.state == ChannelState::Opening) else {
                    return;
                };
                channel.state = ChannelState::Open;
                self.outputs.push_back(SctpOutput::ChannelOpened(channel.description.clone()));
            }
            _ => self.dropped += 1,
        }
    }

    fn send_opens(&mut self, now: Time) {
        let mut opens = Vec::new();
        for (id, channel) in &mut self.channels {
            if channel.state == ChannelState::Waiting {
                channel.state = ChannelState::Opening;
                opens.push((*id, Control::Open(dcep::Open::of(&channel.description)).to_bytes()));
            }
        }
        for (id, open) in opens {
            self.send_control(now, id, open);
        }
    }

    /// Control messages are reliable and ordered whatever their channel is (RFC 8832, section 6).
    fn send_control(&mut self, now: Time, id: ChannelId, payload: Vec<u8>) {
        let message = api::Message::new(StreamId(id.0), PPID_DCEP, payload);
        self.with_socket(now, |socket| {
            // A full buffer loses it; the peer then never sees the channel open, and neither do we.
            let _ = socket.send(message, &SendOptions::default());
        });
    }

    fn end(&mut self, reason: SctpEnd) {
        if !self.ended {
            self.ended = true;
            self.connected = false;
            self.outputs.push_back(SctpOutput::Closed(reason));
        }
    }
}

impl DataChannel {
    fn send_options(&self) -> SendOptions {
        let mut options = SendOptions { unordered: !self.ordered, ..SendOptions::default() };
        match self.reliability {
            Reliability::Reliable => {}
            Reliability::MaxRetransmits(times) => options.max_retransmissions = Some(times),
            Reliability::MaxLifetimeMs(ms) => options.lifetime = Some(Duration::from_millis(ms.into())),
        }
        options
    }
}

fn new_socket() -> Box<dyn DcSctpSocket> {
    let options = Options {
        mtu: MTU,
        max_message_size: MAX_MESSAGE_LEN,
        max_receiver_window_buffer_size: RECEIVE_WINDOW,
        max_send_buffer_size: 2 * MAX_BUFFERED_RELIABLE,
        per_stream_send_queue_limit: MAX_BUFFERED_RELIABLE + MAX_MESSAGE_LEN,
        // Consent to send (RFC 7675) decides when a client is gone, not a count of retransmissions.
        max_retransmissions: None,
        max_init_retransmits: None,
        max_timer_backoff_duration: Some(MAX_BACKOFF),
        enable_handover_with_outstanding_data: true,
        ..Options::default()
    };
    dcsctp::new_socket("calls", &options)
}
