//! Whether a recorder that is out of the call comes back, and when. It must not know sockets or clocks.

use std::time::Duration;

use anyhow::{Error, Result, anyhow, bail};
use livekit_protocol::DisconnectReason;
use sfu_core::time::Time;

use super::End;

/// First wait before a recorder that fell out comes back; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// For this long a recorder that fell out tries to come back.
const PATIENCE: Duration = Duration::from_mins(2);
/// Media has to flow for this long before it counts as being back: less than the 9 s after which a server gives up on it.
const STEADY: Duration = Duration::from_secs(5);

/// Why a recorder is in the call no longer.
#[derive(Debug)]
pub enum Out {
    /// The recording is over.
    Over(End),
    /// It fell out, and can join again.
    Fell(Error),
}

impl Out {
    /// What it means that the server sent the recorder away.
    ///
    /// # Errors
    /// When it would do so again, or joining again would harm somebody.
    pub fn sent_away(reason: DisconnectReason) -> Result<Self> {
        match reason {
            DisconnectReason::RoomClosed | DisconnectReason::RoomDeleted => Ok(Self::Over(End::Call)),
            // That is how a server stops a recording.
            DisconnectReason::ParticipantRemoved => Ok(Self::Over(End::Told)),
            DisconnectReason::ConnectionTimeout => Ok(Self::Fell(anyhow!("no media got through"))),
            DisconnectReason::DuplicateIdentity => bail!("another recorder of the same identity has joined the call"),
            other => bail!("the server sent the recorder away: {}", other.as_str_name()),
        }
    }
}

/// When to join again. Who gets in and falls out at once waits as long as who does not get in.
#[derive(Debug)]
pub struct Rejoin {
    wait: Duration,
    give_up: Option<Time>,
    flows_since: Option<Time>,
}

impl Default for Rejoin {
    fn default() -> Self {
        Self { wait: FIRST_WAIT, give_up: None, flows_since: None }
    }
}

impl Rejoin {
    /// Media flows.
    pub fn handle_connected(&mut self, now: Time) {
        self.flows_since = Some(now);
    }

    /// It fell out of the call, or did not get in again. Returns how long to wait before it joins; `None`: it gives up.
    pub fn handle_out(&mut self, now: Time) -> Option<Duration> {
        if self.flows_since.take().is_some_and(|since| now.since(since) >= STEADY) {
            *self = Self::default();
        }
        let give_up = *self.give_up.get_or_insert(now + PATIENCE);
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST_WAIT);
        (now < give_up).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    /// Tries until it gives up, with media for a while each time it gets in. Returns when each was made.
    fn tries(rejoin: &mut Rejoin, mut now: Time, flows: Option<Duration>) -> Vec<Time> {
        let mut made = Vec::new();
        while let Some(wait) = rejoin.handle_out(now) {
            now += wait;
            made.push(now);
            if let Some(flows) = flows {
                rejoin.handle_connected(now);
                now += flows;
            }
            assert!(made.len() < 1000, "it never gives up");
        }
        made
    }

    #[test]
    fn it_comes_back_at_once_then_ever_more_slowly_and_gives_up_after_two_minutes() {
        let fell = Time::ZERO + MINUTE;
        let made = tries(&mut Rejoin::default(), fell, None);
        let waits: Vec<u128> = made.windows(2).take(5).map(|pair| pair[1].since(pair[0]).as_millis()).collect();
        assert_eq!((made[0].since(fell).as_millis(), waits), (200, vec![400, 800, 1600, 3000, 3000]));
        let last = made.last().expect("tried").since(fell);
        assert!((2 * MINUTE..2 * MINUTE + LONGEST_WAIT).contains(&last), "{last:?}");
    }

    #[test]
    fn getting_in_is_not_staying_in() {
        let made = tries(&mut Rejoin::default(), Time::ZERO, Some(Duration::from_secs(1)));
        assert!(made.len() < 40, "{} tries in two minutes", made.len());
        let mut rejoin = Rejoin::default();
        for minute in 1..100 {
            let fell = Time::ZERO + MINUTE * minute;
            assert_eq!(rejoin.handle_out(fell), Some(FIRST_WAIT), "it was in for long");
            rejoin.handle_connected(fell + FIRST_WAIT);
        }
    }

    #[test]
    fn only_the_calls_end_and_being_stopped_are_success() {
        use DisconnectReason as Reason;
        let meant = |reason| match Out::sent_away(reason) {
            Ok(Out::Over(end)) => Some(end),
            Ok(Out::Fell(_)) | Err(_) => None,
        };
        assert_eq!(meant(Reason::RoomClosed), Some(End::Call));
        assert_eq!(meant(Reason::RoomDeleted), Some(End::Call));
        assert_eq!(meant(Reason::ParticipantRemoved), Some(End::Told));
        assert!(matches!(Out::sent_away(Reason::ConnectionTimeout), Ok(Out::Fell(_))), "it may join again");
        for refused in [Reason::DuplicateIdentity, Reason::UnknownReason, Reason::JoinFailure] {
            assert!(Out::sent_away(refused).is_err(), "{refused:?}");
        }
        assert!(Out::sent_away(Reason::JoinFailure).unwrap_err().to_string().ends_with("JOIN_FAILURE"));
    }
}
