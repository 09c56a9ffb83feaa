//! The limit: the same packets to the same number of sockets on the same schedule, and nothing else.
//!
//! A process of its own, so that its CPU is measured like a server's. It learns its [`Plan`] from a line on standard
//! input, says `ready`, sends for the seconds it is told on the next line, says how many packets it sent, and stays
//! until its input ends, so that its cost can be read. A frame of one packet goes to all its sockets with `sendmmsg`; a
//! burst is one message with segmentation (UDP GSO) to each. Of a source in layers, the largest is
//! sent.

use std::io::{BufRead, BufReader, IoSlice, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use serde::{Deserialize, Serialize};
use sfu_core::time::Time;

use super::offer::{OPUS, VP8};
use super::scenario::Source;
use super::schedule::Schedule;

/// Messages of one system call; more gain nothing.
const BATCH: usize = 64;
/// What servers ask for, too.
const SEND_BUFFER: usize = 4 << 20;

/// What is to be sent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    pub streams: Vec<Stream>,
}

/// One source and who gets it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stream {
    pub source: Source,
    /// Of each packet, as a server sends it.
    pub packet_bytes: usize,
    /// Ports on loopback.
    pub ports: Vec<u16>,
}

/// A running sender. Ends with this value.
#[derive(Debug)]
pub struct BareSender {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl BareSender {
    /// Starts this program as the sender.
    pub fn start(plan: &Plan) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("bare-send")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start the bare sender")?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.context("the bare sender has no pipes")?;
        let mut sender = Self { child, input, output: BufReader::new(output) };
        sender.say(&serde_json::to_string(plan)?)?;
        let answer = sender.hear()?;
        if answer != "ready" {
            bail!("the bare sender did not start: {answer}");
        }
        Ok(sender)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends for as long as that; returns how many packets. Blocks.
    pub fn send(&mut self, window: Duration) -> Result<u64> {
        self.say(&window.as_secs_f64().to_string())?;
        self.hear()?.parse().context("the bare sender did not count")
    }

    fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}").context("the bare sender is gone")
    }

    fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for BareSender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sender's program: speaks with [`BareSender`] over standard input and output.
pub fn serve() -> Result<()> {
    let mut lines = std::io::stdin().lock().lines();
    let mut line = || lines.next().context("nobody tells the bare sender what to send")?.context("unreadable");
    let plan: Plan = serde_json::from_str(&line()?).context("not a plan")?;
    let mut sockets: Vec<(Source, UdpSocket)> = Vec::new();
    for stream in &plan.streams {
        if sockets.iter().all(|(source, _)| *source != stream.source) {
            sockets.push((stream.source, open(stream)?));
        }
    }
    let addresses: Vec<Vec<SocketAddrAny>> = plan.streams.iter().map(addresses).collect();
    let frames: Vec<Vec<u8>> = plan.streams.iter().map(frame).collect();
    let slices: Vec<[IoSlice<'_>; 1]> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
    let mut controls: Vec<Vec<SendAncillaryBuffer<'_, '_, '_>>> =
        addresses.iter().map(|to| to.iter().map(|_| SendAncillaryBuffer::default()).collect()).collect();
    // Made once: a frame costs system calls and nothing else.
    let mut messages: Vec<Vec<MMsgHdr<'_>>> = addresses
        .iter()
        .zip(&slices)
        .zip(&mut controls)
        .map(|((to, frame), controls)| {
            to.iter().zip(controls).map(|(to, control)| MMsgHdr::new_with_addr(to, frame, control)).collect()
        })
        .collect();
    println!("ready");
    let window = Duration::from_secs_f64(line()?.parse().context("not a number of seconds")?);
    let sources: Vec<Source> = plan.streams.iter().map(|stream| stream.source).collect();
    let mut schedule = Schedule::new(&sources, Time::ZERO);
    let origin = Instant::now();
    let mut n_packets = 0;
    while let Some(next) = schedule.next_at().filter(|next| next.since(Time::ZERO) < window) {
        let now = Time::ZERO + origin.elapsed();
        if now < next {
            std::thread::sleep(next.since(now));
        }
        while let Some((number, _)) = schedule.poll(Time::ZERO + origin.elapsed()) {
            let source = sources[number];
            let Some((_, socket)) = sockets.iter().find(|(of, _)| *of == source) else { continue };
            n_packets += send(socket, &mut messages[number]) * source.largest().packets as u64;
        }
    }
    println!("{n_packets}");
    // Until whoever started us has read what it cost.
    let _ = lines.next();
    Ok(())
}

/// A socket that cuts the frames of such a stream into packets.
fn open(stream: &Stream) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    // Smaller buffers only block earlier.
    let _ = setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER);
    if stream.source.largest().packets > 1 {
        let bytes = i32::try_from(stream.packet_bytes)?;
        setsockopt(&socket, sockopt::UdpGsoSegment, &bytes).context("the kernel has no UDP segmentation (GSO)")?;
    }
    Ok(socket)
}

fn addresses(stream: &Stream) -> Vec<SocketAddrAny> {
    let address = |port: &u16| SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, *port)).into();
    stream.ports.iter().map(address).collect()
}

/// All packets of a frame: RTP headers, so that they are counted like a server's, and zeros.
fn frame(stream: &Stream) -> Vec<u8> {
    let payload_type = if stream.source == Source::Voice { OPUS } else { VP8 };
    let mut frame = vec![0; stream.packet_bytes * stream.source.largest().packets];
    for packet in frame.chunks_mut(stream.packet_bytes) {
        packet[..2].copy_from_slice(&[0x80, payload_type]);
    }
    frame
}

/// Sends all messages; returns how many went out. What the kernel refuses is skipped, and is missing in the count.
fn send(socket: &UdpSocket, messages: &mut [MMsgHdr<'_>]) -> u64 {
    let mut n_sent = 0;
    for batch in messages.chunks_mut(BATCH) {
        let mut at = 0;
        while at < batch.len() {
            match sendmmsg(socket, &mut batch[at..], SendFlags::empty()) {
                Ok(sent) => {
                    n_sent += sent as u64;
                    at += sent.max(1);
                }
                Err(_) => at += 1,
            }
        }
    }
    n_sent
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::super::receive::Receiver;
    use super::*;

    #[test]
    fn a_burst_arrives_as_its_packets() {
        let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
        let stream =
            Stream { source: Source::Screen, packet_bytes: 1000, ports: vec![sink.local_addr().unwrap().port()] };
        let (socket, frame, to) = (open(&stream).unwrap(), frame(&stream), addresses(&stream));
        let slices = [IoSlice::new(&frame)];
        let mut control = SendAncillaryBuffer::default();
        let mut messages = [MMsgHdr::new_with_addr(&to[0], &slices, &mut control)];
        assert_eq!(send(&socket, &mut messages), 1);
        let mut lengths = Vec::new();
        Receiver::default().drain(sink.as_raw_fd(), |_, packet| lengths.push((packet.len(), packet[1])));
        assert_eq!(lengths, [(1000, VP8); 8]);
    }
}
