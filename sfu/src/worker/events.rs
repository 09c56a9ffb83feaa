//! Events of the engine on their way to control.

use sfu_core::engine::Engine;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::WorkerEvent;

/// Hands over what the engine has to tell, as far as control's queue has room. False if some may be left: they wait in
/// the engine, which drops only what is told again and again.
pub fn hand_over(engine: &mut Engine, worker: usize, queue: &mpsc::Sender<WorkerEvent>) -> bool {
    loop {
        // The place first: an event that is taken out and finds none is lost, and most come only once.
        match queue.try_reserve() {
            Ok(place) => match engine.poll_event() {
                Some(event) => place.send(WorkerEvent::Media { worker, event }),
                None => return true,
            },
            Err(TrySendError::Full(())) => return false,
            Err(TrySendError::Closed(())) => {
                // Control has ended, and with it everybody who could be told.
                while engine.poll_event().is_some() {}
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sfu_core::engine::command::Command;
    use sfu_core::engine::event::Event;
    use sfu_core::engine::{CONSENT_TIME, EngineConfig};
    use sfu_core::id::TransportKey;
    use sfu_core::time::Time;
    use sfu_core::transport::ice::IceCredentials;

    use super::*;

    #[test]
    fn events_that_find_no_place_wait_for_one() {
        let mut engine = Engine::new(EngineConfig::default());
        for key in 0..3 {
            let ice = IceCredentials { ufrag: format!("Aufrag{key}"), pwd: "a password of ours".into() };
            engine.handle_command(Time::ZERO, Command::AddTransport { transport: TransportKey(key), ice });
        }
        engine.handle_timeout(Time::ZERO + CONSENT_TIME);
        let (queue, mut control) = mpsc::channel(1);
        let mut lost = Vec::new();
        for _ in 0..3 {
            assert!(!hand_over(&mut engine, 0, &queue), "the queue is full");
            if let Ok(WorkerEvent::Media { event: Event::ConsentLost { transport }, .. }) = control.try_recv() {
                lost.push(transport.0);
            }
        }
        assert!(hand_over(&mut engine, 0, &queue), "nothing is left");
        lost.sort_unstable();
        assert_eq!(lost, [0, 1, 2]);
    }
}
