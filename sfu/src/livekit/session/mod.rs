//! One participant's connection: its websocket, its one or two peer connections, what it publishes and receives.
//!
//! A session decides nothing about the call. It tells what its client asks for ([`Asked`]), and brings what the client
//! receives in line with what it is given. The order matters to clients: everyone hears of a track before the
//! description that carries it, so [`Session::negotiate`] comes last.

mod negotiate;
mod outlet;
mod publish;
mod receive;
mod ssrcs;

use std::time::Duration;

use livekit_protocol as proto;
use livekit_protocol::signal_response::Message as Response;
use sfu_core::call::{ParticipantId, Track, TrackId};
use sfu_core::engine::command::Command;
use sfu_core::id::{AudioGroupKey, TransportKey};
use sfu_core::sdp::{ClientOffers, CodecPolicy, ServerOffers};
use sfu_core::time::Time;

use super::join::{Join, PeerMode};
use super::token::Claims;
use super::{PING_INTERVAL_SECONDS, PING_TIMEOUT_SECONDS, PROTOCOL_VERSION, SERVER_VERSION};
use crate::control::{Context, Transport};
use outlet::Outlet;
pub use outlet::Responses;
pub use publish::AnnounceError;
use publish::Publications;
use receive::Receptions;
pub use receive::{Heard, Reconciled, Scope};

/// A client that has no media path by then is told, instead of waiting for ever.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(9);
/// How long a participant with a websocket is kept whose media has stopped, for the client to restart ICE.
pub const RESUME_TIMEOUT: Duration = Duration::from_secs(15);

/// What a client asks of the call.
#[derive(Debug)]
pub enum Asked {
    /// Media of a track was described.
    Publish(Box<Track>),
    Unpublish(TrackId),
    /// The peer connection cannot go on as it is.
    Reconnect(&'static str),
}

/// Where in the media engine a session lives.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its media thread.
    pub worker: usize,
    /// The group its microphones compete in.
    pub microphones: AudioGroupKey,
}

#[derive(Debug)]
pub struct Session {
    pub participant: ParticipantId,
    pub claims: Claims,
    pub mode: PeerMode,
    worker: usize,
    microphones: AudioGroupKey,
    outlet: Outlet,
    /// The connection on which the client offers: the only one, or the one it publishes on.
    publisher: Peer<ClientOffers>,
    /// The connection on which the server offers.
    subscriber: Option<Peer<ServerOffers>>,
    publications: Publications,
    receptions: Receptions,
    joined_at: Time,
    active: bool,
    /// Since when the client answers no checks.
    media_lost_at: Option<Time>,
    /// Highest sequence number of its reliable data.
    pub last_data_sequence: u32,
}

/// A peer connection: its transport and its descriptions.
#[derive(Debug)]
struct Peer<Negotiation> {
    transport: Transport,
    offers: Negotiation,
    /// Id of the last description: a client ignores an answer with another id than its offer's.
    description_id: u32,
}

impl Session {
    /// Sets up the transports. `None` if there is no randomness for their credentials.
    pub fn new(context: &mut Context, join: &Join, participant: ParticipantId, place: Place) -> Option<Self> {
        let Place { worker, microphones } = place;
        let publisher = Peer {
            transport: Transport::new(context, worker)?,
            offers: ClientOffers::new(context.key(), CodecPolicy::default()),
            description_id: 0,
        };
        let subscriber = match join.mode {
            PeerMode::Single => None,
            PeerMode::Dual => {
                let mut transport = Transport::new(context, worker)?;
                transport.open_channels();
                let offers = ServerOffers::new(context.key(), CodecPolicy::default(), true);
                Some(Peer { transport, offers, description_id: 0 })
            }
        };
        Some(Self {
            participant,
            claims: join.claims.clone(),
            mode: join.mode,
            worker,
            microphones,
            outlet: Outlet::new(join.client.protocol),
            publisher,
            subscriber,
            publications: Publications::default(),
            receptions: Receptions::default(),
            joined_at: context.now(),
            active: false,
            media_lost_at: None,
            last_data_sequence: 0,
        })
    }

    /// The media thread it lives on.
    pub const fn worker(&self) -> usize {
        self.worker
    }

    pub fn transports(&self) -> impl Iterator<Item = &Transport> {
        std::iter::once(&self.publisher.transport).chain(self.subscriber.as_ref().map(|peer| &peer.transport))
    }

    pub fn transports_mut(&mut self) -> impl Iterator<Item = &mut Transport> {
        std::iter::once(&mut self.publisher.transport).chain(self.subscriber.as_mut().map(|peer| &mut peer.transport))
    }

    pub fn transport_mut(&mut self, key: TransportKey) -> Option<&mut Transport> {
        self.transports_mut().find(|transport| transport.key == key)
    }

    /// The transport whose connection means that the client is there.
    fn primary(&self) -> &Transport {
        match &self.subscriber {
            Some(peer) if self.subscriber_is_primary() => &peer.transport,
            _ => &self.publisher.transport,
        }
    }

    fn subscriber_is_primary(&self) -> bool {
        let may_subscribe = self.claims.video.as_ref().is_none_or(|grant| grant.can_subscribe.unwrap_or(true));
        self.subscriber.is_some() && may_subscribe
    }

    /// Where data goes to the client.
    pub fn data_transport(&mut self) -> &mut Transport {
        if self.subscriber_is_primary()
            && let Some(peer) = &mut self.subscriber
        {
            return &mut peer.transport;
        }
        &mut self.publisher.transport
    }

    /// A websocket takes over; the one before, if any, is cut.
    pub fn attach(&mut self, now: Time, epoch: u64) -> Responses {
        // Its media has a fresh chance: the client restarts ICE.
        if self.media_lost_at.is_some() {
            self.media_lost_at = Some(now);
        }
        self.outlet.attach(epoch)
    }

    pub fn is_attached(&self, epoch: u64) -> bool {
        self.outlet.epoch() == Some(epoch)
    }

    pub fn has_websocket(&self) -> bool {
        self.outlet.epoch().is_some()
    }

    pub fn detach(&mut self) {
        self.outlet.detach();
    }

    pub fn send(&mut self, message: Response) {
        self.outlet.send(message);
    }

    pub fn protocol(&self) -> i32 {
        self.outlet.protocol()
    }

    pub fn is_active(&self) -> bool {
        self.active
    }

    /// A transport came up. True once, when the client counts as connected.
    pub fn check_active(&mut self) -> bool {
        let became = !self.active && self.primary().is_connected();
        self.active |= became;
        became
    }

    /// The client has neither UDP nor TCP through in the time it should take.
    pub fn is_overdue(&self, now: Time) -> bool {
        !self.active && now.since(self.joined_at) >= CONNECT_TIMEOUT
    }

    /// The client no longer answers checks.
    pub fn media_lost(&mut self, now: Time) {
        self.media_lost_at.get_or_insert(now);
    }

    pub fn media_back(&mut self) {
        self.media_lost_at = None;
    }

    /// Neither websocket nor media is left, or media did not come back while the websocket waits.
    pub fn is_gone(&self, now: Time) -> bool {
        self.media_lost_at.is_some_and(|since| !self.has_websocket() || now.since(since) >= RESUME_TIMEOUT)
    }

    /// The first message of a fresh join.
    pub fn join_response(
        &self,
        context: &Context,
        room: proto::Room,
        own: proto::ParticipantInfo,
        others: Vec<proto::ParticipantInfo>,
    ) -> Response {
        let may_publish = own.permission.as_ref().is_some_and(|permission| permission.can_publish);
        Response::Join(proto::JoinResponse {
            room: Some(room),
            participant: Some(own),
            other_participants: others,
            server_version: SERVER_VERSION.into(),
            server_info: Some(server_info(context)),
            subscriber_primary: self.subscriber_is_primary(),
            ping_interval: PING_INTERVAL_SECONDS,
            ping_timeout: PING_TIMEOUT_SECONDS,
            enabled_publish_codecs: super::convert::enabled_codecs(),
            fast_publish: may_publish,
            ..proto::JoinResponse::default()
        })
    }

    /// The first message of a resume.
    pub fn reconnect_response(&self, context: &Context) -> Response {
        Response::Reconnect(proto::ReconnectResponse {
            server_info: Some(server_info(context)),
            last_message_seq: self.last_data_sequence,
            ..proto::ReconnectResponse::default()
        })
    }

    /// Ends everything without a word to the client, as when the server fails.
    pub fn vanish(&mut self, context: &mut Context) {
        for transport in self.transports() {
            context.command(self.worker, Command::RemoveTransport { transport: transport.key });
        }
        self.outlet.detach();
    }

    /// Ends transports and the websocket. The engine forgets tracks and copies with their transports.
    pub fn close(&mut self, context: &mut Context) {
        for transport in self.transports_mut() {
            transport.close(context);
        }
        self.outlet.detach();
    }
}

fn server_info(context: &Context) -> proto::ServerInfo {
    proto::ServerInfo {
        version: SERVER_VERSION.into(),
        protocol: PROTOCOL_VERSION,
        node_id: context.node.clone(),
        ..proto::ServerInfo::default()
    }
}
