//! Whether a recorder that is out of the call comes back, and when. It must not know sockets or clocks.

use anyhow::{Error, Result, anyhow, bail};
use livekit_protocol::DisconnectReason;

use super::End;

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

#[cfg(test)]
mod tests {
    use super::*;

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
