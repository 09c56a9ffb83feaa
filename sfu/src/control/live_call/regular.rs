//! What clients are told again and again: who speaks, how connections are, how many are here, the next token.

use std::collections::BTreeMap;
use std::time::Duration;

use livekit_protocol as proto;
use livekit_protocol::signal_response::Message as Response;
use sfu_core::call::quality::{Grade, grade, mean_opinion_score, rating};
use sfu_core::call::speakers::{SpeakerChange, Speakers};
use sfu_core::call::{Call, ParticipantId};
use sfu_core::engine::event::{AudioLevel, Quality};
use sfu_core::time::Time;

use super::{Context, LiveCall, RoomTold, room_update};
use crate::livekit::session::{Heard, Session};
use crate::livekit::token;

const SPEAKER_INTERVAL: Duration = Duration::from_millis(400);
const QUALITY_INTERVAL: Duration = Duration::from_secs(5);
const ROOM_INTERVAL: Duration = Duration::from_secs(5);
const TOKEN_INTERVAL: Duration = Duration::from_mins(5);
/// A renewed token outlives the interval at which it is renewed.
const TOKEN_LIFETIME: Duration = Duration::from_hours(1);

/// How loud it is to seem to speak, in -dBov.
const PRETENDED_LEVEL: u8 = 20;

/// When the regular messages are due next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    speakers: Time,
    quality: Time,
    room: Time,
    tokens: Time,
}

impl Due {
    pub fn after(now: Time) -> Self {
        Self {
            speakers: now + SPEAKER_INTERVAL,
            quality: now + QUALITY_INTERVAL,
            room: now + ROOM_INTERVAL,
            tokens: now + TOKEN_INTERVAL,
        }
    }
}

/// What clients were told last: of everyone, though each client hears only of those it receives.
#[derive(Debug, Default)]
pub(super) struct Told {
    speakers: Speakers,
    /// Who asked to seem to speak, and until when.
    pretending: BTreeMap<ParticipantId, Time>,
    grades: BTreeMap<ParticipantId, Graded>,
}

/// How someone's connection is.
#[derive(Debug, Clone, Copy)]
struct Graded {
    grade: Grade,
    /// Mean opinion score, 1.0 to 4.5.
    score: f32,
}

impl Told {
    pub fn forget(&mut self, id: &ParticipantId) {
        self.speakers.forget(id);
        self.pretending.remove(id);
        self.grades.remove(id);
    }

    /// Somebody is to seem to speak until then.
    pub fn pretend(&mut self, id: &ParticipantId, until: Time) {
        self.pretending.insert(id.clone(), until);
    }

    /// Ends an interval of speech.
    fn listen(&mut self, now: Time) -> Vec<SpeakerChange> {
        self.pretending.retain(|_, until| *until > now);
        for id in self.pretending.keys() {
            self.speakers.hear(id, PRETENDED_LEVEL, 100);
        }
        self.speakers.tick()
    }

    /// Whom a client begins to hear it is told of, and whom it ceases to hear no longer speaks: nothing more would come.
    pub fn tell_changes(&self, call: &Call, session: &mut Session) {
        let Heard { began, ended } = session.take_heard();
        let still_here = ended.iter().filter(|id| call.get(id).is_some());
        let silent = still_here.filter(|id| self.speakers.level(id) > 0.0).map(|id| change(id, 0.0));
        let speaking = began.iter().map(|id| change(id, self.speakers.level(id))).filter(|change| change.level > 0.0);
        let changes: Vec<_> = speaking.chain(silent).collect();
        if !changes.is_empty() {
            session.send(speakers_changed(&changes));
        }
        self.tell_grades(session, &began);
    }

    /// A client comes back and may have missed anything, the end of somebody's words included.
    pub fn tell_anew(&self, session: &mut Session) {
        let heard: Vec<_> = session.hears().chain([&session.participant]).cloned().collect();
        let changes: Vec<_> = heard.iter().map(|id| change(id, self.speakers.level(id))).collect();
        session.send(speakers_changed(&changes));
        self.tell_grades(session, &heard);
    }

    /// Tells a client the grades of some, as far as they have one.
    fn tell_grades<'a>(&self, session: &mut Session, whose: impl IntoIterator<Item = &'a ParticipantId>) {
        let info = |id: &ParticipantId| {
            let graded = self.grades.get(id)?;
            let quality = match graded.grade {
                Grade::Excellent => proto::ConnectionQuality::Excellent,
                Grade::Good => proto::ConnectionQuality::Good,
                Grade::Poor => proto::ConnectionQuality::Poor,
                Grade::Lost => proto::ConnectionQuality::Lost,
            };
            Some(proto::ConnectionQualityInfo {
                participant_sid: id.0.clone(),
                quality: quality as i32,
                score: graded.score,
            })
        };
        let updates: Vec<_> = whose.into_iter().filter_map(info).collect();
        if !updates.is_empty() {
            session.send(Response::ConnectionQuality(proto::ConnectionQualityUpdate { updates }));
        }
    }
}

fn change(id: &ParticipantId, level: f32) -> SpeakerChange {
    SpeakerChange { participant: id.clone(), level }
}

impl LiveCall {
    /// Loudness of tracks, by who publishes them.
    pub fn hear(&mut self, publisher: &ParticipantId, level: AudioLevel) {
        self.told.speakers.hear(publisher, level.loudest, level.active_percent);
    }

    /// How a stream of someone's arrives, up or down.
    pub fn rate(&mut self, id: &ParticipantId, quality: Quality) {
        let rating = rating(quality);
        self.ratings.entry(id.clone()).and_modify(|worst| *worst = worst.min(rating)).or_insert(rating);
    }

    pub(super) fn tell_what_is_due(&mut self, context: &Context, now: Time) {
        if now >= self.due.speakers {
            self.due.speakers = now + SPEAKER_INTERVAL;
            self.tell_speakers(now);
        }
        if now >= self.due.quality {
            self.due.quality = now + QUALITY_INTERVAL;
            self.tell_quality();
        }
        if now >= self.due.room {
            self.due.room = now + ROOM_INTERVAL;
            self.tell_room();
        }
        if now >= self.due.tokens {
            self.due.tokens = now + TOKEN_INTERVAL;
            for id in self.ids_of(|_| true) {
                self.refresh_token(context, &id);
            }
        }
    }

    /// Everyone hears who of those it receives, or itself, speaks.
    fn tell_speakers(&mut self, now: Time) {
        let changes = self.told.listen(now);
        if changes.is_empty() {
            return;
        }
        for session in self.sessions.values_mut() {
            let heard: Vec<_> = changes.iter().filter(|change| hears(session, &change.participant)).cloned().collect();
            if !heard.is_empty() {
                session.send(speakers_changed(&heard));
            }
        }
    }

    fn tell_quality(&mut self) {
        let mut changed = Vec::new();
        for (id, worst) in std::mem::take(&mut self.ratings) {
            let grade = grade(worst);
            let before = self.told.grades.insert(id.clone(), Graded { grade, score: mean_opinion_score(worst) });
            if before.is_none_or(|before| before.grade != grade) {
                changed.push(id);
            }
        }
        let Self { sessions, told, .. } = self;
        for session in sessions.values_mut() {
            let heard: Vec<_> = changed.iter().filter(|id| hears(session, id)).collect();
            told.tell_grades(session, heard);
        }
    }

    fn tell_room(&mut self) {
        let (n_people, n_publishers) = (self.call.n_people(), self.call.n_publishers());
        let now = RoomTold { n_people, n_publishers, is_recorded: self.call.is_recorded() };
        if self.room_told == now {
            return;
        }
        self.room_told = now;
        for session in self.sessions.values_mut() {
            session.send(room_update(&self.call));
        }
    }

    /// Counts can wait. Nobody is to be recorded, or to feel observed, without need.
    pub(super) fn tell_if_recorded(&mut self) {
        if self.room_told.is_recorded != self.call.is_recorded() {
            self.tell_room();
        }
    }

    /// Gives a client a token for its next reconnect, with what it is now.
    pub(super) fn refresh_token(&mut self, context: &Context, id: &ParticipantId) {
        let (Some(session), Some(participant)) = (self.sessions.get_mut(id), self.call.get(id)) else { return };
        let claims = session.claims.renewed(participant);
        // What was granted for longer stays so: renewing must not take away.
        let left = Duration::from_secs(session.claims.exp.saturating_sub(crate::clock::unix_now().as_secs()));
        match token::sign(claims, &context.keys, TOKEN_LIFETIME.max(left)) {
            Ok(token) => session.send(Response::RefreshToken(token)),
            Err(error) => tracing::warn!(%error, "failed to renew a token"),
        }
    }
}

/// Whether a client is told about `other`: itself, and whose tracks it receives.
fn hears(session: &Session, other: &ParticipantId) -> bool {
    session.participant == *other || session.receives_from(other)
}

fn speakers_changed(changes: &[SpeakerChange]) -> Response {
    let speakers = changes
        .iter()
        .map(|change| proto::SpeakerInfo {
            sid: change.participant.0.clone(),
            level: change.level,
            active: change.level > 0.0,
        })
        .collect();
    Response::SpeakersChanged(proto::SpeakersChanged { speakers })
}
