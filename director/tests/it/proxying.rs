//! What clients see of a director.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use fleet::api::SfuState;
use fleet::names::tls_name;
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Error;

use crate::certificates::Certificates;
use crate::contract::Caller;
use crate::fake_sfu::{FakeSfu, LEAVE};
use crate::fleet_bench::{LIMIT, Served, echoed, forged_token_for, next, request, text, token_for, until};

#[tokio::test]
async fn a_burst_of_first_joins_at_two_directors_splits_no_call() {
    let certificates = Certificates::new();
    let mut sfus = Vec::new();
    for name in ["sfu-a", "sfu-b", "sfu-c"] {
        sfus.push(FakeSfu::start(&certificates, name).await);
    }
    let all: Vec<_> = sfus.iter().collect();
    let directors = [Served::start(&certificates, &all).await, Served::start(&certificates, &all).await];

    let joins = (0..160).map(|n| {
        let (director, call) = (&directors[n % 2], format!("call-{}", n / 4));
        async move { (call.clone(), director.join(&call).await.unwrap()) }
    });
    let joined = join_all(joins).await;

    let mut places: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (call, (_, sfu)) in &joined {
        places.entry(call).or_default().insert(sfu);
    }
    assert_eq!(places.len(), 40);
    assert!(places.values().all(|sfus| sfus.len() == 1), "{places:?}");
    for sfu in &sfus {
        let n = places.values().filter(|at| at.contains(sfu.name.as_str())).count();
        assert!((5..=22).contains(&n), "{} got {n} of 40 calls", sfu.name);
    }
}

#[tokio::test]
async fn binary_frames_pass_both_ways_whatever_their_size() {
    let certificates = Certificates::new();
    let sfu = FakeSfu::start(&certificates, "sfu-a").await;
    let director = Served::start(&certificates, &[&sfu]).await;
    let (mut socket, name) = director.join("standup").await.unwrap();
    assert_eq!(name, "sfu-a");
    for size in [0, 1, 125, 126, 65_535, 65_536, 3 << 20] {
        let data: Vec<u8> = (0..size).map(|n: usize| n.to_le_bytes()[0]).collect();
        assert!(echoed(&mut socket, data.clone()).await == data, "{size} bytes came back changed");
    }
    until("the websocket is counted", async || {
        director.metric("calls_director_websockets").await.as_deref() == Some("1")
    })
    .await;
    drop(socket);
    until("the websocket is gone", async || director.metric("calls_director_websockets").await.as_deref() == Some("0"))
        .await;
}

#[tokio::test]
async fn forged_tokens_claim_no_name_and_are_told_so() {
    let certificates = Certificates::new();
    let sfus = [FakeSfu::start(&certificates, "sfu-a").await, FakeSfu::start(&certificates, "sfu-b").await];
    let director = Served::start(&certificates, &[&sfus[0], &sfus[1]]).await;
    let forged: Vec<_> = (0..200).map(|n| forged_token_for(&format!("call-{n}"))).collect();
    for refused in join_all(forged.iter().map(|token| director.join_with(token))).await {
        match refused {
            Err(Error::Http(response)) => assert_eq!(response.status(), StatusCode::UNAUTHORIZED),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
    // No name is taken: whoever has a key begins each of these calls where they like.
    let own = Caller::named(&certificates, tls_name::DIRECTOR);
    for n in 0..200 {
        for sfu in &sfus {
            assert_eq!(own.claim(sfu, &format!("call-{n}"), "elsewhere").await.sfu, "elsewhere");
        }
    }
    assert_eq!(director.metric("calls_director_claims_total{outcome=\"NotAdmitted\"}").await.as_deref(), Some("200"));
}

#[tokio::test]
async fn open_websockets_count_among_the_connections() {
    let certificates = Certificates::new();
    let sfu = FakeSfu::start(&certificates, "sfu-a").await;
    let list = Some(BTreeSet::from([sfu.address.clone()]));
    let director = Served::start_limited(&certificates, list, LIMIT, 2).await;
    let (mut first, _) = director.join("standup").await.unwrap();
    let (mut second, _) = director.join("standup").await.unwrap();

    let mut third = pin!(director.get("/c/standup"));
    // Served, it would take milliseconds.
    let early = tokio::time::timeout(Duration::from_millis(300), third.as_mut()).await;
    assert!(early.is_err(), "a third connection was served beside two websockets: {early:?}");
    for socket in [&mut first, &mut second] {
        assert_eq!(echoed(socket, vec![1]).await, [1]);
    }
    drop(first);
    assert_eq!(third.await.status(), StatusCode::OK);
}

#[tokio::test]
async fn everybody_returns_together_when_their_sfu_dies() {
    let certificates = Certificates::new();
    let sfus = [FakeSfu::start(&certificates, "sfu-a").await, FakeSfu::start(&certificates, "sfu-b").await];
    let directors = [
        Served::start(&certificates, &[&sfus[0], &sfus[1]]).await,
        Served::start(&certificates, &[&sfus[0], &sfus[1]]).await,
    ];
    let (mut first, name) = directors[0].join("standup").await.unwrap();
    let (mut second, same) = directors[1].join("standup").await.unwrap();
    assert_eq!(name, same);

    let (dead, alive) = if name == "sfu-a" { (&sfus[0], &sfus[1]) } else { (&sfus[1], &sfus[0]) };
    dead.kill();
    let killed = Instant::now();
    for socket in [&mut first, &mut second] {
        let end = next(socket).await;
        assert!(end.is_err(), "the websocket is cut, without a close frame: {end:?}");
    }
    let (returned, also) = tokio::join!(directors[0].join("standup"), directors[1].join("standup"));
    let elsewhere = [returned.unwrap().1, also.unwrap().1];
    assert_eq!(elsewhere, [alive.name.clone(), alive.name.clone()]);
    assert!(killed.elapsed() < Duration::from_secs(3), "took {:?}", killed.elapsed());
}

#[tokio::test]
async fn a_join_is_held_until_an_sfu_comes() {
    let certificates = Certificates::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let director =
        Served::start_with(&certificates, Some(BTreeSet::from([address.into()])), Duration::from_secs(15)).await;
    let start = async {
        until("the SFU is found to be away", async || {
            director.metric("calls_director_sfus{contact=\"away\"}").await.as_deref() == Some("1")
        })
        .await;
        FakeSfu::start_at(&certificates, "sfu-late", TcpListener::bind(address).await.unwrap())
    };
    let (joined, _late) = tokio::join!(director.join("standup"), start);
    assert_eq!(joined.unwrap().1, "sfu-late");
}

#[tokio::test]
async fn what_is_held_in_vain_is_told_so_in_a_sentence() {
    let certificates = Certificates::new();
    let hold = Duration::from_millis(50);
    let director = Served::start_with(&certificates, Some(BTreeSet::new()), hold).await;
    let page = director.get("/c/standup").await;
    assert_eq!(page.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(page.headers()["retry-after"], "5");
    assert_eq!(text(&page), "No media server can take this at the moment. Please try again in a moment.\n");
    match director.join("standup").await {
        Err(Error::Http(response)) => assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE),
        other => panic!("expected a refusal, got {other:?}"),
    }

    let unlisted = Served::start_with(&certificates, None, hold).await;
    let page = unlisted.get("/").await;
    assert_eq!(text(&page), "The media servers are not known yet. Please try again in a moment.\n");
}

#[tokio::test]
async fn the_people_of_a_draining_sfu_meet_again_at_another() {
    let certificates = Certificates::new();
    let (draining, other) =
        (FakeSfu::start(&certificates, "sfu-a").await, FakeSfu::start(&certificates, "sfu-b").await);
    // Every call goes to the one that will drain.
    other.report(|status| status.load.percent = 90);
    let directors = [
        Served::start(&certificates, &[&draining, &other]).await,
        Served::start(&certificates, &[&draining, &other]).await,
    ];
    let mut sockets = Vec::new();
    for call in ["standup", "retro"] {
        for director in &directors {
            let (socket, sfu) = director.join(call).await.unwrap();
            assert_eq!(sfu, "sfu-a");
            sockets.push(socket);
        }
    }

    // It refuses before anybody heard of its draining: the claims of its calls still name it.
    draining.drain(&["standup", "retro"]);
    for socket in &mut sockets {
        assert_eq!(next(socket).await.unwrap().into_text().unwrap().as_str(), LEAVE);
    }
    let again = ["standup", "retro"].iter().flat_map(|call| directors.iter().map(move |director| director.join(call)));
    for joined in join_all(again).await {
        assert_eq!(joined.unwrap().1, "sfu-b");
    }
    draining.report(|status| status.state = SfuState::Draining);
    for director in &directors {
        assert_eq!(director.join("review").await.unwrap().1, "sfu-b");
    }
}

#[tokio::test]
async fn a_director_that_starts_anew_knows_what_runs_before_it_places_anything() {
    let certificates = Certificates::new();
    let sfus = [FakeSfu::start(&certificates, "sfu-a").await, FakeSfu::start(&certificates, "sfu-b").await];
    for n in 0..20 {
        sfus[n % 2].calls.started(&format!("call-{n}"));
    }
    let director = Served::start(&certificates, &[&sfus[0], &sfus[1]]).await;
    let calls: Vec<_> = (0..20).map(|n| format!("call-{n}")).collect();
    let joined = join_all(calls.iter().map(|call| director.join(call))).await;
    for (n, joined) in joined.into_iter().enumerate() {
        assert_eq!(joined.unwrap().1, sfus[n % 2].name, "call-{n}");
    }
}

#[tokio::test]
async fn a_new_sfu_is_used_as_soon_as_it_is_listed() {
    let certificates = Certificates::new();
    let first = FakeSfu::start(&certificates, "sfu-a").await;
    first.report(|status| status.load.percent = 90);
    let director = Served::start(&certificates, &[&first]).await;
    assert_eq!(director.join("standup").await.unwrap().1, "sfu-a");
    let second = FakeSfu::start(&certificates, "sfu-b").await;
    director.list.send_replace(Some(BTreeSet::from([first.address.clone(), second.address.clone()])));
    until("both are heard", async || {
        director.metric("calls_director_sfus{contact=\"live\"}").await.as_deref() == Some("2")
    })
    .await;
    assert_eq!(director.join("retro").await.unwrap().1, "sfu-b");
    assert_eq!(director.join("standup").await.unwrap().1, "sfu-a");
}

#[tokio::test]
async fn requests_reach_an_sfu_as_the_client_made_them() {
    let certificates = Certificates::new();
    let sfu = FakeSfu::start(&certificates, "sfu-a").await;
    let director = Served::start(&certificates, &[&sfu]).await;
    let page = Request::get("/c/caf%C3%A9?x=%20").header("host", "calls.example").body(Full::default()).unwrap();
    let page = request(director.address, page).await;
    assert_eq!(text(&page), "sfu-a /c/caf%C3%A9?x=%20 host=calls.example for=127.0.0.1");
    assert_eq!(page.headers()["x-sfu"], "sfu-a");

    let body: Bytes = (0..1_000_000_usize).map(|n| n.to_le_bytes()[1]).collect();
    let post = Request::post("/page/token").body(Full::new(body.clone())).unwrap();
    assert!(request(director.address, post).await.into_body() == body, "the body came back changed");
}

#[tokio::test]
async fn a_request_about_a_call_goes_where_the_call_is() {
    let certificates = Certificates::new();
    let sfus = [FakeSfu::start(&certificates, "sfu-a").await, FakeSfu::start(&certificates, "sfu-b").await];
    sfus[0].calls.started("standup");
    sfus[1].calls.started("retro");
    let director = Served::start(&certificates, &[&sfus[0], &sfus[1]]).await;
    for (call, sfu) in [("standup", "sfu-a"), ("retro", "sfu-b"), ("standup", "sfu-a")] {
        let path = "/twirp/livekit.RoomService/ListParticipants";
        let bearer = format!("Bearer {}", token_for(call));
        let list = Request::post(path).header("authorization", bearer).body(Full::from("{}")).unwrap();
        assert_eq!(request(director.address, list).await.headers()["x-sfu"], sfu);
        let validate = director.get(&format!("/rtc/validate?access_token={}", token_for(call))).await;
        assert_eq!(validate.headers()["x-sfu"], sfu);
    }
}

#[tokio::test]
async fn the_fleets_own_paths_are_closed_to_clients() {
    let certificates = Certificates::new();
    let sfu = FakeSfu::start(&certificates, "sfu-a").await;
    let director = Served::start(&certificates, &[&sfu]).await;
    assert_eq!(director.get("/fleet/v1/info").await.status(), StatusCode::NOT_FOUND);
    let claim = Request::post("//fleet/v1/claims").body(Full::default()).unwrap();
    assert_eq!(request(director.address, claim).await.status(), StatusCode::NOT_FOUND);
}
