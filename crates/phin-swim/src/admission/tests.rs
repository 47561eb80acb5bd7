use super::*;
use crate::{
    Config, Member,
    member::record::tests::{id, record, version},
    step::Source,
    testing::{Rooms, at, peer},
    wire::Sequence,
};

/// The rooms that admission works on.
struct Gate {
    rooms: Rooms,
    joins: Joins,
    departure: Departure,
    budget: ListBudget,
    newcomers: Newcomers,
    undecided: Undecided,
}

impl Gate {
    /// A node that asks its application, with a list of so many members and room for one more.
    fn new(members: u8) -> Self {
        let max_members = usize::from(members) + 1;
        Self::with(members, Config { ask_application: true, max_members, ..Config::lan() })
    }

    fn with(members: u8, config: Config) -> Self {
        let rooms = Rooms::with(members, config);
        let budget = ListBudget::new(rooms.ctx.now);
        let (joins, departure, undecided) = Default::default();
        Self { rooms, joins, departure, budget, newcomers: Newcomers::default(), undecided }
    }

    fn admission(&mut self) -> Admission<'_> {
        let Self { rooms, joins, departure, budget, newcomers, undecided } = self;
        Admission {
            ctx: &mut rooms.ctx,
            list: &rooms.list,
            joins,
            departure,
            newcomers,
            expulsions: &rooms.expulsions,
            budget,
            own: undecided,
        }
    }

    /// Member 1 sends the record of another one; returns whether it is accepted at once.
    fn tell(&mut self, node: u8, state: MemberState) -> bool {
        let (Rooms { ctx, list, .. }, source) = (&mut self.rooms, Source::Gossip(peer(1)));
        let record = record(node, version(0, 0));
        self.newcomers.takes_news(ctx, list, source, &record, state)
    }

    fn leave(&mut self) {
        let Rooms { ctx, list, senses, .. } = &mut self.rooms;
        self.departure.start(ctx, list, &mut senses.pings, self.joins.asked());
        self.rooms.effects();
    }

    /// The effect of a request to join that arrives beside these parts.
    fn join(&mut self, node: u8, beside: Part) -> String {
        let is_answered = self.admission().handle_join(peer(node), &[Part::Join, beside]);
        let effects = self.rooms.effects();
        assert!(!is_answered || effects.is_empty());
        if is_answered { "answer".to_owned() } else { effects.join("; ") }
    }

    fn decide(&mut self, node: u8, decision: Result<(), &str>) -> (bool, String) {
        let decided = self.admission().decide(id(node), decision.map_err(str::to_owned));
        (decided.is_some(), self.rooms.effects().join("; "))
    }
}

fn entry(node: u8, generation: u32) -> Part {
    let record = record(node, version(generation, 0));
    Part::Entry(Entry { state: MemberState::Alive, record })
}

fn refused(node: u8, refusal: JoinRefusal) -> String {
    format!("by stream to n{node}: join-reply refused: {refusal}")
}

/// Whether this is the question to the application.
fn is_question(effect: &str) -> bool {
    effect.starts_with("Newcomer { from: ")
}

#[test]
fn a_node_is_unadmitted_that_is_neither_known_nor_asked_where_the_application_decides() {
    // Whether the application decides, which node, whether it is unadmitted.
    for (ask_application, node, expected) in
        [(true, 9, true), (true, 1, false), (true, 7, false), (false, 9, false)]
    {
        let mut gate = Gate::with(3, Config { ask_application, ..Config::lan() });
        gate.joins.ask(&mut gate.rooms.ctx, &gate.rooms.list, peer(7));
        assert_eq!(gate.admission().is_unadmitted(id(node)), expected, "n{node}");
    }
}

#[test]
fn an_unadmitted_node_is_answered_its_pings_and_its_departure_and_nothing_else() {
    let mut gate = Gate::new(2);
    let leave = Part::Leave { sequence: Sequence(4) };
    let pulse = gate.rooms.probe().pulse(Sequence(3));
    assert!(is_question(&gate.join(9, entry(9, 0))));
    // The parts sent, the effect, and the number of parts dropped.
    let cases = [
        (Part::Ping(pulse), "AckOnly { to: n9, channel: Datagram, sequence: Sequence(3) }", 0),
        (entry(9, 0), "", 1),
        (leave.clone(), "to n9: leave-ack seq=4", 1),
        (leave, "", 2),
        (Part::Want(vec![id(1)]), "", 3),
    ];
    for (part, expected, dropped) in cases {
        gate.admission().handle_unadmitted(peer(9), Channel::Datagram, &part);
        assert_eq!(gate.rooms.effects().join("; "), expected, "{part:?}");
        assert_eq!(gate.rooms.ctx.stats.unadmitted_parts, dropped, "{part:?}");
    }
    assert_eq!(gate.rooms.ctx.stats.unknown_senders, 1);
    assert_eq!(gate.decide(9, Ok(())), (false, String::new()), "it has left");
}

#[test]
fn a_join_is_answered_at_once_put_to_the_application_or_refused() {
    let forged = || {
        let Part::Entry(Entry { record, .. }) = entry(8, 0) else { unreachable!() };
        let statement = record.statement();
        let record = Record::sign(statement, &crate::member::record::tests::TestKeys(9));
        let mut body = record.body().to_vec();
        *body.last_mut().unwrap() ^= 1;
        let record = Record::decode(&body, record.signature(), &*Gate::new(1).rooms.ctx.keys);
        Part::Entry(Entry { state: MemberState::Alive, record: record.unwrap() })
    };
    let mut gate = Gate::new(3);
    assert_eq!(gate.join(1, entry(1, 0)), "answer", "it is known");
    assert_eq!(gate.join(9, entry(8, 0)), refused(9, JoinRefusal::NotUnderstood), "of another");
    assert_eq!(gate.join(9, Part::Join), refused(9, JoinRefusal::NotUnderstood), "no record");
    assert_eq!(gate.join(9, forged()), refused(9, JoinRefusal::NotUnderstood), "forged");
    assert_eq!(gate.rooms.ctx.stats.forged_records, 1);
    assert!(is_question(&gate.join(9, entry(9, 0))));
    assert_eq!(gate.join(9, entry(9, 0)), "", "it is asked once");
    assert_eq!(gate.join(9, entry(9, 1)), refused(9, JoinRefusal::Busy), "a later run waits");
    gate.rooms.put(4, MemberState::Dead, 0);
    assert_eq!(gate.join(8, entry(8, 0)), refused(8, JoinRefusal::Full));
    assert_eq!(gate.rooms.ctx.stats.members_refused, 1);
    gate.leave();
    assert_eq!(gate.join(1, entry(1, 0)), refused(1, JoinRefusal::Leaving));
    let mut gate = Gate::with(3, Config::lan());
    assert_eq!(gate.join(9, entry(9, 0)), "answer", "nobody is asked");
}

#[test]
fn joins_are_charged_and_refused_beyond_the_budget() {
    let mut gate = Gate::with(1, Config::lan());
    let mut served = 0_u64;
    while gate.join(9, entry(9, 0)) == "answer" {
        served += 1;
    }
    // A second of 64 MiB, and what rounding to nanoseconds leaves.
    let expected = 64 * 1024 * 1024 / MIN_COST_BYTES as u64;
    assert!((expected..expected + 2).contains(&served), "{served}");
    assert_eq!(gate.join(9, entry(9, 0)), refused(9, JoinRefusal::Busy));
    assert_eq!(gate.rooms.ctx.stats.joins_busy, 2);
}

#[test]
fn the_application_decides_on_so_many_at_a_time() {
    let mut gate = Gate::new(1);
    for node in 1..=64 {
        assert!(is_question(&gate.join(node, entry(node, 0))), "n{node}");
    }
    assert_eq!(gate.join(65, entry(65, 0)), refused(65, JoinRefusal::Busy));
    gate.decide(1, Err("no"));
    assert!(is_question(&gate.join(65, entry(65, 0))));
}

#[test]
fn a_decision_counts_unless_another_member_has_admitted_the_node_or_this_one_leaves() {
    let not_admitted = refused(9, JoinRefusal::NotAdmitted("no".to_owned()));
    let leaving = refused(9, JoinRefusal::Leaving);
    // Whether the node is known meanwhile, whether this one leaves, the decision; whether it is admitted, and what is sent.
    let cases = [
        (false, false, Ok(()), (true, "")),
        (true, false, Ok(()), (true, "")),
        (false, false, Err("no"), (false, &*not_admitted)),
        (true, false, Err("no"), (true, "")),
        (false, true, Ok(()), (false, &*leaving)),
        (true, true, Ok(()), (false, &*leaving)),
        (false, true, Err("no"), (false, &*leaving)),
    ];
    for (is_known, is_leaving, decision, (is_admitted, sent)) in cases {
        let mut gate = Gate::new(1);
        gate.join(9, entry(9, 0));
        if is_known {
            gate.rooms.put(9, MemberState::Alive, 0);
        }
        if is_leaving {
            gate.leave();
        }
        let found = gate.decide(9, decision);
        assert_eq!(found, (is_admitted, sent.to_owned()), "{is_known} {is_leaving} {decision:?}");
        assert_eq!(gate.decide(9, Ok(())), (false, String::new()), "it counts once");
    }
}

#[test]
fn a_node_in_the_list_is_sent_it_and_one_that_was_not_taken_in_the_reason() {
    let mut gate = Gate::new(2);
    gate.admission().answer(peer(9));
    assert_eq!(gate.rooms.effects(), [refused(9, JoinRefusal::NotUnderstood)]);
    let gone = Member { record: record(2, version(0, 0)), state: MemberState::Dead, since: at(0) };
    gate.rooms.list.put(gone);
    gate.admission().answer(peer(9));
    assert_eq!(gate.rooms.effects(), [refused(9, JoinRefusal::Full)]);
    gate.admission().answer(peer(1));
    let sent = gate.rooms.effects().remove(0);
    let entries = ["entry n0 v0.0 alive", "entry n1 v0.0 alive", "entry n2 v0.0 dead"];
    let is_first = sent.starts_with("by stream to n1: join-reply admitted; entry n0 v0.0 alive; ");
    assert!(is_first && entries.iter().all(|entry| sent.matches(entry).count() == 1), "{sent}");
}

/// A gate after member 1 reported the death of member 5, which nobody here ever received from.
fn with_ghost() -> Gate {
    let mut gate = Gate::with(2, Config { ask_application: true, ..Config::lan() });
    assert!(gate.tell(5, MemberState::Dead));
    gate
}

#[test]
fn a_newcomer_that_is_pinged_before_it_is_taken_in_is_heard() {
    let mut gate = with_ghost();
    assert!(gate.admission().is_unadmitted(id(5)));
    assert!(!gate.tell(5, MemberState::Alive));
    assert!(!gate.admission().is_unadmitted(id(5)));
}

#[test]
fn joiners_are_not_told_of_members_gone_before_they_were_heard() {
    let mut gate = with_ghost();
    gate.rooms.put(5, MemberState::Dead, 0);
    gate.rooms.put(6, MemberState::Dead, 0);
    gate.admission().answer(peer(1));
    let told = gate.rooms.effects().join("; ");
    assert!(told.contains("entry n6") && !told.contains("entry n5"), "{told}");
}
