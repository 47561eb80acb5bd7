//! The messages of liars can be decoded, and name the right observers.

use std::sync::Arc;

use super::*;
use crate::{
    network::NetworkConfig,
    node::{Knowledge, Promises, Protocol, Start, secs},
    phin::Phin,
    simulation::{Setup, Simulation},
};

/// The messages of a liar among twelve about member 3 in some turns, in the words of traces, with their receivers.
fn words(lie: Lie) -> Vec<(NodeId, String)> {
    let phin = Phin::new("phin", phin_swim::Config::lan(), 7, 12).unwrap();
    let (node, now) = (NodeId(0), Instant::START);
    let (generation, knowledge) = (Generation(1), Knowledge::Everyone);
    let promises = Promises::default();
    let (host, statements) = (HostId(0), Vec::new());
    let start = Start { node, host, generation, now, rng_seed: 1, knowledge, promises, statements };
    let (about, every, lasts) = (vec![NodeId(3)], millis(50), millis(1_000));
    let lies = Lies { lie, liars: vec![NodeId(0)], about, every, count: 100, lasts };
    let begins = now + millis(1);
    let mut liar = phin.lie(phin.start(start), node, lies, begins);
    let mut actions = Vec::new();
    // It has received a change of two keys and a message to all, which are no lies of its own.
    let id = SimKeys { node: NodeId(3), seed: 7 }.id();
    let changes = [("a", 1_u64, Bin(b"x")), ("b", 1, Bin(b"y"))];
    let body = (id, Generation(1), 0_u64, 1_u64, changes, Bin(&[0; 64]));
    let content = ("t0", "", None::<&str>, Bin(b"x"));
    let numbers = (id, Generation(1), 1_u64, 0_u16);
    let publication = (true, 0_u8, numbers, content, None::<()>, Bin(&[0; 64]));
    let parts = [part(kind::DATA_DELTA, body), part(kind::PUBLICATION, publication)];
    let mut hear = |node: u32, parts: &[Vec<u8>]| {
        let payload = [vec![phin_swim::WIRE_VERSION], parts.concat()].concat();
        let (from, channel) = (Peer { node: NodeId(node), host: HostId(node) }, Channel::Datagram);
        liar.handle(now, Input::Message { from, channel, payload: &payload }, &mut Vec::new());
    };
    hear(1, &parts);
    // Every member has asked it for an office.
    let ask = ("a", 5_u64, Generation(1), 9_u32, 2_000_u32, ("", Some(12_u16), 12_u16));
    (1..12).for_each(|node| hear(node, &[part(kind::LEAD_ASK, ask)]));
    for turn in 0..20 {
        let mut liars = Vec::new();
        liar.handle(begins + every * turn, Input::Timeout, &mut liars);
        // The last are the liar's own messages.
        actions.extend(liars.split_off(liars.len().saturating_sub(11)));
    }
    let said = actions.iter().filter_map(|action| match action {
        Action::Send { to, payload, .. } => Some((to.node, phin.describe(payload))),
        _ => None,
    });
    said.collect()
}

#[test]
fn every_lie_is_a_message_that_can_be_read() {
    let expected = |lie| match lie {
        Lie::Verdict => &["dead m3 v1.0 by=m", "votes=", "dead m3 v1.1"][..],
        Lie::SignedVerdict => &["dead m3 v1.0 by=m", "signed=", "dead m3 v1.1"],
        Lie::SignedVote => &["signed-vote m3 v1.0", "gone", "hung", "silent"],
        Lie::Suspect => &["suspect m3 v1.0 by=m", "suspect m3 v1.1"],
        Lie::Vote => &["accuse m3 v1.0", "vote m3", "gone", "hung", "silent"],
        Lie::List => &["entry m3 v1.0 dead", "summary buckets=1 lines=1"],
        Lie::Clear => &["clear m3 v1.0 age=0ns"],
        Lie::Ack => &["indirect-ack seq=", "nack seq="],
        Lie::Abstain => &["abstain m3 v1.0"],
        Lie::Forget => &["forget m3 v4294967295.4294967295 by=m0", "forget m3 v1.0"],
        Lie::Members => &["entry m2147483648 v1.0 alive", "v1.1 alive"],
        Lie::Failing => &["failing m3 v1.0 links=m", "flawed m3 v1.0 loss, latency, one-way"],
        Lie::Stall | Lie::Round | Lie::Fingerprint => &["ping seq="],
        Lie::Ask => &["join", "compare", "summary buckets=64 lines=0", "want m"],
        Lie::PingReq => &["ping-req seq=0 target=m3"],
        Lie::Answer => &["ack seq=", "leave-ack seq=", "join-reply admitted", "join-reply ref"],
        Lie::DataForged => &["data m3"],
        Lie::DataReplayed => &["data m3", "changes=2"],
        Lie::DataHalf => &["data m3", "changes=1"],
        Lie::DataNews => &["data-news m3"],
        Lie::DataFingerprint => &["data-fingerprint"],
        Lie::DataAsk => &["data-want", "data-compare", "data-summary"],
        Lie::MessageForged | Lie::MessageReplayed => &["publication m3"],
        Lie::MessageNews => &["publication-news m3"],
        Lie::MessageAsk => &["publication-want", "graft"],
        Lie::MessagePrune => &["publication-prune m"],
        Lie::MessageWithheld => &[],
        Lie::OfficeClaim => &["data m0", "changes=1"],
        Lie::OfficeVote => &["lead-answer a 5 granted"],
        Lie::OfficeRefuse => &["lead-answer a 5 refused"],
        Lie::OfficeToken => &["lead-answer a 5 refused"],
        Lie::Expulsion => &["expelled m3 at=18446744073709551"],
        Lie::Accusations => &[
            "dead m3",
            "signed=",
            "signed-vote m3",
            "accuse m3",
            "suspect m3",
            "entry m3 v1.0 dead",
        ],
        Lie::SignsOfLife => &["clear m3", "indirect-ack seq=", "abstain m3"],
        Lie::Welcome => &[],
    };
    // To withhold a message is to say nothing.
    let of_messages = Lie::OF_MESSAGES.into_iter().filter(|lie| !lie.withholds());
    let of_others = Lie::OF_DATA.into_iter().chain(of_messages).chain(Lie::OF_OFFICES);
    let of_others = of_others.chain(Lie::OF_ADMINISTRATORS).chain(Lie::COMBINED);
    for lie in Lie::OF_MEMBERS.into_iter().chain(of_others) {
        let words = words(lie);
        assert!(words.len() >= 100, "{lie:?}: {} messages", words.len());
        for (to, text) in &words {
            assert!(!text.contains("undecodable"), "{lie:?} to {to}: {text}");
        }
        for expected in expected(lie) {
            assert!(words.iter().any(|(_, text)| text.contains(expected)), "{lie:?}: {expected}");
        }
        let is_told = words.iter().any(|&(to, _)| to == NodeId(3));
        assert_eq!(is_told, lie.is_told_to_subject(), "{lie:?}");
    }
}

#[test]
fn the_observers_in_whose_names_a_liar_votes_are_those_of_the_core() {
    let phin = Phin::new("phin", phin_swim::Config::lan(), 7, 40).unwrap();
    let setup = Setup {
        seed: 7,
        nodes: 40,
        knowledge: Knowledge::Everyone,
        network: NetworkConfig::lan(),
        firewalled_every: 0,
    };
    let mut run = Simulation::new(setup, Arc::new(phin));
    run.run_until(Instant::START + secs(60));
    for node in run.truth().running() {
        let process = run.process(node).unwrap();
        let keys = SimKeys { node, seed: 7 };
        let is_observed =
            |&subject: &NodeId| observers(keys, 8, &process.lines(), subject).contains(&keys.id());
        let subjects = (0..40).map(NodeId).filter(|&subject| subject != node);
        let links = process.usage(run.now()).links;
        assert_eq!(subjects.filter(is_observed).count(), links, "{node}");
    }
}

#[test]
fn who_hides_a_death_says_nothing_of_it_and_answers_pings() {
    let ping = part(kind::PING, (1, Generation(1), 1, 1, Fingerprint(1), 1));
    let clear = part(kind::CLEAR, (MemberId([9; 16]), Version::default(), 0));
    let payload = [vec![1], ping.clone(), clear.clone(), ping.clone()].concat();
    assert_eq!(split(&payload), [&ping[..], &clear[..], &ping[..]]);
    assert_eq!(split(&payload[..payload.len() - 1]), [&ping[..], &clear[..]]);
    assert!(split(&[]).is_empty());
}
