//! A call that runs here: the pure [`Call`], and the sessions of the people in it.
//!
//! Everything that happens ends in [`LiveCall::apply`]: people are told, subscriptions are brought in line, and then
//! descriptions go out, in this order.

mod dynacast;
mod regular;
mod signal;
mod simulate;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use livekit_protocol as proto;
use livekit_protocol::leave_request::Action;
use livekit_protocol::signal_response::Message as Response;
use sfu_core::call::dynacast::Dynacast;
use sfu_core::call::{Call, Changes, ClientFeatures, Identity, Participant, ParticipantId, Track};
use sfu_core::id::{AudioGroupKey, TransportKey};
use sfu_core::time::Time;

use self::regular::{Due, Told};
use super::registry::Registry;
use super::throttle::Throttle;
use super::{Attachment, Context, JoinOutcome, JoinRefused, Joined, News, RELIABLE};
use crate::clock::unix_now_ms;
use crate::livekit::join::Join;
use crate::livekit::session::{Asked, Place, Reconciled, Scope, Session};
use crate::livekit::{convert, data, ids};
use crate::metrics::TOO_SLOW_RELIABLE;

/// Between two looks at who is gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long recorders and agents wait for somebody to come, and after the last one left (LiveKit's defaults).
const EMPTY_TIME: Duration = Duration::from_mins(5);
const DEPARTURE_TIME: Duration = Duration::from_secs(20);
/// How long it is known who left, and of how many: longer than any client tries to resume.
const DEPARTED_TIME: Duration = Duration::from_mins(1);
const MAX_DEPARTED: usize = 256;
/// From this protocol version on, a client that joins anew replaces its old self without others hearing of a leave.
const TAKEOVER_PROTOCOL: i32 = 12;
/// From this protocol version on, only `action` of a leave counts.
const LEAVE_ACTION_PROTOCOL: i32 = 13;

#[derive(Debug)]
pub struct LiveCall {
    pub call: Call,
    /// How many sessions live on which media threads.
    workers: BTreeMap<usize, usize>,
    /// Its microphones, of which only so many are heard.
    microphones: AudioGroupKey,
    /// Boxed, since a map of two has room for eleven.
    sessions: BTreeMap<ParticipantId, Box<Session>>,
    told: Told,
    /// What publishers were told of their videos.
    dynacast: Dynacast,
    /// Since it was looked what is watched, what people want to receive may have changed.
    wishes_changed: bool,
    /// Worst rating since the last round, by whose connection it is.
    ratings: BTreeMap<ParticipantId, f32>,
    due: Due,
    /// When it was looked who is gone.
    looked_at: Time,
    attendance: Attendance,
    room_told: RoomTold,
    slow_receivers: Throttle,
    /// Who left lately, for those who resume: their clients remove only whom they are told to.
    departed: VecDeque<(Time, proto::ParticipantInfo)>,
}

/// What everybody was told last of the call as a whole.
#[derive(Debug, Default, PartialEq, Eq)]
struct RoomTold {
    n_people: usize,
    n_publishers: usize,
    is_recorded: bool,
}

impl LiveCall {
    pub fn new(context: &mut Context, name: &str) -> Self {
        let now = context.now();
        Self {
            call: Call::new(name, ids::room(), unix_now_ms()),
            workers: BTreeMap::new(),
            microphones: AudioGroupKey(context.key()),
            sessions: BTreeMap::new(),
            told: Told::default(),
            dynacast: Dynacast::default(),
            wishes_changed: false,
            ratings: BTreeMap::new(),
            due: Due::after(now),
            looked_at: now,
            attendance: Attendance { seen_at: now, ever: false },
            room_told: RoomTold::default(),
            slow_receivers: Throttle::default(),
            departed: VecDeque::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.call.is_empty()
    }

    pub fn n_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How many sessions live on which media threads; none where none do.
    pub fn workers(&self) -> &BTreeMap<usize, usize> {
        &self.workers
    }

    /// Lets someone in, to live on this media thread, and sends the first messages.
    pub fn join(
        &mut self,
        context: &mut Context,
        registry: &mut Registry,
        (join, epoch): (&Join, u64),
        worker: usize,
    ) -> Result<Joined, JoinRefused> {
        let id = ids::participant();
        let place = Place { worker, microphones: self.microphones };
        let mut session = Session::new(context, join, id.clone(), place).ok_or(JoinRefused::Internal)?;
        *self.workers.entry(worker).or_default() += 1;
        let responses = session.attach(context.now(), epoch);
        let participant = participant(join, id.clone());
        registry.add(&participant, &self.call.name);
        for transport in session.transports() {
            registry.add_key(transport.key.0, &id);
        }
        let changes = self.call.join(participant);
        self.sessions.insert(id.clone(), Box::new(session));
        self.greet(context, &id);
        for request in &join.add_tracks {
            self.announce(context, registry, &id, request);
        }
        self.apply(context, registry, &changes);
        if let Some(offer) = &join.publisher_offer {
            self.offer(context, registry, &id, offer);
        }
        self.refresh_token(context, &id);
        tracing::info!(call = self.call.name, participant = %id.0, mode = ?join.mode, sdk = join.client.sdk, "joined");
        let attachment = Attachment { participant: id, epoch };
        Ok(Joined { attachment, responses, outcome: JoinOutcome::Joined })
    }

    /// Sends the join response: it must be the first message.
    fn greet(&mut self, context: &Context, id: &ParticipantId) {
        let Some(own) = self.call.get(id) else { return };
        let others = self.call.participants().filter(|other| other.id != *id && other.is_visible_to(id));
        let others = others.map(convert::participant).collect();
        let (room, own) = (convert::room(&self.call), convert::participant(own));
        if let Some(session) = self.sessions.get_mut(id) {
            session.send(session.join_response(context, room, own, others));
        }
    }

    /// A client comes back with a new websocket. `None` if nobody is here under that identity.
    pub fn resume(
        &mut self,
        context: &mut Context,
        registry: &mut Registry,
        join: &Join,
        epoch: u64,
    ) -> Option<Joined> {
        let id = self.call.by_identity(&Identity(join.identity.clone()))?.id.clone();
        let stays = join.resume.as_ref().is_some_and(|sid| sid.is_empty() || *sid == id.0);
        let session = self.sessions.get_mut(&id).filter(|session| stays && session.mode == join.mode)?;
        let responses = session.attach(context.now(), epoch);
        session.send(session.reconnect_response(context));
        let is_here = |gone: &proto::ParticipantInfo| self.call.participants().any(|p| p.identity.0 == gone.identity);
        let gone = self.departed.iter().map(|(_, gone)| gone).filter(|gone| !is_here(gone)).cloned();
        let here = self.call.participants().filter(|other| other.is_visible_to(&id)).map(convert::participant);
        session.send(update(gone.chain(here).collect()));
        session.send(room_update(&self.call));
        self.told.tell_anew(session);
        session.tell_stream_states_anew();
        session.resume(context);
        session.negotiate(context);
        self.tell_watched_anew(&id);
        self.refresh_token(context, &id);
        self.collect_from(context, registry, &id);
        tracing::info!(call = self.call.name, participant = %id.0, "resumed");
        let attachment = Attachment { participant: id, epoch };
        Some(Joined { attachment, responses, outcome: JoinOutcome::Resumed })
    }

    /// A websocket ended. Someone who never was connected leaves with it; others may come back.
    pub fn detached(&mut self, context: &mut Context, registry: &mut Registry, attachment: &Attachment) {
        let id = &attachment.participant;
        let Some(session) = self.sessions.get_mut(id).filter(|session| session.is_attached(attachment.epoch)) else {
            return;
        };
        session.detach();
        if !session.is_active() {
            self.leave(context, registry, id);
        }
    }

    pub fn is_attached(&self, attachment: &Attachment) -> bool {
        self.sessions.get(&attachment.participant).is_some_and(|session| session.is_attached(attachment.epoch))
    }

    /// Someone is no longer here.
    pub fn leave(&mut self, context: &mut Context, registry: &mut Registry, id: &ParticipantId) {
        let changes = self.call.leave(id);
        self.apply(context, registry, &changes);
    }

    /// Tells someone to go, and why, and takes them out.
    pub fn dismiss(
        &mut self,
        context: &mut Context,
        registry: &mut Registry,
        id: &ParticipantId,
        action: Action,
        reason: proto::DisconnectReason,
    ) {
        if let Some(session) = self.sessions.get_mut(id) {
            send_leave(session, action, reason);
        }
        self.leave(context, registry, id);
    }

    /// Sends everyone elsewhere. The call is over here.
    pub fn disperse(&mut self, context: &mut Context, registry: &mut Registry) {
        for (id, mut session) in std::mem::take(&mut self.sessions) {
            send_leave(&mut session, Action::Reconnect, proto::DisconnectReason::ServerShutdown);
            registry.remove(&id);
            session.close(context);
        }
        self.call.clear();
    }

    /// Carries out what a decision of the call changed.
    fn apply(&mut self, context: &mut Context, registry: &mut Registry, changes: &Changes) {
        self.wishes_changed = true;
        for gone in &changes.left {
            self.remove(context, registry, gone);
            self.remember(context.now(), gone);
        }
        let updated: Vec<_> = changes.updated.iter().filter_map(|id| self.call.get(id)).collect();
        let is_replaced = |gone: &Participant| self.call.by_identity(&gone.identity).is_some();
        let left: Vec<_> = changes.left.iter().map(|gone| (gone, is_replaced(gone))).collect();
        for session in self.sessions.values_mut() {
            let mut seen: Vec<_> = updated
                .iter()
                .filter(|other| other.is_visible_to(&session.participant))
                .map(|other| convert::participant(other))
                .collect();
            for (gone, replaced) in left.iter().filter(|(gone, _)| gone.is_visible_to(&session.participant)) {
                if !replaced || session.protocol() < TAKEOVER_PROTOCOL {
                    seen.push(convert::participant(gone));
                }
            }
            if !seen.is_empty() {
                session.send(update(seen));
            }
        }
        for listener in &changes.listeners {
            self.reconcile_only(context, registry, listener);
        }
        for publisher in &changes.publishers {
            self.reconcile_of(context, registry, publisher, &changes.listeners);
        }
        self.tell_if_recorded();
    }

    fn remember(&mut self, now: Time, gone: &Participant) {
        self.departed.retain(|(left_at, _)| now.since(*left_at) < DEPARTED_TIME);
        if !gone.permissions.hidden {
            if self.departed.len() >= MAX_DEPARTED {
                self.departed.pop_front();
            }
            self.departed.push_back((now, convert::participant(gone)));
        }
    }

    fn remove(&mut self, context: &mut Context, registry: &mut Registry, gone: &Participant) {
        self.told.forget(&gone.id);
        self.ratings.remove(&gone.id);
        let Some(mut session) = self.sessions.remove(&gone.id) else { return };
        if self.call.by_identity(&gone.identity).is_some() {
            send_leave(&mut session, Action::Disconnect, proto::DisconnectReason::DuplicateIdentity);
        }
        registry.remove(&gone.id);
        session.close(context);
        if let Some(sessions) = self.workers.get_mut(&session.worker()) {
            *sessions -= 1;
            self.workers.retain(|_, sessions| *sessions > 0);
        }
        tracing::info!(call = self.call.name, participant = %gone.id.0, "left");
    }

    /// Brings what everyone receives of one publisher in line with the call, then sends descriptions to whom it
    /// concerns. Those in `done` are in line already.
    fn reconcile_of(
        &mut self,
        context: &mut Context,
        registry: &mut Registry,
        publisher: &ParticipantId,
        done: &BTreeSet<ParticipantId>,
    ) {
        let Self { call, sessions, told, .. } = self;
        for (id, session) in sessions.iter_mut().filter(|(id, _)| !done.contains(*id)) {
            let wanted = call.wanted_from(id, publisher);
            let reconciled = reconcile(call, session, context, registry, Scope::Of(publisher), wanted);
            if !reconciled.is_empty() {
                session.negotiate(context);
                told.tell_changes(call, session);
            }
        }
    }

    /// Someone's wishes about tracks changed.
    fn reconcile_only(&mut self, context: &mut Context, registry: &mut Registry, id: &ParticipantId) {
        self.wishes_changed = true;
        let Self { call, sessions, told, .. } = self;
        if let Some(session) = sessions.get_mut(id) {
            reconcile(call, session, context, registry, Scope::All, call.wanted_by(id));
            session.negotiate(context);
            told.tell_changes(call, session);
        }
    }

    /// Carries out what a session asks, and tells it at once.
    fn carry_out(&mut self, context: &mut Context, registry: &mut Registry, id: &ParticipantId, asked: Vec<Asked>) {
        let mut all = Changes::default();
        for asked in asked {
            let changes = match asked {
                Asked::Publish(track) => {
                    let key = track.key;
                    registry.add_key(key.0, id);
                    match self.call.publish(id, *track) {
                        Ok(changes) => changes,
                        Err(refused) => {
                            tracing::debug!(participant = %id.0, %refused, "a track is not taken");
                            registry.remove_key(key.0);
                            if let Some(session) = self.sessions.get_mut(id) {
                                session.refuse(context, key);
                            }
                            continue;
                        }
                    }
                }
                Asked::Unpublish(track) => {
                    if let Some((_, track)) = self.call.track(&track) {
                        registry.remove_key(track.key.0);
                    }
                    self.call.unpublish(id, &track)
                }
                Asked::Reconnect(why) => {
                    tracing::info!(participant = %id.0, why, "asking the client to connect anew");
                    self.dismiss(context, registry, id, Action::Reconnect, proto::DisconnectReason::StateMismatch);
                    Changes::default()
                }
            };
            all.merge(changes);
        }
        self.apply(context, registry, &all);
    }

    /// A transport had DTLS or a path change: takes in what it tells.
    pub fn with_session(
        &mut self,
        context: &mut Context,
        registry: &mut Registry,
        id: &ParticipantId,
        act: impl FnOnce(&mut Session, &mut Context),
    ) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        act(session, context);
        self.collect_from(context, registry, id);
    }

    /// A media thread has lost a transport by a fault of ours: whoever uses it connects anew.
    pub fn reconnect(
        &mut self,
        context: &mut Context,
        registry: &mut Registry,
        id: &ParticipantId,
        transport: TransportKey,
    ) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if session.transport_mut(transport).is_some() {
            tracing::warn!(participant = %id.0, "a transport failed here; asking the client to connect anew");
            self.dismiss(context, registry, id, Action::Reconnect, proto::DisconnectReason::StateMismatch);
        }
    }

    fn collect_from(&mut self, context: &mut Context, registry: &mut Registry, id: &ParticipantId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let news: Vec<_> = session.transports_mut().flat_map(super::Transport::take_news).collect();
        if session.check_active() {
            let changes = self.call.activate(id);
            tracing::info!(call = self.call.name, participant = %id.0, "media connected");
            self.apply(context, registry, &changes);
        }
        for news in news {
            match news {
                News::Connected => (),
                News::Message { label, data } => self.relay(context, id, &label, &data),
                News::Closed { reason } => self.transport_closed(context, registry, id, &reason),
            }
        }
    }

    /// The client closed its connection, or its handshake failed. With the websocket there it may do so on purpose
    /// (it connects anew under the same identity); without, it is gone.
    fn transport_closed(&mut self, context: &mut Context, registry: &mut Registry, id: &ParticipantId, reason: &str) {
        tracing::debug!(participant = %id.0, reason, "transport closed");
        let Some(session) = self.sessions.get_mut(id) else { return };
        if session.has_websocket() {
            // If nothing comes of it, it has to connect anew: without DTLS there is no data either.
            session.media_lost(context.now());
        } else {
            self.leave(context, registry, id);
        }
    }

    /// Sends a data packet on to whom it is for.
    ///
    /// Who is megabytes behind loses reliable messages, and is neither waited for nor sent away: a sender that waited for
    /// its slowest receiver would stop everybody's chat, and a client that were told to come again would lose its sound
    /// for a message. The loss is counted.
    fn relay(&mut self, context: &mut Context, id: &ParticipantId, label: &str, packet: &[u8]) {
        let (Some(sender), Some(session)) = (self.call.get(id), self.sessions.get(id)) else { return };
        let relay = match data::relay(&self.call, sender, label, packet, session.last_data_sequence) {
            Ok(relay) => relay,
            Err(dropped) => {
                tracing::debug!(participant = %id.0, %dropped, "data dropped");
                context.metrics.data_dropped(dropped.label());
                return;
            }
        };
        if let Some(session) = self.sessions.get_mut(id) {
            session.last_data_sequence = session.last_data_sequence.max(relay.sequence);
        }
        for receiver in &relay.receivers {
            let Some(session) = self.sessions.get_mut(receiver) else { continue };
            let delivery = session.data_transport().send(context, relay.label, &relay.packet);
            let Some(reason) = delivery.lost(relay.label) else { continue };
            context.metrics.data_dropped(reason);
            if reason == TOO_SLOW_RELIABLE
                && let Some(n) = self.slow_receivers.note(context.now())
            {
                let call = &self.call.name;
                tracing::warn!(call, participant = %receiver.0, n, "receivers are too slow for reliable data");
            }
        }
    }

    /// Sends a message of the server's own to some of those who are here.
    pub fn tell(&mut self, context: &mut Context, topic: &str, text: &str, whom: impl Fn(&Participant) -> bool) {
        let packet = data::of_the_server(topic, text);
        for person in self.call.participants().filter(|person| whom(person)) {
            if let Some(session) = self.sessions.get_mut(&person.id) {
                // Who is that far behind misses it, as it would anybody's message.
                session.data_transport().send(context, RELIABLE, &packet);
            }
        }
    }

    /// Lets time pass: people who are gone, and the regular messages.
    pub fn tick(&mut self, context: &mut Context, registry: &mut Registry, now: Time) {
        if now >= self.looked_at + LOOK_INTERVAL {
            self.looked_at = now;
            self.dismiss_who_is_gone(context, registry, now);
            if self.attendance.is_over(now, self.call.is_attended()) {
                self.dismiss_everyone(context, registry);
            }
            self.tell_watched(now);
        }
        self.tell_what_is_due(context, now);
    }

    /// Only recorders and agents are left, and nobody came for as long as one waits: the call is over.
    fn dismiss_everyone(&mut self, context: &mut Context, registry: &mut Registry) {
        tracing::info!(call = self.call.name, "nobody is left but recorders and agents");
        for id in self.ids_of(|_| true) {
            self.dismiss(context, registry, &id, Action::Disconnect, proto::DisconnectReason::RoomClosed);
        }
    }

    fn dismiss_who_is_gone(&mut self, context: &mut Context, registry: &mut Registry, now: Time) {
        let overdue: Vec<_> = self.ids_of(|session| session.is_overdue(now));
        for id in overdue {
            tracing::info!(call = self.call.name, participant = %id.0, "no media path within the time allowed");
            self.dismiss(context, registry, &id, Action::Disconnect, proto::DisconnectReason::ConnectionTimeout);
        }
        let gone: Vec<_> = self.ids_of(|session| session.is_gone(now));
        for id in gone {
            self.dismiss(context, registry, &id, Action::Reconnect, proto::DisconnectReason::ConnectionTimeout);
        }
    }

    fn ids_of(&self, which: impl Fn(&Session) -> bool) -> Vec<ParticipantId> {
        self.sessions.iter().filter(|(_, session)| which(session)).map(|(id, _)| id.clone()).collect()
    }

    /// New addresses for everyone who is connected.
    pub fn trickle(&mut self, candidates: &[sfu_core::sdp::Candidate]) {
        for session in self.sessions.values_mut() {
            session.trickle(candidates);
        }
    }
}

/// When somebody was here last for whose sake the call is held.
#[derive(Debug, Clone, Copy)]
struct Attendance {
    /// The beginning, if nobody ever was.
    seen_at: Time,
    ever: bool,
}

impl Attendance {
    /// Takes in whether anybody is here. True when that is not so for too long.
    fn is_over(&mut self, now: Time, attended: bool) -> bool {
        if attended {
            *self = Self { seen_at: now, ever: true };
        }
        now.since(self.seen_at) >= if self.ever { DEPARTURE_TIME } else { EMPTY_TIME }
    }
}

/// Brings what a client receives in line with what it wants, and knows the copies by their keys.
fn reconcile(
    call: &Call,
    session: &mut Session,
    context: &mut Context,
    registry: &mut Registry,
    scope: Scope<'_>,
    wanted: Vec<(&Participant, &Track)>,
) -> Reconciled {
    let id = session.participant.clone();
    let with_target = |(publisher, track)| (publisher, track, call.target_for(&id, track));
    let wanted: Vec<_> = wanted.into_iter().map(with_target).collect();
    let done = session.reconcile(context, scope, &wanted);
    for subscription in &done.removed {
        registry.remove_key(subscription.0);
    }
    for subscription in &done.added {
        registry.add_key(subscription.0, &id);
    }
    done
}

fn participant(join: &Join, id: ParticipantId) -> Participant {
    let identity = Identity(join.identity.clone());
    let mut participant = Participant::new(id, identity, join.claims.permissions(), unix_now_ms());
    participant.name.clone_from(&join.claims.name);
    participant.metadata.clone_from(&join.metadata);
    participant.attributes = join.attributes.clone().into_iter().collect();
    participant.attributes.remove(sfu_core::call::host::HOST_ATTRIBUTE);
    participant.kind = join.claims.kind_number();
    participant.client = ClientFeatures {
        protocol: join.client.protocol,
        client_protocol: join.client.client_protocol,
        capabilities: join.client.capabilities.clone(),
    };
    participant.rules.automatic = join.auto_subscribe;
    participant
}

fn send_leave(session: &mut Session, action: Action, reason: proto::DisconnectReason) {
    // Older clients know only one bit, and it must not be set for a resume.
    let can_reconnect = session.protocol() < LEAVE_ACTION_PROTOCOL && action == Action::Reconnect;
    session.send(Response::Leave(proto::LeaveRequest {
        can_reconnect,
        reason: reason as i32,
        action: action as i32,
        ..proto::LeaveRequest::default()
    }));
}

fn update(participants: Vec<proto::ParticipantInfo>) -> Response {
    Response::Update(proto::ParticipantUpdate { participants })
}

fn room_update(call: &Call) -> Response {
    Response::RoomUpdate(proto::RoomUpdate { room: Some(convert::room(call)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_over_some_time_after_the_last_person_left_or_if_none_ever_came() {
        let at = |seconds: u64| Time::ZERO + Duration::from_secs(seconds);
        let mut never = Attendance { seen_at: at(100), ever: false };
        assert!(!never.is_over(at(399), false));
        assert!(never.is_over(at(400), false));
        let mut left = Attendance { seen_at: at(100), ever: false };
        assert!(!left.is_over(at(500), true));
        assert!(!left.is_over(at(519), false));
        assert!(left.is_over(at(520), false));
        assert!(!left.is_over(at(521), true), "somebody came");
    }
}
