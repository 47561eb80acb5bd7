//! Expulsion: members that an administrator has excluded, and what is refused to them.
//!
//! An administrator signs a statement with an admin key, which no node has; nodes know its public half. Any member that
//! receives a statement checks it, keeps it, acts on it, and passes it on, so no member can expel another, whatever it says.
//! The later of two statements about one id counts. A statement that lifts an expulsion is therefore kept as long as the
//! expulsion would be: otherwise the earlier one could be sent again.
//!
//! A new statement goes to the next members in some rings at once ([`Part::Expulsion`]), which pass it on. A node that has
//! any puts a fingerprint of them beside its pings and acks ([`Part::ExpulsionsFingerprint`]). A member with another
//! one asks for what it lacks ([`Part::ExpulsionsWant`]). A node that joins receives all of them before the list.

pub(crate) mod statement;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    Ctx, Fingerprint, Instant, JoinRefusal, MemberId, MembershipList, Output, Part, Payload, Peer,
    PublicKey, Stats, Step,
    detect::hearsay::Hearsay,
    forget::subject_of,
    identity::restate,
    member::{list::mix, record::Statement},
    sync::budget::ListBudget,
};
use statement::{AdminKeyId, AdminStatement, Standing};

/// A change of the statements of administrators that this node has.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ExpulsionEvent {
    /// This one is in effect from now on.
    Stated(Arc<AdminStatement>),
    /// This one is not in effect any more: its time is over, or its key is no longer an admin key here.
    Ended(Arc<AdminStatement>),
}

/// Why a statement was not taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpelRefusal {
    /// This node has no admin key, so it follows no statement.
    #[error("this node has no admin key (--admin-key), so nobody can be expelled through it")]
    NoAdminKey,
    /// It was signed with a key that is not one of this node's admin keys.
    #[error("the statement is signed with key {key}, which is not an admin key of this node")]
    UnknownKey {
        /// The key that the statement names.
        key: AdminKeyId,
    },
    /// It is for another cluster.
    #[error("the statement is for another cluster")]
    OtherCluster,
    /// The key that it names has not signed it.
    #[error("the signature of the statement is wrong")]
    Forged,
    /// A later statement about the same id is known.
    #[error("a later statement about this id is known, of {known} ms since 1970")]
    Superseded {
        /// When that was signed, in milliseconds since 1970.
        known: u64,
    },
    /// Its time is over.
    #[error("the time of the statement is over")]
    Over,
    /// There are statements about as many ids as a node keeps.
    #[error(
        "there are statements about {} ids, which is the limit; those of an admin key end when no node has that key any more",
        MAX_STATEMENTS
    )]
    Full,
    /// The member that sent it has sent too many. Never returned for a statement of this node's own operator.
    #[error("the member that sent the statement has sent too many")]
    OverBudget,
}

/// The statements of administrators, by the id that each is about.
#[derive(Debug, Default)]
pub(crate) struct Expulsions {
    admins: BTreeMap<AdminKeyId, PublicKey>,
    /// The latest of each id; at most [`MAX_STATEMENTS`]. Further ids are refused: a live expulsion never gives way.
    statements: BTreeMap<MemberId, Arc<AdminStatement>>,
    fingerprint: Fingerprint,
    /// The wall clock, in milliseconds since 1970, at a moment.
    wall: (Instant, u64),
    pull: Pull,
}

/// When this node asks others for statements that it lacks.
#[derive(Debug, Default)]
struct Pull {
    not_before: Instant,
    /// How many requests brought nothing, one after the other: members with other admin keys never agree.
    in_vain: u32,
}

impl Pull {
    /// Whether to ask now.
    fn is_due(&mut self, now: Instant, period: Duration) -> bool {
        if now < self.not_before {
            return false;
        }
        self.not_before = now + period * (1 << self.in_vain);
        self.in_vain = (self.in_vain + 1).min(MAX_DOUBLINGS);
        true
    }

    /// A new statement is known. Others are still passing it on, so nobody is asked for a moment.
    fn record_news(&mut self, now: Instant, period: Duration) {
        *self = Self { not_before: now + period, in_vain: 0 };
    }
}

/// The result of a check.
type Checked<T> = Result<T, ExpelRefusal>;

/// The rules of expulsion, with what they work on.
pub(crate) struct Expel<'a> {
    pub(crate) ctx: &'a mut Ctx,
    pub(crate) list: &'a MembershipList,
    pub(crate) hearsay: &'a mut Hearsay,
    pub(crate) budget: &'a mut ListBudget,
    pub(crate) own: &'a mut Expulsions,
}

impl Expulsions {
    /// The statement by which this id is expelled, if it is.
    pub(crate) fn expulsion_of(&self, id: MemberId) -> Option<&Arc<AdminStatement>> {
        self.statements.get(&id).filter(|known| known.standing == Standing::Expelled)
    }

    pub(crate) fn is_expelled(&self, id: MemberId) -> bool {
        self.expulsion_of(id).is_some()
    }

    pub(crate) fn statements(&self) -> impl Iterator<Item = &Arc<AdminStatement>> {
        self.statements.values()
    }

    pub(crate) fn admin_keys(&self) -> impl Iterator<Item = AdminKeyId> {
        self.admins.keys().copied()
    }

    pub(crate) const fn set_wall_clock(&mut self, now: Instant, millis: u64) {
        self.wall = (now, millis);
    }

    /// The fingerprint of the statements, for members that may lack some.
    pub(crate) fn fingerprint_part(&self) -> Option<Part> {
        let has_any = !self.statements.is_empty();
        has_any.then_some(Part::ExpulsionsFingerprint(self.fingerprint))
    }

    /// Adds all statements to the list that a new member receives.
    pub(crate) fn push_all(&self, payload: &mut Payload) {
        for statement in self.statements.values() {
            payload.push(&Part::Expulsion(Arc::clone(statement)));
        }
    }

    /// Whether this part reports on a member that is expelled: then it has no effect.
    pub(crate) fn stops(&self, stats: &mut Stats, me: MemberId, part: &Part) -> bool {
        let Some((subject, ..)) = subject_of(part).filter(|_| !self.statements.is_empty()) else {
            return false;
        };
        let is_stopped = subject != me && self.is_expelled(subject);
        stats.expelled_news += u64::from(is_stopped);
        is_stopped
    }

    fn wall(&self, now: Instant) -> u64 {
        let (at, millis) = self.wall;
        let since = u64::try_from((now - at).as_millis()).unwrap_or(u64::MAX);
        millis.saturating_add(since)
    }

    fn insert(&mut self, statement: Arc<AdminStatement>) {
        self.remove(statement.subject);
        self.fingerprint.0 ^= entry_hash(&statement);
        self.statements.insert(statement.subject, statement);
    }

    fn remove(&mut self, id: MemberId) -> Option<Arc<AdminStatement>> {
        let removed = self.statements.remove(&id)?;
        self.fingerprint.0 ^= entry_hash(&removed);
        Some(removed)
    }

    /// Everything that speaks against a statement but its signature, which costs most to check.
    fn check(&self, ctx: &Ctx, statement: &AdminStatement) -> Checked<PublicKey> {
        let admin = self.admin(statement.key)?;
        if statement.cluster != ctx.keys.cluster_tag() {
            return Err(ExpelRefusal::OtherCluster);
        }
        self.check_order(statement)?;
        match statement.is_over(self.wall(ctx.now)) {
            true => Err(ExpelRefusal::Over),
            false => Ok(admin),
        }
    }

    fn admin(&self, key: AdminKeyId) -> Checked<PublicKey> {
        match self.admins.get(&key) {
            Some(admin) => Ok(*admin),
            None if self.admins.is_empty() => Err(ExpelRefusal::NoAdminKey),
            None => Err(ExpelRefusal::UnknownKey { key }),
        }
    }

    /// Whether the statement is later than the one known about its id, or there is room for its id.
    fn check_order(&self, statement: &AdminStatement) -> Checked<()> {
        match self.statements.get(&statement.subject) {
            Some(known) if known.cmp_order(statement).is_ge() => {
                Err(ExpelRefusal::Superseded { known: known.at })
            }
            None if self.statements.len() >= MAX_STATEMENTS => Err(ExpelRefusal::Full),
            Some(_) | None => Ok(()),
        }
    }
}

impl ExpelRefusal {
    /// Counts a statement that was not taken for this reason.
    const fn count(&self, stats: &mut Stats) {
        let counter = match self {
            Self::NoAdminKey | Self::UnknownKey { .. } | Self::OtherCluster => {
                &mut stats.expulsions_foreign
            }
            Self::Forged => &mut stats.expulsions_forged,
            Self::Full => &mut stats.expulsions_refused,
            Self::OverBudget => &mut stats.expulsions_over_budget,
            // A statement that was passed on twice, or is replayed.
            Self::Superseded { .. } | Self::Over => return,
        };
        *counter += 1;
    }
}

impl Expel<'_> {
    /// The statements of these keys alone count from now on.
    pub(crate) fn set_admin_keys(&mut self, keys: &[PublicKey]) {
        let named = |key: &PublicKey| (AdminKeyId::of(&*self.ctx.keys, key), *key);
        self.own.admins = keys.iter().map(named).collect();
        let admins = &self.own.admins;
        let is_foreign = |known: &&Arc<AdminStatement>| !admins.contains_key(&known.key);
        let foreign = self.own.statements.values().filter(is_foreign);
        let foreign = foreign.map(|known| known.subject).collect();
        self.end(foreign);
        // Others may have statements that were of unknown keys here.
        self.own.pull = Pull::default();
    }

    /// Takes back what an earlier run kept. Returns how many statements are not in effect any more.
    pub(crate) fn restore(&mut self, statements: Vec<AdminStatement>) -> usize {
        let mut ignored = 0;
        for statement in statements {
            match self.verify(None, &statement) {
                Ok(()) => {
                    let statement = Arc::new(statement);
                    self.own.insert(Arc::clone(&statement));
                    self.enforce(&statement);
                }
                Err(_) => ignored += 1,
            }
        }
        ignored
    }

    /// An operator, or a member, hands over a statement.
    pub(crate) fn handle_statement(
        &mut self,
        from: Option<Peer>,
        statement: Arc<AdminStatement>,
    ) -> Checked<()> {
        let known = self.own.statements.get(&statement.subject);
        if known == Some(&statement) {
            return Ok(());
        }
        self.verify(from, &statement)?;
        self.ctx.stats.expulsions_taken += 1;
        self.own.insert(Arc::clone(&statement));
        self.own.pull.record_news(self.ctx.now, self.ctx.params.period);
        // The driver closes connections before the member leaves the list.
        self.ctx.output(Output::Expulsion(ExpulsionEvent::Stated(Arc::clone(&statement))));
        self.pass_on(from, &statement);
        self.enforce(&statement);
        Ok(())
    }

    /// Checks a statement that is not known, and counts one that cannot be used.
    fn verify(&mut self, from: Option<Peer>, statement: &AdminStatement) -> Checked<()> {
        let admin = self.own.check(self.ctx, statement);
        let is_paid = |admin| self.may_check(from).map(|()| admin);
        let result = admin.and_then(is_paid);
        let result = result.and_then(|admin| self.check_signature(from, statement, &admin));
        result.inspect_err(|refusal| refusal.count(&mut self.ctx.stats))
    }

    /// Charges the check of a signature to the member that sent the statement.
    fn may_check(&mut self, from: Option<Peer>) -> Checked<()> {
        let now = self.ctx.now;
        match from.is_none_or(|from| self.hearsay.may_check(now, from.id)) {
            true => Ok(()),
            false => Err(ExpelRefusal::OverBudget),
        }
    }

    fn check_signature(
        &mut self,
        from: Option<Peer>,
        statement: &AdminStatement,
        admin: &PublicKey,
    ) -> Checked<()> {
        if statement.is_authentic(&*self.ctx.keys, admin) {
            return Ok(());
        }
        let now = self.ctx.now;
        from.into_iter().for_each(|from| self.hearsay.record_forgery(now, from.id));
        Err(ExpelRefusal::Forged)
    }

    /// Sends a new statement to the next members in some rings: each ring alone reaches all members.
    fn pass_on(&mut self, from: Option<Peer>, statement: &Arc<AdminStatement>) {
        let me = self.list.me().id();
        let rings = FANOUT.min(self.ctx.params.rings.into());
        let next = (0..rings).filter_map(|ring| self.list.rings().successor(ring, me));
        let mut next: BTreeSet<_> = next.collect();
        // These know it, or are not to know it from here.
        next.remove(&me);
        next.remove(&statement.subject);
        from.map(|from| next.remove(&from.id));
        let part = Part::Expulsion(Arc::clone(statement));
        for id in next {
            let peer = self.list.peer(id);
            peer.into_iter().for_each(|peer| self.ctx.send(peer, &part));
        }
    }

    /// Removes an expelled member from the list. A node that is expelled itself stays in its own list.
    fn enforce(&mut self, statement: &AdminStatement) {
        let AdminStatement { subject, standing, .. } = *statement;
        let is_me = subject == self.list.me().id();
        if standing == Standing::Readmitted {
            // It is unknown, and joins as any other.
            return;
        }
        if !is_me {
            return self.ctx.then(Step::Expel(subject));
        }
        // If it is readmitted, it returns in a later version than the one that the others removed.
        let mine = self.list.me().record.statement();
        let version = mine.version.next_or_generation();
        restate(self.ctx, Statement { version, ..mine });
    }

    /// An expelled member sent something. It is answered with the statement, so that its operator learns why.
    pub(crate) fn answer(&mut self, from: Peer, parts: &[Part]) {
        self.ctx.stats.expelled_messages += 1;
        let statement = self.own.expulsion_of(from.id).cloned();
        let Some(statement) = statement.filter(|_| self.budget.may_answer(self.ctx)) else {
            return;
        };
        let refusal = Part::JoinReply(Err(JoinRefusal::not_admitted("expelled")));
        let joins = parts.iter().filter(|part| matches!(part, Part::Join));
        let mut payload = Payload::of(&Part::Expulsion(statement));
        joins.take(1).for_each(|_| payload.push(&refusal));
        self.ctx.send_stream(from, payload);
    }

    /// A ping or an ack brought the fingerprint of a member's statements.
    pub(crate) fn handle_fingerprint(&mut self, with: Peer, theirs: Fingerprint) {
        if theirs == self.own.fingerprint {
            self.own.pull.in_vain = 0;
            return;
        }
        let (now, period) = (self.ctx.now, self.ctx.params.period);
        if self.own.admins.is_empty() || !self.own.pull.is_due(now, period) {
            return;
        }
        let known = self.own.statements.values().map(|known| (known.subject, known.digest()));
        let payload = Payload::of(&Part::ExpulsionsWant(known.collect()));
        self.ctx.send_fitting(with, payload);
    }

    /// Sends the statements that a member does not have.
    pub(crate) fn handle_want(&mut self, from: Peer, known: &[(MemberId, u64)]) {
        let known: BTreeMap<_, _> = known.iter().copied().take(MAX_STATEMENTS).collect();
        let is_lacking = |statement: &&Arc<AdminStatement>| {
            known.get(&statement.subject) != Some(&statement.digest())
        };
        let mut payload = Payload::new();
        for statement in self.own.statements.values().filter(is_lacking) {
            payload.push(&Part::Expulsion(Arc::clone(statement)));
        }
        if !payload.is_empty() && self.budget.may_answer(self.ctx) {
            self.budget.spend(self.ctx.now, payload.len());
            self.ctx.send_fitting(from, payload);
        }
    }

    /// Removes the statements whose time is over.
    pub(crate) fn expire(&mut self) {
        let wall = self.own.wall(self.ctx.now);
        let over = self.own.statements.values().filter(|known| known.is_over(wall));
        let over = over.map(|known| known.subject).collect();
        self.end(over);
    }

    fn end(&mut self, ids: Vec<MemberId>) {
        for ended in ids.into_iter().filter_map(|id| self.own.remove(id)) {
            self.ctx.output(Output::Expulsion(ExpulsionEvent::Ended(ended)));
        }
    }
}

fn entry_hash(statement: &AdminStatement) -> u64 {
    let id = statement.subject.as_u128();
    let words = [(id >> 64) as u64, id as u64, statement.digest()];
    words.into_iter().fold(0, |hash, word| mix(hash ^ word))
}

/// The number of ids that a node keeps statements about.
pub(crate) const MAX_STATEMENTS: usize = 1_024;
/// To the next members in how many rings a new statement is sent.
const FANOUT: usize = 4;
/// A node that asks in vain waits twice as long each time, up to this many times: some two minutes at a period of 1 s.
const MAX_DOUBLINGS: u32 = 7;

#[cfg(test)]
mod tests;
