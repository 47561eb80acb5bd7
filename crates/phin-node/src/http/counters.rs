//! All counters of a node, with the names and help texts of their metrics.

use phin::Stats;

/// Reads a counter from the statistics.
type Count = fn(&Stats) -> u64;

/// A counter and its metric.
pub(super) struct Counter {
    /// The name without the prefix `phin_` and the suffix `_total`.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) count: Count,
}

/// Names each metric after its part and field, so that either leads to the other.
macro_rules! counters {
    ($($part:ident.$field:ident: $help:literal,)+) => {
        &[$(Counter {
            name: concat!(stringify!($part), "_", stringify!($field)),
            help: $help,
            count: |stats| stats.$part.$field,
        }),+]
    };
}

pub(super) const COUNTERS: &[Counter] = counters! {
    swim.pings_sent: "Pings sent, including retries and those for other members",
    swim.pings_missed: "Pings whose reply did not come within the probe timeout",
    swim.ping_reqs_sent: "Ping-reqs sent to helpers",
    swim.nacks_missed: "Helpers that sent not even a nack, while the subject stayed silent",
    swim.late_acks: "Acks that arrived after their ping had ended",
    swim.unasked_answers: "Answers about other members from members that were not asked; dropped",
    swim.lone_words_ignored: "Claims that a silent member is alive, ignored because one member alone repeated them for too long",
    swim.refutations: "Suspicions and verdicts about this node that it refuted with a later incarnation",
    swim.deaths_refuted: "Verdicts that declared this node dead and that it refuted; counted among the refutations too",
    swim.refutations_held: "Suspicions and verdicts about this node that it does not refute, because it is degraded and evicted",
    swim.evictions: "Members declared dead because they were degraded for too long",
    swim.accusations: "Members accused to their other observers",
    swim.looks: "Members pinged out of turn, because several subjects were silent at once",
    swim.cases_refused: "Members not suspected, because too many cases were open",
    swim.verdicts_refused: "Verdicts of others that were neither accepted nor kept pending, because too many were pending",
    swim.generation_conflicts: "Records with a newer generation for this node's key, not answered at once: another process is using the same key",
    swim.redials: "Dead members pinged to find those that returned",
    swim.stalls: "Times that the timers of this node ran so late that it abstained from judging",
    swim.pushes_delayed: "Updates that waited longer than the push delay, because the budget was spent",
    swim.malformed_messages: "Messages that could not be decoded; dropped",
    swim.unknown_versions: "Messages of a wire version that this release does not speak; dropped",
    swim.unknown_parts: "Parts of a message of a kind that this release does not know; skipped",
    swim.forged_records: "Records whose signature is not their member's; dropped",
    swim.records_over_budget: "Records not verified, because their sender had sent too many; dropped",
    swim.hearsay_ignored: "Suspicions and verdicts of others ignored, because the member had refuted several lately",
    swim.verdicts_examined: "Members pinged before a verdict of others was accepted, because they had refuted lately",
    swim.newcomers_examined: "Newcomers pinged before they were added, because many others had vanished unheard",
    swim.ghosts_unlisted: "Members taken out of the list early, because they were gone before this node heard them",
    swim.forgets_ignored: "Requests to forget a dead member that were not followed at once",
    swim.unknown_subjects: "Claims about unknown members, or unknown versions of them; dropped",
    swim.unknown_senders: "Messages from senders that are not in the list",
    swim.members_refused: "New members refused, because the list was full",
    swim.joins_busy: "Joins answered with a request to come back, because there were too many at once",
    swim.joins_refused: "Newcomers that the application did not admit",
    swim.unadmitted_parts: "Parts of messages of nodes that the application has not admitted yet; dropped",
    swim.forgotten_dropped: "Forgotten members no longer remembered as such, because there were too many",
    swim.returns_suppressed: "Returns of members reported as suppressed, because they died and returned too often lately",
    swim.flaps_ignored: "Deaths that added no penalty, because too many members died lately",
    swim.updates_dropped: "Updates no longer piggybacked, because too many were waiting",
    swim.relays_refused: "Ping-reqs not carried out, because too many were under way",
    swim.exchanges_refused: "Exchanges of records not answered or not started, because too many were under way",
    swim.exchanges_started: "Exchanges of records started: after a join, because fingerprints differed, or because members died",
    swim.data_comparisons: "Comparisons of member data started, because fingerprints differed",
    swim.data_of_unknown_runs: "Announcements of data of members that are not alive here in that run; ignored",
    swim.data_requests_refused: "Requests for member data not sent or not answered, because there were too many",
    swim.data_ignored: "Member data that was known already, or did not fit what was known; ignored",
    swim.data_forged: "Member data that its owner did not sign; dropped",
    swim.data_over_limit: "Member data that exceeds a limit of this node; dropped",
    swim.misdirected_messages: "Answers that this node did not request, and messages from its own id; dropped",
    swim.publications_sent: "Messages to all members that this node published",
    swim.publications_pushed: "Messages to all members sent without being asked for: those of this node, and those passed on",
    swim.publications_repeated: "Messages to all members that had arrived already",
    swim.publications_requested: "Requests for messages to all members that did not arrive by themselves",
    swim.publications_missed: "Messages to all members that never arrived; the application was told",
    swim.publications_evicted: "Messages to all members that gave way to later ones before 30 s, because there were too many to keep",
    swim.publications_of_unknown_runs: "Messages to all members of a member that is not in the list in that run; ignored",
    swim.publications_forged: "Messages to all members that the named member did not sign; dropped",
    swim.publications_over_budget: "Messages to all members of one that publishes too many, or passes on too many; dropped",
    swim.messages_of_other_runs: "Messages for another run of this node; not delivered",
    swim.send_acks_ignored: "Answers to messages that this node did not send to that member, or that have ended; dropped",
    transport.datagrams_sent: "Datagrams given to QUIC",
    transport.datagram_bytes_sent: "Bytes of datagrams given to QUIC",
    transport.datagrams_received: "Datagrams received",
    transport.datagram_bytes_received: "Bytes of datagrams received",
    transport.streams_sent: "Streams begun",
    transport.stream_bytes_sent: "Bytes sent on streams",
    transport.streams_received: "Streams received whole",
    transport.stream_bytes_received: "Bytes received on streams",
    transport.datagrams_sent_as_streams: "Messages too large for a datagram, sent on a stream",
    transport.dials: "Dials begun",
    transport.dials_failed: "Dials that did not reach the intended peer",
    transport.connections_accepted: "Connections that peers made",
    transport.connections_dialled: "Connections that this node made",
    transport.connections_superseded: "Connections that lost to another one to the same peer",
    transport.connections_turned_away: "Connections turned away because there were too many",
    transport.handshakes_abandoned: "Incoming handshakes that did not end in time or broke off",
    transport.ports_refused: "Packets that a host refused because no process has the port",
    transport.paths_lost: "Connections given up because no reply came, a gateway refused the packets, or this host's address changed",
    transport.ports_refused_doubtful: "Refusals ignored, because they quote no recent packet of this node",
    transport.retries_demanded: "Incoming connections asked to prove their address first",
    transport.first_packets_dropped_unproven: "First packets of unknown addresses dropped unread, beyond a limit",
    transport.first_packets_dropped_proven: "First packets of addresses that answered a Retry dropped unread, beyond a limit",
    transport.first_packets_dropped_known: "First packets of members' addresses dropped unread, beyond a limit",
    transport.handshakes_over_budget: "Incoming handshakes ignored because too many had failed",
    transport.datagrams_dropped_receive_queue: "Datagrams dropped: receive queue full",
    transport.datagrams_dropped_receive_buffer: "Datagrams dropped: receive buffer full",
    transport.datagrams_dropped_send_buffer: "Datagrams dropped: send buffer full",
    transport.datagrams_dropped_pending: "Datagrams dropped: too many wait for a dial",
    transport.datagrams_dropped_unreachable: "Datagrams dropped: their peer cannot be reached",
    transport.datagrams_dropped_connection_lost: "Datagrams dropped: their connection broke",
    transport.streams_failed: "Streams that failed at this node's side",
    transport.streams_too_long: "Incoming streams stopped because of their length",
    transport.streams_timed_out: "Incoming streams stopped because they did not end in time",
    transport.streams_broken_off: "Incoming streams that the peer broke off",
    transport.dropped_after_close: "Messages and events dropped because the transport was closed",
    transport.events_dropped: "Events dropped because the receiver fell far behind",
    transport.udp_packets_sent: "UDP packets sent",
    transport.udp_bytes_sent: "Bytes of UDP packets sent, without headers",
    transport.udp_packets_received: "UDP packets received",
    transport.udp_bytes_received: "Bytes of UDP packets received, without headers",
    driver.wakes: "Times the node woke",
    driver.pauses: "Times the node woke so late that it counts as a pause",
    driver.events_missed: "Changes that slow subscribers did not receive individually",
    driver.messages_received: "Messages of members that arrived for this node's application",
    driver.messages_dropped: "Messages that a subscription had no room for: dropped, or refused",
    driver.messages_coalesced: "Messages that a later one with the same key replaced before they were read",
    driver.messages_unclaimed: "Messages of topics that nobody subscribes to",
    driver.phi_crossings_missed: "Crossings of a phi threshold that slow subscribers did not receive",
    driver.addresses_alternating: "Changes of a member's address back to the previous one: two processes may have its key",
    driver.generations_not_kept: "Generations not written to the data directory, because writing failed",
    driver.hosts_not_asked: "Questions to hosts not asked: too many under way, or the host's budget spent",
    driver.outsiders_dropped: "Messages dropped because their senders, which have the key but are not members, had sent too much lately",
    driver.peers_not_kept: "Failed writes of the known peers to the data directory",
    driver.data_not_kept: "Failed writes of this node's member data to the data directory",
};

/// Gauges: the name without the prefix, the help, and the value.
pub(super) const GAUGES: &[(&str, &str, Count)] = &[
    ("transport_connections", "Peers with a connection", |stats| stats.transport.connections),
    (
        "transport_connections_draining",
        "Connections that lost to another one and are kept a moment longer",
        |stats| stats.transport.connections_draining,
    ),
];

/// Refused handshakes: the reason and the count.
pub(super) const REFUSALS: &[(&str, Count)] = &[
    ("wrong_key", |stats| stats.transport.refusals.wrong_key),
    ("other_cluster", |stats| stats.transport.refusals.other_cluster),
    ("certificate_expired", |stats| stats.transport.refusals.certificate_expired),
    ("certificate_not_yet_valid", |stats| stats.transport.refusals.certificate_not_yet_valid),
    ("not_phin", |stats| stats.transport.refusals.not_phin),
    ("full", |stats| stats.transport.refusals.full),
    ("other", |stats| stats.transport.refusals.other),
];

/// Messages sent reliably: the outcome and the count.
pub(super) const SENDS: &[(&str, Count)] = &[
    ("taken", |stats| stats.swim.sends.taken),
    ("restarted", |stats| stats.swim.sends.restarted),
    ("dead", |stats| stats.swim.sends.dead),
    ("left", |stats| stats.swim.sends.left),
    ("forgotten", |stats| stats.swim.sends.forgotten),
    ("queue_full", |stats| stats.swim.sends.queue_full),
    ("no_receiver", |stats| stats.swim.sends.no_receiver),
    ("timed_out", |stats| stats.swim.sends.timed_out),
    ("unreachable", |stats| stats.swim.sends.unreachable),
    ("refused", |stats| stats.swim.sends.refused),
];
