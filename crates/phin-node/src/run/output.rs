//! `--events`: writes each change of the membership to standard output.

use std::{io, time::Duration};

use phin::{Cluster, Departure, Notice};
use tokio::{task::JoinHandle, time::timeout};
use tracing::warn;

use crate::{
    changes::{Changes, Told},
    events::{Line, Own, What},
    lines::Lines,
    settings::EventFormat,
};

/// Writes changes at the pace of the reader. A slow reader gets the number of missed changes and the present list. If
/// the reader closes its end, writing stops. Neither delays the node.
pub(crate) struct Output {
    format: EventFormat,
    lines: Lines,
    task: JoinHandle<()>,
}

impl Output {
    /// Starts with a `joined` for each live member of the list, which includes this node.
    pub(crate) fn start(format: EventFormat, changes: Changes) -> Self {
        let lines = Lines::start(io::stdout());
        let task = tokio::spawn(write_changes(format, changes, lines.clone()));
        Self { format, lines, task }
    }

    /// Writes the remaining lines, the departure last, as far as the reader takes them within `limit`.
    pub(crate) async fn finish(self, departure: Option<Departure>, limit: Duration) {
        let Self { format, lines, mut task } = self;
        let rest = async {
            // The task ends once the node has stopped.
            let _ = (&mut task).await;
            if let Some(departure) = departure {
                let line = Line::now(What::Own(Own::Departed(departure)));
                let _ = lines.send(encode(format, &line)).await;
            }
        };
        if timeout(limit, rest).await.is_err() {
            task.abort();
            return;
        }
        let _ = tokio::task::spawn_blocking(move || lines.flush(limit)).await;
    }
}

async fn write_changes(format: EventFormat, changes: Changes, lines: Lines) {
    tokio::select! {
        // In this order, so that a closed output is noticed before the next change.
        biased;
        reason = lines.closed() => {
            warn!(reason, "changes are no longer written to standard output");
        }
        () = write_all(format, changes, &lines) => {}
    }
}

async fn write_all(format: EventFormat, mut changes: Changes, lines: &Lines) {
    while let Some(told) = changes.next().await {
        for line in lines_of(told, changes.cluster()) {
            if lines.send(encode(format, &line)).await.is_err() {
                // The task that waits for `closed` reports the reason.
                return std::future::pending().await;
            }
        }
    }
}

fn lines_of(told: Told, cluster: &Cluster) -> Vec<Line> {
    let notice = match told {
        Told::Notice(notice) => notice,
        Told::Isolated(is_isolated) => return vec![Line::now(What::isolation(is_isolated))],
    };
    match notice {
        Notice::Snapshot(members) => members
            .live()
            .map(|member| What::joined(member, members.version()))
            .map(Line::now)
            .collect(),
        Notice::Event { at, event } => vec![Line::of_event(at, &event, cluster)],
        Notice::Missed { events, members } => {
            vec![Line::now(What::missed(events)), Line::now(What::snapshot(&members))]
        }
        _ => Vec::new(),
    }
}

fn encode(format: EventFormat, line: &Line) -> Vec<u8> {
    match format {
        EventFormat::Json => line.to_json(),
        EventFormat::Text => line.to_text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_missed_changes_is_told_how_many_and_then_the_list() {
        let key = phin::ClusterKey::generate();
        let cluster = phin::Cluster::builder().name("n1").key(key).start().await.unwrap();
        let missed = Notice::Missed { events: 3, members: cluster.members() };
        let lines: Vec<_> =
            lines_of(Told::Notice(missed), &cluster).into_iter().map(|line| line.what).collect();
        let [
            What::Own(Own::Missed { events: 3 }),
            What::Own(Own::Snapshot { version: 0, members }),
        ] = &lines[..]
        else {
            panic!("{lines:?}");
        };
        assert_eq!((members.len(), members[0].name.as_str()), (1, "n1"));
    }
}
