//! Messages that wait for a dial.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::config::Params;

/// A message, as a datagram or a stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Message {
    Datagram(Bytes),
    Stream(StreamMessage),
}

/// A message as a stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct StreamMessage {
    pub(crate) payload: Bytes,
    /// The caller's number of a [bulk message](crate::Transport::send_bulk). Bulk messages have limits of their own, so that
    /// they take no room from others.
    pub(crate) bulk: Option<u64>,
}

impl Message {
    pub(crate) fn payload(&self) -> &Bytes {
        match self {
            Self::Datagram(payload) | Self::Stream(StreamMessage { payload, .. }) => payload,
        }
    }

    const fn is_bulk(&self) -> bool {
        matches!(self, Self::Stream(StreamMessage { bulk: Some(_), .. }))
    }
}

/// The messages that wait for one dial, limited in number and bytes.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    messages: VecDeque<Message>,
    /// The bytes of those that are not bulk messages.
    bytes: usize,
    bulk_messages: usize,
    bulk_bytes: usize,
}

/// The result of [`Pending::push`].
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Pushed {
    /// The message waits. This many older datagrams were dropped for it.
    Waits { dropped_datagrams: u64 },
    /// There is no room, even without datagrams. This many older datagrams were dropped.
    NoRoom { message: Message, dropped_datagrams: u64 },
}

impl Pending {
    /// Adds a message. The oldest datagrams make room: they are the most outdated, and may be lost anyway. Streams
    /// are never dropped. A stream may always wait if no other stream does.
    pub(crate) fn push(&mut self, message: Message, params: &Params) -> Pushed {
        if message.is_bulk() {
            return self.push_bulk(message, params);
        }
        let is_stream =
            |message: &Message| matches!(message, Message::Stream(_)) && !message.is_bulk();
        let is_only_stream = is_stream(&message) && !self.messages.iter().any(is_stream);
        let mut dropped_datagrams = 0;
        while !self.has_room(&message, params) {
            if self.drop_oldest_datagram() {
                dropped_datagrams += 1;
            } else if is_only_stream {
                break;
            } else {
                return Pushed::NoRoom { message, dropped_datagrams };
            }
        }
        self.bytes += message.payload().len();
        self.messages.push_back(message);
        Pushed::Waits { dropped_datagrams }
    }

    /// Adds a bulk message, which makes nothing else go.
    fn push_bulk(&mut self, message: Message, params: &Params) -> Pushed {
        let bytes = self.bulk_bytes.saturating_add(message.payload().len());
        if self.bulk_messages >= params.max_pending_messages || bytes > params.max_stream_bytes {
            return Pushed::NoRoom { message, dropped_datagrams: 0 };
        }
        (self.bulk_messages, self.bulk_bytes) = (self.bulk_messages + 1, bytes);
        self.messages.push_back(message);
        Pushed::Waits { dropped_datagrams: 0 }
    }

    pub(crate) fn into_messages(self) -> VecDeque<Message> {
        self.messages
    }

    fn has_room(&self, message: &Message, params: &Params) -> bool {
        self.messages.len() - self.bulk_messages < params.max_pending_messages
            && self.bytes.saturating_add(message.payload().len()) <= params.max_pending_bytes
    }

    fn drop_oldest_datagram(&mut self) -> bool {
        let oldest = self.messages.iter().position(|m| matches!(m, Message::Datagram(_)));
        let Some(message) = oldest.and_then(|position| self.messages.remove(position)) else {
            return false;
        };
        self.bytes -= message.payload().len();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TransportConfig;

    fn params() -> Params {
        let limits = TransportConfig { max_stream_bytes: 1_000, ..TransportConfig::default() };
        let limits = TransportConfig { max_pending_messages: 3, ..limits };
        TransportConfig { max_pending_bytes: 10, ..limits }.try_into().unwrap()
    }

    fn datagram(bytes: &'static str) -> Message {
        Message::Datagram(bytes.into())
    }

    fn stream(bytes: &'static str) -> Message {
        Message::Stream(StreamMessage { payload: bytes.into(), bulk: None })
    }

    #[test]
    fn the_oldest_datagrams_make_room() {
        let mut pending = Pending::default();
        for message in [datagram("1"), stream("2"), datagram("3")] {
            assert_eq!(pending.push(message, &params()), Pushed::Waits { dropped_datagrams: 0 });
        }
        let by_number = pending.push(datagram("4"), &params());
        assert_eq!(by_number, Pushed::Waits { dropped_datagrams: 1 });
        let by_bytes = pending.push(datagram("123456789"), &params());
        assert_eq!(by_bytes, Pushed::Waits { dropped_datagrams: 2 });
        let left: Vec<_> = pending.into_messages().into();
        assert_eq!(left, [stream("2"), datagram("123456789")]);
    }

    #[test]
    fn bulk_messages_have_room_of_their_own() {
        let bulk = |bytes: &'static [u8]| {
            Message::Stream(StreamMessage { payload: Bytes::from_static(bytes), bulk: Some(1) })
        };
        let mut pending = Pending::default();
        let waits = Pushed::Waits { dropped_datagrams: 0 };
        for message in [datagram("12345"), bulk(&[0; 100]), stream("12345"), bulk(&[0; 100])] {
            assert_eq!(pending.push(message, &params()), waits);
        }
        assert_eq!(pending.push(datagram(""), &params()), waits, "the third of three");
        let refused = Pushed::NoRoom { message: bulk(&[0; 801]), dropped_datagrams: 0 };
        assert_eq!(pending.push(bulk(&[0; 801]), &params()), refused);
        assert_eq!(pending.push(bulk(&[0; 800]), &params()), waits);
        let refused = Pushed::NoRoom { message: bulk(b""), dropped_datagrams: 0 };
        assert_eq!(pending.push(bulk(b""), &params()), refused, "three wait");
        assert_eq!(pending.into_messages().len(), 6);
    }

    #[test]
    fn streams_stay_and_the_first_may_be_long() {
        let mut pending = Pending::default();
        pending.push(datagram("1"), &params());
        let long = pending.push(stream("longer than ten bytes"), &params());
        assert_eq!(long, Pushed::Waits { dropped_datagrams: 1 });
        let another = pending.push(stream("2"), &params());
        assert!(matches!(another, Pushed::NoRoom { dropped_datagrams: 0, .. }));
        let late = pending.push(datagram("3"), &params());
        assert!(matches!(late, Pushed::NoRoom { dropped_datagrams: 0, .. }));
        assert_eq!(pending.into_messages().len(), 1);
    }
}
