//! A peer connection on which we always offer: the receiving one of two.
//!
//! The first m-line carries data channels, every other one a copy of a track. M-lines are only ever appended; one
//! whose copy ended is shown inactive once and then given to the next copy of the same kind.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::codec::{self, CodecPolicy};
use super::description::{Description, Direction, RemoteTransport, Section, Setup};
use super::offer::Proposal;
use super::parse::MAX_SECTIONS;
use super::subscription::{Assignment, Subscription};
use super::write::{DATA_PROTOCOL, MEDIA_PROTOCOL, Writer, media_name};
use super::{LocalTransport, NegotiationError, extension};
use crate::engine::command::MediaKind;
use crate::id::{Mid, SubscriptionKey};
use crate::transport::DtlsRole;

/// The negotiation as a value.
///
/// Add and remove subscriptions at any time; while [`needs_offer`](Self::needs_offer), make an [`offer`](Self::offer)
/// and hand its answer to [`apply_answer`](Self::apply_answer). One offer is in flight at most.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerOffers {
    policy: CodecPolicy,
    session_id: u64,
    /// Descriptions made.
    version: u64,
    /// M-lines may carry another track later. Not with Safari, which mixes up their tracks.
    reuse: bool,
    lines: Vec<Line>,
    /// Subscriptions without an m-line, oldest first.
    waiting: VecDeque<Subscription>,
    in_flight: bool,
    restart: bool,
    role: Option<DtlsRole>,
    remote: Option<RemoteTransport>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Offer {
    pub sdp: String,
    /// What each m-line carries, if the client accepts.
    pub sending: Vec<(Mid, SubscriptionKey)>,
    /// Subscriptions for which there is no m-line left; they are forgotten.
    pub refused: Vec<SubscriptionKey>,
}

impl fmt::Debug for Offer {
    /// Without the description, which has a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").field("sending", &self.sending).finish_non_exhaustive()
    }
}

/// What the client made of our offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerOutcome {
    pub remote: RemoteTransport,
    /// Our part in the DTLS handshake; the same for the whole connection.
    pub role: DtlsRole,
    /// Subscriptions the client takes from now on, with the numbers it wants.
    pub started: Vec<Assignment>,
    /// Subscriptions it does not take, or no longer; they are forgotten.
    pub refused: Vec<SubscriptionKey>,
}

/// One media m-line of ours.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    mid: Mid,
    kind: MediaKind,
    sends: Option<Subscription>,
    /// The client takes what it sends.
    confirmed: bool,
    /// In the last offer.
    offered: Direction,
    /// The client rejected it for good.
    rejected: bool,
}

impl Line {
    fn direction(&self) -> Direction {
        Direction::new(self.sends.is_some(), false)
    }

    fn is_free(&self, kind: MediaKind) -> bool {
        self.kind == kind && self.sends.is_none() && !self.offered.sends() && !self.rejected
    }
}

impl ServerOffers {
    /// `session_id` goes into the origin line; any number that differs between connections.
    /// `reuse_sections`: whether an m-line may carry another track after its first.
    pub const fn new(session_id: u64, policy: CodecPolicy, reuse_sections: bool) -> Self {
        Self {
            policy,
            session_id,
            version: 0,
            reuse: reuse_sections,
            lines: Vec::new(),
            waiting: VecDeque::new(),
            in_flight: false,
            restart: false,
            role: None,
            remote: None,
        }
    }

    /// Send a copy of a track, from the next offer on.
    pub fn subscribe(&mut self, subscription: Subscription) {
        self.waiting.push_back(subscription);
    }

    /// Stop sending a copy.
    pub fn unsubscribe(&mut self, key: SubscriptionKey) {
        self.waiting.retain(|waiting| waiting.key != key);
        for line in &mut self.lines {
            if line.sends.take_if(|subscription| subscription.key == key).is_some() {
                line.confirmed = false;
            }
        }
    }

    /// The next offer carries new ICE credentials.
    pub const fn restart_ice(&mut self) {
        self.restart = true;
    }

    /// An answer will not come any more, e.g. because the signalling connection it was to come over broke.
    pub const fn abandon_offer(&mut self) {
        if self.in_flight {
            self.in_flight = false;
            self.restart = true;
        }
    }

    pub const fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// There is something to offer and nothing in flight. The first offer has data channels at least.
    pub fn needs_offer(&self) -> bool {
        let outdated = || self.lines.iter().any(|line| line.direction() != line.offered);
        !self.in_flight && (self.version == 0 || self.restart || !self.waiting.is_empty() || outdated())
    }

    /// Makes the next offer, if one is needed.
    pub fn offer(&mut self, local: &LocalTransport) -> Option<Offer> {
        if !self.needs_offer() {
            return None;
        }
        let refused = self.place();
        let data = Mid("0".to_owned());
        let mut writer = Writer::new(local, "actpass", self.session_id, self.version);
        let in_use = self.lines.iter().filter(|line| !line.rejected);
        writer.session(std::iter::once(&data).chain(in_use.map(|line| &line.mid)));
        writer.data(&data, DATA_PROTOCOL);
        for line in &mut self.lines {
            line.offered = line.direction();
            if line.rejected {
                let format = codec::offered(line.kind, &self.policy).first().map_or(0, |c| c.mapping.payload_type);
                writer.rejected(media_name(line.kind), MEDIA_PROTOCOL, &format.to_string(), &line.mid);
            } else {
                Proposal { kind: line.kind, mid: &line.mid, sends: line.sends.as_ref() }
                    .write(&mut writer, &self.policy);
            }
        }
        self.version += 1;
        self.in_flight = true;
        self.restart = false;
        let sending = self.sending().map(|(mid, key)| (mid.clone(), key)).collect();
        Some(Offer { sdp: writer.finish(), sending, refused })
    }

    /// Gives every waiting subscription a free m-line or a new one; returns those for which there is no room.
    fn place(&mut self) -> Vec<SubscriptionKey> {
        let mut refused = Vec::new();
        for subscription in std::mem::take(&mut self.waiting) {
            let free = |line: &&mut Line| self.reuse && line.is_free(subscription.kind);
            if let Some(line) = self.lines.iter_mut().find(free) {
                line.sends = Some(subscription);
            } else if self.lines.len() + 1 < MAX_SECTIONS {
                self.lines.push(Line {
                    mid: Mid((self.lines.len() + 1).to_string()),
                    kind: subscription.kind,
                    sends: Some(subscription),
                    confirmed: false,
                    offered: Direction::Inactive,
                    rejected: false,
                });
            } else {
                refused.push(subscription.key);
            }
        }
        refused
    }

    /// Takes in the answer to the offer in flight.
    ///
    /// # Errors
    /// Everything of [`NegotiationError`] but the variants about offers. Nothing has changed then.
    pub fn apply_answer(&mut self, sdp: &str) -> Result<AnswerOutcome, NegotiationError> {
        if !self.in_flight {
            return Err(NegotiationError::NotWaiting);
        }
        let description = Description::parse(sdp)?;
        let sections = self.match_sections(&description)?;
        let (remote, setup) = description.transport()?;
        let role = match setup {
            Setup::Active => DtlsRole::Server,
            Setup::Passive => DtlsRole::Client,
            Setup::ActPass | Setup::HoldConn => return Err(NegotiationError::UndecidedRole),
        };
        if self.role.is_some_and(|known| known != role) {
            return Err(NegotiationError::RoleChanged);
        }
        if self.remote.as_ref().is_some_and(|known| known.fingerprint != remote.fingerprint) {
            return Err(NegotiationError::FingerprintChanged);
        }
        let mut outcome = AnswerOutcome { remote: remote.clone(), role, started: Vec::new(), refused: Vec::new() };
        for (line, section) in self.lines.iter_mut().zip(sections) {
            line.apply(section, &self.policy, &mut outcome);
        }
        self.in_flight = false;
        self.role = Some(role);
        self.remote = Some(remote);
        Ok(outcome)
    }

    /// The media m-lines of an answer, which must be ours in our order (RFC 3264, section 6).
    fn match_sections<'d>(&self, description: &'d Description) -> Result<&'d [Section], NegotiationError> {
        let (_, media) = description.sections.split_first().ok_or(NegotiationError::Incomplete("data channels"))?;
        for (index, line) in self.lines.iter().enumerate() {
            if media.get(index).is_none_or(|section| section.mid != line.mid) {
                return Err(NegotiationError::AnswerMismatch(line.mid.clone()));
            }
        }
        Ok(media)
    }

    /// What we send, or have in an offer, by m-line.
    pub fn sending(&self) -> impl Iterator<Item = (&Mid, SubscriptionKey)> {
        self.lines.iter().filter_map(|line| Some((&line.mid, line.sends.as_ref()?.key)))
    }

    /// The client's half of the transport, once it answered.
    pub const fn remote(&self) -> Option<&RemoteTransport> {
        self.remote.as_ref()
    }

    pub const fn role(&self) -> Option<DtlsRole> {
        self.role
    }
}

impl Line {
    /// What the client says of it.
    fn apply(&mut self, section: &Section, policy: &CodecPolicy, outcome: &mut AnswerOutcome) {
        self.rejected |= section.rejected;
        let codecs = codec::accept(section, policy);
        let taken = !section.rejected && section.direction.receives() && !codecs.is_empty();
        let Some(subscription) = &self.sends else { return };
        if !taken {
            outcome.refused.push(subscription.key);
            self.sends = None;
            self.confirmed = false;
        } else if !self.confirmed {
            self.confirmed = true;
            outcome.started.push(Assignment {
                subscription: subscription.key,
                mid: self.mid.clone(),
                codecs: codec::mappings(&codecs),
                extensions: extension::to_client(&extension::accept(section), self.kind),
            });
        }
    }
}

#[cfg(test)]
mod tests;
