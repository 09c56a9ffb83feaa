//! Datagrams that arrive at the wrong worker's socket.
//!
//! The kernel chooses a worker's socket by what it was told of clients ([`super::steer`]), which it is not told at once
//! and may not take at all. A check's user name says which worker it is for, so every check finds its way. Everything
//! else from an address follows once that worker has said that the address proved to be a client of its own: a user name
//! alone could be anybody's, under anybody's address.

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
    /// The worker a datagram belongs to. `is_own` if the path is a client's of the worker that asks, which is `own`;
    /// `None` if the datagram is its to look at.
    pub fn elsewhere(&self, own: usize, is_own: bool, path: Path, datagram: &[u8]) -> Option<usize> {
        let worker = match ice::peek_ufrag(datagram).and_then(ice::worker_of_ufrag) {
            Some(named) => usize::from(named),
            None if is_own => own,
            None => *self.by_path.get(&path)?,
        };
        (worker != own).then_some(worker)
    }

    /// A worker has a client at this path, proven by an authentic check.
    pub fn learn(&mut self, path: Path, worker: usize) {
        if self.by_path.len() >= MAX_ROUTES && !self.by_path.contains_key(&path) {
            self.by_path.clear();
        }
        self.by_path.insert(path, worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: Path = Path::Udp {
        remote: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 50_000),
        local: None,
    };
    const MEDIA: &[u8] = &[0x80; 40];

    /// As much of a check as is read without a password: its user name begins with `ufrag`.
    fn check(ufrag: &str) -> Vec<u8> {
        let username = format!("{ufrag}:remote!");
        assert_eq!(username.len() % 4, 0, "it would need padding");
        let mut datagram = vec![0, 1, 0, username.len() as u8 + 4, 0x21, 0x12, 0xa4, 0x42];
        datagram.extend_from_slice(&[7; 12]);
        datagram.extend_from_slice(&[0, 6, 0, username.len() as u8]);
        datagram.extend_from_slice(username.as_bytes());
        datagram
    }

    #[test]
    fn a_check_goes_where_its_user_name_says_and_teaches_nothing() {
        let routes = Routes::default();
        assert_eq!(routes.elsewhere(0, false, PATH, &check("Babcdefghijk")), Some(1));
        assert_eq!(routes.elsewhere(1, false, PATH, &check("Babcdefghijk")), None);
        assert_eq!(routes.elsewhere(0, true, PATH, &check("Babcdefghijk")), Some(1), "the address has a new client");
        assert_eq!(routes.elsewhere(0, false, PATH, MEDIA), None, "nobody has proven anything");
    }

    #[test]
    fn media_follows_the_worker_that_proved_its_client() {
        let mut routes = Routes::default();
        routes.learn(PATH, 1);
        assert_eq!(routes.elsewhere(0, false, PATH, MEDIA), Some(1));
        assert_eq!(routes.elsewhere(0, false, PATH, &check("Cabcdefghijk")), Some(2));
        assert_eq!(routes.elsewhere(0, false, PATH, MEDIA), Some(1), "a check of a stranger moves nobody's media");
        assert_eq!(routes.elsewhere(0, true, PATH, MEDIA), None, "who is here needs no way");
    }

    #[test]
    fn the_table_is_bounded() {
        let mut routes = Routes::default();
        for number in 0..=MAX_ROUTES as u32 {
            let remote = (std::net::Ipv4Addr::from_bits(number), 50_000).into();
            routes.learn(Path::Udp { remote, local: None }, 1);
        }
        assert_eq!(routes.by_path.len(), 1);
    }
}
