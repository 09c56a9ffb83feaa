//! A panic over one client's input ends that client's transport, and no other.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use sfu_core::engine::Engine;
use sfu_core::time::Time;

// Where a panic aborts, all of this would be for nothing.
const _: () = assert!(cfg!(panic = "unwind"));

/// Has an engine do something. If that panics, the engine ends the transports it was for, tells control, and is used on;
/// if it was for none, or this goes on, the thread unwinds, and the process ends and is started anew.
pub fn contain(engine: &mut Engine, now: Time, work: impl FnOnce(&mut Engine)) {
    // What the engine is left with is consistent as far as memory goes, and what it had begun for the transports that
    // end is removed with them.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(engine)))
        && !engine.handle_panic(now)
    {
        resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests {
    use sfu_core::engine::command::Command;
    use sfu_core::engine::event::Event;
    use sfu_core::engine::{CONSENT_TIME, EngineConfig};
    use sfu_core::id::TransportKey;
    use sfu_core::transport::ice::IceCredentials;

    use super::*;

    const NOW: Time = Time::ZERO;

    fn ice(transport: u64, generation: u64) -> IceCredentials {
        IceCredentials { ufrag: format!("Aufrag{transport}{generation}"), pwd: "a password of ours".into() }
    }

    fn engine() -> Engine {
        let mut engine = Engine::new(EngineConfig::default());
        for key in 0..3 {
            engine.handle_command(NOW, Command::AddTransport { transport: TransportKey(key), ice: ice(key, 0) });
        }
        engine
    }

    fn events(engine: &mut Engine) -> Vec<Event> {
        std::iter::from_fn(|| engine.poll_event()).collect()
    }

    #[test]
    fn a_panic_ends_one_transport_and_the_others_go_on() {
        let mut engine = engine();
        contain(&mut engine, NOW, |engine| {
            engine.handle_command(NOW, Command::RestartIce { transport: TransportKey(1), ice: ice(1, 1) });
            panic!("a fault of the engine");
        });
        assert_eq!(events(&mut engine), [Event::Failed { transport: TransportKey(1) }]);
        contain(&mut engine, NOW, |engine| engine.handle_timeout(NOW + CONSENT_TIME));
        let mut told: Vec<_> = events(&mut engine).iter().map(|event| format!("{event:?}")).collect();
        told.sort_unstable();
        let expected = [0, 2].map(|key| format!("{:?}", Event::ConsentLost { transport: TransportKey(key) }));
        assert_eq!(told, expected, "those that are left are looked after");
    }

    #[test]
    fn a_panic_over_a_strangers_datagram_ends_nobody() {
        let mut engine = engine();
        contain(&mut engine, NOW, |engine| {
            let path = sfu_core::engine::path::Path::Udp { remote: ([192, 0, 2, 7], 5000).into(), local: None };
            engine.handle_datagram(NOW, path, &mut [0; 20]);
            panic!("a fault of the engine");
        });
        assert_eq!((events(&mut engine), engine.stats().transports), (Vec::new(), 3));
    }

    #[test]
    #[should_panic(expected = "a fault of the engine")]
    fn a_panic_that_is_nobodys_ends_the_thread() {
        contain(&mut engine(), NOW, |engine| {
            engine.handle_timeout(NOW);
            panic!("a fault of the engine");
        });
    }
}
