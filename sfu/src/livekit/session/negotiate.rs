//! Descriptions, both ways.

use livekit_protocol as proto;
use livekit_protocol::signal_response::Message as Response;
use sfu_core::sdp::{DtlsRole, NegotiationError};

use super::{Asked, Session};
use crate::control::Context;

impl Session {
    /// The client offers. What it begins and stops sending is told to the call; the answer follows with
    /// [`Session::negotiate`], after everyone has heard of it.
    pub fn handle_offer(&mut self, context: &mut Context, offer: &proto::SessionDescription) -> Vec<Asked> {
        let outcome = match self.publisher.offers.handle_offer(&offer.sdp) {
            Ok(outcome) => outcome,
            Err(error) => return self.failed(&error),
        };
        self.publisher.description_id = offer.id;
        if outcome.ice_restart {
            self.publisher.transport.restart_ice(context);
        }
        self.publisher.transport.start(context, outcome.role, Some(outcome.remote.fingerprint));
        for track in outcome.changed {
            self.republish(context, track);
        }
        self.lose(context, &outcome.ended);
        let mut asked = self.unpublish(context, &outcome.unpublished);
        asked.extend(self.claim(context));
        asked
    }

    /// An announcement came after the offer that carries its media.
    pub fn claim_announced(&mut self, context: &mut Context) -> Vec<Asked> {
        self.claim(context)
    }

    /// The client answers the server's offer.
    pub fn handle_answer(&mut self, context: &mut Context, answer: &proto::SessionDescription) -> Vec<Asked> {
        let Some(peer) = &mut self.subscriber else { return Vec::new() };
        // An answer to an offer that was given up with the websocket before.
        if answer.id != 0 && answer.id != peer.description_id {
            return Vec::new();
        }
        let outcome = match peer.offers.apply_answer(&answer.sdp) {
            Ok(outcome) => outcome,
            Err(NegotiationError::NotWaiting) => return Vec::new(),
            Err(error) => return self.failed(&error),
        };
        peer.transport.start(context, outcome.role, Some(outcome.remote.fingerprint));
        self.give_up(context, &outcome.refused);
        self.place(context, outcome.started);
        Vec::new()
    }

    fn failed(&self, error: &NegotiationError) -> Vec<Asked> {
        tracing::warn!(participant = %self.participant.0, %error, "failed to negotiate");
        vec![Asked::Reconnect("negotiation failed")]
    }

    /// Sends what descriptions are due: an answer to the last offer, an offer of ours, or a request for an offer.
    pub fn negotiate(&mut self, context: &mut Context) {
        self.answer(context);
        if self.subscriber.is_some() {
            self.offer(context);
        } else if self.has_websocket()
            && let Some(request) = self.publisher.offers.section_request()
        {
            self.send(Response::MediaSectionsRequirement(proto::MediaSectionsRequirement {
                num_audios: request.audio,
                num_videos: request.video,
            }));
        }
    }

    fn answer(&mut self, context: &mut Context) {
        let local = self.publisher.transport.description(context);
        let Ok(answer) = self.publisher.offers.answer(&local) else { return };
        self.place(context, answer.started);
        let description = proto::SessionDescription {
            r#type: "answer".into(),
            sdp: answer.sdp,
            id: self.publisher.description_id,
            mid_to_track_id: self.mid_to_track(answer.sending),
        };
        self.send(Response::Answer(description));
    }

    fn offer(&mut self, context: &mut Context) {
        if !self.has_websocket() {
            return;
        }
        let Some(peer) = &mut self.subscriber else { return };
        let Some(offer) = peer.offers.offer(&peer.transport.description(context)) else { return };
        // The client's first record may come before its answer: be ready for it.
        peer.transport.start(context, peer.offers.role().unwrap_or(DtlsRole::Server), None);
        peer.description_id += 1;
        let id = peer.description_id;
        let mid_to_track_id = self.mid_to_track(offer.sending);
        self.give_up(context, &offer.refused);
        self.send(Response::Offer(proto::SessionDescription {
            r#type: "offer".into(),
            sdp: offer.sdp,
            id,
            mid_to_track_id,
        }));
    }

    /// After a resume: what was on its way with the old websocket is lost, and the server's own connection restarts ICE.
    pub fn resume(&mut self, context: &mut Context) {
        self.publisher.offers.forget_requests();
        if let Some(peer) = &mut self.subscriber {
            peer.offers.abandon_offer();
            peer.offers.restart_ice();
            peer.transport.restart_ice(context);
        }
    }

    /// Tells a connected client of addresses it does not know yet.
    pub fn trickle(&mut self, candidates: &[sfu_core::sdp::Candidate]) {
        let targets: &[proto::SignalTarget] = match self.subscriber {
            Some(_) => &[proto::SignalTarget::Publisher, proto::SignalTarget::Subscriber],
            None => &[proto::SignalTarget::Publisher],
        };
        for target in targets {
            for candidate in candidates {
                let init = serde_json::json!({
                    "candidate": candidate.to_string(), "sdpMid": "0", "sdpMLineIndex": 0,
                });
                self.send(Response::Trickle(proto::TrickleRequest {
                    candidate_init: init.to_string(),
                    target: *target as i32,
                    r#final: false,
                }));
            }
        }
    }
}
