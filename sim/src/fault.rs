//! What goes wrong in a run, and what members do by their own choice.

use std::{ops::Range, time::Duration};

use crate::{
    lie::Lies,
    network::{Hosts, Rule, RuleId},
    node::{Instant, NodeId},
};

/// Something that happens at one moment; what lasts ends by itself.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The processes are killed; their hosts live.
    CrashProcess(Vec<NodeId>),
    /// The hosts go down, with everything on them.
    CrashHost(Vec<NodeId>),
    /// Whatever processes run on the hosts of the members are killed; the hosts live.
    CrashOccupant(Vec<NodeId>),
    /// The processes are started, after being killed if they run; hosts that are down come up.
    Restart {
        /// Whose.
        nodes: Vec<NodeId>,
        /// What they find of themselves.
        data: Data,
    },
    /// The processes stop and go on later: everything queued arrives then.
    Pause {
        /// Whose.
        nodes: Vec<NodeId>,
        /// Whether their hosts stop too.
        scope: Scope,
        /// For how long.
        lasts: Duration,
    },
    /// Lifeguard's slow members: what they send and receive waits, again and again, while their timers run.
    Slow {
        /// Who.
        nodes: Vec<NodeId>,
        /// For how long they are blocked.
        blocked: Duration,
        /// For how long they are not, in between.
        open: Duration,
        /// Until when.
        until: Instant,
    },
    /// The processes stall for up to so long, about once a second, as where CPU time is short. It excuses nothing.
    Starve {
        /// Whose.
        nodes: Vec<NodeId>,
        /// For how long at most; a tenth of it at least.
        stall: Duration,
        /// Until when.
        until: Instant,
    },
    /// Packets are lost by rules.
    Lose {
        /// To lift them.
        id: RuleId,
        /// Which.
        rules: Vec<Rule>,
        /// Whose silence that excuses.
        troubled: Vec<NodeId>,
        /// By host, which side of a partition it is on; empty where there is none.
        side_of: Vec<u16>,
        /// For how long.
        lasts: Duration,
    },
    /// Members are cut off from all but a few of their observers. It excuses nothing.
    OnePath {
        /// To lift it.
        id: RuleId,
        /// Who.
        nodes: Vec<NodeId>,
        /// What is left.
        cut: OnePath,
        /// For how long.
        lasts: Duration,
    },
    /// The rules are lifted.
    Lift(RuleId, Vec<NodeId>),
    /// Everywhere this share of packets is lost from now on.
    Loss(f64),
    /// From now on no datagram has a longer payload.
    MaxDatagram(usize),
    /// The clocks run faster by so many millionths, or slower.
    Drift(Vec<NodeId>, i32),
    /// The clocks skip ahead.
    Jump(Vec<NodeId>, Duration),
    /// The members leave by their own choice.
    Leave(Vec<NodeId>),
    /// A member is asked to forget others.
    Forget {
        /// Who is asked.
        by: Vec<NodeId>,
        /// Whom it is to forget.
        nodes: Vec<NodeId>,
    },
    /// Members that left come back.
    Rejoin {
        /// Who.
        nodes: Vec<NodeId>,
        /// Through whom.
        seeds: Vec<NodeId>,
    },
    /// The processes are started anew on new hosts, with their data; the old hosts stay without a process.
    Move(Vec<NodeId>),
    /// The hosts get another address while their processes run, and these notice so much later.
    Readdress(Vec<NodeId>, Duration),
    /// A process has noticed its new address.
    Notice(NodeId),
    /// From now on, a gateway gives an address of its own to what the members dial; theirs stays reachable.
    Map(Vec<NodeId>),
    /// The gateway forgets these addresses, and gives others from now on.
    LoseFlows {
        /// Whose.
        nodes: Vec<NodeId>,
        /// Whether it refuses what comes for the forgotten ones, or says nothing.
        refuses: bool,
    },
    /// The processes end in order: connections are closed.
    Stop(Vec<NodeId>),
    /// New members start, each on a new host.
    Join {
        /// How many.
        count: u32,
        /// Through whom.
        seeds: Vec<NodeId>,
    },
    /// Applications write, where the processes run.
    Write(Vec<NodeId>, Write),
    /// The members lie.
    Lie(Vec<NodeId>, Lies),
    /// Members look for seeds until they are not alone.
    Seek {
        /// Who.
        nodes: Vec<NodeId>,
        /// Where.
        seeds: Vec<NodeId>,
        /// How long until the next try.
        delay: Duration,
    },
    /// What was paused goes on.
    Resume(Vec<NodeId>, Scope),
    /// A process stalls, and will stall again.
    Stall(NodeId, Duration, Instant),
    /// A process that stalled goes on.
    Unstall(NodeId),
    /// A slow member is blocked anew.
    Block(NodeId, Duration, Duration, Instant),
}

/// What an application writes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Write {
    /// Keys of its member's data get a new value of so many bytes.
    Put {
        /// Which keys, by number.
        keys: Range<u32>,
        /// How long each value is.
        bytes: usize,
        /// After how long they expire, if they do.
        time_to_live: Option<Duration>,
    },
    /// Keys of its member's data are deleted.
    Delete(Range<u32>),
    /// A tag of its member gets a new value.
    Tag,
}

/// What of a member stops.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Its process; the kernel goes on.
    Process,
    /// The whole host.
    Host,
}

/// What a process finds of an earlier run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Data {
    /// Its key and generation.
    Kept,
    /// Nothing: it is a new member.
    Lost,
    /// Its key, and a generation from long ago.
    Old,
}

impl Fault {
    /// Members of different groups cannot hear each other for a while; those in no group hear everybody.
    pub fn partition(id: RuleId, groups: &[Vec<NodeId>], hosts: u32, lasts: Duration) -> Self {
        let mut side_of = vec![0; hosts as usize];
        let mut rules = Vec::new();
        for (side, group) in (1..).zip(groups) {
            group.iter().for_each(|node| side_of[node.index()] = side);
        }
        for group in groups {
            let mut from = vec![false; hosts as usize];
            let mut to = vec![false; hosts as usize];
            group.iter().for_each(|node| from[node.index()] = true);
            let others = groups.iter().filter(|other| *other != group).flatten();
            others.for_each(|node| to[node.index()] = true);
            let (from, to) = (Hosts::Only(from), Hosts::Only(to));
            rules.push(Rule { from, to, only_datagrams: false, loss: 1.0 });
        }
        Self::Lose { id, rules, troubled: Vec::new(), side_of, lasts }
    }
}

/// What [`Fault::OnePath`] leaves of the paths of a member.
#[derive(Clone, Copy, Debug)]
pub struct OnePath {
    /// To and from how many of its observers.
    pub paths: u32,
    /// Whether it receives from those alone.
    pub hears: bool,
    /// Whether what it sends reaches those alone.
    pub is_heard: bool,
}
