//! [`Ctx`]: the only way out of a rule. It carries the moment, the parameters, the random numbers, the keys, the timers and
//! the counters, and takes what a rule wants done: outputs for the driver and [steps](Step) for other rooms, in one order.

use std::{collections::VecDeque, sync::Arc};

use rand_chacha::ChaCha8Rng;

use crate::{
    Instant, Keys, MemberId, Output, Peer, Question, Stats,
    config::Params,
    link::{
        LinkState, host_patience,
        size::{NARROW_BYTES, Narrow},
    },
    member::transition::News,
    step::{Channel, Source, Step},
    timers::{Timer, Timers},
    wire::{Part, Payload},
};

pub(crate) struct Ctx {
    /// The moment of the input that is being handled.
    pub(crate) now: Instant,
    pub(crate) params: Params,
    pub(crate) keys: Arc<dyn Keys>,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) timers: Timers<Timer>,
    pub(crate) stats: Stats,
    /// The members that are sent short packets only.
    pub(crate) narrow: Narrow,
    /// Effects that rules asked for and that are not carried out yet, in order.
    effects: VecDeque<Effect>,
    /// An empty queue with room, so that a step among others allocates nothing.
    spare: VecDeque<Effect>,
}

/// An effect that a rule asks for.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// Something outside the core.
    Output(Output),
    /// Something of another room.
    Step(Step),
}

impl Ctx {
    pub(crate) fn new(now: Instant, params: Params, keys: Arc<dyn Keys>, rng: ChaCha8Rng) -> Self {
        let (timers, stats) = (Timers::new(), Stats::default());
        let (effects, spare) = (VecDeque::new(), VecDeque::new());
        let narrow = Narrow::default();
        Self { now, params, keys, rng, timers, stats, narrow, effects, spare }
    }

    /// Has another room do this, after everything asked for before it.
    pub(crate) fn then(&mut self, step: Step) {
        self.effects.push_back(Effect::Step(step));
    }

    /// Has this applied, as it came to be known.
    pub(crate) fn apply(&mut self, news: News, source: Source) {
        self.then(Step::Apply { news, source });
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.effects.push_back(Effect::Output(output));
    }

    /// Sends one message as a datagram.
    pub(crate) fn send(&mut self, to: Peer, part: &Part) {
        self.send_datagram(to, Payload::of(part));
    }

    pub(crate) fn send_datagram(&mut self, to: Peer, payload: Payload) {
        self.output(Output::Datagram { to, payload: payload.into_bytes() });
    }

    /// Sends a payload as a stream. Where packets of full size do not pass, a longer one goes as several datagrams, part by part:
    /// the packets of streams are filled.
    pub(crate) fn send_stream(&mut self, to: Peer, payload: Payload) {
        let max_bytes = self.max_bytes(to.id);
        if !self.narrow.contains(to.id) || payload.len() <= max_bytes {
            return self.send_whole(to, payload);
        }
        for piece in payload.split(max_bytes) {
            match piece.len() <= max_bytes {
                true => self.send_datagram(to, piece),
                false => self.send_whole(to, piece),
            }
        }
    }

    /// Sends a payload as one stream, however long it is.
    pub(crate) fn send_whole(&mut self, to: Peer, payload: Payload) {
        self.output(Output::Stream { to, payload: payload.into_bytes() });
    }

    /// The longest payload that goes to a member as one datagram.
    pub(crate) fn max_bytes(&self, to: MemberId) -> usize {
        let max_bytes = self.params.max_datagram_bytes;
        if self.narrow.contains(to) { max_bytes.min(NARROW_BYTES) } else { max_bytes }
    }

    /// Sends a payload as a datagram if it fits in one, else as a stream.
    pub(crate) fn send_fitting(&mut self, to: Peer, payload: Payload) {
        match payload.len() <= self.max_bytes(to.id) {
            true => self.send_datagram(to, payload),
            false => self.send_stream(to, payload),
        }
    }

    /// Sends a message by the way by which the one that it answers came.
    pub(crate) fn send_by(&mut self, channel: Channel, to: Peer, payload: Payload) {
        match channel {
            Channel::Datagram => self.send_datagram(to, payload),
            Channel::Stream => self.send_stream(to, payload),
        }
    }

    /// Asks the host of a member, if hosts are asked. `link` is the one to it, if it was ever pinged.
    pub(crate) fn ask_host(
        &mut self,
        to: Option<Peer>,
        question: Question,
        link: Option<&LinkState>,
    ) {
        if let Some(to) = to.filter(|_| self.params.ask_hosts) {
            let patience = host_patience(self.params.prior_round_trip, link);
            self.output(Output::AskHost { to, question, patience });
        }
    }

    /// The next effect, in order.
    pub(crate) fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Takes everything that was asked for and is not done yet.
    pub(crate) fn take_effects(&mut self) -> VecDeque<Effect> {
        match self.effects.is_empty() {
            true => VecDeque::new(),
            false => std::mem::replace(&mut self.effects, std::mem::take(&mut self.spare)),
        }
    }

    /// Gives back what was [taken](Self::take_effects), once what came before it is done.
    pub(crate) fn put_effects(&mut self, effects: VecDeque<Effect>) {
        debug_assert!(self.effects.is_empty(), "what comes first is done first");
        if !effects.is_empty() {
            self.spare = std::mem::replace(&mut self.effects, effects);
        }
    }
}
