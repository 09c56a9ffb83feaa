//! What control does about recordings: who may want one, and who is told. What becomes of one is decided in
//! [`crate::recordings::Book`].

use std::time::Duration;

use serde_json::{Value, json};
use sfu_core::call::host::HOST_ATTRIBUTE;
use sfu_core::call::{Call, Identity, Participant};
use tokio::sync::oneshot;

use super::Control;
use crate::clock::unix_now;
use crate::livekit::ids;
use crate::recordings::{Ask, By, Ended, Recording, Refused, State, Which, Wish, Work};

/// Topic of what is told about recordings, as JSON: `event` is `started`, `ending`, `finished` or `failed`.
const TOPIC: &str = "calls.recording";

impl Control {
    pub(super) fn recordings(&mut self, ask: Ask) {
        // Whoever asked may have gone meanwhile: nobody is waiting for the answer.
        match ask {
            Ask::Start { wish, reply } => drop(reply.send(self.start_recording(wish))),
            Ask::Stop { which, reply } => drop(reply.send(self.stop_recording(&which))),
            Ask::List { filter, reply } => drop(reply.send(self.book.list(&filter))),
            Ask::Progress { id, recorded, bytes } => {
                if let Some(begun) = self.book.progress(&id, recorded, bytes, unix_now()).cloned() {
                    self.tell_of_recording(&begun, &json!({ "event": "started" }));
                }
            }
            Ask::Ended { id, ended } => self.recording_ended(&id, ended),
        }
    }

    fn start_recording(&mut self, wish: Wish) -> Result<Recording, Refused> {
        let recorders = self.recorders.as_ref().ok_or(Refused::NoRecorders)?;
        let call = self.calls.get(&wish.call).map(|call| &call.call).filter(|call| call.is_attended());
        let call = call.ok_or(Refused::NoCall)?;
        if let By::Host(identity) = &wish.by {
            ensure_host(call, identity)?;
        }
        self.book.check(&wish)?;
        let (id, room_id, now) = (ids::egress(), call.id.clone(), unix_now());
        let file = wish.name.render(&wish.call, &room_id, now).unwrap_or_else(|_| format!("{id}.webm"));
        let (stop, stopped) = oneshot::channel();
        let (call, audio_only, limit) = (wish.call.clone(), wish.audio_only, recorders.limit);
        let work = Work { id: id.clone(), call, file: file.clone(), audio_only, limit, stop: stopped };
        recorders.work.try_send(work).map_err(|_| Refused::Busy)?;
        tracing::info!(call = wish.call, recording = id, file, "a recording starts");
        let recording = Recording {
            id: id.clone(),
            room_id,
            wish,
            file,
            state: State::Starting,
            started_at: now,
            updated_at: now,
            ended_at: None,
            recorded: Duration::ZERO,
            bytes: 0,
        };
        self.stops.insert(id, stop);
        self.book.begin(recording.clone());
        Ok(recording)
    }

    fn stop_recording(&mut self, which: &Which) -> Result<Recording, Refused> {
        let id = match which {
            Which::Id(id) => id.clone(),
            Which::OfHost { call, host } => {
                let here = self.calls.get(call).ok_or(Refused::NoCall)?;
                ensure_host(&here.call, host)?;
                self.book.of_host(call).ok_or(Refused::NotFound)?.id.clone()
            }
        };
        let recording = self.book.stop(&id, unix_now())?.clone();
        if let Some(stop) = self.stops.remove(&id) {
            // A recorder that has just ended needs no word.
            let _ = stop.send(());
        }
        Ok(recording)
    }

    fn recording_ended(&mut self, id: &str, ended: Ended) {
        self.stops.remove(id);
        let Some(recording) = self.book.end(id, ended, unix_now()).cloned() else { return };
        let (call, file) = (&recording.wish.call, &recording.file);
        let told = if let State::Ended(Ended::Failed(why)) = &recording.state {
            tracing::warn!(call, recording = id, why, "a recording failed");
            json!({ "event": "failed" })
        } else {
            tracing::info!(call, recording = id, file, bytes = recording.bytes, "a recording is finished");
            json!({ "event": "finished", "file": file, "seconds": recording.recorded.as_secs() })
        };
        self.tell_of_recording(&recording, &told);
    }

    /// Tells hosts whose recordings end soon.
    pub(super) fn remind_of_limits(&mut self) {
        for reminder in self.book.take_reminders() {
            let Some(call) = self.calls.get_mut(&reminder.call) else { continue };
            let minutes = reminder.left.as_secs().div_ceil(60);
            let told = json!({ "event": "ending", "id": reminder.id, "minutes": minutes });
            call.tell(&mut self.context, TOPIC, &told.to_string(), is_host);
        }
    }

    fn tell_of_recording(&mut self, recording: &Recording, what: &Value) {
        let Some(call) = self.calls.get_mut(&recording.wish.call) else { return };
        let mut told = what.clone();
        told["id"] = recording.id.as_str().into();
        call.tell(&mut self.context, TOPIC, &told.to_string(), |_| true);
    }
}

fn ensure_host(call: &Call, identity: &Identity) -> Result<(), Refused> {
    let person = call.by_identity(identity).ok_or(Refused::NotHost)?;
    if is_host(person) { Ok(()) } else { Err(Refused::NotHost) }
}

fn is_host(person: &Participant) -> bool {
    person.attributes.contains_key(HOST_ATTRIBUTE)
}
