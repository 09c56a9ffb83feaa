use std::collections::{BTreeMap, BTreeSet};

use super::subscribing::{Audience, Listener, ListenerName};
use super::track::TrackLayer;
use super::*;
use crate::engine::command::{MediaKind, Target};
use crate::id::TrackKey;

pub fn id(name: &str) -> ParticipantId {
    ParticipantId(format!("PA_{name}"))
}

pub fn person(name: &str) -> Participant {
    let permissions = Permissions { update_own_metadata: true, ..Permissions::default() };
    Participant::new(id(name), Identity(name.into()), permissions, 0)
}

fn microphone(of: &str) -> Track {
    Track {
        id: TrackId(format!("TR_{of}")),
        key: TrackKey(1),
        kind: MediaKind::Audio,
        source: TrackSource::Microphone,
        name: String::new(),
        muted: false,
        width: 0,
        height: 0,
        layers: Vec::new(),
        simulcast: false,
        mime_type: "audio/opus".into(),
        mid: "0".into(),
        stream: String::new(),
        stereo: false,
        disable_dtx: false,
        disable_red: false,
        encryption: 0,
        audio_features: Vec::new(),
    }
}

/// In three layers: 180, 360 and 720 lines.
pub fn camera(of: &str) -> Track {
    let layer = |quality, width, height| TrackLayer { quality, width, height, bitrate: 0 };
    Track {
        kind: MediaKind::Video,
        source: TrackSource::Camera,
        layers: vec![layer(0, 320, 180), layer(1, 640, 360), layer(2, 1280, 720)],
        ..microphone(of)
    }
}

pub fn call_of(names: &[&str]) -> Call {
    let mut call = Call::new("standup", "RM_1", 0);
    for name in names {
        call.join(person(name));
    }
    call
}

fn wanted(call: &Call, who: &str) -> Vec<String> {
    call.wanted_by(&id(who)).iter().map(|(_, track)| track.id.0.clone()).collect()
}

fn host(call: &Call) -> Vec<&str> {
    let hosts = call.participants().filter(|participant| participant.attributes.contains_key("host"));
    hosts.map(|participant| participant.identity.0.as_str()).collect()
}

#[test]
fn the_first_in_is_host_and_then_the_longest_present() {
    let mut call = call_of(&["zoe", "ana", "ben"]);
    assert_eq!(host(&call), ["zoe"]);
    let changes = call.leave(&id("zoe"));
    assert_eq!(host(&call), ["ana"]);
    assert_eq!(changes.updated, [id("ana")]);
}

#[test]
fn recorders_and_hidden_participants_are_never_host() {
    let mut call = Call::new("standup", "RM_1", 0);
    let mut recorder = person("recorder");
    recorder.permissions.recorder = true;
    let mut hidden = person("hidden");
    hidden.permissions.hidden = true;
    call.join(recorder);
    call.join(hidden);
    call.join(person("ana"));
    assert_eq!(host(&call), ["ana"]);
    assert_eq!(call.n_people(), 1);
}

#[test]
fn nobody_makes_themselves_host() {
    let mut call = call_of(&["ana", "ben"]);
    let attributes = BTreeMap::from([("host".to_string(), "true".to_string())]);
    call.describe_self(&id("ben"), SelfDescription { attributes, ..SelfDescription::default() }).unwrap();
    assert_eq!(host(&call), ["ana"]);
}

#[test]
fn a_second_join_of_an_identity_replaces_the_first() {
    let mut call = call_of(&["ana"]);
    let mut again = person("ana");
    again.id = id("ana2");
    let changes = call.join(again);
    assert_eq!(changes.left.len(), 1);
    assert_eq!(changes.left[0].id, id("ana"));
    assert_eq!(call.participants().count(), 1);
}

#[test]
fn everyone_receives_what_others_publish_but_not_their_own() {
    let mut call = call_of(&["ana", "ben"]);
    call.publish(&id("ana"), microphone("ana")).unwrap();
    call.publish(&id("ben"), microphone("ben")).unwrap();
    assert_eq!(wanted(&call, "ana"), ["TR_ben"]);
    assert_eq!(wanted(&call, "ben"), ["TR_ana"]);
}

#[test]
fn a_declined_track_is_not_received_until_asked_for_again() {
    let mut call = call_of(&["ana", "ben"]);
    call.publish(&id("ana"), microphone("ana")).unwrap();
    let track = [TrackId("TR_ana".into())];
    call.set_subscribed(&id("ben"), &track, false).unwrap();
    assert!(wanted(&call, "ben").is_empty());
    call.set_subscribed(&id("ben"), &track, true).unwrap();
    assert_eq!(wanted(&call, "ben"), ["TR_ana"]);
}

#[test]
fn without_automatic_subscription_only_what_is_asked_for_is_received() {
    let mut call = call_of(&["ana"]);
    let mut ben = person("ben");
    ben.rules.automatic = false;
    call.join(ben);
    call.publish(&id("ana"), microphone("ana")).unwrap();
    assert!(wanted(&call, "ben").is_empty());
    call.set_subscribed(&id("ben"), &[TrackId("TR_ana".into())], true).unwrap();
    assert_eq!(wanted(&call, "ben"), ["TR_ana"]);
}

#[test]
fn a_publisher_may_limit_who_receives_its_tracks() {
    let mut call = call_of(&["ana", "ben", "cem"]);
    call.publish(&id("ana"), microphone("ana")).unwrap();
    let listener = Listener { who: ListenerName::Identity(Identity("ben".into())), tracks: None };
    let changes = call.set_audience(&id("ana"), Audience::only([listener]).unwrap()).unwrap();
    assert_eq!(changes.publishers, BTreeSet::from([id("ana")]));
    assert_eq!(wanted(&call, "ben"), ["TR_ana"]);
    assert!(wanted(&call, "cem").is_empty());
}

#[test]
fn a_recorder_is_in_every_audience() {
    let mut call = call_of(&["ana", "ben"]);
    let mut recorder = person("recorder");
    recorder.permissions.recorder = true;
    call.join(recorder);
    call.publish(&id("ana"), microphone("ana")).unwrap();
    call.set_audience(&id("ana"), Audience::nobody()).unwrap();
    assert!(wanted(&call, "ben").is_empty());
    assert_eq!(wanted(&call, "recorder"), ["TR_ana"]);
}

#[test]
fn an_audience_that_is_named_twice_is_joined_and_an_endless_one_is_refused() {
    let mut call = call_of(&["ana", "ben"]);
    call.publish(&id("ana"), microphone("ana")).unwrap();
    let listener = |tracks: &[&str]| Listener {
        who: ListenerName::Id(id("ben")),
        tracks: Some(tracks.iter().map(|track| TrackId((*track).into())).collect()),
    };
    let audience = Audience::only([listener(&["TR_other"]), listener(&["TR_ana"])]).unwrap();
    call.set_audience(&id("ana"), audience).unwrap();
    assert_eq!(wanted(&call, "ben"), ["TR_ana"]);
    let somebody = |n: usize| Listener { who: ListenerName::Id(ParticipantId(format!("PA_{n}"))), tracks: None };
    assert!(Audience::only((0..4096).map(somebody)).is_ok());
    assert_eq!(Audience::only((0..4097).map(somebody)), Err(Refused::LimitExceeded));
    let long = Listener { who: ListenerName::Identity(Identity("x".repeat(257))), tracks: None };
    assert_eq!(Audience::only([long]), Err(Refused::LimitExceeded));
}

#[test]
fn nobody_is_offered_what_a_hidden_participant_publishes() {
    let mut call = call_of(&["ben"]);
    let mut hidden = person("hidden");
    hidden.permissions.hidden = true;
    call.join(hidden);
    call.publish(&id("hidden"), microphone("hidden")).unwrap();
    call.publish(&id("ben"), microphone("ben")).unwrap();
    assert!(wanted(&call, "ben").is_empty());
    call.set_subscribed(&id("ben"), &[TrackId("TR_hidden".into())], true).unwrap();
    assert!(wanted(&call, "ben").is_empty());
    assert_eq!(wanted(&call, "hidden"), ["TR_ben"], "it hears the others");
}

#[test]
fn a_call_is_attended_as_long_as_a_person_is_there_hidden_or_not() {
    let mut call = Call::new("standup", "RM_1", 0);
    let with = |name, change: fn(&mut Permissions)| {
        let mut participant = person(name);
        change(&mut participant.permissions);
        participant
    };
    call.join(with("recorder", |permissions| permissions.recorder = true));
    call.join(with("agent", |permissions| permissions.agent = true));
    assert!(!call.is_attended());
    call.join(with("hidden", |permissions| permissions.hidden = true));
    assert!(call.is_attended());
    assert_eq!(call.n_people(), 0);
}

#[test]
fn tracks_that_are_not_there_are_not_remembered() {
    let mut call = call_of(&["ana", "ben"]);
    let before = call.clone();
    let unknown: Vec<_> = (0..100).map(|n| TrackId(format!("TR_{n}"))).collect();
    call.set_subscribed(&id("ben"), &unknown, true).unwrap();
    call.set_subscribed(&id("ben"), &unknown, false).unwrap();
    call.set_track_settings(&id("ben"), &unknown, TrackSettings::default()).unwrap();
    assert_eq!(call, before);
    call.publish(&id("ana"), microphone("ana")).unwrap();
    let known = [TrackId("TR_ana".into())];
    call.set_subscribed(&id("ben"), &known, false).unwrap();
    assert!(wanted(&call, "ben").is_empty());
    call.unpublish(&id("ana"), &known[0]);
    call.publish(&id("ana"), microphone("ana")).unwrap();
    assert_eq!(wanted(&call, "ben"), ["TR_ana"], "wishes end with their track");
}

#[test]
fn changes_name_whose_copies_they_touch() {
    let mut call = call_of(&["ana"]);
    let joined = call.join(person("ben"));
    assert_eq!((joined.publishers.len(), joined.listeners), (0, BTreeSet::from([id("ben")])));
    let mut changes = call.publish(&id("ana"), microphone("ana")).unwrap();
    assert_eq!((&changes.publishers, changes.listeners.len()), (&BTreeSet::from([id("ana")]), 0));
    assert_eq!(call.wanted_from(&id("ben"), &id("ana")).len(), 1);
    assert!(call.leave(&id("ben")).publishers.is_empty(), "ben published nothing");
    changes.merge(call.leave(&id("ana")));
    assert_eq!((changes.publishers, changes.left.len()), (BTreeSet::from([id("ana")]), 1));
    assert_eq!(call.track(&TrackId("TR_ana".into())), None);
}

#[test]
fn without_the_grant_nothing_is_received_or_published() {
    let mut call = call_of(&["ana"]);
    let mut ben = person("ben");
    ben.permissions.subscribe = false;
    ben.permissions.publish = false;
    call.join(ben);
    call.publish(&id("ana"), microphone("ana")).unwrap();
    assert!(wanted(&call, "ben").is_empty());
    assert_eq!(call.publish(&id("ben"), microphone("ben")), Err(Refused::NotAllowed));
}

#[test]
fn what_is_shown_small_is_received_small() {
    let mut call = call_of(&["ana", "ben"]);
    let camera = camera("ana");
    call.publish(&id("ana"), camera.clone()).unwrap();
    let mut target = |settings| {
        call.set_track_settings(&id("ben"), std::slice::from_ref(&camera.id), settings).unwrap();
        call.target_for(&id("ben"), &camera)
    };
    let settings = TrackSettings { quality: 2, ..TrackSettings::default() };
    assert_eq!(target(TrackSettings { width: 300, height: 170, ..settings }), Target::Layer(0));
    assert_eq!(target(TrackSettings { width: 400, height: 300, ..settings }), Target::Layer(1));
    assert_eq!(target(TrackSettings { width: 4000, height: 3000, ..settings }), Target::Layer(2));
    assert_eq!(target(settings), Target::Layer(2));
    assert_eq!(target(TrackSettings { quality: 0, ..settings }), Target::Layer(0));
    assert_eq!(target(TrackSettings { disabled: true, ..settings }), Target::Off);
}

#[test]
fn an_empty_attribute_is_removed_and_too_many_are_refused() {
    let mut call = call_of(&["ana"]);
    let mut describe = |key: &str, value: String| {
        let attributes = BTreeMap::from([(key.to_string(), value)]);
        call.describe_self(&id("ana"), SelfDescription { attributes, ..SelfDescription::default() })
            .map(|_| call.get(&id("ana")).and_then(|ana| ana.attributes.get("raised_hand").cloned()))
    };
    assert_eq!(describe("raised_hand", "now".into()), Ok(Some("now".into())));
    assert_eq!(describe("raised_hand", String::new()), Ok(None));
    assert_eq!(describe("long", "x".repeat(MAX_ATTRIBUTES_BYTES)), Err(Refused::LimitExceeded));
}

#[test]
fn versions_only_grow() {
    let mut call = call_of(&["ana", "ben"]);
    let before = call.get(&id("ana")).unwrap().version;
    call.activate(&id("ana"));
    call.publish(&id("ana"), microphone("ana")).unwrap();
    call.set_muted(&id("ana"), &TrackId("TR_ana".into()), true).unwrap();
    let changes = call.set_muted(&id("ana"), &TrackId("TR_ana".into()), true).unwrap();
    assert!(changes.is_empty(), "saying the same again changes nothing");
    assert_eq!(call.get(&id("ana")).unwrap().version, before + 3);
}

#[test]
fn a_call_survives_being_written_down() {
    let mut call = call_of(&["ana", "ben"]);
    call.publish(&id("ana"), microphone("ana")).unwrap();
    let text = serde_json::to_string(&call).unwrap();
    assert_eq!(serde_json::from_str::<Call>(&text).unwrap(), call);
}
