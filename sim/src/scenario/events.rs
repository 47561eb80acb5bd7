//! What can happen in a scenario.

use std::time::Duration;

use serde::Deserialize;

use super::settings::{Span, Who};
use crate::{
    fault::{Data, Fault, Scope},
    network::{Hosts, Rule, RuleId},
    node::{Instant, NodeId, millis},
};

/// Something that happens.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub(crate) enum Event {
    /// Processes are killed; their hosts live.
    CrashProcess { who: Who },
    /// Hosts go down.
    CrashHost { who: Who },
    /// Processes start anew, `after` a while without any.
    Restart {
        who: Who,
        #[serde(default)]
        data: DataAs,
        #[serde(default)]
        after: Span,
    },
    /// Processes start anew on other hosts.
    Move { who: Who },
    /// Processes stop for a while.
    Pause { who: Who, lasts: Span },
    /// Hosts stop for a while.
    PauseHost { who: Who, lasts: Span },
    /// Lifeguard's slow members.
    Slow { who: Who, blocked: Span, open: Span, lasts: Span },
    /// Nothing gets from the ones to the others.
    Cut {
        from: Who,
        to: Who,
        #[serde(default)]
        only_datagrams: bool,
        lasts: Span,
    },
    /// A share is lost on the way from the ones to the others.
    Lose { from: Who, to: Who, share: f64, lasts: Span },
    /// Groups cannot hear each other.
    Partition { groups: Vec<Who>, lasts: Span },
    /// Members can send and not receive.
    Deaf { who: Who, lasts: Span },
    /// Members can receive and not send.
    Mute { who: Who, lasts: Span },
    /// From now on this share of all packets is lost.
    Loss { share: f64 },
    /// From now on no datagram has a longer payload.
    MaxDatagram { bytes: usize },
    /// Clocks run faster by so many millionths.
    Drift { who: Who, millionths: i32 },
    /// Clocks skip ahead.
    Jump { who: Who, by: Span },
    /// Members leave.
    Leave { who: Who },
    /// A member is asked to forget others.
    Forget { who: Who, by: Who },
    /// Members that left come back.
    Rejoin { who: Who, seeds: Who },
    /// Processes end in order.
    Stop { who: Who },
    /// New members come.
    Join { count: u32, seeds: Who },
    /// Members look for seeds.
    Seek { who: Who, seeds: Who },
}

/// What a process finds of an earlier run.
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
    /// What it is to the simulation, in a cluster that began with so many members.
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
            Self::Move { who } => (now, Fault::Move(who.list(nodes))),
            Self::Pause { who, lasts } => (now, pause(who.list(nodes), Scope::Process, *lasts)),
            Self::PauseHost { who, lasts } => (now, pause(who.list(nodes), Scope::Host, *lasts)),
            Self::Slow { who, blocked, open, lasts } => {
                let (nodes, until) = (who.list(nodes), at + lasts.0);
                (now, Fault::Slow { nodes, blocked: blocked.0, open: open.0, until })
            }
            Self::Cut { from, to, only_datagrams, lasts } => {
                let rule = rule(from, to, nodes, *only_datagrams, 1.0);
                (now, lose(id, vec![rule], Vec::new(), *lasts))
            }
            Self::Lose { from, to, share, lasts } => {
                let rule = rule(from, to, nodes, false, *share);
                (now, lose(id, vec![rule], Vec::new(), *lasts))
            }
            Self::Partition { groups, lasts } => {
                let groups: Vec<_> = groups.iter().map(|who| who.list(nodes)).collect();
                (now, Fault::partition(id, &groups, nodes, lasts.0))
            }
            Self::Deaf { who, lasts } => {
                let to = hosts(who, nodes);
                let rule = Rule { from: Hosts::All, to, only_datagrams: false, loss: 1.0 };
                (now, lose(id, vec![rule], who.list(nodes), *lasts))
            }
            Self::Mute { who, lasts } => {
                let from = hosts(who, nodes);
                let rule = Rule { from, to: Hosts::All, only_datagrams: false, loss: 1.0 };
                (now, lose(id, vec![rule], who.list(nodes), *lasts))
            }
            Self::Loss { share } => (now, Fault::Loss(*share)),
            Self::MaxDatagram { bytes } => (now, Fault::MaxDatagram(*bytes)),
            Self::Drift { who, millionths } => (now, Fault::Drift(who.list(nodes), *millionths)),
            Self::Jump { who, by } => (now, Fault::Jump(who.list(nodes), by.0)),
            Self::Leave { who } => (now, Fault::Leave(who.list(nodes))),
            Self::Forget { who, by } => {
                (now, Fault::Forget { by: by.list(nodes), nodes: who.list(nodes) })
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
        }]
    }

    /// How long it goes on.
    pub(super) fn lasts(&self) -> Duration {
        match self {
            Self::Pause { lasts, .. }
            | Self::PauseHost { lasts, .. }
            | Self::Cut { lasts, .. }
            | Self::Lose { lasts, .. }
            | Self::Partition { lasts, .. }
            | Self::Deaf { lasts, .. }
            | Self::Mute { lasts, .. } => lasts.0,
            Self::Slow { blocked, lasts, .. } => lasts.0 + blocked.0,
            Self::Restart { after, .. } => after.0,
            Self::CrashProcess { .. }
            | Self::CrashHost { .. }
            | Self::Move { .. }
            | Self::Loss { .. }
            | Self::MaxDatagram { .. }
            | Self::Drift { .. }
            | Self::Jump { .. }
            | Self::Leave { .. }
            | Self::Forget { .. }
            | Self::Rejoin { .. }
            | Self::Stop { .. }
            | Self::Join { .. }
            | Self::Seek { .. } => Duration::ZERO,
        }
    }
}

const fn pause(nodes: Vec<NodeId>, scope: Scope, lasts: Span) -> Fault {
    Fault::Pause { nodes, scope, lasts: lasts.0 }
}

const fn lose(id: RuleId, rules: Vec<Rule>, troubled: Vec<NodeId>, lasts: Span) -> Fault {
    Fault::Lose { id, rules, troubled, side_of: Vec::new(), lasts: lasts.0 }
}

fn rule(from: &Who, to: &Who, nodes: u32, only_datagrams: bool, loss: f64) -> Rule {
    Rule { from: hosts(from, nodes), to: hosts(to, nodes), only_datagrams, loss }
}

/// The first members' hosts have their numbers.
fn hosts(who: &Who, nodes: u32) -> Hosts {
    let members = who.of(nodes);
    let last = members.last().map_or(0, |last| last.index() + 1);
    let mut set = vec![false; last];
    members.iter().for_each(|member| set[member.index()] = true);
    Hosts::Only(set)
}
