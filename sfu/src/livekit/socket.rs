//! The websocket of one client: frames in and out, keep-alive, and nothing decided.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::frame::Encoding;
use super::session::Responses;
use crate::clock::unix_now_ms;
use crate::control::{Attachment, ControlHandle};
use crate::metrics::Metrics;

/// Largest signal message, in bytes.
pub const MAX_MESSAGE: usize = 2 * 1024 * 1024;
/// Bytes read at once. Each websocket keeps as many for its whole life; nearly all messages are smaller.
pub const READ_BUFFER: usize = 4 * 1024;
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Longest wait for a client to take a message before it is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Websocket close code "try again later" (RFC 6455 registry): clients come back, which a plain 1000 does not tell them.
const CLOSE_TRY_AGAIN: u16 = 1013;
const CLOSE_NORMAL: u16 = 1000;

/// What the reading half hands to the writing half.
enum Answer {
    Response(Box<Response>),
    /// How the client writes from now on.
    Encoding(Encoding),
    /// The client said that it leaves.
    Leaving,
}

/// Carries messages until either side ends, then tells control.
pub async fn run(
    socket: WebSocket,
    attachment: Attachment,
    responses: Responses,
    control: ControlHandle,
    metrics: Metrics,
) {
    let (sink, stream) = socket.split();
    let (answers, pending) = mpsc::channel(16);
    tokio::select! {
        () = read(stream, &attachment, &control, &metrics, answers) => (),
        () = write(sink, responses, pending) => (),
    }
    control.detached(attachment).await;
}

async fn read(
    mut stream: SplitStream<WebSocket>,
    attachment: &Attachment,
    control: &ControlHandle,
    metrics: &Metrics,
    answers: mpsc::Sender<Answer>,
) {
    let mut encoding = Encoding::default();
    while let Some(Ok(message)) = stream.next().await {
        let (used, request) = match message {
            Message::Binary(bytes) => (Encoding::Protobuf, Encoding::Protobuf.read(&bytes)),
            Message::Text(text) => (Encoding::Json, Encoding::Json.read(text.as_bytes())),
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        if used != encoding {
            encoding = used;
            if answers.send(Answer::Encoding(used)).await.is_err() {
                return;
            }
        }
        // A message that cannot be read is skipped, not answered by hanging up: newer clients know more messages.
        let Some(request) = request else {
            metrics.unreadable_message();
            continue;
        };
        if matches!(request, Request::Leave(_)) && answers.send(Answer::Leaving).await.is_err() {
            return;
        }
        // Pings are answered here, so that they measure the way and not the work.
        let answer = match &request {
            Request::Ping(_) => Some(Response::Pong(unix_now_ms())),
            Request::PingReq(ping) => {
                Some(Response::PongResp(proto::Pong { last_ping_timestamp: ping.timestamp, timestamp: unix_now_ms() }))
            }
            _ => None,
        };
        let forwarded = match answer {
            Some(answer) => answers.send(Answer::Response(Box::new(answer))).await.is_ok(),
            None => control.signal(attachment.clone(), request).await,
        };
        if !forwarded {
            return;
        }
    }
}

async fn write(mut sink: SplitSink<WebSocket, Message>, mut responses: Responses, mut answers: mpsc::Receiver<Answer>) {
    let mut encoding = Encoding::default();
    let mut ping = interval(PING_INTERVAL);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The client was told to go, or may come back at once: tell which by the close code.
    let mut leaving = false;
    loop {
        // How the client writes is heard first, so that the answer to its first message is already in kind.
        let message = tokio::select! {
            biased;
            Some(answer) = answers.recv() => match answer {
                Answer::Leaving => {
                    leaving = true;
                    continue;
                }
                Answer::Response(message) => encoding.write(&proto::SignalResponse { message: Some(*message) }),
                Answer::Encoding(used) => {
                    encoding = used;
                    continue;
                }
            },
            response = responses.recv() => match response {
                Some(response) => {
                    leaving |= matches!(response.message, Some(Response::Leave(_)));
                    encoding.write(&response)
                }
                None => break,
            },
            _ = ping.tick() => Message::Ping(axum::body::Bytes::new()),
        };
        if !matches!(timeout(WRITE_TIMEOUT, sink.send(message)).await, Ok(Ok(()))) {
            return;
        }
    }
    let code = if leaving { CLOSE_NORMAL } else { CLOSE_TRY_AGAIN };
    let close = Message::Close(Some(CloseFrame { code, reason: "".into() }));
    let _ = timeout(WRITE_TIMEOUT, sink.send(close)).await;
}
