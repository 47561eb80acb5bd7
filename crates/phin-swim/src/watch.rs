//! How a client that is no member follows a membership list: what it asks a member for, the frames that it is sent, and both
//! ends of that as values.
//!
//! A *frame* is a version byte, then parts, as in a payload of members. [`WatchFeed`](crate::WatchFeed) writes frames for one watcher,
//! [`WatchedList`](crate::WatchedList) reads them.

pub(crate) mod feed;
pub(crate) mod frame;
pub(crate) mod list;

use serde::Deserialize;

/// The version of the requests and frames of watchers.
pub const WATCH_VERSION: u8 = 1;

/// A request of a watcher to a member: a version byte, then an array of numbers, each for something wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WatchRequest(());

impl WatchRequest {
    /// The membership list and its changes.
    pub const fn members() -> Self {
        Self(())
    }

    /// The request as it is sent.
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = vec![WATCH_VERSION];
        rmp_serde::encode::write(&mut bytes, &[MEMBERS]).expect("writing to a vector cannot fail");
        bytes
    }

    /// Reads a request. Things besides the list, which a later release may want, are not granted. `None` if it is malformed, or
    /// does not want the list.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&version, mut wanted) = bytes.split_first()?;
        let length = rmp::decode::read_array_len(&mut wanted).ok()?;
        if version != WATCH_VERSION || length > MAX_WANTED {
            return None;
        }
        let mut wanted = rmp_serde::Deserializer::new(wanted);
        let wanted: Option<Vec<_>> =
            (0..length).map(|_| u8::deserialize(&mut wanted).ok()).collect();
        wanted?.contains(&MEMBERS).then_some(Self(()))
    }
}

/// The number of the membership list in a request and a welcome.
const MEMBERS: u8 = 1;
/// The most that a request may ask for.
const MAX_WANTED: u32 = 16;

#[cfg(test)]
mod tests;
