//! Runs events for a few members, chosen by bytes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use phin_swim::{
    Config, Disconnection, HostAnswer, Instant, MemberId, Office, OfficeRules, Output, Peer,
    PublishRequest, QueryRequest, Select, ServingState, Swim, Unreachable,
};

use super::{
    bytes::Bytes,
    core::{self, Core, MEMBERS, addr, peer},
};

/// A script under way.
pub(super) struct Script<'a> {
    bytes: Bytes<'a>,
    now: Instant,
    config: Arc<Config>,
    members: Vec<Core>,
    /// The messages not yet delivered, oldest first.
    sent: Vec<Message>,
    /// The content of each message to all, and its publisher.
    published: BTreeMap<Arc<[u8]>, MemberId>,
}

#[derive(Clone)]
struct Message {
    from: usize,
    to: usize,
    channel: Channel,
    payload: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Channel {
    Datagram,
    Stream,
}

impl<'a> Script<'a> {
    pub(super) fn start(mut bytes: Bytes<'a>) -> Self {
        let config = Arc::new(config(&mut bytes));
        let now = Instant::START;
        let mut members: Vec<_> =
            (0..MEMBERS).map(|number| Core::start(now, number, 1, &config)).collect();
        if bytes.below(2) == 0 && config.max_members >= MEMBERS {
            let template = core::template(&config);
            members.iter_mut().for_each(|member| member.know(&template));
        }
        let (sent, published) = Default::default();
        Self { bytes, now, config, members, sent, published }
    }

    pub(super) fn run(mut self) {
        for _ in 0..MAX_STEPS {
            if self.bytes.are_used_up() {
                return;
            }
            self.step();
            self.members.iter().for_each(|member| member.check_answers(self.now));
        }
    }

    fn step(&mut self) {
        match self.bytes.below(21) {
            0 => self.go_on(),
            1 => self.pass_time(),
            2 => self.deliver_one(),
            3 => self.deliver_changed(),
            4 => self.deliver_spliced(),
            5 => self.lose(),
            6 => self.repeat(),
            7 => self.deliver_as_another(),
            8 => self.deliver_bytes(),
            9 => self.answer_of_host(),
            10 => self.connection(),
            11 => self.join(),
            12 => self.depart(),
            13 => self.forget_or_move(),
            14 => self.decide(),
            15 => self.write(),
            16 => self.describe(),
            17 => self.publish(),
            18 => self.ask(),
            19 => self.stand(),
            _ => self.restart(),
        }
    }

    /// Delivers everything and advances time from deadline to deadline, as without faults.
    fn go_on(&mut self) {
        for _ in 0..=self.bytes.byte() {
            let next = self.members.iter().filter_map(Core::next_deadline).min();
            if !self.sent.is_empty() {
                let message = self.sent.remove(0);
                self.deliver(message);
            } else if let Some(next) = next {
                self.now = self.now.max(next);
                self.fire_all();
            }
        }
    }

    /// Advances time by microseconds up to years. Fires the timers of all members, of one, or of none.
    fn pass_time(&mut self) {
        let passed = Duration::from_micros(u64::from(self.bytes.byte()) << self.bytes.below(48));
        self.now = self.now + passed;
        match self.bytes.below(MEMBERS + 2) {
            number if number < MEMBERS => self.fire(number),
            MEMBERS => self.fire_all(),
            _ => {}
        }
    }

    fn deliver_one(&mut self) {
        if let Some(message) = self.take() {
            self.deliver(message);
        }
    }

    /// Delivers a message with bytes changed, removed or added.
    fn deliver_changed(&mut self) {
        let Some(mut message) = self.take() else { return };
        for _ in 0..=self.bytes.below(4) {
            let place = usize::from(self.bytes.number()) % message.payload.len().max(1);
            let byte = self.bytes.byte();
            match self.bytes.below(4) {
                0 => message.payload.truncate(place),
                1 => message.payload.insert(place.min(message.payload.len()), byte),
                2 if place < message.payload.len() => drop(message.payload.remove(place)),
                _ => message.payload.iter_mut().skip(place).take(1).for_each(|b| *b ^= byte),
            }
        }
        self.deliver(message);
    }

    /// Delivers the parts of two payloads in one.
    fn deliver_spliced(&mut self) {
        let (Some(mut message), Some(other)) = (self.take(), self.look()) else { return };
        message.payload.extend_from_slice(other.payload.get(1..).unwrap_or_default());
        self.deliver(message);
    }

    fn lose(&mut self) {
        self.take();
    }

    fn repeat(&mut self) {
        if let Some(message) = self.look() {
            self.deliver(message);
        }
    }

    /// Delivers a message as if another member had sent it, to any member, as datagram or stream.
    fn deliver_as_another(&mut self) {
        let Some(message) = self.look() else { return };
        let (from, to) = (self.bytes.below(MEMBERS + 1), self.bytes.below(MEMBERS));
        let channel = self.channel();
        self.deliver(Message { from, to, channel, ..message });
    }

    fn deliver_bytes(&mut self) {
        let (from, to) = (self.bytes.below(MEMBERS + 1), self.bytes.below(MEMBERS));
        let (channel, len) = (self.channel(), self.bytes.byte());
        let payload = self.bytes.slice(len.into()).to_vec();
        self.deliver(Message { from, to, channel, payload });
    }

    fn answer_of_host(&mut self) {
        let answers = [
            HostAnswer::Nothing,
            HostAnswer::Answers,
            HostAnswer::PortRefused,
            HostAnswer::Unknown,
        ];
        let (member, about, answer) = (self.member(), self.anyone().id, self.bytes.pick(&answers));
        self.input(member, |swim, now| swim.handle_host_answer(now, about, answer));
    }

    fn connection(&mut self) {
        let (member, other) = (self.member(), self.anyone());
        // The transport has no connection to itself.
        if other.id == peer(member).id {
            return;
        }
        let disconnections =
            [Disconnection::Idle, Disconnection::Closed, Disconnection::Reset, Disconnection::Lost];
        let unreachable = [
            Unreachable::NoAnswer,
            Unreachable::Refused,
            Unreachable::OtherIdentity,
            Unreachable::NotAdmitted,
        ];
        match self.bytes.below(9) {
            0 => self.input(member, |swim, now| swim.handle_connected(now, other)),
            which if which <= 4 => {
                let reason = disconnections[which - 1];
                self.input(member, |swim, now| swim.handle_disconnected(now, other.id, reason));
            }
            which => {
                let reason = unreachable[which - 5];
                self.input(member, |swim, now| swim.handle_unreachable(now, other.id, reason));
            }
        }
    }

    fn join(&mut self) {
        let (member, through) = (self.member(), self.anyone());
        // As in the driver, which ignores its own address.
        if through.id != peer(member).id {
            self.input(member, |swim, now| swim.join(now, through));
        }
    }

    fn depart(&mut self) {
        let member = self.member();
        self.input(member, |swim, now| _ = swim.leave(now));
    }

    fn forget_or_move(&mut self) {
        let (member, other) = (self.member(), self.bytes.below(MEMBERS + 1));
        if self.bytes.below(2) == 0 {
            self.input(member, |swim, now| _ = swim.forget(now, peer(other).id));
        } else {
            self.input(member, |swim, now| swim.move_to(now, vec![addr(other)]));
        }
    }

    fn decide(&mut self) {
        let (member, newcomer) = (self.member(), self.anyone().id);
        let decision = match self.bytes.below(2) {
            0 => Ok(()),
            _ => Err("no".to_owned()),
        };
        self.input(member, |swim, now| swim.handle_decision(now, newcomer, decision));
    }

    /// An application writes data, or what exceeds the limits.
    fn write(&mut self) {
        let (member, key) = (self.member(), format!("k{}", self.bytes.below(4)));
        let (len, times) = (usize::from(self.bytes.byte()), self.bytes.pick(&[0, 1, 40]));
        let time_to_live = Duration::from_millis(u64::from(self.bytes.number()));
        let time_to_live = (self.bytes.below(4) == 0).then_some(time_to_live);
        let value = self.bytes.slice(len).repeat(times);
        match self.bytes.below(4) {
            0 => self.input(member, |swim, now| _ = swim.delete_data(now, &key)),
            _ => self.input(member, |swim, now| {
                drop(swim.put_data(now, &key, &value, time_to_live));
            }),
        }
    }

    /// An application publishes, once or more than it may. Each content is another one.
    fn publish(&mut self) {
        let (member, times) = (self.member(), self.bytes.pick(&[1, 1, 1, 5, 70]));
        let len = self.bytes.pick(&[0, 20, 400]);
        for _ in 0..times {
            let number = self.published.len() as u64;
            let body = [&number.to_be_bytes()[..], &vec![0; len]].concat();
            let body: Arc<[u8]> = body.into();
            self.published.insert(Arc::clone(&body), peer(member).id);
            let topic = "t".parse().expect("a letter is a topic");
            let request = PublishRequest::new(topic, body);
            self.input(member, |swim, now| drop(swim.sending(now).publish(request)));
        }
    }

    fn describe(&mut self) {
        let (member, value) = (self.member(), self.bytes.byte().to_string());
        match self.bytes.below(4) {
            0 => self.input(member, |swim, now| {
                swim.describe(now, |profile| profile.serving = ServingState::Serving);
            }),
            1 => self.input(member, |swim, now| {
                swim.describe(now, |profile| profile.serving = ServingState::Draining);
            }),
            _ => self.input(member, |swim, now| {
                let mut tags = swim.profile().tags;
                tags.set("t", &value).expect("a short tag is allowed");
                swim.describe(now, |profile| profile.tags = tags);
            }),
        }
    }

    /// An application asks those of all members, or of some.
    fn ask(&mut self) {
        let (member, select) = (self.member(), self.bytes.pick(&[0, 1, 2]));
        let topic = "t".parse().expect("a letter is a topic");
        let mut request = QueryRequest::new(topic, vec![self.bytes.byte(); 3]);
        request.timeout = Duration::from_millis(u64::from(self.bytes.number()) + 10);
        request.select = [Select::All, Select::First(1), Select::Sample(2)][select];
        self.input(member, |swim, now| drop(swim.querying(now).ask(&request)));
    }

    /// An application stands for an office, or no longer.
    fn stand(&mut self) {
        let (member, which) = (self.member(), self.bytes.below(8));
        let office: Office = ["a", "b"][which % 2].parse().expect("a letter is an office");
        let expected = [None, Some(1), Some(2), Some(MEMBERS as u16)][self.bytes.below(4)];
        let filter = ["", "t!=1"][self.bytes.below(2)];
        let rules = OfficeRules::new(filter.parse().expect("it is well formed"), expected);
        self.input(member, |swim, now| match which {
            0 | 1 => _ = swim.leading(now).resign(&office),
            _ => drop(swim.leading(now).stand(office, rules)),
        });
    }

    /// Ends a process and starts another with its key: as its next run, or with a lost generation.
    fn restart(&mut self) {
        let member = self.member();
        let last = self.members[member].generation.0;
        let generation = [last.saturating_add(1), last, 0, u32::MAX][self.bytes.below(4)];
        self.members[member] = Core::start(self.now, member, generation, &self.config);
    }

    fn member(&mut self) -> usize {
        self.bytes.below(MEMBERS)
    }

    fn anyone(&mut self) -> Peer {
        peer(self.bytes.below(MEMBERS + 1))
    }

    fn channel(&mut self) -> Channel {
        self.bytes.pick(&[Channel::Datagram, Channel::Stream])
    }

    fn take(&mut self) -> Option<Message> {
        (!self.sent.is_empty()).then(|| self.sent.remove(self.bytes.below(self.sent.len())))
    }

    fn look(&mut self) -> Option<Message> {
        (!self.sent.is_empty()).then(|| self.sent[self.bytes.below(self.sent.len())].clone())
    }

    fn deliver(&mut self, message: Message) {
        let Message { from, to, channel, payload } = message;
        let from = peer(from);
        self.input(to, |swim, now| match channel {
            Channel::Datagram => swim.handle_datagram(now, from, &payload),
            Channel::Stream => swim.handle_stream(now, from, &payload),
        });
    }

    fn input(&mut self, member: usize, input: impl FnOnce(&mut Swim, Instant)) {
        let outputs = self.members[member].input(self.now, input);
        self.take_outputs(member, outputs);
    }

    fn fire(&mut self, member: usize) {
        let outputs = self.members[member].timeout(self.now);
        self.take_outputs(member, outputs);
    }

    fn fire_all(&mut self) {
        (0..MEMBERS).for_each(|member| self.fire(member));
    }

    fn take_outputs(&mut self, from: usize, outputs: Vec<Output>) {
        let message = |to: MemberId, channel, payload| {
            Some(Message { from, to: core::number(to)?, channel, payload })
        };
        self.sent.extend(outputs.into_iter().filter_map(|output| match output {
            Output::Datagram { to, payload } => message(to.id, Channel::Datagram, payload),
            Output::Stream { to, payload } => message(to.id, Channel::Stream, payload),
            Output::SendMessage { to, payload, .. } => message(to.id, Channel::Stream, payload),
            // Nobody publishes in the name of another.
            Output::Message(message) => {
                assert_eq!(self.published.get(&message.body), Some(&message.from));
                None
            }
            Output::Disconnect(_)
            | Output::Event(_)
            | Output::Sent { .. }
            | Output::SendEnded { .. }
            | Output::Query { .. }
            | Output::QueryOutcome { .. }
            | Output::QueryEnded { .. }
            | Output::Pinged { .. }
            | Output::KeepPromise { .. }
            | Output::Expulsion(_)
            | Output::Office(_)
            | Output::JoinEnded { .. }
            | Output::Newcomer { .. }
            | Output::AskHost { .. }
            | Output::Isolated(_)
            | Output::Data(_)
            | Output::MessagesMissed { .. }
            | Output::LeaveConfirmed(_)
            | Output::IdentityInUse(_)
            | Output::Generation(_) => None,
        }));
        // Lose the oldest messages.
        let excess = self.sent.len().saturating_sub(MAX_UNDER_WAY);
        self.sent.drain(..excess);
    }
}

fn config(bytes: &mut Bytes<'_>) -> Config {
    let choice = bytes.byte();
    let has = |bit: u32| choice & (1 << bit) != 0;
    let mut config = if has(0) { Config::local() } else { Config::lan() };
    config.ask_application = has(2);
    if has(3) {
        config.evict_degraded_after = Some(config.pause_tolerance * 4);
    }
    if has(4) {
        config.max_period = Some(config.period * 16);
    }
    if has(5) {
        config.max_members = MEMBERS - 1;
    }
    if has(6) {
        (config.flap_suppress, config.flap_reuse) = (2.0, 1.0);
    }
    if has(7) {
        config.rings = 1;
        config.retention = config.period * 10;
    }
    config
}

/// The longest script. Longer ones find nothing more.
const MAX_STEPS: usize = 2_000;
/// Messages under way: more than all members send in a period.
const MAX_UNDER_WAY: usize = 128;
