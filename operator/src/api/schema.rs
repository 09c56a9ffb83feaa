//! The CRD as an object and as the text that is checked in.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;

use super::CallsCluster;

/// The CRD of [`CallsCluster`].
pub fn crd() -> CustomResourceDefinition {
    let mut crd = CallsCluster::crd();
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            use_known_formats(schema);
        }
    }
    crd
}

/// The CRD as YAML, as checked in at `crds/callsclusters.yaml`.
///
/// # Errors
/// If the CRD cannot be serialised.
pub fn crd_yaml() -> Result<String, serde_saphyr::ser::Error> {
    let yaml = serde_saphyr::to_string(&crd())?;
    Ok(format!("# Printed by `calls-operator crd` from operator/src/api; change it there.\n{yaml}"))
}

/// Kubernetes knows signed formats only and warns about others.
fn use_known_formats(schema: &mut JSONSchemaProps) {
    match schema.format.as_deref() {
        Some("uint16") => {
            schema.format = Some("int32".to_owned());
            schema.maximum = schema.maximum.or(Some(f64::from(u16::MAX)));
        }
        Some("uint32") => schema.format = Some("int64".to_owned()),
        _ => {}
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        use_known_formats(property);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        use_known_formats(values);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => use_known_formats(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(use_known_formats),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the CRD is checked in, and its copy in the chart.
    const CHECKED_IN: [&str; 2] = ["../crds/callsclusters.yaml", "../charts/calls-operator/files/callsclusters.yaml"];

    /// Calls `check` with every schema and where it is.
    fn walk(path: &str, schema: &serde_json::Value, check: &mut dyn FnMut(&str, &serde_json::Value)) {
        check(path, schema);
        let properties = schema["properties"].as_object().into_iter().flatten();
        for (name, property) in properties {
            walk(&format!("{path}.{name}"), property, check);
        }
        for (part, name) in [("items", "[]"), ("additionalProperties", "{}")] {
            if schema[part].is_object() {
                walk(&format!("{path}{name}"), &schema[part], check);
            }
        }
    }

    fn schema() -> serde_json::Value {
        let crd = serde_json::to_value(crd()).unwrap();
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    }

    #[test]
    fn the_checked_in_crd_and_the_charts_copy_are_those_of_the_types() {
        let yaml = crd_yaml().unwrap();
        for file in CHECKED_IN {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
                std::fs::write(&path, &yaml).unwrap();
            }
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(found == yaml, "{file} is stale: UPDATE_SNAPSHOTS=1 cargo test -p calls-operator writes it anew");
        }
    }

    #[test]
    fn no_unknown_field_is_kept_anywhere() {
        walk("", &schema(), &mut |path, schema| {
            assert!(schema["x-kubernetes-preserve-unknown-fields"].is_null(), "{path}");
            let is_typed = schema["type"].is_string() || schema["x-kubernetes-int-or-string"] == true;
            assert!(is_typed, "{path} has no type: {schema}");
        });
    }

    #[test]
    fn every_field_of_spec_and_status_is_documented() {
        walk("", &schema(), &mut |path, schema| {
            let is_ours = path.starts_with(".spec.") || path.starts_with(".status.");
            let is_embedded =
                path.contains(".affinity.") || path.contains(".tolerations[]") || path.contains(".conditions[]");
            if is_ours && !is_embedded && !path.ends_with("[]") && !path.ends_with("{}") {
                assert!(schema["description"].as_str().is_some_and(|text| !text.is_empty()), "{path}");
            }
        });
    }

    #[test]
    fn every_field_of_the_spec_has_a_default_so_that_an_empty_spec_is_whole() {
        let empty: CallsCluster = serde_json::from_value(serde_json::json!({
            "apiVersion": "callscluster.io/v1alpha1", "kind": "CallsCluster", "metadata": {"name": "blue"}, "spec": {},
        }))
        .unwrap();
        assert_eq!(empty.spec, super::super::CallsClusterSpec::default());
        let spec = &schema()["properties"]["spec"];
        for (name, property) in spec["properties"].as_object().unwrap() {
            assert!(property["default"].is_object(), "{name}");
        }
        assert_eq!(spec["properties"]["sfu"]["default"]["replicas"], 1);
    }

    #[test]
    fn every_rule_says_what_to_change() {
        let mut n_rules = 0;
        walk("", &schema(), &mut |path, schema| {
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                n_rules += 1;
                assert!(rule["message"].as_str().is_some_and(|message| message.len() > 30), "{path}: {rule}");
            }
        });
        assert!(n_rules >= 9, "{n_rules} rules");
    }
}
