//! HTTP as plain as it gets, to see what the server says.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::LIMIT;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

pub async fn get(server: SocketAddr, path: &str) -> Answer {
    ask(server, "GET", path, "", &[]).await
}

/// A request with a token, and a body of this type if it is not empty.
pub async fn request(server: SocketAddr, method: &str, path: &str, token: &str, (kind, body): (&str, &[u8])) -> Answer {
    let headers = format!(
        "Authorization: Bearer {token}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n",
        body.len()
    );
    ask(server, method, path, &headers, body).await
}

/// Asks to open a websocket; the answer is what counts.
pub async fn upgrade(server: SocketAddr, path: &str) -> Answer {
    let headers = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    ask(server, "GET", path, headers, &[]).await
}

async fn ask(server: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    let asking = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: {server}\r\n{headers}\r\n").as_bytes()).await?;
        stream.write_all(body).await?;
        read(BufReader::new(stream)).await
    };
    timeout(LIMIT, asking).await.expect("an answer in time").expect("an answer")
}

async fn read(mut stream: BufReader<TcpStream>) -> std::io::Result<Answer> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let mut headers = Vec::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.and_then(|(_, length)| length.parse().ok()).unwrap_or_default()];
    stream.read_exact(&mut body).await?;
    Ok(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}
