//! The control thread's loop: one message or one tick at a time.

mod contain;
mod leaving;
mod recordings;

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use fleet::api::{SfuLoad, SfuStatus};
use fleet::config::SfuConfig;
use livekit_protocol as proto;
use livekit_protocol::leave_request::Action;
use livekit_protocol::signal_request::Message as SignalMessage;
use livekit_protocol::signal_response::Message as Response;
use sfu_core::call::{Identity, ParticipantId};
use sfu_core::engine::Panics;
use sfu_core::engine::command::Command;
use sfu_core::engine::event::Event;
use sfu_core::time::Time;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use self::contain::Suspect;
use super::drain::Drain;
use super::live_call::LiveCall;
use super::registry::Registry;
use super::spread::Spread;
use super::status::StatusKeeper;
use super::{Attachment, Context, ControlHandle, JoinOutcome, JoinRefused, Joined, REQUESTS, Request};
use crate::fleet_api::RunningCalls;
use crate::livekit::join::Join;
use crate::livekit::session::Responses;
use crate::program::EndsTheProcess;
use crate::recordings::{Book, Recorders};
use crate::turned_away::TurnedAway;
use crate::worker::{WorkerEvent, WorkerReport};

/// Resolution of all timers of transports: DTLS and SCTP retransmissions start at 50 ms and more.
const TICK: Duration = Duration::from_millis(20);
/// Calls are looked at this often: what people are told regularly takes its time.
const CALLS_INTERVAL: Duration = Duration::from_millis(100);
/// Messages handled between two looks at the other queues.
const BURST: usize = 128;

/// What the control thread is made of.
#[derive(Debug)]
pub struct Parts {
    pub context: Context,
    pub config: watch::Receiver<SfuConfig>,
    pub worker_events: mpsc::Receiver<WorkerEvent>,
    pub running: Arc<RunningCalls>,
    pub status: watch::Sender<SfuStatus>,
    /// Most people of one call on one media thread, while others have fewer.
    pub people_per_worker: usize,
    /// `None` where nobody records.
    pub recorders: Option<Recorders>,
}

/// Starts the thread. It ends when every handle is gone.
pub fn start(parts: Parts) -> io::Result<ControlHandle> {
    let (sender, requests) = mpsc::channel(REQUESTS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    thread::Builder::new().name("control".into()).spawn(move || {
        let _ends = EndsTheProcess("control thread");
        runtime.block_on(Control::new(parts).run(requests));
    })?;
    Ok(ControlHandle { requests: sender })
}

#[derive(Debug)]
struct Control {
    context: Context,
    config: watch::Receiver<SfuConfig>,
    worker_events: mpsc::Receiver<WorkerEvent>,
    running: Arc<RunningCalls>,
    status: StatusKeeper,
    spread: Spread,
    calls: BTreeMap<String, LiveCall>,
    registry: Registry,
    epochs: u64,
    /// Set while it leaves.
    drain: Option<Drain>,
    turned_away: TurnedAway,
    panics: Panics,
    recorders: Option<Recorders>,
    book: Book,
    /// How running recordings are told to end.
    stops: BTreeMap<String, oneshot::Sender<()>>,
    /// When time passed for transports last, and when it passes for calls next.
    ticked: Time,
    next_calls: Time,
}

impl Control {
    fn new(parts: Parts) -> Self {
        let Parts { context, config, worker_events, running, status, people_per_worker, recorders } = parts;
        let limit = recorders.as_ref().map_or(Duration::ZERO, |recorders| recorders.limit);
        let spread = Spread::new(context.workers.len(), people_per_worker);
        let mut control = Self {
            context,
            config,
            worker_events,
            running,
            status: StatusKeeper::new(status),
            spread,
            calls: BTreeMap::new(),
            registry: Registry::default(),
            epochs: 0,
            drain: None,
            turned_away: TurnedAway::default(),
            panics: Panics::default(),
            recorders,
            book: Book::new(limit),
            stops: BTreeMap::new(),
            ticked: Time::ZERO,
            next_calls: Time::ZERO,
        };
        control.configure();
        control
    }

    /// Tells the workers what of the configuration is theirs.
    fn configure(&mut self) {
        let voices = NonZeroU16::new(self.config.borrow_and_update().media.max_active_speakers);
        for worker in 0..self.context.workers.len() {
            self.context.command(worker, Command::LimitHeard { voices });
        }
    }

    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut advertised = self.context.advertised.clone();
        let mut inbox = Vec::with_capacity(BURST);
        let mut events = Vec::with_capacity(BURST);
        loop {
            let next_tick = self.next_tick();
            let wait = next_tick.map_or(Duration::MAX, |at| self.context.clock.until(at));
            tokio::select! {
                n = self.worker_events.recv_many(&mut events, BURST) => {
                    if n == 0 {
                        return;
                    }
                    for event in events.drain(..) {
                        self.worker_event(event);
                    }
                }
                n = requests.recv_many(&mut inbox, BURST) => {
                    if n == 0 {
                        return;
                    }
                    for request in inbox.drain(..) {
                        self.request(request);
                    }
                }
                changed = advertised.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let candidates = super::context::candidates(&advertised.borrow_and_update().candidates);
                    for call in self.calls.values_mut() {
                        call.trickle(&candidates);
                    }
                }
                changed = self.config.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.configure();
                }
                () = sleep(wait), if next_tick.is_some() => {}
            }
            if next_tick.is_some_and(|at| at <= self.context.now()) {
                self.tick();
            }
            self.end_empty_calls();
            self.tell_status();
        }
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Join { join, reply } => {
                let (room, identity) = (join.room.clone(), Identity(join.identity.clone()));
                let joined = self.contain(&Suspect::Coming { room, identity }, |control| control.join(&join));
                let joined = joined.unwrap_or(Err(JoinRefused::Internal));
                // The client has gone meanwhile: so does its participant.
                if let Err(Ok(joined)) = reply.send(joined) {
                    self.detached(&joined.attachment);
                }
            }
            Request::Signal { attachment, message } => {
                let suspect = Suspect::Participant(attachment.participant.clone());
                self.contain(&suspect, |control| control.signal(&attachment, *message));
            }
            Request::Detached { attachment } => {
                let suspect = Suspect::Participant(attachment.participant.clone());
                self.contain(&suspect, |control| control.detached(&attachment));
            }
            Request::Recordings(ask) => self.recordings(*ask),
            Request::Asked(asked) => self.asked(asked),
            Request::Stop { within } => self.stop(within),
        }
    }

    fn join(&mut self, join: &Join) -> Result<Joined, JoinRefused> {
        self.epochs += 1;
        let epoch = self.epochs;
        if join.resume.is_some() {
            return Ok(self.resume(join, epoch));
        }
        if !self.calls.contains_key(&join.room) && self.is_elsewhere(&join.room) {
            return Err(JoinRefused::Draining);
        }
        if self.context.advertised.borrow().candidates.is_empty() {
            return Err(JoinRefused::NoAddress);
        }
        let (context, spread) = (&mut self.context, &mut self.spread);
        let call = self.calls.entry(join.room.clone()).or_insert_with(|| LiveCall::new(context, &join.room));
        let worker = spread.place(call.workers());
        let joined = call.join(context, &mut self.registry, (join, epoch), worker);
        match &joined {
            Ok(_) => self.running.started(&join.room),
            Err(_) => self.registry.look_at(&join.room),
        }
        joined
    }

    /// Goes on with a stay, or tells the client to begin a new one.
    fn resume(&mut self, join: &Join, epoch: u64) -> Joined {
        let Self { calls, context, registry, .. } = self;
        let resumed = calls.get_mut(&join.room).and_then(|call| call.resume(context, registry, join, epoch));
        resumed.unwrap_or_else(|| {
            let leave = proto::LeaveRequest {
                can_reconnect: true,
                reason: proto::DisconnectReason::StateMismatch as i32,
                action: Action::Reconnect as i32,
                ..proto::LeaveRequest::default()
            };
            let responses = Responses::only(Response::Leave(leave));
            let participant = ParticipantId(join.resume.clone().unwrap_or_default());
            Joined { attachment: Attachment { participant, epoch }, responses, outcome: JoinOutcome::ResumeRefused }
        })
    }

    fn signal(&mut self, attachment: &Attachment, message: SignalMessage) {
        let Self { context, registry, calls, .. } = self;
        let Some(name) = registry.call_of(&attachment.participant).map(str::to_owned) else { return };
        if let Some(call) = calls.get_mut(&name).filter(|call| call.is_attached(attachment)) {
            call.signal(context, registry, &attachment.participant, message);
        }
    }

    fn detached(&mut self, attachment: &Attachment) {
        let Self { context, registry, calls, .. } = self;
        let Some(name) = registry.call_of(&attachment.participant).map(str::to_owned) else { return };
        if let Some(call) = calls.get_mut(&name) {
            call.detached(context, registry, attachment);
        }
    }

    fn worker_event(&mut self, event: WorkerEvent) {
        match event {
            WorkerEvent::Report(report) => self.report(&report),
            WorkerEvent::Media { event, .. } => self.media(event),
        }
    }

    fn report(&mut self, report: &WorkerReport) {
        self.spread.report(report.worker, report.busy);
        self.context.metrics.worker(report);
    }

    fn media(&mut self, event: Event) {
        let key = match &event {
            Event::Dtls { transport, .. }
            | Event::PathSelected { transport, .. }
            | Event::Failed { transport }
            | Event::ConsentLost { transport }
            | Event::HandoffAsked { transport }
            | Event::HandedOver { transport }
            | Event::TakenUp { transport, .. }
            | Event::GivenBack { transport, .. } => transport.0,
            Event::TrackQuality { track, .. } | Event::LayerStarted { track, .. } => track.0,
            Event::SubscriptionQuality { subscription, .. }
            | Event::SubscriptionStarted { subscription }
            | Event::SubscriptionPaused { subscription }
            | Event::SubscriptionResumed { subscription } => subscription.0,
            Event::AudioLevels(levels) => {
                for level in levels {
                    if let Some((call, publisher)) = find(&mut self.calls, &self.registry, level.track.0) {
                        call.hear(&publisher, *level);
                    }
                }
                return;
            }
            // As below.
            Event::Elsewhere { .. } => return,
        };
        let Some(owner) = self.registry.owner(key).cloned() else { return };
        self.contain(&Suspect::Participant(owner), |control| control.media_of(key, event));
    }

    /// Something happened to the media of whose this key is.
    fn media_of(&mut self, key: u64, event: Event) {
        let Some((call, participant)) = find(&mut self.calls, &self.registry, key) else { return };
        let (context, registry) = (&mut self.context, &mut self.registry);
        match event {
            Event::Dtls { transport, datagram } => {
                call.with_session(context, registry, &participant, |session, context| {
                    if let Some(transport) = session.transport_mut(transport) {
                        transport.handle_dtls(context, &datagram);
                    }
                });
            }
            Event::PathSelected { transport, path } => {
                tracing::debug!(participant = %participant.0, tcp = path.is_tcp(), "media path selected");
                call.with_session(context, registry, &participant, |session, context| {
                    if let Some(transport) = session.transport_mut(transport) {
                        transport.path_selected(context, path);
                    }
                    session.media_back();
                });
            }
            Event::Failed { transport } => call.reconnect(context, registry, &participant, transport),
            Event::ConsentLost { transport } => {
                call.with_session(context, registry, &participant, |session, context| {
                    // A connection a client never uses (it may not publish, say) has nothing to lose.
                    if session.transport_mut(transport).is_some_and(|transport| transport.is_connected()) {
                        session.media_lost(context.now());
                    }
                });
            }
            Event::TrackQuality { quality, .. } | Event::SubscriptionQuality { quality, .. } => {
                call.rate(&participant, quality);
            }
            Event::SubscriptionPaused { subscription } => {
                call.with_session(context, registry, &participant, |session, _| {
                    session.tell_stream_state(subscription, proto::StreamState::Paused);
                });
            }
            Event::SubscriptionResumed { subscription } => {
                call.with_session(context, registry, &participant, |session, _| {
                    session.tell_stream_state(subscription, proto::StreamState::Active);
                });
            }
            // Nothing is offered to other engines yet, so that none asks or tells.
            Event::HandoffAsked { .. }
            | Event::HandedOver { .. }
            | Event::TakenUp { .. }
            | Event::GivenBack { .. }
            | Event::Elsewhere { .. }
            | Event::LayerStarted { .. }
            | Event::SubscriptionStarted { .. }
            | Event::AudioLevels(_) => (),
        }
    }

    /// When something has to be done though nobody asks.
    fn next_tick(&self) -> Option<Time> {
        let transports = self.context.timers.next().map(|at| at.max(self.ticked + TICK));
        let calls = (!self.calls.is_empty()).then_some(self.next_calls);
        [transports, calls, self.context.steering.next()].into_iter().flatten().min()
    }

    fn tick(&mut self) {
        let now = self.context.now();
        self.ticked = now;
        for (at, key) in self.context.timers.take_due(now) {
            let Some(owner) = self.registry.owner(key.0).cloned() else { continue };
            self.contain(&Suspect::Participant(owner), |control| {
                let Some((call, owner)) = find(&mut control.calls, &control.registry, key.0) else { return };
                call.with_session(&mut control.context, &mut control.registry, &owner, |session, context| {
                    if let Some(transport) = session.transport_mut(key) {
                        transport.handle_timeout(context, at);
                    }
                });
            });
        }
        if now >= self.next_calls {
            self.next_calls = now + CALLS_INTERVAL;
            for call in self.calls.values_mut() {
                call.tick(&mut self.context, &mut self.registry, now);
            }
            self.send_due_away();
            self.remind_of_limits();
        }
        self.context.steering.apply(now);
    }

    fn end_empty_calls(&mut self) {
        for name in self.registry.take_left() {
            if self.calls.get(&name).is_some_and(LiveCall::is_empty) {
                self.calls.remove(&name);
                self.running.ended(&name);
                tracing::info!(call = name, "call ended");
            }
        }
    }

    fn tell_status(&mut self) {
        let people = self.registry.n_people();
        self.context.metrics.calls(self.calls.len(), people);
        let load = SfuLoad {
            calls: u32::try_from(self.calls.len()).unwrap_or(u32::MAX),
            participants: u32::try_from(people).unwrap_or(u32::MAX),
            percent: (self.spread.busy() * 100.0).round() as u8,
        };
        let drain = self.drain.as_ref().map(|drain| drain.status(load.calls));
        self.status.tell(&self.context, load, drain);
    }
}

/// The call and the participant a key of the media engine belongs to.
fn find<'c>(
    calls: &'c mut BTreeMap<String, LiveCall>,
    registry: &Registry,
    key: u64,
) -> Option<(&'c mut LiveCall, ParticipantId)> {
    let participant = registry.owner(key)?.clone();
    let call = calls.get_mut(registry.call_of(&participant)?)?;
    Some((call, participant))
}
