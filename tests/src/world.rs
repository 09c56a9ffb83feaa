//! The network between them, and time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sfu_core::time::Time;

use crate::client::Client;
use crate::sfu::Sfu;

/// At most so long passes in one step, so that a condition is looked at often enough.
const STEP: Duration = Duration::from_millis(5);

/// One SFU, its clients and the time since the beginning.
#[derive(Debug)]
pub struct World {
    pub sfu: Sfu,
    pub clients: Vec<Client>,
    start: Instant,
    now: Duration,
}

impl World {
    pub fn new(n_clients: u8) -> Self {
        let start = Instant::now();
        let client = |index| Client::new(SocketAddr::from(([192, 0, 2, 100 + index], 50_000)), start);
        Self {
            sfu: Sfu::new(SocketAddr::from(([192, 0, 2, 1], 7882))),
            clients: (0..n_clients).map(client).collect(),
            start,
            now: Duration::ZERO,
        }
    }

    pub const fn elapsed(&self) -> Duration {
        self.now
    }

    /// The same, as the SFU counts it.
    pub fn now(&self) -> Time {
        Time::ZERO + self.now
    }

    /// The same, as a client counts it.
    pub fn instant(&self) -> Instant {
        self.start + self.now
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while self.now < end {
            self.step(end);
        }
    }

    /// Lets time pass until something is so.
    ///
    /// # Panics
    /// If it is not so within `limit`.
    pub fn run_until(&mut self, what: &str, limit: Duration, condition: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        self.settle();
        while !condition(self) {
            assert!(self.now < end, "not within {limit:?}: {what}\n{:?}", self.sfu.events());
            self.step(end);
        }
    }

    fn step(&mut self, end: Duration) {
        let sfu = self.sfu.poll_timeout().map(|at| at.since(Time::ZERO));
        let clients = self.clients.iter().map(Client::poll_timeout);
        let next = clients.chain(sfu).chain([end, self.now + STEP]).min().unwrap_or(end);
        // Something due at once or before is due now; time goes on all the same.
        self.now = next.max(self.now + Duration::from_micros(100));
        self.sfu.handle_timeout(self.now());
        for client in &mut self.clients {
            client.handle_timeout(self.now);
        }
        self.settle();
    }

    /// Delivers datagrams until none is left.
    fn settle(&mut self) {
        let now = self.now();
        let sfu = self.sfu.address();
        let mut flight = VecDeque::new();
        loop {
            flight.extend(self.sfu.drain(now).into_iter().map(|(to, datagram)| (sfu, to, datagram)));
            for client in &mut self.clients {
                let from = client.address();
                flight.extend(client.drain().into_iter().map(|(to, datagram)| (from, to, datagram)));
            }
            let Some((from, to, datagram)) = flight.pop_front() else { return };
            if to == sfu {
                self.sfu.handle_datagram(now, from, datagram);
            } else if let Some(client) = self.clients.iter_mut().find(|client| client.address() == to) {
                client.handle_datagram(self.now, from, &datagram);
            }
        }
    }
}
