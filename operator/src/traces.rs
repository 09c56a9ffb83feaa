//! Traces over OTLP, when asked: what each reconcile did and how long each of its steps took.
//!
//! In: the address of a collector. Out: a layer for `tracing`, and [`Traces`], which sends what it gathers, in batches,
//! from a thread of its own. A collector that is away costs spans, counted and logged by the SDK, and nothing else.
//!
//! Beside the address, the environment variables of OpenTelemetry's SDK apply: `OTEL_SERVICE_NAME`,
//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`, `OTEL_EXPORTER_OTLP_HEADERS`.

use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use thiserror::Error;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// The service's name, unless `OTEL_SERVICE_NAME` says another.
const SERVICE: &str = "calls-operator";
/// Where a collector takes spans (OTLP specification 1.9, section "OTLP/HTTP Request").
const PATH: &str = "/v1/traces";
/// Longest answer of a collector that is read; it has nothing to say but that it took the spans.
const MAX_ANSWER: usize = 64 * 1024;
/// For one batch, connecting included. Batches wait for each other, so that a silent collector must not hold them long.
const SEND_LIMIT: Duration = Duration::from_secs(5);

/// Base address of a collector's OTLP/HTTP receiver, as `http://collector.monitoring:4318`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

/// Why a text is no [`Endpoint`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EndpointError {
    #[error("it must be like http://collector.monitoring:4318")]
    NoAddress,
    #[error("only http:// is spoken: send traces to a collector in the cluster, and let that speak TLS")]
    Scheme,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let uri: Uri = text.parse().map_err(|_| EndpointError::NoAddress)?;
        match (uri.scheme_str(), uri.authority(), uri.query()) {
            (Some("http"), Some(_), None) => Ok(Self(text.trim_end_matches('/').to_owned())),
            (Some("https"), ..) => Err(EndpointError::Scheme),
            _ => Err(EndpointError::NoAddress),
        }
    }
}

/// Why no traces can be sent.
#[derive(Debug, Error)]
pub enum TracesError {
    #[error("failed to set up the sending of traces")]
    Exporter(#[from] ExporterBuildError),
}

/// What gathers spans and sends them.
#[derive(Clone, Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Will send to `endpoint`, by tasks of `runtime`.
    ///
    /// # Errors
    /// If an environment variable of the SDK is unusable.
    pub fn new(endpoint: &Endpoint, runtime: Handle) -> Result<Self, TracesError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}{PATH}", endpoint.0))
            .with_http_client(Sender { client: HyperClient::builder(TokioExecutor::new()).build_http(), runtime })
            .build()?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let mut resource = Resource::builder().with_attribute(version);
        if !is_named() {
            resource = resource.with_service_name(SERVICE);
        }
        let resource = resource.build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Ok(Self { provider })
    }

    /// What gathers the operator's own spans; those of libraries are not sent.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let own = Targets::new().with_target(env!("CARGO_CRATE_NAME"), LevelFilter::DEBUG);
        let layer: OpenTelemetryLayer<S, SdkTracer> =
            tracing_opentelemetry::layer().with_tracer(self.provider.tracer(SERVICE));
        layer.with_filter(own)
    }

    /// Sends what is gathered and gathers no more. Waits for it, up to some seconds: not for a thread of the runtime.
    ///
    /// # Errors
    /// If the collector did not take it.
    pub fn finish(&self) -> Result<(), OTelSdkError> {
        self.provider.shutdown_with_timeout(SEND_LIMIT)
    }
}

/// Whether the environment gives the service a name, in one of its two ways.
fn is_named() -> bool {
    let attributes = std::env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    std::env::var_os("OTEL_SERVICE_NAME").is_some()
        || attributes.split(',').any(|pair| pair.trim_start().starts_with("service.name="))
}

/// Posts batches. The SDK asks from a thread without a runtime, and connections need one.
#[derive(Clone, Debug)]
struct Sender {
    client: HyperClient<HttpConnector, Full<Bytes>>,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchange = async move {
            let response = client.request(request.map(Full::new)).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        self.runtime.spawn(async move { tokio::time::timeout(SEND_LIMIT, exchange).await? }).await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_http_address() {
        assert_eq!("http://collector:4318/".parse(), Ok(Endpoint("http://collector:4318".to_owned())));
        assert_eq!("http://collector/otlp".parse(), Ok(Endpoint("http://collector/otlp".to_owned())));
        assert_eq!("https://collector:4318".parse::<Endpoint>(), Err(EndpointError::Scheme));
        for text in ["", "collector:4318", "/v1/traces", "grpc://collector:4317", "http://", "http://a/?b"] {
            assert_eq!(text.parse::<Endpoint>(), Err(EndpointError::NoAddress), "{text}");
        }
    }
}
