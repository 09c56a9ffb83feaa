//! The crate `webrtc` as the client: an implementation of ICE, SRTP, SCTP and session descriptions besides `str0m`,
//! which plays the other people in the call.
//!
//! Its DTLS and the encoding of its STUN messages are crates that the server uses too; `str0m` has its own of both.
//! It sends no mid with audio and does not learn streams from one, as it is set up here: the server must find its stream
//! by the SSRC in the offer, and say the SSRCs of what it sends.
//! The crate does not connect to TCP candidates of a description; the client hands it those one by one.
//! Not here: video, and with it layers and congestion control.

mod client;

use calls_tests::live::{Join, LIMIT, LOSSY, Mode, Person, RELIABLE, Server, frame, packet};
use calls_tests::server;
use rtc::peer_connection::transport::RTCDtlsRole;
use tokio::time::timeout;
use webrtc::peer_connection::SrtpProtectionProfile;

use client::{Client, Network, Wish, payload};

/// Frames in a row that make sure that a voice arrives: a second.
const ENOUGH: usize = 50;
/// So many frames may be sent before somebody begins to hear: a minute.
const FIRST_FRAMES: u64 = 3_000;

/// With everything customary.
fn ana(mode: Mode) -> Wish {
    Wish { identity: "ana", mode, network: Network::Udp, profiles: Vec::new(), answers_as: RTCDtlsRole::Client }
}

async fn join(server: &Server, mode: Mode) -> Client {
    Client::join(server, ana(mode)).await
}

async fn with_channels(join: Join, server: &Server) -> Person {
    let person = join.to(server).await;
    person.wait("its channels", |seen| (seen.channels.len() >= 2).then_some(())).await;
    person
}

/// The numbers of frames that were received, or which of them was never sent, or not after the one before.
fn numbers(received: &[Vec<u8>], sent: impl Fn(u64) -> Vec<u8>) -> Result<Vec<u64>, String> {
    let mut next = 0;
    let number = |(at, frame): (usize, &Vec<u8>)| {
        let found = (next..next + FIRST_FRAMES).find(|number| sent(*number) == *frame);
        let found = found.ok_or_else(|| format!("frame {at} is none from {next} on: {frame:?}"))?;
        next = found + 1;
        Ok(found)
    };
    received.iter().enumerate().map(number).collect()
}

/// Numbers that end with [`ENOUGH`] in a row: UDP may lose a frame, but not one now and then. An error is enough, too.
fn enough(numbers: Result<Vec<u64>, String>) -> Option<Result<(), String>> {
    match numbers {
        Ok(numbers) => {
            let last = &numbers[numbers.len().checked_sub(ENOUGH)?..];
            let in_a_row = last.windows(2).all(|pair| pair[0] + 1 == pair[1]);
            in_a_row.then_some(Ok(()))
        }
        Err(error) => Some(Err(error)),
    }
}

/// From now on; what came before is another assertion's.
async fn assert_hears_ana(person: &Person) {
    let before = person.look(|seen| seen.kept.as_ref().map_or(0, |kept| kept.0.len()));
    let heard = person.wait("ana's voice", |seen| enough(numbers(&seen.kept.as_ref()?.0[before..], payload))).await;
    assert_eq!(heard, Ok(()), "{}", person.identity);
}

async fn assert_hears(client: &Client, cid: &str) {
    let before = client.look(|seen| seen.payloads.0.len());
    let sent = |number| frame(cid, number);
    let heard = client.wait(cid, |seen| enough(numbers(&seen.payloads.0[before..], sent))).await;
    assert_eq!(heard, Ok(()), "{cid}");
}

#[tokio::test]
async fn its_voice_arrives_byte_for_byte_and_in_order() {
    for mode in [Mode::Single, Mode::Dual] {
        let server = server!();
        let ben = Join::new("ben").keeping_frames().to(&server).await;
        let cem = Join::new("cem").mode(Mode::Dual).keeping_frames().to(&server).await;
        let _ana = join(&server, mode).await;
        for person in [&ben, &cem] {
            assert_hears_ana(person).await;
        }
    }
}

#[tokio::test]
async fn it_hears_a_voice_byte_for_byte_and_in_order() {
    for mode in [Mode::Single, Mode::Dual] {
        let server = server!();
        let ana = join(&server, mode).await;
        let ben = Join::new("ben").speaking().to(&server).await;
        assert_hears(&ana, &ben.voice()).await;
    }
}

#[tokio::test]
async fn it_hears_and_is_heard_with_every_protection_profile_of_media() {
    for (profile, name, counted) in [
        (SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm, "SRTP_AEAD_AES_128_GCM", 2.0),
        (SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm, "SRTP_AEAD_AES_256_GCM", 1.0),
        (SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80, "SRTP_AES128_CM_HMAC_SHA1_80", 1.0),
    ] {
        let server = server!();
        let ben = Join::new("ben").speaking().keeping_frames().to(&server).await;
        let ana = Client::join(&server, Wish { profiles: vec![profile], ..ana(Mode::Single) }).await;
        assert_eq!(ana.protection().await.as_deref(), Some(name));
        assert_hears_ana(&ben).await;
        assert_hears(&ana, &ben.voice()).await;
        // Threads report once a second; the other client prefers GCM with 128 bits.
        let label = format!("profile=\"{}\"", &name["SRTP_".len()..]);
        let told = async {
            while server.metric("calls_sfu_protected_transports", &label).await < counted {
                assert_hears(&ana, &ben.voice()).await;
            }
        };
        assert!(timeout(LIMIT, told).await.is_ok(), "{counted} transports with {label}");
    }
}

/// Who answers may choose to be the client of DTLS or its server; the server's connection is then the client.
#[tokio::test]
async fn it_hears_in_either_role_of_dtls() {
    for (answers_as, setup) in [(RTCDtlsRole::Client, "active"), (RTCDtlsRole::Server, "passive")] {
        let server = server!();
        let ana = Client::join(&server, Wish { answers_as, ..ana(Mode::Dual) }).await;
        assert_eq!(ana.look(|seen| seen.setup.clone()).as_deref(), Some(setup));
        let ben = Join::new("ben").speaking().to(&server).await;
        assert_hears(&ana, &ben.voice()).await;
    }
}

#[tokio::test]
async fn it_hears_and_is_heard_over_tcp_alone() {
    for mode in [Mode::Single, Mode::Dual] {
        let server = server!();
        let ben = Join::new("ben").speaking().keeping_frames().to(&server).await;
        let ana = Client::join(&server, Wish { network: Network::Tcp, ..ana(mode) }).await;
        assert_hears_ana(&ben).await;
        assert_hears(&ana, &ben.voice()).await;
    }
}

#[tokio::test]
async fn voices_go_on_across_a_restart_of_ice() {
    for mode in [Mode::Single, Mode::Dual] {
        let server = server!();
        let ben = Join::new("ben").speaking().keeping_frames().to(&server).await;
        let ana = join(&server, mode).await;
        assert_hears_ana(&ben).await;
        for restarts in 1..=2 {
            ana.restart_ice();
            ana.wait("new credentials", |seen| (seen.ufrags.len() == restarts + 1).then_some(())).await;
            assert_hears_ana(&ben).await;
            assert_hears(&ana, &ben.voice()).await;
        }
    }
}

#[tokio::test]
async fn reliable_messages_go_both_ways_in_order() {
    for mode in [Mode::Single, Mode::Dual] {
        let server = server!();
        let ana = join(&server, mode).await;
        let ben = with_channels(Join::new("ben"), &server).await;
        let all: Vec<_> = (0..100).map(|number| format!("message {number}").into_bytes()).collect();
        for payload in &all {
            ana.send_data(RELIABLE, &packet(payload, &[])).await;
            ben.send_data(RELIABLE, &packet(payload, &["ana"]));
        }
        ben.wait("all of ana's", |seen| (seen.data.len() == 100).then_some(())).await;
        assert_eq!(ben.look(|seen| seen.payloads(RELIABLE)), all, "{mode:?}");
        let heard = ana.wait("all of ben's", |seen| (seen.data.len() == 100).then(|| seen.messages(RELIABLE))).await;
        assert_eq!(heard, all, "{mode:?}");
    }
}

#[tokio::test]
async fn lossy_messages_go_both_ways() {
    for mode in [Mode::Single, Mode::Dual] {
        let server = server!();
        let ana = join(&server, mode).await;
        let ben = with_channels(Join::new("ben"), &server).await;
        ana.send_data(LOSSY, &packet(b"quick", &["ben"])).await;
        ben.send_data(LOSSY, &packet(b"quicker", &["ana"]));
        ben.wait("a message", |seen| (!seen.data.is_empty()).then_some(())).await;
        assert_eq!(ben.look(|seen| seen.payloads(LOSSY)), [b"quick".to_vec()], "{mode:?}");
        let heard = ana.wait("a message", |seen| (!seen.data.is_empty()).then(|| seen.messages(LOSSY))).await;
        assert_eq!(heard, [b"quicker".to_vec()], "{mode:?}");
    }
}

#[tokio::test]
async fn a_message_of_60_kilobytes_goes_both_ways_whole() {
    let server = server!();
    let ana = join(&server, Mode::Single).await;
    let ben = with_channels(Join::new("ben"), &server).await;
    let payload: Vec<u8> = (0..60_000_u32).map(|byte| (byte % 251) as u8).collect();
    ana.send_data(RELIABLE, &packet(&payload, &[])).await;
    ben.send_data(RELIABLE, &packet(&payload, &[]));
    ben.wait("a message", |seen| (!seen.data.is_empty()).then_some(())).await;
    assert!(ben.look(|seen| seen.payloads(RELIABLE)) == [payload.clone()], "ben's message is another one");
    let heard = ana.wait("a message", |seen| (!seen.data.is_empty()).then(|| seen.messages(RELIABLE))).await;
    assert!(heard == [payload], "ana's message is another one");
}

#[tokio::test]
async fn voices_that_come_one_after_the_other_are_all_heard() {
    for mode in [Mode::Single, Mode::Dual] {
        let server = server!();
        let ana = join(&server, mode).await;
        let mut people = Vec::new();
        for number in 0..5 {
            people.push(Join::new(&format!("mouth-{number}")).speaking().to(&server).await);
        }
        for mouth in &people {
            let first = frame(&mouth.voice(), 0);
            ana.wait(&mouth.voice(), |seen| {
                seen.payloads.0.iter().any(|payload| payload[..9] == first[..9]).then_some(())
            })
            .await;
        }
    }
}
