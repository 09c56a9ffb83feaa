//! The fleet API over its real listener: what it answers, and to whom.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use calls_director::connect::{ConnectError, Connector};
use fleet::api::{
    AccessToken, CLAIMS_PATH, Claim, DRAIN_PATH, DrainMode, DrainOrder, FleetEvent, INFO_PATH, Means, Placement,
    SfuState, SfuStatus, WATCH_HEARTBEAT_SECONDS, WATCH_PATH,
};
use fleet::names::tls_name;
use http_body_util::{BodyExt, Either, Empty, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio_util::sync::CancellationToken;

use crate::certificates::Certificates;
use crate::fake_sfu::FakeSfu;
use crate::fleet_bench::{token_for, within};
use crate::sfu::fleet_api::Asked;

/// A caller with a certificate of its own.
pub struct Caller {
    connector: Arc<Connector>,
    end: CancellationToken,
}

impl Caller {
    pub fn named(certificates: &Certificates, name: &str) -> Self {
        Self { connector: Arc::new(Connector::new(certificates.client(name))), end: CancellationToken::new() }
    }

    async fn send(&self, sfu: &FakeSfu, method: Method, path: &str, body: Option<&str>) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(path).header("host", tls_name::SFU);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = match body {
            Some(text) => Either::Right(Either::Right(Full::from(text.to_owned()))),
            None => Either::Left(Empty::new()),
        };
        within(self.connector.send(&sfu.address, &self.end, request.body(body).unwrap())).await.unwrap()
    }

    pub async fn claim(&self, sfu: &FakeSfu, call: &str, at: &str) -> Placement {
        let token = AccessToken::new(token_for(call));
        let claim = Claim { call: call.into(), token, sfu: at.into(), replaces: None };
        let claim = serde_json::to_string(&claim).unwrap();
        let answer = self.send(sfu, Method::POST, CLAIMS_PATH, Some(&claim)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        serde_json::from_slice(&body_of(answer).await).unwrap()
    }
}

async fn body_of(response: Response<Incoming>) -> Bytes {
    within(response.into_body().collect()).await.unwrap().to_bytes()
}

/// The watch stream's next line; `FakeSfu` lines are one frame each.
async fn line(stream: &mut Incoming) -> FleetEvent {
    let frame = within(stream.frame()).await.unwrap().unwrap();
    serde_json::from_slice(&frame.into_data().unwrap()).unwrap()
}

#[tokio::test]
async fn the_watch_stream_begins_with_a_snapshot_and_tells_every_change() {
    let certificates = Certificates::new();
    let sfu = FakeSfu::start(&certificates, "sfu-a").await;
    sfu.calls.started("standup");
    let director = Caller::named(&certificates, tls_name::DIRECTOR);
    let mut stream = director.send(&sfu, Method::GET, WATCH_PATH, None).await.into_body();

    let FleetEvent::Snapshot { status, calls } = line(&mut stream).await else { panic!("no snapshot") };
    assert_eq!((status.name.as_str(), calls), ("sfu-a", vec!["standup".to_owned()]));
    sfu.calls.started("retro");
    sfu.calls.started("retro");
    sfu.calls.ended("standup");
    assert_eq!(line(&mut stream).await, FleetEvent::CallStarted { call: "retro".into() });
    assert_eq!(line(&mut stream).await, FleetEvent::CallEnded { call: "standup".into() });
    // A director that does not know the first of two lines goes by the second.
    sfu.calls.sent_away("retro", 7, Means::Reconnect);
    sfu.calls.sent_away("retro", 7, Means::Reconnect);
    let take = FleetEvent::TakeCall { call: "retro".into(), people: 7, means: Means::Reconnect };
    assert_eq!(line(&mut stream).await, take);
    assert_eq!(line(&mut stream).await, FleetEvent::CallEnded { call: "retro".into() });
    sfu.report(|status| status.load.participants = 7);
    let FleetEvent::Status { status } = line(&mut stream).await else { panic!("no status") };
    assert_eq!(status.load.participants, 7);

    let quiet_since = tokio::time::Instant::now();
    let FleetEvent::Status { .. } = line(&mut stream).await else { panic!("no heartbeat") };
    assert!(quiet_since.elapsed() < Duration::from_secs(2 * WATCH_HEARTBEAT_SECONDS));
}

#[tokio::test]
async fn a_registrar_answers_the_first_choice_and_its_own_calls_first_of_all() {
    let certificates = Certificates::new();
    let sfu = FakeSfu::start(&certificates, "sfu-a").await;
    let director = Caller::named(&certificates, tls_name::DIRECTOR);
    let placement = |sfu: &str, running| Placement { call: "standup".into(), sfu: sfu.into(), running };
    assert_eq!(director.claim(&sfu, "standup", "sfu-b").await, placement("sfu-b", false));
    assert_eq!(director.claim(&sfu, "standup", "sfu-c").await, placement("sfu-b", false));
    sfu.calls.started("standup");
    assert_eq!(director.claim(&sfu, "standup", "sfu-c").await, placement("sfu-a", true));

    let token = AccessToken::new(token_for("standup"));
    let long = Claim { call: "x".repeat(257), token, sfu: "sfu-a".into(), replaces: None };
    let long = serde_json::to_string(&long).unwrap();
    for (body, status) in [
        (long.as_str(), StatusCode::BAD_REQUEST),
        (r#"{"call":"","sfu":"sfu-a"}"#, StatusCode::BAD_REQUEST),
        (r#"{"call":"standup","sfu":"sfu-a"}"#, StatusCode::UNAUTHORIZED),
        ("nonsense", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(director.send(&sfu, Method::POST, CLAIMS_PATH, Some(body)).await.status(), status, "{body}");
    }
}

#[tokio::test]
async fn the_operator_reads_and_has_sfus_leave_and_nothing_else() {
    let certificates = Certificates::new();
    let sfu = FakeSfu::start(&certificates, "sfu-a").await;
    let operator = Caller::named(&certificates, tls_name::OPERATOR);
    let info = operator.send(&sfu, Method::GET, INFO_PATH, None).await;
    let info: SfuStatus = serde_json::from_slice(&body_of(info).await).unwrap();
    assert_eq!((info.name.as_str(), info.state), ("sfu-a", SfuState::Active));
    for path in ["/", "/rtc", "/twirp/livekit.RoomService/ListRooms"] {
        assert_eq!(operator.send(&sfu, Method::GET, path, None).await.status(), StatusCode::FORBIDDEN, "{path}");
    }
    let leave = r#"{"mode":"Move","withinSeconds":480}"#;
    for (method, body, status) in [
        (Method::POST, Some(leave), StatusCode::ACCEPTED),
        (Method::POST, Some(r#"{"mode":"Move","withinSeconds":3601}"#), StatusCode::BAD_REQUEST),
        (Method::DELETE, None, StatusCode::ACCEPTED),
    ] {
        assert_eq!(operator.send(&sfu, method.clone(), DRAIN_PATH, body).await.status(), status, "{method} {body:?}");
    }
    let director = Caller::named(&certificates, tls_name::DIRECTOR);
    for (method, body) in [(Method::POST, Some(leave)), (Method::DELETE, None)] {
        assert_eq!(director.send(&sfu, method, DRAIN_PATH, body).await.status(), StatusCode::FORBIDDEN);
    }
    let order = DrainOrder { mode: DrainMode::Move, within_seconds: 480, nobody_takes: false };
    assert_eq!(*sfu.asked.lock().unwrap(), [Asked::ToLeave(order), Asked::ToStay]);
}

#[tokio::test]
async fn a_clients_request_is_never_the_fleets_own() {
    let certificates = Certificates::new();
    let sfu = FakeSfu::start(&certificates, "sfu-a").await;
    let director = Caller::named(&certificates, tls_name::DIRECTOR);
    let request = Request::get(INFO_PATH).header("x-forwarded-for", "192.0.2.7").body(Either::Left(Empty::new()));
    let answer = within(director.connector.send(&sfu.address, &director.end, request.unwrap())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn other_names_and_other_fleets_get_nowhere() {
    let (certificates, foreign) = (Certificates::new(), Certificates::new());
    let sfu = FakeSfu::start(&certificates, "sfu-a").await;
    let another_sfu = Caller::named(&certificates, tls_name::SFU);
    assert_eq!(another_sfu.send(&sfu, Method::GET, INFO_PATH, None).await.status(), StatusCode::FORBIDDEN);

    let stranger = Caller::named(&foreign, tls_name::DIRECTOR);
    let opened = within(stranger.connector.open(&sfu.address, CancellationToken::new())).await;
    assert!(matches!(opened, Err(ConnectError::Io(_))), "{opened:?}");
}
