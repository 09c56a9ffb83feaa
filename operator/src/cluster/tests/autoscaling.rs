//! Whole reconciles in which the number of SFUs is ours to decide: an API server in memory, SFUs on loopback.

use serde_json::{Value, json};

use super::reconcile::World;
use super::see_off::two_sfus;
use crate::cluster::fake_sfu::FakeSfu;
use crate::cluster::fixture::{found, try_validated};

/// A spec of two SFUs, scaled as `autoscaling` says.
fn spec(autoscaling: &Value) -> Value {
    json!({"sfu": {"replicas": 2}, "autoscaling": autoscaling})
}

/// Two SFUs above the default target; they answer for as long as they are held.
async fn busy_world() -> (World, [FakeSfu; 2]) {
    let mut world = World::new();
    let sfus = two_sfus(&mut world).await;
    for sfu in &sfus {
        sfu.report(|status| status.load.percent = 71);
    }
    (world, sfus)
}

#[tokio::test]
async fn load_above_the_target_adds_sfus_where_everybody_reads_it() {
    let (mut world, _sfus) = busy_world().await;
    world.wish_again("blue", &spec(&json!({"mode": "Target"})));
    world.look("blue").await;
    assert_eq!(world.replicas(), 3);
    assert_eq!(world.sfu_deployment()["spec"]["replicas"], 3, "in the same look");
    let status = world.status("blue");
    assert_eq!(status["autoscaler"]["desired"], 3);
    assert_eq!(status["autoscaler"]["reason"], "load 71 % > target 60 %: 2 to 3");
    assert!(status["autoscaler"]["lastScaleTime"].is_string());
    assert_eq!(status["ready"], "2/3");
    assert_eq!(world.condition("blue", "ScalingLimited"), "False NotLimited");
    assert_eq!(world.history(), None);
}

#[tokio::test]
async fn who_changes_the_number_meanwhile_is_not_overwritten() {
    let (mut world, _sfus) = busy_world().await;
    world.wish_again("blue", &spec(&json!({"mode": "Target"})));
    let read = world.cluster();
    let wish = json!({"sfu": {"replicas": 5}, "autoscaling": {"mode": "Target"}});
    world.wish_again("blue", &wish);
    world.look_at(&read).await;
    assert_eq!(world.replicas(), 5);
    assert_eq!(world.sfu_deployment()["spec"]["replicas"], 2, "it is decided anew first");
    world.look("blue").await;
    assert_eq!(world.status("blue")["autoscaler"]["desired"], world.replicas());
}

#[tokio::test]
async fn a_number_that_may_not_be_written_is_a_condition_and_holds_up_nothing() {
    let (mut world, _sfus) = busy_world().await;
    world.wish_again("blue", &spec(&json!({"mode": "Target"})));
    world.close("/apis/callscluster.io/v1alpha1/namespaces/red/callsclusters/blue/scale");
    world.look("blue").await;
    assert_eq!(world.replicas(), 2);
    assert_eq!(world.told("ScaledUp"), 0);
    assert_eq!(world.condition("blue", "ScalingLimited"), "True ScaleRefused");
    assert_eq!(world.status("blue")["ready"], "2/2");
}

#[tokio::test]
async fn the_most_there_may_be_is_a_condition() {
    let (mut world, _sfus) = busy_world().await;
    world.wish_again("blue", &spec(&json!({"mode": "Target", "maxReplicas": 2})));
    world.look("blue").await;
    assert_eq!(world.replicas(), 2);
    assert_eq!(world.condition("blue", "ScalingLimited"), "True MaxReplicas");
}

#[tokio::test]
async fn an_sfu_too_many_leaves_by_the_road_of_all_that_leave() {
    let mut world = World::new();
    let _sfus = two_sfus(&mut world).await;
    world.wish_again("blue", &spec(&json!({"mode": "Target", "scaleDown": {"stabilizationSeconds": 0}})));
    world.look("blue").await;
    assert_eq!(world.replicas(), 1);
    assert_eq!(world.condition("blue", "Draining"), "True ScaledDown");
    assert_eq!(world.sfu_deployment()["spec"]["replicas"], 2, "it has a call");
}

#[tokio::test]
async fn another_autoscaler_has_its_way_and_is_named() {
    let (mut world, _sfus) = busy_world().await;
    world.put_autoscaler("keda-hpa-blue");
    world.wish_again("blue", &spec(&json!({"mode": "Target"})));
    world.look("blue").await;
    assert_eq!(world.replicas(), 2);
    assert_eq!(world.condition("blue", "AutoscalingConflict"), "True TwoAutoscalers");
    assert_eq!(world.status("blue")["autoscaler"], Value::Null);
    for mode in ["External", "Off"] {
        world.wish_again("blue", &spec(&json!({"mode": mode})));
        world.look("blue").await;
        assert_eq!(world.condition("blue", "AutoscalingConflict"), "False NoConflict", "{mode}");
        assert_eq!(world.replicas(), 2);
    }
}

#[tokio::test]
async fn what_a_forecast_learned_is_kept_while_there_is_one() {
    let mut world = World::new();
    let _sfus = two_sfus(&mut world).await;
    world.wish_again("blue", &spec(&json!({"mode": "Predictive"})));
    world.look("blue").await;
    let kept = world.history().unwrap();
    assert!(kept["data"]["history"].as_str().unwrap().starts_with("v1\n"));
    world.restart();
    world.put_autoscaler("hpa");
    world.look("blue").await;
    assert_eq!(world.history().unwrap()["data"], kept["data"], "also while another autoscaler is there");
    world.wish_again("blue", &spec(&json!({"mode": "Target"})));
    world.look("blue").await;
    assert_eq!(world.history(), None);
}

#[test]
fn a_schedule_that_is_not_understood_is_quoted() {
    let schedule = json!([{"cron": "0 25 * * *", "minReplicas": 2}]);
    let spec = json!({"autoscaling": {"mode": "Target", "schedule": schedule}});
    let problem = try_validated(&spec, &found()).unwrap_err().problem();
    assert_eq!(problem.reason, "ScheduleInvalid");
    assert!(problem.message.contains("autoscaling.schedule: \"0 25 * * *\" is no cron"), "{}", problem.message);
}
