//! A whole engine, written down: another one goes on from it, and its clients notice nothing.

use serde::{Deserialize, Serialize};

use super::arena::{Arena, SubscriptionIndex, TrackIndex, TransportIndex};
use super::config::EngineConfig;
use super::hearing::Hearing;
use super::schedule::Due;
use super::stats::EngineStats;
use super::subscription::Subscription;
use super::track::{Origin, Track};
use super::transport::{Srtp, Transport};
use super::{Engine, Indices};
use crate::media::random::Random;
use crate::time::Time;
use crate::transport::srtp::{InvalidKey, Opener, OpenerState, Sealer, SealerState};

/// Raised when a field changes its meaning, so that no state is misread.
const VERSION: u32 = 9;

/// An [`Engine`] at rest. Carries keys: whatever stores or sends it must keep it secret.
///
/// Times in it count from the origin of the engine it was taken from; who restores it must count from the same.
#[derive(Debug, Serialize, Deserialize)]
pub struct EngineState {
    version: u32,
    random: Random,
    transports: Arena<TransportIndex, Transport>,
    tracks: Arena<TrackIndex, Track>,
    subscriptions: Arena<SubscriptionIndex, Subscription>,
    keys: Vec<(TransportIndex, SealerState, OpenerState)>,
    levels: Option<Time>,
    hearing: Hearing,
    stats: EngineStats,
}

/// Why a state cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("state has version {0} and this engine knows version {VERSION}")]
    Version(u32),
    #[error("keys of a transport are of no use")]
    Keys(#[source] InvalidKey),
}

impl Engine {
    /// Writes everything down: connectivity, keys and counters, history, rewriting, feedback.
    ///
    /// Consumes the engine, since only one may count on with its keys. Datagrams, events and relays that were not taken
    /// out are lost, and so is what was taken in since the last [`handle_timeout`](Self::handle_timeout).
    pub fn export(mut self) -> EngineState {
        let mut keys = Vec::new();
        for (index, transport) in self.transports.iter_mut() {
            if let Some(Srtp { sealer, opener }) = transport.srtp.take() {
                keys.push((index, sealer.export(), opener.export()));
            }
        }
        EngineState {
            version: VERSION,
            random: self.random,
            transports: self.transports,
            tracks: self.tracks,
            subscriptions: self.subscriptions,
            keys,
            levels: self.schedule.levels,
            hearing: self.hearing,
            stats: self.output.stats,
        }
    }

    /// Goes on where the engine that `state` was taken from stopped.
    ///
    /// # Errors
    /// [`RestoreError`] if the state is of another version or damaged.
    pub fn restore(state: EngineState, config: EngineConfig) -> Result<Self, RestoreError> {
        if state.version != VERSION {
            return Err(RestoreError::Version(state.version));
        }
        let mut engine = Self::new(config);
        engine.random = state.random;
        engine.transports = state.transports;
        engine.tracks = state.tracks;
        engine.subscriptions = state.subscriptions;
        engine.schedule.levels = state.levels;
        engine.hearing = state.hearing;
        engine.output.stats = state.stats;
        for (index, sealer, opener) in state.keys {
            let sealer = Sealer::restore(sealer).map_err(RestoreError::Keys)?;
            let opener = Opener::restore(opener).map_err(RestoreError::Keys)?;
            if let Some(transport) = engine.transports.get_mut(index) {
                transport.srtp = Some(Srtp { sealer, opener });
            }
        }
        engine.index = Indices::of(&engine);
        for (index, transport) in engine.transports.iter() {
            if let Some(at) = transport.scheduled {
                engine.schedule.insert(at, Due::Transport(index));
            }
        }
        for (index, track) in engine.tracks.iter() {
            if let Origin::Peer(relayed) = &track.origin
                && let Some(at) = relayed.scheduled
            {
                engine.schedule.insert(at, Due::Track(index));
            }
        }
        Ok(engine)
    }
}

impl Indices {
    fn of(engine: &Engine) -> Self {
        let mut indices = Self::default();
        for (index, transport) in engine.transports.iter() {
            indices.transports.insert(transport.key, index);
            indices.paths.extend(transport.connectivity.paths().map(|path| (path, index)));
            let credentials = [Some(&transport.credentials), transport.previous_credentials.as_ref()];
            indices.ufrags.extend(credentials.into_iter().flatten().map(|known| (known.ufrag.clone(), index)));
        }
        indices.tracks.extend(engine.tracks.iter().map(|(index, track)| (track.description.track, index)));
        let subscriptions = engine.subscriptions.iter();
        indices.subscriptions.extend(subscriptions.map(|(index, known)| (known.description().subscription, index)));
        indices
    }
}
