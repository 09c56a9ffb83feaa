//! What an engine has done so far, as plain counters for the worker to publish.

use serde::{Deserialize, Serialize};

use crate::transport::srtp::Profile;

/// Counters since the engine was made, and how much there is right now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStats {
    pub received: Traffic,
    pub sent: Traffic,
    pub dropped: Dropped,
    pub feedback: Feedback,
    pub lost: Lost,
    pub redundancy: Redundancy,
    pub relay: RelayTraffic,
    /// Connectivity checks that were answered.
    pub checks: u64,
    /// Panics that were survived, and the one that was not.
    pub panics: u64,
    /// Events control was too far behind to take.
    pub events_dropped: u64,
    /// Now.
    pub transports: u64,
    pub tracks: u64,
    pub subscriptions: u64,
}

/// Transports that have keys, by protection profile (RFC 5764, section 4.1.2; RFC 7714, section 14.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    pub aes_128_gcm: u64,
    pub aes_256_gcm: u64,
    pub aes_128_cm: u64,
}

impl Protection {
    pub(crate) fn count(profiles: impl Iterator<Item = Profile>) -> Self {
        let mut counts = Self::default();
        for profile in profiles {
            *match profile {
                Profile::AeadAes128Gcm => &mut counts.aes_128_gcm,
                Profile::AeadAes256Gcm => &mut counts.aes_256_gcm,
                Profile::Aes128CmHmacSha1_80 => &mut counts.aes_128_cm,
            } += 1;
        }
        counts
    }
}

/// Datagrams and bytes of one direction, by what they carry. Bytes are UDP payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    pub stun: Count,
    pub dtls: Count,
    /// Media, without retransmissions.
    pub rtp: Count,
    /// Retransmissions.
    pub rtx: Count,
    /// Packets of nothing that ask whether a path carries more.
    pub padding: Count,
    pub rtcp: Count,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

impl Count {
    pub(crate) const fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}

/// Messages between engines, and bytes of media in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayTraffic {
    pub sent: Count,
    pub received: Count,
}

/// Media packets that the network lost, before any was repeated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// On the way from publishers: gaps in their numbers.
    pub received: u64,
    /// On the way to subscribers, as these report.
    pub sent: u64,
}

/// Audio in redundant packets (RFC 2198).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redundancy {
    /// Frames of publishers that were lost and came beside later ones.
    pub recovered: u64,
    /// Packets sent with earlier frames in them.
    pub sent: u64,
    /// Payloads made for these: one serves all subscribers who get the same.
    pub encoded: u64,
}

/// Datagrams that came and were dropped, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Neither STUN, DTLS nor SRTP, or cut short.
    pub malformed: u64,
    /// From an address no check has proven.
    pub unknown_path: u64,
    /// A check for credentials nobody has.
    pub unknown_ufrag: u64,
    /// A check that is not authentic.
    pub rejected_check: u64,
    /// Checks and DTLS of a client that sends more of them than any needs.
    pub too_fast: u64,
    /// Media before the keys are there.
    pub no_keys: u64,
    /// Media that does not authenticate.
    pub forged: u64,
    /// Media that came before, or is older than the replay window.
    pub replayed: u64,
    /// A client uses more SSRCs than anybody needs.
    pub too_many_ssrcs: u64,
    /// Media of no track.
    pub unmatched: u64,
    /// A copy of what the history has, or older than it reaches.
    pub duplicate: u64,
    /// Media of a muted track.
    pub muted: u64,
    /// Audio of who is not among the heard. Some of it may be forwarded a moment later, as the beginning of a word.
    pub unheard: u64,
    /// Media that the receiver has no codec for.
    pub no_codec: u64,
    /// Messages of other engines about tracks that are not here or not relayed to us.
    pub unrelated: u64,
    /// Packets we could not seal. Each is a fault of ours.
    pub unsealable: u64,
    /// DTLS to be sent while there is no path.
    pub no_path: u64,
    /// More came out than anybody took; the drain rule was broken.
    pub overflow: u64,
}

/// RTCP feedback by kind: what subscribers ask of us and we of publishers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// Packets asked for by subscribers.
    pub nacks_received: u64,
    /// Packets asked for that were not answered: too old, unknown, asked for twice at once, or over the budget.
    pub nacks_unanswered: u64,
    /// Packets asked for from publishers.
    pub nacks_sent: u64,
    /// Keyframes asked for by subscribers, as PLI or FIR.
    pub keyframes_requested: u64,
    pub plis_sent: u64,
    pub transport_wide_received: u64,
    pub transport_wide_sent: u64,
    pub remb_received: u64,
    pub goodbyes_received: u64,
}
