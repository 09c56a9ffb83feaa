//! What must hold of any text a client sends as its description: it is negotiated as an offer and as an answer or
//! refused, what we say in return can be read again, and the same offer once more is no ICE restart.

use sfu_core::engine::command::MediaKind;
use sfu_core::id::{Ssrc, SubscriptionKey};
use sfu_core::sdp::{ClientOffers, CodecPolicy, Description, Fingerprint, LocalTransport, ServerOffers, Subscription};

pub fn check(text: &str) {
    let local = LocalTransport {
        ice_ufrag: "ours".into(),
        ice_pwd: "oursoursoursoursoursours".into(),
        fingerprint: Fingerprint([0xab; 32]),
        candidates: Vec::new(),
    };
    let subscription = Subscription {
        key: SubscriptionKey(1),
        kind: MediaKind::Video,
        stream_id: "PA_other|camera".into(),
        track_id: "TR_other".into(),
        ssrc: Ssrc(1),
        rtx_ssrc: Some(Ssrc(2)),
        cname: "PA_other".into(),
        stereo: false,
    };
    let mut client = ClientOffers::new(1, CodecPolicy::default());
    client.subscribe(subscription.clone());
    if client.handle_offer(text).is_ok() {
        let answer = client.answer(&local).expect("an offer waits");
        Description::parse(&answer.sdp).expect("what we write, we read");
        assert_eq!(client.handle_offer(text).map(|outcome| outcome.ice_restart), Ok(false));
    }
    let mut server = ServerOffers::new(1, CodecPolicy::default(), true);
    server.subscribe(subscription);
    server.offer(&local).expect("the first offer");
    let _ = server.apply_answer(text);
}
