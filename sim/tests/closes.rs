//! The simulated transport reports the end of a connection as the driver does: both are tested against one table.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use phin_sim::{
    Action, Belief, Channel, Data, Disconnection, Fault, HostId, Input, Instant, Knowledge, Line,
    NetworkConfig, NodeId, Peer, Process, Protocol, Setup, Simulation, Start, Transport, Usage,
    secs,
};

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);

type Told = Arc<Mutex<Vec<(NodeId, Disconnection)>>>;

/// Members that do what a script says, and record how their connections end.
struct Scripted {
    script: Vec<(u64, NodeId, Action)>,
    told: Told,
}

struct ScriptedProcess {
    me: NodeId,
    script: Vec<(Instant, Action)>,
    told: Told,
}

impl Protocol for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn transport(&self) -> Transport {
        Transport::Quic
    }

    fn start(&self, start: Start) -> Box<dyn Process> {
        let own = self.script.iter().filter(|(_, node, _)| *node == start.node);
        let script = own.map(|(at, _, action)| (Instant::START + secs(*at), action.clone()));
        let script = script.filter(|(at, _)| *at > start.now).collect();
        Box::new(ScriptedProcess { me: start.node, script, told: self.told.clone() })
    }
}

impl Process for ScriptedProcess {
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Vec<Action>) {
        if let Input::Disconnected(_, reason) = input {
            self.told.lock().expect("no test panics with it").push((self.me, reason));
        }
        while self.script.first().is_some_and(|(at, _)| *at <= now) {
            actions.push(self.script.remove(0).1);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.script.first().map(|(at, _)| *at)
    }

    fn fingerprint(&self) -> u64 {
        0
    }

    fn belief(&self, _node: NodeId) -> Option<Belief> {
        None
    }

    fn live_len(&self) -> usize {
        2
    }

    fn lines(&self) -> Vec<Line> {
        Vec::new()
    }

    fn usage(&self, _now: Instant) -> Usage {
        Usage::default()
    }
}

/// The disconnections that both receive until that second, in the form of the table.
fn told(script: Vec<(u64, NodeId, Action)>, fault: Option<Fault>, until: u64) -> [String; 2] {
    let (seed, nodes, knowledge) = (1, 2, Knowledge::Everyone);
    let setup =
        Setup { seed, nodes, knowledge, network: NetworkConfig::lan(), firewalled_every: 0 };
    let told = Told::default();
    let mut run = Simulation::new(setup, Arc::new(Scripted { script, told: told.clone() }));
    if let Some(fault) = fault {
        run.schedule(Instant::START + secs(2), fault);
    }
    run.run_until(Instant::START + secs(until));
    let told = told.lock().expect("no test panics with it");
    [A, B].map(|node| {
        let own: Vec<_> = told.iter().filter(|(id, _)| *id == node).map(|(_, r)| r).collect();
        match own.as_slice() {
            [] => "-".to_owned(),
            own => own.iter().map(|reason| format!("{reason:?}")).collect::<Vec<_>>().join(","),
        }
    })
}

fn send(to: NodeId) -> Action {
    let to = Peer { node: to, host: HostId(to.0) };
    Action::Send { to, channel: Channel::Stream, payload: vec![1] }
}

#[test]
fn connections_end_as_the_driver_reports_it() {
    let first = || (1, A, send(B));
    let again = || vec![first(), (3, A, send(B))];
    let found: BTreeMap<&str, [String; 2]> = [
        ("idle", told(vec![first()], None, 100)),
        ("closed by a", told(vec![first(), (2, A, Action::Disconnect(B))], None, 100)),
        ("dialled by both", told(vec![first(), (1, B, send(A))], None, 20)),
        ("a shuts down", told(vec![first()], Some(Fault::Stop(vec![A])), 100)),
        (
            "b restarts",
            told(again(), Some(Fault::Restart { nodes: vec![B], data: Data::Kept }), 20),
        ),
        ("b is silent", told(again(), Some(Fault::CrashHost(vec![B])), 100)),
    ]
    .into();
    let table = include_str!("../../crates/phin-swim/tests/closes.txt");
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    let expected: BTreeMap<&str, [String; 2]> = rows
        .map(|row| {
            let (situation, sides) = row.split_at(17);
            let mut sides = sides.split_whitespace().map(str::to_owned);
            (situation.trim(), [sides.next().unwrap(), sides.next().unwrap()])
        })
        .collect();
    assert_eq!(found, expected);
}
