//! One running director: its tasks, put together.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fleet::tls::{Reloading, TlsFiles, TlsFilesError};
use hyper::Request;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::connect::Connector;
use crate::health::Health;
use crate::listen;
use crate::metrics::Metrics;
use crate::proxy::Proxy;
use crate::route::Router;
use crate::sfu_address::SfuAddress;
use crate::view::View;
use crate::watch::follow_all;

/// The list of SFUs as [`crate::discover`] or a command line tells it; `None` until it is known.
pub type Listed = watch::Receiver<Option<BTreeSet<SfuAddress>>>;

/// A director whose background tasks run; they end when it is dropped.
#[derive(Debug)]
pub struct Director {
    proxy: Arc<Proxy>,
    health: Arc<Health>,
    _tasks: JoinSet<()>,
}

impl Director {
    /// Starts following the SFUs in `listed`, with the certificate in `tls_directory`. Requests that nothing can take
    /// are held for `hold`; see [`crate::trip::HOLD`].
    pub fn start(tls_directory: &Path, listed: Listed, hold: Duration) -> Result<Self, TlsFilesError> {
        let connector = Arc::new(Connector::new(Reloading::open(tls_directory, TlsFiles::client_config)?));
        let view = Arc::new(View::default());
        let (metrics, registry) = Metrics::new(view.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(follow_all(view.clone(), connector.clone(), listed));
        tasks.spawn({
            let view = view.clone();
            async move { view.keep_time().await }
        });
        tasks.spawn({
            let connector = connector.clone();
            async move { connector.follow_certificates().await }
        });
        let router = Router::new(view.clone(), connector.clone(), metrics.clone());
        let proxy = Proxy { view: view.clone(), connector, router, metrics, hold };
        Ok(Self { proxy: Arc::new(proxy), health: Arc::new(Health::new(view, registry)), _tasks: tasks })
    }

    /// Serves clients until `stop`.
    pub async fn serve_clients(&self, listener: TcpListener, max_connections: usize, stop: CancellationToken) {
        let proxy = self.proxy.clone();
        let answer = move |client, request| {
            let proxy = proxy.clone();
            async move {
                let _counted = proxy.metrics.connection();
                proxy.answer(client, request).await
            }
        };
        listen::serve(listener, max_connections, stop, answer).await;
    }

    /// Serves probes and metrics until `stop`.
    pub async fn serve_health(&self, listener: TcpListener, stop: CancellationToken) {
        let health = self.health.clone();
        let answer = move |request: Request<Incoming>| {
            let health = health.clone();
            async move { Ok::<_, Infallible>(health.answer(request.uri().path())) }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = fleet::probes::serve(listener, answer) => {}
        }
    }

    /// Says it is not ready any more.
    pub fn leave(&self) {
        self.health.stop();
    }
}
