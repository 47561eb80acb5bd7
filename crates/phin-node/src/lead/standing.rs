//! [`Standing`]: asks the node again and again to stand for the office, and learns for how long the node holds it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use phin::{Office, Term};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, spawn_blocking},
    time::sleep,
};

use super::guard::now;
use crate::{
    client::{Client, RequestError},
    leader::path,
    office::{CandidacyRequest, Holder, OfficeLine},
};

/// The requests of one program that stands for an office.
pub(super) struct Standing {
    client: Arc<Client>,
    path: String,
    session: String,
    task: AbortHandle,
}

/// The answer of the node.
pub(super) enum Answer {
    /// It holds the office in this term, until then on the clock of [`now`].
    Holds {
        token: Term,
        until: u64,
    },
    /// It does not hold the office.
    Waits(OfficeLine),
    Failed(RequestError),
}

impl Standing {
    /// Asks at once, and then every [`INTERVAL`].
    pub(super) fn start(
        client: Client,
        office: &Office,
        voters: phin::Filter,
        expected: Option<u16>,
    ) -> (Self, mpsc::Receiver<Answer>) {
        let (client, path) = (Arc::new(client), path(office, "/candidacy"));
        let session = session();
        let request =
            CandidacyRequest { session: session.clone(), voters: voters.to_string(), expected };
        let (answers, receiver) = mpsc::channel(1);
        let asking = ask(Arc::clone(&client), path.clone(), request, answers);
        let task = tokio::spawn(asking).abort_handle();
        (Self { client, path, session, task }, receiver)
    }

    /// Gives the office up. If the node does not answer, the session ends by itself within seconds.
    pub(super) async fn resign(self) {
        let Self { client, path, session, task } = self;
        task.abort();
        let request = spawn_blocking(move || {
            client.delete::<OfficeLine>(&format!("{path}?session={session}"))
        });
        let _ = tokio::time::timeout(MAX_RESIGN_TIME, request).await;
    }
}

async fn ask(
    client: Arc<Client>,
    path: String,
    request: CandidacyRequest,
    answers: mpsc::Sender<Answer>,
) {
    loop {
        let (client, path, request) = (Arc::clone(&client), path.clone(), request.clone());
        // Before the request: however late the answer arrives, it is not taken for later than it is.
        let asked_at = now();
        let asked = spawn_blocking(move || client.put::<OfficeLine>(&path, &request)).await;
        let answer = match asked {
            Ok(Ok(line)) => of_line(line, asked_at),
            Ok(Err(error)) => Answer::Failed(error),
            // The runtime ends.
            Err(_) => return,
        };
        if answers.send(answer).await.is_err() {
            return;
        }
        sleep(INTERVAL).await;
    }
}

fn of_line(line: OfficeLine, asked_at: u64) -> Answer {
    match line.holder {
        Holder::Holding { token, valid_for_ms } => {
            let valid_for = Duration::from_millis(valid_for_ms).as_nanos();
            let valid_for = u64::try_from(valid_for).unwrap_or(u64::MAX);
            Answer::Holds { token, until: asked_at.saturating_add(valid_for) }
        }
        Holder::Following { .. } | Holder::Vacant { .. } => Answer::Waits(line),
    }
}

/// A name that no other program has at this node.
fn session() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), since.as_nanos())
}

/// How often the node is asked: several times within a lease.
const INTERVAL: Duration = Duration::from_millis(250);
const MAX_RESIGN_TIME: Duration = Duration::from_secs(2);
