//! Several SFUs are one service: calls are placed whole, and outlive what holds them or watches over them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::example::Example;
use crate::cluster::process::{end, wait_for};
use crate::install::{CALLS_NAMESPACE, OPERATOR_NAMESPACE};
use crate::scenarios;
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test("ten_people_in_five_calls_are_split_nowhere", ten_people_in_five_calls_are_split_nowhere),
    test("killed_sfu_pod_is_survived", killed_sfu_pod_is_survived),
    test(
        "operator_killed_and_api_server_away_do_not_touch_calls",
        operator_killed_and_api_server_away_do_not_touch_calls,
    ),
];

const fn test(name: &'static str, run: fn(&Stage) -> Result<()>) -> Test {
    Test { name, ring: Ring::Cluster, slow: false, run }
}

/// People talk again within this time of the SFU's end.
const TALK_AGAIN: Duration = Duration::from_secs(10);

/// How long is waited for it, to tell how long it took.
const TALK_AGAIN_LIMIT: Duration = Duration::from_secs(40);

/// How long the API server is away.
const API_AWAY: Duration = Duration::from_mins(1);

/// For what happened in the SFUs to be in their metrics, and in the status.
const SEEN_LIMIT: Duration = Duration::from_mins(1);

/// Where SFUs of the example say how they are, by slot.
const HEALTH_PORTS: [u16; 2] = [9444, 9446];

/// With five calls and two SFUs, all are on the same one in one of sixteen runs.
const ATTEMPTS: u32 = 4;

fn ten_people_in_five_calls_are_split_nowhere(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    let driver = stage.browsers()?;
    for _ in 0..ATTEMPTS {
        let calls: Vec<String> = (0..5).map(|_| stage.call_name()).collect();
        let look = || {
            example.wait(SEEN_LIMIT, |object| {
                (object["status"]["calls"] == 5 && object["status"]["participants"] == 10).then_some(())
            })?;
            calls_by_sfu(&example)
        };
        let placed = stage.block_on(scenarios::every_call_is_whole(&driver, stage.page(), &calls, look))?;
        let n_calls: u32 = placed.iter().map(|sfu| sfu.calls).sum();
        let n_people: u32 = placed.iter().map(|sfu| sfu.participants).sum();
        ensure!(n_calls == 5 && n_people == 10, "a call is on more than one SFU: {placed:?}");
        if placed.iter().all(|sfu| sfu.calls > 0) {
            return Ok(());
        }
    }
    anyhow::bail!("one SFU got no call in {ATTEMPTS} times five")
}

fn killed_sfu_pod_is_survived(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    wait_until_empty(&example)?;
    let (driver, call, kubectl) = (stage.browsers()?, stage.call_name(), stage.kubectl()?);
    let kill = || async {
        let placed = calls_by_sfu(&example)?;
        let holder =
            placed.iter().find(|sfu| sfu.participants == 2).with_context(|| format!("no call in {placed:?}"))?;
        let delete = ["delete", "pod", &holder.pod, "--namespace", CALLS_NAMESPACE];
        kubectl.run(&[&delete[..], &["--grace-period=0", "--force", "--wait=false"]].concat()).map(drop)
    };
    // A machine that stood still for a moment gets a second chance; an SFU that is slow is slow twice.
    for _ in 0..2 {
        let scenario = scenarios::a_killed_server_is_survived(&driver, stage.page(), &call, TALK_AGAIN_LIMIT, kill);
        let took = stage.block_on(scenario)?;
        println!("           both talk again {:.1} s after their SFU was killed", took.as_secs_f64());
        example.wait_settled()?;
        if took < TALK_AGAIN {
            return Ok(());
        }
        wait_until_empty(&example)?;
    }
    anyhow::bail!("twice they talked again only after more than {TALK_AGAIN:?}")
}

fn operator_killed_and_api_server_away_do_not_touch_calls(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    wait_until_empty(&example)?;
    let (driver, call, kubectl) = (stage.browsers()?, stage.call_name(), stage.kubectl()?);
    let begin = || {
        let delete = ["delete", "pod", "--selector", "app.kubernetes.io/name=calls-operator", "--wait=false"];
        kubectl.run(&[&delete[..], &["--grace-period=0", "--force", "--namespace", OPERATOR_NAMESPACE]].concat())?;
        Frozen::freeze(stage, "apiserver")
    };
    let end = |frozen: Frozen| {
        drop(frozen);
        // Three people: the one who came in between is known as well.
        example.wait(SEEN_LIMIT * 2, |object| (object["status"]["participants"] == 3).then_some(()))?;
        example.wait_settled().map(drop)
    };
    stage.block_on(scenarios::nobody_notices(&driver, stage.page(), &call, API_AWAY, begin, end))
}

/// A process of the local cluster that does not run; dropped, it runs again.
struct Frozen {
    pid: i32,
}

impl Frozen {
    fn freeze(stage: &Stage, process: &str) -> Result<Self> {
        let pid = stage.local_cluster()?.processes().pid(process).with_context(|| format!("{process} does not run"))?;
        end(pid, Signal::STOP);
        Ok(Self { pid })
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        end(self.pid, Signal::CONT);
    }
}

/// What one SFU says it holds.
#[derive(Debug)]
struct Holding {
    pod: String,
    calls: u32,
    participants: u32,
}

fn calls_by_sfu(example: &Example<'_>) -> Result<Vec<Holding>> {
    example.sfu_pods()?.iter().map(holding).collect()
}

/// Waits until the SFUs forgot the people of earlier tests, whose browsers ended without their leaving.
fn wait_until_empty(example: &Example<'_>) -> Result<()> {
    let is_empty = || calls_by_sfu(example).is_ok_and(|placed| placed.iter().all(|sfu| sfu.participants == 0));
    ensure!(wait_for(SEEN_LIMIT, is_empty), "people of an earlier test are still there: {:?}", calls_by_sfu(example));
    Ok(())
}

/// The metrics of an SFU's pod, as Prometheus reads them.
pub(super) fn metrics(pod: &Value) -> Result<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let slot: usize = text(&pod["metadata"]["labels"]["callscluster.io/slot"]).parse()?;
    let address: Ipv4Addr = text(&pod["status"]["hostIP"]).parse()?;
    get(SocketAddr::from((address, HEALTH_PORTS[slot])), "/metrics")
}

fn holding(pod: &Value) -> Result<Holding> {
    let metrics = metrics(pod)?;
    let gauge = |name: &str| -> Result<u32> {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no {name} in the metrics"))?.parse()?)
    };
    Ok(Holding {
        pod: pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        calls: gauge("calls_sfu_calls")?,
        participants: gauge("calls_sfu_participants")?,
    })
}

/// Asks in the plainest HTTP there is.
fn get(address: SocketAddr, path: &str) -> Result<String> {
    let limit = Duration::from_secs(3);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
