//! Between the call's own types and LiveKit's messages.

use livekit_protocol as proto;
use sfu_core::call::track::TrackLayer;
use sfu_core::call::{Call, Participant, ParticipantState, Permissions, Track, TrackSource};
use sfu_core::engine::command::MediaKind;

pub fn room(call: &Call) -> proto::Room {
    proto::Room {
        sid: call.id.clone(),
        name: call.name.clone(),
        metadata: call.metadata.clone(),
        creation_time: call.created_at_ms / 1000,
        creation_time_ms: call.created_at_ms,
        num_participants: u32::try_from(call.n_people()).unwrap_or(u32::MAX),
        num_publishers: u32::try_from(call.n_publishers()).unwrap_or(u32::MAX),
        active_recording: call.is_recorded(),
        enabled_codecs: enabled_codecs(),
        ..proto::Room::default()
    }
}

/// What clients may publish, video first: a client whose codec is not here falls back to the first video entry.
pub fn enabled_codecs() -> Vec<proto::Codec> {
    ["video/VP8", "video/H264", "video/VP9", "video/AV1", "video/H265", "audio/opus"]
        .map(|mime| proto::Codec { mime: mime.into(), ..proto::Codec::default() })
        .into()
}

pub fn participant(participant: &Participant) -> proto::ParticipantInfo {
    let state = match participant.state {
        ParticipantState::Joined => proto::participant_info::State::Joined,
        ParticipantState::Active => proto::participant_info::State::Active,
        ParticipantState::Disconnected => proto::participant_info::State::Disconnected,
    };
    proto::ParticipantInfo {
        sid: participant.id.0.clone(),
        identity: participant.identity.0.clone(),
        name: participant.name.clone(),
        metadata: participant.metadata.clone(),
        attributes: participant.attributes.clone().into_iter().collect(),
        state: state as i32,
        tracks: participant.tracks.values().map(track).collect(),
        joined_at: participant.joined_at_ms / 1000,
        joined_at_ms: participant.joined_at_ms,
        version: participant.version,
        permission: Some(permission(&participant.permissions)),
        is_publisher: !participant.tracks.is_empty(),
        kind: participant.kind,
        client_protocol: participant.client.client_protocol,
        capabilities: participant.client.capabilities.clone(),
        ..proto::ParticipantInfo::default()
    }
}

fn permission(permissions: &Permissions) -> proto::ParticipantPermission {
    #[expect(deprecated, reason = "old clients still read `recorder` and `agent`")]
    proto::ParticipantPermission {
        can_subscribe: permissions.subscribe,
        can_publish: permissions.publish,
        can_publish_data: permissions.publish_data,
        can_publish_sources: permissions.publish_sources.iter().map(|source| source_number(*source)).collect(),
        hidden: permissions.hidden,
        recorder: permissions.recorder,
        agent: permissions.agent,
        can_update_metadata: permissions.update_own_metadata,
        ..proto::ParticipantPermission::default()
    }
}

pub fn track(track: &Track) -> proto::TrackInfo {
    #[expect(deprecated, reason = "old clients still read `simulcast`, `stereo` and `disable_dtx`")]
    proto::TrackInfo {
        sid: track.id.0.clone(),
        r#type: match track.kind {
            MediaKind::Audio => proto::TrackType::Audio,
            MediaKind::Video => proto::TrackType::Video,
        } as i32,
        name: track.name.clone(),
        muted: track.muted,
        width: track.width,
        height: track.height,
        simulcast: track.simulcast,
        disable_dtx: track.disable_dtx,
        source: source_number(track.source),
        layers: track.layers.iter().map(layer).collect(),
        mime_type: track.mime_type.clone(),
        mid: track.mid.clone(),
        codecs: vec![proto::SimulcastCodecInfo {
            mime_type: track.mime_type.clone(),
            mid: track.mid.clone(),
            layers: track.layers.iter().map(layer).collect(),
            ..proto::SimulcastCodecInfo::default()
        }],
        stereo: track.stereo,
        disable_red: track.disable_red,
        encryption: track.encryption,
        stream: track.stream.clone(),
        audio_features: track.audio_features.clone(),
        ..proto::TrackInfo::default()
    }
}

fn layer(layer: &TrackLayer) -> proto::VideoLayer {
    proto::VideoLayer {
        quality: layer.quality,
        width: layer.width,
        height: layer.height,
        bitrate: layer.bitrate,
        ..proto::VideoLayer::default()
    }
}

/// Layers as announced, lowest first.
pub fn layers(announced: &[proto::VideoLayer]) -> Vec<TrackLayer> {
    let mut layers: Vec<_> = announced
        .iter()
        .map(|layer| TrackLayer {
            quality: layer.quality,
            width: layer.width,
            height: layer.height,
            bitrate: layer.bitrate,
        })
        .collect();
    layers.sort_by_key(|layer| (layer.quality, layer.width));
    layers
}

pub fn kind(number: i32) -> Option<MediaKind> {
    match proto::TrackType::try_from(number) {
        Ok(proto::TrackType::Audio) => Some(MediaKind::Audio),
        Ok(proto::TrackType::Video) => Some(MediaKind::Video),
        _ => None,
    }
}

pub fn source(number: i32) -> TrackSource {
    match proto::TrackSource::try_from(number) {
        Ok(proto::TrackSource::Camera) => TrackSource::Camera,
        Ok(proto::TrackSource::Microphone) => TrackSource::Microphone,
        Ok(proto::TrackSource::ScreenShare) => TrackSource::ScreenShare,
        Ok(proto::TrackSource::ScreenShareAudio) => TrackSource::ScreenShareAudio,
        _ => TrackSource::Unknown,
    }
}

fn source_number(source: TrackSource) -> i32 {
    let source = match source {
        TrackSource::Unknown => proto::TrackSource::Unknown,
        TrackSource::Camera => proto::TrackSource::Camera,
        TrackSource::Microphone => proto::TrackSource::Microphone,
        TrackSource::ScreenShare => proto::TrackSource::ScreenShare,
        TrackSource::ScreenShareAudio => proto::TrackSource::ScreenShareAudio,
    };
    source as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_survive_the_way_there_and_back() {
        for number in 0..5 {
            assert_eq!(source_number(source(number)), number);
        }
        assert_eq!(source(99), TrackSource::Unknown);
    }

    #[test]
    fn layers_are_sorted_from_low_to_high() {
        let of = |quality, width| proto::VideoLayer { quality, width, ..proto::VideoLayer::default() };
        let sorted = layers(&[of(2, 1280), of(0, 320), of(1, 640)]);
        assert_eq!(sorted.iter().map(|layer| layer.width).collect::<Vec<_>>(), [320, 640, 1280]);
    }
}
