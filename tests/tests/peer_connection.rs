//! Complete connections between the SFU's parts and an independent client: ICE, DTLS, SRTP both ways, data channels.

use std::time::Duration;

use calls_tests::{Client, World};
use sfu_core::engine::command::{Codec as CoreCodec, Command, MediaKind as CoreKind, Priority, Subscribe, Target};
use sfu_core::engine::event::Event;
use sfu_core::id::{self, Ssrc, SubscriptionKey, TrackKey, TransportKey};
use sfu_core::sdp::{
    Assignment, ClientOffers, CodecPolicy, DtlsRole, Handling, LocalTransport, PublishOptions, ServerOffers,
    Subscription,
};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid, Rid, Simulcast, SimulcastLayer};

/// Longer than any of it takes, in virtual time.
const LIMIT: Duration = Duration::from_secs(5);
/// Between two audio packets.
const AUDIO_INTERVAL: Duration = Duration::from_millis(20);

const A: TransportKey = TransportKey(0);
const B: TransportKey = TransportKey(1);

/// One transport's negotiation with the client of the same number, which always offers.
struct Peer {
    key: TransportKey,
    offers: ClientOffers,
    local: LocalTransport,
}

impl Peer {
    fn new(world: &mut World, key: TransportKey) -> Self {
        let now = world.now();
        let local = world.sfu.open(now, key);
        Self { key, offers: ClientOffers::new(key.0, CodecPolicy::default()), local }
    }

    fn client<'w>(&self, world: &'w mut World) -> &'w mut Client {
        &mut world.clients[usize::try_from(self.key.0).expect("small")]
    }

    /// The client's offer goes to the SFU, and its answer back. Whatever the client sends is published under the
    /// next keys from `first_track` on; what it receives is subscribed to `sources`.
    fn negotiate(&mut self, world: &mut World, offer: &str, first_track: u64, sources: &[(SubscriptionKey, TrackKey)]) {
        let now = world.now();
        let outcome = self.offers.handle_offer(offer).expect("an offer that can be negotiated");
        if outcome.ice_restart {
            self.local = world.sfu.restart_ice(now, self.key);
        }
        for (section, number) in outcome.published.iter().zip(first_track..) {
            let track = TrackKey(number);
            let section = self.offers.claim(&section.mid, track, PublishOptions::default()).expect("new");
            world.sfu.command(now, Command::Publish(Box::new(section.publish(track, self.key, Handling::default()))));
        }
        for track in outcome.unpublished {
            world.sfu.command(now, Command::Unpublish { track });
        }
        if !world.sfu.has_started(self.key) {
            world.sfu.start(now, self.key, outcome.role, Some(outcome.remote.fingerprint));
        }
        let answer = self.offers.answer(&self.local).expect("an offer waits");
        for started in answer.started {
            subscribe(world, self.key, started, sources);
        }
        self.client(world).accept_answer(&answer.sdp);
    }
}

fn subscription(key: SubscriptionKey, kind: CoreKind) -> Subscription {
    let ssrc = 7000 + u32::try_from(key.0).expect("small") * 2;
    Subscription {
        key,
        kind,
        stream_id: "PA_publisher".into(),
        track_id: format!("TR_{}", key.0),
        ssrc: Ssrc(ssrc),
        rtx_ssrc: (kind == CoreKind::Video).then_some(Ssrc(ssrc + 1)),
        cname: "PA_publisher".into(),
        stereo: false,
    }
}

/// Tells the engine of a subscription that got its m-line.
fn subscribe(
    world: &mut World,
    transport: TransportKey,
    assignment: Assignment,
    sources: &[(SubscriptionKey, TrackKey)],
) {
    let Assignment { subscription: key, mid, codecs, extensions } = assignment;
    let (_, track) = sources.iter().find(|(known, _)| *known == key).expect("a source");
    let is_video = codecs.iter().any(|mapping| mapping.codec == CoreCodec::Vp8);
    let described = subscription(key, if is_video { CoreKind::Video } else { CoreKind::Audio });
    let command = Command::Subscribe(Box::new(Subscribe {
        subscription: key,
        transport,
        track: *track,
        mid,
        ssrc: described.ssrc,
        rtx_ssrc: described.rtx_ssrc,
        codecs,
        extensions,
        cname: described.cname,
        target: Target::HIGHEST,
        priority: Priority::Camera,
    }));
    let now = world.now();
    world.sfu.command(now, command);
}

/// A VP8 frame as far as anybody looks into it (RFC 6386, section 9.1).
fn vp8(key: bool, number: u8) -> Vec<u8> {
    let mut frame = if key { vec![0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 1, 0xf0, 0] } else { vec![0x11, 0, 0] };
    frame.extend([number; 40]);
    frame
}

/// Sends frames at the rate of audio until something is so.
fn send_until(world: &mut World, what: &str, mut send: impl FnMut(&mut World, u8), condition: impl Fn(&World) -> bool) {
    for number in 0..250 {
        if condition(world) {
            return;
        }
        send(world, number);
        world.run(AUDIO_INTERVAL);
    }
    panic!("not in 250 frames: {what}; {:?}", world.sfu.events());
}

fn publish_and_subscribe(world: &mut World) -> (Peer, Peer, Mid, Mid) {
    let mut a = Peer::new(world, A);
    let ((audio, video), offer) = a.client(world).offer(|api| {
        let stream = || Some("stream".to_owned());
        let audio = api.add_media(MediaKind::Audio, Direction::SendOnly, stream(), Some("mic".into()), None);
        let video = api.add_media(MediaKind::Video, Direction::SendOnly, stream(), Some("cam".into()), None);
        api.add_channel("_reliable".into());
        (audio, video)
    });
    a.negotiate(world, &offer, 1, &[]);

    let mut b = Peer::new(world, B);
    let ((), offer) = b.client(world).offer(|api| {
        api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
        api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        api.add_channel("_reliable".into());
    });
    b.offers.subscribe(subscription(SubscriptionKey(1), CoreKind::Audio));
    b.offers.subscribe(subscription(SubscriptionKey(2), CoreKind::Video));
    let sources = [(SubscriptionKey(1), TrackKey(1)), (SubscriptionKey(2), TrackKey(2))];
    b.negotiate(world, &offer, 10, &sources);
    world.run_until("both connected", LIMIT, |world| {
        [A, B].iter().all(|key| world.sfu.is_connected(*key)) && world.clients.iter().all(Client::is_connected)
    });
    (a, b, audio, video)
}

#[test]
fn audio_and_video_pass_from_one_client_to_another_on_connections_they_offered() {
    let mut world = World::new(2);
    let (_a, _b, audio, video) = publish_and_subscribe(&mut world);
    let send = |world: &mut World, number: u8| {
        let now = world.elapsed();
        world.clients[0].send(now, audio, None, Codec::Opus, &[0xfc, number, 1, 2, 3]);
        let wants_key = !std::mem::take(&mut world.clients[0].keyframe_requests).is_empty();
        world.clients[0].send(now, video, None, Codec::Vp8, &vp8(number == 0 || wants_key, number));
    };
    let count =
        |world: &World, first: u8| world.clients[1].frames.iter().filter(|frame| frame.data[0] & 0xfe == first).count();
    send_until(&mut world, "30 frames of each", send, |world| count(world, 0xfc) >= 30 && count(world, 0x10) >= 30);

    let frames = &world.clients[1].frames;
    assert!(frames.iter().filter(|f| f.data[0] == 0xfc).all(|f| f.data[2..] == [1, 2, 3]), "audio as it was sent");
    let first_video = frames.iter().find(|frame| frame.data[0] & 0xfe == 0x10).expect("video");
    assert_eq!(first_video.data[0], 0x10, "video begins with a keyframe");
    assert!(world.sfu.events().iter().any(|e| matches!(e, Event::SubscriptionStarted { .. })));
}

#[test]
fn a_receivers_wish_for_a_keyframe_reaches_the_sender() {
    let mut world = World::new(2);
    let (_a, _b, _, video) = publish_and_subscribe(&mut world);
    let send = |world: &mut World, number: u8| {
        let now = world.elapsed();
        world.clients[0].send(now, video, None, Codec::Vp8, &vp8(number == 0, number));
    };
    send_until(&mut world, "video", send, |world| world.clients[1].frames.len() >= 5);
    // The first wish is the engine's own, made for the new subscription; requests are spaced out.
    world.run(Duration::from_secs(2));
    world.clients[0].keyframe_requests.clear();
    let mid = world.clients[1].frames[0].mid;
    world.clients[1].request_keyframe(mid);
    world.run_until("the wish", LIMIT, |world| !world.clients[0].keyframe_requests.is_empty());
    assert_eq!(world.clients[0].keyframe_requests[0].0, video);
}

#[test]
fn messages_pass_both_ways_on_a_channel_the_client_opened() {
    let mut world = World::new(2);
    publish_and_subscribe(&mut world);
    let open = |world: &World| {
        [A, B].iter().all(|key| world.sfu.has_channel(*key, "_reliable"))
            && world.clients.iter().all(|client| client.has_channel("_reliable"))
    };
    world.run_until("channels", LIMIT, open);
    let message = vec![42; 60_000];
    world.clients[0].send_message("_reliable", &message);
    world.run_until("a message at the SFU", LIMIT, |world| !world.sfu.messages(A, "_reliable").is_empty());
    assert_eq!(world.sfu.messages(A, "_reliable"), [&message[..]]);
    let now = world.now();
    world.sfu.send(now, B, "_reliable", &message);
    world.run_until("a message at the client", LIMIT, |world| !world.clients[1].messages("_reliable").is_empty());
    assert_eq!(world.clients[1].messages("_reliable"), [&message[..]]);
}

#[test]
fn a_client_that_answers_receives_media_and_messages() {
    let mut world = World::new(2);
    let mut a = Peer::new(&mut world, A);
    let (audio, offer) = a
        .client(&mut world)
        .offer(|api| api.add_media(MediaKind::Audio, Direction::SendOnly, None, Some("mic".into()), None));
    a.negotiate(&mut world, &offer, 1, &[]);

    // The first offer has data channels only, as for a client that joins an empty call.
    let now = world.now();
    let local = world.sfu.open(now, B);
    let mut offers = ServerOffers::new(2, CodecPolicy::default(), false);
    let offer = offers.offer(&local).expect("the first offer");
    world.sfu.start(now, B, DtlsRole::Server, None);
    let answer = world.clients[1].answer(&offer.sdp);
    let outcome = offers.apply_answer(&answer).expect("an answer that fits");
    // Begun as the server, because a client that is to open DTLS does so before its answer arrives; this client
    // leaves it to us.
    match outcome.role {
        DtlsRole::Server => world.sfu.trust(now, B, outcome.remote.fingerprint),
        DtlsRole::Client => world.sfu.start(now, B, DtlsRole::Client, Some(outcome.remote.fingerprint)),
    }
    world.sfu.open_channel(now, B, "_reliable");
    world.run_until("the receiving connection", LIMIT, |world| world.sfu.is_connected(B));
    world.run_until("a channel", LIMIT, |world| world.clients[1].has_channel("_reliable"));
    let now = world.now();
    world.sfu.send(now, B, "_reliable", b"hello");
    world.run_until("a message", LIMIT, |world| world.clients[1].messages("_reliable") == [b"hello"]);

    // A track, its end, and another one.
    for round in 1..=2 {
        let key = SubscriptionKey(round);
        offers.subscribe(subscription(key, CoreKind::Audio));
        let offer = offers.offer(&local).expect("a track to offer");
        assert_eq!(offer.sending, [(id::Mid(round.to_string()), key)]);
        let answer = world.clients[1].answer(&offer.sdp);
        let outcome = offers.apply_answer(&answer).expect("an answer that fits");
        for started in outcome.started {
            subscribe(&mut world, B, started, &[(key, TrackKey(1))]);
        }
        world.clients[1].frames.clear();
        let send = |world: &mut World, number: u8| {
            let now = world.elapsed();
            world.clients[0].send(now, audio, None, Codec::Opus, &[0xfc, number]);
        };
        send_until(&mut world, "audio", send, |world| world.clients[1].frames.len() >= 10);

        let now = world.now();
        offers.unsubscribe(key);
        world.sfu.command(now, Command::Unsubscribe { subscription: key });
        let offer = offers.offer(&local).expect("an m-line to show inactive");
        let answer = world.clients[1].answer(&offer.sdp);
        offers.apply_answer(&answer).expect("an answer that fits");
    }
}

#[test]
fn layers_of_a_video_start_by_their_names() {
    let mut world = World::new(1);
    let mut a = Peer::new(&mut world, A);
    let (video, offer) = a.client(&mut world).offer(|api| {
        let mut simulcast = Simulcast::new();
        for rid in ["q", "h", "f"] {
            simulcast.add_send_layer(SimulcastLayer::new(rid));
        }
        api.add_media(MediaKind::Video, Direction::SendOnly, None, Some("cam".into()), Some(simulcast))
    });
    a.negotiate(&mut world, &offer, 1, &[]);
    world.run_until("a connection", LIMIT, |world| world.sfu.is_connected(A) && world.clients[0].is_connected());
    let send = |world: &mut World, number: u8| {
        let now = world.elapsed();
        for rid in ["q", "h", "f"] {
            world.clients[0].send(now, video, Some(Rid::from(rid)), Codec::Vp8, &vp8(number == 0, number));
        }
    };
    let started = |world: &World| {
        let layer = |event: &Event| match event {
            Event::LayerStarted { track: TrackKey(1), rid } => rid.as_ref().map(|rid| rid.0.clone()),
            _ => None,
        };
        world.sfu.events().iter().filter_map(layer).collect::<Vec<_>>()
    };
    send_until(&mut world, "three layers", send, |world| started(world).len() >= 3);
    let mut layers = started(&world);
    layers.sort();
    assert_eq!(layers, ["f", "h", "q"]);
}

#[test]
fn an_ice_restart_keeps_the_connection_and_its_keys() {
    let mut world = World::new(2);
    let (mut a, _b, audio, _) = publish_and_subscribe(&mut world);
    let (_, offer) = a.client(&mut world).offer(|api| api.ice_restart(true));
    a.negotiate(&mut world, &offer, 20, &[]);
    world.run(Duration::from_secs(1));
    world.clients[1].frames.clear();
    let send = |world: &mut World, number: u8| {
        let now = world.elapsed();
        world.clients[0].send(now, audio, None, Codec::Opus, &[0xfc, number]);
    };
    send_until(&mut world, "audio", send, |world| world.clients[1].frames.len() >= 10);
}
