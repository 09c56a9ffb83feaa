//! What the SFU says of itself to the fleet, and when.

use std::time::{Duration, Instant};

use fleet::api::{DrainStatus, SfuLoad, SfuState, SfuStatus};
use tokio::sync::watch;

use super::Context;

/// Load is told at most this often; state and addresses at once.
const LOAD_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct StatusKeeper {
    status: watch::Sender<SfuStatus>,
    load_told: Instant,
}

impl StatusKeeper {
    pub fn new(status: watch::Sender<SfuStatus>) -> Self {
        Self { status, load_told: Instant::now() }
    }

    /// Tells what changed.
    pub fn tell(&mut self, context: &Context, load: SfuLoad, drain: Option<DrainStatus>) {
        let load_due = self.load_told.elapsed() >= LOAD_INTERVAL;
        let advertised = context.advertised.borrow();
        let state = match (drain.is_some(), advertised.candidates.is_empty()) {
            (true, _) => SfuState::Draining,
            (false, true) => SfuState::Starting,
            (false, false) => SfuState::Active,
        };
        let told = self.status.send_if_modified(|status| {
            let people_changed = (status.load.calls, status.load.participants) != (load.calls, load.participants);
            let load_changed = status.load != load && (load_due || people_changed);
            let changed = load_changed
                || status.state != state
                || status.drain != drain
                || status.candidates != advertised.candidates
                || status.address_problem != advertised.problem;
            if changed {
                status.load = load;
                status.state = state;
                status.drain = drain;
                status.candidates.clone_from(&advertised.candidates);
                status.address_problem.clone_from(&advertised.problem);
            }
            changed
        });
        if told && load_due {
            self.load_told = Instant::now();
        }
    }
}
