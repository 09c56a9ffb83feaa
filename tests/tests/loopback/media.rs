//! Voices.

use calls_tests::live::{Join, Mode};
use calls_tests::server;
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;

#[tokio::test]
async fn clients_with_one_and_with_two_connections_hear_each_other() {
    let server = server!();
    let one = Join::new("one").speaking().to(&server).await;
    let two = Join::new("two").mode(Mode::Dual).speaking().to(&server).await;
    let other = Join::new("other").mode(Mode::Dual).speaking().to(&server).await;
    for (ear, mouths) in [(&one, [&two, &other]), (&two, [&one, &other]), (&other, [&one, &two])] {
        for mouth in mouths {
            ear.hears(&mouth.voice()).await;
        }
    }
}

#[tokio::test]
async fn more_people_than_a_client_has_sections_for_are_all_heard() {
    let server = server!();
    let ear = Join::new("ear").to(&server).await;
    let mut people = Vec::new();
    for number in 0..6 {
        people.push(Join::new(&format!("mouth-{number}")).speaking().to(&server).await);
    }
    for mouth in &people {
        ear.hears(&mouth.voice()).await;
    }
}

#[tokio::test]
async fn without_automatic_subscription_a_client_hears_what_it_asks_for() {
    for mode in [Mode::Single, Mode::Dual] {
        let server = server!();
        let ana = Join::new("ana").speaking().to(&server).await;
        let ben = Join::new("ben").speaking().to(&server).await;
        let cem = Join::new("cem").mode(mode).choosing_tracks().to(&server).await;
        let sid = cem.sees_track("ben").await;
        cem.subscribe(&sid, true);
        cem.hears(&ben.voice()).await;
        assert_eq!(cem.look(|seen| seen.n_heard(&ana.voice())), 0, "{mode:?}");
    }
}

#[tokio::test]
async fn a_section_that_carried_one_track_carries_another() {
    for mode in [Mode::Single, Mode::Dual] {
        let server = server!();
        let ana = Join::new("ana").speaking().to(&server).await;
        let ben = Join::new("ben").speaking().to(&server).await;
        let cem = Join::new("cem").mode(mode).choosing_tracks().to(&server).await;
        let (first, second) = (cem.sees_track("ana").await, cem.sees_track("ben").await);
        let turns = [(&first, &second, &ana), (&second, &first, &ben)];
        let mut sections = std::collections::BTreeSet::new();
        for (now, before, mouth) in turns.repeat(4) {
            cem.subscribe(before, false);
            cem.subscribe(now, true);
            cem.hears(&mouth.voice()).await;
            sections.extend(cem.look(|seen| seen.heard(&mouth.voice()).map(|heard| heard.mid.clone())));
        }
        assert!(sections.len() < 4, "{mode:?}: 8 turns took sections {sections:?}");
        let before = cem.look(|seen| seen.n_heard(&ana.voice()));
        cem.hears(&ben.voice()).await;
        assert_eq!(cem.look(|seen| seen.n_heard(&ana.voice())), before, "{mode:?}: the other one is silent");
    }
}

#[tokio::test]
async fn a_muted_track_is_not_forwarded_whatever_its_client_sends() {
    let server = server!();
    let ana = Join::new("ana").speaking().to(&server).await;
    let ben = Join::new("ben").speaking().to(&server).await;
    let cem = Join::new("cem").to(&server).await;
    cem.hears(&ana.voice()).await;
    let sid = cem.sees_track("ana").await;
    let mute = |muted| Request::Mute(proto::MuteTrackRequest { sid: sid.clone(), muted });
    let told = |muted: bool| {
        move |seen: &calls_tests::live::Seen| (seen.person("ana")?.tracks[0].muted == muted).then_some(())
    };
    ana.send(mute(true));
    cem.wait("ana to be muted", told(true)).await;
    // What was on its way arrives before what is spoken later.
    cem.hears(&ben.voice()).await;
    let before = cem.look(|seen| seen.n_heard(&ana.voice()));
    cem.hears(&ben.voice()).await;
    assert_eq!(cem.look(|seen| seen.n_heard(&ana.voice())), before, "nothing of a muted track");
    ana.send(mute(false));
    cem.wait("ana to be unmuted", told(false)).await;
    cem.hears(&ana.voice()).await;
}

#[tokio::test]
async fn a_track_may_come_later_go_and_come_again() {
    for mode in [Mode::Single, Mode::Dual] {
        let server = server!();
        let ana = Join::new("ana").mode(mode).to(&server).await;
        let ben = Join::new("ben").to(&server).await;
        for cid in ["first", "second"] {
            ana.publish(cid);
            ben.hears(cid).await;
            ana.unpublish(cid);
            ben.wait("ana to stop", |seen| seen.person("ana")?.tracks.is_empty().then_some(())).await;
        }
    }
}

#[tokio::test]
async fn a_good_connection_is_told_to_be_excellent() {
    let server = server!();
    let ana = Join::new("ana").speaking().to(&server).await;
    let ben = Join::new("ben").to(&server).await;
    ben.hears(&ana.voice()).await;
    let quality = |seen: &calls_tests::live::Seen| {
        seen.messages.iter().find_map(|message| match message {
            proto::signal_response::Message::ConnectionQuality(update) => update.updates.first().cloned(),
            _ => None,
        })
    };
    let told = ben.wait("a connection quality", quality).await;
    assert_eq!(told.quality(), proto::ConnectionQuality::Excellent, "{told:?}");
}
