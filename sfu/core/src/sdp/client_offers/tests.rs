use super::*;
use crate::id::Ssrc;
use crate::sdp::testing::{Client, direction, local, section, subscription};

fn negotiation() -> ClientOffers {
    ClientOffers::new(1, CodecPolicy::default())
}

fn offer(negotiation: &mut ClientOffers, client: &Client) -> OfferOutcome {
    negotiation.handle_offer(&client.sdp()).expect("a valid offer")
}

fn answer(negotiation: &mut ClientOffers) -> Answer {
    negotiation.answer(&local()).expect("an offer waits")
}

const fn request(audio: u32, video: u32) -> SectionRequest {
    SectionRequest { audio, video }
}

fn mid(mid: &str) -> Mid {
    Mid(mid.into())
}

#[test]
fn a_publication_is_received_before_it_is_claimed() {
    let mut negotiation = negotiation();
    let client = Client::new().media("audio", "0", "sendonly", &["a=msid:s mic", "a=ssrc:7 cname:c"]);
    let outcome = offer(&mut negotiation, &client);
    assert_eq!(outcome.published[0].ssrcs, [SignalledSsrc { media: Ssrc(7), rtx: None }]);
    assert_eq!(direction(&answer(&mut negotiation).sdp, "0"), "a=recvonly");

    let unclaimed: Vec<_> = negotiation.unclaimed().collect();
    assert_eq!(unclaimed[0].msid.as_ref().and_then(|msid| msid.track.as_deref()), Some("mic"));
    assert!(negotiation.claim(&mid("0"), TrackKey(1), PublishOptions::default()).is_some());
    assert!(negotiation.claim(&mid("0"), TrackKey(2), PublishOptions::default()).is_none());
    assert!(negotiation.claim(&mid("9"), TrackKey(3), PublishOptions::default()).is_none());
    assert_eq!(negotiation.unclaimed().count(), 0);

    let outcome = offer(&mut negotiation, &client);
    assert!(outcome.published.is_empty() && outcome.changed.is_empty() && outcome.unpublished.is_empty());
}

#[test]
fn a_track_ends_when_its_direction_its_name_or_its_m_line_does() {
    let sending = |track: &str| Client::new().media("audio", "0", "sendonly", &[&format!("a=msid:s {track}")]);
    let ends: [(Client, usize); 4] = [
        (Client::new().media("audio", "0", "inactive", &[]), 0),
        (sending("other"), 1),
        (Client::new().rejected("audio", "0").data("d"), 0),
        (Client::new().media("audio", "5", "sendonly", &[]), 1),
    ];
    for (end, n_published) in ends {
        let mut negotiation = negotiation();
        offer(&mut negotiation, &sending("mic"));
        negotiation.claim(&mid("0"), TrackKey(1), PublishOptions::default());
        answer(&mut negotiation);
        let outcome = offer(&mut negotiation, &end);
        assert_eq!((outcome.unpublished, outcome.published.len()), (vec![TrackKey(1)], n_published), "{}", end.sdp());
    }
}

#[test]
fn a_track_that_is_sent_otherwise_is_reported() {
    let mut negotiation = negotiation();
    offer(&mut negotiation, &Client::new().media("audio", "0", "sendonly", &["a=ssrc:7 cname:c"]));
    negotiation.claim(&mid("0"), TrackKey(1), PublishOptions::default());
    answer(&mut negotiation);
    let outcome = offer(&mut negotiation, &Client::new().media("audio", "0", "sendonly", &["a=ssrc:8 cname:c"]));
    assert_eq!(outcome.changed, [TrackKey(1)]);
    let published = negotiation.published(TrackKey(1)).expect("claimed");
    assert_eq!(published.ssrcs[0].media, Ssrc(8));
}

#[test]
fn a_refused_track_is_not_received_and_the_client_is_asked_to_offer() {
    let mut negotiation = negotiation();
    let client = Client::new().media("audio", "0", "sendonly", &[]);
    offer(&mut negotiation, &client);
    negotiation.claim(&mid("0"), TrackKey(1), PublishOptions::default());
    answer(&mut negotiation);
    assert_eq!(negotiation.section_request(), None);
    negotiation.refuse(TrackKey(1));
    assert_eq!(negotiation.section_request(), Some(request(0, 0)));
    assert_eq!(negotiation.section_request(), None, "asked once");
    assert!(offer(&mut negotiation, &client).published.is_empty());
    assert_eq!(direction(&answer(&mut negotiation).sdp, "0"), "a=inactive");
}

#[test]
fn options_of_a_track_reach_the_answer() {
    let mut negotiation = negotiation();
    offer(&mut negotiation, &Client::new().media("audio", "0", "sendonly", &[]).media("audio", "1", "sendonly", &[]));
    let stereo = PublishOptions { dtx: false, stereo: true, ..PublishOptions::default() };
    negotiation.claim(&mid("1"), TrackKey(1), stereo);
    let sdp = answer(&mut negotiation).sdp;
    assert!(section(&sdp, "0").contains(&"a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1"));
    assert!(section(&sdp, "1").contains(&"a=fmtp:111 minptime=10;useinbandfec=1;stereo=1;maxaveragebitrate=510000"));
}

#[test]
fn a_place_is_given_again_only_after_an_answer_showed_it_empty() {
    let mut negotiation = negotiation();
    let client = Client::new().media("video", "0", "recvonly", &[]);
    negotiation.subscribe(subscription(1, MediaKind::Video));
    assert_eq!(negotiation.section_request(), None, "the first offer comes by itself");
    offer(&mut negotiation, &client);
    assert_eq!(answer(&mut negotiation).sending, [(mid("0"), SubscriptionKey(1))]);

    negotiation.unsubscribe(SubscriptionKey(1));
    negotiation.subscribe(subscription(2, MediaKind::Video));
    assert_eq!(negotiation.section_request(), Some(request(0, 0)));
    offer(&mut negotiation, &client);
    let first = answer(&mut negotiation);
    assert_eq!((direction(&first.sdp, "0"), first.started.len()), ("a=inactive", 0));

    assert_eq!(negotiation.section_request(), Some(request(0, 0)));
    offer(&mut negotiation, &client);
    let second = answer(&mut negotiation);
    assert_eq!((direction(&second.sdp, "0"), second.started.len()), ("a=sendonly", 1));
    assert!(section(&second.sdp, "0").contains(&"a=msid:PA_a|camera TR_2"));
    assert_eq!(negotiation.section_request(), None);
}

#[test]
fn missing_places_are_asked_for_once_and_again_after_a_lost_connection() {
    let mut negotiation = negotiation();
    offer(&mut negotiation, &Client::new().media("audio", "0", "recvonly", &[]));
    negotiation.subscribe(subscription(1, MediaKind::Audio));
    assert_eq!(negotiation.section_request(), None, "an answer comes first");
    answer(&mut negotiation);
    assert_eq!(negotiation.section_request(), None);

    negotiation.subscribe(subscription(2, MediaKind::Audio));
    negotiation.subscribe(subscription(3, MediaKind::Video));
    assert_eq!(negotiation.section_request(), Some(request(1, 1)));
    negotiation.subscribe(subscription(4, MediaKind::Video));
    assert_eq!(negotiation.section_request(), Some(request(0, 1)));
    assert_eq!(negotiation.section_request(), None);
    negotiation.forget_requests();
    assert_eq!(negotiation.section_request(), Some(request(1, 2)));

    // An offer that crossed the request has none of the places; they are still on their way.
    let client = || Client::new().media("audio", "0", "recvonly", &[]);
    offer(&mut negotiation, &client());
    answer(&mut negotiation);
    assert_eq!(negotiation.section_request(), None);
    let full = client().media("audio", "1", "recvonly", &[]).media("video", "2", "recvonly", &[]).media(
        "video",
        "3",
        "recvonly",
        &[],
    );
    offer(&mut negotiation, &full);
    assert_eq!(answer(&mut negotiation).started.len(), 3);
    assert_eq!(negotiation.section_request(), None);

    negotiation.subscribe(subscription(5, MediaKind::Video));
    assert_eq!(negotiation.section_request(), Some(request(0, 1)), "what was asked for has come");
}

#[test]
fn a_subscription_whose_place_is_gone_ends() {
    for gone in [
        Client::new().media("video", "0", "inactive", &[]).data("d"),
        Client::new().rejected("video", "0").data("d"),
        Client::new().media("video", "7", "recvonly", &[]).data("d"),
    ] {
        let mut negotiation = negotiation();
        negotiation.subscribe(subscription(1, MediaKind::Video));
        offer(&mut negotiation, &Client::new().media("video", "0", "recvonly", &[]).data("d"));
        answer(&mut negotiation);
        assert_eq!(offer(&mut negotiation, &gone).ended, [SubscriptionKey(1)], "{}", gone.sdp());
        assert!(answer(&mut negotiation).sending.is_empty());
    }
}

#[test]
fn receiving_m_lines_are_used_before_those_the_client_sends_on() {
    let mut negotiation = negotiation();
    negotiation.subscribe(subscription(1, MediaKind::Audio));
    offer(&mut negotiation, &Client::new().media("audio", "0", "sendrecv", &[]).media("audio", "1", "recvonly", &[]));
    assert_eq!(answer(&mut negotiation).sending, [(mid("1"), SubscriptionKey(1))]);
}

#[test]
fn what_cannot_be_carried_is_rejected_in_its_place() {
    let mut negotiation = negotiation();
    let client = Client::new()
        .raw("t", "m=text 9 UDP/TLS/RTP/SAVPF 98\r\na=mid:t\r\n")
        .raw("g", "m=audio 9 UDP/TLS/RTP/SAVPF 9\r\na=mid:g\r\na=rtpmap:9 G722/8000\r\n")
        .raw("p", "m=audio 9 RTP/AVP 111\r\na=mid:p\r\na=rtpmap:111 opus/48000/2\r\n")
        .media("audio", "a", "sendonly", &[]);
    let outcome = offer(&mut negotiation, &client);
    assert_eq!(outcome.published.len(), 1);
    let sdp = answer(&mut negotiation).sdp;
    let lines: Vec<_> = sdp.lines().filter(|line| line.starts_with("m=") || line.starts_with("a=group")).collect();
    assert_eq!(
        lines,
        [
            "a=group:BUNDLE a",
            "m=text 0 UDP/TLS/RTP/SAVPF 0",
            "m=audio 0 UDP/TLS/RTP/SAVPF 9",
            "m=audio 0 RTP/AVP 111",
            "m=audio 9 UDP/TLS/RTP/SAVPF 111"
        ]
    );
    assert!(section(&sdp, "a").iter().any(|line| line.starts_with("a=candidate:")), "the first m-line in use has them");
}

#[test]
fn an_m_line_outside_the_bundle_is_rejected() {
    let mut negotiation = negotiation();
    let sdp = Client::new().media("audio", "0", "sendonly", &[]).media("video", "1", "sendonly", &[]).sdp();
    let outcome = negotiation.handle_offer(&sdp.replace("BUNDLE 0 1", "BUNDLE 0")).expect("valid");
    assert_eq!(outcome.published.len(), 1);
    assert_eq!(section(&answer(&mut negotiation).sdp, "1")[0], "video 0 UDP/TLS/RTP/SAVPF 96");
}

#[test]
fn the_role_is_ours_to_choose_unless_the_client_does_and_stays() {
    for (setup, role, line) in [
        ("actpass", DtlsRole::Server, "a=setup:passive"),
        ("active", DtlsRole::Server, "a=setup:passive"),
        ("passive", DtlsRole::Client, "a=setup:active"),
    ] {
        let mut negotiation = negotiation();
        let client = |setup| Client { setup, ..Client::new() }.data("0");
        assert_eq!(offer(&mut negotiation, &client(setup)).role, role);
        assert!(answer(&mut negotiation).sdp.contains(line));
        assert_eq!(offer(&mut negotiation, &client("actpass")).role, role);
        let other = if role == DtlsRole::Server { "passive" } else { "active" };
        assert_eq!(negotiation.handle_offer(&client(other).sdp()), Err(NegotiationError::RoleChanged));
    }
}

#[test]
fn new_credentials_are_an_ice_restart_and_a_new_certificate_is_an_error() {
    let mut negotiation = negotiation();
    let data = |client: Client| client.data("0");
    assert!(!offer(&mut negotiation, &data(Client::new())).ice_restart);
    assert!(!offer(&mut negotiation, &data(Client::new())).ice_restart);
    assert!(offer(&mut negotiation, &data(Client { ufrag: "newer", ..Client::new() })).ice_restart);
    let changed = data(Client { fingerprint_byte: "EF", ..Client::new() });
    assert_eq!(negotiation.handle_offer(&changed.sdp()), Err(NegotiationError::FingerprintChanged));
}

#[test]
fn a_wrong_offer_changes_nothing() {
    let mut negotiation = negotiation();
    negotiation.subscribe(subscription(1, MediaKind::Video));
    offer(&mut negotiation, &Client::new().media("video", "0", "recvonly", &[]).media("audio", "1", "sendonly", &[]));
    answer(&mut negotiation);
    let before = serde_json::to_string(&negotiation).expect("plain values");
    for (wrong, error) in [
        (Client::new().data("0").sdp(), NegotiationError::SectionsRemoved { before: 2, now: 1 }),
        (
            Client::new().data("0").data("0").sdp(),
            NegotiationError::Parse(super::super::ParseError::DuplicateMid(mid("0"))),
        ),
        (
            Client::new().rejected("video", "0").rejected("audio", "1").sdp(),
            NegotiationError::Incomplete("any media or data"),
        ),
        (Client::new().data("0").data("1").sdp().replace("sha-256", "sha-1"), NegotiationError::FingerprintAlgorithm),
        (
            Client::new().data("0").data("1").sdp().replace("a=ice-ufrag", "a=x"),
            NegotiationError::Incomplete("ice-ufrag"),
        ),
    ] {
        assert_eq!(negotiation.handle_offer(&wrong), Err(error));
        assert_eq!(serde_json::to_string(&negotiation).expect("plain values"), before);
    }
    assert_eq!(negotiation.answer(&local()), Err(NegotiationError::NothingOffered));
}

#[test]
fn red_is_taken_only_if_enabled_and_goes_first_only_if_preferred() {
    let red = "m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\na=mid:0\r\na=sendonly\r\na=rtpmap:111 opus/48000/2\r\n\
               a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n";
    let client = Client::new().raw("0", red);
    let codecs = |negotiation: &mut ClientOffers, preferred_codec, redundancy| {
        offer(negotiation, &client);
        let options = PublishOptions { preferred_codec, redundancy, ..PublishOptions::default() };
        let section = negotiation.claim(&mid("0"), TrackKey(1), options).expect("unclaimed");
        section.codecs.iter().map(|mapping| mapping.codec).collect::<Vec<_>>()
    };
    let without = CodecPolicy { enabled: vec![Codec::Opus] };
    assert_eq!(codecs(&mut ClientOffers::new(1, without), Some(Codec::Red), true), [Codec::Opus]);
    for preferred in [None, Some(Codec::Opus), Some(Codec::Red)] {
        assert_eq!(codecs(&mut negotiation(), preferred, false), [Codec::Opus, Codec::Red], "{preferred:?}");
        assert_eq!(codecs(&mut negotiation(), preferred, true), [Codec::Red, Codec::Opus], "{preferred:?}");
    }
    let mut preferring = negotiation();
    codecs(&mut preferring, None, true);
    let sdp = answer(&mut preferring).sdp;
    assert!(sdp.contains("m=audio 9 UDP/TLS/RTP/SAVPF 63 111\r\n") && sdp.contains("a=fmtp:63 111/111\r\n"));
}

#[test]
fn no_password_is_in_debug_output() {
    let mut negotiation = negotiation();
    let sdp = Client::new().data("0").sdp();
    let outcome = offer(&mut negotiation, &Client::new().data("0"));
    let debug = format!(
        "{:?} {:?} {outcome:?} {:?} {negotiation:?}",
        local(),
        Description::parse(&sdp),
        negotiation.clone().answer(&local())
    );
    assert!(debug.contains("theirs") && !debug.contains("theirstheirs") && !debug.contains("oursours"), "{debug}");
}
