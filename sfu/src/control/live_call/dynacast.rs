//! Publishers are told what of their videos nobody watches.

use livekit_protocol as proto;
use livekit_protocol::signal_response::Message as Response;
use sfu_core::call::dynacast::Watched;
use sfu_core::call::{ParticipantId, TrackId};
use sfu_core::time::Time;

use super::LiveCall;

/// LiveKit's qualities, low to high.
const QUALITIES: [proto::VideoQuality; 3] =
    [proto::VideoQuality::Low, proto::VideoQuality::Medium, proto::VideoQuality::High];

impl LiveCall {
    /// Tells what is watched otherwise than told, if it is time to look.
    pub(super) fn tell_watched(&mut self, now: Time) {
        let is_due = self.dynacast.next_at().is_some_and(|at| at <= now);
        if !std::mem::take(&mut self.wishes_changed) && !is_due {
            return;
        }
        for announcement in self.dynacast.look(now, &self.call) {
            let Some((publisher, track)) = self.call.track(&announcement.track) else { continue };
            if let Some(session) = self.sessions.get_mut(&publisher.id) {
                session.send(update(&track.id, &track.mime_type, announcement.watched));
            }
        }
    }

    /// A publisher comes back and may have missed what it was told: a layer it was asked for would stay away.
    pub(super) fn tell_watched_anew(&mut self, id: &ParticipantId) {
        let (Some(publisher), Some(session)) = (self.call.get(id), self.sessions.get_mut(id)) else { return };
        for track in publisher.tracks.values() {
            if let Some(watched) = self.dynacast.told(&track.id) {
                session.send(update(&track.id, &track.mime_type, watched));
            }
        }
    }
}

fn update(track: &TrackId, mime_type: &str, watched: Watched) -> Response {
    let quality = |quality: proto::VideoQuality| proto::SubscribedQuality {
        quality: quality as i32,
        enabled: watched.includes(quality as i32),
    };
    let qualities = QUALITIES.map(quality).to_vec();
    let codec = mime_type.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    #[expect(deprecated, reason = "clients that know no codecs read `subscribed_qualities`")]
    let update = proto::SubscribedQualityUpdate {
        track_sid: track.0.clone(),
        subscribed_qualities: qualities.clone(),
        subscribed_codecs: vec![proto::SubscribedCodec { codec, qualities }],
    };
    Response::SubscribedQualityUpdate(update)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_is_told_which_qualities_of_which_codec_to_send() {
        let Response::SubscribedQualityUpdate(update) =
            update(&TrackId("TR_camera".into()), "video/VP8", Watched::UpTo(1))
        else {
            panic!("another message");
        };
        let codec = &update.subscribed_codecs[0];
        let enabled: Vec<_> = codec.qualities.iter().map(|quality| (quality.quality, quality.enabled)).collect();
        assert_eq!((update.track_sid.as_str(), codec.codec.as_str()), ("TR_camera", "vp8"));
        assert_eq!(enabled, [(0, true), (1, true), (2, false)]);
    }

    #[test]
    fn layers_within_one_stream_are_told_of_as_qualities_too() {
        let Response::SubscribedQualityUpdate(update) =
            update(&TrackId("TR_camera".into()), "video/VP9", Watched::UpTo(0))
        else {
            panic!("another message");
        };
        let codec = &update.subscribed_codecs[0];
        assert_eq!(codec.codec, "vp9");
        assert_eq!(codec.qualities.iter().map(|quality| quality.enabled).collect::<Vec<_>>(), [true, false, false]);
    }
}
