//! Faults in a run, and actions that members take by choice.

use std::{ops::Range, time::Duration};

use crate::{
    lie::Lies,
    network::{Hosts, Packets, Rule, RuleId},
    node::{Instant, NodeId},
};

/// An event at one moment. Lasting faults end by themselves.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The processes are killed. Their hosts stay up.
    CrashProcess(Vec<NodeId>),
    /// The hosts go down with their processes.
    CrashHost(Vec<NodeId>),
    /// The processes on the hosts of the members are killed, whichever they are. The hosts stay up.
    CrashOccupant(Vec<NodeId>),
    /// The processes are killed if they run, and started. Hosts that are down come up.
    Restart {
        /// The members.
        nodes: Vec<NodeId>,
        /// The data that they find of their previous run.
        data: Data,
    },
    /// The processes stop and resume later. Queued packets arrive then.
    Pause {
        /// The members.
        nodes: Vec<NodeId>,
        /// Whether the hosts stop too.
        scope: Scope,
        /// The duration.
        lasts: Duration,
    },
    /// Lifeguard's slow members: their messages wait again and again, while their timers run.
    Slow {
        /// The members.
        nodes: Vec<NodeId>,
        /// How long they are blocked each time.
        blocked: Duration,
        /// How long they are not blocked in between.
        open: Duration,
        /// The end.
        until: Instant,
    },
    /// The processes stall about once a second, as on a machine with too little CPU time. It excuses nothing.
    Starve {
        /// The members.
        nodes: Vec<NodeId>,
        /// How long the stalls are.
        stalls: Stalls,
        /// The end.
        until: Instant,
    },
    /// Rules lose packets.
    Lose {
        /// The id by which the rules are lifted.
        id: RuleId,
        /// The rules.
        rules: Vec<Rule>,
        /// The members whose silence this excuses.
        troubled: Vec<NodeId>,
        /// The side of a partition of each host; empty without a partition.
        side_of: Vec<u16>,
        /// The duration.
        lasts: Duration,
    },
    /// Members are cut off from all but a few of their observers. It excuses nothing.
    OnePath {
        /// The id by which the cut is lifted.
        id: RuleId,
        /// The members.
        nodes: Vec<NodeId>,
        /// The remaining paths.
        cut: OnePath,
        /// The duration.
        lasts: Duration,
    },
    /// The rules are lifted.
    Lift(RuleId, Vec<NodeId>),
    /// From now on, this share of all packets is lost.
    Loss(f64),
    /// From now on, datagrams have at most this payload.
    MaxDatagram(usize),
    /// The clocks run faster by this many millionths, or slower if negative.
    Drift(Vec<NodeId>, i32),
    /// The clocks skip ahead.
    Jump(Vec<NodeId>, Duration),
    /// The members leave.
    Leave(Vec<NodeId>),
    /// Members are asked to forget others.
    Forget {
        /// The members that are asked.
        by: Vec<NodeId>,
        /// The members to forget.
        nodes: Vec<NodeId>,
    },
    /// An administrator hands statements about members to others.
    Administer {
        /// The content of the statements.
        what: Administration,
        /// The members that are asked.
        by: Vec<NodeId>,
        /// The members that the statements are about.
        nodes: Vec<NodeId>,
    },
    /// Members that left come back.
    Rejoin {
        /// The members.
        nodes: Vec<NodeId>,
        /// The seeds.
        seeds: Vec<NodeId>,
    },
    /// The processes restart on new hosts with their data. The old hosts stay without a process.
    Move(Vec<NodeId>),
    /// The hosts get other addresses while their processes run, which notice it after this time.
    Readdress(Vec<NodeId>, Duration),
    /// A process has noticed its new address.
    Notice(NodeId),
    /// From now on, the members dial through a gateway, which uses an address of its own. Their own addresses stay
    /// reachable.
    Map(Vec<NodeId>),
    /// The gateway forgets the mapped addresses, and uses others from now on.
    LoseFlows {
        /// The members.
        nodes: Vec<NodeId>,
        /// Whether it refuses packets to the forgotten addresses, or drops them.
        refuses: bool,
    },
    /// The processes shut down and close their connections.
    Stop(Vec<NodeId>),
    /// New members start, each on a new host.
    Join {
        /// The number of new members.
        count: u32,
        /// The seeds.
        seeds: Vec<NodeId>,
    },
    /// Applications write, where the processes run.
    Write(Vec<NodeId>, Write),
    /// The members lie.
    Lie(Vec<NodeId>, Lies),
    /// The liars lie, and with them observers of the first subject, as many as there may be: altogether less than a
    /// majority of the observers of any member, also when one member has died.
    Conspire {
        /// The lies, and those that lie in any case.
        lies: Lies,
        /// The maximum number of further liars.
        most: u32,
        /// The member that will die. It does not lie.
        dies: NodeId,
    },
    /// Members look for seeds until they are not alone.
    Seek {
        /// The members.
        nodes: Vec<NodeId>,
        /// The seeds.
        seeds: Vec<NodeId>,
        /// The delay before the next attempt.
        delay: Duration,
    },
    /// Paused processes or hosts resume.
    Resume(Vec<NodeId>, Scope),
    /// A process stalls, and will stall again.
    Stall(NodeId, Stalls, Instant),
    /// A stalled process resumes.
    Unstall(NodeId),
    /// A slow member is blocked again.
    Block(NodeId, Duration, Duration, Instant),
}

/// The content of a statement of the administrator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Administration {
    /// It is expelled.
    Expel,
    /// It may return.
    Readmit,
    /// The statement that expelled it first, once more.
    Replay,
}

/// The write of an application.
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
    /// Messages to all members, each with a content of its own.
    Publish {
        /// How many.
        count: u32,
        /// The topic, by number.
        topic: u32,
        /// How long each content is. It is at least as long as the numbers that distinguish it.
        bytes: usize,
        /// The members that are to receive them; empty for all.
        filter: String,
    },
    /// The application stands for an office.
    Stand {
        /// Its name.
        office: String,
        /// The members that vote; empty for all.
        filter: String,
        /// How many voters there are, if that is stated.
        expected: Option<u16>,
    },
    /// The application stands for an office no longer.
    Resign(String),
    /// The application takes work, or drains.
    Serve(bool),
}

/// How long the stalls of a starved process are: each is as likely as any other between the shortest and the longest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stalls {
    /// The longest.
    pub longest: Duration,
    /// The shortest, as a share of the longest.
    pub shortest: f64,
}

impl Stalls {
    /// Stalls up to the longest, the shortest of which is a tenth of it.
    pub const fn up_to(longest: Duration) -> Self {
        Self { longest, shortest: 0.1 }
    }
}

/// The part of a member that stops.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// The process. The kernel keeps running.
    Process,
    /// The whole host.
    Host,
}

/// The data of an earlier run that a process finds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Data {
    /// Its key and generation.
    Kept,
    /// Nothing: it is a new member.
    Lost,
    /// Its key, and an outdated generation.
    Old,
}

impl Fault {
    /// A partition: members of different groups cannot communicate for a while. Members in no group can reach all.
    pub fn partition(id: RuleId, groups: &[Vec<NodeId>], hosts: u32, lasts: Duration) -> Self {
        let mut rules = Vec::new();
        for group in groups {
            let mut from = vec![false; hosts as usize];
            let mut to = vec![false; hosts as usize];
            group.iter().for_each(|node| from[node.index()] = true);
            let others = groups.iter().filter(|other| *other != group).flatten();
            others.for_each(|node| to[node.index()] = true);
            let (from, to) = (Hosts::Only(from), Hosts::Only(to));
            rules.push(Rule { from, to, packets: Packets::All, loss: 1.0 });
        }
        let (troubled, side_of) = (Vec::new(), sides(groups, hosts));
        Self::Lose { id, rules, troubled, side_of, lasts }
    }
}

/// The side of each host among these groups; 0 for a host in none.
pub(crate) fn sides(groups: &[Vec<NodeId>], hosts: u32) -> Vec<u16> {
    let mut side_of = vec![0; hosts as usize];
    for (side, group) in (1..).zip(groups) {
        group.iter().for_each(|node| side_of[node.index()] = side);
    }
    side_of
}

/// The paths that [`Fault::OnePath`] leaves to a member.
#[derive(Clone, Copy, Debug)]
pub struct OnePath {
    /// The number of its observers with a path.
    pub paths: u32,
    /// Whether it receives only from those.
    pub hears: bool,
    /// Whether its messages reach only those.
    pub is_heard: bool,
}
