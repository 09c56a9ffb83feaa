//! The SFU's Deployment of one revision in one port slot, and the parts of a hardened pod that the director shares.

use fleet::names::{env, label, path, port_name};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, SeccompProfile,
    SecretVolumeSource, SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use super::toleration::tolerations;
use crate::cluster::validate::{Image, ValidatedCluster};
use crate::name::Role;
use crate::port::Slot;

/// Time for a drained SFU to close its sockets before the kill.
pub const GRACE_MARGIN_SECONDS: u32 = 15;
/// How long a process that hangs may take to end: nothing of what it does then helps anybody, and the pod's own grace
/// period is the time its calls have to move.
const HUNG_GRACE_SECONDS: i64 = 5;
/// The user of distroless images, who owns nothing.
const NON_ROOT: i64 = 65532;
/// Mounted Secrets are read by the pod's group and nobody else.
const SECRET_MODE: i32 = 0o440;

/// The Deployment of `revision` in `slot`, whose SFUs may take `patience` seconds to leave.
pub fn deployment(cluster: &ValidatedCluster, revision: &str, slot: Slot, replicas: u32, patience: u32) -> Deployment {
    let mut metadata = metadata::object(
        &cluster.identity,
        cluster.identity.name.sfu_deployment(revision, slot.number()),
        Some(label::COMPONENT_SFU),
    );
    metadata.labels.get_or_insert_default().extend(place(revision, slot));
    let mut selecting = metadata::selecting(&cluster.identity.name, label::COMPONENT_SFU);
    selecting.extend(place(revision, slot));
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: i32::try_from(replicas).ok(),
            selector: LabelSelector { match_labels: Some(selecting), match_expressions: None },
            // Pods of one slot want the same host ports, so within it none can be added before another goes.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(0)),
                    max_unavailable: Some(IntOrString::Int(1)),
                }),
            }),
            // A new template is a new Deployment, so there is no history to keep.
            revision_history_limit: Some(0),
            template: pod_template(cluster, revision, slot, patience),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

/// The pod template. The revision is the hash of it for slot 0, an empty revision and the customary patience.
pub fn pod_template(cluster: &ValidatedCluster, revision: &str, slot: Slot, patience: u32) -> PodTemplateSpec {
    let mut labels = metadata::labels(&cluster.identity.name, Some(label::COMPONENT_SFU));
    labels.extend(place(revision, slot));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(cluster.pod_template.annotations.clone()).filter(|all| !all.is_empty()),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(cluster, revision, slot, patience)),
    }
}

fn place(revision: &str, slot: Slot) -> [(String, String); 2] {
    [(label::REVISION.to_owned(), revision.to_owned()), (label::SLOT.to_owned(), slot.number().to_string())]
}

fn pod(cluster: &ValidatedCluster, revision: &str, slot: Slot, patience: u32) -> PodSpec {
    let template = &cluster.pod_template;
    let (keys, keys_mount) = secret_volume("keys", &cluster.keys.secret_name, path::KEYS_DIR);
    let (tls, tls_mount) = secret_volume("tls", &cluster.identity.name.tls(Role::Sfu), path::TLS_DIR);
    let (config, config_mount) = config_volume(&cluster.identity.name.sfu());
    PodSpec {
        host_network: Some(true),
        dns_policy: Some("ClusterFirstWithHostNet".to_owned()),
        service_account_name: Some(cluster.identity.name.sfu()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(pod_security()),
        termination_grace_period_seconds: Some(i64::from(patience + GRACE_MARGIN_SECONDS)),
        image_pull_secrets: pull_secrets(&cluster.sfu_image),
        node_selector: Some(template.node_selector.clone()).filter(|labels| !labels.is_empty()),
        tolerations: Some(tolerations(&template.tolerations)),
        affinity: template.affinity.clone(),
        // Preferred only: the scheduler already keeps two SFUs of a slot apart by their host ports.
        topology_spread_constraints: Some(vec![spread(cluster, revision, slot)]),
        containers: vec![Container {
            name: label::COMPONENT_SFU.to_owned(),
            image: Some(cluster.sfu_image.reference.clone()),
            image_pull_policy: Some("IfNotPresent".to_owned()),
            args: Some(args(cluster, slot, patience)),
            env: Some(vec![
                field(env::POD_NAME, "metadata.name"),
                field(env::NODE_NAME, "spec.nodeName"),
                field(env::NODE_IP, "status.hostIP"),
                plain("RUST_LOG", cluster.log),
            ]),
            ports: Some(ports(cluster, slot)),
            resources: Some(cluster.resources.clone()),
            liveness_probe: Some(Probe {
                termination_grace_period_seconds: Some(HUNG_GRACE_SECONDS),
                ..health_probe("/healthz")
            }),
            readiness_probe: Some(Probe { period_seconds: Some(2), ..health_probe("/readyz") }),
            security_context: Some(container_security()),
            volume_mounts: Some(vec![config_mount, keys_mount, tls_mount]),
            // The SFU writes why it could not start to its termination message.
            termination_message_policy: Some("File".to_owned()),
            ..Container::default()
        }],
        volumes: Some(vec![config, keys, tls]),
        ..PodSpec::default()
    }
}

fn args(cluster: &ValidatedCluster, slot: Slot, patience: u32) -> Vec<String> {
    let ports = cluster.ports.slot(slot);
    vec![
        "serve".to_owned(),
        format!("--config={}/{}", path::CONFIG_DIR, path::CONFIG_FILE),
        format!("--keys={}", path::KEYS_DIR),
        format!("--tls={}", path::TLS_DIR),
        format!("--udp-port={}", ports.media),
        // 0 turns it off.
        format!("--tcp-port={}", if cluster.tcp { ports.media } else { 0 }),
        format!("--control-port={}", ports.control),
        format!("--health-port={}", ports.health),
        format!("--drain-seconds={patience}"),
        "--log-format=json".to_owned(),
    ]
}

fn ports(cluster: &ValidatedCluster, slot: Slot) -> Vec<ContainerPort> {
    let ports = cluster.ports.slot(slot);
    // On the host network container port and host port are one; declared, the scheduler keeps pods apart by them.
    let port = |name: &str, number: u16, protocol: &str| ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        host_port: Some(i32::from(number)),
        protocol: Some(protocol.to_owned()),
        host_ip: None,
    };
    let mut declared = vec![port(port_name::MEDIA, ports.media, "UDP")];
    if cluster.tcp {
        declared.push(port(port_name::MEDIA_TCP, ports.media, "TCP"));
    }
    declared.extend([port(port_name::CONTROL, ports.control, "TCP"), port(port_name::HEALTH, ports.health, "TCP")]);
    declared
}

/// SFUs of one revision spread over nodes; those of the one they replace do not count.
fn spread(cluster: &ValidatedCluster, revision: &str, slot: Slot) -> TopologySpreadConstraint {
    let mut selecting = metadata::selecting(&cluster.identity.name, label::COMPONENT_SFU);
    selecting.extend(place(revision, slot));
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector { match_labels: Some(selecting), match_expressions: None }),
        ..TopologySpreadConstraint::default()
    }
}

fn config_volume(name: &str) -> (Volume, VolumeMount) {
    let volume = Volume {
        name: "config".to_owned(),
        config_map: Some(ConfigMapVolumeSource { name: name.to_owned(), ..ConfigMapVolumeSource::default() }),
        ..Volume::default()
    };
    (volume, mount("config", path::CONFIG_DIR))
}

/// Where the kubelet finds credentials for `image`.
pub fn pull_secrets(image: &Image) -> Option<Vec<LocalObjectReference>> {
    let secrets = image.pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
    Some(secrets.collect()).filter(|all: &Vec<_>| !all.is_empty())
}

/// A mounted Secret. The whole directory is mounted, never a single file, which would not follow changes.
pub fn secret_volume(name: &str, secret: &str, directory: &str) -> (Volume, VolumeMount) {
    let volume = Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            default_mode: Some(SECRET_MODE),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    (volume, mount(name, directory))
}

fn mount(name: &str, directory: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: directory.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

/// A variable from the pod's own metadata.
pub fn field(name: &str, field_path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { field_path: field_path.to_owned(), api_version: None }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

pub fn plain(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() }
}

/// A probe of the health port.
pub fn health_probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(port_name::HEALTH.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(5),
        timeout_seconds: Some(2),
        failure_threshold: Some(3),
        ..Probe::default()
    }
}

pub fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NON_ROOT),
        run_as_group: Some(NON_ROOT),
        fs_group: Some(NON_ROOT),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

pub fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    }
}
