//! One association with a client: where it is, its keys, and which streams flow over it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::adapt::Adaptation;
use super::allowance::Allowance;
use super::arena::{SubscriptionIndex, TrackIndex};
use super::command::Extensions;
use super::connectivity::Connectivity;
use super::handoff::{Held, Ownership};
use super::path::Path;
use crate::id::{Ssrc, SubscriptionKey, TransportKey};
use crate::media::extension::WrittenIds;
use crate::media::redundancy::Redundancy;
use crate::media::twcc::FeedbackGenerator;
use crate::time::Time;
use crate::transport::ice::IceCredentials;
use crate::transport::srtp::{Opener, Sealer};

/// Streams a client may send at once; more are dropped before they are decrypted. A browser with three layers and
/// their retransmissions on four tracks has 24.
pub const MAX_ROUTES: usize = 128;

/// Everything about one transport. Its tracks and subscriptions are values of their own.
#[derive(Debug, Serialize, Deserialize)]
pub struct Transport {
    pub key: TransportKey,
    pub credentials: IceCredentials,
    /// Those before the ICE restart, until a check carries the new ones.
    pub previous_credentials: Option<IceCredentials>,
    pub connectivity: Connectivity,
    /// What the client has used of the checks and DTLS datagrams it may send.
    pub checks: Allowance,
    pub dtls: Allowance,
    /// Secret and exact, so it is exported apart from the rest.
    #[serde(skip)]
    pub srtp: Option<Srtp>,
    /// Whom our RTCP is from, for feedback that belongs to no stream of ours.
    pub feedback_ssrc: Ssrc,
    pub tracks: Vec<TrackIndex>,
    pub subscriptions: Vec<SubscriptionIndex>,
    /// What the client's streams are.
    pub routes: BTreeMap<Ssrc, Route>,
    /// Which subscription an SSRC of ours is.
    pub sent: BTreeMap<Ssrc, SubscriptionIndex>,
    /// Extension ids of the client's packets; in a bundle they are the same on every m-line (RFC 8843, section 9.2).
    pub extensions: Extensions,
    /// The client takes transport-wide feedback.
    pub wants_feedback: bool,
    pub arrivals: FeedbackGenerator,
    /// Next transport-wide number of ours, for clients that give feedback.
    pub next_transport_sequence: u64,
    /// Only with video, and a client that gives feedback.
    pub adaptation: Option<Box<Adaptation>>,
    /// What its network loses of audio.
    pub redundancy: Redundancy,
    pub round_trip: Option<Duration>,
    pub next_report: Time,
    /// Reports sent so far; subscriptions take turns by it.
    pub reports: u32,
    /// When the schedule looks at this transport next.
    pub scheduled: Option<Time>,
    pub ownership: Ownership,
    /// What came before the keys did.
    pub held: Vec<Held>,
    /// Subscriptions that another engine has, since the transport went there.
    pub left: Vec<SubscriptionKey>,
    /// Of the last takeover from a checkpoint.
    pub epoch: u32,
}

/// Both directions of an association's encryption.
#[derive(Debug)]
pub struct Srtp {
    pub sealer: Sealer,
    pub opener: Opener,
}

/// What a stream from a client carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    Media {
        track: TrackIndex,
        layer: u8,
    },
    /// Retransmissions of a layer (RFC 4588).
    Repair {
        track: TrackIndex,
        layer: u8,
    },
}

impl Route {
    pub const fn track(self) -> TrackIndex {
        match self {
            Self::Media { track, .. } | Self::Repair { track, .. } => track,
        }
    }
}

impl Transport {
    pub fn new(now: Time, key: TransportKey, credentials: IceCredentials, feedback_ssrc: Ssrc) -> Self {
        Self {
            key,
            credentials,
            previous_credentials: None,
            connectivity: Connectivity::new(now),
            checks: Allowance::default(),
            dtls: Allowance::default(),
            srtp: None,
            feedback_ssrc,
            tracks: Vec::new(),
            subscriptions: Vec::new(),
            routes: BTreeMap::new(),
            sent: BTreeMap::new(),
            extensions: Extensions::default(),
            wants_feedback: false,
            arrivals: FeedbackGenerator::default(),
            next_transport_sequence: 0,
            adaptation: None,
            redundancy: Redundancy::default(),
            round_trip: None,
            next_report: now,
            reports: 0,
            scheduled: None,
            ownership: Ownership::OWNER,
            held: Vec::new(),
            left: Vec::new(),
            epoch: 0,
        }
    }

    /// Whether the client has checked a path since it may come here.
    pub fn is_new_path(&self, path: &Path) -> bool {
        self.ownership.awaited_since().is_some_and(|since| self.connectivity.is_checked_since(path, since))
    }

    /// The credentials a check for `ufrag` must carry.
    pub fn credentials_of(&self, ufrag: &str) -> Option<&IceCredentials> {
        [Some(&self.credentials), self.previous_credentials.as_ref()].into_iter().flatten().find(|c| c.ufrag == ufrag)
    }

    /// A check with `ufrag` was answered: if it is the new one, the old credentials end and are returned.
    pub fn confirm_credentials(&mut self, ufrag: &str) -> Option<IceCredentials> {
        if self.credentials.ufrag == ufrag { self.previous_credentials.take() } else { None }
    }

    /// A packet was sent whose transport-wide number, if it has one, is the last that was given out.
    pub fn note_sent(&mut self, now: Time, transport_sequence: Option<u16>, bytes: usize) {
        let Some(adaptation) = &mut self.adaptation else { return };
        if transport_sequence.is_some() {
            adaptation.estimator.note_sent(now, self.next_transport_sequence, bytes);
        }
        match adaptation.estimator.pace() {
            Some(pace) => adaptation.pacer.handle_sent(now, bytes, pace),
            None => adaptation.pacer.release(),
        }
    }

    /// Takes a sample of the round trip to the client.
    pub fn handle_round_trip(&mut self, sample: Duration) {
        self.round_trip = Some(self.round_trip.map_or(sample, |known| (known * 7 + sample) / 8));
    }
}

/// The transport-wide number of the next packet, if the receiver has an extension for it. `last` is the one before.
pub const fn take_number(last: &mut u64, ids: WrittenIds) -> Option<u16> {
    if !ids.has_transport_cc() {
        return None;
    }
    *last += 1;
    Some(*last as u16)
}
