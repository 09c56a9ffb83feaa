//! The page, and the way its wishes take to the stage.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::ask::Ask;

/// The page asks one thing after the other on each of its connections.
const MAX_WISHES: usize = 16;

/// A wish, and where its answer goes.
#[derive(Debug)]
pub struct Wish {
    pub ask: Ask,
    pub answer: oneshot::Sender<Result<Value>>,
}

/// Serves the page; returns its address, and what it wishes.
pub async fn serve() -> Result<(SocketAddr, mpsc::Receiver<Wish>)> {
    let (wishes, wished) = mpsc::channel(MAX_WISHES);
    let script = || async { ([(header::CONTENT_TYPE, "text/javascript")], include_str!("page.js")) };
    let routes = Router::new()
        .route("/", get(|| async { Html(include_str!("page.html")) }))
        .route("/page.js", get(script))
        .route("/ask", post(ask))
        .with_state(wishes);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("failed to listen for the page")?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok((address, wished))
}

async fn ask(State(wishes): State<mpsc::Sender<Wish>>, Json(ask): Json<Ask>) -> Response {
    let (answer, answered) = oneshot::channel();
    let gone = || json!({ "error": "the stage has ended" });
    if wishes.send(Wish { ask, answer }).await.is_err() {
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(gone())).into_response();
    }
    match answered.await {
        Ok(Ok(value)) => Json(value).into_response(),
        Ok(Err(error)) => (StatusCode::BAD_REQUEST, Json(json!({ "error": format!("{error:#}") }))).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Json(gone())).into_response(),
    }
}
