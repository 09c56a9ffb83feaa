//! Nothing grows with time: an engine that thousands came to and left is as large as after the first of them.

use std::time::Duration;

use sfu_core::engine::command::{Command, MediaKind};
use sfu_core::id::{TrackKey, TransportKey};
use sfu_core::transport::srtp::Profile;

use crate::allocations::live_bytes;
use crate::client::Sender;
use crate::world::{World, subscription_key};

const GCM: Profile = Profile::AeadAes128Gcm;
/// Who stays: one speaks, one listens to all.
const SPEAKER: u64 = 1;
const LISTENER: u64 = 2;
/// SSRCs that control uses by turns for those who come and go, as it does by waiting before it uses one again.
const TURNS: u64 = 20;
const FIRST: u32 = 1_000;

/// Bytes of an engine that so many came to, each speaking and listening for a moment, while two stayed.
fn engine_after(visits: u64) -> isize {
    let mut world = World::new(None);
    world.join(SPEAKER, GCM);
    world.publish(SPEAKER, SPEAKER, vec![Sender::audio(11, "0")]);
    world.join(LISTENER, GCM);
    world.subscribe(LISTENER, SPEAKER, 100, MediaKind::Audio);
    world.run_for(Duration::from_millis(200));
    for visit in 0..visits {
        let visitor = 10 + visit;
        let ssrc = FIRST + (visit % TURNS) as u32;
        world.join(visitor, GCM);
        let mut voice = Sender::audio(12, "0");
        voice.next_frame = world.now;
        world.publish(visitor, visitor, vec![voice]);
        world.subscribe(visitor, SPEAKER, 100, MediaKind::Audio);
        world.subscribe(LISTENER, visitor, ssrc, MediaKind::Audio);
        world.run_for(Duration::from_millis(40));
        world.command(Command::Unsubscribe { subscription: subscription_key(LISTENER, ssrc) });
        world.command(Command::Unpublish { track: TrackKey(visitor) });
        world.command(Command::RemoveTransport { transport: TransportKey(visitor) });
        world.clients.remove(&visitor);
    }
    let heard = world.received(LISTENER, sfu_core::id::Ssrc(FIRST)).packets.len() as u64;
    assert!(heard >= visits / TURNS, "{heard} packets of those who came by turns");
    world.run_for(Duration::from_secs(40));
    let with = live_bytes();
    world.stop(0);
    with - live_bytes()
}

/// Bytes of an engine in which one speaks to so many, and is seen, once histories are full.
fn engine_with(listeners: u64) -> isize {
    let mut world = World::new(None);
    world.join(SPEAKER, GCM);
    world.publish(SPEAKER, 1, vec![Sender::audio(11, "0")]);
    // One packet a picture: buffers for what leaves at once are the engine's, and there are as many as there are copies.
    let mut camera = Sender::video(21, "1", None);
    camera.packets_per_frame = 1;
    world.publish(SPEAKER, 2, vec![camera]);
    for listener in 10..10 + listeners {
        world.join(listener, GCM);
        world.subscribe(listener, 1, 100, MediaKind::Audio);
        world.subscribe(listener, 2, 200, MediaKind::Video);
    }
    world.run_for(Duration::from_secs(12));
    let with = live_bytes();
    world.stop(0);
    with - live_bytes()
}

/// What was sent is kept once, by the stream it came on.
#[test]
fn a_subscriber_keeps_no_packets() {
    let (few, many) = (engine_with(10), engine_with(60));
    let (each, history) = ((many - few) / 50, few - (many - few) / 5);
    println!("{each} bytes for each of those who get both tracks, {history} for the tracks");
    assert!(history > 60_000, "{history}");
    assert!(each < 10_000, "{each}");
}

#[test]
fn an_engine_that_thousands_came_to_and_left_is_as_large_as_after_the_first_thousand() {
    // Deadlines of who has left are kept until they would have come, half a minute at most: a thousand come in longer.
    let (few, many) = (engine_after(1_000), engine_after(4_000));
    assert!(few > 10_000, "{few} bytes are no engine");
    assert!(many <= few + few / 20, "{few} bytes after a thousand, {many} after four thousand");
}
