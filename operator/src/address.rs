//! Which address each node's SFU offers to clients: from the spec and the Nodes to the plan in the SFU's configuration.
//!
//! Media is IPv4 only. Pure. The SFU itself resolves names and asks STUN servers; here only the order and the sources are decided.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use fleet::config::{AddressSource, AdvertisePlan};
use fleet::names::annotation::NODE_ADDRESS;
use k8s_openapi::api::core::v1::{Node, Taint};
use thiserror::Error;

use crate::api::{AdvertiseSpec, Source};

/// Taint of a node whose kubelet is silent.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// What is known of a node: its addresses, and whether it takes pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    pub name: String,
    /// Value of the annotation [`NODE_ADDRESS`], unchecked.
    pub annotation: Option<String>,
    /// The first that media can be sent to.
    pub external_ip: Option<Ipv4Addr>,
    /// All of them, the one the kubelet gives to pods first. One may be the internal side of a pair without being one that
    /// media can be sent to.
    pub internal_ips: Vec<IpAddr>,
    /// It takes no new pods (`kubectl cordon`).
    pub is_cordoned: bool,
    pub taints: Vec<Taint>,
}

impl NodeFacts {
    pub fn of(node: &Node) -> Self {
        let addresses = || node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let of_type = |wanted: &'static str| {
            addresses()
                .filter(move |address| address.type_ == wanted)
                .filter_map(|address| address.address.parse::<IpAddr>().ok())
        };
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            annotation: node.metadata.annotations.as_ref().and_then(|all| all.get(NODE_ADDRESS).cloned()),
            external_ip: of_type("ExternalIP").find_map(media_address),
            internal_ips: of_type("InternalIP").collect(),
            is_cordoned: node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false),
            taints: node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default(),
        }
    }

    /// Kubernetes hears nothing of its kubelet.
    pub fn is_unreachable(&self) -> bool {
        self.taints.iter().any(|taint| taint.key == UNREACHABLE)
    }
}

/// The spec's override, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Override {
    None,
    /// One address for all SFUs.
    All(String),
    /// External address by internal address.
    Pairs(BTreeMap<IpAddr, String>),
}

/// What is wrong with the override; the user mends the spec.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OverrideError {
    #[error("{0:?} in network.advertise.{1} is neither an IPv4 address nor a DNS name")]
    NotAnAddress(String, &'static str),
    #[error(
        "{0} in network.advertise.{1} is no address that media can be sent to: media is IPv4 only, and clients are elsewhere"
    )]
    NoMedia(IpAddr, &'static str),
    #[error(
        "{0:?} in network.advertise.override is not an `external/internal` pair: the part after the slash must be an IP address of a node"
    )]
    NotAPair(String),
    #[error(
        "network.advertise.override mixes an address for all SFUs with others: write one address, or only `external/internal` pairs"
    )]
    Mixed,
    #[error("network.advertise.override gives the internal address {internal} to both {first} and {second}: keep one")]
    InternalTwice { internal: IpAddr, first: String, second: String },
    #[error(
        "network.advertise.override says {pair} for node {node}, network.advertise.perNode says {per_node}: keep one"
    )]
    NodeTwice { node: String, pair: String, per_node: String },
}

impl OverrideError {
    /// Whether two parts of the spec contradict each other, rather than one part being unreadable.
    pub fn is_contradiction(&self) -> bool {
        matches!(self, Self::Mixed | Self::InternalTwice { .. } | Self::NodeTwice { .. })
    }
}

/// A Node's annotation that cannot be used; the node's other sources apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAnnotation {
    pub node: String,
    pub value: String,
}

/// The plan, and what was wrong with Nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    pub plan: AdvertisePlan,
    pub bad_annotations: Vec<BadAnnotation>,
}

/// Reads `override`.
pub fn parse_override(text: &str) -> Result<Override, OverrideError> {
    let entries: Vec<&str> = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
    let mut pairs = BTreeMap::new();
    for entry in &entries {
        let Some((external, internal)) = entry.split_once('/') else {
            if entries.len() > 1 {
                return Err(OverrideError::Mixed);
            }
            return Ok(Override::All(checked(entry, "override")?));
        };
        let internal: IpAddr = internal.trim().parse().map_err(|_| OverrideError::NotAPair((*entry).to_owned()))?;
        let external = checked(external.trim(), "override")?;
        if let Some(first) = pairs.insert(internal, external.clone())
            && first != external
        {
            return Err(OverrideError::InternalTwice { internal, first, second: external });
        }
    }
    Ok(if pairs.is_empty() { Override::None } else { Override::Pairs(pairs) })
}

/// The address sources of every node. Nodes that differ in nothing from an unknown node are left out, which keeps the
/// configuration small in large clusters.
pub fn plan(spec: &AdvertiseSpec, nodes: &[NodeFacts]) -> Result<Planned, OverrideError> {
    let common = parse_override(&spec.r#override)?;
    let mut per_node = BTreeMap::new();
    for entry in &spec.per_node {
        per_node.insert(entry.node.as_str(), checked(&entry.address, "perNode")?);
    }

    let mut planned = Planned::default();
    planned.plan.other = sources(spec, &NodeFacts::default(), all_nodes(&common));
    for node in nodes {
        let address = override_for(node, &common, &per_node)?;
        let mut node = node.clone();
        if let Some(value) = node.annotation.take_if(|value| !is_address(value)) {
            planned.bad_annotations.push(BadAnnotation { node: node.name.clone(), value });
        }
        let special = sources(spec, &node, address);
        if special != planned.plan.other {
            planned.plan.nodes.insert(node.name, special);
        }
    }
    // A node may be named before it exists.
    for (node, address) in per_node {
        if spec.order.contains(&Source::Override) && !planned.plan.nodes.contains_key(node) {
            let facts = NodeFacts { name: node.to_owned(), ..NodeFacts::default() };
            planned.plan.nodes.insert(node.to_owned(), sources(spec, &facts, Some(&address)));
        }
    }
    Ok(planned)
}

fn all_nodes(common: &Override) -> Option<&str> {
    match common {
        Override::All(address) => Some(address),
        Override::None | Override::Pairs(_) => None,
    }
}

fn override_for<'a>(
    node: &NodeFacts,
    common: &'a Override,
    per_node: &'a BTreeMap<&str, String>,
) -> Result<Option<&'a str>, OverrideError> {
    let own = per_node.get(node.name.as_str());
    let pair = match common {
        Override::Pairs(pairs) => node.internal_ips.iter().find_map(|ip| pairs.get(ip)),
        Override::None | Override::All(_) => None,
    };
    match (own, pair) {
        (Some(own), Some(pair)) if own != pair => {
            Err(OverrideError::NodeTwice { node: node.name.clone(), pair: pair.clone(), per_node: own.clone() })
        }
        (own, pair) => Ok(own.or(pair).map(String::as_str).or(all_nodes(common))),
    }
}

fn sources(spec: &AdvertiseSpec, node: &NodeFacts, address: Option<&str>) -> Vec<AddressSource> {
    let source = |source: &Source| match source {
        Source::Override => address.map(|address| AddressSource::Override { address: address.to_owned() }),
        Source::NodeAnnotation => {
            node.annotation.as_ref().map(|address| AddressSource::NodeAnnotation { address: address.clone() })
        }
        Source::NodeExternalIp => {
            node.external_ip.map(|address| AddressSource::NodeExternalIP { address: address.into() })
        }
        Source::Stun => (!spec.stun.servers.is_empty()).then_some(AddressSource::Stun),
        Source::NodeInternalIp => internal(&node.internal_ips),
    };
    spec.order.iter().filter_map(source).collect()
}

/// The pod knows it as `NODE_IP`, the first of several, unless that is one media cannot be sent to.
fn internal(ips: &[IpAddr]) -> Option<AddressSource> {
    match ips.first() {
        Some(first) if media_address(*first).is_none() => {
            let other = ips.iter().copied().find_map(media_address)?;
            Some(AddressSource::NodeInternalIP { address: Some(other.into()) })
        }
        _ => Some(AddressSource::NodeInternalIP { address: None }),
    }
}

fn checked(text: &str, field: &'static str) -> Result<String, OverrideError> {
    match text.parse() {
        _ if is_address(text) => Ok(text.to_owned()),
        Ok(ip) => Err(OverrideError::NoMedia(ip, field)),
        Err(_) => Err(OverrideError::NotAnAddress(text.to_owned(), field)),
    }
}

/// Whether `text` is an address media can be sent to, or a name that may have one.
fn is_address(text: &str) -> bool {
    text.parse().map_or_else(|_| is_name(text), |ip| media_address(ip).is_some())
}

/// `ip`, if clients elsewhere can send media to it.
fn media_address(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V4(ip) = ip else { return None };
    (!ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback() && !ip.is_broadcast()).then_some(ip)
}

/// Whether `text` is a DNS name (RFC 1123).
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // The last label of a name is never a number, so that a mistyped IP address is not taken for a name.
    let last_is_number = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    text.len() <= 253 && !last_is_number && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::api::{NodeOverride, StunSpec};

    fn node(name: &str, internal: &str) -> NodeFacts {
        NodeFacts { name: name.into(), internal_ips: vec![internal.parse().unwrap()], ..NodeFacts::default() }
    }

    fn overriding(text: &str) -> AdvertiseSpec {
        AdvertiseSpec { r#override: text.into(), ..AdvertiseSpec::default() }
    }

    const INTERNAL: AddressSource = AddressSource::NodeInternalIP { address: None };

    fn fixed(address: &str) -> AddressSource {
        AddressSource::Override { address: address.into() }
    }

    #[test]
    fn nothing_said_means_the_nodes_internal_address() {
        let planned = plan(&AdvertiseSpec::default(), &[node("a", "10.0.0.1")]).unwrap();
        assert_eq!(planned.plan.other, [INTERNAL]);
        assert!(planned.plan.nodes.is_empty());
    }

    #[test]
    fn every_source_appears_in_the_order_of_the_spec() {
        let spec = AdvertiseSpec {
            order: vec![
                Source::Stun,
                Source::NodeInternalIp,
                Source::NodeExternalIp,
                Source::NodeAnnotation,
                Source::Override,
            ],
            r#override: "203.0.113.1".into(),
            stun: StunSpec { servers: vec!["stun.example.com:3478".into()] },
            ..AdvertiseSpec::default()
        };
        let facts = NodeFacts {
            annotation: Some("calls.example.com".into()),
            external_ip: Some("198.51.100.4".parse().unwrap()),
            ..node("a", "10.0.0.1")
        };
        let planned = plan(&spec, &[facts]).unwrap();
        assert_eq!(
            planned.plan.sources_for("a"),
            [
                AddressSource::Stun,
                INTERNAL,
                AddressSource::NodeExternalIP { address: "198.51.100.4".parse().unwrap() },
                AddressSource::NodeAnnotation { address: "calls.example.com".into() },
                fixed("203.0.113.1"),
            ]
        );
        assert_eq!(planned.plan.sources_for("unknown"), [AddressSource::Stun, INTERNAL, fixed("203.0.113.1")]);
    }

    #[test]
    fn pairs_reach_only_the_node_with_that_internal_address() {
        let spec = overriding("203.0.113.7/10.0.0.7, b.example.com/10.0.0.8");
        let nodes = [node("a", "10.0.0.7"), node("b", "10.0.0.8"), node("c", "10.0.0.9")];
        let planned = plan(&spec, &nodes).unwrap();
        assert_eq!(planned.plan.sources_for("a"), [fixed("203.0.113.7"), INTERNAL]);
        assert_eq!(planned.plan.sources_for("b"), [fixed("b.example.com"), INTERNAL]);
        assert_eq!(planned.plan.sources_for("c"), [INTERNAL]);
    }

    #[test]
    fn a_nodes_own_address_wins_over_the_common_one_and_may_come_before_the_node() {
        let spec = AdvertiseSpec {
            per_node: vec![NodeOverride { node: "later".into(), address: "203.0.113.9".into() }],
            ..overriding("203.0.113.1")
        };
        let planned = plan(&spec, &[node("a", "10.0.0.1")]).unwrap();
        assert_eq!(planned.plan.sources_for("later"), [fixed("203.0.113.9"), INTERNAL]);
        assert_eq!(planned.plan.sources_for("a"), [fixed("203.0.113.1"), INTERNAL]);
    }

    #[test]
    fn contradictions_name_both_sides() {
        let twice = parse_override("203.0.113.1/10.0.0.1,203.0.113.2/10.0.0.1").unwrap_err();
        assert_eq!(
            twice.to_string(),
            "network.advertise.override gives the internal address 10.0.0.1 to both 203.0.113.1 and 203.0.113.2: keep one"
        );
        assert_eq!(parse_override("203.0.113.1,203.0.113.2/10.0.0.1"), Err(OverrideError::Mixed));
        let spec = AdvertiseSpec {
            per_node: vec![NodeOverride { node: "a".into(), address: "203.0.113.9".into() }],
            ..overriding("203.0.113.1/10.0.0.1")
        };
        let error = plan(&spec, &[node("a", "10.0.0.1")]).unwrap_err();
        assert!(error.is_contradiction(), "{error}");
    }

    #[test]
    fn unreadable_addresses_are_refused() {
        for text in ["203.0.113", "203.0.113.999", "a b", "http://x", "-a.example"] {
            assert!(
                matches!(parse_override(text), Err(OverrideError::NotAnAddress(..) | OverrideError::NotAPair(_))),
                "{text}"
            );
        }
        assert!(matches!(parse_override("203.0.113.1/node-a"), Err(OverrideError::NotAPair(_))));
    }

    #[test]
    fn addresses_that_media_cannot_be_sent_to_are_refused() {
        for text in ["2001:db8::7", "::1", "::ffff:203.0.113.7", "127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"]
        {
            let error = parse_override(text).unwrap_err();
            assert!(!error.is_contradiction() && error.to_string().contains("media is IPv4 only"), "{text}: {error}");
            assert!(matches!(parse_override(&format!("{text}/10.0.0.1")), Err(OverrideError::NoMedia(..))), "{text}");
        }
        let pair = Override::Pairs([("2001:db8::7".parse().unwrap(), "203.0.113.7".to_owned())].into());
        assert_eq!(parse_override("203.0.113.7/2001:db8::7"), Ok(pair), "a node may be known by its IPv6 address");
    }

    #[test]
    fn a_bad_annotation_is_reported_and_skipped() {
        for value in ["not an address", "2001:db8::7", "127.0.0.1"] {
            let facts = NodeFacts { annotation: Some(value.into()), ..node("a", "10.0.0.1") };
            let planned = plan(&AdvertiseSpec::default(), &[facts]).unwrap();
            assert_eq!(planned.bad_annotations, [BadAnnotation { node: "a".into(), value: value.into() }]);
            assert_eq!(planned.plan.sources_for("a"), [INTERNAL]);
        }
    }

    #[test]
    fn a_nodes_ipv6_addresses_are_passed_over() {
        let of = |addresses: &[(&str, &str)]| {
            let addresses: Vec<serde_json::Value> =
                addresses.iter().map(|(type_, address)| json!({"type": type_, "address": address})).collect();
            let node = json!({"metadata": {"name": "a"}, "status": {"addresses": addresses}});
            let facts = NodeFacts::of(&serde_json::from_value(node).unwrap());
            plan(&AdvertiseSpec::default(), &[facts]).unwrap().plan.sources_for("a").to_vec()
        };
        let internal = |address: &str| AddressSource::NodeInternalIP { address: Some(address.parse().unwrap()) };
        let external = |address: &str| AddressSource::NodeExternalIP { address: address.parse().unwrap() };
        assert_eq!(of(&[("InternalIP", "10.0.0.1"), ("InternalIP", "2001:db8::1")]), [INTERNAL]);
        assert_eq!(of(&[("InternalIP", "2001:db8::1"), ("InternalIP", "10.0.0.1")]), [internal("10.0.0.1")]);
        assert_eq!(of(&[("InternalIP", "2001:db8::1")]), []);
        assert_eq!(
            of(&[("ExternalIP", "2001:db8::9"), ("ExternalIP", "198.51.100.4"), ("InternalIP", "10.0.0.1")]),
            [external("198.51.100.4"), INTERNAL]
        );
    }

    proptest! {
        #[test]
        fn any_override_text_is_read_or_refused(text in "\\PC{0,64}") {
            let _ = parse_override(&text);
        }

        #[test]
        fn an_address_made_of_octets_is_accepted(a in 1u8..224, b: u8, c: u8, d: u8) {
            prop_assume!(a != 127);
            let text = format!("{a}.{b}.{c}.{d}");
            prop_assert_eq!(parse_override(&text), Ok(Override::All(text)));
        }
    }
}
