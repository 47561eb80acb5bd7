//! Packets and streams on the wire: loss, copies, delays, and arrival at a host.

use std::time::Duration;

use rand::RngExt;

use super::{Event, World};
use crate::{
    asking::Port,
    connection::ConnectionId,
    machines::HostState,
    network::Kind,
    node::{Channel, HostId, Transport, millis, secs},
    packet::{Content, Packet},
    queue::Class,
    traffic::{PACKET_PAYLOAD, QUIC_HEADER, TCP_HEADER, UDP_HEADER},
};

impl World {
    /// Puts a packet on the wire. It may be lost, duplicated or delayed.
    pub(super) fn emit(&mut self, packet: Packet) {
        let (from, to) = (packet.from.host, packet.to.host);
        // A hostile message or a liar can name an address without a host.
        if to.index() >= self.machines.hosts.len() {
            return;
        }
        let (kind, bytes) = match &packet.content {
            Content::Message(_, channel, payload) => {
                let bytes = payload.len() + self.header(*channel);
                (Kind { channel: *channel, is_handshake: false, bytes }, payload.len())
            }
            Content::Hello(_) | Content::Accept(_) | Content::WrongIdentity(_) => {
                (Kind { is_handshake: true, bytes: INITIAL_BYTES, ..Kind::SHORT }, 0)
            }
            Content::Close(..) | Content::Reset(_) => (Kind::SHORT, 0),
            Content::Knock(..) | Content::Refusal(_) | Content::PortRefused => {
                (Kind { channel: Channel::Datagram, ..Kind::SHORT }, 0)
            }
        };
        let channel = kind.channel;
        let departs = self.network.depart(self.now.since_start(), from, channel, bytes);
        let Some(mut delay) = self.pass(from, to, kind) else {
            self.traffic.lost += 1;
            return;
        };
        let config = &self.network.config;
        if channel == Channel::Datagram {
            let (duplicate, reorder, hostile) = (config.duplicate, config.reorder, config.hostile);
            let reorder_by = config.reorder_by;
            if reorder > 0.0 && self.rng.random::<f64>() < reorder {
                delay += reorder_by.mul_f64(self.rng.random());
            }
            if duplicate > 0.0 && self.rng.random::<f64>() < duplicate {
                let second = delay + reorder_by.mul_f64(self.rng.random());
                self.arrive_in(departs + second, packet.clone());
            }
            if hostile > 0.0 && self.rng.random::<f64>() < hostile {
                let forged = self.forge(&packet);
                self.arrive_in(departs + delay, forged);
            }
        }
        self.arrive_in(departs + delay, packet);
    }

    fn arrive_in(&mut self, delay: Duration, packet: Packet) {
        self.queue.push(self.now + delay, Class::Arrival, Event::Arrival(Box::new(packet)));
    }

    fn pass(&mut self, from: HostId, to: HostId, kind: Kind) -> Option<Duration> {
        let zone = |host: HostId| (host, self.machines[host].zone);
        self.network.pass(&mut self.rng, zone(from), zone(to), kind)
    }

    /// The bytes of the headers of a packet.
    fn header(&self, channel: Channel) -> usize {
        match (self.protocol.transport(), channel) {
            (Transport::Quic, _) => QUIC_HEADER,
            (Transport::Udp, Channel::Datagram) => UDP_HEADER,
            (Transport::Udp, Channel::Stream) => TCP_HEADER,
        }
    }

    /// A copy with one to four bytes changed.
    fn forge(&mut self, packet: &Packet) -> Packet {
        let mut forged = packet.clone();
        if let Content::Message(_, _, payload) = &mut forged.content {
            let mut bytes = payload.to_vec();
            for _ in 0..self.rng.random_range(1..=4_u32) {
                if !bytes.is_empty() {
                    let place = self.rng.random_range(0..bytes.len());
                    bytes[place] = self.rng.random();
                }
            }
            *payload = bytes.into();
        }
        forged
    }

    /// Sends a stream. Repeats it with growing pauses while it is lost, until its connection ends.
    pub(super) fn try_stream(&mut self, mut packet: Packet, attempt: u32) {
        packet.from = self.machines.sender(packet.from.node, packet.from.host);
        let (from, to) = (packet.from, packet.to);
        let Content::Message(id, channel, ref payload) = packet.content else {
            return;
        };
        let is_tcp = id == ConnectionId(0);
        let sender = &self.machines[from.node];
        let is_kept = sender.connections.get(&to.node).is_some_and(|c| c.has(id));
        if sender.process.is_none() || !is_tcp && !is_kept || is_tcp && attempt > MAX_TCP_ATTEMPTS {
            return;
        }
        let longest = payload.len().min(PACKET_PAYLOAD) + self.header(channel);
        let kind = Kind { channel, is_handshake: is_tcp, bytes: longest };
        let there = self.network.loss(from.host, to.host, kind);
        let back = self.network.loss(to.host, from.host, Kind { bytes: 0, ..kind });
        let zones = (self.machines[from.host].zone, self.machines[to.host].zone);
        let round_trip = self.network.latency(zones.0, zones.1).median * 2;
        if there >= 1.0 || back >= 1.0 {
            let pause =
                ((round_trip * 3 + MAX_ACK_DELAY) * 2_u32.pow(attempt.min(10))).min(secs(2));
            let retry = Event::Retry(Box::new(packet), attempt + 1);
            self.queue.push(self.now + pause, Class::Timer, retry);
            return;
        }
        let bytes = payload.len();
        let packets = bytes.div_ceil(PACKET_PAYLOAD).max(1);
        let mut rounds = slow_start_rounds(packets);
        if is_tcp {
            rounds += 1;
        }
        let lost_rounds = self.lost_rounds(packets, there);
        let departs = self.network.depart(self.now.since_start(), from.host, channel, bytes);
        let sample = self.network.latency(zones.0, zones.1).sample(&mut self.rng);
        let recovery = (round_trip + MAX_ACK_DELAY) * lost_rounds;
        self.arrive_in(departs + sample + round_trip * rounds + recovery, packet);
    }

    /// The number of rounds in which some of these packets are lost again.
    fn lost_rounds(&mut self, packets: usize, loss: f64) -> u32 {
        if loss <= 0.0 {
            return 0;
        }
        let uniform: f64 = self.rng.random();
        let mut rounds = 0;
        let mut still_lost = loss;
        while libm::pow(1.0 - still_lost, packets as f64) < uniform && rounds < 50 {
            still_lost *= loss;
            rounds += 1;
        }
        rounds
    }

    /// Handles the arrival of a packet: the kernel answers it, the process gets it, or it waits.
    pub(super) fn arrive(&mut self, packet: Packet) {
        let mut host = &self.machines[packet.to.host];
        if host.state == HostState::Down {
            return;
        }
        if let Some(behind) = host.forwards_to {
            host = &self.machines[behind];
            if host.state == HostState::Down {
                return;
            }
        }
        let is_to_closed_port = matches!(packet.content, Content::Knock(_, Port::Closed));
        let Some(occupant) = host.occupant.filter(|_| !is_to_closed_port) else {
            return self.refuse(&packet);
        };
        let is_paused = host.pauses > 0;
        let node = &mut self.machines[occupant];
        if is_paused || node.pauses > 0 || node.blocked_until.is_some() {
            // A socket buffer is limited. Later packets are lost.
            if node.held.len() < MAX_HELD {
                node.held.push_back(packet);
            }
            return;
        }
        self.receive(occupant, packet);
    }
}

/// The round trips of slow start: 10 packets in the first, twice as many in each further one (RFC 9002 §7.2).
fn slow_start_rounds(packets: usize) -> u32 {
    packets.div_ceil(10).next_power_of_two().trailing_zeros()
}

/// Packets that wait for a paused process: about as many as a socket buffer holds.
const MAX_HELD: usize = 4_096;
/// The delay of an acknowledgement (RFC 9000 §18.2), which a repetition costs in addition to a round trip.
const MAX_ACK_DELAY: Duration = millis(25);
/// The packets that open a QUIC connection are padded to 1,200 bytes (RFC 9000 §14.1), plus the headers of IP and UDP.
const INITIAL_BYTES: usize = 1_200 + UDP_HEADER;
/// Attempts without an answer after which a TCP connection fails.
const MAX_TCP_ATTEMPTS: u32 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_start_doubles() {
        let rounds = [(1, 0), (10, 0), (11, 1), (20, 1), (21, 2), (40, 2), (2_000, 8)];
        for (packets, expected) in rounds {
            assert_eq!(slow_start_rounds(packets), expected, "{packets} packets");
        }
    }
}
