//! SFUs and directors on loopback, and clients of them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use calls_director::director::Director;
use calls_director::sfu_address::SfuAddress;
use fleet::names::tls_name;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::certificates::Certificates;
use crate::fake_sfu::FakeSfu;

/// How long a test waits for what must come. Far more than it takes.
pub const LIMIT: Duration = Duration::from_secs(20);

/// A director that serves on loopback until it is dropped.
pub struct Served {
    pub address: SocketAddr,
    pub health: SocketAddr,
    pub list: watch::Sender<Option<BTreeSet<SfuAddress>>>,
    _stop: DropGuard,
}

impl Served {
    pub async fn start(certificates: &Certificates, sfus: &[&FakeSfu]) -> Self {
        let list = sfus.iter().map(|sfu| sfu.address.clone()).collect();
        Self::start_with(certificates, Some(list), LIMIT).await
    }

    pub async fn start_with(certificates: &Certificates, list: Option<BTreeSet<SfuAddress>>, hold: Duration) -> Self {
        Self::start_limited(certificates, list, hold, 1024).await
    }

    /// One that serves `limit` connections at once.
    pub async fn start_limited(
        certificates: &Certificates,
        list: Option<BTreeSet<SfuAddress>>,
        hold: Duration,
        limit: usize,
    ) -> Self {
        let (list, listed) = watch::channel(list);
        let director = Director::start(&certificates.directory_for(tls_name::DIRECTOR), listed, hold).unwrap();
        let clients = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let health = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stop = CancellationToken::new();
        let served = Self {
            address: clients.local_addr().unwrap(),
            health: health.local_addr().unwrap(),
            list,
            _stop: stop.clone().drop_guard(),
        };
        tokio::spawn(async move {
            tokio::join!(director.serve_clients(clients, limit, stop.clone()), director.serve_health(health, stop));
        });
        served
    }

    /// Joins `call`; the websocket, and the name of the SFU at its other end.
    pub async fn join(&self, call: &str) -> Result<(Socket, String), tungstenite::Error> {
        self.join_with(&token_for(call)).await
    }

    pub async fn join_with(&self, token: &str) -> Result<(Socket, String), tungstenite::Error> {
        let url = format!("ws://{}/rtc?protocol=16&access_token={token}", self.address);
        let (mut socket, _) = connect_async(url).await?;
        let name = next(&mut socket).await?.into_text()?.to_string();
        Ok((socket, name))
    }

    pub async fn get(&self, path: &str) -> Response<Bytes> {
        request(self.address, Request::get(path).body(Full::default()).unwrap()).await
    }

    pub async fn metric(&self, line_start: &str) -> Option<String> {
        let answer = request(self.health, Request::get("/metrics").body(Full::default()).unwrap()).await;
        let text = String::from_utf8(answer.into_body().to_vec()).unwrap();
        text.lines().find(|line| line.starts_with(line_start)).map(|line| line.rsplit(' ').next().unwrap().to_owned())
    }
}

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub async fn next(socket: &mut Socket) -> Result<Message, tungstenite::Error> {
    within(socket.next()).await.unwrap_or(Err(tungstenite::Error::ConnectionClosed))
}

/// Sends a binary message and waits for its echo.
pub async fn echoed(socket: &mut Socket, data: Vec<u8>) -> Vec<u8> {
    let sending = async { socket.send(Message::binary(data)).await.unwrap() };
    within(sending).await;
    next(socket).await.unwrap().into_data().to_vec()
}

/// One request on a connection of its own.
pub async fn request(address: SocketAddr, request: Request<Full<Bytes>>) -> Response<Bytes> {
    let answering = async {
        let socket = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    };
    within(answering).await
}

pub fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

pub fn token_for(call: &str) -> String {
    let claims = format!(r#"{{"video":{{"roomJoin":true,"room":"{call}"}}}}"#);
    format!("e30.{}.{SIGNATURE}", URL_SAFE_NO_PAD.encode(claims))
}

/// The same from somebody who has no key.
pub fn forged_token_for(call: &str) -> String {
    token_for(call).replace(SIGNATURE, "Zm9yZ2Vk")
}

/// What a [`FakeSfu`] takes for a signature.
const SIGNATURE: &str = "c2ln";

pub fn is_signed(token: &str) -> bool {
    token.rsplit('.').next() == Some(SIGNATURE)
}

/// The call in a token of [`token_for`].
pub fn call_of(token: &str) -> String {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    claims["video"]["room"].as_str().unwrap().to_owned()
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it takes too long")
}

/// Waits until `holds`. It looks again and again: what directors know is asked of them over HTTP, and they tell nobody
/// when it changes.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds().await {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
