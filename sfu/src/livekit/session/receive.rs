//! What a client receives: the difference between what it should and what it does.

use std::collections::{BTreeMap, BTreeSet};

use livekit_protocol as proto;
use livekit_protocol::signal_response::Message as Response;
use sfu_core::call::{Participant, ParticipantId, Track, TrackId, TrackSource};
use sfu_core::engine::command::{Command, MediaKind, Priority, Subscribe, Target};
use sfu_core::id::{Ssrc, SubscriptionKey, TrackKey};
use sfu_core::sdp::{Assignment, Subscription};

use super::Session;
use super::ssrcs::Ssrcs;
use crate::control::Context;

/// Copies a client receives or is about to.
#[derive(Debug, Default)]
pub struct Receptions {
    by_track: BTreeMap<TrackId, Reception>,
    /// The same tracks by who publishes them.
    by_publisher: BTreeMap<ParticipantId, BTreeSet<TrackId>>,
    /// Tracks the client has no use for (it rejected their m-line, or there is no room), and who publishes them: offering
    /// them again and again would never end.
    refused: BTreeMap<TrackId, ParticipantId>,
    /// Copies that ended otherwise than by a reconciliation, which the next one tells of.
    ended: Vec<SubscriptionKey>,
    /// What was not told yet.
    heard: Heard,
    ssrcs: Ssrcs,
}

#[derive(Debug)]
struct Reception {
    subscription: SubscriptionKey,
    publisher: ParticipantId,
    track: TrackKey,
    ssrc: Ssrc,
    rtx_ssrc: Option<Ssrc>,
    target: Target,
    priority: Priority,
    /// The media engine sends it.
    started: bool,
    /// What was said of it last, if its network did not carry it once.
    state: Option<proto::StreamState>,
}

impl Reception {
    fn state_info(&self, track: &TrackId, state: proto::StreamState) -> proto::StreamStateInfo {
        proto::StreamStateInfo {
            participant_sid: self.publisher.0.clone(),
            track_sid: track.0.clone(),
            state: state.into(),
        }
    }
}

impl Receptions {
    fn insert(&mut self, track: TrackId, reception: Reception) {
        let tracks = self.by_publisher.entry(reception.publisher.clone()).or_default();
        if tracks.is_empty() {
            self.heard.begin(&reception.publisher);
        }
        tracks.insert(track.clone());
        self.by_track.insert(track, reception);
    }

    fn remove(&mut self, track: &TrackId) -> Option<Reception> {
        let reception = self.by_track.remove(track)?;
        self.ssrcs.give_back(reception.ssrc);
        if let Some(repair) = reception.rtx_ssrc {
            self.ssrcs.give_back(repair);
        }
        if let Some(tracks) = self.by_publisher.get_mut(&reception.publisher) {
            tracks.remove(track);
            if tracks.is_empty() {
                self.by_publisher.remove(&reception.publisher);
                self.heard.end(&reception.publisher);
            }
        }
        Some(reception)
    }

    /// Forgets that tracks were refused which are not `wanted` any more, and returns those that are received all the
    /// same.
    fn unwanted(&mut self, scope: Scope<'_>, wanted: &BTreeSet<&TrackId>) -> Vec<TrackId> {
        let is_unwanted = |track: &&TrackId| !wanted.contains(track);
        match scope {
            Scope::All => {
                self.refused.retain(|track, _| wanted.contains(track));
                self.by_track.keys().filter(is_unwanted).cloned().collect()
            }
            Scope::Of(of) => {
                self.refused.retain(|track, publisher| publisher != of || wanted.contains(track));
                self.by_publisher.get(of).into_iter().flatten().filter(is_unwanted).cloned().collect()
            }
        }
    }

    /// Notes whether a copy is paused, and returns what to tell of it.
    fn set_stream_state(
        &mut self,
        subscription: SubscriptionKey,
        state: proto::StreamState,
    ) -> Option<proto::StreamStateUpdate> {
        let (track, reception) = self.by_track.iter_mut().find(|(_, known)| known.subscription == subscription)?;
        reception.state = Some(state);
        Some(proto::StreamStateUpdate { stream_states: vec![reception.state_info(track, state)] })
    }

    /// All that was told of paused copies; `None` if nothing was.
    fn stream_states(&self) -> Option<proto::StreamStateUpdate> {
        let told = self.by_track.iter().filter_map(|(track, known)| Some(known.state_info(track, known.state?)));
        let stream_states: Vec<_> = told.collect();
        (!stream_states.is_empty()).then_some(proto::StreamStateUpdate { stream_states })
    }

    fn track_of(&self, subscription: SubscriptionKey) -> Option<&TrackId> {
        self.by_track.iter().find(|(_, reception)| reception.subscription == subscription).map(|(track, _)| track)
    }
}

/// Publishers of whom a client began to receive something, and of whom it receives nothing any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub began: BTreeSet<ParticipantId>,
    pub ended: BTreeSet<ParticipantId>,
}

impl Heard {
    /// A copy that is replaced by another one is no news.
    fn begin(&mut self, publisher: &ParticipantId) {
        if !self.ended.remove(publisher) {
            self.began.insert(publisher.clone());
        }
    }

    fn end(&mut self, publisher: &ParticipantId) {
        if !self.began.remove(publisher) {
            self.ended.insert(publisher.clone());
        }
    }
}

/// Which of the copies a client receives are looked at.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    All,
    /// Those of one publisher.
    Of(&'a ParticipantId),
}

/// What a reconciliation changed, for whoever keeps track of keys.
#[derive(Debug, Default)]
pub struct Reconciled {
    pub added: Vec<SubscriptionKey>,
    pub removed: Vec<SubscriptionKey>,
}

impl Reconciled {
    /// Whether descriptions have to follow.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

impl Session {
    /// Brings what the client receives, as far as it is in `scope`, in line with `wanted`. Descriptions follow with
    /// [`Session::negotiate`].
    pub fn reconcile(
        &mut self,
        context: &mut Context,
        scope: Scope<'_>,
        wanted: &[(&Participant, &Track, Target)],
    ) -> Reconciled {
        let mut done = Reconciled { removed: std::mem::take(&mut self.receptions.ended), ..Reconciled::default() };
        let ids: BTreeSet<_> = wanted.iter().map(|(_, track, _)| &track.id).collect();
        for track in self.receptions.unwanted(scope, &ids) {
            done.removed.extend(self.stop(context, &track));
        }
        for (publisher, track, target) in wanted {
            match self.receptions.by_track.get_mut(&track.id) {
                Some(reception) if reception.target == *target => {}
                Some(reception) => {
                    reception.target = *target;
                    let command = Command::SetTarget { subscription: reception.subscription, target: *target };
                    context.command(self.worker, command);
                }
                None if self.receptions.refused.contains_key(&track.id) => (),
                None => done.added.push(self.begin(context, publisher, track, *target)),
            }
        }
        done
    }

    fn begin(
        &mut self,
        context: &mut Context,
        publisher: &Participant,
        track: &Track,
        target: Target,
    ) -> SubscriptionKey {
        let key = SubscriptionKey(context.key());
        let ssrc = self.receptions.ssrcs.take();
        let rtx_ssrc = (track.kind == MediaKind::Video).then(|| self.receptions.ssrcs.take());
        let subscription = Subscription {
            key,
            kind: track.kind,
            stream_id: format!("{}|{}", publisher.id.0, track.id.0),
            track_id: track.id.0.clone(),
            ssrc,
            rtx_ssrc,
            cname: publisher.id.0.clone(),
            stereo: track.stereo,
        };
        match &mut self.subscriber {
            Some(peer) => peer.offers.subscribe(subscription),
            None => self.publisher.offers.subscribe(subscription),
        }
        let publisher = publisher.id.clone();
        let priority = match track.source {
            TrackSource::ScreenShare => Priority::Screen,
            _ => Priority::Camera,
        };
        let reception = Reception {
            subscription: key,
            publisher,
            track: track.key,
            ssrc,
            rtx_ssrc,
            target,
            priority,
            started: false,
            state: None,
        };
        self.receptions.insert(track.id.clone(), reception);
        key
    }

    fn stop(&mut self, context: &mut Context, track: &TrackId) -> Option<SubscriptionKey> {
        let reception = self.receptions.remove(track)?;
        match &mut self.subscriber {
            Some(peer) => peer.offers.unsubscribe(reception.subscription),
            None => self.publisher.offers.unsubscribe(reception.subscription),
        }
        if reception.started {
            context.command(self.worker, Command::Unsubscribe { subscription: reception.subscription });
        }
        Some(reception.subscription)
    }

    /// Copies that found no place with the client, or lost it: forgotten, so that the next reconciliation begins anew.
    pub(super) fn lose(&mut self, context: &mut Context, subscriptions: &[SubscriptionKey]) {
        for subscription in subscriptions {
            if let Some(track) = self.receptions.track_of(*subscription).cloned() {
                let ended = self.stop(context, &track);
                self.receptions.ended.extend(ended);
            }
        }
    }

    /// Copies the client does not take: not offered again while they are wanted.
    pub(super) fn give_up(&mut self, context: &mut Context, subscriptions: &[SubscriptionKey]) {
        for subscription in subscriptions {
            if let Some(track) = self.receptions.track_of(*subscription).cloned() {
                let publisher = self.receptions.by_track.get(&track).map(|reception| reception.publisher.clone());
                let ended = self.stop(context, &track);
                self.receptions.ended.extend(ended);
                self.receptions.refused.extend(publisher.map(|publisher| (track, publisher)));
            }
        }
    }

    /// Copies got their m-lines: the media engine may send them.
    pub(super) fn place(&mut self, context: &mut Context, assignments: Vec<Assignment>) {
        let transport = self.subscriber.as_ref().map_or(self.publisher.transport.key, |peer| peer.transport.key);
        for assignment in assignments {
            let reception = self
                .receptions
                .by_track
                .values_mut()
                .find(|reception| reception.subscription == assignment.subscription);
            let Some(reception) = reception else { continue };
            reception.started = true;
            let subscribe = Subscribe {
                subscription: reception.subscription,
                transport,
                track: reception.track,
                mid: assignment.mid,
                ssrc: reception.ssrc,
                rtx_ssrc: reception.rtx_ssrc,
                codecs: assignment.codecs,
                extensions: assignment.extensions,
                // The publisher's id: its audio and video have one clock and are kept in step.
                cname: reception.publisher.0.clone(),
                target: reception.target,
                priority: reception.priority,
            };
            context.command(self.worker, Command::Subscribe(Box::new(subscribe)));
        }
    }

    /// Tells the client that a copy is paused because its network does not carry it, or that it goes on.
    pub fn tell_stream_state(&mut self, subscription: SubscriptionKey, state: proto::StreamState) {
        if let Some(update) = self.receptions.set_stream_state(subscription, state) {
            self.send(Response::StreamStateUpdate(update));
        }
    }

    /// Tells that again, to a client that may have missed it.
    pub fn tell_stream_states_anew(&mut self) {
        if let Some(update) = self.receptions.stream_states() {
            self.send(Response::StreamStateUpdate(update));
        }
    }

    /// Which track each m-line carries, for clients whose browser invents its own track ids.
    pub(super) fn mid_to_track(
        &self,
        sending: impl IntoIterator<Item = (sfu_core::id::Mid, SubscriptionKey)>,
    ) -> std::collections::HashMap<String, String> {
        let name = |(mid, key): (sfu_core::id::Mid, _)| Some((mid.0, self.receptions.track_of(key)?.0.clone()));
        sending.into_iter().filter_map(name).collect()
    }

    /// Whom the client began and ceased to hear since it was asked last.
    pub fn take_heard(&mut self) -> Heard {
        std::mem::take(&mut self.receptions.heard)
    }

    /// Everyone of whom the client receives, or is about to, something.
    pub fn hears(&self) -> impl Iterator<Item = &ParticipantId> {
        self.receptions.by_publisher.keys()
    }

    /// Whether the client receives, or is about to, something of this publisher.
    pub fn receives_from(&self, publisher: &ParticipantId) -> bool {
        self.receptions.by_publisher.contains_key(publisher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reception(publisher: &str) -> Reception {
        Reception {
            subscription: SubscriptionKey(1),
            publisher: ParticipantId(publisher.into()),
            track: TrackKey(1),
            ssrc: Ssrc(1),
            rtx_ssrc: None,
            target: Target::HIGHEST,
            priority: Priority::Camera,
            started: false,
            state: None,
        }
    }

    fn names(publishers: &BTreeSet<ParticipantId>) -> Vec<&str> {
        publishers.iter().map(|publisher| publisher.0.as_str()).collect()
    }

    #[test]
    fn a_publisher_is_heard_from_its_first_track_to_its_last() {
        let track = |name: &str| TrackId(name.into());
        let mut receptions = Receptions::default();
        receptions.insert(track("microphone"), reception("PA_ana"));
        receptions.insert(track("screen"), reception("PA_ana"));
        let heard = std::mem::take(&mut receptions.heard);
        assert_eq!((names(&heard.began), names(&heard.ended)), (vec!["PA_ana"], vec![]));
        receptions.remove(&track("microphone"));
        assert_eq!(receptions.heard, Heard::default(), "its screen is still received");
        receptions.remove(&track("screen"));
        receptions.insert(track("microphone"), reception("PA_ana"));
        assert_eq!(receptions.heard, Heard::default(), "a copy took the place of another");
        receptions.remove(&track("microphone"));
        assert_eq!(names(&receptions.heard.ended), ["PA_ana"]);
    }

    #[test]
    fn a_paused_copy_is_told_by_the_ids_of_its_publisher_and_track() {
        let mut receptions = Receptions::default();
        receptions.insert(TrackId("TR_screen".into()), reception("PA_ana"));
        assert_eq!(receptions.stream_states(), None);
        let update = receptions.set_stream_state(SubscriptionKey(1), proto::StreamState::Paused).expect("a known copy");
        let [info] = &update.stream_states[..] else { panic!("{update:?}") };
        assert_eq!((&info.participant_sid[..], &info.track_sid[..], info.state), ("PA_ana", "TR_screen", 1));
        assert_eq!(receptions.set_stream_state(SubscriptionKey(2), proto::StreamState::Active), None);
        assert_eq!(receptions.stream_states(), Some(update), "to who comes back");
    }

    #[test]
    fn only_copies_of_the_publisher_in_question_are_stopped() {
        let track = |name: &str| TrackId(name.into());
        let mut receptions = Receptions::default();
        receptions.insert(track("TR_ana"), reception("PA_ana"));
        receptions.insert(track("TR_ben"), reception("PA_ben"));
        receptions.refused.insert(track("TR_refused"), ParticipantId("PA_ben".into()));
        let ana = ParticipantId("PA_ana".into());
        assert_eq!(receptions.unwanted(Scope::Of(&ana), &BTreeSet::new()), [track("TR_ana")]);
        assert_eq!(receptions.refused.len(), 1);
        assert_eq!(receptions.unwanted(Scope::All, &BTreeSet::from([&track("TR_ana")])), [track("TR_ben")]);
        assert_eq!(receptions.refused.len(), 0);
    }
}
