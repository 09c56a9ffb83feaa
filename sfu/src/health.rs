//! Probes and metrics, on a port of their own: kubelets and Prometheus have no client certificate.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use fleet::api::{SfuState, SfuStatus};
use tokio::sync::watch;

use crate::metrics::Metrics;

#[derive(Debug, Clone)]
struct Health {
    status: watch::Receiver<SfuStatus>,
    metrics: Metrics,
}

pub fn routes(status: watch::Receiver<SfuStatus>, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .with_state(Health { status, metrics })
}

/// Ready to take new calls.
async fn ready(State(health): State<Health>) -> Response {
    let status = health.status.borrow();
    match status.state {
        SfuState::Active => "ok".into_response(),
        SfuState::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining").into_response(),
        SfuState::Starting => {
            let why = status.address_problem.as_ref().map_or("no address yet", |problem| &problem.message);
            (StatusCode::SERVICE_UNAVAILABLE, why.to_owned()).into_response()
        }
    }
}

async fn render(State(health): State<Health>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], health.metrics.render()).into_response()
}
