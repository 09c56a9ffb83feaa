//! Connectivity: checks, paths, DTLS to and from control.

use super::Engine;
use super::allowance::Rate;
use super::arena::TransportIndex;
use super::event::Event;
use super::handoff::{Handoff, Ownership};
use super::path::Path;
use super::relay::message::RelayMessage;
use super::suspects::Cause;
use crate::time::Time;
use crate::transport::ice::{peek_ufrag, respond};

/// DTLS datagrams of one transport that control looks at. At once: all that a client may have in flight of data (half a
/// megabyte); in a second: 18 Mb/s of it. What is above is lost, and SCTP slows down.
const DTLS_RATE: Rate = Rate { burst: 512, per_second: 2_000 };
/// Authentic checks of one transport that are answered. Browsers send one each 50 ms while they connect, and one each
/// 2 to 5 s afterwards; each may move the path, which control has to hear of.
const CHECK_RATE: Rate = Rate { burst: 256, per_second: 100 };

impl Engine {
    /// Answers a check, if it is authentic, and remembers where it came from.
    pub(super) fn handle_check(&mut self, now: Time, path: Path, datagram: &[u8]) {
        self.output.stats.received.stun.add(datagram.len());
        let dropped = &mut self.output.stats.dropped;
        let found = peek_ufrag(datagram).and_then(|ufrag| Some((ufrag, *self.index.ufrags.get(ufrag)?)));
        let Some((ufrag, index)) = found else {
            dropped.unknown_ufrag += 1;
            return;
        };
        self.suspects.cause = Cause::Transport(index);
        let Some(transport) = self.transports.get_mut(index) else { return };
        let Some(credentials) = transport.credentials_of(ufrag) else { return };
        let Ok(answer) = respond(datagram, credentials, path.remote()) else {
            dropped.rejected_check += 1;
            return;
        };
        if !transport.checks.take(now, CHECK_RATE) {
            dropped.too_fast += 1;
            return;
        }
        // As long as the path is not ours to use, the client must not be told that it is chosen.
        let is_held = answer.nominated && !self.admit_nomination(now, index, path, datagram);
        if !is_held {
            self.output.stats.checks += 1;
            self.output.transmit(path, answer.reply, |stats| &mut stats.sent.stun);
        }
        if answer.accepted {
            self.note_check(now, index, path, ufrag, answer.nominated && !is_held);
        }
    }

    /// An authentic check proved a path.
    fn note_check(&mut self, now: Time, index: TransportIndex, path: Path, ufrag: &str, nominated: bool) {
        let Some(transport) = self.transports.get_mut(index) else { return };
        if let Some(old) = transport.confirm_credentials(ufrag) {
            self.index.ufrags.remove(&old.ufrag);
        }
        let checked = transport.connectivity.handle_check(now, path, nominated);
        let key = transport.key;
        self.schedule_transport(now, index);
        if let Some(evicted) = checked.evicted {
            self.index.paths.remove(&evicted);
        }
        if checked.added
            && let Some(previous) = self.index.paths.insert(path, index).filter(|previous| *previous != index)
        {
            // A NAT gave the address to somebody else; whoever proved it last has it.
            self.detach_path(previous, &path);
        }
        if checked.selected {
            self.output.event(Event::PathSelected { transport: key, path });
        }
    }

    /// Hands DTLS from a proven path to control.
    pub(super) fn handle_dtls(&mut self, now: Time, path: Path, datagram: &[u8]) {
        self.output.stats.received.dtls.add(datagram.len());
        let index = self.index.paths.get(&path).copied();
        let Some((index, transport)) = index.and_then(|index| Some((index, self.transports.get_mut(index)?))) else {
            self.output.stats.dropped.unknown_path += 1;
            return;
        };
        self.suspects.cause = Cause::Transport(index);
        if !transport.dtls.take(now, DTLS_RATE) {
            self.output.stats.dropped.too_fast += 1;
            return;
        }
        let key = transport.key;
        if self.admit_dtls(now, index, path, datagram, 0) {
            self.output.event(Event::Dtls { transport: key, datagram: datagram.to_vec() });
        }
    }

    /// Sends DTLS of control's on the transport's path.
    pub(super) fn send_dtls(&mut self, index: TransportIndex, datagram: Vec<u8>) {
        if let Some(transport) = self.transports.get(index)
            && let Ownership::Outgoing { successor } = transport.ownership
        {
            return self.output.relay(successor, RelayMessage::transport(transport.key, Handoff::Dtls(datagram)));
        }
        let Some(path) = self.transports.get(index).and_then(|transport| transport.connectivity.selected()) else {
            self.output.stats.dropped.no_path += 1;
            return;
        };
        self.output.transmit(path, datagram, |stats| &mut stats.sent.dtls);
    }

    /// A path is gone for good.
    pub(super) fn forget_path(&mut self, now: Time, path: Path) {
        if let Some(index) = self.index.paths.remove(&path) {
            self.detach_path(index, &path);
            self.schedule_transport(now, index);
        }
    }

    /// Takes a path from a transport, and tells control if it now sends on another one.
    fn detach_path(&mut self, index: TransportIndex, path: &Path) {
        let Some(transport) = self.transports.get_mut(index) else { return };
        if transport.connectivity.remove(path)
            && let Some(path) = transport.connectivity.selected()
        {
            self.output.event(Event::PathSelected { transport: transport.key, path });
        }
    }
}
