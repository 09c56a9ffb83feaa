//! A client whose peer connections are those of the crate `webrtc`.
//!
//! In: a server and how to join it. Out: what it has seen. One task speaks LiveKit's signalling, another sends a voice;
//! the crate runs tasks of its own for sockets and timers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use calls_client::signal::{PROTOCOL, Signal, join_path};
use calls_tests::live::{LIMIT, LOSSY, Mode, Payloads, RELIABLE, Server, user_payloads};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use prost::Message as _;
use rtc::ice::network_type::NetworkType;
use rtc::peer_connection::configuration::media_engine::MIME_TYPE_OPUS;
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::media_stream::MediaStreamTrack;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceCandidateInit,
    RTCPeerConnectionState, RTCSessionDescription, Registry, SettingEngineBuilder, SrtpProtectionProfile,
    StatsSelector, register_default_interceptors,
};
use webrtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};

/// Between two frames of its voice, and how many samples at 48 kHz that is.
const FRAME_INTERVAL: Duration = Duration::from_millis(20);
const FRAME_SAMPLES: u32 = 960;
/// Audio tracks it can receive from the beginning, as browsers do.
const FIRST_SECTIONS: u32 = 3;
const OPUS: u8 = 111;
const SSRC: u32 = 0x5eed_0001;
/// Both wrap around within the first second of a voice.
const FIRST_SEQUENCE_NUMBER: u16 = u16::MAX - 20;
const FIRST_TIMESTAMP: u32 = u32::MAX - 30 * FRAME_SAMPLES;

/// How it joins.
#[derive(Debug, Clone)]
pub struct Wish {
    pub identity: &'static str,
    pub mode: Mode,
    pub network: Network,
    /// How it lets media be protected; as the crate likes it best if there are none.
    pub profiles: Vec<SrtpProtectionProfile>,
    /// What it is in a DTLS handshake that the server offered.
    pub answers_as: RTCDtlsRole,
}

/// What lets its datagrams through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Udp,
    Tcp,
}

/// One of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// On which it offers.
    Publisher,
    /// On which the server offers.
    Subscriber,
}

/// What it has seen so far.
#[derive(Debug, Default)]
pub struct Seen {
    connected: BTreeSet<End>,
    /// Labels of open data channels that it opened itself.
    open: BTreeSet<String>,
    /// Payloads of audio packets, in the order in which they came.
    pub payloads: Payloads,
    /// Data packets and the channels they came on.
    pub data: Vec<(String, proto::DataPacket)>,
    /// What it answered in `a=setup`.
    pub setup: Option<String>,
    /// The server's ICE user names on the connection where the client offers, oldest first.
    pub ufrags: Vec<String>,
    failure: Option<String>,
}

impl Seen {
    /// Payloads of user packets that came on a channel.
    pub fn messages(&self, label: &str) -> Vec<Vec<u8>> {
        user_payloads(&self.data, label)
    }
}

/// Someone in a call, who speaks. Vanishes without a word when dropped.
pub struct Client {
    seen: watch::Receiver<Seen>,
    publisher: Arc<dyn PeerConnection>,
    restart: Arc<Notify>,
    channels: BTreeMap<&'static str, Arc<dyn DataChannel>>,
    /// They end with it.
    tasks: JoinSet<()>,
}

impl Client {
    /// Joins, and waits for media and data channels to be connected.
    pub async fn join(server: &Server, wish: Wish) -> Self {
        let (updates, seen) = watch::channel(Seen::default());
        let joining = Running::join(server, &wish, updates.clone());
        let running = timeout(LIMIT, joining).await.expect("an answer in time");
        let (publisher, track) = (Arc::clone(&running.publisher), Arc::clone(&running.track));
        let restart = Arc::clone(&running.restart);
        let mut tasks = JoinSet::new();
        let mut channels = BTreeMap::new();
        for (label, channel) in &running.channels {
            channels.insert(*label, Arc::clone(channel));
            tasks.spawn(read_channel(Arc::clone(channel), End::Publisher, updates.clone()));
        }
        tasks.spawn(running.run());
        let mut client = Self { seen, publisher, restart, channels, tasks };
        client
            .wait("its connections", |seen| {
                let subscriber = wish.mode == Mode::Single || seen.connected.contains(&End::Subscriber);
                (seen.connected.contains(&End::Publisher) && subscriber && seen.open.len() == 2).then_some(())
            })
            .await;
        client.tasks.spawn(speak(track));
        client
    }

    /// Restarts ICE on the connection where it offers.
    pub fn restart_ice(&self) {
        self.restart.notify_one();
    }

    /// How its media is protected, in the words of the registry of DTLS-SRTP protection profiles.
    pub async fn protection(&self) -> Option<String> {
        let report = self.publisher.get_stats(Instant::now(), StatsSelector::None).await;
        report.transport().map(|transport| transport.srtp_cipher.clone())
    }

    /// Looks at what it has seen.
    pub fn look<T>(&self, at: impl FnOnce(&Seen) -> T) -> T {
        at(&self.seen.borrow())
    }

    /// Waits until `find` finds something among what it has seen.
    pub async fn wait<T>(&self, what: &str, mut find: impl FnMut(&Seen) -> Option<T>) -> T {
        let mut found = None;
        let mut seen = self.seen.clone();
        let found_it = seen.wait_for(|seen| {
            found = find(seen);
            found.is_some()
        });
        let in_time = matches!(timeout(LIMIT, found_it).await, Ok(Ok(_)));
        match found.filter(|_| in_time) {
            Some(found) => found,
            None => panic!("it waits in vain for {what}; it saw {:#?}", self.seen.borrow()),
        }
    }

    /// Sends a data packet on one of its channels.
    pub async fn send_data(&self, label: &str, packet: &proto::DataPacket) {
        let message = BytesMut::from(packet.encode_to_vec().as_slice());
        self.channels[label].send(message).await.expect("an open channel");
    }
}

/// A payload of its voices: a frame of Opus for all that a server can tell, of a length that differs from its
/// neighbours', which says its number.
pub fn payload(number: u64) -> Vec<u8> {
    // A valid Opus table-of-contents byte: CELT, 20 ms, mono, one frame (RFC 6716, section 3.1).
    let mut payload = vec![0xf8];
    payload.extend_from_slice(&number.to_be_bytes());
    payload.extend((0..number * 61 % 1000).map(|at| (at * 7 + number) as u8));
    payload
}

/// The voice: one packet after the other, all of them numbered without a gap.
async fn speak(track: Arc<TrackLocalStaticRTP>) {
    let mut tick = interval(FRAME_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u32.. {
        tick.tick().await;
        let header = rtp::Header {
            version: 2,
            payload_type: OPUS,
            sequence_number: FIRST_SEQUENCE_NUMBER.wrapping_add(number as u16),
            timestamp: FIRST_TIMESTAMP.wrapping_add(number * FRAME_SAMPLES),
            ssrc: SSRC,
            ..Default::default()
        };
        let packet = rtp::Packet { header, payload: Bytes::from(payload(number.into())) };
        if track.write_rtp(packet).await.is_err() {
            return;
        }
    }
}

/// Keeps what comes on a channel, until it is closed.
async fn read_channel(channel: Arc<dyn DataChannel>, end: End, seen: watch::Sender<Seen>) {
    let Ok(label) = channel.label().await else { return };
    while let Some(event) = channel.poll().await {
        match event {
            DataChannelEvent::OnOpen if end == End::Publisher => {
                seen.send_modify(|seen| {
                    seen.open.insert(label.clone());
                });
            }
            DataChannelEvent::OnMessage(message) => {
                let packet = proto::DataPacket::decode(message.data.freeze());
                seen.send_modify(|seen| match packet {
                    Ok(packet) => seen.data.push((label.clone(), packet)),
                    Err(error) => seen.failure = Some(format!("a message on {label} is no data packet: {error}")),
                });
            }
            _ => (),
        }
    }
}

/// Keeps the payloads of a track, until it ends.
async fn read_track(track: Arc<dyn TrackRemote>, seen: watch::Sender<Seen>) {
    while let Some(event) = track.poll().await {
        if let TrackRemoteEvent::OnRtpPacket(packet) = event {
            seen.send_modify(|seen| seen.payloads.0.push(packet.payload.to_vec()));
        }
    }
}

/// What a connection tells.
struct Handler {
    end: End,
    seen: watch::Sender<Seen>,
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.seen.send_modify(|seen| match state {
            RTCPeerConnectionState::Connected => drop(seen.connected.insert(self.end)),
            RTCPeerConnectionState::Failed => seen.failure = Some(format!("{:?} failed", self.end)),
            _ => (),
        });
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        tokio::spawn(read_channel(channel, self.end, self.seen.clone()));
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        tokio::spawn(read_track(track, self.seen.clone()));
    }
}

/// Its signalling and its connections.
struct Running {
    signal: Signal,
    network: Network,
    publisher: Arc<dyn PeerConnection>,
    subscriber: Option<Arc<dyn PeerConnection>>,
    track: Arc<TrackLocalStaticRTP>,
    channels: Vec<(&'static str, Arc<dyn DataChannel>)>,
    offer_id: u32,
    awaiting_answer: bool,
    /// Sections the server asked for while an offer was on its way.
    wanted: Option<u32>,
    restart: Arc<Notify>,
    seen: watch::Sender<Seen>,
}

impl Running {
    async fn join(server: &Server, wish: &Wish, seen: watch::Sender<Seen>) -> Self {
        let publisher = connection(End::Publisher, wish, &seen).await;
        let cid = format!("{}-voice", wish.identity);
        let track = Arc::new(TrackLocalStaticRTP::new(voice(&cid)));
        let sends = init(RTCRtpTransceiverDirection::Sendonly);
        publisher
            .add_transceiver_from_track(Arc::clone(&track) as Arc<dyn TrackLocal>, Some(sends))
            .await
            .expect("a section to send on");
        let reliable = publisher.create_data_channel(RELIABLE, None).await.expect("a channel");
        let unreliable = RTCDataChannelInit { ordered: false, max_retransmits: Some(0), ..Default::default() };
        let lossy = publisher.create_data_channel(LOSSY, Some(unreliable)).await.expect("a channel");

        let token = server.key.token("standup", wish.identity).expect("a token");
        let announcement = proto::AddTrackRequest {
            cid: cid.clone(),
            name: cid,
            r#type: proto::TrackType::Audio as i32,
            source: proto::TrackSource::Microphone as i32,
            ..Default::default()
        };
        let url = format!("ws://{}", server.http());
        let (path, subscriber) = match wish.mode {
            Mode::Single => {
                add_sections(publisher.as_ref(), FIRST_SECTIONS).await;
                let request = proto::JoinRequest {
                    connection_settings: Some(proto::ConnectionSettings { auto_subscribe: true, ..Default::default() }),
                    add_track_requests: vec![announcement.clone()],
                    publisher_offer: Some(offer(publisher.as_ref(), 1).await),
                    ..Default::default()
                };
                (join_path(&token, PROTOCOL, request), None)
            }
            Mode::Dual => {
                let path = format!("/rtc?access_token={token}&sdk=go&protocol={PROTOCOL}&auto_subscribe=1");
                (path, Some(connection(End::Subscriber, wish, &seen).await))
            }
        };
        let mut signal =
            Signal::open(std::net::Ipv4Addr::LOCALHOST, &format!("{url}{path}")).await.expect("to be let in");
        let first = signal.receive().await.expect("a first message");
        assert!(matches!(first, Response::Join(_)), "the first message is {first:?}");
        if wish.mode == Mode::Dual {
            signal.send(Request::AddTrack(announcement)).await.expect("a websocket");
            let offer = offer(publisher.as_ref(), 1).await;
            signal.send(Request::Offer(offer)).await.expect("a websocket");
        }
        Self {
            signal,
            network: wish.network,
            publisher,
            subscriber,
            track,
            channels: vec![(RELIABLE, reliable), (LOSSY, lossy)],
            offer_id: 1,
            awaiting_answer: true,
            wanted: None,
            restart: Arc::default(),
            seen,
        }
    }

    async fn run(mut self) {
        loop {
            let done = tokio::select! {
                message = self.signal.receive() => match message {
                    Ok(message) => self.message(message).await,
                    Err(_) => return,
                },
                () = self.restart.notified() => self.restart_ice().await,
            };
            if let Err(error) = done {
                self.seen.send_modify(|seen| seen.failure = Some(format!("{error:#}")));
            }
        }
    }

    async fn restart_ice(&mut self) -> Result<()> {
        self.publisher.restart_ice().await?;
        self.wanted.get_or_insert_default();
        self.offer_if_due().await
    }

    async fn message(&mut self, message: Response) -> Result<()> {
        match message {
            Response::Answer(answer) if answer.id == self.offer_id => {
                if let Some(ufrag) = attribute(&answer.sdp, "ice-ufrag") {
                    self.seen.send_modify(|seen| {
                        seen.ufrags.push(ufrag);
                        seen.ufrags.dedup();
                    });
                }
                self.publisher.set_remote_description(RTCSessionDescription::answer(answer.sdp.clone())?).await?;
                if self.network == Network::Tcp {
                    connect_tcp(self.publisher.as_ref(), &answer.sdp).await?;
                }
                self.awaiting_answer = false;
            }
            Response::Offer(offer) => {
                if let Some(subscriber) = &self.subscriber {
                    subscriber.set_remote_description(RTCSessionDescription::offer(offer.sdp.clone())?).await?;
                    let answer = subscriber.create_answer(None).await?;
                    subscriber.set_local_description(answer.clone()).await?;
                    self.seen.send_modify(|seen| seen.setup = attribute(&answer.sdp, "setup"));
                    if self.network == Network::Tcp {
                        connect_tcp(subscriber.as_ref(), &offer.sdp).await?;
                    }
                    self.signal.send(Request::Answer(description("answer", answer.sdp, offer.id))).await?;
                }
            }
            Response::MediaSectionsRequirement(wanted) => {
                self.wanted = Some(self.wanted.unwrap_or_default() + wanted.num_audios);
            }
            _ => (),
        }
        self.offer_if_due().await
    }

    async fn offer_if_due(&mut self) -> Result<()> {
        if !self.awaiting_answer
            && let Some(wanted) = self.wanted.take()
        {
            self.offer_id += 1;
            self.awaiting_answer = true;
            add_sections(self.publisher.as_ref(), wanted).await;
            let offer = offer(self.publisher.as_ref(), self.offer_id).await;
            self.signal.send(Request::Offer(offer)).await?;
        }
        Ok(())
    }
}

/// A connection that knows Opus and nothing else.
async fn connection(end: End, wish: &Wish, seen: &watch::Sender<Seen>) -> Arc<dyn PeerConnection> {
    let mut media = MediaEngine::default();
    let codec = RTCRtpCodecParameters { rtp_codec: opus(), payload_type: OPUS };
    media.register_codec(codec, RtpCodecKind::Audio).expect("room for a codec");
    let interceptors = register_default_interceptors(Registry::new(), &mut media).expect("room for extensions");
    let local = vec!["127.0.0.1:0"];
    let (udp, tcp, networks) = match wish.network {
        Network::Udp => (local, Vec::new(), vec![NetworkType::Udp4]),
        Network::Tcp => (Vec::new(), local, vec![NetworkType::Tcp4]),
    };
    let mut settings =
        SettingEngineBuilder::new().with_network_types(networks).with_answering_dtls_role(wish.answers_as);
    if !wish.profiles.is_empty() {
        settings = settings.with_srtp_protection_profiles(wish.profiles.clone());
    }
    let building = PeerConnectionBuilder::new()
        .with_media_engine(media)
        .with_interceptor_registry(interceptors)
        .with_setting_engine(settings.build())
        .with_handler(Arc::new(Handler { end, seen: seen.clone() }))
        .with_udp_addrs(udp)
        .with_tcp_addrs(tcp)
        .build();
    // Boxed: it is large, and futures that hold it are moved.
    Arc::new(Box::pin(building).await.expect("a connection"))
}

fn opus() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
        rtcp_feedback: Vec::new(),
    }
}

fn voice(cid: &str) -> MediaStreamTrack {
    let coding = RTCRtpCodingParameters { ssrc: Some(SSRC), ..Default::default() };
    let encoding = RTCRtpEncodingParameters { rtp_coding_parameters: coding, codec: opus(), ..Default::default() };
    MediaStreamTrack::new("stream".to_owned(), cid.to_owned(), cid.to_owned(), RtpCodecKind::Audio, vec![encoding])
}

fn init(direction: RTCRtpTransceiverDirection) -> RTCRtpTransceiverInit {
    RTCRtpTransceiverInit { direction, streams: Vec::new(), send_encodings: Vec::new() }
}

/// Sections on which audio can be received, with the next offer.
async fn add_sections(connection: &dyn PeerConnection, count: u32) {
    for _ in 0..count {
        let receives = init(RTCRtpTransceiverDirection::Recvonly);
        connection.add_transceiver_from_kind(RtpCodecKind::Audio, Some(receives)).await.expect("a section");
    }
}

/// An offer, without candidates: the server finds out where checks come from.
async fn offer(connection: &dyn PeerConnection, id: u32) -> proto::SessionDescription {
    let offer = connection.create_offer(None).await.expect("an offer");
    connection.set_local_description(offer.clone()).await.expect("an offer of its own");
    description("offer", offer.sdp, id)
}

/// The crate connects to TCP candidates that it is told one by one, but not to those of a description.
async fn connect_tcp(connection: &dyn PeerConnection, sdp: &str) -> Result<()> {
    let candidates: BTreeSet<&str> = sdp.lines().filter(|line| line.starts_with("a=candidate:")).collect();
    for line in candidates.into_iter().filter(|line| line.ends_with(" tcptype passive")) {
        let candidate = line.trim_start_matches("a=").to_owned();
        connection.add_ice_candidate(RTCIceCandidateInit { candidate, ..Default::default() }).await?;
    }
    Ok(())
}

/// The first value of an attribute in a description.
fn attribute(sdp: &str, name: &str) -> Option<String> {
    let value = |line: &str| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':').map(str::to_owned);
    sdp.lines().find_map(value)
}

fn description(kind: &str, sdp: String, id: u32) -> proto::SessionDescription {
    proto::SessionDescription { r#type: kind.into(), sdp, id, ..Default::default() }
}
