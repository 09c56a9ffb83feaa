//! LiveKit's Egress API: recordings started, stopped and listed by whoever has an API key.
//!
//! A room is recorded as its people send it, into one WebM file. What asks for pictures to be composed or encoded, or for
//! another kind of output, is refused with what to do instead.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use fleet::api::bearer;
use livekit_protocol as proto;
use livekit_protocol::room_composite_egress_request::Output;
use livekit_protocol::{EgressStatus, EncodedFileType};

use super::token;
use super::twirp::{Code, Encoding, TwirpError};
use crate::app::App;
use crate::recordings::{By, Ended, FileName, Filter, Recording, Refused, State as Phase, Which, Wish};

/// Longest request, in bytes.
const MAX_REQUEST: usize = 64 * 1024;
/// Nothing is gained by this one: pictures are passed on as they are sent.
const AS_SENT: &str = "pictures and voices are recorded as people send them";

pub fn routes() -> Router<App> {
    Router::new().route("/twirp/livekit.Egress/{method}", post(call)).layer(DefaultBodyLimit::max(MAX_REQUEST))
}

async fn call(State(app): State<App>, Path(method): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    answer(&app, &method, &headers, &body).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(app: &App, method: &str, headers: &HeaderMap, body: &Bytes) -> Result<Response, TwirpError> {
    ensure_granted(app, headers)?;
    let encoding = Encoding::of(headers)?;
    match method {
        "StartRoomCompositeEgress" => {
            let wish = wish(encoding.read(body)?)?;
            let started = app.control.start_recording(wish).await.map_err(refused)?;
            encoding.write(&info(&started))
        }
        "StopEgress" => {
            let proto::StopEgressRequest { egress_id } = encoding.read(body)?;
            let stopped = app.control.stop_recording(Which::Id(egress_id)).await.map_err(refused)?;
            encoding.write(&info(&stopped))
        }
        "ListEgress" => {
            let request: proto::ListEgressRequest = encoding.read(body)?;
            let given = |text: String| Some(text).filter(|text| !text.is_empty());
            let filter =
                Filter { call: given(request.room_name), id: given(request.egress_id), running_only: request.active };
            let items = app.control.list_recordings(filter).await.iter().map(info).collect();
            encoding.write(&proto::ListEgressResponse { items, next_page_token: None })
        }
        "UpdateLayout" => Err(unimplemented(&format!("there is no layout: {AS_SENT}"))),
        "UpdateStream" => Err(unimplemented("nothing is streamed from here")),
        "StartEgress"
        | "StartWebEgress"
        | "StartParticipantEgress"
        | "StartTrackCompositeEgress"
        | "StartTrackEgress" => Err(unimplemented("only whole rooms are recorded: use StartRoomCompositeEgress")),
        _ => Err(TwirpError::new(Code::BadRoute, format!("livekit.Egress has no method {method:?}"))),
    }
}

fn ensure_granted(app: &App, headers: &HeaderMap) -> Result<(), TwirpError> {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
    let verified = token.ok_or(token::TokenError::Missing).and_then(|token| token::verify(token, &app.keys));
    let claims = verified.map_err(|error| TwirpError::new(Code::Unauthenticated, error.to_string()))?;
    if claims.video.is_some_and(|video| video.room_record) {
        return Ok(());
    }
    Err(TwirpError::new(Code::PermissionDenied, "the token does not grant roomRecord"))
}

fn unimplemented(why: &str) -> TwirpError {
    TwirpError::new(Code::Unimplemented, why)
}

/// What a request wants, if it can be had.
fn wish(request: proto::RoomCompositeEgressRequest) -> Result<Wish, TwirpError> {
    let invalid = |why: &str| Err(TwirpError::new(Code::InvalidArgument, why));
    if request.room_name.is_empty() {
        return invalid("room_name is missing");
    }
    if !request.custom_base_url.is_empty() {
        return invalid("custom_base_url needs a browser that renders it, and there is none: leave it out");
    }
    if request.video_only {
        return invalid("video_only is not offered: a recording has its voices");
    }
    if request.options.is_some() {
        return invalid(&format!("leave preset and advanced out: {AS_SENT}"));
    }
    if request.audio_mixing != 0 {
        return invalid("voices are mixed to one track: leave audio_mixing out");
    }
    if !request.webhooks.is_empty() {
        return invalid("nobody is called when a recording changes: leave webhooks out, and ask ListEgress");
    }
    let name = file_name(&request)?;
    Ok(Wish { call: request.room_name.clone(), audio_only: request.audio_only, name, by: By::Api(Box::new(request)) })
}

/// The one file a request asks for.
fn file_name(request: &proto::RoomCompositeEgressRequest) -> Result<FileName, TwirpError> {
    let invalid = |why: String| TwirpError::new(Code::InvalidArgument, why);
    #[expect(deprecated, reason = "older clients write the output there")]
    let (old_file, is_other) = match &request.output {
        None => (None, false),
        Some(Output::File(file)) => (Some(file), false),
        Some(Output::Stream(_) | Output::Segments(_)) => (None, true),
    };
    let n_others = request.stream_outputs.len() + request.segment_outputs.len() + request.image_outputs.len();
    if is_other || n_others > 0 {
        return Err(invalid("only files are written: no streams, segments or images".into()));
    }
    let mut files = request.file_outputs.iter().chain(old_file);
    let (file, more) = (files.next(), files.next());
    if more.is_some() {
        return Err(invalid("give one file output: a second one would be the same".into()));
    }
    let Some(file) = file else { return Ok(FileName::default()) };
    if file.output.is_some() {
        return Err(invalid(
            "files are written to the server's folder of recordings: leave s3 and its like out".into(),
        ));
    }
    if file.file_type != EncodedFileType::DefaultFiletype as i32 {
        return Err(invalid("files are WebM: leave file_type out".into()));
    }
    FileName::read(&file.filepath).map_err(|problem| invalid(problem.to_string()))
}

fn refused(refused: Refused) -> TwirpError {
    let code = match refused {
        Refused::NoRecorders | Refused::Ending => Code::Unavailable,
        Refused::Busy => Code::ResourceExhausted,
        Refused::NoCall | Refused::NotFound => Code::NotFound,
        Refused::NotHost => Code::PermissionDenied,
        Refused::AlreadyRecorded => Code::AlreadyExists,
        Refused::HasEnded => Code::FailedPrecondition,
    };
    TwirpError::new(code, refused.to_string())
}

/// A recording as LiveKit's clients know one.
fn info(recording: &Recording) -> proto::EgressInfo {
    let nanoseconds = |time: std::time::Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let (status, error) = match &recording.state {
        Phase::Starting => (EgressStatus::EgressStarting, ""),
        Phase::Active => (EgressStatus::EgressActive, ""),
        Phase::Ending => (EgressStatus::EgressEnding, ""),
        Phase::Ended(Ended::Complete) => (EgressStatus::EgressComplete, ""),
        Phase::Ended(Ended::LimitReached) => (EgressStatus::EgressLimitReached, ""),
        Phase::Ended(Ended::Aborted) => (EgressStatus::EgressAborted, ""),
        Phase::Ended(Ended::Failed(why)) => (EgressStatus::EgressFailed, why.as_str()),
    };
    let (started_at, ended_at) = (nanoseconds(recording.started_at), recording.ended_at.map_or(0, nanoseconds));
    let file = proto::FileInfo {
        filename: recording.file.clone(),
        started_at,
        ended_at,
        duration: nanoseconds(recording.recorded),
        size: i64::try_from(recording.bytes).unwrap_or(i64::MAX),
        location: recording.file.clone(),
    };
    let request = match &recording.wish.by {
        By::Api(request) => (**request).clone(),
        By::Host(_) => proto::RoomCompositeEgressRequest {
            room_name: recording.wish.call.clone(),
            ..proto::RoomCompositeEgressRequest::default()
        },
    };
    #[expect(deprecated, reason = "older clients read the result there")]
    let result = proto::egress_info::Result::File(file.clone());
    proto::EgressInfo {
        egress_id: recording.id.clone(),
        room_id: recording.room_id.clone(),
        room_name: recording.wish.call.clone(),
        source_type: proto::EgressSourceType::Sdk as i32,
        status: status as i32,
        started_at,
        ended_at,
        updated_at: nanoseconds(recording.updated_at),
        error: error.to_owned(),
        file_results: vec![file],
        request: Some(proto::egress_info::Request::RoomComposite(request)),
        result: Some(result),
        ..proto::EgressInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use livekit_protocol::{EncodedFileOutput, RoomCompositeEgressRequest, SegmentedFileOutput, encoded_file_output};

    use super::*;

    fn request() -> RoomCompositeEgressRequest {
        RoomCompositeEgressRequest { room_name: "standup".into(), layout: "speaker".into(), ..Default::default() }
    }

    fn of_file(file: EncodedFileOutput) -> RoomCompositeEgressRequest {
        RoomCompositeEgressRequest { file_outputs: vec![file], ..request() }
    }

    #[test]
    fn a_room_is_recorded_to_one_file() {
        let file = EncodedFileOutput { filepath: "team/{room_name}".into(), ..Default::default() };
        let wanted = wish(RoomCompositeEgressRequest { audio_only: true, ..of_file(file.clone()) }).unwrap();
        assert_eq!((wanted.call.as_str(), wanted.audio_only), ("standup", true));
        assert_eq!(wanted.name, FileName::read("team/{room_name}").unwrap());
        #[expect(deprecated, reason = "older clients")]
        let old = RoomCompositeEgressRequest { output: Some(Output::File(file)), ..request() };
        assert_eq!(wish(old).unwrap().name, wanted.name);
        assert_eq!(wish(request()).unwrap().name, FileName::default());
    }

    #[test]
    fn what_cannot_be_had_is_refused_and_said() {
        let said = |request| {
            let TwirpError { code, message } = wish(request).unwrap_err();
            assert_eq!(code, Code::InvalidArgument, "{message}");
            message
        };
        let s3 = encoded_file_output::Output::S3(proto::S3Upload::default());
        for (request, word) in [
            (RoomCompositeEgressRequest::default(), "room_name"),
            (RoomCompositeEgressRequest { custom_base_url: "https://x".into(), ..request() }, "custom_base_url"),
            (RoomCompositeEgressRequest { video_only: true, ..request() }, "video_only"),
            (
                RoomCompositeEgressRequest { segment_outputs: vec![SegmentedFileOutput::default()], ..request() },
                "only files",
            ),
            (
                RoomCompositeEgressRequest { file_outputs: vec![EncodedFileOutput::default(); 2], ..request() },
                "one file",
            ),
            (of_file(EncodedFileOutput { output: Some(s3), ..Default::default() }), "s3"),
            (of_file(EncodedFileOutput { file_type: EncodedFileType::Mp4 as i32, ..Default::default() }), "file_type"),
            (of_file(EncodedFileOutput { filepath: "../../etc/x".into(), ..Default::default() }), "filepath"),
        ] {
            let said = said(request);
            assert!(said.contains(word), "{said}");
        }
    }
}
