//! Does what [`crate::lease`] decides: reads and writes the Lease.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use thiserror::Error;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::lease::{Decision, Elector, LEASE_DURATION, Observed, RETRY_PERIOD};

/// A request for the Lease that takes longer is given up; several fit into the renewal deadline.
const REQUEST_LIMIT: Duration = Duration::from_secs(3);

/// Why a round of the election failed; the next round tries again.
#[derive(Debug, Error)]
enum ElectError {
    #[error("failed to read the Lease")]
    Read(#[source] kube::Error),
    #[error("failed to write the Lease")]
    Write(#[source] kube::Error),
    #[error("the API server did not answer within {} s", REQUEST_LIMIT.as_secs())]
    TooSlow,
}

/// The Lease that operators of one installation share.
#[derive(Clone)]
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
}

impl std::fmt::Debug for Election {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Election")
            .field("name", &self.name)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Election {
    pub fn new(client: Client, namespace: &str, name: String, identity: String) -> Self {
        Self { api: Api::namespaced(client, namespace), name, identity }
    }

    /// Takes part until the task is dropped. `leads` turns true when we lead, and false when we may no longer act, which
    /// is the moment to end the process.
    pub async fn run(self, leads: watch::Sender<bool>) {
        let began = Instant::now();
        let mut elector = Elector::new(self.identity.clone());
        let mut rounds = tokio::time::interval(RETRY_PERIOD);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let round = tokio::time::timeout(REQUEST_LIMIT, self.round(&mut elector, began));
            if let Err(error) = round.await.unwrap_or(Err(ElectError::TooSlow)) {
                warn!(lease = %self.name, error = &error as &dyn std::error::Error, "leader election round failed");
            }
            let is_leader = elector.is_leader(began.elapsed());
            leads.send_if_modified(|leads| {
                let changed = *leads != is_leader;
                if changed {
                    info!(lease = %self.name, identity = %self.identity, is_leader, "leadership changed");
                }
                *leads = is_leader;
                changed
            });
        }
    }

    /// Gives the Lease up if we hold it, so that a successor need not wait.
    pub async fn release(&self) {
        let Ok(Ok(Some(mut lease))) = tokio::time::timeout(REQUEST_LIMIT, self.api.get_opt(&self.name)).await else {
            return;
        };
        if observe(&lease).holder != self.identity {
            return;
        }
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
        }
        let params = PostParams::default();
        let written = self.api.replace(&self.name, &params, &lease);
        if let Ok(Err(error)) = tokio::time::timeout(REQUEST_LIMIT, written).await {
            debug!(error = &error as &dyn std::error::Error, "the Lease was not given up");
        }
    }

    async fn round(&self, elector: &mut Elector, began: Instant) -> Result<(), ElectError> {
        let lease = self.api.get_opt(&self.name).await.map_err(ElectError::Read)?;
        let observed = lease.as_ref().map(observe);
        let sent_at = began.elapsed();
        let decision = elector.decide(observed.as_ref(), sent_at);
        let result = match (&decision, lease) {
            (Decision::Wait, _) => return Ok(()),
            (_, None) => {
                let lease = Lease {
                    metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                    spec: Some(self.spec(None, 0)),
                };
                self.api.create(&PostParams::default(), &lease).await
            }
            (_, Some(mut lease)) => {
                let transitions = match decision {
                    Decision::Take { transitions } => transitions,
                    _ => observed.map_or(0, |observed| observed.transitions),
                };
                let kept = lease.spec.take().filter(|_| decision == Decision::Renew);
                lease.spec = Some(self.spec(kept.and_then(|spec| spec.acquire_time), transitions));
                // The version read goes along: if another wrote since, this fails with a conflict.
                self.api.replace(&self.name, &PostParams::default(), &lease).await
            }
        };
        match result {
            Ok(_) => elector.confirm(sent_at),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                debug!(lease = %self.name, "another operator was faster");
            }
            Err(error) => return Err(ElectError::Write(error)),
        }
        Ok(())
    }

    fn spec(&self, acquired: Option<MicroTime>, transitions: i32) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
            acquire_time: acquired.or(Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

fn observe(lease: &Lease) -> Observed {
    let spec = lease.spec.clone().unwrap_or_default();
    Observed {
        holder: spec.holder_identity.unwrap_or_default(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        transitions: spec.lease_transitions.unwrap_or_default(),
        duration: Duration::from_secs(
            spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or_default(),
        ),
    }
}
