//! One snapshot of everything built for each example. `UPDATE_SNAPSHOTS=1 cargo test -p calls-operator` writes them anew.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cluster::fixture;

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The spec of the CallsCluster among an example's documents.
fn spec_in(text: &str) -> Value {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let cluster = documents.into_iter().find(|document| document["kind"] == "CallsCluster").unwrap();
    cluster["spec"].clone()
}

#[test]
fn every_example_builds_what_its_snapshot_says() {
    let mut n_examples = 0;
    for entry in std::fs::read_dir(directory("../examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        n_examples += 1;
        let name = path.file_name().unwrap();
        let spec = spec_in(&std::fs::read_to_string(&path).unwrap());
        let mut found = fixture::found();
        found.monitors_installed = true;
        let wanted = spec["auth"]["secretName"].as_str();
        if let Some(wanted) = wanted {
            found.keys = crate::cluster::dereference::KeysFound::Named(fixture::keys(wanted));
        }
        let built = fixture::yaml(&fixture::built(&spec, &found));
        let snapshot = directory("snapshots").join(name);
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(&snapshot, &built).unwrap();
        }
        let expected = std::fs::read_to_string(&snapshot).unwrap_or_default();
        assert!(built == expected, "{} differs; see git diff after UPDATE_SNAPSHOTS=1", snapshot.display());
    }
    assert!(n_examples >= 5, "{n_examples} examples");
}
