//! The changes that were seen since the start, newest last.

use std::collections::VecDeque;

use crate::{
    events::{Line, Own, What},
    text::readable,
};

/// The last changes. Beyond the limit, the oldest are dropped and counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventLog {
    entries: VecDeque<Entry>,
    dropped: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The time of day in UTC, to the millisecond.
    pub(crate) at: String,
    /// The kind of the event.
    pub(crate) event: &'static str,
    /// Its member, and what else is known.
    pub(crate) text: String,
}

impl EventLog {
    pub(crate) fn push(&mut self, line: &Line) {
        let text = match &line.what {
            What::Changed(changed) => {
                format!("{}{}", changed.event.member.name, changed.details())
            }
            What::Own(Own::Missed { events }) => {
                format!("{events} changes, because this screen was too slow")
            }
            What::Own(Own::Isolated) => "the node receives nothing from any member".into(),
            What::Own(Own::Reconnected) => "the node receives messages from members again".into(),
            // The list itself, and what does not belong to this stream.
            What::Own(Own::Snapshot { .. } | Own::Departed(_)) | What::Messages(_) => return,
        };
        self.add(&line.at, line.what.name(), text);
    }

    /// Notes something about the connection to the node.
    pub(crate) fn note(&mut self, at: &str, event: &'static str, text: String) {
        self.add(at, event, text);
    }

    fn add(&mut self, at: &str, event: &'static str, text: String) {
        if self.entries.len() == MAX_ENTRIES {
            self.entries.pop_front();
            self.dropped += 1;
        }
        let at = readable(at);
        // The date is of no use on a screen of the last minutes.
        let at = at.split_once('T').map_or(at.as_str(), |(_, time)| time);
        self.entries.push_back(Entry { at: at.trim_end_matches('Z').to_owned(), event, text });
    }

    /// The last entries, at most so many, the newest last.
    pub(crate) fn last(&self, count: usize) -> impl Iterator<Item = &Entry> {
        self.entries.iter().skip(self.entries.len().saturating_sub(count))
    }

    /// How many were seen.
    pub(crate) fn seen(&self) -> u64 {
        self.dropped + self.entries.len() as u64
    }
}

/// Entries that are kept: more than a screen shows.
const MAX_ENTRIES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entries_are_dropped_and_counted() {
        let mut log = EventLog::default();
        for count in 0..300 {
            log.note("2026-01-02T03:04:05.678901Z", "lost", count.to_string());
        }
        assert_eq!((log.seen(), log.entries.len()), (300, MAX_ENTRIES));
        let last: Vec<_> = log.last(2).map(|entry| (&*entry.at, &*entry.text)).collect();
        assert_eq!(last, [("03:04:05.678", "298"), ("03:04:05.678", "299")]);
    }
}
