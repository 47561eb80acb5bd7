//! What tests of the rules share: the rooms of a node without its [`Swim`](crate::Swim), so that a test calls one rule alone,
//! and in words what the rule asked for. Node 0 is the node itself.

use std::{sync::Arc, time::Duration};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{
    Config, Instant, Member, MemberId, MemberState, Output, Peer, Silence, Vote,
    ctx::{Ctx, Effect},
    detect::{
        case::Case,
        clear::LifeSigns,
        degraded::Degraded,
        detector::Detector,
        health::LocalHealth,
        rules::Detect,
        verdicts::Verdicts,
        view::{Senses, View},
    },
    link::Links,
    member::{
        list::MembershipList,
        record::tests::{TestKeys, addr, id, record, version},
        transition::News,
    },
    probe::{pings::Pings, prober::Prober, rounds::Rounds},
    step::{Channel, Step},
    wire::{Payload, describe},
};

/// The rooms of node 0, at 10 s.
pub(crate) struct Rooms {
    pub(crate) ctx: Ctx,
    pub(crate) list: MembershipList,
    pub(crate) links: Links,
    pub(crate) pings: Pings,
    pub(crate) rounds: Rounds,
    pub(crate) health: LocalHealth,
    pub(crate) detector: Detector,
}

impl Rooms {
    /// With a list of so many members, all alive since the start: up to nine observe one another.
    pub(crate) fn new(members: u8) -> Self {
        Self::with(members, Config::lan())
    }

    pub(crate) fn with(members: u8, config: Config) -> Self {
        let params = config.try_into().unwrap();
        let (now, rng) = (at(10_000), ChaCha8Rng::seed_from_u64(1));
        let mut rooms = Self {
            ctx: Ctx::new(now, params, Arc::new(TestKeys(0)), rng),
            list: MembershipList::new(member(0, MemberState::Alive, 0), 8),
            links: Links::default(),
            pings: Pings::default(),
            rounds: Rounds::new(now),
            health: LocalHealth::new(Instant::START),
            detector: Detector::default(),
        };
        rooms.list = MembershipList::new(member(0, MemberState::Alive, 0), rooms.ctx.params.rings);
        (1..members).for_each(|node| rooms.put(node, MemberState::Alive, 0));
        rooms
    }

    /// The same at this moment.
    pub(crate) fn at(&mut self, millis: u64) -> &mut Self {
        self.ctx.now = at(millis);
        self
    }

    /// Puts a member into the list, in this state since then.
    pub(crate) fn put(&mut self, node: u8, state: MemberState, since: u64) {
        self.list.put(member(node, state, since));
    }

    /// Measures the link to a member: from then on a reply that is missing weighs a good deal.
    pub(crate) fn measure(&mut self, node: u8) {
        self.links.open(id(node), Duration::from_millis(10));
        let link = self.links.get_mut(id(node)).unwrap();
        (0..200).for_each(|_| link.estimator.record_reply(Duration::from_millis(10)));
        self.links.connect(id(node), 100);
    }

    /// The case against a member, with these pings missed.
    pub(crate) fn miss(&mut self, node: u8, sent_at: &[u64]) -> &mut Case {
        let opened_at = self.ctx.now;
        let version = self.list.get(id(node)).unwrap().version();
        let case = self.detector.cases.open(opened_at, id(node), version).unwrap();
        sent_at.iter().for_each(|&sent_at| case.record_miss(at(sent_at), 100));
        case
    }

    /// These members are silent to this node since 9 s.
    pub(crate) fn silence(&mut self, nodes: &[u8]) {
        nodes.iter().for_each(|&node| _ = self.miss(node, &[9_000, 9_100]));
    }

    /// A timer fires so much later than asked.
    pub(crate) fn lag(&mut self, lag: u64) {
        self.health.record_lag(&mut self.ctx, &mut self.rounds, ms(lag));
    }

    pub(crate) fn hear_anyone(&mut self) {
        self.health.hear_anyone(&mut self.ctx);
    }

    pub(crate) const fn detect(&mut self) -> Detect<'_> {
        let Self { ctx, list, links, pings, rounds, health, detector: own } = self;
        Detect { ctx, list, links, pings, rounds, health, own }
    }

    pub(crate) const fn verdicts(&mut self) -> Verdicts<'_> {
        let Self { ctx, list, links, pings, rounds, health, detector: own } = self;
        Verdicts { ctx, see: Senses { list, links, pings, rounds, health }, own }
    }

    pub(crate) const fn life_signs(&mut self) -> LifeSigns<'_> {
        let Self { ctx, list, links, pings, rounds, health, detector: own } = self;
        LifeSigns { ctx, list, links, pings, rounds, health, own }
    }

    pub(crate) const fn degraded(&mut self) -> Degraded<'_> {
        let Self { ctx, list, links, pings, rounds, health, detector: own } = self;
        Degraded { ctx, list, links, pings, rounds, health, own }
    }

    pub(crate) const fn probe(&mut self) -> Prober<'_> {
        let Self { ctx, list, links, pings, rounds, health, detector } = self;
        let hearsay = &mut detector.hearsay;
        Prober { ctx, list, links, pings, rounds, health, hearsay }
    }

    pub(crate) const fn view(&self) -> View<'_> {
        let Self { ctx, list, links, pings, rounds, health, detector } = self;
        View::new(ctx.now, &ctx.params, Senses { list, links, pings, rounds, health }, detector)
    }

    /// What rules asked for since this was last called, in order, one line each.
    pub(crate) fn effects(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.ctx.next_effect()).map(|effect| in_words(&effect)).collect()
    }
}

fn in_words(effect: &Effect) -> String {
    match effect {
        Effect::Output(Output::Datagram { to, payload }) => {
            format!("to {}: {}", name(to.id), parts(payload))
        }
        Effect::Output(Output::Stream { to, payload }) => {
            format!("by stream to {}: {}", name(to.id), parts(payload))
        }
        Effect::Output(Output::AskHost { to, question }) => {
            format!("ask host of {}: {question:?}", name(to.id))
        }
        Effect::Output(output) => named(format!("{output:?}")),
        Effect::Step(Step::SendWithNews { to, channel, payload }) => {
            let by = if *channel == Channel::Stream { "by stream " } else { "" };
            format!("{by}to {}, with news: {}", name(to.id), parts(&payload_bytes(payload)))
        }
        Effect::Step(Step::Apply { news: News::State(id, state), source }) => {
            format!("apply {} {state} {}", name(*id), named(format!("{source:?}")))
        }
        Effect::Step(Step::Apply { news: News::Record { record, state }, .. }) => {
            let version = record.version();
            let (generation, incarnation) = (version.generation.0, version.incarnation.0);
            format!("apply {} v{generation}.{incarnation} {state}", name(record.id()))
        }
        Effect::Step(Step::Announce { change, member }) => {
            format!("announce {} {change:?}", name(member.id()))
        }
        Effect::Step(step) => named(format!("{step:?}")),
    }
}

fn payload_bytes(payload: &Payload) -> Vec<u8> {
    payload.clone().into_bytes()
}

fn parts(payload: &[u8]) -> String {
    describe(payload, &TestKeys(0), &name).join("; ")
}

fn name(id: MemberId) -> String {
    (0..=u8::MAX).find(|&node| self::id(node) == id).map_or("?".to_owned(), |n| format!("n{n}"))
}

/// Has names in place of ids and of peers.
fn named(mut text: String) -> String {
    for node in 0..=u8::MAX {
        let (id, peer) = (format!("{:?}", id(node)), format!("{:?}", peer(node)));
        text = text.replace(&peer, &format!("n{node}")).replace(&id, &format!("n{node}"));
    }
    text
}

pub(crate) fn at(millis: u64) -> Instant {
    Instant::START + Duration::from_millis(millis)
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn peer(node: u8) -> Peer {
    Peer { id: id(node), addr: addr(node) }
}

pub(crate) fn member(node: u8, state: MemberState, since: u64) -> Member {
    Member { record: record(node, version(0, 0)), state, since: at(since) }
}

/// A vote of this observer, of phi 3, on a silence since then.
pub(crate) fn vote(observer: u8, since: u64, silence: Silence) -> Vote {
    Vote { observer: id(observer), phi: 3.0, silent_since: at(since), silence, attempts: 3 }
}
