//! The page's button for recordings: the host starts and stops one. Who asks shows the token of the call.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use fleet::api::bearer;
use serde::Serialize;
use sfu_core::call::Identity;

use super::{Refusal, refusal};
use crate::app::App;
use crate::livekit::token;
use crate::recordings::{By, FileName, Filter, Recording, Refused, Which, Wish};

/// What the page shows.
#[derive(Debug, Serialize)]
pub struct Shown {
    /// Whether a host's recording starts or runs.
    recording: bool,
}

/// Somebody in a call.
struct Asker {
    call: String,
    identity: Identity,
}

pub async fn show(State(app): State<App>, headers: HeaderMap) -> Result<Json<Shown>, Refusal> {
    let Asker { call, .. } = asker(&app, &headers)?;
    let running = app.control.list_recordings(Filter { call: Some(call), running_only: true, id: None }).await;
    Ok(Json(Shown { recording: running.iter().any(is_hosts) }))
}

pub async fn start(State(app): State<App>, headers: HeaderMap) -> Result<Json<Shown>, Refusal> {
    let Asker { call, identity } = asker(&app, &headers)?;
    let wish = Wish { call, by: By::Host(identity), audio_only: false, name: FileName::default() };
    match app.control.start_recording(wish).await {
        // The one who was host a moment ago was first.
        Ok(_) | Err(Refused::AlreadyRecorded) => Ok(Json(Shown { recording: true })),
        Err(refused) => Err(explain(refused)),
    }
}

pub async fn stop(State(app): State<App>, headers: HeaderMap) -> Result<Json<Shown>, Refusal> {
    let Asker { call, identity } = asker(&app, &headers)?;
    match app.control.stop_recording(Which::OfHost { call, host: identity }).await {
        Ok(_) | Err(Refused::NotFound | Refused::HasEnded) => Ok(Json(Shown { recording: false })),
        Err(refused) => Err(explain(refused)),
    }
}

fn asker(app: &App, headers: &HeaderMap) -> Result<Asker, Refusal> {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
    let claims = token.and_then(|token| token::verify(token, &app.keys).ok());
    let unknown = || refusal(StatusCode::UNAUTHORIZED, "The server does not know you any more. Join the call again.");
    let claims = claims.ok_or_else(unknown)?;
    let video = claims.video.clone().filter(|video| video.room_join).ok_or_else(unknown)?;
    Ok(Asker { call: video.room, identity: Identity(claims.identity().to_owned()) })
}

const fn is_hosts(recording: &Recording) -> bool {
    matches!(recording.wish.by, By::Host(_)) && recording.is_wanted()
}

const fn explain(refused: Refused) -> Refusal {
    let (status, message) = match refused {
        Refused::NoRecorders => (StatusCode::SERVICE_UNAVAILABLE, "This server cannot record calls."),
        Refused::Busy => {
            (StatusCode::SERVICE_UNAVAILABLE, "All recorders of this server are busy. Try again in a few minutes.")
        }
        Refused::NotHost => (StatusCode::FORBIDDEN, "Only the host can start or stop a recording."),
        Refused::NoCall | Refused::NotFound | Refused::HasEnded | Refused::AlreadyRecorded | Refused::Ending => {
            (StatusCode::CONFLICT, "The call could not be recorded just now. Try again in a moment.")
        }
    };
    refusal(status, message)
}
