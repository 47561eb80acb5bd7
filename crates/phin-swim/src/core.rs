//! [`Core`]: the rooms of a node, and what goes on between them: the steps that a rule of one room asks of another, and the
//! changes of members, to which all react.

use std::{collections::VecDeque, sync::Arc};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    Change, Ctx, Event, Fingerprint, Instant, Keys, Member, MemberId, MemberState, MembershipList,
    News, Output, Params, Part, Peer, Pulse, Purpose, Record, Round, ServingState, Source, Step,
    Timer, Transition,
    accept::Records,
    admission::{Admission, Undecided},
    ctx::Effect,
    data::{DataRoom, spread::Replicate},
    detect::{
        clear::LifeSigns, degraded::Degraded, detector::Detector, host::record_port_free,
        look::last_contact, rules::Detect, verdicts::Verdicts, view::View,
    },
    expel::{Expel, Expulsions},
    flaps::{Flaps, MAX_SUSPICIONS, damp},
    forget::Forgotten,
    gossip::{Dissemination, Gossip},
    identity::Identity,
    join::Joins,
    leadership::{
        Leadership,
        candidate::{Ability, Candidate},
        voter::Vote,
    },
    leave::Departure,
    member::record::Statement,
    messages::send::{Sender, Sends},
    newcomers::Newcomers,
    probe::{
        paths::PathPings,
        prober::Prober,
        redial::{choose, is_review_due},
    },
    publish::{Publishing, broadcast::Broadcast},
    query::{Queries, asker::Asker, replier::Replier},
    refute::Accusation,
    senses::Senses,
    sync::{
        AntiEntropy, Exchanges,
        budget::ListBudget,
        convergence::{Convergence, Word, max_age},
    },
};

/// The rooms of the core: each owns a part of the state, and the rules for it.
pub(crate) struct Core {
    pub(crate) ctx: Ctx,
    pub(crate) list: MembershipList,
    pub(crate) senses: Senses,
    pub(crate) detector: Detector,
    pub(crate) dissemination: Dissemination,
    pub(crate) exchanges: Exchanges,
    pub(crate) forgotten: Forgotten,
    pub(crate) expulsions: Expulsions,
    pub(crate) budget: ListBudget,
    pub(crate) joins: Joins,
    pub(crate) undecided: Undecided,
    pub(crate) newcomers: Newcomers,
    pub(crate) flaps: Flaps,
    pub(crate) convergence: Convergence,
    pub(crate) departure: Departure,
    pub(crate) identity: Identity,
    pub(crate) data: DataRoom,
    pub(crate) publishing: Publishing,
    pub(crate) queries: Queries,
    pub(crate) sends: Sends,
    pub(crate) leadership: Leadership,
    pub(crate) path_pings: PathPings,
    /// Outputs that the driver has not taken yet.
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
        let me = list.me().id();
        let forgotten = Forgotten::new(me);
        let mut ctx = Ctx::new(now, params, keys, rng);
        ctx.timers.set(first_round_ends, Timer::Period(0));
        Self {
            ctx,
            list,
            senses: Senses::new(now),
            detector: Detector::default(),
            dissemination,
            exchanges: Exchanges::default(),
            forgotten,
            expulsions: Expulsions::default(),
            budget: ListBudget::new(now),
            joins: Joins::default(),
            undecided: Undecided::default(),
            newcomers: Newcomers::default(),
            flaps: Flaps::new(now),
            convergence: Convergence::default(),
            departure: Departure::default(),
            identity: Identity::default(),
            data: DataRoom::new(now, me),
            publishing: Publishing::new(now),
            queries: Queries::default(),
            sends: Sends::new(now),
            leadership: Leadership::new(now),
            path_pings: PathPings::new(now),
            outputs: VecDeque::new(),
        }
    }

    /// Carries out everything that rules asked for, in order.
    pub(crate) fn run(&mut self) {
        while let Some(effect) = self.ctx.next_effect() {
            match effect {
                Effect::Output(output) => self.outputs.push_back(output),
                Effect::Step(step) => {
                    // Steps that this one asks for precede those that were asked for after it.
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
            Step::Announce { change, member } => {
                let before = Some(Arc::clone(&member));
                self.announce(Some(change), before, member);
            }
            Step::Ping { to, purpose } => self.probe().ping(to, purpose),
            Step::PingByStream { target, sequence } => {
                self.probe().ping_by_stream(target, sequence);
            }
            Step::SendWithNews { to, channel, mut payload } => {
                let fingerprint = self.data.store.fingerprint();
                if fingerprint != Fingerprint(0) {
                    payload.push(&Part::DataFingerprint(fingerprint));
                }
                self.expulsions.fingerprint_part().iter().for_each(|part| payload.push(part));
                self.gossip().piggyback(&mut payload, to.id);
                self.broadcast().piggyback(&mut payload, to.id);
                self.ctx.send_by(channel, to, payload);
            }
            Step::Unanswered { subject, sent_at } => {
                self.degraded().record_unanswered(subject, sent_at);
            }
            Step::Missed(miss) => self.detect().handle_miss(miss),
            Step::Reached(peer) => self.degraded().record_reached(peer),
            Step::Heard { id, at } => self.life_signs().record_heard(id, at),
            Step::AskAnew { since } => self.detect().ask_anew(since),
            Step::HostSays { id, silence } => {
                self.detector.pending.record_host(id, silence);
                self.detect().record_silence(id, silence);
            }
            Step::Gone(id) => self.record_gone(id),
            Step::PortFree(id) => {
                self.record_gone(id);
                record_port_free(&mut self.ctx, &self.list, &self.detector.cases, id);
            }
            Step::EndPending(id, version) => {
                self.verdicts().end_pending(id, version);
            }
            Step::WeighPending(id) => self.detect().weigh_pending(id),
            Step::ReviewLinks(id) => self.degraded().review_links_of(id),
            Step::CheckSize(id) => self.degraded().want_size_check(id),
            Step::DeathElsewhere { source, claim } => {
                self.verdicts().handle_death_elsewhere(source, claim);
            }
            Step::Refute { source, claim } => {
                self.verdicts().refute(source, claim, Accusation::Suspicion);
            }
            Step::RefuteDeath { source, claim } => {
                self.verdicts().refute(source, claim, Accusation::Death);
            }
            Step::Repeated { id, by } => self.dissemination.record_repeated(id, by),
            Step::Spread(id) => self.gossip().spread(id, Source::Ourselves),
            Step::Renew(record) => self.change_unnoticed(record.id(), News::Renewed(record)),
            Step::Exchange(with) => self.anti_entropy().start(with),
            Step::TurnPage { of, is_last } => self.joins.turn_page(self.ctx.now, of, is_last),
            Step::AckOnly { to, channel, sequence } => {
                self.probe().ack_only(to, channel, sequence);
            }
            Step::Unlist(id) => self.change_unnoticed(id, News::Forgotten(id)),
            Step::Expel(id) => {
                self.apply(News::State(id, MemberState::Dead), Source::Ourselves);
                self.change_unnoticed(id, News::Expelled(id));
            }
            Step::PublishQuery { content, header } => {
                self.broadcast().spread(content, Some(header));
            }
            Step::Query { way, is_new: true, publication } => {
                self.replier().handle_published(way, &publication);
            }
            Step::Query { way, is_new: false, publication } => {
                self.replier().handle_repeated(way, &publication);
            }
            Step::AskMyself { me, ask } => self.replier().handle_ask(me, *ask),
            Step::OwnReplies { me, replies } => self.asker().handle_replies(me, *replies),
            Step::OwnVote(answer) => {
                let me = self.list.me().id();
                self.candidate().handle_answer(me, &answer);
            }
            Step::HolderAnnounced(office) => self.candidate().handle_announcement(&office),
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
        self.senses.rounds.quicken(&mut self.ctx);
        self.gossip().spread(transition.id(), source);
        if transition.concerns_flaws() {
            self.ctx.then(Step::ReviewLinks(transition.id()));
        }
        if transition.is_me || transition.is_forgotten() {
            return;
        }
        if !transition.is_live() {
            self.forgotten.plan(&mut self.ctx);
            if transition.is_departure() {
                self.detector.bereft.record_gone(self.ctx.now, &self.list, transition.id());
                self.verdicts().weigh_signed_again();
            }
        } else if transition.is_record {
            let peer = Peer { id: transition.id(), addr: transition.after.addr() };
            self.probe().measure_if_new(peer);
        }
    }

    /// A member that is gone and was never heard here leaves the list or has a later version, or one that is expelled leaves
    /// it. That is no news, nor is what is still queued of it: others may have heard the former, and find the latter out by
    /// themselves.
    fn change_unnoticed(&mut self, id: MemberId, news: News) {
        if self.list.live(id).is_some() {
            return;
        }
        if let Some(transition) = self.list.apply(self.ctx.now, news) {
            let is_ghost = transition.change == Some(Change::Forgotten);
            self.ctx.stats.ghosts_unlisted += u64::from(is_ghost);
            if !transition.is_forgotten() {
                self.react(&transition);
            }
            self.dissemination.withdraw(id);
            self.announce_all(&transition);
        }
    }

    /// Tells the application, and the transport, what a transition means for them.
    fn announce_all(&mut self, transition: &Transition) {
        let after = &transition.after;
        self.announce(transition.change, transition.before.clone(), Arc::clone(after));
        if transition.has_new_name() && !self.list.snapshot().namesakes(after).is_empty() {
            let before = Some(Arc::clone(after));
            self.announce(Some(Change::NameConflict), before, Arc::clone(after));
        }
        if transition.has_moved() && !transition.is_me {
            // A connection that is still open leads to the former address.
            self.ctx.output(Output::Disconnect(transition.id()));
        }
        // The data of a member is reported after the member.
        self.data.react(&mut self.ctx, transition);
        let live_len = self.list.snapshot().live_len();
        self.publishing.react(&self.ctx, transition, live_len);
        self.asker().follow(transition);
        self.replier().follow(transition);
        self.candidate().react(transition);
        if !transition.is_me && transition.is_arrival() {
            self.broadcast().greet(transition.id());
        }
    }

    /// Updates what each room remembers of a member. Other rooms keep nothing of this node itself, and entries of a
    /// forgotten member expire.
    fn react(&mut self, transition: &Transition) {
        let now = self.ctx.now;
        self.forgotten.react(&mut self.ctx, transition);
        self.sends.react(&mut self.ctx, transition);
        if transition.is_me || transition.is_forgotten() {
            return;
        }
        self.senses.links.react(now, transition);
        self.senses.pings.react(transition);
        self.detector.react(now, self.ctx.params.period, transition);
        self.flaps.react(&mut self.ctx, &mut self.list, transition);
        self.newcomers.react(&mut self.ctx, transition);
        self.exchanges.react(transition);
    }

    /// Tells the application of a change, unless the member flaps.
    pub(crate) fn announce(
        &mut self,
        change: Option<Change>,
        before: Option<Arc<Member>>,
        member: Arc<Member>,
    ) {
        let Some(change) = change else {
            return;
        };
        let id = member.id();
        // On a starved machine most suspicions are its own doing.
        let is_starved = self.senses.health.is_starved(&self.ctx.params);
        let limit = if is_starved { 1 } else { MAX_SUSPICIONS };
        if self.flaps.reports(member.since(), id, change, limit)
            && let Some(change) = damp(&mut self.ctx.stats, &mut self.list, id, change)
        {
            let silence = self.detector.silence_behind(change, id);
            let is_degraded = change == Change::Degraded;
            let degraded = is_degraded.then(|| self.degraded().reason(id));
            let version = self.list.next_version();
            let event = Event { version, change, member, before, silence, degraded };
            self.ctx.output(Output::Event(event));
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

    /// A ping or an ack arrived: it says how far the sender is in its round, and which list it has.
    pub(crate) fn hear_pulse(&mut self, from: MemberId, pulse: &Pulse) {
        self.senses.rounds.hear(&mut self.ctx, &self.list, pulse);
        if self.list.state(from).is_some_and(MemberState::is_live) {
            let max_age = max_age(self.senses.rounds.period(&self.ctx.params));
            let (theirs, ours, heard_at) =
                (pulse.fingerprint, self.list.snapshot().fingerprint(), self.ctx.now);
            self.convergence.hear(from, Word { theirs, ours, heard_at }, max_age);
        }
    }

    /// No process is at the address of a member: this supports the claims of others that it is dead.
    pub(crate) fn record_gone(&mut self, id: MemberId) {
        self.verdicts().confirm_gone(id);
        self.run();
        self.forgotten.confirm_gone(&mut self.ctx, &self.list, id);
        self.run();
    }

    /// The round's time is over: the next begins.
    pub(crate) fn start_round(&mut self, round: Round) {
        // A timer from before the round was moved is for one that has begun already.
        if round != self.senses.rounds.round() {
            return;
        }
        let overdue = self.senses.rounds.take_overdue();
        self.ping_planned(overdue);
        let Self { ctx, list, senses, departure, newcomers, .. } = self;
        let is_new_period = senses.rounds.advance(ctx.now, &ctx.params);
        // Nobody talks to a member that has left.
        let is_alone = list.snapshot().live_len() == 1 || departure.is_under_way();
        senses.health.check_isolation(ctx, &mut senses.rounds, is_alone);
        newcomers.unlist_ghosts(ctx, list);
        self.expel().expire();
        self.candidate().review();
        // Once in a round is often enough: it takes a link several periods to fail.
        self.degraded().review_links();
        self.run();
        if !self.departure.is_under_way() && is_new_period {
            self.senses.rounds.plan_period(&mut self.ctx, &self.list);
            self.redial();
            let last = last_contact(self.view(self.ctx.now));
            last.into_iter().for_each(|peer| self.probe().ping(peer, Purpose::Probe));
            self.senses.rounds.slow_down(&self.ctx.params);
        }
        self.senses.rounds.set_timers(&mut self.ctx);
    }

    /// Pings a dead member, which may have returned, if it is this node's turn.
    fn redial(&mut self) {
        let dead = choose(&mut self.ctx, &self.list, self.senses.health.is_isolated());
        if let Some(peer) = dead.and_then(|id| self.list.peer(id)) {
            if is_review_due(&mut self.ctx.stats) {
                self.exchanges.plan_review();
            }
            self.probe().ping(peer, Purpose::Redial);
        }
    }

    /// Pings the member that a period is for, at its point of it.
    pub(crate) fn ping_planned(&mut self, target: Option<MemberId>) {
        let target = target.filter(|&id| self.list.state(id).is_some_and(MemberState::is_live));
        if let Some(peer) = target.and_then(|target| self.list.peer(target)) {
            self.prune_links();
            self.probe().ping(peer, Purpose::Probe);
        }
    }

    /// Forgets the links not heard longest once there are many more than subjects.
    fn prune_links(&mut self) {
        let max = 4 * usize::from(self.ctx.params.rings) + 16;
        let subjects = self.list.rings().subjects(self.list.me().id());
        let cases = &self.detector.cases;
        self.senses.links.prune(max, |id| subjects.contains(&id) || cases.is_silent(id));
    }

    pub(crate) const fn records(&mut self) -> Records<'_> {
        let Self { ctx, list, detector, newcomers, identity, .. } = self;
        Records { ctx, list, hearsay: &mut detector.hearsay, newcomers, identity }
    }

    pub(crate) const fn detect(&mut self) -> Detect<'_> {
        let Self { ctx, list, senses, detector: own, .. } = self;
        Detect { ctx, list, senses, own }
    }

    pub(crate) const fn life_signs(&mut self) -> LifeSigns<'_> {
        let Self { ctx, list, senses, detector: own, newcomers, .. } = self;
        LifeSigns { ctx, list, senses, own, newcomers }
    }

    pub(crate) const fn verdicts(&mut self) -> Verdicts<'_> {
        let Self { ctx, list, senses, detector: own, .. } = self;
        Verdicts { ctx, list, senses, own }
    }

    pub(crate) const fn degraded(&mut self) -> Degraded<'_> {
        let Self { ctx, list, senses, detector: own, .. } = self;
        Degraded { ctx, list, senses, own }
    }

    pub(crate) const fn probe(&mut self) -> Prober<'_> {
        let Self { ctx, list, senses, detector: own, .. } = self;
        Prober { ctx, list, senses, own }
    }

    pub(crate) const fn gossip(&mut self) -> Gossip<'_> {
        let Self { ctx, list, dissemination: own, detector, forgotten, .. } = self;
        Gossip { ctx, list, own, detector, forgotten }
    }

    pub(crate) const fn anti_entropy(&mut self) -> AntiEntropy<'_> {
        let Self { ctx, list, forgotten, budget, exchanges: own, .. } = self;
        AntiEntropy { ctx, list, forgotten, budget, own }
    }

    pub(crate) const fn replicate(&mut self) -> Replicate<'_> {
        let Self { ctx, list, detector, data, .. } = self;
        let DataRoom { store, own: own_data, replication: own } = data;
        Replicate { ctx, list, hearsay: &mut detector.hearsay, store, own_data, own }
    }

    pub(crate) const fn broadcast(&mut self) -> Broadcast<'_> {
        let Self { ctx, list, publishing: own, .. } = self;
        Broadcast { ctx, list, own }
    }

    pub(crate) const fn sender(&mut self) -> Sender<'_> {
        let Self { ctx, list, sends: own, .. } = self;
        Sender { ctx, list, own }
    }

    pub(crate) const fn asker(&mut self) -> Asker<'_> {
        let Self { ctx, list, queries: own, .. } = self;
        Asker { ctx, list, own }
    }

    pub(crate) const fn replier(&mut self) -> Replier<'_> {
        let Self { ctx, list, senses, queries: own, .. } = self;
        Replier { ctx, list, links: &senses.links, own }
    }

    pub(crate) const fn vote(&mut self) -> Vote<'_> {
        let Self { ctx, list, leadership, .. } = self;
        Vote { ctx, list, own: &mut leadership.voter }
    }

    pub(crate) fn candidate(&mut self) -> Candidate<'_> {
        let ability = self.ability();
        let Self { ctx, list, data, leadership: own, .. } = self;
        Candidate { ctx, list, data, ability, own }
    }

    /// Whether this node can hold an office.
    fn ability(&self) -> Ability {
        let is_cut_off =
            || self.senses.health.is_isolated() || self.view(self.ctx.now).is_cut_off();
        match self.leadership.candidacies.is_empty() {
            true => Ability::Able,
            false if self.departure.is_under_way() => Ability::Left,
            false if self.expulsions.is_expelled(self.list.me().id()) => Ability::Left,
            false if self.identity.profile(&self.list).serving != ServingState::Serving => {
                Ability::Draining
            }
            false if is_cut_off() => Ability::Isolated,
            false => Ability::Able,
        }
    }

    pub(crate) const fn admission(&mut self) -> Admission<'_> {
        let Self { ctx, list, joins, departure, newcomers, expulsions, .. } = self;
        let (budget, own) = (&mut self.budget, &mut self.undecided);
        Admission { ctx, list, joins, departure, newcomers, expulsions, budget, own }
    }

    pub(crate) const fn expel(&mut self) -> Expel<'_> {
        let Self { ctx, list, detector, budget, expulsions: own, .. } = self;
        Expel { ctx, list, hearsay: &mut detector.hearsay, budget, own }
    }

    /// The input of the rules of detection at this moment.
    pub(crate) const fn view(&self, now: Instant) -> View<'_> {
        View::new(now, &self.ctx, &self.list, &self.senses, &self.detector)
    }
}
