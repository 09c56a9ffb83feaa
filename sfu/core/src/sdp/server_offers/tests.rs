use super::*;
use crate::sdp::testing::{Client, direction, local, section, subscription};

fn negotiation() -> ServerOffers {
    ServerOffers::new(1, CodecPolicy::default(), true)
}

/// A client's answer to one data m-line and `n` receiving videos.
fn accepting(n: usize) -> Client {
    let client = Client { setup: "active", ..Client::new() }.data("0");
    (1..=n).fold(client, |client, mid| client.media("video", &mid.to_string(), "recvonly", &[]))
}

fn round(negotiation: &mut ServerOffers, answer: &Client) -> (Offer, AnswerOutcome) {
    let offer = negotiation.offer(&local()).expect("an offer is needed");
    let outcome = negotiation.apply_answer(&answer.sdp()).expect("a valid answer");
    (offer, outcome)
}

#[test]
fn the_first_offer_has_data_channels_and_leaves_the_role_to_the_client() {
    let mut negotiation = negotiation();
    assert!(negotiation.needs_offer());
    let (offer, outcome) = round(&mut negotiation, &accepting(0));
    assert!(offer.sdp.contains("a=setup:actpass\r\n") && offer.sdp.contains("a=ice-lite\r\n"));
    assert!(section(&offer.sdp, "0").contains(&"a=max-message-size:65535"));
    assert_eq!((outcome.role, outcome.started.len()), (DtlsRole::Server, 0));
    assert!(!negotiation.needs_offer());
    assert_eq!(negotiation.offer(&local()), None);
}

#[test]
fn one_offer_is_in_flight_and_later_wishes_wait_for_its_answer() {
    let mut negotiation = negotiation();
    negotiation.subscribe(subscription(1, MediaKind::Video));
    assert!(negotiation.offer(&local()).is_some());
    negotiation.subscribe(subscription(2, MediaKind::Video));
    assert!(!negotiation.needs_offer() && negotiation.offer(&local()).is_none());
    let outcome = negotiation.apply_answer(&accepting(1).sdp()).expect("valid");
    assert_eq!(outcome.started.len(), 1);
    let (offer, outcome) = round(&mut negotiation, &accepting(2));
    assert_eq!(offer.sending.len(), 2);
    assert_eq!(outcome.started.iter().map(|s| s.subscription.0).collect::<Vec<_>>(), [2]);
    assert_eq!(negotiation.apply_answer(&accepting(2).sdp()), Err(NegotiationError::NotWaiting));
}

#[test]
fn an_m_line_is_reused_after_it_was_shown_inactive() {
    let mut negotiation = negotiation();
    negotiation.subscribe(subscription(1, MediaKind::Video));
    round(&mut negotiation, &accepting(1));
    negotiation.unsubscribe(SubscriptionKey(1));
    negotiation.subscribe(subscription(2, MediaKind::Video));
    // Not free yet: the client has not seen it inactive.
    let (offer, _) = round(&mut negotiation, &accepting(2));
    assert_eq!(offer.sending, [(Mid("2".into()), SubscriptionKey(2))]);
    assert_eq!((direction(&offer.sdp, "1"), direction(&offer.sdp, "2")), ("a=inactive", "a=sendonly"));
    negotiation.subscribe(subscription(3, MediaKind::Video));
    let (offer, outcome) = round(&mut negotiation, &accepting(2));
    assert_eq!(offer.sending[0], (Mid("1".into()), SubscriptionKey(3)));
    assert_eq!(outcome.started.len(), 1);
}

#[test]
fn without_reuse_m_lines_are_only_appended() {
    let mut negotiation = ServerOffers::new(1, CodecPolicy::default(), false);
    for key in 1..=3 {
        negotiation.subscribe(subscription(key, MediaKind::Video));
        let n = usize::try_from(key).expect("small");
        let (offer, _) = round(&mut negotiation, &accepting(n));
        assert_eq!(offer.sending, [(Mid(key.to_string()), SubscriptionKey(key))]);
        negotiation.unsubscribe(SubscriptionKey(key));
        round(&mut negotiation, &accepting(n));
    }
}

#[test]
fn a_copy_removed_while_its_offer_is_in_flight_does_not_start() {
    let mut negotiation = negotiation();
    negotiation.subscribe(subscription(1, MediaKind::Video));
    negotiation.offer(&local()).expect("needed");
    negotiation.unsubscribe(SubscriptionKey(1));
    let outcome = negotiation.apply_answer(&accepting(1).sdp()).expect("valid");
    assert!(outcome.started.is_empty() && outcome.refused.is_empty());
    assert_eq!(direction(&round(&mut negotiation, &accepting(1)).0.sdp, "1"), "a=inactive");
}

#[test]
fn what_the_client_does_not_take_is_refused_and_its_rejected_m_line_stays_so() {
    let inactive = || Client { setup: "active", ..Client::new() }.data("0").media("video", "1", "inactive", &[]);
    let rejected = || Client { setup: "active", ..Client::new() }.data("0").rejected("video", "1");
    for (answer, reused) in [(inactive(), true), (rejected(), false)] {
        let mut negotiation = negotiation();
        negotiation.subscribe(subscription(1, MediaKind::Video));
        let (_, outcome) = round(&mut negotiation, &answer);
        assert_eq!((outcome.started.len(), outcome.refused), (0, vec![SubscriptionKey(1)]));
        round(&mut negotiation, &answer);
        negotiation.subscribe(subscription(2, MediaKind::Video));
        let offer = negotiation.offer(&local()).expect("needed");
        let expected = if reused { "1" } else { "2" };
        assert_eq!(offer.sending, [(Mid(expected.into()), SubscriptionKey(2))]);
        assert_eq!(section(&offer.sdp, "1")[0].starts_with("video 0 "), !reused);
    }
}

#[test]
fn a_wrong_answer_changes_nothing_and_may_be_followed_by_a_right_one() {
    let mut negotiation = negotiation();
    negotiation.subscribe(subscription(1, MediaKind::Video));
    negotiation.offer(&local()).expect("needed");
    let mismatch = Err(NegotiationError::AnswerMismatch(Mid("1".into())));
    assert_eq!(negotiation.apply_answer(&accepting(0).sdp()), mismatch);
    let undecided = Client { setup: "actpass", ..accepting(1) };
    assert_eq!(negotiation.apply_answer(&undecided.sdp()), Err(NegotiationError::UndecidedRole));
    assert!(matches!(negotiation.apply_answer("v=1"), Err(NegotiationError::Parse(_))));
    assert_eq!(negotiation.apply_answer(&accepting(1).sdp()).map(|outcome| outcome.started.len()), Ok(1));

    negotiation.restart_ice();
    negotiation.offer(&local()).expect("needed");
    let passive = Client { setup: "passive", ..accepting(1) };
    assert_eq!(negotiation.apply_answer(&passive.sdp()), Err(NegotiationError::RoleChanged));
    let other = Client { fingerprint_byte: "EF", ..accepting(1) };
    assert_eq!(negotiation.apply_answer(&other.sdp()), Err(NegotiationError::FingerprintChanged));
}

#[test]
fn a_restart_or_an_abandoned_offer_makes_a_new_offer() {
    let mut negotiation = negotiation();
    round(&mut negotiation, &accepting(0));
    negotiation.restart_ice();
    assert!(negotiation.needs_offer());
    negotiation.offer(&local()).expect("needed");
    negotiation.abandon_offer();
    assert!(negotiation.needs_offer() && !negotiation.is_in_flight());
    let (offer, _) = round(&mut negotiation, &accepting(0));
    assert!(offer.sdp.contains("o=- 1 2 IN"), "a version for each description");
    assert!(!negotiation.needs_offer());
}
