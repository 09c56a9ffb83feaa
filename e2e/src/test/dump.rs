//! What is worth keeping of a failure: objects, events and logs of the cluster, consoles of the browsers.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::browser::ConsoleLine;
use crate::kubectl::Kubectl;

/// Questions whose answers are kept, a file each.
const QUESTIONS: [(&str, &[&str]); 6] = [
    ("pods.txt", &["get", "pods", "--all-namespaces", "--output", "wide"]),
    ("describe-pods.txt", &["describe", "pods", "--all-namespaces"]),
    ("events.txt", &["get", "events", "--all-namespaces", "--sort-by", ".lastTimestamp"]),
    ("nodes.txt", &["describe", "nodes"]),
    ("callsclusters.yaml", &["get", "callsclusters", "--all-namespaces", "--output", "yaml"]),
    ("objects.txt", &["get", "deployments,services,endpointslices,configmaps,leases", "--all-namespaces"]),
];

/// Lines of a container's log that are kept.
const LOG_LINES: &str = "--tail=2000";

/// Writes all there is into `folder`, in place of what an earlier failure left there.
pub fn write(
    folder: &Path,
    console: &[ConsoleLine],
    kubectl: Option<&Kubectl>,
    cluster_logs: &Path,
    logs: &[PathBuf],
) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir_all(folder)?,
    }
    let lines: Vec<String> =
        console.iter().map(|line| format!("{} {:<9} {}\n", line.person, line.level, line.text)).collect();
    fs::write(folder.join("browsers.txt"), lines.concat())?;
    for log in logs {
        copy(log, folder)?;
    }
    if let Some(kubectl) = kubectl {
        write_cluster(folder, kubectl)?;
        for entry in fs::read_dir(cluster_logs).into_iter().flatten().filter_map(Result::ok) {
            copy(&entry.path(), folder)?;
        }
    }
    Ok(())
}

fn write_cluster(folder: &Path, kubectl: &Kubectl) -> Result<()> {
    for (file, question) in QUESTIONS {
        fs::write(folder.join(file), answer(kubectl, question))?;
    }
    let pods = kubectl.json(&["get", "pods", "--all-namespaces"]).unwrap_or_default();
    for pod in pods["items"].as_array().into_iter().flatten() {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        let logs = ["logs", "--all-containers", LOG_LINES, "--namespace", &namespace, &name];
        fs::write(folder.join(format!("{namespace}-{name}.log")), answer(kubectl, &logs))?;
        let has_restarted = pod["status"]["containerStatuses"]
            .as_array()
            .is_some_and(|containers| containers.iter().any(|container| container["restartCount"].as_u64() > Some(0)));
        if has_restarted {
            let previous = [&logs[..], &["--previous"]].concat();
            fs::write(folder.join(format!("{namespace}-{name}.previous.log")), answer(kubectl, &previous))?;
        }
    }
    Ok(())
}

/// What kubectl says, or why it says nothing.
fn answer(kubectl: &Kubectl, arguments: &[&str]) -> String {
    kubectl.run(arguments).unwrap_or_else(|error| format!("{error:#}\n"))
}

fn copy(file: &Path, folder: &Path) -> Result<()> {
    if let Some(name) = file.file_name().filter(|_| file.is_file()) {
        fs::copy(file, folder.join(name))?;
    }
    Ok(())
}
