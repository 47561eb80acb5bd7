//! [`Filter`]: selects members by their tags.

use std::{fmt, str::FromStr};

use crate::{
    Member, Tags,
    member::tags::{TagError, check_key},
};

/// A condition on the tags of a member: terms that must all hold, separated by commas.
///
/// | Term | Holds for members |
/// |---|---|
/// | `key=value` | with this tag |
/// | `key=a\|b` | with one of these values |
/// | `key!=value` | without this tag, or with another value |
/// | `key!=a\|b` | with none of these values |
///
/// Each of a member's roles counts for `role`: `role=web` holds for `web` and for `web,db`. The empty filter holds for
/// all members. A value that contains `,` or `|` cannot be written in a filter.
///
/// ```
/// # use phin_swim::Filter;
/// let filter: Filter = "role=web|api,zone!=b".parse()?;
/// assert_eq!(filter.to_string(), "role=web|api,zone!=b");
/// assert!("role".parse::<Filter>().is_err());
/// # Ok::<(), phin_swim::FilterError>(())
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter(Vec<Term>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Term {
    key: String,
    values: Vec<String>,
    is_negated: bool,
}

impl Filter {
    /// The longest filter, in bytes of its text.
    pub const MAX_BYTES: usize = 1_024;

    /// Whether it holds for this member.
    pub fn matches(&self, member: &Member) -> bool {
        self.0.iter().all(|term| term.matches(member.tag(&term.key)))
    }

    /// Whether it holds for a member with these tags.
    pub fn matches_tags(&self, tags: &Tags) -> bool {
        self.0.iter().all(|term| term.matches(tags.get(&term.key)))
    }

    /// Whether it is empty, and so holds for all members.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Term {
    fn matches(&self, value: Option<&str>) -> bool {
        let is_one_of = |value: &str| self.values.iter().any(|one| one == value);
        let holds = match value {
            Some(roles) if self.key == ROLE => roles.split(',').any(is_one_of),
            Some(value) => is_one_of(value),
            None => false,
        };
        holds != self.is_negated
    }
}

impl FromStr for Term {
    type Err = FilterError;

    fn from_str(term: &str) -> Result<Self, FilterError> {
        let no_condition = || FilterError::NoCondition { term: term.to_owned() };
        let (key, values) = term.split_once('=').ok_or_else(no_condition)?;
        let (key, is_negated) = match key.strip_suffix('!') {
            Some(key) => (key, true),
            None => (key, false),
        };
        check_key(key).map_err(FilterError::Key)?;
        let values = values.split('|').map(str::to_owned).collect();
        Ok(Self { key: key.to_owned(), values, is_negated })
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(filter: &str) -> Result<Self, FilterError> {
        if filter.len() > Self::MAX_BYTES {
            return Err(FilterError::TooLong { bytes: filter.len() });
        }
        if filter.is_empty() {
            return Ok(Self::default());
        }
        filter.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Term { key, values, is_negated }) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let not = if *is_negated { "!" } else { "" };
            write!(f, "{comma}{key}{not}={}", values.join("|"))?;
        }
        Ok(())
    }
}

/// Why a text is no [`Filter`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// A term has no `=`.
    #[error(
        "a filter consists of terms key=value or key!=value, separated by commas; {term:?} is none"
    )]
    NoCondition {
        /// The term.
        term: String,
    },
    /// The key of a term cannot be a tag's.
    #[error(transparent)]
    Key(TagError),
    /// Longer than [`Filter::MAX_BYTES`].
    #[error("a filter has at most {} bytes, not {bytes}", Filter::MAX_BYTES)]
    TooLong {
        /// The length found.
        bytes: usize,
    },
}

/// The tag with several values.
const ROLE: &str = "role";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        Change, Event, Instant, MemberState, Record,
        member::record::{
            Statement,
            tests::{TestKeys, statement, version},
        },
    };

    type Pairs = &'static [(&'static str, &'static str)];

    fn member(tags: Pairs) -> Member {
        let mut statement: Statement = statement(1, version(0, 0));
        tags.iter().for_each(|(key, value)| statement.profile.tags.set(key, value).unwrap());
        let record = Record::sign(statement, &TestKeys(1));
        Member { record, state: MemberState::Alive, since: Instant::START }
    }

    #[test]
    fn all_terms_hold_and_of_a_term_one_value() {
        // A filter, the tags of a member, whether it holds.
        let cases: &[(&str, Pairs, bool)] = &[
            ("", &[], true),
            ("zone=a", &[("zone", "a")], true),
            ("zone=a", &[("zone", "b")], false),
            ("zone=a", &[], false),
            ("zone=a|b", &[("zone", "b")], true),
            ("zone!=a", &[("zone", "a")], false),
            ("zone!=a", &[("zone", "b")], true),
            ("zone!=a", &[], true),
            ("zone!=a|b", &[("zone", "b")], false),
            ("zone=", &[("zone", "")], true),
            ("zone=", &[], false),
            ("zone=a,disk=ssd", &[("zone", "a"), ("disk", "ssd")], true),
            ("zone=a,disk=ssd", &[("zone", "a"), ("disk", "hdd")], false),
            ("role=web", &[("role", "db,web")], true),
            ("role=web", &[("role", "webx,db")], false),
            ("role!=web", &[("role", "db,web")], false),
            // Only roles are several.
            ("disk=ssd", &[("disk", "hdd,ssd")], false),
        ];
        for (filter, tags, expected) in cases {
            let (filter, member) = (filter.parse::<Filter>().unwrap(), member(tags));
            assert_eq!(filter.matches(&member), *expected, "{filter} {tags:?}");
            let tags = member.record.profile().tags;
            assert_eq!(filter.matches_tags(&tags), *expected, "{filter} {tags}");
        }
    }

    #[test]
    fn a_change_matches_by_what_the_member_was_or_is() {
        let filter: Filter = "zone=a".parse().unwrap();
        let (inside, outside) = (member(&[("zone", "a")]), member(&[("zone", "b")]));
        let cases = [
            (None, &inside, true),
            (None, &outside, false),
            (Some(&outside), &inside, true),
            (Some(&inside), &outside, true),
            (Some(&outside), &outside, false),
        ];
        for (before, after, expected) in cases {
            let before = before.map(|before| Arc::new(before.clone()));
            let member = Arc::new(after.clone());
            let (version, change, silence, degraded) = (1, Change::Updated, None, None);
            let event = Event { version, change, member, before, silence, degraded };
            assert_eq!(event.matches(&filter), expected, "{event:?}");
        }
    }

    #[test]
    fn a_text_that_is_no_filter_says_why() {
        let cases = [
            (
                "zone",
                "a filter consists of terms key=value or key!=value, separated by commas; \"zone\" is none",
            ),
            (
                "zone=a,",
                "a filter consists of terms key=value or key!=value, separated by commas; \"\" is none",
            ),
            ("Zone=a", "the tag key \"Zone\" does not have 1 to 32 characters a-z, 0-9, _, . or -"),
            (
                "zone =a",
                "the tag key \"zone \" does not have 1 to 32 characters a-z, 0-9, _, . or -",
            ),
        ];
        for (filter, expected) in cases {
            assert_eq!(filter.parse::<Filter>().unwrap_err().to_string(), expected);
        }
        let long = format!("zone={}", "a".repeat(1_020));
        assert_eq!(long.parse::<Filter>(), Err(FilterError::TooLong { bytes: 1_025 }));
    }
}
