//! The report on the detection of deaths under load.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Detection, Document, LoadRow, Machine,
    document::{
        Column, csv, ending, failures, finite, number, quantile, table, time, with_interval,
    },
};

/// All that one command measured of deaths under load.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LoadReport {
    /// The command.
    pub command: String,
    /// How nodes were killed.
    pub kill: String,
    /// The length of each message.
    pub bytes: u16,
    /// The machine.
    pub machine: Machine,
    /// The settings of each system, by its name.
    pub settings: BTreeMap<String, String>,
    /// The measurements, by system and size.
    pub rows: Vec<LoadRow>,
}

impl Document for LoadReport {
    fn command(&mut self) -> &mut String {
        &mut self.command
    }

    fn markdown(&self) -> String {
        let killed = match &*self.kill {
            "silent" => "their hosts fell silent",
            _ => "their processes were killed on a host that lives",
        };
        let mut text = format!(
            "# Deaths while all members publish\n\nMembers died one after the other, in turn while each member published messages of \
             {} bytes, which the applications of all received, and while nobody did: {killed}. *First*, *all*: when so many \
             of the living had declared the member dead; in brackets the 95 % confidence interval of the median, in \
             seconds. *Published*: messages a second of each member. *CPU*: the share of all cores that the nodes used.\n\n",
            self.bytes
        );
        text += &self.detection_table();
        text += "\n## The rate\n\nEach member published so many messages a second for 5 s. *Delivered*: the share that reached the \
                 applications of all members.\n\n";
        text += &self.step_table();
        text += &failures(self.rows.iter().map(|row| (&*row.system, row.members, &row.failure)));
        text + &ending(&self.settings, &self.machine, "", &self.command)
    }

    fn csv(&self) -> String {
        let first =
            |row: &LoadRow| vec![row.system.clone(), self.kill.clone(), self.bytes.to_string()];
        csv(&["system", "kill", "bytes"], first, COLUMNS, &self.rows)
    }
}

impl LoadReport {
    fn detection_table(&self) -> String {
        let headings = [
            "system",
            "members",
            "load",
            "deaths",
            "first, median",
            "all, median",
            "p90",
            "p99",
            "longest",
            "not known to all",
            "published",
            "CPU",
            "false deaths",
        ];
        let line = |row: &LoadRow, load: &str, detection: &Detection| {
            let cpu = finite(Detection::mean(&detection.cpu)).map(|cpu| cpu * 100.0);
            vec![
                row.system.clone(),
                row.members.to_string(),
                load.to_owned(),
                detection.first_ms.len().to_string(),
                time(quantile(&detection.first_ms, 0.5)),
                with_interval(&detection.all_ms),
                time(quantile(&detection.all_ms, 0.9)),
                time(quantile(&detection.all_ms, 0.99)),
                time(quantile(&detection.all_ms, 1.0)),
                detection.unnoticed.to_string(),
                number(finite(Detection::mean(&detection.published)), 1),
                number(cpu, 0) + " %",
                row.false_deaths.to_string(),
            ]
        };
        let ratio = |row: &LoadRow| {
            let ratio = |share| number(row.ratio(share), 2);
            let mut cells = vec![row.system.clone(), row.members.to_string(), "ratio".to_owned()];
            cells.extend([
                String::new(),
                String::new(),
                ratio(0.5),
                ratio(0.9),
                ratio(0.99),
                ratio(1.0),
            ]);
            cells.resize(headings.len(), String::new());
            cells
        };
        let lines = self.rows.iter().flat_map(|row| {
            [line(row, "none", &row.idle), line(row, "all publish", &row.loaded), ratio(row)]
        });
        table(&headings, lines)
    }

    fn step_table(&self) -> String {
        let headings =
            ["system", "members", "asked for", "published", "refused", "delivered", "CPU"];
        let lines = self.rows.iter().flat_map(|row| {
            row.steps.iter().map(|step| {
                vec![
                    row.system.clone(),
                    row.members.to_string(),
                    format!("{:.1}", step.rate),
                    format!("{:.1}", step.published),
                    step.refused.to_string(),
                    format!("{:.2} %", step.delivered * 100.0),
                    format!("{:.0} %", step.cpu * 100.0),
                ]
            })
        });
        table(&headings, lines)
    }
}

impl LoadRow {
    /// How many times as long it took under load until all knew.
    fn ratio(&self, share: f64) -> Option<f64> {
        finite(quantile(&self.loaded.all_ms, share) / quantile(&self.idle.all_ms, share))
    }
}

/// The columns of CSV after system, kill and bytes; a value that is not known is left empty.
const COLUMNS: &[Column<LoadRow>] = &[
    ("members", |row| Some(row.members as f64)),
    ("rate", |row| Some(row.rate)),
    ("deaths", |row| Some(row.loaded.first_ms.len() as f64)),
    ("all_p50_ms", |row| finite(quantile(&row.loaded.all_ms, 0.5))),
    ("all_p90_ms", |row| finite(quantile(&row.loaded.all_ms, 0.9))),
    ("all_p99_ms", |row| finite(quantile(&row.loaded.all_ms, 0.99))),
    ("unnoticed", |row| Some(row.loaded.unnoticed as f64)),
    ("published_per_s", |row| finite(Detection::mean(&row.loaded.published))),
    ("cpu", |row| finite(Detection::mean(&row.loaded.cpu))),
    ("idle_deaths", |row| Some(row.idle.first_ms.len() as f64)),
    ("idle_all_p50_ms", |row| finite(quantile(&row.idle.all_ms, 0.5))),
    ("idle_all_p90_ms", |row| finite(quantile(&row.idle.all_ms, 0.9))),
    ("idle_all_p99_ms", |row| finite(quantile(&row.idle.all_ms, 0.99))),
    ("idle_unnoticed", |row| Some(row.idle.unnoticed as f64)),
    ("idle_cpu", |row| finite(Detection::mean(&row.idle.cpu))),
    ("ratio_p50", |row| row.ratio(0.5)),
    ("ratio_p90", |row| row.ratio(0.9)),
    ("ratio_p99", |row| row.ratio(0.99)),
    ("false_deaths", |row| Some(row.false_deaths as f64)),
];
