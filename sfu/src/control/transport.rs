//! Control's half of one transport: ICE credentials, the DTLS association and the data channels inside.
//!
//! The worker has the other half. DTLS datagrams come from it and go back to it, because only it knows the path.

use std::collections::{BTreeMap, VecDeque};

use sfu_core::engine::command::Command;
use sfu_core::engine::path::Path;
use sfu_core::id::TransportKey;
use sfu_core::sdp::{DtlsRole, Fingerprint, LocalTransport};
use sfu_core::time::Time;
use sfu_core::transport::association::{Association, AssociationOutput};
use sfu_core::transport::ice::IceCredentials;
use sfu_core::transport::sctp::{ChannelError, ChannelId, ChannelOptions, Reliability, Sent};

use super::Context;
use crate::metrics::{NO_CHANNEL, TOO_SLOW_LOSSY, TOO_SLOW_RELIABLE};

/// Reliable messages kept for a client whose channel is not open yet.
const MAX_HELD_MESSAGES: usize = 512;
const MAX_HELD_BYTES: usize = 1024 * 1024;

/// LiveKit's channels.
pub const RELIABLE: &str = "_reliable";
pub const LOSSY: &str = "_lossy";
pub const DATA_TRACK: &str = "_data_track";

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is on its way, or waits for its channel to open.
    Taken,
    /// The receiver is too far behind.
    TooSlow,
    /// The receiver has no such channel, or has gone.
    NoChannel,
}

impl Delivery {
    fn of(sent: Result<Sent, ChannelError>) -> Self {
        match sent {
            Ok(Sent::Queued) => Self::Taken,
            Ok(Sent::Dropped) | Err(ChannelError::BufferFull) => Self::TooSlow,
            Err(_) => Self::NoChannel,
        }
    }

    /// Name in metrics of why it was lost on the channel `label`, if it was.
    pub fn lost(self, label: &str) -> Option<&'static str> {
        match self {
            Self::Taken => None,
            Self::TooSlow if label == RELIABLE => Some(TOO_SLOW_RELIABLE),
            Self::TooSlow => Some(TOO_SLOW_LOSSY),
            Self::NoChannel => Some(NO_CHANNEL),
        }
    }
}

/// What happened on a transport.
#[derive(Debug)]
pub enum News {
    /// ICE and DTLS are up: media flows.
    Connected,
    /// A message on a data channel.
    Message { label: String, data: Vec<u8> },
    /// The client closed it, or its handshake failed.
    Closed { reason: String },
}

#[derive(Debug)]
pub struct Transport {
    pub key: TransportKey,
    worker: usize,
    ice: IceCredentials,
    association: Option<Association>,
    /// Stream ids by label.
    channels: BTreeMap<String, ChannelId>,
    path: Option<Path>,
    connected: bool,
    held: VecDeque<Vec<u8>>,
    held_bytes: usize,
    /// Channels to open once the association is up.
    wanted: Vec<ChannelOptions>,
    /// What was not told yet.
    news: Vec<News>,
    /// When the association wants to be called again.
    deadline: Option<Time>,
    /// When the control thread looks at this transport next.
    scheduled: Option<Time>,
}

impl Transport {
    /// Makes credentials and tells the worker to answer checks for them.
    pub fn new(context: &mut Context, worker: usize) -> Option<Self> {
        let key = TransportKey(context.key());
        let ice = IceCredentials::generate(worker as u8).ok()?;
        context.command(worker, Command::AddTransport { transport: key, ice: ice.clone() });
        Some(Self {
            key,
            worker,
            ice,
            association: None,
            channels: BTreeMap::new(),
            path: None,
            connected: false,
            held: VecDeque::new(),
            held_bytes: 0,
            wanted: Vec::new(),
            news: Vec::new(),
            deadline: None,
            scheduled: None,
        })
    }

    pub fn is_connected(&self) -> bool {
        self.connected
    }

    pub fn path(&self) -> Option<Path> {
        self.path
    }

    /// The channels the server opens itself, on a connection it offers.
    pub fn open_channels(&mut self) {
        self.wanted = [(RELIABLE, true), (LOSSY, false), (DATA_TRACK, false)]
            .map(|(label, reliable)| ChannelOptions {
                label: label.to_owned(),
                ordered: reliable,
                reliability: if reliable { Reliability::Reliable } else { Reliability::MaxRetransmits(0) },
            })
            .into();
    }

    /// What our descriptions say of it.
    pub fn description(&self, context: &Context) -> LocalTransport {
        LocalTransport {
            ice_ufrag: self.ice.ufrag.clone(),
            ice_pwd: self.ice.pwd.clone(),
            fingerprint: context.fingerprint,
            candidates: context.candidates(),
        }
    }

    /// New credentials; the old path stays in use until the client has checked the new ones.
    pub fn restart_ice(&mut self, context: &mut Context) {
        if let Ok(ice) = IceCredentials::generate(self.worker as u8) {
            self.ice = ice;
            let command = Command::RestartIce { transport: self.key, ice: self.ice.clone() };
            context.command(self.worker, command);
        }
    }

    /// Begins DTLS. `remote` may come later where the client's first record can be here before its description.
    pub fn start(&mut self, context: &mut Context, role: DtlsRole, remote: Option<Fingerprint>) {
        let now = context.now();
        if self.association.as_ref().is_none_or(|association| association.role() != role) {
            self.association = Some(Association::new(role, context.identity.clone(), None, now));
        }
        if let (Some(association), Some(remote)) = (&mut self.association, remote) {
            association.set_remote_fingerprint(now, remote);
        }
        self.drain(context);
    }

    /// The client chose a path. What DTLS wanted to say while there was none is said now.
    pub fn path_selected(&mut self, context: &mut Context, path: Path) {
        self.path = Some(path);
        context.steering.insert(self.key, path, self.worker);
        self.drain(context);
    }

    pub fn handle_dtls(&mut self, context: &mut Context, datagram: &[u8]) {
        let now = context.now();
        if let Some(association) = &mut self.association {
            association.handle_datagram(now, datagram);
        }
        self.drain(context);
    }

    /// The time `at` has come, for which the transport was scheduled: lets time pass, if the association waits for it.
    pub fn handle_timeout(&mut self, context: &mut Context, at: Time) {
        // Another one was set since.
        if self.scheduled != Some(at) {
            return;
        }
        self.scheduled = None;
        let now = context.now();
        if let Some(association) = &mut self.association
            && self.deadline.is_some_and(|deadline| deadline <= now)
        {
            association.handle_timeout(now);
        }
        self.drain(context);
    }

    /// Makes sure that the control thread looks at the transport by then.
    fn schedule(&mut self, context: &mut Context, at: Option<Time>) {
        if let Some(at) = at
            && self.scheduled.is_none_or(|scheduled| at < scheduled)
        {
            self.scheduled = Some(at);
            context.timers.insert(at, self.key);
        }
    }

    /// What happened since it was asked last.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Sends what the association has to send, and keeps what it has to tell.
    fn drain(&mut self, context: &mut Context) {
        while let Some(output) = self.association.as_mut().and_then(Association::poll) {
            match output {
                AssociationOutput::Datagram(datagram) => {
                    context.command(self.worker, Command::SendDtls { transport: self.key, datagram });
                }
                AssociationOutput::Connected { keys } => {
                    context.command(self.worker, Command::InstallKeys { transport: self.key, keys });
                    self.connected = true;
                    self.open_wanted(context.now());
                    self.news.push(News::Connected);
                }
                AssociationOutput::ChannelOpened(channel) => {
                    self.channels.insert(channel.label.clone(), channel.id);
                    if channel.label == RELIABLE {
                        self.send_held(context);
                    }
                }
                AssociationOutput::Message { channel, data, .. } => {
                    let label = self.channels.iter().find(|(_, id)| **id == channel).map(|(label, _)| label.clone());
                    self.news.extend(label.map(|label| News::Message { label, data }));
                }
                AssociationOutput::ChannelClosed { channel } => self.channels.retain(|_, id| *id != channel),
                AssociationOutput::Closed { reason } => self.news.push(News::Closed { reason: reason.to_string() }),
            }
        }
        self.deadline = self.association.as_ref().and_then(Association::poll_timeout);
        // Not everybody asks for the news of a transport he makes send something: the next tick does.
        let news_at = (!self.news.is_empty()).then(|| context.now());
        self.schedule(context, self.deadline.into_iter().chain(news_at).min());
    }

    fn open_wanted(&mut self, now: Time) {
        let Some(association) = &mut self.association else { return };
        for options in std::mem::take(&mut self.wanted) {
            let label = options.label.clone();
            if let Err(error) = association.open_channel(now, options) {
                tracing::warn!(label, %error, "failed to open a data channel");
            }
        }
    }

    /// Sends a message on a channel. A reliable one waits for the channel to open; a lossy one is dropped.
    pub fn send(&mut self, context: &mut Context, label: &str, data: &[u8]) -> Delivery {
        let now = context.now();
        let Some(association) = self.association.as_mut().filter(|_| self.channels.contains_key(label)) else {
            return match label {
                RELIABLE if self.hold(data) => Delivery::Taken,
                RELIABLE => Delivery::TooSlow,
                _ => Delivery::NoChannel,
            };
        };
        let sent = association.send(now, self.channels[label], data, true);
        self.drain(context);
        Delivery::of(sent)
    }

    fn hold(&mut self, data: &[u8]) -> bool {
        let fits = self.held.len() < MAX_HELD_MESSAGES && self.held_bytes + data.len() <= MAX_HELD_BYTES;
        if fits {
            self.held_bytes += data.len();
            self.held.push_back(data.to_vec());
        }
        fits
    }

    fn send_held(&mut self, context: &Context) {
        let (Some(association), Some(channel)) = (&mut self.association, self.channels.get(RELIABLE)) else { return };
        for data in self.held.drain(..) {
            let delivery = Delivery::of(association.send(context.now(), *channel, &data, true));
            if let Some(reason) = delivery.lost(RELIABLE) {
                context.metrics.data_dropped(reason);
            }
        }
        self.held_bytes = 0;
    }

    /// Ends it on both sides.
    pub fn close(&mut self, context: &mut Context) {
        let now = context.now();
        if let Some(association) = &mut self.association {
            association.close(now);
            self.drain(context);
        }
        context.steering.remove(self.key);
        context.command(self.worker, Command::RemoveTransport { transport: self.key });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_named_and_a_full_queue_is_a_slow_receiver() {
        let lost = |sent, label| Delivery::of(sent).lost(label);
        assert_eq!(lost(Ok(Sent::Queued), RELIABLE), None);
        assert_eq!(lost(Err(ChannelError::BufferFull), RELIABLE), Some("too_slow_reliable"));
        assert_eq!(lost(Ok(Sent::Dropped), LOSSY), Some("too_slow_lossy"));
        assert_eq!(lost(Err(ChannelError::Ended), LOSSY), Some("no_channel"));
    }
}
