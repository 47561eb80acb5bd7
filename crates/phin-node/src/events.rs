//! Members and changes as others read them: the JSON of event lines and of HTTP, and the human-readable line.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::SystemTime,
};

use phin::{Change, Event, Filter, Link, Member, MemberId, Members, Unreached};
use serde::{Deserialize, Serialize};

use crate::{
    profile::Profile,
    text::{printable, printable_option, readable, rfc3339, short},
};

/// One line of a stream of events.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Line {
    /// When, as RFC 3339 in UTC with microseconds.
    #[serde(deserialize_with = "printable")]
    pub(crate) at: String,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// What a line tells; the tag is the field `event`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum What {
    Joined(Changed),
    Suspect(Changed),
    Alive(Changed),
    Dead(Changed),
    Left(Changed),
    Updated(Changed),
    Forgotten(Changed),
    /// Another live member has its name.
    #[serde(rename = "name-conflict")]
    NameConflict(Changed),
    /// It returned, but died and returned too often lately: nothing more is told of it for a while.
    #[serde(rename = "suppressed")]
    Suppressed(Changed),
    Degraded(Changed),
    Recovered(Changed),
    /// The reader was too slow for this many changes; a snapshot follows in their place.
    Missed {
        events: u64,
    },
    /// The whole list at this version.
    Snapshot {
        version: u64,
        members: Vec<ListedMember>,
    },
    /// The node hears no other member, so it declares nobody dead.
    Isolated,
    /// It hears one again.
    Reconnected,
    /// The node itself left; this many of the members that it told have confirmed.
    Departed {
        confirmed: usize,
        asked: usize,
    },
}

/// One member after a change, and the version of the list that has the change.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Changed {
    pub(crate) member: MemberLine,
    pub(crate) version: u64,
    /// Of a death or a suspicion, what kind of silence it is, where the node knows: gone, hung, silent, unknown.
    #[serde(
        default,
        deserialize_with = "printable_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) silence: Option<String>,
    /// Of a death or a suspicion, why handshakes of this node with the member are refused, if they are.
    #[serde(
        default,
        deserialize_with = "printable_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) refusal: Option<String>,
    /// Of an update, the member as it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Box<MemberLine>>,
}

/// Who a member is, and what it says of itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct MemberLine {
    #[serde(deserialize_with = "printable")]
    pub(crate) id: String,
    #[serde(deserialize_with = "printable")]
    pub(crate) name: String,
    pub(crate) addr: SocketAddr,
    pub(crate) generation: u32,
    pub(crate) incarnation: u32,
    #[serde(flatten)]
    pub(crate) profile: Profile,
}

/// A member and what this node holds it for.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct ListedMember {
    #[serde(flatten)]
    pub(crate) member: MemberLine,
    #[serde(deserialize_with = "printable")]
    pub(crate) state: String,
}

/// A member as `/v1/members` shows it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct DetailedMember {
    #[serde(flatten)]
    pub(crate) listed: ListedMember,
    /// How surprising its silence is to this node; `null` for members that are not live, and of which nothing is known
    /// here: mostly those that this node does not observe.
    pub(crate) phi: Option<f64>,
    /// The usual round trip to it in milliseconds; `null` until one was measured.
    pub(crate) rtt_ms: Option<f64>,
    /// Since when it has had this state here.
    #[serde(deserialize_with = "printable")]
    pub(crate) since: String,
    /// Until when it is suppressed, because it died and returned too often lately; else `null`.
    #[serde(default, deserialize_with = "printable_option")]
    pub(crate) suppressed_until: Option<String>,
    /// The ids of other live members with its name.
    #[serde(default)]
    pub(crate) namesakes: Vec<String>,
    /// Which of its observers do not reach it, though it lives, as far as this node knows.
    #[serde(flatten)]
    pub(crate) failing: Failing,
}

/// The links to a member that fail; empty and `null` from earlier releases, and for members that a node does not observe.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Failing {
    /// Since when most of its observers have not reached it; `null` while most do.
    #[serde(default, deserialize_with = "printable_option")]
    pub(crate) degraded_since: Option<String>,
    #[serde(default)]
    pub(crate) failing_links: Vec<FailingLink>,
}

/// One observer's link that fails.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct FailingLink {
    pub(crate) observer: Someone,
    /// When the first ping was sent that was not answered.
    #[serde(deserialize_with = "printable")]
    pub(crate) since: String,
    /// How many pings were not answered, up to 255.
    pub(crate) pings_missed: u8,
}

/// A member, named where its name is still known.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Someone {
    #[serde(deserialize_with = "printable")]
    pub(crate) id: String,
    #[serde(deserialize_with = "printable_option")]
    pub(crate) name: Option<String>,
}

impl Someone {
    pub(crate) fn new(id: MemberId, members: &Members) -> Self {
        let name = members.get(id).map(|member| member.name().to_owned());
        Self { id: id.to_string(), name }
    }

    pub(crate) fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| short(&self.id))
    }
}

impl Failing {
    pub(crate) fn new(unreached: &Unreached, cluster: &phin::Cluster, members: &Members) -> Self {
        let time = |at| rfc3339(cluster.wall_clock(at));
        let links = unreached.links.iter().map(|link| FailingLink {
            observer: Someone::new(link.observer, members),
            since: time(link.since),
            pings_missed: link.attempts,
        });
        Self { degraded_since: unreached.degraded_since.map(time), failing_links: links.collect() }
    }

    /// What it means, a line for each link; empty where none fails.
    pub(crate) fn to_text(&self) -> String {
        if self.failing_links.is_empty() {
            return String::new();
        }
        let mut text = match &self.degraded_since {
            Some(since) => format!(
                "It is degraded since {}: it lives, but most of its observers do not reach it.\n",
                readable(since)
            ),
            None => "It lives, but some of its observers do not reach it.\n".to_owned(),
        };
        for FailingLink { observer, since, pings_missed } in &self.failing_links {
            let (observer, since) = (observer.label(), readable(since));
            text.push_str(&format!(
                "  {observer} does not reach it since {since}: {pings_missed} pings without direct reply\n"
            ));
        }
        text
    }
}

/// The answer of `/v1/members`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct MemberList {
    #[serde(rename = "self", deserialize_with = "printable")]
    pub(crate) me: String,
    pub(crate) version: u64,
    /// Equal lists have equal fingerprints.
    #[serde(deserialize_with = "printable")]
    pub(crate) fingerprint: String,
    /// Whether the members that this node heard lately have an equal list; not told by earlier releases.
    #[serde(default)]
    pub(crate) converged: Option<bool>,
    pub(crate) members: Vec<DetailedMember>,
}

/// The answer of `/v1/leave`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Departed {
    pub(crate) confirmed: usize,
    pub(crate) asked: usize,
}

/// The answer of `/v1/members/{member}/forget`: the member as it was.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Forgotten {
    pub(crate) forgotten: ListedMember,
}

impl MemberList {
    /// Keeps the members for which the filter holds.
    pub(crate) fn matching(mut self, members: &Members, filter: &Filter) -> Self {
        let ids: BTreeSet<_> = members.matching(filter).map(|m| m.id().to_string()).collect();
        self.members.retain(|member| ids.contains(&member.listed.member.id));
        self
    }
}

impl Line {
    pub(crate) fn now(what: What) -> Self {
        Self { at: rfc3339(SystemTime::now()), what }
    }

    pub(crate) fn of_event(at: SystemTime, event: &Event, cluster: &phin::Cluster) -> Self {
        let mut what = What::changed(event.change, &event.member, event.version);
        if let What::Suspect(changed) | What::Dead(changed) = &mut what {
            changed.silence = event.silence.map(|silence| silence.as_str().to_owned());
            let refused = cluster.refusal(event.member.id());
            changed.refusal = refused.map(|refused| refused.refusal.to_string());
        }
        if let What::Updated(changed) = &mut what {
            changed.before = event.before.as_deref().map(|before| Box::new(member_line(before)));
        }
        Self { at: rfc3339(at), what }
    }

    /// The line as JSON, with its end.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).expect("a line is plain data with text keys");
        json.push(b'\n');
        json
    }

    /// The human-readable line, with its end.
    pub(crate) fn to_text(&self) -> Vec<u8> {
        let Self { at, what } = self;
        let (at, event) = (readable(at), what.name());
        let text = match what {
            What::Joined(changed)
            | What::Suspect(changed)
            | What::Alive(changed)
            | What::Dead(changed)
            | What::Left(changed)
            | What::Updated(changed)
            | What::Forgotten(changed)
            | What::NameConflict(changed)
            | What::Suppressed(changed)
            | What::Degraded(changed)
            | What::Recovered(changed) => {
                let Changed { member, version, silence, refusal, before } = changed;
                let silence =
                    silence.as_ref().map_or(String::new(), |kind| format!(" silence={kind}"));
                let refusal =
                    refusal.as_ref().map_or(String::new(), |why| format!(" refusal={why:?}"));
                let before =
                    before.as_ref().map_or(String::new(), |before| describe_before(before, member));
                format!(
                    "{at} {event:8} {} version={version}{silence}{refusal}{before}\n",
                    describe(member)
                )
            }
            What::Missed { events } => {
                format!("{at} {event:8} {events} changes, for the reader was too slow\n")
            }
            What::Snapshot { version, members } => {
                let mut text =
                    format!("{at} {event:8} {} members version={version}\n", members.len());
                for ListedMember { member, state } in members {
                    text.push_str(&format!("{at}   {state:8} {}\n", describe(member)));
                }
                text
            }
            What::Isolated => format!("{at} {event} no other member is heard\n"),
            What::Reconnected => format!("{at} {event} other members are heard again\n"),
            What::Departed { confirmed, asked } => {
                format!("{at} {event:8} confirmed by {confirmed} of {asked} members\n")
            }
        };
        text.into_bytes()
    }
}

impl What {
    pub(crate) fn changed(change: Change, member: &Member, version: u64) -> Self {
        let changed = Changed {
            member: member_line(member),
            version,
            silence: None,
            refusal: None,
            before: None,
        };
        match change {
            Change::Joined => Self::Joined(changed),
            Change::Suspect => Self::Suspect(changed),
            Change::Alive => Self::Alive(changed),
            Change::Dead => Self::Dead(changed),
            Change::Left => Self::Left(changed),
            Change::Updated => Self::Updated(changed),
            Change::Forgotten => Self::Forgotten(changed),
            Change::NameConflict => Self::NameConflict(changed),
            Change::Suppressed => Self::Suppressed(changed),
            Change::Degraded => Self::Degraded(changed),
            Change::Recovered => Self::Recovered(changed),
        }
    }

    pub(crate) fn snapshot(members: &Members) -> Self {
        let listed = members.iter().map(|member| listed_member(member)).collect();
        Self::Snapshot { version: members.version(), members: listed }
    }

    pub(crate) const fn isolation(is_isolated: bool) -> Self {
        if is_isolated { Self::Isolated } else { Self::Reconnected }
    }

    /// The field `event`, and the type of the server-sent event.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Joined(_) => "joined",
            Self::Suspect(_) => "suspect",
            Self::Alive(_) => "alive",
            Self::Dead(_) => "dead",
            Self::Left(_) => "left",
            Self::Updated(_) => "updated",
            Self::Forgotten(_) => "forgotten",
            Self::NameConflict(_) => "name-conflict",
            Self::Suppressed(_) => "suppressed",
            Self::Degraded(_) => "degraded",
            Self::Recovered(_) => "recovered",
            Self::Missed { .. } => "missed",
            Self::Snapshot { .. } => "snapshot",
            Self::Isolated => "isolated",
            Self::Reconnected => "reconnected",
            Self::Departed { .. } => "departed",
        }
    }
}

/// The whole list with what is known of the links to those whom this node observes.
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
            listed: listed_member(member),
            phi: phis.get(&member.id()).copied(),
            rtt_ms: link
                .and_then(|link| link.round_trip)
                .map(|round_trip| round_trip.as_secs_f64() * 1e3),
            since: rfc3339(cluster.wall_clock(member.since())),
            suppressed_until: suppressed_until(cluster, members, member),
            namesakes: members
                .namesakes(member)
                .iter()
                .map(|other| other.id().to_string())
                .collect(),
            failing: (unreached.iter().find(|unreached| unreached.id == member.id()))
                .map(|unreached| Failing::new(unreached, cluster, members))
                .unwrap_or_default(),
        }
    });
    MemberList {
        me: cluster.id().to_string(),
        version: members.version(),
        fingerprint: members.fingerprint().to_string(),
        converged: Some(cluster.is_converged()),
        members: detailed.collect(),
    }
}

/// Until when a member's comings and goings are not told.
pub(crate) fn suppressed_until(
    cluster: &phin::Cluster,
    members: &Members,
    member: &Member,
) -> Option<String> {
    members.suppressed_until(member.id()).map(|until| rfc3339(cluster.wall_clock(until)))
}

pub(crate) fn listed_member(member: &Member) -> ListedMember {
    ListedMember { member: member_line(member), state: member.state().to_string() }
}

fn member_line(member: &Member) -> MemberLine {
    MemberLine {
        id: member.id().to_string(),
        name: member.name().to_owned(),
        addr: member.addr(),
        generation: member.generation().0,
        incarnation: member.incarnation().0,
        profile: Profile::of(member),
    }
}

fn describe(member: &MemberLine) -> String {
    let MemberLine { id, name, addr, generation, incarnation, profile } = member;
    let said = profile.to_fields();
    format!("{name} addr={addr} id={id} generation={generation} incarnation={incarnation}{said}")
}

/// The fields that an update changed, as they were.
fn describe_before(before: &MemberLine, after: &MemberLine) -> String {
    let fields = |member: &MemberLine| {
        let Profile { tags, serving } = &member.profile;
        [
            ("name", member.name.clone()),
            ("addr", member.addr.to_string()),
            ("tags", tags.to_string()),
            ("serving", serving.to_string()),
        ]
    };
    let changed = fields(before).into_iter().zip(fields(after)).filter(|(b, a)| b != a);
    changed.map(|((field, before), _)| format!(" {field}_before={before}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let member = MemberLine {
            id: "00112233445566778899aabbccddeeff".into(),
            name: "n1".into(),
            addr: "127.0.0.1:7646".parse().unwrap(),
            generation: 1,
            incarnation: 2,
            profile: Profile::default(),
        };
        let at = rfc3339(SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_500));
        let changed = Changed { member, version: 7, silence: None, refusal: None, before: None };
        Line { at, what: What::Dead(changed) }
    }

    #[test]
    fn a_change_is_one_line_of_json() {
        let json = String::from_utf8(line().to_json()).unwrap();
        assert_eq!(
            json,
            "{\"at\":\"1970-01-01T00:00:01.500000Z\",\"event\":\"dead\",\"member\":{\
             \"id\":\"00112233445566778899aabbccddeeff\",\"name\":\"n1\",\
             \"addr\":\"127.0.0.1:7646\",\"generation\":1,\"incarnation\":2,\"tags\":{},\
             \"serving\":{\"state\":\"serving\"}},\"version\":7}\n"
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
        let What::Dead(changed) = &mut line.what else { unreachable!() };
        changed.silence = Some("gone".into());
        let json = String::from_utf8(line.to_json()).unwrap();
        assert!(json.ends_with("\"version\":7,\"silence\":\"gone\"}\n"), "{json}");
        assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), line);
        let text = String::from_utf8(line.to_text()).unwrap();
        assert!(text.ends_with(" version=7 silence=gone\n"), "{text}");
        let What::Dead(changed) = &mut line.what else { unreachable!() };
        changed.refusal = Some("the certificate has expired".into());
        let json = String::from_utf8(line.to_json()).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), line);
        let text = String::from_utf8(line.to_text()).unwrap();
        assert!(text.ends_with(" refusal=\"the certificate has expired\"\n"), "{text}");
    }

    #[test]
    fn an_update_shows_what_was_before() {
        let What::Dead(mut changed) = line().what else { unreachable!() };
        let before = changed.member.clone();
        changed.member.profile.tags.set("zone", "b").unwrap();
        changed.before = Some(Box::new(before));
        let line = Line { what: What::Updated(changed), ..line() };
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
            What::Missed { events: 3 },
            What::Snapshot { version: 3, members: Vec::new() },
            What::Isolated,
            What::Reconnected,
            What::Departed { confirmed: 2, asked: 3 },
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
