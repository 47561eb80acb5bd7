//! Updates in messages, and how often each was sent (SWIM §4.1, infection-style).

use std::collections::BTreeMap;

use super::Reader;
use crate::node::{Belief, HostId, NodeId};

/// An update: the state of a member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Update {
    pub(super) subject: NodeId,
    pub(super) host: HostId,
    pub(super) belief: Belief,
    pub(super) incarnation: u32,
    /// The member that found it.
    pub(super) by: NodeId,
}

impl Update {
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.belief as u8);
        for number in [self.subject.0, self.host.0, self.incarnation, self.by.0] {
            bytes.extend(number.to_le_bytes());
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let belief = match reader.byte()? {
            0 => Belief::Alive,
            1 => Belief::Suspect,
            2 => Belief::Dead,
            3 => Belief::Left,
            _ => return None,
        };
        Some(Self {
            belief,
            subject: reader.node()?,
            host: HostId(reader.number()?),
            incarnation: reader.number()?,
            by: reader.node()?,
        })
    }
}

/// Updates to piggyback. Those sent least often go first.
#[derive(Debug, Default)]
pub(super) struct Updates(BTreeMap<NodeId, (u32, Update)>);

impl Updates {
    pub(super) fn push(&mut self, update: Update) {
        self.0.insert(update.subject, (0, update));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the next updates for one message. Each is sent at most `limit` times in total.
    pub(super) fn take(&mut self, limit: u32) -> Vec<Update> {
        let mut queue: Vec<_> = self.0.iter().map(|(&id, &(sent, _))| (sent, id)).collect();
        queue.sort_unstable();
        queue.truncate(MAX_PER_MESSAGE);
        let mut taken = Vec::with_capacity(queue.len());
        for (_, id) in queue {
            if let Some((sent, update)) = self.0.get_mut(&id) {
                taken.push(*update);
                *sent += 1;
                if *sent >= limit {
                    self.0.remove(&id);
                }
            }
        }
        taken
    }
}

/// Updates in one datagram, by the sizes of memberlist's messages (about 60 bytes each in 1,400).
const MAX_PER_MESSAGE: usize = 20;
