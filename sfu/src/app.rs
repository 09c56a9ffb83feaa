//! The SFU's HTTP application: LiveKit's front, the page, and what both need.

use axum::Router;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;
use tower::Layer as _;
use tower::util::MapRequestLayer;

use fleet::config::SfuConfig;

use crate::control::ControlHandle;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::{livekit, page};

/// What every handler may use.
#[derive(Debug, Clone)]
pub struct App {
    pub keys: Keys,
    pub control: ControlHandle,
    pub config: watch::Receiver<SfuConfig>,
    pub metrics: Metrics,
    /// Whether calls can be recorded here.
    pub records: bool,
}

/// Everything people and their clients ask for.
pub fn router(app: App) -> Router {
    let router = Router::new()
        .merge(livekit::http::routes())
        .merge(livekit::egress::routes())
        .merge(page::routes())
        .with_state(app)
        .layer(middleware::from_fn(allow_any_origin));
    Router::new().fallback_service(MapRequestLayer::new(collapse_slashes).layer(router))
}

/// Clients whose base URL ends in a slash ask for `//rtc`.
fn collapse_slashes<B>(mut request: Request<B>) -> Request<B> {
    let path_and_query = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
    if path_and_query.starts_with("//") {
        let single = format!("/{}", path_and_query.trim_start_matches('/'));
        if let Ok(uri) = single.parse() {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// Pages of any origin may use the server: access is by token, never by cookie. A preflight is answered here.
async fn allow_any_origin(request: Request<axum::body::Body>, next: Next) -> Response {
    let preflight = request.method() == Method::OPTIONS;
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if preflight {
        let methods = HeaderValue::from_static("OPTIONS, HEAD, GET, POST, PATCH, DELETE");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, *"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leading_double_slash_is_one() {
        let path = |uri: &str| {
            let request = Request::get(uri).body(()).unwrap();
            collapse_slashes(request).uri().to_string()
        };
        assert_eq!(path("//rtc/v1?access_token=a"), "/rtc/v1?access_token=a");
        assert_eq!(path("/c/a//b"), "/c/a//b");
    }
}
