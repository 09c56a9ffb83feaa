//! A collector gets the spans of a reconcile.

use std::env;
use std::process::Command;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing_subscriber::layer::SubscriberExt as _;

use super::reconcile::World;
use crate::traces::Traces;

/// For a batch to arrive that is sent at once.
const LIMIT: Duration = Duration::from_secs(10);

/// A collector on loopback: its base address, and what it is sent.
async fn collector() -> (String, mpsc::Receiver<(HeaderMap, Bytes)>) {
    let (sender, receiver) = mpsc::channel(16);
    let take = async |State(sender): State<mpsc::Sender<_>>, headers: HeaderMap, body: Bytes| {
        sender.send((headers, body)).await.unwrap();
    };
    let routes = Router::new().route("/v1/traces", post(take)).with_state(sender);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (address, receiver)
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let value = span.attributes.iter().find(|one| one.key == key)?.value.clone()?.value?;
    match value {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

/// In a process of its own: `tracing` asks only the thread that comes to a span first whether anybody listens, and in
/// this process that may be another test's, where nobody does.
#[test]
fn a_collector_gets_the_spans_of_a_reconcile() {
    let alone = "cluster::tests::traces::spans_of_a_reconcile_alone";
    let output = Command::new(env::current_exe().unwrap()).args(["--ignored", "--exact", alone]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[ignore = "a_collector_gets_the_spans_of_a_reconcile starts it alone in a process"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_of_a_reconcile_alone() {
    let (address, mut received) = collector().await;
    let traces = Traces::new(&address.parse().unwrap(), Handle::current()).unwrap();
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(traces.layer()));
    let mut world = World::new();
    world.wish("blue", &json!({}));
    world.reconcile("blue").await;
    drop(guard);
    tokio::task::spawn_blocking(move || traces.finish()).await.unwrap().unwrap();

    let (headers, body) = tokio::time::timeout(LIMIT, received.recv()).await.unwrap().unwrap();
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let batch = ExportTraceServiceRequest::decode(body).unwrap();
    let [resource] = &batch.resource_spans[..] else { panic!("{batch:?}") };
    let about = &resource.resource.as_ref().unwrap().attributes;
    assert!(about.iter().any(|one| one.key == "service.name"), "{about:?}");
    let spans: Vec<&Span> = resource.scope_spans.iter().flat_map(|scope| &scope.spans).collect();
    let root = spans.iter().find(|span| span.name == "reconcile").expect("the reconcile's own span");
    let facts = ["namespace", "name", "generation"].map(|key| attribute(root, key).unwrap_or_default());
    assert_eq!(facts, ["red", "blue", "3"]);
    let mut steps: Vec<&str> =
        spans.iter().filter(|span| span.parent_span_id == root.span_id).map(|span| span.name.as_str()).collect();
    steps.sort_unstable();
    assert_eq!(steps, ["apply", "dereference", "see_off", "status"]);
}
