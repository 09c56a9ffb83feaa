//! An SFU without media: the real fleet API and listener, and a websocket that says who it is and echoes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use calls_director::sfu_address::SfuAddress;
use fleet::api::{Claim, Means, REFUSED_DRAINING, REFUSED_HEADER, SfuLoad, SfuState, SfuStatus};
use fleet::names::tls_name;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::certificates::Certificates;
use crate::fleet_bench::is_signed;
use crate::sfu::fleet_api::{self, Asked, FleetHandle, NotAdmitted, RunningCalls};
use crate::sfu::tls;

pub struct FakeSfu {
    pub name: String,
    pub address: SfuAddress,
    pub calls: Arc<RunningCalls>,
    /// What the operator asked of it.
    pub asked: Arc<Mutex<Vec<Asked>>>,
    status: watch::Sender<SfuStatus>,
    refusing: Arc<AtomicBool>,
    dispersed: CancellationToken,
    killed: CancellationToken,
}

#[derive(Clone)]
struct Served {
    name: String,
    calls: Arc<RunningCalls>,
    status: watch::Sender<SfuStatus>,
    refusing: Arc<AtomicBool>,
    dispersed: CancellationToken,
    killed: CancellationToken,
}

/// Told to clients of a call that drains.
pub const LEAVE: &str = "leave";

#[derive(Deserialize)]
struct JoinQuery {
    access_token: String,
}

impl FakeSfu {
    pub async fn start(certificates: &Certificates, name: &str) -> Self {
        Self::start_at(certificates, name, TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn start_at(certificates: &Certificates, name: &str, listener: TcpListener) -> Self {
        let status = watch::Sender::new(SfuStatus {
            name: name.into(),
            node: String::new(),
            version: "test".into(),
            state: SfuState::Active,
            candidates: Vec::new(),
            address_problem: None,
            load: SfuLoad::default(),
            drain: None,
            can_drain: true,
        });
        let calls = Arc::new(RunningCalls::default());
        let served = Served {
            name: name.into(),
            calls: calls.clone(),
            status: status.clone(),
            refusing: Arc::default(),
            dispersed: CancellationToken::new(),
            killed: CancellationToken::new(),
        };
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let told = Arc::clone(&asked);
        let carry_out = move |asked| told.lock().unwrap().push(asked);
        let (refusing, dispersed, killed) = (served.refusing.clone(), served.dispersed.clone(), served.killed.clone());
        let app = Router::new()
            .route("/rtc", get(join))
            .fallback(any(echo))
            .with_state(served)
            .merge(fleet_api::router(FleetHandle::new(status.subscribe(), calls.clone(), admit, carry_out)));
        let address = listener.local_addr().unwrap().into();
        let stop = killed.clone();
        let tls = certificates.server(tls_name::SFU);
        tokio::spawn(async move { tls::serve(listener, tls, app, stop.cancelled_owned()).await });
        Self { name: name.into(), address, calls, asked, status, refusing, dispersed, killed }
    }

    /// Changes what it says of itself.
    pub fn report(&self, change: impl FnOnce(&mut SfuStatus)) {
        self.status.send_modify(change);
    }

    /// What the SFU does on SIGTERM: from now on every join is refused, `calls` (all it has) end, and their clients are
    /// told to come again. Its state follows when the test reports it.
    pub fn drain(&self, calls: &[&str]) {
        self.refusing.store(true, Ordering::Relaxed);
        for call in calls {
            self.calls.sent_away(call, 2, Means::Reconnect);
        }
        self.dispersed.cancel();
    }

    /// As `kill -9` would: the listener and every connection are gone.
    pub fn kill(&self) {
        self.killed.cancel();
    }
}

impl Drop for FakeSfu {
    fn drop(&mut self) {
        self.kill();
    }
}

/// As an SFU verifies a claim's token, with signatures of [`crate::fleet_bench::token_for`].
fn admit(claim: &Claim) -> Result<(), NotAdmitted> {
    if is_signed(claim.token.as_str()) { Ok(()) } else { Err(NotAdmitted("the signature does not match".into())) }
}

async fn join(State(sfu): State<Served>, Query(query): Query<JoinQuery>, upgrade: WebSocketUpgrade) -> Response {
    if !is_signed(&query.access_token) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let call = crate::fleet_bench::call_of(&query.access_token);
    if sfu.refusing.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, [(REFUSED_HEADER, REFUSED_DRAINING)]).into_response();
    }
    sfu.calls.started(&call);
    sfu.status.send_modify(|status| status.load.participants += 1);
    upgrade.max_message_size(16 << 20).max_frame_size(16 << 20).on_upgrade(move |socket| talk(sfu, socket))
}

/// Says its name, then gives back what it gets, until the client goes, is sent away, or the SFU is killed.
async fn talk(sfu: Served, mut socket: WebSocket) {
    let talking = async {
        socket.send(Message::Text(sfu.name.as_str().into())).await.ok()?;
        loop {
            tokio::select! {
                message = socket.recv() => {
                    let message = message?.ok()?;
                    if matches!(message, Message::Binary(_)) {
                        socket.send(message).await.ok()?;
                    }
                }
                () = sfu.dispersed.cancelled() => return socket.send(Message::Text(LEAVE.into())).await.ok(),
            }
        }
    };
    tokio::select! {
        _ = talking => {}
        () = sfu.killed.cancelled() => {}
    }
}

/// Who it is, what was asked and for whom; a body comes back as it was.
async fn echo(State(sfu): State<Served>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let of = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
    let answer = if body.is_empty() {
        Body::from(format!("{} {uri} host={} for={}", sfu.name, of("host"), of("x-forwarded-for")))
    } else {
        Body::from(body)
    };
    ([("x-sfu", sfu.name)], answer).into_response()
}
