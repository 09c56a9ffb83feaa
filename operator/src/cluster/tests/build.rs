//! What must hold of built objects, beyond what the snapshots show.

use serde_json::{Value, json};

use crate::cluster::build::build;
use crate::cluster::fixture::{self, built, found, validated};
use crate::cluster::validate::validate;

#[test]
fn the_same_input_gives_the_same_bytes() {
    let spec = json!({"sfu": {"replicas": 2}});
    assert_eq!(fixture::yaml(&built(&spec, &found())), fixture::yaml(&built(&spec, &found())));
}

fn revision(spec: &Value) -> String {
    let sfu = built(spec, &found()).sfu.unwrap();
    sfu.metadata.labels.unwrap()["callscluster.io/revision"].clone()
}

#[test]
fn what_is_live_keeps_the_revision() {
    let base = revision(&json!({}));
    for live in [
        json!({"sfu": {"replicas": 7}}),
        json!({"sfu": {"drain": "Wait", "drainTimeoutSeconds": 60}}),
        json!({"page": {"access": "Open"}}),
        json!({"page": {"enabled": false}}),
        json!({"network": {"advertise": {"override": "203.0.113.1"}}}),
        json!({"network": {"advertise": {"stun": {"servers": ["stun.example.com:3478"]}}}}),
        json!({"network": {"advertise": {"order": ["NodeInternalIP"]}}}),
        json!({"media": {"maxActiveSpeakers": 3}}),
        json!({"observability": {"monitors": "Never"}}),
    ] {
        assert_eq!(revision(&live), base, "{live}");
    }
}

#[test]
fn the_grace_period_is_that_of_the_drain_and_stays_for_pods_that_run() {
    let grace = |objects: crate::cluster::build::Objects<crate::cluster::build::Prepared>| {
        let pod = objects.sfu.unwrap().spec.unwrap().template.spec.unwrap();
        assert!(pod.containers[0].args.iter().flatten().any(|arg| arg.starts_with("--drain-seconds=")));
        pod.termination_grace_period_seconds
    };
    assert_eq!(grace(built(&json!({}), &found())), Some(495));
    let long = json!({"sfu": {"drainTimeoutSeconds": 600}});
    assert_eq!(grace(built(&long, &found())), Some(615));
    let mut running = found();
    running.deployments = vec![std::sync::Arc::new(built(&json!({}), &found()).sfu.unwrap())];
    assert_eq!(grace(built(&long, &running)), Some(495));
}

#[test]
fn a_process_that_hangs_is_killed_soon_and_not_after_the_time_its_calls_have() {
    let pod = built(&json!({}), &found()).sfu.unwrap().spec.unwrap().template.spec.unwrap();
    let grace =
        |probe: &Option<k8s_openapi::api::core::v1::Probe>| probe.as_ref().unwrap().termination_grace_period_seconds;
    assert_eq!(grace(&pod.containers[0].liveness_probe), Some(5));
    // Kubernetes refuses it there.
    assert_eq!(grace(&pod.containers[0].readiness_probe), None);
}

#[test]
fn what_replaces_pods_changes_the_revision() {
    let base = revision(&json!({}));
    for replacing in [
        json!({"sfu": {"image": "x:2"}}),
        json!({"sfu": {"resources": {"requests": {"cpu": "1"}}}}),
        json!({"sfu": {"podTemplate": {"nodeSelector": {"a": "b"}}}}),
        json!({"sfu": {"podTemplate": {"annotations": {"a": "b"}}}}),
        json!({"sfu": {"podTemplate": {"imagePullSecrets": [{"name": "a"}]}}}),
        json!({"network": {"tcp": {"enabled": false}}}),
        json!({"network": {"mediaPorts": {"from": 8453}}}),
        json!({"network": {"controlPorts": {"from": 9543}}}),
        json!({"observability": {"logLevel": "Debug"}}),
    ] {
        assert_ne!(revision(&replacing), base, "{replacing}");
    }
}

#[test]
fn live_changes_reach_the_pods_annotation() {
    let hash = |spec: &Value| built(spec, &found()).config_hash;
    let base = hash(&json!({}));
    assert_eq!(hash(&json!({"sfu": {"replicas": 3}})), base);
    assert_ne!(hash(&json!({"page": {"access": "Open"}})), base);
    assert_ne!(hash(&json!({"media": {"maxActiveSpeakers": 3}})), base);
    assert_ne!(hash(&json!({"network": {"advertise": {"override": "203.0.113.1"}}})), base);
}

#[test]
fn rotated_keys_reach_the_pods_annotation() {
    let mut rotated = found();
    let mut secret = fixture::keys("blue-keys");
    secret.data.as_mut().unwrap().insert("APInew".into(), k8s_openapi::ByteString(vec![b'x'; 32]));
    rotated.keys = crate::cluster::dereference::KeysFound::Own(secret);
    assert_ne!(built(&json!({}), &rotated).config_hash, built(&json!({}), &found()).config_hash);
}

/// Pod Security `restricted`, as far as it can be read off a pod; the host network and ports are the SFU's only violation.
#[test]
fn pods_are_hardened() {
    let objects = built(&json!({}), &found());
    for deployment in [&objects.director, objects.sfu.as_ref().unwrap()] {
        let pod = deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
        let security = pod.security_context.as_ref().unwrap();
        assert_eq!((security.run_as_non_root, security.run_as_user), (Some(true), Some(65532)));
        assert_eq!(security.seccomp_profile.as_ref().unwrap().type_, "RuntimeDefault");
        for container in &pod.containers {
            let security = container.security_context.as_ref().unwrap();
            assert_eq!(security.allow_privilege_escalation, Some(false));
            assert_eq!(security.read_only_root_filesystem, Some(true));
            let capabilities = security.capabilities.as_ref().unwrap();
            assert_eq!(capabilities.drop, Some(vec!["ALL".to_owned()]));
            assert_eq!(capabilities.add, None);
        }
        assert!(pod.volumes.iter().flatten().all(|volume| volume.host_path.is_none()));
    }
    let director = objects.director.spec.unwrap().template.spec.unwrap();
    assert_eq!(director.host_network, None);
    assert!(director.containers.iter().all(|one| one.ports.iter().flatten().all(|port| port.host_port.is_none())));
    let sfu = objects.sfu.unwrap().spec.unwrap().template.spec.unwrap();
    assert_eq!(sfu.automount_service_account_token, Some(false));
    assert!(sfu.containers[0].ports.iter().flatten().all(|port| port.host_port == Some(port.container_port)));
}

#[test]
fn credentials_for_images_are_the_specs_or_the_releases() {
    let mut images = fixture::images();
    images.sfu.pull_secrets = vec!["of-the-release".into()];
    images.director.pull_secrets = vec!["of-the-release".into()];
    let secrets = |spec: &Value| {
        let cluster = validate(&fixture::cluster(spec), &found(), fixture::issued(), &images, fixture::now()).unwrap();
        let objects = build(&cluster).unwrap();
        [objects.sfu.unwrap(), objects.director].map(|deployment| {
            let pod = deployment.spec.unwrap().template.spec.unwrap();
            pod.image_pull_secrets.into_iter().flatten().map(|secret| secret.name).collect::<Vec<_>>()
        })
    };
    assert_eq!(secrets(&json!({})), [["of-the-release"], ["of-the-release"]]);
    let own = json!({"sfu": {"podTemplate": {"imagePullSecrets": [{"name": "mine"}, {"name": "other"}]}}});
    assert_eq!(secrets(&own), [vec!["mine", "other"], vec!["of-the-release"]]);
}

#[test]
fn every_object_has_owner_and_labels() {
    let yaml = fixture::yaml(&built(&json!({}), &found()));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&yaml).unwrap();
    assert!(documents.len() > 12);
    for document in documents {
        let metadata = &document["metadata"];
        assert_eq!(metadata["namespace"], "red", "{document}");
        assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], "blue", "{document}");
        assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "calls-operator", "{document}");
        assert_eq!(metadata["ownerReferences"][0]["uid"], "7e57", "{document}");
    }
}

/// Until somebody lets it go on, those that are there serve in its stead, as many as are wanted.
#[test]
fn a_change_that_is_held_back_makes_no_deployment() {
    let old = built(&json!({}), &found()).sfu.unwrap();
    let mut after = found();
    after.deployments = vec![std::sync::Arc::new(old.clone())];
    let wish = json!({"sfu": {"image": "x:2", "replicas": 3}, "update": {"paused": true}});
    let objects = build(&validated(&wish, &after)).unwrap();
    assert!(objects.sfu.is_none());
    assert_eq!(objects.retired, [(old.metadata.name.unwrap(), 3)]);
}

#[test]
fn a_changed_template_takes_the_other_slot_and_its_ports() {
    let old = built(&json!({}), &found()).sfu.unwrap();
    let mut after = found();
    let old_revision = old.metadata.labels.as_ref().unwrap()["callscluster.io/revision"].clone();
    after.deployments = vec![std::sync::Arc::new(old.clone())];
    after.sfu_pods = vec![fixture::sfu_pod("blue-sfu-1", &old_revision)];
    let objects = build(&validated(&json!({"sfu": {"image": "x:2"}}), &after)).unwrap();
    let new = objects.sfu.unwrap();
    assert!(new.metadata.name.as_ref().unwrap().ends_with("-1"));
    let args = new.spec.unwrap().template.spec.unwrap().containers[0].args.clone().unwrap();
    assert!(
        args.contains(&"--udp-port=8444".to_owned()) && args.contains(&"--control-port=9445".to_owned()),
        "{args:?}"
    );
    assert_eq!(objects.retired, [(old.metadata.name.unwrap(), 1)]);
}
