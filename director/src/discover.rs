//! Which SFUs there are: the endpoints of the headless Service, followed for ever.
//!
//! While the API server is away the last list stays: the SFUs' own streams tell whether they live.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures_util::TryStreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tracing::warn;

use crate::sfu_address::SfuAddress;

/// Label by which an EndpointSlice names its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Writes the list of SFUs behind `service` into `listed` whenever it changes. It is `None` until it is known.
pub async fn follow_service(
    client: Client,
    namespace: &str,
    service: &str,
    listed: watch::Sender<Option<BTreeSet<SfuAddress>>>,
) {
    let api: Api<EndpointSlice> = Api::namespaced(client, namespace);
    let config = watcher::Config::default().labels(&format!("{SERVICE_LABEL}={service}"));
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    let mut slices = Slices::default();
    loop {
        match events.try_next().await {
            Ok(Some(event)) => {
                if let Some(all) = slices.take(event) {
                    listed.send_if_modified(|now| {
                        let changed = now.as_ref() != Some(&all);
                        *now = Some(all);
                        changed
                    });
                }
            }
            // The watcher starts again by itself, after its backoff.
            Err(error) => warn!(%error, "list of SFUs cannot be read; the last one stays"),
            Ok(None) => return,
        }
    }
}

/// The SFUs of each slice, and of a list that is being read anew.
#[derive(Debug, Default)]
struct Slices {
    known: BTreeMap<String, BTreeSet<SfuAddress>>,
    /// Slices of a new list. It replaces the old one when it is complete, so that nobody vanishes in between.
    arriving: BTreeMap<String, BTreeSet<SfuAddress>>,
}

impl Slices {
    /// All SFUs, if the event made a list complete or changed it.
    fn take(&mut self, event: watcher::Event<EndpointSlice>) -> Option<BTreeSet<SfuAddress>> {
        match event {
            watcher::Event::Init => {
                self.arriving.clear();
                return None;
            }
            watcher::Event::InitApply(slice) => {
                self.arriving.insert(name_of(&slice), addresses(&slice));
                return None;
            }
            watcher::Event::InitDone => self.known = std::mem::take(&mut self.arriving),
            watcher::Event::Apply(slice) => {
                self.known.insert(name_of(&slice), addresses(&slice));
            }
            watcher::Event::Delete(slice) => {
                self.known.remove(&name_of(&slice));
            }
        }
        Some(self.known.values().flatten().cloned().collect())
    }
}

fn name_of(slice: &EndpointSlice) -> String {
    slice.metadata.name.clone().unwrap_or_default()
}

/// Control addresses in a slice, ready or not: an SFU that drains is not ready, and has calls.
fn addresses(slice: &EndpointSlice) -> BTreeSet<SfuAddress> {
    let ports = slice.ports.iter().flatten();
    let control = ports.filter(|port| port.name.as_deref() == Some(fleet::names::port_name::CONTROL));
    let Some(port) = control.filter_map(|port| port.port).find_map(|port| u16::try_from(port).ok()) else {
        return BTreeSet::new();
    };
    let addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    // Names (addressType FQDN) are none of ours.
    let addresses = addresses.filter_map(|address| address.parse::<IpAddr>().ok());
    addresses.map(|address| std::net::SocketAddr::from((address, port)).into()).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};
    use kube::api::ObjectMeta;
    use watcher::Event;

    use super::*;

    /// A slice whose endpoints are not ready, with ports named `health` (1) and `control`.
    fn slice(name: &str, control: i32, addresses: &[&str]) -> EndpointSlice {
        let endpoint = |address: &&str| Endpoint {
            addresses: vec![(*address).to_owned()],
            conditions: Some(EndpointConditions { ready: Some(false), ..Default::default() }),
            ..Default::default()
        };
        let port = |name: &str, port| EndpointPort { name: Some(name.into()), port: Some(port), ..Default::default() };
        EndpointSlice {
            address_type: "IPv4".into(),
            endpoints: addresses.iter().map(endpoint).collect(),
            metadata: ObjectMeta { name: Some(name.into()), ..Default::default() },
            ports: Some(vec![port("health", 1), port("control", control)]),
        }
    }

    fn after(events: Vec<Event<EndpointSlice>>) -> Option<Vec<String>> {
        let mut slices = Slices::default();
        let last = events.into_iter().map(|event| slices.take(event)).last().flatten();
        last.map(|all| all.iter().map(ToString::to_string).collect())
    }

    fn listed(slices: Vec<EndpointSlice>) -> Vec<Event<EndpointSlice>> {
        let slices = slices.into_iter().map(Event::InitApply);
        [Event::Init].into_iter().chain(slices).chain([Event::InitDone]).collect()
    }

    #[test]
    fn sfus_that_are_not_ready_are_listed_by_their_control_port() {
        let slots = vec![slice("a", 9443, &["10.0.0.1", "10.0.0.2"]), slice("b", 9445, &["10.0.0.1"])];
        assert_eq!(after(listed(slots)).unwrap(), ["10.0.0.1:9443", "10.0.0.1:9445", "10.0.0.2:9443"]);
    }

    #[test]
    fn nothing_is_told_before_a_list_is_complete() {
        let mut events = listed(vec![slice("a", 9443, &["10.0.0.1"])]);
        events.pop();
        assert_eq!(after(events), None);
        assert_eq!(after(listed(vec![])).unwrap(), [""; 0]);
    }

    #[test]
    fn a_new_list_replaces_the_old_one_at_its_end() {
        let mut events = listed(vec![slice("a", 9443, &["10.0.0.1"])]);
        events.extend(listed(vec![slice("b", 9443, &["10.0.0.2"])]));
        assert_eq!(after(events).unwrap(), ["10.0.0.2:9443"]);
    }

    #[test]
    fn a_slice_that_changes_or_goes_changes_the_list() {
        let mut events = listed(vec![slice("a", 9443, &["10.0.0.1"]), slice("b", 9443, &["10.0.0.2"])]);
        events.push(Event::Apply(slice("a", 9443, &["10.0.0.3"])));
        events.push(Event::Delete(slice("b", 9443, &["10.0.0.2"])));
        assert_eq!(after(events).unwrap(), ["10.0.0.3:9443"]);
    }

    #[test]
    fn a_slice_of_names_or_without_the_port_lists_nobody() {
        let mut without = slice("a", 9443, &["10.0.0.1"]);
        without.ports = None;
        assert_eq!(after(listed(vec![without, slice("b", 9443, &["sfu.example"])])).unwrap(), [""; 0]);
    }
}
