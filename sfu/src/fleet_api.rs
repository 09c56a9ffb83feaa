//! The fleet API as the SFU serves it: `/fleet/v1/*` of [`fleet::api`], an axum router over a [`FleetHandle`].
//!
//! What the rest of the SFU gives it:
//! - a `tokio::sync::watch` channel with its [`SfuStatus`], written when state or addresses change and about once a
//!   second with the load; every write becomes a line for every reader;
//! - a [`RunningCalls`], told when a call begins and ends, on the thread that decides it;
//! - a function that says whether a claim's token opens its call ([`super::admit`]);
//! - a function that has it leave, or stay after all.
//!
//! The router holds no connection's identity: [`super::tls`] lets in only who may be here. Merge [`router`] into the
//! SFU's own router and give the whole to [`super::tls::serve`].

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use fleet::api::{
    CLAIMS_PATH, Claim, DRAIN_PATH, DrainOrder, FleetEvent, INFO_PATH, MAX_CALL_NAME, MAX_DRAIN_SECONDS, Means,
    Placement, SfuStatus, WATCH_HEARTBEAT_SECONDS, WATCH_PATH,
};
use futures_util::stream;
use tokio::sync::{broadcast, watch};
use tokio::time::{Interval, MissedTickBehavior};

use super::claims::ClaimTable;

/// Changes a reader may be behind before its stream ends; it then comes back for a new snapshot. A full hour's burst of
/// a large SFU, a second's worth of it at a time, fits many times over.
const CHANGES_KEPT: usize = 1024;
/// A claim is a token and three names. A token comes in a request's header, of which directors take 256 KiB.
const MAX_CLAIM_BYTES: usize = (256 + 4) << 10;

/// The calls that run here, and whoever follows them.
#[derive(Debug)]
pub struct RunningCalls {
    names: Mutex<BTreeSet<String>>,
    changes: broadcast::Sender<FleetEvent>,
}

impl Default for RunningCalls {
    fn default() -> Self {
        Self { names: Mutex::default(), changes: broadcast::Sender::new(CHANGES_KEPT) }
    }
}

impl RunningCalls {
    /// The call began: a participant is in it, or the server API made it. Saying so twice is harmless.
    pub fn started(&self, call: &str) {
        let mut names = self.names();
        if names.insert(call.to_owned()) {
            self.tell(&names, FleetEvent::CallStarted { call: call.to_owned() });
        }
    }

    /// The call is no more here; the next join of that name may go to another SFU.
    pub fn ended(&self, call: &str) {
        let mut names = self.names();
        if names.remove(call) {
            self.tell(&names, FleetEvent::CallEnded { call: call.to_owned() });
        }
    }

    /// The call was sent to another SFU by these means, with so many people.
    pub fn sent_away(&self, call: &str, people: u32, means: Means) {
        let mut names = self.names();
        if names.remove(call) {
            let call = call.to_owned();
            self.tell(&names, FleetEvent::TakeCall { call: call.clone(), people, means });
            self.tell(&names, FleetEvent::CallEnded { call });
        }
    }

    pub fn contains(&self, call: &str) -> bool {
        self.names().contains(call)
    }

    /// All calls, and every change after exactly this moment.
    fn subscribe(&self) -> (Vec<String>, broadcast::Receiver<FleetEvent>) {
        let names = self.names();
        (names.iter().cloned().collect(), self.changes.subscribe())
    }

    /// Sends while the names are locked, so that no reader misses a change or sees it twice.
    fn tell(&self, _locked: &MutexGuard<'_, BTreeSet<String>>, event: FleetEvent) {
        // Nobody listening is fine.
        let _ = self.changes.send(event);
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says whether a claim's token opens the call it names.
type Admit = dyn Fn(&Claim) -> Result<(), NotAdmitted> + Send + Sync;

/// The token of a claim does not open its call: why, as a sentence for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAdmitted(pub String);

/// What the operator asks of an SFU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    ToLeave(DrainOrder),
    ToStay,
}

/// Carries out what is asked, soon.
type CarryOut = dyn Fn(Asked) + Send + Sync;

/// What the fleet API reads and does. Cheap to clone.
#[derive(Clone)]
pub struct FleetHandle {
    status: watch::Receiver<SfuStatus>,
    calls: Arc<RunningCalls>,
    claims: Arc<Mutex<ClaimTable>>,
    admit: Arc<Admit>,
    carry_out: Arc<CarryOut>,
}

impl std::fmt::Debug for FleetHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FleetHandle").finish_non_exhaustive()
    }
}

impl FleetHandle {
    pub fn new(
        status: watch::Receiver<SfuStatus>,
        calls: Arc<RunningCalls>,
        admit: impl Fn(&Claim) -> Result<(), NotAdmitted> + Send + Sync + 'static,
        carry_out: impl Fn(Asked) + Send + Sync + 'static,
    ) -> Self {
        Self { status, calls, claims: Arc::default(), admit: Arc::new(admit), carry_out: Arc::new(carry_out) }
    }
}

/// `/fleet/v1/*`.
pub fn router(handle: FleetHandle) -> Router {
    Router::new()
        .route(INFO_PATH, get(info))
        .route(WATCH_PATH, get(watch_stream))
        .route(CLAIMS_PATH, post(claim))
        .route(DRAIN_PATH, post(leave).delete(stay))
        .layer(DefaultBodyLimit::max(MAX_CLAIM_BYTES))
        .with_state(handle)
}

async fn info(State(handle): State<FleetHandle>) -> Json<SfuStatus> {
    Json(handle.status.borrow().clone())
}

async fn claim(State(handle): State<FleetHandle>, Json(claim): Json<Claim>) -> Response {
    if claim.call.is_empty() || claim.call.len() > MAX_CALL_NAME || claim.sfu.is_empty() {
        return (StatusCode::BAD_REQUEST, "a claim names a call and an SFU").into_response();
    }
    if let Err(NotAdmitted(why)) = (handle.admit)(&claim) {
        return (StatusCode::UNAUTHORIZED, why).into_response();
    }
    let call = claim.call.clone();
    if handle.calls.contains(&call) {
        let sfu = handle.status.borrow().name.clone();
        return Json(Placement { call, sfu, running: true }).into_response();
    }
    let mut claims = handle.claims.lock().unwrap_or_else(PoisonError::into_inner);
    match claims.claim(claim, Instant::now()) {
        Ok(sfu) => Json(Placement { call, sfu, running: false }).into_response(),
        Err(full) => (StatusCode::SERVICE_UNAVAILABLE, full.to_string()).into_response(),
    }
}

async fn leave(State(handle): State<FleetHandle>, Json(order): Json<DrainOrder>) -> Response {
    if order.within_seconds > MAX_DRAIN_SECONDS {
        let why = format!("withinSeconds is at most {MAX_DRAIN_SECONDS}");
        return (StatusCode::BAD_REQUEST, why).into_response();
    }
    (handle.carry_out)(Asked::ToLeave(order));
    StatusCode::ACCEPTED.into_response()
}

async fn stay(State(handle): State<FleetHandle>) -> StatusCode {
    (handle.carry_out)(Asked::ToStay);
    StatusCode::ACCEPTED
}

async fn watch_stream(State(handle): State<FleetHandle>) -> Response {
    let lines = stream::unfold(WatchReader::new(handle), |mut reader| async move {
        let line = reader.next_line().await?;
        Some((Ok::<_, Infallible>(line), reader))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// One reader of the watch stream. It is pulled by the connection, so nothing is queued for a slow reader but the
/// changes of calls, and of those no more than [`CHANGES_KEPT`].
struct WatchReader {
    status: watch::Receiver<SfuStatus>,
    changes: broadcast::Receiver<FleetEvent>,
    ready: VecDeque<FleetEvent>,
    heartbeat: Interval,
}

impl WatchReader {
    fn new(handle: FleetHandle) -> Self {
        let FleetHandle { mut status, calls, .. } = handle;
        let (names, changes) = calls.subscribe();
        let snapshot = FleetEvent::Snapshot { status: status.borrow_and_update().clone(), calls: names };
        let mut heartbeat = tokio::time::interval(Duration::from_secs(WATCH_HEARTBEAT_SECONDS));
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        Self { status, changes, ready: VecDeque::from([snapshot]), heartbeat }
    }

    /// `None` ends the stream: the reader was too slow, or the SFU is stopping.
    async fn next_line(&mut self) -> Option<Bytes> {
        let event = match self.ready.pop_front() {
            Some(event) => event,
            None => self.next_event().await?,
        };
        let mut line = serde_json::to_vec(&event).ok()?;
        line.push(b'\n');
        Some(line.into())
    }

    async fn next_event(&mut self) -> Option<FleetEvent> {
        tokio::select! {
            biased;
            change = self.changes.recv() => change.ok(),
            changed = self.status.changed() => {
                changed.ok()?;
                self.heartbeat.reset();
                Some(self.current_status())
            }
            _ = self.heartbeat.tick() => Some(self.current_status()),
        }
    }

    fn current_status(&mut self) -> FleetEvent {
        FleetEvent::Status { status: self.status.borrow_and_update().clone() }
    }
}
