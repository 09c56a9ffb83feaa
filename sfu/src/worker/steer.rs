//! Has the kernel hand each client's datagrams to the worker that has the client.
//!
//! Without it the kernel spreads clients over the workers' sockets by address, and all but one in `n` of them send to the
//! wrong one, which passes every datagram on ([`super::route`]). A classic BPF program at the sockets
//! (`SO_ATTACH_REUSEPORT_CBPF`, socket(7)) knows the clients by address and port; it needs no privilege. It is as
//! complete as it can be, not the truth: what it does not know, or got wrong, is passed on as before.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{self, sock_filter, sock_fprog};
use sfu_core::engine::path::Path;
use sfu_core::id::TransportKey;
use sfu_core::time::Time;

/// Transports the program tells apart. The kernel takes 4096 instructions (`BPF_MAXINSNS`), and one takes up to 2.6.
const MAX_CLIENTS: usize = 1400;
/// Compared one by one where the search ends.
const LEAF: usize = 8;
/// A new program costs the kernel some tenths of a millisecond, and joins come in crowds.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// No socket has this number: the kernel chooses by its own hash.
const BY_HASH: u32 = u32::MAX;
/// Spreads addresses over the numbers by which clients are found. Two clients of one number cost a detour, no more.
const SPREAD: u32 = 0x9e37_79b1;

/// Which worker has which client, and the sockets that have to know.
#[derive(Debug)]
pub struct Steering {
    /// One of the workers' sockets: the program is all of theirs. `None` where there is nothing to choose.
    socket: Option<OwnedFd>,
    clients: BTreeMap<TransportKey, (SocketAddrV4, usize)>,
    changed: bool,
    /// Transports the kernel has room for; older ones give less memory (`net.core.optmem_max`).
    limit: usize,
    /// No new program before.
    next: Time,
}

impl Steering {
    /// For the group of `n_workers` sockets of which this is one, bound in the order of the workers.
    ///
    /// # Errors
    /// Whatever keeps the process from having one more file descriptor.
    pub fn new(socket: &impl AsFd, n_workers: usize) -> io::Result<Self> {
        let socket = if n_workers > 1 { Some(socket.as_fd().try_clone_to_owned()?) } else { None };
        Ok(Self { socket, clients: BTreeMap::new(), changed: true, limit: MAX_CLIENTS, next: Time::ZERO })
    }

    /// The client of a transport of `worker` is at this path now.
    pub fn insert(&mut self, transport: TransportKey, path: Path, worker: usize) {
        let Path::Udp { remote: SocketAddr::V4(remote), .. } = path else { return self.remove(transport) };
        self.changed |= self.clients.insert(transport, (remote, worker)) != Some((remote, worker));
    }

    pub fn remove(&mut self, transport: TransportKey) {
        self.changed |= self.clients.remove(&transport).is_some();
    }

    /// When there is something to tell the kernel.
    pub fn next(&self) -> Option<Time> {
        self.changed.then_some(self.next)
    }

    /// Tells the kernel, if something changed and it was not told just now. Where the kernel wants no program it is not
    /// asked again.
    pub fn apply(&mut self, now: Time) {
        if !self.changed || now < self.next {
            return;
        }
        self.changed = false;
        self.next = now + MIN_INTERVAL;
        let Some(socket) = &self.socket else { return };
        while let Err(error) = attach(socket, &program(self.clients.values().copied(), self.limit)) {
            if self.limit == 0 {
                tracing::info!(%error, "the kernel takes no program for its choice of media threads: datagrams are passed on");
                self.socket = None;
                return;
            }
            self.limit /= 2;
            tracing::info!(%error, limit = self.limit, "the kernel takes no longer program for its choice of media threads");
        }
    }
}

/// The program: by a client's address to the number of a socket.
///
/// Who is unknown comes to the first worker, where a small load is all there is ([`crate::control`] fills the workers
/// one after the other). Once there are more clients than the program can name, unknown ones are spread.
fn program(clients: impl Iterator<Item = (SocketAddrV4, usize)>, limit: usize) -> Vec<sock_filter> {
    // Where two share an address, the newer one has it.
    let numbers: BTreeMap<u32, u32> =
        clients.map(|(client, worker)| (number(*client.ip(), client.port()), worker as u32)).collect();
    let mut of_others = numbers.into_iter().filter(|(_, worker)| *worker != 0);
    let numbers: Vec<(u32, u32)> = of_others.by_ref().take(limit).collect();
    let otherwise = if limit == 0 || of_others.next().is_some() { BY_HASH } else { 0 };
    let mut program = load_number();
    search(&mut program, &numbers, otherwise);
    program
}

/// By which a client is found. The same arithmetic as [`load_number`].
const fn number(address: Ipv4Addr, port: u16) -> u32 {
    address.to_bits().wrapping_mul(SPREAD).wrapping_add(port as u32)
}

/// Loads the sender's number into the accumulator.
fn load_number() -> Vec<sock_filter> {
    const SOURCE_ADDRESS: u32 = 12;
    /// Behind an IP header without options; what has some is passed on.
    const SOURCE_PORT: u32 = 20;
    let header = |offset: u32| libc::SKF_NET_OFF.cast_unsigned().wrapping_add(offset);
    vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, header(SOURCE_ADDRESS)),
        instruction(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, SPREAD),
        instruction(libc::BPF_MISC | libc::BPF_TAX, 0),
        instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, header(SOURCE_PORT)),
        instruction(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X, 0),
    ]
}

/// Finds the accumulator among ascending numbers by halving, and returns what belongs to it.
fn search(program: &mut Vec<sock_filter>, numbers: &[(u32, u32)], otherwise: u32) {
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    if numbers.len() <= LEAF {
        for (number, socket) in numbers {
            program.push(jump(libc::BPF_JEQ, *number, 0, 1));
            program.push(instruction(RETURN, *socket));
        }
        program.push(instruction(RETURN, otherwise));
        return;
    }
    let (low, high) = numbers.split_at(numbers.len() / 2);
    // Only a jump without condition is long enough to leave out half of them.
    program.push(jump(libc::BPF_JGE, high[0].0, 0, 1));
    let long_jump = program.len();
    program.push(instruction(libc::BPF_JMP | libc::BPF_JA, 0));
    search(program, low, otherwise);
    program[long_jump].k = (program.len() - long_jump - 1) as u32;
    search(program, high, otherwise);
}

const fn instruction(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Compares the accumulator with `k`, and leaves out so many instructions.
const fn jump(comparison: u32, k: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | comparison | libc::BPF_K) as u16, jt: if_true, jf: if_false, k }
}

/// Makes `program` choose the socket among those that share the port.
#[expect(unsafe_code, reason = "no crate has a safe call for this socket option")]
fn attach(socket: &OwnedFd, program: &[sock_filter]) -> Result<(), Errno> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = sock_fprog { len, filter: program.as_ptr().cast_mut() };
    let option = libc::SO_ATTACH_REUSEPORT_CBPF;
    // SAFETY: the kernel reads `len` instructions from `filter`, which the slice holds until the call returns, and a
    // value of the given size, which `program` is; it writes to neither.
    let result = unsafe {
        let value = (&raw const program).cast();
        let size = size_of::<sock_fprog>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, size)
    };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::super::socket::MediaSocket;
    use super::*;

    /// Sockets of workers on one port, and where they are.
    fn group(n: usize) -> (Vec<MediaSocket>, SocketAddr) {
        let first = MediaSocket::open(([127, 0, 0, 1], 0).into()).unwrap();
        let address = first.local_addr().unwrap();
        let others = (1..n).map(|_| MediaSocket::open(address).unwrap());
        (std::iter::once(first).chain(others).collect(), address)
    }

    fn client(server: SocketAddr) -> (UdpSocket, Path) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        let path = Path::Udp { remote: socket.local_addr().unwrap(), local: None };
        (socket, path)
    }

    /// At which sockets a datagram of this client arrives.
    fn arrives_at(sockets: &[MediaSocket], client: &UdpSocket) -> Vec<usize> {
        client.send(b"media").unwrap();
        let mut buffer = [0; 16];
        let mut arrived = |socket: &MediaSocket| socket.receive_one(&mut buffer).is_ok();
        (0..sockets.len()).filter(|at| arrived(&sockets[*at])).collect()
    }

    #[test]
    fn each_client_comes_to_its_worker_wherever_that_is() {
        let (sockets, server) = group(3);
        let mut steering = Steering::new(&sockets[0], sockets.len()).unwrap();
        let clients: Vec<_> = (0..60).map(|_| client(server)).collect();
        for turn in 0..3 {
            for (at, (_, path)) in clients.iter().enumerate() {
                steering.insert(TransportKey(at as u64), *path, (at + turn) % 3);
            }
            steering.apply(Time::from_millis(100 * turn as u64));
            for (at, (socket, _)) in clients.iter().enumerate() {
                assert_eq!(arrives_at(&sockets, socket), [(at + turn) % 3], "client {at} in turn {turn}");
            }
        }
    }

    #[test]
    fn who_is_new_or_has_left_comes_to_the_first_worker() {
        let (sockets, server) = group(2);
        let mut steering = Steering::new(&sockets[0], sockets.len()).unwrap();
        let (new, (left, path)) = (client(server).0, client(server));
        steering.insert(TransportKey(1), path, 1);
        steering.apply(Time::ZERO);
        assert_eq!((arrives_at(&sockets, &new), arrives_at(&sockets, &left)), (vec![0], vec![1]));
        steering.remove(TransportKey(1));
        steering.apply(Time::from_millis(99));
        assert_eq!(arrives_at(&sockets, &left), [1], "the kernel was told just now");
        steering.apply(Time::from_millis(100));
        assert_eq!(arrives_at(&sockets, &left), [0]);
    }

    #[test]
    fn no_program_is_longer_than_a_kernel_may_take() {
        const BPF_MAXINSNS: usize = 4096;
        for n in 0..=MAX_CLIENTS as u32 {
            let clients = (0..n).map(|at| (SocketAddrV4::new(Ipv4Addr::from_bits(0x0a00_0000 + at), 40_000), 1));
            let length = program(clients, MAX_CLIENTS).len();
            assert!(length <= BPF_MAXINSNS, "{n} clients take {length} instructions");
        }
    }

    #[test]
    fn an_address_belongs_to_who_had_it_last() {
        let (sockets, server) = group(2);
        let mut steering = Steering::new(&sockets[0], sockets.len()).unwrap();
        let (socket, path) = client(server);
        steering.insert(TransportKey(1), path, 1);
        steering.insert(TransportKey(2), path, 0);
        steering.apply(Time::ZERO);
        assert_eq!(arrives_at(&sockets, &socket), [0]);
    }

    #[test]
    fn the_kernel_takes_the_longest_program_and_others_are_spread() {
        let (sockets, server) = group(2);
        let mut steering = Steering::new(&sockets[0], sockets.len()).unwrap();
        let (socket, path) = client(server);
        steering.insert(TransportKey(0), path, 1);
        for number in 1..=2 * MAX_CLIENTS as u64 {
            let remote = SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + number as u32 * 77), 40_000));
            steering.insert(TransportKey(number), Path::Udp { remote, local: None }, 1);
        }
        steering.apply(Time::ZERO);
        assert!(steering.socket.is_some(), "every program was refused");
        assert!((0..2).contains(&arrives_at(&sockets, &socket)[0]));
        let strangers: Vec<_> = (0..60).map(|_| client(server).0).collect();
        let at_first = strangers.iter().filter(|stranger| arrives_at(&sockets, stranger) == [0]).count();
        assert!((10..50).contains(&at_first), "{at_first} of 60 came to the first of two");
    }
}
