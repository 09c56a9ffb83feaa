//! One m-line of our offer to a client.

use super::codec::{self, CodecPolicy};
use super::description::Direction;
use super::extension;
use super::subscription::Subscription;
use super::write::{MEDIA_PROTOCOL, MediaLines, Writer};
use crate::engine::command::MediaKind;
use crate::id::Mid;

/// A media m-line of ours: sends a subscription, or is kept for the next one.
pub(super) struct Proposal<'a> {
    pub kind: MediaKind,
    pub mid: &'a Mid,
    pub sends: Option<&'a Subscription>,
}

impl Proposal<'_> {
    pub fn write(&self, writer: &mut Writer<'_>, policy: &CodecPolicy) {
        let stereo = self.sends.is_some_and(|subscription| subscription.stereo);
        writer.media(&MediaLines {
            kind: self.kind,
            mid: self.mid,
            protocol: MEDIA_PROTOCOL,
            direction: Direction::new(self.sends.is_some(), false),
            codecs: &codec::offered(self.kind, policy),
            extensions: &extension::offered(self.kind),
            extmap_allow_mixed: true,
            layers: &[],
            sends: self.sends,
            opus_parameters: if stereo { ";sprop-stereo=1" } else { "" },
        });
    }
}
