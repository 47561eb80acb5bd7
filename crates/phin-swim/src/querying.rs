//! [`Querying`]: the queries of this node, and the answers of its application to those of others.

use crate::{
    PublishError, QueryAnswer, QueryError, QueryId, QueryRequest, QueryToken, ReplyError,
    core::Core,
};

/// Asks the applications of members, and handles the answers of this node's own, at one moment
/// ([`Swim::querying`](crate::Swim::querying)).
pub struct Querying<'a> {
    pub(crate) core: &'a mut Core,
}

impl Querying<'_> {
    /// Asks the applications of members. Which members are asked is decided now: those that are live in the list and match the
    /// filter, this node perhaps among them. [`Output::QueryOutcome`](crate::Output::QueryOutcome) reports what became of each,
    /// and [`Output::QueryEnded`](crate::Output::QueryEnded) comes as soon as nothing more is to come. It counts as a
    /// publication, but is in no order with publications.
    ///
    /// # Errors
    /// The query exceeds a limit, or so many are under way; or it cannot be published: it is longer than allowed, this node
    /// published too much of late, or it has left the cluster.
    pub fn ask(self, request: &QueryRequest) -> Result<QueryId, QueryError> {
        let core = self.core;
        if core.departure.is_under_way() {
            return Err(PublishError::Left.into());
        }
        let expected = core.asker().expect(request)?;
        core.publishing.own.take(core.ctx.now, &core.ctx.params, request.body.len())?;
        let id = core.asker().ask(request, expected);
        core.run();
        Ok(id)
    }

    /// Ends a query of this node: no more outcomes come. Returns whether it was under way. The members that were asked do not
    /// learn of it.
    pub fn cancel(self, id: QueryId) -> bool {
        let was_under_way = self.core.asker().end(id);
        self.core.run();
        was_under_way
    }

    /// Handles the application's answer to a query ([`Output::Query`](crate::Output::Query)).
    ///
    /// # Errors
    /// The answer is longer than allowed, too late, or not the first.
    pub fn reply(self, token: QueryToken, answer: QueryAnswer) -> Result<(), ReplyError> {
        let result = self.core.replier().answer(token, answer);
        self.core.run();
        result
    }
}

impl std::fmt::Debug for Querying<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Querying").finish_non_exhaustive()
    }
}
