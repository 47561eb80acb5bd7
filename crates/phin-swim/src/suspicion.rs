//! Suspicion by evidence: an observer that misses replies asks further, then accuses; the other observers look for
//! themselves and vote; `Dead` needs a majority of those able to judge, enough phi, and silence for as long as its kind
//! is given. Any sign of life voids all evidence from before it.
//!
//! What counts as one miss: one ping of ours, on its own, whose reply is overdue on its link. Pings follow each other
//! no sooner than the one before is overdue, and after the second at least a sixteenth of the pause tolerance apart.
//! What others miss counts through their votes, never through a ping we asked them for.

use std::{
    collections::{BTreeMap, BTreeSet},
    f64::consts::LOG10_E,
    sync::Arc,
    time::Duration,
};

use phin_accrual::{Evidence, MAX_LOSS};

use crate::{
    Change, Instant, MemberId, MemberState, Output, Peer, Question, Swim, Version,
    probe::Purpose,
    reports::{Outcome, Report, Silence, Vote},
    swim::{Source, Timer},
    wire::{Part, Sequence, VoteBody},
};

/// The subjects that do not answer, or did not answer others: one case for each, at most [`MAX_CASES`].
#[derive(Debug, Default)]
pub(crate) struct Cases(BTreeMap<MemberId, Case>);

/// What there is against one version of one member.
#[derive(Debug)]
struct Case {
    version: Version,
    opened_at: Instant,
    stage: Stage,
    /// When our pings were sent that are overdue since the last sign of life.
    misses: Vec<Instant>,
    /// What the subject's host said to us: of several answers the one that says most.
    silence: Silence,
    /// When we last asked it.
    host_asked_at: Option<Instant>,
    /// The next ping of the subject.
    retry: Retry,
    /// What other observers found.
    votes: BTreeMap<MemberId, Vote>,
    /// Whether our own judgement was withheld, as we may have received nothing.
    is_held: bool,
    /// When we first asked for votes, since we last asked for none for a while.
    accused_at: Option<Instant>,
    /// When the first vote of another came.
    voted_at: Option<Instant>,
    /// Who collects votes.
    accusers: BTreeSet<MemberId>,
    /// Whom we told our evidence: their answers count.
    asked: BTreeSet<MemberId>,
    /// Whether they include the members that the subject pings.
    has_asked_subjects: bool,
    /// Observers that hold themselves unable to judge.
    abstaining: BTreeSet<MemberId>,
    /// What we last told of it.
    told: Option<Told>,
    /// How often it refuted while we did not hear it: others do, so it is our side of the network that is at fault.
    refuted: u32,
}

/// A vote that was sent.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Instant,
    phi: f64,
    silence: Silence,
}

/// The next ping of a subject that does not answer: one at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Retry {
    /// None is planned.
    None,
    /// Its timer is set for this moment; any other timer is of a case that was closed.
    At(Instant),
    /// It was sent, and is not overdue yet.
    UnderWay,
}

/// How far our own doubt has gone.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Stage {
    /// Pinging again.
    Watching,
    /// It was pinged by stream, and its host is asked.
    Insisting,
    /// Others were asked to ping it.
    Asked,
    /// The other observers were told.
    Accused,
}

impl Cases {
    pub(crate) fn close(&mut self, id: MemberId) {
        self.0.remove(&id);
    }

    pub(crate) fn open(&self) -> Vec<MemberId> {
        self.0.keys().copied().collect()
    }

    pub(crate) fn is_open(&self, id: MemberId) -> bool {
        self.0.contains_key(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn accused_at(&self, id: MemberId) -> Option<Instant> {
        self.0.get(&id)?.accused_at
    }

    /// When our pings of a member were sent that are overdue since its last sign of life.
    pub(crate) fn misses_of(&self, id: MemberId) -> &[Instant] {
        self.0.get(&id).map_or(&[], |case| &case.misses)
    }

    /// What other observers told against a member since its last sign of life.
    pub(crate) fn votes_of(&self, id: MemberId) -> impl Iterator<Item = &Vote> {
        self.0.get(&id).into_iter().flat_map(|case| case.votes.values())
    }

    /// Forgets our own misses, of which we no longer know whether they were the subjects'.
    pub(crate) fn void_own_misses(&mut self) {
        for case in self.0.values_mut() {
            case.misses.clear();
            case.retry = Retry::None;
            // Its host is asked again as well.
            case.stage = Stage::Watching;
            case.host_asked_at = None;
        }
    }
}

impl Told {
    /// Whether the accusers need no further word: of much more phi, or of another kind of silence.
    fn is_enough(self, now: Instant, tolerance: Duration, case: &Case) -> bool {
        let is_recent = now - self.at < tolerance / 8;
        self.silence == case.silence && (is_recent || self.phi >= ENOUGH_PHI)
    }
}

impl Case {
    fn new(version: Version, now: Instant) -> Self {
        Self {
            version,
            opened_at: now,
            stage: Stage::Watching,
            misses: Vec::new(),
            silence: Silence::Unknown,
            host_asked_at: None,
            retry: Retry::None,
            votes: BTreeMap::new(),
            is_held: false,
            accused_at: None,
            voted_at: None,
            accusers: BTreeSet::new(),
            asked: BTreeSet::new(),
            has_asked_subjects: false,
            abstaining: BTreeSet::new(),
            told: None,
            refuted: 0,
        }
    }

    /// Whether nobody follows it up: a ping for another member was missed, and no accusation came.
    fn is_dormant(&self) -> bool {
        self.retry == Retry::None && self.accusers.is_empty() && self.stage < Stage::Asked
    }

    /// How many pings of ours were missed, as far as others are told.
    fn attempts(&self) -> u8 {
        u8::try_from(self.misses.len()).unwrap_or(u8::MAX)
    }

    /// When the silence began, as far as anyone who counts has found.
    fn silent_since(&self) -> Option<Instant> {
        let votes = self.votes.values().map(|vote| vote.silent_since);
        self.misses.iter().copied().chain(votes).min()
    }
}

impl Swim {
    /// A ping of ours is overdue: the first doubt, or more of it.
    pub(crate) fn handle_miss(
        &mut self,
        now: Instant,
        sequence: Sequence,
        subject: MemberId,
        sent_at: Instant,
    ) {
        if self.record_miss(now, subject, sent_at) {
            self.escalate(now, subject, Some(sequence));
        }
    }

    /// Keeps a miss as evidence; says whether it is any.
    pub(crate) fn record_miss(
        &mut self,
        now: Instant,
        subject: MemberId,
        sent_at: Instant,
    ) -> bool {
        if self.link_heard_at(subject).is_some_and(|heard| heard >= sent_at) {
            // It was heard since by another way: the message was lost, not the member.
            return false;
        }
        if let Some(renewed_at) = self.renewed_at(subject).filter(|&at| at >= sent_at) {
            // It refuted since, which others heard and we did not: the silence before says nothing against this version.
            self.record_lost(subject, renewed_at);
            return false;
        }
        let max_misses = self.max_misses();
        let Some(case) = self.open_case(now, subject) else {
            return false;
        };
        if case.misses.len() < max_misses {
            case.misses.push(sent_at);
            case.misses.sort_unstable();
        }
        self.look_around(now);
        true
    }

    /// A later version of a member is known: it refuted what there was against the one before.
    pub(crate) fn renew_case(&mut self, now: Instant, subject: MemberId, version: Version) {
        self.record_renewed(now, subject);
        self.record_known_alive(subject, now);
        if let Some(case) = self.cases.0.get_mut(&subject).filter(|case| case.version < version) {
            let refuted = case.refuted + 1;
            *case = Case { refuted, ..Case::new(version, now) };
        }
    }

    /// A retry was due or is over: whatever follows may set the next.
    pub(crate) fn retry_ended(&mut self, subject: MemberId) {
        if let Some(case) = self.cases.0.get_mut(&subject) {
            case.retry = Retry::None;
        }
    }

    /// The time for another ping of a subject that does not answer.
    pub(crate) fn retry(&mut self, now: Instant, subject: MemberId, version: Version) {
        let case = self.cases.0.get(&subject).filter(|case| case.version == version);
        if case.is_some_and(|case| matches!(case.retry, Retry::At(at) if at <= now)) {
            self.verify(now, subject);
        }
    }

    /// Does what the evidence we have ourselves calls for: ping again, ask others, accuse, vote.
    pub(crate) fn escalate(&mut self, now: Instant, subject: MemberId, sequence: Option<Sequence>) {
        let phi = self.own_phi(now, subject);
        self.schedule_retry(now, subject, phi);
        let Some(case) = self.cases.0.get_mut(&subject) else {
            return;
        };
        let silence = case.silence;
        // On a link that loses nearly everything no number of misses says much; others know more.
        let is_doubtful = phi >= ASK_PHI || case.misses.len() >= MANY_MISSES;
        // Where others accuse it, they have asked already; a link that loses much is asked by stream all the same.
        let asked = sequence.filter(|_| case.accusers.is_empty());
        if case.stage == Stage::Watching && (is_doubtful || case.misses.len() >= 2) {
            case.stage = Stage::Insisting;
            let insisted = if phi < ACCUSE_PHI { sequence } else { asked };
            if let Some(sequence) = insisted {
                self.ping_by_stream(now, subject, sequence);
            }
        }
        if self.cases.0.get(&subject).is_some_and(|case| case.stage >= Stage::Insisting) {
            self.ask_host_of_silent(now, subject);
        }
        let is_early = self.is_early(now, subject);
        let is_left_to_others = self.is_left_to_others(now, subject);
        if is_doubtful
            && !is_early
            && let Some(case) = self.cases.0.get_mut(&subject)
            && (case.stage < Stage::Asked || is_left_to_others)
        {
            case.stage = case.stage.max(Stage::Asked);
            if let Some(sequence) = asked {
                self.ask_helpers(now, subject, sequence);
            }
        }
        if self.cannot_judge(now, silence) {
            return;
        }
        if phi >= ACCUSE_PHI {
            self.contacts.record_silent(subject, now);
            if !is_early && !is_left_to_others {
                self.accuse_or_vote(now, subject, phi);
            }
        }
        self.judge(now, subject);
    }

    /// Whether a member was as silent as this lately, and lived: it is looked at, but others are not asked until it was
    /// silent for longer, or for half of what silence is given. One that hangs is given more, but is to be suspect as soon.
    fn is_early(&self, now: Instant, subject: MemberId) -> bool {
        let Some(case) = self.cases.0.get(&subject).filter(|case| case.accusers.is_empty()) else {
            return false;
        };
        let pause = self.params.pause_tolerance;
        let most = match case.silence {
            Silence::Gone => Duration::ZERO,
            Silence::Hung | Silence::Silent => pause / 2,
            Silence::Unknown => pause * 3 / 2,
        };
        let patience = self.longest_silence(now, subject).min(most);
        case.misses.first().is_some_and(|&first| now - first < patience)
    }

    /// Tells our evidence to those who need it: to every observer if nobody has accused yet, else to the accusers.
    fn accuse_or_vote(&mut self, now: Instant, subject: MemberId, phi: f64) {
        let observers = match self.may_be_deaf(now, subject) {
            true => self.voters(now, subject),
            // One that is silent to us may hear us all the same.
            false => self.alive_observers(subject),
        };
        let tolerance = self.params.pause_tolerance;
        // While very many are silent, each is asked about less often.
        let repeat = self.spaced(tolerance / 4, ACCUSATIONS_PER_TOLERANCE);
        let Some(case) = self.cases.0.get(&subject) else {
            return;
        };
        // Where nobody at all has answered us since the silence began, it may well be ours.
        let last_answer = self.health.last_answer();
        let is_heard = case.misses.first().is_some_and(|&first| last_answer > first);
        let others: Vec<_> = observers.iter().copied().filter(|&o| o != self.id()).collect();
        if !is_heard || (case.misses.len() < 2 && case.accusers.is_empty()) {
            return;
        }
        let age = now - case.misses[0];
        let has_accuser = case.accusers.iter().any(|a| self.is_alive(*a)) && age < tolerance * 2;
        let is_accuser = case.stage == Stage::Accused;
        let told_for = case.told.map(|told| now - told.at);
        // Those who have voted may have taken it for one that hangs.
        let is_gone_now = case.silence == Silence::Gone
            && case.told.is_some_and(|told| told.silence != Silence::Gone);
        let receivers: Vec<_> = match (is_accuser, has_accuser) {
            (true, _) if is_gone_now => others,
            // Those who have not answered may not have heard.
            (true, _) if told_for.is_some_and(|told_for| told_for < repeat) => return,
            (true, _) => others.into_iter().filter(|o| !case.votes.contains_key(o)).collect(),
            (false, true) if case.told.is_some_and(|t| t.is_enough(now, tolerance, case)) => return,
            (false, true) => case.accusers.iter().copied().collect(),
            (false, false) => others.into_iter().chain([subject]).collect(),
        };
        let is_accusation = is_accuser || !has_accuser;
        let Some(body) = self.vote_body(now, subject, phi, is_accusation) else {
            return;
        };
        if let Some(case) = self.cases.0.get_mut(&subject) {
            case.told = Some(Told { at: now, phi, silence: case.silence });
            if is_accusation {
                case.stage = Stage::Accused;
                // After a pause it is a new question: those that heard the member meanwhile need time to answer it.
                let pause = (tolerance * 2).max(repeat * 2);
                if told_for.is_some_and(|told_for| told_for >= pause) {
                    (case.accused_at, case.has_asked_subjects) = (None, false);
                }
                case.accused_at.get_or_insert(now);
            }
        }
        self.stats.accusations += u64::from(is_accusation && !is_accuser);
        if is_accuser && age >= tolerance / 2 && body.silence != Silence::Gone {
            self.ask_those_it_pings(body);
        }
        for receiver in receivers {
            let Some(peer) = self.peer(receiver) else {
                continue;
            };
            if is_accusation
                && let Some(case) = self.cases.0.get_mut(&subject)
                && case.asked.len() < MAX_ACCUSERS
            {
                case.asked.insert(receiver);
            }
            self.send(peer, &Part::Vote(body));
        }
    }

    /// Asks the members that a subject pings whether they heard it, once for each case before a verdict: they hear it even
    /// if it receives nothing itself. They need not look for themselves.
    fn ask_those_it_pings(&mut self, body: VoteBody) {
        let subject = body.subject;
        let (me, observers) = (self.id(), self.list.rings().observers(subject));
        let mut pinged = self.list.rings().subjects(subject);
        pinged.retain(|&id| id != me && self.is_alive(id) && !observers.contains(&id));
        let is_mass = self.is_most_silent();
        let Some(case) = self.cases.0.get_mut(&subject) else {
            return;
        };
        if is_mass || std::mem::replace(&mut case.has_asked_subjects, true) {
            return;
        }
        case.asked.extend(&pinged);
        for peer in pinged.into_iter().filter_map(|id| self.peer(id)).collect::<Vec<_>>() {
            self.send(peer, &Part::Vote(VoteBody { is_accusation: false, ..body }));
        }
    }

    /// A repeated accusation means that our vote was lost: it is sent again, to that accuser alone.
    fn vote_again(&mut self, now: Instant, to: Peer, subject: MemberId, told: Option<Told>) {
        let case = self.cases.0.get(&subject).filter(|case| case.stage != Stage::Accused);
        let is_lost = case.is_some_and(|case| {
            told.is_some() && case.told.map(|told| told.at) == told.map(|told| told.at)
        });
        if is_lost
            && let phi = self.own_phi(now, subject)
            && phi >= ACCUSE_PHI
            && let Some(body) = self.vote_body(now, subject, phi, false)
        {
            self.send(to, &Part::Vote(body));
        }
    }

    /// What we have against a member, as others are told.
    fn vote_body(
        &self,
        now: Instant,
        subject: MemberId,
        phi: f64,
        is_accusation: bool,
    ) -> Option<VoteBody> {
        let case = self.cases.0.get(&subject)?;
        Some(VoteBody {
            subject,
            version: case.version,
            is_accusation,
            is_observer: self.list.rings().observers(subject).contains(&self.id()),
            phi,
            silent_for: now - *case.misses.first()?,
            silence: case.silence,
            attempts: case.attempts(),
        })
    }

    /// An observer tells what it has against a member.
    pub(crate) fn handle_vote(&mut self, now: Instant, from: Peer, body: VoteBody) {
        let VoteBody { subject, version, .. } = body;
        if subject == self.id() {
            let version = self.list.me().version();
            self.send(from, &Part::Clear { subject, version, age: Duration::ZERO });
            return;
        }
        match self.list.get(subject).map(|known| (known.version(), known.state)) {
            Some((known, state)) if known == version && state.is_live() => {}
            Some((known, _)) if known >= version => {
                // The accuser is behind: what we hold settles it.
                if let Some(update) = self.update(now, subject) {
                    self.send(from, &update);
                }
                return;
            }
            _ => {
                self.stats.unknown_subjects += 1;
                return;
            }
        }
        let silent_since = now.saturating_sub(body.silent_for);
        let heard_at = self.link_heard_at(subject).max(self.contacts.heard_at(subject));
        if let Some(heard_at) = heard_at.filter(|&heard| heard > silent_since) {
            self.send(from, &Part::Clear { subject, version, age: now - heard_at });
            return;
        }
        let is_doubted = self.cases.is_open(subject) || !self.is_alive(subject);
        if body.is_accusation && !is_doubted && !self.hearsay.may_accuse(now, from.id) {
            self.stats.hearsay_ignored += 1;
            return;
        }
        self.quicken(now);
        let is_observer = body.is_observer && self.may_observe(from.id, subject)
            || self.voters(now, subject).contains(&from.id);
        let is_impaired = self.is_impaired(now);
        let mut must_ask_again = false;
        let Some(case) = self.open_case(now, subject) else {
            return;
        };
        if is_observer {
            let observer = from.id;
            // No word of another is worth more, so that no single other member reaches the default threshold.
            let phi = body.phi.clamp(0.0, MAX_VOTE_PHI);
            let VoteBody { silence, attempts, .. } = body;
            case.abstaining.remove(&observer);
            let before = case.votes.get(&observer).map(|vote| vote.silence);
            if silence == Silence::Gone && before != Some(silence) && case.silence == Silence::Hung
            {
                // A process that was ending when we asked has ended by now.
                must_ask_again = true;
            }
            case.voted_at.get_or_insert(now);
            case.votes.insert(observer, Vote { observer, phi, silent_since, silence, attempts });
        }
        // Nobody else may collect the votes: it could keep them to itself.
        if body.is_accusation && is_observer && case.accusers.len() < MAX_ACCUSERS {
            case.accusers.insert(from.id);
        }
        if must_ask_again {
            case.host_asked_at = None;
            self.ask_host_of_silent(now, subject);
        }
        if is_impaired {
            self.send(from, &Part::Abstain { subject, version });
            return;
        }
        if self
            .cases
            .0
            .get(&subject)
            .is_some_and(|case| case.retry == Retry::None && case.misses.is_empty())
            && body.is_accusation
        {
            self.verify(now, subject);
        }
        if body.is_accusation {
            let before = self.cases.0.get(&subject).and_then(|case| case.told);
            self.escalate(now, subject, None);
            self.vote_again(now, from, subject, before);
        } else {
            self.judge(now, subject);
        }
    }

    /// Others judged by fewer votes than we ask for. An observer looks for itself: with what it finds they may be a majority.
    pub(crate) fn weigh_doubted(&mut self, now: Instant, subject: MemberId) {
        if self.credible_votes_of_doubted(subject).is_empty()
            || !self.list.rings().observers(subject).contains(&self.id())
        {
            return;
        }
        let case = self.open_case(now, subject);
        if case.is_some_and(|case| case.retry == Retry::None && case.misses.is_empty()) {
            self.verify(now, subject);
        }
        self.judge(now, subject);
    }

    /// Our evidence and, where that makes a majority, the votes of a verdict that we doubt. They count beside an accusation
    /// of ours only: one lost ping and the word of others would be hearsay.
    fn votes_to_judge(&self, now: Instant, subject: MemberId, own_phi: f64) -> Vec<Vote> {
        let votes = self.valid_votes(now, subject, own_phi);
        let case = self.cases.0.get(&subject);
        let Some(case) = case.filter(|case| own_phi >= ACCUSE_PHI && case.misses.len() >= 2) else {
            return votes;
        };
        let mut all: BTreeMap<_, _> = self
            .credible_votes_of_doubted(subject)
            .into_iter()
            .filter(|vote| vote.observer != self.id() && !case.abstaining.contains(&vote.observer))
            .map(|vote| (vote.observer, Vote { phi: vote.phi.clamp(0.0, MAX_VOTE_PHI), ..vote }))
            .collect();
        if all.is_empty() {
            return votes;
        }
        for vote in &votes {
            all.entry(vote.observer).or_insert(*vote);
        }
        match all.len() > self.alive_observers(subject).len() / 2 {
            true => all.into_values().collect(),
            false => votes,
        }
    }

    /// An observer does not hold itself able to judge.
    pub(crate) fn handle_abstain(
        &mut self,
        now: Instant,
        from: MemberId,
        subject: MemberId,
        version: Version,
    ) {
        let case = self.cases.0.get_mut(&subject).filter(|case| case.version == version);
        if let Some(case) = case
            && case.abstaining.len() < MAX_ACCUSERS
        {
            case.votes.remove(&from);
            case.abstaining.insert(from);
            self.judge(now, subject);
        }
    }

    /// A member heard from one that we doubt: whatever we have against it from before that is void.
    pub(crate) fn handle_clear(
        &mut self,
        now: Instant,
        from: MemberId,
        subject: MemberId,
        version: Version,
        age: Duration,
    ) {
        if self.list.get(subject).is_none_or(|known| known.version() != version) {
            return;
        }
        let until = now.saturating_sub(age);
        if from != subject {
            if !self.may_clear(now, from, subject) {
                self.stats.unasked_answers += 1;
                return;
            }
            if !self.takes_word_of(now, subject, from) {
                return;
            }
            self.record_lost(subject, until);
            self.record_reached_by(subject, from);
        }
        self.void_evidence(now, subject, until, from);
    }

    /// Whether a member may say that this one lives: if it observes it, or was asked what it knows.
    fn may_clear(&self, now: Instant, from: MemberId, subject: MemberId) -> bool {
        self.may_observe(from, subject)
            || self.cases.0.get(&subject).is_some_and(|case| case.asked.contains(&from))
            || self.voters(now, subject).contains(&from)
    }

    /// The subject was alive at `until`: what is held against it from before is void.
    pub(crate) fn void_evidence(
        &mut self,
        now: Instant,
        subject: MemberId,
        until: Instant,
        by: MemberId,
    ) {
        self.record_known_alive(subject, until);
        let Some(case) = self.cases.0.get_mut(&subject) else {
            return;
        };
        let misses = case.misses.len();
        let silent_since = case.silent_since();
        case.misses.retain(|&sent_at| sent_at > until);
        let mut told: BTreeSet<_> = case.votes.keys().chain(&case.accusers).copied().collect();
        let votes = case.votes.len();
        case.votes.retain(|_, vote| vote.silent_since > until);
        case.voted_at = case.voted_at.filter(|_| !case.votes.is_empty());
        let is_news = case.misses.len() < misses || case.votes.len() < votes;
        let (version, was_accused) = (case.version, case.stage == Stage::Accused);
        let is_closed = case.misses.is_empty() && case.votes.is_empty();
        if was_accused {
            // Whom we asked to vote may still be about to.
            told.extend(self.list.rings().observers(subject));
        }
        if is_closed {
            self.close_case(now, subject, Outcome::Cleared { by });
            let lasted = silent_since.map_or(Duration::ZERO, |since| until.saturating_since(since));
            self.record_silence_ended(now, subject, lasted);
            if by != subject {
                self.ask_to_refute(now, subject);
            }
        }
        // Those who doubt it too learn at once, from whoever heard it first.
        // What voids nothing here is passed on by nobody, or it would go round among accusers for ever.
        if by == subject || (was_accused && is_news) {
            let me = self.id();
            told.retain(|&id| id != by && id != me);
            for peer in told.into_iter().filter_map(|id| self.peer(id)).collect::<Vec<_>>() {
                self.send(peer, &Part::Clear { subject, version, age: now - until });
            }
        }
    }

    /// Others cleared a member. If it is still suspect here, only its own refutation ends that: it is pinged, and told of
    /// the suspicion when it replies.
    pub(crate) fn ask_to_refute(&mut self, now: Instant, subject: MemberId) {
        let is_suspect = self.list.get(subject).is_some_and(|m| m.state == MemberState::Suspect);
        if is_suspect
            && self.waiting_since(subject).is_none()
            && let Some(peer) = self.peer(subject)
        {
            self.ping(now, peer, Purpose::Probe);
        }
    }

    /// A packet to the member was refused, perhaps before any reply is overdue: whoever hears that looks at once.
    pub(crate) fn doubt_refused(&mut self, now: Instant, subject: MemberId) {
        if self.params.ask_hosts {
            self.open_case(now, subject);
        }
    }

    /// What the subject's host, or its network, said of it. What says less changes nothing: an answer may be lost, or not
    /// be given for want of quota.
    pub(crate) fn record_silence(&mut self, now: Instant, subject: MemberId, silence: Silence) {
        let is_waiting = self.waiting_since(subject).is_some();
        let Some(case) = self.cases.0.get_mut(&subject).filter(|case| case.silence < silence)
        else {
            return;
        };
        case.silence = silence;
        // A ping that is under way need not be sent again.
        if !case.misses.is_empty() || !is_waiting {
            self.escalate(now, subject, None);
        }
    }

    /// Pings a subject that others doubt, as the first of our own attempts.
    pub(crate) fn verify(&mut self, now: Instant, subject: MemberId) {
        if self.open_case(now, subject).is_none() {
            return;
        }
        if let Some(peer) = self.peer(subject) {
            if let Some(case) = self.cases.0.get_mut(&subject) {
                case.retry = Retry::UnderWay;
            }
            self.ping(now, peer, Purpose::Retry);
        }
    }

    /// Decides, as far as the evidence goes: `Suspect` when a second observer agrees, `Dead` when all three conditions
    /// hold. Harmless at any time.
    pub(crate) fn judge(&mut self, now: Instant, subject: MemberId) {
        let own_phi = self.own_phi(now, subject);
        let Some(case) = self.cases.0.get(&subject) else {
            return;
        };
        let Some(silent_since) = case.silent_since() else {
            return;
        };
        if self.is_left_to_others(now, subject) {
            return;
        }
        // Nobody is judged by hearsay alone, nor while the fault may be ours.
        let is_ours =
            self.cannot_judge(now, case.silence) || self.health.last_answer() <= silent_since;
        if is_ours || case.misses.is_empty() {
            return;
        }
        let version = case.version;
        let votes = self.votes_to_judge(now, subject, own_phi);
        let Some(begun) = votes.iter().map(|vote| vote.silent_since).min() else {
            return;
        };
        // Others may have missed it for longer; but it lived when it was last known alive here.
        let silent_since =
            silent_since.min(begun).max(self.known_alive_at(subject).unwrap_or(begun));
        let me = self.id();
        let is_refused = case.silence == Silence::Gone;
        let voters = self.voters(now, subject);
        let is_alone = voters.iter().all(|&voter| voter == me);
        let is_lone = votes.iter().all(|vote| vote.observer == me);
        // Only what its host says does not come from a fault of ours.
        let is_told = is_alone && (is_refused || self.is_told_by_host(case.silence));
        if is_lone && self.may_be_deaf(now, subject) && !is_told {
            // We may be the one that receives nothing. Somebody that we do receive from has to agree.
            self.cases.0.entry(subject).and_modify(|case| case.is_held = true);
            self.look_around(now);
            return;
        }
        if is_lone && case.is_held {
            // We receive again: what we missed while we did not says nothing of the member.
            self.cases.0.insert(subject, Case::new(version, now));
            self.verify(now, subject);
            return;
        }
        if is_lone && !is_alone && !self.has_waited_for_votes(now, subject) {
            return;
        }
        let able = voters.len().max(votes.len());
        let silence = Silence::of(&votes);
        let tolerance = self.tolerance(subject, silence, is_refused, votes.len(), able);
        let mut evidence = Evidence::default();
        votes.iter().for_each(|vote| evidence.record(vote.phi));
        let threshold = self.params.phi_threshold;
        let is_certain = evidence.phi() >= threshold;
        let accused_at = case.accused_at;
        // Those that heard the member need a moment to say so, also if the others speak up late.
        let answers_at =
            accused_at.or(case.voted_at).map(|at| at + self.params.pause_tolerance / 16);
        let answers_at = answers_at.filter(|_| silence != Silence::Gone).unwrap_or(now);
        let time_over_at = answers_at.max(silent_since + tolerance);
        let agreed = votes.len() >= able.min(2) && evidence.phi() >= threshold * 0.75;
        // Everyone hears of a suspicion only if no verdict or sign of life is as quick.
        let tolerance = self.params.pause_tolerance;
        let suspect_at = silent_since + if agreed { tolerance / 8 } else { tolerance * 3 };
        // Who refuted is doubted again, but not in the same breath: where some hear it and others do not, the rumour and
        // its refutation would go round without end.
        let known = self.list.get(subject);
        let since = known.map_or(now, |member| member.since);
        let suspect_at = suspect_at.max(since + tolerance / 2);
        // Those who hear it need a moment to say so.
        let suspect_at = accused_at.map_or(suspect_at, |at| suspect_at.max(at + tolerance / 16));
        // Another member says that it lives, which no longer counts by itself: it gets the time to show it.
        let is_suspect = known.is_some_and(|member| member.state == MemberState::Suspect);
        let suspected_at = if is_suspect { since } else { suspect_at };
        let is_contested = silence != Silence::Gone && self.is_contested(subject, silent_since);
        let dead_at = match is_contested {
            true => time_over_at.max(suspected_at + tolerance),
            false => time_over_at,
        };
        if is_certain && now >= dead_at {
            self.declare_dead(now, subject, votes);
            return;
        }
        if is_certain && now >= time_over_at {
            self.ask_for_refutation(now, subject);
        }
        let is_alive = self.is_alive(subject);
        if is_alive && now >= suspect_at {
            let source = Source::Ourselves;
            self.declare(now, subject, MemberState::Suspect, Change::Suspect, source);
        }
        let next = if is_alive && now < suspect_at { suspect_at.min(dead_at) } else { dead_at };
        if next > now {
            self.timers.set(next, Timer::Judge(subject, version));
        }
    }

    /// The votes that count: of observers, each once, with ours if we have one.
    fn valid_votes(&self, now: Instant, subject: MemberId, own_phi: f64) -> Vec<Vote> {
        let Some(case) = self.cases.0.get(&subject) else {
            return Vec::new();
        };
        let mut votes: Vec<_> = case.votes.values().copied().collect();
        if own_phi >= ACCUSE_PHI
            && let Some(&silent_since) = case.misses.first()
            && (self.may_observe(self.id(), subject)
                || self.voters(now, subject).contains(&self.id()))
        {
            let (observer, silence) = (self.id(), case.silence);
            let attempts = case.attempts();
            votes.push(Vote { observer, phi: own_phi, silent_since, silence, attempts });
        }
        votes.retain(|vote| self.list.get(vote.observer).is_some_and(|m| m.state.is_live()));
        votes
    }

    /// What there is against a member, if others were asked about it already.
    pub(crate) fn evidence_against(
        &self,
        now: Instant,
        subject: MemberId,
    ) -> Option<(Version, Instant, Arc<[Vote]>)> {
        let case = self.cases.0.get(&subject).filter(|case| case.stage >= Stage::Asked)?;
        let votes = self.valid_votes(now, subject, self.own_phi(now, subject));
        Some((case.version, case.silent_since()?, votes.into()))
    }

    /// What kind of silence a suspect keeps, as far as we know.
    pub(crate) fn silence_of(&self, subject: MemberId) -> Option<Silence> {
        let case = self.cases.0.get(&subject)?;
        let votes = case.votes.values().map(|vote| vote.silence);
        votes.chain([case.silence]).max()
    }

    /// How long the silence of a member is given, by what the votes amount to and what its host says to us.
    fn tolerance(
        &self,
        subject: MemberId,
        silence: Silence,
        is_refused: bool,
        votes: usize,
        able: usize,
    ) -> Duration {
        let refuted = self.cases.0.get(&subject).map_or(0, |case| case.refuted);
        let pause = self.pause_tolerance_for(subject) * (1 + refuted.min(MAX_REFUTED));
        let hang = self.hang_tolerance().max(pause);
        time_given(silence, is_refused, self.is_most_silent(), pause, hang)
            .mul_f64(stretch(votes, able))
    }

    fn declare_dead(&mut self, now: Instant, subject: MemberId, votes: Vec<Vote>) {
        self.close_case(now, subject, Outcome::Dead { votes: votes.into() });
        self.mark_dead(now, subject, Source::Ourselves);
    }

    fn close_case(&mut self, now: Instant, subject: MemberId, outcome: Outcome) {
        let Some(case) = self.cases.0.remove(&subject) else {
            return;
        };
        // A single lost message is nobody's concern; what others were asked about is.
        if case.stage >= Stage::Asked || !case.votes.is_empty() {
            let began_at = case.misses.first().copied().unwrap_or(case.opened_at);
            let report = Report { version: case.version, began_at, ended_at: now, outcome };
            self.reports.keep(subject, report);
        }
    }

    /// The case of a live member, opened if there is room.
    fn open_case(&mut self, now: Instant, subject: MemberId) -> Option<&mut Case> {
        let known = self.list.get(subject).filter(|known| known.state.is_live())?;
        let version = known.version();
        let recent = self.params.pause_tolerance / 4;
        if self.cases.0.len() >= MAX_CASES && !self.cases.0.contains_key(&subject) {
            self.stats.cases_refused += 1;
            return None;
        }
        let case = self.cases.0.entry(subject).or_insert_with(|| Case::new(version, now));
        if case.is_dormant() {
            // What we missed for another long ago, and nobody followed up, is no part of a silence that begins now.
            case.misses.retain(|&sent_at| now - sent_at <= recent);
            case.opened_at = now;
        }
        Some(case)
    }

    fn schedule_retry(&mut self, now: Instant, subject: MemberId, phi: f64) {
        let tolerance = self.params.pause_tolerance;
        let is_cut_off = self.own_failing_link(now, subject).is_some();
        let is_early = self.is_early(now, subject);
        let least = self.spaced(Duration::ZERO, RETRIES_PER_TOLERANCE);
        let case = self.cases.0.get_mut(&subject).filter(|case| case.retry == Retry::None);
        let Some(case) = case else {
            return;
        };
        let gap = match case.misses.len() {
            // That this link fails is known, and nobody who reaches the member doubts it.
            _ if is_cut_off && case.accusers.is_empty() => tolerance * 4,
            0 | 1 => Duration::ZERO,
            misses if phi < ACCUSE_PHI && misses < MANY_MISSES && !is_early => tolerance / 16,
            _ if is_early => tolerance / 4,
            _ if now - case.opened_at < tolerance * 2 => tolerance / 4,
            _ => tolerance,
        };
        let gap = gap.max(least);
        case.retry = Retry::At(now + gap);
        self.timers.set(now + gap, Timer::Retry(subject, case.version));
    }

    /// How many misses of ours are kept for a case: as many as take the link that loses most to the threshold, so that no
    /// death stays a suspicion for ever.
    pub(crate) fn max_misses(&self) -> usize {
        let least_weight = -phin_accrual::ln(MAX_LOSS) * LOG10_E;
        (self.params.phi_threshold / least_weight).ceil() as usize
    }

    /// What our own misses are worth by now.
    pub(crate) fn own_phi(&self, now: Instant, subject: MemberId) -> f64 {
        let Some(case) = self.cases.0.get(&subject) else {
            return 0.0;
        };
        let mut evidence = Evidence::default();
        case.misses.iter().for_each(|&sent| evidence.record(self.weight(subject, now - sent)));
        evidence.phi()
    }

    /// The observers of a member that are alive and do not abstain.
    pub(crate) fn alive_observers(&self, subject: MemberId) -> Vec<MemberId> {
        let mut observers = self.list.rings().observers(subject);
        observers.retain(|&observer| self.is_alive(observer) && !self.abstains(observer, subject));
        observers
    }

    /// The observers of a member that are considered able to judge it: alive, not abstaining, and not silent themselves.
    pub(crate) fn able_observers(&self, now: Instant, subject: MemberId) -> Vec<MemberId> {
        let mut observers = self.list.rings().observers(subject);
        observers.retain(|&observer| self.is_able(now, observer, subject));
        observers
    }

    pub(crate) fn is_able(&self, now: Instant, observer: MemberId, subject: MemberId) -> bool {
        let is_silent = self.is_silent_to_us(observer) || self.kept_silent(now, observer, subject);
        observer != subject
            && self.is_alive(observer)
            && !self.abstains(observer, subject)
            && (observer == self.id() || !is_silent)
    }

    fn abstains(&self, observer: MemberId, subject: MemberId) -> bool {
        self.cases.0.get(&subject).is_some_and(|case| case.abstaining.contains(&observer))
    }

    /// Whether others were asked to vote so long ago that their answers are here.
    fn has_waited_for_votes(&self, now: Instant, subject: MemberId) -> bool {
        self.cases
            .accused_at(subject)
            .is_some_and(|at| now - at >= self.params.pause_tolerance * 3 / 4)
    }

    /// Whether an observer was asked to vote several times by now, and nothing was heard of it since, nor lately.
    pub(crate) fn kept_silent(&self, now: Instant, observer: MemberId, subject: MemberId) -> bool {
        let case = self.cases.0.get(&subject).filter(|case| !case.votes.contains_key(&observer));
        let Some(accused_at) = case.and_then(|case| case.accused_at) else {
            return false;
        };
        // One that came later, and ended since, was asked like the others.
        let tolerance = self.params.pause_tolerance;
        let asked_every = self.spaced(tolerance / 4, ACCUSATIONS_PER_TOLERANCE);
        let lately = now.saturating_sub((tolerance * 2).max(asked_every * 3));
        self.has_waited_for_votes(now, subject)
            && self
                .contacts
                .heard_at(observer)
                .is_none_or(|heard_at| heard_at < accused_at.max(lately))
    }

    /// Whether a member lives for others while our link to it fails: then they judge, until nobody has heard it for two turns.
    fn is_left_to_others(&self, now: Instant, subject: MemberId) -> bool {
        let alive_at = self.known_alive_at(subject);
        self.own_failing_link(now, subject).is_some()
            && alive_at.is_some_and(|alive_at| now - alive_at < self.turn() * 2)
    }

    /// An interval, lengthened if very many cases are open, so that they do not make many more than so many in a pause
    /// tolerance together.
    fn spaced(&self, interval: Duration, per_tolerance: u32) -> Duration {
        let many = self.cases.0.len().saturating_sub(usize::from(self.params.rings) * 2);
        let cases = u32::try_from(many).unwrap_or(u32::MAX);
        interval.max(self.params.pause_tolerance.saturating_mul(cases) / per_tolerance)
    }

    /// Whether a member's vote counts: it is an observer, or next in turn, as it may be in a list that is ahead of ours.
    pub(crate) fn may_observe(&self, observer: MemberId, subject: MemberId) -> bool {
        self.list.rings().is_near_predecessor(observer, subject)
    }

    pub(crate) fn is_alive(&self, id: MemberId) -> bool {
        self.list.get(id).is_some_and(|member| member.state == MemberState::Alive)
    }

    /// Asks the host of a silent member, and again while it has not said that the process is gone: an answer may be lost, a
    /// quota fills up again, and a process that hangs may end.
    fn ask_host_of_silent(&mut self, now: Instant, subject: MemberId) {
        let tolerance = self.params.pause_tolerance;
        let Some(case) = self.cases.0.get_mut(&subject) else {
            return;
        };
        let pause = match case.silence {
            Silence::Gone => return,
            Silence::Hung => tolerance,
            // The second answer comes before the verdict.
            Silence::Silent | Silence::Unknown => tolerance / 2,
        };
        if case.host_asked_at.is_none_or(|asked_at| now - asked_at >= pause) {
            case.host_asked_at = Some(now);
            self.ask_host(subject, Question::Silence);
        }
    }

    pub(crate) fn ask_host(&mut self, subject: MemberId, question: Question) {
        if self.params.ask_hosts
            && let Some(to) = self.peer(subject)
        {
            self.output(Output::AskHost { to, question });
        }
    }
}

/// How long a kind of silence is given with a majority of votes. What lengthens it does not multiply: if most subjects are
/// silent, the fault may be here, but then it does not matter as well that nothing is known of the host.
fn time_given(
    silence: Silence,
    is_refused: bool,
    is_most_silent: bool,
    pause: Duration,
    hang: Duration,
) -> Duration {
    match silence {
        Silence::Gone => Duration::ZERO,
        Silence::Hung if is_most_silent => hang * DOUBTFUL,
        Silence::Hung => hang,
        // Its kernel refuses our packets, so the fault is not here.
        Silence::Silent | Silence::Unknown if is_refused => pause,
        Silence::Silent if !is_most_silent => pause,
        Silence::Silent | Silence::Unknown => pause * DOUBTFUL,
    }
}

/// How many times longer silence is given with fewer votes than a majority of those able to judge: from six times with one
/// vote down to once (Lifeguard §IV.B, LHA-Suspicion).
fn stretch(votes: usize, able: usize) -> f64 {
    let majority = able / 2 + 1;
    if votes >= majority {
        return 1.0;
    }
    let agreed = phin_accrual::ln(votes as f64) / phin_accrual::ln(majority as f64);
    MAX_STRETCH - (MAX_STRETCH - 1.0) * agreed
}

/// How many times longer silence is given if nothing is known of the host, or the fault may be here.
const DOUBTFUL: u32 = 3;
/// Others are asked to ping a member whose misses are worth this much to us (DESIGN: one probe in ten on any link).
const ASK_PHI: f64 = 1.0;
/// A member is accused, and a vote counts, from this phi on: one probe in a hundred of a healthy member, on any link.
const ACCUSE_PHI: f64 = 2.0;
/// A vote of this phi needs no further word from the voter.
const ENOUGH_PHI: f64 = 4.0;
/// What the vote of another member is worth at most.
const MAX_VOTE_PHI: f64 = 6.0;
/// How much longer silence is given with one vote than with a majority (Lifeguard's β).
const MAX_STRETCH: f64 = 6.0;
/// So many refutations of one that we do not hear lengthen its tolerance, each by one of it.
const MAX_REFUTED: u32 = 4;
/// So many misses are looked into whatever they are worth, and without haste.
const MANY_MISSES: usize = 8;
/// How many pings of silent members, and questions to others about them, are sent in a pause tolerance, if very many
/// are silent at once.
const RETRIES_PER_TOLERANCE: u32 = 512;
const ACCUSATIONS_PER_TOLERANCE: u32 = 64;
/// How many cases can be open; beyond, further members are not doubted until one closes.
const MAX_CASES: usize = 1_024;
/// How many accusers and abstaining observers are remembered for a case: more than any configuration has observers.
const MAX_ACCUSERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lengthens_the_time_given_does_not_multiply() {
        use Silence::{Gone, Hung, Silent, Unknown};
        let seconds = [
            ("kind", (Silent, false, false), 1),
            ("nothing known of the host", (Unknown, false, false), 3),
            ("most are silent", (Silent, false, true), 3),
            ("both", (Unknown, false, true), 3),
            ("refused here alone, most are silent", (Silent, true, true), 1),
            ("refused by two", (Gone, true, true), 0),
            ("hung", (Hung, false, false), 10),
            ("hung, most are silent", (Hung, false, true), 30),
        ];
        let (pause, hang) = (Duration::from_secs(1), Duration::from_secs(10));
        for (what, (silence, is_refused, is_most_silent), expected) in seconds {
            let given = time_given(silence, is_refused, is_most_silent, pause, hang);
            assert_eq!(given, Duration::from_secs(expected), "{what}");
        }
    }

    #[test]
    fn time_is_stretched_by_the_votes_that_lack_of_those_able_to_judge() {
        let rounded = |votes, able| (stretch(votes, able) * 10.0).round() / 10.0;
        assert_eq!(
            [1, 2, 3, 4, 5, 8].map(|votes| rounded(votes, 8)),
            [6.0, 3.8, 2.6, 1.7, 1.0, 1.0]
        );
        // Of the observers only one is able, or two.
        assert_eq!([rounded(1, 1), rounded(2, 2), rounded(1, 2)], [1.0, 1.0, 6.0]);
    }
}
