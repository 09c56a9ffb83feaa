//! A peer connection on which the client always offers: the single one, or the publishing one of two.
//!
//! The client's m-lines are two things at once: where it sends (a publication) and places where it can receive
//! (filled by us with subscriptions). The client alone can add places, so what we lack is asked for by signalling,
//! outside of descriptions: [`ClientOffers::section_request`].

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::answer::{Accepted, Reply};
use super::codec::{self, CodecPolicy};
use super::description::{Description, Direction, Msid, RemoteTransport, Section, SectionKind, Setup};
use super::parse::MAX_SECTIONS;
use super::subscription::{Assignment, Subscription};
use super::write::Writer;
use super::{LocalTransport, NegotiationError, extension, simulcast};
use crate::engine::command::{Codec, CodecMapping, Extensions, Feed, MediaKind, Publish, SignalledSsrc};
use crate::id::{AudioGroupKey, Mid, Rid, SubscriptionKey, TrackKey, TransportKey};
use crate::transport::DtlsRole;

/// The negotiation as a value.
///
/// For each offer: [`handle_offer`](Self::handle_offer), then [`claim`](Self::claim) the publications that are known
/// by now, then [`answer`](Self::answer). Subscriptions may be added and removed at any time; the next answer places
/// them. After every change ask [`section_request`](Self::section_request) whether the client has to be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClientOffers {
    policy: CodecPolicy,
    session_id: u64,
    version: u64,
    role: Option<DtlsRole>,
    remote: Option<RemoteTransport>,
    lines: Vec<Line>,
    /// Subscriptions without an m-line, oldest first.
    waiting: VecDeque<Subscription>,
    /// M-lines asked for and not offered yet.
    asked: SectionRequest,
    /// An offer was asked for and has not come yet.
    offer_asked: bool,
    /// An offer came and was not answered yet.
    answer_due: bool,
}

/// What an offer says that was not known before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferOutcome {
    pub remote: RemoteTransport,
    /// Our part in the DTLS handshake; the same for the whole connection.
    pub role: DtlsRole,
    /// The client changed its ICE credentials; the answer must carry new ones of ours.
    pub ice_restart: bool,
    /// M-lines on which the client begins to send. Not claimed yet.
    pub published: Vec<PublishedSection>,
    /// Tracks the client sends otherwise than before; ask [`ClientOffers::published`] how.
    pub changed: Vec<TrackKey>,
    /// Claimed tracks the client stopped sending.
    pub unpublished: Vec<TrackKey>,
    /// Subscriptions that lost their m-line and are forgotten. Subscribe anew, with another key, if still wanted.
    pub ended: Vec<SubscriptionKey>,
    /// There is an m-line for data channels.
    pub data_channels: bool,
}

/// An m-line on which the client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedSection {
    pub mid: Mid,
    pub kind: MediaKind,
    /// The client's names for stream and track: `track` is what LiveKit calls `cid`.
    pub msid: Option<Msid>,
    /// In the order of the answer: the client sends the first.
    pub codecs: Vec<CodecMapping>,
    pub extensions: Extensions,
    /// Lowest first; empty without simulcast.
    pub rids: Vec<Rid>,
    pub ssrcs: Vec<SignalledSsrc>,
    pub nack: bool,
    pub transport_cc: bool,
}

impl PublishedSection {
    /// The engine's command for it.
    pub fn publish(self, track: TrackKey, transport: TransportKey, handling: Handling) -> Publish {
        let Handling { group, encrypted, redundancy } = handling;
        Publish {
            track,
            feed: Feed::Transport(transport),
            mid: self.mid,
            kind: self.kind,
            codecs: self.codecs,
            extensions: self.extensions,
            rids: self.rids,
            ssrcs: self.ssrcs,
            nack: self.nack,
            transport_cc: self.transport_cc,
            group,
            encrypted,
            redundancy,
        }
    }
}

/// What the engine has to know of a track that its m-line does not tell; as in [`Publish`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Handling {
    pub group: Option<AudioGroupKey>,
    pub encrypted: bool,
    pub redundancy: bool,
}

/// How a client shall send a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishOptions {
    /// Moved to the front of the answer, so that the client sends it.
    pub preferred_codec: Option<Codec>,
    /// Opus sends nothing while there is silence.
    pub dtx: bool,
    /// Opus in two channels and up to 510 kb/s.
    pub stereo: bool,
    /// Opus with earlier frames beside each (RFC 2198). Never of what is encrypted end to end: browsers encrypt both
    /// together, and nobody but the receivers could tell them apart.
    pub redundancy: bool,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self { preferred_codec: None, dtx: true, stereo: false, redundancy: false }
    }
}

/// Receiving m-lines to ask the client for, beyond those it has been asked for. Both zero: a new offer is enough.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionRequest {
    pub audio: u32,
    pub video: u32,
}

impl SectionRequest {
    fn of(&mut self, kind: MediaKind) -> &mut u32 {
        match kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    pub sdp: String,
    /// Subscriptions that got an m-line with this answer.
    pub started: Vec<Assignment>,
    /// Everything we send from this answer on, by m-line.
    pub sending: Vec<(Mid, SubscriptionKey)>,
}

impl fmt::Debug for Answer {
    /// Without the description, which has a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("sending", &self.sending).finish_non_exhaustive()
    }
}

/// One m-line of the client.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    accepted: Accepted,
    publication: Option<Publication>,
    sends: Option<Subscription>,
    /// Our direction in the last answer. A place is free again only when an answer has shown it empty: browsers tell
    /// the page of a new track when a direction changes, not when a name does.
    answered: Direction,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Publication {
    msid: Option<Msid>,
    ssrcs: Vec<SignalledSsrc>,
    claim: Claim,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Claim {
    /// Nobody has said yet what it is. It is received all the same: the client sends request and offer at once.
    Open,
    Taken {
        track: TrackKey,
        options: PublishOptions,
    },
    /// Not to be received.
    Refused,
}

impl Line {
    /// Our direction as it should be.
    fn direction(&self) -> Direction {
        let refused = self.publication.as_ref().is_none_or(|p| p.claim == Claim::Refused);
        let receives = self.accepted.client_sends() && !refused;
        Direction::new(self.accepted.client_receives() && self.sends.is_some(), receives)
    }

    fn is_receiving(&self, kind: MediaKind) -> bool {
        self.accepted.client_receives() && self.accepted.kind.media() == Some(kind)
    }

    /// A subscription may be placed here now.
    fn is_free(&self, kind: MediaKind) -> bool {
        self.is_receiving(kind) && self.sends.is_none() && !self.answered.sends()
    }

    fn track(&self) -> Option<TrackKey> {
        match self.publication.as_ref()?.claim {
            Claim::Taken { track, .. } => Some(track),
            Claim::Open | Claim::Refused => None,
        }
    }

    fn published(&self) -> Option<PublishedSection> {
        let publication = self.publication.as_ref()?;
        let kind = self.accepted.kind.media()?;
        let extensions = extension::from_client(&self.accepted.extensions, kind);
        let feedback = codec::feedback(&self.accepted.codecs);
        Some(PublishedSection {
            mid: self.accepted.mid.clone(),
            kind,
            msid: publication.msid.clone(),
            codecs: codec::mappings(&self.accepted.codecs),
            extensions,
            rids: simulcast::lowest_first(&self.accepted.layers),
            ssrcs: publication.ssrcs.clone(),
            nack: feedback.nack,
            transport_cc: feedback.transport_cc && extensions.transport_cc.is_some(),
        })
    }

    fn assignment(&self) -> Option<Assignment> {
        let subscription = self.sends.as_ref()?;
        Some(Assignment {
            subscription: subscription.key,
            mid: self.accepted.mid.clone(),
            codecs: codec::mappings(&self.accepted.codecs),
            extensions: extension::to_client(&self.accepted.extensions, subscription.kind),
        })
    }

    fn apply_preference(&mut self) {
        let options = match &self.publication {
            Some(Publication { claim: Claim::Taken { options, .. }, .. }) => *options,
            _ => PublishOptions::default(),
        };
        if let Some(preferred) = options.preferred_codec {
            codec::prefer(&mut self.accepted.codecs, preferred);
        }
        codec::prefer_redundancy(&mut self.accepted.codecs, options.redundancy);
    }
}

impl ClientOffers {
    /// `session_id` goes into the origin line; any number that differs between connections.
    pub const fn new(session_id: u64, policy: CodecPolicy) -> Self {
        Self {
            policy,
            session_id,
            version: 0,
            role: None,
            remote: None,
            lines: Vec::new(),
            waiting: VecDeque::new(),
            asked: SectionRequest { audio: 0, video: 0 },
            offer_asked: false,
            answer_due: false,
        }
    }

    /// Takes in an offer. Publications carried on, and subscriptions placed, keep their m-lines.
    ///
    /// # Errors
    /// Everything of [`NegotiationError`] but the variants about answers. Nothing has changed then.
    pub fn handle_offer(&mut self, sdp: &str) -> Result<OfferOutcome, NegotiationError> {
        let description = Description::parse(sdp)?;
        let (before, now) = (self.lines.len(), description.sections.len());
        if now < before {
            return Err(NegotiationError::SectionsRemoved { before, now });
        }
        let (remote, setup) = description.transport()?;
        let role = self.decide_role(setup)?;
        if self.remote.as_ref().is_some_and(|known| known.fingerprint != remote.fingerprint) {
            return Err(NegotiationError::FingerprintChanged);
        }
        let ice_restart = self
            .remote
            .as_ref()
            .is_some_and(|known| (&known.ice_ufrag, &known.ice_pwd) != (&remote.ice_ufrag, &remote.ice_pwd));
        let mut outcome = OfferOutcome {
            remote: remote.clone(),
            role,
            ice_restart,
            published: Vec::new(),
            changed: Vec::new(),
            unpublished: Vec::new(),
            ended: Vec::new(),
            data_channels: false,
        };
        let mut known: Vec<Option<Line>> = std::mem::take(&mut self.lines).into_iter().map(Some).collect();
        known.resize_with(now, || None);
        for (section, known) in description.sections.iter().zip(known) {
            let accepted = Accepted::new(section, description.bundles(section), &self.policy);
            outcome.data_channels |= accepted.usable && accepted.kind == SectionKind::Application;
            let line = self.renew(section, accepted, known, &mut outcome);
            self.lines.push(line);
        }
        self.role = Some(role);
        self.remote = Some(remote);
        self.offer_asked = false;
        self.answer_due = true;
        Ok(outcome)
    }

    /// A client's offer leaves the role to us, so that we are the server and choose the cipher; if it does not, it is obeyed.
    fn decide_role(&self, setup: Setup) -> Result<DtlsRole, NegotiationError> {
        let wanted = match setup {
            Setup::ActPass | Setup::HoldConn => self.role.unwrap_or(DtlsRole::Server),
            Setup::Active => DtlsRole::Server,
            Setup::Passive => DtlsRole::Client,
        };
        if self.role.is_some_and(|role| role != wanted) { Err(NegotiationError::RoleChanged) } else { Ok(wanted) }
    }

    /// An m-line with what it had before this offer.
    fn renew(
        &mut self,
        section: &Section,
        accepted: Accepted,
        known: Option<Line>,
        outcome: &mut OfferOutcome,
    ) -> Line {
        let mut line = Line { accepted, publication: None, sends: None, answered: Direction::Inactive };
        // The place of a rejected m-line may be taken by another one (RFC 9429, section 5.2.2).
        let (same, replaced) = match known {
            Some(known) if known.accepted.mid == line.accepted.mid && known.accepted.kind == line.accepted.kind => {
                (Some(known), None)
            }
            other => (None, other),
        };
        if let Some(gone) = &replaced {
            outcome.unpublished.extend(gone.track());
            outcome.ended.extend(gone.sends.as_ref().map(|s| s.key));
        }
        let was_receiving = same.as_ref().is_some_and(|known| known.accepted.client_receives());
        if let Some(kind) = line.accepted.kind.media()
            && line.accepted.client_receives()
            && !was_receiving
        {
            let asked = self.asked.of(kind);
            *asked = asked.saturating_sub(1);
        }
        let before = same.as_ref().and_then(Line::published);
        let track_before = same.as_ref().and_then(Line::track);
        let publication = same.as_ref().and_then(|known| known.publication.clone());
        if let Some(known) = same {
            line.answered = known.answered;
            if let Some(subscription) = known.sends {
                let same_numbers = codec::same_numbers(&known.accepted.codecs, &line.accepted.codecs);
                if line.accepted.client_receives() && same_numbers {
                    line.sends = Some(subscription);
                } else {
                    outcome.ended.push(subscription.key);
                }
            }
        }
        if line.accepted.client_sends() {
            let same_track = publication.as_ref().is_some_and(|p| same_track(p.msid.as_ref(), section.msid.as_ref()));
            let claim = publication.filter(|_| same_track).map_or(Claim::Open, |p| p.claim);
            line.publication = Some(Publication { msid: section.msid.clone(), ssrcs: signalled(section), claim });
            line.apply_preference();
        }
        let now = line.published();
        match (line.track(), track_before) {
            (Some(track), _) if now != before => outcome.changed.push(track),
            (None, Some(track)) => outcome.unpublished.push(track),
            _ => {}
        }
        let is_new = before.is_none() || track_before.is_some() && line.track().is_none();
        outcome.published.extend(now.filter(|_| is_new));
        line
    }

    /// The m-lines on which the client sends and nobody has claimed yet.
    pub fn unclaimed(&self) -> impl Iterator<Item = PublishedSection> {
        let open = |line: &&Line| line.publication.as_ref().is_some_and(|p| p.claim == Claim::Open);
        self.lines.iter().filter(open).filter_map(Line::published)
    }

    /// Says which track an unclaimed m-line carries, and how it shall be sent from the next answer on.
    /// `None` if there is no such m-line.
    pub fn claim(&mut self, mid: &Mid, track: TrackKey, options: PublishOptions) -> Option<PublishedSection> {
        let line = self.lines.iter_mut().find(|line| line.accepted.mid == *mid)?;
        let publication = line.publication.as_mut().filter(|p| p.claim == Claim::Open)?;
        publication.claim = Claim::Taken { track, options };
        line.apply_preference();
        line.published()
    }

    /// How a claimed track is sent.
    pub fn published(&self, track: TrackKey) -> Option<PublishedSection> {
        self.lines.iter().find(|line| line.track() == Some(track)).and_then(Line::published)
    }

    /// No longer receive a claimed track, though the client offers it.
    pub fn refuse(&mut self, track: TrackKey) {
        let line = self.lines.iter_mut().find(|line| line.track() == Some(track));
        if let Some(publication) = line.and_then(|line| line.publication.as_mut()) {
            publication.claim = Claim::Refused;
        }
    }

    /// Send a copy of a track, from the answer on that has a place for it.
    pub fn subscribe(&mut self, subscription: Subscription) {
        self.waiting.push_back(subscription);
    }

    /// Stop sending a copy, or waiting for a place.
    pub fn unsubscribe(&mut self, key: SubscriptionKey) {
        self.waiting.retain(|waiting| waiting.key != key);
        for line in &mut self.lines {
            line.sends.take_if(|subscription| subscription.key == key);
        }
    }

    /// Answers the last offer, placing as many waiting subscriptions as there are free m-lines.
    ///
    /// # Errors
    /// [`NegotiationError::NothingOffered`].
    pub fn answer(&mut self, local: &LocalTransport) -> Result<Answer, NegotiationError> {
        let role = self.role.filter(|_| self.answer_due).ok_or(NegotiationError::NothingOffered)?;
        self.answer_due = false;
        let started = self.place();
        let mut writer = Writer::new(local, setup(role), self.session_id, self.version);
        self.version += 1;
        let usable = self.lines.iter().map(|line| &line.accepted).filter(|accepted| accepted.usable);
        writer.session(usable.map(|accepted| &accepted.mid));
        for line in &mut self.lines {
            line.answered = line.direction();
            let options = match line.publication.as_ref().map(|p| p.claim) {
                Some(Claim::Taken { options, .. }) => options,
                _ => PublishOptions::default(),
            };
            let sends = line.sends.as_ref().filter(|_| line.answered.sends());
            Reply { accepted: &line.accepted, direction: line.answered, options, sends }.write(&mut writer);
        }
        let sending = self.lines.iter().filter_map(|l| Some((l.accepted.mid.clone(), l.sends.as_ref()?.key))).collect();
        Ok(Answer { sdp: writer.finish(), started, sending })
    }

    /// Gives free m-lines to waiting subscriptions, those first on which the client does not send itself.
    fn place(&mut self) -> Vec<Assignment> {
        let mut started = Vec::new();
        for subscription in std::mem::take(&mut self.waiting) {
            let free = |line: &&mut Line| line.is_free(subscription.kind);
            match self.lines.iter_mut().filter(free).min_by_key(|line| line.accepted.client_sends()) {
                Some(line) => {
                    line.sends = Some(subscription);
                    started.extend(line.assignment());
                }
                None => self.waiting.push_back(subscription),
            }
        }
        started
    }

    /// What to ask of the client so that everything gets its place: m-lines that are missing, or just an offer.
    /// `None` if nothing is missing, or it has been asked for, or an answer comes first. Remembers what it returns.
    pub fn section_request(&mut self) -> Option<SectionRequest> {
        if self.answer_due || self.remote.is_none() {
            return None;
        }
        let room = u32::try_from(MAX_SECTIONS.saturating_sub(self.lines.len())).unwrap_or_default();
        let mut request = SectionRequest::default();
        let mut placeable = false;
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let waiting = self.waiting.iter().filter(|waiting| waiting.kind == kind).count();
            // A place that an answer has yet to show empty will be free after that.
            let places = self.lines.iter().filter(|l| l.is_receiving(kind) && l.sends.is_none()).count();
            placeable |= waiting.min(places) > 0;
            let missing = u32::try_from(waiting.saturating_sub(places)).unwrap_or(u32::MAX);
            *request.of(kind) = missing.saturating_sub(*self.asked.of(kind));
        }
        request.audio = request.audio.min(room.saturating_sub(self.asked.audio + self.asked.video));
        request.video = request.video.min(room.saturating_sub(self.asked.audio + self.asked.video + request.audio));
        let outdated = placeable || self.lines.iter().any(|line| line.direction() != line.answered);
        if request == SectionRequest::default() && (!outdated || self.offer_asked) {
            return None;
        }
        self.asked.audio += request.audio;
        self.asked.video += request.video;
        self.offer_asked = true;
        Some(request)
    }

    /// Requests that may not have reached the client, e.g. over a signalling connection that broke, are made again.
    pub fn forget_requests(&mut self) {
        self.asked = SectionRequest::default();
        self.offer_asked = false;
    }

    /// What we send, by m-line.
    pub fn sending(&self) -> impl Iterator<Item = (&Mid, SubscriptionKey)> {
        self.lines.iter().filter_map(|line| Some((&line.accepted.mid, line.sends.as_ref()?.key)))
    }

    /// The client's half of the transport, once it offered.
    pub const fn remote(&self) -> Option<&RemoteTransport> {
        self.remote.as_ref()
    }

    pub const fn role(&self) -> Option<DtlsRole> {
        self.role
    }
}

/// Our `a=setup` for a role.
const fn setup(role: DtlsRole) -> &'static str {
    match role {
        DtlsRole::Client => "active",
        DtlsRole::Server => "passive",
    }
}

/// Whether two names mean the same track. Browsers leave the name out at times.
fn same_track(before: Option<&Msid>, now: Option<&Msid>) -> bool {
    match (before.and_then(|m| m.track.as_ref()), now.and_then(|m| m.track.as_ref())) {
        (Some(before), Some(now)) => before == now,
        _ => true,
    }
}

/// SSRCs of media, each with that of its retransmissions.
fn signalled(section: &Section) -> Vec<SignalledSsrc> {
    let pairs = || section.ssrc_groups.iter().filter(|group| group.semantics == "FID" && group.ssrcs.len() == 2);
    let rtx_of = |media| pairs().find(|pair| pair.ssrcs[0] == media).map(|pair| pair.ssrcs[1]);
    let is_rtx = |ssrc| pairs().any(|pair| pair.ssrcs[1] == ssrc);
    let media = section.ssrcs.iter().copied().filter(|ssrc| !is_rtx(*ssrc));
    media.map(|media| SignalledSsrc { media, rtx: rtx_of(media) }).collect()
}

#[cfg(test)]
mod tests;
