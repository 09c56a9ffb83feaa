//! Which optional kinds this Kubernetes has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::Client;
use tracing::{info, warn};

use crate::cluster::build::MONITOR_API;

/// How often to look: an installed Prometheus operator is noticed within this time.
const LOOK_INTERVAL: Duration = Duration::from_mins(1);

/// Whether PodMonitors can be made.
#[derive(Clone, Debug, Default)]
pub struct Monitoring(Arc<AtomicBool>);

impl Monitoring {
    pub fn is_installed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Looks now and for ever after, when the returned future is run.
    pub async fn follow(self, client: Client) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        loop {
            looks.tick().await;
            match has_monitors(&client).await {
                Ok(installed) => {
                    if self.0.swap(installed, Ordering::Relaxed) != installed {
                        info!(installed, "PodMonitor support changed");
                    }
                }
                Err(error) => warn!(error = &error as &dyn std::error::Error, "failed to look for PodMonitor"),
            }
        }
    }
}

async fn has_monitors(client: &Client) -> Result<bool, kube::Error> {
    let (group, version, kind) = MONITOR_API;
    // Asking a group that is not served is an error; the list of groups always is.
    let groups = client.list_api_groups().await?;
    if !groups.groups.iter().any(|one| one.name == group) {
        return Ok(false);
    }
    let resources = client.list_api_group_resources(&format!("{group}/{version}")).await?;
    Ok(resources.resources.iter().any(|resource| resource.kind == kind))
}
