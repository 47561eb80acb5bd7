use super::*;
use crate::{
    member::record::tests::{id, record, version},
    testing::{Rooms, at, member, ms, peer},
    wire::Verdict,
};

/// Says nothing.
const NOTHING: [&str; 0] = [];

fn claim(subject: u8, version: Version, by: u8) -> Claim {
    Claim { subject: id(subject), version, by: id(by) }
}

fn gossip(from: u8) -> Source {
    Source::Gossip(peer(from))
}

fn handle(rooms: &mut Rooms, forgotten: &mut Forgotten, source: Source, claim: Claim) {
    forgotten.handle_forget(&mut rooms.ctx, &rooms.list, source, claim);
}

/// A room that remembers member 1, forgotten at this version and in this state.
fn remembering(rooms: &mut Rooms, of: Version, state: MemberState) -> Forgotten {
    let mut forgotten = Forgotten::new(id(0));
    let member = Member { record: record(1, of), state, since: at(0) };
    forgotten.remember(&mut rooms.ctx, Arc::new(member));
    forgotten
}

#[test]
fn an_operator_may_have_the_departed_forgotten() {
    use MemberState::{Alive, Dead, Left, Suspect};
    let live = |is_suspect| Err(ForgetRefusal::Live { is_suspect });
    let cases = [
        (1, Alive, live(false)),
        (1, Suspect, live(true)),
        (1, Dead, Ok(())),
        (1, Left, Ok(())),
        (0, Alive, Err(ForgetRefusal::ThisNode)),
        (0, Left, Err(ForgetRefusal::ThisNode)),
    ];
    for (node, state, expected) in cases {
        let mut rooms = Rooms::of(3);
        rooms.put(node, state, 0);
        let found = forget_on_request(&mut rooms.ctx, &rooms.list, id(node));
        assert_eq!(found, expected, "n{node} {state}");
        assert_eq!(rooms.effects().len(), usize::from(found.is_ok()));
    }
    let mut rooms = Rooms::of(3);
    let found = forget_on_request(&mut rooms.ctx, &rooms.list, id(9));
    assert_eq!((found, rooms.effects().len()), (Err(ForgetRefusal::Unknown), 0));
}

#[test]
fn the_response_depends_on_what_is_known_of_the_member() {
    use MemberState::{Alive, Dead, Left, Suspect};
    // The known state and incarnation, whether the member was forgotten here, the incarnation claimed.
    let cases = [
        (Some((Dead, 1)), false, 0, Response::Ignore),
        (Some((Dead, 1)), false, 1, Response::Follow(version(0, 1))),
        (Some((Dead, 1)), false, 2, Response::Follow(version(0, 1))),
        (Some((Left, 1)), false, 1, Response::Follow(version(0, 1))),
        (Some((Alive, 1)), false, 0, Response::Ignore),
        (Some((Alive, 1)), false, 1, Response::Doubt),
        (Some((Alive, 1)), false, 2, Response::Ignore),
        (Some((Suspect, 1)), false, 1, Response::Doubt),
        (None, true, 1, Response::Ignore),
        (None, false, 1, Response::Unknown),
    ];
    for (known, is_forgotten, claimed, expected) in cases {
        let of_known = known.map(|(state, incarnation)| (state, version(0, incarnation)));
        let found = respond(of_known, is_forgotten, version(0, claimed));
        assert_eq!(found, expected, "{known:?} {is_forgotten} {claimed}");
    }
}

#[test]
fn a_dead_member_is_forgotten_on_the_claim_of_two_members_or_in_its_time() {
    use MemberState::{Dead, Left};
    const ASKS: &str = "ask host of n1: Silence";
    const FORGETS: &str = "Forgotten(n1)";
    // The member's state, whether its time is over, which members claim it one after another, what each claim does.
    let cases: &[(MemberState, bool, &[Source], &[&str])] = &[
        (Dead, false, &[gossip(2)], &[ASKS]),
        (Dead, false, &[gossip(2), gossip(2)], &[ASKS, ASKS]),
        (Dead, false, &[gossip(2), gossip(3)], &[ASKS, FORGETS]),
        (Dead, false, &[Source::Welcome(peer(2)), gossip(3)], &[ASKS, FORGETS]),
        (Dead, false, &[Source::Ourselves], &[FORGETS]),
        (Dead, true, &[gossip(2)], &[FORGETS]),
        (Left, false, &[gossip(2)], &[FORGETS]),
    ];
    for &(state, is_over, sources, expected) in cases {
        let (mut rooms, mut forgotten) = (Rooms::of(4), Forgotten::new(id(0)));
        rooms.put(1, state, 0);
        if is_over {
            rooms.ctx.now = Instant::START + rooms.ctx.params.retention;
        }
        for (&source, &expected) in sources.iter().zip(expected) {
            handle(&mut rooms, &mut forgotten, source, claim(1, version(0, 0), 2));
            let found = rooms.effects().join("; ");
            assert!(found.contains(expected), "{state} {is_over} {source:?}: {found}");
        }
        let ignored = expected.iter().filter(|&&expected| expected == ASKS).count();
        assert_eq!(rooms.ctx.stats.forgets_ignored, ignored as u64);
    }
}

#[test]
fn claims_of_another_version_do_not_count_together_and_have_a_limit() {
    let request = |node: u8, incarnation, by| Request {
        subject: id(node),
        version: version(0, incarnation),
        by: peer(by),
    };
    let mut forgotten = Forgotten::new(id(0));
    assert!(!forgotten.confirm(request(1, 0, 2)));
    assert!(!forgotten.confirm(request(1, 1, 3)));
    assert!(!forgotten.confirm(request(2, 0, 3)));
    assert!(forgotten.confirm(request(1, 0, 3)));
    for incarnation in 2..=254 {
        forgotten.confirm(request(1, incarnation, 2));
    }
    assert_eq!(forgotten.requests.len(), MAX_REQUESTS);
    assert!(forgotten.confirm(request(1, 0, 3)), "the limit is reached, not exceeded");
    forgotten.confirm(request(1, 255, 2));
    assert_eq!(forgotten.requests.len(), MAX_REQUESTS);
    assert!(!forgotten.confirm(request(1, 0, 3)), "the first gave way");
}

#[test]
fn the_word_of_its_host_confirms_that_a_dead_member_was_forgotten() {
    use MemberState::{Alive, Dead};
    // The state of the member when its host answers, the incarnation, whether it is forgotten.
    for (state, incarnation, expected) in [(Dead, 0, true), (Alive, 0, false), (Dead, 1, false)] {
        let (mut rooms, mut forgotten) = (Rooms::of(4), Forgotten::new(id(0)));
        rooms.put(1, Dead, 0);
        handle(&mut rooms, &mut forgotten, gossip(2), claim(1, version(0, 0), 2));
        rooms.effects();
        let record = record(1, version(0, incarnation));
        rooms.list.put(Member { record, state, since: at(0) });
        forgotten.confirm_gone(&mut rooms.ctx, &rooms.list, id(1));
        assert_eq!(!rooms.effects().is_empty(), expected, "{state} {incarnation}");
    }
    let (mut rooms, mut forgotten) = (Rooms::of(4), Forgotten::new(id(0)));
    rooms.put(1, Dead, 0);
    forgotten.confirm_gone(&mut rooms.ctx, &rooms.list, id(1));
    assert_eq!(rooms.effects(), NOTHING, "nobody asked");
}

#[test]
fn a_claim_that_this_node_was_forgotten_is_refuted_and_one_about_a_live_member_examined() {
    let (mut rooms, mut forgotten) = (Rooms::of(3), Forgotten::new(id(0)));
    for (subject, expected) in [(0, "RefuteDeath"), (1, "DeathElsewhere")] {
        handle(&mut rooms, &mut forgotten, gossip(2), claim(subject, version(0, 0), 2));
        let found = rooms.effects().join("; ");
        assert!(found.starts_with(expected), "{found}");
    }
    handle(&mut rooms, &mut forgotten, gossip(2), claim(9, version(0, 0), 2));
    assert_eq!((rooms.effects().len(), rooms.ctx.stats.unknown_subjects), (0, 1));
}

#[test]
fn news_of_a_forgotten_member_is_answered_and_goes_no_further() {
    use MemberState::{Alive, Dead};
    let entry = |state, incarnation| {
        Part::Entry(Entry { state, record: record(1, version(0, incarnation)) })
    };
    let claim = |incarnation| claim(1, version(0, incarnation), 2);
    let dead = |incarnation| Part::Dead(Verdict::unsigned(claim(incarnation), Vec::new()));
    let (shows, has_forgotten) = ("entry n1 v0.3 dead", "forget n1 v0.3 by=n0");
    // The sender and its message; the response; whether the message goes no further.
    let cases = [
        (2, entry(Alive, 3), shows, true),
        (2, entry(Alive, 2), shows, true),
        (2, entry(Alive, 4), "", false),
        (2, entry(Dead, 3), has_forgotten, true),
        (2, Part::Suspect(claim(3)), shows, true),
        (2, Part::Suspect(claim(4)), "", false),
        (2, dead(3), has_forgotten, true),
        (2, dead(4), "", false),
        (2, Part::Forget(claim(3)), "", false),
        // The member itself is new.
        (1, entry(Alive, 3), shows, false),
        (1, entry(Dead, 3), has_forgotten, true),
    ];
    for (from, part, expected, is_stopped) in cases {
        let mut rooms = Rooms::of(3);
        let mut forgotten = remembering(&mut rooms, version(0, 3), Dead);
        let mut budget = ListBudget::new(rooms.ctx.now);
        let found = forgotten.stops(&mut rooms.ctx, &mut budget, peer(from), &part);
        assert_eq!(found, is_stopped, "n{from} {part:?}");
        let sent = rooms.effects().join("; ");
        assert_eq!(sent.strip_prefix(&format!("to n{from}: ")).unwrap_or_default(), expected);
        let is_remembered = from != 1 || is_stopped;
        assert_eq!(forgotten.entry(id(1)).is_some(), is_remembered);
    }
}

#[test]
fn answers_about_forgotten_members_are_limited_but_their_news_stops_nevertheless() {
    let mut rooms = Rooms::of(3);
    let mut forgotten = remembering(&mut rooms, version(0, 0), MemberState::Dead);
    let mut budget = ListBudget::new(rooms.ctx.now);
    let part = Part::Suspect(claim(1, version(0, 0), 2));
    for _ in 0..100 {
        assert!(forgotten.stops(&mut rooms.ctx, &mut budget, peer(2), &part));
    }
    assert_eq!(rooms.effects().len(), 64);
}

#[test]
fn the_departed_are_forgotten_in_their_time_and_so_is_that_they_were() {
    use MemberState::{Alive, Dead, Left};
    let (mut rooms, mut forgotten) = (Rooms::of(1), Forgotten::new(id(0)));
    let retention = rooms.ctx.params.retention;
    let start = at(10_000);
    rooms.put(0, Left, 0);
    for (node, state, since) in [(1, Dead, 0), (2, Alive, 0), (3, Left, 5_000), (4, Dead, 9_000)] {
        rooms.put(node, state, 10_000 + since);
    }
    forgotten.plan(&mut rooms.ctx);
    // After how many hundredths of the retention, which members are forgotten, how many are remembered.
    let cases: [(u32, &[u8], usize); 4] =
        [(100, &[1], 1), (101, &[3, 4], 3), (200, &[], 2), (201, &[], 0)];
    for (after, expected, remembered) in cases {
        rooms.ctx.now = start + retention / 100 * after;
        while rooms.ctx.timers.pop_due(rooms.ctx.now).is_some() {}
        forgotten.sweep(&mut rooms.ctx, &rooms.list);
        let mut found = Vec::new();
        while let Some(effect) = rooms.ctx.next_effect() {
            let crate::ctx::Effect::Step(step) = effect else { panic!("{effect:?}") };
            match step {
                Step::Apply { news: News::Forgotten(id), .. } => {
                    found.push(id);
                    let member = rooms.list.remove(id).unwrap();
                    forgotten.remember(&mut rooms.ctx, member);
                }
                Step::PlanSweep => forgotten.plan_next_sweep(&mut rooms.ctx, &rooms.list),
                other => panic!("{other:?}"),
            }
        }
        found.sort_unstable();
        let mut expected: Vec<_> = expected.iter().map(|&node| id(node)).collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "after {after}");
        assert_eq!(forgotten.members.len(), remembered, "after {after}");
        let sweep_at = rooms.ctx.timers.next();
        assert_eq!(sweep_at.is_some(), remembered > 0, "after {after}");
        // Members that died at almost the same time are forgotten together.
        assert!(sweep_at.is_none_or(|at| at - rooms.ctx.now >= retention / 100), "{sweep_at:?}");
    }
}

#[test]
fn a_sweep_before_its_time_does_nothing() {
    let (mut rooms, mut forgotten) = (Rooms::of(1), Forgotten::new(id(0)));
    rooms.put(1, MemberState::Dead, 0);
    forgotten.sweep(&mut rooms.ctx, &rooms.list);
    forgotten.plan(&mut rooms.ctx);
    rooms.ctx.now = rooms.ctx.now + (rooms.ctx.params.retention - ms(1));
    forgotten.sweep(&mut rooms.ctx, &rooms.list);
    assert_eq!(rooms.effects(), NOTHING);
}

#[test]
fn a_member_is_remembered_once_and_so_many_are_of_which_the_first_gives_way() {
    let (mut rooms, mut forgotten) = (Rooms::of(1), Forgotten::new(id(0)));
    // There are fewer test keys than members that are remembered.
    let known = Arc::new(member(1, MemberState::Left, 0));
    for number in 1..=MAX_FORGOTTEN as u64 {
        let id = MemberId::from_u128(number.into());
        forgotten.members.insert(id, Arc::clone(&known));
        forgotten.by_age.insert((at(number), id));
    }
    for (node, first) in [(1, 2), (1, 3), (2, 3)] {
        forgotten.remember(&mut rooms.ctx, Arc::new(member(node, MemberState::Left, 0)));
        assert_eq!(forgotten.oldest(), Some(at(first)));
    }
    assert_eq!((forgotten.members.len(), forgotten.by_age.len()), (MAX_FORGOTTEN, MAX_FORGOTTEN));
    assert_eq!(rooms.ctx.stats.forgotten_dropped, 2);
}
