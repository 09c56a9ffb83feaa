//! One direction of a client's access: delays, loses, reorders and doubles datagrams as a seed says; and slow links with
//! a queue, shared with others.

use std::time::Duration;

use sfu_core::media::random::Random;
use sfu_core::time::Time;

/// How bad one direction is. Probabilities are in percent.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub delay: Duration,
    /// Datagrams that take up to this much longer overtake one another.
    pub jitter: Duration,
    pub loss: u64,
    pub doubled: u64,
}

pub const PERFECT: Link = Link { delay: Duration::from_millis(10), jitter: Duration::ZERO, loss: 0, doubled: 0 };

/// A fifth lost, and reordering of about one video frame.
pub const BAD: Link =
    Link { delay: Duration::from_millis(20), jitter: Duration::from_millis(30), loss: 20, doubled: 2 };

impl Link {
    /// After what delay each copy of a datagram arrives; none if it is lost.
    pub fn carry(&self, random: &mut Random) -> Vec<Duration> {
        let copies = if random.next() % 100 < self.loss {
            0
        } else if random.next() % 100 < self.doubled {
            2
        } else {
            1
        };
        let jitter = self.jitter.as_micros() as u64;
        let mut delay = || self.delay + Duration::from_micros(if jitter == 0 { 0 } else { random.next() % jitter });
        (0..copies).map(|_| delay()).collect()
    }
}

/// A slow link with a queue in front of it that holds so many bytes and drops what does not fit.
#[derive(Debug, Clone)]
pub struct Bottleneck {
    /// Bits per second; may change at any time.
    pub rate: u64,
    /// Bytes.
    pub queue: u64,
    /// Every datagram is held back up to this long, as radio does; none overtakes another.
    pub jitter: Duration,
    /// Loss in bursts.
    pub loss: Option<BurstLoss>,
    /// Bits per second of somebody else's traffic, on and off for some hundred milliseconds each.
    pub cross: u64,
    backlog: u64,
    updated: Time,
    last_out: Time,
    cross_until: Time,
    cross_on: bool,
    losing: bool,
    /// All that was to be sent.
    pub log: Vec<Carried>,
}

/// What became of a datagram.
#[derive(Debug, Clone, Copy)]
pub struct Carried {
    pub at: Time,
    pub bytes: usize,
    /// Where an RTP packet has its SSRC.
    pub ssrc: u32,
    /// `None` if it was lost.
    pub waited: Option<Duration>,
}

/// Two states, one of which loses everything (Gilbert's model). Chances are per datagram, in thousandths.
#[derive(Debug, Clone, Copy)]
pub struct BurstLoss {
    pub begins: u64,
    pub ends: u64,
}

impl Bottleneck {
    pub const fn new(rate: u64, queue: u64) -> Self {
        Self {
            rate,
            queue,
            jitter: Duration::ZERO,
            loss: None,
            cross: 0,
            backlog: 0,
            updated: Time::ZERO,
            last_out: Time::ZERO,
            cross_until: Time::ZERO,
            cross_on: false,
            losing: false,
            log: Vec::new(),
        }
    }

    /// How long a datagram waits; `None` if it is lost.
    pub fn carry(&mut self, now: Time, datagram: &[u8], random: &mut Random) -> Option<Duration> {
        self.advance(now, random);
        let waited = self.enqueue(now, datagram.len() as u64, random);
        let ssrc = datagram.get(8..12).map_or(0, |ssrc| u32::from_be_bytes(ssrc.try_into().expect("four bytes")));
        self.log.push(Carried { at: now, bytes: datagram.len(), ssrc, waited });
        waited
    }

    fn enqueue(&mut self, now: Time, bytes: u64, random: &mut Random) -> Option<Duration> {
        if let Some(BurstLoss { begins, ends }) = self.loss {
            let chance = if self.losing { ends } else { begins };
            self.losing ^= random.next() % 1000 < chance;
        } else {
            self.losing = false;
        }
        if self.losing || self.backlog + bytes > self.queue {
            return None;
        }
        self.backlog += bytes;
        let held = match self.jitter.as_micros() as u64 {
            0 => 0,
            jitter => random.next() % jitter,
        };
        let out = now + Duration::from_micros(self.backlog * 8_000_000 / self.rate + held);
        self.last_out = self.last_out.max(out);
        Some(self.last_out.since(now))
    }

    /// Lets time pass: the queue empties, and somebody else fills it.
    fn advance(&mut self, now: Time, random: &mut Random) {
        while self.updated < now {
            if self.cross_until <= self.updated {
                self.cross_on = !self.cross_on;
                self.cross_until = self.updated + Duration::from_millis(200 + random.next() % 1_000);
            }
            let until = now.min(self.cross_until);
            let passed = until.since(self.updated).as_micros() as u64;
            let others = if self.cross_on { self.cross * passed / 8_000_000 } else { 0 };
            self.backlog = (self.backlog + others).min(self.queue).saturating_sub(self.rate * passed / 8_000_000);
            self.updated = until;
        }
    }
}
