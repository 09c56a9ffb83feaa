//! Finding the SFU for one request: does what [`Trip::decide`] says, waits by notification, asks registrars.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fleet::api::{CLAIMS_PATH, Claim, Placement};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::{Request, StatusCode, header};
use tracing::{debug, warn};

use crate::claim::{Round, Step};
use crate::connect::{Connector, SendError};
use crate::metrics::{ClaimOutcome, Metrics};
use crate::sfu_address::SfuAddress;
use crate::table::Table;
use crate::trip::{Decision, Found, RETRY_PAUSE, Trip};
use crate::view::View;
use crate::wanted::Wanted;

/// A registrar answers from memory; one that takes longer counts as unreachable.
const CLAIM_LIMIT: Duration = Duration::from_secs(2);
/// How long a placement is remembered here: until the call's beginning has surely been heard of.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Placements remembered, at most; further ones are claimed again, which gives the same answer.
const REMEMBERED_MAX: usize = 16_384;
/// An answer to a claim is two names, or a sentence.
const MAX_ANSWER_BYTES: usize = 4096;

/// Decides where requests go. Share it by `Arc`.
#[derive(Debug)]
pub struct Router {
    view: Arc<View>,
    connector: Arc<Connector>,
    metrics: Arc<Metrics>,
    /// By call: the name of the SFU it was placed at, and when.
    placements: Mutex<HashMap<String, (String, Instant)>>,
    turn: AtomicUsize,
}

/// Why a request goes nowhere. The text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    #[error("The media servers are not known yet. Please try again in a moment.")]
    NotSynced,
    #[error("No media server can take this at the moment. Please try again in a moment.")]
    Nobody,
    /// The registrar's own words: the client's token does not open the call.
    #[error("{0}")]
    NotAdmitted(String),
}

#[derive(Debug, thiserror::Error)]
enum ClaimError {
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("request cannot be made")]
    Request(#[from] hyper::http::Error),
    #[error("claim cannot be written or its answer not be read")]
    Json(#[from] serde_json::Error),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("answer broke off or is too long")]
    Body,
    #[error("no answer within {} s", CLAIM_LIMIT.as_secs())]
    TimedOut,
    /// The client's token does not open the call: an answer, but not the last word. While `auth.secretName` changes, SFUs
    /// of two revisions stand side by side, and each knows its own keys.
    #[error("the client's token is refused")]
    NotAdmitted(String),
}

impl Router {
    pub fn new(view: Arc<View>, connector: Arc<Connector>, metrics: Arc<Metrics>) -> Self {
        Self { view, connector, metrics, placements: Mutex::default(), turn: AtomicUsize::new(0) }
    }

    /// The SFU for the request. Waits for one until the trip's deadline, which is also when it fails; at once if the
    /// client's token does not open the call.
    pub async fn find(&self, trip: &mut Trip) -> Result<(SfuAddress, Found), NoRoute> {
        let mut changes = self.view.changes();
        if let Some(sfu) = trip.wanted.call().and_then(|call| self.remembered(call)) {
            trip.was_claimed(sfu);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        loop {
            changes.mark_unchanged();
            let decision = trip.decide(&self.view.table(), turn, Instant::now());
            let wake = match decision {
                Decision::Go(address, found) => {
                    if let Wanted::Join { call, .. } = &trip.wanted {
                        self.view.table().reserve(&address, call, Instant::now());
                    }
                    return Ok((address, found));
                }
                Decision::Claim(round) => match self.claim(round).await? {
                    Some((call, sfu)) => {
                        self.remember(call, sfu.clone());
                        trip.was_claimed(sfu);
                        Instant::now()
                    }
                    None => Instant::now() + RETRY_PAUSE,
                },
                Decision::Wait(until) => until,
            };
            if Instant::now() >= trip.deadline {
                return Err(if self.view.table().is_synced() { NoRoute::Nobody } else { NoRoute::NotSynced });
            }
            // The view lives as long as this router, so `changed` fails never.
            let _ = tokio::time::timeout_at(wake.min(trip.deadline).into(), changes.changed()).await;
        }
    }

    /// Nothing listens there.
    pub fn was_refused(&self, address: &SfuAddress) {
        self.view.change(|table: &mut Table, now| table.refused(address, now));
    }

    /// Asks registrars until the claim stands; the call and the name of its SFU. `None` if none of them answers.
    async fn claim(&self, mut round: Round) -> Result<Option<(String, String)>, NoRoute> {
        let mut refusal = None;
        loop {
            match round.next_step() {
                Step::Ask(registrar, claim) => {
                    match tokio::time::timeout(CLAIM_LIMIT, self.ask(&registrar, &claim)).await {
                        Ok(Ok(placement)) => round.answered(placement),
                        Ok(Err(ClaimError::NotAdmitted(why))) => {
                            refusal.get_or_insert(why);
                        }
                        Ok(Err(error)) => {
                            warn!(sfu = %registrar, %error, "registrar does not answer; the next is asked");
                            self.metrics.claimed(ClaimOutcome::Unanswered);
                        }
                        Err(_) => {
                            let error = ClaimError::TimedOut;
                            warn!(sfu = %registrar, %error, "registrar does not answer; the next is asked");
                            self.metrics.claimed(ClaimOutcome::Unanswered);
                        }
                    }
                }
                Step::Placed { call, sfu } => {
                    debug!(call_id = %call, %sfu, "call placed");
                    self.metrics.claimed(ClaimOutcome::Stands);
                    return Ok(Some((call, sfu)));
                }
                Step::Failed => {
                    if let Some(why) = refusal {
                        self.metrics.claimed(ClaimOutcome::NotAdmitted);
                        return Err(NoRoute::NotAdmitted(why));
                    }
                    self.metrics.claimed(ClaimOutcome::Failed);
                    return Ok(None);
                }
            }
        }
    }

    async fn ask(&self, registrar: &SfuAddress, claim: &Claim) -> Result<Placement, ClaimError> {
        let body = Full::from(serde_json::to_vec(claim)?);
        let request = Request::post(CLAIMS_PATH)
            .header(header::HOST, fleet::names::tls_name::SFU)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Either::Right(Either::Right(body)))?;
        let given_up = self.view.given_up(registrar);
        let response = self.connector.send(registrar, &given_up, request).await?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let answer = answer.map_err(|_| ClaimError::Body)?.to_bytes();
        match status {
            StatusCode::OK => Ok(serde_json::from_slice(&answer)?),
            StatusCode::UNAUTHORIZED => Err(ClaimError::NotAdmitted(String::from_utf8_lossy(&answer).into_owned())),
            other => Err(ClaimError::Status(other)),
        }
    }

    fn remembered(&self, call: &str) -> Option<String> {
        let placements = self.placements.lock().unwrap_or_else(PoisonError::into_inner);
        placements.get(call).filter(|(_, at)| at.elapsed() < REMEMBERED).map(|(sfu, _)| sfu.clone())
    }

    fn remember(&self, call: String, sfu: String) {
        let mut placements = self.placements.lock().unwrap_or_else(PoisonError::into_inner);
        if placements.len() >= REMEMBERED_MAX {
            placements.retain(|_, (_, at)| at.elapsed() < REMEMBERED);
        }
        if placements.len() < REMEMBERED_MAX {
            placements.insert(call, (sfu, Instant::now()));
        }
    }
}
