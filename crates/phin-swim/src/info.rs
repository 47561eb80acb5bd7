//! Members and their changes as plain data: what they are in JSON.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};

use crate::{
    Change, Degradation, Event, Flaws, Generation, Incarnation, Member, MemberId, MemberState,
    Members, Name, ServingState, Silence, Tags,
};

/// A member as plain data, which can be read back: what a [`Member`] is in JSON.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MemberInfo {
    /// Its identity.
    pub id: MemberId,
    /// Its display name.
    pub name: Name,
    /// The address at which it says it is reached.
    pub addr: SocketAddr,
    /// The run of its process.
    pub generation: Generation,
    /// Its own version within that run.
    pub incarnation: Incarnation,
    /// The state in which the node lists it.
    pub state: MemberState,
    /// Its tags; none from earlier releases.
    #[serde(default)]
    pub tags: Tags,
    /// Whether it takes work; it does, if an earlier release does not say.
    #[serde(default)]
    pub serving: ServingState,
    /// The reasons for which it is degraded, as it states itself; left out if there are none.
    #[serde(default, skip_serializing_if = "Flaws::is_empty")]
    pub flaws: Flaws,
}

/// A change as plain data, which can be read back: what an [`Event`] is in JSON.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EventInfo {
    /// The change.
    #[serde(rename = "event")]
    pub change: Change,
    /// The member after the change.
    pub member: MemberInfo,
    /// The version of the list that contains this change and all before it.
    pub version: u64,
    /// The kind of silence, for a death or a suspicion; left out if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<Silence>,
    /// For [`Change::Degraded`], the reason; else left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<Degradation>,
    /// For an update, the member before it; else left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<MemberInfo>>,
}

impl EventInfo {
    /// A change without an [`Event`], such as a `Joined` for each member of the first list.
    pub const fn new(change: Change, member: MemberInfo, version: u64) -> Self {
        Self { change, member, version, silence: None, degraded: None, before: None }
    }
}

impl From<&Member> for MemberInfo {
    fn from(member: &Member) -> Self {
        Self {
            id: member.id(),
            name: member.name().try_into().expect("names are checked as they are decoded"),
            addr: member.addr(),
            generation: member.generation(),
            incarnation: member.incarnation(),
            state: member.state(),
            tags: member.record.profile().tags,
            serving: member.serving(),
            flaws: member.flaws(),
        }
    }
}

impl From<&Event> for EventInfo {
    fn from(event: &Event) -> Self {
        let Event { version, change, ref member, ref before, silence, ref degraded } = *event;
        let before = before.as_ref().filter(|_| change == Change::Updated);
        let before = before.map(|before| Box::new(MemberInfo::from(&**before)));
        let (member, degraded) = (MemberInfo::from(&**member), degraded.clone());
        Self { change, member, version, silence, degraded, before }
    }
}

impl Serialize for Member {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        MemberInfo::from(self).serialize(serializer)
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        EventInfo::from(self).serialize(serializer)
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct List<'a>(&'a Members);
        impl Serialize for List<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.iter().map(|member| &**member))
            }
        }
        let mut list = serializer.serialize_struct("Members", 4)?;
        list.serialize_field("self", &self.owner().map(|me| me.id()))?;
        list.serialize_field("version", &self.version())?;
        list.serialize_field("fingerprint", &self.fingerprint().to_string())?;
        list.serialize_field("members", &List(self))?;
        list.end()
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Durations as texts such as `200ms` and `1h 30m`, as in a file of settings.
pub(crate) mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text).map_err(|error| {
            D::Error::custom(format!(
                "{text:?} is not a duration such as \"200ms\" or \"1s\" ({error})"
            ))
        })
    }
}

/// [`duration`] for a setting that may be off.
pub(crate) mod duration_or_off {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize, Serialize)]
    struct Text(#[serde(with = "super::duration")] Duration);

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(Text).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Text>::deserialize(from)?.map(|Text(time)| time))
    }
}

/// A limit that is a number, or `off` if it is infinite, which JSON has no number for.
pub(crate) mod number_or_off {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    #[derive(Deserialize, Serialize)]
    #[serde(untagged)]
    enum Limit {
        Number(f64),
        Word(String),
    }

    pub(crate) fn serialize<S: Serializer>(limit: &f64, to: S) -> Result<S::Ok, S::Error> {
        match limit.is_infinite() {
            true => "off".serialize(to),
            false => limit.serialize(to),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        match Limit::deserialize(from)? {
            Limit::Number(number) => Ok(number),
            Limit::Word(word) if word == "off" => Ok(f64::INFINITY),
            Limit::Word(word) => {
                Err(D::Error::custom(format!("{word:?} is neither a number nor \"off\"")))
            }
        }
    }
}

#[cfg(test)]
mod tests;
