//! How soon people hear each other and what a server costs meanwhile, one function for each figure.

pub mod measure;

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::{sleep, timeout};

use self::measure::{Samples, milliseconds};
use crate::client::{Client, FRAME_INTERVAL, Observation, Part, Voice, Wish};
use crate::server::{Ports, Server};
use calls_client::signal::ApiKey;

/// Longest wait for a client to hear something.
const LIMIT: Duration = Duration::from_secs(20);

/// One line of the report.
#[derive(Debug, Clone)]
pub struct Row {
    pub what: String,
    pub value: String,
    pub target: &'static str,
}

fn row(what: impl Into<String>, value: String, target: &'static str) -> Row {
    Row { what: what.into(), value, target }
}

/// Where the server under test is, and how to get into it.
#[derive(Debug)]
pub struct Bench<'a> {
    pub program: &'a Path,
    pub ports: Ports,
    pub key: ApiKey,
    /// How long media is measured.
    pub window: Duration,
}

impl Bench<'_> {
    fn start(&self) -> Result<Server> {
        Server::start(self.program, self.ports)
    }

    fn client(&self, server: &Server, room: &str, number: usize, part: Part, origin: Instant) -> Result<Client> {
        let token = self.key.token(room, &format!("bench-{number}"))?;
        Ok(Client::join(Wish {
            url: server.url(),
            token,
            part,
            voice: Voice { call: 0, person: u32::try_from(number)? },
            pace: FRAME_INTERVAL,
            from: Ipv4Addr::LOCALHOST,
            origin,
        }))
    }

    /// From beginning to join to the first frame of somebody who is speaking already.
    pub async fn join_to_media(&self, joins: usize) -> Result<Vec<Row>> {
        let server = self.start()?;
        let origin = Instant::now();
        let mut speaker = self.client(&server, "joins", 0, Part::Speaker, origin)?;
        connected(&mut speaker).await?;
        let before = server.cpu()?;
        let mut times = Vec::with_capacity(joins);
        for number in 1..=joins {
            let mut listener = self.client(&server, "joins", number, Part::Listener, origin)?;
            times.push(first_frame(&mut listener).await?);
        }
        let cpu = server.cpu()?.saturating_sub(before) / u32::try_from(joins.max(1))?;
        let times: Samples = times.into_iter().collect();
        Ok(vec![
            row("server start to serving", milliseconds(server.started_in), "< 1 s"),
            row(format!("join to media, p50 of {joins}"), milliseconds(times.percentile(50.0)), "< 500 ms"),
            row(format!("join to media, p99 of {joins}"), milliseconds(times.percentile(99.0)), ""),
            row("server CPU a join (with its second of media)", milliseconds(cpu), ""),
        ])
    }

    /// Delay of voices in one call: two speak, everyone hears.
    pub async fn delay(&self, people: usize) -> Result<Vec<Row>> {
        let server = self.start()?;
        let origin = Instant::now();
        let mut clients = Vec::with_capacity(people);
        for number in 0..people {
            let part = if number < 2 { Part::Speaker } else { Part::Listener };
            let mut client = self.client(&server, "delay", number, part, origin)?;
            connected(&mut client).await?;
            clients.push(client);
        }
        for client in &mut clients {
            first_frame(client).await?;
        }
        // What came while people joined is not measured.
        for client in &mut clients {
            while client.observations.try_recv().is_ok() {}
        }
        let before = server.cpu()?;
        let started = Instant::now();
        sleep(self.window).await;
        let (cpu, took) = (server.cpu()?.saturating_sub(before), started.elapsed());
        let mut delays = Vec::new();
        for client in &mut clients {
            while let Ok(observation) = client.observations.try_recv() {
                if let Observation::Frame { delay, .. } = observation {
                    delays.push(delay);
                }
            }
        }
        let delays: Samples = delays.into_iter().collect();
        let what = |name: &str| format!("call of {people}: {name}");
        let packets = u32::try_from(delays.len().max(1))?;
        Ok(vec![
            row(what("delay sender to receiver, p50"), milliseconds(delays.percentile(50.0)), ""),
            row(what("delay sender to receiver, p99"), milliseconds(delays.percentile(99.0)), "< 2 ms"),
            row(what("frames heard"), delays.len().to_string(), ""),
            row(what("server CPU a packet sent"), format!("{:.1} us", (cpu / packets).as_nanos() as f64 / 1e3), ""),
            row(what("server CPU of a core"), format!("{:.1} %", cpu.as_secs_f64() / took.as_secs_f64() * 100.0), ""),
        ])
    }

    /// What sessions cost that neither say nor hear anything.
    pub async fn idle(&self, people: usize) -> Result<Vec<Row>> {
        let server = self.start()?;
        let origin = Instant::now();
        // The first sessions pay for what all share.
        let mut clients = Vec::with_capacity(people + 10);
        for number in 0..10 {
            let mut client = self.client(&server, "idle", number, Part::Listener, origin)?;
            connected(&mut client).await?;
            clients.push(client);
        }
        let empty = server.memory()?;
        for number in 10..people + 10 {
            let mut client = self.client(&server, "idle", number, Part::Listener, origin)?;
            connected(&mut client).await?;
            clients.push(client);
        }
        sleep(Duration::from_secs(1)).await;
        let each = server.memory()?.saturating_sub(empty) / u64::try_from(people.max(1))?;
        let before = server.cpu()?;
        sleep(self.window).await;
        let cpu = server.cpu()?.saturating_sub(before).as_secs_f64() / self.window.as_secs_f64() / people as f64;
        Ok(vec![
            row(format!("idle session, memory, {people} in one call"), format!("{} KiB", each / 1024), "< 300 KiB"),
            row(format!("idle session, CPU, {people} in one call"), format!("{:.0} us/s", cpu * 1e6), ""),
        ])
    }
}

async fn connected(client: &mut Client) -> Result<Duration> {
    timeout(LIMIT, async {
        loop {
            if let Observation::Connected(after) = client.next().await? {
                return Ok(after);
            }
        }
    })
    .await?
}

async fn first_frame(client: &mut Client) -> Result<Duration> {
    timeout(LIMIT, async {
        loop {
            if let Observation::FirstFrame(after) = client.next().await? {
                return Ok(after);
            }
        }
    })
    .await?
}
