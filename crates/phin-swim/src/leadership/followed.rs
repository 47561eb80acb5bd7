//! [`Followed`]: the offices that members announce, and their holders.

use std::collections::BTreeMap;

use crate::{
    Ctx, MemberId, MemberState, MembershipList, Office, OfficeEvent, OfficeState, Output, Term,
    Transition, Vacancy, data::store::Store,
};

/// The offices that are known. At most [`MAX_OFFICES`], and those that this node stands for. One without a holder gives way; if
/// there is none, further offices are not followed.
#[derive(Debug, Default)]
pub(crate) struct Followed(BTreeMap<Office, Known>);

/// An office as known from announcements.
#[derive(Clone, Copy, Debug)]
struct Known {
    holder: Option<(MemberId, Term)>,
    /// Whether this node stands for it.
    stands: bool,
    /// Why there was no holder last.
    vacancy: Vacancy,
    /// The state that was reported to the application.
    shown: Option<OfficeState>,
}

impl Followed {
    pub(crate) fn offices(&self) -> impl Iterator<Item = &Office> {
        self.0.keys()
    }

    pub(crate) fn contains(&self, office: &Office) -> bool {
        self.0.contains_key(office)
    }

    pub(crate) fn holder(&self, office: &Office) -> Option<(MemberId, Term)> {
        self.0.get(office)?.holder
    }

    /// The state of an office, with the obstacle to this node's candidacy.
    pub(crate) fn state(&self, office: &Office, obstacle: Option<Vacancy>) -> OfficeState {
        let known = self.0.get(office);
        match known.and_then(|known| known.holder) {
            Some((member, token)) => OfficeState::Following { member, token },
            None => {
                let vacancy = known.map_or(Vacancy::NeverHeld, |known| known.vacancy);
                OfficeState::Vacant(obstacle.unwrap_or(vacancy))
            }
        }
    }

    /// Remembers an office; `false` if there are too many. There is always room for one that this node stands for.
    pub(crate) fn add(&mut self, ctx: &mut Ctx, office: &Office, stands: bool) -> bool {
        if let Some(known) = self.0.get_mut(office) {
            known.stands |= stands;
            return true;
        }
        if !self.make_room() && !stands {
            ctx.stats.offices_not_followed += 1;
            return false;
        }
        let fresh = Known { holder: None, stands, vacancy: Vacancy::NeverHeld, shown: None };
        self.0.insert(office.clone(), fresh);
        true
    }

    fn make_room(&mut self) -> bool {
        let mut idle = self.0.iter().filter(|(_, known)| known.holder.is_none() && !known.stands);
        match idle.next().map(|(office, _)| office.clone()) {
            _ if self.0.len() < MAX_OFFICES => true,
            Some(victim) => self.0.remove(&victim).is_some(),
            None => false,
        }
    }

    /// This node no longer stands for an office. It stays known, as every other one is, unless there are too many.
    pub(crate) fn resign(&mut self, office: &Office) {
        let Some(known) = self.0.get_mut(office).filter(|known| known.stands) else {
            return;
        };
        known.stands = false;
        if self.0.len() > MAX_OFFICES {
            self.0.remove(office);
        }
    }

    /// This node held an office, and no longer does.
    pub(crate) fn release(&mut self, office: &Office) {
        if let Some(known) = self.0.get_mut(office) {
            (known.vacancy, known.shown) = (Vacancy::Released, None);
        }
    }

    /// Takes note of which member announces an office with the highest term. `gone` is why its last holder may be gone.
    pub(crate) fn set_holder(
        &mut self,
        office: &Office,
        holder: Option<(MemberId, Term)>,
        gone: Vacancy,
    ) {
        if let Some(known) = self.0.get_mut(office) {
            let is_gone = known.holder.is_some() && holder.is_none();
            known.vacancy = if is_gone { gone } else { known.vacancy };
            known.holder = holder;
        }
    }

    /// The offices of a member.
    pub(crate) fn of(&self, member: MemberId) -> Vec<Office> {
        let is_of = |known: &Known| known.holder.is_some_and(|(holder, _)| holder == member);
        let of_it = self.0.iter().filter(|(_, known)| is_of(known));
        of_it.map(|(office, _)| office.clone()).collect()
    }

    /// Reports what is known of an office, if that was not reported.
    pub(crate) fn show(&mut self, ctx: &mut Ctx, office: &Office, state: OfficeState) {
        if let Some(known) = self.0.get_mut(office).filter(|known| known.shown != Some(state)) {
            known.shown = Some(state);
            let event = event(office.clone(), state);
            event.into_iter().for_each(|event| ctx.output(Output::Office(event)));
        }
    }
}

/// The event for an office in this state; none at its holder, which reports that itself.
fn event(office: Office, state: OfficeState) -> Option<OfficeEvent> {
    Some(match state {
        OfficeState::Holding { .. } => return None,
        OfficeState::Following { member, token } => {
            OfficeEvent::Following { office, member, token }
        }
        OfficeState::Vacant(why) => OfficeEvent::Vacant { office, why },
    })
}

/// Why a member that changed so does not hold its offices any more.
pub(crate) fn vacancy_by(transition: &Transition) -> Vacancy {
    match transition.after.state {
        MemberState::Left => Vacancy::HolderLeft,
        MemberState::Alive | MemberState::Suspect | MemberState::Dead => Vacancy::HolderDied,
    }
}

/// The other live member that announces an office with the highest term.
pub(crate) fn holder(
    list: &MembershipList,
    store: &Store,
    office: &Office,
) -> Option<(MemberId, Term)> {
    let key = office.data_key();
    let announced = store.snapshot().iter().filter_map(|(member, data)| {
        let term = str::from_utf8(data.get(&key)?).ok()?.parse().ok()?;
        list.live(member).filter(|_| member != store.me()).map(|_| (member, Term(term)))
    });
    announced.max_by_key(|&(member, term)| (term, member))
}

/// How many offices are followed at most.
const MAX_OFFICES: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rooms, peer};

    fn offices(of: std::ops::Range<usize>) -> impl Iterator<Item = Office> {
        of.map(|number| format!("o{number}").parse().unwrap())
    }

    #[test]
    fn an_office_that_was_resigned_gives_way_to_others() {
        let (mut rooms, mut followed) = (Rooms::of(1), Followed::default());
        for office in offices(0..MAX_OFFICES + 100) {
            assert!(followed.add(&mut rooms.ctx, &office, true));
            followed.release(&office);
            followed.resign(&office);
            assert_eq!(followed.state(&office, None), OfficeState::Vacant(Vacancy::Released));
        }
        assert_eq!((followed.0.len(), rooms.ctx.stats.offices_not_followed), (MAX_OFFICES, 0));
    }

    #[test]
    fn beside_held_offices_there_is_room_only_for_those_that_this_node_stands_for() {
        let (mut rooms, mut followed) = (Rooms::of(2), Followed::default());
        let held = Some((peer(1).id, Term(1)));
        for office in offices(0..MAX_OFFICES) {
            assert!(followed.add(&mut rooms.ctx, &office, false));
            followed.set_holder(&office, held, Vacancy::Released);
        }
        for office in offices(MAX_OFFICES..MAX_OFFICES + 10) {
            assert!(!followed.add(&mut rooms.ctx, &office, false));
            assert!(followed.add(&mut rooms.ctx, &office, true));
            followed.set_holder(&office, held, Vacancy::Released);
        }
        assert_eq!(followed.0.len(), MAX_OFFICES + 10);
        offices(MAX_OFFICES..MAX_OFFICES + 10).for_each(|office| followed.resign(&office));
        assert_eq!((followed.0.len(), rooms.ctx.stats.offices_not_followed), (MAX_OFFICES, 10));
        // An office that it does not stand for is not resigned.
        followed.add(&mut rooms.ctx, &"other".parse().unwrap(), true);
        offices(0..1).for_each(|office| followed.resign(&office));
        assert!(followed.contains(&offices(0..1).next().unwrap()));
    }
}
