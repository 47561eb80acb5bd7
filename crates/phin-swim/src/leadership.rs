//! Leadership: offices that at most one member holds at a time, by a lease of a majority of the voters.
//!
//! A candidate asks the voters of an office for a term ([`Part::LeadAsk`]). A voter grants it unless another lease runs, and
//! keeps the promise to grant no lower term before it answers ([`Part::LeadAnswer`]). With a majority, the candidate holds the
//! office for nine tenths of the lease after the requests were sent, and asks for longer. It announces itself by a key of its
//! member data, from which all others learn it. [`Part::LeadRelease`] ends a lease early; nothing else does. Members that are
//! found dead only have candidates look sooner.
//!
//! [`decide`] is what a voter grants, [`voter`] what it remembers; [`ballot`] counts the votes of a candidate, [`candidate`]
//! has its rules; [`followed`] has what members announce.
//!
//! [`Part::LeadAsk`]: crate::Part::LeadAsk
//! [`Part::LeadAnswer`]: crate::Part::LeadAnswer
//! [`Part::LeadRelease`]: crate::Part::LeadRelease

pub(crate) mod ballot;
pub(crate) mod candidate;
pub(crate) mod decide;
pub(crate) mod followed;
pub(crate) mod office;
pub(crate) mod refusal;
pub(crate) mod voter;

use crate::{
    Instant, Office, OfficeState, Sequence,
    leadership::{
        candidate::{Candidacies, Candidacy},
        followed::Followed,
        voter::Voter,
    },
};

/// The offices that this node votes for, stands for, and knows.
#[derive(Debug)]
pub(crate) struct Leadership {
    pub(crate) voter: Voter,
    pub(crate) candidacies: Candidacies,
    pub(crate) followed: Followed,
    /// The number of the last request.
    pub(crate) sequence: Sequence,
    /// When the timer fires.
    pub(crate) wake_at: Option<Instant>,
}

impl Leadership {
    pub(crate) fn new(now: Instant) -> Self {
        let (candidacies, followed, sequence, wake_at) = Default::default();
        Self { voter: Voter::new(now), candidacies, followed, sequence, wake_at }
    }

    /// Whether the time of a term that this node holds is over.
    pub(crate) fn has_lapsed(&self, now: Instant) -> bool {
        self.candidacies.values().any(|candidacy| candidacy.has_lapsed(now))
    }

    /// The offices that this node held until now.
    pub(crate) fn lapsed(&self, now: Instant) -> Vec<Office> {
        let lapsed = self.candidacies.iter().filter(|(_, candidacy)| candidacy.has_lapsed(now));
        lapsed.map(|(office, _)| office.clone()).collect()
    }

    pub(crate) fn state(&self, office: &Office) -> OfficeState {
        let candidacy = self.candidacies.get(office);
        match candidacy.and_then(Candidacy::held) {
            Some((token, valid_until)) => OfficeState::Holding { token, valid_until },
            None => self.followed.state(office, candidacy.and_then(Candidacy::obstacle)),
        }
    }

    /// The state of all offices, in the order of their names.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&Office, OfficeState)> {
        self.followed.offices().map(|office| (office, self.state(office)))
    }
}
