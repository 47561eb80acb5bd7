//! [`Queue`]: what waits for one subscriber of topics.

use std::{
    collections::BTreeMap,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use phin_swim::{MemberId, Message, Route, Topic};

use super::{Limits, TopicNotice};

/// The notices that wait for one subscriber, in order.
#[derive(Debug)]
pub(crate) struct Queue {
    limits: Limits,
    notices: BTreeMap<u64, TopicNotice>,
    next_number: u64,
    /// How many notices wait without those of a lag, of which no two follow each other.
    waiting: usize,
    /// The bytes of the messages that wait.
    bytes: usize,
    /// The numbers of the messages that a later one may replace.
    replaceable: BTreeMap<Key, u64>,
    waker: Option<Waker>,
    has_ended: bool,
}

/// The key that two messages share if the later replaces the earlier.
type Key = (MemberId, Topic, Arc<str>);

/// The result of offering a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pushed {
    Waits,
    /// It waits in place of an earlier one.
    Replaced,
    NoRoom,
}

impl Queue {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            notices: BTreeMap::new(),
            next_number: 0,
            waiting: 0,
            bytes: 0,
            replaceable: BTreeMap::new(),
            waker: None,
            has_ended: false,
        }
    }

    /// Adds a message at the end, if there is room. One that replaces another takes its room, but not its place.
    pub(crate) fn push(&mut self, message: Message) -> Pushed {
        let key = key_of(&message);
        let replaced = key.as_ref().and_then(|key| self.replaceable.get(key)).copied();
        let freed = replaced.and_then(|number| self.notices.get(&number)).map(bytes_of);
        let waiting = self.waiting + 1 - usize::from(freed.is_some());
        let bytes = self.bytes + bytes(&message) - freed.unwrap_or(0);
        let is_alone = waiting == 1;
        if waiting > self.limits.messages.get() || (bytes > self.limits.bytes && !is_alone) {
            return Pushed::NoRoom;
        }
        (self.waiting, self.bytes) = (waiting, bytes);
        replaced.into_iter().for_each(|number| self.remove(number));
        let number = self.add(TopicNotice::Message(message));
        key.map(|key| self.replaceable.insert(key, number));
        if replaced.is_some() { Pushed::Replaced } else { Pushed::Waits }
    }

    /// Notes that so many messages are missing here, because there was no room.
    pub(crate) fn lag(&mut self, missing: u64) {
        match self.last() {
            Some(TopicNotice::Lagged { count }) => *count = count.saturating_add(missing),
            _ => {
                self.add(TopicNotice::Lagged { count: missing });
            }
        }
    }

    /// Notes that so many messages of a member did not arrive. Without room for that, they count as a lag.
    pub(crate) fn miss(&mut self, member: MemberId, missing: u64) {
        let has_room = self.waiting < self.limits.messages.get();
        match self.last() {
            Some(TopicNotice::Missed { from, count }) if *from == member => {
                *count = count.saturating_add(missing);
            }
            _ if !has_room => self.lag(missing),
            _ => {
                self.waiting += 1;
                self.add(TopicNotice::Missed { from: member, count: missing });
            }
        }
    }

    /// Nothing more comes.
    pub(crate) const fn end(&mut self) {
        self.has_ended = true;
    }

    pub(crate) const fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }

    pub(crate) fn poll_next(&mut self, context: &Context<'_>) -> Poll<Option<TopicNotice>> {
        if let Some(notice) = self.pop() {
            return Poll::Ready(Some(notice));
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn pop(&mut self) -> Option<TopicNotice> {
        let (_, notice) = self.notices.pop_first()?;
        self.bytes -= bytes_of(&notice);
        match &notice {
            TopicNotice::Message(message) => {
                self.waiting -= 1;
                key_of(message).map(|key| self.replaceable.remove(&key));
            }
            TopicNotice::Missed { .. } => self.waiting -= 1,
            TopicNotice::Lagged { .. } => {}
        }
        Some(notice)
    }

    /// Takes a message out of the middle. The lags before and after it become one, or they could be ever more.
    fn remove(&mut self, number: u64) {
        self.notices.remove(&number);
        let before = self.notices.range(..number).next_back();
        let Some((&first, &TopicNotice::Lagged { count: missing })) = before else { return };
        let after = self.notices.range_mut(number..).next();
        if let Some((_, TopicNotice::Lagged { count })) = after {
            *count = count.saturating_add(missing);
            self.notices.remove(&first);
        }
    }

    fn add(&mut self, notice: TopicNotice) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.notices.insert(number, notice);
        number
    }

    fn last(&mut self) -> Option<&mut TopicNotice> {
        self.notices.last_entry().map(std::collections::btree_map::OccupiedEntry::into_mut)
    }
}

fn key_of(message: &Message) -> Option<Key> {
    match &message.route {
        Route::Published { coalesce: Some(key), .. } => {
            Some((message.from, message.topic.clone(), Arc::clone(key)))
        }
        // A later release may know further routes.
        _ => None,
    }
}

fn bytes_of(notice: &TopicNotice) -> usize {
    match notice {
        TopicNotice::Message(message) => bytes(message),
        TopicNotice::Missed { .. } | TopicNotice::Lagged { .. } => 0,
    }
}

fn bytes(message: &Message) -> usize {
    message.topic.as_str().len() + message.body.len()
}
