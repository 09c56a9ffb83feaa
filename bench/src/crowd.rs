//! Many small calls at once, kept alive: who falls out comes back, as applications do, and everybody listens for
//! everybody else of their call.
//!
//! Every frame says which call and person it is from. So a call is known to be whole when each of its people heard each
//! of the others lately, and a frame of another call is known for what it is.

use std::io::{self, BufRead as _};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::client::{Client, Observation, Part, Voice, Wish};
use calls_client::signal::ApiKey;

/// Between two reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Who was heard this lately is heard: ten frames, of which some may be lost.
const LATELY: Duration = Duration::from_secs(2);
/// Between two frames of a voice. Slower than a real one, so that a small machine carries many.
const PACE: Duration = Duration::from_millis(200);
/// First wait before a person who fell out comes back; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// A join that has no media by then is given up for another.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// For everybody to say that they leave.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// Joins are spread over this time, so that a crowd comes as people do and not as one.
const ARRIVAL: Duration = Duration::from_millis(30);

/// Who is to come, and whither.
#[derive(Debug, Clone)]
pub struct Crowd {
    /// Where signalling is: `ws://host:port`.
    pub url: String,
    pub key: ApiKey,
    /// The address media is sent from.
    pub from: Ipv4Addr,
    /// Calls are called this and a number.
    pub name: String,
    pub calls: u32,
    /// People in each call.
    pub people: u32,
    /// How long the first of a call stays before leaving and coming back; each of the others stays that much longer.
    pub stay: Option<Duration>,
}

/// How the crowd is, once a second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Calls in which each heard each other lately.
    pub whole: u32,
    /// People whose media is connected.
    pub connected: u32,
    /// Times somebody got in so far.
    pub joins: u32,
    /// Times somebody fell out so far without wanting to.
    pub lost: u32,
    /// Frames of another call that were heard so far: there must never be one.
    pub strangers: u32,
    /// Longest time a call has not been whole, of those that are not now, in milliseconds.
    pub broken_ms: u64,
    /// Longest time between two frames that somebody heard of somebody, falling out and coming back included, in
    /// milliseconds. Since the beginning, or the last line of standard input.
    pub silence_ms: u64,
    /// What is wrong, in words: who does not hear whom, and why somebody fell out last.
    pub trouble: Vec<String>,
}

/// What is known of all calls.
#[derive(Debug)]
struct Table {
    calls: Vec<Call>,
    joins: u32,
    lost: u32,
    strangers: u32,
    silence: Duration,
    /// Gaps count from then on.
    counted_from: Instant,
    last_error: Option<String>,
}

#[derive(Debug)]
struct Call {
    connected: Vec<bool>,
    /// By listener, then speaker; of this visit of the listener.
    heard_at: Vec<Vec<Option<Instant>>>,
    /// The same, of any visit.
    heard_last: Vec<Vec<Option<Instant>>>,
    broken_since: Option<Instant>,
}

type Shared = Arc<Mutex<Table>>;

/// Keeps the crowd in its calls and writes a report a second, as a line of JSON, until standard input ends. Then all
/// leave. Each line of standard input has silences counted anew.
pub async fn run(crowd: Crowd) -> Result<()> {
    let table = Arc::new(Mutex::new(Table::new(crowd.calls, crowd.people, Instant::now())));
    let (ending, ended) = watch::channel(false);
    let origin = Instant::now();
    let mut people = JoinSet::new();
    for call in 0..crowd.calls {
        for person in 0..crowd.people {
            let (crowd, table, ended) = (crowd.clone(), Arc::clone(&table), ended.clone());
            let voice = Voice { call, person };
            people.spawn(async move {
                sleep(ARRIVAL * (call * crowd.people + person)).await;
                attend(&crowd, voice, origin, &table, ended).await;
            });
        }
    }
    let (no_more, mut input_ended) = oneshot::channel();
    // A thread of its own, because reading standard input cannot be cancelled.
    let told = Arc::clone(&table);
    thread::spawn(move || {
        let lines = io::stdin().lock().lines().map_while(io::Result::ok);
        lines.for_each(|_| locked(&told).forget_silence(Instant::now()));
        let _ = no_more.send(());
    });
    let mut tick = interval(REPORT_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = tick.tick() => println!("{}", serde_json::to_string(&locked(&table).report(Instant::now()))?),
            _ = &mut input_ended => break,
        }
    }
    ending.send_replace(true);
    let _ = timeout(LEAVE_LIMIT, async { while people.join_next().await.is_some() {} }).await;
    Ok(())
}

fn locked(table: &Shared) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One person's time in their call, until all is ended.
async fn attend(crowd: &Crowd, voice: Voice, origin: Instant, table: &Shared, mut ended: watch::Receiver<bool>) {
    let mut wait = FIRST_WAIT;
    while !*ended.borrow_and_update() {
        let stay = crowd.stay.map(|stay| stay * (voice.person + 1));
        let result = visit(crowd, voice, origin, table, stay, &mut ended).await;
        let was_in = locked(table).gone(voice, result.err().map(|error| format!("{error:#}")));
        wait = if was_in { FIRST_WAIT } else { (wait * 2).min(LONGEST_WAIT) };
        tokio::select! {
            () = sleep(wait) => (),
            _ = ended.changed() => (),
        }
    }
}

/// One visit: ends when the person wants to leave, or with what threw them out.
async fn visit(
    crowd: &Crowd,
    voice: Voice,
    origin: Instant,
    table: &Shared,
    stay: Option<Duration>,
    ended: &mut watch::Receiver<bool>,
) -> Result<()> {
    let call = format!("{}-{}", crowd.name, voice.call);
    let mut client = Client::join(Wish {
        url: crowd.url.clone(),
        token: crowd.key.token(&call, &format!("person-{}", voice.person))?,
        part: Part::Speaker,
        voice,
        pace: PACE,
        from: crowd.from,
        origin,
    });
    let leaving = async {
        match stay {
            Some(stay) => sleep(stay).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(leaving);
    let late = sleep(CONNECT_LIMIT);
    tokio::pin!(late);
    let mut connected = false;
    loop {
        tokio::select! {
            observation = client.next() => {
                let observation = observation?;
                connected |= matches!(observation, Observation::Connected(_));
                locked(table).observe(voice, observation, Instant::now());
            }
            () = &mut leaving => break,
            _ = ended.changed() => break,
            () = &mut late, if !connected => anyhow::bail!("no media within {CONNECT_LIMIT:?}"),
        }
    }
    client.leave().await;
    Ok(())
}

impl Table {
    fn new(calls: u32, people: u32, now: Instant) -> Self {
        let n_people = people as usize;
        let call = || Call {
            connected: vec![false; n_people],
            heard_at: vec![vec![None; n_people]; n_people],
            heard_last: vec![vec![None; n_people]; n_people],
            broken_since: Some(now),
        };
        Self {
            calls: (0..calls).map(|_| call()).collect(),
            joins: 0,
            lost: 0,
            strangers: 0,
            silence: Duration::ZERO,
            counted_from: now,
            last_error: None,
        }
    }

    fn observe(&mut self, listener: Voice, observation: Observation, now: Instant) {
        let Some(call) = self.calls.get_mut(listener.call as usize) else { return };
        match observation {
            Observation::Connected(_) => {
                call.connected[listener.person as usize] = true;
                self.joins += 1;
            }
            Observation::Frame { from, .. } if from.call != listener.call => self.strangers += 1,
            Observation::Frame { from, .. } => {
                let heard_at = &mut call.heard_at[listener.person as usize];
                if let Some(at) = heard_at.get_mut(from.person as usize) {
                    *at = Some(now);
                }
                let heard_last = &mut call.heard_last[listener.person as usize];
                if let Some(before) = heard_last.get_mut(from.person as usize).and_then(|at| at.replace(now)) {
                    self.silence = self.silence.max(now.duration_since(before.max(self.counted_from)));
                }
            }
            Observation::FirstFrame(_) => (),
        }
    }

    /// Counts gaps anew.
    fn forget_silence(&mut self, now: Instant) {
        (self.silence, self.counted_from) = (Duration::ZERO, now);
    }

    /// Longest time between two frames, those included that are still waited for.
    fn longest_silence(&self, now: Instant) -> Duration {
        let last = self.calls.iter().flat_map(|call| call.heard_last.iter().flatten().flatten());
        let waited = last.map(|at| now.duration_since((*at).max(self.counted_from))).max();
        self.silence.max(waited.unwrap_or_default())
    }

    /// Somebody is out of their call, with the error that threw them out unless they wanted it. Whether they were in.
    fn gone(&mut self, who: Voice, error: Option<String>) -> bool {
        if let Some(error) = error {
            self.lost += 1;
            self.last_error = Some(format!("call {} person {}: {error}", who.call, who.person));
        }
        let call = &mut self.calls[who.call as usize];
        call.heard_at[who.person as usize].fill(None);
        std::mem::take(&mut call.connected[who.person as usize])
    }

    fn report(&mut self, now: Instant) -> Report {
        let silence_ms = u64::try_from(self.longest_silence(now).as_millis()).unwrap_or(u64::MAX);
        let mut report =
            Report { joins: self.joins, lost: self.lost, strangers: self.strangers, silence_ms, ..Report::default() };
        for (number, call) in self.calls.iter_mut().enumerate() {
            report.connected += u32::try_from(call.connected.iter().filter(|is| **is).count()).unwrap_or(u32::MAX);
            let Some((listener, speaker)) = call.unheard(now) else {
                report.whole += 1;
                call.broken_since = None;
                continue;
            };
            let since = *call.broken_since.get_or_insert(now);
            let broken_ms = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX);
            if report.broken_ms <= broken_ms {
                report.broken_ms = broken_ms;
                report.trouble = vec![format!("call {number}: person {listener} does not hear person {speaker}")];
            }
        }
        report.trouble.extend(self.last_error.clone());
        report
    }
}

impl Call {
    /// Somebody, and whom of the others they have not heard lately.
    fn unheard(&self, now: Instant) -> Option<(usize, usize)> {
        self.heard_at.iter().enumerate().find_map(|(listener, heard_at)| {
            let is_heard = |at: &Option<Instant>| at.is_some_and(|at| now.duration_since(at) <= LATELY);
            let unheard = |(speaker, at): &(usize, &Option<Instant>)| *speaker != listener && !is_heard(at);
            heard_at.iter().enumerate().find(unheard).map(|(speaker, _)| (listener, speaker))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Voice = Voice { call: 0, person: 0 };
    const B: Voice = Voice { call: 0, person: 1 };

    fn frame(from: Voice) -> Observation {
        Observation::Frame { from, delay: Duration::ZERO }
    }

    #[test]
    fn a_call_is_whole_while_each_heard_each_other_lately() {
        let start = Instant::now();
        let mut table = Table::new(1, 2, start);
        table.observe(A, frame(B), start);
        let report = table.report(start);
        assert_eq!((report.whole, &report.trouble[0][..]), (0, "call 0: person 1 does not hear person 0"));
        table.observe(B, frame(A), start + LATELY);
        assert_eq!(table.report(start + LATELY).whole, 1);
        let later = start + LATELY + Duration::from_secs(1);
        assert_eq!(table.report(later).whole, 0);
        assert_eq!(table.report(later + Duration::from_secs(3)).broken_ms, 3_000);
    }

    #[test]
    fn a_report_is_a_line_of_the_form_that_the_outer_tests_read() {
        let report = Report { whole: 1, connected: 2, joins: 2, ..Report::default() };
        let line =
            r#"{"whole":1,"connected":2,"joins":2,"lost":0,"strangers":0,"broken_ms":0,"silence_ms":0,"trouble":[]}"#;
        assert_eq!(serde_json::to_string(&report).unwrap(), line);
    }

    #[test]
    fn a_silence_lasts_from_frame_to_frame_whoever_fell_out_between_them() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut table = Table::new(1, 2, start);
        assert_eq!(table.report(at(9)).silence_ms, 0, "nobody was heard yet");
        table.observe(A, frame(B), at(10));
        table.gone(A, None);
        assert_eq!(table.report(at(14)).silence_ms, 4_000);
        table.observe(A, frame(B), at(15));
        assert_eq!(table.report(at(16)).silence_ms, 5_000);
        table.forget_silence(at(17));
        table.observe(A, frame(B), at(18));
        assert_eq!(table.report(at(18)).silence_ms, 1_000);
    }

    #[test]
    fn who_is_gone_hears_nobody_and_others_voices_are_strangers() {
        let start = Instant::now();
        let mut table = Table::new(2, 2, start);
        table.observe(A, Observation::Connected(Duration::ZERO), start);
        table.observe(A, frame(B), start);
        table.observe(B, frame(A), start);
        table.observe(A, frame(Voice { call: 1, person: 1 }), start);
        let report = table.report(start);
        assert_eq!((report.whole, report.connected, report.joins, report.strangers), (1, 1, 1, 1));
        assert!(table.gone(A, Some("cut".to_owned())));
        let report = table.report(start);
        assert_eq!((report.whole, report.connected, report.lost), (0, 0, 1));
        assert_eq!(report.trouble.last().map(String::as_str), Some("call 0 person 0: cut"));
    }
}
