//! The Data Channel Establishment Protocol's two messages (RFC 8832, section 5).

use super::{ChannelId, DataChannel, Reliability};

const ACK: u8 = 0x02;
const OPEN: u8 = 0x03;
const UNORDERED: u8 = 0x80;
const RELIABLE: u8 = 0x00;
const LIMITED_RETRANSMITS: u8 = 0x01;
const LIMITED_LIFETIME: u8 = 0x02;
/// Priority "normal" (RFC 8831, section 6.4).
const PRIORITY: u16 = 256;
const OPEN_HEADER_LEN: usize = 12;
/// Longer labels and protocols are refused: they are kept as long as the channel.
const MAX_TEXT_LEN: usize = 256;

/// A control message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Control {
    Open(Open),
    Ack,
}

/// A DATA_CHANNEL_OPEN message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Open {
    ordered: bool,
    reliability: Reliability,
    label: String,
    protocol: String,
}

impl Open {
    pub(super) fn of(channel: &DataChannel) -> Self {
        Self {
            ordered: channel.ordered,
            reliability: channel.reliability,
            label: channel.label.clone(),
            protocol: channel.protocol.clone(),
        }
    }

    pub(super) fn channel(self, id: ChannelId) -> DataChannel {
        let Self { ordered, reliability, label, protocol } = self;
        DataChannel { id, label, protocol, ordered, reliability }
    }
}

impl Control {
    /// `None` for what is no control message, or one beyond our limits.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        match *payload.first()? {
            ACK => Some(Self::Ack),
            OPEN => parse_open(payload).map(Self::Open),
            _ => None,
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ack => vec![ACK],
            Self::Open(open) => write_open(open),
        }
    }
}

fn parse_open(payload: &[u8]) -> Option<Open> {
    let (header, texts) = payload.split_at_checked(OPEN_HEADER_LEN)?;
    let u16_at = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let parameter = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let reliability = match header[1] & !UNORDERED {
        RELIABLE => Reliability::Reliable,
        LIMITED_RETRANSMITS => Reliability::MaxRetransmits(u16::try_from(parameter).unwrap_or(u16::MAX)),
        LIMITED_LIFETIME => Reliability::MaxLifetimeMs(parameter),
        _ => return None,
    };
    let (label, protocol) = texts.split_at_checked(u16_at(8).into())?;
    if protocol.len() != usize::from(u16_at(10)) || label.len() > MAX_TEXT_LEN || protocol.len() > MAX_TEXT_LEN {
        return None;
    }
    Some(Open {
        ordered: header[1] & UNORDERED == 0,
        reliability,
        label: String::from_utf8(label.to_vec()).ok()?,
        protocol: String::from_utf8(protocol.to_vec()).ok()?,
    })
}

fn write_open(open: &Open) -> Vec<u8> {
    let (kind, parameter) = match open.reliability {
        Reliability::Reliable => (RELIABLE, 0),
        Reliability::MaxRetransmits(times) => (LIMITED_RETRANSMITS, times.into()),
        Reliability::MaxLifetimeMs(ms) => (LIMITED_LIFETIME, ms),
    };
    let mut bytes = vec![OPEN, if open.ordered { kind } else { kind | UNORDERED }];
    bytes.extend_from_slice(&PRIORITY.to_be_bytes());
    bytes.extend_from_slice(&parameter.to_be_bytes());
    bytes.extend_from_slice(&(open.label.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&(open.protocol.len() as u16).to_be_bytes());
    bytes.extend_from_slice(open.label.as_bytes());
    bytes.extend_from_slice(open.protocol.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_open_message_as_chromium_sends_it_for_the_lossy_channel() {
        let bytes = b"\x03\x81\x01\x00\x00\x00\x00\x00\x00\x06\x00\x00_lossy";
        let open = Open {
            ordered: false,
            reliability: Reliability::MaxRetransmits(0),
            label: "_lossy".into(),
            protocol: String::new(),
        };
        assert_eq!(Control::parse(bytes), Some(Control::Open(open.clone())));
        assert_eq!(Control::Open(open).to_bytes(), bytes);
    }

    #[test]
    fn what_is_no_open_message_is_refused() {
        assert_eq!(Control::parse(b""), None);
        assert_eq!(Control::parse(b"\x01"), None);
        assert_eq!(Control::parse(b"\x03\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), None, "unknown kind");
        assert_eq!(Control::parse(b"\x03\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00a"), None, "label cut short");
        assert_eq!(Control::parse(b"\x03\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\xFF"), None, "not UTF-8");
        let mut long = b"\x03\x00\x00\x00\x00\x00\x00\x00\x01\x01\x00\x00".to_vec();
        long.extend_from_slice(&[b'a'; 257]);
        assert_eq!(Control::parse(&long), None, "label too long");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 1..60)) {
            let _ = Control::parse(&bytes);
            bytes[0] = OPEN;
            let _ = Control::parse(&bytes);
        }
    }
}
