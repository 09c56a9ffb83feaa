//! What a client has seen so far.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use calls_client::signal::Frames;
use livekit_protocol as proto;
use livekit_protocol::signal_response::Message as Response;

/// Frames of one track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub frames: u64,
    /// Number of the last frame; the sender counts from 0.
    pub last: u64,
    pub last_at: Instant,
    /// Longest time between two frames.
    pub longest_gap: Duration,
    /// The m-line of the last frame.
    pub mid: String,
}

/// Payloads in the order in which they came. Shown as their number: a test that fails has something better to say.
#[derive(Default)]
pub struct Payloads(pub Vec<Vec<u8>>);

impl std::fmt::Debug for Payloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} payloads", self.0.len())
    }
}

#[derive(Debug, Default)]
pub struct Seen {
    pub connected: bool,
    /// Every message of the server, oldest first, over all websockets.
    pub messages: Vec<Response>,
    /// How each of them was said.
    pub said_in: Vec<Frames>,
    /// Its own offers and answers.
    pub descriptions: Vec<String>,
    /// The server closed the websocket.
    pub hung_up: bool,
    /// Everyone the client knows of and who did not leave, itself included, by sid.
    pub people: BTreeMap<String, proto::ParticipantInfo>,
    pub sid: String,
    pub subscriber_primary: bool,
    /// Tracks of its own by the ids it gave them.
    pub published: HashMap<String, proto::TrackInfo>,
    /// Which track is on which m-line, as the last description said.
    pub mids: HashMap<String, String>,
    pub token: Option<String>,
    /// Labels of open data channels.
    pub channels: Vec<String>,
    /// Data packets and the channels they came on.
    pub data: Vec<(String, proto::DataPacket)>,
    frames: HashMap<u64, Heard>,
    /// Every frame as it came, if the client joined to keep them.
    pub kept: Option<Payloads>,
    /// What ended a peer connection.
    pub failure: Option<String>,
}

impl Seen {
    pub fn leave(&self) -> Option<&proto::LeaveRequest> {
        self.messages.iter().rev().find_map(|message| match message {
            Response::Leave(leave) => Some(leave),
            _ => None,
        })
    }

    pub fn request_responses(&self) -> impl Iterator<Item = &proto::RequestResponse> {
        self.messages.iter().filter_map(|message| match message {
            Response::RequestResponse(response) => Some(response),
            _ => None,
        })
    }

    /// Somebody the client knows of.
    pub fn person(&self, identity: &str) -> Option<&proto::ParticipantInfo> {
        self.people.values().find(|person| person.identity == identity)
    }

    /// What arrived of a track, by the id its publisher gave it.
    pub fn heard(&self, cid: &str) -> Option<&Heard> {
        self.frames.get(&number(cid))
    }

    pub fn n_heard(&self, cid: &str) -> u64 {
        self.heard(cid).map_or(0, |heard| heard.frames)
    }

    /// Payloads of user packets that came on a channel.
    pub fn payloads(&self, label: &str) -> Vec<Vec<u8>> {
        user_payloads(&self.data, label)
    }

    /// Whether the call is being recorded, as the client was told last.
    pub fn is_recorded(&self) -> Option<bool> {
        let rooms = self.messages.iter().rev().filter_map(|message| match message {
            Response::Join(join) => join.room.as_ref(),
            Response::RoomUpdate(update) => update.room.as_ref(),
            _ => None,
        });
        rooms.map(|room| room.active_recording).next()
    }

    pub(super) fn take_in(&mut self, message: &Response, frames: Frames) {
        match message {
            Response::Join(join) => {
                self.subscriber_primary = join.subscriber_primary;
                self.people = join.other_participants.iter().map(|other| (other.sid.clone(), other.clone())).collect();
                if let Some(own) = &join.participant {
                    self.sid.clone_from(&own.sid);
                    self.people.insert(own.sid.clone(), own.clone());
                }
            }
            Response::Update(update) => {
                for person in &update.participants {
                    if person.state == proto::participant_info::State::Disconnected as i32 {
                        self.people.remove(&person.sid);
                    } else {
                        // A new stay replaces an old one under the same identity.
                        self.people.retain(|sid, known| *sid == person.sid || known.identity != person.identity);
                        self.people.insert(person.sid.clone(), person.clone());
                    }
                }
            }
            Response::TrackPublished(published) => {
                self.published.insert(published.cid.clone(), published.track.clone().unwrap_or_default());
            }
            Response::Answer(description) | Response::Offer(description) => {
                self.mids.clone_from(&description.mid_to_track_id);
            }
            Response::RefreshToken(token) => self.token = Some(token.clone()),
            _ => (),
        }
        self.messages.push(message.clone());
        self.said_in.push(frames);
    }

    pub(super) fn hear(&mut self, mid: &str, frame: &[u8]) {
        if let Some(kept) = &mut self.kept {
            kept.0.push(frame.to_vec());
        }
        let Some((track, index)) = read(frame) else { return };
        let now = Instant::now();
        let heard = self.frames.entry(track).or_insert(Heard {
            frames: 0,
            last: index,
            last_at: now,
            longest_gap: Duration::ZERO,
            mid: mid.to_owned(),
        });
        heard.frames += 1;
        heard.longest_gap = heard.longest_gap.max(now.duration_since(heard.last_at));
        (heard.last, heard.last_at) = (index, now);
        mid.clone_into(&mut heard.mid);
    }

    /// Forgets how long gaps were, to look at those that come.
    pub(super) fn forget_gaps(&mut self) {
        for heard in self.frames.values_mut() {
            (heard.longest_gap, heard.last_at) = (Duration::ZERO, Instant::now());
        }
    }
}

/// Payloads of user packets that came on the channel called `label`, of all packets and their channels.
pub fn user_payloads(data: &[(String, proto::DataPacket)], label: &str) -> Vec<Vec<u8>> {
    let of_label = data.iter().filter(|(known, _)| known == label);
    of_label
        .filter_map(|(_, packet)| match &packet.value {
            Some(proto::data_packet::Value::User(user)) => Some(user.payload.clone()),
            _ => None,
        })
        .collect()
}

/// A frame that says whose it is and which.
pub fn frame(cid: &str, index: u64) -> Vec<u8> {
    let mut frame = vec![0; 80];
    // A valid Opus table-of-contents byte: CELT, 20 ms, mono, one frame (RFC 6716, section 3.1).
    frame[0] = 0xf8;
    frame[1..9].copy_from_slice(&number(cid).to_be_bytes());
    frame[9..17].copy_from_slice(&index.to_be_bytes());
    frame
}

fn read(frame: &[u8]) -> Option<(u64, u64)> {
    let number = |range: std::ops::Range<usize>| Some(u64::from_be_bytes(frame.get(range)?.try_into().ok()?));
    Some((number(1..9)?, number(9..17)?))
}

/// A track's id as a number (FNV-1a), to fit into a frame.
fn number(cid: &str) -> u64 {
    cid.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
