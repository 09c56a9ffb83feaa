//! Probes and metrics over plain HTTP.

use std::io;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::metrics::Metrics;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Shared {
    ready: watch::Receiver<bool>,
    metrics: Metrics,
}

/// Serves `/healthz`, `/readyz` and `/metrics` until the task is dropped.
///
/// Ready means: the API server was reached and, in a leader, every cache is filled, that of CallsClusters included. A standby is ready too, or a rollout
/// of the operator would wait for a leader that waits for its replacement.
pub async fn serve(listener: TcpListener, ready: watch::Receiver<bool>, metrics: Metrics) -> io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(show_metrics))
        .with_state(Shared { ready, metrics });
    axum::serve(listener, routes).await
}

async fn readyz(State(shared): State<Shared>) -> (StatusCode, &'static str) {
    if *shared.ready.borrow() {
        (StatusCode::OK, "ok")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the API server was not reached yet, or caches are still filling: the log names watches that fail",
        )
    }
}

async fn show_metrics(State(shared): State<Shared>) -> impl IntoResponse {
    match shared.metrics.text() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, OPENMETRICS)], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}
