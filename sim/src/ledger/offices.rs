//! The holders of offices, and when they held them.

use std::{sync::Arc, time::Duration};

use crate::node::{Instant, NodeId, OfficeChange, OfficeNews};

/// The records of offices.
#[derive(Clone, Debug, Default)]
pub struct OfficeLedger {
    /// Every term of a holder, in the order of their beginning.
    pub terms: Vec<OfficeTerm>,
}

/// A term of a holder.
#[derive(Clone, Debug)]
pub struct OfficeTerm {
    /// The office.
    pub office: Arc<str>,
    /// The holder.
    pub holder: NodeId,
    /// The number of the term.
    pub term: u64,
    /// When it began.
    pub began_at: Instant,
    /// Until when it was held: its end, as reported, or the end of its lease.
    pub until: Instant,
    /// Whether its end was reported.
    is_over: bool,
}

impl OfficeLedger {
    pub(crate) fn record(
        &mut self,
        now: Instant,
        (at, until): (NodeId, Instant),
        OfficeNews { office, what }: &OfficeNews,
    ) {
        let mut terms = self.terms.iter_mut().rev();
        let open = terms.find(|term| term.holder == at && term.office == *office && !term.is_over);
        match (what, open) {
            (&OfficeChange::Elected { term, .. }, _) => self.terms.push(OfficeTerm {
                office: Arc::clone(office),
                holder: at,
                term,
                began_at: now,
                until,
                is_over: false,
            }),
            (OfficeChange::Renewed { .. }, Some(term)) => term.until = until,
            (OfficeChange::Lost { .. }, Some(term)) => {
                (term.until, term.is_over) = (term.until.min(now), true);
            }
            _ => {}
        }
    }

    /// The holders of an office between two moments, in order, each once in a row.
    pub fn holders(&self, office: &str, from: Instant, to: Instant) -> Vec<NodeId> {
        let of_it = self.terms.iter().filter(|term| &*term.office == office);
        let meanwhile = of_it.filter(|term| term.began_at <= to && term.until >= from);
        let mut holders: Vec<_> = meanwhile.map(|term| term.holder).collect();
        holders.dedup();
        holders
    }

    /// The longest time for which an office had no holder, from its first term to `end`. A holder that died held it until
    /// its lease was over.
    pub fn longest_vacancy(&self, office: &str, end: Instant) -> Option<Duration> {
        let mut terms = self.terms.iter().filter(|term| &*term.office == office);
        let first = terms.next()?;
        let (mut until, mut longest) = (first.until, Duration::ZERO);
        for term in terms {
            longest = longest.max(term.began_at - until);
            until = until.max(term.until);
        }
        Some(longest.max(end - until))
    }
}
