use super::*;
use crate::{
    ClearBody, Config, SignedVotes, Silence,
    member::record::tests::{TestKeys, id, version},
    testing::{Rooms, at, clear, ms, peer, vote},
};

/// A node among six that requires signed votes, and has missed two replies of node 1.
fn rooms() -> Rooms {
    let config = Config { signed_votes: SignedVotes::Require, ..Config::lan() };
    let mut rooms = Rooms::with(6, config);
    (1..6).for_each(|node| rooms.measure(node));
    rooms.miss(1, &[9_000, 9_100]);
    rooms.effects();
    rooms
}

/// The proof of a member for this number, in this run.
fn proof_of(node: u8, run: u32, nonce: Nonce) -> Proof {
    let subject = (id(node), version(run, 0).generation);
    Proof::sign(&TestKeys(node.into()), subject, nonce)
}

fn is_suspected(rooms: &Rooms) -> bool {
    rooms.detector.cases.is_open(id(1))
}

const NONCE: Nonce = Nonce([7; 16]);

#[test]
fn a_signature_covers_everything_that_a_proof_says() {
    let (keys, key) = (TestKeys(1), TestKeys(1).public_key());
    let proof = proof_of(1, 0, NONCE);
    assert!(proof.is_authentic(&keys, &key));
    let changed = [
        Proof { subject: id(2), ..proof },
        Proof { generation: version(1, 0).generation, ..proof },
        Proof { nonce: Nonce([8; 16]), ..proof },
    ];
    for changed in changed {
        assert!(!changed.is_authentic(&keys, &key), "{changed:?}");
    }
    assert!(!proof.is_authentic(&keys, &TestKeys(2).public_key()));
}

#[test]
fn the_word_of_another_clears_a_member_once_the_member_has_signed() {
    // The signer and its run, whether it signs the number of this node, the sender of the proof, and whether it counts.
    let cases = [
        (1, 0, true, 2, true),
        (2, 0, true, 2, false),
        (1, 1, true, 2, false),
        (1, 0, false, 2, false),
        (1, 0, true, 3, false),
    ];
    for (signer, run, is_asked, from, counts) in cases {
        let mut rooms = rooms();
        rooms.life_signs().handle_clear(peer(2), clear(version(0, 0), None));
        assert_eq!(rooms.effects()[0], "to n2: ping-req target=n1 with proof");
        assert!(is_suspected(&rooms), "not by the word alone");
        let nonce =
            if is_asked { rooms.detector.proofs.asked.back().unwrap().nonce } else { NONCE };
        let proof = Proof { subject: id(1), ..proof_of(signer, run, nonce) };
        rooms.at(10_100).life_signs().handle_proof(id(from), proof);
        assert_eq!(!is_suspected(&rooms), counts, "n{signer} in run {run}, from n{from}");
        if counts {
            // The answer covers no miss after the question.
            assert_eq!(rooms.senses.links.known_alive_at(id(1)), Some(at(10_000)));
            assert_eq!(rooms.senses.links.reached_by(id(1)), Some(id(2)));
            rooms.miss(1, &[9_900]);
            rooms.life_signs().handle_proof(id(from), proof);
            assert!(is_suspected(&rooms), "each proof counts once");
        }
    }
}

#[test]
fn a_witness_is_asked_if_its_word_would_clear_the_member_and_not_all_the_time() {
    // The version and the age of the last message in the word of node 2; whether it is asked.
    for (incarnation, age, is_asked) in [(0, 500, true), (0, 1_100, false), (1, 500, false)] {
        let mut rooms = rooms();
        rooms.life_signs().handle_clear(
            peer(2),
            ClearBody { age: ms(age), ..clear(version(0, incarnation), None) },
        );
        assert_eq!(!rooms.effects().is_empty(), is_asked, "{incarnation} {age}");
    }
    // Votes of others alone lead to no verdict of this node.
    let mut rooms = rooms();
    rooms.detector.cases.close(id(1));
    rooms.miss(1, &[]).record_vote(at(9_500), vote(2, 9_000, Silence::Silent));
    rooms.life_signs().handle_clear(peer(3), clear(version(0, 0), None));
    assert!(rooms.effects().is_empty());
    let mut rooms = self::rooms();
    let asked = [(10_000, 2), (10_499, 2), (10_499, 3), (10_500, 2)].map(|(millis, witness)| {
        rooms.at(millis).life_signs().handle_clear(peer(witness), clear(version(0, 0), None));
        let asked = rooms.effects();
        asked.iter().any(|effect| effect.starts_with(&format!("to n{witness}: ping-req")))
    });
    assert_eq!(asked, [true, false, true, true]);
    rooms.at(11_000).life_signs().handle_clear(peer(1), clear(version(0, 0), None));
    assert!(!is_suspected(&rooms), "the member itself needs no proof");
}

#[test]
fn helpers_are_asked_for_a_proof_too_and_an_indirect_ack_alone_clears_nobody() {
    let mut rooms = rooms();
    rooms.at(9_000).probe().ping(peer(1), crate::Purpose::Probe);
    rooms.at(10_000).effects();
    let sequence = crate::Sequence(1);
    rooms.detect().ask_helpers(id(1), sequence);
    let effects = rooms.effects();
    let is_asked = |effect: &&String| effect.ends_with("ping-req seq=1 target=n1 with proof");
    assert_eq!(effects.iter().filter(is_asked).count(), 3, "{effects:?}");
    let helper = rooms.detector.proofs.asked[0];
    let generation = version(0, 0).generation;
    rooms.life_signs().handle_indirect_ack(helper.witness, sequence, generation);
    assert!(is_suspected(&rooms));
    rooms.life_signs().handle_proof(helper.witness, proof_of(1, 0, helper.nonce));
    assert!(!is_suspected(&rooms));
}

#[test]
fn any_other_member_is_asked_too_as_the_witness_may_not_be_heard() {
    let others: std::collections::BTreeSet<_> = (0..50)
        .filter_map(|seed| {
            let mut rooms = rooms();
            rooms.ctx.rng = rand::SeedableRng::seed_from_u64(seed);
            rooms.life_signs().handle_clear(peer(2), clear(version(0, 0), None));
            rooms.effects().get(1).cloned()
        })
        .collect();
    let asked = |node| format!("to n{node}: ping-req target=n1 with proof");
    assert_eq!(others, [3, 4, 5].map(asked).into());
}

#[test]
fn a_member_pings_for_a_proof_and_passes_that_on() {
    let mut rooms = rooms();
    rooms.probe().handle_ping_req(peer(2), None, (id(1), Some(NONCE)));
    assert_eq!(rooms.effects(), ["to n1, with news: ping seq=1; challenge"]);
    // Only the subject answers, and once.
    for (from, is_passed_on) in [(3, false), (1, true), (1, false)] {
        rooms.life_signs().handle_proof(id(from), proof_of(1, 0, NONCE));
        assert_eq!(rooms.effects(), vec!["to n2: proof n1"; usize::from(is_passed_on)]);
    }
    assert_eq!(rooms.ctx.stats.unasked_answers, 2);
    assert!(is_suspected(&rooms), "what others asked for is no proof to this node");
    // Without a ping of the requester, there is nothing else to say.
    rooms.probe().handle_ping_req(peer(2), None, (id(9), Some(NONCE)));
    assert!(rooms.effects().is_empty());
    rooms.probe().handle_ping_req(peer(2), Some(crate::Sequence(5)), (id(9), Some(NONCE)));
    assert_eq!(rooms.effects(), ["to n2: nack seq=5"]);
}

#[test]
fn proofs_have_a_budget_for_each_member_and_limits() {
    let mut rooms = rooms();
    rooms.life_signs().handle_challenge(peer(2), NONCE);
    assert_eq!(rooms.effects(), ["to n2: proof n0"]);
    (0..99).for_each(|_| rooms.life_signs().handle_challenge(peer(2), NONCE));
    let stats = &rooms.ctx.stats;
    assert_eq!((stats.proofs_signed, stats.challenges_refused), (64, 36));
    rooms.life_signs().handle_challenge(peer(3), NONCE);
    assert_eq!(rooms.ctx.stats.proofs_signed, 65);
    let mut proofs = Proofs::default();
    let asked: Vec<_> = (0..=MAX_ASKED).map(|_| proofs.ask(&mut rooms.ctx, id(2), id(1))).collect();
    asked.iter().for_each(|&nonce| proofs.relay(peer(3), id(1), nonce));
    assert_eq!((proofs.asked.len(), proofs.relayed.len()), (MAX_ASKED, MAX_RELAYED));
    // The oldest gave way.
    for (number, is_kept) in [(0, false), (1, true)] {
        let proof = proof_of(1, 0, asked[number]);
        assert_eq!(proofs.take_asked(id(2), &proof).is_some(), is_kept);
        assert_eq!(proofs.take_relayed(id(1), &proof).is_some(), is_kept);
    }
}

#[test]
fn a_forged_proof_is_counted() {
    let mut rooms = rooms();
    rooms.life_signs().handle_clear(peer(2), clear(version(0, 0), None));
    let nonce = rooms.detector.proofs.asked.back().unwrap().nonce;
    let forged = Proof { subject: id(1), ..proof_of(2, 0, nonce) };
    rooms.life_signs().handle_proof(id(2), forged);
    assert_eq!(rooms.ctx.stats.forged_proofs, 1);
}

#[test]
fn where_signatures_are_not_required_the_word_of_another_clears_a_member() {
    for signed_votes in [SignedVotes::Off, SignedVotes::Sign] {
        let mut rooms = Rooms::with(6, Config { signed_votes, ..Config::lan() });
        rooms.miss(1, &[9_000]);
        rooms.life_signs().handle_clear(peer(2), clear(version(0, 0), None));
        assert!(!is_suspected(&rooms));
        assert_eq!(rooms.ctx.stats.proofs_asked, 0);
    }
}
