//! The program around the stage: its arguments, its loop, its end.

use std::io::Read as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use calls_sfu::clock::Clock;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::page;
use super::site::Datagram;
use super::stage::Stage;

/// Datagrams that may wait: more than a browser sends in a second.
const MAX_DATAGRAMS: usize = 4096;
/// Taken at once, as a worker does.
const BATCH: usize = 64;
/// With nothing to do, it looks again after this.
const IDLE: Duration = Duration::from_secs(1);

/// `two-engines [--delay MS]`: between the engines, each message is under way for so long.
pub fn run() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.context("failed to start").and_then(|runtime| runtime.block_on(serve())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn delay() -> Result<Duration> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(Duration::ZERO),
        (Some("--delay"), Some(ms)) => Ok(Duration::from_millis(ms.parse().context("--delay takes milliseconds")?)),
        _ => anyhow::bail!("usage: two-engines [--delay MS]"),
    }
}

async fn serve() -> Result<()> {
    let (sender, mut datagrams) = mpsc::channel::<Datagram>(MAX_DATAGRAMS);
    let clock = Clock::start();
    let mut stage = Stage::new(clock, delay()?, &sender)?;
    let (page, mut wishes) = page::serve().await?;
    println!("{}", json!({ "page": format!("http://{page}/") }));
    let mut end = standard_input_ends();
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let deadline = stage.due().map_or(IDLE, |due| clock.until(due)).min(IDLE);
        tokio::select! {
            _ = datagrams.recv_many(&mut batch, BATCH) => batch.drain(..).for_each(|datagram| stage.receive(datagram)),
            Some(wish) = wishes.recv() => {
                let answer = stage.grant(wish.ask).await;
                // A page that was closed does not wait for it.
                let _ = wish.answer.send(answer);
            }
            () = tokio::time::sleep_until((std::time::Instant::now() + deadline).into()) => {}
            _ = &mut end => return Ok(()),
        }
        stage.settle()?;
    }
}

/// Says when whoever started this program has closed its input, or has ended.
fn standard_input_ends() -> oneshot::Receiver<()> {
    let (sender, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = sender.send(());
    });
    ended
}
