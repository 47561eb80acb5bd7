//! [`Core`]: the rooms of a node, and what goes on between them: the steps that a rule of one room asks of another, and the
//! changes of members, to which all react.

use std::{collections::VecDeque, sync::Arc};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    Change, Event, Instant, Keys, Member, MemberId, MemberState, Output, Peer, Record,
    accept::Records,
    admission::{Admission, Undecided},
    config::Params,
    ctx::{Ctx, Effect},
    detect::{
        clear::LifeSigns,
        degraded::Degraded,
        detector::Detector,
        health::LocalHealth,
        host::record_port_free,
        look::last_contact,
        rules::Detect,
        verdicts::Verdicts,
        view::{Senses, View},
    },
    flaps::{Flaps, MAX_SUSPICIONS, damp},
    forget::Forgotten,
    gossip::{Dissemination, Gossip},
    identity::Identity,
    join::Joins,
    leave::Departure,
    link::Links,
    member::{
        list::MembershipList,
        record::Statement,
        transition::{News, Transition},
    },
    newcomers::Newcomers,
    probe::{
        pings::Pings,
        prober::Prober,
        redial::{choose, is_review_due},
        rounds::Rounds,
    },
    refute::Accusation,
    step::{Purpose, Source, Step},
    sync::{
        AntiEntropy, Exchanges,
        budget::ListBudget,
        convergence::{Convergence, Word, max_age},
    },
    timers::Timer,
    wire::{Entry, Pulse, Round},
};
/// The rooms of the core: each owns a part of the state, and the rules for it.
pub(crate) struct Core {
    pub(crate) ctx: Ctx,
    pub(crate) list: MembershipList,
    pub(crate) links: Links,
    pub(crate) pings: Pings,
    pub(crate) rounds: Rounds,
    pub(crate) health: LocalHealth,
    pub(crate) detector: Detector,
    pub(crate) dissemination: Dissemination,
    pub(crate) exchanges: Exchanges,
    pub(crate) forgotten: Forgotten,
    pub(crate) budget: ListBudget,
    pub(crate) joins: Joins,
    pub(crate) undecided: Undecided,
    pub(crate) newcomers: Newcomers,
    pub(crate) flaps: Flaps,
    pub(crate) convergence: Convergence,
    pub(crate) departure: Departure,
    pub(crate) identity: Identity,
    /// What the driver has yet to do.
    pub(crate) outputs: VecDeque<Output>,
}

impl Core {
    /// A cluster of one: the member that states this of itself.
    pub(crate) fn new(
        now: Instant,
        statement: Statement,
        params: Params,
        keys: Arc<dyn Keys>,
        rng_seed: u64,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(rng_seed);
        let record = Record::sign(statement, &*keys);
        let member = Member { record, state: MemberState::Alive, since: now };
        // The first round ends at random, so that members that start together are no burst.
        let first_round_ends = now + params.period.mul_f64(rng.random());
        let (list, dissemination) =
            (MembershipList::new(member, params.rings), Dissemination::new(now, params.rings));
        let forgotten = Forgotten::new(list.me().id());
        let mut ctx = Ctx::new(now, params, keys, rng);
        ctx.timers.set(first_round_ends, Timer::Period(0));
        Self {
            ctx,
            list,
            links: Links::default(),
            pings: Pings::default(),
            rounds: Rounds::new(now),
            health: LocalHealth::new(now),
            detector: Detector::default(),
            dissemination,
            exchanges: Exchanges::new(),
            forgotten,
            budget: ListBudget::new(now),
            joins: Joins::default(),
            undecided: Undecided::default(),
            newcomers: Newcomers::new(),
            flaps: Flaps::new(now),
            convergence: Convergence::default(),
            departure: Departure::default(),
            identity: Identity::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Carries out everything that rules asked for, in order.
    pub(crate) fn run(&mut self) {
        while let Some(effect) = self.ctx.next_effect() {
            match effect {
                Effect::Output(output) => self.outputs.push_back(output),
                Effect::Step(step) => {
                    // What the step asks for comes before what was asked for after it.
                    let rest = self.ctx.take_effects();
                    self.carry_out(step);
                    self.run();
                    self.ctx.put_effects(rest);
                }
            }
        }
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Apply { news, source } => self.apply(news, source),
            Step::Announce { change, member } => self.announce(Some(change), member),
            Step::Ping { to, purpose } => self.ping(to, purpose),
            Step::PingByStream { target, sequence } => {
                self.probe(|probe| probe.ping_by_stream(target, sequence));
            }
            Step::SendWithNews { to, channel, mut payload } => {
                self.gossip(|gossip| gossip.piggyback(&mut payload, to.id));
                self.ctx.send_by(channel, to, payload);
            }
            Step::Unanswered { subject, sent_at } => {
                self.degraded(|degraded| degraded.record_unanswered(subject, sent_at));
            }
            Step::Missed(miss) => self.detect(|detect| detect.handle_miss(miss)),
            Step::Reached(peer) => self.degraded(|degraded| degraded.record_reached(peer)),
            Step::EndRetry(id) => self.detector.cases.end_retry(id),
            Step::Heard { id, at } => self.record_heard(id, at),
            Step::AskAnew => self.detect(|detect| detect.ask_anew()),
            Step::HostSays { id, silence } => {
                self.detect(|detect| detect.record_silence(id, silence));
            }
            Step::Gone(id) => self.record_gone(id),
            Step::PortFree(id) => {
                self.record_gone(id);
                record_port_free(&mut self.ctx, &self.list, &self.detector.cases, id);
            }
            Step::EndPending(id, version) => {
                self.verdicts(|verdicts| verdicts.end_pending(id, version));
            }
            Step::WeighPending(id) => self.detect(|detect| detect.weigh_pending(id)),
            Step::ReviewLinks(id) => self.degraded(|degraded| degraded.review_links_of(id)),
            Step::DeathElsewhere { source, claim } => {
                self.verdicts(|verdicts| verdicts.handle_death_elsewhere(source, claim));
            }
            Step::Refute { source, claim } => {
                self.verdicts(|verdicts| verdicts.refute(source, claim, Accusation::Suspicion));
            }
            Step::RefuteDeath { source, claim } => {
                self.verdicts(|verdicts| verdicts.refute(source, claim, Accusation::Death));
            }
            Step::Withdraw(id) => self.dissemination.withdraw(id),
            Step::Exchange(with) => self.anti_entropy(|sync| sync.start(with)),
            Step::TurnPage { of, is_last } => self.joins.turn_page(self.ctx.now, of, is_last),
            Step::AckOnly { to, channel, sequence } => {
                self.probe(|probe| probe.ack_only(to, channel, sequence));
            }
            Step::Unlist(id) => self.unlist(id),
            Step::PlanSweep => self.forgotten.plan_next_sweep(&mut self.ctx, &self.list),
            Step::AnnounceDeparture => self.departure.announce(&mut self.ctx, &self.list),
            Step::ConfirmDeparture(by) => self.departure.confirm(&mut self.ctx, by),
        }
    }

    /// Applies what became known of a member. Every room reacts, the application is notified, and the news spreads.
    pub(crate) fn apply(&mut self, news: News, source: Source) {
        let Some(transition) = self.list.apply(self.ctx.now, news) else {
            return;
        };
        self.react(&transition);
        self.announce_all(&transition);
        self.exchanges.record_change(self.ctx.now);
        self.rounds.quicken(&mut self.ctx);
        self.gossip(|gossip| gossip.spread(transition.id(), source));
        if transition.is_me || transition.is_forgotten() {
            return;
        }
        if !transition.is_live() {
            self.forgotten.plan(&mut self.ctx);
        } else if transition.is_record {
            let peer = Peer { id: transition.id(), addr: transition.after.addr() };
            self.probe(|probe| probe.measure_if_new(peer));
        }
    }

    /// A member that is gone and was never heard here leaves the list. That is no news: others may have heard it.
    fn unlist(&mut self, id: MemberId) {
        if self.list.live(id).is_some() {
            return;
        }
        if let Some(transition) = self.list.apply(self.ctx.now, News::Forgotten(id)) {
            self.ctx.stats.ghosts_unlisted += 1;
            self.dissemination.withdraw(id);
            self.announce_all(&transition);
        }
    }

    /// Tells the application, and the transport, what a transition means for them.
    fn announce_all(&mut self, transition: &Transition) {
        let after = &transition.after;
        self.announce(transition.change, Arc::clone(after));
        if transition.has_new_name() && !self.list.snapshot().namesakes(after).is_empty() {
            self.announce(Some(Change::NameConflict), Arc::clone(after));
        }
        if transition.has_moved() && !transition.is_me {
            // Whatever is still open leads to where it was.
            self.ctx.output(Output::Disconnect(transition.id()));
        }
    }

    /// What each room remembers changes with a member. Of this node itself the others keep nothing, and what they keep of a
    /// forgotten member gives way in time.
    fn react(&mut self, transition: &Transition) {
        let now = self.ctx.now;
        self.forgotten.react(&mut self.ctx, transition);
        if transition.is_me || transition.is_forgotten() {
            return;
        }
        self.links.react(now, transition);
        self.pings.react(transition);
        self.detector.react(now, transition);
        self.flaps.react(&mut self.ctx, &mut self.list, transition);
        self.newcomers.react(&mut self.ctx, transition);
        self.exchanges.react(transition);
    }

    /// Tells the application of a change, unless the member flaps.
    pub(crate) fn announce(&mut self, change: Option<Change>, member: Arc<Member>) {
        let Some(change) = change else {
            return;
        };
        let id = member.id();
        // On a starved machine most suspicions are its own doing.
        let is_starved = self.health.is_starved(&self.ctx.params);
        let limit = if is_starved { 1 } else { MAX_SUSPICIONS };
        if self.flaps.reports(member.since(), id, change, limit)
            && let Some(change) = damp(&mut self.ctx.stats, &mut self.list, id, change)
        {
            let silence = self.detector.silence_behind(change, id);
            let version = self.list.next_version();
            self.ctx.output(Output::Event(Event { version, change, member, silence }));
        }
        if change == Change::Dead {
            self.ctx.output(Output::Disconnect(id));
        }
    }

    /// Asks a member to admit this node, which returns to the cluster if it has left.
    pub(crate) fn ask_to_join(&mut self, through: Peer) {
        self.departure.undo(&mut self.ctx, &self.list);
        // The join carries the record of this node as it is after that.
        self.run();
        self.joins.ask(&mut self.ctx, &self.list, through);
    }

    pub(crate) fn ping(&mut self, to: Peer, purpose: Purpose) {
        self.probe(|probe| probe.ping(to, purpose));
    }

    /// A ping or an ack arrived: it says how far the sender is in its round, and which list it has.
    pub(crate) fn hear_pulse(&mut self, from: MemberId, pulse: &Pulse) {
        self.rounds.hear(&mut self.ctx, &self.list, pulse);
        if self.list.state(from).is_some_and(MemberState::is_live) {
            let max_age = max_age(self.rounds.period(&self.ctx.params));
            let (theirs, ours, heard_at) =
                (pulse.fingerprint, self.list.snapshot().fingerprint(), self.ctx.now);
            self.convergence.hear(from, Word { theirs, ours, heard_at }, max_age);
        }
    }

    /// A member showed that it lives, by what it sent then.
    pub(crate) fn record_heard(&mut self, id: MemberId, at: Instant) {
        self.life_signs(|signs| signs.record_heard(id, at));
        self.newcomers.meet(&mut self.ctx, &self.list, id);
        self.run();
    }

    /// Where a member is said to be, no process is: that bears out what others say of it.
    pub(crate) fn record_gone(&mut self, id: MemberId) {
        self.verdicts(|verdicts| verdicts.confirm_gone(id));
        self.forgotten.confirm_gone(&mut self.ctx, &self.list, id);
        self.run();
    }

    /// The round's time is over: the next begins.
    pub(crate) fn start_round(&mut self, round: Round) {
        // A timer from before the round was moved is for one that has begun already.
        if round != self.rounds.round() {
            return;
        }
        let overdue = self.rounds.take_overdue();
        self.ping_planned(overdue);
        let is_new_period = self.rounds.advance(self.ctx.now, &self.ctx.params);
        // Nobody talks to a member that has left.
        let is_alone = self.list.snapshot().live_len() == 1 || self.departure.is_under_way();
        self.health.check_isolation(&mut self.ctx, &mut self.rounds, is_alone);
        self.run();
        self.newcomers.unlist_ghosts(&mut self.ctx, &self.list);
        self.run();
        // Once in a round is often enough: it takes a link several periods to fail.
        self.degraded(|degraded| degraded.review_links());
        if !self.departure.is_under_way() && is_new_period {
            self.rounds.plan_period(&mut self.ctx, &self.list);
            self.redial();
            let last = last_contact(self.view(self.ctx.now));
            last.into_iter().for_each(|peer| self.ping(peer, Purpose::Probe));
            self.rounds.slow_down(&self.ctx.params);
        }
        self.rounds.set_timers(&mut self.ctx);
    }

    /// Pings a dead member, which may have returned, if it is this node's turn.
    fn redial(&mut self) {
        let dead = choose(&mut self.ctx, &self.list, self.health.is_isolated());
        if let Some(peer) = dead.and_then(|id| self.list.peer(id)) {
            if is_review_due(&mut self.ctx.stats) {
                self.exchanges.plan_review();
            }
            self.ping(peer, Purpose::Redial);
        }
    }

    /// Pings the member that a period is for, at its point of it.
    pub(crate) fn ping_planned(&mut self, target: Option<MemberId>) {
        let target = target.filter(|&id| self.list.state(id).is_some_and(MemberState::is_live));
        if let Some(peer) = target.and_then(|target| self.list.peer(target)) {
            self.prune_links();
            self.ping(peer, Purpose::Probe);
        }
    }

    /// Forgets the links not heard longest once there are many more than subjects.
    fn prune_links(&mut self) {
        let max = 4 * usize::from(self.ctx.params.rings) + 16;
        let subjects = self.list.rings().subjects(self.list.me().id());
        let cases = &self.detector.cases;
        self.links.prune(max, |id| subjects.contains(&id) || cases.is_silent(id));
    }

    pub(crate) fn handle_entry(&mut self, source: Source, entry: Entry) {
        Records {
            ctx: &mut self.ctx,
            list: &mut self.list,
            hearsay: &mut self.detector.hearsay,
            newcomers: &mut self.newcomers,
            identity: &mut self.identity,
        }
        .handle_entry(source, entry);
        self.run();
    }

    /// Applies a rule of detection, and carries out what it asks for.
    pub(crate) fn detect<T>(&mut self, rule: impl FnOnce(&mut Detect<'_>) -> T) -> T {
        let result = rule(&mut Detect {
            ctx: &mut self.ctx,
            list: &self.list,
            links: &mut self.links,
            pings: &mut self.pings,
            rounds: &mut self.rounds,
            health: &mut self.health,
            own: &mut self.detector,
        });
        self.run();
        result
    }

    /// Applies a rule for signs of life, and carries out what it asks for.
    pub(crate) fn life_signs(&mut self, rule: impl FnOnce(&mut LifeSigns<'_>)) {
        rule(&mut LifeSigns {
            ctx: &mut self.ctx,
            list: &self.list,
            links: &mut self.links,
            pings: &mut self.pings,
            rounds: &self.rounds,
            health: &mut self.health,
            own: &mut self.detector,
        });
        self.run();
    }

    /// Applies a rule for what others say, and carries out what it asks for.
    pub(crate) fn verdicts(&mut self, rule: impl FnOnce(&mut Verdicts<'_>)) {
        let Self { ctx, list, links, pings, rounds, health, detector, .. } = self;
        let see = Senses { list, links, pings, rounds, health };
        rule(&mut Verdicts { ctx, see, own: detector });
        self.run();
    }

    /// Applies a rule for links that fail, and carries out what it asks for.
    pub(crate) fn degraded(&mut self, rule: impl FnOnce(&mut Degraded<'_>)) {
        rule(&mut Degraded {
            ctx: &mut self.ctx,
            list: &self.list,
            links: &mut self.links,
            pings: &self.pings,
            rounds: &self.rounds,
            health: &self.health,
            own: &mut self.detector,
        });
        self.run();
    }

    /// Applies a rule of probing, and carries out what it asks for.
    pub(crate) fn probe<T>(&mut self, rule: impl FnOnce(&mut Prober<'_>) -> T) -> T {
        let result = rule(&mut Prober {
            ctx: &mut self.ctx,
            list: &self.list,
            links: &mut self.links,
            pings: &mut self.pings,
            rounds: &mut self.rounds,
            health: &mut self.health,
            hearsay: &mut self.detector.hearsay,
        });
        self.run();
        result
    }

    /// Applies a rule of dissemination, and carries out what it asks for.
    pub(crate) fn gossip(&mut self, rule: impl FnOnce(&mut Gossip<'_>)) {
        rule(&mut Gossip {
            ctx: &mut self.ctx,
            list: &self.list,
            own: &mut self.dissemination,
            detector: &mut self.detector,
            forgotten: &self.forgotten,
        });
        self.run();
    }

    /// Applies a rule of anti-entropy, and carries out what it asks for.
    pub(crate) fn anti_entropy(&mut self, rule: impl FnOnce(&mut AntiEntropy<'_>)) {
        rule(&mut AntiEntropy {
            ctx: &mut self.ctx,
            list: &self.list,
            forgotten: &self.forgotten,
            budget: &mut self.budget,
            own: &mut self.exchanges,
        });
        self.run();
    }

    /// Applies a rule of admission, and carries out what it asks for.
    pub(crate) fn admission<T>(&mut self, rule: impl FnOnce(&mut Admission<'_>) -> T) -> T {
        let result = rule(&mut Admission {
            ctx: &mut self.ctx,
            list: &self.list,
            joins: &self.joins,
            departure: &self.departure,
            newcomers: &self.newcomers,
            budget: &mut self.budget,
            own: &mut self.undecided,
        });
        self.run();
        result
    }

    /// What the rules of detection see at this moment.
    pub(crate) const fn view(&self, now: Instant) -> View<'_> {
        let Self { list, links, pings, rounds, health, .. } = self;
        let senses = Senses { list, links, pings, rounds, health };
        View::new(now, &self.ctx.params, senses, &self.detector)
    }

    /// The same at this moment, for tests that call a rule.
    #[cfg(test)]
    pub(crate) fn at(&mut self, now: Instant) -> &mut Self {
        self.ctx.now = now;
        self
    }
}
