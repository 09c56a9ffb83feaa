//! Data packets.

use calls_tests::live::{Join, LOSSY, Mode, Person, RELIABLE, packet};
use calls_tests::server;

async fn with_channels(join: Join, server: &calls_tests::live::Server) -> Person {
    let person = join.to(server).await;
    person.wait("its channels", |seen| (seen.channels.len() >= 2).then_some(())).await;
    person
}

#[tokio::test]
async fn reliable_messages_arrive_in_order_at_everybody_or_at_one() {
    let server = server!();
    let ana = with_channels(Join::new("ana"), &server).await;
    let ben = with_channels(Join::new("ben").mode(Mode::Dual), &server).await;
    let cem = with_channels(Join::new("cem"), &server).await;
    let all: Vec<_> = (0..100).map(|number| format!("message {number}").into_bytes()).collect();
    for (number, payload) in all.iter().enumerate() {
        let to: &[&str] = if number == 50 { &["ben"] } else { &[] };
        ana.send_data(RELIABLE, &packet(payload, to));
    }
    ben.wait("all", |seen| (seen.data.len() == 100).then_some(())).await;
    cem.wait("all but one", |seen| (seen.data.len() == 99).then_some(())).await;
    assert_eq!(ben.look(|seen| seen.payloads(RELIABLE)), all);
    let public = [&all[..50], &all[51..]].concat();
    assert_eq!(cem.look(|seen| seen.payloads(RELIABLE)), public);
    assert_eq!(ana.look(|seen| seen.data.len()), 0, "nobody hears themselves");
}

#[tokio::test]
async fn lossy_messages_arrive() {
    let server = server!();
    let ana = with_channels(Join::new("ana").mode(Mode::Dual), &server).await;
    let ben = with_channels(Join::new("ben"), &server).await;
    ana.send_data(LOSSY, &packet(b"quick", &["ben"]));
    ben.wait("a message", |seen| (!seen.data.is_empty()).then_some(())).await;
    assert_eq!(ben.look(|seen| seen.payloads(LOSSY)), [b"quick".to_vec()]);
}

#[tokio::test]
async fn nobody_speaks_for_somebody_else() {
    let server = server!();
    let ana = with_channels(Join::new("ana"), &server).await;
    let ben = with_channels(Join::new("ben"), &server).await;
    let mut forged = packet(b"I am the host", &[]);
    forged.participant_identity = "host".into();
    forged.participant_sid = "PA_host".into();
    ana.send_data(RELIABLE, &forged);
    let received = ben.wait("a message", |seen| Some(seen.data.first()?.1.clone())).await;
    assert_eq!(received.participant_identity, "ana");
    assert_eq!(received.participant_sid, ana.look(|seen| seen.sid.clone()));
}

#[tokio::test]
async fn a_repeated_sequence_number_is_delivered_once() {
    let server = server!();
    let ana = with_channels(Join::new("ana"), &server).await;
    let ben = with_channels(Join::new("ben"), &server).await;
    for (sequence, payload) in [(1, b"one"), (2, b"two"), (1, b"one"), (2, b"two"), (3, b"six")] {
        let mut numbered = packet(payload, &[]);
        numbered.sequence = sequence;
        ana.send_data(RELIABLE, &numbered);
    }
    ben.wait("the last", |seen| seen.payloads(RELIABLE).contains(&b"six".to_vec()).then_some(())).await;
    assert_eq!(ben.look(|seen| seen.payloads(RELIABLE)), [b"one", b"two", b"six"]);
}

#[tokio::test]
async fn a_message_of_60_kilobytes_arrives_whole() {
    let server = server!();
    let ana = with_channels(Join::new("ana"), &server).await;
    let ben = with_channels(Join::new("ben"), &server).await;
    let payload: Vec<u8> = (0..60_000_u32).map(|byte| (byte % 251) as u8).collect();
    ana.send_data(RELIABLE, &packet(&payload, &[]));
    ben.wait("a message", |seen| (!seen.data.is_empty()).then_some(())).await;
    assert!(ben.look(|seen| seen.payloads(RELIABLE)) == [payload], "the message is another one");
}

#[tokio::test]
async fn who_is_still_joining_misses_nothing() {
    let server = server!();
    let ana = with_channels(Join::new("ana"), &server).await;
    for mode in [Mode::Single, Mode::Dual] {
        // Let in, and not connected yet.
        let late = Join::new("late").mode(mode).enter(&server).await;
        ana.wait("the newcomer", |seen| seen.person("late").map(drop)).await;
        ana.say("welcome", &["late"]);
        late.wait("the welcome", |seen| (!seen.data.is_empty()).then_some(())).await;
        assert_eq!(late.look(|seen| seen.payloads(RELIABLE)), [b"welcome".to_vec()], "{mode:?}");
    }
}
