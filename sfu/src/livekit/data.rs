//! Data packets: who they are from is the server's word, who they go to is the sender's.

use livekit_protocol as proto;
use livekit_protocol::data_packet::{Kind, Value};
use prost::Message as _;
use sfu_core::call::{Call, Identity, Participant, ParticipantId, ParticipantState};
use thiserror::Error;

use crate::control::{LOSSY, RELIABLE};

/// A packet ready to be sent on.
#[derive(Debug, Clone, PartialEq)]
pub struct Relay {
    pub label: &'static str,
    pub packet: Vec<u8>,
    pub receivers: Vec<ParticipantId>,
    /// The sender's number of a reliable packet, 0 for none.
    pub sequence: u32,
}

/// Why a packet is not sent on. Never told to the sender: data has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Dropped {
    #[error("cannot be read")]
    Malformed,
    #[error("the token does not grant publishing data")]
    NotAllowed,
    #[error("is not for other participants")]
    NotRelayed,
    #[error("was seen before")]
    Repeated,
}

impl Dropped {
    /// Name in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotAllowed => "not_allowed",
            Self::NotRelayed => "not_relayed",
            Self::Repeated => "repeated",
        }
    }
}

/// A packet of the server's own to one client: text with a topic, from nobody.
pub fn of_the_server(topic: &str, text: &str) -> Vec<u8> {
    let user = proto::UserPacket {
        payload: text.as_bytes().to_vec(),
        topic: Some(topic.to_owned()),
        ..proto::UserPacket::default()
    };
    // Reliable is the default kind, which old clients read.
    proto::DataPacket { value: Some(Value::User(user)), ..proto::DataPacket::default() }.encode_to_vec()
}

/// Decides what becomes of a packet `sender` sent on the channel `label`. `last_sequence` is the highest number of its
/// reliable packets so far: after a resume the client repeats what may have been lost.
pub fn relay(
    call: &Call,
    sender: &Participant,
    label: &str,
    data: &[u8],
    last_sequence: u32,
) -> Result<Relay, Dropped> {
    if !sender.permissions.publish_data {
        return Err(Dropped::NotAllowed);
    }
    let (label, kind) = match label {
        RELIABLE => (RELIABLE, Kind::Reliable),
        LOSSY => (LOSSY, Kind::Lossy),
        _ => return Err(Dropped::NotRelayed),
    };
    let mut packet = proto::DataPacket::decode(data).map_err(|_| Dropped::Malformed)?;
    let reliable = kind == Kind::Reliable;
    if reliable && packet.sequence > 0 && packet.sequence <= last_sequence {
        return Err(Dropped::Repeated);
    }
    #[expect(deprecated, reason = "old clients read the kind in the packet")]
    {
        packet.kind = kind as i32;
    }
    // A hidden participant is nobody.
    let (sid, identity) = if sender.permissions.hidden {
        (String::new(), String::new())
    } else {
        (sender.id.0.clone(), sender.identity.0.clone())
    };
    let mut identities = packet.destination_identities.clone();
    let mut sids = Vec::new();
    match &mut packet.value {
        None | Some(Value::Transcription(_) | Value::Metrics(_)) => return Err(Dropped::NotRelayed),
        #[expect(deprecated, clippy::match_same_arms, reason = "old clients could send it; the server says who speaks")]
        Some(Value::Speaker(_)) => return Err(Dropped::NotRelayed),
        #[expect(deprecated, reason = "old clients read and write these inside the user packet")]
        Some(Value::User(user)) => {
            user.participant_sid.clone_from(&sid);
            user.participant_identity.clone_from(&identity);
            if identities.is_empty() {
                identities.clone_from(&user.destination_identities);
            }
            user.destination_identities.clone_from(&identities);
            sids.clone_from(&user.destination_sids);
        }
        Some(_) => (),
    }
    packet.participant_sid = sid;
    packet.participant_identity = identity;
    packet.destination_identities.clone_from(&identities);
    let everyone = identities.is_empty() && sids.is_empty();
    let is_meant = |receiver: &Participant| {
        everyone || identities.iter().any(|i| Identity(i.clone()) == receiver.identity) || sids.contains(&receiver.id.0)
    };
    let receivers = call
        .participants()
        .filter(|receiver| receiver.id != sender.id && receiver.state != ParticipantState::Disconnected)
        .filter(|receiver| is_meant(receiver))
        .map(|receiver| receiver.id.clone())
        .collect();
    let sequence = if reliable { packet.sequence } else { 0 };
    Ok(Relay { label, packet: packet.encode_to_vec(), receivers, sequence })
}

#[cfg(test)]
mod tests {
    use sfu_core::call::Permissions;

    use super::*;

    fn call() -> Call {
        let mut call = Call::new("standup", "RM_1", 0);
        for name in ["ana", "ben", "cem"] {
            let id = ParticipantId(format!("PA_{name}"));
            call.join(Participant::new(id, Identity(name.into()), Permissions::default(), 0));
        }
        call
    }

    fn packet(identities: &[&str], sequence: u32) -> Vec<u8> {
        let user = proto::UserPacket { payload: b"hello".to_vec(), ..Default::default() };
        proto::DataPacket {
            participant_identity: "somebody else".into(),
            destination_identities: identities.iter().map(|i| (*i).to_owned()).collect(),
            sequence,
            value: Some(Value::User(user)),
            ..Default::default()
        }
        .encode_to_vec()
    }

    fn sent(label: &str, data: &[u8], last_sequence: u32) -> Result<Relay, Dropped> {
        let call = call();
        let ana = call.by_identity(&Identity("ana".into())).unwrap();
        relay(&call, ana, label, data, last_sequence)
    }

    fn receivers(relay: &Relay) -> Vec<&str> {
        relay.receivers.iter().map(|id| id.0.as_str()).collect()
    }

    #[test]
    fn without_destinations_everyone_else_gets_it_from_who_sent_it() {
        let relay = sent(RELIABLE, &packet(&[], 1), 0).unwrap();
        assert_eq!(receivers(&relay), ["PA_ben", "PA_cem"]);
        let packet = proto::DataPacket::decode(relay.packet.as_slice()).unwrap();
        assert_eq!(packet.participant_identity, "ana", "a sender cannot speak for another");
    }

    #[test]
    fn with_destinations_only_they_get_it() {
        assert_eq!(receivers(&sent(LOSSY, &packet(&["cem"], 0), 0).unwrap()), ["PA_cem"]);
    }

    #[test]
    fn a_repeated_reliable_packet_is_dropped_and_a_lossy_one_has_no_number() {
        assert_eq!(sent(RELIABLE, &packet(&[], 5), 5), Err(Dropped::Repeated));
        assert_eq!(sent(LOSSY, &packet(&[], 5), 5).unwrap().sequence, 0);
    }

    #[test]
    fn garbage_other_channels_and_missing_grants_are_dropped() {
        assert_eq!(sent(RELIABLE, &[0xff; 40], 0), Err(Dropped::Malformed));
        assert_eq!(sent("other", &packet(&[], 0), 0), Err(Dropped::NotRelayed));
        let mut call = call();
        let permissions = Permissions { publish_data: false, ..Permissions::default() };
        call.join(Participant::new(ParticipantId("PA_dan".into()), Identity("dan".into()), permissions, 0));
        let dan = call.by_identity(&Identity("dan".into())).unwrap();
        assert_eq!(relay(&call, dan, RELIABLE, &packet(&[], 0), 0), Err(Dropped::NotAllowed));
    }
}
