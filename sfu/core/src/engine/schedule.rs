//! When to look at which transport, and when levels are due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::Engine;
use super::arena::TransportIndex;
use crate::time::Time;

/// A deadline that could not be met is not tried again before this.
const PAUSE: Duration = Duration::from_millis(1);

/// Deadlines of transports, and one of the whole engine.
///
/// A deadline may be put in earlier at any time. One that was put off stays in the heap and is found stale when it
/// comes: each transport knows the one that counts.
#[derive(Debug, Default)]
pub struct Schedule {
    heap: BinaryHeap<Reverse<(Time, TransportIndex)>>,
    /// When audio levels are told next; `None` while nobody speaks.
    pub levels: Option<Time>,
}

impl Schedule {
    pub fn insert(&mut self, at: Time, transport: TransportIndex) {
        self.heap.push(Reverse((at, transport)));
    }

    /// A deadline that has come.
    fn take_due(&mut self, now: Time) -> Option<(Time, TransportIndex)> {
        let due = self.heap.peek().is_some_and(|Reverse((at, _))| *at <= now);
        if due { self.heap.pop().map(|Reverse(entry)| entry) } else { None }
    }

    pub fn next(&self) -> Option<Time> {
        let transports = self.heap.peek().map(|Reverse((at, _))| *at);
        transports.into_iter().chain(self.levels).min()
    }
}

impl Engine {
    /// Looks at every transport whose deadline has come.
    pub(super) fn handle_transport_timeouts(&mut self, now: Time) {
        while let Some((at, index)) = self.schedule.take_due(now) {
            let Some(transport) = self.transports.get_mut(index).filter(|t| t.scheduled == Some(at)) else { continue };
            transport.scheduled = None;
            self.handle_transport_timeout(now, index);
        }
    }

    /// Makes sure that the transport is looked at by then.
    pub(super) fn schedule_at(&mut self, index: TransportIndex, at: Option<Time>) {
        let (Some(at), Some(transport)) = (at, self.transports.get_mut(index)) else { return };
        if transport.scheduled.is_none_or(|scheduled| at < scheduled) {
            transport.scheduled = Some(at);
            self.schedule.insert(at, index);
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
