//! How long silence is given before a verdict, by its kind and by how many agree.

use std::time::Duration;

use crate::detect::reports::Silence;

/// Circumstances that lengthen the tolerance for a silence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Circumstances {
    pub(crate) silence: Silence,
    /// Whether the subject's host refused packets of this node: then the fault is not here.
    pub(crate) is_refused: bool,
    /// Whether most subjects of this node are silent: then the fault may be here.
    pub(crate) is_most_silent: bool,
}

/// The time that a silence is given with a majority of votes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Given {
    Nothing,
    /// A multiple of the pause tolerance.
    Pauses(u32),
    /// A multiple of the hang tolerance.
    Hangs(u32),
}

/// One line of [`TOLERANCES`]; `None` stands for either.
type Row = (Silence, Option<bool>, Option<bool>, Given);

/// The kind of silence, whether packets of this node are refused, whether most subjects are silent, and the tolerance.
/// Two circumstances do not multiply: if most subjects are silent, the fault may be here, and the missing answer of a
/// host then adds nothing.
const TOLERANCES: [Row; 8] = [
    (Silence::Gone, None, None, Given::Nothing),
    (Silence::Hung, None, Some(false), Given::Hangs(1)),
    (Silence::Hung, None, Some(true), Given::Hangs(DOUBTFUL)),
    (Silence::Silent, Some(true), None, Given::Pauses(1)),
    (Silence::Silent, Some(false), Some(false), Given::Pauses(1)),
    (Silence::Silent, Some(false), Some(true), Given::Pauses(DOUBTFUL)),
    (Silence::Unknown, Some(true), None, Given::Pauses(1)),
    (Silence::Unknown, Some(false), None, Given::Pauses(DOUBTFUL)),
];

impl Circumstances {
    fn given(self) -> Given {
        let is = |wanted: Option<bool>, found: bool| wanted.is_none_or(|wanted| wanted == found);
        let row = TOLERANCES.iter().find(|&&(silence, is_refused, is_most_silent, _)| {
            silence == self.silence
                && is(is_refused, self.is_refused)
                && is(is_most_silent, self.is_most_silent)
        });
        let &(.., given) = row.expect("the table has a line for each case");
        given
    }

    /// How long the silence is given with a majority of votes, by these tolerances for a pause and for a process that hangs.
    pub(crate) fn tolerance(self, pause: Duration, hang: Duration) -> Duration {
        match self.given() {
            Given::Nothing => Duration::ZERO,
            Given::Pauses(times) => pause * times,
            Given::Hangs(times) => hang * times,
        }
    }
}

/// How many times longer silence is given with fewer votes than a majority of those able to judge: from six times with one
/// vote down to once (Lifeguard §IV.B, LHA-Suspicion).
pub(crate) fn stretch(votes: usize, able: usize) -> f64 {
    let majority = able / 2 + 1;
    if votes >= majority {
        return 1.0;
    }
    let agreed = phin_accrual::ln(votes as f64) / phin_accrual::ln(majority as f64);
    MAX_STRETCH - (MAX_STRETCH - 1.0) * agreed
}

/// How many times longer silence is given if nothing is known of the host, or the fault may be here.
const DOUBTFUL: u32 = 3;
/// How much longer silence is given with one vote than with a majority (Lifeguard's β).
const MAX_STRETCH: f64 = 6.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lengthens_the_time_given_does_not_multiply() {
        use Silence::{Gone, Hung, Silent, Unknown};
        // The kind of silence, refused here, most are silent, and the seconds given.
        let cases = [
            (Silent, false, false, 1),
            (Silent, false, true, 3),
            (Silent, true, false, 1),
            (Silent, true, true, 1),
            (Unknown, false, false, 3),
            (Unknown, false, true, 3),
            (Unknown, true, false, 1),
            (Unknown, true, true, 1),
            (Hung, false, false, 10),
            (Hung, false, true, 30),
            (Hung, true, false, 10),
            (Hung, true, true, 30),
            (Gone, false, false, 0),
            (Gone, false, true, 0),
            (Gone, true, false, 0),
            (Gone, true, true, 0),
        ];
        let (pause, hang) = (Duration::from_secs(1), Duration::from_secs(10));
        for (silence, is_refused, is_most_silent, expected) in cases {
            let found = Circumstances { silence, is_refused, is_most_silent };
            assert_eq!(found.tolerance(pause, hang), Duration::from_secs(expected), "{found:?}");
        }
    }

    #[test]
    fn time_is_stretched_by_the_votes_that_lack_of_those_able_to_judge() {
        let rounded = |votes, able| (stretch(votes, able) * 10.0).round() / 10.0;
        assert_eq!(
            [1, 2, 3, 4, 5, 8].map(|votes| rounded(votes, 8)),
            [6.0, 3.8, 2.6, 1.7, 1.0, 1.0]
        );
        // Only one or two of the observers are able to judge.
        assert_eq!([rounded(1, 1), rounded(2, 2), rounded(1, 2)], [1.0, 1.0, 6.0]);
    }
}
