//! What logs must not tell.

use std::net::Ipv4Addr;

use calls_tests::live::{Join, Mode, Person, upgrade};
use calls_tests::server;
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;

/// Where the clients are; the server itself is elsewhere.
const CLIENTS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

/// Tokens, and ICE passwords and bodies of descriptions.
#[derive(Default)]
struct Secrets {
    tokens: Vec<String>,
    passwords: Vec<String>,
}

impl Secrets {
    fn take_from(&mut self, person: &Person) {
        self.tokens.push(person.token.clone());
        person.look(|seen| {
            for message in &seen.messages {
                match message {
                    Response::RefreshToken(token) => self.tokens.push(token.clone()),
                    Response::Answer(description) | Response::Offer(description) => {
                        self.take_from_description(&description.sdp);
                    }
                    _ => (),
                }
            }
            seen.descriptions.iter().for_each(|sdp| self.take_from_description(sdp));
        });
    }

    fn take_from_description(&mut self, sdp: &str) {
        let passwords = sdp.lines().filter_map(|line| line.strip_prefix("a=ice-pwd:"));
        self.passwords.extend(passwords.map(|password| password.trim().to_owned()));
    }

    /// Those that are in `log`.
    fn in_log<'a>(&'a self, log: &'a str) -> impl Iterator<Item = &'a str> {
        // A part of a token is one as well: the payload alone tells who it is, the signature makes it usable.
        let parts = self.tokens.iter().flat_map(|token| token.split('.').skip(1));
        parts.chain(self.passwords.iter().map(String::as_str)).filter(|secret| log.contains(*secret))
    }
}

/// A day in the life of a server; its log, and what must not be in it.
async fn log_of_a_session(level: &str) -> (String, Secrets) {
    let mut server = server!(level);
    let mut secrets = Secrets::default();
    let ana = Join::new("ana").from(CLIENTS).speaking().to(&server).await;
    let ben = Join::new("ben").from(CLIENTS).mode(Mode::Dual).speaking().to(&server).await;
    ben.hears(&ana.voice()).await;
    ana.hears(&ben.voice()).await;
    ana.wait("its channels", |seen| (seen.channels.len() >= 2).then_some(())).await;
    ana.say("hello", &[]);
    ben.wait("a message", |seen| (!seen.data.is_empty()).then_some(())).await;
    for person in [&ana, &ben] {
        let n = person.look(|seen| seen.messages.len());
        person.cut();
        person.resume(None);
        person.wait("reconnect", |seen| (seen.messages.len() > n).then_some(())).await;
        person.restart_ice();
        let answered = |seen: &calls_tests::live::Seen| {
            seen.messages[n..].iter().any(|message| matches!(message, Response::Answer(_))).then_some(())
        };
        person.wait("an answer", answered).await;
    }
    // Refusals, and a description that makes no sense.
    let wrong = calls_client::signal::ApiKey { secret: "other".into(), ..server.key.clone() };
    let refused = wrong.token("standup", "eve").expect("a token");
    upgrade(server.http(), &format!("/rtc?access_token={refused}")).await;
    secrets.tokens.push(refused);
    let broken = proto::SessionDescription {
        r#type: "offer".into(),
        sdp: "v=0\r\na=ice-pwd:broken".into(),
        ..Default::default()
    };
    ana.send(Request::Offer(broken));
    ana.leave_received().await;
    ben.send(Request::Leave(proto::LeaveRequest::default()));
    ben.wait("the end", |seen| seen.hung_up.then_some(())).await;
    secrets.take_from(&ana);
    secrets.take_from(&ben);
    server.terminate();
    assert!(server.end().await.success());
    (server.log(), secrets)
}

#[tokio::test]
async fn logs_tell_neither_tokens_nor_passwords_nor_descriptions_nor_who_is_where() {
    let (log, secrets) = log_of_a_session("info").await;
    assert!(log.contains("joined") && log.contains("resumed"), "there is a log: {log}");
    assert!(secrets.tokens.len() >= 5 && secrets.passwords.len() >= 4, "there are secrets");
    assert_eq!(secrets.in_log(&log).collect::<Vec<_>>(), [""; 0], "secrets in\n{log}");
    for telling in ["a=ice", "a=candidate", "a=fingerprint", "127.0.0.7"] {
        assert!(!log.contains(telling), "{telling} in\n{log}");
    }
}

#[tokio::test]
async fn not_even_logs_for_debugging_tell_tokens_or_passwords() {
    let (log, secrets) = log_of_a_session("debug").await;
    assert!(log.contains("DEBUG"), "there is a log: {log}");
    assert_eq!(secrets.in_log(&log).collect::<Vec<_>>(), [""; 0], "secrets in\n{log}");
}
