//! Messages, bytes, CPU time and memory of one member. The numbers of messages follow from the rules. The cost of a message was
//! measured, and each constant names where.

use super::{
    Inputs, Kind, RANDOM_PING, calm_period, is_complete,
    links::{estimated_loss, loss_deviation, normal_at_most, unanswered},
    observers,
};

/// From one value to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The lower end.
    pub least: f64,
    /// The upper end.
    pub most: f64,
}

/// The cost of a death to each other member, on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// The kind of silence.
    pub kind: Kind,
    /// Messages that a member sends because of it.
    pub messages: f64,
    /// Their bytes with all headers and acknowledgements.
    pub bytes: f64,
}

/// The costs of one member.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Messages sent in a second while nothing happens.
    pub messages: f64,
    /// Packets sent in a second, including those that carry only QUIC's acknowledgements.
    pub packets: f64,
    /// Bytes sent in a second, with the headers of IP, UDP and QUIC, acknowledgements and handshakes.
    pub bytes: f64,
    /// The same as the simulator counts them: without acknowledgements.
    pub simulated_bytes: f64,
    /// The cost of a death beyond that.
    pub deaths: Vec<Cost>,
    /// CPU time in milliseconds per second.
    pub cpu_ms: Range,
    /// Connections.
    pub connections: f64,
    /// Resident memory of a process with one member, in MiB.
    pub memory_mib: Range,
}

/// The terms of [`Load::memory_mib`], as readable text.
pub(super) const MEMORY_FORMULA: &str =
    "8.5 MiB (program) + 0.54 MiB (node) + 35 KiB x connections + 350 B x members";
/// The machine on which the costs were measured.
pub(super) const COSTS_FROM: &str =
    "2 cores (Intel Xeon), release builds, 2026-11; docs/benchmarks/details.md";

/// The costs of a member.
pub(super) fn load(inputs: &Inputs) -> Load {
    let probes = 1.0 / mean_period(inputs);
    let Probe { messages, handshakes } = probe(inputs);
    let (messages, handshakes) = (messages * probes, handshakes * probes);
    let packets = messages * PACKETS_OF_MESSAGE + handshakes * PACKETS_OF_HANDSHAKE;
    let connections = connections(inputs);
    let memory = PROGRAM_MIB
        + NODE_MIB
        + connections * CONNECTION_KIB / 1_024.0
        + f64::from(inputs.members) * MEMBER_BYTES / (1_024.0 * 1_024.0);
    Load {
        messages,
        packets,
        bytes: messages * BYTES_OF_MESSAGE + handshakes * BYTES_OF_HANDSHAKE,
        simulated_bytes: messages * SIMULATED_BYTES + handshakes * SIMULATED_HANDSHAKE,
        deaths: Kind::ALL.iter().map(|&kind| cost(inputs, kind)).collect(),
        cpu_ms: Range { least: packets * PACKET_MS.least, most: packets * PACKET_MS.most },
        connections,
        memory_mib: Range { least: memory, most: memory * MEMORY_SPREAD },
    }
}

/// The messages and handshakes of one probe, at all members together.
struct Probe {
    messages: f64,
    handshakes: f64,
}

/// A ping and its answer, and what follows if there is none (protocol.md, "Escalation").
fn probe(inputs: &Inputs) -> Probe {
    let loss = inputs.network.loss;
    let lost = unanswered(loss);
    let (estimate, deviation) = (estimated_loss(lost), loss_deviation(lost));
    // The share of links on which so many misses are worth phi 1: those whose assumed loss is low enough.
    let are_worth_one = |misses: f64| {
        let largest = libm::pow(10.0, -1.0 / misses);
        match deviation > 0.0 {
            true => normal_at_most((largest - estimate) / deviation),
            false => 1.0,
        }
    };
    let after_one = lost * are_worth_one(1.0);
    let after_two = lost * lost * (1.0 - are_worth_one(1.0));
    let asks = after_one + after_two * are_worth_one(2.0);
    let insists = after_one + after_two;
    let helpers = f64::from(inputs.config.indirect_probes).min(f64::from(observers(inputs) - 1));
    // A ping is repeated until it is answered. Each helper is asked, pings, is answered, and answers.
    let messages = (2.0 - loss) / (1.0 - lost) + insists * 2.0 + asks * helpers * 4.0;
    let unknown = 1.0 - (connections(inputs) / f64::from(inputs.members - 1)).min(1.0);
    let dialled = libm::exp(-HELPERS_KNOWN / inputs.config.period.as_secs_f64());
    let random = if is_complete(inputs) { 0.0 } else { RANDOM_PING * unknown };
    Probe { messages, handshakes: random + asks * helpers * unknown * dialled }
}

/// The mean period: with `max_period`, it doubles after eight periods in which no probe failed (protocol.md, "Calm").
fn mean_period(inputs: &Inputs) -> f64 {
    let (period, lost) = (inputs.config.period.as_secs_f64(), unanswered(inputs.network.loss));
    let longest = calm_period(&inputs.config).as_secs_f64();
    if longest <= period || lost == 0.0 {
        return longest;
    }
    let passes = libm::pow(1.0 - lost, 8.0);
    let (mut length, mut visits, mut periods, mut seconds) = (period, 1.0, 0.0, 0.0);
    loop {
        let is_longest = length * 2.0 > longest;
        let stays = if is_longest { 1.0 / lost } else { (1.0 - passes) / lost };
        periods += visits * stays;
        seconds += visits * stays * length;
        if is_longest {
            return seconds / periods;
        }
        (visits, length) = (visits * passes, length * 2.0);
    }
}

/// The peers of a member: its observers and subjects in K rings, as many of them as are different.
fn connections(inputs: &Inputs) -> f64 {
    let others = f64::from(inputs.members - 1);
    let links = 2.0 * f64::from(inputs.config.rings);
    match is_complete(inputs) {
        true => others,
        false => others * (1.0 - libm::pow(1.0 - 1.0 / others, links)),
    }
}

/// Each member passes the news on to its subjects, once as a suspicion unless the verdict is as quick, and once as a death.
/// The observers ping, accuse and vote besides.
fn cost(inputs: &Inputs, kind: Kind) -> Cost {
    let subjects = f64::from(observers(inputs));
    let (suspicions, deaths) = (if kind == Kind::Gone { 0.0 } else { subjects }, subjects);
    let of_observers = subjects * messages_of_observer(kind) / f64::from(inputs.members);
    Cost {
        kind,
        messages: suspicions + deaths + of_observers,
        bytes: suspicions * (BYTES_OF_MESSAGE + SUSPICION_BYTES)
            + deaths * (BYTES_OF_MESSAGE + VERDICT_BYTES)
            + of_observers * BYTES_OF_MESSAGE,
    }
}

/// Pings, accusations and votes of one observer about a dead member (`phin-sim plan --check`, 32 members).
const fn messages_of_observer(kind: Kind) -> f64 {
    match kind {
        Kind::Gone => 4.0,
        Kind::Silent => 9.0,
        Kind::Hung | Kind::Unknown => 24.0,
    }
}

/// Packets for a message: 3.14 packets, 0.007 handshakes of 14 packets among them, for 2.00 messages ("64 nodes in one
/// process").
const PACKETS_OF_MESSAGE: f64 = 1.52;
/// Packets of a handshake ("64 nodes in one process").
const PACKETS_OF_HANDSHAKE: f64 = 14.0;
/// Bytes of a ping or ack with its share of acknowledgements: 223 for two, of 4 and 8 real nodes, which all know each other
/// (`nodes-process.csv`).
const BYTES_OF_MESSAGE: f64 = 111.5;
/// Bytes of a handshake ("64 nodes in one process").
const BYTES_OF_HANDSHAKE: f64 = 4_600.0;
/// Bytes of a ping or ack in the simulator, which counts no acknowledgements (`detection.csv`, 8 members).
const SIMULATED_BYTES: f64 = 76.5;
/// Bytes of a handshake in the simulator.
const SIMULATED_HANDSHAKE: f64 = 4_400.0;
/// How many connections of earlier questions lead to a helper, times the period in seconds: they last for 30 s (`loss.csv`, 1 %
/// and 5 %).
const HELPERS_KNOWN: f64 = 0.315;
/// By how much a suspicion and a verdict with five votes are longer than a ping ("QUIC, and the wire").
const SUSPICION_BYTES: f64 = 25.0;
const VERDICT_BYTES: f64 = 160.0;
/// CPU time for a packet, in milliseconds. Least: what each further packet costs (`peers-process.csv`, phin and phin-fast).
/// Most: a process of `phin run` alone, 1.54 ms for 3.14 packets ("Where the time goes"). 64 nodes in a process take 0.25.
const PACKET_MS: Range = Range { least: 0.16, most: 0.49 };
/// Memory that does not depend on the cluster: of the program and of a node (`nodes-process.csv`, 4 and 8 members).
const PROGRAM_MIB: f64 = 8.5;
const NODE_MIB: f64 = 0.54;
/// Memory of a connection ("Where the time goes") and of a known member ("The goals, and what was reached").
const CONNECTION_KIB: f64 = 35.0;
const MEMBER_BYTES: f64 = 350.0;
/// 128 real nodes took 1.5 times what the formula gives, while connections of their start were still open.
const MEMORY_SPREAD: f64 = 1.5;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use phin_swim::Config;

    use super::*;
    use crate::network::NetworkConfig;

    fn inputs(members: u32, loss: f64) -> Inputs {
        let network = NetworkConfig { loss, ..NetworkConfig::lan() };
        Inputs { members, config: Config::lan(), network, stalls: None }
    }

    fn is_near(found: f64, expected: f64, share: f64) -> bool {
        (found / expected - 1.0).abs() <= share
    }

    #[test]
    fn messages_are_those_of_committed_sweeps() {
        // docs/benchmarks/loss.csv, 128 members.
        for (loss, measured) in
            [(0.0, 2.0), (0.001, 2.05), (0.01, 2.22), (0.05, 2.79), (0.1, 2.87), (0.25, 3.66)]
        {
            let found = load(&inputs(128, loss)).messages;
            assert!(is_near(found, measured, 0.1), "{loss}: {found} instead of {measured}");
        }
    }

    #[test]
    fn bytes_and_memory_are_those_of_committed_measurements() {
        // docs/benchmarks/detection.csv.
        for (members, measured) in [(8, 153.0), (32, 172.0), (128, 191.0), (512, 190.0)] {
            let found = load(&inputs(members, 0.0)).simulated_bytes;
            assert!(is_near(found, measured, 0.1), "{members}: {found} instead of {measured}");
        }
        // docs/benchmarks/loss.csv.
        for (loss, measured) in [(0.01, 359.0), (0.05, 721.0)] {
            let found = load(&inputs(128, loss)).simulated_bytes;
            assert!(is_near(found, measured, 0.15), "{loss}: {found} instead of {measured}");
        }
        // docs/benchmarks/nodes-process.csv.
        for (members, bytes, connections) in [(8, 223.0, 7.0), (32, 279.0, 13.1), (64, 261.0, 15.2)]
        {
            let found = load(&inputs(members, 0.0));
            assert!(is_near(found.bytes, bytes, 0.15), "{members}: {} of {bytes}", found.bytes);
            assert!(is_near(found.connections, connections, 0.1), "{}", found.connections);
        }
        let of_64 = load(&inputs(64, 0.0));
        // 996 KiB of a node, without the program.
        let node_kib = (of_64.memory_mib.least - PROGRAM_MIB) * 1_024.0;
        assert!(is_near(node_kib, 996.0, 0.15), "{node_kib}");
        assert!(of_64.cpu_ms.least < 0.77 && of_64.cpu_ms.most > 0.77, "{:?}", of_64.cpu_ms);
    }

    #[test]
    fn longer_periods_save_messages_unless_packets_are_lost() {
        let calm = |loss| {
            let mut inputs = inputs(128, loss);
            inputs.config.max_period = Some(Duration::from_secs(8));
            load(&inputs).messages
        };
        // docs/benchmarks/calm.csv.
        assert!(is_near(calm(0.0), 0.25, 0.01), "{}", calm(0.0));
        assert!(calm(0.001) > 0.25 && calm(0.05) > 1.0, "{} {}", calm(0.001), calm(0.05));
    }
}
