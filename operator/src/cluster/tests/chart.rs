//! The chart, as far as it can be checked without helm.

use std::collections::BTreeSet;

use serde_json::Value;

const VALUES: &str = include_str!("../../../../charts/calls-operator/values.yaml");
const SCHEMA: &str = include_str!("../../../../charts/calls-operator/values.schema.json");
const CHART: &str = include_str!("../../../../charts/calls-operator/Chart.yaml");
const CLUSTER_ROLE: &str = include_str!("../../../../charts/calls-operator/templates/clusterrole.yaml");

#[test]
fn the_charts_version_is_the_programs() {
    let chart: Value = serde_saphyr::from_str(CHART).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_schema_is_closed_and_knows_every_value() {
    fn check(path: &str, values: &Value, schema: &Value) {
        let Some(properties) = schema["properties"].as_object() else { return };
        assert_eq!(schema["additionalProperties"], false, "{path} is open");
        for (key, value) in values.as_object().unwrap() {
            let property = properties.get(key).unwrap_or_else(|| panic!("{path}.{key} is not in the schema"));
            check(&format!("{path}.{key}"), value, property);
        }
        for key in properties.keys().filter(|key| *key != "global") {
            assert!(!values[key].is_null(), "{path}.{key} is not in values.yaml");
        }
    }
    let values: Value = serde_saphyr::from_str(VALUES).unwrap();
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    check("", &values, &schema);
}

#[test]
fn every_value_has_a_comment_above_it() {
    let mut comment = true;
    for line in VALUES.lines() {
        let text = line.trim_start();
        let is_group = line.len() == text.len() && text.ends_with(':');
        let is_nested = line.len() - text.len() > 2;
        if !text.is_empty() && !text.starts_with('#') && !is_group && !is_nested {
            assert!(comment, "{line} has no comment");
        }
        comment = text.starts_with('#');
    }
}

/// The rules of the ClusterRole, whose template has placeholders in its metadata alone.
fn rules() -> Vec<Value> {
    let (_, rules) = CLUSTER_ROLE.split_once("\nrules:\n").unwrap();
    let (rules, _) = rules.split_once("---").unwrap();
    serde_saphyr::from_str(rules).unwrap()
}

fn granted() -> BTreeSet<(String, String, String)> {
    let words = |rule: &Value, key: &str| -> Vec<String> {
        rule[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut granted = BTreeSet::new();
    for rule in rules() {
        for group in words(&rule, "apiGroups") {
            for resource in words(&rule, "resources") {
                for verb in words(&rule, "verbs") {
                    granted.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    granted
}

#[test]
fn the_operator_holds_what_it_gives_to_directors() {
    let granted = granted();
    let objects = crate::cluster::fixture::built(&serde_json::json!({}), &crate::cluster::fixture::found());
    for rule in objects.roles.iter().flat_map(|role| role.rules.iter().flatten()) {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    assert!(granted.contains(&(group.clone(), resource.clone(), verb.clone())), "{verb} {resource}");
                }
            }
        }
    }
}

#[test]
fn nothing_is_granted_by_wildcard() {
    assert!(granted().iter().all(|(group, resource, verb)| group != "*" && resource != "*" && verb != "*"));
}
