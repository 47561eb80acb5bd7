//! Counters. Everything that is dropped silently is counted here. They only grow.

use crate::SendStats;

/// The counters of the core since its start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Pings sent, including retries and those for other members.
    pub pings_sent: u64,
    /// Pings whose reply did not come within the probe timeout.
    pub pings_missed: u64,
    /// Ping-reqs sent to helpers.
    pub ping_reqs_sent: u64,
    /// Helpers that sent not even a nack, while the subject stayed silent.
    pub nacks_missed: u64,
    /// Pings for operators, by all paths.
    pub operator_pings: u64,
    /// Pings for operators that were refused, because there were too many just now.
    pub operator_pings_refused: u64,
    /// Acks that arrived after their ping had ended.
    pub late_acks: u64,
    /// Answers about other members from members that were not asked; dropped.
    pub unasked_answers: u64,
    /// Claims that a silent member is alive, ignored because one member alone repeated them for too long.
    pub lone_words_ignored: u64,
    /// Suspicions and verdicts about this node that it refuted with a later incarnation.
    pub refutations: u64,
    /// Verdicts that declared this node dead and that it refuted; counted among the refutations too.
    pub deaths_refuted: u64,
    /// Suspicions and verdicts about this node that it does not refute, because it is degraded and evicted.
    pub refutations_held: u64,
    /// Changes of the flaws that this node states of itself, as most of its observers find them or no longer do.
    pub flaws_stated: u64,
    /// Checks of whether packets of full size pass on a link.
    pub size_checks: u64,
    /// Checks in which only the short packet was answered.
    pub size_checks_failed: u64,
    /// Packets of such checks that were not answered, because too many came.
    pub size_probes_refused: u64,
    /// Members declared dead because they were degraded for too long.
    pub evictions: u64,
    /// Members accused to their other observers.
    pub accusations: u64,
    /// Members pinged out of turn, because several subjects were silent at once.
    pub looks: u64,
    /// Members not suspected, because too many cases were open.
    pub cases_refused: u64,
    /// Verdicts of others that were neither accepted nor kept pending, because too many were pending.
    pub verdicts_refused: u64,
    /// Times that the timers of this node ran so late that it abstained from judging.
    pub stalls: u64,
    /// Updates that waited longer than the push delay, because the budget was spent.
    pub pushes_delayed: u64,
    /// Dead members pinged to find those that returned.
    pub redials: u64,
    /// Records of this node with a later version than its own, not answered at once because one just was: another
    /// process is using the same key.
    pub generation_conflicts: u64,
    /// Messages that could not be decoded; dropped whole.
    pub malformed_messages: u64,
    /// Messages of a wire version that this release does not speak; dropped whole.
    pub unknown_versions: u64,
    /// Parts of a message of a kind that this release does not know; skipped.
    pub unknown_parts: u64,
    /// Records whose signature is not their member's; dropped.
    pub forged_records: u64,
    /// Records whose id no accepted CA assigned, although that is required, or a CA that is not accepted; dropped.
    pub ids_not_accepted: u64,
    /// Records of a key to which their id was assigned before the key that is known for it; dropped.
    pub records_of_earlier_keys: u64,
    /// Votes of this node that it signed, as its own evidence sufficed for a verdict.
    pub votes_signed: u64,
    /// Signed votes whose signature is not their voter's; dropped.
    pub forged_votes: u64,
    /// Proofs of life that this node asked for: statements of others that a silent member lives need them where votes must
    /// be signed.
    pub proofs_asked: u64,
    /// Proofs of life that this node signed for others.
    pub proofs_signed: u64,
    /// Requests for proofs of life that exceed the budget of their sender; dropped.
    pub challenges_refused: u64,
    /// Proofs of life whose signature is not their subject's; dropped.
    pub forged_proofs: u64,
    /// Verdicts of others without the signed votes of a majority, where those are required: this node looked for itself.
    pub verdicts_unsigned: u64,
    /// Verdicts of others of which only the digest arrived, and which were asked for.
    pub verdicts_requested: u64,
    /// Records and signed votes not verified, because their sender had sent too many; dropped.
    pub records_over_budget: u64,
    /// Suspicions and verdicts of others ignored, because the member had refuted several lately.
    pub hearsay_ignored: u64,
    /// Members pinged before a verdict of others was accepted, because they had refuted lately.
    pub verdicts_examined: u64,
    /// Newcomers pinged before they were added, because many others had vanished without having been heard.
    pub newcomers_examined: u64,
    /// Members removed from the list early, because they were gone before this node heard them.
    pub ghosts_unlisted: u64,
    /// Requests to forget a dead member that were not followed at once.
    pub forgets_ignored: u64,
    /// Claims about unknown members, or unknown versions of them; dropped.
    pub unknown_subjects: u64,
    /// Messages from senders that are not in the list.
    pub unknown_senders: u64,
    /// New members refused, because the list was full.
    pub members_refused: u64,
    /// Joins answered with a request to come back, because there were too many at once.
    pub joins_busy: u64,
    /// Newcomers that the application did not admit.
    pub joins_refused: u64,
    /// Parts of messages of nodes that the application has not admitted yet; dropped.
    pub unadmitted_parts: u64,
    /// Forgotten members no longer remembered as such, because there were too many.
    pub forgotten_dropped: u64,
    /// Returns of members reported as suppressed, because they died and returned too often lately.
    pub returns_suppressed: u64,
    /// Deaths that added no penalty, because too many members died lately.
    pub flaps_ignored: u64,
    /// Updates no longer piggybacked, because too many were waiting.
    pub updates_dropped: u64,
    /// Ping-reqs not carried out, because too many were under way.
    pub relays_refused: u64,
    /// Exchanges of records not answered or not started, because too many were under way.
    pub exchanges_refused: u64,
    /// Exchanges of records started: after a join, because fingerprints differed, or because members died.
    pub exchanges_started: u64,
    /// Comparisons of data started, because fingerprints differed.
    pub data_comparisons: u64,
    /// Announcements of data of members that are not alive here in that run; ignored, as the list comes first.
    pub data_of_unknown_runs: u64,
    /// Requests for data not sent or not answered, because there were too many.
    pub data_requests_refused: u64,
    /// Data that is known already, or does not fit what is known; ignored.
    pub data_ignored: u64,
    /// Data that its owner did not sign; dropped.
    pub data_forged: u64,
    /// Data that exceeds a limit of this node; dropped.
    pub data_over_limit: u64,
    /// Messages that this node published.
    pub publications_sent: u64,
    /// Publications sent to members without being asked for: those of this node, and those passed on.
    pub publications_pushed: u64,
    /// Publications that had arrived already.
    pub publications_repeated: u64,
    /// Requests for publications that did not arrive by themselves.
    pub publications_requested: u64,
    /// Publications that never arrived; the application was informed.
    pub publications_missed: u64,
    /// Publications that gave way to later ones before 30 s, because there were too many to keep.
    pub publications_evicted: u64,
    /// Publications of members that are not in the list in that run; ignored, as the list comes first.
    pub publications_of_unknown_runs: u64,
    /// Publications that the named member did not sign; dropped.
    pub publications_forged: u64,
    /// Publications of a member that publishes too much, or from one that passes on too many; dropped.
    pub publications_over_budget: u64,
    /// Messages sent reliably, by how they ended.
    pub sends: SendStats,
    /// Messages for another run of this node; not delivered.
    pub messages_of_other_runs: u64,
    /// Answers to messages that this node did not send to that member, or that have ended; dropped.
    pub send_acks_ignored: u64,
    /// Queries of this node.
    pub queries_sent: u64,
    /// Queries for an earlier run of this node, or from an earlier one of the member; dropped.
    pub queries_of_other_runs: u64,
    /// Queries of a member that sends too many to this node alone; dropped.
    pub queries_over_budget: u64,
    /// Queries of others that gave way to later ones before their time, because there were too many.
    pub queries_evicted: u64,
    /// Answers of this node to queries.
    pub query_replies_sent: u64,
    /// Answers of others passed on to the member that asked.
    pub query_replies_passed: u64,
    /// Answers passed on and not kept, because there were too many: they are lost if the next member dies with them.
    pub query_replies_not_kept: u64,
    /// Answers to queries that are over or unknown, of members that were not asked, and those that came before; dropped.
    pub query_replies_ignored: u64,
    /// Answers that the named member did not sign; dropped.
    pub query_replies_forged: u64,
    /// Answers from a member that sends or passes on too many; dropped.
    pub query_replies_over_budget: u64,
    /// Answers to this node that exceed, together with those before, what a query takes; dropped.
    pub query_replies_over_limit: u64,
    /// Requests of candidates for an office, or for longer, those of this node itself included.
    pub office_asks: u64,
    /// Requests for new terms of a candidate that asked for too many; dropped.
    pub office_asks_over_budget: u64,
    /// Requests for an office that this node granted.
    pub office_asks_granted: u64,
    /// Requests for an office that this node refused, by reason.
    pub office_refusals: OfficeRefusals,
    /// Offices whose lease is over and that gave way to others, because there were too many.
    pub offices_forgotten: u64,
    /// Announcements of offices that are not followed, because there are too many.
    pub offices_not_followed: u64,
    /// Answers of members that were not asked for an office, or about terms that are over; dropped.
    pub office_answers_ignored: u64,
    /// Releases of terms that this node did not grant; dropped.
    pub office_releases_ignored: u64,
    /// Campaigns of this node for an office.
    pub office_campaigns: u64,
    /// Offices that this node took.
    pub offices_taken: u64,
    /// Offices that this node gave up or lost.
    pub offices_lost: u64,
    /// Offices taken that this node could not announce, because its data is full.
    pub office_announcements_refused: u64,
    /// Statements of administrators that took effect here.
    pub expulsions_taken: u64,
    /// Statements of administrators for other clusters, or signed with keys that are not admin keys here; dropped.
    pub expulsions_foreign: u64,
    /// Statements in the name of an administrator who did not sign them; dropped.
    pub expulsions_forged: u64,
    /// Statements of administrators refused, because there are too many.
    pub expulsions_refused: u64,
    /// Statements of administrators not verified, because their sender had sent too many; dropped.
    pub expulsions_over_budget: u64,
    /// Messages of members that are expelled; dropped.
    pub expelled_messages: u64,
    /// News about members that are expelled; dropped.
    pub expelled_news: u64,
    /// Answers that this node did not request, and messages from its own id; dropped.
    pub misdirected_messages: u64,
}

/// Requests for offices that were refused, by reason.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct OfficeRefusals {
    /// The rules do not name this node as a voter, or it leaves.
    pub no_voter: u64,
    /// The candidate is not alive here, or takes no work.
    pub unfit: u64,
    /// The lease of another candidate runs.
    pub held: u64,
    /// The lease of another candidate runs under other rules, or the lease asked for is too long.
    pub rules_differ: u64,
    /// This node was started, or the members changed, too recently.
    pub not_settled: u64,
    /// A term as high was granted, or the term is far too high.
    pub term: u64,
    /// More voters are known than expected.
    pub too_many_voters: u64,
    /// The leases of too many offices run.
    pub too_many_offices: u64,
}
