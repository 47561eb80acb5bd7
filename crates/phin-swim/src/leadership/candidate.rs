//! The rules of a candidate: when it asks for an office, how long it holds it, and when it gives it up.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::RngExt;

use crate::{
    Ctx, Instant, LostReason, MemberId, MemberState, MembershipList, Office, OfficeEvent,
    OfficeRules, Output, Part, Payload, Peer, StandError, Term, Transition, Vacancy,
    data::{DataRoom, map::DataError},
    leadership::{
        Leadership,
        ballot::Ballot,
        followed::{holder, vacancy_by},
        refusal::{Refusal, Why},
        voter::{SETTLING_TIME, Vote, voters},
    },
    timers::Timer,
    wire::{LeadAnswer, LeadAsk, LeadRelease},
};

/// The candidacy of this node for an office.
#[derive(Debug)]
pub(crate) struct Candidacy {
    rules: OfficeRules,
    state: State,
    /// The voters when it last acted.
    electorate: Arc<Electorate>,
    /// The highest term that others told of.
    told: Term,
    /// How many campaigns in a row were in vain while no other member held the office; at most [`MAX_TIES`].
    ties: u32,
    /// The reason that prevents it.
    obstacle: Option<Vacancy>,
}

#[derive(Debug)]
enum State {
    /// Another member may hold the office. It is asked for then.
    Waiting { until: Instant },
    /// It is asked for, until then; again at `again_at` where no answer came.
    Campaigning { ballot: Ballot, has_voted: bool, again_at: Instant, until: Instant },
    /// This node holds it. Voters are asked for longer at `again_at`.
    Holding { ballot: Ballot, again_at: Instant, valid_until: Instant },
}

impl Candidacy {
    pub(crate) fn new(rules: OfficeRules, now: Instant) -> Self {
        let (state, electorate) = (State::Waiting { until: now }, Arc::default());
        Self { rules, state, electorate, told: Term(0), ties: 0, obstacle: None }
    }

    pub(crate) const fn obstacle(&self) -> Option<Vacancy> {
        self.obstacle
    }

    pub(crate) const fn rules(&self) -> &OfficeRules {
        &self.rules
    }

    /// The term that this node holds the office in, and until when.
    pub(crate) const fn held(&self) -> Option<(Term, Instant)> {
        match &self.state {
            State::Holding { ballot, valid_until, .. } => Some((ballot.term, *valid_until)),
            State::Waiting { .. } | State::Campaigning { .. } => None,
        }
    }

    pub(crate) fn has_lapsed(&self, now: Instant) -> bool {
        self.held().is_some_and(|(_, valid_until)| valid_until <= now)
    }

    const fn ballot(&mut self) -> Option<&mut Ballot> {
        match &mut self.state {
            State::Campaigning { ballot, .. } | State::Holding { ballot, .. } => Some(ballot),
            State::Waiting { .. } => None,
        }
    }

    /// When something is to be done for it.
    const fn due_at(&self) -> Instant {
        match self.state {
            State::Waiting { until } => until,
            State::Campaigning { again_at, .. } | State::Holding { again_at, .. } => again_at,
        }
    }

    /// Another member tells of a term. One that lies far ahead of what is `known` is approached in steps: it may be a lie.
    fn hear_of(&mut self, term: Term, known: Term) {
        let most = known.0.saturating_add(MAX_TOLD_STEP);
        self.told = self.told.max(Term(term.0.min(most)));
    }
}

/// Whether a node can hold an office at present.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ability {
    Able,
    Isolated,
    Draining,
    Left,
}

impl Ability {
    const fn obstacle(self) -> Option<Vacancy> {
        match self {
            Self::Able => None,
            Self::Isolated => Some(Vacancy::Isolated),
            Self::Draining | Self::Left => Some(Vacancy::NotServing),
        }
    }

    const fn lost(self) -> Option<LostReason> {
        match self {
            Self::Able => None,
            Self::Isolated => Some(LostReason::Isolated),
            Self::Draining => Some(LostReason::Draining),
            Self::Left => Some(LostReason::Left),
        }
    }
}

/// The prospects of a ballot.
enum Outlook {
    /// Others have yet to answer.
    Open,
    /// This node's own vote makes the majority.
    OwnVote,
    /// Too many have refused.
    Hopeless,
}

/// The voters of an office as this node knows them.
#[derive(Debug, Default)]
struct Electorate {
    /// The live ones, this node perhaps among them; at most [`OfficeRules::MAX_VOTERS`].
    live: Vec<Peer>,
    /// How many of them are alive.
    alive: usize,
    /// How many count, dead ones included.
    size: u16,
    needed: usize,
}

/// The rules, with what they work on.
pub(crate) struct Candidate<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) data: &'a mut DataRoom,
    pub(crate) ability: Ability,
    pub(crate) own: &'a mut Leadership,
}

impl Candidate<'_> {
    /// Stands for an office from now on.
    pub(crate) fn stand(&mut self, office: Office, rules: OfficeRules) -> Result<(), StandError> {
        let known = self.own.candidacies.get(&office).map(Candidacy::rules);
        if known == Some(&rules) {
            return Ok(());
        }
        let is_new = known.is_none();
        self.check_stand(&rules, is_new)?;
        self.resign(&office);
        self.own.followed.add(self.ctx, &office, true);
        self.follow_office(&office, Vacancy::Released);
        let until = self.ctx.now + self.random(0.0..1.0);
        let candidacy = Candidacy::new(rules, until);
        self.own.candidacies.insert(office.clone(), candidacy);
        self.show(&office);
        self.plan();
        Ok(())
    }

    fn check_stand(&self, rules: &OfficeRules, is_new: bool) -> Result<(), StandError> {
        match is_new && self.own.candidacies.len() >= MAX_CANDIDACIES {
            _ if self.ability == Ability::Left => Err(StandError::Left),
            true => Err(StandError::TooManyOffices { max: MAX_CANDIDACIES }),
            false => self.check_voters(rules),
        }
    }

    fn check_voters(&self, rules: &OfficeRules) -> Result<(), StandError> {
        match rules.expected.map_or_else(|| voters(self.list, rules).count(), usize::from) {
            0 if rules.expected.is_some() => Err(StandError::NoVoters),
            voters if voters > OfficeRules::MAX_VOTERS => Err(StandError::TooManyVoters { voters }),
            _ => Ok(()),
        }
    }

    /// Stands for an office no longer; `false` if it did not.
    pub(crate) fn resign(&mut self, office: &Office) -> bool {
        self.end_term(office, LostReason::Resigned);
        let has_stood = self.own.candidacies.remove(office).is_some();
        self.show(office);
        self.own.followed.resign(office);
        has_stood
    }

    /// Does what is due for each office.
    pub(crate) fn wake(&mut self) {
        let now = self.ctx.now;
        self.own.wake_at = self.own.wake_at.filter(|&at| at > now);
        let due = self.own.candidacies.iter().filter(|(_, candidacy)| candidacy.due_at() <= now);
        for office in due.map(|(office, _)| office.clone()).collect::<Vec<_>>() {
            self.act(&office);
            self.show(&office);
        }
        self.plan();
    }

    /// Gives up the terms whose time is over: nothing is done or reported as their holder any more.
    pub(crate) fn lapse(&mut self) {
        for office in self.own.lapsed(self.ctx.now) {
            self.end_term(&office, LostReason::LeaseLost);
            self.show(&office);
        }
        self.plan();
    }

    /// Gives up all offices if this node cannot hold any.
    pub(crate) fn review(&mut self) {
        if let Some(why) = self.ability.lost() {
            self.end_all(why);
        }
    }

    /// Gives up all offices, because this node is about to leave.
    pub(crate) fn leave(&mut self) {
        self.end_all(LostReason::Left);
    }

    fn end_all(&mut self, why: LostReason) {
        for office in self.own.candidacies.keys().cloned().collect::<Vec<_>>() {
            self.end_term(&office, why);
            self.show(&office);
        }
        self.plan();
    }

    /// Follows a change of a member, whose data has changed with it.
    pub(crate) fn react(&mut self, transition: &Transition) {
        self.own.voter.react(self.ctx.now, transition);
        if transition.is_me && transition.is_restart() {
            self.end_all(LostReason::Restarted);
        }
        for office in self.own.followed.of(transition.id()) {
            self.follow(&office, vacancy_by(transition));
        }
        self.review();
    }

    /// Follows that a member announced itself as the holder of an office, or no longer does.
    pub(crate) fn handle_announcement(&mut self, office: &Office) {
        let is_known = self.own.followed.contains(office)
            || holder(self.list, &self.data.store, office).is_some();
        if is_known && self.own.followed.add(self.ctx, office, false) {
            self.follow(office, Vacancy::Released);
        }
    }

    fn follow(&mut self, office: &Office, gone: Vacancy) {
        let had_holder = self.own.followed.holder(office).is_some();
        self.follow_office(office, gone);
        if had_holder && self.own.followed.holder(office).is_none() {
            self.hurry(office);
        }
        self.show(office);
    }

    fn follow_office(&mut self, office: &Office, gone: Vacancy) {
        let holder = holder(self.list, &self.data.store, office);
        self.own.followed.set_holder(office, holder, gone);
        if let (Some(_), Some(candidacy)) = (holder, self.own.candidacies.get_mut(office)) {
            candidacy.ties = 0;
        }
    }

    /// Another candidate gave a term up, so this one may follow it at once.
    pub(crate) fn handle_release(&mut self, from: MemberId, release: &LeadRelease) {
        if self.vote().handle_release(from, release) {
            self.hurry(&release.office);
        }
    }

    /// The office may be free: asks for it after no more than the takeover delay.
    fn hurry(&mut self, office: &Office) {
        if !self.own.candidacies.contains_key(office) {
            return;
        }
        let soon = self.ctx.now + self.random(0.0..1.0) * self.patience(office);
        if let Some(Candidacy { state: State::Waiting { until }, .. }) =
            self.own.candidacies.get_mut(office)
        {
            *until = soon.min(*until);
        }
        self.plan();
    }

    /// A voter, perhaps this node itself, answers.
    pub(crate) fn handle_answer(&mut self, from: MemberId, answer: &LeadAnswer) {
        if !self.record(from, answer) {
            self.ctx.stats.office_answers_ignored += 1;
            return;
        }
        self.count(&answer.office);
        self.show(&answer.office);
        self.plan();
    }

    /// Records an answer; `false` if it is of no voter that was asked so.
    fn record(&mut self, from: MemberId, answer: &LeadAnswer) -> bool {
        let known = self.own.voter.promised(&answer.office);
        let (Some(candidacy), Some(member)) =
            (self.own.candidacies.get_mut(&answer.office), self.list.get(from))
        else {
            return false;
        };
        let is_voter = candidacy.rules.voters.matches(member);
        let ballot = candidacy.ballot().filter(|_| is_voter);
        let asked = ballot.and_then(|ballot| ballot.record(from, answer).then_some(ballot.term));
        if let (Some(asked), Err(refusal)) = (asked, answer.result) {
            // One step in each campaign, however many answers there are: terms too far ahead would be refused for ever.
            candidacy.hear_of(refusal.promised, known.max(asked));
        }
        asked.is_some()
    }

    /// Counts the votes: enough of them elect this node, or let it hold the office for longer.
    fn count(&mut self, office: &Office) {
        let Some(candidacy) = self.own.candidacies.get_mut(office) else {
            return;
        };
        let (electorate, lease) =
            (Arc::clone(&candidacy.electorate), self.ctx.params.leadership_lease);
        let ballot = candidacy.ballot();
        let until = ballot.and_then(|ballot| ballot.valid_until(electorate.needed, lease));
        let until = until.filter(|&until| self.ctx.now < until);
        self.apply_votes(office, &electorate, until);
    }

    /// Does what the votes say: the office is granted until then, or not.
    fn apply_votes(&mut self, office: &Office, electorate: &Electorate, until: Option<Instant>) {
        let is_held = self.own.candidacies.get(office).is_some_and(|known| known.held().is_some());
        match until {
            Some(until) if is_held => self.extend(office, until),
            Some(until) => self.take_office(office, until),
            None if is_held => {}
            None => self.go_on(office, electorate),
        }
    }

    /// The term lasts until then, if that is longer than it was known to.
    fn extend(&mut self, office: &Office, longer: Instant) {
        if let Some(Candidacy { state: State::Holding { valid_until, .. }, .. }) =
            self.own.candidacies.get_mut(office)
            && longer > *valid_until
        {
            *valid_until = longer;
            let (office, valid_until) = (office.clone(), longer);
            self.ctx.output(Output::Office(OfficeEvent::Renewed { office, valid_until }));
        }
    }

    /// Goes on with a campaign: this node's own vote comes last, so that a campaign in vain takes no vote from the holder.
    fn go_on(&mut self, office: &Office, electorate: &Electorate) {
        let me = self.me();
        let Some(Candidacy { state: State::Campaigning { ballot, has_voted, .. }, .. }) =
            self.own.candidacies.get_mut(office)
        else {
            return;
        };
        match electorate.outlook(ballot, me.id) {
            Outlook::Open => {}
            Outlook::Hopeless => self.end_campaign(office, electorate),
            Outlook::OwnVote if std::mem::replace(has_voted, true) => {}
            Outlook::OwnVote => self.ask(office, electorate, &[me]),
        }
    }

    /// Acts for an office, whose time has come.
    fn act(&mut self, office: &Office) {
        let (now, me, lease) = (self.ctx.now, self.me(), self.ctx.params.leadership_lease);
        let retry = campaign_time(&self.ctx.params) / CAMPAIGN_ASKS;
        let Some(candidacy) = self.own.candidacies.get_mut(office) else {
            return;
        };
        candidacy.electorate = Arc::new(Electorate::of(self.list, &candidacy.rules));
        let electorate = Arc::clone(&candidacy.electorate);
        match &mut candidacy.state {
            State::Waiting { .. } => self.consider(office, &electorate),
            State::Campaigning { until, .. } if *until <= now => {
                self.end_campaign(office, &electorate);
            }
            State::Campaigning { ballot, again_at, .. } => {
                *again_at = now + retry;
                let open = electorate.open(ballot, me.id);
                self.ask(office, &electorate, &open);
            }
            State::Holding { ballot, again_at, .. } => {
                *again_at = now + lease / 8;
                let lacking = electorate.lacking(ballot, now, lease / 4);
                self.ask(office, &electorate, &lacking);
            }
        }
    }

    /// Starts a campaign, unless something stops it or another member holds the office.
    fn consider(&mut self, office: &Office, electorate: &Electorate) {
        let (now, me) = (self.ctx.now, self.me().id);
        let obstacle = self.obstacle(office, electorate);
        let held_until = self.own.voter.held_until(now, office, me);
        if obstacle.is_none() && held_until.is_none() && !self.is_blind(office, electorate) {
            return self.campaign(office, electorate);
        }
        let wait = held_until.filter(|_| obstacle.is_none()).map_or(RECHECK, |until| until - now);
        let until = now + wait + self.random(0.0..1.0) * self.patience(office);
        if let Some(candidacy) = self.own.candidacies.get_mut(office) {
            candidacy.obstacle = obstacle;
            candidacy.state = State::Waiting { until };
        }
    }

    /// Whether the office has a holder whose lease this node does not see, because it does not vote.
    fn is_blind(&self, office: &Office, electorate: &Electorate) -> bool {
        let holder = self.own.followed.holder(office).map(|(holder, _)| holder);
        holder.is_some_and(|holder| self.list.is_alive(holder))
            && !electorate.is_live(self.list.me().id())
    }

    /// The reason that prevents this node from standing for an office at present.
    fn obstacle(&self, office: &Office, electorate: &Electorate) -> Option<Vacancy> {
        let rules = self.own.candidacies.get(office).map(Candidacy::rules)?;
        let limit = rules.expected.map_or(OfficeRules::MAX_VOTERS, usize::from);
        let &Electorate { alive: seen, needed, size, .. } = electorate;
        let obstacles = [
            (usize::from(size) > limit, Vacancy::TooManyVoters),
            (rules.expected.is_none() && !self.is_settled(), Vacancy::NotSettled),
            (seen < needed, Vacancy::NoMajority { seen, needed }),
        ];
        let first = obstacles.into_iter().find_map(|(stops, why)| stops.then_some(why));
        self.ability.obstacle().or(first)
    }

    /// Whether the number of voters known here can be relied on. A node that is alone may not have found the others yet.
    fn is_settled(&self) -> bool {
        let settled_at = self.own.voter.changed_at() + SETTLING_TIME;
        settled_at <= self.ctx.now && self.list.snapshot().len() > 1
    }

    /// Asks all voters for the next term.
    fn campaign(&mut self, office: &Office, electorate: &Electorate) {
        let (now, me) = (self.ctx.now, self.me().id);
        let announced = self.own.followed.holder(office).map_or(Term(0), |(_, term)| term);
        let promised = self.own.voter.promised(office);
        let Some(candidacy) = self.own.candidacies.get_mut(office) else {
            return;
        };
        candidacy.hear_of(announced, candidacy.told.max(promised));
        let term = Term(candidacy.told.max(promised).0.saturating_add(1));
        candidacy.told = term;
        let lasts = campaign_time(&self.ctx.params);
        candidacy.state = State::Campaigning {
            ballot: Ballot::new(term, self.list.me().generation()),
            has_voted: false,
            again_at: now + lasts / CAMPAIGN_ASKS,
            until: now + lasts,
        };
        self.ctx.stats.office_campaigns += 1;
        self.ask(office, electorate, &electorate.others(me));
        self.go_on(office, electorate);
    }

    /// Asks these voters for the term under way.
    fn ask(&mut self, office: &Office, electorate: &Electorate, voters: &[Peer]) {
        if voters.is_empty() {
            return;
        }
        self.own.sequence.0 = self.own.sequence.0.wrapping_add(1);
        let (sequence, lease) = (self.own.sequence, self.ctx.params.leadership_lease);
        let Some(candidacy) = self.own.candidacies.get_mut(office) else {
            return;
        };
        let (rules, size) = (candidacy.rules.clone(), electorate.size);
        let Some(ballot) = candidacy.ballot() else {
            return;
        };
        ballot.record_ask(sequence, self.ctx.now);
        let (office, term, generation) = (office.clone(), ballot.term, ballot.generation);
        let ask = LeadAsk { office, term, generation, sequence, lease, rules, size };
        voters.iter().for_each(|&voter| self.send_ask(voter, ask.clone()));
    }

    fn send_ask(&mut self, to: Peer, ask: LeadAsk) {
        match to.id == self.list.me().id() {
            true => self.vote().handle_ask(to, ask),
            false => self.ctx.send(to, &Part::LeadAsk(Box::new(ask))),
        }
    }

    /// Enough voters have granted the term.
    fn take_office(&mut self, office: &Office, valid_until: Instant) {
        let again_at = self.ctx.now + self.ctx.params.leadership_lease / 8;
        let Some(candidacy) = self.own.candidacies.get_mut(office) else {
            return;
        };
        let waiting = State::Waiting { until: again_at };
        let State::Campaigning { ballot, .. } = std::mem::replace(&mut candidacy.state, waiting)
        else {
            return;
        };
        let (token, office) = (ballot.term, office.clone());
        (candidacy.obstacle, candidacy.ties) = (None, 0);
        candidacy.state = State::Holding { ballot, again_at, valid_until };
        self.ctx.stats.offices_taken += 1;
        if self.announce(&office, token).is_err() {
            // The office is held, though others do not learn by whom.
            self.ctx.stats.office_announcements_refused += 1;
        }
        let elected = OfficeEvent::Elected { office, token, valid_until };
        self.ctx.output(Output::Office(elected));
    }

    fn announce(&mut self, office: &Office, token: Term) -> Result<(), DataError> {
        let DataRoom { own, store, .. } = &mut *self.data;
        let (key, value) = (office.data_key(), token.to_string());
        own.put(self.ctx, store, (&key, value.as_bytes().into()), None)
    }

    /// No majority granted the term. Voters that did are free for others.
    fn end_campaign(&mut self, office: &Office, electorate: &Electorate) {
        let (now, tie) = (self.ctx.now, self.random(TIE) * self.patience(office));
        self.release(office);
        let Some(candidacy) = self.own.candidacies.get_mut(office) else {
            return;
        };
        let Some(ballot) = candidacy.ballot() else {
            return;
        };
        let wait = electorate.wait(ballot);
        let no_majority = Vacancy::NoMajority { seen: ballot.granted(), needed: electorate.needed };
        let told = ballot.refusals().find_map(obstacle_by);
        // Voters that refuse for another reason wait for the present holder, or for the next try.
        let is_unanswered = ballot.refusals().next().is_none();
        candidacy.obstacle = told.or(is_unanswered.then_some(no_majority));
        candidacy.ties = (candidacy.ties + 1).min(MAX_TIES);
        candidacy.state = State::Waiting { until: now + wait.min(MAX_WAIT) + tie };
    }

    /// Ends the term or the campaign of this node for an office, if there is one.
    fn end_term(&mut self, office: &Office, why: LostReason) {
        let held = self.own.candidacies.get(office).and_then(Candidacy::held);
        let is_under_way =
            self.own.candidacies.get_mut(office).and_then(Candidacy::ballot).is_some();
        if !is_under_way {
            return;
        }
        // First of all: whatever follows may be known elsewhere sooner than here.
        if let Some((token, _)) = held {
            self.ctx.stats.offices_lost += 1;
            self.own.followed.release(office);
            let office = office.clone();
            self.ctx.output(Output::Office(OfficeEvent::Lost { office, token, why }));
        }
        self.release(office);
        let until = self.ctx.now + self.random(TIE);
        if let Some(candidacy) = self.own.candidacies.get_mut(office) {
            candidacy.state = State::Waiting { until };
        }
    }

    /// Lets the voters of a term grant the office to others.
    fn release(&mut self, office: &Office) {
        let me = self.me();
        let ballot = self.own.candidacies.get_mut(office).and_then(Candidacy::ballot);
        let Some(ballot) = ballot else {
            return;
        };
        let (term, generation) = (ballot.term, ballot.generation);
        let release = LeadRelease { office: office.clone(), term, generation };
        let electorate =
            self.own.candidacies.get(office).map(|known| Arc::clone(&known.electorate));
        for &voter in electorate.iter().flat_map(|electorate| &electorate.live) {
            match voter.id == me.id {
                true => _ = self.vote().handle_release(me.id, &release),
                false => {
                    self.ctx.send_stream(voter, Payload::of(&Part::LeadRelease(release.clone())));
                }
            }
        }
        let DataRoom { own, store, .. } = &mut *self.data;
        own.delete(self.ctx, store, &office.data_key());
    }

    /// Reports what is known of an office, if that is new.
    fn show(&mut self, office: &Office) {
        let state = self.own.state(office);
        self.own.followed.show(self.ctx, office, state);
    }

    /// Sets the timer for the office that is due first.
    fn plan(&mut self) {
        let next = self.own.candidacies.values().map(|candidacy| {
            let held_until = candidacy.held().map(|(_, until)| until);
            held_until.map_or(candidacy.due_at(), |until| until.min(candidacy.due_at()))
        });
        let Some(next) = next.min() else {
            return;
        };
        if self.own.wake_at.is_none_or(|at| next < at) {
            self.own.wake_at = Some(next);
            self.ctx.timers.set(next, Timer::Leadership);
        }
    }

    fn vote(&mut self) -> Vote<'_> {
        let Self { ctx, list, own, .. } = self;
        Vote { ctx, list, own: &mut own.voter }
    }

    fn me(&self) -> Peer {
        let me = self.list.me();
        Peer { id: me.id(), addr: me.addr() }
    }

    /// How many times longer a candidate waits: twice as long after each campaign in vain. Otherwise many candidates would take
    /// the votes from each other for ever.
    fn patience(&self, office: &Office) -> u32 {
        self.own.candidacies.get(office).map_or(1, |candidacy| 1 << candidacy.ties)
    }

    /// A random share of the time of a campaign, so that candidates do not ask at the same time.
    fn random(&mut self, share: std::ops::Range<f64>) -> Duration {
        campaign_time(&self.ctx.params).mul_f64(self.ctx.rng.random_range(share))
    }
}

impl Electorate {
    fn of(list: &MembershipList, rules: &OfficeRules) -> Self {
        let all: Vec<_> = voters(list, rules).collect();
        let live = all.iter().filter(|member| member.state().is_live());
        let live = live.map(|member| Peer { id: member.id(), addr: member.addr() });
        let live = live.take(OfficeRules::MAX_VOTERS).collect();
        let alive = all.iter().filter(|member| member.state() == MemberState::Alive).count();
        let size = u16::try_from(all.len()).unwrap_or(u16::MAX);
        let needed = usize::from(rules.expected.unwrap_or(size)) / 2 + 1;
        Self { live, alive, size, needed }
    }

    fn is_live(&self, id: MemberId) -> bool {
        self.live.iter().any(|voter| voter.id == id)
    }

    fn others(&self, me: MemberId) -> Vec<Peer> {
        self.live.iter().copied().filter(|voter| voter.id != me).collect()
    }

    /// The others that have not answered.
    fn open(&self, ballot: &Ballot, me: MemberId) -> Vec<Peer> {
        let others = self.others(me).into_iter();
        others.filter(|voter| ballot.is_open(voter.id)).collect()
    }

    /// The prospects of a ballot that has no majority.
    fn outlook(&self, ballot: &Ballot, me: MemberId) -> Outlook {
        let own = usize::from(self.is_live(me) && ballot.is_open(me));
        let granted = ballot.granted() + own;
        match self.open(ballot, me).len() {
            open if granted + open < self.needed => Outlook::Hopeless,
            _ if own == 1 && granted >= self.needed => Outlook::OwnVote,
            _ => Outlook::Open,
        }
    }

    /// How long the refusals of a ballot make its candidate wait: until the others are a majority. One voter that states a longer
    /// time, which may be a lie, does not delay it.
    fn wait(&self, ballot: &Ballot) -> Duration {
        let mut waits: Vec<_> = ballot.refusals().map(|refusal| refusal.remaining).collect();
        waits.sort_unstable();
        let others = self.live.len().saturating_sub(waits.len());
        let missing = self.needed.saturating_sub(others);
        let last = missing.min(waits.len()).checked_sub(1);
        last.map_or(Duration::ZERO, |last| waits[last])
    }

    /// Those that granted nothing that was sent within `age`.
    fn lacking(&self, ballot: &Ballot, now: Instant, age: Duration) -> Vec<Peer> {
        let live = self.live.iter().copied();
        live.filter(|voter| ballot.lacks(voter.id, now, age)).collect()
    }
}

/// The obstacle that a refusal states, if waiting alone does not remove it.
fn obstacle_by(refusal: &Refusal) -> Option<Vacancy> {
    let obstacles = [
        (Why::RulesDiffer, Vacancy::RulesDiffer),
        (Why::NotSettled, Vacancy::NotSettled),
        (Why::TooManyVoters, Vacancy::TooManyVoters),
    ];
    obstacles.into_iter().find_map(|(why, obstacle)| (why == refusal.why).then_some(obstacle))
}

/// How long voters have to answer: 300 ms with the default settings.
fn campaign_time(params: &crate::Params) -> Duration {
    (params.prior_round_trip * 3).max(Duration::from_millis(300))
}

/// How often a voter is asked in a campaign.
const CAMPAIGN_ASKS: u32 = 3;
/// How long a candidate waits after a campaign in vain, as a share of its time.
const TIE: std::ops::Range<f64> = 0.3..2.0;
/// After this many campaigns in vain, waits grow no longer: they are sixteen times as long as at first.
const MAX_TIES: u32 = 4;
/// How long a candidate waits where nothing tells when it is of use to ask.
const RECHECK: Duration = Duration::from_secs(1);
/// The longest wait that a voter can make a candidate wait: the longest lease.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How far the word of other members raises the next term in a campaign. A voter that lies cannot exhaust the terms.
const MAX_TOLD_STEP: u64 = 1 << 16;
/// The most offices that a node stands for: each holder has a key of member data.
const MAX_CANDIDACIES: usize = 64;

/// The candidacies of a node, by office.
pub(crate) type Candidacies = BTreeMap<Office, Candidacy>;

#[cfg(test)]
mod tests;
