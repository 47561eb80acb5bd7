//! The report on delivery while packets are lost.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Document, LossRow, Machine,
    document::{
        Column, csv, ending, failures, fine_median, fine_time, finite, number, quantile, table,
    },
};

/// All that one command measured of messages while packets were lost.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LossReport {
    /// The command.
    pub command: String,
    /// The percentage of packets that was to be lost.
    pub percent: u8,
    /// How many members published.
    pub publishers: usize,
    /// How many messages each of them published.
    pub messages: u32,
    /// How often each of them did, in seconds.
    pub every: f64,
    /// The length of each message.
    pub bytes: u16,
    /// The machine.
    pub machine: Machine,
    /// The settings of each system, by its name.
    pub settings: BTreeMap<String, String>,
    /// The measurements, by system and size.
    pub rows: Vec<LossRow>,
}

impl Document for LossReport {
    fn command(&mut self) -> &mut String {
        &mut self.command
    }

    fn markdown(&self) -> String {
        let every = Duration::try_from_secs_f64(self.every).unwrap_or_default();
        let mut text = format!(
            "# Messages while packets are lost\n\nThe receiving side of the network drops {} % of all packets at random (nftables); \
             what the kernel hands over as one, such as a batch of segments, is lost as one. {} members publish {} messages of {} \
             bytes each, one every {every:?}. Times are from the publisher's call until the application of a member has the \
             message; *all*: until those of all members have it.\n\n",
            self.percent, self.publishers, self.messages, self.bytes
        );
        text += &self.delivery_table();
        text += &failures(self.rows.iter().map(|row| (&*row.system, row.members, &row.failure)));
        text + &ending(&self.settings, &self.machine, "", &self.command)
    }

    fn csv(&self) -> String {
        let first = |row: &LossRow| vec![row.system.clone(), self.percent.to_string()];
        csv(&["system", "percent"], first, COLUMNS, &self.rows)
    }
}

impl LossReport {
    fn delivery_table(&self) -> String {
        let headings = [
            "system",
            "members",
            "packets lost",
            "messages",
            "all, median",
            "p90",
            "p99",
            "longest",
            "one member, median",
            "p90",
            "p99",
            "p99.9",
            "not received by all",
            "deliveries missing",
            "reported missing",
            "received twice",
            "out of order",
            "CPU ms/s",
            "false deaths",
        ];
        let cells = |row: &LossRow| {
            let all = |share| fine_time(quantile(&row.spread.all_ms, share));
            let one = |index| row.delivery(index).map_or("–".to_owned(), fine_time);
            vec![
                row.system.clone(),
                row.members.to_string(),
                format!("{:.1} %", row.lost * 100.0),
                row.spread.changes.to_string(),
                fine_median(&row.spread.all_ms),
                all(0.9),
                all(0.99),
                all(1.0),
                one(0),
                one(1),
                one(2),
                one(3),
                row.spread.incomplete().to_string(),
                row.missing.to_string(),
                row.faults.reported_missing.to_string(),
                row.faults.repeated.to_string(),
                row.faults.disordered.to_string(),
                number(Some(row.spread.cost.cpu_ms_per_second), 1),
                row.false_deaths.to_string(),
            ]
        };
        table(&headings, self.rows.iter().map(cells))
    }
}

impl LossRow {
    fn delivery(&self, index: usize) -> Option<f64> {
        self.deliveries_ms.get(index).copied()
    }
}

/// The columns of CSV after system and percentage; a value that is not known is left empty.
const COLUMNS: &[Column<LossRow>] = &[
    ("members", |row| Some(row.members as f64)),
    ("lost", |row| Some(row.lost)),
    ("messages", |row| Some(row.spread.changes as f64)),
    ("all_p50_ms", |row| finite(quantile(&row.spread.all_ms, 0.5))),
    ("all_p90_ms", |row| finite(quantile(&row.spread.all_ms, 0.9))),
    ("all_p99_ms", |row| finite(quantile(&row.spread.all_ms, 0.99))),
    ("all_max_ms", |row| finite(quantile(&row.spread.all_ms, 1.0))),
    ("one_p50_ms", |row| row.delivery(0)),
    ("one_p90_ms", |row| row.delivery(1)),
    ("one_p99_ms", |row| row.delivery(2)),
    ("one_p999_ms", |row| row.delivery(3)),
    ("incomplete", |row| Some(row.spread.incomplete() as f64)),
    ("missing", |row| Some(row.missing as f64)),
    ("reported_missing", |row| Some(row.faults.reported_missing as f64)),
    ("repeated", |row| Some(row.faults.repeated as f64)),
    ("disordered", |row| Some(row.faults.disordered as f64)),
    ("false_deaths", |row| Some(row.false_deaths as f64)),
];
