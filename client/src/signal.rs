//! LiveKit's signalling as a client speaks it: one websocket, protobuf in binary frames or JSON in text frames.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use futures_util::{SinkExt as _, StreamExt as _};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use prost::Message as _;
use serde_json::json;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::{WebSocketStream, client_async};

/// Newest protocol version of today's clients.
pub const PROTOCOL: i32 = 16;
const TOKEN_LIFETIME: Duration = Duration::from_hours(1);

/// Who makes tokens.
#[derive(Clone)]
pub struct ApiKey {
    pub key: String,
    pub secret: String,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKey").field("key", &self.key).finish_non_exhaustive()
    }
}

impl ApiKey {
    /// The customary key of a development server.
    pub fn development() -> Self {
        Self { key: "devkey".into(), secret: "secret".into() }
    }

    /// A token to join `room` as `identity`.
    pub fn token(&self, room: &str, identity: &str) -> Result<String> {
        self.sign(&json!({
            "video": { "roomJoin": true, "room": room, "canUpdateOwnMetadata": true },
            "sub": identity,
            "name": identity,
        }))
    }

    /// A token with these claims; issuer and times are added unless they are there.
    pub fn sign(&self, claims: &serde_json::Value) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let mut claims = claims.clone();
        let object = claims.as_object_mut().context("claims are an object")?;
        object.entry("iss").or_insert_with(|| json!(self.key));
        object.entry("nbf").or_insert_with(|| json!(now.as_secs()));
        object.entry("exp").or_insert_with(|| json!((now + TOKEN_LIFETIME).as_secs()));
        Ok(encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(self.secret.as_bytes()))?)
    }
}

/// How messages are said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Frames {
    /// Protobuf.
    #[default]
    Binary,
    /// The JSON of protobuf.
    Text,
}

/// A signalling connection.
#[derive(Debug)]
pub struct Signal {
    socket: WebSocketStream<TcpStream>,
    frames: Frames,
    received: Frames,
}

/// Path and query to join with one peer connection.
pub fn join_path(token: &str, protocol: i32, mut request: proto::JoinRequest) -> String {
    request.client_info =
        Some(proto::ClientInfo { sdk: proto::client_info::Sdk::Rust as i32, protocol, ..proto::ClientInfo::default() });
    let wrapped = proto::WrappedJoinRequest { join_request: request.encode_to_vec(), ..Default::default() };
    let packed = URL_SAFE.encode(wrapped.encode_to_vec());
    format!("/rtc/v1?access_token={token}&join_request={packed}")
}

/// A server's address as people write it (`ws://HOST:PORT` or `http://HOST:PORT`), in the form that [`Signal`] takes.
///
/// # Errors
/// If it is none, or asks for more than is spoken here, in words for who wrote it.
pub fn server(url: &str) -> Result<String> {
    let is_none = || format!("{url} is no address of a server: ws://HOST:PORT is");
    let uri: Uri = url.parse().ok().with_context(is_none)?;
    match uri.scheme_str() {
        Some("ws" | "http") => (),
        Some("wss" | "https") => {
            bail!("{url} wants TLS, which is not spoken here: give the director's or an SFU's own ws:// address")
        }
        _ => bail!(is_none()),
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    ensure!(path == "/", "{url} is more than the address of a server: leave out {path}");
    let authority = uri.authority().with_context(is_none)?;
    // Whatever stands around the host is a port, or a mistake.
    let port = match authority.as_str().strip_prefix(authority.host()) {
        Some("") => 80,
        rest => rest.and_then(|rest| rest.strip_prefix(':')?.parse::<u16>().ok()).with_context(is_none)?,
    };
    Ok(format!("ws://{}:{port}", authority.host()))
}

impl Signal {
    /// Joins with one peer connection. `url` is `ws://host:port`.
    pub async fn join(url: &str, token: &str, request: proto::JoinRequest) -> Result<Self> {
        Self::open(Ipv4Addr::LOCALHOST, &format!("{url}{}", join_path(token, PROTOCOL, request))).await
    }

    /// Opens a websocket from the address `from`. `url` begins with `ws://`.
    pub async fn open(from: Ipv4Addr, url: &str) -> Result<Self> {
        let request = url.into_client_request()?;
        let authority = request.uri().authority().context("the URL names no host")?.as_str();
        let server = lookup_host(authority).await?.find(std::net::SocketAddr::is_ipv4);
        let server = server.with_context(|| format!("{authority} has no IPv4 address, which media needs"))?;
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(server).await.context("failed to connect")?;
        stream.set_nodelay(true)?;
        let (socket, _) = client_async(request, stream).await.context("failed to open the websocket")?;
        Ok(Self { socket, frames: Frames::default(), received: Frames::default() })
    }

    /// The address of this machine on the way to the server.
    ///
    /// # Errors
    /// If it has none of IPv4.
    pub fn local_ip(&self) -> Result<Ipv4Addr> {
        match self.socket.get_ref().local_addr()?.ip() {
            IpAddr::V4(ip) => Ok(ip),
            IpAddr::V6(ip) => bail!("the way to the server is IPv6 ({ip})"),
        }
    }

    /// Says everything in such frames from now on.
    pub fn write_in(&mut self, frames: Frames) {
        self.frames = frames;
    }

    /// How the last message was said that [`Self::receive`] returned.
    pub fn received_in(&self) -> Frames {
        self.received
    }

    /// Cuts the connection without saying so: what a network does that goes away.
    pub fn cut(self) {
        let _ = self.socket.get_ref().set_zero_linger();
    }

    pub async fn send(&mut self, request: Request) -> Result<()> {
        let request = proto::SignalRequest { message: Some(request) };
        let frame = match self.frames {
            Frames::Binary => Message::Binary(request.encode_to_vec().into()),
            Frames::Text => Message::Text(serde_json::to_string(&request)?.into()),
        };
        self.socket.send(frame).await.context("failed to send a signal message")
    }

    /// Sends bytes that need not be a message.
    pub async fn send_raw(&mut self, message: Message) -> Result<()> {
        self.socket.send(message).await.context("failed to send a frame")
    }

    /// The next message; an error when the server hung up. Safe to be cancelled.
    pub async fn receive(&mut self) -> Result<Response> {
        loop {
            let (frames, response) = match self.socket.next().await.context("the server closed the websocket")?? {
                Message::Binary(bytes) => (Frames::Binary, proto::SignalResponse::decode(bytes)?),
                Message::Text(text) => (Frames::Text, serde_json::from_str(&text)?),
                Message::Close(frame) => bail!("the server closed the websocket: {frame:?}"),
                _ => continue,
            };
            if let Some(message) = response.message {
                self.received = frames;
                return Ok(message);
            }
        }
    }

    /// Waits for a message that `take` takes; drops the others.
    pub async fn wait_for<T>(&mut self, mut take: impl FnMut(Response) -> Option<T>) -> Result<T> {
        loop {
            if let Some(taken) = take(self.receive().await?) {
                return Ok(taken);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let key = ApiKey { key: "shown".into(), secret: "hidden".into() };
        let printed = format!("{key:?}");
        assert!(printed.contains("shown") && !printed.contains("hidden"), "{printed}");
    }

    #[test]
    fn an_address_is_understood_or_explained() {
        for (given, understood) in [
            ("ws://127.0.0.1:7880", "ws://127.0.0.1:7880"),
            ("http://calls.example.org/", "ws://calls.example.org:80"),
            ("ws://[::1]", "ws://[::1]:80"),
            ("ws://[fd00::7]:7880/", "ws://[fd00::7]:7880"),
        ] {
            assert_eq!(server(given).unwrap(), understood);
        }
        for (given, why) in [
            ("wss://calls.example.org", "TLS"),
            ("calls.example.org", "ws://HOST:PORT"),
            ("ws://calls.example.org/rtc?a=b", "leave out /rtc?a=b"),
            ("ws://calls.example.org:99999", "ws://HOST:PORT"),
            ("ws://ana@calls.example.org", "ws://HOST:PORT"),
            ("", "ws://HOST:PORT"),
        ] {
            let error = server(given).unwrap_err().to_string();
            assert!(error.contains(why), "{given}: {error}");
        }
    }
}
