//! From the first unanswered ping to the verdict, and on to all members: misses, accusation, votes, tolerance, dissemination
//! (protocol.md, "How a death becomes known"). All times are in seconds since the first unanswered ping.

use phin_swim::Config;

use super::{
    Inputs, Kind, Steps,
    links::{ACCUSE_PHI, Link, Misses, unanswered},
    observers,
};
use crate::latency::Latency;

/// The steps of the members about a silent one.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    config: Config,
    members: u32,
    observers: u32,
    pause: f64,
    /// The mean delay between two members.
    delay: f64,
    accusers: Vec<Accuser>,
}

/// The observer whose turn it is, in one of the places relative to the subject.
#[derive(Clone, Debug)]
struct Accuser {
    probability: f64,
    misses: Misses,
    /// When it accuses.
    accuses_at: f64,
    voters: Vec<Voter>,
    /// When the vote of one other observer comes, if the subject's host answers, and if it does not.
    votes: [Steps; 2],
}

/// Another observer, in one of the places relative to the subject and the accuser.
#[derive(Clone, Debug)]
struct Voter {
    probability: f64,
    misses: Misses,
    /// The delay from and to the accuser, together.
    delays: f64,
}

/// When a verdict is due.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// With one more vote.
    Gone,
    /// With a majority of votes after so many seconds; later with fewer.
    After(f64),
    /// With a majority of votes.
    Majority,
}

impl Evidence {
    pub(super) fn of(inputs: &Inputs) -> Self {
        let Inputs { members, config, network, .. } = inputs;
        let zones = network.latency.len();
        let (within, between) = (network.latency[0][0], network.latency[0][zones - 1]);
        let pause = config.pause_tolerance.as_secs_f64();
        let delay = |latency: Latency| latency.median.as_secs_f64();
        let misses = |latency| Link::new(latency, network.loss, config).misses(pause);
        let places = [(within, misses(within)), (between, misses(between))];
        let near = 1.0 / zones as f64;
        let voter = |probability, is_near: bool, to_accuser: Latency| {
            let (_, misses) = &places[usize::from(!is_near)];
            Voter { probability, misses: misses.clone(), delays: 2.0 * delay(to_accuser) }
        };
        let accuser = |probability, is_near: bool| {
            let (_, misses) = &places[usize::from(!is_near)];
            let voters = match is_near {
                // A voter in the zone of both, or in another one.
                true => vec![voter(near, true, within), voter(1.0 - near, false, between)],
                // A voter in the zone of the subject, of the accuser, or in a third one.
                false => vec![
                    voter(near, true, between),
                    voter(near, false, within),
                    voter((1.0 - 2.0 * near).max(0.0), false, between),
                ],
            };
            let accuses_at = misses.reach(2, ACCUSE_PHI);
            // Helpers are observers, and look already when they are asked to ping.
            let others = f64::from(observers(inputs).saturating_sub(1).max(1));
            let helpers = (f64::from(config.indirect_probes) / others).min(1.0);
            let asked_before = accuses_at - misses.reach(1, ASK_PHI);
            let votes = [true, false].map(|host_answers| {
                let of = |voter, share, ahead: f64| {
                    (voter, share, votes(config, voter, host_answers, ahead))
                };
                let voters = voters.iter().flat_map(|voter| {
                    [of(voter, helpers, asked_before), of(voter, 1.0 - helpers, 0.0)]
                });
                vote_moments(voters, accuses_at, unanswered(network.loss), pause)
            });
            Accuser { probability, misses: misses.clone(), accuses_at, voters, votes }
        };
        let accusers = vec![accuser(near, true), accuser(1.0 - near, false)];
        Self {
            config: config.clone(),
            members: *members,
            observers: observers(inputs),
            pause,
            delay: near * delay(within) + (1.0 - near) * delay(between),
            accusers: accusers.into_iter().filter(|a| a.probability > 0.0).collect(),
        }
    }

    /// When the verdict is made.
    pub(super) fn verdict(&self, kind: Kind) -> Steps {
        self.steps(kind, self.due(kind))
    }

    /// When there are enough votes for one, whatever the tolerance.
    pub(super) fn votes(&self, kind: Kind) -> Steps {
        match self.due(kind) {
            due @ Due::Gone => self.steps(kind, due),
            Due::After(_) | Due::Majority => self.steps(kind, Due::Majority),
        }
    }

    /// When a member first suspects the silent one: with two votes and three quarters of the threshold, after P/8; with less
    /// after 3 P.
    pub(super) fn suspicion(&self, kind: Kind) -> Steps {
        let at = |accuser: &Accuser, moment: f64| {
            let is_late = moment >= 3.0 * self.pause;
            let earliest = (self.pause / 8.0).max(accuser.accuses_at + self.pause / 16.0);
            let needed = self.votes_needed(accuser, moment, 0.75).max(1);
            match (is_late, moment >= earliest) {
                (true, _) => 1.0,
                (false, true) => {
                    self.have_voted(accuser, kind, moment, needed.min(self.observers - 1))
                }
                (false, false) => 0.0,
            }
        };
        self.distribution(kind, 3.0 * self.pause, at)
    }

    /// The time from the verdict until the last member knows: an update waits for the push delay and then goes to K members,
    /// each of which does the same (protocol.md, "Dissemination").
    pub(super) fn news_takes(&self) -> f64 {
        let others = f64::from(self.members - 1);
        let rings = f64::from(self.config.rings);
        let hops = match self.config.rings {
            1 => others,
            _ if others <= rings => 1.0,
            _ => libm::ceil(libm::log(others) / libm::log(rings)),
        };
        hops * (self.config.push_delay.as_secs_f64() + self.delay)
    }

    /// How many pings each voter sends before a verdict on a silent host.
    pub(super) fn pings_in_tolerance(&self) -> usize {
        let voters = self.accusers.iter().flat_map(|accuser| &accuser.voters);
        voters.map(|voter| voter.misses.sent_by(self.pause)).min().unwrap_or(0)
    }

    /// The least number of votes for a verdict in time: a majority of the observers.
    pub(super) const fn majority(&self) -> u32 {
        self.observers / 2 + 1
    }

    fn due(&self, kind: Kind) -> Due {
        match kind {
            // One observer alone counts as *silent*, but the refusal was its own.
            Kind::Gone if self.observers == 1 => Due::After(self.pause),
            Kind::Gone => Due::Gone,
            Kind::Silent | Kind::Hung | Kind::Unknown => Due::After(kind.tolerance(&self.config)),
        }
    }

    fn steps(&self, kind: Kind, due: Due) -> Steps {
        let last = match due {
            Due::After(tolerance) => tolerance * MAX_STRETCH,
            Due::Gone | Due::Majority => 3.0 * self.pause,
        };
        self.distribution(kind, last, |accuser, moment| self.is_decided(accuser, kind, moment, due))
    }

    /// The probability that the accuser declares the member dead by this moment.
    fn is_decided(&self, accuser: &Accuser, kind: Kind, moment: f64, due: Due) -> f64 {
        let asked_for = moment >= accuser.accuses_at + self.pause / 16.0;
        let of_time = match due {
            Due::Gone => Some(1),
            Due::Majority => Some(self.majority() - 1),
            // protocol.md, "Fewer votes".
            Due::After(tolerance) => (1..=self.majority())
                .find(|&votes| asked_for && moment + EPSILON >= tolerance * self.stretch(votes))
                .map(|votes| votes - 1),
        };
        let Some(of_time) = of_time else {
            return 0.0;
        };
        let needed = of_time.max(self.votes_needed(accuser, moment, 1.0));
        self.have_voted(accuser, kind, moment, needed)
    }

    /// 6 − 5 ln v / ln H.
    fn stretch(&self, votes: u32) -> f64 {
        let majority = self.majority();
        match votes >= majority {
            true => 1.0,
            false => {
                let agreed = libm::log(f64::from(votes)) / libm::log(f64::from(majority));
                MAX_STRETCH - (MAX_STRETCH - 1.0) * agreed
            }
        }
    }

    /// How many votes of others bring the evidence to this share of the threshold.
    fn votes_needed(&self, accuser: &Accuser, moment: f64, share: f64) -> u32 {
        let lacking = self.config.phi_threshold * share - accuser.misses.phi(moment);
        if lacking <= 0.0 {
            return 0;
        }
        let phi = |voter: &Voter| {
            let asked_for = moment - accuser.accuses_at - voter.delays;
            voter.probability * voter.misses.phi(asked_for).min(MAX_VOTE_PHI)
        };
        let each: f64 = accuser.voters.iter().map(phi).sum();
        match each > 0.0 {
            true => libm::ceil(lacking / each).min(1e6) as u32,
            false => u32::MAX,
        }
    }

    /// The probability that at least so many of the other observers' votes have come.
    fn have_voted(&self, accuser: &Accuser, kind: Kind, moment: f64, needed: u32) -> f64 {
        let others = self.observers - 1;
        if needed == 0 {
            return 1.0;
        }
        if needed > others {
            return 0.0;
        }
        let come = accuser.votes(kind).iter().take_while(|(at, _)| *at <= moment + EPSILON);
        at_least(others, come.map(|(_, probability)| probability).sum::<f64>().min(1.0), needed)
    }

    /// The distribution of a moment, given the probability for each accuser that it is past. A moment that is not past at the last
    /// moment counts as that moment.
    fn distribution(&self, kind: Kind, last: f64, is_past: impl Fn(&Accuser, f64) -> f64) -> Steps {
        let mut steps = Steps::new();
        for accuser in &self.accusers {
            let mut before = 0.0;
            for moment in self.moments(accuser, kind, last) {
                let now = is_past(accuser, moment).max(before);
                if now > before {
                    steps.push((moment, (now - before) * accuser.probability));
                }
                before = now;
            }
            if before < 1.0 {
                let last = last.max(accuser.accuses_at.min(MAX_SECONDS));
                steps.push((last, (1.0 - before) * accuser.probability));
            }
        }
        steps.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        steps
    }

    /// The moments at which anything changes for an accuser.
    fn moments(&self, accuser: &Accuser, kind: Kind, last: f64) -> Vec<f64> {
        let mut moments: Vec<f64> = accuser.votes(kind).iter().map(|(at, _)| *at).collect();
        let tolerances = Kind::ALL.map(|kind| kind.tolerance(&self.config));
        for votes in 1..=self.majority() {
            moments.extend(tolerances.map(|tolerance| tolerance * self.stretch(votes)));
        }
        moments.extend([self.pause / 8.0, 3.0 * self.pause, last]);
        moments.push(accuser.accuses_at + self.pause / 16.0);
        moments.push(accuser.accuses_at);
        // Evidence grows meanwhile.
        moments.extend((1..=48).map(|sixteenth| f64::from(sixteenth) * self.pause / 16.0));
        moments.retain(|moment| (0.0..=last + EPSILON).contains(moment));
        moments.sort_by(f64::total_cmp);
        moments
    }
}

impl Accuser {
    fn votes(&self, kind: Kind) -> &Steps {
        match kind {
            Kind::Gone | Kind::Hung => &self.votes[0],
            Kind::Silent | Kind::Unknown => &self.votes[1],
        }
    }
}

/// When an observer votes, since it was asked to. It votes as soon as its own misses are worth phi 2, but not before it was
/// answered by anyone else since its first miss, or by the subject's host: the fault may be its own (protocol.md,
/// "Accusation"). Without the host, that is its next ping of another member, at a random moment of the period. It then votes
/// when it next considers the case: after a miss, or when the host's answer has not come in time. A helper's first ping was
/// sent before the question, `ahead`.
fn votes(config: &Config, voter: &Voter, host_answers: bool, ahead: f64) -> Steps {
    let ready = voter.misses.reach(1, ACCUSE_PHI);
    if host_answers {
        return vec![((ready - ahead).max(0.0), 1.0)];
    }
    let period = config.period.as_secs_f64();
    let host_is_silent = voter.misses.reach(1, 0.0) + HOST_QUESTIONS;
    let mut moments: Vec<f64> = voter.misses.overdue().chain([ready, host_is_silent]).collect();
    moments.retain(|moment| *moment >= ready && moment.is_finite());
    moments.sort_by(f64::total_cmp);
    let mut heard = 0.0;
    let mut steps = Steps::new();
    for moment in moments {
        let now = (moment / period).min(1.0);
        steps.push(((moment - ahead).max(0.0), now - heard));
        heard = now;
    }
    if heard < 1.0 {
        steps.push(((period.max(ready) - ahead).max(0.0), 1.0 - heard));
    }
    steps
}

/// When the vote of one of these comes to the accuser: the question and the vote can each be lost, and are then repeated after
/// P/4.
fn vote_moments<'a>(
    voters: impl Iterator<Item = (&'a Voter, f64, Steps)>,
    accuses_at: f64,
    lost: f64,
    pause: f64,
) -> Steps {
    let mut moments = Steps::new();
    for (voter, share, votes) in voters {
        for (at, probability) in votes {
            for round in (0..ROUNDS).map(f64::from) {
                let in_round = (1.0 - lost) * libm::pow(lost, round);
                let at = accuses_at + voter.delays + at + round * pause / 4.0;
                moments.push((at, voter.probability * share * probability * in_round));
            }
        }
    }
    moments.retain(|(_, probability)| *probability > NEGLIGIBLE);
    moments.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    moments
}

/// The probability that of so many, each with this probability, at least `needed` do.
fn at_least(of: u32, probability: f64, needed: u32) -> f64 {
    let mut sum = 0.0;
    for count in needed..=of {
        sum += choose(of, count)
            * libm::pow(probability, f64::from(count))
            * libm::pow(1.0 - probability, f64::from(of - count));
    }
    sum.min(1.0)
}

/// The number of sets of `some` among `of`.
pub(super) fn choose(of: u32, some: u32) -> f64 {
    (0..some).map(|i| f64::from(of - i) / f64::from(i + 1)).product()
}

/// How much longer silence is given with one vote than with a majority.
const MAX_STRETCH: f64 = 6.0;
/// The most that another member's vote is worth.
const MAX_VOTE_PHI: f64 = 6.0;
/// How often a vote is asked for, at most: after that, loss has had its chance.
const ROUNDS: u32 = 12;
/// The phi from which on helpers are asked.
const ASK_PHI: f64 = 1.0;
/// How long the two questions to a silent host take: 50 ms each in the simulator.
const HOST_QUESTIONS: f64 = 0.1;
/// Less probable moments change no quantile.
const NEGLIGIBLE: f64 = 1e-12;
/// The difference between moments that are the same but for rounding.
const EPSILON: f64 = 1e-9;
/// A moment that does not come counts as this.
const MAX_SECONDS: f64 = 1e6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{network::NetworkConfig, plan::median};

    fn evidence(members: u32, loss: f64) -> Evidence {
        let network = NetworkConfig { loss, ..NetworkConfig::lan() };
        Evidence::of(&Inputs { members, config: Config::lan(), network, stalls: None })
    }

    #[test]
    fn tolerances_decide_on_a_good_network() {
        for loss in [0.0, 0.01, 0.05] {
            let evidence = evidence(128, loss);
            let verdict = |kind| median(&evidence.verdict(kind));
            assert!(verdict(Kind::Gone) < 0.3, "{loss}: {}", verdict(Kind::Gone));
            for (kind, seconds) in [(Kind::Silent, 1.0), (Kind::Hung, 10.0), (Kind::Unknown, 3.0)] {
                assert!((verdict(kind) - seconds).abs() < 1e-6, "{kind:?} at {loss}");
            }
            let suspicion = Kind::ALL.map(|kind| median(&evidence.suspicion(kind)));
            assert!(suspicion.iter().all(|at| (0.12..0.7).contains(at)), "{loss}: {suspicion:?}");
            // An observer that no host answers waits for the answer of another member.
            let mean = |kind| -> f64 {
                let steps = evidence.suspicion(kind);
                steps.iter().map(|(at, probability)| at * probability).sum()
            };
            assert!(mean(Kind::Silent) > mean(Kind::Hung) + 0.02, "{loss}");
        }
    }

    #[test]
    fn votes_that_lack_cost_time() {
        let evidence = evidence(128, 0.0);
        let stretches = [1, 2, 3, 4, 5].map(|votes| (evidence.stretch(votes) * 10.0).round());
        assert_eq!(stretches, [60.0, 38.0, 26.0, 17.0, 10.0]);
        assert_eq!(evidence.majority(), 5);
        assert!((at_least(7, 0.5, 4) - 0.5).abs() < 1e-9);
        assert_eq!((at_least(7, 1.0, 7), at_least(7, 0.0, 1)), (1.0, 0.0));
        assert_eq!(choose(8, 5), 56.0);
    }

    #[test]
    fn every_distribution_is_whole() {
        for (members, loss) in [(2, 0.0), (3, 0.1), (8, 0.25), (128, 0.5), (5_000, 0.0)] {
            let evidence = evidence(members, loss);
            let all = Kind::ALL.map(|kind| evidence.verdict(kind));
            for steps in all.iter().chain([&evidence.suspicion(Kind::Silent)]) {
                let sum: f64 = steps.iter().map(|(_, probability)| probability).sum();
                assert!((sum - 1.0).abs() < 1e-9, "{members} {loss}: {sum}");
                assert!(steps.is_sorted_by(|(a, _), (b, _)| a <= b));
            }
        }
    }

    #[test]
    fn news_take_a_hop_for_each_power_of_the_rings() {
        let hop = 0.002 + 0.00025;
        for (members, hops) in [(2, 1.0), (9, 1.0), (32, 2.0), (65, 2.0), (128, 3.0), (2048, 4.0)] {
            let takes = evidence(members, 0.0).news_takes();
            assert!((takes - hops * hop).abs() < 1e-9, "{members}: {takes}");
        }
    }
}
