//! A participant: signalling and a peer connection, in one task.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use calls_client::peer::{Change, Mid, Peer, PeerEvent, Reach};
use calls_client::signal::Signal;

/// Between two frames of audio, as browsers send them.
pub const FRAME_INTERVAL: Duration = Duration::from_millis(20);
/// Bytes of a frame: a voice at 32 kbit/s.
const FRAME_BYTES: usize = 80;
/// Observations that may wait; a scenario reads them all the time.
const OBSERVATIONS: usize = 64 * 1024;
/// For the server to have heard that a client leaves.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);

/// How a client takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Sends a voice and hears the others.
    Speaker,
    /// Hears the others.
    Listener,
}

/// Whose voice it is: the call's number and the person's in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Voice {
    pub call: u32,
    pub person: u32,
}

/// How a client joins.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Where signalling is: `ws://host:port`.
    pub url: String,
    pub token: String,
    pub part: Part,
    /// Who it is, in each of its frames.
    pub voice: Voice,
    /// Between two frames of its voice.
    pub pace: Duration,
    /// The address its media is sent from.
    pub from: Ipv4Addr,
    /// The zero of the time stamps in frames, the same for all clients.
    pub origin: Instant,
}

/// What a client saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// Media transport up, this long after it began to join.
    Connected(Duration),
    /// First frame of anybody, this long after it began to join.
    FirstFrame(Duration),
    /// A frame of somebody, this long after they wrote it.
    Frame { from: Voice, delay: Duration },
}

/// A client in a call. Vanishes without a word when dropped.
#[derive(Debug)]
pub struct Client {
    pub observations: mpsc::Receiver<Observation>,
    leave: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<()>>,
}

impl Client {
    /// Joins in the background.
    pub fn join(wish: Wish) -> Self {
        let (sender, observations) = mpsc::channel(OBSERVATIONS);
        let (leave, leaving) = oneshot::channel();
        let task = tokio::spawn(async move { Running::join(wish, sender).await?.run(leaving).await });
        Self { observations, leave: Some(leave), task }
    }

    /// Tells the server that it leaves, and ends.
    pub async fn leave(mut self) {
        if let Some(leave) = self.leave.take() {
            let _ = leave.send(());
            let _ = timeout(LEAVE_LIMIT, &mut self.task).await;
        }
    }

    /// The next observation.
    pub async fn next(&mut self) -> Result<Observation> {
        match self.observations.recv().await {
            Some(observation) => Ok(observation),
            None => match (&mut self.task).await {
                Ok(Ok(())) => bail!("the client ended"),
                Ok(Err(error)) => Err(error.context("the client ended")),
                Err(error) => Err(error.into()),
            },
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Running {
    signal: Signal,
    peer: Peer,
    /// Where it speaks, if it does.
    microphone: Option<Mid>,
    began: Instant,
    voice: Voice,
    pace: Duration,
    origin: Instant,
    observations: mpsc::Sender<Observation>,
    offer_id: u32,
    connected: bool,
    heard: bool,
    /// Sections the server asked for while an offer was on its way.
    wanted: Option<u32>,
    awaiting_answer: bool,
}

impl Running {
    async fn join(wish: Wish, observations: mpsc::Sender<Observation>) -> Result<Self> {
        let began = Instant::now();
        let mut peer = Peer::new(Reach::Udp(wish.from)).await?;
        let cid = "bench-microphone";
        let speaks = wish.part == Part::Speaker;
        let change = Change { send: speaks.then_some(cid).into_iter().collect(), receive: 3, ..Change::default() };
        let (offer, sent) = peer.offer(&change)?;
        let add_track_requests = speaks.then(|| proto::AddTrackRequest {
            cid: cid.into(),
            r#type: proto::TrackType::Audio as i32,
            source: proto::TrackSource::Microphone as i32,
            ..proto::AddTrackRequest::default()
        });
        let request = proto::JoinRequest {
            connection_settings: Some(proto::ConnectionSettings { auto_subscribe: true, ..Default::default() }),
            add_track_requests: add_track_requests.into_iter().collect(),
            publisher_offer: Some(description(offer, 1)),
            ..proto::JoinRequest::default()
        };
        let signal = Signal::join(&wish.url, &wish.token, request).await?;
        Ok(Self {
            signal,
            peer,
            microphone: sent.first().copied(),
            began,
            voice: wish.voice,
            pace: wish.pace,
            origin: wish.origin,
            observations,
            offer_id: 1,
            connected: false,
            heard: false,
            wanted: None,
            awaiting_answer: true,
        })
    }

    async fn run(mut self, mut leaving: oneshot::Receiver<()>) -> Result<()> {
        let mut frame = interval(self.pace);
        frame.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                message = self.signal.receive() => self.message(message?).await?,
                event = self.peer.next() => self.event(event?)?,
                _ = frame.tick(), if self.connected => {
                    if let Some(mid) = self.microphone {
                        self.peer.send(mid, self.began.elapsed(), stamped(self.origin, self.voice))?;
                    }
                }
                _ = &mut leaving => return self.signal.send(Request::Leave(proto::LeaveRequest::default())).await,
            }
        }
    }

    async fn message(&mut self, message: Response) -> Result<()> {
        match message {
            Response::Answer(answer) if answer.id == self.offer_id => {
                self.awaiting_answer = false;
                self.peer.accept(&answer.sdp)?;
            }
            Response::MediaSectionsRequirement(wanted) => {
                self.wanted = Some(self.wanted.unwrap_or_default() + wanted.num_audios);
            }
            Response::Leave(leave) => bail!("the server sent leave, reason {}", leave.reason),
            _ => (),
        }
        if !self.awaiting_answer
            && let Some(n_audios) = self.wanted.take()
        {
            self.offer_id += 1;
            self.awaiting_answer = true;
            let (offer, _) = self.peer.offer(&Change { receive: n_audios, ..Change::default() })?;
            self.signal.send(Request::Offer(description(offer, self.offer_id))).await?;
        }
        Ok(())
    }

    fn event(&mut self, event: PeerEvent) -> Result<()> {
        match event {
            PeerEvent::Connected => {
                self.connected = true;
                self.observe(Observation::Connected(self.began.elapsed()));
            }
            PeerEvent::Frame(_, frame) => {
                if !self.heard {
                    self.heard = true;
                    self.observe(Observation::FirstFrame(self.began.elapsed()));
                }
                if let Ok((from, delay)) = read(&frame, self.origin) {
                    self.observe(Observation::Frame { from, delay });
                }
            }
            PeerEvent::Disconnected => bail!("media was lost"),
            PeerEvent::ChannelOpen(_) | PeerEvent::Message(..) => (),
        }
        Ok(())
    }

    /// A scenario that does not read loses observations, not the client its call.
    fn observe(&self, observation: Observation) {
        let _ = self.observations.try_send(observation);
    }
}

fn description(sdp: String, id: u32) -> proto::SessionDescription {
    proto::SessionDescription { r#type: "offer".into(), sdp, id, ..proto::SessionDescription::default() }
}

/// A frame that says when it was written and by whom.
fn stamped(origin: Instant, voice: Voice) -> Vec<u8> {
    let mut frame = vec![0; FRAME_BYTES];
    // A valid Opus table-of-contents byte: CELT, 20 ms, mono, one frame (RFC 6716, section 3.1).
    frame[0] = 0xf8;
    let micros = u64::try_from(origin.elapsed().as_micros()).unwrap_or(u64::MAX);
    frame[1..9].copy_from_slice(&micros.to_be_bytes());
    frame[9..13].copy_from_slice(&voice.call.to_be_bytes());
    frame[13..17].copy_from_slice(&voice.person.to_be_bytes());
    frame
}

/// Who wrote a frame, and how long ago.
fn read(frame: &[u8], origin: Instant) -> Result<(Voice, Duration)> {
    let (_, content) = frame.split_at_checked(1).context("an empty frame")?;
    let (stamp, content) = content.split_first_chunk().context("a frame of somebody else")?;
    let (call, content) = content.split_first_chunk().context("a frame of somebody else")?;
    let (person, _) = content.split_first_chunk().context("a frame of somebody else")?;
    let voice = Voice { call: u32::from_be_bytes(*call), person: u32::from_be_bytes(*person) };
    Ok((voice, origin.elapsed().saturating_sub(Duration::from_micros(u64::from_be_bytes(*stamp)))))
}
