//! The director's Deployment: two replicas on the pod network, fit for Pod Security `restricted`.

use fleet::names::{env, label, path, port_name};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, PodSpec, PodTemplateSpec, ResourceRequirements, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use super::sfu::{container_security, field, health_probe, plain, pod_security, pull_secrets, secret_volume};
use super::toleration::tolerations;
use crate::cluster::validate::ValidatedCluster;
use crate::name::Role;
use crate::port::{DIRECTOR_HEALTH_PORT, DIRECTOR_HTTP_PORT};

/// Two, so that one can go with its node. More add nothing: media does not pass through it.
const REPLICAS: i32 = 2;
/// Time to hand websockets over before the kill.
const GRACE_SECONDS: i64 = 30;

pub fn deployment(cluster: &ValidatedCluster) -> Deployment {
    let labels = metadata::labels(&cluster.identity.name, Some(label::COMPONENT_DIRECTOR));
    Deployment {
        metadata: metadata::object(
            &cluster.identity,
            cluster.identity.name.director(),
            Some(label::COMPONENT_DIRECTOR),
        ),
        spec: Some(DeploymentSpec {
            replicas: Some(REPLICAS),
            selector: metadata::label_selector(&cluster.identity.name, label::COMPONENT_DIRECTOR),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
                spec: Some(pod(cluster)),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn pod(cluster: &ValidatedCluster) -> PodSpec {
    let (volume, mount) = secret_volume("tls", &cluster.identity.name.tls(Role::Director), path::TLS_DIR);
    PodSpec {
        service_account_name: Some(cluster.identity.name.director()),
        // It watches where the SFUs are.
        automount_service_account_token: Some(true),
        enable_service_links: Some(false),
        security_context: Some(pod_security()),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        tolerations: Some(tolerations(&[])),
        image_pull_secrets: pull_secrets(&cluster.director_image),
        topology_spread_constraints: Some(vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(metadata::label_selector(&cluster.identity.name, label::COMPONENT_DIRECTOR)),
            ..TopologySpreadConstraint::default()
        }]),
        containers: vec![Container {
            name: label::COMPONENT_DIRECTOR.to_owned(),
            image: Some(cluster.director_image.reference.clone()),
            image_pull_policy: Some("IfNotPresent".to_owned()),
            args: Some(args(cluster)),
            env: Some(vec![field(env::POD_NAMESPACE, "metadata.namespace"), plain("RUST_LOG", cluster.log)]),
            ports: Some(vec![port(port_name::HTTP, DIRECTOR_HTTP_PORT), port(port_name::HEALTH, DIRECTOR_HEALTH_PORT)]),
            liveness_probe: Some(health_probe("/healthz")),
            readiness_probe: Some(health_probe("/readyz")),
            resources: Some(resources()),
            security_context: Some(container_security()),
            volume_mounts: Some(vec![mount]),
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            ..Container::default()
        }],
        volumes: Some(vec![volume]),
        ..PodSpec::default()
    }
}

fn args(cluster: &ValidatedCluster) -> Vec<String> {
    vec![
        "serve".to_owned(),
        format!("--namespace={}", cluster.identity.namespace),
        format!("--service={}", cluster.identity.name.sfu()),
        format!("--tls={}", path::TLS_DIR),
        format!("--http-port={DIRECTOR_HTTP_PORT}"),
        format!("--health-port={DIRECTOR_HEALTH_PORT}"),
        "--log-format=json".to_owned(),
    ]
}

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// It copies bytes between websockets; memory is for buffers of many.
fn resources() -> ResourceRequirements {
    let amount = |name: &str, value: &str| (name.to_owned(), Quantity(value.to_owned()));
    ResourceRequirements {
        requests: Some([amount("cpu", "50m"), amount("memory", "64Mi")].into()),
        limits: Some([amount("memory", "512Mi")].into()),
        claims: None,
    }
}
