//! Streams with several layers in one (SVC): each subscriber gets of them what it may have.
//!
//! [`Scalable`] knows a stream's frames, [`Selector`] decides on them; here packets are put to both, and what is left out
//! of a copy or written into it follows from what they say.

use arrayvec::ArrayVec;

use super::Engine;
use super::arena::TrackIndex;
use super::burst::Fresh;
use super::command::{Codec, Target};
use super::forward::Original;
use super::subscription::{Allowed, Subscription};
use super::track::{Source, Track};
use crate::media::allocate::MAX_LAYERS;
use crate::media::dependency::{self, Layer};
use crate::media::extension::{self, Kind, Located, Own};
use crate::media::history::Packet;
use crate::media::keyframe::starts_keyframe;
use crate::media::rewrite::{Offsets, Selection, SourceId};
use crate::media::rtp::{Header, write_header};
use crate::media::scalable::{Part, Point, Read, Scalable};
use crate::media::select::Selector;
use crate::media::vp9;
use crate::time::Time;

/// What a packet says of the frame it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    pub part: Option<Part>,
    /// Whether a decoder can begin with it.
    pub starts_keyframe: bool,
    /// Whether packets that came before it out of turn can be understood now.
    pub is_news: bool,
}

/// What is to be done with a packet for a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    Send,
    /// It is not for this subscriber. Where its number has been given out, an empty packet takes it.
    LeaveOut,
    /// It cannot be told yet.
    Wait,
}

impl Source {
    /// Finds out what a packet of a codec is part of.
    pub fn read_layers(
        &mut self,
        now: Time,
        codec: Option<Codec>,
        (packet, header, located): (&[u8], &Header, Located),
    ) -> Told {
        let payload = header.payload.of(packet);
        let nothing = Told { part: None, starts_keyframe: false, is_news: false };
        let Some(codec) = codec.filter(|_| !payload.is_empty()) else { return nothing };
        let vp9 = if codec == Codec::Vp9 { vp9::Descriptor::parse(payload) } else { None };
        let starts_keyframe = vp9.map_or_else(|| starts_keyframe(codec, payload), |vp9| vp9.starts_keyframe());
        let whole = Told { starts_keyframe, ..nothing };
        let descriptor = located.get(Kind::DependencyDescriptor, packet);
        let read = match (codec, vp9) {
            (Codec::Vp9 | Codec::Av1, _) if !descriptor.is_empty() => {
                self.scalable.get_or_insert_default().read_descriptor(descriptor, header.timestamp)
            }
            (_, Some(vp9)) if vp9.layers.is_some() => {
                self.scalable.get_or_insert_default().read_vp9(now, &vp9, header.timestamp)
            }
            _ => return whole,
        };
        match read {
            Read::Frame { part, starts, is_news } => Told { part: Some(part), starts_keyframe: starts, is_news },
            Read::Unclear => nothing,
            Read::Whole => whole,
        }
    }

    /// What another engine knows of its layers holds here too, so that frames have the same numbers everywhere; unless
    /// they are known already.
    pub fn learn_layers(&mut self, layers: Box<Scalable>) {
        if self.layers().is_none() {
            self.scalable = Some(layers);
        }
    }

    /// What is known of its layers, if they can be told apart.
    fn layers(&self) -> Option<&Scalable> {
        self.scalable.as_deref().filter(|scalable| scalable.is_known())
    }
}

impl Track {
    /// Layers within its streams are learnt anew.
    pub(super) fn forget_frames(&mut self) {
        for source in self.layers.iter_mut().filter_map(|layer| layer.source.as_mut()) {
            source.scalable = None;
        }
    }

    /// The layers within its only stream. Those of a track with several streams are these.
    fn scalable(&self) -> Option<&Scalable> {
        match &self.layers[..] {
            [only] => only.source.as_ref()?.layers(),
            _ => None,
        }
    }

    /// Bits per second of each point that may be chosen for a target; `None` if the track is not such a stream.
    pub fn points(&self, now: Time, target: Target) -> Option<[Option<u64>; MAX_LAYERS]> {
        let scalable = self.scalable()?;
        let Target::Layer(highest) = target else { return None };
        let mut rates = [None; MAX_LAYERS];
        for (at, (point, rate)) in scalable.points().iter().zip(&mut rates).enumerate() {
            let sent = scalable.rate(now, at);
            *rate = (at == 0 || (point.layer.spatial <= highest && sent > 0)).then_some(sent);
        }
        Some(rates)
    }
}

impl Engine {
    /// A packet came late that tells what others after it are parts of: they can be forwarded now.
    pub(super) fn forward_held(&mut self, now: Time, (index, layer): (TrackIndex, u8), sequence: u64) {
        let newest = self.tracks.get(index).and_then(|track| track.layer(layer)?.source.as_ref()).map(Source::highest);
        for sequence in sequence + 1..=newest.unwrap_or_default() {
            let Some(track) = self.tracks.get_mut(index) else { return };
            let held = track.layer(layer).and_then(|layer| layer.source.as_ref()?.history.get(sequence));
            let Some(packet) = held.filter(|packet| packet.part.is_none() && !packet.payload().is_empty()) else {
                continue;
            };
            let codec = track.codec(packet.header.payload_type).map(|mapping| mapping.codec);
            let Some(source) = track.layer_mut(layer).and_then(|layer| layer.source.as_mut()) else { return };
            source.read_again(now, codec, sequence);
            self.forward_soon(now, Fresh { track: index, layer, sequence }, true);
        }
        self.forward_burst(now);
    }
}

impl Source {
    fn read_again(&mut self, now: Time, codec: Option<Codec>, sequence: u64) {
        let Some(mut packet) = self.history.take(sequence) else { return };
        let told = self.read_layers(now, codec, (packet.bytes(), &packet.header, packet.extensions));
        (packet.part, packet.starts_keyframe) = (told.part, told.starts_keyframe);
        self.history.put_back(packet);
    }
}

impl Subscription {
    /// The best layer it may have of a track's only stream.
    fn limit(&self, track: &Track) -> Layer {
        let Some(scalable) = track.scalable() else { return Layer::HIGHEST };
        let allowed = match self.rest.allowed {
            Allowed::UpTo(point) => scalable.points().get(usize::from(point)).map(|point| point.layer),
            Allowed::Everything | Allowed::Nothing => None,
        };
        let allowed = allowed.unwrap_or(Layer::HIGHEST);
        match self.description().target {
            Target::Layer(highest) => Layer { spatial: allowed.spatial.min(highest), ..allowed },
            Target::Off => allowed,
        }
    }

    /// Decides what to do with a packet.
    pub(super) fn choose(&mut self, original: &Original<'_>) -> Choice {
        let Original { track, source, packet, .. } = *original;
        let Some(stream) = source.layers().filter(|_| !packet.payload().is_empty()) else { return Choice::Send };
        let Some(part) = packet.part else { return Choice::Wait };
        let limit = self.limit(track);
        let is_open = self.rewriter.source() == Some(source.id);
        let frame = stream.frame(part.frame).filter(|_| is_open);
        let selector = self.rest.selector.as_deref_mut().filter(|selector| selector.is_of(source.id));
        let selector = match (selector, frame) {
            (Some(selector), _) => selector,
            // Its layers were not known when the stream was begun.
            (None, Some(frame)) if frame.restarts => {
                let selector = self.rest.selector.get_or_insert_default();
                **selector = selector.begun(source.id, frame, stream, limit);
                selector
            }
            (None, _) => return Choice::Send,
        };
        let decision =
            frame.map(|frame| selector.decide(frame, stream, limit)).or_else(|| selector.decision(part.frame));
        if decision != Some(true) {
            return Choice::LeaveOut;
        }
        let selection = selection(stream, selector.point());
        if let Some((_, offsets)) = self.rewriter.last().filter(|(_, offsets)| offsets.selection != selection) {
            self.rewriter.turn(source.id, packet.sequence, Offsets { selection, ..offsets });
        }
        Choice::Send
    }

    /// Prepares to begin with a packet: how a selector that begins there decides.
    pub(super) fn selector_from(&self, original: &Original<'_>) -> Option<Box<Selector>> {
        let Original { track, source, packet, .. } = *original;
        let stream = source.layers()?;
        let frame = stream.frame(packet.part?.frame)?;
        let known = self.rest.selector.as_deref().cloned().unwrap_or_default();
        Some(Box::new(known.begun(source.id, frame, stream, self.limit(track))))
    }

    /// The offsets for what `selector` forwards from `original` on.
    pub(super) fn layer_offsets(&self, original: &Original<'_>, selector: Option<&Selector>) -> (u16, Selection) {
        let (Some(selector), Some(stream), Some(part)) = (selector, original.source.layers(), original.packet.part)
        else {
            return (0, Selection::default());
        };
        let number = match (self.rewriter.last(), selector.last_number) {
            (Some((source, offsets)), _) if source == original.source.id => offsets.frame_number,
            (_, Some(last)) => last.wrapping_add(1).wrapping_sub(part.frame as u16),
            _ => 0,
        };
        (number, selection(stream, selector.point()))
    }

    /// Notes the frame of a packet that was sent and is newer than all before.
    pub(super) fn note_frame(&mut self, packet: &Packet, offsets: Offsets) {
        let Some(part) = packet.part else { return };
        if let Some(selector) = self.rest.selector.as_deref_mut() {
            selector.last_number = Some((part.frame as u16).wrapping_add(offsets.frame_number));
        }
    }

    /// What was done with a packet that is asked for again.
    pub(super) fn choice_of(&self, source: SourceId, packet: &Packet) -> Choice {
        let selector = self.rest.selector.as_deref().filter(|selector| selector.is_of(source));
        let (Some(selector), Some(part)) = (selector, packet.part) else { return Choice::Send };
        match selector.decision(part.frame) {
            Some(true) => Choice::Send,
            Some(false) => Choice::LeaveOut,
            // Too old to be decoded, but its number is missed.
            None if selector.has_forgotten(part.frame) => Choice::LeaveOut,
            None => Choice::Wait,
        }
    }

    /// Whether a subscription that another engine had goes on with a stream as it is known here. If frames have other
    /// numbers here, which takes that something was lost between engines, it begins anew.
    pub(super) fn goes_on_with(&mut self, source: &Source) -> bool {
        let knows = |selector: &Selector| source.layers().is_some_and(|stream| selector.goes_on_with(stream));
        let selector = self.rest.selector.take_if(|selector| selector.is_of(source.id) && !knows(selector));
        selector.is_none()
    }

    /// Whether it waits for a keyframe to get another layer of a stream it gets already.
    pub(super) fn waits_for_layer(&self, track: &Track) -> bool {
        let (Some(stream), Some(source)) = (track.scalable(), self.rewriter.source()) else { return false };
        let selector = self.rest.selector.as_deref().filter(|selector| selector.is_of(source));
        selector.is_some_and(|selector| selector.needs_keyframe(stream, self.limit(track)))
    }

    /// What is sent does not even fit alone: it is lowered at once, or ceases until a keyframe comes. Returns whether it
    /// ceases.
    pub(super) fn cease(&mut self) -> bool {
        let source = self.rewriter.source();
        let selector = self.rest.selector.as_deref_mut();
        if let Some(selector) = selector.filter(|selector| source.is_some_and(|source| selector.is_of(source))) {
            selector.hurry();
            return false;
        }
        self.interrupt();
        true
    }

    /// Writes header and extensions of an empty packet, for a number that stands for a packet that is left out.
    pub(super) fn write_blank_head(
        &self,
        out: &mut Vec<u8>,
        payload_type: u8,
        timestamp: u32,
        now: Time,
        transport_sequence: Option<u16>,
    ) {
        write_header(out, payload_type, false, 0, timestamp, self.ssrc());
        let own = Own { mid: self.mid(), now, transport_sequence, dependency_descriptor: None };
        extension::write(out, self.ids(), &[], Located::default(), own);
    }
}

fn selection(stream: &Scalable, point: Option<Point>) -> Selection {
    point.map_or_else(Selection::default, |point| Selection {
        spatial: Some(point.layer.spatial),
        targets: stream.mask_for(point.target),
    })
}

/// Whether a picture ends with this copy.
pub(super) fn marker_of(packet: &Packet, selection: Selection) -> bool {
    let ends = |part: Part| part.ends && Some(part.spatial) == selection.spatial;
    packet.header.marker || packet.part.is_some_and(ends)
}

/// A copy's dependency descriptor, if it has to be another one than the packet's.
pub(super) fn descriptor_of<'o>(
    packet: &Packet,
    offsets: Offsets,
    out: &'o mut ArrayVec<u8, { dependency::MAX_LENGTH }>,
) -> Option<&'o [u8]> {
    let (number, targets) = (offsets.frame_number, offsets.selection.targets);
    let part = packet.part.filter(|_| number != 0 || targets != 0)?;
    let data = packet.extensions.get(Kind::DependencyDescriptor, packet.bytes());
    dependency::rewrite(data, part.places, number, targets, out)?;
    Some(out)
}
