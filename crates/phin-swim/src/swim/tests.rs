use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::*;
use crate::{
    Change, Event, Member, MemberState, Outcome, QueryId, Record, Report, Silence,
    detect::reports::Reports,
    member::{
        record::tests::{TestKeys, addr, id, record, statement, version},
        transition::News,
    },
    query::request::QueryKey,
    testing::ms,
    wire::{Claim, Entry, Payload, Sequence, Tally, Verdict, decode},
};

mod many;

fn swim(node: u8, config: Config) -> Swim {
    let name = Name::try_from(format!("n{node}").as_str()).unwrap();
    let me = Local::new(name, vec![addr(node)], Generation(0));
    Swim::new(Instant::START, me, config, Arc::new(TestKeys(node.into())), node.into()).unwrap()
}

fn peer(node: u8) -> Peer {
    Peer { id: id(node), addr: addr(node) }
}

fn outputs(swim: &mut Swim) -> Vec<Output> {
    swim.core.run();
    std::iter::from_fn(|| swim.poll_output()).collect()
}

fn at(millis: u64) -> Instant {
    Instant::START + Duration::from_millis(millis)
}

fn entry(node: u8, version: Version) -> Part {
    Part::Entry(Entry { state: MemberState::Alive, record: record(node, version) })
}

/// A core that knows the first so many nodes.
fn acquainted(nodes: u8, config: Config) -> Swim {
    let mut swim = swim(0, config);
    for node in 1..nodes {
        let payload = Payload::of(&entry(node, version(0, 0))).into_bytes();
        swim.handle_stream(Instant::START, peer(node), &payload);
        outputs(&mut swim);
    }
    swim
}

/// A timer of this core fires so much later than asked.
fn lag(swim: &mut Swim, now: Instant, lag: Duration) {
    let Core { ctx, senses: Senses { health, rounds, .. }, .. } = swim.core.now(now);
    health.record_lag(ctx, rounds, lag);
    swim.core.run();
}

/// The pause tolerance for member 1.
fn pause_tolerance(swim: &Swim) -> Duration {
    let stall = swim.core.senses.links.advertised_stall(id(1));
    swim.core.senses.health.pause_tolerance(&swim.core.ctx.params, stall)
}

/// The parts that a core sends: sender, receiver, part.
fn messages(from: MemberId, swim: &mut Swim) -> Vec<(MemberId, MemberId, Vec<u8>)> {
    let messages = outputs(swim).into_iter().filter_map(|output| match output {
        Output::Datagram { to, payload } | Output::Stream { to, payload } => {
            Some((from, to.id, payload))
        }
        _ => None,
    });
    messages.collect()
}

/// Passes messages between cores until nobody has more to say.
fn settle(swims: &mut BTreeMap<MemberId, Swim>, now: Instant) {
    let mut queue: VecDeque<_> =
        swims.iter_mut().flat_map(|(&id, swim)| messages(id, swim)).collect();
    while let Some((from, to, payload)) = queue.pop_front() {
        if let Some(swim) = swims.get_mut(&to) {
            swim.handle_stream(now, Peer { id: from, addr: addr(0) }, &payload);
            queue.extend(messages(to, swim));
        }
    }
}

#[test]
fn two_lists_that_differ_become_equal_by_one_exchange() {
    let mut one = acquainted(40, Config::lan());
    let mut other = swim(200, Config::lan());
    let now = at(10_000);
    // The other knows some of them older, some newer, some as suspects, and some whom nobody else knows.
    let newer = [entry(3, version(0, 2)), entry(4, version(1, 0)), entry(90, version(0, 0))];
    for part in newer.into_iter().chain([entry(0, version(0, 0)), entry(9, version(0, 0))]) {
        other.handle_stream(now, peer(90), &Payload::of(&part).into_bytes());
        outputs(&mut other);
    }
    one.handle_stream(now, peer(9), &Payload::of(&entry(9, version(0, 5))).into_bytes());
    outputs(&mut one);
    assert_ne!(one.fingerprint(), other.fingerprint());
    one.core.anti_entropy().start(peer(200));
    one.core.run();
    let mut swims = BTreeMap::from([(one.id(), one), (other.id(), other)]);
    settle(&mut swims, now);
    let (one, other) = (&swims[&id(0)], &swims[&id(200)]);
    // Nobody announced the newcomer itself, so only its own list has it.
    let lines = |swim: &Swim| -> Vec<_> {
        let members = swim.members();
        let members = members.iter().filter(|member| member.id() != id(200));
        members.map(|member| (member.id(), member.version(), member.state())).collect()
    };
    assert_eq!(lines(one), lines(other));
    assert_eq!(lines(one).len(), 41);
}

/// Lists one timer of each kind. A kind that is not listed does not compile.
macro_rules! one_of_each {
    ($($pattern:pat => $timer:expr),* $(,)?) => {{
        const _: fn(Timer) = |timer| match timer { $($pattern => ()),* };
        vec![$($timer),*]
    }};
}

/// One timer of each kind, about this version of a member, this ping and this round.
fn timers_about(id: MemberId, of: Version, sequence: Sequence, round: u16) -> Vec<Timer> {
    let query = QueryKey { caller: id, generation: of.generation, id: QueryId(7) };
    one_of_each![
        Timer::Period(_) => Timer::Period(round),
        Timer::Probe(_) => Timer::Probe(round),
        Timer::ProbeTimeout(_) => Timer::ProbeTimeout(sequence),
        Timer::NackTimeout(_) => Timer::NackTimeout(sequence),
        Timer::ProbeEnd(_) => Timer::ProbeEnd(sequence),
        Timer::Retry(..) => Timer::Retry(id, of),
        Timer::Judge(..) => Timer::Judge(id, of),
        Timer::Look => Timer::Look,
        Timer::Pending(..) => Timer::Pending(id, of),
        Timer::Push => Timer::Push,
        Timer::JoinRetry(_) => Timer::JoinRetry(id),
        Timer::LeaveRetry => Timer::LeaveRetry,
        Timer::Release(_) => Timer::Release(id),
        Timer::PublishData => Timer::PublishData,
        Timer::ExpireData => Timer::ExpireData,
        Timer::AnnounceData => Timer::AnnounceData,
        Timer::RetryData => Timer::RetryData,
        Timer::Describe => Timer::Describe,
        Timer::AnnouncePublications => Timer::AnnouncePublications,
        Timer::RepairPublications => Timer::RepairPublications,
        Timer::ExpirePublications => Timer::ExpirePublications,
        Timer::PassReplies(_) => Timer::PassReplies(query),
        Timer::QueryOver(_) => Timer::QueryOver(query),
        Timer::Sweep => Timer::Sweep,
        Timer::Leadership => Timer::Leadership,
        Timer::SendDeadline(_) => Timer::SendDeadline(crate::Ticket(7)),
        Timer::PingEnd(_) => Timer::PingEnd(crate::PingId(7)),
    ]
}

/// Everything that a timer could change, and what it had sent.
fn fire(swim: &mut Swim, now: Instant, timer: Timer) -> (String, Vec<Output>) {
    swim.core.ctx.timers.set(now, timer);
    swim.handle_timeout(now);
    let outputs = outputs(swim);
    (state(swim), outputs)
}

fn state(swim: &Swim) -> String {
    let Core { ctx, list, senses, detector, dissemination, .. } = &swim.core;
    let Senses { links, pings, rounds, .. } = senses;
    let Core { exchanges, forgotten, joins, undecided, newcomers, .. } = &swim.core;
    let Core { flaps, convergence, departure, identity, data, publishing, queries, .. } =
        &swim.core;
    let rooms = (links, pings, rounds, detector, dissemination, exchanges, forgotten, joins);
    let others = (undecided, newcomers, flaps, convergence, departure, identity, data);
    let list = (list, publishing, queries);
    format!("{:?}", (rooms, others, list, &ctx.stats, &ctx.timers))
}

/// A core of twelve that has nothing left to do before its first round ends.
fn idle() -> Swim {
    let mut swim = acquainted(12, Config::lan());
    swim.handle_timeout(at(10));
    outputs(&mut swim);
    swim
}

#[test]
fn a_timer_for_something_gone_does_nothing() {
    let round = idle().core.senses.rounds.round().0;
    let (known, unknown, me) = (id(1), id(77), id(0));
    let about = [
        timers_about(known, version(0, 0), Sequence(9_999), round + 1),
        timers_about(known, version(7, 7), Sequence(0), round.wrapping_sub(1)),
        timers_about(unknown, version(0, 0), Sequence(9_999), round + 7),
        timers_about(me, version(0, 0), Sequence(9_999), round + 7),
    ];
    for timer in about.into_iter().flatten() {
        let mut swim = idle();
        let before = state(&swim);
        let (after, sent) = fire(&mut swim, at(20), timer);
        assert!(sent.is_empty(), "{timer:?} asks for {sent:?}");
        assert!(before == after, "{timer:?} changes\n{before}\nto\n{after}");
    }
}

#[test]
fn a_timer_that_fires_a_second_time_does_nothing() {
    let mut swim = idle();
    let mut kinds = Vec::new();
    // Members that never answer, of which one is dead elsewhere, have nearly all timers fire in time.
    let claim = Claim { subject: id(5), version: version(0, 0), by: id(2) };
    let verdict = Verdict::unsigned(claim, Vec::new());
    swim.handle_stream(at(20), peer(2), &Payload::of(&Part::Dead(verdict)).into_bytes());
    outputs(&mut swim);
    while let Some(now) = swim.poll_timeout().filter(|&now| now < at(8_000)) {
        let mut due = Vec::new();
        while let Some(timer) = swim.core.ctx.timers.pop_due(now) {
            due.push(timer);
        }
        for timer in due {
            fire(&mut swim, now, timer);
            let kind = std::mem::discriminant(&timer);
            kinds.extend((!kinds.contains(&kind)).then_some(kind));
            let before = state(&swim);
            let (after, sent) = fire(&mut swim, now, timer);
            assert!(sent.is_empty(), "{timer:?} asks for {sent:?} again");
            assert!(before == after, "{timer:?} changes\n{before}\nto\n{after}");
        }
    }
    assert!(kinds.len() >= 8, "{kinds:?}");
}

#[test]
fn timers_that_fire_an_hour_late_are_this_nodes_own_fault() {
    let mut swim = idle();
    let timers = timers_about(id(1), version(0, 0), Sequence(1), swim.core.senses.rounds.round().0);
    timers.into_iter().for_each(|timer| swim.core.ctx.timers.set(at(20), timer));
    swim.handle_timeout(at(3_600_000));
    let sent = outputs(&mut swim);
    assert!(!sent.iter().any(|output| matches!(output, Output::Event(_))), "{sent:?}");
    assert_eq!(swim.members().live_len(), 12);
    assert!(swim.core.senses.health.is_impaired(at(3_600_000)));
}

#[test]
fn an_answered_ping_leaves_no_timer_behind_but_one_that_tells_of_a_pause() {
    let mut swim = acquainted(3, Config::lan());
    let left = |swim: &mut Swim, sent_at: Instant, answered_at: Instant, sequence: u32| {
        swim.core.now(sent_at).probe().ping(peer(1), Purpose::Probe);
        outputs(swim);
        let pulse = swim.core.now(answered_at).probe().pulse(Sequence(sequence));
        let ack = Payload::of(&Part::Ack(pulse)).into_bytes();
        swim.handle_datagram(answered_at, peer(1), &ack);
        outputs(swim);
        let timers = std::iter::from_fn(|| swim.core.ctx.timers.pop_due(at(100_000)));
        let of_pings = |timer: &Timer| matches!(timer, Timer::ProbeTimeout(_) | Timer::ProbeEnd(_));
        timers.filter(of_pings).collect::<Vec<_>>()
    };
    assert_eq!(left(&mut swim, at(0), at(0), 1), []);
    // The reply was there when we woke, and the timer was due long ago: how late we are is still found.
    let timer = Timer::ProbeTimeout(Sequence(2));
    assert_eq!(left(&mut swim, at(1_000), at(2_900), 2), [timer]);
}

#[test]
fn whoever_holds_us_for_suspect_or_dead_is_told_by_ourselves_that_we_live() {
    // In a list of one the rings lead nowhere, and none of these is in it.
    let mut swim = swim(0, Config::lan());
    let claim = Claim { subject: swim.id(), version: version(0, 0), by: id(7) };
    let accusations = [Part::Suspect(claim), Part::Dead(Verdict::unsigned(claim, Vec::new()))];
    for (accusation, (millis, accuser)) in accusations.iter().zip([(10, 7), (20, 8)]) {
        let mut payload = Payload::of(accusation);
        (0..1_000).for_each(|_| payload.push(accusation));
        swim.handle_stream(at(millis), peer(accuser), &payload.into_bytes());
        let refutation = Payload::of(&swim.core.list.own_entry()).into_bytes();
        let told = messages(swim.id(), &mut swim);
        assert!(told.contains(&(id(0), id(accuser), refutation)), "{told:?}");
        assert!(told.len() <= 64, "however often one message says it: {}", told.len());
        assert_eq!(
            swim.core.list.me().incarnation(),
            Incarnation(1),
            "one incarnation answers both"
        );
    }
}

#[test]
fn a_stall_is_remembered_for_a_while_and_lengthens_the_tolerance() {
    let mut swim = acquainted(3, Config::lan());
    let tolerance = swim.core.ctx.params.pause_tolerance;
    assert_eq!(pause_tolerance(&swim), tolerance);
    lag(&mut swim, at(1_000), Duration::from_millis(10));
    assert_eq!(
        (swim.core.senses.health.longest_stall(), swim.core.ctx.stats.stalls),
        (Duration::ZERO, 0)
    );
    lag(&mut swim, at(1_000), Duration::from_millis(2_500));
    outputs(&mut swim);
    assert!(
        swim.core.senses.health.is_impaired(at(1_499))
            && !swim.core.senses.health.is_impaired(at(1_500))
    );
    assert_eq!(pause_tolerance(&swim), Duration::from_secs(5));
    lag(&mut swim, at(31_000), Duration::from_millis(30));
    assert_eq!(pause_tolerance(&swim), Duration::from_secs(5), "of the window before");
    lag(&mut swim, at(62_000), Duration::from_millis(30));
    assert_eq!(pause_tolerance(&swim), tolerance);
    lag(&mut swim, at(63_000), Duration::from_secs(500));
    outputs(&mut swim);
    assert_eq!(pause_tolerance(&swim), swim.core.ctx.params.hang_tolerance, "no more than that");
}

#[test]
fn reports_are_kept_for_the_latest_only() {
    let mut reports = Reports::default();
    let subject = |number: u32| MemberId::from_u128(number.into());
    let report = |ended_at| Report {
        version: version(0, 0),
        began_at: Instant::START,
        ended_at,
        outcome: Outcome::Cleared { by: subject(0) },
    };
    for number in 0..5_000 {
        reports.keep(subject(number), report(at(number.into())), Vec::new());
    }
    let kept = (0..5_000).filter(|&number| reports.get(subject(number)).is_some());
    assert_eq!(kept.collect::<Vec<_>>(), (5_000 - 1_024..5_000).collect::<Vec<_>>());
}

#[test]
fn saying_something_a_thousand_times_has_no_more_effect_than_saying_it_once() {
    let (subject, version) = (id(3), version(0, 0));
    let claim = Claim { subject, version, by: id(2) };
    let tellings = [
        Part::Suspect(claim),
        Part::Dead(Verdict::unsigned(claim, Vec::new())),
        Part::Entry(Entry { state: MemberState::Dead, record: record(3, version) }),
        Part::Entry(Entry { state: MemberState::Alive, record: record(3, version) }),
    ];
    for part in tellings {
        let sent = |times: usize| {
            let mut swim = acquainted(12, Config::lan());
            swim.handle_timeout(at(10));
            outputs(&mut swim);
            let mut payload = Payload::new();
            (0..times).for_each(|_| payload.push(&part));
            swim.handle_stream(at(20), peer(2), &payload.into_bytes());
            outputs(&mut swim).len()
        };
        assert_eq!(sent(1_000), sent(1), "{part:?}");
    }
}

/// A core that has pinged a member which does not answer, and the member.
fn doubting() -> (Swim, MemberId) {
    let mut swim = acquainted(4, Config::lan());
    swim.handle_connected(at(0), peer(2));
    outputs(&mut swim);
    assert_eq!(swim.phi(at(0), id(2)), Some(0.0));
    (swim, id(2))
}

#[test]
fn phi_never_falls_between_inputs_and_comes_to_a_threshold_when_foretold() {
    let (mut swim, silent) = doubting();
    let step = Duration::from_micros(100);
    for threshold in [0.3, 0.9, 2.5, 6.0] {
        let mut now = at(0);
        let foretold = loop {
            let next = swim.poll_timeout().unwrap();
            let samples = (0..=20).map(|i| swim.phi(now + (next - now) * i / 20, silent).unwrap());
            assert!(samples.is_sorted(), "phi falls between {now} and {next}");
            match swim.phi_reaches(now, silent, threshold) {
                Some(foretold) if foretold <= next => break foretold,
                Some(_) | None => now = next,
            }
            swim.handle_timeout(now);
            outputs(&mut swim);
        };
        assert!(swim.phi(foretold, silent).unwrap() >= threshold);
        let just_before = foretold.saturating_sub(step * 2);
        assert!(foretold == now || swim.phi(just_before, silent).unwrap() < threshold);
    }
}

#[test]
fn phi_of_those_who_are_not_doubted_and_of_those_beyond_doubt() {
    let (mut swim, silent) = doubting();
    for _ in 0..20 {
        let now = swim.poll_timeout().unwrap();
        swim.handle_timeout(now);
        outputs(&mut swim);
    }
    let now = swim.poll_timeout().unwrap();
    assert!(swim.phi(now, silent).unwrap() > 1.0);
    assert_eq!(swim.phis(now).get(&silent), swim.phi(now, silent).as_ref());
    assert_eq!(swim.phi(now, swim.id()), None, "of itself");
    assert_eq!(swim.phi(now, id(99)), None, "of somebody unknown");
    swim.handle_datagram(now, peer(2), &Payload::of(&entry(2, version(0, 0))).into_bytes());
    outputs(&mut swim);
    assert_eq!(swim.phi(now, silent), Some(0.0), "it was heard");
    assert_eq!(swim.phi_reaches(now, silent, 1.0), None);
    swim.core.apply(News::State(silent, MemberState::Dead), Source::Ourselves);
    assert_eq!(swim.phi(now, silent), Some(f64::INFINITY));
    assert_eq!(swim.phi_reaches(now, silent, 1e9), Some(now));
    assert!(!swim.phis(now).contains_key(&silent));
}

#[test]
fn a_refuted_verdict_is_counted_apart_from_a_suspicion() {
    let mut swim = acquainted(3, Config::lan());
    for (state, deaths) in [(MemberState::Suspect, 0), (MemberState::Dead, 1)] {
        let mine = swim.core.list.me().record.clone();
        let said = Part::Entry(Entry { state, record: mine });
        swim.handle_stream(at(1_000), peer(1), &Payload::of(&said).into_bytes());
        outputs(&mut swim);
        assert_eq!(swim.stats().deaths_refuted, deaths, "{state:?}");
    }
    assert_eq!(swim.stats().refutations, 2);
}

#[test]
fn another_process_with_the_key_is_told_from_an_earlier_run() {
    let mut swim = acquainted(2, Config::lan());
    let mut said_elsewhere = |millis: u64, generation: u32| {
        let version = version(generation, 0);
        let statement = Statement { addrs: vec![addr(9)], ..statement(0, version) };
        let record = Record::sign(statement, &TestKeys(0));
        let part = Part::Entry(Entry { state: MemberState::Alive, record });
        swim.handle_stream(at(millis), peer(1), &Payload::of(&part).into_bytes());
        let told = outputs(&mut swim);
        told.iter().any(|output| matches!(output, Output::IdentityInUse(at) if *at == addr(9)))
    };
    assert!(!said_elsewhere(10, 4), "an earlier run");
    assert!(!said_elsewhere(20, 3), "and the one before");
    // It answers the generation 5 that was taken after 4.
    assert!(said_elsewhere(5_000, 6));
}

#[test]
fn a_later_run_of_a_newcomer_that_died_unheard_is_not_reported_dead_to_others() {
    let mut swim = acquainted(4, Config::lan());
    let tell = |swim: &mut Swim, now, part: &Part| {
        swim.handle_datagram(now, peer(1), &Payload::of(part).into_bytes());
        outputs(swim)
    };
    tell(&mut swim, at(0), &entry(9, version(0, 0)));
    swim.core.now(at(2_000)).apply(News::State(id(9), MemberState::Dead), Source::Ourselves);
    outputs(&mut swim);
    // It restarts with its key, and others hear of that first.
    let mut sent = tell(&mut swim, at(7_010), &entry(9, version(1, 0)));
    while let Some(next) = swim.poll_timeout().filter(|&next| next < at(7_500)) {
        swim.handle_timeout(next);
        sent.extend(outputs(&mut swim));
    }
    // The member itself may hear the claim against it.
    let payloads = sent.iter().filter_map(|output| match output {
        Output::Datagram { to, payload } | Output::Stream { to, payload } if to.id != id(9) => {
            Some(payload)
        }
        _ => None,
    });
    let mut parts = payloads.flat_map(|payload| decode(payload, &TestKeys(0)).unwrap().parts);
    assert!(!parts.any(|part| matches!(part, Part::Dead(_))));
}

#[test]
fn changes_of_tags_within_a_period_are_one_version_and_its_event_has_both() {
    let (mut swim, period) = (swim(0, Config::lan()), Config::lan().period);
    let start = at(10_000);
    // When which zone is set, if one is; the changes of the zone that are reported until then.
    let steps = [
        (start, Some("a"), "none to a"),
        (start + ms(1), Some("b"), ""),
        (start + ms(2), Some("c"), ""),
        (start + period, None, "a to c"),
        // Back to what the record says, before anything was announced.
        (start + period + ms(1), Some("d"), ""),
        (start + period + ms(2), Some("c"), ""),
        (start + period * 2, None, ""),
        (start + period * 3, Some("e"), "c to e"),
    ];
    let zone = |member: &Member| member.tag("zone").unwrap_or("none").to_owned();
    for (now, set, expected) in steps {
        swim.handle_timeout(now);
        let mut happened = outputs(&mut swim);
        if let Some(zone) = set {
            let mut tags = swim.profile().tags;
            tags.set("zone", zone).unwrap();
            swim.describe(now, |profile| profile.tags = tags);
            assert_eq!(swim.profile().tags.get("zone"), Some(zone), "as last set");
            happened.append(&mut outputs(&mut swim));
        }
        let updates = happened.iter().filter_map(|output| match output {
            Output::Event(Event { change: Change::Updated, member, before, .. }) => {
                Some(format!("{} to {}", zone(before.as_ref()?), zone(member)))
            }
            _ => None,
        });
        assert_eq!(updates.collect::<Vec<_>>().join(", "), expected, "at {now:?}");
    }
    assert_eq!(swim.members().me().incarnation().0, 3);
}
