//! What clients say on their websocket.

use std::collections::BTreeSet;

use livekit_protocol as proto;
use livekit_protocol::leave_request::Action;
use livekit_protocol::request_response::{Reason, Request as About};
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use sfu_core::call::subscribing::{Audience, Listener, ListenerName};
use sfu_core::call::{Changes, Identity, ParticipantId, Refused, SelfDescription, TrackId, TrackSettings};

use super::{Context, LiveCall, Registry};
use crate::livekit::convert;
use crate::livekit::session::AnnounceError;

/// Protocol version from which clients understand an answer that everything went well.
const OK_ANSWER_PROTOCOL: i32 = 15;

impl LiveCall {
    pub fn signal(&mut self, context: &mut Context, registry: &mut Registry, id: &ParticipantId, message: Request) {
        match message {
            Request::Offer(offer) => self.offer(context, registry, id, &offer),
            Request::Answer(answer) => self.answer(context, registry, id, &answer),
            Request::AddTrack(request) => self.announce(context, registry, id, &request),
            Request::Mute(mute) => self.mute(context, registry, id, &mute),
            Request::Subscription(wish) => self.subscription(context, registry, id, &wish),
            Request::TrackSetting(settings) => self.track_setting(context, registry, id, &settings),
            Request::SubscriptionPermission(permission) => self.audience(context, registry, id, permission),
            Request::UpdateMetadata(description) => self.describe(context, registry, id, description),
            Request::UpdateAudioTrack(change) => {
                let track = TrackId(change.track_sid);
                let features = change.features;
                let changes = self.call.change_track(id, &track, |track| track.audio_features = features);
                self.apply_if_allowed(context, registry, changes);
            }
            Request::UpdateVideoTrack(change) => {
                let track = TrackId(change.track_sid);
                let size = (change.width, change.height);
                let changes = self.call.change_track(id, &track, |track| (track.width, track.height) = size);
                self.apply_if_allowed(context, registry, changes);
            }
            Request::SyncState(state) => self.synchronise(context, registry, id, &state),
            Request::Leave(_) => self.leave(context, registry, id),
            Request::Simulate(simulate) => self.simulate(context, registry, id, simulate.scenario),
            // An ICE-lite server has no use for the client's candidates; pings are answered at the websocket.
            Request::Trickle(_) | Request::Ping(_) | Request::PingReq(_) => (),
            #[expect(deprecated, clippy::match_same_arms, reason = "old clients still send it; descriptions say more")]
            Request::UpdateLayers(_) => (),
            Request::PublishDataTrackRequest(request) => {
                self.refuse(id, 0, Reason::UnsupportedType, Some(About::PublishDataTrack(request)));
            }
            Request::UnpublishDataTrackRequest(_)
            | Request::UpdateDataSubscription(_)
            | Request::StoreDataBlobRequest(_)
            | Request::GetDataBlobRequest(_) => self.refuse(id, 0, Reason::UnsupportedType, None),
        }
    }

    /// Tells a client why a request was not carried out.
    fn refuse(&mut self, id: &ParticipantId, request_id: u32, reason: Reason, about: Option<About>) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.send(Response::RequestResponse(proto::RequestResponse {
                request_id,
                reason: reason as i32,
                message: String::new(),
                request: about,
            }));
        }
    }

    fn apply_if_allowed(&mut self, context: &mut Context, registry: &mut Registry, changes: Result<Changes, Refused>) {
        match changes {
            Ok(changes) => self.apply(context, registry, &changes),
            Err(refused) => tracing::debug!(%refused, "a client's request is not carried out"),
        }
    }

    pub(super) fn offer(
        &mut self,
        context: &mut Context,
        registry: &mut Registry,
        id: &ParticipantId,
        offer: &proto::SessionDescription,
    ) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let asked = session.handle_offer(context, offer);
        self.carry_out(context, registry, id, asked);
        // Places may have come or gone, and the answer is due in any case.
        self.reconcile_only(context, registry, id);
        self.collect_from(context, registry, id);
    }

    fn answer(
        &mut self,
        context: &mut Context,
        registry: &mut Registry,
        id: &ParticipantId,
        answer: &proto::SessionDescription,
    ) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let asked = session.handle_answer(context, answer);
        self.carry_out(context, registry, id, asked);
        self.reconcile_only(context, registry, id);
        self.collect_from(context, registry, id);
    }

    pub(super) fn announce(
        &mut self,
        context: &mut Context,
        registry: &mut Registry,
        id: &ParticipantId,
        request: &proto::AddTrackRequest,
    ) {
        let about = || Some(About::AddTrack(request.clone()));
        if let Err(refused) = self.call.may_publish(id, convert::source(request.source)) {
            self.refuse(id, 0, reason(refused), about());
            return;
        }
        let Some(session) = self.sessions.get_mut(id) else { return };
        match session.announce(context, request) {
            Ok(response) => session.send(Response::TrackPublished(response)),
            Err(AnnounceError::Unsupported) => return self.refuse(id, 0, Reason::UnsupportedType, about()),
            Err(AnnounceError::TooMany) => return self.refuse(id, 0, Reason::LimitExceeded, about()),
        }
        let asked = session.claim_announced(context);
        self.carry_out(context, registry, id, asked);
    }

    fn mute(
        &mut self,
        context: &mut Context,
        registry: &mut Registry,
        id: &ParticipantId,
        mute: &proto::MuteTrackRequest,
    ) {
        let track = TrackId(mute.sid.clone());
        let Some(session) = self.sessions.get_mut(id) else { return };
        if !session.knows_track(&track) {
            return self.refuse(id, 0, Reason::NotFound, Some(About::Mute(mute.clone())));
        }
        session.set_muted(context, &track, mute.muted);
        // A track that is only announced has nobody to tell yet.
        if let Ok(changes) = self.call.set_muted(id, &track, mute.muted) {
            self.apply(context, registry, &changes);
        }
    }

    fn subscription(
        &mut self,
        context: &mut Context,
        registry: &mut Registry,
        id: &ParticipantId,
        wish: &proto::UpdateSubscription,
    ) {
        let tracks =
            track_ids(wish.track_sids.iter().chain(wish.participant_tracks.iter().flat_map(|t| &t.track_sids)));
        match self.call.set_subscribed(id, &tracks, wish.subscribe) {
            Ok(_) => self.reconcile_only(context, registry, id),
            Err(refused) => tracing::debug!(participant = %id.0, %refused, "a subscription is not taken"),
        }
    }

    fn track_setting(
        &mut self,
        context: &mut Context,
        registry: &mut Registry,
        id: &ParticipantId,
        wish: &proto::UpdateTrackSettings,
    ) {
        let settings =
            TrackSettings { disabled: wish.disabled, width: wish.width, height: wish.height, quality: wish.quality };
        if self.call.set_track_settings(id, &track_ids(&wish.track_sids), settings).is_ok() {
            self.reconcile_only(context, registry, id);
        }
    }

    fn audience(
        &mut self,
        context: &mut Context,
        registry: &mut Registry,
        id: &ParticipantId,
        permission: proto::SubscriptionPermission,
    ) {
        let audience = if permission.all_participants {
            Ok(Audience::Everyone)
        } else {
            Audience::only(permission.track_permissions.into_iter().map(listener))
        };
        // Who limits an audience must not get a larger one: a list that cannot be kept lets nobody in.
        let audience = audience.unwrap_or_else(|refused| {
            self.refuse(id, 0, reason(refused), None);
            Audience::nobody()
        });
        let changes = self.call.set_audience(id, audience);
        self.apply_if_allowed(context, registry, changes);
    }

    fn describe(
        &mut self,
        context: &mut Context,
        registry: &mut Registry,
        id: &ParticipantId,
        update: proto::UpdateParticipantMetadata,
    ) {
        let request_id = update.request_id;
        let description = SelfDescription {
            name: update.name.clone(),
            metadata: update.metadata.clone(),
            attributes: update.attributes.clone().into_iter().collect(),
        };
        let answer = match self.call.describe_self(id, description) {
            Ok(changes) => {
                self.apply(context, registry, &changes);
                self.refresh_token(context, id);
                Reason::Ok
            }
            Err(refused) => reason(refused),
        };
        let understands = self.sessions.get(id).is_some_and(|session| session.protocol() >= OK_ANSWER_PROTOCOL);
        if answer != Reason::Ok || understands {
            self.refuse(id, request_id, answer, Some(About::UpdateMetadata(update)));
        }
    }

    /// After a resume the client says what it believes. If it publishes what is not known here, it must start anew.
    fn synchronise(
        &mut self,
        context: &mut Context,
        registry: &mut Registry,
        id: &ParticipantId,
        state: &proto::SyncState,
    ) {
        let Some(session) = self.sessions.get(id) else { return };
        let believed = state.publish_tracks.iter().filter_map(|published| published.track.as_ref());
        let unknown = believed.filter(|track| !session.knows_track(&TrackId(track.sid.clone()))).count();
        if unknown > 0 {
            tracing::info!(participant = %id.0, unknown, "the client publishes tracks that are not known here");
            let reason = proto::DisconnectReason::StateMismatch;
            return self.dismiss(context, registry, id, Action::Reconnect, reason);
        }
        if let Some(wish) = &state.subscription {
            self.subscription(context, registry, id, wish);
        }
        let disabled = TrackSettings { disabled: true, ..TrackSettings::default() };
        let tracks = track_ids(&state.track_sids_disabled);
        if !tracks.is_empty() && self.call.set_track_settings(id, &tracks, disabled).is_ok() {
            self.reconcile_only(context, registry, id);
        }
    }
}

fn track_ids<'a>(sids: impl IntoIterator<Item = &'a String>) -> Vec<TrackId> {
    sids.into_iter().cloned().map(TrackId).collect::<BTreeSet<_>>().into_iter().collect()
}

fn listener(permission: proto::TrackPermission) -> Listener {
    let who = if permission.participant_identity.is_empty() {
        ListenerName::Id(ParticipantId(permission.participant_sid))
    } else {
        ListenerName::Identity(Identity(permission.participant_identity))
    };
    let tracks = (!permission.all_tracks).then(|| permission.track_sids.into_iter().map(TrackId).collect());
    Listener { who, tracks }
}

const fn reason(refused: Refused) -> Reason {
    match refused {
        Refused::NotHere | Refused::NoSuchTrack => Reason::NotFound,
        Refused::NotAllowed => Reason::NotAllowed,
        Refused::LimitExceeded => Reason::LimitExceeded,
    }
}
