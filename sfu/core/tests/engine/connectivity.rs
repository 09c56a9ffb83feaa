//! ICE: paths, nomination, restart, consent.

use std::time::Duration;

use sfu_core::engine::CONSENT_TIME;
use sfu_core::engine::command::{Command, MediaKind};
use sfu_core::engine::event::Event;
use sfu_core::engine::path::Path;
use sfu_core::id::{Ssrc, TransportKey};
use sfu_core::transport::srtp::Profile;

use crate::client::Sender;
use crate::stun;
use crate::world::{World, credentials, scenario, udp};

const GCM: Profile = Profile::AeadAes128Gcm;

fn call(world: &mut World) {
    world.join(1, GCM);
    world.publish(1, 1, vec![Sender::audio(11, "0")]);
    world.join(2, GCM);
    world.subscribe(2, 1, 100, MediaKind::Audio);
    world.run_for(Duration::from_secs(2));
}

fn selected(world: &World, number: u64) -> Vec<Path> {
    world.events_of(move |event| match event {
        Event::PathSelected { transport, path } if transport.0 == number => Some(*path),
        _ => None,
    })
}

#[test]
fn media_moves_at_once_when_the_client_nominates_another_path() {
    scenario(|world| {
        call(world);
        let roamed = udp(2, 50_001);
        world.clients.get_mut(&2).expect("joined").path = roamed;
        world.run_for(Duration::from_millis(100));
        let before = world.received(2, Ssrc(100)).packets.len();
        world.check(2, true);
        world.run_for(Duration::from_secs(1));
        assert!(world.received(2, Ssrc(100)).packets.len() > before + 40);
        assert_eq!(selected(world, 2), [udp(2, 50_000), roamed]);
        assert!(world.engine().owns(&roamed));
    });
}

#[test]
fn a_path_that_is_only_checked_is_not_sent_on() {
    scenario(|world| {
        call(world);
        let other = udp(2, 50_001);
        let check = stun::check(&credentials(2, 0), false);
        world.deliver_to_server(other, check);
        world.run_for(Duration::from_millis(500));
        assert_eq!(selected(world, 2), [udp(2, 50_000)]);
        // But what comes on it is taken.
        let now = world.now;
        let client = world.clients.get_mut(&1).expect("joined");
        let path = udp(1, 50_007);
        let frames = client.send_padding(Ssrc(11), now);
        let check = stun::check(&client.ice, false);
        let before = world.engine().stats().received.rtp.packets;
        world.deliver_to_server(path, check);
        for frame in frames {
            world.deliver_to_server(path, frame);
        }
        assert_eq!(world.engine().stats().received.rtp.packets, before + 1);
        world.run_for(Duration::from_secs(2));
    });
}

#[test]
fn old_credentials_hold_until_the_new_ones_are_used() {
    scenario(|world| {
        call(world);
        let (old, new) = (credentials(2, 0), credentials(2, 1));
        world.command(Command::RestartIce { transport: TransportKey(2), ice: new.clone() });
        let checks = world.engine().stats().checks;
        let path = udp(2, 50_000);
        world.deliver_to_server(path, stun::check(&old, true));
        assert_eq!(world.engine().stats().checks, checks + 1, "the client has not heard of it yet");
        let roamed = udp(2, 60_000);
        world.clients.get_mut(&2).expect("joined").path = roamed;
        world.clients.get_mut(&2).expect("joined").ice = new.clone();
        world.deliver_to_server(roamed, stun::check(&new, true));
        assert_eq!(world.engine().stats().checks, checks + 2);
        world.deliver_to_server(path, stun::check(&old, true));
        assert_eq!(world.engine().stats().checks, checks + 2);
        assert_eq!(world.engine().stats().dropped.unknown_ufrag, 1);
        let before = world.received(2, Ssrc(100)).packets.len();
        world.run_for(Duration::from_secs(1));
        assert!(world.received(2, Ssrc(100)).packets.len() > before + 40, "the same keys, the same stream");
        assert_eq!(world.received(2, Ssrc(100)).gaps(), Vec::<u64>::new());
    });
}

#[test]
fn consent_ends_when_checks_stop() {
    scenario(|world| {
        call(world);
        world.checks = false;
        let last = world.now;
        world.run_for(CONSENT_TIME + Duration::from_secs(10));
        let lost = world.events.iter().filter(|(_, event)| matches!(event, Event::ConsentLost { .. }));
        let lost: Vec<_> = lost.map(|(at, _)| *at).collect();
        assert_eq!(lost.len(), 2);
        assert!(lost.iter().all(|at| at.since(last) < CONSENT_TIME));
        world.check(2, true);
        world.run_for(CONSENT_TIME + Duration::from_secs(1));
        assert_eq!(world.events.iter().filter(|(_, event)| matches!(event, Event::ConsentLost { .. })).count(), 3);
    });
}

#[test]
fn a_closed_connection_gives_way_to_the_other_path() {
    scenario(|world| {
        call(world);
        let tcp = Path::Tcp { remote: ([10, 0, 0, 2], 40_000).into(), connection: 5 };
        world.clients.get_mut(&2).expect("joined").path = tcp;
        world.check(2, true);
        world.run_for(Duration::from_secs(1));
        let now = world.now;
        world.engine().handle_path_closed(now, tcp);
        assert!(!world.engine().owns(&tcp));
        world.clients.get_mut(&2).expect("joined").path = udp(2, 50_000);
        let before = world.received(2, Ssrc(100)).packets.len();
        world.run_for(Duration::from_secs(1));
        assert!(world.received(2, Ssrc(100)).packets.len() > before + 40);
        assert_eq!(selected(world, 2), [udp(2, 50_000), tcp, udp(2, 50_000)]);
    });
}

#[test]
fn an_address_given_to_somebody_else_belongs_to_who_proved_it_last() {
    scenario(|world| {
        call(world);
        let path = udp(2, 50_000);
        world.deliver_to_server(path, stun::check(&credentials(1, 0), false));
        assert!(world.engine().owns(&path));
        world.run_for(Duration::from_millis(500));
        world.check(2, true);
        let before = world.received(2, Ssrc(100)).packets.len();
        world.run_for(Duration::from_secs(2));
        assert!(world.received(2, Ssrc(100)).packets.len() > before + 80);
    });
}

#[test]
fn dtls_is_passed_from_proven_paths_to_control_and_back() {
    scenario(|world| {
        call(world);
        world.deliver_to_server(udp(9, 1), vec![22, 254, 253, 1]);
        assert_eq!(world.engine().stats().dropped.unknown_path, 1);
        world.deliver_to_server(udp(1, 50_000), vec![22, 254, 253, 2]);
        let passed = world.events_of(|event| match event {
            Event::Dtls { transport, datagram } => Some((transport.0, datagram.clone())),
            _ => None,
        });
        assert_eq!(passed, [(1, vec![22, 254, 253, 2])]);
        world.command(Command::SendDtls { transport: TransportKey(1), datagram: vec![22, 1, 2] });
        assert_eq!(world.engine().stats().sent.dtls.packets, 1);
        world.run_for(Duration::from_secs(10));
    });
}

#[test]
fn a_flood_of_dtls_is_passed_on_at_a_bounded_pace() {
    scenario(|world| {
        call(world);
        let passed = |world: &World| world.events_of(|e| matches!(e, Event::Dtls { .. }).then_some(())).len();
        for _ in 0..3_000 {
            world.deliver_to_server(udp(1, 50_000), vec![22, 254, 253, 2]);
        }
        assert_eq!((passed(world), world.engine().stats().dropped.too_fast), (512, 3_000 - 512));
        world.deliver_to_server(udp(2, 50_000), vec![22, 254, 253, 2]);
        assert_eq!(passed(world), 513, "others are not affected");
        world.run_for(Duration::from_secs(1));
        world.deliver_to_server(udp(1, 50_000), vec![22, 254, 253, 2]);
        assert_eq!(passed(world), 514, "time gives it a chance again");
        world.run_for(Duration::from_secs(5));
    });
}

#[test]
fn a_client_that_roams_without_end_is_heard_of_at_a_bounded_pace() {
    scenario(|world| {
        call(world);
        for n in 0..2_000 {
            world.deliver_to_server(udp(2, 50_000 + n % 2), stun::check(&credentials(2, 0), true));
        }
        let told = selected(world, 2).len();
        assert!((2..300).contains(&told), "{told}");
        world.run_for(Duration::from_secs(5));
    });
}
