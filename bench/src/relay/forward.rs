//! The sockets of a relay: datagrams in, and out again when the links say so.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use serde::Serialize;
use sfu_core::time::Time;

use super::link::{Counted, Link};
use super::network::Network;

/// Largest datagram that is forwarded whole.
const MAX_DATAGRAM: usize = 2048;
/// Sources that are told apart: a browser has a few for each peer connection. Those that come later are not heard.
const MAX_CLIENTS: usize = 64;
/// Datagrams that may be on their way: seconds of a fast link. More are dropped.
const MAX_UNDER_WAY: usize = 16_384;
const ORDERS: usize = 16;
const EVENTS: usize = 128;
const FRONT: Token = Token(usize::MAX);
const WAKE: Token = Token(usize::MAX - 1);

/// What went through a relay since it was last asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// From the server.
    pub down: Counted,
    /// To the server.
    pub up: Counted,
}

/// A way to a server's UDP port through a bad network. Ends with this value.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    orders: SyncSender<Order>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Order {
    /// Counts of the network before are answered.
    Change(Network, Duration, SyncSender<Traffic>),
    Stop,
}

impl Relay {
    /// Forwards between a port of its own and `server`, at first through `network`. All clients share the two links.
    ///
    /// # Errors
    /// If the system has no more sockets or threads.
    pub fn start(server: SocketAddr, network: Network, seed: u64) -> Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let mut front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into()).context("no port for the relay")?;
        let port = front.local_addr()?.port();
        poll.registry().register(&mut front, FRONT, Interest::READABLE)?;
        let (orders, taken) = sync_channel(ORDERS);
        let link = |seed| Link::new(network, Time::ZERO, Duration::ZERO, seed);
        let running = Running {
            poll,
            orders: taken,
            origin: Instant::now(),
            server,
            front,
            clients: Vec::new(),
            down: link(seed),
            up: link(!seed),
            under_way: BinaryHeap::new(),
            n_carried: 0,
        };
        let thread = std::thread::Builder::new().name("relay".into()).spawn(move || {
            if let Err(error) = running.run() {
                eprintln!("the relay failed: {error}");
            }
        })?;
        Ok(Self { port, orders, waker, thread: Some(thread) })
    }

    /// Its port on loopback, in the place of the server's.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Changes both links; their course takes as long as told. Returns what went through since the last change.
    ///
    /// # Errors
    /// If the relay's thread has ended.
    pub fn change(&self, network: Network, course: Duration) -> Result<Traffic> {
        let (sender, traffic) = sync_channel(1);
        self.order(Order::Change(network, course, sender))?;
        traffic.recv().context("the relay ended")
    }

    fn order(&self, order: Order) -> Result<()> {
        self.orders.send(order).ok().context("the relay ended")?;
        self.waker.wake().context("failed to wake the relay")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.order(Order::Stop).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// A datagram and where it goes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Datagram {
    out_at: Time,
    /// In the order in which they came: what comes out at the same time keeps it.
    number: u64,
    client: usize,
    is_down: bool,
    bytes: Vec<u8>,
}

/// A client, and the socket that stands for it at the server.
#[derive(Debug)]
struct Client {
    address: SocketAddr,
    upstream: UdpSocket,
}

struct Running {
    poll: Poll,
    orders: Receiver<Order>,
    origin: Instant,
    server: SocketAddr,
    front: UdpSocket,
    clients: Vec<Client>,
    down: Link,
    up: Link,
    under_way: BinaryHeap<Reverse<Datagram>>,
    n_carried: u64,
}

impl Running {
    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let wait = self.under_way.peek().map(|Reverse(next)| next.out_at.since(self.now()));
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => (),
            }
            for event in &events {
                match event.token() {
                    WAKE => {
                        if !self.take_orders() {
                            return Ok(());
                        }
                    }
                    FRONT => self.receive_from_clients()?,
                    Token(client) => self.receive_from_server(client),
                }
            }
            self.send_due();
        }
    }

    /// False when the relay is to end.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Change(network, course, counted)) => {
                    let now = self.now();
                    self.down.change(network, now, course);
                    self.up.change(network, now, course);
                    let traffic = Traffic { down: self.down.take_counted(), up: self.up.take_counted() };
                    // Whoever asked may have gone.
                    let _ = counted.send(traffic);
                }
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    fn receive_from_clients(&mut self) -> io::Result<()> {
        let mut buffer = [0; MAX_DATAGRAM];
        // Any error ends the burst, most of all that there is no more; a port nobody listens on is one, too.
        while let Ok((length, address)) = self.front.recv_from(&mut buffer) {
            if let Some(client) = self.client(address)? {
                self.carry(client, false, &buffer[..length]);
            }
        }
        Ok(())
    }

    fn receive_from_server(&mut self, client: usize) {
        let mut buffer = [0; MAX_DATAGRAM];
        while let Some(Ok(length)) = self.clients.get(client).map(|client| client.upstream.recv(&mut buffer)) {
            self.carry(client, true, &buffer[..length]);
        }
    }

    /// The number of the client at this address; `None` if there are too many.
    fn client(&mut self, address: SocketAddr) -> io::Result<Option<usize>> {
        if let Some(known) = self.clients.iter().position(|client| client.address == address) {
            return Ok(Some(known));
        }
        let number = self.clients.len();
        if number == MAX_CLIENTS {
            return Ok(None);
        }
        let mut upstream = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        upstream.connect(self.server)?;
        self.poll.registry().register(&mut upstream, Token(number), Interest::READABLE)?;
        self.clients.push(Client { address, upstream });
        Ok(Some(number))
    }

    fn carry(&mut self, client: usize, is_down: bool, bytes: &[u8]) {
        let now = self.now();
        let link = if is_down { &mut self.down } else { &mut self.up };
        let Some(out_at) = link.carry(now, bytes.len()) else { return };
        if self.under_way.len() < MAX_UNDER_WAY {
            self.n_carried += 1;
            let number = self.n_carried;
            self.under_way.push(Reverse(Datagram { out_at, number, client, is_down, bytes: bytes.to_vec() }));
        }
    }

    fn send_due(&mut self) {
        let now = self.now();
        while self.under_way.peek().is_some_and(|Reverse(next)| next.out_at <= now) {
            let Some(Reverse(Datagram { client, is_down, bytes, .. })) = self.under_way.pop() else { return };
            let Client { address, upstream } = &self.clients[client];
            // What cannot be sent is lost, as on any network.
            let _ = if is_down { self.front.send_to(&bytes, *address) } else { upstream.send(&bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        socket.set_read_timeout(Some(LIMIT)).expect("a limit");
        socket
    }

    #[test]
    fn each_client_has_its_own_way_there_and_back() {
        let server = socket();
        let network = Network::named("clean").expect("known");
        let relay = Relay::start(server.local_addr().expect("bound"), network, 1).expect("started");
        let way_in = (Ipv4Addr::LOCALHOST, relay.port());
        let clients = [socket(), socket()];
        let began = Instant::now();
        let mut buffer = [0; 16];
        for (number, client) in clients.iter().enumerate() {
            client.send_to(&[number as u8], way_in).expect("sent");
            let (_, from) = server.recv_from(&mut buffer).expect("forwarded");
            assert_eq!(usize::from(buffer[0]), number);
            server.send_to(&[10 + number as u8], from).expect("answered");
        }
        for (number, client) in clients.iter().enumerate() {
            assert_eq!(client.recv_from(&mut buffer).expect("an answer"), (1, way_in.into()));
            assert_eq!(usize::from(buffer[0]), 10 + number);
        }
        assert!(began.elapsed() >= network.delay * 2, "{:?}", began.elapsed());
        let traffic = relay.change(network, LIMIT).expect("running");
        assert_eq!((traffic.up.datagrams, traffic.down.datagrams, traffic.down.bytes), (2, 2, 2));
        assert_eq!(relay.change(network, LIMIT).expect("running"), Traffic::default());
    }
}
