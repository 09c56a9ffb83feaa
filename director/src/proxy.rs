//! The reverse proxy: each request and websocket goes to the SFU it belongs to, and its answer comes back as it is.
//!
//! Bodies are streamed, never kept. A request is sent again elsewhere only if the SFU cannot have acted on it, or if it
//! has no body and reading it twice is harmless (a join, a `GET`).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fleet::api::{REFUSED_DRAINING, REFUSED_HEADER};
use fleet::listen::Place;
use http_body_util::{Either, Empty, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::connect::{ConnectError, Connector, RequestBody, SendError};
use crate::forward::{self, Kind};
use crate::metrics::{Metrics, RequestKind, RequestOutcome};
use crate::route::{NoRoute, Router};
use crate::sfu_address::SfuAddress;
use crate::trip::{Found, Trip};
use crate::view::View;
use crate::wanted::{Wanted, is_websocket};

/// How long an SFU may take to begin its answer.
const RESPONSE_LIMIT: Duration = Duration::from_secs(30);
/// What a client is told to wait when nothing could take its request for all the time it was held.
const RETRY_AFTER_SECONDS: &str = "5";

/// Body of an answer: ours, or an SFU's.
pub type ResponseBody = Either<Full<Bytes>, Incoming>;

/// Share it by `Arc`.
#[derive(Debug)]
pub struct Proxy {
    pub view: Arc<View>,
    pub connector: Arc<Connector>,
    pub router: Router,
    pub metrics: Arc<Metrics>,
    /// How long a request is held while nothing can take it.
    pub hold: Duration,
}

/// A request that can be sent several times, if it has no body.
struct Outgoing {
    head: request::Parts,
    kind: Kind,
    body: Option<Incoming>,
    /// Sending it twice does what sending it once does.
    repeatable: bool,
}

/// The client's connection, to become a websocket's. It keeps its place among those that are served at once.
struct Upgrade {
    client: OnUpgrade,
    place: Option<Place>,
}

/// What came of one attempt.
enum Attempt {
    Answered(Response<Incoming>),
    /// It did not reach the SFU.
    Unreachable(ConnectError),
    /// It may have.
    Broke(hyper::Error),
    TimedOut,
}

impl Proxy {
    /// Answers one request of `client`.
    pub async fn answer(
        self: Arc<Self>,
        client: SocketAddr,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        let (mut head, body) = request.into_parts();
        let wanted = Wanted::from_head(&head);
        let kind = if matches!(wanted, Wanted::Join { .. }) { RequestKind::Join } else { RequestKind::Other };
        if head.method == Method::CONNECT || is_fleets_own(head.uri.path()) {
            self.metrics.request(kind, RequestOutcome::Rejected);
            return Ok(ours(StatusCode::NOT_FOUND, "There is nothing here."));
        }
        let place = head.extensions.remove::<Place>();
        let upgrade = is_websocket(&head).then(|| head.extensions.remove::<OnUpgrade>()).flatten();
        let upgrade = upgrade.map(|client| Upgrade { client, place });
        let message = if upgrade.is_some() { Kind::Websocket } else { Kind::Plain };
        let body = Some(body).filter(|body| !body.is_end_stream());
        let outgoing = Outgoing {
            repeatable: body.is_none() && matches!(head.method, Method::GET | Method::HEAD),
            head: forward::to_sfu(head, message, client.ip()),
            kind: message,
            body,
        };
        let (outcome, response) = self.pass_on(outgoing, wanted, upgrade).await;
        self.metrics.request(kind, outcome);
        Ok(response)
    }

    async fn pass_on(
        &self,
        mut outgoing: Outgoing,
        wanted: Wanted,
        upgrade: Option<Upgrade>,
    ) -> (RequestOutcome, Response<ResponseBody>) {
        let began = Instant::now();
        let mut trip = Trip::new(wanted, began + self.hold);
        loop {
            let (address, found) = match self.router.find(&mut trip).await {
                Ok(route) => route,
                Err(NoRoute::NotAdmitted(why)) => {
                    return (RequestOutcome::NotAdmitted, ours(StatusCode::UNAUTHORIZED, &why));
                }
                Err(none) => {
                    info!(error = %none, "request held in vain");
                    let mut response = ours(StatusCode::SERVICE_UNAVAILABLE, &none.to_string());
                    let after = HeaderValue::from_static(RETRY_AFTER_SECONDS);
                    response.headers_mut().insert(header::RETRY_AFTER, after);
                    return (RequestOutcome::NoRoute, response);
                }
            };
            if matches!(trip.wanted, Wanted::Join { .. }) {
                self.metrics.join_held(began.elapsed());
            }
            let given_up = self.view.given_up(&address);
            match self.attempt(&mut outgoing, &address, &given_up).await {
                Attempt::Answered(response) if refuses(&response) && outgoing.repeatable => {
                    debug!(sfu = %address, "SFU takes no new calls; trying another");
                    trip.was_refused(address);
                }
                Attempt::Answered(response) => {
                    let outcome = match found {
                        Found::Running => RequestOutcome::Running,
                        Found::Claimed => RequestOutcome::Placed,
                        Found::Any => RequestOutcome::Any,
                    };
                    return (outcome, self.hand_back(response, upgrade, given_up));
                }
                Attempt::Unreachable(error) => {
                    debug!(sfu = %address, %error, "SFU not reached; trying again");
                    if matches!(error, ConnectError::Refused) {
                        self.router.was_refused(&address);
                    }
                    trip.was_unreachable(address, Instant::now());
                }
                Attempt::Broke(error) if outgoing.repeatable => {
                    debug!(sfu = %address, %error, "SFU broke off; trying again");
                    trip.was_unreachable(address, Instant::now());
                }
                Attempt::Broke(error) => {
                    debug!(sfu = %address, %error, "SFU broke off");
                    let sentence = "The media server broke off. Please try again.";
                    return (RequestOutcome::Failed, ours(StatusCode::BAD_GATEWAY, sentence));
                }
                Attempt::TimedOut => {
                    let sentence = "The media server did not answer in time. Please try again.";
                    return (RequestOutcome::Failed, ours(StatusCode::GATEWAY_TIMEOUT, sentence));
                }
            }
        }
    }

    async fn attempt(&self, outgoing: &mut Outgoing, address: &SfuAddress, given_up: &CancellationToken) -> Attempt {
        let request = outgoing.request();
        let sending = async {
            match outgoing.kind {
                Kind::Plain => self.connector.send(address, given_up, request).await,
                // A connection of its own: it becomes the websocket's.
                Kind::Websocket => match self.connector.open(address, given_up.clone()).await {
                    Ok(mut sender) => sender.send_request(request).await.map_err(SendError::Broke),
                    Err(error) => Err(SendError::Connect(error, Box::new(request))),
                },
            }
        };
        match tokio::time::timeout(RESPONSE_LIMIT, sending).await {
            Ok(Ok(response)) => Attempt::Answered(response),
            Ok(Err(SendError::Connect(error, unsent))) => {
                outgoing.take_back(*unsent);
                Attempt::Unreachable(error)
            }
            Ok(Err(SendError::Broke(error))) => Attempt::Broke(error),
            Err(_) => Attempt::TimedOut,
        }
    }

    fn hand_back(
        &self,
        mut response: Response<Incoming>,
        upgrade: Option<Upgrade>,
        given_up: CancellationToken,
    ) -> Response<ResponseBody> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (head, body) = response.into_parts();
            return Response::from_parts(forward::to_client(head, Kind::Plain), Either::Right(body));
        }
        let Some(Upgrade { client, place }) = upgrade else {
            return ours(StatusCode::BAD_GATEWAY, "The media server answered what nobody asked for.");
        };
        let sfu = hyper::upgrade::on(&mut response);
        let counted = self.metrics.websocket();
        tokio::spawn(async move {
            tunnel(client, sfu, given_up).await;
            drop((counted, place));
        });
        let (head, _) = response.into_parts();
        Response::from_parts(forward::to_client(head, Kind::Websocket), Either::Left(Full::default()))
    }
}

impl Outgoing {
    fn request(&mut self) -> Request<RequestBody> {
        let body = match self.body.take() {
            Some(body) => Either::Right(Either::Left(body)),
            None => Either::Left(Empty::new()),
        };
        Request::from_parts(self.head.clone(), body)
    }

    /// The request was not sent: its body is whole.
    fn take_back(&mut self, unsent: Request<RequestBody>) {
        if let Either::Right(Either::Left(body)) = unsent.into_body() {
            self.body = Some(body);
        }
    }
}

/// The fleet API is between the SFUs, the director and the operator. The director's certificate opens it, so a client's
/// request must never reach it, however its path is written: no path for clients begins with an escape.
fn is_fleets_own(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    first == "fleet" || first.contains('%')
}

fn refuses(response: &Response<Incoming>) -> bool {
    response.status() == StatusCode::SERVICE_UNAVAILABLE
        && response.headers().get(REFUSED_HEADER).is_some_and(|why| why == REFUSED_DRAINING)
}

/// Passes bytes both ways until either side closes or the SFU is given up. Then the client's connection is closed
/// without a websocket close frame, which makes clients come back at once.
async fn tunnel(client: OnUpgrade, sfu: OnUpgrade, given_up: CancellationToken) {
    let (client, sfu) = match tokio::try_join!(client, sfu) {
        Ok(both) => both,
        Err(error) => return debug!(%error, "websocket did not come about"),
    };
    let (mut client, mut sfu) = (TokioIo::new(client), TokioIo::new(sfu));
    tokio::select! {
        // Either side breaking is how websockets end.
        _ = tokio::io::copy_bidirectional(&mut client, &mut sfu) => {}
        () = given_up.cancelled() => debug!("websocket cut: its SFU was given up"),
    }
}

/// An answer of the director's own. Pages of other origins may read it, as they may read an SFU's.
fn ours(status: StatusCode, sentence: &str) -> Response<ResponseBody> {
    let mut response = Response::new(Either::Left(Full::from(format!("{sentence}\n"))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fleets_own_paths_are_not_for_clients() {
        for path in ["/fleet/v1/info", "//fleet/v1/claims", "/fleet", "/%66leet/v1/info", "/fleet/"] {
            assert!(is_fleets_own(path), "{path}");
        }
        for path in ["/", "/c/fleet", "/c/caf%C3%A9", "/fleeting", "/rtc"] {
            assert!(!is_fleets_own(path), "{path}");
        }
    }
}
