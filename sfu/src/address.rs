//! Which addresses clients are told to send media to: the first source that answers, asked again and again.
//!
//! In: the configuration, STUN servers' answers. Out: [`Advertised`], whenever it changes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fleet::api::{AddressProblem, AdvertisedCandidate, Protocol};
use fleet::config::{AddressSource, SfuConfig};
use sfu_core::transport::ice;
use tokio::net::lookup_host;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, sleep_until, timeout, timeout_at};

use crate::worker::{Inbox, StunAnswer, WorkerHandle};

/// Names and STUN mappings may change without the configuration changing.
const ASK_AGAIN: Duration = Duration::from_mins(1);
/// After a failed look, so that a mended name or server is noticed soon.
const ASK_AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(10);
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);
const STUN_TIMEOUT: Duration = Duration::from_secs(3);
/// A request is repeated until its answer comes: UDP may lose it (RFC 8489, section 6.2.1).
const STUN_REPEAT: Duration = Duration::from_millis(500);

/// What clients are told, and why if it is not what was asked for first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Advertised {
    pub candidates: Vec<AdvertisedCandidate>,
    pub problem: Option<AddressProblem>,
}

/// What one source says.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    addresses: Vec<IpAddr>,
    /// What is odd about it, though it is used.
    problem: Option<AddressProblem>,
}

impl From<Vec<IpAddr>> for Answer {
    fn from(addresses: Vec<IpAddr>) -> Self {
        Self { addresses, problem: None }
    }
}

/// Ports the media is reached on. A NAT is expected to keep them.
#[derive(Debug, Clone, Copy)]
pub struct MediaPorts {
    pub udp: u16,
    pub tcp: Option<u16>,
}

impl Advertised {
    /// The same ports on each of `addresses`.
    pub fn fixed(addresses: &[IpAddr], ports: MediaPorts, source: &str) -> Self {
        Self { candidates: candidates(addresses, ports, source), problem: None }
    }
}

fn candidates(addresses: &[IpAddr], ports: MediaPorts, source: &str) -> Vec<AdvertisedCandidate> {
    let of = |protocol, port| {
        addresses.iter().map(move |address| AdvertisedCandidate {
            protocol,
            address: *address,
            port,
            source: source.to_owned(),
        })
    };
    of(Protocol::Udp, ports.udp).chain(ports.tcp.into_iter().flat_map(|port| of(Protocol::Tcp, port))).collect()
}

/// The addresses of this machine clients on it or on its network can use: loopback first.
pub fn local_addresses() -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = if_addrs::get_if_addrs()
        .map(|interfaces| interfaces.into_iter().map(|interface| interface.ip()).collect())
        .unwrap_or_default();
    addresses.retain(|address| address.is_ipv4() && !is_link_local(*address));
    addresses.sort_by_key(|address| (!address.is_loopback(), *address));
    addresses.dedup();
    if addresses.is_empty() {
        addresses.push(IpAddr::from([127, 0, 0, 1]));
    }
    addresses
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_link_local())
}

/// Finds out and keeps finding out.
#[derive(Debug)]
pub struct Resolver {
    pub config: watch::Receiver<SfuConfig>,
    /// Name and address of the node, as Kubernetes told the pod.
    pub node: String,
    pub node_ip: Option<IpAddr>,
    pub ports: MediaPorts,
    /// The worker whose socket asks STUN servers.
    pub worker: WorkerHandle,
    pub stun_answers: mpsc::Receiver<StunAnswer>,
    pub advertised: watch::Sender<Advertised>,
    /// What answered last.
    pub known: Option<Known>,
}

/// Which source answered, and under which configuration.
#[derive(Debug)]
pub struct Known {
    sources: Vec<AddressSource>,
    stun_servers: Vec<String>,
    index: usize,
    candidates: Vec<AdvertisedCandidate>,
}

impl Resolver {
    pub async fn run(mut self) {
        loop {
            let found = self.resolve().await;
            let wait = if found.problem.is_some() { ASK_AGAIN_AFTER_FAILURE } else { ASK_AGAIN };
            self.publish(&found);
            let again = Instant::now() + wait;
            tokio::select! {
                changed = self.config.changed() => if changed.is_err() { return },
                () = sleep_until(again) => (),
            }
        }
    }

    /// Tells the others and the log, once for each change.
    fn publish(&self, found: &Advertised) {
        let changed = self.advertised.send_if_modified(|current| {
            let changed = current != found;
            if changed {
                *current = found.clone();
            }
            changed
        });
        if !changed {
            return;
        }
        for candidate in &found.candidates {
            let AdvertisedCandidate { protocol, address, port, source } = candidate;
            tracing::info!(?protocol, %address, port, source, "advertising to clients");
        }
        if let Some(problem) = &found.problem {
            tracing::warn!(reason = problem.reason, problem = problem.message, "address source failed");
        }
    }

    async fn resolve(&mut self) -> Advertised {
        let (sources, stun_servers) = {
            let config = self.config.borrow_and_update();
            (config.advertise.sources_for(&self.node).to_vec(), config.stun_servers.clone())
        };
        let mut problem = None;
        for (index, source) in sources.iter().enumerate() {
            let (name, answer) = match source {
                AddressSource::Override { address } => ("Override", look_up(address).await.map(Answer::from)),
                AddressSource::NodeAnnotation { address } => {
                    ("NodeAnnotation", look_up(address).await.map(Answer::from))
                }
                AddressSource::NodeExternalIP { address } => ("NodeExternalIP", Ok(vec![*address].into())),
                AddressSource::NodeInternalIP { address } => {
                    let address = address.or(self.node_ip).ok_or_else(no_internal_ip);
                    ("NodeInternalIP", address.map(|address| vec![address].into()))
                }
                AddressSource::Stun if stun_servers.is_empty() => continue,
                AddressSource::Stun => ("Stun", self.ask_stun(&stun_servers).await),
            };
            match answer.and_then(|answer| answer.served(name)) {
                Ok(answer) => {
                    let candidates = candidates(&answer.addresses, self.ports, name);
                    self.known = Some(Known { sources, stun_servers, index, candidates: candidates.clone() });
                    return Advertised { candidates, problem: problem.or(answer.problem) };
                }
                Err(failed) => {
                    // A server or a name that is away for a while takes no address away that worked.
                    let same = |known: &&Known| {
                        (known.index, &known.sources, &known.stun_servers) == (index, &sources, &stun_servers)
                    };
                    if let Some(known) = self.known.as_ref().filter(same) {
                        return Advertised { candidates: known.candidates.clone(), problem: Some(failed) };
                    }
                    problem.get_or_insert(failed);
                }
            }
        }
        let problem = problem.unwrap_or_else(|| AddressProblem {
            reason: "NoAddress".into(),
            message: format!(
                "No source of network.advertise gives an address for node {}: set an override, or add NodeInternalIP to the order.",
                self.node
            ),
        });
        Advertised { candidates: Vec::new(), problem: Some(problem) }
    }

    /// Asks all servers from the media socket and takes what most of them saw.
    async fn ask_stun(&mut self, servers: &[String]) -> Result<Answer, AddressProblem> {
        let unreachable = |detail: &str| AddressProblem {
            reason: "StunUnreachable".into(),
            message: format!(
                "No STUN server of {} answered ({detail}): check their names and that UDP to them is allowed, or set network.advertise.stun.servers to [].",
                servers.join(", ")
            ),
        };
        // Two names of one server are one server.
        let mut targets = BTreeMap::new();
        for server in servers {
            if let Ok(Ok(addresses)) = timeout(LOOKUP_TIMEOUT, lookup_host(with_port(server))).await
                && let Some(address) = addresses.into_iter().find(SocketAddr::is_ipv4)
            {
                targets.entry(address).or_insert(server.as_str());
            }
        }
        if targets.is_empty() {
            return Err(unreachable("no name could be resolved"));
        }
        while self.stun_answers.try_recv().is_ok() {}
        let mut transaction = [0; 12];
        if aws_lc_rs::rand::fill(&mut transaction).is_err() {
            return Err(unreachable("no randomness"));
        }
        let Some(request) = ice::discovery::binding_request(transaction) else {
            return Err(unreachable("the request cannot be written"));
        };
        let deadline = Instant::now() + STUN_TIMEOUT;
        let mut repeat = interval(STUN_REPEAT);
        let mut seen = BTreeMap::new();
        while seen.len() < targets.len() {
            tokio::select! {
                _ = repeat.tick() => {
                    for (server, _) in targets.iter().filter(|(_, name)| !seen.contains_key(*name)) {
                        self.worker.send(Inbox::StunRequest { server: *server, datagram: request.clone() });
                    }
                }
                answer = timeout_at(deadline, self.stun_answers.recv()) => {
                    let Ok(Some(answer)) = answer else { break };
                    if let Some(name) = targets.get(&answer.from)
                        && let Ok(mapped) = ice::discovery::parse_binding_response(&answer.datagram, transaction)
                    {
                        seen.insert(*name, mapped.ip());
                    }
                }
            }
        }
        agreed(&seen).ok_or_else(|| unreachable("no answer within 3 s"))
    }
}

impl Answer {
    /// Without the addresses of `source` that media is not served on: the sockets are IPv4.
    fn served(mut self, source: &str) -> Result<Self, AddressProblem> {
        let all: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        self.addresses.retain(IpAddr::is_ipv4);
        if !self.addresses.is_empty() {
            return Ok(self);
        }
        Err(AddressProblem {
            reason: "NoIPv4Address".into(),
            message: format!(
                "The source {source} gives {}, and media is served on IPv4 alone: give an IPv4 address, or leave {source} out of the order.",
                all.join(", ")
            ),
        })
    }
}

/// What servers, by their names, make of it together: the address most of them saw, and whether some saw another.
/// `None` if nobody answered.
fn agreed(seen: &BTreeMap<&str, IpAddr>) -> Option<Answer> {
    let address = most_common(seen.values())?;
    if seen.values().all(|one| *one == address) {
        return Some(vec![address].into());
    }
    let said: Vec<String> = seen.iter().map(|(server, saw)| format!("{server} saw {saw}")).collect();
    let problem = AddressProblem {
        reason: "StunDisagreement".into(),
        message: format!(
            "STUN servers see different addresses of this node: {}. {address} is advertised. Remove the servers that are wrong; if the node's NAT itself has several addresses, set an override.",
            said.join(", ")
        ),
    };
    Some(Answer { addresses: vec![address], problem: Some(problem) })
}

/// The address most servers saw; among equals the lowest, so that the answer is stable.
fn most_common<'a>(addresses: impl Iterator<Item = &'a IpAddr>) -> Option<IpAddr> {
    let mut votes: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for address in addresses {
        *votes.entry(*address).or_default() += 1;
    }
    votes.into_iter().rev().max_by_key(|(_, votes)| *votes).map(|(address, _)| address)
}

fn no_internal_ip() -> AddressProblem {
    AddressProblem {
        reason: "NoAddress".into(),
        message: "The node has no InternalIP and the pod was not told one (NODE_IP).".into(),
    }
}

/// STUN's port is 3478 unless told otherwise (RFC 8489, section 8).
fn with_port(server: &str) -> String {
    let has_port = server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { server.to_owned() } else { format!("{server}:3478") }
}

/// An address as it is, or a DNS name's addresses.
async fn look_up(address: &str) -> Result<Vec<IpAddr>, AddressProblem> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let problem = |detail: String| AddressProblem {
        reason: "NameNotResolved".into(),
        message: format!("The advertised name {address} has no address ({detail}): check its DNS record."),
    };
    let found = match timeout(LOOKUP_TIMEOUT, lookup_host((address, 0))).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(problem(error.to_string())),
        Err(_) => return Err(problem("no answer within 3 s".into())),
    };
    let mut addresses: Vec<_> = found.map(|found| found.ip()).filter(IpAddr::is_ipv4).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() { Err(problem("no IPv4 address".into())) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_offered_on_udp_and_then_on_tcp() {
        let addresses = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([192, 0, 2, 1])];
        let offered = Advertised::fixed(&addresses, MediaPorts { udp: 7882, tcp: Some(7881) }, "Local");
        let ports: Vec<_> = offered.candidates.iter().map(|candidate| candidate.port).collect();
        assert_eq!(ports, [7882, 7882, 7881, 7881]);
    }

    #[test]
    fn an_ipv6_address_is_not_advertised_and_its_source_is_named() {
        let (old, new) = (IpAddr::from([192, 0, 2, 1]), "2001:db8::7".parse::<IpAddr>().unwrap());
        assert_eq!(Answer::from(vec![new, old]).served("Override"), Ok(vec![old].into()));
        let problem = Answer::from(vec![new]).served("NodeExternalIP").unwrap_err();
        assert_eq!(problem.reason, "NoIPv4Address");
        assert!(problem.message.contains("2001:db8::7") && problem.message.contains("NodeExternalIP"), "{problem:?}");
    }

    #[test]
    fn the_majority_of_stun_servers_wins() {
        let right = IpAddr::from([203, 0, 113, 7]);
        let lie = IpAddr::from([198, 51, 100, 1]);
        assert_eq!(most_common([right, lie, right].iter()), Some(right));
        assert_eq!(most_common([].iter()), None);
    }

    #[test]
    fn stun_servers_that_disagree_are_a_problem_and_the_majority_is_advertised() {
        let (right, lie) = (IpAddr::from([203, 0, 113, 7]), IpAddr::from([198, 51, 100, 1]));
        let all_agree = agreed(&BTreeMap::from([("a:3478", right), ("b:3478", right)])).expect("an answer");
        assert_eq!(all_agree, vec![right].into());
        let answer = agreed(&BTreeMap::from([("a:3478", right), ("b:3478", lie), ("c:3478", right)]));
        let answer = answer.expect("an answer");
        assert_eq!(answer.addresses, [right]);
        let problem = answer.problem.expect("a problem");
        assert_eq!(problem.reason, "StunDisagreement");
        assert!(problem.message.contains("b:3478 saw 198.51.100.1"), "{}", problem.message);
        assert_eq!(agreed(&BTreeMap::new()), None);
    }

    #[test]
    fn a_stun_server_without_a_port_has_the_standard_one() {
        assert_eq!(with_port("stun.example.com"), "stun.example.com:3478");
        assert_eq!(with_port("stun.example.com:19302"), "stun.example.com:19302");
    }

    #[test]
    fn loopback_comes_first_among_local_addresses() {
        assert!(local_addresses().first().is_some_and(IpAddr::is_loopback));
    }
}
