//! How times are written with the feature `serde`: as the HTTP interface of `phin run` has them.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// RFC 3339 in UTC with microseconds.
pub(crate) mod time {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        // Only a clock set before 1970 is out of range.
        let at = (*at).max(SystemTime::UNIX_EPOCH);
        to.collect_str(&humantime::format_rfc3339_micros(at))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_rfc3339(&text).map_err(|error| {
            D::Error::custom(format!("{text:?} is not a time of RFC 3339 in UTC ({error})"))
        })
    }
}

/// [`time`], or `null`.
pub(crate) mod time_option {
    use super::*;

    #[derive(Deserialize, Serialize)]
    struct Time(#[serde(with = "time")] SystemTime);

    pub(crate) fn serialize<S: Serializer>(
        at: &Option<SystemTime>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        at.map(Time).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        Ok(Option::<Time>::deserialize(from)?.map(|Time(at)| at))
    }
}

/// Whole milliseconds.
pub(crate) mod millis {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
