//! Frames of the signalling websocket: a message as protobuf in a binary frame, or as its JSON in a text frame.
//!
//! A client may write either and is answered in kind. Whoever reads a frame here needs no websocket.

use axum::extract::ws::Message;
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use prost::Message as _;

/// How a frame says its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// In a binary frame; what is written to a client that has not said anything yet.
    #[default]
    Protobuf,
    /// In a text frame, as the protobuf specification maps messages to JSON.
    Json,
}

impl Encoding {
    /// Reads what a client says. `None` for what cannot be read and for messages this server does not know.
    pub fn read(self, frame: &[u8]) -> Option<Request> {
        let request: Option<proto::SignalRequest> = match self {
            Self::Protobuf => proto::SignalRequest::decode(frame).ok(),
            Self::Json => serde_json::from_slice(frame).ok(),
        };
        request?.message
    }

    /// Writes what the server says.
    ///
    /// A message that JSON cannot say is written as protobuf: numbers of an enumeration that have no name come from
    /// other clients, and must hide nothing from this one. Clients tell the two apart by the kind of the frame.
    pub fn write(self, response: &proto::SignalResponse) -> Message {
        let text = match self {
            Self::Protobuf => None,
            Self::Json => serde_json::to_string(response).ok(),
        };
        match text {
            Some(text) => Message::Text(text.into()),
            None => Message::Binary(response.encode_to_vec().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use livekit_protocol::signal_response::Message as Response;

    use super::*;

    fn published(encryption: i32) -> proto::SignalResponse {
        let track = proto::TrackInfo { sid: "TR_VC1".into(), encryption, ..Default::default() };
        let published = proto::TrackPublishedResponse { cid: "camera".into(), track: Some(track) };
        proto::SignalResponse { message: Some(Response::TrackPublished(published)) }
    }

    #[test]
    fn json_as_the_specification_writes_it_is_read() {
        let text = br#"{"addTrack": {"cid": "mic", "type": "AUDIO", "source": "MICROPHONE", "muted": true}}"#;
        let announcement = proto::AddTrackRequest {
            cid: "mic".into(),
            r#type: proto::TrackType::Audio as i32,
            source: proto::TrackSource::Microphone as i32,
            muted: true,
            ..Default::default()
        };
        assert_eq!(Encoding::Json.read(text), Some(Request::AddTrack(announcement)));
        assert_eq!(Encoding::Json.read(br#"{"ping": "1700000000000"}"#), Some(Request::Ping(1_700_000_000_000)));
    }

    #[test]
    fn fields_of_newer_clients_do_not_make_a_message_unreadable() {
        let text = br#"{"mute": {"sid": "TR_1", "muted": true, "fromTheFuture": {"deep": [1]}}, "alsoNew": 1}"#;
        let mute = proto::MuteTrackRequest { sid: "TR_1".into(), muted: true };
        assert_eq!(Encoding::Json.read(text), Some(Request::Mute(mute)));
    }

    #[test]
    fn what_is_no_message_is_not_read() {
        for text in ["", "{", "{}", "[]", "null", r#"{"mute": 1}"#, r#"{"mute": {}, "ping": 1}"#] {
            assert_eq!(Encoding::Json.read(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Encoding::Protobuf.read(&[0xff; 7]), None);
        assert_eq!(Encoding::Protobuf.read(&[]), None);
    }

    #[test]
    fn each_encoding_has_its_kind_of_frame() {
        let Message::Binary(bytes) = Encoding::Protobuf.write(&published(1)) else { panic!("a text frame") };
        assert_eq!(proto::SignalResponse::decode(bytes).unwrap(), published(1));
        let Message::Text(text) = Encoding::Json.write(&published(1)) else { panic!("a binary frame") };
        assert!(text.contains(r#""encryption":"GCM""#), "{text}");
        assert_eq!(serde_json::from_str::<proto::SignalResponse>(&text).unwrap(), published(1));
    }

    #[test]
    fn a_number_without_a_name_is_told_in_a_binary_frame() {
        let Message::Binary(bytes) = Encoding::Json.write(&published(99)) else { panic!("a text frame") };
        assert_eq!(proto::SignalResponse::decode(bytes).unwrap(), published(99));
    }
}
