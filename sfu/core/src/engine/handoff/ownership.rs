//! Which of the engines that know a transport counts on with its keys: exactly one, always.
//!
//! A pure machine: what the client does and what the other engine says go in, what to do comes out. It must not know
//! what a transport is made of.
//!
//! The owner is told to whom it may hand over ([`Ownership::offer`]), the other engine from whom
//! ([`Ownership::wait_for`]). The client is given a path of the other one; when it uses that, the keys are asked for.
//! The owner stops, gives away all it has in one message and is owner no more: its going and the message are one step.
//! The other one keeps media that comes meanwhile, and passes DTLS on, which the owner may need to come to a point where
//! it can stop. What reaches the former owner too late follows the message that made the other one owner. So nothing is
//! lost as long as messages between two engines arrive, in their order.
//!
//! Of these, only the keys have to arrive: who asked and got no answer asks again, and a datagram that is lost between two
//! engines is lost as on any network. Keys that the other one cannot use come back the same way, and the former owner is
//! owner again.
//!
//! An answer to a nomination is held back until the keys are there: Firefox stops to listen on the old path when it
//! comes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::PeerKey;
use crate::time::Time;

/// Who asked and got no answer asks again after this, as long as the client uses its path: the owner may not have been
/// told yet that it may hand over.
pub const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What an engine is to a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ownership {
    /// It has the keys, and hands them over to `successor` when that one asks.
    Active { successor: Option<PeerKey> },
    /// Another one has them, and the client has been given a path of ours since then.
    Incoming { owner: PeerKey, since: Time, asked: Option<Time> },
    /// It had them.
    Outgoing { successor: PeerKey },
}

/// Whose is a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Use {
    Ours,
    /// It will be ours: keep it until the keys are there, and `ask` for them.
    Hold {
        ask: Option<PeerKey>,
    },
    /// Another engine's.
    PassOn {
        to: PeerKey,
        /// Ask it for the keys first.
        ask: bool,
    },
}

/// What to do about a check by which the client chooses a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Nomination {
    Answer,
    /// Answer when the keys are there; `ask` for them.
    Hold {
        ask: Option<PeerKey>,
    },
    /// The client has chosen another engine's path; this one must not be believed to be alive.
    Ignore,
}

impl Ownership {
    pub const OWNER: Self = Self::Active { successor: None };

    pub const fn is_owner(self) -> bool {
        matches!(self, Self::Active { .. })
    }

    /// The keys may be handed over to `peer`, and to nobody else. Has no effect on who has none.
    pub const fn offer(&mut self, peer: PeerKey) {
        if let Self::Active { successor } = self {
            *successor = Some(peer);
        }
    }

    /// The keys are to come from `peer`. Has no effect on the owner.
    pub const fn wait_for(&mut self, peer: PeerKey, now: Time) {
        if !self.is_owner() {
            *self = Self::Incoming { owner: peer, since: now, asked: None };
        }
    }

    /// Since when the client may come; `None` if it is not expected.
    pub const fn awaited_since(self) -> Option<Time> {
        match self {
            Self::Incoming { since, .. } => Some(since),
            _ => None,
        }
    }

    /// The client sent media. `is_new`: on a path it has checked since it may come here. What comes on others was sent
    /// before, and says nothing about where it is.
    pub fn handle_media(&mut self, now: Time, is_new: bool) -> Use {
        match self {
            Self::Active { .. } => Use::Ours,
            Self::Outgoing { successor } => Use::PassOn { to: *successor, ask: false },
            Self::Incoming { owner, .. } if !is_new => Use::PassOn { to: *owner, ask: false },
            Self::Incoming { owner, asked, .. } => Use::Hold { ask: take_turn(asked, now).then_some(*owner) },
        }
    }

    /// The client sent DTLS, on such a path or another.
    pub fn handle_dtls(&mut self, now: Time, is_new: bool) -> Use {
        match self {
            Self::Active { .. } => Use::Ours,
            Self::Outgoing { successor } => Use::PassOn { to: *successor, ask: false },
            Self::Incoming { owner, asked, .. } => Use::PassOn { to: *owner, ask: is_new && take_turn(asked, now) },
        }
    }

    /// The client chooses a path of ours.
    pub fn handle_nomination(&mut self, now: Time) -> Nomination {
        match self {
            Self::Active { .. } => Nomination::Answer,
            Self::Outgoing { .. } => Nomination::Ignore,
            Self::Incoming { owner, asked, .. } => Nomination::Hold { ask: take_turn(asked, now).then_some(*owner) },
        }
    }

    /// Whether the owner is to hand over, now that `peer` asks for the keys: if it was offered them.
    pub fn handle_ask(self, peer: PeerKey) -> bool {
        self == Self::Active { successor: Some(peer) }
    }

    /// The owner is owner no more from here on. Returns who is; `None`, and nothing changes, if nobody is to follow.
    pub const fn hand_over(&mut self) -> Option<PeerKey> {
        let Self::Active { successor: Some(successor) } = *self else { return None };
        *self = Self::Outgoing { successor };
        Some(successor)
    }

    /// The keys that came are of no use here, and go back to `peer`. Has no effect on the owner.
    pub const fn refuse(&mut self, peer: PeerKey) {
        if !self.is_owner() {
            *self = Self::Outgoing { successor: peer };
        }
    }

    /// The keys came back from `peer`. Whether they are ours again; nothing changes if that one did not have them of us.
    pub fn take_back(&mut self, peer: PeerKey) -> bool {
        let is_ours = match *self {
            Self::Active { .. } => false,
            Self::Incoming { owner, .. } => owner == peer,
            Self::Outgoing { successor } => successor == peer,
        };
        if is_ours {
            *self = Self::OWNER;
        }
        is_ours
    }

    /// The keys came. Returns from whom; `None`, and nothing changes, if none were expected.
    pub const fn take_up(&mut self) -> Option<PeerKey> {
        let Self::Incoming { owner, .. } = *self else { return None };
        *self = Self::OWNER;
        Some(owner)
    }
}

/// Whether to ask, the first time or again.
fn take_turn(asked: &mut Option<Time>, now: Time) -> bool {
    let is_due = asked.is_none_or(|asked| now.since(asked) >= ASK_AGAIN);
    if is_due {
        *asked = Some(now);
    }
    is_due
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};

    use super::*;

    /// Two engines, the links between them, and a client that sends to either whatever it likes.
    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
    struct Model {
        /// As [`Ownership`], which has no order: owner with or without successor, incoming asked or not, outgoing.
        engines: [u8; 2],
        links: [VecDeque<Message>; 2],
        next: u8,
        held: [Vec<u8>; 2],
        handled: Vec<u8>,
        /// Datagrams that were lost between the engines, and all messages that may still be.
        lost: Vec<u8>,
        to_lose: u8,
        /// How often keys may still be refused.
        to_refuse: u8,
    }

    /// Datagrams with an odd number are DTLS.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Message {
        Ask,
        Keys,
        Refused,
        Datagram(u8),
    }

    impl Message {
        const fn has_keys(self) -> bool {
            matches!(self, Self::Keys | Self::Refused)
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        /// The client sends to this engine, on a path that is new to it or on one from before.
        Send(usize, bool),
        Deliver(usize),
        /// The next message of this engine is lost.
        Lose(usize),
        /// The other engine cannot use the keys that this one gave it.
        Refuse(usize),
        /// Time passes, after which this engine may ask again.
        Wait(usize),
        /// Control begins a move to this engine.
        Move(usize),
    }

    const NOW: Time = Time::ZERO;

    fn written(ownership: Ownership) -> u8 {
        match ownership {
            Ownership::Active { successor: None } => 0,
            Ownership::Active { .. } => 1,
            Ownership::Incoming { asked: None, .. } => 2,
            Ownership::Incoming { .. } => 3,
            Ownership::Outgoing { .. } => 4,
        }
    }

    fn read(written: u8, peer: PeerKey) -> Ownership {
        match written {
            0 => Ownership::OWNER,
            1 => Ownership::Active { successor: Some(peer) },
            2 => Ownership::Incoming { owner: peer, since: NOW, asked: None },
            3 => Ownership::Incoming { owner: peer, since: NOW, asked: Some(NOW) },
            _ => Ownership::Outgoing { successor: peer },
        }
    }

    impl Model {
        fn new(engines: [u8; 2]) -> Self {
            Self {
                engines,
                links: Default::default(),
                next: 0,
                held: Default::default(),
                handled: Vec::new(),
                lost: Vec::new(),
                to_lose: 0,
                to_refuse: 0,
            }
        }

        fn peer(at: usize) -> PeerKey {
            PeerKey(1 - at as u32)
        }

        fn with(&mut self, at: usize, change: impl FnOnce(&mut Ownership, &mut VecDeque<Message>, &mut Vec<u8>)) {
            let mut ownership = read(self.engines[at], Self::peer(at));
            change(&mut ownership, &mut self.links[at], &mut self.handled);
            self.engines[at] = written(ownership);
        }

        fn datagram(&mut self, at: usize, number: u8, is_new: bool) {
            let mut held = None;
            self.with(at, |ownership, out, handled| {
                let is_dtls = number % 2 == 1;
                match if is_dtls { ownership.handle_dtls(NOW, is_new) } else { ownership.handle_media(NOW, is_new) } {
                    Use::Ours => handled.push(number),
                    Use::Hold { ask } => {
                        held = Some(number);
                        out.extend(ask.map(|_| Message::Ask));
                    }
                    Use::PassOn { ask, .. } => {
                        out.extend(ask.then_some(Message::Ask));
                        out.push_back(Message::Datagram(number));
                    }
                }
            });
            self.held[at].extend(held);
        }

        fn perform(&mut self, step: Step) -> bool {
            match step {
                Step::Send(at, is_new) => {
                    if self.next == 4 {
                        return false;
                    }
                    let number = self.next;
                    self.next += 1;
                    self.datagram(at, number, is_new);
                }
                Step::Deliver(from) => {
                    let Some(message) = self.links[from].pop_front() else { return false };
                    let at = 1 - from;
                    match message {
                        Message::Datagram(number) => self.datagram(at, number, false),
                        Message::Ask => self.with(at, |ownership, out, _| {
                            if ownership.handle_ask(Self::peer(at)) && ownership.hand_over().is_some() {
                                out.push_back(Message::Keys);
                            }
                        }),
                        Message::Keys => {
                            let held = std::mem::take(&mut self.held[at]);
                            self.with(at, |ownership, _, handled| {
                                assert!(ownership.take_up().is_some(), "keys came to who did not wait for them");
                                handled.extend(held);
                            });
                        }
                        Message::Refused => self.with(at, |ownership, _, _| {
                            assert!(ownership.take_back(Self::peer(at)), "they came back to who had not given them");
                        }),
                    }
                }
                Step::Lose(from) => {
                    if self.to_lose == 0 {
                        return false;
                    }
                    let Some(message) = self.links[from].pop_front_if(|next| !next.has_keys()) else { return false };
                    self.to_lose -= 1;
                    if let Message::Datagram(number) = message {
                        self.lost.push(number);
                    }
                }
                Step::Refuse(from) => {
                    if self.to_refuse == 0 || self.links[from].pop_front_if(|next| *next == Message::Keys).is_none() {
                        return false;
                    }
                    self.to_refuse -= 1;
                    let at = 1 - from;
                    let held = std::mem::take(&mut self.held[at]);
                    self.with(at, |ownership, out, _| {
                        ownership.refuse(Self::peer(at));
                        out.push_back(Message::Refused);
                        out.extend(held.into_iter().map(Message::Datagram));
                    });
                }
                Step::Wait(at) => {
                    if self.engines[at] != 3 {
                        return false;
                    }
                    self.engines[at] = 2;
                }
                Step::Move(to) => {
                    // Control moves on when it has heard that the last move is done.
                    if self.engines[1 - to] != 0 || !matches!(self.engines[to], 2..) {
                        return false;
                    }
                    self.with(1 - to, |ownership, _, _| ownership.offer(PeerKey(to as u32)));
                    self.with(to, |ownership, _, _| ownership.wait_for(PeerKey(1 - to as u32), NOW));
                }
            }
            true
        }

        fn check(&self) {
            let owners = self.engines.iter().filter(|engine| **engine <= 1).count();
            let under_way = self.links.iter().flatten().filter(|message| message.has_keys()).count();
            assert_eq!(owners + under_way, 1, "{self:?}");
            let datagrams = |message: &Message| matches!(message, Message::Datagram(_));
            let waiting = self.links.iter().flatten().filter(|message| datagrams(message)).count();
            let waiting = waiting + self.held.iter().map(Vec::len).sum::<usize>();
            let known = self.handled.len() + self.lost.len() + waiting;
            assert_eq!(known, usize::from(self.next), "lost or doubled: {self:?}");
        }

        /// Every state that can be reached from here, each of them checked. Returns those in which nothing happens any
        /// more by itself.
        fn explore(self) -> Vec<Self> {
            let (mut seen, mut open) = (BTreeSet::from([self.clone()]), vec![self]);
            let steps = (0..2).flat_map(|at| {
                let sent = [Step::Send(at, true), Step::Send(at, false), Step::Deliver(at)];
                sent.into_iter().chain([Step::Lose(at), Step::Refuse(at), Step::Wait(at), Step::Move(at)])
            });
            let steps: Vec<Step> = steps.collect();
            let mut ended = Vec::new();
            while let Some(model) = open.pop() {
                model.check();
                let mut stands_still = true;
                for step in &steps {
                    let mut next = model.clone();
                    if next.perform(*step) && matches!(step, Step::Send(..) | Step::Deliver(_)) {
                        stands_still = false;
                    }
                    if seen.insert(next.clone()) {
                        open.push(next);
                    }
                }
                if stands_still {
                    ended.push(model);
                }
            }
            assert!(seen.len() > 500 && ended.len() > 10, "{} states, {} ends", seen.len(), ended.len());
            ended
        }
    }

    #[test]
    fn in_every_order_of_events_there_is_one_owner_and_no_datagram_is_lost_or_handled_twice() {
        for model in Model::new([0, 4]).explore() {
            assert_eq!(model.handled.len(), 4, "all were handled in the end: {model:?}");
        }
    }

    #[test]
    fn in_every_order_of_events_keys_that_are_refused_come_back_and_nothing_is_lost() {
        let mut refusals = 0;
        for model in (Model { to_refuse: 2, ..Model::new([0, 4]) }).explore() {
            assert_eq!(model.handled.len(), 4, "all were handled in the end: {model:?}");
            refusals += 2 - u32::from(model.to_refuse);
        }
        assert!(refusals > 10);
    }

    #[test]
    fn whichever_message_is_lost_the_next_datagrams_of_the_client_bring_the_keys() {
        let mut stuck = 0;
        for mut model in (Model { to_lose: 1, to_refuse: 1, ..Model::new([0, 4]) }).explore() {
            let Some(at) = (0..2).find(|at| !model.held[*at].is_empty()) else {
                assert_eq!(model.handled.len() + model.lost.len(), 4, "{model:?}");
                continue;
            };
            // A request was lost behind the client's last datagram.
            stuck += 1;
            model.perform(Step::Wait(at));
            model.datagram(at, 4, true);
            while model.perform(Step::Deliver(0)) || model.perform(Step::Deliver(1)) {}
            assert_eq!(model.handled.len() + model.lost.len(), 5, "{model:?}");
            assert_eq!(model.engines[at], 0, "it is the owner: {model:?}");
        }
        assert!(stuck > 10);
    }

    #[test]
    fn media_that_comes_to_a_new_owner_is_handled_in_its_order() {
        let mut model = Model::new([1, 2]);
        for number in [0, 2, 4] {
            model.datagram(1, number, true);
        }
        assert!(model.perform(Step::Deliver(1)), "the request");
        // Late on the old path.
        model.datagram(0, 6, false);
        assert!(model.perform(Step::Deliver(0)), "the keys");
        model.datagram(1, 8, true);
        assert!(model.perform(Step::Deliver(0)), "the straggler");
        assert_eq!(model.handled, [0, 2, 4, 8, 6]);
    }

    #[test]
    fn a_nomination_is_answered_by_the_owner_alone() {
        let peer = PeerKey(7);
        let mut ownership = Ownership::Incoming { owner: peer, since: NOW, asked: None };
        assert_eq!(ownership.handle_nomination(NOW), Nomination::Hold { ask: Some(peer) });
        assert_eq!(ownership.handle_nomination(NOW), Nomination::Hold { ask: None });
        assert_eq!(ownership.handle_nomination(NOW + ASK_AGAIN), Nomination::Hold { ask: Some(peer) });
        assert_eq!(ownership.take_up(), Some(peer));
        assert_eq!(ownership.handle_nomination(NOW), Nomination::Answer);
        ownership.offer(peer);
        assert_eq!(ownership.hand_over(), Some(peer));
        assert_eq!((ownership.handle_nomination(NOW), ownership.hand_over()), (Nomination::Ignore, None));
    }

    #[test]
    fn nobody_hands_over_unless_told_to_whom() {
        let mut ownership = Ownership::OWNER;
        assert!(!ownership.handle_ask(PeerKey(1)));
        let mut offered = ownership;
        offered.offer(PeerKey(1));
        assert!(offered.handle_ask(PeerKey(1)) && !offered.handle_ask(PeerKey(2)));
        assert_eq!(ownership.hand_over(), None);
        ownership.wait_for(PeerKey(1), NOW);
        assert_eq!(ownership, Ownership::OWNER, "the owner waits for nobody");
    }
}
