//! Live members that are suspected or declared dead: because they stall, or because packets are lost.

use super::{
    Inputs, Kind, calm_period,
    evidence::{Evidence, choose},
    links::{estimated_loss, unanswered},
    median, observers,
};

/// An expected number in a year, in the whole cluster: between these two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerYear {
    /// At least so many.
    pub least: f64,
    /// At most so many.
    pub most: f64,
}

/// The mistakes about members that stall.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FromStalls {
    /// Suspicions, if a stall stops the process or the host.
    pub suspicions: PerYear,
    /// Deaths, if each stall stops the whole host.
    pub deaths_of_hosts: PerYear,
    /// Deaths, if each stall stops only the process and its host answers.
    pub deaths_of_processes: PerYear,
}

/// The mistakes about live members.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistakes {
    /// Because of stalls, if something is known of them.
    pub from_stalls: Option<FromStalls>,
    /// Upper bound on deaths in a year from lost packets, if losses are independent.
    pub deaths_from_loss: f64,
    /// Upper bound on suspicions in a year from lost packets, if losses are independent.
    pub suspicions_from_loss: f64,
}

/// The mistakes to expect.
pub(super) fn mistakes(inputs: &Inputs) -> Mistakes {
    let evidence = Evidence::of(inputs);
    Mistakes {
        from_stalls: from_stalls(inputs, &evidence),
        deaths_from_loss: deaths_from_loss(inputs, &evidence),
        suspicions_from_loss: suspicions_from_loss(inputs),
    }
}

/// A stall leads to a suspicion or a verdict if it outlasts the time to it, counted from the first ping in it. The longer
/// tolerance for members that stalled shortly before is left out, so there may be fewer.
fn from_stalls(inputs: &Inputs, evidence: &Evidence) -> Option<FromStalls> {
    let stalls = inputs.stalls.as_ref()?;
    let period = calm_period(&inputs.config).as_secs_f64();
    let all = f64::from(inputs.members) * stalls.per_hour * HOURS_OF_YEAR;
    let per_year = |after: f64| {
        let (least, most) = stalls.outlast(after, period);
        PerYear { least: least * all, most: most * all }
    };
    Some(FromStalls {
        suspicions: per_year(median(&evidence.suspicion(Kind::Silent))),
        deaths_of_hosts: per_year(median(&evidence.verdict(Kind::Silent))),
        deaths_of_processes: per_year(median(&evidence.verdict(Kind::Hung))),
    })
}

/// detector.md, "A bound on false verdicts": every ping of each voter in a majority is lost until the tolerance is over. Each
/// lost ping begins a silence, and is the first of these.
fn deaths_from_loss(inputs: &Inputs, evidence: &Evidence) -> f64 {
    let lost = unanswered(inputs.network.loss);
    let (observers, majority) = (observers(inputs), evidence.majority());
    let sets: f64 = (majority..=observers).map(|voters| choose(observers, voters)).sum();
    let pings = evidence.pings_in_tolerance().max(1) as f64 * f64::from(majority);
    let all_lost = (sets * libm::pow(lost, pings - 1.0)).min(1.0);
    silences_of_year(inputs) * all_lost
}

/// A second observer agrees, and the two miss replies worth three quarters of the threshold. Each of the others misses its
/// replies too, or the message is lost in which it reports that it heard the member.
fn suspicions_from_loss(inputs: &Inputs) -> f64 {
    let lost = unanswered(inputs.network.loss);
    if lost == 0.0 {
        return 0.0;
    }
    let others = f64::from(observers(inputs) - 1);
    let weight = -libm::log10(estimated_loss(lost)).min(phin_accrual::MAX_WEIGHT);
    let misses = libm::ceil(0.75 * inputs.config.phi_threshold / weight).max(4.0);
    let unheard = (lost * lost + inputs.network.loss).min(1.0);
    let agreed = others.max(1.0)
        * libm::pow(lost, misses - 1.0)
        * libm::pow(unheard, (others - 1.0).max(0.0));
    silences_of_year(inputs) * agreed.min(1.0)
}

/// How many silences begin in a year because a packet is lost.
fn silences_of_year(inputs: &Inputs) -> f64 {
    let pings = f64::from(inputs.members) / inputs.config.period.as_secs_f64();
    pings * unanswered(inputs.network.loss) * HOURS_OF_YEAR * 3_600.0
}

/// The hours of a year.
pub(super) const HOURS_OF_YEAR: f64 = 8_766.0;

#[cfg(test)]
mod tests {
    use phin_swim::Config;

    use super::*;
    use crate::network::NetworkConfig;

    fn of(stalls: Option<&str>, loss: f64) -> Mistakes {
        let network = NetworkConfig { loss, ..NetworkConfig::lan() };
        let stalls = stalls.map(|text| text.parse().unwrap());
        mistakes(&Inputs { members: 100, config: Config::lan(), network, stalls })
    }

    #[test]
    fn stalls_within_the_tolerance_are_suspicions_at_most() {
        let found = of(Some("p50=20ms,p99.9999=900ms"), 0.0).from_stalls.unwrap();
        // A hundred members with 525,960 stalls each: 53 of them are longer than 0.9 s.
        assert!(found.deaths_of_hosts.most < 53.0, "{found:?}");
        assert!(found.suspicions.least > found.deaths_of_hosts.most, "{found:?}");
        assert!(found.deaths_of_processes.most < found.deaths_of_hosts.most, "{found:?}");
        assert!(of(None, 0.0).from_stalls.is_none());
    }

    #[test]
    fn every_stall_beyond_tolerance_and_period_kills() {
        let found = of(Some("p0.1=3s,p99=4s"), 0.0).from_stalls.unwrap();
        let all = 100.0 * 60.0 * HOURS_OF_YEAR;
        let PerYear { least, most } = found.deaths_of_hosts;
        assert!(least > 0.99 * all && most <= all, "{least} {most} of {all}");
        assert!(found.deaths_of_processes.least < 1.0, "{found:?}");
    }

    #[test]
    fn independent_losses_kill_nobody_until_most_pings_are_lost() {
        assert_eq!(of(None, 0.0).deaths_from_loss, 0.0);
        let bounds = [0.01, 0.1, 0.25].map(|loss| of(None, loss).deaths_from_loss);
        assert!(bounds[0] < 1e-30 && bounds[1] < 1e-6, "{bounds:?}");
        assert!(bounds.is_sorted());
        // detector.md: at 25 % loss 2e-9 of silences, of which 0.44 begin in a second and member.
        let silences = 100.0 * 0.4375 * HOURS_OF_YEAR * 3_600.0;
        assert!(bounds[2] < 2e-8 * silences, "{bounds:?}");
    }
}
