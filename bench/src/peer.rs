//! A peer connection on a UDP socket of its own: `str0m` with the clock and the network.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::{Context as _, Result};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::net::UdpSocket;
use tokio::time::{sleep_until, timeout_at};

/// Largest datagram of a peer connection.
const MAX_DATAGRAM: usize = 2000;

#[derive(Debug)]
pub struct Peer {
    rtc: Rtc,
    socket: UdpSocket,
    address: SocketAddr,
    pending: Option<SdpPendingOffer>,
    deadline: Instant,
    /// Where it sends, if it sends audio.
    microphone: Option<Mid>,
}

/// What a peer connection tells.
#[derive(Debug)]
pub enum PeerEvent {
    Connected,
    /// An audio frame.
    Frame(Vec<u8>),
    Disconnected,
}

impl Peer {
    pub async fn new() -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = socket.local_addr()?;
        let mut rtc = Rtc::new(Instant::now());
        rtc.add_local_candidate(Candidate::host(address, "udp")?);
        Ok(Self { rtc, socket, address, pending: None, deadline: Instant::now(), microphone: None })
    }

    /// An offer that sends one audio track called `cid` if there is one, and can receive `n_audios` more than before.
    pub fn offer(&mut self, cid: Option<&str>, n_audios: u32) -> Result<String> {
        let mut api = self.rtc.sdp_api();
        if let Some(cid) = cid {
            let stream = Some("bench".to_owned());
            let mid = api.add_media(MediaKind::Audio, Direction::SendOnly, stream, Some(cid.to_owned()), None);
            self.microphone = Some(mid);
        }
        for _ in 0..n_audios {
            api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
        }
        if !api.has_changes() {
            api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
        }
        let (offer, pending) = api.apply().context("nothing to offer")?;
        self.pending = Some(pending);
        Ok(offer.to_sdp_string())
    }

    pub fn accept(&mut self, answer: &str) -> Result<()> {
        let pending = self.pending.take().context("no offer waits for an answer")?;
        self.rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(answer)?)?;
        Ok(())
    }

    /// Sends a frame of audio, `at` since the first.
    pub fn send(&mut self, at: std::time::Duration, frame: Vec<u8>) -> Result<()> {
        let mid = self.microphone.context("this peer sends nothing")?;
        let writer = self.rtc.writer(mid).context("not negotiated yet")?;
        let opus = writer.payload_params().find(|params| params.spec().codec == Codec::Opus);
        let payload_type = opus.context("Opus was not negotiated")?.pt();
        let time = MediaTime::from_micros(u64::try_from(at.as_micros())?).rebase(str0m::media::Frequency::FORTY_EIGHT_KHZ);
        writer.write(payload_type, Instant::now(), time, frame)?;
        Ok(())
    }

    /// Runs until something is to be told. Safe to be cancelled: nothing is lost.
    pub async fn next(&mut self) -> Result<PeerEvent> {
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            if let Some(event) = self.drain()? {
                return Ok(event);
            }
            let deadline = self.deadline.into();
            match timeout_at(deadline, self.socket.recv_from(&mut buffer)).await {
                Ok(received) => {
                    let (length, source) = received?;
                    let Ok(contents) = buffer[..length].try_into() else { continue };
                    let receive = Receive { proto: Protocol::Udp, source, destination: self.address, contents };
                    self.rtc.handle_input(Input::Receive(Instant::now(), receive))?;
                }
                Err(_) => {
                    sleep_until(deadline).await;
                    self.rtc.handle_input(Input::Timeout(Instant::now()))?;
                }
            }
        }
    }

    fn drain(&mut self) -> Result<Option<PeerEvent>> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return Ok(None);
                }
                // A full socket buffer is a lost datagram, as on any network.
                Output::Transmit(transmit) => {
                    let _ = self.socket.try_send_to(&transmit.contents, transmit.destination);
                }
                Output::Event(Event::Connected) => return Ok(Some(PeerEvent::Connected)),
                Output::Event(Event::MediaData(data)) => return Ok(Some(PeerEvent::Frame(data.data.to_vec()))),
                Output::Event(Event::IceConnectionStateChange(str0m::IceConnectionState::Disconnected)) => {
                    return Ok(Some(PeerEvent::Disconnected));
                }
                Output::Event(_) => (),
            }
        }
    }
}
