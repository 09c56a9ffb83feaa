//! The [`Table`] shared by the director's tasks: one lock held for microseconds, a signal when an answer of it may have
//! changed, and a token for each SFU that cuts its connections when it is given up.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::sfu_address::SfuAddress;
use crate::table::{Effects, Table};

/// How often time passes for the table: finer than the seconds it counts in.
const TICK: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub struct View {
    table: Mutex<Table>,
    changed: watch::Sender<()>,
    alive: Mutex<HashMap<SfuAddress, CancellationToken>>,
}

impl Default for View {
    fn default() -> Self {
        Self { table: Mutex::default(), changed: watch::Sender::new(()), alive: Mutex::default() }
    }
}

impl View {
    /// The table, to read. Keep it for no longer than the reading takes.
    pub fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the table and does what follows from it.
    pub fn change(&self, change: impl FnOnce(&mut Table, Instant) -> Effects) {
        let effects = change(&mut self.table(), Instant::now());
        if !effects.dropped.is_empty() {
            let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
            for address in effects.dropped {
                warn!(sfu = %address, "SFU given up; its connections are cut");
                if let Some(token) = alive.remove(&address) {
                    token.cancel();
                }
            }
        }
        if effects.routing {
            self.changed.send_replace(());
        }
    }

    /// Ends when the SFU is given up. Whoever holds a connection to it lets go of it then.
    pub fn given_up(&self, address: &SfuAddress) -> CancellationToken {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.entry(address.clone()).or_default().clone()
    }

    /// Tells when an answer of the table may have changed. Subscribe first, then ask the table, then wait.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Lets time pass for the table, for ever.
    pub async fn keep_time(&self) {
        let mut interval = tokio::time::interval(TICK);
        loop {
            interval.tick().await;
            self.change(Table::tick);
        }
    }
}
