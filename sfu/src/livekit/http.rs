//! LiveKit's HTTP surface: opening the signalling websocket, and the check clients make when that fails.

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use fleet::api::{REFUSED_HEADER, bearer};

use super::join::{Join, JoinError, JoinQuery};
use super::socket;
use super::token::{self, TokenError};
use crate::app::App;
use crate::control::JoinRefused;

pub fn routes() -> Router<App> {
    let join = |v1| {
        get(move |State(app): State<App>, Query(query), headers: HeaderMap, upgrade| async move {
            join(app, query, headers, upgrade, v1).await
        })
    };
    let validate = |v1| {
        get(move |State(app): State<App>, Query(query): Query<JoinQuery>, headers: HeaderMap| async move {
            validate(&app, &query, &headers, v1)
        })
    };
    Router::new()
        .route("/rtc", join(false))
        .route("/rtc/v1", join(true))
        .route("/rtc/validate", validate(false))
        .route("/rtc/v1/validate", validate(true))
}

/// Why a client may not join, as an HTTP answer.
#[derive(Debug)]
enum Refusal {
    Token(TokenError),
    Request(JoinError),
    Control(JoinRefused),
}

impl Refusal {
    /// Name for metrics: a closed set.
    fn label(&self) -> &'static str {
        match self {
            Self::Token(error) => error.label(),
            Self::Request(JoinError::Denied(_)) => "denied",
            Self::Request(JoinError::Invalid(_)) => "invalid",
            Self::Control(refused) => refused.label(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Token(error) => (StatusCode::UNAUTHORIZED, error.to_string()).into_response(),
            Self::Request(error) => {
                let status = match error {
                    JoinError::Denied(_) => StatusCode::UNAUTHORIZED,
                    JoinError::Invalid(_) => StatusCode::BAD_REQUEST,
                };
                (status, error.to_string()).into_response()
            }
            Self::Control(refused) => {
                let reason = HeaderValue::from_static(refused.label());
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    [(HeaderName::from_static(REFUSED_HEADER), reason)],
                    refused.to_string(),
                )
                    .into_response()
            }
        }
    }
}

/// The token of a request: the header wins over the query.
fn token_of<'a>(query: &'a JoinQuery, headers: &'a HeaderMap) -> Result<&'a str, TokenError> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    header
        .and_then(bearer)
        .or(query.access_token.as_deref())
        .filter(|token| !token.is_empty())
        .ok_or(TokenError::Missing)
}

fn read(app: &App, query: &JoinQuery, headers: &HeaderMap, requires_join_request: bool) -> Result<Join, Refusal> {
    let claims = token_of(query, headers).and_then(|token| token::verify(token, &app.keys)).map_err(Refusal::Token)?;
    Join::read(query, claims, requires_join_request).map_err(Refusal::Request)
}

/// The same checks as a join, for clients whose websocket failed: its error says nothing, this answer does.
fn validate(app: &App, query: &JoinQuery, headers: &HeaderMap, requires_join_request: bool) -> Response {
    match read(app, query, headers, requires_join_request) {
        Ok(_) => "success".into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn join(
    app: App,
    query: JoinQuery,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
    requires_join_request: bool,
) -> Response {
    let refuse = |refusal: Refusal| {
        app.metrics.join_refused(refusal.label());
        refusal.into_response()
    };
    let join = match read(&app, &query, &headers, requires_join_request) {
        Ok(join) => join,
        Err(refusal) => return refuse(refusal),
    };
    // The call decides before the websocket opens, so that a refusal is an HTTP status the client can read.
    let joined = match app.control.join(join).await {
        Ok(joined) => joined,
        Err(refused) => return refuse(Refusal::Control(refused)),
    };
    app.metrics.joined(joined.outcome);
    let (control, metrics) = (app.control.clone(), app.metrics.clone());
    let abandoned = (app.control.clone(), joined.attachment.clone());
    upgrade
        .max_message_size(socket::MAX_MESSAGE)
        .read_buffer_size(socket::READ_BUFFER)
        .on_failed_upgrade(move |_| {
            let (control, attachment) = abandoned;
            tokio::spawn(async move { control.detached(attachment).await });
        })
        .on_upgrade(move |socket| socket::run(socket, joined.attachment, joined.responses, control, metrics))
}
