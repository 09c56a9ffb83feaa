//! The page: its files, and the tokens it asks for.

mod files;
mod recording;

use std::time::Duration;

use aws_lc_rs::digest;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleet::api::MAX_CALL_NAME;
use fleet::config::PageAccess;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::keys::Keys;
use crate::livekit::token::{self, Claims, VideoGrant};

/// A page's token lasts a working day; while connected, the server renews it.
const TOKEN_LIFETIME: Duration = Duration::from_hours(8);
/// Most characters of a person's name.
const MAX_PERSON_NAME: usize = 100;
/// Fewest and most characters of an identity the page made up. Others see a hash of it, so nobody may guess it: ours has
/// 24 hexadecimal digits.
const IDENTITY_LENGTH: std::ops::RangeInclusive<usize> = 20..=64;
/// Bytes of the hash that names someone: nobody meets another by chance.
const IDENTITY_BYTES: usize = 16;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/", get(index))
        .route("/c/{call}", get(index))
        .route("/page/config", get(config))
        .route("/page/token", post(give_token))
        .route("/page/recording", get(recording::show).post(recording::start).delete(recording::stop))
        .route("/{*path}", get(file))
}

async fn index(State(app): State<App>, request: HeaderMap) -> Response {
    if !app.config.borrow().page.enabled {
        // LiveKit's clients and probes ask for `/` and want to hear that the server is there.
        return "OK".into_response();
    }
    files::serve("index.html", &request)
}

async fn file(State(app): State<App>, Path(path): Path<String>, request: HeaderMap) -> Response {
    if !app.config.borrow().page.enabled {
        return StatusCode::NOT_FOUND.into_response();
    }
    files::serve(&path, &request)
}

/// What the page has to know before anyone joins.
#[derive(Debug, Serialize)]
struct PageConfig {
    access: &'static str,
    version: &'static str,
    /// Whether hosts may record here.
    records: bool,
}

async fn config(State(app): State<App>) -> Json<PageConfig> {
    let access = match app.config.borrow().page.access {
        PageAccess::Open => "open",
        PageAccess::Token => "token",
    };
    Json(PageConfig { access, version: env!("CARGO_PKG_VERSION"), records: app.records })
}

/// A person's wish to join from the page.
#[derive(Debug, Clone, Deserialize)]
struct TokenRequest {
    call: String,
    name: String,
    /// Random, kept by the browser and told to nobody else: the same person after a reload.
    identity: String,
    /// From an invitation link.
    invite: Option<String>,
}

#[derive(Debug, Serialize)]
struct TokenAnswer {
    token: String,
}

/// A refusal the page shows as it is.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    message: &'static str,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(serde_json::json!({ "error": self.message }))).into_response()
    }
}

async fn give_token(State(app): State<App>, Json(request): Json<TokenRequest>) -> Result<Json<TokenAnswer>, Refusal> {
    let (enabled, access) = {
        let config = app.config.borrow();
        (config.page.enabled, config.page.access)
    };
    if !enabled {
        return Err(refusal(StatusCode::NOT_FOUND, "This server has no page."));
    }
    let claims = admit(&request, access, &app.keys)?;
    let token = token::sign(claims, &app.keys, TOKEN_LIFETIME)
        .map_err(|_| refusal(StatusCode::INTERNAL_SERVER_ERROR, "The server has no API key to sign tokens with."))?;
    Ok(Json(TokenAnswer { token }))
}

const fn refusal(status: StatusCode, message: &'static str) -> Refusal {
    Refusal { status, message }
}

/// Decides whether someone may join, and as what.
fn admit(request: &TokenRequest, access: PageAccess, keys: &Keys) -> Result<Claims, Refusal> {
    let bad = |message| refusal(StatusCode::BAD_REQUEST, message);
    let call = request.call.trim();
    let name = request.name.trim();
    if call.is_empty() || call.len() > MAX_CALL_NAME {
        return Err(bad("The call's name must have 1 to 256 characters."));
    }
    if name.is_empty() || name.chars().count() > MAX_PERSON_NAME {
        return Err(bad("Your name must have 1 to 100 characters."));
    }
    let identity_fits = IDENTITY_LENGTH.contains(&request.identity.len());
    if !identity_fits || !request.identity.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(bad("The browser's identity must have 20 to 64 letters, digits or dashes. Reload the page."));
    }
    if access == PageAccess::Token {
        let invite = request.invite.as_deref().filter(|invite| !invite.is_empty());
        let invite = invite.ok_or(refusal(
            StatusCode::FORBIDDEN,
            "This call needs an invitation link. Ask whoever runs the server for one.",
        ))?;
        let invited = token::verify_invite(invite, keys).map_err(|error| {
            let message = match error {
                token::TokenError::Expired => "This invitation link has expired. Ask for a new one.",
                _ => "This invitation link is not valid here. Check that it was copied whole, or ask for a new one.",
            };
            refusal(StatusCode::FORBIDDEN, message)
        })?;
        if invited != call {
            return Err(refusal(StatusCode::FORBIDDEN, "This invitation link is for another call."));
        }
    }
    let video = VideoGrant {
        room_join: true,
        room: call.to_owned(),
        can_update_own_metadata: Some(true),
        ..VideoGrant::default()
    };
    Ok(Claims {
        sub: identity(call, &request.identity),
        name: name.to_owned(),
        video: Some(video),
        ..Claims::default()
    })
}

/// Who someone is to others. Everybody in a call hears identities, and whoever joins under one takes the other's
/// place: so what the browser keeps stays its secret, and this is made from it, the same each time. No key has a part in
/// it: whoever reloads while keys are changed would meet their own ghost.
fn identity(call: &str, kept: &str) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in ["calls page identity", call, kept] {
        hash.update(part.as_bytes());
        hash.update(&[0]);
    }
    URL_SAFE_NO_PAD.encode(&hash.finish().as_ref()[..IDENTITY_BYTES])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::keys::Secret;

    const KEPT: &str = "0123456789abcdef01234567";

    fn keys() -> Keys {
        keys_of("devkey", "secret")
    }

    fn keys_of(name: &str, secret: &str) -> Keys {
        Keys::new(BTreeMap::from([(name.to_owned(), Secret::new(secret))]))
    }

    fn request() -> TokenRequest {
        TokenRequest { call: "standup".into(), name: "Ana".into(), identity: KEPT.into(), invite: None }
    }

    fn refused(request: &TokenRequest, access: PageAccess) -> StatusCode {
        admit(request, access, &keys()).unwrap_err().status
    }

    #[test]
    fn an_open_page_admits_anyone_by_name() {
        let claims = admit(&request(), PageAccess::Open, &keys()).unwrap();
        assert_ne!(claims.identity(), KEPT, "others would see what the browser keeps secret");
        let again = admit(&request(), PageAccess::Open, &keys()).unwrap();
        assert_eq!(claims.identity(), again.identity(), "the same person after a reload");
        assert_eq!(claims.video.unwrap().room, "standup");
    }

    #[test]
    fn a_closed_page_asks_for_an_invitation() {
        assert_eq!(refused(&request(), PageAccess::Token), StatusCode::FORBIDDEN);
        let with_garbage = TokenRequest { invite: Some("garbage".into()), ..request() };
        assert_eq!(refused(&with_garbage, PageAccess::Token), StatusCode::FORBIDDEN);
    }

    #[test]
    fn bad_names_are_refused() {
        let check = |request: TokenRequest| assert_eq!(refused(&request, PageAccess::Open), StatusCode::BAD_REQUEST);
        check(TokenRequest { call: " ".into(), ..request() });
        check(TokenRequest { call: "x".repeat(257), ..request() });
        check(TokenRequest { name: String::new(), ..request() });
        check(TokenRequest { identity: "a b".into(), ..request() });
        check(TokenRequest { identity: "0123456789abcdef012".into(), ..request() });
    }

    #[test]
    fn a_person_stays_the_same_whatever_keys_there_are() {
        let one = admit(&request(), PageAccess::Open, &keys()).unwrap();
        let other = admit(&request(), PageAccess::Open, &keys_of("newkey", "another")).unwrap();
        assert_eq!(one.identity(), other.identity());
    }

    #[test]
    fn a_person_is_somebody_else_in_another_call() {
        let here = admit(&request(), PageAccess::Open, &keys()).unwrap();
        let there = TokenRequest { call: "retro".into(), ..request() };
        assert_ne!(here.identity(), admit(&there, PageAccess::Open, &keys()).unwrap().identity());
    }
}
