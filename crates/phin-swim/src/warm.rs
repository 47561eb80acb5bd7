//! Starting with a full list: for simulators, where ten thousand members joining one by one would take longer than the
//! run itself. A node never needs this.

use std::sync::Arc;

use crate::{
    Config, ConfigError, DataError, Instant, Keys, Local, Member, MemberId, MemberState,
    MembershipList, Params, Record, Swim,
    data::{
        map::{Head, MemberData, Revision},
        store::Store,
    },
};

/// The list of a cluster whose members have long been together, and their data. Cores started with it share its memory, for as long
/// as their lists and data stay equal.
#[derive(Clone, Debug)]
pub struct Template {
    list: Option<MembershipList>,
    data: Store,
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
        let me = list.as_ref().map_or(MemberId([0; 16]), |list| list.me().id());
        Ok(Self { list, data: Store::new(me) })
    }

    /// Gives one of the members data, as if it had published it as its first revision.
    ///
    /// # Errors
    /// The data is not allowed.
    pub fn put_data<'a>(
        &mut self,
        keys: &dyn Keys,
        entries: impl IntoIterator<Item = (&'a str, Arc<[u8]>)>,
    ) -> Result<(), DataError> {
        let owner = keys.member_id(&keys.public_key());
        let Some(member) = self.list.as_ref().and_then(|list| list.get(owner)) else {
            return Ok(());
        };
        let (mut data, first) = (MemberData::new(), Revision(1));
        for (key, value) in entries {
            data.put(key, &value, first, MemberData::MAX_BYTES)?;
        }
        data.publish(owner, Head { generation: member.generation(), revision: first }, keys);
        self.data.put(owner, data);
        Ok(())
    }

    /// Gives a core this list for its own, without a word to anyone. Does nothing unless the core is in it, as the same
    /// generation; to be called before any input of it.
    pub fn give_to(&self, swim: &mut Swim) {
        let me = swim.core.list.me();
        if let Some(list) = &self.list
            && list.get(me.id()).is_some_and(|member| member.version() == me.version())
        {
            let me = me.id();
            swim.core.list = list.clone().owned_by(me);
            swim.core.data.store = self.data.clone().owned_by(me);
        }
    }

    #[cfg(feature = "measured")]
    pub(crate) const fn list(&self) -> Option<&MembershipList> {
        self.list.as_ref()
    }
}
