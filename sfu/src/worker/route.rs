//! Datagrams that arrive at the wrong worker's socket.
//!
//! The kernel spreads clients over the workers' sockets by address; a call lives on one worker. A client's first
//! datagram is a STUN check whose user name says which worker made it; that worker is remembered for the address, and
//! everything else from there follows.

use std::collections::HashMap;

use sfu_core::engine::path::Path;
use sfu_core::transport::ice;

/// Addresses remembered. Beyond it the table starts anew: the next check of each client (every 2 to 5 s) fills it.
const MAX_ROUTES: usize = 64 * 1024;

#[derive(Debug, Default)]
pub struct Routes {
    by_path: HashMap<Path, usize>,
}

impl Routes {
    /// The worker this datagram belongs to, if that is known and not `own`.
    pub fn elsewhere(&mut self, own: usize, path: Path, datagram: &[u8]) -> Option<usize> {
        let named = ice::peek_ufrag(datagram).and_then(ice::worker_of_ufrag).map(usize::from);
        let worker = match named {
            Some(worker) => {
                if worker == own {
                    self.by_path.remove(&path);
                } else {
                    if self.by_path.len() >= MAX_ROUTES {
                        self.by_path.clear();
                    }
                    self.by_path.insert(path, worker);
                }
                worker
            }
            None => *self.by_path.get(&path)?,
        };
        (worker != own).then_some(worker)
    }
}
