//! What control does when the SFU is to leave, or to stay after all; what is due is decided in [`super::super::drain`].

use std::time::{Duration, Instant};

use fleet::api::Means;

use super::Control;
use crate::clock::unix_now_ms;
use crate::control::drain::Drain;
use crate::fleet_api::Asked;

impl Control {
    /// Whether a call that is not here is to begin at another SFU.
    pub(super) fn is_elsewhere(&mut self, call: &str) -> bool {
        let now = Instant::now();
        if let Some(drain) = &self.drain {
            if drain.has_takers() {
                self.turned_away.note(call, now);
            }
            return true;
        }
        self.turned_away.contains(call, now)
    }

    pub(super) fn asked(&mut self, asked: Asked) {
        let (now, unix) = (self.context.now(), unix_now_ms() / 1000);
        match (asked, &mut self.drain) {
            (Asked::ToLeave(order), Some(drain)) => drain.change(order, now, unix),
            (Asked::ToLeave(order), none) => {
                tracing::info!(n_calls = self.calls.len(), ?order, "draining: new calls are refused");
                *none = Some(Drain::begin(order, now, unix));
            }
            (Asked::ToStay, Some(drain)) if !drain.is_final() => {
                tracing::info!(n_calls = self.calls.len(), "not draining any more: new calls are taken");
                self.drain = None;
            }
            (Asked::ToStay, _) => {}
        }
        self.send_due_away();
    }

    pub(super) fn stop(&mut self, within: Duration) {
        let (now, unix) = (self.context.now(), unix_now_ms() / 1000);
        tracing::info!(n_calls = self.calls.len(), "stopping: new calls are refused, people are sent elsewhere");
        let before = self.drain.take();
        self.drain = Some(Drain::stopping(before, within, now, unix));
        self.send_due_away();
    }

    /// Sends those calls to other SFUs whose turn it is.
    pub(super) fn send_due_away(&mut self) {
        let Some(drain) = &mut self.drain else { return };
        let calls = self.calls.iter().map(|(name, call)| (name.as_str(), call.n_sessions()));
        let has_takers = drain.has_takers();
        for name in drain.take_due(calls, self.context.now()) {
            if has_takers {
                self.turned_away.note(&name, Instant::now());
            }
            self.send_away(&name);
        }
    }

    fn send_away(&mut self, name: &str) {
        let Some(mut call) = self.calls.remove(name) else { return };
        let people = u32::try_from(call.n_sessions()).unwrap_or(u32::MAX);
        // Others must know that the call is free before its people come back.
        self.running.sent_away(name, people, Means::Reconnect);
        call.disperse(&mut self.context, &mut self.registry);
        tracing::info!(call = name, people, "call sent elsewhere");
    }
}
