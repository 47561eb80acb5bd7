//! Many members that fall silent at once.

use super::*;
use crate::wire::decode;

/// When a member fell silent, and when the others report it.
const SILENT: u64 = 20_000;
const TOLD: u64 = 21_000;

fn one_of_many() -> Swim {
    acquainted(100, Config::lan())
}

/// Takes in one part; returns what was sent, and to whom.
fn hear(swim: &mut Swim, now: Instant, part: &Part) -> Vec<(MemberId, Vec<u8>)> {
    swim.handle_stream(now, peer(99), &Payload::of(part).into_bytes());
    sent(swim)
}

fn sent(swim: &mut Swim) -> Vec<(MemberId, Vec<u8>)> {
    messages(swim.id(), swim).into_iter().map(|(_, to, payload)| (to, payload)).collect()
}

fn suspicion(node: u8) -> Part {
    Part::Suspect(Claim { subject: id(node), version: version(0, 0), by: id(99) })
}

/// The findings of all observers of a member.
fn verdict(swim: &Swim, node: u8, silence: Silence) -> Part {
    let votes = swim.core.list.rings().observers(id(node)).into_iter().map(|observer| {
        let silent_for = at(TOLD) - at(SILENT);
        (observer, Tally { phi: 6.0, silent_for, silence, attempts: 3 })
    });
    let claim = Claim { subject: id(node), version: version(0, 0), by: id(99) };
    Part::Dead(Verdict::unsigned(claim, votes.collect()))
}

fn state(swim: &Swim, node: u8) -> MemberState {
    swim.core.list.get(id(node)).unwrap().state
}

/// Fires what is due until then; returns what was sent, and to whom.
fn run(swim: &mut Swim, until: Instant) -> Vec<(MemberId, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(now) = swim.poll_timeout().filter(|&now| now <= until) {
        swim.handle_timeout(now);
        all.extend(sent(swim));
    }
    all
}

/// How many messages carry nothing but news of others.
fn pushes(sent: &[(MemberId, Vec<u8>)]) -> usize {
    let is_news = |(to, payload): &&(MemberId, Vec<u8>)| {
        let decoded = decode(payload, &TestKeys(0)).unwrap();
        decoded
            .parts
            .iter()
            .all(|part| matches!(part, Part::Suspect(claim) if claim.subject != *to))
    };
    sent.iter().filter(is_news).count()
}

#[test]
fn one_suspicion_goes_to_all_subjects_and_sixty_within_the_budget() {
    for (rings, suspects, at_least, at_most) in
        [(8, 1, 7, 8), (32, 1, 20, 32), (8, 60, 16, 16 + 2 * 12 + 12)]
    {
        let mut swim = acquainted(100, Config { rings, ..Config::lan() });
        run(&mut swim, at(SILENT));
        let mut sent = Vec::new();
        for node in 1..=suspects {
            let now = at(SILENT) + Duration::from_millis(30) * u32::from(node);
            sent.extend(run(&mut swim, now));
            sent.extend(hear(&mut swim, now, &suspicion(node)));
        }
        sent.extend(run(&mut swim, at(SILENT + 2_000)));
        let pushes = pushes(&sent);
        assert!((at_least..=at_most).contains(&pushes), "{rings} rings, {suspects}: {pushes}");
    }
}

#[test]
fn a_verdict_is_doubted_where_many_others_fell_within_the_same_silence() {
    for (others, when, silence, expected) in [
        (0, TOLD, Silence::Silent, MemberState::Dead),
        (6, TOLD, Silence::Silent, MemberState::Dead),
        (7, TOLD, Silence::Silent, MemberState::Suspect),
        (7, TOLD, Silence::Gone, MemberState::Dead),
        (7, SILENT - 1_000, Silence::Silent, MemberState::Dead),
    ] {
        let mut swim = one_of_many();
        // Neighbours of it, nor of this one, are among the others: whether it counts its voters is another question.
        let verdict = verdict(&swim, 1, silence);
        let aside =
            [swim.core.list.rings().observers(id(1)), swim.core.list.rings().subjects(swim.id())]
                .concat();
        for node in (2..99).filter(|&node| !aside.contains(&id(node))).take(others) {
            hear(&mut swim, at(when), &suspicion(node));
        }
        hear(&mut swim, at(TOLD), &verdict);
        assert_eq!(state(&swim, 1), expected, "{others} others, {silence:?}");
    }
}

#[test]
fn where_others_refuted_a_doubted_member_is_told_before_its_verdict_is_taken() {
    for has_refuted in [false, true] {
        let mut swim = one_of_many();
        let Part::Dead(verdict) = verdict(&swim, 1, Silence::Silent) else { unreachable!() };
        hear(&mut swim, at(TOLD), &suspicion(1));
        hear(&mut swim, at(TOLD), &Part::Dead(Verdict { votes: Vec::new(), ..verdict }));
        hear(&mut swim, at(TOLD), &suspicion(2));
        if has_refuted {
            hear(&mut swim, at(TOLD), &entry(2, version(0, 1)));
        }
        let claim = swim.core.detector.reports.update(at(TOLD), &swim.core.list, id(1)).unwrap();
        // No timer is fired: nobody answers here, so this member would come to doubt itself.
        let mut end_doubt = |millis| {
            swim.core.now(at(millis)).verdicts().end_pending(id(1), version(0, 0));
            swim.core.run();
            (state(&swim, 1), sent(&mut swim))
        };
        assert_eq!(end_doubt(TOLD + 1_999).0, MemberState::Suspect);
        let (then, sent) = end_doubt(TOLD + 2_000);
        assert_eq!(sent.contains(&(id(1), Payload::of(&claim).into_bytes())), has_refuted);
        assert_eq!(then, if has_refuted { MemberState::Suspect } else { MemberState::Dead });
        assert_eq!(end_doubt(TOLD + 3_000).0, MemberState::Dead, "a doubt always ends");
    }
}

#[test]
fn the_votes_of_a_doubted_verdict_count_beside_an_accusation_of_ones_own() {
    let mut swim = one_of_many();
    let subjects = swim.core.list.rings().subjects(swim.id());
    let node = (1..99).find(|&node| subjects.contains(&id(node))).unwrap();
    let Part::Dead(mut verdict) = verdict(&swim, node, Silence::Silent) else { unreachable!() };
    let observers = verdict.votes.len();
    verdict.votes.retain(|&(observer, _)| observer != swim.id());
    let abstainer = verdict.votes.last().map(|&(observer, _)| observer);
    verdict.votes.truncate(observers / 2);
    hear(&mut swim, at(TOLD), &Part::Dead(verdict));
    assert_eq!(state(&swim, node), MemberState::Suspect, "half are no majority");
    // By now the votes alone are a majority of those able to judge.
    let abstainer = abstainer.unwrap();
    swim.core.now(at(TOLD)).detect().handle_abstain(abstainer, id(node), version(0, 0));
    swim.core.run();
    // On a link that answered nothing yet a miss weighs less than 1.
    let states = [1, 2, 3, 4].map(|misses| {
        let sent_at = at(TOLD + 10 * misses);
        let now = sent_at + Duration::from_millis(500);
        swim.core.senses.health.record_answer(now);
        swim.core.now(now).detect().record_miss(id(node), sent_at);
        swim.core.run();
        swim.core.detect().judge(id(node));
        swim.core.run();
        state(&swim, node)
    });
    assert_eq!(states[..2], [MemberState::Suspect; 2], "a miss and hearsay");
    assert_eq!(states[3], MemberState::Dead, "an accusation makes the majority");
}
