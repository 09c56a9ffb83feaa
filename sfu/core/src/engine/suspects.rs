//! Whom a panic ends.
//!
//! No input is known that makes an engine panic, and what reads input is fuzzed for one; but a thousand sessions must
//! not rest on that. So an engine notes for which transport it works before it does. Who catches a panic of it has it
//! end these ([`Engine::handle_panic`]) and goes on with the others.
//!
//! A copy is written for one transport because of a packet of another one, and either may be at fault. Both end: were it
//! the subscriber alone, a publisher could end everybody in the call one after the other; were it the publisher alone, a
//! subscriber whose state is broken would end everybody whom it gets anything of.

use std::time::Duration;

use super::Engine;
use super::arena::{TrackIndex, TransportIndex};
use super::command::{Command, Feed};
use super::event::Event;
use super::relay::message::{RelayMessage, Subject};
use crate::id::TransportKey;
use crate::time::Time;

/// More panics than this in a [`MINUTE`] are not survived: what is at fault goes on, and a new process has none of it.
const MAX_PANICS: u32 = 20;
const MINUTE: Duration = Duration::from_mins(1);

/// Counts the panics of something that is used on after them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Panics {
    /// When the first one of this minute was, and how many there were since.
    lately: Option<(Time, u32)>,
}

impl Panics {
    /// Notes one. False if there were too many of late for this one to be survived.
    #[must_use]
    pub fn note(&mut self, now: Time) -> bool {
        let (since, count) = self.lately.filter(|(since, _)| now.since(*since) < MINUTE).unwrap_or((now, 0));
        self.lately = Some((since, count + 1));
        count < MAX_PANICS
    }
}

/// For whom an engine works.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Suspects {
    pub cause: Cause,
    /// Who is written to.
    pub receiver: Option<TransportIndex>,
    panics: Panics,
}

/// Why an engine works.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Cause {
    /// Nobody in particular wants it.
    #[default]
    Itself,
    /// Something came that is of no transport of ours. Without it, nothing is wrong.
    Input,
    Transport(TransportIndex),
}

impl Cause {
    /// What came is of this transport, or of none we know.
    pub fn of(transport: Option<TransportIndex>) -> Self {
        transport.map_or(Self::Input, Self::Transport)
    }
}

impl Engine {
    /// Ends the transports for which the engine worked when a call of it panicked, as if control had removed them, and
    /// tells control with [`Event::Failed`]. What was about to be forwarded is lost.
    ///
    /// Returns whether the engine may be used on. Not so if it panicked for nobody, for it would do so again, nor if it
    /// goes on panicking.
    #[must_use]
    pub fn handle_panic(&mut self, now: Time) -> bool {
        let Suspects { cause, receiver, mut panics } = std::mem::take(&mut self.suspects);
        let is_rare = panics.note(now);
        self.suspects.panics = panics;
        self.output.stats.panics += 1;
        // Either may have been in use.
        (self.burst, self.scratch) = Default::default();
        let cause = match cause {
            Cause::Itself => return false,
            _ if !is_rare => return false,
            Cause::Input => None,
            Cause::Transport(index) => Some(index),
        };
        if cause.is_none() && receiver.is_none() {
            tracing::error!("handling what is of no transport panicked");
        }
        for index in cause.into_iter().chain(receiver) {
            let Some(transport) = self.transports.get(index).map(|transport| transport.key) else { continue };
            tracing::error!(transport = transport.0, "handling a transport panicked; it has ended");
            self.remove_transport(transport);
            self.output.event(Event::Failed { transport });
        }
        self.count_things();
        true
    }

    /// Whose a command is.
    pub(super) fn suspect_of_command(&self, command: &Command) -> Cause {
        let transport = |key: &TransportKey| self.index.transports.get(key).copied();
        let index = match command {
            Command::AddTransport { transport: key, .. }
            | Command::RestartIce { transport: key, .. }
            | Command::InstallKeys { transport: key, .. }
            | Command::SendDtls { transport: key, .. }
            | Command::RemoveTransport { transport: key }
            | Command::OfferTransport { transport: key, .. }
            | Command::AwaitTransport { transport: key, .. }
            | Command::HandOver { transport: key, .. } => transport(key),
            Command::Subscribe(subscribe) => transport(&subscribe.transport),
            Command::Unsubscribe { subscription } | Command::SetTarget { subscription, .. } => {
                let index = self.index.subscriptions.get(subscription);
                index.and_then(|index| Some(self.subscriptions.get(*index)?.transport))
            }
            Command::Publish(publish) => match publish.feed {
                Feed::Transport(key) => transport(&key),
                Feed::Peer(_) => None,
            },
            Command::Unpublish { track }
            | Command::SetMuted { track, .. }
            | Command::RelayTo { track, .. }
            | Command::StopRelay { track, .. } => {
                self.index.tracks.get(track).and_then(|index| self.publisher_of(*index))
            }
            Command::LimitHeard { .. } => return Cause::Itself,
        };
        Cause::of(index)
    }

    /// Whose a message of another engine is.
    pub(super) fn suspect_of_relay(&self, message: &RelayMessage) -> Cause {
        match &message.0 {
            Subject::Track { .. } => Cause::Input,
            Subject::Transport { transport, .. } => Cause::of(self.index.transports.get(transport).copied()),
        }
    }

    /// Whose client publishes a track; `None` if it is relayed.
    pub(super) fn publisher_of(&self, index: TrackIndex) -> Option<TransportIndex> {
        self.tracks.get(index).and_then(|track| track.origin.transport())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineConfig;
    use crate::transport::ice::IceCredentials;

    fn engine(transports: u64) -> (Engine, Vec<TransportIndex>) {
        let mut engine = Engine::new(EngineConfig::default());
        for key in 0..transports {
            let ice = IceCredentials { ufrag: format!("Aufrag{key}"), pwd: "a password of ours".into() };
            engine.handle_command(Time::ZERO, Command::AddTransport { transport: TransportKey(key), ice });
        }
        let indices = (0..transports).map(|key| engine.index.transports[&TransportKey(key)]).collect();
        (engine, indices)
    }

    fn ended(engine: &mut Engine) -> Vec<u64> {
        std::iter::from_fn(|| engine.poll_event())
            .filter_map(|event| if let Event::Failed { transport } = event { Some(transport.0) } else { None })
            .collect()
    }

    #[test]
    fn a_panic_ends_who_sent_and_who_was_written_to() {
        let (mut engine, indices) = engine(4);
        let (cause, receiver) = (Cause::Transport(indices[1]), Some(indices[3]));
        engine.suspects = Suspects { cause, receiver, panics: Panics::default() };
        assert!(engine.handle_panic(Time::ZERO));
        assert_eq!(ended(&mut engine), [1, 3]);
        assert_eq!(engine.stats().transports, 2);
        assert!(!engine.handle_panic(Time::ZERO), "nobody is suspected twice");
    }

    #[test]
    fn a_panic_over_what_is_nobodys_ends_nobody() {
        let (mut engine, _) = engine(2);
        engine.suspects.cause = Cause::Input;
        assert!(engine.handle_panic(Time::ZERO));
        assert_eq!(engine.stats().transports, 2);
    }

    #[test]
    fn panics_that_do_not_end_are_not_survived() {
        let (mut engine, _) = engine(1);
        let mut panic_at = |second: u64| {
            engine.suspects.cause = Cause::Input;
            engine.handle_panic(Time::from_millis(second * 1000))
        };
        assert!((0..60).step_by(3).all(&mut panic_at), "twenty in a minute");
        assert!(!panic_at(59));
        assert!(panic_at(60), "of another minute");
        assert_eq!(engine.stats().panics, 22);
    }

    #[test]
    fn a_panic_of_the_engine_itself_is_not_survived() {
        let (mut engine, _) = engine(2);
        engine.handle_timeout(Time::ZERO);
        assert!(!engine.handle_panic(Time::ZERO));
    }

    #[test]
    fn commands_are_of_the_transport_they_name() {
        let (mut engine, indices) = engine(2);
        engine.handle_command(Time::ZERO, Command::RemoveTransport { transport: TransportKey(9) });
        assert_eq!(engine.suspects.cause, Cause::Input, "of none that is here");
        let ice = IceCredentials { ufrag: "Aother".into(), pwd: "a password of ours".into() };
        engine.handle_command(Time::ZERO, Command::RestartIce { transport: TransportKey(1), ice });
        assert_eq!(engine.suspects.cause, Cause::Transport(indices[1]));
    }
}
