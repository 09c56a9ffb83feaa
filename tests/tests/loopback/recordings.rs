//! Recordings by the server itself, in development: started from the page or by LiveKit's Egress API.
//!
//! That files play and hold what was said and shown is shown with real browsers.

use std::fs;
use std::path::{Path, PathBuf};

use calls_tests::live::{Answer, Join, LIMIT, Person, Seen, Server, request};
use calls_tests::server;
use livekit_protocol as proto;
use livekit_protocol::EgressStatus;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// How a WebM file begins (EBML).
const MAGIC: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];

/// A server that records to a folder of the test's own.
struct Recording {
    server: Server,
    folder: PathBuf,
}

impl Recording {
    fn start(test: &str, program: impl FnOnce(&[&str]) -> Server) -> Self {
        let folder = std::env::temp_dir().join(format!("calls-recordings-{test}-{}", std::process::id()));
        let server = program(&["--recordings", folder.to_str().expect("a name in UTF-8")]);
        Self { server, folder }
    }

    /// The page's button.
    async fn button(&self, method: &str, whose: &str) -> Answer {
        let token = self.server.key.token("standup", whose).expect("a token");
        request(self.server.http(), method, "/page/recording", &token, ("application/json", &[])).await
    }

    async fn egress(&self, method: &str, ask: Value) -> Answer {
        let token = self.server.key.sign(&json!({ "video": { "roomRecord": true } })).expect("a token");
        let path = format!("/twirp/livekit.Egress/{method}");
        request(self.server.http(), "POST", &path, &token, ("application/json", ask.to_string().as_bytes())).await
    }

    async fn list(&self) -> Vec<Value> {
        let answer = self.egress("ListEgress", json!({})).await;
        json_of(&answer)["items"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until the only recording has this status.
    async fn wait_status(&self, status: EgressStatus) -> Value {
        let name = status.as_str_name();
        let began = Instant::now();
        loop {
            let listed = self.list().await;
            if listed.len() == 1 && listed[0]["status"] == name {
                return listed[0].clone();
            }
            assert!(began.elapsed() < LIMIT, "no {name}: {listed:?}");
            sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let paths = fs::read_dir(&self.folder).expect("the folder").map(|entry| entry.expect("a file").path());
        paths.filter(|path| path.extension().is_some_and(|known| known == extension)).collect()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("no JSON: {answer:?}"))
}

fn is_webm(file: &Path) -> bool {
    fs::read(file).is_ok_and(|bytes| bytes.starts_with(&MAGIC) && bytes.len() > 100)
}

/// What the server told of recordings, the event's names.
fn told(seen: &Seen) -> Vec<String> {
    let packets = seen.data.iter().filter_map(|(_, packet)| match &packet.value {
        Some(proto::data_packet::Value::User(user)) if user.topic() == "calls.recording" => Some(user),
        _ => None,
    });
    let events = packets.map(|user| serde_json::from_slice::<Value>(&user.payload).expect("JSON"));
    events.filter_map(|event| Some(event["event"].as_str()?.to_owned())).collect()
}

async fn is_recorded(person: &Person, recorded: bool) {
    person.wait("the recording", |seen| (seen.is_recorded() == Some(recorded)).then_some(())).await;
}

#[tokio::test]
async fn the_host_records_from_the_page_and_everybody_is_told() {
    let recording = Recording::start("page", |args| server!("info", args));
    let ana = Join::new("ana").speaking().to(&recording.server).await;
    let ben = Join::new("ben").to(&recording.server).await;
    assert!(recording.server.get("/page/config").await.body.contains("\"records\":true"));
    assert_eq!(json_of(&recording.button("GET", "ana").await)["recording"], false);

    let refused = recording.button("POST", "ben").await;
    assert_eq!((refused.status, refused.body.contains("host")), (403, true), "{refused:?}");
    assert_eq!(recording.button("POST", "nobody").await.status, 403);
    assert_eq!(json_of(&recording.button("POST", "ana").await)["recording"], true);
    is_recorded(&ana, true).await;
    is_recorded(&ben, true).await;
    assert_eq!(json_of(&recording.button("POST", "ana").await)["recording"], true);
    assert_eq!(recording.list().await.len(), 1, "one is enough");
    recording.wait_status(EgressStatus::EgressActive).await;
    assert_eq!(recording.button("DELETE", "ben").await.status, 403);
    assert_eq!(json_of(&recording.button("GET", "ana").await)["recording"], true);

    assert_eq!(json_of(&recording.button("DELETE", "ana").await)["recording"], false);
    is_recorded(&ben, false).await;
    let finished = recording.wait_status(EgressStatus::EgressComplete).await;
    let said = ben.wait("its end", |seen| Some(told(seen)).filter(|told| told.len() == 2)).await;
    assert_eq!(said, ["started", "finished"]);
    let file = recording.folder.join(finished["fileResults"][0]["filename"].as_str().expect("a name"));
    assert!(is_webm(&file) && file.with_extension("vtt").exists(), "{}", file.display());
    let size = finished["fileResults"][0]["size"].as_str().expect("a size").to_owned();
    assert_eq!(size, fs::metadata(&file).expect("a file").len().to_string());
}

#[tokio::test]
async fn recordings_are_started_stopped_and_listed_by_livekits_api() {
    let recording = Recording::start("api", |args| server!("info", args));
    let ana = Join::new("ana").speaking().to(&recording.server).await;
    let start = json!({ "roomName": "standup", "fileOutputs": [{ "filepath": "team/{room_name}.mp4" }] });
    let started = recording.egress("StartRoomCompositeEgress", start).await;
    assert_eq!(started.status, 200, "{started:?}");
    let id = json_of(&started)["egressId"].as_str().expect("an id").to_owned();
    is_recorded(&ana, true).await;
    let active = recording.wait_status(EgressStatus::EgressActive).await;
    assert_eq!((active["egressId"].as_str(), active["roomName"].as_str()), (Some(id.as_str()), Some("standup")));

    // The other encoding, as Go's and most SDKs have it.
    let token = recording.server.key.sign(&json!({ "video": { "roomRecord": true } })).expect("a token");
    let body = proto::StopEgressRequest { egress_id: id.clone() }.encode_to_vec();
    let path = "/twirp/livekit.Egress/StopEgress";
    let stopped = request(recording.server.http(), "POST", path, &token, ("application/protobuf", &body)).await;
    assert_eq!((stopped.status, stopped.header("content-type")), (200, Some("application/protobuf")), "{stopped:?}");
    recording.wait_status(EgressStatus::EgressComplete).await;
    assert!(is_webm(&recording.folder.join("team/standup.webm")));
    is_recorded(&ana, false).await;

    let again = recording.egress("StopEgress", json!({ "egressId": id })).await;
    assert_eq!((again.status, json_of(&again)["code"].as_str()), (412, Some("failed_precondition")));
}

#[tokio::test]
async fn what_cannot_be_recorded_is_refused_and_leaves_nothing() {
    let recording = Recording::start("refused", |args| server!("info", args));
    let _ana = Join::new("ana").to(&recording.server).await;
    let start = "StartRoomCompositeEgress";
    for (method, ask, code, says) in [
        (start, json!({ "roomName": "elsewhere" }), "not_found", "does not run here"),
        (start, json!({}), "invalid_argument", "room_name"),
        (start, json!({ "roomName": 7 }), "malformed", "cannot be read"),
        (
            start,
            json!({ "roomName": "standup", "fileOutputs": [{ "filepath": "../../x" }] }),
            "invalid_argument",
            "filepath",
        ),
        (start, json!({ "roomName": "standup", "preset": "H264_1080P_30" }), "invalid_argument", "preset"),
        (start, json!({ "roomName": "standup", "customBaseUrl": "http://x" }), "invalid_argument", "custom_base_url"),
        ("StartTrackEgress", json!({ "roomName": "standup" }), "unimplemented", "StartRoomCompositeEgress"),
        ("UpdateLayout", json!({ "layout": "grid" }), "unimplemented", "no layout"),
        ("StopEgress", json!({ "egressId": "EG_none" }), "not_found", "no such recording"),
        ("Nonsense", json!({}), "bad_route", "no method"),
    ] {
        let answer = recording.egress(method, ask.clone()).await;
        let said = json_of(&answer);
        let told = said["msg"].as_str().unwrap_or_default();
        assert!(said["code"] == code && told.contains(says), "{method} {ask}: {answer:?}");
    }
    let http = recording.server.http();
    let token = recording.server.key.token("standup", "ana").expect("a token");
    let path = "/twirp/livekit.Egress/ListEgress";
    for (token, kind, status) in [(token.as_str(), "application/json", 403), ("nonsense", "application/json", 401)] {
        assert_eq!(request(http, "POST", path, token, (kind, b"{}")).await.status, status);
    }
    assert_eq!(recording.list().await.len(), 0);
    assert!(!recording.folder.exists(), "nothing was recorded");
}

#[tokio::test]
async fn a_thousand_starts_are_answered_and_a_server_that_ends_finishes_what_it_records() {
    let mut recording = Recording::start("many", |args| server!("info", args));
    let _ana = Join::new("ana").speaking().to(&recording.server).await;
    let mut codes = std::collections::BTreeMap::<u16, usize>::new();
    for number in 0..1000 {
        let ask =
            json!({ "roomName": "standup", "audioOnly": true, "fileOutputs": [{ "filepath": number.to_string() }] });
        *codes.entry(recording.egress("StartRoomCompositeEgress", ask).await.status).or_default() += 1;
    }
    assert_eq!(codes, [(200, 20), (429, 980)].into(), "so many at once, and no more");
    let began = Instant::now();
    while recording.list().await.iter().any(|listed| listed["status"] != "EGRESS_ACTIVE") {
        assert!(began.elapsed() < LIMIT, "not all began: {:?}", recording.list().await);
        sleep(std::time::Duration::from_millis(100)).await;
    }
    recording.server.terminate();
    recording.server.end().await;
    let files = recording.files("webm");
    assert_eq!(files.len(), 20);
    assert!(files.iter().all(|file| is_webm(file)));
    assert_eq!(recording.files("vtt").len(), 20, "each is finished");
}
