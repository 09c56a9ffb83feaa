//! When to look at which transport, and when levels are due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::Engine;
use super::arena::{TrackIndex, TransportIndex};
use super::suspects::Cause;
use super::track::Origin;
use super::transport::Transport;
use crate::time::Time;

/// A deadline that could not be met is not tried again before this.
const PAUSE: Duration = Duration::from_millis(1);

/// Deadlines of transports and relayed tracks, and one of the whole engine.
///
/// A deadline may be put in earlier at any time. One that was put off stays in the heap and is found stale when it
/// comes: whose it is knows the one that counts.
#[derive(Debug, Default)]
pub struct Schedule {
    heap: BinaryHeap<Reverse<(Time, Due)>>,
    /// When audio levels are told next; `None` while nobody speaks.
    pub levels: Option<Time>,
}

/// What a deadline is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    Transport(TransportIndex),
    /// A track that is relayed to us: no transport looks after it.
    Track(TrackIndex),
}

impl Schedule {
    pub fn insert(&mut self, at: Time, due: Due) {
        self.heap.push(Reverse((at, due)));
    }

    /// Makes sure that a transport is looked at by then.
    pub fn bring_forward(&mut self, at: Time, index: TransportIndex, transport: &mut Transport) {
        if transport.scheduled.is_none_or(|scheduled| at < scheduled) {
            transport.scheduled = Some(at);
            self.insert(at, Due::Transport(index));
        }
    }

    /// A deadline that has come.
    fn take_due(&mut self, now: Time) -> Option<(Time, Due)> {
        let due = self.heap.peek().is_some_and(|Reverse((at, _))| *at <= now);
        if due { self.heap.pop().map(|Reverse(entry)| entry) } else { None }
    }

    pub fn next(&self) -> Option<Time> {
        let first = self.heap.peek().map(|Reverse((at, _))| *at);
        first.into_iter().chain(self.levels).min()
    }
}

impl Engine {
    /// Looks at everything whose deadline has come.
    pub(super) fn handle_deadlines(&mut self, now: Time) {
        while let Some((at, due)) = self.schedule.take_due(now) {
            // What it was may be gone, and something else be in its place.
            let Some(scheduled) = self.scheduled(due).filter(|scheduled| **scheduled == Some(at)) else { continue };
            *scheduled = None;
            match due {
                Due::Transport(index) => {
                    self.suspects.cause = Cause::Transport(index);
                    self.handle_transport_timeout(now, index);
                }
                Due::Track(index) => {
                    self.suspects.cause = Cause::Input;
                    self.handle_relayed_timeout(now, index);
                }
            }
        }
        self.suspects.cause = Cause::Itself;
    }

    /// Which deadline of it counts.
    fn scheduled(&mut self, due: Due) -> Option<&mut Option<Time>> {
        match due {
            Due::Transport(index) => self.transports.get_mut(index).map(|transport| &mut transport.scheduled),
            Due::Track(index) => match &mut self.tracks.get_mut(index)?.origin {
                Origin::Peer(relayed) => Some(&mut relayed.scheduled),
                Origin::Transport(_) => None,
            },
        }
    }

    /// Makes sure that the transport is looked at by then.
    pub(super) fn schedule_at(&mut self, index: TransportIndex, at: Option<Time>) {
        self.schedule_due(Due::Transport(index), at);
    }

    /// Makes sure that who asks for what a track lacks does so by then.
    pub(super) fn schedule_origin(&mut self, index: TrackIndex, at: Option<Time>) {
        match self.tracks.get(index).map(|track| &track.origin) {
            Some(Origin::Transport(transport)) => self.schedule_due(Due::Transport(*transport), at),
            Some(Origin::Peer(_)) => self.schedule_due(Due::Track(index), at),
            None => {}
        }
    }

    fn schedule_due(&mut self, due: Due, at: Option<Time>) {
        let (Some(at), Some(scheduled)) = (at, self.scheduled(due)) else { return };
        if scheduled.is_none_or(|scheduled| at < scheduled) {
            *scheduled = Some(at);
            self.schedule.insert(at, due);
        }
    }

    /// Makes sure that the transport is looked at when its next deadline comes.
    pub(super) fn schedule_transport(&mut self, now: Time, index: TransportIndex) {
        let deadline = self.deadline(index).map(|at| at.max(now + PAUSE));
        self.schedule_at(index, deadline);
    }

    /// When there is something to do for a transport.
    fn deadline(&self, index: TransportIndex) -> Option<Time> {
        let transport = self.transports.get(index)?;
        let consent = transport.connectivity.consent_ends();
        if !self.can_send(index) {
            return consent;
        }
        let tracks = transport.tracks.iter().filter_map(|track| self.tracks.get(*track));
        let layers = tracks.filter(|track| !track.muted).flat_map(|track| &track.layers);
        let requests = layers.filter_map(|layer| Some((layer, layer.source.as_ref()?)));
        let requests = requests.flat_map(|(layer, source)| [source.nack.next_at(), layer.keyframe.next_at()]);
        let has_media = !transport.tracks.is_empty() || !transport.subscriptions.is_empty();
        let report = has_media.then_some(transport.next_report);
        let adaptation = transport.adaptation.as_ref().and_then(|adaptation| adaptation.next_at());
        requests.chain([consent, report, transport.arrivals.next_at(), adaptation]).flatten().min()
    }
}
