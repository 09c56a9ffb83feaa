//! Names that two programs must agree on.

/// Labels on every object of a `CallsCluster`.
pub mod label {
    pub const NAME: &str = "app.kubernetes.io/name";
    pub const INSTANCE: &str = "app.kubernetes.io/instance";
    pub const COMPONENT: &str = "app.kubernetes.io/component";
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// Revision of the SFU's pod template (a short hash).
    pub const REVISION: &str = "callscluster.io/revision";
    /// Port slot of an SFU Deployment: `0` or `1`.
    pub const SLOT: &str = "callscluster.io/slot";
    /// On an SFU's pod that may be evicted: its SFU has no calls and takes none. The disruption budget leaves it out.
    pub const EVICTABLE: &str = "callscluster.io/evictable";
    pub const NAME_VALUE: &str = "calls";
    pub const MANAGED_BY_VALUE: &str = "calls-operator";
    pub const COMPONENT_SFU: &str = "sfu";
    pub const COMPONENT_DIRECTOR: &str = "director";
}

/// Annotations.
pub mod annotation {
    /// On a Node: the address its SFU advertises, for environments that know it better than Kubernetes.
    pub const NODE_ADDRESS: &str = "callscluster.io/address";
    /// On an SFU's or director's pod: hash of the mounted files the operator wrote last. Changing it makes the kubelet
    /// refresh the mounted files at once instead of at its next sync (up to a minute).
    pub const CONFIG_HASH: &str = "callscluster.io/config-hash";
    /// On an SFU's pod: when it was asked to leave, as RFC 3339 writes it.
    pub const LEAVING_SINCE: &str = "callscluster.io/leaving-since";
    /// Kubernetes' own: of the pods of a ReplicaSet, those with the lowest go first.
    pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
}

/// Environment variables the operator sets in SFU and director pods.
pub mod env {
    /// In SFU pods.
    pub const POD_NAME: &str = "POD_NAME";
    /// In director pods.
    pub const POD_NAMESPACE: &str = "POD_NAMESPACE";
    /// In SFU pods, as is the node's address.
    pub const NODE_NAME: &str = "NODE_NAME";
    pub const NODE_IP: &str = "NODE_IP";
}

/// Where the operator mounts things.
pub mod path {
    /// Directory of the `ConfigMap`; holds [`CONFIG_FILE`].
    pub const CONFIG_DIR: &str = "/etc/calls/config";
    pub const CONFIG_FILE: &str = "sfu.json";
    /// Directory of API keys: file name = key, content = secret.
    pub const KEYS_DIR: &str = "/etc/calls/keys";
    /// Directory of the pod's certificate: [`TLS_CERT`], [`TLS_KEY`], [`TLS_CA`].
    pub const TLS_DIR: &str = "/etc/calls/tls";
    pub const TLS_CERT: &str = "tls.crt";
    pub const TLS_KEY: &str = "tls.key";
    pub const TLS_CA: &str = "ca.crt";
}

/// DNS names in the fleet's certificates. The fleet's CA is private to one `CallsCluster`, so a name says the
/// role and nothing more; addresses are not in certificates, because SFUs live on node addresses that change.
pub mod tls_name {
    pub const SFU: &str = "sfu.fleet.callscluster.io";
    pub const DIRECTOR: &str = "director.fleet.callscluster.io";
    pub const OPERATOR: &str = "operator.fleet.callscluster.io";
}

/// Names of ports in pods, Services and `EndpointSlice`s.
pub mod port_name {
    /// Media over UDP.
    pub const MEDIA: &str = "media";
    /// Media over TCP (RFC 6544), the same number as [`MEDIA`].
    pub const MEDIA_TCP: &str = "media-tcp";
    /// HTTPS with client certificates: signalling, page and fleet API.
    pub const CONTROL: &str = "control";
    /// Plain HTTP for probes and metrics.
    pub const HEALTH: &str = "health";
    pub const HTTP: &str = "http";
}

/// Port slots of one `CallsCluster` on a node. A change of the pod template uses the other slot, so that old and
/// new SFU can stand on the same node at once.
pub const SLOTS: u16 = 2;

/// How long an SFU that leaves may take, unless the spec says otherwise: after it, calls that are left are moved all at
/// once. Below the ten minutes that drains of nodes are patient.
pub const DRAIN_SECONDS: u32 = 480;

/// Exit status of an SFU that found one of its ports taken by another program. Which one, as a sentence, is in its
/// termination message (`/dev/termination-log`).
pub const EXIT_PORT_TAKEN: u8 = 98;

/// Host ports of one SFU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotPorts {
    /// UDP and TCP port of the media.
    pub media: u16,
    /// HTTPS control port.
    pub control: u16,
    /// HTTP port of probes and metrics.
    pub health: u16,
}

/// The ports of `slot`, from the first media port and the first control port of the `CallsCluster`.
///
/// `None` if a port would be above 65535.
pub fn slot_ports(media_from: u16, control_from: u16, slot: u16) -> Option<SlotPorts> {
    let control = control_from.checked_add(slot.checked_mul(2)?)?;
    Some(SlotPorts { media: media_from.checked_add(slot)?, control, health: control.checked_add(1)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_do_not_share_ports() {
        let first = slot_ports(8443, 9443, 0);
        let second = slot_ports(8443, 9443, 1);
        assert_eq!(first, Some(SlotPorts { media: 8443, control: 9443, health: 9444 }));
        assert_eq!(second, Some(SlotPorts { media: 8444, control: 9445, health: 9446 }));
    }

    #[test]
    fn a_port_above_the_range_is_none() {
        assert_eq!(slot_ports(65535, 9443, 1), None);
        assert_eq!(slot_ports(8443, 65534, 1), None);
    }
}
