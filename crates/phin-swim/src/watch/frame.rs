//! Frames: parts to bytes and back.

use std::{io::Cursor, time::Duration};

use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{MEMBERS, WATCH_VERSION};
use crate::{
    Change, Entry, Keys, Member, MemberId, Silence,
    wire::{DecodeError, EntryBody, field},
};

/// Why a frame cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchFrameError {
    /// It cannot be decoded.
    #[error("a frame cannot be decoded")]
    Malformed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is of another version.
    #[error("a frame of version {version}, which this release does not speak")]
    UnknownVersion {
        /// The version.
        version: u8,
    },
    /// Its parts do not belong where they are: a change before a snapshot, for instance.
    #[error("a frame out of order")]
    OutOfOrder,
    /// It has a record that its member did not sign.
    #[error("a record of {member} that it did not sign")]
    Forged {
        /// The member.
        member: MemberId,
    },
    /// The list has more members than the watcher takes.
    #[error("more than {limit} members")]
    TooMany {
        /// How many it takes.
        limit: usize,
    },
}

impl From<DecodeError> for WatchFrameError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(Box::new(error))
    }
}

/// A member as the serving member lists it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listed {
    pub(crate) entry: Entry,
    /// How long it has been in its state.
    pub(crate) age: Duration,
}

/// One statement of a frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WatchPart {
    /// The first part of a stream: who sends it, and what the watcher is granted.
    Welcome { member: MemberId, granted: Vec<u8> },
    /// A snapshot begins. Until it ends, parts say what is in it.
    Snapshot,
    /// A member is in the list. That is no change to report.
    Put(Listed),
    /// The snapshot is complete.
    SnapshotEnd,
    /// A member changed.
    Change(Changed),
    /// A member is no longer in the list. That is no change to report.
    Removed(MemberId),
    /// A member is suppressed for so long, or no longer.
    Suppressed(MemberId, Option<Duration>),
    /// Nothing has changed.
    Heartbeat,
}

/// A change of a member.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Changed {
    pub(crate) change: WatchChange,
    pub(crate) silence: Option<Silence>,
    /// How long ago it happened.
    pub(crate) age: Duration,
    /// The member after it.
    pub(crate) listed: Listed,
}

/// A change as frames name it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WatchChange {
    Known(Change),
    /// One that a later release has.
    Unknown,
}

impl Listed {
    pub(crate) fn of(member: &Member, age: Duration) -> Self {
        Self { entry: Entry::of(member), age }
    }
}

impl WatchPart {
    /// The first part of each stream.
    pub(crate) fn welcome(member: MemberId) -> Self {
        Self::Welcome { member, granted: vec![MEMBERS] }
    }

    /// Appends the part to a frame.
    pub(crate) fn encode(&self, frame: &mut Vec<u8>) {
        if frame.is_empty() {
            frame.push(WATCH_VERSION);
        }
        let written = self.write(&mut rmp_serde::Serializer::new(frame));
        written.expect("writing to a vector cannot fail");
    }

    fn write(&self, out: &mut Output<'_>) -> Written {
        match self {
            Self::Welcome { member, granted } => write(out, 1, (member, granted)),
            Self::Snapshot => write(out, 2, ()),
            Self::Put(listed) => write(out, 3, ListedBody::from(listed)),
            Self::SnapshotEnd => write(out, 4, ()),
            Self::Change(changed) => write(out, 5, ChangedBody::from(changed)),
            Self::Removed(id) => write(out, 6, id),
            Self::Suppressed(id, remaining) => write(out, 7, (id, remaining.map(millis))),
            Self::Heartbeat => write(out, 8, ()),
        }
    }
}

fn write(out: &mut Output<'_>, kind: u8, body: impl Serialize) -> Written {
    kind.serialize(&mut *out)?;
    body.serialize(out)
}

/// Reads all parts of a frame; parts of an unknown kind are left out.
pub(crate) fn decode(frame: &[u8], keys: &dyn Keys) -> Result<Vec<WatchPart>, WatchFrameError> {
    let (&version, body) = frame.split_first().ok_or(DecodeError::Empty)?;
    if version != WATCH_VERSION {
        return Err(WatchFrameError::UnknownVersion { version });
    }
    let mut input = rmp_serde::Deserializer::new(Cursor::new(body));
    input.set_max_depth(16);
    let mut parts = Vec::new();
    while input.position() < body.len() as u64 {
        parts.extend(decode_part(&mut input, keys)?);
    }
    Ok(parts)
}

fn decode_part(input: &mut Input<'_>, keys: &dyn Keys) -> Decoded {
    match u8::deserialize(&mut *input)? {
        1 => read(input, |(member, granted)| Ok(WatchPart::Welcome { member, granted })),
        2 => read(input, |()| Ok(WatchPart::Snapshot)),
        3 => read(input, |listed: ListedBody| Ok(WatchPart::Put(listed.read(keys)?))),
        4 => read(input, |()| Ok(WatchPart::SnapshotEnd)),
        5 => read(input, |changed: ChangedBody| Ok(WatchPart::Change(changed.read(keys)?))),
        6 => read(input, |id| Ok(WatchPart::Removed(id))),
        7 => read(input, |(id, left): (_, Option<_>)| Ok(suppressed(id, left))),
        8 => read(input, |()| Ok(WatchPart::Heartbeat)),
        _ => IgnoredAny::deserialize(input).map(|_| None).map_err(DecodeError::from),
    }
}

/// The part that is made of the next value.
fn read<'de, T: Deserialize<'de>>(
    input: &mut Input<'_>,
    part: impl FnOnce(T) -> Result<WatchPart, DecodeError>,
) -> Decoded {
    part(T::deserialize(input)?).map(Some)
}

fn suppressed(id: MemberId, remaining: Option<u64>) -> WatchPart {
    WatchPart::Suppressed(id, remaining.map(Duration::from_millis))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

type Input<'a> = rmp_serde::Deserializer<rmp_serde::decode::ReadReader<Cursor<&'a [u8]>>>;
type Output<'a> = rmp_serde::Serializer<&'a mut Vec<u8>>;
type Written = Result<(), rmp_serde::encode::Error>;
/// `None` for a part of an unknown kind.
type Decoded = Result<Option<WatchPart>, DecodeError>;

#[derive(Deserialize, Serialize)]
struct ListedBody(EntryBody, u64);

impl From<&Listed> for ListedBody {
    fn from(listed: &Listed) -> Self {
        Self(EntryBody::from(&listed.entry), millis(listed.age))
    }
}

impl ListedBody {
    fn read(self, keys: &dyn Keys) -> Result<Listed, DecodeError> {
        let Self(entry, age) = self;
        Ok(Listed { entry: entry.into_entry(keys)?, age: Duration::from_millis(age) })
    }
}

#[derive(Deserialize, Serialize)]
struct ChangedBody(u8, Option<SilenceBody>, u64, ListedBody);

impl From<&Changed> for ChangedBody {
    fn from(changed: &Changed) -> Self {
        let Changed { change, silence, age, listed } = changed;
        Self(change.code(), silence.map(SilenceBody), millis(*age), ListedBody::from(listed))
    }
}

impl ChangedBody {
    fn read(self, keys: &dyn Keys) -> Result<Changed, DecodeError> {
        let Self(code, silence, age, listed) = self;
        let (change, silence) = (WatchChange::read(code), silence.map(|body| body.0));
        Ok(Changed { change, silence, age: Duration::from_millis(age), listed: listed.read(keys)? })
    }
}

#[derive(Deserialize, Serialize)]
struct SilenceBody(#[serde(with = "field::silence")] Silence);

impl WatchChange {
    fn code(self) -> u8 {
        let known = |change| CHANGES.iter().position(|known| *known == change);
        let code = match self {
            Self::Known(change) => known(change),
            Self::Unknown => None,
        };
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
    }

    fn read(code: u8) -> Self {
        CHANGES.get(usize::from(code)).map_or(Self::Unknown, |change| Self::Known(*change))
    }
}

/// Each change stands at its code. New ones are appended.
const CHANGES: [Change; 12] = [
    Change::Joined,
    Change::Suspect,
    Change::Alive,
    Change::Dead,
    Change::Left,
    Change::Updated,
    Change::Forgotten,
    Change::NameConflict,
    Change::Suppressed,
    Change::Degraded,
    Change::Recovered,
    Change::Expelled,
];
