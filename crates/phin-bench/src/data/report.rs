//! The report on member data: JSON with every sample, CSV, and Markdown tables.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    Cost, DataRow, Machine, Spread,
    report::{finite, number, quantile, settings_table, time, with_interval, write_all},
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

impl DataReport {
    /// Writes the report as `NAME.md`, `.csv` and `.json` into a folder, which is made if it is missing.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, out: &Path, name: &str) -> io::Result<Vec<PathBuf>> {
        let files = vec![
            (format!("{name}.csv"), self.csv()),
            (format!("{name}.json"), self.json()? + "\n"),
            (format!("{name}.md"), self.markdown()),
        ];
        write_all(out, files)
    }

    /// One JSON object with every sample.
    ///
    /// # Errors
    /// None that is known.
    pub fn json(&self) -> io::Result<String> {
        serde_json::to_string(self).map_err(io::Error::other)
    }

    /// Human-readable tables, with where and how it was measured.
    pub fn markdown(&self) -> String {
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
        for row in &self.rows {
            if let Some(failure) = &row.failure {
                text += &format!(
                    "\n{} with {} members was not measured to its end: {failure}\n",
                    row.system, row.members
                );
            }
        }
        text += &settings_table(&self.settings);
        text + &format!("\n{}Made with `{}`.\n", self.machine.describe(""), self.command)
    }

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
        let mut text = heading(&headings);
        for row in &self.rows {
            let single = row.single.clone().unwrap_or_default();
            let mut cells = vec![row.system.clone(), row.members.to_string()];
            cells.push(time(row.first_values_ms.unwrap_or(f64::NAN)));
            cells.extend(times(&single));
            cells.push(number(row.for_each_change(|cost| cost.bytes_per_second), 0));
            cells.push(number(row.for_each_change(|cost| cost.packets_per_second), 1));
            cells.extend(traffic(row.idle.as_ref()));
            text += &line(&cells);
        }
        text
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
        let mut text = heading(&headings);
        for row in &self.rows {
            let cpu = |cost: Option<&Cost>| number(cost.map(|cost| cost.cpu_ms_per_second), 3);
            let loaded = row.loaded.as_ref().map(|loaded| &loaded.cost);
            let mut cells = vec![row.system.clone(), row.members.to_string()];
            cells.extend(times(&row.loaded.clone().unwrap_or_default()));
            cells.extend([loaded, row.idle.as_ref()].into_iter().flat_map(traffic));
            cells.extend([loaded, row.idle.as_ref()].map(cpu));
            cells.push(number(row.resident_kib, 0));
            cells.push(row.false_deaths.to_string());
            text += &line(&cells);
        }
        text
    }

    /// One line for each row.
    pub fn csv(&self) -> String {
        let columns = COLUMNS.iter().map(|(name, _)| *name);
        let heading: Vec<_> = ["system", "bytes", "every_s"].into_iter().chain(columns).collect();
        let mut text = heading.join(",") + "\n";
        for row in &self.rows {
            let mut cells =
                vec![row.system.clone(), self.bytes.to_string(), self.every.to_string()];
            let value = |value: Option<f64>| value.map(|v| format!("{v:.3}")).unwrap_or_default();
            cells.extend(COLUMNS.iter().map(|(_, column)| value(column(row))));
            text += &(cells.join(",") + "\n");
        }
        text
    }
}

impl DataRow {
    /// The cost that a single change added at a node.
    fn for_each_change(&self, a_second: fn(&Cost) -> Option<f64>) -> Option<f64> {
        self.single.as_ref()?.for_each_change(self.idle.as_ref()?, a_second)
    }
}

type Column = (&'static str, fn(&DataRow) -> Option<f64>);

/// The columns of CSV after system, bytes and interval; a value that is not known is left empty.
const COLUMNS: &[Column] = &[
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

fn traffic(cost: Option<&Cost>) -> [String; 2] {
    let bytes = cost.and_then(|cost| cost.bytes_per_second);
    let packets = cost.and_then(|cost| cost.packets_per_second);
    [number(bytes, 0), number(packets, 2)]
}

/// The first lines of a table whose columns are numbers, except for the first.
fn heading(headings: &[&str]) -> String {
    format!("| {} |\n| --- |{}\n", headings.join(" | "), " ---: |".repeat(headings.len() - 1))
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}
