//! Requests to the driver.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use phin_swim::{
    AdminStatement, HostAnswer, Instant, JoinRefusal, MemberId, Office, OfficeRules, PathPing,
    Peer, PingRefusal, QueryError as QueryRefusal, QueryId, QueryOutcome, QueryRequest,
    SendFailure, SendRefusal, SendRequest, Swim,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    AdminPublicKey, Departure, PhiSubscription, StandError, Stats, SubscribePhiError,
    admin::ExpelResult,
};

/// A request of a handle, or of a task beside the driver. Replies that nobody waits for any more are dropped.
#[derive(Debug)]
pub(crate) enum Command {
    Join {
        through: Peer,
        after_leaving: AfterLeaving,
        reply: oneshot::Sender<JoinResult>,
    },
    /// This host's address, or that of the advertised name, has changed to this one.
    Moved {
        addr: SocketAddr,
    },
    Ask(Question),
}

/// A request of a handle, with the reply to it.
pub(crate) struct Question(Box<Ask>);

type Ask = dyn FnOnce(&mut dyn Node, Instant) + Send;

/// The node, as a question sees it.
pub(crate) trait Node {
    fn swim(&mut self) -> &mut Swim;
    fn stats(&self) -> Stats;
    fn watch_phi(&mut self, id: MemberId, threshold: f64) -> WatchPhiResult;
    /// Sends a message; its outcome arrives in the channel.
    fn send(
        &mut self,
        now: Instant,
        request: SendRequest,
        deadline: Duration,
    ) -> Result<oneshot::Receiver<SendOutcome>, SendRefusal>;
    /// Asks members; what becomes of them arrives in the channel.
    fn query(
        &mut self,
        now: Instant,
        request: &QueryRequest,
    ) -> Result<(QueryId, mpsc::Receiver<QueryEvent>), QueryRefusal>;
    /// Pings a member by all paths; the outcomes arrive in the channels.
    fn ping(
        &mut self,
        now: Instant,
        member: MemberId,
        timeout: Duration,
    ) -> Result<PingAnswers, PingRefusal>;
    /// Stands for an office, until what it returns is dropped.
    fn stand(
        &mut self,
        now: Instant,
        office: Office,
        rules: OfficeRules,
    ) -> Result<Arc<()>, StandError>;
    /// Stands for an office no longer.
    fn resign(&mut self, now: Instant, office: &Office);
    /// Takes a statement of an administrator. Returns what tells when it is kept, if it is.
    fn expel(&mut self, now: Instant, statement: AdminStatement) -> ExpelResult;
    /// Follows the statements of these keys, and no others.
    fn set_admin_keys(&mut self, now: Instant, keys: &[AdminPublicKey]);
    /// Announces the id that a renewed certificate assigns, which is the same.
    fn renew_id(&mut self, now: Instant);
    /// Begins to leave, or finds the departure that has begun.
    fn leave(&mut self, now: Instant) -> watch::Receiver<Departure>;
    /// Sends and publishes what a question changed, so that the caller finds it in the list.
    fn settle(&mut self);
    /// Advertises an address that the application chose.
    fn advertise(&mut self, now: Instant, addr: SocketAddr);
}

/// A request about a query.
#[derive(Debug)]
pub(crate) enum QueryEvent {
    Outcome(MemberId, QueryOutcome),
    Ended,
}

/// The outcomes of a ping by all paths.
#[derive(Debug)]
pub(crate) struct PingAnswers {
    pub(crate) paths: oneshot::Receiver<Vec<PathPing>>,
    /// The answer of the member's host, and after how long; `None` if it is not asked.
    pub(crate) host: Option<oneshot::Receiver<(HostAnswer, Duration)>>,
}

pub(crate) type JoinResult = Result<(), NotJoined>;
pub(crate) type SendOutcome = Result<(), SendFailure>;
pub(crate) type WatchPhiResult = Result<PhiSubscription, SubscribePhiError>;

/// The answer to a join of a node that has left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AfterLeaving {
    /// It returns: the application asks for it.
    Return,
    /// It stays away: a seed's answer came after the application had asked to leave.
    StayAway,
}

/// Why the driver did not get this node in.
#[derive(Debug)]
pub(crate) enum NotJoined {
    Refused(JoinRefusal),
    Leaving,
    /// The connection was lost.
    Lost,
}

impl Question {
    /// A question, and where its answer arrives.
    pub(crate) fn new<T: Send + 'static>(
        question: impl FnOnce(&mut dyn Node, Instant) -> T + Send + 'static,
    ) -> (Self, oneshot::Receiver<T>) {
        let (reply, answer) = oneshot::channel();
        let ask = move |node: &mut dyn Node, now| {
            // An error means that the caller has gone; what it asked for is done.
            let _ = reply.send(question(node, now));
        };
        (Self(Box::new(ask)), answer)
    }

    pub(crate) fn put(self, node: &mut dyn Node, now: Instant) {
        (self.0)(node, now);
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Question")
    }
}

/// The most commands that wait for the driver; who comes later waits too.
pub(crate) const COMMANDS: usize = 64;
