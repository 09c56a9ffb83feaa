//! Signalling of one client: LiveKit's websocket with one peer connection, kept up as livekit-client does.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use sfu_core::transport::dtls::DtlsIdentity;
use sfu_core::transport::ice::IceCredentials;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

use super::client::{Milestones, NewClient, Publication};
use super::ice::IceAgent;
use super::offer::{Offer, parse_candidate};
use super::scenario::{Layer, Source};
use super::sink::Sink;
use super::thread::{ClientId, MediaThread};
use super::transport::TransportPlan;
use calls_client::signal::{ApiKey, Signal};

/// How long a server may take to answer, and to let media flow. Ten times what a busy machine needs.
const LIMIT: Duration = Duration::from_mins(1);
/// When the server does not say how often it wants to be pinged.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// SSRCs of clients begin here; a client's is this and its number.
const FIRST_SSRC: u32 = 10_000;

/// A server and how to get into it.
#[derive(Debug, Clone)]
pub struct Entrance {
    /// `ws://host:port`.
    pub url: String,
    pub key: ApiKey,
}

/// Who joins.
#[derive(Debug, Clone)]
pub struct Newcomer {
    pub room: String,
    pub identity: String,
    /// Another one for each client.
    pub number: u32,
    pub publishes: Option<Source>,
    /// Streams it is to receive.
    pub hears: usize,
    /// It decrypts what it receives.
    pub opens: bool,
}

/// A client in a call. Leaves when dropped.
#[derive(Debug)]
pub struct Joined {
    /// Answered when every stream it is to receive has begun.
    pub complete: oneshot::Receiver<()>,
    leave: Option<oneshot::Sender<()>>,
    signalling: JoinHandle<Result<()>>,
}

impl Joined {
    /// Tells the server that it leaves, and ends.
    ///
    /// # Errors
    /// Why it was no longer in the call.
    pub async fn leave(mut self) -> Result<()> {
        if let Some(leave) = self.leave.take() {
            // Its end is awaited below.
            let _ = leave.send(());
        }
        match timeout(LIMIT, &mut self.signalling).await {
            Ok(ended) => ended?,
            Err(_) => bail!("the server does not take a farewell within {} s", LIMIT.as_secs()),
        }
    }

    /// Why it is no longer in the call, if so.
    pub async fn ended(&mut self) -> Option<anyhow::Error> {
        if !self.signalling.is_finished() {
            return None;
        }
        match (&mut self.signalling).await {
            Ok(Ok(())) => Some(anyhow::anyhow!("the signalling ended")),
            Ok(Err(error)) => Some(error),
            Err(error) => Some(error.into()),
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.signalling.abort();
    }
}

/// Joins; returns when media can flow.
///
/// # Errors
/// With who it was and which step failed.
pub async fn join(
    entrance: &Entrance,
    newcomer: &Newcomer,
    identity: &DtlsIdentity,
    thread: &Arc<MediaThread>,
) -> Result<Joined> {
    let joining = async {
        let (joined, connected) = enter(entrance, newcomer, identity, thread).await?;
        connected.await.context("the media thread ended")?.context("the server let it in, but media cannot flow")?;
        Ok(joined)
    };
    let joined = timeout(LIMIT, joining).await.unwrap_or_else(|_| {
        bail!("no media after {} s: is UDP on loopback blocked, or the server overloaded?", LIMIT.as_secs())
    });
    joined.with_context(|| format!("{} could not join {}", newcomer.identity, newcomer.room))
}

type Connected = oneshot::Receiver<Result<(), super::transport::Closed>>;

async fn enter(
    entrance: &Entrance,
    newcomer: &Newcomer,
    identity: &DtlsIdentity,
    thread: &Arc<MediaThread>,
) -> Result<(Joined, Connected)> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no socket for a client: see `ulimit -n`")?;
    let credentials = IceCredentials::generate(0)?;
    let ssrc = FIRST_SSRC + newcomer.number;
    let published = newcomer.publishes.map(|source| (source, ssrc));
    let mut offer = Offer::new(credentials.clone(), identity.fingerprint(), socket.local_addr()?, published);
    let request = proto::JoinRequest {
        connection_settings: Some(proto::ConnectionSettings { auto_subscribe: true, ..Default::default() }),
        add_track_requests: newcomer.publishes.map(add_track).into_iter().collect(),
        publisher_offer: Some(description(offer.write(), 1)),
        ..proto::JoinRequest::default()
    };
    let token = entrance.key.token(&newcomer.room, &newcomer.identity)?;
    let mut signal = Signal::join(&entrance.url, &token, request).await?;

    let mut state = Negotiation { id: 1, awaiting_answer: true, wanted: None };
    let mut ping_interval = PING_INTERVAL;
    let mut candidates = Vec::new();
    let answer = loop {
        match signal.receive().await? {
            Response::Join(join) if join.ping_interval > 0 => {
                ping_interval = Duration::from_secs(join.ping_interval.unsigned_abs().into());
            }
            Response::Trickle(trickle) => candidates.extend(trickled(&trickle)),
            Response::MediaSectionsRequirement(wanted) => state.want(wanted),
            Response::Leave(leave) => bail!("the server sent it away, reason {}", leave.reason),
            Response::Answer(answer) => break answer,
            _ => (),
        }
    };
    state.awaiting_answer = false;
    let answer = offer.accept(&answer.sdp)?;
    let now = thread.now();
    let mut ice = IceAgent::new(credentials, answer.remote, u64::from(newcomer.number) << 32 | u64::from(ssrc));
    for candidate in answer.candidates.into_iter().chain(candidates) {
        ice.add_remote(now, candidate);
    }
    let (role, identity, fingerprint) = (answer.role, identity.clone(), answer.fingerprint);
    let (connected, when_connected) = oneshot::channel();
    let (complete, when_complete) = oneshot::channel();
    let id = thread.add(NewClient {
        socket,
        transport: Some(TransportPlan { ice, role, identity, fingerprint }),
        publishes: newcomer.publishes.map(|source| Publication { source, ssrc, ids: answer.sent }),
        sink: Sink::new(newcomer.opens, answer.transport_cc),
        hears: newcomer.hears,
        milestones: Some(Milestones { connected, complete }),
    })?;
    let (leave, leaving) = oneshot::channel();
    let signalling = Signalling { signal, offer, state, ping_interval, thread: Arc::clone(thread), id };
    let signalling = tokio::spawn(signalling.run(leaving));
    let joined = Joined { complete: when_complete, leave: Some(leave), signalling };
    Ok((joined, when_connected))
}

/// Where offers and answers stand.
#[derive(Debug)]
struct Negotiation {
    id: u32,
    awaiting_answer: bool,
    /// M-lines the server asked for while an offer was on its way.
    wanted: Option<(u32, u32)>,
}

impl Negotiation {
    fn want(&mut self, wanted: proto::MediaSectionsRequirement) {
        let (n_audios, n_videos) = self.wanted.unwrap_or_default();
        self.wanted = Some((n_audios + wanted.num_audios, n_videos + wanted.num_videos));
    }
}

/// What goes on after the join.
struct Signalling {
    signal: Signal,
    offer: Offer,
    state: Negotiation,
    ping_interval: Duration,
    thread: Arc<MediaThread>,
    id: ClientId,
}

impl Signalling {
    /// Until it is told to leave, or nobody is left to tell it.
    async fn run(mut self, mut leaving: oneshot::Receiver<()>) -> Result<()> {
        let mut ping = interval(self.ping_interval);
        loop {
            if !self.state.awaiting_answer
                && let Some((n_audios, n_videos)) = self.state.wanted.take()
            {
                self.offer.receive(n_audios, n_videos);
                self.state.id += 1;
                self.state.awaiting_answer = true;
                self.signal.send(Request::Offer(description(self.offer.write(), self.state.id))).await?;
            }
            tokio::select! {
                message = self.signal.receive() => self.handle(message?)?,
                _ = ping.tick() => self.ping().await?,
                told = &mut leaving => return if told.is_ok() { self.leave().await } else { Ok(()) },
            }
        }
    }

    async fn leave(mut self) -> Result<()> {
        let leave = proto::LeaveRequest {
            reason: proto::DisconnectReason::ClientInitiated as i32,
            ..proto::LeaveRequest::default()
        };
        self.signal.send(Request::Leave(leave)).await?;
        self.thread.remove(self.id)
    }

    fn handle(&mut self, message: Response) -> Result<()> {
        match message {
            // The transport stays as it is, and what is received is told apart by its packets.
            Response::Answer(answer) if answer.id == self.state.id => self.state.awaiting_answer = false,
            Response::MediaSectionsRequirement(wanted) => self.state.want(wanted),
            Response::Trickle(trickle) => {
                if let Some(candidate) = trickled(&trickle) {
                    self.thread.add_candidate(self.id, candidate)?;
                }
            }
            Response::Leave(leave) => bail!("the server sent it away, reason {}", leave.reason),
            _ => (),
        }
        Ok(())
    }

    /// Both forms, as livekit-client sends them.
    async fn ping(&mut self) -> Result<()> {
        let timestamp = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        self.signal.send(Request::Ping(timestamp)).await?;
        self.signal.send(Request::PingReq(proto::Ping { timestamp, rtt: 0 })).await
    }
}

fn description(sdp: String, id: u32) -> proto::SessionDescription {
    proto::SessionDescription { r#type: "offer".into(), sdp, id, ..proto::SessionDescription::default() }
}

fn add_track(source: Source) -> proto::AddTrackRequest {
    let common = proto::AddTrackRequest { cid: Offer::cid(source).into(), ..proto::AddTrackRequest::default() };
    match source {
        Source::Voice => proto::AddTrackRequest {
            r#type: proto::TrackType::Audio as i32,
            source: proto::TrackSource::Microphone as i32,
            ..common
        },
        Source::Screen => proto::AddTrackRequest {
            r#type: proto::TrackType::Video as i32,
            source: proto::TrackSource::ScreenShare as i32,
            layers: vec![video_layer(source, source.largest(), proto::VideoQuality::High)],
            ..with_size(common, source)
        },
        Source::Camera => {
            let qualities = [proto::VideoQuality::Low, proto::VideoQuality::Medium, proto::VideoQuality::High];
            let layers = source.layers().iter().zip(qualities);
            proto::AddTrackRequest {
                r#type: proto::TrackType::Video as i32,
                source: proto::TrackSource::Camera as i32,
                layers: layers.map(|(layer, quality)| video_layer(source, *layer, quality)).collect(),
                ..with_size(common, source)
            }
        }
    }
}

fn with_size(request: proto::AddTrackRequest, source: Source) -> proto::AddTrackRequest {
    let Layer { width, height, .. } = source.largest();
    proto::AddTrackRequest { width, height, ..request }
}

fn video_layer(source: Source, layer: Layer, quality: proto::VideoQuality) -> proto::VideoLayer {
    let Layer { rid, width, height, packets, payload_bytes } = layer;
    let bits = (packets * payload_bytes * 8) as f64 / source.interval().as_secs_f64();
    let (quality, bitrate, rid) = (quality as i32, bits as u32, rid.unwrap_or_default().to_owned());
    proto::VideoLayer { quality, width, height, bitrate, rid, ..proto::VideoLayer::default() }
}

/// The address in a trickled candidate, if we can use it.
fn trickled(trickle: &proto::TrickleRequest) -> Option<std::net::SocketAddr> {
    let init: serde_json::Value = serde_json::from_str(&trickle.candidate_init).ok()?;
    parse_candidate(init.get("candidate")?.as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickled_candidate_is_read() {
        let trickle = |candidate_init: &str| {
            trickled(&proto::TrickleRequest { candidate_init: candidate_init.into(), ..Default::default() })
        };
        let init = r#"{"candidate":"candidate:1 1 udp 2130706431 127.0.0.1 7882 typ host","sdpMid":"0"}"#;
        assert_eq!(trickle(init), Some("127.0.0.1:7882".parse().unwrap()));
        assert_eq!(trickle(r#"{"candidate":""}"#), None);
        assert_eq!(trickle("{"), None);
    }

    #[test]
    fn what_the_server_wants_adds_up() {
        let mut state = Negotiation { id: 1, awaiting_answer: true, wanted: None };
        state.want(proto::MediaSectionsRequirement { num_audios: 2, num_videos: 0 });
        state.want(proto::MediaSectionsRequirement { num_audios: 1, num_videos: 1 });
        assert_eq!(state.wanted, Some((3, 1)));
    }
}
