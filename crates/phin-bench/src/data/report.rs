//! The report on member data.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Cost, DataRow, Document, Machine, Spread,
    document::{
        Column, csv, ending, failures, finite, number, quantile, table, time, with_interval,
    },
};

/// All that one command measured of member data.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DataReport {
    /// The command.
    pub command: String,
    /// The length of each value.
    pub bytes: u16,
    /// How often each member wrote while all did, in seconds.
    pub every: f64,
    /// The machine.
    pub machine: Machine,
    /// The settings of each system, by its name.
    pub settings: BTreeMap<String, String>,
    /// The measurements, by system and size.
    pub rows: Vec<DataRow>,
}

impl Document for DataReport {
    fn command(&mut self) -> &mut String {
        &mut self.command
    }

    fn markdown(&self) -> String {
        let bytes = self.bytes;
        // Whole seconds without their fraction, as a command line has them.
        let every = Duration::try_from_secs_f64(self.every).unwrap_or_default();
        let mut text = format!(
            "# Member data of real nodes\n\nEach member has one value of {bytes} random letters and digits under one key. All \
             nodes share a process, and started one after the other at random moments. Times are those of one monotonic clock, \
             from the owner's call until the API of each node has shown the new value, or a later one of the same member. Costs \
             are those of one node, packets and bytes of all protocols as sent, headers of IP counted.\n\n\
             ## A change of {bytes} bytes\n\nRandom members write at random moments, each after the change before is known to \
             all. *First values*: from when the first member wrote its first value until all members knew those of all. *For \
             each change*: what a node sent more, while this was measured, than in the same time without changes. In \
             brackets the 95 % confidence interval of the median, in seconds.\n\n"
        );
        text += &self.single_table();
        text += &format!(
            "\n## All members write\n\nEach member changes its value every {every:?}. *Idle*: before, while nothing changed.\n\n"
        );
        text += &self.load_table();
        text += &failures(self.rows.iter().map(|row| (&*row.system, row.members, &row.failure)));
        text + &ending(&self.settings, &self.machine, "", &self.command)
    }

    fn csv(&self) -> String {
        let first = |row: &DataRow| {
            vec![row.system.clone(), self.bytes.to_string(), self.every.to_string()]
        };
        csv(&["system", "bytes", "every_s"], first, COLUMNS, &self.rows)
    }
}

impl DataReport {
    fn single_table(&self) -> String {
        let headings = [
            "system",
            "members",
            "first values",
            "changes",
            "half know, median",
            "all know, median",
            "p90",
            "longest",
            "not known to all",
            "bytes for each change",
            "packets for each change",
            "idle bytes/s",
            "idle packets/s",
        ];
        let cells = |row: &DataRow| {
            let single = row.single.clone().unwrap_or_default();
            let mut cells = vec![row.system.clone(), row.members.to_string()];
            cells.push(time(row.first_values_ms.unwrap_or(f64::NAN)));
            cells.extend(times(&single));
            cells.push(number(row.for_each_change(|cost| cost.bytes_per_second), 0));
            cells.push(number(row.for_each_change(|cost| cost.packets_per_second), 1));
            cells.extend(traffic(row.idle.as_ref()));
            cells
        };
        table(&headings, self.rows.iter().map(cells))
    }

    fn load_table(&self) -> String {
        let headings = [
            "system",
            "members",
            "changes",
            "half know, median",
            "all know, median",
            "p90",
            "longest",
            "not known to all",
            "bytes/s",
            "packets/s",
            "idle bytes/s",
            "idle packets/s",
            "CPU ms/s",
            "idle CPU ms/s",
            "resident KiB",
            "false deaths",
        ];
        let cells = |row: &DataRow| {
            let cpu = |cost: Option<&Cost>| number(cost.map(|cost| cost.cpu_ms_per_second), 3);
            let loaded = row.loaded.as_ref().map(|loaded| &loaded.cost);
            let mut cells = vec![row.system.clone(), row.members.to_string()];
            cells.extend(times(&row.loaded.clone().unwrap_or_default()));
            cells.extend([loaded, row.idle.as_ref()].into_iter().flat_map(traffic));
            cells.extend([loaded, row.idle.as_ref()].map(cpu));
            cells.push(number(row.resident_kib, 0));
            cells.push(row.false_deaths.to_string());
            cells
        };
        table(&headings, self.rows.iter().map(cells))
    }
}

impl DataRow {
    /// The cost that a single change added at a node.
    fn for_each_change(&self, a_second: fn(&Cost) -> Option<f64>) -> Option<f64> {
        self.single.as_ref()?.for_each_change(self.idle.as_ref()?, a_second)
    }
}

/// The columns of CSV after system, bytes and interval; a value that is not known is left empty.
const COLUMNS: &[Column<DataRow>] = &[
    ("members", |row| Some(row.members as f64)),
    ("first_values_ms", |row| row.first_values_ms),
    ("idle_packets_per_s", |row| row.idle?.packets_per_second),
    ("idle_bytes_per_s", |row| row.idle?.bytes_per_second),
    ("idle_cpu_ms_per_s", |row| Some(row.idle?.cpu_ms_per_second)),
    ("changes", |row| Some(row.single.as_ref()?.changes as f64)),
    ("half_p50_ms", |row| finite(quantile(&row.single.as_ref()?.half_ms, 0.5))),
    ("all_p50_ms", |row| finite(quantile(&row.single.as_ref()?.all_ms, 0.5))),
    ("all_p90_ms", |row| finite(quantile(&row.single.as_ref()?.all_ms, 0.9))),
    ("all_max_ms", |row| finite(quantile(&row.single.as_ref()?.all_ms, 1.0))),
    ("incomplete", |row| Some(row.single.as_ref()?.incomplete() as f64)),
    ("packets_per_change", |row| row.for_each_change(|cost| cost.packets_per_second)),
    ("bytes_per_change", |row| row.for_each_change(|cost| cost.bytes_per_second)),
    ("loaded_changes", |row| Some(row.loaded.as_ref()?.changes as f64)),
    ("loaded_half_p50_ms", |row| finite(quantile(&row.loaded.as_ref()?.half_ms, 0.5))),
    ("loaded_all_p50_ms", |row| finite(quantile(&row.loaded.as_ref()?.all_ms, 0.5))),
    ("loaded_all_p90_ms", |row| finite(quantile(&row.loaded.as_ref()?.all_ms, 0.9))),
    ("loaded_all_max_ms", |row| finite(quantile(&row.loaded.as_ref()?.all_ms, 1.0))),
    ("loaded_incomplete", |row| Some(row.loaded.as_ref()?.incomplete() as f64)),
    ("loaded_packets_per_s", |row| row.loaded.as_ref()?.cost.packets_per_second),
    ("loaded_bytes_per_s", |row| row.loaded.as_ref()?.cost.bytes_per_second),
    ("loaded_cpu_ms_per_s", |row| Some(row.loaded.as_ref()?.cost.cpu_ms_per_second)),
    ("resident_kib", |row| row.resident_kib),
    ("false_deaths", |row| Some(row.false_deaths as f64)),
];

/// How many changes there were, and when they were known.
fn times(spread: &Spread) -> [String; 6] {
    [
        spread.changes.to_string(),
        time(quantile(&spread.half_ms, 0.5)),
        with_interval(&spread.all_ms),
        time(quantile(&spread.all_ms, 0.9)),
        time(quantile(&spread.all_ms, 1.0)),
        spread.incomplete().to_string(),
    ]
}

pub(crate) fn traffic(cost: Option<&Cost>) -> [String; 2] {
    let bytes = cost.and_then(|cost| cost.bytes_per_second);
    let packets = cost.and_then(|cost| cost.packets_per_second);
    [number(bytes, 0), number(packets, 2)]
}
