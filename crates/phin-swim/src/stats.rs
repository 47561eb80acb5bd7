//! Plain counters, one for everything that is dropped without a word. They only grow.

/// What the core counted since its start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Pings sent, retries and those on behalf of others included.
    pub pings_sent: u64,
    /// Pings whose reply did not come within the probe timeout.
    pub pings_missed: u64,
    /// Members asked to ping another for us.
    pub ping_reqs_sent: u64,
    /// Helpers that sent not even a nack, while nobody reached the member that they were asked about.
    pub nacks_missed: u64,
    /// Acks that came when nobody waited for them any more.
    pub late_acks: u64,
    /// Words that a member lives, or does not answer, from members that were not asked; dropped.
    pub unasked_answers: u64,
    /// Words that a member lives, ignored because one other member alone had said so for too long.
    pub lone_words_ignored: u64,
    /// Suspicions and verdicts about ourselves that we answered with a higher incarnation.
    pub refutations: u64,
    /// Verdicts on this member that it refuted: others had declared it dead. They count among the refutations.
    pub deaths_refuted: u64,
    /// Suspicions and verdicts about ourselves that we let stand for a while, as a degraded member that is evicted.
    pub refutations_held: u64,
    /// Members that we declared dead for being degraded too long.
    pub evictions: u64,
    /// Members we accused to their other observers.
    pub accusations: u64,
    /// Members pinged out of turn, because several of those that we observe were silent at once.
    pub looks: u64,
    /// Members not suspected, because too many cases were open.
    pub cases_refused: u64,
    /// Verdicts of others that were neither accepted nor kept pending, because too many were.
    pub verdicts_refused: u64,
    /// Times our own timers ran so late that we abstained from judging.
    pub stalls: u64,
    /// Urgent updates that waited longer than the push delay, because the budget was spent.
    pub pushes_delayed: u64,
    /// Dead members that were pinged, to find those that returned.
    pub redials: u64,
    /// Records of this node with a later version than its own, not answered at once because one just was: another process
    /// is using the same key.
    pub generation_conflicts: u64,
    /// Messages that could not be decoded; dropped whole.
    pub malformed_messages: u64,
    /// Messages of a wire version this release does not speak; dropped whole.
    pub unknown_versions: u64,
    /// Parts of a message of a kind this release does not know; skipped.
    pub unknown_parts: u64,
    /// Records whose signature is not their member's; dropped.
    pub forged_records: u64,
    /// Records not checked, because their teller had sent too many; dropped.
    pub records_over_budget: u64,
    /// Suspicions and verdicts of others ignored, because the member had refuted several of late.
    pub hearsay_ignored: u64,
    /// Members pinged before a verdict of others was believed, because they had refuted of late.
    pub verdicts_examined: u64,
    /// Newcomers pinged before they were taken in, because many others had vanished unheard.
    pub newcomers_examined: u64,
    /// Members taken out of the list early, because they were gone before they were heard here.
    pub ghosts_unlisted: u64,
    /// Words that a member was forgotten, not followed at once.
    pub forgets_ignored: u64,
    /// Claims about members, or versions of them, that we do not know; dropped.
    pub unknown_subjects: u64,
    /// Messages from members that are not in our list.
    pub unknown_senders: u64,
    /// New members not taken, because the list was full.
    pub members_refused: u64,
    /// Requests to join answered with a request to come back: too many at once.
    pub joins_busy: u64,
    /// Newcomers that the application did not admit.
    pub joins_refused: u64,
    /// Parts of messages of nodes that the application has yet to admit; dropped.
    pub unadmitted_parts: u64,
    /// Forgotten members no longer remembered as such, because there were too many.
    pub forgotten_dropped: u64,
    /// Returns of members not told to the application as such, because they died and returned too often lately.
    pub returns_suppressed: u64,
    /// Deaths that count for no penalty, because too many members died lately.
    pub flaps_ignored: u64,
    /// Updates no longer piggybacked, because too many were waiting.
    pub updates_dropped: u64,
    /// Ping-reqs not carried out, because too many were under way.
    pub relays_refused: u64,
    /// Exchanges of records not answered or not begun, because too many were under way.
    pub exchanges_refused: u64,
    /// Exchanges of records begun: after a join, because fingerprints differed, or because members died.
    pub exchanges_started: u64,
    /// Answers that nobody asked for, and messages of whoever has our own id; dropped.
    pub misdirected_messages: u64,
}
