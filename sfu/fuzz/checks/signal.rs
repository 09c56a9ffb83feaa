//! What must hold of any frame of the websocket: it is a message or it is not, and a message that comes back to its
//! sender with a refusal can be read by a client of either encoding.

use axum::extract::ws::Message;
use calls_sfu::livekit::frame::Encoding;
use livekit_protocol as proto;
use livekit_protocol::request_response::Request as About;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use prost::Message as _;

pub fn check(frame: &[u8]) {
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        let Some(request) = encoding.read(frame) else { continue };
        // The other way of saying the same, where there is one, means the same.
        let said = proto::SignalRequest { message: Some(request.clone()) };
        assert_eq!(Encoding::Protobuf.read(&said.encode_to_vec()).as_ref(), Some(&request));
        if let Ok(text) = serde_json::to_vec(&said) {
            assert_eq!(Encoding::Json.read(&text).as_ref(), Some(&request), "{}", String::from_utf8_lossy(&text));
        }
        if let Some(about) = about(request) {
            let refusal = proto::RequestResponse { request: Some(about), ..Default::default() };
            answer(&proto::SignalResponse { message: Some(Response::RequestResponse(refusal)) });
        }
    }
}

/// What of a request is said again to its sender.
fn about(request: Request) -> Option<About> {
    match request {
        Request::AddTrack(request) => Some(About::AddTrack(request)),
        Request::Mute(request) => Some(About::Mute(request)),
        Request::UpdateMetadata(request) => Some(About::UpdateMetadata(request)),
        Request::PublishDataTrackRequest(request) => Some(About::PublishDataTrack(request)),
        _ => None,
    }
}

fn answer(response: &proto::SignalResponse) {
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        let read = match encoding.write(response) {
            Message::Binary(bytes) => proto::SignalResponse::decode(bytes).ok(),
            Message::Text(text) => serde_json::from_str(&text).ok(),
            other => panic!("{other:?} holds no message"),
        };
        assert_eq!(read.as_ref(), Some(response), "{encoding:?}");
    }
}
