//! Two associations and the network between them.

use std::time::Duration;

use super::super::*;
use crate::transport::certificate::Certificate;
use crate::transport::sctp::Reliability;

/// A generator of the same numbers for the same seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What the network does to datagrams.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    pub(super) loss_percent: u64,
    pub(super) duplicate_percent: u64,
    pub(super) max_delay_ms: u64,
}

impl Faults {
    pub(super) const NONE: Self = Self { loss_percent: 0, duplicate_percent: 0, max_delay_ms: 0 };
}

pub(super) struct End {
    pub(super) identity: DtlsIdentity,
    /// Empty only while it is being moved.
    association: Option<Association>,
    pub(super) keys: Option<SrtpKeys>,
    pub(super) opened: Vec<DataChannel>,
    pub(super) channels_closed: Vec<ChannelId>,
    pub(super) messages: Vec<(ChannelId, Vec<u8>, bool)>,
    pub(super) closed: Option<CloseReason>,
}

impl End {
    fn new(role: DtlsRole, now: Time) -> Self {
        let identity = DtlsIdentity::new(&Certificate::generate().unwrap()).unwrap();
        let association = Some(Association::new(role, identity.clone(), None, now));
        let (opened, messages, channels_closed) = (vec![], vec![], vec![]);
        Self { identity, association, keys: None, opened, channels_closed, messages, closed: None }
    }

    pub(super) fn association(&mut self) -> &mut Association {
        self.association.as_mut().unwrap()
    }

    pub(super) fn take(&mut self) -> Association {
        self.association.take().unwrap()
    }

    pub(super) fn put(&mut self, association: Association) {
        self.association = Some(association);
    }
}

pub(super) struct Network {
    pub(super) now: Time,
    /// Index 0 is the DTLS client, 1 the server.
    pub(super) ends: [End; 2],
    pub(super) faults: Faults,
    random: Random,
    /// When, to whom, what.
    flying: Vec<(Time, usize, Vec<u8>)>,
    /// Every datagram ever sent, by receiver.
    pub(super) seen: Vec<(usize, Vec<u8>)>,
}

impl Network {
    /// Both ends exist and know no fingerprint.
    pub(super) fn strangers(seed: u64) -> Self {
        let now = Time::from_millis(1000);
        let ends = [End::new(DtlsRole::Client, now), End::new(DtlsRole::Server, now)];
        let random = Random(seed | 1);
        Self { now, ends, faults: Faults::NONE, random, flying: Vec::new(), seen: Vec::new() }
    }

    /// Both ends know each other's fingerprint.
    pub(super) fn acquainted(seed: u64) -> Self {
        let mut network = Self::strangers(seed);
        network.introduce(0);
        network.introduce(1);
        network
    }

    pub(super) fn connected() -> Self {
        let mut network = Self::acquainted(1);
        network.run_until(Duration::from_secs(1), |n| n.ends.iter().all(|end| end.keys.is_some()));
        network
    }

    /// Connected, with an open channel from the client.
    pub(super) fn with_channel(reliability: Reliability) -> (Self, ChannelId) {
        let mut network = Self::connected();
        let options = ChannelOptions { label: "chat".into(), ordered: true, reliability };
        let now = network.now;
        let channel = network.ends[0].association().open_channel(now, options).unwrap();
        network.run_until(Duration::from_secs(5), |n| n.ends.iter().all(|end| !end.opened.is_empty()));
        (network, channel)
    }

    pub(super) fn introduce(&mut self, end: usize) {
        let fingerprint = self.ends[1 - end].identity.fingerprint();
        let now = self.now;
        self.ends[end].association().set_remote_fingerprint(now, fingerprint);
    }

    pub(super) fn deliver(&mut self, end: usize, datagram: &[u8]) {
        let now = self.now;
        self.ends[end].association().handle_datagram(now, datagram);
    }

    /// Lets time pass until the condition holds.
    pub(super) fn run_until(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        self.collect();
        while !condition(self) {
            assert!(self.now < end, "condition not met within {limit:?}");
            self.step(end);
        }
    }

    pub(super) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.collect();
        while self.now < end {
            self.step(end);
        }
    }

    /// Goes to the next thing that happens, at most to `end`.
    fn step(&mut self, end: Time) {
        let timeouts = self.ends.iter().filter_map(|end| end.association.as_ref()?.poll_timeout());
        let next = timeouts.chain(self.flying.iter().map(|(at, ..)| *at)).min().unwrap_or(end);
        self.now = next.clamp(self.now, end);
        let now = self.now;
        let (mut due, later): (Vec<_>, Vec<_>) = self.flying.drain(..).partition(|(at, ..)| *at <= now);
        self.flying = later;
        due.sort_by_key(|(at, ..)| *at);
        for (_, to, datagram) in due {
            self.deliver(to, &datagram);
            self.collect();
        }
        for end in &mut self.ends {
            let association = end.association();
            if association.poll_timeout().is_some_and(|at| at <= now) {
                association.handle_timeout(now);
                // A timer that is due again at once would stop the time.
                assert!(association.poll_timeout().is_none_or(|at| at > now), "timer does not advance");
            }
        }
        self.collect();
    }

    fn collect(&mut self) {
        for from in 0..2 {
            while let Some(output) = self.ends[from].association().poll() {
                let end = &mut self.ends[from];
                match output {
                    AssociationOutput::Datagram(datagram) => self.send(1 - from, &datagram),
                    AssociationOutput::Connected { keys } => assert!(end.keys.replace(keys).is_none(), "twice"),
                    AssociationOutput::ChannelOpened(channel) => end.opened.push(channel),
                    AssociationOutput::ChannelClosed { channel } => end.channels_closed.push(channel),
                    AssociationOutput::Message { channel, data, binary } => end.messages.push((channel, data, binary)),
                    AssociationOutput::Closed { reason } => assert_eq!(end.closed.replace(reason), None),
                }
            }
        }
    }

    fn send(&mut self, to: usize, datagram: &[u8]) {
        assert!(datagram.len() <= 1200, "a datagram of {} bytes", datagram.len());
        self.seen.push((to, datagram.to_vec()));
        let copies = 1 + u64::from(self.random.below(100) < self.faults.duplicate_percent);
        for _ in 0..copies {
            if self.random.below(100) >= self.faults.loss_percent {
                let delay = Duration::from_millis(1 + self.random.below(self.faults.max_delay_ms + 1));
                self.flying.push((self.now + delay, to, datagram.to_vec()));
            }
        }
    }
}
