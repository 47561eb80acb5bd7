use super::*;
use crate::{
    Config, OfficeState, ServingState,
    testing::{ms, net::Net, peer},
};

fn office() -> Office {
    "o".parse().unwrap()
}

fn rules(expected: u16) -> OfficeRules {
    OfficeRules::new("".parse().unwrap(), Some(expected))
}

impl Net {
    fn stand(&mut self, node: u8, rules: OfficeRules) {
        self.nodes[usize::from(node)].leading(self.now).stand(office(), rules).unwrap();
        self.drain(node);
    }

    /// The nodes that hold the office by now, each with its term.
    fn holders(&self) -> Vec<(u8, u64)> {
        let states =
            (0..).zip(&self.nodes).map(|(node, swim)| (node, swim.offices().get(&office())));
        let holding = states.filter_map(|(node, state)| match state {
            OfficeState::Holding { token, .. } => Some((node, token.0)),
            OfficeState::Following { .. } | OfficeState::Vacant(_) => None,
        });
        holding.collect()
    }

    /// Runs until a node holds the office, and returns how long that took.
    fn run_until_held(&mut self, most: u64) -> u64 {
        let held = (0..most / 10).find(|_| {
            self.run(ms(10));
            !self.holders().is_empty()
        });
        held.expect("somebody holds the office") * 10
    }

    /// The events of the office at a node since this was last called.
    fn told(&mut self, node: u8) -> Vec<String> {
        let (told, others) = self.offices.drain(..).partition(|(_, at, _)| *at == node);
        self.offices = others;
        let told: Vec<_> = told;
        let numbers = |member| (0..=u8::MAX).find(|&node| peer(node).id == member).unwrap();
        let words = told.into_iter().filter_map(|(.., event)| match event {
            OfficeEvent::Elected { token, .. } => Some(format!("elected {token}")),
            OfficeEvent::Renewed { .. } => None,
            OfficeEvent::Lost { token, why, .. } => Some(format!("lost {token} {}", why.as_str())),
            OfficeEvent::Following { member, token, .. } => {
                Some(format!("following n{} {token}", numbers(member)))
            }
            OfficeEvent::Vacant { why, .. } => Some(format!("vacant {}", why.as_str())),
        });
        words.collect()
    }
}

/// Three nodes of which the first holds the office, and the second stands for it.
fn led() -> Net {
    let mut net = Net::new(3);
    net.stand(0, rules(3));
    net.run_until_held(2_000);
    net.stand(1, rules(3));
    net.run(ms(1_000));
    assert_eq!(net.holders(), [(0, 1)]);
    net.offices.retain(|(_, node, _)| *node == 9);
    net
}

#[test]
fn one_candidate_is_elected_and_all_follow_it() {
    let mut net = Net::new(3);
    (0..3).for_each(|node| net.stand(node, rules(3)));
    net.run(ms(5_000));
    let holders = net.holders();
    let [(leader, token)] = holders[..] else { panic!("{holders:?}") };
    for node in 0..3 {
        let told = net.told(node);
        let expected = match node == leader {
            true => format!("elected {token}"),
            false => format!("following n{leader} {token}"),
        };
        assert_eq!(told.last(), Some(&expected), "n{node}: {told:?}");
    }
    assert_eq!(
        net.nodes[0].data().get(peer(leader).id, "phin/leader/o").map(|v| v.to_vec()),
        Some(token.to_string().into_bytes())
    );
}

#[test]
fn the_holder_stays_and_its_lease_is_renewed() {
    let mut net = led();
    net.run(ms(60_000));
    assert_eq!(net.holders(), [(0, 1)]);
    let renewed = net.offices.iter().filter(|(_, node, _)| *node == 0).count();
    assert!((100..=130).contains(&renewed), "about twice a second: {renewed}");
    let OfficeState::Holding { valid_until, .. } = net.nodes[0].offices().get(&office()) else {
        panic!("it holds the office");
    };
    let remaining = valid_until - net.now;
    assert!(remaining > ms(1_250) && remaining <= ms(1_800), "{remaining:?}");
    assert_eq!(net.stats(1).office_campaigns, 0);
}

#[test]
fn a_cut_off_holder_has_lost_the_office_before_another_takes_it() {
    let mut net = led();
    let began_at = net.now;
    net.split(&[0]);
    net.run_until_held(1_000);
    net.run(ms(4_000));
    assert_eq!(net.holders(), [(1, 2)]);
    let at = |node: u8, is: fn(&OfficeEvent) -> bool| {
        net.offices.iter().find(|(_, n, event)| *n == node && is(event)).unwrap().0
    };
    let lost = at(0, |event| matches!(event, OfficeEvent::Lost { why: LostReason::LeaseLost, .. }));
    let elected = at(1, |event| matches!(event, OfficeEvent::Elected { .. }));
    assert!(lost < elected && elected - began_at <= ms(3_000), "{lost} {elected}");
    net.heal();
    net.run(ms(20_000));
    assert_eq!(net.holders(), [(1, 2)]);
    assert_eq!(net.told(0).last().unwrap(), "following n1 2");
}

#[test]
fn a_holder_that_was_stopped_reports_the_loss_before_anything_else() {
    let mut net = led();
    let until = net.now + ms(10_000);
    let swim = &mut net.nodes[0];
    swim.handle_connected(until, peer(2));
    let first = swim.poll_output();
    assert!(
        matches!(&first, Some(Output::Office(OfficeEvent::Lost { token: Term(1), .. }))),
        "{first:?}"
    );
}

#[test]
fn who_resigns_drains_or_leaves_is_followed_within_half_a_second() {
    type End = fn(&mut Net);
    let ends: [(End, &str); 3] = [
        (|net| _ = net.nodes[0].leading(net.now).resign(&office()), "lost 1 resigned"),
        (
            |net| net.nodes[0].describe(net.now, |mine| mine.serving = ServingState::Draining),
            "lost 1 draining",
        ),
        (|net| _ = net.nodes[0].leave(net.now), "lost 1 left"),
    ];
    for (end, expected) in ends {
        let mut net = led();
        end(&mut net);
        net.drain(0);
        assert_eq!(net.told(0)[0], expected);
        assert_eq!(net.holders(), []);
        assert!(net.run_until_held(1_000) <= 500, "{expected}");
        assert_eq!(net.holders(), [(1, 2)], "{expected}");
    }
}

#[test]
fn all_agree_why_an_office_is_vacant_after_a_resignation() {
    let mut net = Net::new(3);
    net.stand(0, rules(3));
    net.run_until_held(2_000);
    net.run(ms(1_000));
    net.nodes[0].leading(net.now).resign(&office());
    net.drain(0);
    net.run(ms(1_000));
    assert_eq!(
        net.told(0),
        ["vacant never-held", "elected 1", "lost 1 resigned", "vacant released"]
    );
    for swim in &net.nodes {
        assert_eq!(swim.offices().get(&office()), OfficeState::Vacant(Vacancy::Released));
    }
    // A candidate that resigns before anyone held the office has no obstacle any more.
    let mut net = Net::new(3);
    net.stand(0, OfficeRules::default());
    net.run(ms(1_000));
    net.nodes[0].leading(net.now).resign(&office());
    net.drain(0);
    assert_eq!(net.told(0), ["vacant never-held", "vacant not-settled", "vacant never-held"]);
}

#[test]
fn a_minority_elects_nobody_and_says_why() {
    let mut net = Net::new(3);
    net.split(&[0]);
    net.run(ms(8_000));
    net.stand(0, rules(3));
    net.run(ms(10_000));
    assert_eq!((net.holders(), net.stats(0).office_campaigns), (vec![], 0));
    let told = net.told(0);
    assert!(
        ["vacant isolated", "vacant no-majority"].contains(&&**told.last().unwrap()),
        "{told:?}"
    );
    // A majority that is alive here, and does not answer.
    let mut net = Net::new(3);
    net.is_lost = Box::new(|_, _, payload| {
        crate::testing::net::is_part(payload, |part| matches!(part, Part::LeadAsk(_)))
    });
    net.stand(0, rules(3));
    net.run(ms(2_000));
    assert_eq!(net.told(0).last().unwrap(), "vacant no-majority");
    assert!(net.stats(0).office_campaigns > 2);
}

#[test]
fn more_voters_than_expected_elect_nobody() {
    let mut net = Net::new(4);
    net.stand(0, rules(3));
    net.run(ms(3_000));
    assert_eq!(net.told(0).last().unwrap(), "vacant too-many-voters");
    assert_eq!(net.holders(), []);
    net.nodes[0].leading(net.now).stand(office(), rules(4)).unwrap();
    net.drain(0);
    net.run_until_held(3_000);
}

#[test]
fn a_promise_that_is_not_kept_is_no_vote() {
    let mut net = Net::new(3);
    net.keeps = false;
    net.stand(0, rules(3));
    net.run(ms(5_000));
    assert_eq!(net.holders(), []);
    assert!(net.unkept.len() > 2);
}

#[test]
fn an_office_without_a_number_of_voters_needs_members_that_stay() {
    let mut net = Net::new(3);
    net.stand(0, OfficeRules::default());
    net.run(ms(1_000));
    assert_eq!(
        (net.holders(), &*net.told(0).last().unwrap().clone()),
        (vec![], "vacant not-settled")
    );
    net.run_until_held(8_000);
    // A node that knows no other may not have found them yet.
    let mut alone = Net::new(1);
    alone.stand(0, OfficeRules::default());
    alone.run(ms(20_000));
    assert_eq!(alone.told(0).last().unwrap(), "vacant not-settled");
    alone.nodes[0].leading(alone.now).stand(office(), rules(1)).unwrap();
    alone.drain(0);
    alone.run_until_held(3_000);
}

#[test]
fn other_rules_are_refused_while_a_lease_runs() {
    let mut net = led();
    net.stand(2, OfficeRules::new("role!=x".parse().unwrap(), Some(3)));
    net.run(ms(5_000));
    assert_eq!(net.holders(), [(0, 1)]);
    // It follows the holder, whose lease its own vote knows.
    let (member, token) = (peer(0).id, Term(1));
    let state = net.nodes[2].offices().get(&office());
    assert_eq!(state, OfficeState::Following { member, token });
}

/// A candidate among three voters whose requests do not arrive. Node 1 answers each in its place.
fn lied_to(promised: u64, remaining: Duration, rounds: u32) -> Net {
    let mut net = Net::new(3);
    net.is_lost = Box::new(|_, _, payload| {
        crate::testing::net::is_part(payload, |part| matches!(part, Part::LeadAsk(_)))
    });
    net.stand(0, rules(3));
    for _ in 0..rounds {
        net.run(ms(10));
        let core = &mut net.nodes[0].core;
        let candidacy = core.leadership.candidacies.get_mut(&office()).unwrap();
        let term = candidacy.ballot().map_or(Term(0), |ballot| ballot.term);
        let refusal = Refusal { why: Why::Held, promised: Term(promised), remaining };
        let sequence = core.leadership.sequence;
        let answer = LeadAnswer { office: office(), term, sequence, result: Err(refusal) };
        let payload = Payload::of(&Part::LeadAnswer(answer));
        net.nodes[0].handle_datagram(net.now, peer(1), &payload.into_bytes());
        net.drain(0);
    }
    net
}

#[test]
fn a_raised_term_is_believed_once_in_a_campaign() {
    let net = lied_to(u64::MAX, ms(0), 1_000);
    let campaigns = net.stats(0).office_campaigns;
    let told = net.nodes[0].core.leadership.candidacies[&office()].told.0;
    assert!(campaigns > 2 && told > MAX_TOLD_STEP, "{campaigns} campaigns, {told}");
    assert!(told <= (campaigns + 1) * (MAX_TOLD_STEP + 1), "{campaigns} campaigns, {told}");
    // A member that was not asked is not believed at all.
    let mut net = lied_to(0, ms(0), 0);
    net.run(ms(1_000));
    let refusal = Refusal { why: Why::TermTooLow, promised: Term(u64::MAX), remaining: ms(0) };
    let answer = LeadAnswer {
        office: office(),
        term: Term(1),
        sequence: crate::Sequence(99),
        result: Err(refusal),
    };
    let payload = Payload::of(&Part::LeadAnswer(answer)).into_bytes();
    net.nodes[0].handle_datagram(net.now, peer(1), &payload);
    assert!(net.nodes[0].core.leadership.candidacies[&office()].told.0 < 10);
}

#[test]
fn a_candidate_waits_for_a_majority_and_not_for_the_longest_lease() {
    let electorate = Electorate { live: (0..5).map(peer).collect(), alive: 5, size: 5, needed: 3 };
    // The waits that refusals state, in milliseconds, and how long the candidate waits.
    let cases: [(&[u64], u64); 7] = [
        (&[], 0),
        (&[60_000], 0),
        (&[60_000, 60_000], 0),
        (&[1_000, 1_200, 60_000], 1_000),
        (&[1_000, 60_000, 1_200, 1_100], 1_100),
        (&[1_000, 60_000, 1_200, 1_100, 0], 1_100),
        (&[60_000, 60_000, 60_000, 1_000, 0], 60_000),
    ];
    for (waits, expected) in cases {
        let mut ballot = Ballot::new(Term(1), crate::Generation(0));
        ballot.record_ask(crate::Sequence(1), crate::testing::at(0));
        for (node, wait) in (0..).zip(waits) {
            let refusal = Refusal { why: Why::Held, promised: Term(0), remaining: ms(*wait) };
            let (office, term, sequence) = (office(), Term(1), crate::Sequence(1));
            let answer = LeadAnswer { office, term, sequence, result: Err(refusal) };
            assert!(ballot.record(peer(node).id, &answer));
        }
        assert_eq!(electorate.wait(&ballot), ms(expected), "{waits:?}");
    }
    // A single liar of three delays nothing for a minute.
    let net = lied_to(0, ms(60_000), 600);
    assert!(net.stats(0).office_campaigns > 2);
}

#[test]
fn what_cannot_be_stood_for_is_refused_at_the_call() {
    let mut net = Net::new(1);
    let now = net.now;
    let mut stand = |name: &str, expected| {
        let rules = OfficeRules::new("".parse().unwrap(), expected);
        let result = net.nodes[0].leading(now).stand(name.parse().unwrap(), rules);
        while net.nodes[0].poll_output().is_some() {}
        result
    };
    assert_eq!(stand("o", Some(0)), Err(StandError::NoVoters));
    assert_eq!(stand("o", Some(65)), Err(StandError::TooManyVoters { voters: 65 }));
    for number in 0..MAX_CANDIDACIES {
        assert_eq!(stand(&format!("o{number}"), Some(64)), Ok(()));
    }
    assert_eq!(stand("o", Some(3)), Err(StandError::TooManyOffices { max: 64 }));
    assert_eq!(stand("o1", Some(3)), Ok(()), "it has an office to give for it");
    net.nodes[0].leave(now);
    while net.nodes[0].poll_output().is_some() {}
    let stand = net.nodes[0].leading(now).stand(office(), rules(3));
    assert_eq!(stand, Err(StandError::Left));
}

#[test]
fn a_node_without_offices_sets_no_timer_and_sends_nothing_about_them() {
    let (mut net, config) = (Net::new(3), Config::lan());
    net.run(ms(10_000));
    assert_eq!(config.leadership_lease, ms(2_000));
    for node in 0..3 {
        let stats = net.stats(node);
        assert_eq!((stats.office_asks, stats.office_campaigns), (0, 0));
        assert!(net.nodes[usize::from(node)].offices().iter().next().is_none());
    }
    assert_eq!(net.offices, []);
}
