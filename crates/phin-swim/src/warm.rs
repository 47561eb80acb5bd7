//! Starting with a full list: for simulators, where ten thousand members joining one by one would take longer than the
//! run itself. A node never needs this.

use crate::{
    Config, ConfigError, Instant, Keys, Local, Member, MemberState, MembershipList, Params, Record,
    Swim,
};

/// The list of a cluster whose members have long been together. Cores started with it share its memory, for as long
/// as their lists stay equal.
#[derive(Clone, Debug)]
pub struct Template {
    list: Option<MembershipList>,
}

/// A member as it has been from the beginning.
fn founder(me: Local, keys: &dyn Keys) -> Member {
    let record = Record::sign(me.into_statement(), keys);
    Member { record, state: MemberState::Alive, since: Instant::START }
}

impl Template {
    /// The list of these members, each with its own keys.
    ///
    /// # Errors
    /// Names the setting of `config` that cannot be used.
    pub fn new<K: Keys>(
        config: &Config,
        members: impl IntoIterator<Item = (Local, K)>,
    ) -> Result<Self, ConfigError> {
        let params: Params = config.clone().try_into()?;
        let mut members = members.into_iter().map(|(me, keys)| founder(me, &keys));
        let list = members.next().map(|first| MembershipList::new(first, params.rings));
        let list = list.map(|mut list| {
            members.for_each(|member| _ = list.put(member));
            list
        });
        Ok(Self { list })
    }

    #[cfg(feature = "measured")]
    pub(crate) const fn list(&self) -> Option<&MembershipList> {
        self.list.as_ref()
    }
}

impl Swim {
    /// Takes a template's list for its own, without a word to anyone. Does nothing unless this core is in it, as the
    /// same generation; to be called before any input.
    pub fn start_with(&mut self, template: &Template) {
        let me = self.core.list.me();
        if let Some(list) = &template.list
            && list.get(me.id()).is_some_and(|member| member.version() == me.version())
        {
            self.core.list = list.clone().owned_by(me.id());
        }
    }
}
