//! The background task of a client: its websocket and its peer connections.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use calls_client::peer::{Change, Mid, Peer, PeerEvent};
use calls_client::signal::{Frames, Signal, join_path};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::Message;

use super::person::Shared;
use super::seen::{Payloads, frame};
use super::{Join, Mode};

/// Between two frames of audio.
const FRAME_INTERVAL: Duration = Duration::from_millis(20);
/// Audio tracks a client can receive from the beginning, as browsers do.
const FIRST_SECTIONS: u32 = 3;

#[derive(Debug)]
pub enum Command {
    Signal(Box<Request>),
    Frame(Message),
    Publish(String),
    Unpublish(String),
    Data(String, Vec<u8>),
    Cut,
    Resume(Option<String>),
    RestartIce,
    LoseMedia,
    /// Datagrams to send as they are, where its media goes.
    Datagrams(Vec<Vec<u8>>),
    Recorded(oneshot::Sender<Vec<Vec<u8>>>),
}

#[derive(Debug)]
pub struct Running {
    url: String,
    token: String,
    from: Ipv4Addr,
    frames: Frames,
    protocol: i32,
    shared: Arc<Shared>,
    signal: Option<Signal>,
    mode: Mode,
    sid: String,
    /// The connection on which it offers.
    publisher: Option<Peer>,
    /// The connection on which the server offers.
    subscriber: Option<Peer>,
    subscriber_primary: bool,
    publisher_connected: bool,
    began: Instant,
    /// What it sends: m-line and number of frames so far.
    voices: BTreeMap<String, (Mid, u64)>,
    offer_id: u32,
    awaiting_answer: bool,
    /// What the next offer is to change.
    due: Due,
}

/// An offer waits for the answer to the one before.
#[derive(Debug, Default)]
struct Due {
    offer: bool,
    send: Vec<String>,
    stop: Vec<Mid>,
    receive: u32,
    restart_ice: bool,
}

impl Running {
    pub async fn join(url: String, token: String, join: Join, shared: Arc<Shared>) -> Result<Self> {
        let mut publisher = Peer::new(join.reach).await?;
        if join.recorded {
            publisher.record();
        }
        if join.keeps_frames {
            shared.update(|seen| seen.kept = Some(Payloads::default()));
        }
        let voice = join.speaks.then(|| format!("{}-voice", join.identity));
        let mut voices = BTreeMap::new();
        let (path, subscriber) = match join.mode {
            Mode::Single => {
                let change = Change {
                    send: voice.as_deref().into_iter().collect(),
                    receive: FIRST_SECTIONS,
                    channels: true,
                    ..Change::default()
                };
                let (offer, sent) = publisher.offer(&change)?;
                shared.update(|seen| seen.descriptions.push(offer.clone()));
                voices.extend(voice.iter().cloned().zip(sent.into_iter().map(|mid| (mid, 0))));
                let request = proto::JoinRequest {
                    connection_settings: Some(proto::ConnectionSettings {
                        auto_subscribe: join.auto_subscribe,
                        ..Default::default()
                    }),
                    add_track_requests: voice.iter().map(|cid| announcement(cid)).collect(),
                    publisher_offer: Some(description("offer", offer, 1)),
                    ..Default::default()
                };
                (join_path(&token, join.protocol, request), None)
            }
            Mode::Dual => {
                let (protocol, subscribe) = (join.protocol, u8::from(join.auto_subscribe));
                let path = format!("/rtc?access_token={token}&sdk=go&protocol={protocol}&auto_subscribe={subscribe}");
                (path, Some(Peer::new(join.reach).await?))
            }
        };
        let mut signal = Signal::open(join.from, &format!("{url}{path}")).await?;
        signal.write_in(join.frames);
        let first = signal.receive().await?;
        let Response::Join(response) = &first else { bail!("the first message is {first:?}") };
        let sid = response.participant.as_ref().context("no participant")?.sid.clone();
        let subscriber_primary = response.subscriber_primary;
        shared.update(|seen| seen.take_in(&first, signal.received_in()));
        let mut running = Self {
            url,
            token,
            from: join.from,
            frames: join.frames,
            protocol: join.protocol,
            shared,
            signal: Some(signal),
            mode: join.mode,
            sid,
            publisher: Some(publisher),
            subscriber,
            subscriber_primary,
            publisher_connected: false,
            began: Instant::now(),
            voices,
            offer_id: 1,
            awaiting_answer: true,
            due: Due::default(),
        };
        if join.mode == Mode::Dual {
            running.offer_to_publish(voice).await?;
        }
        Ok(running)
    }

    /// The first offer of a client with two connections.
    async fn offer_to_publish(&mut self, voice: Option<String>) -> Result<()> {
        let Some(peer) = &mut self.publisher else { return Ok(()) };
        let change = Change { send: voice.as_deref().into_iter().collect(), channels: true, ..Change::default() };
        let (offer, sent) = peer.offer(&change)?;
        if let Some(cid) = voice {
            self.send(Request::AddTrack(announcement(&cid))).await;
            self.voices.extend(sent.into_iter().map(|mid| (cid.clone(), (mid, 0))));
        }
        self.send(Request::Offer(description("offer", offer, 1))).await;
        Ok(())
    }

    pub async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut tick = interval(FRAME_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return,
                },
                message = receive(&mut self.signal) => {
                    if let Ok((message, frames)) = message {
                        self.message(message, frames).await;
                    } else {
                        self.signal = None;
                        self.shared.update(|seen| seen.hung_up = true);
                    }
                }
                event = next(&mut self.publisher) => match event {
                    Ok(event) => self.event(event, false),
                    Err(error) => {
                        self.publisher = None;
                        self.fail(&error);
                    }
                },
                event = next(&mut self.subscriber) => match event {
                    Ok(event) => self.event(event, true),
                    Err(error) => {
                        self.subscriber = None;
                        self.fail(&error);
                    }
                },
                _ = tick.tick() => self.speak(),
            }
        }
    }

    fn fail(&self, error: &anyhow::Error) {
        self.shared.update(|seen| seen.failure = Some(format!("{error:#}")));
    }

    /// A message to a server that hung up is lost.
    async fn send(&mut self, request: Request) {
        if let Request::Offer(description) | Request::Answer(description) = &request {
            self.shared.update(|seen| seen.descriptions.push(description.sdp.clone()));
        }
        if let Some(signal) = &mut self.signal {
            let _ = signal.send(request).await;
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Signal(request) => self.send(*request).await,
            Command::Frame(frame) => {
                if let Some(signal) = &mut self.signal {
                    let _ = signal.send_raw(frame).await;
                }
            }
            Command::Publish(cid) => {
                self.send(Request::AddTrack(announcement(&cid))).await;
                self.due.offer = true;
                self.due.send.push(cid);
                self.offer_if_due().await;
            }
            Command::Unpublish(cid) => {
                if let Some((mid, _)) = self.voices.remove(&cid) {
                    self.due.offer = true;
                    self.due.stop.push(mid);
                    self.offer_if_due().await;
                }
            }
            Command::RestartIce => {
                self.due.offer = true;
                self.due.restart_ice = true;
                self.offer_if_due().await;
            }
            Command::Data(label, message) => {
                if let Some(peer) = &mut self.publisher
                    && let Err(error) = peer.send_message(&label, &message)
                {
                    self.fail(&error);
                }
            }
            Command::Cut => {
                if let Some(signal) = self.signal.take() {
                    signal.cut();
                }
            }
            Command::Resume(sid) => {
                if let Err(error) = self.resume(sid).await {
                    self.fail(&error);
                }
            }
            Command::LoseMedia => (self.publisher, self.subscriber) = (None, None),
            Command::Datagrams(datagrams) => {
                if let Some(peer) = &self.publisher {
                    for datagram in &datagrams {
                        peer.send_datagram(datagram);
                    }
                }
            }
            Command::Recorded(reply) => {
                let _ = reply.send(self.publisher.as_mut().map(Peer::recorded).unwrap_or_default());
            }
        }
    }

    async fn resume(&mut self, sid: Option<String>) -> Result<()> {
        let sid = sid.unwrap_or_else(|| self.sid.clone());
        let path = match self.mode {
            Mode::Single => {
                let request = proto::JoinRequest { reconnect: true, participant_sid: sid, ..Default::default() };
                join_path(&self.token, self.protocol, request)
            }
            Mode::Dual => {
                let (token, protocol) = (&self.token, self.protocol);
                format!("/rtc?access_token={token}&sdk=go&protocol={protocol}&reconnect=1&sid={sid}")
            }
        };
        let mut signal = Signal::open(self.from, &format!("{}{path}", self.url)).await?;
        signal.write_in(self.frames);
        self.signal = Some(signal);
        // An answer that was on its way is lost.
        self.awaiting_answer = false;
        self.shared.update(|seen| seen.hung_up = false);
        Ok(())
    }

    async fn message(&mut self, message: Response, frames: Frames) {
        self.shared.update(|seen| seen.take_in(&message, frames));
        let done = match message {
            Response::Answer(answer) if answer.id == self.offer_id => {
                self.awaiting_answer = false;
                match &mut self.publisher {
                    Some(peer) => peer.accept(&answer.sdp),
                    None => Ok(()),
                }
            }
            Response::Offer(offer) => self.answer(&offer).await,
            Response::MediaSectionsRequirement(wanted) => {
                self.due.offer = true;
                self.due.receive += wanted.num_audios;
                Ok(())
            }
            Response::RefreshToken(token) => {
                self.token = token;
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(error) = done {
            self.fail(&error);
        }
        self.offer_if_due().await;
    }

    async fn answer(&mut self, offer: &proto::SessionDescription) -> Result<()> {
        let Some(peer) = &mut self.subscriber else { return Ok(()) };
        let answer = peer.answer(&offer.sdp)?;
        self.send(Request::Answer(description("answer", answer, offer.id))).await;
        Ok(())
    }

    async fn offer_if_due(&mut self) {
        if self.awaiting_answer || !self.due.offer || self.signal.is_none() {
            return;
        }
        let Some(peer) = &mut self.publisher else { return };
        let due = std::mem::take(&mut self.due);
        let change = Change {
            send: due.send.iter().map(String::as_str).collect(),
            stop: due.stop,
            receive: due.receive,
            channels: false,
            restart_ice: due.restart_ice,
        };
        match peer.offer(&change) {
            Ok((offer, sent)) => {
                self.voices.extend(due.send.into_iter().zip(sent.into_iter().map(|mid| (mid, 0))));
                self.offer_id += 1;
                self.awaiting_answer = true;
                self.send(Request::Offer(description("offer", offer, self.offer_id))).await;
            }
            Err(error) => self.fail(&error),
        }
    }

    fn event(&mut self, event: PeerEvent, of_subscriber: bool) {
        let primary = of_subscriber == self.subscriber_primary;
        self.publisher_connected |= !of_subscriber && matches!(event, PeerEvent::Connected);
        self.shared.update(|seen| match event {
            PeerEvent::Connected => seen.connected |= primary,
            PeerEvent::Disconnected => seen.connected &= !primary,
            PeerEvent::Frame(mid, frame) => seen.hear(&mid.to_string(), &frame),
            PeerEvent::ChannelOpen(label) if !of_subscriber => seen.channels.push(label),
            PeerEvent::ChannelOpen(_) => (),
            PeerEvent::Message(label, message) => {
                if let Ok(packet) = proto::DataPacket::decode(message.as_slice()) {
                    seen.data.push((label, packet));
                }
            }
        });
    }

    /// The next frame of every track it sends. One that is not negotiated yet is not counted.
    fn speak(&mut self) {
        let Some(peer) = self.publisher.as_mut().filter(|_| self.publisher_connected) else { return };
        for (cid, (mid, frames)) in &mut self.voices {
            if peer.send(*mid, self.began.elapsed(), frame(cid, *frames)).is_ok() {
                *frames += 1;
            }
        }
    }
}

/// The next message of a websocket that is there, and how it is said.
async fn receive(signal: &mut Option<Signal>) -> Result<(Response, Frames)> {
    match signal {
        Some(signal) => Ok((signal.receive().await?, signal.received_in())),
        None => std::future::pending().await,
    }
}

/// The next event of a connection that is there.
async fn next(peer: &mut Option<Peer>) -> Result<PeerEvent> {
    match peer {
        Some(peer) => peer.next().await,
        None => std::future::pending().await,
    }
}

fn announcement(cid: &str) -> proto::AddTrackRequest {
    proto::AddTrackRequest {
        cid: cid.to_owned(),
        name: cid.to_owned(),
        r#type: proto::TrackType::Audio as i32,
        source: proto::TrackSource::Microphone as i32,
        ..Default::default()
    }
}

fn description(kind: &str, sdp: String, id: u32) -> proto::SessionDescription {
    proto::SessionDescription { r#type: kind.into(), sdp, id, ..Default::default() }
}
