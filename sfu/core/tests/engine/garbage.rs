//! Datagrams nobody meant.

use std::time::Duration;

use sfu_core::engine::command::MediaKind;
use sfu_core::id::Ssrc;
use sfu_core::media::random::Random;
use sfu_core::media::rtp::write_header;
use sfu_core::transport::srtp::Profile;

use crate::client::{Sender, VP8};
use crate::stun;
use crate::world::{World, credentials, scenario, udp};

const GCM: Profile = Profile::AeadAes128Gcm;

fn call(world: &mut World) {
    world.join(1, GCM);
    world.publish(1, 2, vec![Sender::video(21, "1", None)]);
    world.join(2, GCM);
    world.subscribe(2, 2, 200, MediaKind::Video);
    world.run_for(Duration::from_secs(1));
}

#[test]
fn random_and_mutated_datagrams_are_dropped_and_counted() {
    scenario(|world| {
        call(world);
        let mut random = Random::new(5);
        let real = [
            stun::check(&credentials(1, 0), true),
            world.clients.get_mut(&2).expect("joined").picture_loss(Ssrc(200)),
            vec![22, 254, 253, 0, 0, 0, 0, 0],
        ];
        let before = *world.engine().stats();
        for _ in 0..20_000 {
            let mut datagram = if random.next().is_multiple_of(2) {
                (0..random.next() % 200).map(|_| random.next() as u8).collect()
            } else {
                real[(random.next() % 3) as usize].clone()
            };
            for _ in 0..=random.next() % 4 {
                let length = datagram.len().max(1) as u64;
                if let Some(byte) = datagram.get_mut((random.next() % length) as usize) {
                    *byte ^= random.next() as u8 | 1;
                }
            }
            datagram.truncate((random.next() % 300) as usize);
            let path = udp(random.next() % 4, 50_000);
            world.deliver_to_server(path, datagram);
        }
        let after = *world.engine().stats();
        assert_eq!(after.received.rtp, before.received.rtp, "no media was made of it");
        let dropped = after.dropped;
        assert!(dropped.forged > 100 && dropped.malformed > 100 && dropped.unknown_path > 100, "{dropped:?}");
        assert!(dropped.unknown_ufrag > 100 && dropped.rejected_check > 100, "{dropped:?}");
        let video = world.received(2, Ssrc(200)).packets.len();
        world.run_for(Duration::from_secs(1));
        assert!(world.received(2, Ssrc(200)).packets.len() > video + 60, "the call goes on");
    });
}

#[test]
fn authentic_nonsense_breaks_nothing() {
    scenario(|world| {
        call(world);
        let mut random = Random::new(6);
        for round in 0..5_000_u64 {
            let client = world.clients.get_mut(&1).expect("joined");
            let path = client.path;
            let datagram = if random.next().is_multiple_of(2) {
                let mut rtcp = vec![
                    0x80 | random.next() as u8 & 0x3f,
                    200 + (random.next() % 8) as u8,
                    0,
                    random.next() as u8 % 16,
                ];
                rtcp.extend((0..4 + random.next() % 64).map(|_| random.next() as u8));
                client.seal_rtcp(rtcp)
            } else {
                let ssrc = Ssrc((round % 1_500) as u32 + 5_000);
                let mut rtp = Vec::new();
                write_header(&mut rtp, VP8 + (random.next() % 2) as u8, false, 0, 0, ssrc);
                rtp.extend((0..random.next() % 30).map(|_| random.next() as u8));
                let Ok(stream) = client.sealer.open_stream(ssrc) else { continue };
                let index = client.sealer.next_index(stream).unwrap_or_default();
                if client.sealer.seal_rtp(stream, index, &mut rtp).is_err() {
                    continue;
                }
                rtp
            };
            world.deliver_to_server(path, datagram);
        }
        world.run_for(Duration::from_secs(1));
        let dropped = world.engine().stats().dropped;
        assert!(dropped.too_many_ssrcs > 0, "{dropped:?}");
        assert_eq!(dropped.unsealable, 0);
    });
}

#[test]
fn media_is_taken_once_and_only_from_proven_paths() {
    scenario(|world| {
        call(world);
        let now = world.now;
        let client = world.clients.get_mut(&1).expect("joined");
        let (path, packets) = (client.path, client.send_padding(Ssrc(21), now));
        let before = *world.engine().stats();
        world.deliver_to_server(udp(77, 1), packets[0].clone());
        world.deliver_to_server(path, packets[0].clone());
        world.deliver_to_server(path, packets[0].clone());
        let after = *world.engine().stats();
        assert_eq!(after.dropped.unknown_path, before.dropped.unknown_path + 1);
        assert_eq!(after.received.rtp.packets, before.received.rtp.packets + 1);
        assert_eq!(after.dropped.replayed, before.dropped.replayed + 1);
        world.run_for(Duration::from_secs(6));
    });
}
