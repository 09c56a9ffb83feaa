//! A panic over what one client wants ends that client's stay, and no other.
//!
//! As for media threads ([`crate::worker`]): nothing is known that panics, but a hundred calls must not rest on that.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use livekit_protocol::DisconnectReason;
use livekit_protocol::leave_request::Action;
use sfu_core::call::{Identity, ParticipantId};

use super::Control;

/// Whose wish control works on.
#[derive(Debug)]
pub(super) enum Suspect {
    Participant(ParticipantId),
    /// Somebody who comes has no id yet.
    Coming {
        room: String,
        identity: Identity,
    },
}

impl Control {
    /// Does something for one client. If that panics, the client's stay ends, and it is told to come anew; if that
    /// panics as well, or it goes on, the thread unwinds, and the process ends and is started anew.
    pub(super) fn contain<T>(&mut self, suspect: &Suspect, work: impl FnOnce(&mut Self) -> T) -> Option<T> {
        // What is left is consistent as far as memory goes, and what was begun for the client is removed with it.
        let panic = match catch_unwind(AssertUnwindSafe(|| work(self))) {
            Ok(done) => return Some(done),
            Err(panic) => panic,
        };
        if !self.panics.note(self.context.now()) {
            resume_unwind(panic);
        }
        self.context.metrics.control_panicked();
        self.end_stay(suspect);
        None
    }

    fn end_stay(&mut self, suspect: &Suspect) {
        let id = match suspect {
            Suspect::Participant(id) => id.clone(),
            Suspect::Coming { room, identity } => {
                self.registry.look_at(room);
                let come = self.calls.get(room).and_then(|call| call.call.by_identity(identity));
                let Some(participant) = come else { return };
                participant.id.clone()
            }
        };
        tracing::error!(participant = %id.0, "handling a client panicked; its stay has ended");
        let Self { context, registry, calls, .. } = self;
        if let Some(call) = registry.call_of(&id).map(str::to_owned).and_then(|name| calls.get_mut(&name)) {
            call.dismiss(context, registry, &id, Action::Reconnect, DisconnectReason::StateMismatch);
        }
        registry.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr, UdpSocket};

    use fleet::api::{SfuLoad, SfuState, SfuStatus};
    use fleet::config::SfuConfig;
    use sfu_core::transport::certificate::Certificate;
    use sfu_core::transport::dtls::DtlsIdentity;
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::address::{Advertised, MediaPorts};
    use crate::clock::Clock;
    use crate::control::{Context, Media, Parts};
    use crate::fleet_api::RunningCalls;
    use crate::keys::{Keys, Secret};
    use crate::livekit::join::{Join, JoinQuery};
    use crate::livekit::token::{Claims, VideoGrant};
    use crate::metrics::Metrics;
    use crate::worker::Steering;

    /// Control without media threads: what it orders of them is lost.
    fn control() -> Control {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let media = Media { workers: Vec::new(), steering: Steering::new(&socket, 1).unwrap() };
        let identity = DtlsIdentity::new(&Certificate::generate().unwrap()).unwrap();
        let keys = Keys::new(BTreeMap::from([("devkey".to_owned(), Secret::new("secret"))]));
        let ports = MediaPorts { udp: 7882, tcp: None };
        let advertised = Advertised::fixed(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], ports, "Local");
        let advertised = watch::Sender::new(advertised).subscribe();
        let (clock, metrics) = (Clock::start(), Metrics::default());
        let status = SfuStatus {
            name: "sfu".into(),
            node: String::new(),
            version: String::new(),
            state: SfuState::Starting,
            candidates: Vec::new(),
            address_problem: None,
            load: SfuLoad::default(),
            drain: None,
            can_drain: true,
        };
        Control::new(Parts {
            context: Context::new(clock, media, identity, keys, advertised, "sfu".into(), metrics),
            config: watch::Sender::new(SfuConfig::default()).subscribe(),
            worker_events: mpsc::channel(1).1,
            running: RunningCalls::default().into(),
            status: watch::Sender::new(status),
            people_per_worker: 250,
            recorders: None,
        })
    }

    fn join(name: &str) -> Join {
        let video = VideoGrant { room_join: true, room: "standup".into(), ..VideoGrant::default() };
        let claims = Claims { sub: name.into(), video: Some(video), ..Claims::default() };
        Join::read(&JoinQuery::default(), claims, false).unwrap()
    }

    fn here(control: &Control) -> Vec<&str> {
        let calls = control.calls.values();
        calls.flat_map(|call| call.call.participants()).map(|person| person.identity.0.as_str()).collect()
    }

    #[test]
    fn a_panic_over_a_wish_ends_one_stay() {
        let mut control = control();
        let [ana, bo] = ["Ana", "Bo"].map(|name| control.join(&join(name)).unwrap());
        let suspect = Suspect::Participant(bo.attachment.participant);
        assert!(control.contain(&suspect, |_| panic!("a fault of control")).is_none_or(|()| false));
        assert_eq!((here(&control), control.registry.n_people()), (vec!["Ana"], 1));
        let suspect = Suspect::Participant(ana.attachment.participant);
        assert_eq!(control.contain(&suspect, |control| control.registry.n_people()), Some(1), "she stays");
        assert!(control.context.metrics.render().contains("calls_sfu_control_panics_total 1"));
    }

    #[test]
    fn a_panic_over_somebody_who_comes_leaves_nothing_of_them() {
        let mut control = control();
        let suspect = Suspect::Coming { room: "standup".into(), identity: Identity("Ana".into()) };
        let joined = control.contain(&suspect, |control| {
            control.join(&join("Ana")).unwrap();
            panic!("a fault of control");
        });
        assert!(joined.is_none_or(|()| false));
        control.end_empty_calls();
        assert_eq!((control.calls.len(), control.registry.n_people()), (0, 0));
    }

    #[test]
    #[should_panic(expected = "a fault of control")]
    fn a_panic_that_comes_again_and_again_ends_the_thread() {
        let mut control = control();
        let nobody = Suspect::Participant(ParticipantId("PA_nobody".into()));
        for _ in 0..100 {
            control.contain(&nobody, |_| panic!("a fault of control"));
        }
    }
}
