//! The controlling ICE agent of one client (RFC 8445): it checks the server's addresses, nominates the first that
//! answers, keeps consent fresh (RFC 7675), and answers the checks of a server that is a full agent itself.
//!
//! In: the server's half of the credentials and its candidates, STUN datagrams, the time. Out: datagrams and the path
//! to send on. It has one local address, takes whatever answers first, and never restarts: all that a client on the
//! same machine needs. It must not know sockets.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use rtc_crypto::RTCCryptoProvider as _;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_stun::attributes::{
    ATTR_ICE_CONTROLLING, ATTR_MESSAGE_INTEGRITY, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME,
};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, MessageType, Setter as _, TransactionId};
use rtc_stun::xoraddr::XorMappedAddress;
use sfu_core::time::Time;
use sfu_core::transport::ice::IceCredentials;

static CRYPTO: LazyLock<AwsLcRsProvider> = LazyLock::new(AwsLcRsProvider::new);

/// Of a host candidate, the only one (RFC 8445, section 5.1.2.1); as a peer-reflexive one it would be lower.
const PRIORITY: u32 = (110 << 24) | (0xffff << 8) | 255;
/// Until a check is repeated first; each repetition doubles it.
const FIRST_REPETITION: Duration = Duration::from_millis(50);
/// The longest wait between repetitions: a server that is busy with many joins answers late, not never.
const LAST_REPETITION: Duration = Duration::from_millis(800);
/// Between two checks of the path in use. Servers give up after half a minute without one.
const CONSENT_INTERVAL: Duration = Duration::from_secs(4);
/// Without an answer for this long, nothing may be sent any more (RFC 7675, section 5.1).
const CONSENT_LIMIT: Duration = Duration::from_secs(30);
/// Addresses of a server that are tried.
const MAX_PAIRS: usize = 16;

/// The agent.
#[derive(Debug)]
pub struct IceAgent {
    local: IceCredentials,
    remote: IceCredentials,
    /// Makes transactions of different clients differ; also the tie breaker, which is never needed.
    seed: u64,
    n_transactions: u32,
    pairs: Vec<Pair>,
    nominated: Option<usize>,
    selected: Option<SocketAddr>,
    /// When the server last answered on the selected path.
    answered: Time,
}

/// Our one address with one of the server's.
#[derive(Debug)]
struct Pair {
    remote: SocketAddr,
    pending: Option<TransactionId>,
    n_sent: u32,
    next: Option<Time>,
}

impl IceAgent {
    /// `seed` is another one for each client.
    pub fn new(local: IceCredentials, remote: IceCredentials, seed: u64) -> Self {
        Self {
            local,
            remote,
            seed,
            n_transactions: 0,
            pairs: Vec::new(),
            nominated: None,
            selected: None,
            answered: Time::ZERO,
        }
    }

    /// An address the server can be reached at. Known ones and those beyond a limit are passed over.
    pub fn add_remote(&mut self, now: Time, remote: SocketAddr) {
        let is_known = self.pairs.iter().any(|pair| pair.remote == remote);
        if !is_known && self.pairs.len() < MAX_PAIRS && self.nominated.is_none() {
            self.pairs.push(Pair { remote, pending: None, n_sent: 0, next: Some(now) });
        }
    }

    /// Where to send, once the server has agreed to a path.
    pub const fn selected(&self) -> Option<SocketAddr> {
        self.selected
    }

    /// Whether the server stopped answering.
    pub fn is_lost(&self, now: Time) -> bool {
        self.selected.is_some() && now.since(self.answered) > CONSENT_LIMIT
    }

    /// Takes a STUN datagram. Returns what to send back to `from`; what is not authentic is dropped.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut message = Message::new();
        message.unmarshal_binary(datagram).ok()?;
        if message.typ == BINDING_REQUEST {
            let username = message.get(ATTR_USERNAME).ok()?;
            let addressed = username.strip_prefix(self.local.ufrag.as_bytes())?;
            if !addressed.starts_with(b":") || !is_signed(&mut message, &self.local.pwd) {
                return None;
            }
            // A path we did not know of; checked like the others (section 7.3.1.4).
            self.add_remote(now, from);
            return reply(message.transaction_id, from, &self.local.pwd);
        }
        if message.typ == BINDING_SUCCESS && is_signed(&mut message, &self.remote.pwd) {
            self.handle_success(now, from, message.transaction_id);
        }
        None
    }

    fn handle_success(&mut self, now: Time, from: SocketAddr, transaction: TransactionId) {
        let Some(at) = self.pairs.iter().position(|pair| pair.remote == from && pair.pending == Some(transaction))
        else {
            return;
        };
        self.pairs[at].pending = None;
        self.pairs[at].n_sent = 0;
        match self.nominated {
            // The first path that works is the one; said with a check of its own (section 8.1.1).
            None => {
                self.nominated = Some(at);
                self.pairs[at].next = Some(now);
                for (other, pair) in self.pairs.iter_mut().enumerate() {
                    if other != at {
                        pair.next = None;
                    }
                }
            }
            Some(nominated) if nominated == at => {
                self.selected = Some(from);
                self.answered = now;
                self.pairs[at].next = Some(now + CONSENT_INTERVAL);
            }
            Some(_) => (),
        }
    }

    /// When [`poll`](Self::poll) has something to send.
    pub fn next_at(&self) -> Option<Time> {
        self.pairs.iter().filter_map(|pair| pair.next).min()
    }

    /// A check that is due, and where to send it; `None` when none is.
    pub fn poll(&mut self, now: Time) -> Option<(SocketAddr, Vec<u8>)> {
        let at = self.pairs.iter().position(|pair| pair.next.is_some_and(|next| next <= now))?;
        self.n_transactions += 1;
        let transaction = transaction_id(self.seed, self.n_transactions);
        let nominates = self.nominated == Some(at);
        let is_selected = self.selected.is_some();
        let check = check(transaction, &self.local, &self.remote, self.seed, nominates)?;
        let pair = &mut self.pairs[at];
        pair.pending = Some(transaction);
        let wait = if is_selected {
            CONSENT_INTERVAL
        } else {
            (FIRST_REPETITION * (1 << pair.n_sent.min(8))).min(LAST_REPETITION)
        };
        pair.n_sent += 1;
        pair.next = Some(now + wait);
        Some((pair.remote, check))
    }
}

fn transaction_id(seed: u64, number: u32) -> TransactionId {
    let mut id = [0; 12];
    id[..8].copy_from_slice(&seed.to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    TransactionId(id)
}

fn start(kind: MessageType, transaction: TransactionId) -> Option<Message> {
    let mut message = Message::new();
    message.build(&[Box::new(transaction), Box::new(kind)]).ok()?;
    Some(message)
}

fn sign(mut message: Message, pwd: &str) -> Option<Vec<u8>> {
    let integrity = MessageIntegrity::new_short_term_integrity_with_provider(pwd.to_owned(), CRYPTO.crypto());
    integrity.add_to(&mut message).ok()?;
    FINGERPRINT.add_to(&mut message).ok()?;
    Some(message.raw)
}

fn is_signed(message: &mut Message, pwd: &str) -> bool {
    message.contains(ATTR_MESSAGE_INTEGRITY)
        && MessageIntegrity::check(message, pwd.as_bytes(), CRYPTO.crypto()).is_ok()
}

/// A connectivity check (RFC 8445, section 7.2.2). `None` if the codec fails, which it has no reason to.
fn check(
    transaction: TransactionId,
    local: &IceCredentials,
    remote: &IceCredentials,
    tie_breaker: u64,
    nominates: bool,
) -> Option<Vec<u8>> {
    let mut message = start(BINDING_REQUEST, transaction)?;
    message.add(ATTR_USERNAME, format!("{}:{}", remote.ufrag, local.ufrag).as_bytes());
    message.add(ATTR_PRIORITY, &PRIORITY.to_be_bytes());
    message.add(ATTR_ICE_CONTROLLING, &tie_breaker.to_be_bytes());
    if nominates {
        message.add(ATTR_USE_CANDIDATE, &[]);
    }
    sign(message, &remote.pwd)
}

fn reply(transaction: TransactionId, from: SocketAddr, pwd: &str) -> Option<Vec<u8>> {
    let mut message = start(BINDING_SUCCESS, transaction)?;
    XorMappedAddress { ip: from.ip(), port: from.port() }.add_to(&mut message).ok()?;
    sign(message, pwd)
}

#[cfg(test)]
mod tests {
    use sfu_core::transport::ice::respond;

    use super::*;

    fn credentials(name: &str) -> IceCredentials {
        IceCredentials { ufrag: format!("{name}Ufrag"), pwd: format!("the password of {name}...") }
    }

    fn agent() -> IceAgent {
        IceAgent::new(credentials("ours"), credentials("theirs"), 7)
    }

    fn server() -> SocketAddr {
        "127.0.0.1:7882".parse().unwrap()
    }

    fn client() -> SocketAddr {
        "127.0.0.1:50000".parse().unwrap()
    }

    /// Lets a lite server answer everything that is due. Returns how many checks nominated.
    fn answer_all(agent: &mut IceAgent, now: Time) -> usize {
        let mut nominations = 0;
        while let Some((to, check)) = agent.poll(now) {
            let answer = respond(&check, &credentials("theirs"), client()).expect("an authentic check");
            nominations += usize::from(answer.nominated);
            assert_eq!(agent.handle_datagram(now, to, &answer.reply), None);
        }
        nominations
    }

    #[test]
    fn the_first_path_that_answers_is_nominated_and_then_used() {
        let mut agent = agent();
        agent.add_remote(Time::ZERO, server());
        let (to, check) = agent.poll(Time::ZERO).expect("a check at once");
        let answer = respond(&check, &credentials("theirs"), client()).expect("an authentic check");
        assert!(answer.accepted && !answer.nominated, "found to work before it is nominated");
        agent.handle_datagram(Time::ZERO, to, &answer.reply);
        assert_eq!(agent.selected(), None);
        assert_eq!(answer_all(&mut agent, Time::ZERO), 1);
        assert_eq!(agent.selected(), Some(server()));
    }

    #[test]
    fn a_lost_check_is_repeated_ever_more_slowly() {
        let mut agent = agent();
        agent.add_remote(Time::ZERO, server());
        let mut sent = Vec::new();
        while sent.len() < 6 {
            let now = agent.next_at().expect("never given up");
            agent.poll(now).expect("a check when it is due");
            sent.push(now.as_millis());
        }
        assert_eq!(sent, [0, 50, 150, 350, 750, 1550]);
    }

    #[test]
    fn consent_is_asked_for_and_lost_after_half_a_minute() {
        let mut agent = agent();
        agent.add_remote(Time::ZERO, server());
        answer_all(&mut agent, Time::ZERO);
        assert_eq!(agent.poll(Time::from_millis(3999)), None);
        assert_eq!(answer_all(&mut agent, Time::from_millis(4000)), 1);
        assert!(!agent.is_lost(Time::from_millis(34_000)));
        assert!(agent.is_lost(Time::from_millis(34_001)));
    }

    #[test]
    fn a_full_agents_check_is_answered_and_its_address_tried() {
        let mut agent = agent();
        let theirs = check(TransactionId([3; 12]), &credentials("theirs"), &credentials("ours"), 1, false).unwrap();
        let reply = agent.handle_datagram(Time::ZERO, server(), &theirs).expect("an answer");
        let mut message = Message::new();
        message.unmarshal_binary(&reply).unwrap();
        assert_eq!((message.typ, message.transaction_id), (BINDING_SUCCESS, TransactionId([3; 12])));
        assert!(is_signed(&mut message, &credentials("ours").pwd));
        assert_eq!(agent.poll(Time::ZERO).expect("a check in return").0, server());
    }

    #[test]
    fn what_is_not_authentic_changes_nothing() {
        let mut agent = agent();
        agent.add_remote(Time::ZERO, server());
        let (to, own) = agent.poll(Time::ZERO).unwrap();
        let forged = reply(transaction_id(7, 1), client(), "another password").unwrap();
        assert_eq!(agent.handle_datagram(Time::ZERO, to, &forged), None);
        assert_eq!(agent.nominated, None);
        let stranger = check(TransactionId([3; 12]), &credentials("x"), &credentials("y"), 1, false).unwrap();
        assert_eq!(agent.handle_datagram(Time::ZERO, to, &stranger), None);
        let unsigned = start(BINDING_SUCCESS, transaction_id(7, 1)).unwrap().raw;
        assert_eq!(agent.handle_datagram(Time::ZERO, to, &unsigned), None);
        assert_eq!(agent.handle_datagram(Time::ZERO, to, &own), None, "not for us");
        assert_eq!(agent.handle_datagram(Time::ZERO, to, b"nonsense"), None);
        assert_eq!((agent.nominated, agent.pairs.len()), (None, 1));
    }
}
