//! One client on the media thread: its socket, its peer connection, what it sends and what it counts.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use sfu_core::id::Ssrc;
use sfu_core::media::rtcp::{Packet, Packets};
use sfu_core::time::{NtpTime, Time};
use sfu_core::transport::DatagramKind;
use sfu_core::transport::srtp::{Opener, Sealer, SrtpKeys};
use tokio::sync::oneshot;

use super::offer::ExtensionIds;
use super::publisher::Publisher;
use super::scenario::Source;
use super::sink::{FEEDBACK_INTERVAL, Sink};
use super::transport::{Closed, Transport, TransportOutput, TransportPlan};

/// Between two reports of a client, in both directions.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// The SSRC in the reports of those who send nothing.
const RECEIVER: Ssrc = Ssrc(1);

/// What a client publishes, and how.
#[derive(Debug, Clone, Copy)]
pub struct Publication {
    pub source: Source,
    pub ssrc: u32,
    pub ids: ExtensionIds,
}

/// Told once each.
#[derive(Debug)]
pub struct Milestones {
    /// Media can flow; or why it cannot.
    pub connected: oneshot::Sender<Result<(), Closed>>,
    /// Every stream the client is to receive has begun.
    pub complete: oneshot::Sender<()>,
}

/// A client as its maker describes it.
#[derive(Debug)]
pub struct NewClient {
    pub socket: UdpSocket,
    /// None for one who receives from a sender without a peer connection.
    pub transport: Option<TransportPlan>,
    pub publishes: Option<Publication>,
    pub sink: Sink,
    /// Streams it is to receive.
    pub hears: usize,
    pub milestones: Option<Milestones>,
}

/// A client at work.
#[derive(Debug)]
pub struct Client {
    socket: UdpSocket,
    transport: Option<Box<Transport>>,
    publishes: Option<Publication>,
    keys: Option<Keys>,
    publisher: Option<Box<Publisher>>,
    pub sink: Sink,
    hears: usize,
    connected: Option<oneshot::Sender<Result<(), Closed>>>,
    complete: Option<oneshot::Sender<()>>,
    report_at: Option<Time>,
    feedback_at: Option<Time>,
    scratch: Vec<u8>,
    /// Ended, and why.
    pub closed: Option<Closed>,
}

#[derive(Debug)]
struct Keys {
    sealer: Sealer,
    opener: Opener,
}

impl Client {
    pub fn new(now: Time, new: NewClient) -> Self {
        let (connected, complete) =
            new.milestones.map(|milestones| (milestones.connected, milestones.complete)).unzip();
        Self {
            socket: new.socket,
            transport: new.transport.map(|plan| Box::new(Transport::new(plan, now))),
            publishes: new.publishes,
            keys: None,
            publisher: None,
            sink: new.sink,
            hears: new.hears,
            connected,
            complete,
            report_at: None,
            feedback_at: None,
            scratch: Vec::new(),
            closed: None,
        }
    }

    pub const fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// What it sends, once it can.
    pub fn source(&self) -> Option<Source> {
        self.publisher.as_ref().map(|publisher| publisher.source())
    }

    pub fn add_remote(&mut self, now: Time, candidate: SocketAddr) {
        if let Some(transport) = &mut self.transport {
            transport.add_remote(now, candidate);
        }
        self.flush(now);
    }

    /// Takes a datagram. [`flush`](Self::flush) is to follow.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, datagram: &mut [u8]) {
        match DatagramKind::of(datagram) {
            Some(DatagramKind::Rtp) => {
                let opener = self.keys.as_mut().map(|keys| &mut keys.opener);
                self.sink.handle_packet(now, datagram, opener);
                if self.sink.owes_feedback() && self.feedback_at.is_none() {
                    self.feedback_at = Some(now + FEEDBACK_INTERVAL);
                }
                self.tell_if_complete();
            }
            Some(DatagramKind::Rtcp) => self.handle_rtcp(datagram),
            Some(DatagramKind::Stun | DatagramKind::Dtls) => {
                if let Some(transport) = &mut self.transport {
                    transport.handle_datagram(now, from, datagram);
                }
            }
            None => (),
        }
    }

    /// Only who publishes cares: somebody may want a keyframe.
    fn handle_rtcp(&mut self, datagram: &mut [u8]) {
        let (Some(publisher), Some(keys)) = (&mut self.publisher, &mut self.keys) else { return };
        let Ok(len) = keys.opener.open_rtcp(datagram) else { return };
        for packet in Packets::new(&datagram[..len]) {
            match packet {
                Packet::PictureLoss { media } => publisher.want_keyframe(media),
                Packet::FullIntraRequest { targets } => targets.for_each(|target| publisher.want_keyframe(target)),
                _ => (),
            }
        }
    }

    fn tell_if_complete(&mut self) {
        if self.sink.n_streams() >= self.hears
            && self.connected.is_none()
            && let Some(complete) = self.complete.take()
        {
            // Nobody waits any more, perhaps.
            let _ = complete.send(());
        }
    }

    /// Sends what the peer connection has.
    pub fn flush(&mut self, now: Time) {
        while let Some(output) = self.transport.as_mut().and_then(|transport| transport.poll()) {
            match output {
                TransportOutput::Datagram(to, datagram) => self.send(to, &datagram),
                TransportOutput::Connected(keys) => self.connect(now, keys),
                TransportOutput::Closed(why) => {
                    self.closed = Some(why);
                    if let Some(connected) = self.connected.take() {
                        let _ = connected.send(Err(why));
                    }
                }
            }
        }
    }

    /// What cannot be sent is lost, as on a network; the counters show it.
    fn send(&self, to: SocketAddr, datagram: &[u8]) {
        let _ = self.socket.send_to(datagram, to);
    }

    fn connect(&mut self, now: Time, keys: SrtpKeys) {
        let SrtpKeys { local, remote } = keys;
        let (Ok(mut sealer), Ok(opener)) = (Sealer::new(local), Opener::new(remote)) else { return };
        if let Some(Publication { source, ssrc, ids }) = self.publishes {
            self.publisher = Publisher::new(source, ssrc, ids, &mut sealer).ok().map(Box::new);
        }
        self.keys = Some(Keys { sealer, opener });
        self.report_at = Some(now + REPORT_INTERVAL);
        if let Some(connected) = self.connected.take() {
            let _ = connected.send(Ok(()));
        }
        self.tell_if_complete();
    }

    /// Sends a frame of its source. Returns how many packets it had.
    pub fn send_frame(&mut self, now: Time) -> u64 {
        let (Some(publisher), Some(keys)) = (&mut self.publisher, &mut self.keys) else { return 0 };
        let Some(remote) = self.transport.as_ref().and_then(|transport| transport.remote()) else { return 0 };
        let socket = &self.socket;
        publisher.send_frame(now, &mut keys.sealer, |packet| {
            let _ = socket.send_to(packet, remote);
        })
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called; `None` if never.
    pub fn next_at(&self) -> Option<Time> {
        let transport = self.transport.as_ref().and_then(|transport| transport.next_at());
        transport.into_iter().chain(self.report_at).chain(self.feedback_at).min()
    }

    pub fn handle_timeout(&mut self, now: Time, wall_clock: NtpTime) {
        if let Some(transport) = &mut self.transport {
            transport.handle_timeout(now);
        }
        self.flush(now);
        self.scratch.clear();
        let sender = self.publisher.as_ref().map_or(RECEIVER, |publisher| publisher.ssrc());
        if self.report_at.is_some_and(|at| at <= now) {
            self.report_at = Some(now + REPORT_INTERVAL);
            if let Some(publisher) = &self.publisher {
                publisher.write_report(now, wall_clock, &mut self.scratch);
            }
            if self.sink.n_streams() > 0 {
                self.sink.write_report(sender, &mut self.scratch);
            }
        }
        if self.feedback_at.is_some_and(|at| at <= now) {
            self.feedback_at = None;
            self.sink.write_feedback(now, sender, &mut self.scratch);
        }
        let remote = self.transport.as_ref().and_then(|transport| transport.remote());
        if !self.scratch.is_empty()
            && let (Some(keys), Some(remote)) = (&mut self.keys, remote)
            && keys.sealer.seal_rtcp(&mut self.scratch).is_ok()
        {
            let _ = self.socket.send_to(&self.scratch, remote);
        }
    }
}
