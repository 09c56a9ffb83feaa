//! Carries out departures: tells SFUs and their pods. The only caller of an SFU's drain, and the only writer of what
//! pods say of their leaving.
//!
//! A pod's annotation comes before the SFU is told, and is taken away only after: what was begun and not finished is
//! seen at the next look. An SFU that does not answer is asked again then, and one of many holds up no other.

use std::net::IpAddr;
use std::sync::Arc;

use fleet::names::{annotation, label};
use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Map, Value, json};
use thiserror::Error;
use tracing::{debug, info};

use crate::cluster::dereference::{Dereferenced, target};
use crate::cluster::leaving::{Cause, Departure, Departures};
use crate::cluster::validate::ValidatedCluster;
use crate::fleet_client::FleetClient;
use crate::name::{MANAGER, Role};

/// Deletion cost of the pod that is deleted first: the least there is, whatever `podTemplate.annotations` gives others.
pub const FIRST: &str = "-2147483648";

/// What happened, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Started {
        pod: String,
        cause: Cause,
        calls: Option<u32>,
    },
    Finished {
        pod: String,
        calls_moved: u32,
    },
    /// It is wanted after all.
    TakenBack {
        pod: String,
    },
}

/// Why a pod was not told. Trying again may help.
#[derive(Debug, Error)]
#[error("failed to annotate pod {0}")]
pub struct SeeOffError(String, #[source] kube::Error);

/// What came of telling them.
#[derive(Debug, Default)]
pub struct SeenOff {
    pub told: Vec<Told>,
    /// The first that failed. The others were told nevertheless.
    pub failed: Option<SeeOffError>,
}

/// Tells SFUs and pods what is decided about them: first all pods at once, then all SFUs at once.
pub async fn see_off(
    departures: &Departures,
    cluster: &ValidatedCluster,
    found: &Dereferenced,
    client: &Client,
) -> SeenOff {
    let Departures { replicas: _, leaving, staying, stuck: _, opened, closed } = departures;
    let leaf = cluster.certificates.leaves.get(&Role::Operator).filter(|_| !leaving.is_empty() || !staying.is_empty());
    let fleet = leaf.and_then(|leaf| FleetClient::new(leaf).ok());
    let pods = Api::namespaced(client.clone(), &cluster.identity.namespace);
    let sender = Sender { found, fleet, pods };
    let annotated = join_all(leaving.iter().map(|one| sender.annotate(one))).await;
    let known: Vec<&Departure> =
        leaving.iter().zip(&annotated).filter(|(_, done)| done.is_ok()).map(|(one, _)| one).collect();
    let allowed = opened.iter().map(|pod| (pod, json!("true"))).chain(closed.iter().map(|pod| (pod, Value::Null)));
    let (_, taken_back, labelled) = tokio::join!(
        join_all(known.into_iter().map(|one| sender.ask(one))),
        join_all(staying.iter().map(|pod| sender.take_back(pod))),
        join_all(allowed.map(|(pod, says)| sender.patch(pod, json!({}), json!({label::EVICTABLE: says})))),
    );
    let mut seen_off = SeenOff::default();
    let told = annotated.into_iter().chain(taken_back.into_iter().map(|one| one.map(Vec::from_iter)));
    for outcome in told.chain(labelled.into_iter().map(|one| one.map(|()| Vec::new()))) {
        match outcome {
            Ok(told) => seen_off.told.extend(told),
            Err(error) => seen_off.failed = seen_off.failed.or(Some(error)),
        }
    }
    for told in &seen_off.told {
        info!(namespace = %cluster.identity.namespace, name = %cluster.identity.name, ?told, "an SFU's leaving");
    }
    seen_off
}

struct Sender<'a> {
    found: &'a Dereferenced,
    /// `None` until there are certificates, and when nobody is to be asked.
    fleet: Option<FleetClient>,
    pods: Api<Pod>,
}

impl Sender<'_> {
    /// Writes to a pod how far its leaving is.
    async fn annotate(&self, departure: &Departure) -> Result<Vec<Told>, SeeOffError> {
        let mut annotations = Map::new();
        let mut told = Vec::new();
        let pod = departure.pod.clone();
        if departure.is_new {
            annotations.insert(annotation::LEAVING_SINCE.to_owned(), json!(departure.since.to_string()));
            told.push(Told::Started { pod: pod.clone(), cause: departure.cause, calls: departure.calls_left });
        }
        if departure.mark {
            annotations.insert(annotation::DELETION_COST.to_owned(), json!(FIRST));
            told.push(Told::Finished { pod: pod.clone(), calls_moved: departure.calls_moved });
        }
        if departure.unmark {
            annotations.insert(annotation::DELETION_COST.to_owned(), Value::Null);
        }
        let labels = if departure.open { json!({label::EVICTABLE: "true"}) } else { json!({}) };
        if !annotations.is_empty() || departure.open {
            self.patch(&pod, Value::Object(annotations), labels).await?;
        }
        Ok(told)
    }

    /// Asks an SFU to leave.
    async fn ask(&self, departure: &Departure) {
        let pod = departure.pod.as_str();
        if let (Some(order), Some(fleet), Ok(Some((address, port)))) = (departure.order, &self.fleet, self.address(pod))
            && let Err(error) = fleet.drain(address, port, order).await
        {
            debug!(%pod, error = &error as &dyn std::error::Error, "an SFU was not asked to leave; trying again");
        }
    }

    async fn take_back(&self, name: &str) -> Result<Option<Told>, SeeOffError> {
        let (Some(fleet), Ok(address)) = (&self.fleet, self.address(name)) else { return Ok(None) };
        // One that does not run has nothing to take back.
        if let Some((address, port)) = address
            && let Err(error) = fleet.undrain(address, port).await
        {
            debug!(pod = %name, error = &error as &dyn std::error::Error, "an SFU was not asked to stay; trying again");
            return Ok(None);
        }
        let Some(pod) = self.pod(name) else { return Ok(None) };
        let said = [annotation::LEAVING_SINCE, annotation::DELETION_COST];
        if !said.iter().any(|one| pod.annotations().contains_key(*one)) && !pod.labels().contains_key(label::EVICTABLE)
        {
            return Ok(None);
        }
        let annotations = json!({annotation::LEAVING_SINCE: null, annotation::DELETION_COST: null});
        self.patch(name, annotations, json!({label::EVICTABLE: null})).await?;
        Ok(Some(Told::TakenBack { pod: name.to_owned() }))
    }

    async fn patch(&self, pod: &str, annotations: Value, labels: Value) -> Result<(), SeeOffError> {
        let patch = json!({"metadata": {"annotations": annotations, "labels": labels}});
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match self.pods.patch_metadata(pod, &params, &Patch::Merge(&patch)).await {
            Ok(_) => Ok(()),
            // It has gone meanwhile.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(SeeOffError(pod.to_owned(), error)),
        }
    }

    fn pod(&self, name: &str) -> Option<&Arc<Pod>> {
        self.found.sfu_pods.iter().find(|pod| pod.name_any() == name)
    }

    /// Where an SFU is asked; `None` if it does not run.
    fn address(&self, name: &str) -> Result<Option<(IpAddr, u16)>, Silent> {
        if self.found.reports.get(name).is_some_and(Result::is_err) {
            return Err(Silent);
        }
        Ok(self.pod(name).and_then(|pod| target(pod)))
    }
}

/// An SFU did not answer a moment ago, so it is not waited for again.
struct Silent;
