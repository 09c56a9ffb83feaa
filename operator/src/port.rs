//! Host ports of a `CallsCluster`: which slot takes which, and which Deployments would stand in each other's way.

use std::collections::BTreeSet;

use fleet::names::{SLOTS, SlotPorts, slot_ports};
use k8s_openapi::api::apps::v1::Deployment;
use thiserror::Error;

/// The port the director's Service listens on, and its pods' ports behind it.
pub const SERVICE_PORT: u16 = 80;
pub const DIRECTOR_HTTP_PORT: u16 = 8080;
pub const DIRECTOR_HEALTH_PORT: u16 = 8081;

/// The lowest port a process without capabilities can bind on a node.
pub const LOWEST_PORT: u16 = 1024;

/// A port slot: 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u16);

impl Slot {
    pub const ALL: [Self; SLOTS as usize] = [Self(0), Self(1)];

    /// Reads the value of the label [`fleet::names::label::SLOT`].
    pub fn parse(text: &str) -> Option<Self> {
        let slot = text.parse().ok()?;
        (slot < SLOTS).then_some(Self(slot))
    }

    pub fn number(self) -> u16 {
        self.0
    }
}

/// Host ports of every slot, all valid and none shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    slots: [SlotPorts; SLOTS as usize],
}

/// Why two first ports make no plan.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PortError {
    #[error(
        "network.{field}.from is {from}: use {LOWEST_PORT} or higher, SFUs run without the right to bind lower ports"
    )]
    TooLow { field: &'static str, from: u16 },
    #[error(
        "the ports above network.mediaPorts.from {media} and network.controlPorts.from {control} pass 65535: lower them"
    )]
    TooHigh { media: u16, control: u16 },
    #[error("port {0} would be taken twice: move network.mediaPorts or network.controlPorts away from the other")]
    Overlap(u16),
}

impl PortPlan {
    /// The plan from the first media port and the first control port.
    pub fn new(media_from: u16, control_from: u16) -> Result<Self, PortError> {
        for (field, from) in [("mediaPorts", media_from), ("controlPorts", control_from)] {
            if from < LOWEST_PORT {
                return Err(PortError::TooLow { field, from });
            }
        }
        let ports = |slot: Slot| {
            slot_ports(media_from, control_from, slot.number())
                .ok_or(PortError::TooHigh { media: media_from, control: control_from })
        };
        let slots = [ports(Slot(0))?, ports(Slot(1))?];
        let mut taken = BTreeSet::new();
        for port in slots.iter().flat_map(|ports| [ports.media, ports.control, ports.health]) {
            if !taken.insert(port) {
                return Err(PortError::Overlap(port));
            }
        }
        Ok(Self { slots })
    }

    pub fn slot(&self, slot: Slot) -> SlotPorts {
        self.slots[usize::from(slot.number())]
    }

    /// All host ports of `slot`.
    pub fn host_ports(&self, slot: Slot) -> BTreeSet<u16> {
        let ports = self.slot(slot);
        BTreeSet::from([ports.media, ports.control, ports.health])
    }
}

/// The host ports a Deployment's pods take, whatever plan they were made from.
pub fn host_ports_of(deployment: &Deployment) -> BTreeSet<u16> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    pod.into_iter()
        .flat_map(|pod| &pod.containers)
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| port.host_port.and_then(|port| u16::try_from(port).ok()))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_ports_make_a_plan() {
        let plan = PortPlan::new(8443, 9443).unwrap();
        assert_eq!(plan.slot(Slot(1)), SlotPorts { media: 8444, control: 9445, health: 9446 });
    }

    #[test]
    fn impossible_ports_are_refused_with_the_field_to_change() {
        assert_eq!(PortPlan::new(443, 9443), Err(PortError::TooLow { field: "mediaPorts", from: 443 }));
        assert_eq!(PortPlan::new(65535, 9443), Err(PortError::TooHigh { media: 65535, control: 9443 }));
        assert_eq!(PortPlan::new(8443, 65533), Err(PortError::TooHigh { media: 8443, control: 65533 }));
        assert_eq!(PortPlan::new(8443, 8440), Err(PortError::Overlap(8443)));
        assert_eq!(PortPlan::new(8443, 8444), Err(PortError::Overlap(8444)));
    }

    proptest! {
        #[test]
        fn no_port_of_a_plan_is_shared(media: u16, control: u16) {
            if let Ok(plan) = PortPlan::new(media, control) {
                let (first, second) = (plan.host_ports(Slot(0)), plan.host_ports(Slot(1)));
                prop_assert!(first.len() == 3 && second.len() == 3 && first.is_disjoint(&second));
                prop_assert!(first.union(&second).all(|port| *port >= LOWEST_PORT));
            }
        }
    }
}
