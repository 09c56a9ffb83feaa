//! Services: the front door, and the list of SFUs behind it.

use fleet::names::{label, port_name};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::cluster::validate::ValidatedCluster;
use crate::port::SERVICE_PORT;

pub fn services(cluster: &ValidatedCluster) -> Vec<Service> {
    vec![front_door(cluster), fleet(cluster)]
}

/// Where people and clients come in: over an Ingress, or a NodePort where there is none.
fn front_door(cluster: &ValidatedCluster) -> Service {
    Service {
        metadata: metadata::object(&cluster.identity, cluster.identity.name.service(), Some(label::COMPONENT_DIRECTOR)),
        spec: Some(ServiceSpec {
            type_: Some("NodePort".to_owned()),
            selector: Some(metadata::selecting(&cluster.identity.name, label::COMPONENT_DIRECTOR)),
            ports: Some(vec![port(port_name::HTTP, SERVICE_PORT)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// All SFUs, for the directors. Those that are not ready stay listed, because they may still hold calls; the port has a
/// name, because its number differs from slot to slot.
fn fleet(cluster: &ValidatedCluster) -> Service {
    let control = cluster.ports.slot(crate::port::Slot::ALL[0]).control;
    Service {
        metadata: metadata::object(&cluster.identity, cluster.identity.name.sfu(), Some(label::COMPONENT_SFU)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(metadata::selecting(&cluster.identity.name, label::COMPONENT_SFU)),
            ports: Some(vec![port(port_name::CONTROL, control)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}
