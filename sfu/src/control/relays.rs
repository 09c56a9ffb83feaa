//! Which tracks one media thread relays to another, because a call is spread over several.
//!
//! A pure machine between control and the threads: sessions give orders to the thread they live on as if it had the
//! whole call, and what comes out are the orders for all threads concerned. A track is relayed to a thread from its first
//! subscription there to its last.

use std::collections::{BTreeMap, BTreeSet};

use sfu_core::engine::command::{Command, Feed, Publish};
use sfu_core::id::{SubscriptionKey, TrackKey, TransportKey};

use crate::worker::peer_of;

/// What is relayed from where to where.
#[derive(Debug, Default)]
pub struct Relays {
    tracks: BTreeMap<TrackKey, Published>,
    /// By the transports they are published on.
    published: BTreeSet<(TransportKey, TrackKey)>,
    /// Those of tracks whose home is another thread.
    subscriptions: BTreeMap<SubscriptionKey, Subscribed>,
    /// By the transports they are for.
    subscribed: BTreeSet<(TransportKey, SubscriptionKey)>,
}

#[derive(Debug)]
struct Published {
    /// The thread that has the publisher.
    home: usize,
    publish: Publish,
    /// Subscriptions elsewhere, by thread.
    elsewhere: BTreeMap<usize, BTreeSet<SubscriptionKey>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Subscribed {
    track: TrackKey,
    transport: TransportKey,
    worker: usize,
}

/// An order and the thread it is for.
type Order = (usize, Command);

impl Relays {
    /// The orders that follow from one for `worker`, in the order in which they are to be given.
    pub fn route(&mut self, worker: usize, command: Command) -> Vec<Order> {
        match command {
            Command::Publish(publish) => self.publish(worker, publish),
            Command::Unpublish { track } => self.unpublish(worker, track),
            Command::Subscribe(subscribe) => {
                let (track, transport) = (subscribe.track, subscribe.transport);
                let subscribed = Subscribed { track, transport, worker };
                let mut orders = self.subscribe(subscribe.subscription, subscribed);
                orders.push((worker, Command::Subscribe(subscribe)));
                orders
            }
            Command::Unsubscribe { subscription } => {
                let mut orders = vec![(worker, Command::Unsubscribe { subscription })];
                orders.extend(self.unsubscribe(subscription));
                orders
            }
            Command::RemoveTransport { transport } => {
                let mut orders = vec![(worker, Command::RemoveTransport { transport })];
                orders.extend(self.forget_transport(transport));
                orders
            }
            other => vec![(worker, other)],
        }
    }

    fn publish(&mut self, worker: usize, publish: Box<Publish>) -> Vec<Order> {
        let elsewhere = self.forget_track(publish.track).map(|known| known.elsewhere).unwrap_or_default();
        if let Feed::Transport(transport) = publish.feed {
            self.published.insert((transport, publish.track));
        }
        let relayed = |to: &usize| (*to, relayed(&publish, worker));
        let orders = elsewhere.keys().map(relayed).collect::<Vec<_>>();
        let known = Published { home: worker, publish: (*publish).clone(), elsewhere };
        self.tracks.insert(publish.track, known);
        std::iter::once((worker, Command::Publish(publish))).chain(orders).collect()
    }

    fn unpublish(&mut self, worker: usize, track: TrackKey) -> Vec<Order> {
        let known = self.forget_track(track);
        let elsewhere = known.into_iter().flat_map(|known| known.elsewhere.into_keys());
        std::iter::once(worker).chain(elsewhere).map(|worker| (worker, Command::Unpublish { track })).collect()
    }

    /// What comes before a subscription.
    fn subscribe(&mut self, key: SubscriptionKey, subscribed: Subscribed) -> Vec<Order> {
        if self.subscriptions.get(&key) == Some(&subscribed) {
            return Vec::new();
        }
        let mut orders = self.unsubscribe(key);
        let Subscribed { track, worker, .. } = subscribed;
        let Some(known) = self.tracks.get_mut(&track).filter(|known| known.home != worker) else { return orders };
        self.subscriptions.insert(key, subscribed);
        self.subscribed.insert((subscribed.transport, key));
        let there = known.elsewhere.entry(worker).or_default();
        if there.is_empty() {
            // First there, so that nothing comes before it is known what it is.
            orders.push((worker, relayed(&known.publish, known.home)));
            orders.push((known.home, Command::RelayTo { track, peer: peer_of(worker) }));
        }
        there.insert(key);
        orders
    }

    /// What follows the end of a subscription.
    fn unsubscribe(&mut self, key: SubscriptionKey) -> Vec<Order> {
        let Some(Subscribed { track, transport, worker }) = self.subscriptions.remove(&key) else { return Vec::new() };
        self.subscribed.remove(&(transport, key));
        let Some(known) = self.tracks.get_mut(&track) else { return Vec::new() };
        let Some(there) = known.elsewhere.get_mut(&worker) else { return Vec::new() };
        there.remove(&key);
        if !there.is_empty() {
            return Vec::new();
        }
        known.elsewhere.remove(&worker);
        vec![(known.home, Command::StopRelay { track, peer: peer_of(worker) }), (worker, Command::Unpublish { track })]
    }

    /// The thread forgets a transport's tracks and subscriptions with it.
    fn forget_transport(&mut self, transport: TransportKey) -> Vec<Order> {
        let subscriptions = (transport, SubscriptionKey(0))..=(transport, SubscriptionKey(u64::MAX));
        let ended: Vec<_> = self.subscribed.range(subscriptions).map(|(_, key)| *key).collect();
        let mut orders: Vec<Order> = ended.into_iter().flat_map(|key| self.unsubscribe(key)).collect();
        let tracks = (transport, TrackKey(0))..=(transport, TrackKey(u64::MAX));
        let gone: Vec<_> = self.published.range(tracks).map(|(_, track)| *track).collect();
        for track in gone {
            let elsewhere = self.forget_track(track).into_iter().flat_map(|known| known.elsewhere.into_keys());
            orders.extend(elsewhere.map(|worker| (worker, Command::Unpublish { track })));
        }
        orders
    }

    fn forget_track(&mut self, track: TrackKey) -> Option<Published> {
        let known = self.tracks.remove(&track)?;
        if let Feed::Transport(transport) = known.publish.feed {
            self.published.remove(&(transport, track));
        }
        Some(known)
    }
}

/// Has a thread take a track from its home.
fn relayed(publish: &Publish, home: usize) -> Command {
    Command::Publish(Box::new(Publish { feed: Feed::Peer(peer_of(home)), ..publish.clone() }))
}

#[cfg(test)]
mod tests {
    use sfu_core::engine::command::{Extensions, MediaKind, Priority, Subscribe, Target};
    use sfu_core::id::{Mid, Ssrc};

    use super::*;

    const TRACK: TrackKey = TrackKey(1);

    fn publish() -> Command {
        Command::Publish(Box::new(Publish {
            track: TRACK,
            feed: Feed::Transport(TransportKey(100)),
            mid: Mid("0".into()),
            kind: MediaKind::Audio,
            codecs: Vec::new(),
            extensions: Extensions::default(),
            ssrcs: Vec::new(),
            rids: Vec::new(),
            nack: false,
            transport_cc: false,
            group: None,
            encrypted: false,
            redundancy: true,
        }))
    }

    fn subscribe(key: u64) -> Command {
        Command::Subscribe(Box::new(Subscribe {
            subscription: SubscriptionKey(key),
            transport: TransportKey(key),
            track: TRACK,
            mid: Mid("1".into()),
            ssrc: Ssrc(5),
            rtx_ssrc: None,
            codecs: Vec::new(),
            extensions: Extensions::default(),
            cname: String::new(),
            target: Target::HIGHEST,
            priority: Priority::Camera,
        }))
    }

    fn unsubscribe(key: u64) -> Command {
        Command::Unsubscribe { subscription: SubscriptionKey(key) }
    }

    /// Orders, shortly: the thread and what it is told.
    fn told(relays: &mut Relays, worker: usize, command: Command) -> Vec<(usize, &'static str)> {
        let name = |command: &Command| match command {
            Command::Publish(publish) => match publish.feed {
                Feed::Transport(_) => "publish",
                Feed::Peer(_) => "take",
            },
            Command::Unpublish { .. } => "unpublish",
            Command::Subscribe(_) => "subscribe",
            Command::Unsubscribe { .. } => "unsubscribe",
            Command::RelayTo { .. } => "relay",
            Command::StopRelay { .. } => "stop",
            Command::RemoveTransport { .. } => "remove",
            _ => "other",
        };
        relays.route(worker, command).iter().map(|(worker, command)| (*worker, name(command))).collect()
    }

    #[test]
    fn a_call_on_one_thread_is_left_alone() {
        let mut relays = Relays::default();
        assert_eq!(told(&mut relays, 0, publish()), [(0, "publish")]);
        assert_eq!(told(&mut relays, 0, subscribe(1)), [(0, "subscribe")]);
        assert_eq!(told(&mut relays, 0, unsubscribe(1)), [(0, "unsubscribe")]);
        assert_eq!(told(&mut relays, 0, Command::Unpublish { track: TRACK }), [(0, "unpublish")]);
    }

    #[test]
    fn a_track_is_relayed_from_the_first_subscription_elsewhere_to_the_last() {
        let mut relays = Relays::default();
        told(&mut relays, 0, publish());
        assert_eq!(told(&mut relays, 1, subscribe(1)), [(1, "take"), (0, "relay"), (1, "subscribe")]);
        assert_eq!(told(&mut relays, 1, subscribe(1)), [(1, "subscribe")], "again");
        assert_eq!(told(&mut relays, 1, subscribe(2)), [(1, "subscribe")]);
        assert_eq!(told(&mut relays, 2, subscribe(3)), [(2, "take"), (0, "relay"), (2, "subscribe")]);
        assert_eq!(told(&mut relays, 1, unsubscribe(1)), [(1, "unsubscribe")]);
        assert_eq!(told(&mut relays, 1, unsubscribe(2)), [(1, "unsubscribe"), (0, "stop"), (1, "unpublish")]);
        let unpublished = told(&mut relays, 0, Command::Unpublish { track: TRACK });
        assert_eq!(unpublished, [(0, "unpublish"), (2, "unpublish")]);
    }

    #[test]
    fn what_is_sent_otherwise_is_told_everywhere() {
        let mut relays = Relays::default();
        told(&mut relays, 0, publish());
        told(&mut relays, 1, subscribe(1));
        assert_eq!(told(&mut relays, 0, publish()), [(0, "publish"), (1, "take")]);
    }

    #[test]
    fn who_leaves_takes_tracks_and_subscriptions_along() {
        let mut relays = Relays::default();
        told(&mut relays, 0, publish());
        told(&mut relays, 1, subscribe(1));
        told(&mut relays, 2, subscribe(2));
        let left = told(&mut relays, 1, Command::RemoveTransport { transport: TransportKey(1) });
        assert_eq!(left, [(1, "remove"), (0, "stop"), (1, "unpublish")]);
        let gone = told(&mut relays, 0, Command::RemoveTransport { transport: TransportKey(100) });
        assert_eq!(gone, [(0, "remove"), (2, "unpublish")]);
        assert_eq!(told(&mut relays, 2, unsubscribe(2)), [(2, "unsubscribe")]);
        let left = (relays.tracks.len(), relays.published.len(), relays.subscriptions.len(), relays.subscribed.len());
        assert_eq!(left, (0, 0, 0, 0));
    }
}
