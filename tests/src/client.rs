//! A client: `str0m` with an address.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpApi, SdpOffer, SdpPendingOffer};
use str0m::channel::ChannelId;
use str0m::media::{Frequency, MediaAdded, MediaTime, Mid, Pt, Rid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};

/// A frame that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub mid: Mid,
    pub payload_type: u8,
    pub data: Vec<u8>,
}

/// One peer connection of a client.
#[derive(Debug)]
pub struct Client {
    rtc: Rtc,
    address: SocketAddr,
    start: Instant,
    timeout: Duration,
    pending: Option<SdpPendingOffer>,
    pub media: Vec<MediaAdded>,
    pub frames: Vec<Frame>,
    /// M-lines for which a keyframe was asked for.
    pub keyframe_requests: Vec<(Mid, Option<Rid>)>,
    channels: Vec<(ChannelId, String)>,
    messages: Vec<(ChannelId, Vec<u8>)>,
}

impl Client {
    pub fn new(address: SocketAddr, start: Instant) -> Self {
        let mut rtc = Rtc::new(start);
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a host candidate"));
        Self {
            rtc,
            address,
            start,
            timeout: Duration::ZERO,
            pending: None,
            media: Vec::new(),
            frames: Vec::new(),
            keyframe_requests: Vec::new(),
            channels: Vec::new(),
            messages: Vec::new(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes an offer with changes.
    pub fn offer<T>(&mut self, change: impl FnOnce(&mut SdpApi<'_>) -> T) -> (T, String) {
        let mut api = self.rtc.sdp_api();
        let changed = change(&mut api);
        let (offer, pending) = api.apply().expect("something to negotiate");
        self.pending = Some(pending);
        (changed, offer.to_sdp_string())
    }

    /// Takes the answer to its last offer.
    pub fn accept_answer(&mut self, sdp: &str) {
        let answer = SdpAnswer::from_sdp_string(sdp).expect("an answer that parses");
        let pending = self.pending.take().expect("an offer");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("an answer that fits");
    }

    /// Answers an offer.
    pub fn answer(&mut self, sdp: &str) -> String {
        let offer = SdpOffer::from_sdp_string(sdp).expect("an offer that parses");
        self.rtc.sdp_api().accept_offer(offer).expect("an offer that can be answered").to_sdp_string()
    }

    pub fn is_connected(&self) -> bool {
        self.rtc.is_connected()
    }

    /// Payload type under which a codec would be sent on an m-line.
    pub fn payload_type(&mut self, mid: Mid, codec: str0m::format::Codec) -> Option<Pt> {
        let writer = self.rtc.writer(mid)?;
        writer.payload_params().find(|params| params.spec().codec == codec).map(str0m::format::PayloadParams::pt)
    }

    /// Sends a frame.
    pub fn send(&mut self, now: Duration, mid: Mid, rid: Option<Rid>, codec: str0m::format::Codec, data: &[u8]) {
        let payload_type = self.payload_type(mid, codec).expect("a negotiated codec");
        let mut writer = self.rtc.writer(mid).expect("a sending m-line");
        if let Some(rid) = rid {
            writer = writer.rid(rid);
        }
        let frequency =
            if codec == str0m::format::Codec::Opus { Frequency::FORTY_EIGHT_KHZ } else { Frequency::NINETY_KHZ };
        let micros = u64::try_from(now.as_micros()).expect("a short test");
        let time = MediaTime::from_micros(micros).rebase(frequency);
        writer.write(payload_type, self.start + now, time, data.to_vec()).expect("a frame can be sent");
    }

    /// Asks the sender of an m-line for a keyframe.
    pub fn request_keyframe(&mut self, mid: Mid) {
        let mut writer = self.rtc.writer(mid).expect("an m-line");
        writer.request_keyframe(None, str0m::media::KeyframeRequestKind::Pli).expect("it is received");
    }

    pub fn has_channel(&self, label: &str) -> bool {
        self.channels.iter().any(|(_, known)| known == label)
    }

    /// Sends on an open channel.
    pub fn send_message(&mut self, label: &str, data: &[u8]) {
        let (id, _) = self.channels.iter().find(|(_, known)| known == label).expect("an open channel");
        let mut channel = self.rtc.channel(*id).expect("an open channel");
        assert!(channel.write(true, data).expect("an open channel"), "room to send");
    }

    /// Messages that came on the channel with a label.
    pub fn messages(&self, label: &str) -> Vec<&[u8]> {
        let is_labelled = |id: &ChannelId| self.channels.iter().any(|(known, name)| known == id && name == label);
        self.messages.iter().filter(|(id, _)| is_labelled(id)).map(|(_, data)| data.as_slice()).collect()
    }

    pub fn handle_datagram(&mut self, now: Duration, from: SocketAddr, datagram: &[u8]) {
        let Ok(contents) = datagram.try_into() else { return };
        let receive = Receive { proto: Protocol::Udp, source: from, destination: self.address, contents };
        self.rtc.handle_input(Input::Receive(self.start + now, receive)).expect("a datagram is taken");
    }

    pub fn handle_timeout(&mut self, now: Duration) {
        self.rtc.handle_input(Input::Timeout(self.start + now)).expect("time is taken");
    }

    pub const fn poll_timeout(&self) -> Duration {
        self.timeout
    }

    /// Datagrams to send; everything else is kept.
    pub fn drain(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut datagrams = Vec::new();
        loop {
            match self.rtc.poll_output().expect("the client lives") {
                Output::Timeout(at) => {
                    self.timeout = at.saturating_duration_since(self.start);
                    return datagrams;
                }
                Output::Transmit(transmit) => datagrams.push((transmit.destination, transmit.contents.to_vec())),
                Output::Event(event) => self.keep(event),
            }
        }
    }

    fn keep(&mut self, event: Event) {
        match event {
            Event::MediaAdded(added) => self.media.push(added),
            Event::MediaData(data) => {
                self.frames.push(Frame { mid: data.mid, payload_type: *data.pt, data: data.data.to_vec() });
            }
            Event::KeyframeRequest(request) => self.keyframe_requests.push((request.mid, request.rid)),
            Event::ChannelOpen(id, label) => self.channels.push((id, label)),
            Event::ChannelData(data) => self.messages.push((data.id, data.data)),
            _ => {}
        }
    }
}
