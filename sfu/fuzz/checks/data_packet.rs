//! What must hold of any bytes somebody sends on a data channel: what is sent on is from them, goes to others, can be
//! read again, and is not much larger than what they sent.

use calls_sfu::control::{LOSSY, RELIABLE};
use calls_sfu::livekit::data::{Dropped, relay};
use livekit_protocol as proto;
use livekit_protocol::data_packet::Value;
use prost::Message as _;
use sfu_core::call::{Call, Identity, Participant, ParticipantId, Permissions};

/// What the server adds: who sent it, twice, and of which kind it is.
const ADDED_BYTES: usize = 64;

pub fn check(message: &[u8]) {
    let mut call = Call::new("standup", "RM_1", 0);
    for name in ["ana", "ben", "cem"] {
        let permissions = Permissions { hidden: name == "cem", ..Permissions::default() };
        call.join(Participant::new(ParticipantId(format!("PA_{name}")), Identity(name.into()), permissions, 0));
    }
    for sender in call.participants() {
        assert_eq!(relay(&call, sender, "other", message, 0), Err(Dropped::NotRelayed));
        for label in [RELIABLE, LOSSY] {
            let Ok(relay) = relay(&call, sender, label, message, 7) else { continue };
            assert_eq!(relay.label, label);
            assert!(!relay.receivers.contains(&sender.id), "nobody hears themselves");
            assert!(relay.receivers.len() <= 2);
            assert!(relay.sequence == 0 || label == RELIABLE && relay.sequence > 7, "{} again", relay.sequence);
            // Names of receivers are written once more, for old clients.
            assert!(relay.packet.len() <= 2 * message.len() + ADDED_BYTES, "{} bytes", relay.packet.len());
            let packet = proto::DataPacket::decode(relay.packet.as_slice()).expect("what we write, we read");
            let identity = if sender.permissions.hidden { "" } else { sender.identity.0.as_str() };
            assert_eq!(packet.participant_identity, identity);
            #[expect(deprecated, reason = "old clients read it here")]
            if let Some(Value::User(user)) = &packet.value {
                assert_eq!(user.participant_identity, identity);
            }
        }
    }
}
