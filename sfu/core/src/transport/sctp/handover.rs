//! An SCTP association, written down. The library can hand an association over but its structures cannot be
//! serialized: these are their mirrors.

use std::collections::BTreeMap;

use dcsctp::api::handover::{
    HandoverCapabilities, HandoverOrderedStream, HandoverOutgoingStream, HandoverOutstandingData, HandoverReceive,
    HandoverSocketState, HandoverStreamMessage, HandoverTransmission, HandoverUnorderedStream, SocketHandoverState,
};
use serde::{Deserialize, Serialize};

use super::{Channel, ChannelId, ChannelState, Sctp};
use crate::time::Time;
use crate::transport::DtlsRole;
use crate::transport::guard::guard;

/// A restorable SCTP association with its channels. Carries messages not yet acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SctpState {
    channels: BTreeMap<ChannelId, Channel>,
    /// `None` restarts the association: peers that follow RFC 9260, section 5.2.4.1 (all browsers) keep their channels
    /// and lose only the messages under way.
    socket: Option<Socket>,
}

impl SctpState {
    /// Whether there is nothing to restore.
    pub(in crate::transport) fn is_empty(&self) -> bool {
        self.socket.is_none() && self.channels.is_empty()
    }
}

/// The library cannot hand over at this moment, mostly because a message is half received. Try again after the next
/// packet or timeout, or export with [`Sctp::export_for_restart`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("association cannot be handed over now: {0}")]
pub struct NotReady(pub String);

impl Sctp {
    /// The exact state, for another process to go on with. On success this association is closed without telling the
    /// peer; drop it. An association that was never up restarts as one.
    ///
    /// # Errors
    /// [`NotReady`]: the association goes on here.
    pub fn export(&mut self) -> Result<SctpState, NotReady> {
        if !self.connected {
            return Ok(self.export_for_restart());
        }
        let readiness = self.socket.get_handover_readiness();
        if !readiness.is_ready() {
            return Err(NotReady(readiness.to_string()));
        }
        let socket = &mut self.socket;
        let handed_over = guard(|| socket.get_handover_state_and_close().ok()).ok().flatten();
        let state = handed_over.ok_or_else(|| NotReady("library refused".into()))?;
        self.ended = true;
        Ok(SctpState { channels: self.channels.clone(), socket: Some(state.into()) })
    }

    /// The channels alone; the restored association restarts. Messages under way are lost, in both directions.
    pub fn export_for_restart(&self) -> SctpState {
        SctpState { channels: self.channels.clone(), socket: None }
    }

    /// Goes on where the exported association stopped, or restarts it.
    pub fn restore(state: SctpState, role: DtlsRole, now: Time) -> Self {
        let mut sctp = Self::new(role, now);
        sctp.channels = state.channels;
        sctp.started = true;
        if let Some(socket) = state.socket {
            let handover = SocketHandoverState::from(socket);
            let library = &mut sctp.socket;
            sctp.connected = matches!(guard(|| library.restore_from_state(&handover)), Ok(Ok(())));
        }
        if !sctp.connected && !sctp.channels.is_empty() {
            // The peer still has what was open; what was not acknowledged is opened again.
            for channel in sctp.channels.values_mut().filter(|channel| channel.state == ChannelState::Opening) {
                channel.state = ChannelState::Waiting;
            }
            sctp.connect(now);
        }
        sctp
    }
}

/// Writes a mirror of a library's structure: plain fields, then fields that are vectors of mirrors.
macro_rules! mirror {
    ($name:ident = $library:ident { $($field:ident: $type:ty),* } [ $($list:ident: $item:ty),* ]) => {
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        struct $name { $($field: $type,)* $($list: Vec<$item>,)* }

        impl From<$library> for $name {
            fn from(library: $library) -> Self {
                Self {
                    $($field: library.$field.into(),)*
                    $($list: library.$list.into_iter().map(Into::into).collect(),)*
                }
            }
        }

        impl From<$name> for $library {
            fn from(mirror: $name) -> Self {
                Self {
                    $($field: mirror.$field.into(),)*
                    $($list: mirror.$list.into_iter().map(Into::into).collect(),)*
                }
            }
        }
    };
}

mirror!(Capabilities = HandoverCapabilities {
    partial_reliability: bool, message_interleaving: bool, reconfig: bool, zero_checksum: bool,
    negotiated_maximum_incoming_streams: u16, negotiated_maximum_outgoing_streams: u16
} []);
mirror!(QueuedMessage = HandoverStreamMessage {
    stream_id: u16, ppid: u32, payload: Vec<u8>, expires_in_ms: Option<i32>, max_retransmissions: u16, unordered: bool,
    lifecycle_id: u64, message_id: u64, remaining_offset: usize, mid: Option<u32>, ssn: Option<u16>, fsn: u32
} []);
mirror!(OutstandingData = HandoverOutstandingData {
    mid: u32, stream_id: u16, ssn: u16, fsn: u32, ppid: u32, payload: Vec<u8>, expires_in_ms: Option<i32>,
    max_retransmissions: u16, is_beginning: bool, is_end: bool, is_unordered: bool, lifecycle_id: u64,
    time_since_sent_ms: i32, retransmission_count: u16, acked: bool, is_abandoned: bool, is_nacked: bool,
    is_to_be_retransmitted: bool, message_id: u64
} []);
mirror!(OutgoingStream = HandoverOutgoingStream {
    id: u16, next_ssn: u16, next_unordered_mid: u32, next_ordered_mid: u32, priority: u16
} []);
mirror!(Transmission = HandoverTransmission {
    next_tsn: u32, next_outgoing_message_id: u64, next_reset_req_sn: u32, cwnd: u32, rwnd: u32, ssthresh: u32,
    partial_bytes_acked: u32, last_cumulative_tsn_ack: u32
} [streams: OutgoingStream, queued_messages: QueuedMessage, outstanding_data: OutstandingData]);
mirror!(OrderedStream = HandoverOrderedStream { id: u16, next_ssn: u32 } []);
mirror!(UnorderedStream = HandoverUnorderedStream { id: u16 } []);
mirror!(Reception = HandoverReceive {
    seen_packet: bool, last_cumulative_acked_tsn: u32, last_assembled_tsn: u32,
    last_completed_deferred_reset_req_sn: u32, last_completed_reset_req_sn: u32
} [ordered_streams: OrderedStream, unordered_streams: UnorderedStream]);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Socket {
    my_verification_tag: u32,
    my_initial_tsn: u32,
    peer_verification_tag: u32,
    peer_initial_tsn: u32,
    tie_tag: u64,
    capabilities: Capabilities,
    transmission: Transmission,
    reception: Reception,
}

impl From<SocketHandoverState> for Socket {
    fn from(state: SocketHandoverState) -> Self {
        Self {
            my_verification_tag: state.my_verification_tag,
            my_initial_tsn: state.my_initial_tsn,
            peer_verification_tag: state.peer_verification_tag,
            peer_initial_tsn: state.peer_initial_tsn,
            tie_tag: state.tie_tag,
            capabilities: state.capabilities.into(),
            transmission: state.tx.into(),
            reception: state.rx.into(),
        }
    }
}

impl From<Socket> for SocketHandoverState {
    fn from(socket: Socket) -> Self {
        Self {
            socket_state: HandoverSocketState::Connected,
            my_verification_tag: socket.my_verification_tag,
            my_initial_tsn: socket.my_initial_tsn,
            peer_verification_tag: socket.peer_verification_tag,
            peer_initial_tsn: socket.peer_initial_tsn,
            tie_tag: socket.tie_tag,
            capabilities: socket.capabilities.into(),
            tx: socket.transmission.into(),
            rx: socket.reception.into(),
        }
    }
}
