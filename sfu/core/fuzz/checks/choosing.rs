//! What must hold of a subscriber's choice among the frames of a stream, whatever those say of themselves: it is made
//! once, and what a forwarded frame refers to was not left out.

use sfu_core::media::dependency::Layer;
use sfu_core::media::rewrite::SourceId;
use sfu_core::media::scalable::{Part, Scalable};
use sfu_core::media::select::Selector;

const SOURCE: SourceId = SourceId(1);

#[derive(Default)]
pub struct Chooser {
    selector: Option<Selector>,
}

impl Chooser {
    /// Decides on the frame of a packet.
    pub fn decide(&mut self, stream: &Scalable, part: Part, limit: Layer) {
        // One that is much older than the newest is not remembered.
        let Some(frame) = stream.frame(part.frame) else { return };
        let Some(selector) = &mut self.selector else {
            if frame.restarts {
                self.selector = Some(Selector::default().begun(SOURCE, frame, stream, limit));
            }
            return;
        };
        let known = selector.decision(frame.number);
        let forwarded = selector.decide(frame, stream, limit);
        assert!(known.is_none_or(|known| known == forwarded), "decided twice");
        assert!(selector.decision(frame.number).is_none_or(|decision| decision == forwarded), "not remembered");
        if forwarded && known.is_none() {
            for distance in (1..=128).filter(|distance| frame.needs >> (distance - 1) & 1 == 1) {
                let needed = frame.number.checked_sub(distance).and_then(|number| selector.decision(number));
                assert_ne!(needed, Some(false), "{} needs the one {distance} before it", frame.number);
            }
        }
        selector.needs_keyframe(stream, limit);
        if let Some(point) = selector.point() {
            stream.mask_for(point.target);
        }
    }
}
