//! What the example's SFUs say they hold: their metrics, read where they are.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::example::Example;
use crate::cluster::process::wait_for;
use crate::http;

/// For the SFUs to notice that browsers are gone which ended without a word.
const EMPTY_LIMIT: Duration = Duration::from_mins(1);

/// What one SFU says it holds.
#[derive(Debug)]
pub struct Holding {
    pub pod: String,
    pub calls: u32,
    pub participants: u32,
}

/// What each SFU of the example holds.
pub fn calls_by_sfu(example: &Example<'_>) -> Result<Vec<Holding>> {
    example.sfu_pods()?.iter().map(holding).collect()
}

/// Waits until the SFUs forgot the people of earlier tests, whose browsers ended without their leaving.
pub fn wait_until_empty(example: &Example<'_>) -> Result<()> {
    let is_empty = || calls_by_sfu(example).is_ok_and(|placed| placed.iter().all(|sfu| sfu.participants == 0));
    ensure!(wait_for(EMPTY_LIMIT, is_empty), "people of an earlier test are still there: {:?}", calls_by_sfu(example));
    Ok(())
}

/// What must be nothing in an SFU without calls, by pod and name.
pub fn residue(example: &Example<'_>) -> Result<Vec<(String, f64)>> {
    let mut found = Vec::new();
    for pod in example.sfu_pods()? {
        let metrics = metrics(&pod)?;
        for name in ["calls_sfu_calls", "calls_sfu_transports", "calls_sfu_tracks", "calls_sfu_subscriptions"] {
            found.push((format!("{name} of {}", text(&pod["metadata"]["name"])), gauge(&metrics, name)?));
        }
    }
    Ok(found)
}

fn holding(pod: &Value) -> Result<Holding> {
    let metrics = metrics(pod)?;
    Ok(Holding {
        pod: text(&pod["metadata"]["name"]),
        calls: gauge(&metrics, "calls_sfu_calls")? as u32,
        participants: gauge(&metrics, "calls_sfu_participants")? as u32,
    })
}

/// The metrics of an SFU's pod, as Prometheus reads them.
pub fn metrics(pod: &Value) -> Result<String> {
    let mut ports = pod["spec"]["containers"][0]["ports"].as_array().into_iter().flatten();
    let health = ports.find(|port| port["name"] == "health").and_then(|port| port["containerPort"].as_u64());
    let port = u16::try_from(health.context("the pod has no port called health")?)?;
    let address: Ipv4Addr = text(&pod["status"]["hostIP"]).parse()?;
    http::get((address, port), "/metrics")
}

fn gauge(metrics: &str, name: &str) -> Result<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {name} in the metrics"))?.parse()?)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
