//! Forwarding takes no memory from the allocator, and relaying one piece for each burst and peer.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use sfu_core::engine::Engine;
use sfu_core::engine::command::{Command, MediaKind, Target};
use sfu_core::engine::path::Path;
use sfu_core::engine::relay::message::Relay;
use sfu_core::id::{PeerKey, Ssrc};
use sfu_core::media::twcc::FeedbackGenerator;
use sfu_core::time::Time;
use sfu_core::transport::srtp::Profile;

use crate::client::Sender;
use crate::encoder::{Mode, Telling};
use crate::network::Bottleneck;
use crate::redundancy::{AUDIO, report};
use crate::svc;
use crate::world::{World, subscription_key};

const SUBSCRIBERS: u64 = 50;
/// Packets of a picture.
const BURST: u8 = 8;

/// The system's allocator, which counts for each thread: tests run beside each other.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes this thread has taken and not given back.
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

fn count(taken: usize) {
    // A thread that ends has nobody left who would ask.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
    keep_account(taken.cast_signed());
}

fn keep_account(bytes: isize) {
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
}

/// Allocations of this thread so far.
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// Bytes that this thread has in use.
pub fn live_bytes() -> isize {
    LIVE.get()
}

#[expect(unsafe_code, reason = "an allocator has no other interface; all is handed to the system's as it is")]
// SAFETY: as `System`, which does everything.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        keep_account(-layout.size().cast_signed());
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        keep_account(-layout.size().cast_signed());
        count(size);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Hands a burst to the engine and takes out all copies: how many these are, and how many allocations it took.
fn forward(engine: &mut Engine, now: Time, path: Path, burst: &mut [Vec<u8>]) -> (u64, u64) {
    let before = ALLOCATIONS.get();
    for datagram in burst {
        engine.handle_datagram(now, path, datagram);
    }
    engine.handle_timeout(now);
    let mut copies = 0;
    while let Some(transmit) = engine.poll_transmit() {
        copies += 1;
        engine.recycle(transmit.payload);
    }
    (copies, ALLOCATIONS.get() - before)
}

#[test]
fn forwarding_allocates_nothing() {
    for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80] {
        let mut world = World::new(None);
        world.join(1, profile);
        let mut screen = Sender::video(21, "1", None);
        screen.packets_per_frame = BURST;
        world.publish(1, 1, vec![Sender::audio(11, "0")]);
        world.publish(1, 2, vec![screen]);
        for number in 2..2 + SUBSCRIBERS {
            world.join(number, profile);
            world.subscribe(number, 1, 100, MediaKind::Audio);
            world.subscribe(number, 2, 200, MediaKind::Video);
            // So that what is sent is noted.
            world.clients.get_mut(&number).expect("joined").arrivals = Some(FeedbackGenerator::default());
        }
        // Histories, buffers and queues reach their size.
        world.run_for(Duration::from_secs(12));
        let now = world.now;
        // What is due now is told now: levels are a list.
        let path = world.clients[&1].path;
        forward(world.engine(), now, path, &mut []);
        for (ssrc, burst) in [(11, 1), (21, u64::from(BURST))] {
            let client = world.clients.get_mut(&1).expect("joined");
            for sender in &mut client.senders {
                sender.active = sender.ssrc == Ssrc(ssrc);
                sender.next_frame = now;
            }
            // Their times lie ahead, but they come now, so that nothing falls due but forwarding.
            let mut datagrams = client.send_frames(now + Duration::from_millis(200));
            let path = client.path;
            assert!(datagrams.len() >= 6);
            for (at, burst) in datagrams.chunks_mut(burst as usize).enumerate() {
                let (copies, allocations) = forward(world.engine(), now, path, burst);
                // A queue may grow once more with the first.
                let allocations = if at == 0 { 0 } else { allocations };
                assert_eq!((copies, allocations), (burst.len() as u64 * SUBSCRIBERS, 0), "{profile:?} {at}");
            }
        }
    }
}

/// Wishes change layers all the time, and half of the subscribers are behind a link that is too narrow, so that pictures
/// wait and layers change for that too. Beginning a layer may take memory; a packet does not, nor does one that waits:
/// no more is taken than while everybody gets everything, for reports and checks.
#[test]
fn changing_layers_and_waiting_take_no_memory() {
    // 25 frames a second of four packets: 0.2, 0.6 and 1.2 Mb/s.
    let layer = |(ssrc, rid, filling)| {
        let mut layer = Sender::video(ssrc, "1", Some(rid));
        (layer.packets_per_frame, layer.filling) = (4, filling);
        layer
    };
    let simulcast = [(21, "q", 150), (22, "h", 650), (23, "f", 1_400)].map(layer).into();
    let scalable = |telling| {
        let mut camera = svc::camera(telling, Mode::Key, 3, 3);
        (camera.packets_per_frame, camera.filling) = (4, 1_400);
        vec![camera]
    };
    let cameras = [simulcast, scalable(Telling::Descriptor), scalable(Telling::Vp9)];
    for (name, camera) in ["simulcast", "AV1", "VP9"].into_iter().zip(cameras) {
        let mut world = World::new(None);
        world.join(1, Profile::AeadAes128Gcm);
        world.publish(1, 2, camera);
        for number in 2..22 {
            world.join(number, Profile::AeadAes128Gcm);
            world.subscribe(number, 2, 200, MediaKind::Video);
        }
        let run = |world: &mut World, seconds: u64, highest: u64| {
            let before = (world.engine_allocations, world.engine().stats().sent.rtp.packets);
            for turn in 0..seconds * 4 {
                for number in 2..22 {
                    let target = Target::Layer((turn % (highest + 1)) as u8);
                    world.command(Command::SetTarget { subscription: subscription_key(number, 200), target });
                }
                world.run_for(Duration::from_millis(250));
            }
            (world.engine_allocations - before.0, world.engine().stats().sent.rtp.packets - before.1)
        };
        run(&mut world, 20, 0);
        let (still, _) = run(&mut world, 10, 0);
        world.narrow(&(2..12).collect::<Vec<_>>(), Bottleneck::new(5_000_000, 150_000));
        run(&mut world, 30, 2);
        let (busy, packets) = run(&mut world, 10, 2);
        println!("{name}: {busy} allocations beside {packets} packets, {still} where nothing changes");
        assert!(packets > 15_000, "{name}: {packets}");
        // Only who gets less than there is is probed.
        assert!(world.engine().stats().sent.padding.packets > 100, "{name}: the link was wide enough");
        // One for each change, of which there are 800 by wish.
        assert!(busy <= still + 800, "{name}: {busy}, {still}");
    }
}

#[test]
fn making_audio_redundant_and_plain_again_allocates_nothing() {
    let mut world = World::new(None);
    world.join(1, Profile::AeadAes128Gcm);
    world.publish(1, 1, vec![Sender::redundant(11, "0", 2)]);
    for number in 2..2 + SUBSCRIBERS {
        world.join(number, Profile::AeadAes128Gcm);
        world.subscribe_redundant(number, 1, AUDIO.0);
    }
    for _ in 0..6 {
        world.run_for(Duration::from_secs(2));
        // One earlier frame for some, two for others, none for the rest.
        for number in 2..2 + SUBSCRIBERS {
            report(&mut world, number, [0, 10, 60][number as usize % 3]);
        }
    }
    let now = world.now;
    let client = world.clients.get_mut(&1).expect("joined");
    let path = client.path;
    let each = (1..=60).map(|frame| now + frame * Duration::from_millis(20));
    let mut datagrams: Vec<_> = each.flat_map(|due| client.send_frames(due)).collect();
    assert_eq!(datagrams.len(), 60);
    forward(world.engine(), now, path, &mut []);
    let before = *world.engine().stats();
    for (at, burst) in datagrams.chunks_mut(2).enumerate() {
        // Every other time one is lost, and recovered with what comes next.
        let burst = if at % 2 == 0 { burst } else { &mut burst[1..] };
        let (copies, allocations) = forward(world.engine(), now, path, burst);
        // With the first comes what is still on its way. Twice as many copies at once as before take more buffers, and
        // each of these grows with the first redundant packet that it holds.
        let (copies, allocations) = if at < 20 { (2 * SUBSCRIBERS, 0) } else { (copies, allocations) };
        assert_eq!((copies, allocations), (2 * SUBSCRIBERS, 0), "{at}");
    }
    let after = *world.engine().stats();
    assert!(after.redundancy.recovered - before.redundancy.recovered >= 15);
    assert!(after.redundancy.sent - before.redundancy.sent >= SUBSCRIBERS * 2 / 3 * 10);
    // Some 60 packets, each with one earlier frame and with two.
    let encoded = after.redundancy.encoded - before.redundancy.encoded;
    assert!((20..=130).contains(&encoded), "{encoded}: once, and not for each of {SUBSCRIBERS}");
}

#[test]
fn a_relay_takes_one_allocation_a_burst_and_gives_it_back() {
    let mut world = World::with_sites(2, None);
    world.join(1, Profile::AeadAes128Gcm);
    let screen = || {
        let mut screen = Sender::video(21, "1", None);
        screen.packets_per_frame = BURST;
        vec![screen]
    };
    world.publish(1, 2, screen());
    world.relay(1, 2, &screen(), 1);
    for number in 2..2 + SUBSCRIBERS {
        world.join_at(1, number, Profile::AeadAes128Gcm);
        world.subscribe(number, 2, 200, MediaKind::Video);
    }
    world.run_for(Duration::from_secs(12));
    let now = world.now;
    let client = world.clients.get_mut(&1).expect("joined");
    let mut datagrams = client.send_frames(now + Duration::from_millis(200));
    let path = client.path;
    assert!(datagrams.len() >= 6);
    for (at, burst) in datagrams.chunks_mut(usize::from(BURST)).enumerate() {
        let (_, at_home) = forward(world.engine(), now, path, burst);
        let relays: Vec<Relay> = std::iter::from_fn(|| world.engine().poll_relay()).collect();
        // Behind what is still on its way, the first picture's first packet is late and goes alone.
        assert_eq!(relays.len(), if at == 0 { 2 } else { 1 });
        let remote = world.engine_at(1);
        let before = ALLOCATIONS.get();
        for Relay { message, .. } in relays {
            remote.handle_relay(now, PeerKey(0), message);
        }
        let (copies, _) = forward(remote, now, path, &mut []);
        let there = ALLOCATIONS.get() - before;
        // A queue may grow once more with the first.
        let allocations = if at == 0 { (1, 0) } else { (at_home, there) };
        assert_eq!((copies, allocations), (u64::from(BURST) * SUBSCRIBERS, (1, 0)), "{at}");
    }
}
