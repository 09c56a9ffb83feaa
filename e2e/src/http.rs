//! The plainest HTTP there is: one question, one connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};

/// For the connection, and for each piece of the answer.
const LIMIT: Duration = Duration::from_secs(3);

/// Asks `address` for `path`; returns all of the answer.
///
/// # Errors
/// When nobody answers, or with another status than 200.
pub fn get(address: impl Into<SocketAddr>, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address.into(), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.") && answer.contains(" 200 "), "an odd answer: {answer}");
    Ok(answer)
}
