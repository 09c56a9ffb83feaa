//! How long pods wait for a node that does not answer.

use k8s_openapi::api::core::v1::Toleration;

/// Seconds a pod stays bound to a node that is not ready or not reached, counted from when Kubernetes says so (within a minute
/// of the last heartbeat). Kubernetes' own default of 300 leaves a fleet short of an SFU for that long; much less, and
/// a kubelet that restarts sends everybody over.
const AWAY_SECONDS: i64 = 30;
/// Taints of a node that does not answer.
const AWAY: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const EFFECT: &str = "NoExecute";

/// `own`, and a bounded wait for each taint of an absent node that `own` says nothing of.
pub fn tolerations(own: &[Toleration]) -> Vec<Toleration> {
    let says = |taint: &str| {
        // An empty key or effect stands for all of them.
        own.iter().any(|one| {
            one.key.as_deref().is_none_or(|key| key.is_empty() || key == taint)
                && one.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == EFFECT)
        })
    };
    let bounded = |taint: &str| Toleration {
        key: Some(taint.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some(EFFECT.to_owned()),
        toleration_seconds: Some(AWAY_SECONDS),
        value: None,
    };
    own.iter().cloned().chain(AWAY.into_iter().filter(|taint| !says(taint)).map(bounded)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Key and seconds of what becomes of the tolerations of a spec.
    fn made_of(own: &serde_json::Value) -> Vec<(String, Option<i64>)> {
        let own: Vec<Toleration> = serde_json::from_value(own.clone()).unwrap();
        tolerations(&own).into_iter().map(|one| (one.key.unwrap_or_default(), one.toleration_seconds)).collect()
    }

    #[test]
    fn an_absent_node_is_waited_for_half_a_minute_unless_the_spec_says_how_long() {
        let [not_ready, unreachable] = AWAY.map(ToOwned::to_owned);
        let waits = |taint: &String| (taint.clone(), Some(30));
        assert_eq!(made_of(&json!([])), [waits(&not_ready), waits(&unreachable)]);
        assert_eq!(
            made_of(&json!([{"key": "media", "operator": "Exists", "effect": "NoSchedule"}])),
            [("media".to_owned(), None), waits(&not_ready), waits(&unreachable)]
        );
        assert_eq!(
            made_of(
                &json!([{"key": not_ready, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}])
            ),
            [(not_ready.clone(), Some(300)), waits(&unreachable)]
        );
        assert_eq!(made_of(&json!([{"operator": "Exists"}])), [(String::new(), None)]);
    }
}
