//! Whole reconciles of SFUs that leave: an API server in memory, SFUs on loopback.

use fleet::api::{DrainMode, SfuState};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::reconcile::{World, put_certificates};
use crate::cluster::ReconcileError;
use crate::cluster::fake_sfu::FakeSfu;
use crate::cluster::fixture;
use crate::cluster::see_off::FIRST;
use crate::name::Role;

/// Two SFUs of the wanted revision with a call each, that can be asked.
pub(super) async fn two_sfus(world: &mut World) -> [FakeSfu; 2] {
    world.wish("blue", &json!({"sfu": {"replicas": 2}}));
    let certificates = put_certificates(world, 0);
    world.reconcile("blue").await;
    let deployment = world.sfu_deployment();
    let revision = deployment["metadata"]["labels"]["callscluster.io/revision"].as_str().unwrap().to_owned();
    let [a, b] = ["blue-sfu-a", "blue-sfu-b"];
    let sfus = [FakeSfu::start(&certificates, Role::Sfu, a).await, FakeSfu::start(&certificates, Role::Sfu, b).await];
    for (name, sfu) in [a, b].into_iter().zip(&sfus) {
        let mut pod: Pod = fixture::sfu_pod(name, &revision).as_ref().clone();
        let status = pod.status.as_mut().unwrap();
        status.host_ip = Some("127.0.0.1".into());
        status.container_statuses = serde_json::from_value(json!([{
            "name": "sfu", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}},
        }]))
        .unwrap();
        let ports = pod.spec.as_mut().unwrap().containers[0].ports.as_mut().unwrap();
        ports[1].container_port = sfu.port.into();
        world.put_pod(name, &serde_json::to_value(pod).unwrap());
    }
    sfus
}

fn annotation(world: &World, pod: &str, name: &str) -> Value {
    world.pod(pod)["metadata"]["annotations"][name].clone()
}

const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SINCE: &str = "callscluster.io/leaving-since";

#[tokio::test]
async fn an_sfu_too_many_is_drained_marked_and_then_scaled_away_whoever_is_the_operator_meanwhile() {
    let mut world = World::new();
    let [stays, leaves] = two_sfus(&mut world).await;
    leaves.report(|status| status.load.participants = 1);
    world.wish_again("blue", &json!({"sfu": {"replicas": 1}}));
    world.look("blue").await;
    let told = leaves.status().drain.expect("it was asked to leave");
    assert_eq!((told.mode, told.deadline - told.since), (DrainMode::Move, 480));
    assert_eq!(stays.status().state, SfuState::Active);
    let since = annotation(&world, "blue-sfu-b", SINCE);
    assert!(since.is_string());
    let status = world.status("blue");
    assert_eq!(status["draining"][0]["pod"], "blue-sfu-b");
    assert_eq!(world.condition("blue", "Draining"), "True ScaledDown");

    // Another operator goes on with it.
    world.restart();
    world.look("blue").await;
    world.look("blue").await;
    assert_eq!(annotation(&world, "blue-sfu-b", SINCE), since);
    assert_eq!(annotation(&world, "blue-sfu-b", COST), Value::Null);
    assert_eq!(world.sfu_deployment()["spec"]["replicas"], 2, "it has a call");

    leaves.empty();
    world.look("blue").await;
    assert_eq!(annotation(&world, "blue-sfu-b", COST), FIRST);
    assert_eq!(world.sfu_deployment()["spec"]["replicas"], 2, "nobody may be deleted for it");
    world.look("blue").await;
    assert_eq!(world.sfu_deployment()["spec"]["replicas"], 1);
}

#[tokio::test]
async fn an_sfu_that_is_wanted_again_stays_and_is_as_it_was() {
    let mut world = World::new();
    let [_stays, leaves] = two_sfus(&mut world).await;
    leaves.report(|status| status.load.participants = 1);
    world.wish_again("blue", &json!({"sfu": {"replicas": 1, "drain": "Wait"}}));
    world.look("blue").await;
    assert_eq!(leaves.status().drain.map(|told| told.mode), Some(DrainMode::Wait));
    world.wish_again("blue", &json!({"sfu": {"replicas": 2}}));
    world.look("blue").await;
    assert_eq!((leaves.status().state, leaves.status().drain), (SfuState::Active, None));
    assert_eq!(annotation(&world, "blue-sfu-b", SINCE), Value::Null);
    assert_eq!(world.sfu_deployment()["spec"]["replicas"], 2);
    world.look("blue").await;
    assert_eq!(world.condition("blue", "Draining"), "False NobodyLeaves");
}

#[tokio::test]
async fn one_pod_that_cannot_be_written_holds_up_no_other_and_what_happened_is_told() {
    let mut world = World::new();
    let [a, b] = two_sfus(&mut world).await;
    world.look("blue").await;
    world.close("/api/v1/namespaces/red/pods/blue-sfu-a");
    world.wish_again("blue", &json!({"sfu": {"replicas": 0}}));
    let error = world.try_look("blue").await.unwrap_err();
    assert!(matches!(error, ReconcileError::SeeOff(_)), "{error}");
    // Its pod would not say since when.
    assert_eq!(a.status().drain, None);
    let told = b.status().drain.expect("it was asked to leave");
    assert!(told.nobody_takes && told.deadline - told.since == 0);
    assert_eq!(world.told("DrainStarted"), 1);
}

#[tokio::test]
async fn sfus_leave_also_while_an_object_cannot_be_written() {
    let mut world = World::new();
    let [_stays, leaves] = two_sfus(&mut world).await;
    leaves.report(|status| status.load.participants = 1);
    world.wish_again("blue", &json!({"sfu": {"replicas": 1}, "page": {"enabled": false}}));
    world.close("/api/v1/namespaces/red/configmaps");
    let error = world.try_look("blue").await.unwrap_err();
    assert!(matches!(error, ReconcileError::Apply(_)), "{error}");
    assert!(leaves.status().drain.is_some());
    assert_eq!(world.told("DrainStarted"), 1);
}

#[tokio::test]
async fn an_sfu_that_did_not_answer_is_not_asked_anything_else_at_the_same_look() {
    let mut world = World::new();
    let [_stays, leaves] = two_sfus(&mut world).await;
    leaves.report(|status| status.load.participants = 1);
    world.wish_again("blue", &json!({"sfu": {"replicas": 1}}));
    world.look("blue").await;
    leaves.fail(true);
    let before = leaves.n_asked();
    world.look("blue").await;
    assert_eq!(leaves.n_asked() - before, 1, "how it is");
    leaves.fail(false);
    leaves.report(|status| status.drain = None);
    world.look("blue").await;
    assert!(leaves.status().drain.is_some(), "asked again");
}
