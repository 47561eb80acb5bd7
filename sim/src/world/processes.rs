//! Starts processes, passes inputs to them and carries out their actions.

use super::{Event, World};
use crate::{
    connection::CloseReason,
    node::{
        Action, DataLine, Generation, Input, Knowledge, MessageNews, NodeId, Notice, OfficeChange,
        OfficeNews, Start,
    },
    queue::Class,
    trace::mix,
    truth::Life,
};

impl World {
    pub(crate) fn start_process(
        &mut self,
        id: NodeId,
        generation: Generation,
        knowledge: Knowledge,
    ) {
        let node = &mut self.machines[id];
        node.generation = generation;
        let host = node.host;
        let rng_seed =
            mix(mix(self.seed ^ 0x5eed) ^ (u64::from(id.0) << 32 | u64::from(generation.0)));
        let now = node.clock.local(self.now);
        let (promises, statements) = (node.promises.clone(), node.statements.clone());
        let start =
            Start { node: id, host, generation, now, rng_seed, knowledge, promises, statements };
        node.process = Some(self.protocol.start(start));
        self.machines[host].occupant = Some(id);
        self.truth.start_life(id, host, generation, self.now);
        if self.is_expelled(id) {
            self.truth.end_life(id, Life::Expelled, self.now);
        }
        self.trace.line(self.now, format_args!("{id} starts, generation {}", generation.0));
        self.reschedule(id);
    }

    pub(super) fn wake(&mut self, id: NodeId) {
        let node = &mut self.machines[id];
        // An earlier deadline made this one stale, or the process is gone or stopped.
        if node.wake_at != Some(self.now) || self.machines.is_stopped(id) {
            return;
        }
        self.machines[id].wake_at = None;
        self.input(id, Input::Timeout);
    }

    /// Passes an input to a process and carries out its actions.
    pub(super) fn input(&mut self, id: NodeId, input: Input<'_>) {
        let node = &mut self.machines[id];
        let Some(process) = &mut node.process else {
            return;
        };
        let now = node.clock.local(self.now);
        let mut actions = Vec::new();
        process.handle(now, input, &mut actions);
        for action in actions {
            self.act(id, action);
        }
        self.reschedule(id);
    }

    pub(super) fn reschedule(&mut self, id: NodeId) {
        let node = &mut self.machines[id];
        let Some(deadline) = node.process.as_ref().and_then(|process| process.next_deadline())
        else {
            return;
        };
        let at = node.clock.global(deadline).max(self.now);
        if node.wake_at.is_none_or(|wake_at| at < wake_at || wake_at < self.now) {
            node.wake_at = Some(at);
            self.queue.push(at, Class::Timer, Event::Wake(id));
        }
    }

    pub(super) fn act(&mut self, id: NodeId, action: Action) {
        if self.machines[id].blocked_until.is_some() && is_sent(&action) {
            self.machines[id].unsent.push(action);
            return;
        }
        match action {
            Action::Send { to, channel, payload } => self.send(id, to, channel, payload),
            Action::Disconnect(peer) => self.disconnect(id, peer, CloseReason::Unwanted),
            Action::AskHost { about, question, patience } => {
                self.ask_host(id, about, question, patience);
            }
            Action::Notice(notice) => self.note(id, notice),
            Action::Isolated(is_isolated) => {
                self.say(format_args!("{id} is isolated: {is_isolated}"));
                if is_isolated {
                    self.ledger.isolated.push((self.now, id));
                }
            }
            Action::Degraded(subject, is_degraded) => {
                self.say(format_args!("{id} finds {subject} degraded: {is_degraded}"));
                match is_degraded {
                    true => {
                        // A liar may have invented it.
                        let exists = self.machines.peer(subject).is_some();
                        let is_stopped = exists && self.machines.is_stopped(subject);
                        let by = (id, subject);
                        self.ledger.record_degraded(&self.truth, self.now, by, is_stopped);
                    }
                    false => self.ledger.recovered.push((self.now, id, subject)),
                }
            }
            Action::Data(owner, line) => self.note_data(id, owner, line),
            Action::Message(news) => self.note_message(id, news),
            Action::KeepStatements(statements) => self.machines[id].statements = statements,
            Action::Keep(promises) => self.machines[id].promises = promises,
            Action::Office(news) => self.note_office(id, &news),
            Action::Generation(generation) => {
                self.machines[id].generation = generation;
                self.truth.set_generation(id, generation);
            }
        }
    }

    fn note_data(&mut self, reader: NodeId, owner: NodeId, line: Option<DataLine>) {
        let hash = &mut self.trace.hash;
        hash.word(self.now.since_start().as_nanos() as u64);
        hash.word(u64::from(reader.0) << 32 | u64::from(owner.0));
        hash.word(line.map_or(0, |line| line.content ^ line.revision));
        match line {
            Some(DataLine { generation, revision, keys, bytes, .. }) => self.trace.line(
                self.now,
                format_args!(
                    "{reader} has data {}.{revision} of {owner}: {keys} keys, {bytes} bytes",
                    generation.0
                ),
            ),
            None => self.trace.line(self.now, format_args!("{reader} has no data of {owner}")),
        }
        self.ledger.data.record(&self.truth, self.now, (reader, owner), line);
        for oracle in &mut self.oracles {
            oracle.observe_data(&self.truth, self.now, reader, owner, line);
        }
    }

    fn note_office(&mut self, at: NodeId, news: &OfficeNews) {
        let OfficeNews { office, what } = news;
        let clock = &self.machines[at].clock;
        let until = match what {
            OfficeChange::Elected { valid_until, .. } | OfficeChange::Renewed { valid_until } => {
                clock.global(*valid_until)
            }
            _ => self.now,
        };
        let hash = &mut self.trace.hash;
        hash.word(self.now.since_start().as_nanos() as u64);
        hash.word(u64::from(at.0));
        hash.bytes(office.as_bytes());
        hash.bytes(format!("{what:?}").as_bytes());
        if !matches!(what, OfficeChange::Renewed { .. }) {
            self.trace.line(self.now, format_args!("{at} and the office {office}: {what:?}"));
        }
        self.ledger.offices.record(self.now, (at, until), news);
        for oracle in &mut self.oracles {
            oracle.observe_office(&self.truth, self.now, (at, until), news);
        }
    }

    fn note_message(&mut self, at: NodeId, news: MessageNews) {
        let (from, numbers, text) = match news {
            MessageNews::Published { line, .. } => (line.from, [1, line.sequence], "publishes"),
            MessageNews::Delivered(line) => (line.from, [2, line.sequence], "receives"),
            MessageNews::Missed { from, count } => (from, [3, count], "misses so many"),
            MessageNews::Refused => (at, [4, 0], "may not publish"),
        };
        let hash = &mut self.trace.hash;
        hash.word(self.now.since_start().as_nanos() as u64);
        hash.word(u64::from(at.0) << 32 | u64::from(from.0));
        numbers.into_iter().for_each(|number| hash.word(number));
        self.say(format_args!("{at} {text} of the messages of {from}: {}", numbers[1]));
        self.ledger.messages.record(&self.truth, self.now, at, news);
        for oracle in &mut self.oracles {
            oracle.observe_message(&self.truth, self.now, at, news);
        }
    }

    fn note(&mut self, observer: NodeId, notice: Notice) {
        let Notice { subject, belief, version } = notice;
        let (generation, incarnation) = (version.generation.0, version.incarnation.0);
        let hash = &mut self.trace.hash;
        hash.word(self.now.since_start().as_nanos() as u64);
        hash.word(u64::from(observer.0) << 32 | u64::from(subject.0));
        hash.word(belief as u64);
        hash.word(u64::from(generation) << 32 | u64::from(incarnation));
        self.trace.line(
            self.now,
            format_args!("{observer} holds {subject} ({generation}.{incarnation}) for {belief}"),
        );
        self.ledger.record(&self.truth, self.now, observer, notice);
        for oracle in &mut self.oracles {
            oracle.observe(&self.truth, self.now, observer, notice);
        }
    }
}

/// Whether the action leaves the host, and so waits while a slow member is blocked.
const fn is_sent(action: &Action) -> bool {
    match action {
        Action::Send { .. } | Action::AskHost { .. } | Action::Disconnect(_) => true,
        Action::Notice(_)
        | Action::Isolated(_)
        | Action::Degraded(..)
        | Action::Generation(_)
        | Action::Data(..)
        | Action::Message(_)
        | Action::Keep(_)
        | Action::KeepStatements(_)
        | Action::Office(_) => false,
    }
}
