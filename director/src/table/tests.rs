use fleet::api::SfuLoad;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A table, a clock and short ways to feed it. SFU `n` is named `sfu-n` and lives at port `n`.
struct Bench {
    table: Table,
    now: Instant,
}

fn at(n: u16) -> SfuAddress {
    SfuAddress::new("10.0.0.1", n)
}

fn status(name: &str, state: SfuState) -> SfuStatus {
    SfuStatus {
        name: name.into(),
        node: "node-1".into(),
        version: "1".into(),
        state,
        candidates: Vec::new(),
        address_problem: None,
        load: SfuLoad::default(),
        drain: None,
        can_drain: true,
    }
}

impl Bench {
    fn listing(sfus: &[u16]) -> Self {
        let mut bench = Self { table: Table::default(), now: Instant::now() };
        let _ = bench.list(sfus);
        bench
    }

    fn list(&mut self, sfus: &[u16]) -> Effects {
        self.table.list(&sfus.iter().copied().map(at).collect(), self.now)
    }

    fn snapshot_as(&mut self, n: u16, name: &str, calls: &[&str]) -> Effects {
        let calls = calls.iter().map(|call| (*call).to_owned()).collect();
        let snapshot = FleetEvent::Snapshot { status: status(name, SfuState::Active), calls };
        self.table.heard(&at(n), snapshot, self.now)
    }

    fn snapshot(&mut self, n: u16, calls: &[&str]) -> Effects {
        self.snapshot_as(n, &format!("sfu-{n}"), calls)
    }

    fn started(&mut self, n: u16, call: &str) -> Effects {
        self.table.heard(&at(n), FleetEvent::CallStarted { call: call.into() }, self.now)
    }

    fn ended(&mut self, n: u16, call: &str) -> Effects {
        self.table.heard(&at(n), FleetEvent::CallEnded { call: call.into() }, self.now)
    }

    fn take(&mut self, n: u16, call: &str, people: u32) -> Effects {
        let take = FleetEvent::TakeCall { call: call.into(), people, means: Means::Reconnect };
        self.table.heard(&at(n), take, self.now)
    }

    fn reports(&mut self, n: u16, state: SfuState) -> Effects {
        let status = status(&format!("sfu-{n}"), state);
        self.table.heard(&at(n), FleetEvent::Status { status }, self.now)
    }

    fn lost(&mut self, n: u16) -> Effects {
        self.table.lost(&at(n), self.now)
    }

    fn refused(&mut self, n: u16) -> Effects {
        self.table.refused(&at(n), self.now)
    }

    fn pass(&mut self, time: Duration) -> Effects {
        self.now += time;
        self.table.tick(self.now)
    }

    fn candidates(&self) -> Vec<(u16, u32)> {
        self.table.candidates().map(|candidate| (candidate.address.as_pair().1, candidate.reserved)).collect()
    }
}

fn dropped(n: u16) -> Effects {
    Effects { routing: true, dropped: vec![at(n)] }
}

#[test]
fn a_call_is_known_where_it_started_until_it_ends() {
    let mut bench = Bench::listing(&[1, 2]);
    let _ = bench.snapshot(1, &["standup"]);
    let _ = bench.snapshot(2, &[]);
    assert!(bench.started(2, "retro").routing);
    assert_eq!(bench.table.locate("standup"), Location::Known(at(1)));
    assert_eq!(bench.table.locate("retro"), Location::Known(at(2)));
    assert!(bench.ended(2, "retro").routing);
    assert_eq!(bench.table.locate("retro"), Location::Unknown);
}

#[test]
fn nothing_is_unknown_before_everybody_was_heard() {
    let mut bench = Bench { table: Table::default(), now: Instant::now() };
    assert_eq!(bench.table.locate("standup"), Location::NotReady);
    let _ = bench.list(&[1, 2]);
    assert!(bench.snapshot(1, &["retro"]).routing);
    assert_eq!(bench.table.locate("standup"), Location::NotReady);
    assert_eq!(bench.table.locate("retro"), Location::Known(at(1)));
    assert!(bench.snapshot(2, &[]).routing);
    assert_eq!(bench.table.locate("standup"), Location::Unknown);
}

#[test]
fn an_sfu_that_refuses_or_is_never_heard_holds_nothing_up() {
    let mut bench = Bench::listing(&[1, 2]);
    assert_eq!(bench.refused(1), Effects { routing: true, dropped: vec![] });
    assert_eq!(bench.table.locate("standup"), Location::NotReady);
    assert!(!bench.pass(FIRST_CONTACT.saturating_sub(SECOND)).routing);
    assert!(bench.pass(SECOND).routing);
    assert_eq!(bench.table.locate("standup"), Location::Unknown);
    // Being called again and again, it still holds nothing up.
    let _ = bench.lost(2);
    assert_eq!(bench.table.locate("standup"), Location::Unknown);
}

#[test]
fn a_lost_stream_keeps_its_calls_for_the_grace_and_no_longer() {
    let mut bench = Bench::listing(&[1]);
    let _ = bench.snapshot(1, &["standup"]);
    let _ = bench.lost(1);
    assert_eq!(bench.pass(GRACE.saturating_sub(SECOND)), Effects::default());
    assert_eq!(bench.table.locate("standup"), Location::Known(at(1)));
    assert_eq!(bench.candidates(), [], "no new call goes to a suspect");
    assert_eq!(bench.pass(SECOND), dropped(1));
    assert_eq!(bench.table.locate("standup"), Location::Unknown);
}

#[test]
fn silence_and_grace_together_leave_clients_time_within_ten_seconds() {
    assert!(SILENCE + GRACE <= Duration::from_secs(6));
}

#[test]
fn a_stream_that_comes_back_within_the_grace_drops_nobody() {
    let mut bench = Bench::listing(&[1]);
    let _ = bench.snapshot(1, &["standup", "retro"]);
    let _ = bench.lost(1);
    let _ = bench.pass(SECOND);
    assert_eq!(bench.snapshot(1, &["standup"]), Effects { routing: true, dropped: vec![] });
    assert_eq!(bench.pass(GRACE), Effects::default());
    assert_eq!(bench.table.locate("standup"), Location::Known(at(1)));
    assert_eq!(bench.table.locate("retro"), Location::Unknown, "it ended meanwhile");
}

#[test]
fn a_refused_connection_drops_a_suspect_at_once() {
    let mut bench = Bench::listing(&[1]);
    let _ = bench.snapshot(1, &["standup"]);
    assert_eq!(bench.refused(1), Effects::default(), "its stream still flows");
    let _ = bench.lost(1);
    assert_eq!(bench.refused(1), dropped(1));
    assert_eq!(bench.table.locate("standup"), Location::Unknown);
    assert_eq!(bench.table.named("sfu-1"), Named::Gone);
}

#[test]
fn an_sfu_that_is_not_listed_stays_for_as_long_as_it_is_heard() {
    let mut bench = Bench::listing(&[1, 2]);
    let _ = bench.snapshot(1, &["standup"]);
    assert_eq!(bench.list(&[]).dropped, []);
    assert_eq!(bench.table.locate("standup"), Location::Known(at(1)));
    assert_eq!(bench.table.counts().calling, 0, "the one never heard is forgotten");
    assert_eq!(bench.lost(1), dropped(1));
    assert_eq!(bench.table.counts(), Counts::default());
}

#[test]
fn another_pod_at_the_same_address_takes_nothing_over() {
    let mut bench = Bench::listing(&[1]);
    let _ = bench.snapshot_as(1, "old", &["standup"]);
    assert_eq!(bench.snapshot_as(1, "new", &[]), dropped(1));
    assert_eq!(bench.table.locate("standup"), Location::Unknown);
    assert_eq!(bench.table.named("old"), Named::Gone);
    assert_eq!(bench.table.named("new"), Named::Here(at(1)));
    assert_eq!(bench.table.named("other"), Named::NeverSeen);
    let _ = bench.pass(GONE_KEPT);
    assert_eq!(bench.table.named("old"), Named::NeverSeen);
}

#[test]
fn only_active_sfus_take_new_calls_and_all_that_are_heard_register() {
    let mut bench = Bench::listing(&[1, 2, 3]);
    for n in [1, 2] {
        let _ = bench.snapshot(n, &[]);
    }
    assert!(bench.reports(1, SfuState::Draining).routing);
    assert!(!bench.reports(1, SfuState::Draining).routing, "a heartbeat wakes nobody");
    assert_eq!(bench.candidates(), [(2, 0)]);
    assert_eq!(bench.table.registrars().count(), 2);
    assert_eq!(bench.table.anyone(), [at(2)]);
    let _ = bench.reports(2, SfuState::Starting);
    assert_eq!(bench.table.anyone(), [at(1), at(2)]);
}

#[test]
fn a_reservation_counts_until_a_report_includes_it() {
    let mut bench = Bench::listing(&[1]);
    let _ = bench.snapshot(1, &[]);
    bench.table.reserve(&at(1), "standup", bench.now);
    bench.now += SECOND / 2;
    bench.table.reserve(&at(1), "standup", bench.now);
    let _ = bench.reports(1, SfuState::Active);
    assert_eq!(bench.candidates(), [(1, 2)]);
    bench.now += SECOND / 2;
    let _ = bench.reports(1, SfuState::Active);
    assert_eq!(bench.candidates(), [(1, 1)]);
}

#[test]
fn a_call_that_leaves_is_counted_whole_where_it_goes_and_once() {
    let mut bench = Bench::listing(&[1, 2]);
    let _ = bench.snapshot(1, &["standup"]);
    let _ = bench.snapshot(2, &[]);
    let effects = bench.take(1, "standup", 30);
    assert!(effects.routing);
    assert_eq!(bench.table.locate("standup"), Location::Unknown);
    bench.table.reserve(&at(1), "standup", bench.now);
    assert_eq!(bench.candidates(), [(1, 1), (2, 0)], "a join that has not heard of it");
    bench.table.reserve(&at(2), "standup", bench.now);
    bench.table.reserve(&at(2), "standup", bench.now);
    assert_eq!(bench.candidates(), [(1, 1), (2, 31)]);

    let _ = bench.take(1, "retro", 30);
    let _ = bench.pass(EXPECTED);
    bench.table.reserve(&at(2), "retro", bench.now);
    assert_eq!(bench.candidates(), [(1, 1), (2, 32)], "nobody came for so long that it is another call");
}

#[test]
fn a_doubled_call_is_the_same_one_for_all_directors() {
    let mut bench = Bench::listing(&[1, 2]);
    let _ = bench.snapshot(2, &["standup"]);
    let _ = bench.snapshot(1, &["standup"]);
    assert_eq!(bench.table.counts().doubled, 1);
    assert_eq!(bench.table.locate("standup"), Location::Known(at(1)));
    let _ = bench.lost(1);
    assert_eq!(bench.table.locate("standup"), Location::Known(at(2)), "one that is heard comes first");
    let _ = bench.snapshot(1, &[]);
    assert_eq!(bench.table.counts().doubled, 0);
    assert_eq!(bench.table.locate("standup"), Location::Known(at(2)));
}

mod random {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Input {
        List(Vec<u16>),
        Snapshot(u16, Vec<u8>),
        Started(u16, u8),
        Ended(u16, u8),
        Lost(u16),
        Refused(u16),
        Pass(u64),
    }

    fn input() -> impl Strategy<Value = Input> {
        let sfu = || 1_u16..4;
        let call = || 0_u8..5;
        prop_oneof![
            proptest::collection::vec(sfu(), 0..4).prop_map(Input::List),
            (sfu(), proptest::collection::vec(call(), 0..4)).prop_map(|(n, calls)| Input::Snapshot(n, calls)),
            (sfu(), call()).prop_map(|(n, call)| Input::Started(n, call)),
            (sfu(), call()).prop_map(|(n, call)| Input::Ended(n, call)),
            sfu().prop_map(Input::Lost),
            sfu().prop_map(Input::Refused),
            (0_u64..4000).prop_map(Input::Pass),
        ]
    }

    fn apply(bench: &mut Bench, input: Input) {
        let name = |call: u8| format!("call-{call}");
        let _ = match input {
            Input::List(sfus) => bench.list(&sfus),
            Input::Snapshot(n, calls) => {
                let names: Vec<_> = calls.into_iter().map(name).collect();
                bench.snapshot(n, &names.iter().map(String::as_str).collect::<Vec<_>>())
            }
            Input::Started(n, call) => bench.started(n, &name(call)),
            Input::Ended(n, call) => bench.ended(n, &name(call)),
            Input::Lost(n) => bench.lost(n),
            Input::Refused(n) => bench.refused(n),
            Input::Pass(milliseconds) => bench.pass(Duration::from_millis(milliseconds)),
        };
    }

    proptest! {
        #[test]
        fn the_index_of_calls_is_what_the_sfus_say(inputs in proptest::collection::vec(input(), 0..60)) {
            let mut bench = Bench::listing(&[1, 2, 3]);
            for input in inputs {
                apply(&mut bench, input);
                let mut expected: HashMap<Arc<str>, BTreeSet<SfuAddress>> = HashMap::new();
                for (address, sfu) in &bench.table.sfus {
                    for call in &sfu.calls {
                        expected.entry(call.clone()).or_default().insert(address.clone());
                    }
                    let heard = matches!(sfu.contact, Contact::Live | Contact::Suspect { .. });
                    prop_assert_eq!(heard, sfu.status.is_some());
                    prop_assert!(heard || sfu.calls.is_empty(), "only who is heard has calls");
                }
                let found: HashMap<_, BTreeSet<_>> = bench.table.calls.iter()
                    .map(|(call, at)| (call.clone(), at.iter().cloned().collect()))
                    .collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
