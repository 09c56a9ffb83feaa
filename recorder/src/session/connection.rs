//! The peer connection of a session: `str0m` with the clock and the network. It only receives, packet by packet.

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context as _, Result};
use calls_client::link::{Link, MAX_DATAGRAM, Reach};
use str0m::change::SdpOffer;
use str0m::media::{KeyframeRequestKind, SenderFeedback};
use str0m::net::Receive;
use str0m::rtp::{RtpPacket, Ssrc};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc};
use tokio::time::timeout_at;

/// A connection on which the server offers.
pub struct Connection {
    /// Boxed: it is large, and futures that hold it are moved.
    rtc: Box<Rtc>,
    link: Link,
    deadline: Instant,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("local", &self.link.local()).finish_non_exhaustive()
    }
}

/// What a connection tells.
#[derive(Debug)]
pub enum ConnectionEvent {
    Connected,
    Packet(Box<RtpPacket>),
    /// A sender report.
    Report(SenderFeedback),
    /// The server stopped answering.
    Disconnected,
}

impl Connection {
    /// Media is received at `local`, an address of this machine.
    ///
    /// # Errors
    /// If there is no socket.
    pub async fn open(local: Ipv4Addr) -> Result<Self> {
        let link = Link::open(Reach::Udp(local)).await.context("no socket for media")?;
        let now = Instant::now();
        // Redundancy is for networks that lose; a recorder stands beside the server.
        let config = Rtc::builder().set_rtp_mode(true).enable_opus(true, false);
        let mut rtc = Box::new(config.build(now));
        rtc.add_local_candidate(link.candidate()?);
        Ok(Self { rtc, link, deadline: now })
    }

    /// Answers the server's offer.
    ///
    /// # Errors
    /// If the offer cannot be taken.
    pub fn answer(&mut self, offer: &str) -> Result<String> {
        let offer = SdpOffer::from_sdp_string(offer).context("the server's offer cannot be read")?;
        let answer = self.rtc.sdp_api().accept_offer(offer).context("the server's offer cannot be answered")?;
        // A connection with nothing but data channels has no timer until it is told the time.
        self.rtc.handle_input(Input::Timeout(Instant::now()))?;
        Ok(answer.to_sdp_string())
    }

    /// An address of the server, as `candidate:…` writes it. One that cannot be read is passed over: there are others.
    pub fn add_candidate(&mut self, line: &str) {
        if let Ok(candidate) = Candidate::from_sdp_string(line) {
            self.rtc.add_remote_candidate(candidate);
        }
    }

    /// Asks for a picture that needs no other. For a stream that has not begun, nothing.
    pub fn request_keyframe(&mut self, ssrc: u32) {
        let ssrc = Ssrc::from(ssrc);
        if let Some(stream) = self.rtc.direct_api().stream_rx(&ssrc) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
    }

    /// Runs until something is to be told. Safe to be cancelled: nothing is lost.
    ///
    /// # Errors
    /// If the connection cannot go on.
    pub async fn next(&mut self) -> Result<ConnectionEvent> {
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            if let Some(event) = self.drain()? {
                return Ok(event);
            }
            let Ok(received) = timeout_at(self.deadline.into(), self.link.receive(&mut buffer)).await else {
                self.rtc.handle_input(Input::Timeout(Instant::now()))?;
                continue;
            };
            let (length, source) = received?;
            let Ok(contents) = buffer[..length].try_into() else { continue };
            let (proto, destination) = (self.link.protocol(), self.link.local());
            self.rtc.handle_input(Input::Receive(Instant::now(), Receive { proto, source, destination, contents }))?;
        }
    }

    fn drain(&mut self) -> Result<Option<ConnectionEvent>> {
        loop {
            let event = match self.rtc.poll_output()? {
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return Ok(None);
                }
                Output::Transmit(transmit) => {
                    self.link.send(transmit.proto, transmit.destination, &transmit.contents);
                    continue;
                }
                Output::Event(event) => event,
            };
            match event {
                Event::Connected => return Ok(Some(ConnectionEvent::Connected)),
                Event::RtpPacket(packet) => return Ok(Some(ConnectionEvent::Packet(Box::new(packet)))),
                Event::SenderFeedback(report) => return Ok(Some(ConnectionEvent::Report(report))),
                Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                    return Ok(Some(ConnectionEvent::Disconnected));
                }
                _ => (),
            }
        }
    }
}
