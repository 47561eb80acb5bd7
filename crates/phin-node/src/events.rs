//! The JSON of members and changes, in event lines and HTTP answers, and their human-readable lines.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use phin::{
    Change, Departure, Event, EventInfo, FailingLink, Filter, Flaws, Link, Member, MemberId,
    MemberInfo, MemberRef, Members, Unreached,
};
use serde::{Deserialize, Serialize};

use crate::{
    message::MessageEvent,
    profile,
    text::{printable, printable_option, readable, readable_time, rfc3339, short},
};

/// One line of a stream of events.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Line {
    /// The time of the event, as RFC 3339 in UTC with microseconds.
    #[serde(deserialize_with = "printable")]
    pub(crate) at: String,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// The content of a line.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum What {
    /// A change of a member.
    Changed(Changed),
    /// Something about the node itself, or the stream.
    Own(Own),
    /// A message, or something about messages.
    Messages(MessageEvent),
}

/// One change of a member.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Changed {
    #[serde(flatten)]
    pub(crate) event: EventInfo,
    /// For a death or a suspicion, why handshakes of this node with the member are refused, if they are.
    #[serde(
        default,
        deserialize_with = "printable_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) refusal: Option<String>,
}

/// Notices that are no change of a member; the tag is the field `event`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Own {
    /// The reader was too slow for this many changes. A snapshot follows instead.
    Missed { events: u64 },
    /// The whole list at this version.
    Snapshot { version: u64, members: Vec<MemberInfo> },
    /// The node receives nothing from any member, so it declares nobody dead.
    Isolated,
    /// It receives something again.
    Reconnected,
    /// The node itself left, as confirmed by these members.
    Departed(Departure),
}

/// A member as `/v1/members` shows it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct DetailedMember {
    #[serde(flatten)]
    pub(crate) member: MemberInfo,
    /// The evidence that the member is dead. `null` for members that are not live, and for those without evidence here, which
    /// are mostly members that this node does not observe.
    pub(crate) phi: Option<f64>,
    /// The typical round trip to the member in milliseconds; `null` before the first measurement.
    pub(crate) rtt_ms: Option<f64>,
    /// When the member entered this state in this node's list.
    #[serde(deserialize_with = "printable")]
    pub(crate) since: String,
    /// The end of the suppression, if the member died and returned too often lately; else `null`.
    #[serde(default, deserialize_with = "printable_option")]
    pub(crate) suppressed_until: Option<String>,
    /// The ids of other live members with the same name.
    #[serde(default)]
    pub(crate) namesakes: Vec<MemberId>,
    /// The observers that do not reach the member although it is live, as far as this node knows.
    #[serde(flatten)]
    pub(crate) failing: Failing,
}

/// The failing links to a member, empty for members that the node does not observe. Empty and `null` from earlier releases.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Failing {
    /// When the node learned that the member is degraded; `null` while it is not.
    #[serde(default, deserialize_with = "printable_option")]
    pub(crate) degraded_since: Option<String>,
    #[serde(default)]
    pub(crate) failing_links: Vec<FailingLink>,
}

/// In words, such as `degraded (loss)`, if the member is degraded. A member whose flaws are not known is unreached.
pub(crate) fn degraded(is_degraded: bool, flaws: Flaws) -> Option<String> {
    let why = if flaws.is_empty() { String::new() } else { format!(" ({flaws})") };
    is_degraded.then(|| format!("degraded{why}"))
}

/// How a member is called: by its name, or else by the start of its id.
pub(crate) fn label(member: &MemberRef) -> String {
    member.name.as_ref().map_or_else(|| short(&member.id.to_string()), ToString::to_string)
}

impl Failing {
    pub(crate) fn new(unreached: Unreached) -> Self {
        Self {
            degraded_since: unreached.degraded_since.map(rfc3339),
            failing_links: unreached.links,
        }
    }

    /// The human-readable form, with a line for each link, for a member that states these flaws; empty if nothing is wrong.
    pub(crate) fn to_text(&self, flaws: Flaws) -> String {
        let mut text = match &self.degraded_since {
            Some(since) => {
                let (degraded, since) =
                    (degraded(true, flaws).unwrap_or_default(), readable(since));
                let what = match flaws.is_empty() {
                    true => "most of its observers do not reach it",
                    false => "most of its observers get its replies late or not at all",
                };
                format!("It is {degraded} since {since}: it lives, but {what}.\n")
            }
            None if self.failing_links.is_empty() => String::new(),
            None => "It lives, but some of its observers do not reach it.\n".to_owned(),
        };
        for link in &self.failing_links {
            let (observer, since) = (label(&link.observer), readable_time(link.since));
            let missed = link.pings_missed;
            text.push_str(&format!(
                "  {observer} does not reach it since {since}: {missed} pings without direct reply\n"
            ));
        }
        text
    }
}

/// The answer of `/v1/members`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct MemberList {
    #[serde(rename = "self")]
    pub(crate) me: MemberId,
    pub(crate) version: u64,
    /// Equal lists have equal fingerprints.
    #[serde(deserialize_with = "printable")]
    pub(crate) fingerprint: String,
    /// Whether the members heard lately have the same list. Missing from earlier releases.
    #[serde(default)]
    pub(crate) converged: Option<bool>,
    pub(crate) members: Vec<DetailedMember>,
}

/// The answer of `/v1/members/{member}/forget`: the member as it was.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Forgotten {
    pub(crate) forgotten: MemberInfo,
}

impl MemberList {
    /// Keeps the members for which the filter holds.
    pub(crate) fn matching(mut self, members: &Members, filter: &Filter) -> Self {
        let ids: BTreeSet<_> = members.matching(filter).map(|member| member.id()).collect();
        self.members.retain(|member| ids.contains(&member.member.id));
        self
    }
}

impl Line {
    pub(crate) fn now(what: What) -> Self {
        Self { at: rfc3339(SystemTime::now()), what }
    }

    pub(crate) fn of_event(at: SystemTime, event: &Event, cluster: &phin::Cluster) -> Self {
        let refusal = match event.change {
            Change::Suspect | Change::Dead => cluster.refusal(event.member.id()),
            _ => None,
        };
        let refusal = refusal.map(|refused| refused.refusal.to_string());
        Self { at: rfc3339(at), what: What::Changed(Changed { event: event.into(), refusal }) }
    }

    /// The line as JSON, with a line feed.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).expect("a line is plain data with text keys");
        json.push(b'\n');
        json
    }

    /// The human-readable line, with a line feed.
    pub(crate) fn to_text(&self) -> Vec<u8> {
        let Self { at, what } = self;
        let (at, event) = (readable(at), what.name());
        let text = match what {
            What::Changed(changed) => {
                let EventInfo { member, version, .. } = &changed.event;
                let (member, details) = (describe(member), changed.details());
                format!("{at} {event:8} {member} version={version}{details}\n")
            }
            What::Own(Own::Missed { events }) => {
                format!("{at} {event:8} {events} changes, because the reader was too slow\n")
            }
            What::Own(Own::Snapshot { version, members }) => {
                let mut text =
                    format!("{at} {event:8} {} members version={version}\n", members.len());
                for member in members {
                    text.push_str(&format!("{at}   {:8} {}\n", member.state, describe(member)));
                }
                text
            }
            What::Own(Own::Isolated) => {
                format!("{at} {event} this node receives nothing from any member\n")
            }
            What::Own(Own::Reconnected) => {
                format!("{at} {event} this node receives messages from members again\n")
            }
            What::Messages(of_messages) => format!("{at} {event:10} {}\n", of_messages.to_text()),
            What::Own(Own::Departed(Departure { confirmed, asked, .. })) => {
                format!("{at} {event:8} confirmed by {confirmed} of {asked} members\n")
            }
        };
        text.into_bytes()
    }
}

impl Changed {
    /// The fields beside the member, each after a space: the kind of silence, reasons, and what was before.
    pub(crate) fn details(&self) -> String {
        let Self { event: EventInfo { member, silence, before, degraded, .. }, refusal } = self;
        let silence = silence.map_or(String::new(), |kind| format!(" silence={kind}"));
        let refusal = refusal.as_ref().map_or(String::new(), |why| format!(" refusal={why:?}"));
        let degraded = degraded.as_ref();
        let degraded = degraded.map_or(String::new(), |reason| format!(" reason=\"{reason}\""));
        let before =
            before.as_ref().map_or(String::new(), |before| describe_before(before, member));
        format!("{silence}{refusal}{degraded}{before}")
    }
}

impl What {
    /// A live member of the list that a stream begins with.
    pub(crate) fn joined(member: &Member, version: u64) -> Self {
        let event = EventInfo::new(Change::Joined, member.into(), version);
        Self::Changed(Changed { event, refusal: None })
    }

    pub(crate) fn missed(events: u64) -> Self {
        Self::Own(Own::Missed { events })
    }

    pub(crate) fn snapshot(members: &Members) -> Self {
        let listed = members.iter().map(|member| MemberInfo::from(&**member)).collect();
        Self::Own(Own::Snapshot { version: members.version(), members: listed })
    }

    pub(crate) const fn isolation(is_isolated: bool) -> Self {
        Self::Own(if is_isolated { Own::Isolated } else { Own::Reconnected })
    }

    /// The field `event`, and the type of the server-sent event.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Changed(changed) => changed.event.change.as_str(),
            Self::Own(Own::Missed { .. }) => "missed",
            Self::Own(Own::Snapshot { .. }) => "snapshot",
            Self::Own(Own::Isolated) => "isolated",
            Self::Own(Own::Reconnected) => "reconnected",
            Self::Own(Own::Departed(_)) => "departed",
            Self::Messages(of_messages) => of_messages.name(),
        }
    }
}

/// The whole list, with the links to the members that this node observes.
pub(crate) fn member_list(
    cluster: &phin::Cluster,
    members: &Members,
    links: &[Link],
    phis: &BTreeMap<MemberId, f64>,
    unreached: &[Unreached],
) -> MemberList {
    let mut by_name: Vec<_> = members.iter().collect();
    by_name.sort_by(|a, b| (a.name(), a.id()).cmp(&(b.name(), b.id())));
    let detailed = by_name.into_iter().map(|member| {
        let link = links.iter().find(|link| link.id == member.id());
        DetailedMember {
            member: MemberInfo::from(&**member),
            phi: phis.get(&member.id()).copied(),
            rtt_ms: link
                .and_then(|link| link.round_trip)
                .map(|round_trip| round_trip.as_secs_f64() * 1e3),
            since: rfc3339(cluster.wall_clock(member.since())),
            suppressed_until: suppressed_until(cluster, members, member),
            namesakes: members.namesakes(member).iter().map(|other| other.id()).collect(),
            failing: (unreached.iter().find(|unreached| unreached.id == member.id()))
                .map(|unreached| Failing::new(unreached.clone()))
                .unwrap_or_default(),
        }
    });
    MemberList {
        me: cluster.id(),
        version: members.version(),
        fingerprint: members.fingerprint().to_string(),
        converged: Some(cluster.is_converged()),
        members: detailed.collect(),
    }
}

/// The end of a member's suppression.
pub(crate) fn suppressed_until(
    cluster: &phin::Cluster,
    members: &Members,
    member: &Member,
) -> Option<String> {
    members.suppressed_until(member.id()).map(|until| rfc3339(cluster.wall_clock(until)))
}

fn describe(member: &MemberInfo) -> String {
    let MemberInfo { id, name, addr, generation, incarnation, .. } = member;
    let (generation, incarnation) = (generation.0, incarnation.0);
    let said = profile::to_fields(member);
    format!("{name} addr={addr} id={id} generation={generation} incarnation={incarnation}{said}")
}

/// The fields that an update changed, as they were.
fn describe_before(before: &MemberInfo, after: &MemberInfo) -> String {
    let fields = |member: &MemberInfo| {
        [
            ("name", member.name.to_string()),
            ("addr", member.addr.to_string()),
            ("tags", member.tags.to_string()),
            ("serving", member.serving.to_string()),
        ]
    };
    let changed = fields(before).into_iter().zip(fields(after)).filter(|(b, a)| b != a);
    changed.map(|((field, before), _)| format!(" {field}_before={before}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brief::member_info;

    fn line() -> Line {
        let member = member_info("n1", "00112233445566778899aabbccddeeff", "dead");
        let at = rfc3339(SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_500));
        let event = EventInfo::new(Change::Dead, member, 7);
        Line { at, what: What::Changed(Changed { event, refusal: None }) }
    }

    #[test]
    fn a_change_is_one_line_of_json() {
        let json = String::from_utf8(line().to_json()).unwrap();
        assert_eq!(
            json,
            "{\"at\":\"1970-01-01T00:00:01.500000Z\",\"event\":\"dead\",\"member\":{\
             \"id\":\"00112233445566778899aabbccddeeff\",\"name\":\"n1\",\
             \"addr\":\"127.0.0.1:7646\",\"generation\":1,\"incarnation\":2,\"state\":\"dead\",\
             \"tags\":{},\"serving\":{\"state\":\"serving\"}},\
             \"version\":7}\n"
        );
        assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), line());
    }

    #[test]
    fn a_change_is_one_line_for_people() {
        let text = String::from_utf8(line().to_text()).unwrap();
        assert_eq!(
            text,
            "1970-01-01T00:00:01.500Z dead     n1 addr=127.0.0.1:7646 \
             id=00112233445566778899aabbccddeeff generation=1 incarnation=2 version=7\n"
        );
    }

    #[test]
    fn a_kind_of_silence_is_told_where_it_is_known() {
        let mut line = line();
        let What::Changed(changed) = &mut line.what else { unreachable!() };
        changed.event.silence = Some(phin::Silence::Gone);
        let json = String::from_utf8(line.to_json()).unwrap();
        assert!(json.ends_with("\"version\":7,\"silence\":\"gone\"}\n"), "{json}");
        assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), line);
        let text = String::from_utf8(line.to_text()).unwrap();
        assert!(text.ends_with(" version=7 silence=gone\n"), "{text}");
        let What::Changed(changed) = &mut line.what else { unreachable!() };
        changed.refusal = Some("the certificate has expired".into());
        let json = String::from_utf8(line.to_json()).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), line);
        let text = String::from_utf8(line.to_text()).unwrap();
        assert!(text.ends_with(" refusal=\"the certificate has expired\"\n"), "{text}");
    }

    #[test]
    fn a_degraded_member_has_a_reason() {
        let mut line = line();
        let What::Changed(changed) = &mut line.what else { unreachable!() };
        let observer = changed.event.member.id;
        let reason =
            serde_json::json!({ "unreached_by": [observer], "observers": 3, "is_deaf": false });
        changed.event.degraded = Some(serde_json::from_value(reason).unwrap());
        let json = String::from_utf8(line.to_json()).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), line);
        let text = String::from_utf8(line.to_text()).unwrap();
        let reason = "1 of 3 observers get no direct reply from it";
        assert!(text.ends_with(&format!(" version=7 reason=\"{reason}\"\n")), "{text}");
    }

    #[test]
    fn an_update_shows_what_was_before() {
        let member = member_info("n1", "00112233445566778899aabbccddeeff", "alive");
        let mut event = EventInfo::new(Change::Updated, member.clone(), 7);
        event.member.tags.set("zone", "b").unwrap();
        event.before = Some(Box::new(member));
        let line = Line { what: What::Changed(Changed { event, refusal: None }), ..line() };
        assert_eq!(serde_json::from_slice::<Line>(&line.to_json()).unwrap(), line);
        let text = String::from_utf8(line.to_text()).unwrap();
        assert!(text.ends_with(" incarnation=2 tags=zone=b version=7 tags_before=\n"), "{text}");
    }

    #[test]
    fn a_member_of_an_earlier_release_has_no_tags_and_serves() {
        let json = String::from_utf8(line().to_json()).unwrap();
        let (start, end) = json.split_once(",\"tags\"").unwrap();
        let (_, end) = end.split_once("}}").unwrap();
        assert_eq!(serde_json::from_str::<Line>(&format!("{start}}}{end}")).unwrap(), line());
    }

    #[test]
    fn every_kind_of_line_survives_json() {
        let whats = [
            What::missed(3),
            What::Own(Own::Snapshot { version: 3, members: Vec::new() }),
            What::isolation(true),
            What::isolation(false),
            serde_json::from_str("{\"event\":\"departed\",\"confirmed\":2,\"asked\":3}").unwrap(),
            line().what,
        ];
        for what in whats {
            let line = Line::now(what);
            let json = line.to_json();
            assert_eq!(serde_json::from_slice::<Line>(&json).unwrap(), line);
            let name = format!("\"event\":\"{}\"", line.what.name());
            assert!(String::from_utf8(json).unwrap().contains(&name));
        }
    }

    #[test]
    fn a_text_that_would_garble_a_terminal_is_refused() {
        let json = String::from_utf8(line().to_json()).unwrap().replace("n1", "\\u001b[2J");
        assert!(serde_json::from_str::<Line>(&json).is_err());
    }
}
