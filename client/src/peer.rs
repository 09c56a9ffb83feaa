//! A peer connection: `str0m` with the clock and the network.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::format::Codec;
use str0m::media::{Direction, Frequency, MediaKind, MediaTime};
use str0m::net::{Protocol, Receive};
use str0m::{Event, IceConnectionState, Input, Output, Rtc};
use tokio::time::timeout_at;

pub use crate::link::Reach;
use crate::link::{Link, MAX_DATAGRAM};

pub use str0m::media::Mid;

/// LiveKit's data channels: ordered and reliable, and neither.
pub const RELIABLE: &str = "_reliable";
pub const LOSSY: &str = "_lossy";
/// How loud a voice is, in dBov.
const VOICE: i8 = -20;

pub struct Peer {
    /// Boxed: it is large, and futures that hold it are moved.
    rtc: Box<Rtc>,
    link: Link,
    pending: Option<SdpPendingOffer>,
    deadline: Instant,
    channels: Vec<(ChannelId, String)>,
    /// An m-line on which it receives.
    receiving: Option<Mid>,
    /// Copies of datagrams that were sent, as long as they are wanted.
    recording: Option<Vec<Vec<u8>>>,
    /// Where it sent last.
    remote: Option<(Protocol, SocketAddr)>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("local", &self.link.local()).finish_non_exhaustive()
    }
}

/// What a peer connection tells.
#[derive(Debug)]
pub enum PeerEvent {
    Connected,
    /// An audio frame, and the m-line it came on.
    Frame(Mid, Vec<u8>),
    /// A data channel, by its label, can be used.
    ChannelOpen(String),
    /// A message on the channel with this label.
    Message(String, Vec<u8>),
    Disconnected,
}

/// What an offer adds or changes.
#[derive(Debug, Clone, Default)]
pub struct Change<'a> {
    /// Ids of audio tracks to send from now on.
    pub send: Vec<&'a str>,
    /// M-lines that carry nothing from now on.
    pub stop: Vec<Mid>,
    /// How many more audio tracks it can receive.
    pub receive: u32,
    /// Open [`RELIABLE`] and [`LOSSY`].
    pub channels: bool,
    pub restart_ice: bool,
}

impl Peer {
    pub async fn new(reach: Reach) -> Result<Self> {
        let link = Link::open(reach).await?;
        let mut rtc = Box::new(Rtc::new(Instant::now()));
        rtc.add_local_candidate(link.candidate()?);
        Ok(Self {
            rtc,
            link,
            pending: None,
            deadline: Instant::now(),
            channels: Vec::new(),
            receiving: None,
            recording: None,
            remote: None,
        })
    }

    /// Where it sends from.
    pub const fn address(&self) -> SocketAddr {
        self.link.local()
    }

    /// An offer with `change`, and the m-lines of what it sends newly, in order.
    pub fn offer(&mut self, change: &Change<'_>) -> Result<(String, Vec<Mid>)> {
        let mut api = self.rtc.sdp_api();
        let mut send = Vec::with_capacity(change.send.len());
        for id in &change.send {
            let (stream, track) = (Some("bench".to_owned()), Some((*id).to_owned()));
            send.push(api.add_media(MediaKind::Audio, Direction::SendOnly, stream, track, None));
        }
        for mid in &change.stop {
            api.set_direction(*mid, Direction::Inactive);
        }
        for _ in 0..change.receive {
            let mid = api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
            self.receiving.get_or_insert(mid);
        }
        if change.channels {
            api.add_channel_with_config(ChannelConfig { label: RELIABLE.into(), ..ChannelConfig::default() });
            api.add_channel_with_config(ChannelConfig {
                label: LOSSY.into(),
                ordered: false,
                reliability: Reliability::MaxRetransmits { retransmits: 0 },
                ..ChannelConfig::default()
            });
        }
        if change.restart_ice {
            api.ice_restart(true);
        }
        if !api.has_changes()
            && let Some(mid) = self.receiving
        {
            // An offer was asked for, and str0m makes one only for a change: there and back.
            api.set_direction(mid, Direction::Inactive);
            api.set_direction(mid, Direction::RecvOnly);
        }
        let (offer, pending) = api.apply().context("nothing to offer")?;
        self.pending = Some(pending);
        Ok((offer.to_sdp_string(), send))
    }

    pub fn accept(&mut self, answer: &str) -> Result<()> {
        let pending = self.pending.take().context("no offer waits for an answer")?;
        self.rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&without_ssrcs(answer))?)?;
        self.wake()
    }

    /// Answers an offer.
    pub fn answer(&mut self, offer: &str) -> Result<String> {
        let answer = self.rtc.sdp_api().accept_offer(SdpOffer::from_sdp_string(&without_ssrcs(offer))?)?;
        self.wake()?;
        Ok(answer.to_sdp_string())
    }

    /// A connection with nothing but data channels has no timer until it is told the time.
    fn wake(&mut self) -> Result<()> {
        Ok(self.rtc.handle_input(Input::Timeout(Instant::now()))?)
    }

    /// Sends a frame of audio on an m-line, `at` since the first.
    pub fn send(&mut self, mid: Mid, at: Duration, frame: Vec<u8>) -> Result<()> {
        let writer = self.rtc.writer(mid).context("not negotiated yet")?;
        let opus = writer.payload_params().find(|params| params.spec().codec == Codec::Opus);
        let payload_type = opus.context("Opus was not negotiated")?.pt();
        let time = MediaTime::from_micros(u64::try_from(at.as_micros())?).rebase(Frequency::FORTY_EIGHT_KHZ);
        // As browsers say it of somebody who speaks.
        writer.audio_level(VOICE, true).write(payload_type, Instant::now(), time, frame)?;
        Ok(())
    }

    /// Sends a message on an open channel. False if its buffer is full.
    pub fn send_message(&mut self, label: &str, message: &[u8]) -> Result<bool> {
        let known = self.channels.iter().find(|(_, known)| known == label);
        let id = known.with_context(|| format!("channel {label} is not open"))?.0;
        Ok(self.rtc.channel(id).context("the channel is closed")?.write(true, message)?)
    }

    /// Keeps copies of what it sends from now on.
    pub fn record(&mut self) {
        self.recording.get_or_insert_default();
    }

    /// What was sent since [`Peer::record`].
    pub fn recorded(&mut self) -> Vec<Vec<u8>> {
        self.recording.take().unwrap_or_default()
    }

    /// Sends bytes where it sent last.
    pub fn send_datagram(&self, datagram: &[u8]) {
        if let Some((protocol, remote)) = self.remote {
            self.link.send(protocol, remote, datagram);
        }
    }

    /// Runs until something is to be told. Safe to be cancelled: nothing is lost.
    pub async fn next(&mut self) -> Result<PeerEvent> {
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            if let Some(event) = self.drain()? {
                return Ok(event);
            }
            let deadline = self.deadline.into();
            if let Ok(received) = timeout_at(deadline, self.link.receive(&mut buffer)).await {
                let (length, source) = received?;
                let Ok(contents) = buffer[..length].try_into() else { continue };
                let (proto, destination) = (self.link.protocol(), self.link.local());
                let receive = Receive { proto, source, destination, contents };
                self.rtc.handle_input(Input::Receive(Instant::now(), receive))?;
            } else {
                self.rtc.handle_input(Input::Timeout(Instant::now()))?;
            }
        }
    }

    fn drain(&mut self) -> Result<Option<PeerEvent>> {
        loop {
            let event = match self.rtc.poll_output()? {
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return Ok(None);
                }
                Output::Transmit(transmit) => {
                    if let Some(recording) = &mut self.recording {
                        recording.push(transmit.contents.to_vec());
                    }
                    self.remote = Some((transmit.proto, transmit.destination));
                    self.link.send(transmit.proto, transmit.destination, &transmit.contents);
                    continue;
                }
                Output::Event(event) => event,
            };
            let told = match event {
                Event::Connected => PeerEvent::Connected,
                Event::MediaData(data) => PeerEvent::Frame(data.mid, data.data.to_vec()),
                Event::ChannelOpen(id, label) => {
                    self.channels.push((id, label.clone()));
                    PeerEvent::ChannelOpen(label)
                }
                Event::ChannelData(data) => {
                    let known = self.channels.iter().find(|(id, _)| *id == data.id);
                    let Some((_, label)) = known else { continue };
                    PeerEvent::Message(label.clone(), data.data)
                }
                Event::IceConnectionStateChange(IceConnectionState::Disconnected) => PeerEvent::Disconnected,
                _ => continue,
            };
            return Ok(Some(told));
        }
    }
}

/// A description that names no SSRCs. `str0m` then finds streams by the mid in their packets, and takes a new one on a
/// used m-line for what it is; one that was named continues the old one's sequence numbers.
fn without_ssrcs(sdp: &str) -> String {
    sdp.split_inclusive('\n').filter(|line| !line.starts_with("a=ssrc")).collect()
}
