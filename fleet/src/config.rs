//! The SFU's configuration file, written by the operator as JSON and re-read by the SFU whenever it changes.
//!
//! Everything in it applies live. What needs a new process (ports, directories) is a flag of `calls-sfu serve`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The whole file. Unknown fields are ignored, so that an older SFU reads a newer operator's file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SfuConfig {
    /// Which addresses each node's SFU offers to clients.
    pub advertise: AdvertisePlan,
    /// STUN servers as `host:port`, asked through the media socket. Empty: STUN is off.
    pub stun_servers: Vec<String>,
    pub page: PageConfig,
    pub media: MediaConfig,
}

/// Ordered address sources for each node; the first that answers is advertised.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AdvertisePlan {
    /// By node name.
    pub nodes: BTreeMap<String, Vec<AddressSource>>,
    /// For a node that is not in `nodes` (the operator has not seen it yet).
    pub other: Vec<AddressSource>,
}

impl AdvertisePlan {
    /// The sources that apply to `node`, most preferred first.
    pub fn sources_for(&self, node: &str) -> &[AddressSource] {
        self.nodes.get(node).unwrap_or(&self.other)
    }
}

/// Where an advertised address comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source")]
pub enum AddressSource {
    /// `spec.network.advertise.override` or `perNode`: an IP address or a DNS name the SFU resolves.
    Override { address: String },
    /// The Node's annotation [`crate::names::annotation::NODE_ADDRESS`].
    NodeAnnotation { address: String },
    /// The Node's `ExternalIP`.
    NodeExternalIP { address: IpAddr },
    /// What STUN servers see of the media socket.
    Stun,
    /// The Node's `InternalIP`; without an address, the pod's `NODE_IP`.
    NodeInternalIP {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<IpAddr>,
    },
}

/// What the SFU forwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MediaConfig {
    /// Microphones of one call that are forwarded at once: those who spoke last. 0: all of them.
    pub max_active_speakers: u16,
}

impl Default for MediaConfig {
    /// Ten: a call of ten is forwarded as it is, and more voices at once than that nobody can follow.
    fn default() -> Self {
        Self { max_active_speakers: 10 }
    }
}

/// The page the SFU serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PageConfig {
    pub enabled: bool,
    pub access: PageAccess,
}

impl Default for PageConfig {
    fn default() -> Self {
        Self { enabled: true, access: PageAccess::Token }
    }
}

/// Who may join from the page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PageAccess {
    /// Anyone who can reach the page, by name.
    Open,
    /// Only with an invitation link (`calls-operator link`).
    #[default]
    Token,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_node_falls_back_to_the_common_sources() {
        let text = r#"{"advertise":{"nodes":{"a":[{"source":"Override","address":"203.0.113.7"}]},
            "other":[{"source":"Stun"},{"source":"NodeInternalIP"}]},"page":{"access":"Open"}}"#;
        let config: SfuConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.advertise.sources_for("a"), [AddressSource::Override { address: "203.0.113.7".into() }]);
        assert_eq!(
            config.advertise.sources_for("b"),
            [AddressSource::Stun, AddressSource::NodeInternalIP { address: None }]
        );
        assert!(config.page.enabled);
        assert_eq!(config.page.access, PageAccess::Open);
        assert_eq!(config.media.max_active_speakers, 10, "as an older operator's file leaves it");
    }
}
