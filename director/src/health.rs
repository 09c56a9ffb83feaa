//! `/healthz`, `/readyz` and `/metrics`, on a port of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::view::View;

/// Content type of the text that `prometheus-client` writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

#[derive(Debug)]
pub struct Health {
    view: Arc<View>,
    registry: Registry,
    stopping: AtomicBool,
}

impl Health {
    pub fn new(view: Arc<View>, registry: Registry) -> Self {
        Self { view, registry, stopping: AtomicBool::new(false) }
    }

    /// From now on the director is not ready: load balancers turn away.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Answers a request for `path`.
    pub fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        match path {
            "/readyz" if self.stopping.load(Ordering::Relaxed) => {
                response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "stopping\n".into())
            }
            "/readyz" if !self.view.table().is_synced() => {
                response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the list of SFUs is not known yet\n".into())
            }
            "/healthz" | "/readyz" => response(StatusCode::OK, TEXT, "ok\n".into()),
            "/metrics" => {
                let mut text = String::new();
                match encode(&mut text, &self.registry) {
                    Ok(()) => response(StatusCode::OK, OPENMETRICS, text),
                    Err(_) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "metrics cannot be written\n".into()),
                }
            }
            _ => response(StatusCode::NOT_FOUND, TEXT, "try /healthz, /readyz or /metrics\n".into()),
        }
    }
}

fn response(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_is_ready_from_the_first_list_of_sfus_until_it_stops() {
        let view = Arc::new(View::default());
        let health = Health::new(view.clone(), Registry::default());
        let status = |path| health.answer(path).status();
        assert_eq!((status("/healthz"), status("/readyz")), (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE));
        view.change(|table, now| table.list(&BTreeSet::new(), now));
        assert_eq!(status("/readyz"), StatusCode::OK);
        health.stop();
        assert_eq!((status("/healthz"), status("/readyz")), (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!((status("/metrics"), status("/")), (StatusCode::OK, StatusCode::NOT_FOUND));
    }
}
