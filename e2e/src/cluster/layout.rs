//! The cluster's addresses, ports and names: each is said once, here.
//!
//! All addresses are private and only exist on this machine. Ports of the control plane differ from the customary ones,
//! so that a stock etcd or Kubernetes on the machine is left alone.

use std::net::Ipv4Addr;

/// The bridge all nodes are joined by; the control plane is reached at [`CONTROL_PLANE`] on it.
pub const BRIDGE: &str = "calls0";

/// The machine's own address on the bridge.
pub const CONTROL_PLANE: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);

/// The nodes' subnet.
pub const NODES: Subnet = Subnet::new([10, 200, 0, 0], 24);

/// All pods' subnet; each node has a /24 of it.
pub const PODS: Subnet = Subnet::new([10, 244, 0, 0], 16);

/// The Services' subnet: exists only in the nodes' packet filters.
pub const SERVICES: Subnet = Subnet::new([10, 96, 0, 0], 16);

/// The first address of [`SERVICES`]: the API server's own Service.
pub const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// The API server, on [`CONTROL_PLANE`].
pub const API_PORT: u16 = 16443;

/// etcd's clients and peers, on loopback.
pub const ETCD_PORT: u16 = 23790;
/// etcd wants a port for peers though it has none.
pub const ETCD_PEER_PORT: u16 = 23800;

/// Health of the controller manager, on loopback.
pub const CONTROLLER_MANAGER_PORT: u16 = 20257;
/// Health of the scheduler, on loopback.
pub const SCHEDULER_PORT: u16 = 20259;

/// The folder of all our control groups, in every hierarchy.
pub const CGROUP: &str = "calls-e2e";

/// How many nodes there may be: their numbers are part of their addresses.
pub const MAX_NODES: u8 = 16;

/// An IPv4 subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    address: Ipv4Addr,
    bits: u8,
}

impl Subnet {
    /// A subnet from its first address and the length of its prefix.
    pub const fn new(address: [u8; 4], bits: u8) -> Self {
        Self { address: Ipv4Addr::new(address[0], address[1], address[2], address[3]), bits }
    }

    /// Reads `10.0.0.0/8`; a bare address is a subnet of one. `None` if it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
        let bits = bits.parse().ok().filter(|bits| *bits <= 32)?;
        Some(Self { address: address.parse().ok()?, bits })
    }

    /// Whether the two have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        let bits = self.bits.min(other.bits);
        let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
        u32::from(self.address) & mask == u32::from(other.address) & mask
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// One node's names and addresses, from its number (1 to [`MAX_NODES`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeLayout {
    number: u8,
}

impl NodeLayout {
    /// The node of that number.
    pub const fn new(number: u8) -> Self {
        Self { number }
    }

    /// The first `n` nodes.
    pub fn first(n: u8) -> impl Iterator<Item = Self> {
        (1..=n).map(Self::new)
    }

    /// Its name in Kubernetes.
    pub fn name(self) -> String {
        format!("node-{}", self.number)
    }

    /// Its address on the bridge.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 200, 0, 10 + self.number)
    }

    /// The subnet of its pods.
    pub fn pods(self) -> Subnet {
        Subnet::new([10, 244, self.number, 0], 24)
    }

    /// The name of its network namespace.
    pub fn network_namespace(self) -> String {
        format!("calls-node-{}", self.number)
    }

    /// The bridge's end of the node's cable.
    pub fn link(self) -> String {
        format!("calls-n{}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(left: &str, right: &str) -> bool {
        Subnet::parse(left).expect("a subnet").overlaps(Subnet::parse(right).expect("a subnet"))
    }

    #[test]
    fn subnets_overlap_when_one_holds_the_other() {
        assert!(overlap("10.0.0.0/8", "10.200.0.0/24"));
        assert!(overlap("10.200.0.0/24", "10.200.0.7"));
        assert!(overlap("0.0.0.0/0", "192.168.1.0/24"));
        assert!(!overlap("10.200.1.0/24", "10.200.0.0/24"));
        assert!(!overlap("172.17.0.0/16", "10.244.0.0/16"));
    }

    #[test]
    fn what_is_no_subnet_is_not_read_as_one() {
        for text in ["default", "10.0.0.0/33", "10.0.0/8", "fd00::/8", ""] {
            assert_eq!(Subnet::parse(text), None, "{text}");
        }
    }

    #[test]
    fn our_own_subnets_are_apart_and_hold_what_they_should() {
        assert!(!NODES.overlaps(PODS) && !PODS.overlaps(SERVICES) && !NODES.overlaps(SERVICES));
        let node = NodeLayout::new(MAX_NODES);
        assert!(PODS.overlaps(node.pods()));
        assert!(overlap(&NODES.to_string(), &node.address().to_string()));
        assert!(node.link().len() <= 15, "the kernel's limit for names of links");
    }
}
