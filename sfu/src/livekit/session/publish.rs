//! What a client publishes: announced by `AddTrack`, described by its offer, in either order.

use std::collections::BTreeMap;
use std::time::Duration;

use livekit_protocol as proto;
use sfu_core::call::{Track, TrackId, TrackSource};
use sfu_core::engine::command::{Codec, Command, MediaKind};
use sfu_core::id::TrackKey;
use sfu_core::sdp::{Handling, PublishOptions, PublishedSection};
use sfu_core::time::Time;

use super::{Asked, Session};
use crate::control::Context;
use crate::livekit::{convert, ids};

/// Announced tracks that may wait for their media (LiveKit's limit).
const MAX_PENDING: usize = 20;
/// Longest wait for the offer that carries an announced track. Clients give a negotiation up after 15 s.
const PENDING_TIME: Duration = Duration::from_mins(1);

/// Longest name of a track or a stream, in bytes.
const MAX_TEXT_BYTES: usize = 256;
/// Most layers, codecs or features of one track.
const MAX_LAYERS: usize = 8;

#[derive(Debug, Default)]
pub struct Publications {
    /// Announced, and no m-line carries them yet; oldest first.
    pending: Vec<Pending>,
    /// Claimed m-lines.
    live: BTreeMap<TrackKey, Live>,
}

/// A track whose media is described.
#[derive(Debug)]
struct Live {
    id: TrackId,
    handling: Handling,
}

#[derive(Debug)]
struct Pending {
    /// The client's names for the track: its MediaStreamTrack, and one for each codec.
    cids: Vec<String>,
    preferred_codec: Option<Codec>,
    track: Track,
    announced_at: Time,
}

impl Publications {
    /// Forgets announcements no media came for: later media must not be taken for theirs.
    fn expire(&mut self, now: Time) {
        self.pending.retain(|pending| now.since(pending.announced_at) < PENDING_TIME);
    }

    fn key_of(&self, track: &TrackId) -> Option<TrackKey> {
        self.live.iter().find(|(_, live)| live.id == *track).map(|(key, _)| *key)
    }
}

/// Why a track is not announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnounceError {
    /// Neither audio nor video.
    Unsupported,
    /// Too many tracks wait for their media, or the announcement itself is too large.
    TooMany,
}

impl Session {
    /// Takes in an announcement; the answer names the track's id.
    pub fn announce(
        &mut self,
        context: &mut Context,
        request: &proto::AddTrackRequest,
    ) -> Result<proto::TrackPublishedResponse, AnnounceError> {
        let kind = convert::kind(request.r#type).ok_or(AnnounceError::Unsupported)?;
        self.publications.expire(context.now());
        if let Some(known) = self.publications.pending.iter().find(|pending| pending.cids.contains(&request.cid)) {
            return Ok(published(&request.cid, &known.track));
        }
        if self.publications.pending.len() >= MAX_PENDING || !fits(request) {
            return Err(AnnounceError::TooMany);
        }
        let track = track_of(context, kind, request);
        let response = published(&request.cid, &track);
        let codecs = request.simulcast_codecs.iter();
        let cids = std::iter::once(&request.cid).chain(codecs.clone().map(|codec| &codec.cid));
        self.publications.pending.push(Pending {
            cids: cids.filter(|cid| !cid.is_empty()).cloned().collect(),
            preferred_codec: request.simulcast_codecs.first().and_then(|codec| codec_of(&codec.codec)),
            track,
            announced_at: context.now(),
        });
        Ok(response)
    }

    /// Gives m-lines that carry media to the tracks that were announced, as far as both are there.
    pub(super) fn claim(&mut self, context: &mut Context) -> Vec<Asked> {
        let mut asked = Vec::new();
        self.publications.expire(context.now());
        let open: Vec<_> = self.publisher.offers.unclaimed().collect();
        for (section, pending) in self.matches(&open) {
            let Pending { preferred_codec, mut track, .. } = pending;
            // Whoever shares a sound wants it heard; only voices compete.
            let group = (track.source == TrackSource::Microphone).then_some(self.microphones);
            let handling = Handling { group, encrypted: track.is_encrypted(), redundancy: !track.disable_red };
            let options = PublishOptions {
                preferred_codec,
                dtx: !track.disable_dtx,
                stereo: track.stereo,
                redundancy: handling.redundancy && !handling.encrypted,
            };
            let Some(section) = self.publisher.offers.claim(&section.mid, track.key, options) else { continue };
            track.mid.clone_from(&section.mid.0);
            let codec = section.codecs.first().map(|mapping| mapping.codec);
            track.simulcast = section.rids.len() > 1 && !codec.is_some_and(has_layers_within);
            if let Some(codec) = codec {
                track.mime_type = mime_type(codec).into();
            }
            self.publications.live.insert(track.key, Live { id: track.id.clone(), handling });
            let publish = section.publish(track.key, self.publisher.transport.key, handling);
            context.command(self.worker, Command::Publish(Box::new(publish)));
            if track.muted {
                context.command(self.worker, Command::SetMuted { track: track.key, muted: true });
            }
            asked.push(Asked::Publish(Box::new(track)));
        }
        asked
    }

    /// Takes out the announced tracks that m-lines carry: those with the client's name for them first; then, because
    /// browsers may change names, the first of the same kind that no m-line names.
    fn matches<'s>(&mut self, open: &'s [PublishedSection]) -> Vec<(&'s PublishedSection, Pending)> {
        let name = |section: &'s PublishedSection| section.msid.as_ref().and_then(|msid| msid.track.as_ref());
        let pending = &mut self.publications.pending;
        let mut matched = Vec::new();
        let mut nameless = Vec::new();
        for section in open {
            let named = name(section).and_then(|name| pending.iter().position(|pending| pending.cids.contains(name)));
            match named {
                Some(position) => matched.push((section, pending.remove(position))),
                None => nameless.push(section),
            }
        }
        for section in nameless {
            if let Some(position) = pending.iter().position(|pending| pending.track.kind == section.kind) {
                matched.push((section, pending.remove(position)));
            }
        }
        matched
    }

    /// The client sends a track otherwise than before.
    pub(super) fn republish(&mut self, context: &mut Context, track: TrackKey) {
        let live = self.publications.live.get(&track);
        if let Some((section, live)) = self.publisher.offers.published(track).zip(live) {
            let publish = section.publish(track, self.publisher.transport.key, live.handling);
            context.command(self.worker, Command::Publish(Box::new(publish)));
        }
    }

    /// The client stopped sending tracks.
    pub(super) fn unpublish(&mut self, context: &mut Context, tracks: &[TrackKey]) -> Vec<Asked> {
        let mut asked = Vec::new();
        for key in tracks {
            if let Some(live) = self.publications.live.remove(key) {
                context.command(self.worker, Command::Unpublish { track: *key });
                asked.push(Asked::Unpublish(live.id));
            }
        }
        asked
    }

    /// The call did not take a track after all.
    pub fn refuse(&mut self, context: &mut Context, track: TrackKey) {
        self.publisher.offers.refuse(track);
        self.publications.live.remove(&track);
        context.command(self.worker, Command::Unpublish { track });
    }

    /// Tells the media engine whether a track's packets are forwarded.
    pub fn set_muted(&mut self, context: &mut Context, track: &TrackId, muted: bool) {
        if let Some(key) = self.publications.key_of(track) {
            context.command(self.worker, Command::SetMuted { track: key, muted });
        }
        for pending in self.publications.pending.iter_mut().filter(|pending| pending.track.id == *track) {
            pending.track.muted = muted;
        }
    }

    /// Whether a track is published or announced.
    pub fn knows_track(&self, track: &TrackId) -> bool {
        self.publications.key_of(track).is_some()
            || self.publications.pending.iter().any(|pending| pending.track.id == *track)
    }
}

/// Announcements are kept and told to everyone: none may be large.
fn fits(request: &proto::AddTrackRequest) -> bool {
    let texts = [&request.cid, &request.name, &request.stream];
    texts.iter().all(|text| text.len() <= MAX_TEXT_BYTES)
        && request.layers.len() <= MAX_LAYERS
        && request.audio_features.len() <= MAX_LAYERS
        && request.simulcast_codecs.len() <= MAX_LAYERS
        && request
            .simulcast_codecs
            .iter()
            .all(|codec| codec.cid.len() <= MAX_TEXT_BYTES && codec.layers.len() <= MAX_LAYERS)
}

fn published(cid: &str, track: &Track) -> proto::TrackPublishedResponse {
    proto::TrackPublishedResponse { cid: cid.to_owned(), track: Some(convert::track(track)) }
}

fn track_of(context: &mut Context, kind: MediaKind, request: &proto::AddTrackRequest) -> Track {
    let source = convert::source(request.source);
    let stereo_feature = proto::AudioTrackFeature::TfStereo as i32;
    let no_dtx_feature = proto::AudioTrackFeature::TfNoDtx as i32;
    let codec = request.simulcast_codecs.first();
    let layers = codec.map(|codec| &codec.layers).filter(|layers| !layers.is_empty()).unwrap_or(&request.layers);
    let mime_type = codec.and_then(|codec| codec_of(&codec.codec)).map_or_else(
        || match kind {
            MediaKind::Audio => "audio/opus",
            MediaKind::Video => "video/VP8",
        },
        mime_type,
    );
    #[expect(deprecated, reason = "old clients still send `stereo` and `disable_dtx`")]
    let (stereo, disable_dtx) = (request.stereo, request.disable_dtx);
    Track {
        id: ids::track(kind, source),
        key: TrackKey(context.key()),
        kind,
        source,
        name: request.name.clone(),
        muted: request.muted,
        width: request.width,
        height: request.height,
        layers: convert::layers(layers),
        simulcast: layers.len() > 1 && !codec.and_then(|codec| codec_of(&codec.codec)).is_some_and(has_layers_within),
        mime_type: mime_type.into(),
        mid: String::new(),
        stream: request.stream.clone(),
        stereo: stereo || request.audio_features.contains(&stereo_feature),
        disable_dtx: disable_dtx || request.audio_features.contains(&no_dtx_feature),
        disable_red: request.disable_red,
        encryption: request.encryption,
        audio_features: request.audio_features.clone(),
    }
}

/// From LiveKit's codec names: `vp8`, `video/VP8`.
fn codec_of(name: &str) -> Option<Codec> {
    let name = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    match name.as_str() {
        "opus" => Some(Codec::Opus),
        "red" => Some(Codec::Red),
        "vp8" => Some(Codec::Vp8),
        "vp9" => Some(Codec::Vp9),
        "h264" => Some(Codec::H264),
        "h265" => Some(Codec::H265),
        "av1" => Some(Codec::Av1),
        _ => None,
    }
}

/// Whether a codec's layers are within one stream (SVC). LiveKit calls no track of such a codec simulcast.
const fn has_layers_within(codec: Codec) -> bool {
    matches!(codec, Codec::Vp9 | Codec::Av1)
}

const fn mime_type(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "audio/opus",
        Codec::Red => "audio/red",
        Codec::G711U => "audio/PCMU",
        Codec::G711A => "audio/PCMA",
        Codec::Vp8 => "video/VP8",
        Codec::Vp9 => "video/VP9",
        Codec::H264 => "video/H264",
        Codec::H265 => "video/H265",
        Codec::Av1 => "video/AV1",
    }
}

#[cfg(test)]
mod tests {
    use sfu_core::call::TrackSource;

    use super::*;

    fn announced(id: &str, announced_at: Time) -> Pending {
        let track = Track {
            id: TrackId(id.into()),
            key: TrackKey(1),
            kind: MediaKind::Audio,
            source: TrackSource::Microphone,
            name: String::new(),
            muted: false,
            width: 0,
            height: 0,
            layers: Vec::new(),
            simulcast: false,
            mime_type: "audio/opus".into(),
            mid: String::new(),
            stream: String::new(),
            stereo: false,
            disable_dtx: false,
            disable_red: false,
            encryption: 0,
            audio_features: Vec::new(),
        };
        Pending { cids: vec![id.to_owned()], preferred_codec: None, track, announced_at }
    }

    #[test]
    fn an_announcement_without_media_is_forgotten_after_a_minute() {
        let mut publications = Publications::default();
        publications.pending.push(announced("TR_old", Time::from_millis(0)));
        publications.pending.push(announced("TR_new", Time::from_millis(30_000)));
        publications.expire(Time::from_millis(59_999));
        assert_eq!(publications.pending.len(), 2);
        publications.expire(Time::from_millis(60_000));
        let left: Vec<_> = publications.pending.iter().map(|pending| pending.track.id.0.as_str()).collect();
        assert_eq!(left, ["TR_new"]);
    }
}
