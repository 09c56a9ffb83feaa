//! `calls-operator run`: puts the parts together and ends when one does.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use kube::Client;
use kube::runtime::controller::{self, Controller};
use kube::runtime::events::{Recorder, Reporter};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::cli::RunArgs;
use crate::cluster::apply::Memory;
use crate::cluster::pace::Pace;
use crate::cluster::scale::Scalers;
use crate::cluster::validate::{Image, Images};
use crate::cluster::{Context, error_policy, reconcile};
use crate::connect::connect;
use crate::discovery::Monitoring;
use crate::elect::Election;
use crate::health;
use crate::keys::ApiKey;
use crate::lease::RETRY_PERIOD;
use crate::metrics::Metrics;
use crate::name::MANAGER;
use crate::watch::{Stores, watch_clusters};

/// Reconciles at the same time. Most of one is waiting for SFUs and the API server.
const CONCURRENCY: u16 = 16;
/// Changes of one CallsCluster within this time are looked at once.
const DEBOUNCE: Duration = Duration::from_millis(300);

/// Runs until it is told to stop (success) or may no longer act (failure, and Kubernetes starts it anew).
///
/// # Errors
/// If the cluster or the health port cannot be had at the start.
pub async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let client = connect().await?;
    let metrics = Metrics::default();
    let (ready, is_ready) = watch::channel(false);
    let listener = TcpListener::bind(args.health_address)
        .await
        .with_context(|| format!("failed to listen on {}: choose another --health-address", args.health_address))?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to wait for SIGINT")?;

    let mut tasks = JoinSet::new();
    let probes = health::serve(listener, is_ready, metrics.clone());
    tasks.spawn(async move { probes.await.context("the health server ended") });

    let identity = identity(&args)?;
    let namespace = args.lease_namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let election = Election::new(client.clone(), &namespace, args.lease_name.clone(), identity.clone());
    let (leads, is_leader) = watch::channel(false);
    tasks.spawn({
        let election = election.clone();
        async move {
            election.run(leads).await;
            Ok(())
        }
    });
    info!(version = env!("CARGO_PKG_VERSION"), %identity, lease = %format!("{namespace}/{}", args.lease_name), "operator started");
    tasks.spawn(lead(args, client, identity, is_leader, ready, metrics));

    let code = tokio::select! {
        _ = terminate.recv() => ExitCode::SUCCESS,
        _ = interrupt.recv() => ExitCode::SUCCESS,
        Some(ended) = tasks.join_next() => {
            tasks.abort_all();
            ended.context("a task panicked")??;
            ExitCode::FAILURE
        }
    };
    tasks.shutdown().await;
    election.release().await;
    info!("operator stopped");
    Ok(code)
}

/// Waits to lead, then reconciles; returns when it may no longer act.
async fn lead(
    args: RunArgs,
    client: Client,
    identity: String,
    mut is_leader: watch::Receiver<bool>,
    ready: watch::Sender<bool>,
    metrics: Metrics,
) -> anyhow::Result<()> {
    reach(&client).await;
    ready.send_replace(true);
    is_leader.wait_for(|leads| *leads).await.context("the election ended")?;
    ready.send_replace(false);
    metrics.leads(true);

    let (stores, mut triggers) = Stores::start(&client);
    let monitoring = Monitoring::default();
    let discovery = tokio::spawn(monitoring.clone().follow(client.clone()));
    tokio::select! {
        filled = stores.wait_until_filled(&mut triggers) => filled?,
        _ = is_leader.wait_for(|leads| !*leads) => return Ok(()),
    }
    let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(identity) };
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        images: Images {
            sfu: Image { reference: args.sfu_image, pull_secrets: named(args.sfu_pull_secrets) },
            director: Image { reference: args.director_image, pull_secrets: named(args.director_pull_secrets) },
        },
        memory: Memory::default(),
        pace: Pace::default(),
        scalers: Scalers::default(),
        metrics: metrics.clone(),
        client: client.clone(),
        monitoring,
        stores,
    });
    let triggers = stream::unfold(triggers, async |mut triggers| Some((triggers.recv().await?, triggers)));
    let (changes, clusters) = watch_clusters(&client);
    let controller = Controller::for_stream(changes, clusters.clone())
        .with_config(controller::Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
        .reconcile_on(triggers);
    let reconciles = controller.run(reconcile, error_policy, Arc::clone(&context)).for_each(|result| {
        metrics.clusters(clusters.len());
        match result {
            // A failed reconcile is logged by the error policy.
            Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
            Err(controller::Error::ObjectNotFound(gone)) => {
                context.forget(gone.namespace.as_deref().unwrap_or_default(), &gone.name);
            }
            Err(error) => warn!(error = &error as &dyn std::error::Error, "the controller failed, going on"),
        }
        std::future::ready(())
    });
    // Without the CRD, or the right to read CallsClusters, this operator would wait silently for ever.
    let filled = async {
        if clusters.wait_until_ready().await.is_ok() {
            ready.send_replace(true);
            info!("leading");
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = reconciles => {}
        () = filled => {}
        _ = is_leader.wait_for(|leads| !*leads) => {}
    }
    discovery.abort();
    Ok(())
}

/// An empty variable is a list of one empty name.
fn named(names: Vec<String>) -> Vec<String> {
    names.into_iter().filter(|name| !name.is_empty()).collect()
}

/// Waits for the API server. Ending instead would make Kubernetes wait longer and longer before it starts us again.
async fn reach(client: &Client) {
    let mut tries = tokio::time::interval(RETRY_PERIOD);
    loop {
        tries.tick().await;
        match client.apiserver_version().await {
            Ok(_) => return,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "the API server is not reached, trying again");
            }
        }
    }
}

/// Differs between operators and between restarts of one, so that nobody takes an old Lease for its own.
fn identity(args: &RunArgs) -> anyhow::Result<String> {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    let name = args.identity.clone().unwrap_or_else(host);
    Ok(format!("{name}-{}", ApiKey::generate()?.name.trim_start_matches("API").to_lowercase()))
}
