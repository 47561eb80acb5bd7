//! The better of two: work goes to the less loaded of two random members.

use std::sync::Arc;

use phin_swim::{Filter, Member, MemberState};

use super::eligible_weight;
use crate::{Cluster, random::Random};

impl Cluster {
    /// A member for one piece of work: the less loaded of two random [eligible](crate::Placement#eligible-members) members. Suspects
    /// are not considered. `None` if no member is left.
    ///
    /// Members are drawn in proportion to their [weights](Member::weight). The load is what each has announced with
    /// [`set_load`](Self::set_load). A member without a load is neither preferred nor avoided: if one of the two has none, the
    /// first is chosen.
    ///
    /// The least loaded of all members would be a worse choice: all nodes would send their work to the same member
    /// until its load is known to have risen. The better one of two random members is nearly as good, and the work
    /// stays distributed (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cluster = phin::testing::TestCluster::start(3).await;
    /// let node = cluster.node(0);
    /// node.set_load(250).await?;
    /// let worker = node.choose_two(&"role!=gateway".parse()?).ok_or("no member takes work")?;
    /// println!("send it to {}", worker.name());
    /// # Ok(())
    /// # }
    /// ```
    pub fn choose_two(&self, filter: &Filter) -> Option<Arc<Member>> {
        let (members, data) = (self.members(), self.data());
        let alive = members.matching(filter).filter(|member| member.state() == MemberState::Alive);
        let (eligible, weights): (Vec<_>, Vec<_>) =
            alive.filter_map(|member| Some((member, eligible_weight(&members, member)?))).unzip();
        let first = draw(&weights, None, &self.shared.random)?;
        let second = draw(&weights, Some(first), &self.shared.random).unwrap_or(first);
        let chosen = match [first, second].map(|drawn| data.load(eligible[drawn].id())) {
            [Some(load), Some(lower)] if lower < load => second,
            _ => first,
        };
        Some(Arc::clone(eligible[chosen]))
    }
}

/// Draws one in proportion to the weights, other than `but`.
fn draw(weights: &[u16], but: Option<usize>, random: &Random) -> Option<usize> {
    let weights = || weights.iter().enumerate().filter(|(index, _)| Some(*index) != but);
    let sum = weights().map(|(_, &weight)| u64::from(weight)).sum();
    let mut left = random.below(sum)?;
    let drawn = weights().find(|(_, weight)| {
        let is_drawn = left < u64::from(**weight);
        left = left.saturating_sub((**weight).into());
        is_drawn
    });
    drawn.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_drawn_by_their_weights() {
        const DRAWS: u32 = 40_000;
        let random = Random::new(1);
        let mut drawn = [0_u32; 3];
        (0..DRAWS).for_each(|_| drawn[draw(&[100, 300, 0], None, &random).unwrap()] += 1);
        // Five standard deviations of a binomial distribution with p = 1/4.
        assert!(drawn[0].abs_diff(DRAWS / 4) < 5 * 87, "{drawn:?}");
        assert_eq!(drawn[2], 0);
        assert_eq!(draw(&[5, 5], Some(1), &random), Some(0));
        assert_eq!((draw(&[5], Some(0), &random), draw(&[], None, &random)), (None, None));
    }
}
