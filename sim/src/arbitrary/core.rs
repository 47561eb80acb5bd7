//! One member under arbitrary inputs, and its invariants.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use phin_swim::{
    Change, Config, DataEvent, DataUpdate, Event, Generation, Instant, Local, MemberId,
    MemberState, Members, Message, Name, NotTaken, Office, OfficeEvent, Output, OwnerGone, Peer,
    QueryAnswer, QueryId, Revision, Route, Swim, Template, Term, Version,
};

use crate::{keys::SimKeys, node::NodeId};

/// The number of members. The number itself stands for an unknown member.
pub(super) const MEMBERS: usize = 5;
pub(super) const SEED: u64 = 7;

/// A member, and its earlier states.
pub(super) struct Core {
    swim: Swim,
    config: Arc<Config>,
    pub(super) generation: Generation,
    /// The last state of each member in its list.
    known: BTreeMap<MemberId, (Version, MemberState)>,
    list_version: u64,
    /// The data of each member according to the events, and according to the snapshot.
    data: BTreeMap<MemberId, BTreeMap<Arc<str>, Arc<[u8]>>>,
    data_version: u64,
    heads: BTreeMap<MemberId, (Generation, Revision)>,
    /// The last message of each member, and how many were reported as missed since.
    messages: BTreeMap<MemberId, (Generation, Option<u64>, u64)>,
    queries: Outcomes,
    /// The last term of this node in each office, and whether it has it.
    terms: BTreeMap<Office, (Term, bool)>,
}

/// The outcomes of members in its queries, and the queries that ended.
#[derive(Default)]
struct Outcomes {
    settled: BTreeSet<(QueryId, MemberId)>,
    ended: BTreeSet<QueryId>,
}

impl Core {
    /// Starts a member alone.
    pub(super) fn start(
        now: Instant,
        number: usize,
        generation: u32,
        config: &Arc<Config>,
    ) -> Self {
        let generation = Generation(generation);
        let (me, keys) = (local(number, generation), Arc::new(keys(number)));
        let swim = Swim::new(now, me, Config::clone(config), keys, number as u64);
        let swim = swim.expect("scripts choose among sound configurations");
        let config = Arc::clone(config);
        let (known, data, heads, messages, queries, terms) = Default::default();
        let (list_version, data_version) = (0, 0);
        Self {
            swim,
            config,
            generation,
            known,
            list_version,
            data,
            data_version,
            heads,
            messages,
            queries,
            terms,
        }
    }

    pub(super) fn members(&self) -> Members {
        self.swim.members()
    }

    /// Makes it know all members from the start.
    pub(super) fn know(&mut self, template: &Template) {
        template.give_to(&mut self.swim);
    }

    /// Gives it an input, checks the invariants, and returns its outputs.
    pub(super) fn input(
        &mut self,
        now: Instant,
        input: impl FnOnce(&mut Swim, Instant),
    ) -> Vec<Output> {
        input(&mut self.swim, now);
        let mut outputs: Vec<_> = std::iter::from_fn(|| self.swim.poll_output()).collect();
        let receipts = outputs.iter().filter_map(|output| match output {
            Output::Sent { receipt, .. } => *receipt,
            _ => None,
        });
        for receipt in receipts.collect::<Vec<_>>() {
            self.swim.sending(now).handle_receipt(receipt, Err(NotTaken::NoReceiver));
            outputs.extend(std::iter::from_fn(|| self.swim.poll_output()));
        }
        let promised = outputs.iter().filter_map(|output| match output {
            Output::KeepPromise { office, term } => Some((office.clone(), *term)),
            _ => None,
        });
        for (office, term) in promised.collect::<Vec<_>>() {
            self.swim.leading(now).handle_kept(&office, term);
            outputs.extend(std::iter::from_fn(|| self.swim.poll_output()));
        }
        let asked = outputs.iter().filter_map(|output| match output {
            Output::Query { token, .. } => Some(*token),
            _ => None,
        });
        for token in asked.collect::<Vec<_>>() {
            // It may be over already.
            let _ = self.swim.querying(now).reply(token, QueryAnswer::NoHandler);
            outputs.extend(std::iter::from_fn(|| self.swim.poll_output()));
        }
        assert!(outputs.len() <= MAX_OUTPUTS, "{} outputs of one input", outputs.len());
        outputs.iter().for_each(|output| self.check_output(now, output));
        self.check_list();
        self.check_data();
        outputs
    }

    /// Fires its timers. The next one must then be in the future, or its driver would spin.
    pub(super) fn timeout(&mut self, now: Instant) -> Vec<Output> {
        let outputs = self.input(now, Swim::handle_timeout);
        let next = self.swim.poll_timeout();
        assert!(next.is_none_or(|next| next > now), "at {now} the next deadline is {next:?}");
        outputs
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.swim.poll_timeout()
    }

    fn check_output(&mut self, now: Instant, output: &Output) {
        match output {
            Output::Datagram { to, payload } => {
                assert_ne!(to.id, self.swim.id(), "a member sends nothing to itself");
                assert!(payload.len() <= self.config.max_datagram_bytes, "{}", payload.len());
            }
            Output::Stream { to, payload } => {
                assert_ne!(to.id, self.swim.id(), "a member sends nothing to itself");
                assert!(payload.len() <= MAX_STREAM_BYTES, "{}", payload.len());
            }
            Output::Event(Event { version, change, member, .. }) => {
                assert_eq!(*version, self.list_version + 1, "events are numbered one by one");
                self.list_version = *version;
                if matches!(change, Change::Forgotten | Change::Expelled) {
                    self.known.remove(&member.id());
                    self.messages.remove(&member.id());
                }
            }
            Output::QueryOutcome { id, member, .. } => {
                assert!(
                    self.queries.settled.insert((*id, *member)),
                    "{member} has two outcomes of {id}"
                );
                assert!(
                    !self.queries.ended.contains(id),
                    "{member} has an outcome after the end of {id}"
                );
            }
            Output::QueryEnded { id } => {
                assert!(self.queries.ended.insert(*id), "{id} ended twice");
            }
            Output::Data(event) => self.note_data(event),
            Output::Generation(generation) => {
                assert!(
                    *generation > self.generation,
                    "{generation:?} after {:?}",
                    self.generation
                );
                self.generation = *generation;
            }
            Output::SendMessage { to, payload, .. } => {
                assert_ne!(to.id, self.swim.id(), "a member sends nothing to itself");
                assert!(payload.len() <= MAX_MESSAGE_BYTES, "{}", payload.len());
            }
            Output::Message(message) => self.note_message(message),
            Output::MessagesMissed { from, count } => {
                assert!(*count > 0);
                self.messages.entry(*from).or_default().2 += count;
            }
            Output::Office(event) => self.note_office(now, event),
            Output::Disconnect(_)
            | Output::Sent { .. }
            | Output::SendEnded { .. }
            | Output::Query { .. }
            | Output::JoinEnded { .. }
            | Output::Newcomer { .. }
            | Output::AskHost { .. }
            | Output::Isolated(_)
            | Output::LeaveConfirmed(_)
            | Output::KeepPromise { .. }
            | Output::Pinged { .. }
            | Output::Expulsion(_)
            | Output::IdentityInUse(_) => {}
        }
    }

    /// Terms of this node rise, each with one beginning and one end, and its lease is never over when it says that it holds it.
    fn note_office(&mut self, now: Instant, event: &OfficeEvent) {
        match event {
            OfficeEvent::Elected { office, token, valid_until } => {
                assert!(*valid_until > now, "it is over when it begins");
                let (term, is_open) = self.terms.entry(office.clone()).or_default();
                assert!(!*is_open && *token > *term, "{token} after {term}");
                (*term, *is_open) = (*token, true);
            }
            OfficeEvent::Renewed { office, valid_until } => {
                assert!(*valid_until > now, "it is over when it is renewed");
                assert!(self.terms.get(office).is_some_and(|term| term.1), "it is not held");
            }
            OfficeEvent::Lost { office, token, .. } => {
                let term = self.terms.insert(office.clone(), (*token, false));
                assert_eq!(term, Some((*token, true)), "it was not held");
            }
            OfficeEvent::Following { office, member, .. } => {
                assert_ne!(*member, self.swim.id());
                assert!(self.terms.get(office).is_none_or(|term| !term.1), "it is held here");
            }
            OfficeEvent::Vacant { office, .. } => {
                assert!(self.terms.get(office).is_none_or(|term| !term.1), "it is held here");
            }
        }
    }

    /// Messages of a run come once, in order, and after a report of those that are missing.
    fn note_message(&mut self, message: &Message) {
        let Message { from, generation, route, .. } = message;
        let &Route::Published { sequence, .. } = route else {
            unreachable!("a message of an unknown kind: {message:?}");
        };
        let (known, last, missed) = self.messages.entry(*from).or_default();
        assert!(*known <= *generation, "{generation:?} of {from} after {known:?}");
        if let Some(last) = last.filter(|_| *known == *generation) {
            assert_eq!(sequence, last + 1 + *missed, "of {from}, {missed} reported as missed");
        }
        (*known, *last, *missed) = (*generation, Some(sequence), 0);
    }

    fn note_data(&mut self, event: &DataEvent) {
        assert_eq!(event.version, self.data_version + 1, "events are numbered one by one");
        self.data_version = event.version;
        let data = self.data.entry(event.owner).or_default();
        match &event.update {
            DataUpdate::Put { key, value } => {
                data.insert(Arc::clone(key), Arc::clone(value));
            }
            DataUpdate::Delete { key } | DataUpdate::Expire { key } => {
                assert!(data.remove(key).is_some(), "{key} of {} was not there", event.owner);
            }
            DataUpdate::OwnerGone(OwnerGone::Dead) => {}
            DataUpdate::OwnerGone(_) => {
                self.data.remove(&event.owner);
                self.heads.remove(&event.owner);
            }
            other => unreachable!("an update of an unknown kind: {other:?}"),
        }
    }

    /// The snapshot is what the events said. Nobody but its owner writes a member's data, and it never goes back.
    fn check_data(&mut self) {
        let snapshot = self.swim.data();
        assert_eq!(snapshot.version(), self.data_version, "each change is an event");
        for (owner, data) in snapshot.iter() {
            let none = BTreeMap::new();
            let told = self.data.get(&owner).unwrap_or(&none);
            assert!(data.iter().eq(told.iter().map(|(key, value)| (&**key, value))), "{owner}");
            assert!(data.bytes() <= self.config.max_data_bytes, "{} bytes", data.bytes());
            let head = (data.generation(), data.revision());
            let before = self.heads.insert(owner, head);
            assert!(before.is_none_or(|before| before <= head), "{before:?}, then {head:?}");
        }
    }

    fn check_list(&mut self) {
        let members = self.swim.members();
        assert_eq!(members.version(), self.list_version, "each change is an event");
        assert!(members.len() <= self.config.max_members, "{} members", members.len());
        assert_eq!(members.live_len(), members.live().count());
        let me = members.me();
        assert!(matches!(me.state(), MemberState::Alive | MemberState::Left), "{:?}", me.state());
        for member in members.iter() {
            let now = (member.version(), member.state());
            let before = self.known.insert(member.id(), now);
            assert!(before.is_none_or(|before| before <= now), "{before:?}, then {now:?}");
        }
        assert!(self.known.keys().all(|&id| members.get(id).is_some()), "forgotten untold");
    }

    /// Calls all queries, which must return and change nothing.
    pub(super) fn check_answers(&self, now: Instant) {
        let links = self.swim.links(now);
        assert!(links.len() <= 2 * usize::from(self.config.rings));
        assert!(links.iter().all(|link| link.phi >= 0.0 && (0.0..=1.0).contains(&link.loss)));
        assert!(self.swim.phis(now).values().all(|&phi| phi >= 0.0));
        self.swim.unreached(now);
        for number in 0..=MEMBERS {
            let id = peer(number).id;
            self.swim.why(now, id);
            let reached = self.swim.phi_reaches(now, id, 8.0);
            assert!(reached.is_none_or(|at| at >= now));
        }
    }
}

/// The list of all members, as after a long time together.
pub(super) fn template(config: &Config) -> Template {
    let members = (0..MEMBERS).map(|number| (local(number, Generation(1)), keys(number)));
    Template::new(config, members).expect("scripts choose among sound configurations")
}

/// The address of a member.
pub(super) fn peer(number: usize) -> Peer {
    Peer { id: keys(number).id(), addr: addr(number) }
}

pub(super) fn addr(number: usize) -> SocketAddr {
    let last = u8::try_from(number).unwrap_or(u8::MAX);
    ([10, 0, 0, last], 7_646).into()
}

/// The number of the member with this id.
pub(super) fn number(id: MemberId) -> Option<usize> {
    (0..MEMBERS).find(|&number| keys(number).id() == id)
}

fn keys(number: usize) -> SimKeys {
    let number = u32::try_from(number).expect("there are few members");
    SimKeys { node: NodeId(number), seed: SEED }
}

fn local(number: usize, generation: Generation) -> Local {
    // Two members share each name: that is reported, and changes nothing.
    let name = format!("n{}", number / 2);
    let name = Name::try_from(name.as_str()).expect("a letter and a number is a name");
    Local::new(name, vec![addr(number)], generation)
}

/// The most outputs of one input. More would mean that a cheap message causes much work.
const MAX_OUTPUTS: usize = 1_000;
/// The longest stream: a page of messages. One of so short a list is far shorter.
const MAX_STREAM_BYTES: usize = 1024 * 1024;
/// The longest message of an application, with what stands beside its body.
const MAX_MESSAGE_BYTES: usize = Message::MAX_SENT_BYTES + 2048;
