//! A session, written down: all that another engine needs to go on with one transport, its tracks and its subscriptions.
//!
//! No packet is in it but the few sealed ones of streams without retransmissions: histories are where the tracks are
//! relayed to. Things are named by their keys, since each engine has them at places of its own.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::engine::Engine;
use crate::engine::adapt::Adaptation;
use crate::engine::arena::TransportIndex;
use crate::engine::command::{Extensions, Publish};
use crate::engine::subscription::{Last, Rest, Subscription};
use crate::engine::track::{Layer, Source, Track};
use crate::engine::transport::{Route, Transport};
use crate::id::{Ssrc, TrackKey, TransportKey};
use crate::media::keyframe::KeyframeRequest;
use crate::media::level::LevelMeter;
use crate::media::meter::RateMeter;
use crate::media::nack::NackGenerator;
use crate::media::receive::ReceiveStatistics;
use crate::media::redundancy::Redundancy;
use crate::media::report::Sent;
use crate::media::rewrite::{Rewriter, SourceId};
use crate::media::scalable::Scalable;
use crate::media::sequence::Unwrapper;
use crate::media::timeline::Mapping;
use crate::media::twcc::FeedbackGenerator;
use crate::time::Time;
use crate::transport::srtp::{OpenerState, OutboundStream, SealerCheckpoint, SealerState};

/// Raised when a field changes its meaning, so that no state is misread.
pub(super) const VERSION: u32 = 4;

/// A session at rest, exactly. Carries keys: whatever stores or sends it must keep it secret. There is one of it, and
/// whoever takes it up is the owner.
///
/// Times in it count from the origin of the engine it was taken from; who goes on with it must count from the same.
#[derive(Debug, Serialize, Deserialize)]
pub struct SessionState {
    pub(super) version: u32,
    pub(super) keys: Option<(SealerState, OpenerState)>,
    pub(super) transport: TransportState,
    /// What control holds of it, if that moves too.
    pub(super) enclosed: Enclosed,
}

/// What control adds to a session that moves, in a form of its own. An engine does not look inside. Never shown, and
/// overwritten when dropped.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Enclosed(pub Vec<u8>);

impl Drop for Enclosed {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Enclosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Enclosed({} bytes)", self.0.len())
    }
}

/// A session of some time ago, for the case that its owner dies. Its counters are stale at once:
/// [`Engine::take_over`](crate::engine::Engine::take_over) leaves out what the owner may have used since.
#[derive(Debug, Serialize, Deserialize)]
pub struct SessionCheckpoint {
    pub(super) version: u32,
    /// How often the session had been taken over from a checkpoint.
    pub(super) epoch: u32,
    pub(super) key: TransportKey,
    pub(super) keys: Option<(SealerCheckpoint, OpenerState)>,
    pub(super) transport: TransportState,
    /// What control adds.
    pub enclosed: Enclosed,
}

impl SessionCheckpoint {
    /// How often the session had been taken over; the next takeover has a greater one.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }
}

/// The transport itself, without its keys and without where its client is.
#[derive(Debug, Serialize, Deserialize)]
pub struct TransportState {
    pub(super) epoch: u32,
    pub(super) feedback_ssrc: Ssrc,
    pub(super) routes: Vec<RouteState>,
    pub(super) extensions: Extensions,
    pub(super) wants_feedback: bool,
    pub(super) arrivals: FeedbackGenerator,
    pub(super) next_transport_sequence: u64,
    pub(super) adaptation: Option<Box<Adaptation>>,
    pub(super) redundancy: Redundancy,
    pub(super) round_trip: Option<Duration>,
    pub(super) next_report: Time,
    pub(super) reports: u32,
    pub(super) tracks: Vec<TrackState>,
    pub(super) subscriptions: Vec<SubscriptionState>,
}

/// What a stream of the client's carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteState {
    pub(super) ssrc: Ssrc,
    pub(super) track: TrackKey,
    pub(super) layer: u8,
    pub(super) is_repair: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct TrackState {
    pub(super) description: Publish,
    pub(super) muted: bool,
    pub(super) layers: Vec<LayerState>,
    pub(super) level: LevelMeter,
    pub(super) next_source: SourceId,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct LayerState {
    pub(super) source: Option<SourceState>,
    pub(super) newest: Option<SourceId>,
    pub(super) keyframe: KeyframeRequest,
    pub(super) last_packet: Option<Time>,
    pub(super) interval: Duration,
    pub(super) outrun: u8,
    pub(super) started: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SourceState {
    pub(super) id: SourceId,
    pub(super) ssrc: Ssrc,
    pub(super) rtx: Option<Ssrc>,
    pub(super) clock_rate: u32,
    pub(super) sequence: Unwrapper,
    pub(super) statistics: ReceiveStatistics,
    pub(super) rate: RateMeter,
    pub(super) steady: RateMeter,
    pub(super) nack: NackGenerator,
    pub(super) mapping: Option<Mapping>,
    pub(super) scalable: Option<Box<Scalable>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SubscriptionState {
    pub(in crate::engine) rewriter: Rewriter,
    pub(in crate::engine) last: Option<Last>,
    pub(in crate::engine) sent: Sent,
    pub(in crate::engine) stream: Option<OutboundStream>,
    pub(in crate::engine) current: Option<u8>,
    pub(in crate::engine) wanted: Option<u8>,
    pub(in crate::engine) is_known: bool,
    pub(in crate::engine) keeps_sealed: bool,
    pub(in crate::engine) rest: Box<Rest>,
}

impl Engine {
    /// Writes down all of a transport but its keys. Each thing is taken apart without a rest pattern: a new field that
    /// is not carried along does not compile.
    pub(super) fn describe_transport(&self, index: TransportIndex) -> Option<TransportState> {
        let Transport {
            key: _,
            // The new owner has its own, as it has paths.
            credentials: _,
            previous_credentials: _,
            connectivity: _,
            checks: _,
            dtls: _,
            srtp: _,
            feedback_ssrc,
            tracks,
            subscriptions,
            routes,
            sent: _,
            extensions,
            wants_feedback,
            arrivals,
            next_transport_sequence,
            adaptation,
            redundancy,
            round_trip,
            next_report,
            reports,
            scheduled: _,
            ownership: _,
            held: _,
            left: _,
            epoch,
        } = self.transports.get(index)?;
        let route = |(ssrc, route): (&Ssrc, &Route)| {
            let (is_repair, track, layer) = match *route {
                Route::Media { track, layer } => (false, track, layer),
                Route::Repair { track, layer } => (true, track, layer),
            };
            let track = self.tracks.get(track)?.description.track;
            Some(RouteState { ssrc: *ssrc, track, layer, is_repair })
        };
        Some(TransportState {
            epoch: *epoch,
            feedback_ssrc: *feedback_ssrc,
            routes: routes.iter().filter_map(route).collect(),
            extensions: *extensions,
            wants_feedback: *wants_feedback,
            arrivals: arrivals.clone(),
            next_transport_sequence: *next_transport_sequence,
            adaptation: adaptation.as_ref().map(|adaptation| Box::new(adaptation.to_hand_over())),
            redundancy: *redundancy,
            round_trip: *round_trip,
            next_report: *next_report,
            reports: *reports,
            tracks: tracks.iter().filter_map(|index| self.tracks.get(*index)).map(Track::describe_state).collect(),
            subscriptions: subscriptions
                .iter()
                .filter_map(|index| self.subscriptions.get(*index))
                .map(Subscription::describe_state)
                .collect(),
        })
    }
}

impl Track {
    fn describe_state(&self) -> TrackState {
        let Self {
            origin: _,
            description,
            muted,
            layers,
            // Of streams that ended, only packets are left.
            retired: _,
            subscriptions: _,
            // Those of the old home are its peers on.
            peers: _,
            level,
            // Each engine decides for itself who is heard.
            held_back: _,
            next_source,
        } = self;
        TrackState {
            description: description.clone(),
            muted: *muted,
            layers: layers.iter().map(Layer::describe_state).collect(),
            level: level.clone(),
            next_source: *next_source,
        }
    }
}

impl Layer {
    fn describe_state(&self) -> LayerState {
        let Self { rid: _, source, newest, keyframe, last_packet, interval, outrun, started } = self;
        LayerState {
            source: source.as_ref().map(Source::describe_state),
            newest: *newest,
            keyframe: keyframe.clone(),
            last_packet: *last_packet,
            interval: *interval,
            outrun: *outrun,
            started: *started,
        }
    }
}

impl Source {
    fn describe_state(&self) -> SourceState {
        let Self { id, ssrc, rtx, clock_rate, sequence, history: _, statistics, rate, steady, nack, mapping, scalable } =
            self;
        SourceState {
            id: *id,
            ssrc: *ssrc,
            rtx: *rtx,
            clock_rate: *clock_rate,
            sequence: *sequence,
            statistics: statistics.clone(),
            rate: rate.clone(),
            steady: steady.clone(),
            nack: nack.clone(),
            mapping: *mapping,
            scalable: scalable.clone(),
        }
    }
}
