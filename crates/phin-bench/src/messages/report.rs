//! The report on messages and queries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Amid, Cost, Document, Machine, MessageRow, Queries,
    data::traffic,
    document::{
        Column, csv, ending, failures, fine_median, fine_time, finite, number, quantile, table,
    },
};

/// All that one command measured of messages.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct MessageReport {
    /// The command.
    pub command: String,
    /// The length of each message, query and reply.
    pub bytes: u16,
    /// How nodes were killed.
    pub kill: String,
    /// Whether they were killed while a query was under way, rather than just before it.
    pub is_meanwhile: bool,
    /// The machine.
    pub machine: Machine,
    /// The settings of each system, by its name.
    pub settings: BTreeMap<String, String>,
    /// The measurements, by system and size.
    pub rows: Vec<MessageRow>,
}

impl Document for MessageReport {
    fn command(&mut self) -> &mut String {
        &mut self.command
    }

    fn markdown(&self) -> String {
        let bytes = self.bytes;
        let mut text = format!(
            "# Messages of real nodes\n\nMessages, queries and replies are of {bytes} random letters and digits. Nodes share a \
             process, unless their system has a process for each node, or they are to be killed. They started one after the other \
             at random moments. Times are those of one monotonic clock. Costs are those of one node, packets and bytes of all \
             protocols between nodes as sent, headers of IP counted. In brackets the 95 % confidence interval of the median.\n"
        );
        if self.rows.iter().any(|row| row.single.is_some()) {
            text += &format!("\n{}{}", MESSAGES, self.message_table());
            text += &format!("\n{}{}", QUERIES, self.query_table());
        }
        if self.rows.iter().any(|row| row.amid.is_some()) {
            text += &format!("\n{}{}", self.amid_heading(), self.amid_table());
        }
        text += &failures(self.rows.iter().map(|row| (&*row.system, row.members, &row.failure)));
        text + &ending(&self.settings, &self.machine, "", &self.command)
    }

    fn csv(&self) -> String {
        let first = |row: &MessageRow| vec![row.system.clone(), self.bytes.to_string()];
        csv(&["system", "bytes"], first, COLUMNS, &self.rows)
    }
}

impl MessageReport {
    fn message_table(&self) -> String {
        let headings = [
            "system",
            "members",
            "messages",
            "half have it, median",
            "all have it, median",
            "p90",
            "longest",
            "not received by all",
            "received twice",
            "out of order",
            "bytes for each message",
            "packets for each message",
            "idle bytes/s",
            "idle packets/s",
        ];
        let cells = |row: &MessageRow| {
            let single = row.single.clone().unwrap_or_default();
            let mut cells = vec![row.system.clone(), row.members.to_string()];
            cells.extend([
                single.changes.to_string(),
                fine_time(quantile(&single.half_ms, 0.5)),
                fine_median(&single.all_ms),
                fine_time(quantile(&single.all_ms, 0.9)),
                fine_time(quantile(&single.all_ms, 1.0)),
                single.incomplete().to_string(),
            ]);
            cells.push(row.faults.repeated.to_string());
            cells.push(row.faults.disordered.to_string());
            cells.push(number(row.for_each_message(|cost| cost.bytes_per_second), 0));
            cells.push(number(row.for_each_message(|cost| cost.packets_per_second), 1));
            cells.extend(traffic(row.idle.as_ref()));
            cells
        };
        table(&headings, self.rows.iter().map(cells))
    }

    fn query_table(&self) -> String {
        let headings = [
            "system",
            "members",
            "queries",
            "last reply, median",
            "p90",
            "longest",
            "query ends, median",
            "longest",
            "not answered by all",
            "bytes for each query",
            "packets for each query",
            "false deaths",
        ];
        let cells = |row: &MessageRow| {
            let queries = row.queries.clone().unwrap_or_default();
            vec![
                row.system.clone(),
                row.members.to_string(),
                queries.ended_ms.len().to_string(),
                fine_median(&queries.replied_ms),
                fine_time(quantile(&queries.replied_ms, 0.9)),
                fine_time(quantile(&queries.replied_ms, 1.0)),
                fine_time(quantile(&queries.ended_ms, 0.5)),
                fine_time(quantile(&queries.ended_ms, 1.0)),
                queries.incomplete().to_string(),
                number(row.for_each_query(|cost| cost.bytes_per_second), 0),
                number(row.for_each_query(|cost| cost.packets_per_second), 1),
                row.false_deaths.to_string(),
            ]
        };
        table(&headings, self.rows.iter().map(cells))
    }

    fn amid_heading(&self) -> String {
        let killed = match &*self.kill {
            "silent" => "hosts fell silent",
            _ => "processes were killed",
        };
        let when = match self.is_meanwhile {
            true => {
                "at random moments after the query was asked. The members that were to die did not reply"
            }
            false => "just before the query",
        };
        format!(
            "## Queries amid deaths\n\nMembers whose {killed} {when}. *Asker knows*: from the last death until the list of the member \
             that asked had all of them dead. *Query ends*: from the last death until the query ended. *Named*: how many of \
             the dead the query named as dead, in all, and how many as something else.\n\n"
        )
    }

    fn amid_table(&self) -> String {
        let headings = [
            "system",
            "members",
            "deaths for each query",
            "queries",
            "asker knows, median",
            "longest",
            "query ends, median",
            "p90",
            "longest",
            "query lasts, median",
            "named dead",
            "named otherwise",
            "living without a reply",
            "false deaths",
        ];
        let cells = |row: &MessageRow| {
            let amid = row.amid.clone().unwrap_or_default();
            vec![
                row.system.clone(),
                row.members.to_string(),
                amid.deaths.to_string(),
                amid.ended_ms.len().to_string(),
                fine_median(&amid.known_ms),
                fine_time(quantile(&amid.known_ms, 1.0)),
                fine_median(&amid.ended_ms),
                fine_time(quantile(&amid.ended_ms, 0.9)),
                fine_time(quantile(&amid.ended_ms, 1.0)),
                fine_time(quantile(&amid.lasted_ms, 0.5)),
                format!("{} of {}", amid.named, amid.deaths * amid.ended_ms.len()),
                amid.misnamed.to_string(),
                amid.lacking.to_string(),
                row.false_deaths.to_string(),
            ]
        };
        table(&headings, self.rows.iter().filter(|row| row.amid.is_some()).map(cells))
    }
}

impl MessageRow {
    fn for_each_message(&self, a_second: fn(&Cost) -> Option<f64>) -> Option<f64> {
        self.single.as_ref()?.for_each_change(self.idle.as_ref()?, a_second)
    }

    fn for_each_query(&self, a_second: fn(&Cost) -> Option<f64>) -> Option<f64> {
        let queries = self.queries.as_ref()?;
        queries.cost.for_each(queries.ended_ms.len(), self.idle.as_ref()?, a_second)
    }

    fn of_single(&self, samples: fn(&crate::Spread) -> &Vec<f64>, share: f64) -> Option<f64> {
        finite(quantile(samples(self.single.as_ref()?), share))
    }

    fn of_queries(&self, samples: fn(&Queries) -> &Vec<f64>, share: f64) -> Option<f64> {
        finite(quantile(samples(self.queries.as_ref()?), share))
    }

    fn of_amid(&self, samples: fn(&Amid) -> &Vec<f64>, share: f64) -> Option<f64> {
        finite(quantile(samples(self.amid.as_ref()?), share))
    }
}

/// The columns of CSV after system and bytes; a value that is not known is left empty.
const COLUMNS: &[Column<MessageRow>] = &[
    ("members", |row| Some(row.members as f64)),
    ("idle_packets_per_s", |row| row.idle?.packets_per_second),
    ("idle_bytes_per_s", |row| row.idle?.bytes_per_second),
    ("messages", |row| Some(row.single.as_ref()?.changes as f64)),
    ("half_p50_ms", |row| row.of_single(|single| &single.half_ms, 0.5)),
    ("all_p50_ms", |row| row.of_single(|single| &single.all_ms, 0.5)),
    ("all_p90_ms", |row| row.of_single(|single| &single.all_ms, 0.9)),
    ("all_max_ms", |row| row.of_single(|single| &single.all_ms, 1.0)),
    ("incomplete", |row| Some(row.single.as_ref()?.incomplete() as f64)),
    ("repeated", |row| Some(row.faults.repeated as f64)),
    ("disordered", |row| Some(row.faults.disordered as f64)),
    ("packets_per_message", |row| row.for_each_message(|cost| cost.packets_per_second)),
    ("bytes_per_message", |row| row.for_each_message(|cost| cost.bytes_per_second)),
    ("queries", |row| Some(row.queries.as_ref()?.ended_ms.len() as f64)),
    ("replied_p50_ms", |row| row.of_queries(|queries| &queries.replied_ms, 0.5)),
    ("replied_p90_ms", |row| row.of_queries(|queries| &queries.replied_ms, 0.9)),
    ("replied_max_ms", |row| row.of_queries(|queries| &queries.replied_ms, 1.0)),
    ("ended_p50_ms", |row| row.of_queries(|queries| &queries.ended_ms, 0.5)),
    ("ended_max_ms", |row| row.of_queries(|queries| &queries.ended_ms, 1.0)),
    ("unanswered", |row| Some(row.queries.as_ref()?.incomplete() as f64)),
    ("packets_per_query", |row| row.for_each_query(|cost| cost.packets_per_second)),
    ("bytes_per_query", |row| row.for_each_query(|cost| cost.bytes_per_second)),
    ("amid_deaths", |row| Some(row.amid.as_ref()?.deaths as f64)),
    ("amid_queries", |row| Some(row.amid.as_ref()?.ended_ms.len() as f64)),
    ("amid_known_p50_ms", |row| row.of_amid(|amid| &amid.known_ms, 0.5)),
    ("amid_known_max_ms", |row| row.of_amid(|amid| &amid.known_ms, 1.0)),
    ("amid_ended_p50_ms", |row| row.of_amid(|amid| &amid.ended_ms, 0.5)),
    ("amid_ended_p90_ms", |row| row.of_amid(|amid| &amid.ended_ms, 0.9)),
    ("amid_ended_max_ms", |row| row.of_amid(|amid| &amid.ended_ms, 1.0)),
    ("amid_named", |row| Some(row.amid.as_ref()?.named as f64)),
    ("amid_misnamed", |row| Some(row.amid.as_ref()?.misnamed as f64)),
    ("amid_lacking", |row| Some(row.amid.as_ref()?.lacking as f64)),
    ("false_deaths", |row| Some(row.false_deaths as f64)),
];

const MESSAGES: &str = "## A message to all\n\nRandom members publish at random moments, each after all have the message before. \
    Times are from the publisher's call until the application of each member, the publisher included, has it. *For each \
    message*: what a node sent more, while this was measured, than in the same time without messages.\n\n";

const QUERIES: &str = "## A query that all answer\n\nRandom members ask all at random moments, and each application answers at \
    once. Times are from the call until the asker's application has the last reply, and until it learns that the query has \
    ended. The timeout is the default of each system.\n\n";
