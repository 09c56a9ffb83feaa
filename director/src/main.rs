//! `calls-director`: the front door of a fleet of SFUs.

use std::time::Duration;

use anyhow::Context;
use calls_director::cli::{Cli, Command, ServeArgs};
use calls_director::director::Director;
use calls_director::trip::HOLD;
use calls_director::{discover, listen};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Command::Serve(arguments) = Cli::parse().command;
    arguments.logs.start()?;
    // For the Kubernetes client; connections to SFUs name the provider themselves.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    serve(arguments).await
}

async fn serve(arguments: ServeArgs) -> anyhow::Result<()> {
    let (list, listed) = watch::channel(None);
    let director = Director::start(&arguments.tls, listed, HOLD)
        .with_context(|| format!("the certificates in {} cannot be used", arguments.tls.display()))?;
    match (&arguments.service, &arguments.namespace) {
        (Some(service), Some(namespace)) => {
            let client = kube::Client::try_default().await.context("no way to the Kubernetes API was found")?;
            let (service, namespace) = (service.clone(), namespace.clone());
            tokio::spawn(async move { discover::follow_service(client, &namespace, &service, list).await });
        }
        _ => {
            list.send_replace(Some(arguments.sfu.iter().map(|url| url.0.clone()).collect()));
        }
    }

    let port = arguments.http_port;
    let clients = listen::bind(arguments.bind, port).await.with_context(|| format!("port {port} is not free"))?;
    let port = arguments.health_port;
    let health = listen::bind(arguments.bind, port).await.with_context(|| format!("port {port} is not free"))?;
    info!(http = %clients.local_addr()?, health = %health.local_addr()?, "director serves");

    let stop = CancellationToken::new();
    let max_connections = usize::try_from(arguments.max_connections)?;
    let leave = async {
        let signalled = wait_for_signal().await;
        if signalled.is_ok() {
            info!(seconds = arguments.shutdown_delay, "director leaves");
            director.leave();
            tokio::time::sleep(Duration::from_secs(arguments.shutdown_delay)).await;
        }
        stop.cancel();
        signalled
    };
    let ((), (), signalled) = tokio::join!(
        director.serve_clients(clients, max_connections, stop.clone()),
        director.serve_health(health, stop.clone()),
        leave
    );
    signalled.context("signals cannot be received")
}

async fn wait_for_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}
