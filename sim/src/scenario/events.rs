//! The events of a scenario.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;

use crate::{
    fault::{Administration, Data, Fault, OnePath, Scope, Stalls, Write, sides},
    lie::{Lie, Lies},
    network::{Hosts, Packets, Rule, RuleId},
    node::{Instant, NodeId, millis},
    settings::{Share, Span, Who},
};

/// An event.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Processes are killed. Their hosts stay up.
    CrashProcess { who: Who },
    /// Hosts go down.
    CrashHost { who: Who },
    /// Processes restart, `after` a pause.
    Restart { who: Who, data: DataAs, after: Span },
    /// Processes restart without their data again and again, and run for a while each time.
    CrashLoop { who: Who, count: u32, each: Span },
    /// Processes restart on other hosts.
    Move { who: Who },
    /// Hosts get other addresses while their processes run.
    Readdress { who: Who, noticed_after: Span },
    /// Members dial through a gateway, which uses addresses of its own.
    Map { who: Who },
    /// The gateway forgets these addresses, and uses others.
    LoseFlows { who: Who, refuses: bool },
    /// Processes stop for a while.
    Pause { who: Who, lasts: Span },
    /// Hosts stop for a while.
    PauseHost { who: Who, lasts: Span },
    /// Lifeguard's slow members.
    Slow { who: Who, blocked: Span, open: Span, lasts: Span },
    /// Processes stall again and again, as on a machine with too little CPU time.
    Starve { who: Who, stall: Span, lasts: Span },
    /// No packet passes from `from` to `to`.
    Cut { from: Who, to: Who, only_datagrams: bool, lasts: Span },
    /// Members are cut off from all but the first few of their observers, in what they receive, send, or both. Only
    /// the soak draws it, because a file does not know the observers.
    OnePath { who: Who, paths: u32, hears: bool, is_heard: bool, lasts: Span },
    /// A share of the packets from `from` to `to` is lost, of all or of those of more than so many bytes.
    Lose { from: Who, to: Who, share: Share, above: Option<usize>, lasts: Span },
    /// Groups cannot communicate with each other.
    Partition { groups: Vec<Who>, lasts: Span },
    /// Members can send and not receive.
    Deaf { who: Who, lasts: Span },
    /// Members can receive and not send.
    Mute { who: Who, lasts: Span },
    /// From now on, this share of all packets is lost.
    Loss { share: Share },
    /// From now on, datagrams have at most this payload.
    MaxDatagram { bytes: usize },
    /// Clocks run faster by this many millionths.
    Drift { who: Who, millionths: i32 },
    /// Clocks skip ahead.
    Jump { who: Who, by: Span },
    /// Members leave.
    Leave { who: Who },
    /// Members are asked to forget others.
    Forget { who: Who, by: Who },
    /// An administrator hands statements about members to others.
    Administer { what: Administration, who: Who, by: Who },
    /// Members that left come back.
    Rejoin { who: Who, seeds: Who },
    /// Processes shut down.
    Stop { who: Who },
    /// New members start.
    Join { count: u32, seeds: Who },
    /// Members look for seeds.
    Seek { who: Who, seeds: Who },
    /// Members write data, once.
    Put { who: Who, count: u32, bytes: usize, time_to_live: Option<Span> },
    /// Members write data again and again, a key each time.
    Write { who: Who, count: u32, bytes: usize, every: Span, lasts: Span },
    /// Members delete data.
    Delete { who: Who, count: u32 },
    /// Members publish messages to all.
    Publish { who: Who, bytes: usize, repeated: Repeated, topics: u32, filter: String },
    /// Members stand for an office, with so many voters.
    Stand { who: Who, office: String, filter: String, expected: Option<u16> },
    /// Members stand for an office no longer.
    Resign { who: Who, office: String },
    /// Members take no work.
    Drain { who: Who },
    /// Members take work again.
    Serve { who: Who },
    /// Members change a tag again and again.
    Tag { who: Who, every: Span, lasts: Span },
    /// Members lie about others.
    Lie {
        who: Who,
        lie: Lie,
        about: Who,
        every: Span,
        count: u32,
        lasts: Span,
        helpers: Option<Helpers>,
    },
}

/// Observers of the first subject of a lie that tell it too. Only the soak draws them, because a file does not know the
/// observers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Helpers {
    /// Their maximum number. They and the others are fewer than a majority of the observers of any member.
    pub(crate) most: u32,
    /// The member that dies meanwhile.
    pub(crate) dies: u32,
}

/// How many at once, and how often again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeated {
    pub(crate) count: u32,
    /// How often and for how long, if more than once.
    pub(crate) again: Option<(Span, Span)>,
}

/// An event as in the file, with all keys of all events, so that an error can point at its key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawEvent {
    at: Span,
    r#do: Kind,
    about: Option<Who>,
    after: Option<Span>,
    blocked: Option<Span>,
    by: Option<String>,
    bytes: Option<usize>,
    count: Option<u32>,
    data: Option<DataAs>,
    each: Option<Span>,
    every: Option<Span>,
    expected: Option<u16>,
    filter: Option<String>,
    from: Option<Who>,
    groups: Option<Vec<Who>>,
    lasts: Option<Span>,
    lie: Option<Lie>,
    millionths: Option<i32>,
    noticed_after: Option<Span>,
    office: Option<String>,
    only_datagrams: Option<bool>,
    open: Option<Span>,
    refuses: Option<bool>,
    seeds: Option<Who>,
    share: Option<Share>,
    above: Option<usize>,
    stall: Option<Span>,
    time_to_live: Option<Span>,
    to: Option<Who>,
    topics: Option<u32>,
    who: Option<Who>,
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    CrashProcess,
    CrashHost,
    Restart,
    CrashLoop,
    Move,
    Readdress,
    Map,
    LoseFlows,
    Pause,
    PauseHost,
    Slow,
    Starve,
    Cut,
    Lose,
    Partition,
    Deaf,
    Mute,
    Loss,
    MaxDatagram,
    Drift,
    Jump,
    Leave,
    Forget,
    Expel,
    Readmit,
    ReplayExpulsion,
    Rejoin,
    Stop,
    Join,
    Seek,
    Put,
    Write,
    Delete,
    Publish,
    Stand,
    Resign,
    Drain,
    Serve,
    Tag,
    Lie,
}

impl Kind {
    /// The required and the optional keys, in addition to `at` and `do`.
    pub(crate) const fn keys(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::CrashProcess
            | Self::CrashHost
            | Self::Move
            | Self::Map
            | Self::Leave
            | Self::Drain
            | Self::Serve
            | Self::Stop => (&["who"], &[]),
            Self::Readdress => (&["who"], &["noticed-after"]),
            Self::LoseFlows => (&["who"], &["refuses"]),
            Self::Restart => (&["who"], &["data", "after"]),
            Self::CrashLoop => (&["who", "count", "each"], &[]),
            Self::Pause | Self::PauseHost | Self::Deaf | Self::Mute => (&["who", "lasts"], &[]),
            Self::Slow => (&["who", "blocked", "open", "lasts"], &[]),
            Self::Starve => (&["who", "stall", "lasts"], &[]),
            Self::Cut => (&["from", "to", "lasts"], &["only-datagrams"]),
            Self::Lose => (&["from", "to", "share", "lasts"], &["above"]),
            Self::Partition => (&["groups", "lasts"], &[]),
            Self::Loss => (&["share"], &[]),
            Self::MaxDatagram => (&["bytes"], &[]),
            Self::Drift => (&["who", "millionths"], &[]),
            Self::Jump | Self::Forget | Self::Expel | Self::Readmit | Self::ReplayExpulsion => {
                (&["who", "by"], &[])
            }
            Self::Rejoin | Self::Seek => (&["who", "seeds"], &[]),
            Self::Join => (&["count", "seeds"], &[]),
            Self::Put => (&["who", "count", "bytes"], &["time-to-live"]),
            Self::Write => (&["who", "bytes", "every", "lasts"], &["count"]),
            Self::Delete => (&["who", "count"], &[]),
            Self::Publish => (&["who", "bytes"], &["count", "every", "lasts", "topics", "filter"]),
            Self::Stand => (&["who", "office"], &["expected", "filter"]),
            Self::Resign => (&["who", "office"], &[]),
            Self::Tag => (&["who", "every", "lasts"], &[]),
            Self::Lie => (&["who", "lie", "lasts"], &["about", "every", "count"]),
        }
    }
}

/// Takes a required key.
fn need<T>(key: &str, value: &mut Option<T>) -> Result<T, String> {
    value.take().ok_or_else(|| format!("missing key `{key}`"))
}

impl RawEvent {
    fn event(&mut self) -> Result<Event, String> {
        macro_rules! take {
            ($field:ident) => {
                need(&stringify!($field).replace('_', "-"), &mut self.$field)?
            };
        }
        Ok(match self.r#do {
            Kind::CrashProcess => Event::CrashProcess { who: take!(who) },
            Kind::CrashHost => Event::CrashHost { who: take!(who) },
            Kind::Restart => Event::Restart {
                who: take!(who),
                data: self.data.take().unwrap_or_default(),
                after: self.after.take().unwrap_or_default(),
            },
            Kind::CrashLoop => {
                Event::CrashLoop { who: take!(who), count: take!(count), each: take!(each) }
            }
            Kind::Move => Event::Move { who: take!(who) },
            Kind::Readdress => Event::Readdress {
                who: take!(who),
                noticed_after: self.noticed_after.take().unwrap_or(NOTICED_AFTER),
            },
            Kind::Map => Event::Map { who: take!(who) },
            Kind::LoseFlows => {
                Event::LoseFlows { who: take!(who), refuses: self.refuses.take().unwrap_or(true) }
            }
            Kind::Pause => Event::Pause { who: take!(who), lasts: take!(lasts) },
            Kind::PauseHost => Event::PauseHost { who: take!(who), lasts: take!(lasts) },
            Kind::Slow => Event::Slow {
                who: take!(who),
                blocked: take!(blocked),
                open: take!(open),
                lasts: take!(lasts),
            },
            Kind::Starve => {
                Event::Starve { who: take!(who), stall: take!(stall), lasts: take!(lasts) }
            }
            Kind::Cut => Event::Cut {
                from: take!(from),
                to: take!(to),
                only_datagrams: self.only_datagrams.take().unwrap_or_default(),
                lasts: take!(lasts),
            },
            Kind::Lose => Event::Lose {
                from: take!(from),
                to: take!(to),
                share: take!(share),
                above: self.above.take(),
                lasts: take!(lasts),
            },
            Kind::Partition => Event::Partition { groups: take!(groups), lasts: take!(lasts) },
            Kind::Deaf => Event::Deaf { who: take!(who), lasts: take!(lasts) },
            Kind::Mute => Event::Mute { who: take!(who), lasts: take!(lasts) },
            Kind::Loss => Event::Loss { share: take!(share) },
            Kind::MaxDatagram => Event::MaxDatagram { bytes: take!(bytes) },
            Kind::Drift => Event::Drift { who: take!(who), millionths: take!(millionths) },
            Kind::Jump => Event::Jump {
                who: take!(who),
                by: take!(by).parse().map_err(|error| format!("`by`: {error}"))?,
            },
            Kind::Leave => Event::Leave { who: take!(who) },
            Kind::Forget => Event::Forget {
                who: take!(who),
                by: take!(by).parse().map_err(|error| format!("`by`: {error}"))?,
            },
            Kind::Expel | Kind::Readmit | Kind::ReplayExpulsion => Event::Administer {
                what: match self.r#do {
                    Kind::Expel => Administration::Expel,
                    Kind::Readmit => Administration::Readmit,
                    _replay => Administration::Replay,
                },
                who: take!(who),
                by: take!(by).parse().map_err(|error| format!("`by`: {error}"))?,
            },
            Kind::Rejoin => Event::Rejoin { who: take!(who), seeds: take!(seeds) },
            Kind::Stop => Event::Stop { who: take!(who) },
            Kind::Join => Event::Join { count: take!(count), seeds: take!(seeds) },
            Kind::Seek => Event::Seek { who: take!(who), seeds: take!(seeds) },
            Kind::Put => Event::Put {
                who: take!(who),
                count: take!(count),
                bytes: take!(bytes),
                time_to_live: self.time_to_live.take(),
            },
            Kind::Write => Event::Write {
                who: take!(who),
                count: self.count.take().unwrap_or(1),
                bytes: take!(bytes),
                every: take!(every),
                lasts: take!(lasts),
            },
            Kind::Delete => Event::Delete { who: take!(who), count: take!(count) },
            Kind::Publish => Event::Publish {
                who: take!(who),
                bytes: take!(bytes),
                repeated: Repeated {
                    count: self.count.take().unwrap_or(1),
                    again: match (self.every.take(), self.lasts.take()) {
                        (Some(every), Some(lasts)) => Some((every, lasts)),
                        (None, None) => None,
                        _one => return Err("`every` and `lasts` need each other".to_owned()),
                    },
                },
                topics: self.topics.take().unwrap_or(1),
                filter: self.filter.take().unwrap_or_default(),
            },
            Kind::Stand => Event::Stand {
                who: take!(who),
                office: take!(office),
                filter: self.filter.take().unwrap_or_default(),
                expected: self.expected.take(),
            },
            Kind::Resign => Event::Resign { who: take!(who), office: take!(office) },
            Kind::Drain => Event::Drain { who: take!(who) },
            Kind::Serve => Event::Serve { who: take!(who) },
            Kind::Tag => Event::Tag { who: take!(who), every: take!(every), lasts: take!(lasts) },
            Kind::Lie => {
                let lie: Lie = take!(lie);
                let about = match lie.has_subject() {
                    true => take!(about),
                    false => self.about.take().unwrap_or_default(),
                };
                let every = self.every.take().unwrap_or(LIES_EVERY);
                let count = self.count.take().unwrap_or(MADE_UP_MEMBERS);
                let (who, lasts, helpers) = (take!(who), take!(lasts), None);
                Event::Lie { who, lie, about, every, count, lasts, helpers }
            }
        })
    }

    /// A key that the event does not use.
    fn surplus(&self) -> Option<&'static str> {
        let left = [
            ("about", self.about.is_some()),
            ("after", self.after.is_some()),
            ("blocked", self.blocked.is_some()),
            ("by", self.by.is_some()),
            ("bytes", self.bytes.is_some()),
            ("count", self.count.is_some()),
            ("data", self.data.is_some()),
            ("each", self.each.is_some()),
            ("every", self.every.is_some()),
            ("expected", self.expected.is_some()),
            ("filter", self.filter.is_some()),
            ("from", self.from.is_some()),
            ("groups", self.groups.is_some()),
            ("lasts", self.lasts.is_some()),
            ("lie", self.lie.is_some()),
            ("millionths", self.millionths.is_some()),
            ("noticed-after", self.noticed_after.is_some()),
            ("office", self.office.is_some()),
            ("only-datagrams", self.only_datagrams.is_some()),
            ("open", self.open.is_some()),
            ("refuses", self.refuses.is_some()),
            ("seeds", self.seeds.is_some()),
            ("share", self.share.is_some()),
            ("above", self.above.is_some()),
            ("stall", self.stall.is_some()),
            ("time-to-live", self.time_to_live.is_some()),
            ("to", self.to.is_some()),
            ("topics", self.topics.is_some()),
            ("who", self.who.is_some()),
        ];
        left.into_iter().find(|(_, is_left)| *is_left).map(|(key, _)| key)
    }
}

/// An event and its moment.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "RawEvent")]
pub(crate) struct TimedEvent {
    /// The moment.
    pub(crate) at: Span,
    /// The event.
    pub(crate) event: Event,
}

impl TryFrom<RawEvent> for TimedEvent {
    type Error = String;

    fn try_from(mut raw: RawEvent) -> Result<Self, String> {
        let (at, kind) = (raw.at, raw.r#do);
        let event = raw.event()?;
        match raw.surplus() {
            Some(key) => Err(format!("this event has no key `{key}`; its keys are {}", keys(kind))),
            None => Ok(Self { at, event }),
        }
    }
}

fn keys(kind: Kind) -> String {
    let (needed, optional) = kind.keys();
    let keys = ["at", "do"].iter().chain(needed).chain(optional);
    keys.map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

/// The data of an earlier run that a process finds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DataAs {
    /// All of it.
    #[default]
    Kept,
    /// Nothing.
    Lost,
    /// An old copy.
    Old,
}

impl DataAs {
    pub(crate) const ALL: [Self; 3] = [Self::Kept, Self::Lost, Self::Old];
}

impl Event {
    /// The faults of the event, in a cluster that started with `nodes` members.
    pub(super) fn faults(&self, number: u32, nodes: u32, at: Instant) -> Vec<(Duration, Fault)> {
        let now = Duration::ZERO;
        let id = RuleId(number);
        vec![match self {
            Self::CrashProcess { who } => (now, Fault::CrashProcess(who.list(nodes))),
            Self::CrashHost { who } => (now, Fault::CrashHost(who.list(nodes))),
            Self::Restart { who, data, after } => {
                let data = match data {
                    DataAs::Kept => Data::Kept,
                    DataAs::Lost => Data::Lost,
                    DataAs::Old => Data::Old,
                };
                let nodes = who.list(nodes);
                let crash = (now, Fault::CrashProcess(nodes.clone()));
                return vec![crash, (after.0, Fault::Restart { nodes, data })];
            }
            Self::CrashLoop { who, count, each } => {
                let nodes = who.list(nodes);
                let start =
                    |i| (each.0 * i, Fault::Restart { nodes: nodes.clone(), data: Data::Lost });
                let end = (each.0 * *count, Fault::CrashOccupant(nodes.clone()));
                return (0..*count).map(start).chain([end]).collect();
            }
            Self::Move { who } => (now, Fault::Move(who.list(nodes))),
            Self::Readdress { who, noticed_after } => {
                (now, Fault::Readdress(who.list(nodes), noticed_after.0))
            }
            Self::Map { who } => (now, Fault::Map(who.list(nodes))),
            Self::LoseFlows { who, refuses } => {
                (now, Fault::LoseFlows { nodes: who.list(nodes), refuses: *refuses })
            }
            Self::Pause { who, lasts } => (now, pause(who.list(nodes), Scope::Process, *lasts)),
            Self::PauseHost { who, lasts } => (now, pause(who.list(nodes), Scope::Host, *lasts)),
            Self::Slow { who, blocked, open, lasts } => {
                let (nodes, until) = (who.list(nodes), at + lasts.0);
                (now, Fault::Slow { nodes, blocked: blocked.0, open: open.0, until })
            }
            Self::Starve { who, stall, lasts } => {
                let (nodes, until) = (who.list(nodes), at + lasts.0);
                (now, Fault::Starve { nodes, stalls: Stalls::up_to(stall.0), until })
            }
            Self::Cut { from, to, only_datagrams, lasts } => {
                let packets = if *only_datagrams { Packets::Datagrams } else { Packets::All };
                let rules = vec![rule(from, to, nodes, packets, 1.0)];
                let groups = [from.list(nodes), to.list(nodes)];
                // If no other member can pass anything on, it is a split.
                let is_split = !*only_datagrams && are_all(&groups, nodes);
                let side_of = if is_split { sides(&groups, nodes) } else { Vec::new() };
                (now, Fault::Lose { id, rules, troubled: Vec::new(), side_of, lasts: lasts.0 })
            }
            Self::OnePath { who, paths, hears, is_heard, lasts } => {
                let cut = OnePath { paths: *paths, hears: *hears, is_heard: *is_heard };
                (now, Fault::OnePath { id, nodes: who.list(nodes), cut, lasts: lasts.0 })
            }
            Self::Lose { from, to, share, above, lasts } => {
                let packets = above.map_or(Packets::All, Packets::Above);
                let mut rule = rule(from, to, nodes, packets, share.0);
                if above.is_some() {
                    // Those that join meanwhile use the same paths.
                    let count = nodes as usize;
                    let hosts = [(from, &mut rule.from), (to, &mut rule.to)];
                    let all = hosts.into_iter().filter(|(who, _)| who.of(nodes).len() == count);
                    all.for_each(|(_, hosts)| *hosts = Hosts::All);
                }
                (now, lose(id, vec![rule], Vec::new(), *lasts))
            }
            Self::Partition { groups, lasts } => {
                let groups: Vec<_> = groups.iter().map(|who| who.list(nodes)).collect();
                (now, Fault::partition(id, &groups, nodes, lasts.0))
            }
            Self::Deaf { who, lasts } => {
                let to = hosts(who, nodes);
                let rule = Rule { from: Hosts::All, to, packets: Packets::All, loss: 1.0 };
                (now, lose(id, vec![rule], who.list(nodes), *lasts))
            }
            Self::Mute { who, lasts } => {
                let from = hosts(who, nodes);
                let rule = Rule { from, to: Hosts::All, packets: Packets::All, loss: 1.0 };
                (now, lose(id, vec![rule], who.list(nodes), *lasts))
            }
            Self::Loss { share } => (now, Fault::Loss(share.0)),
            Self::MaxDatagram { bytes } => (now, Fault::MaxDatagram(*bytes)),
            Self::Drift { who, millionths } => (now, Fault::Drift(who.list(nodes), *millionths)),
            Self::Jump { who, by } => (now, Fault::Jump(who.list(nodes), by.0)),
            Self::Leave { who } => (now, Fault::Leave(who.list(nodes))),
            Self::Forget { who, by } => {
                (now, Fault::Forget { by: by.list(nodes), nodes: who.list(nodes) })
            }
            Self::Administer { what, who, by } => {
                let (by, nodes) = (by.list(nodes), who.list(nodes));
                (now, Fault::Administer { what: *what, by, nodes })
            }
            Self::Rejoin { who, seeds } => {
                (now, Fault::Rejoin { nodes: who.list(nodes), seeds: seeds.list(nodes) })
            }
            Self::Stop { who } => (now, Fault::Stop(who.list(nodes))),
            Self::Join { count, seeds } => {
                (now, Fault::Join { count: *count, seeds: seeds.list(nodes) })
            }
            Self::Seek { who, seeds } => {
                let (nodes, seeds) = (who.list(nodes), seeds.list(nodes));
                (now, Fault::Seek { nodes, seeds, delay: millis(200) })
            }
            Self::Put { who, count, bytes, time_to_live } => {
                let (bytes, time_to_live) = (*bytes, time_to_live.map(|span| span.0));
                let put = Write::Put { keys: 0..*count, bytes, time_to_live };
                (now, Fault::Write(who.list(nodes), put))
            }
            Self::Write { who, count, bytes, every, lasts } => {
                let write = |turn: u32| {
                    let key = turn % (*count).max(1);
                    Write::Put { keys: key..key + 1, bytes: *bytes, time_to_live: None }
                };
                return again_and_again(&who.list(nodes), *every, *lasts, write);
            }
            Self::Delete { who, count } => {
                (now, Fault::Write(who.list(nodes), Write::Delete(0..*count)))
            }
            Self::Publish { who, bytes, repeated: Repeated { count, again }, topics, filter } => {
                let publish = |turn: u32| Write::Publish {
                    count: *count,
                    topic: turn % (*topics).max(1),
                    bytes: *bytes,
                    filter: filter.clone(),
                };
                match *again {
                    None => (now, Fault::Write(who.list(nodes), publish(0))),
                    Some((every, lasts)) => {
                        return again_and_again(&who.list(nodes), every, lasts, publish);
                    }
                }
            }
            Self::Stand { who, office, filter, expected } => {
                let (office, filter, expected) = (office.clone(), filter.clone(), *expected);
                (now, Fault::Write(who.list(nodes), Write::Stand { office, filter, expected }))
            }
            Self::Resign { who, office } => {
                (now, Fault::Write(who.list(nodes), Write::Resign(office.clone())))
            }
            Self::Drain { who } => (now, Fault::Write(who.list(nodes), Write::Serve(false))),
            Self::Serve { who } => (now, Fault::Write(who.list(nodes), Write::Serve(true))),
            Self::Tag { who, every, lasts } => {
                return again_and_again(&who.list(nodes), *every, *lasts, |_| Write::Tag);
            }
            Self::Lie { who, lie, about, every, count, lasts, helpers } => {
                let (about, every, lasts) = (about.list(nodes), every.0, lasts.0);
                let liars = who.list(nodes);
                let lies =
                    Lies { lie: *lie, liars: liars.clone(), about, every, count: *count, lasts };
                match *helpers {
                    None => (now, Fault::Lie(liars, lies)),
                    Some(Helpers { most, dies }) => {
                        (now, Fault::Conspire { lies, most, dies: NodeId(dies) })
                    }
                }
            }
        }]
    }

    /// The keys that name members, and whether these may be newcomers. Rules between hosts apply only to the first
    /// members.
    pub(super) fn members(&self) -> Vec<(&'static str, &Who, bool)> {
        match self {
            Self::CrashProcess { who }
            | Self::CrashHost { who }
            | Self::Restart { who, .. }
            | Self::CrashLoop { who, .. }
            | Self::Move { who }
            | Self::Readdress { who, .. }
            | Self::Map { who }
            | Self::LoseFlows { who, .. }
            | Self::Pause { who, .. }
            | Self::PauseHost { who, .. }
            | Self::Slow { who, .. }
            | Self::Starve { who, .. }
            | Self::OnePath { who, .. }
            | Self::Drift { who, .. }
            | Self::Jump { who, .. }
            | Self::Leave { who }
            | Self::Put { who, .. }
            | Self::Write { who, .. }
            | Self::Delete { who, .. }
            | Self::Publish { who, .. }
            | Self::Stand { who, .. }
            | Self::Resign { who, .. }
            | Self::Drain { who }
            | Self::Serve { who }
            | Self::Tag { who, .. }
            | Self::Stop { who } => vec![("who", who, true)],
            Self::Cut { from, to, .. } | Self::Lose { from, to, .. } => {
                vec![("from", from, false), ("to", to, false)]
            }
            Self::Partition { groups, .. } => {
                groups.iter().map(|group| ("groups", group, false)).collect()
            }
            Self::Deaf { who, .. } | Self::Mute { who, .. } => vec![("who", who, false)],
            Self::Forget { who, by } | Self::Administer { who, by, .. } => {
                vec![("who", who, true), ("by", by, true)]
            }
            Self::Rejoin { who, seeds } | Self::Seek { who, seeds } => {
                vec![("who", who, true), ("seeds", seeds, true)]
            }
            Self::Join { seeds, .. } => vec![("seeds", seeds, true)],
            Self::Lie { who, about, .. } => vec![("who", who, true), ("about", about, true)],
            Self::Loss { .. } | Self::MaxDatagram { .. } => Vec::new(),
        }
    }

    /// The number of members that start with the event, in a cluster that started with `nodes` members.
    pub(super) fn newcomers(&self, nodes: u32) -> u32 {
        match self {
            Self::Join { count, .. } => *count,
            Self::Restart { who, data: DataAs::Lost, .. } => {
                u32::try_from(who.of(nodes).len()).unwrap_or(u32::MAX)
            }
            Self::CrashLoop { who, count, .. } => {
                let members = u32::try_from(who.of(nodes).len()).unwrap_or(u32::MAX);
                members.saturating_mul(*count)
            }
            _ => 0,
        }
    }

    /// How many messages applications publish at one moment.
    pub(crate) fn published_at_once(&self, nodes: u32) -> u64 {
        match self {
            Self::Publish { who, repeated: Repeated { count, again: None }, .. } => {
                u64::from(*count) * who.of(nodes).len() as u64
            }
            _ => 0,
        }
    }

    /// The number of members that the event makes up.
    pub(super) const fn made_up(&self) -> usize {
        match self {
            Self::Lie { lie: Lie::Members, count, .. } => *count as usize,
            _ => 0,
        }
    }

    /// How often a member writes in it.
    pub(super) fn writes(&self) -> u128 {
        match self {
            Self::Put { count, .. } | Self::Delete { count, .. } => (*count).into(),
            Self::Publish { repeated: Repeated { count, again }, .. } => {
                let turns = again
                    .map_or(1, |(every, lasts)| lasts.0.as_nanos() / every.0.as_nanos().max(1));
                u128::from(*count) * turns
            }
            Self::Write { every, lasts, .. } | Self::Tag { every, lasts, .. } => {
                lasts.0.as_nanos() / every.0.as_nanos().max(1)
            }
            _ => 0,
        }
    }

    /// How often all members write in it.
    pub(super) fn writes_of_all(&self, nodes: u32) -> u64 {
        let who = match self {
            Self::Put { who, .. }
            | Self::Write { who, .. }
            | Self::Delete { who, .. }
            | Self::Publish { who, .. }
            | Self::Tag { who, .. } => who.of(nodes).len() as u64,
            _ => 0,
        };
        u64::try_from(self.writes()).unwrap_or(u64::MAX).saturating_mul(who)
    }

    /// Whether a member writes at one moment only.
    pub(super) const fn is_once(&self) -> bool {
        match self {
            Self::Publish { repeated, .. } => repeated.again.is_none(),
            _ => matches!(self, Self::Put { .. } | Self::Delete { .. }),
        }
    }

    /// Whether it is the work of applications, and no fault.
    pub(super) const fn is_write(&self) -> bool {
        matches!(
            self,
            Self::Put { .. }
                | Self::Write { .. }
                | Self::Delete { .. }
                | Self::Publish { .. }
                | Self::Stand { .. }
                | Self::Resign { .. }
                | Self::Drain { .. }
                | Self::Serve { .. }
                | Self::Tag { .. }
        )
    }

    /// The time for which the event lasts and excuses consequences.
    pub(super) fn lasts(&self) -> Duration {
        match self {
            Self::Pause { lasts, .. }
            | Self::PauseHost { lasts, .. }
            | Self::Cut { lasts, .. }
            | Self::OnePath { lasts, .. }
            | Self::Lose { lasts, .. }
            | Self::Partition { lasts, .. }
            | Self::Deaf { lasts, .. }
            | Self::Mute { lasts, .. } => lasts.0,
            Self::Starve { stall, lasts, .. } => lasts.0 + stall.0,
            Self::Slow { blocked, lasts, .. } => lasts.0 + blocked.0,
            Self::Restart { after, .. } => after.0,
            Self::CrashLoop { count, each, .. } => each.0 * *count,
            Self::Readdress { noticed_after, .. } => noticed_after.0,
            Self::CrashProcess { .. }
            | Self::CrashHost { .. }
            | Self::Move { .. }
            | Self::Map { .. }
            | Self::LoseFlows { .. }
            | Self::Loss { .. }
            | Self::MaxDatagram { .. }
            | Self::Drift { .. }
            | Self::Jump { .. }
            | Self::Leave { .. }
            | Self::Forget { .. }
            | Self::Administer { .. }
            | Self::Rejoin { .. }
            | Self::Stop { .. }
            | Self::Join { .. }
            | Self::Seek { .. }
            | Self::Put { .. }
            | Self::Write { .. }
            | Self::Delete { .. }
            | Self::Publish { .. }
            | Self::Stand { .. }
            | Self::Resign { .. }
            | Self::Drain { .. }
            | Self::Serve { .. }
            | Self::Tag { .. }
            | Self::Lie { .. } => Duration::ZERO,
        }
    }
}

/// Each of these members writes every so often; their turns are spread evenly over that time.
fn again_and_again(
    nodes: &[NodeId],
    every: Span,
    lasts: Span,
    write: impl Fn(u32) -> Write,
) -> Vec<(Duration, Fault)> {
    let turns = (0..).map(|turn: u32| (turn, every.0 * turn));
    let turns = turns.take_while(|(_, after)| *after < lasts.0);
    let writes = turns.flat_map(|(turn, after)| {
        let write = write(turn);
        (0..).zip(nodes).map(move |(place, &node): (u32, _)| {
            let phase = every.0.mul_f64(f64::from(place) / nodes.len() as f64);
            (after + phase, Fault::Write(vec![node], write.clone()))
        })
    });
    writes.collect()
}

const fn pause(nodes: Vec<NodeId>, scope: Scope, lasts: Span) -> Fault {
    Fault::Pause { nodes, scope, lasts: lasts.0 }
}

const fn lose(id: RuleId, rules: Vec<Rule>, troubled: Vec<NodeId>, lasts: Span) -> Fault {
    Fault::Lose { id, rules, troubled, side_of: Vec::new(), lasts: lasts.0 }
}

fn rule(from: &Who, to: &Who, nodes: u32, packets: Packets, loss: f64) -> Rule {
    Rule { from: hosts(from, nodes), to: hosts(to, nodes), packets, loss }
}

/// Whether these groups have all members, each once.
fn are_all(groups: &[Vec<NodeId>], nodes: u32) -> bool {
    let members: BTreeSet<_> = groups.iter().flatten().collect();
    let count: usize = groups.iter().map(Vec::len).sum();
    (members.len(), count) == (nodes as usize, nodes as usize)
}

/// The hosts of first members, which have the same numbers.
fn hosts(who: &Who, nodes: u32) -> Hosts {
    let members = who.of(nodes);
    let last = members.last().map_or(0, |last| last.index() + 1);
    let mut set = vec![false; last];
    members.iter().for_each(|member| set[member.index()] = true);
    Hosts::Only(set)
}

/// The default interval of lies, and the default number of made-up members.
const LIES_EVERY: Span = Span(millis(50));
const MADE_UP_MEMBERS: u32 = 2_000;
/// The default time until a process notices its new address.
const NOTICED_AFTER: Span = Span(millis(200));
