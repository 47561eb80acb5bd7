//! Tags and the serving state as JSON: an object of texts, and `{"state": …}` with the reason of a member that does not
//! serve.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Reason, ServingState, Tags};

impl Serialize for Tags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Tags;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Tags, A::Error> {
                let mut tags = Tags::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    tags.insert(&key, &value).map_err(de::Error::custom)?;
                }
                Ok(tags)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A serving state as it is written. Variants have braces, because those without would take any further field.
#[derive(Deserialize, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
enum Written {
    Serving {},
    Draining {},
    NotServing { reason: String },
}

impl Serialize for ServingState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match self {
            Self::Serving => Written::Serving {},
            Self::Draining => Written::Draining {},
            Self::NotServing(reason) => Written::NotServing { reason: reason.as_str().to_owned() },
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ServingState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Serving {} => Ok(Self::Serving),
            Written::Draining {} => Ok(Self::Draining),
            Written::NotServing { reason } => {
                Reason::try_from(&*reason).map(Self::NotServing).map_err(de::Error::custom)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_states_in_json_are_themselves_again() {
        let json = r#"{"role":"web,db","zone":"a"}"#;
        let tags: Tags = serde_json::from_str(json).unwrap();
        assert_eq!((tags.get("role"), tags.len()), (Some("web,db"), 2));
        assert_eq!(serde_json::to_string(&tags).unwrap(), json);
        // A list is readable whatever its members state.
        assert!(serde_json::from_str::<Tags>(r#"{"weight":"heavy"}"#).is_ok());
        for json in [
            r#"{"state":"serving"}"#,
            r#"{"state":"draining"}"#,
            r#"{"state":"not-serving","reason":"disk full"}"#,
        ] {
            let state: ServingState = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&state).unwrap(), json);
            assert!(json.contains(&format!("\"{}\"", state.as_str())));
        }
    }

    #[test]
    fn what_a_limit_forbids_is_no_tag_and_no_state() {
        for (json, reason) in [
            (r#"["zone"]"#, "an object of texts"),
            (r#"{"zone":1}"#, "expected a string"),
            (r#"{"Zone":"a"}"#, "1 to 32 characters"),
            (r#"{"zone":"\u001b[2J"}"#, "cannot contain '\\u{1b}'"),
        ] {
            let error = serde_json::from_str::<Tags>(json).unwrap_err().to_string();
            assert!(error.contains(reason), "{json}: {error}");
        }
        for (json, reason) in [
            ("{}", "missing field `state`"),
            (r#"{"state":"gone"}"#, "unknown variant `gone`"),
            (r#"{"state":"not-serving"}"#, "missing field `reason`"),
            (r#"{"state":"not-serving","reason":""}"#, "1 to 64 bytes, not 0"),
            (r#"{"state":"draining","reason":"lost"}"#, "unknown field `reason`"),
        ] {
            let error = serde_json::from_str::<ServingState>(json).unwrap_err().to_string();
            assert!(error.contains(reason), "{json}: {error}");
        }
    }
}
