//! What clients ask to be put through, to try how they bear it. Each concerns the client that asks alone.

use std::time::Duration;

use livekit_protocol as proto;
use livekit_protocol::leave_request::Action;
use livekit_protocol::simulate_scenario::Scenario;
use sfu_core::call::ParticipantId;

use super::{Context, LiveCall, Registry};

/// Longest time for which somebody seems to speak.
const MAX_SPEAKING: Duration = Duration::from_mins(1);

impl LiveCall {
    pub(super) fn simulate(
        &mut self,
        context: &mut Context,
        registry: &mut Registry,
        id: &ParticipantId,
        scenario: Option<Scenario>,
    ) {
        let reason = proto::DisconnectReason::ServerShutdown;
        match scenario {
            Some(Scenario::SpeakerUpdate(seconds)) => {
                let time = Duration::from_secs(u64::try_from(seconds).unwrap_or_default()).min(MAX_SPEAKING);
                self.told.pretend(id, context.now() + time);
            }
            // As when the node loses its power: no word, neither on the websocket nor on the media's path.
            Some(Scenario::NodeFailure(true)) => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.vanish(context);
                }
                self.leave(context, registry, id);
            }
            // As when somebody else takes the call over: the websocket ends, and the stay goes on.
            Some(Scenario::Migration(true)) => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.detach();
                }
            }
            Some(Scenario::ServerLeave(true)) => self.dismiss(context, registry, id, Action::Disconnect, reason),
            Some(Scenario::LeaveRequestFullReconnect(true)) => {
                self.dismiss(context, registry, id, Action::Reconnect, reason);
            }
            // Media over TCP alone, a limit of bandwidth and websockets that end after a resume are not simulated.
            _ => tracing::debug!(participant = %id.0, ?scenario, "not simulated"),
        }
    }
}
