//! Who gets in, and what a token allows.

use calls_client::peer::RELIABLE;
use calls_client::signal::{ApiKey, PROTOCOL, join_path};
use calls_tests::live::{Join, packet, upgrade};
use calls_tests::server;
use livekit_protocol as proto;
use livekit_protocol::request_response::Reason;
use serde_json::json;

fn refused_tokens(key: &ApiKey) -> Vec<(&'static str, String, &'static str)> {
    let video = json!({ "roomJoin": true, "room": "standup" });
    let good = json!({ "sub": "ana", "video": video });
    let foreign = |key: &str, secret: &str| ApiKey { key: key.into(), secret: secret.into() };
    let sign = |key: &ApiKey, claims| key.sign(&claims).expect("a token");
    let expired = json!({ "sub": "ana", "video": video, "nbf": 1, "exp": 1_000_000_000 });
    let early = json!({ "sub": "ana", "video": video, "nbf": 32_000_000_000_u64, "exp": 32_000_000_001_u64 });
    vec![
        ("missing", String::new(), "no token was given"),
        ("garbage", "not.a.token".into(), "cannot be read"),
        ("wrong signature", sign(&foreign(&key.key, "other"), good.clone()), "signature does not match"),
        ("foreign key", sign(&foreign("other", &key.secret), good), "API key is not known"),
        ("expired", sign(key, expired), "has expired"),
        ("not yet valid", sign(key, early), "not valid yet"),
        ("no video grant", sign(key, json!({ "sub": "ana" })), "permissions denied"),
        ("no roomJoin", sign(key, json!({ "sub": "ana", "video": { "room": "standup" } })), "permissions denied"),
    ]
}

#[tokio::test]
async fn a_token_that_opens_nothing_is_answered_with_401_and_why_on_every_path() {
    let server = server!();
    for (what, token, says) in refused_tokens(&server.key) {
        let v1 = join_path(&token, PROTOCOL, proto::JoinRequest::default());
        let (_, query) = v1.split_once('?').expect("a query");
        let answers = [
            ("/rtc", upgrade(server.http(), &format!("/rtc?access_token={token}&protocol=9")).await),
            ("/rtc/v1", upgrade(server.http(), &v1).await),
            ("/rtc/validate", server.get(&format!("/rtc/validate?access_token={token}")).await),
            ("/rtc/v1/validate", server.get(&format!("/rtc/v1/validate?{query}")).await),
        ];
        for (path, answer) in answers {
            assert_eq!(answer.status, 401, "{what} on {path}: {answer:?}");
            assert!(answer.body.contains(says), "{what} on {path}: {answer:?}");
        }
    }
    assert!(server.metric("calls_sfu_joins_total", "bad_signature").await > 0.0, "refusals are counted");
}

#[tokio::test]
async fn a_good_token_is_valid_on_both_validate_paths() {
    let server = server!();
    let token = server.key.token("standup", "ana").expect("a token");
    let v1 = join_path(&token, PROTOCOL, proto::JoinRequest::default());
    for path in [format!("/rtc/validate?access_token={token}"), v1.replace("/rtc/v1?", "/rtc/v1/validate?")] {
        let answer = server.get(&path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "success"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
}

#[tokio::test]
async fn without_can_publish_a_track_is_refused_and_nothing_of_it_is_forwarded() {
    let server = server!();
    let ana = Join::new("ana").grant("canPublish", false).speaking().to(&server).await;
    let ben = Join::new("ben").speaking().to(&server).await;
    let cem = Join::new("cem").to(&server).await;
    let refusal = ana.wait("a refusal", |seen| seen.request_responses().next().cloned()).await;
    assert_eq!(refusal.reason(), Reason::NotAllowed);
    cem.hears(&ben.voice()).await;
    ana.publish("again");
    ana.wait("another refusal", |seen| seen.request_responses().nth(1).cloned()).await;
    cem.hears(&ben.voice()).await;
    cem.look(|seen| {
        assert_eq!(seen.n_heard(&ana.voice()) + seen.n_heard("again"), 0);
        assert!(seen.person("ana").expect("ana").tracks.is_empty());
    });
}

#[tokio::test]
async fn without_can_subscribe_nothing_arrives() {
    let server = server!();
    let ana = Join::new("ana").speaking().to(&server).await;
    let deaf = Join::new("deaf").grant("canSubscribe", false).to(&server).await;
    let sid = deaf.sees_track("ana").await;
    deaf.subscribe(&sid, true);
    let ben = Join::new("ben").to(&server).await;
    ben.hears(&ana.voice()).await;
    ben.hears(&ana.voice()).await;
    assert_eq!(deaf.look(|seen| seen.n_heard(&ana.voice())), 0);
}

#[tokio::test]
async fn without_can_publish_data_messages_are_dropped() {
    let server = server!();
    let ana = Join::new("ana").grant("canPublishData", false).to(&server).await;
    let ben = Join::new("ben").to(&server).await;
    let cem = Join::new("cem").to(&server).await;
    for person in [&ana, &ben] {
        person.wait("its channel", |seen| seen.channels.iter().any(|label| label == RELIABLE).then_some(())).await;
    }
    ana.send_data(RELIABLE, &packet(b"not allowed", &[]));
    // What ana sends is read before what ben sends after hearing that ana's was sent: by a round trip of ana's.
    ana.restart_ice();
    ana.wait("an answer", |seen| (answers(seen) >= 2).then_some(())).await;
    ben.say("allowed", &[]);
    cem.wait("ben's message", |seen| (!seen.data.is_empty()).then_some(())).await;
    assert_eq!(cem.look(|seen| seen.payloads(RELIABLE)), [b"allowed".to_vec()]);
}

fn answers(seen: &calls_tests::live::Seen) -> usize {
    let is_answer = |message: &&_| matches!(message, proto::signal_response::Message::Answer(_));
    seen.messages.iter().filter(is_answer).count()
}

#[tokio::test]
async fn a_hidden_participant_hears_and_is_seen_by_nobody() {
    let server = server!();
    let ana = Join::new("ana").speaking().to(&server).await;
    let hidden = Join::new("hidden").grant("hidden", true).to(&server).await;
    hidden.hears(&ana.voice()).await;
    let late = Join::new("late").to(&server).await;
    ana.wait("somebody later", |seen| seen.person("late").map(drop)).await;
    for person in [&ana, &late] {
        assert!(person.look(|seen| seen.person("hidden").is_none()), "{} sees who is hidden", person.identity);
    }
    drop(hidden);
}
