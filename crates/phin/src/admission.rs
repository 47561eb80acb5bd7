//! The application's word on newcomers: asked off the driver's path, one task each, and always answered in time.

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use phin_swim::{Generation, MemberId, Peer, Record};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tracing::{error, info, warn};

/// A node that asks to be admitted to the cluster: its own signed statement, and the address that it is seen at.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Newcomer {
    /// Its id, as proved by its connection.
    pub id: MemberId,
    /// Its display name, as it says.
    pub name: String,
    /// Where others are to reach it, as it says; nobody has tried yet.
    pub addrs: Vec<SocketAddr>,
    /// Which run of its process it is.
    pub generation: Generation,
    /// Whence its connection comes.
    pub seen_at: SocketAddr,
}

/// The application's word on a newcomer: let it in, or the reason why not.
pub(crate) type Decision = Result<(), String>;

/// The deciding function, callable from any task.
#[derive(Clone)]
pub(crate) struct Hook(Arc<dyn Fn(Newcomer) -> Deciding + Send + Sync>);

type Deciding = Pin<Box<dyn Future<Output = Decision> + Send>>;

impl Hook {
    pub(crate) fn new<F, D>(decide: F) -> Self
    where
        F: Fn(Newcomer) -> D + Send + Sync + 'static,
        D: Future<Output = Decision> + Send + 'static,
    {
        Self(Arc::new(move |newcomer| Box::pin(decide(newcomer))))
    }
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook(..)")
    }
}

/// The decisions under way, of which the protocol bounds the number. Dropping it ends them.
pub(crate) struct Decisions {
    hook: Option<Hook>,
    tasks: JoinSet<()>,
    decided: mpsc::Sender<(MemberId, Decision)>,
    decisions: mpsc::Receiver<(MemberId, Decision)>,
}

impl Decisions {
    pub(crate) fn new(hook: Option<Hook>) -> Self {
        let (decided, decisions) = mpsc::channel(DECISIONS);
        Self { hook, tasks: JoinSet::new(), decided, decisions }
    }

    /// Puts a newcomer to the application, on a task of its own.
    pub(crate) fn ask(&mut self, from: Peer, record: &Record) {
        self.ask_about(Newcomer {
            id: from.id,
            name: record.name().to_owned(),
            addrs: record.addrs().collect(),
            generation: record.version().generation,
            seen_at: from.addr,
        });
    }

    fn ask_about(&mut self, newcomer: Newcomer) {
        while self.tasks.try_join_next().is_some() {}
        let Some(Hook(decide)) = self.hook.clone() else {
            return;
        };
        let (id, name, decided) = (newcomer.id, newcomer.name.clone(), self.decided.clone());
        self.tasks.spawn(async move {
            // A set of its own, so that the decision is ended with this task, and its panic stays in it.
            let mut decision = JoinSet::new();
            decision.spawn(async move { decide(newcomer).await });
            let answer = timeout(MAX_DECISION_TIME, decision.join_next()).await;
            let answer = answer.ok().map(|ended| ended.and_then(Result::ok));
            let decision = conclude(id, &name, answer);
            // An error means that the node has stopped.
            let _ = decided.send((id, decision)).await;
        });
    }

    /// The next decision.
    pub(crate) async fn next(&mut self) -> (MemberId, Decision) {
        self.decisions.recv().await.expect("the other end is in the same struct")
    }

    /// The next decision, if there is one.
    pub(crate) fn try_next(&mut self) -> Option<(MemberId, Decision)> {
        self.decisions.try_recv().ok()
    }
}

/// The answer to the newcomer; a node that was refused may ask again. `None` is an answer that did not come in time,
/// and `Some(None)` a panic.
fn conclude(id: MemberId, name: &str, answer: Option<Option<Decision>>) -> Decision {
    match answer {
        Some(Some(Ok(()))) => Ok(()),
        Some(Some(Err(reason))) => {
            info!(member = %id, name, reason, "a newcomer was not admitted");
            Err(reason)
        }
        Some(None) => {
            error!(member = %id, name, "the admission hook panicked; the newcomer is refused");
            Err("the application failed to decide".to_owned())
        }
        None => {
            warn!(member = %id, name, "the admission hook took too long; the newcomer is refused");
            Err(format!("the application did not decide within {MAX_DECISION_TIME:?}"))
        }
    }
}

/// How many decisions wait for the driver; who decided further ones waits too.
pub(crate) const DECISIONS: usize = 64;
/// How long the application may take for one newcomer: less than a joiner waits.
const MAX_DECISION_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(decisions: &mut Decisions) {
        let newcomer = Newcomer {
            id: MemberId([7; 16]),
            name: "n7".to_owned(),
            addrs: vec![([10, 0, 0, 7], 7_646).into()],
            generation: Generation(1),
            seen_at: ([10, 0, 0, 7], 40_000).into(),
        };
        decisions.ask_about(newcomer);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hook_that_does_not_decide_refuses_in_time() {
        let mut decisions = Decisions::new(Some(Hook::new(|_| std::future::pending())));
        ask(&mut decisions);
        let began = tokio::time::Instant::now();
        let (id, decision) = decisions.next().await;
        assert_eq!((id, began.elapsed()), (MemberId([7; 16]), MAX_DECISION_TIME));
        assert!(decision.unwrap_err().contains("did not decide within 5s"));
    }

    #[tokio::test]
    async fn a_hook_that_panics_refuses() {
        async fn fail(_: Newcomer) -> Decision {
            panic!("as it is to")
        }
        fn fail_at_once(_: Newcomer) -> std::future::Ready<Decision> {
            panic!("as it is to")
        }
        for hook in [Hook::new(fail), Hook::new(fail_at_once)] {
            let mut decisions = Decisions::new(Some(hook));
            ask(&mut decisions);
            assert!(decisions.next().await.1.unwrap_err().contains("failed to decide"));
        }
    }

    #[tokio::test]
    async fn decisions_end_with_their_node() {
        let (sender, mut ended) = mpsc::channel::<()>(1);
        let hook = Hook::new(move |_| {
            let sender = sender.clone();
            async move {
                sender.closed().await;
                Ok(())
            }
        });
        let mut decisions = Decisions::new(Some(hook));
        ask(&mut decisions);
        tokio::task::yield_now().await;
        drop(decisions);
        // Every sender is gone: the one of the hook, and that of the decision under way.
        assert!(ended.recv().await.is_none());
    }
}
