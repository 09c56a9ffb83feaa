//! A recorder in a call: a hidden participant that receives and sends nothing, over the same wire as everybody.
//!
//! In: the call's address, a token, what is wanted. Out, by [`Session::next`]: which tracks come and go, and their
//! packets. What becomes of them is none of its business.

mod connection;
mod tracks;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use calls_client::signal::{PROTOCOL, Signal};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use sfu_core::engine::command::Codec;
use sfu_core::id::Ssrc;
use sfu_core::media::rtp::{Header, Span};
use sfu_core::sdp::Description;
use sfu_core::time::NtpTime;
use str0m::rtp::RtpPacket;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout};

use connection::{Connection, ConnectionEvent};
use tracks::Tracks;
pub use tracks::{Source, Track, TrackChange};

/// For a server to answer a join.
const JOIN_LIMIT: Duration = Duration::from_secs(15);
/// For a server to hear that the recorder leaves.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);
/// When the server does not say how often it wants to be pinged.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// When the server does not say how long a pong may take.
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// From 1900, where NTP counts from, to 1970: 70 years, 17 of them leap years.
const NTP_TO_UNIX: Duration = Duration::from_hours(24 * (70 * 365 + 17));

/// How to get into a call.
#[derive(Clone)]
pub struct Entrance {
    /// `ws://host:port`.
    pub url: String,
    /// For one call, with the grants `hidden` and `recorder`.
    pub token: String,
    pub sources: Vec<Source>,
}

impl std::fmt::Debug for Entrance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token is a secret.
        f.debug_struct("Entrance").field("url", &self.url).field("sources", &self.sources).finish_non_exhaustive()
    }
}

/// What happens in a call.
#[derive(Debug)]
pub enum SessionEvent {
    Track(TrackChange),
    /// Media flows.
    Connected,
    /// A packet of a track, by its id. One that was lost and sent again is as it was the first time.
    Packet {
        track: String,
        codec: Codec,
        header: Header,
        payload: Arc<[u8]>,
    },
    /// A sender report of a track's stream, and when it came.
    Report {
        track: String,
        at: Instant,
        ntp: NtpTime,
        timestamp: u32,
    },
    /// The server wants the recorder to go.
    SentAway(proto::DisconnectReason),
}

/// A recorder in a call. Vanishes without a word when dropped; see [`Session::leave`].
#[derive(Debug)]
pub struct Session {
    signal: Signal,
    connection: Connection,
    tracks: Tracks,
    sources: Vec<Source>,
    ping: Interval,
    /// When the server last said something, and for how long it may be silent: it answers pings.
    heard_at: Instant,
    longest_silence: Duration,
    ready: VecDeque<SessionEvent>,
}

impl Session {
    /// Joins. Media comes later: [`SessionEvent::Connected`].
    ///
    /// # Errors
    /// If the server cannot be reached or refuses.
    pub async fn join(entrance: &Entrance) -> Result<Self> {
        // Boxed: it is large, and futures that hold it are moved.
        let joining = Box::pin(Self::enter(entrance));
        let joined = timeout(JOIN_LIMIT, joining).await;
        joined.unwrap_or_else(|_| bail!("no answer within {} s", JOIN_LIMIT.as_secs()))
    }

    async fn enter(entrance: &Entrance) -> Result<Self> {
        let Entrance { url, token, sources } = entrance;
        let path = format!("/rtc?access_token={token}&sdk=rust&protocol={PROTOCOL}&auto_subscribe=0");
        let mut signal = Signal::open(Ipv4Addr::UNSPECIFIED, &format!("{}{path}", url.trim_end_matches('/'))).await?;
        let first = signal.receive().await?;
        let Response::Join(join) = first else { bail!("the server's first message is no answer to a join") };
        let connection = Connection::open(signal.local_ip()?).await?;
        let mut ping = interval(seconds_or(join.ping_interval, PING_INTERVAL));
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut session = Self {
            signal,
            connection,
            tracks: Tracks::default(),
            sources: sources.clone(),
            ping,
            heard_at: Instant::now(),
            longest_silence: seconds_or(join.ping_timeout, PING_TIMEOUT),
            ready: VecDeque::new(),
        };
        session.take_participants(&join.other_participants).await?;
        Ok(session)
    }

    /// What happens next, or `None` when nothing did until `deadline`. Cancelled, it may lose a message: only who leaves
    /// does that.
    ///
    /// # Errors
    /// If the connection broke: whoever wants to go on joins again.
    pub async fn next(&mut self, deadline: Instant) -> Result<Option<SessionEvent>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            tokio::select! {
                message = self.signal.receive() => {
                    self.heard_at = Instant::now();
                    self.handle(message?).await?;
                }
                event = self.connection.next() => match event? {
                    ConnectionEvent::Connected => return Ok(Some(SessionEvent::Connected)),
                    ConnectionEvent::Packet(packet) => {
                        let header = &packet.header;
                        if let Some((track, codec)) = self.tracks.of_packet(*header.ssrc, *header.payload_type) {
                            let (track, header) = (track.to_owned(), header_of(&packet));
                            return Ok(Some(SessionEvent::Packet { track, codec, header, payload: packet.payload }));
                        }
                    }
                    ConnectionEvent::Report(report) => {
                        let info = report.sender_info;
                        if let Some(track) = self.tracks.of_stream(*info.ssrc) {
                            let (track, at) = (track.to_owned(), Instant::from_std(report.received_at));
                            let (ntp, timestamp) = (ntp_of(info.ntp_time), info.rtp_time.numer() as u32);
                            return Ok(Some(SessionEvent::Report { track, at, ntp, timestamp }));
                        }
                    }
                    ConnectionEvent::Disconnected => bail!("the server stopped answering connectivity checks"),
                },
                () = sleep_until(self.heard_at + self.longest_silence) => {
                    bail!("the server has been silent for {} s", self.longest_silence.as_secs())
                }
                _ = self.ping.tick() => self.ping().await?,
                () = sleep_until(deadline) => return Ok(None),
            }
        }
    }

    /// Asks for a picture that needs no other.
    pub fn request_keyframe(&mut self, ssrc: u32) {
        self.connection.request_keyframe(ssrc);
    }

    /// Says goodbye, so that nobody waits for the recorder to come back.
    pub async fn leave(mut self) {
        let reason = proto::DisconnectReason::ClientInitiated as i32;
        let leave = Request::Leave(proto::LeaveRequest { reason, ..Default::default() });
        // Who cannot be told finds out.
        let _ = timeout(LEAVE_LIMIT, self.signal.send(leave)).await;
    }

    async fn handle(&mut self, message: Response) -> Result<()> {
        match message {
            Response::Update(update) => self.take_participants(&update.participants).await?,
            Response::Offer(offer) => {
                self.tracks.take_offer(&Description::parse(&offer.sdp).context("the server's offer cannot be read")?);
                let sdp = self.connection.answer(&offer.sdp)?;
                let (r#type, id) = ("answer".into(), offer.id);
                let answer = proto::SessionDescription { r#type, sdp, id, ..Default::default() };
                self.signal.send(Request::Answer(answer)).await?;
            }
            Response::Trickle(trickle) => {
                let init: serde_json::Value = serde_json::from_str(&trickle.candidate_init).unwrap_or_default();
                if let Some(line) = init.get("candidate").and_then(serde_json::Value::as_str) {
                    self.connection.add_candidate(line);
                }
            }
            Response::Leave(leave) if leave.action() == proto::leave_request::Action::Disconnect => {
                self.ready.push_back(SessionEvent::SentAway(leave.reason()));
            }
            Response::Leave(_) => bail!("the server asks to join again"),
            _ => (),
        }
        Ok(())
    }

    /// Tells what changed, and asks for what is wanted of it.
    async fn take_participants(&mut self, participants: &[proto::ParticipantInfo]) -> Result<()> {
        let sources = self.sources.clone();
        let is_wanted = |track: &Track| sources.contains(&track.source);
        let mut wanted = Vec::new();
        for change in self.tracks.take_participants(participants) {
            if let TrackChange::Came(track) = &change {
                if !is_wanted(track) {
                    continue;
                }
                wanted.push(track.sid.clone());
            }
            self.ready.push_back(SessionEvent::Track(change));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let participant_tracks = self.tracks.by_participant(|track| wanted.contains(&track.sid));
        let participant_tracks = participant_tracks.into_iter().map(|(participant, tracks)| proto::ParticipantTracks {
            participant_sid: participant.to_owned(),
            track_sids: tracks.into_iter().map(str::to_owned).collect(),
        });
        let participant_tracks = participant_tracks.collect();
        let wish = proto::UpdateSubscription { track_sids: wanted, subscribe: true, participant_tracks };
        self.signal.send(Request::Subscription(wish)).await
    }

    /// Both forms, as clients send them.
    async fn ping(&mut self) -> Result<()> {
        let timestamp = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        self.signal.send(Request::Ping(timestamp)).await?;
        self.signal.send(Request::PingReq(proto::Ping { timestamp, rtt: 0 })).await
    }
}

/// The header of a packet that is its payload alone.
fn header_of(packet: &RtpPacket) -> Header {
    let header = &packet.header;
    Header {
        marker: header.marker,
        payload_type: *header.payload_type,
        sequence_number: header.sequence_number,
        timestamp: header.timestamp,
        ssrc: Ssrc(*header.ssrc),
        extension: None,
        payload: Span { start: 0, end: packet.payload.len() as u16 },
    }
}

/// A sender's wall clock as it was sent. One that has none says zero, which is the beginning of 1900.
fn ntp_of(clock: SystemTime) -> NtpTime {
    let since_1900 = clock.duration_since(UNIX_EPOCH - NTP_TO_UNIX).unwrap_or_default();
    let fraction = (u64::from(since_1900.subsec_nanos()) << 32) / 1_000_000_000;
    NtpTime::from_bits(since_1900.as_secs() << 32 | fraction)
}

/// A number of seconds as servers say it; zero says nothing.
fn seconds_or(seconds: i32, otherwise: Duration) -> Duration {
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map_or(otherwise, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_as_it_was_sent_also_one_that_is_none() {
        assert_eq!(ntp_of(UNIX_EPOCH - NTP_TO_UNIX).bits(), 0);
        let (before, after) = (Duration::from_millis(1_500), Duration::from_millis(1_700_000_000_250));
        assert_eq!(ntp_of(UNIX_EPOCH - NTP_TO_UNIX + before).bits(), 1 << 32 | 1 << 31, "a machine's own time");
        assert_eq!(ntp_of(UNIX_EPOCH + after).bits() >> 32, 1_700_000_000 + NTP_TO_UNIX.as_secs());
    }

    #[test]
    fn a_server_may_say_nothing_of_pings() {
        assert_eq!([0, -1, 7].map(|said| seconds_or(said, PING_INTERVAL).as_secs()), [5, 5, 7]);
    }
}
