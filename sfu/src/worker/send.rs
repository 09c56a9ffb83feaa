//! Many datagrams with few system calls: `sendmmsg`, and UDP segmentation (GSO) for runs to one client.
//!
//! A full send buffer (`EAGAIN`) is waited for, a moment. What cannot be sent then is lost, as on any network; so is what a
//! full queue of the interface (`ENOBUFS`) or a client nobody has a way to refuses. Nothing is held back for long, since
//! media that waits is late.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use sfu_core::engine::path::{Path, Transmit};

use super::socket::MediaSocket;

/// Datagrams looked at for one system call.
const MAX_DATAGRAMS: usize = 256;
/// Messages of one system call; more gain nothing.
const MAX_MESSAGES: usize = 64;
/// Bytes of one segmented message: what a UDP datagram may hold, with room to spare.
const MAX_RUN_BYTES: usize = 60_000;
/// Longest wait for room in the send buffer, for all that one look at the socket brought, and a millisecond at most
/// beyond it. An interface of a gigabit empties the usual 200 KiB in that time; every other packet of this thread is
/// late by it.
const PATIENCE: Duration = Duration::from_millis(2);

/// Sends batches of datagrams on a worker's socket.
pub struct BatchSender {
    /// Headers of messages by whether they carry a source address and whether they are segmented: control messages
    /// have a fixed length each.
    headers: [[MultiHeaders<SockaddrIn>; 2]; 2],
    /// Datagrams one message may hold; 1 where the kernel or the interface does not segment.
    max_segments: usize,
    patience: Patience,
}

/// Consecutive datagrams that are one message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    datagrams: Range<usize>,
    to: SockaddrIn,
    kind: Kind,
    /// How many runs to the same client come before, if that is known.
    round: usize,
}

/// What all messages of one system call have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    /// The address of ours they leave from.
    local: Option<Ipv4Addr>,
    /// Bytes of a segment, if each is more than one datagram.
    segment: Option<u16>,
}

impl BatchSender {
    pub fn new(socket: &MediaSocket) -> Self {
        let headers = |space: Option<Vec<u8>>| MultiHeaders::preallocate(MAX_MESSAGES, space);
        Self {
            headers: [
                [headers(None), headers(Some(cmsg_space!(u16)))],
                [headers(Some(cmsg_space!(in_pktinfo))), headers(Some(cmsg_space!(in_pktinfo, u16)))],
            ],
            max_segments: socket.max_gso_segments(),
            patience: Patience::default(),
        }
    }

    /// What follows is of another look at the socket, and may wait anew.
    pub fn begin_round(&mut self) {
        self.patience = Patience::default();
    }

    /// Sends UDP datagrams, each client's in their order; returns how many could not be sent.
    pub fn send(&mut self, socket: &MediaSocket, datagrams: &[Transmit]) -> u64 {
        datagrams.chunks(MAX_DATAGRAMS).map(|window| self.send_window(socket, window)).sum()
    }

    fn send_window(&mut self, socket: &MediaSocket, datagrams: &[Transmit]) -> u64 {
        let slices = datagrams.iter().map(|datagram| IoSlice::new(&datagram.payload)).collect();
        let others = datagrams.iter().filter(|datagram| shape(datagram).is_none());
        let lost: u64 = others.map(|datagram| u64::from(send_alone(socket, datagram).is_err())).sum();
        let runs = runs(datagrams, self.max_segments);
        lost + deliver(&runs, &mut Window { sender: self, socket, datagrams, slices })
    }
}

/// Where messages go.
trait Kernel {
    /// How many messages of one kind were taken; the error is the first one's.
    fn send(&mut self, kind: Kind, runs: &[Run]) -> nix::Result<usize>;

    /// A message was refused: its datagrams, without segmentation. Returns how many were lost.
    fn send_singly(&mut self, error: Errno, run: &Run) -> u64;

    /// Waits until something may be sent again; `false` if that takes too long.
    fn wait(&mut self) -> bool;
}

/// Sends all runs in their order; returns how many datagrams were lost.
fn deliver(runs: &[Run], kernel: &mut impl Kernel) -> u64 {
    let (mut rest, mut lost) = (runs, 0);
    while let Some(first) = rest.first() {
        let alike = rest.iter().take(MAX_MESSAGES).take_while(|run| run.kind == first.kind).count();
        match kernel.send(first.kind, &rest[..alike]) {
            Ok(sent) => rest = &rest[sent.max(1)..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if kernel.wait() => {}
            Err(Errno::EAGAIN) => return lost + rest.iter().map(|run| run.datagrams.len() as u64).sum::<u64>(),
            Err(error) => {
                lost += match first.kind.segment {
                    Some(_) => kernel.send_singly(error, first),
                    None => first.datagrams.len() as u64,
                };
                rest = &rest[1..];
            }
        }
    }
    lost
}

/// Since when there has been no room.
#[derive(Debug, Default)]
struct Patience(Option<Instant>);

impl Patience {
    /// How long may still be waited; `None` if that is over.
    fn left(&mut self) -> Option<Duration> {
        let waited = self.0.get_or_insert_with(Instant::now).elapsed();
        PATIENCE.checked_sub(waited).filter(|left| !left.is_zero())
    }
}

/// What a few system calls send.
struct Window<'a> {
    sender: &'a mut BatchSender,
    socket: &'a MediaSocket,
    datagrams: &'a [Transmit],
    slices: ArrayVec<IoSlice<'a>, MAX_DATAGRAMS>,
}

impl Kernel for Window<'_> {
    fn send(&mut self, kind: Kind, runs: &[Run]) -> nix::Result<usize> {
        let messages: ArrayVec<&[IoSlice<'_>], MAX_MESSAGES> =
            runs.iter().map(|run| &self.slices[run.datagrams.clone()]).collect();
        let to: ArrayVec<Option<SockaddrIn>, MAX_MESSAGES> = runs.iter().map(|run| Some(run.to)).collect();
        let info = kind.local.map(|local| in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: in_addr { s_addr: u32::from(local).to_be() },
            ipi_addr: in_addr { s_addr: 0 },
        });
        let info = info.as_ref().map(ControlMessage::Ipv4PacketInfo);
        let segment = kind.segment.as_ref().map(ControlMessage::UdpGsoSegments);
        let headers = &mut self.sender.headers[usize::from(info.is_some())][usize::from(segment.is_some())];
        let control: ArrayVec<ControlMessage<'_>, 2> = info.into_iter().chain(segment).collect();
        Ok(sendmmsg(self.socket.fd(), headers, &messages, &to, &control, MsgFlags::empty())?.count())
    }

    fn send_singly(&mut self, error: Errno, run: &Run) -> u64 {
        if error == Errno::EIO {
            tracing::info!("the network interface does not segment: each datagram is sent by itself from now on");
            self.sender.max_segments = 1;
        }
        let datagrams = &self.datagrams[run.datagrams.clone()];
        datagrams.iter().map(|datagram| u64::from(send_alone(self.socket, datagram).is_err())).sum()
    }

    fn wait(&mut self) -> bool {
        let Some(left) = self.sender.patience.left() else { return false };
        let timeout = PollTimeout::try_from(left.as_millis().max(1)).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)], timeout) {
            Ok(ready) => ready > 0,
            Err(error) => error == Errno::EINTR,
        }
    }
}

impl std::fmt::Debug for BatchSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchSender").field("max_segments", &self.max_segments).finish_non_exhaustive()
    }
}

/// Sends what cannot be part of a message with others.
fn send_alone(socket: &MediaSocket, datagram: &Transmit) -> io::Result<()> {
    let Path::Udp { remote, local } = datagram.path else { return Err(io::ErrorKind::Unsupported.into()) };
    socket.send(remote, local, &datagram.payload)
}

/// Where a datagram goes and which address of ours it leaves from, over IPv4; `None` for anything else.
fn shape(datagram: &Transmit) -> Option<(SockaddrIn, Option<Ipv4Addr>)> {
    let Path::Udp { remote: SocketAddr::V4(remote), local } = datagram.path else { return None };
    let local = match local {
        Some(IpAddr::V4(local)) => Some(local),
        Some(IpAddr::V6(_)) => return None,
        None => None,
    };
    Some((remote.into(), local))
}

/// Datagrams as messages, those of one kind next to each other.
///
/// A picture's packets are of two sizes that differ by a byte, so that each client gets two runs. The first runs of all
/// clients come first, then the second ones: so many share a system call, and each client's order stays.
fn runs(datagrams: &[Transmit], max_segments: usize) -> ArrayVec<Run, MAX_DATAGRAMS> {
    let mut runs: ArrayVec<Run, MAX_DATAGRAMS> = ArrayVec::new();
    let mut at = 0;
    while at < datagrams.len().min(MAX_DATAGRAMS) {
        let length = run_length(&datagrams[at..], max_segments).min(MAX_DATAGRAMS - at);
        if let Some((to, local)) = shape(&datagrams[at]) {
            let segment = if length > 1 { u16::try_from(datagrams[at].payload.len()).ok() } else { None };
            runs.push(Run { datagrams: at..at + length, to, kind: Kind { local, segment }, round: 0 });
        }
        at += length;
    }
    if runs.windows(2).any(|two| two[0].kind != two[1].kind) {
        take_turns(&mut runs);
    }
    runs
}

/// Orders runs by how many to the same client come before, then by kind.
fn take_turns(runs: &mut [Run]) {
    runs.sort_unstable_by_key(|run| (run.to.ip(), run.to.port(), run.datagrams.start));
    for at in 1..runs.len() {
        let before = &runs[at - 1];
        runs[at].round = if before.to == runs[at].to { before.round + 1 } else { 0 };
    }
    runs.sort_unstable_by_key(|run| (run.round, run.kind, run.datagrams.start));
}

/// How many of the first datagrams can be segments of one message: to one client, all as long as the first, but for the
/// last, which may be shorter.
fn run_length(datagrams: &[Transmit], max_segments: usize) -> usize {
    let Some((first, others)) = datagrams.split_first() else { return 0 };
    let segment = first.payload.len();
    let fits = |datagram: &Transmit| datagram.path == first.path && datagram.payload.len() <= segment;
    let most = max_segments.min(MAX_RUN_BYTES / segment.max(1)).max(1);
    let mut length = 1;
    for datagram in others.iter().take_while(|datagram| fits(datagram)).take(most - 1) {
        length += 1;
        if datagram.payload.len() < segment {
            break;
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    fn datagrams(to: &UdpSocket, local: Option<IpAddr>, lengths: &[usize]) -> Vec<Transmit> {
        let path = Path::Udp { remote: to.local_addr().unwrap(), local };
        let payload = |(at, length): (usize, &usize)| vec![at as u8; *length];
        lengths.iter().enumerate().map(|one| Transmit { path, payload: payload(one) }).collect()
    }

    /// All datagrams that have arrived, as (first byte, length, where from).
    fn arrived(at: &UdpSocket, count: usize) -> Vec<(u8, usize, IpAddr)> {
        at.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut buffer = [0; 2048];
        let mut next = || at.recv_from(&mut buffer).map(|(length, from)| (buffer[0], length, from.ip())).unwrap();
        let all = (0..count).map(|_| next()).collect();
        at.set_nonblocking(true).unwrap();
        assert!(at.recv(&mut [0; 2048]).is_err(), "there are more");
        at.set_nonblocking(false).unwrap();
        all
    }

    fn client() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    fn sender() -> (MediaSocket, BatchSender) {
        let socket = MediaSocket::open(([0, 0, 0, 0], 0).into()).unwrap();
        let sender = BatchSender::new(&socket);
        (socket, sender)
    }

    /// A kernel that answers as told, then takes everything.
    #[derive(Default)]
    struct Told {
        answers: Vec<nix::Result<usize>>,
        patience: usize,
        taken: Vec<usize>,
        singly: Vec<(Errno, usize)>,
    }

    impl Kernel for Told {
        fn send(&mut self, _: Kind, runs: &[Run]) -> nix::Result<usize> {
            let answer = if self.answers.is_empty() { Ok(runs.len()) } else { self.answers.remove(0) };
            self.taken.extend(runs.iter().take(answer.unwrap_or_default()).map(|run| run.datagrams.start));
            answer
        }

        fn send_singly(&mut self, error: Errno, run: &Run) -> u64 {
            self.singly.push((error, run.datagrams.start));
            1
        }

        fn wait(&mut self) -> bool {
            let waits = self.patience > 0;
            self.patience = self.patience.saturating_sub(1);
            waits
        }
    }

    /// Five messages of four datagrams each, to as many clients.
    fn deliver_five(answers: Vec<nix::Result<usize>>, patience: usize) -> (u64, Told) {
        let clients: Vec<UdpSocket> = (0..5).map(|_| client()).collect();
        let all: Vec<Transmit> = clients.iter().flat_map(|client| datagrams(client, None, &[100; 4])).collect();
        let mut kernel = Told { answers, patience, ..Told::default() };
        (deliver(&runs(&all, 64), &mut kernel), kernel)
    }

    #[test]
    fn what_the_kernel_did_not_take_at_once_follows() {
        let (lost, kernel) = deliver_five(vec![Ok(2), Err(Errno::EINTR), Ok(1)], 0);
        assert_eq!((lost, kernel.taken), (0, vec![0, 4, 8, 12, 16]));
    }

    #[test]
    fn a_full_buffer_is_waited_for_and_then_what_is_left_is_lost() {
        let (lost, kernel) = deliver_five(vec![Ok(2), Err(Errno::EAGAIN), Err(Errno::EAGAIN)], 2);
        assert_eq!((lost, kernel.taken.len()), (0, 5));
        let (lost, kernel) = deliver_five(vec![Ok(2), Err(Errno::EAGAIN), Err(Errno::EAGAIN)], 1);
        assert_eq!((lost, kernel.taken), (3 * 4, vec![0, 4]));
    }

    #[test]
    fn what_is_refused_segmented_is_sent_singly_and_the_rest_as_before() {
        for error in [Errno::EIO, Errno::ENOBUFS, Errno::EINVAL] {
            let (lost, kernel) = deliver_five(vec![Ok(1), Err(error)], 0);
            assert_eq!((lost, kernel.taken), (1, vec![0, 8, 12, 16]), "of one message one datagram was lost");
            assert_eq!(kernel.singly, [(error, 4)]);
        }
    }

    #[test]
    fn an_interface_that_does_not_segment_is_not_asked_to_again() {
        let (socket, mut sender) = sender();
        let client = client();
        let all = datagrams(&client, None, &[100; 3]);
        let (slices, runs) = (ArrayVec::new(), runs(&all, 64));
        let mut window = Window { sender: &mut sender, socket: &socket, datagrams: &all, slices };
        assert_eq!(window.send_singly(Errno::EIO, &runs[0]), 0);
        drop(window);
        assert_eq!(sender.max_segments, 1);
        assert_eq!(arrived(&client, 3).len(), 3);
    }

    #[test]
    fn there_is_room_in_an_empty_buffer_and_a_rounds_patience_ends() {
        let (socket, mut sender) = sender();
        let wait = |sender: &mut BatchSender| {
            Window { sender, socket: &socket, datagrams: &[], slices: ArrayVec::new() }.wait()
        };
        assert!(wait(&mut sender));
        sender.patience.0 = Instant::now().checked_sub(PATIENCE);
        assert!(!wait(&mut sender), "however many calls one round takes");
        sender.begin_round();
        assert!(wait(&mut sender));
    }

    #[test]
    fn a_run_ends_with_its_shorter_datagram_or_where_another_client_begins() {
        let (one, other) = (client(), client());
        let lengths = |lengths: &[usize]| run_length(&datagrams(&one, None, lengths), 64);
        assert_eq!(lengths(&[100, 100, 60, 100]), 3);
        assert_eq!(lengths(&[100, 101]), 1);
        assert_eq!(lengths(&[1000; 100]), 60, "what a datagram may hold");
        assert_eq!(lengths(&[100; 100]), 64);
        assert_eq!(run_length(&datagrams(&one, None, &[100; 8]), 1), 1, "without segmentation");
        let mut mixed = datagrams(&one, None, &[100; 2]);
        mixed.extend(datagrams(&other, None, &[100; 2]));
        assert_eq!(run_length(&mixed, 64), 2);
    }

    #[test]
    fn runs_of_one_size_stand_together_and_each_client_keeps_its_order() {
        let clients = [client(), client(), client()];
        // As browsers cut a picture: the last packets are a byte longer.
        let all: Vec<Transmit> = clients.iter().flat_map(|to| datagrams(to, None, &[100, 100, 101, 101])).collect();
        let runs = runs(&all, 64);
        assert_eq!(
            runs.iter().map(|run| run.kind.segment).collect::<Vec<_>>(),
            [[Some(100); 3], [Some(101); 3]].concat()
        );
        assert_eq!(runs.iter().map(|run| run.datagrams.start).collect::<Vec<_>>(), [0, 4, 8, 2, 6, 10]);
    }

    #[test]
    fn every_datagram_arrives_in_order_whatever_it_was_sent_with() {
        for max_segments in [1, 64] {
            let (socket, mut sender) = sender();
            sender.max_segments = sender.max_segments.min(max_segments);
            let (one, other) = (client(), client());
            let mut all = datagrams(&one, None, &[1000, 1000, 1000, 400]);
            all.extend(datagrams(&other, None, &[80]));
            all.extend(datagrams(&one, None, &[90, 80, 80]));
            all.extend(datagrams(&other, None, &[1200, 1200]));
            assert_eq!(sender.send(&socket, &all), 0);
            let lengths =
                |at: &UdpSocket, count| arrived(at, count).iter().map(|(_, length, _)| *length).collect::<Vec<_>>();
            assert_eq!(lengths(&one, 7), [1000, 1000, 1000, 400, 90, 80, 80]);
            assert_eq!(lengths(&other, 3), [80, 1200, 1200]);
        }
    }

    #[test]
    fn more_than_one_system_call_takes_leaves_nothing_behind() {
        let (socket, mut sender) = sender();
        let clients: Vec<UdpSocket> = (0..200).map(|_| client()).collect();
        let all: Vec<Transmit> = clients.iter().flat_map(|client| datagrams(client, None, &[100, 100, 99])).collect();
        assert_eq!(sender.send(&socket, &all), 0);
        for client in &clients {
            let lengths: Vec<_> = arrived(client, 3).iter().map(|(at, length, _)| (*at, *length)).collect();
            assert_eq!(lengths, [(0, 100), (1, 100), (2, 99)]);
        }
    }

    #[test]
    fn datagrams_leave_from_the_address_the_client_knows() {
        let (socket, mut sender) = sender();
        let client = client();
        let from = |last| IpAddr::from([127, 0, 0, last]);
        let mut all = datagrams(&client, Some(from(2)), &[100, 100]);
        all.extend(datagrams(&client, Some(from(3)), &[50]));
        assert_eq!(sender.send(&socket, &all), 0);
        assert_eq!(arrived(&client, 3).iter().map(|(.., from)| *from).collect::<Vec<_>>(), [from(2), from(2), from(3)]);
    }

    #[test]
    fn a_client_nobody_has_a_way_to_does_not_stop_the_others() {
        let (socket, mut sender) = sender();
        let client = client();
        // A source address that is not ours is refused.
        let mut all = datagrams(&client, Some(IpAddr::from([192, 0, 2, 1])), &[100, 100, 30]);
        all.extend(datagrams(&client, None, &[20]));
        assert_eq!(sender.send(&socket, &all), 3);
        assert_eq!(arrived(&client, 1)[0].1, 20);
    }
}
