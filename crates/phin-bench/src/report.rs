//! The report on deaths and starts, with SVG plots.

use std::{collections::BTreeMap, fs, io, path::PathBuf};

use phin_report::{Axis, Plot, Series, Style};
use serde::{Deserialize, Serialize};

use crate::{
    Document, Idle, Machine, Row,
    document::{
        Column, csv, ending, failures, finite, number, quantile, table, time, with_interval,
    },
};

/// All that one command measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Report {
    /// The command.
    pub command: String,
    /// How nodes were killed.
    pub kill: String,
    /// How many processes kept cores busy.
    pub busy: usize,
    /// The machine.
    pub machine: Machine,
    /// The settings of each system, by its name.
    pub settings: BTreeMap<String, String>,
    /// The measurements, by system and size.
    pub rows: Vec<Row>,
    /// The CSV of `phin-sim detect`, whose curves the plots show dashed.
    #[serde(skip)]
    pub simulated: Option<PathBuf>,
}

impl Document for Report {
    fn command(&mut self) -> &mut String {
        &mut self.command
    }

    fn markdown(&self) -> String {
        let killed = match &*self.kill {
            "silent" => "their hosts fell silent",
            _ => "their processes were killed on a host that lives",
        };
        let mut text = format!(
            "# Real nodes on one machine\n\nMembers died without a word: {killed}. *First*, *half*, *all*: when so many of the living \
             had declared the member dead; in brackets the 95 % confidence interval, in seconds. *False deaths*: how \
             often a node declared a living one dead. Costs are those of one node of a calm cluster in a second, \
             packets and bytes of all protocols as sent, headers of IP counted. *Start*: all nodes at once through \
             one seed, until the last list is complete.\n\n"
        );
        text += &table(HEADINGS, self.rows.iter().map(cells));
        text += &failures(self.rows.iter().map(|row| (&*row.system, row.members, &row.failure)));
        let busy = match self.busy {
            0 => String::new(),
            busy => format!("; {busy} processes did nothing but keep cores busy"),
        };
        text + &ending(&self.settings, &self.machine, &busy, &self.command)
    }

    fn csv(&self) -> String {
        let first = |row: &Row| vec![row.system.clone(), self.kill.clone(), self.busy.to_string()];
        csv(&["system", "kill", "busy"], first, COLUMNS, &self.rows)
    }

    fn plots(&self) -> io::Result<Vec<(&'static str, Plot)>> {
        let simulated = self.simulated.as_ref().map(fs::read_to_string).transpose()?;
        let simulated = simulated.map(|text| Simulated::read(&text)).unwrap_or_default();
        Ok(self.draw(&simulated))
    }
}

impl Report {
    /// The subtitle of a plot: the number of members, and of deaths or starts.
    fn subtitle(&self, what: Option<(&str, Count)>) -> String {
        let span = |value: &dyn Fn(&Row) -> usize| {
            let values = self.rows.iter().map(value);
            match (values.clone().min(), values.max()) {
                (Some(least), Some(most)) if least < most => format!("{least} to {most}"),
                (_, most) => most.unwrap_or(0).to_string(),
            }
        };
        let members = span(&|row| row.members);
        let samples = what.map(|(what, count)| format!("; {what}: {} at each point", span(&count)));
        format!("{members} real nodes on one machine{}", samples.unwrap_or_default())
    }

    fn draw(&self, simulated: &Simulated) -> Vec<(&'static str, Plot)> {
        let plot = |title: &str, unit, series: Vec<Series>| Plot {
            title: title.to_owned(),
            subtitle: self.subtitle(None),
            x: Axis::log("members"),
            y: Axis::log(unit),
            series,
        };
        let times = |samples: fn(&Row) -> &Vec<f64>, column: &str| {
            let seconds = move |row: &Row, share| Some(quantile(samples(row), share) / 1e3);
            let mut series = self.series("median", Style::Measured, |row| seconds(row, 0.5));
            series.extend(self.series("longest", Style::Tail, |row| seconds(row, 1.0)));
            series.extend(self.simulated(simulated, column, 1e3));
            series
        };
        let cost = |value: fn(&Idle) -> Option<f64>| {
            self.series("measured", Style::Measured, move |row| value(row.idle.as_ref()?))
        };
        let mut bytes = cost(|idle| idle.bytes_per_second);
        bytes.extend(self.simulated(simulated, "bytes_per_member_s", 1.0));
        let packets = cost(|idle| idle.packets_per_second);
        let cpu = cost(|idle| Some(idle.cpu_ms_per_second));
        let all = times(|row| &row.all_ms, "all_p50_ms");
        let start = times(|row| &row.bootstrap_ms, "");
        let mut all = plot("Time until every live member knows of a death", "seconds", all);
        let died = if self.kill == "process" { "processes killed" } else { "hosts silent" };
        all.subtitle = self.subtitle(Some((died, |row| row.all_ms.len())));
        let mut start = plot("Time until all of a new cluster know all", "seconds", start);
        start.subtitle = self.subtitle(Some(("starts", |row| row.bootstrap_ms.len())));
        let plots = vec![
            ("all", all),
            ("start", start),
            (
                "packets",
                plot("Packets sent by a node of a calm cluster", "packets per second", packets),
            ),
            ("bytes", plot("Bytes sent by a node of a calm cluster", "bytes per second", bytes)),
            ("cpu", plot("CPU time of a node of a calm cluster", "ms per second", cpu)),
        ];
        let has_points =
            |(_, plot): &(_, Plot)| plot.series.iter().any(|series| !series.points.is_empty());
        plots.into_iter().filter(has_points).collect()
    }

    /// A series for each system, of those rows that have the value.
    fn series(
        &self,
        what: &'static str,
        style: Style,
        value: impl Fn(&Row) -> Option<f64>,
    ) -> Vec<Series> {
        let series = self.settings.keys().map(|system| {
            let own = self.rows.iter().filter(|row| row.system == *system);
            let points = own.filter_map(|row| Some((row.members as f64, value(row)?)));
            let points = points.filter(|(_, y)| y.is_finite()).collect();
            Series { system: system.clone(), what, style, points }
        });
        series.filter(|series| !series.points.is_empty()).collect()
    }

    /// The curves of the simulator for the systems that it knows.
    fn simulated(&self, simulated: &Simulated, column: &str, divisor: f64) -> Vec<Series> {
        let series = self.settings.keys().map(|system| {
            let points = simulated.curve(system, column);
            let points = points.into_iter().map(|(x, y)| (x, y / divisor)).collect();
            Series { system: system.clone(), what: "simulated", style: Style::Expected, points }
        });
        series.filter(|series: &Series| !series.points.is_empty()).collect()
    }
}

/// The simulator's CSV.
#[derive(Debug, Default)]
struct Simulated {
    lines: Vec<BTreeMap<String, String>>,
}

impl Simulated {
    fn read(text: &str) -> Self {
        let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned));
        let heading: Vec<_> = lines.next().into_iter().flatten().collect();
        Self { lines: lines.map(|cells| heading.iter().cloned().zip(cells).collect()).collect() }
    }

    /// A column of the lines of one protocol, by members.
    fn curve(&self, protocol: &str, column: &str) -> Vec<(f64, f64)> {
        let own =
            self.lines.iter().filter(|line| line.get("protocol").is_some_and(|p| p == protocol));
        let points = own.filter_map(|line| {
            Some((line.get("n")?.parse().ok()?, line.get(column)?.parse().ok()?))
        });
        points.collect()
    }
}

/// How many samples of some kind a row has.
type Count = fn(&Row) -> usize;

/// The columns of CSV after system, kill and busy; a value that is not known is left empty.
const COLUMNS: &[Column<Row>] = &[
    ("members", |row| Some(row.members as f64)),
    ("deaths", |row| Some(row.first_ms.len() as f64)),
    ("first_p50_ms", |row| finite(quantile(&row.first_ms, 0.5))),
    ("half_p50_ms", |row| finite(quantile(&row.half_ms, 0.5))),
    ("all_p50_ms", |row| finite(quantile(&row.all_ms, 0.5))),
    ("all_p90_ms", |row| finite(quantile(&row.all_ms, 0.9))),
    ("all_max_ms", |row| finite(quantile(&row.all_ms, 1.0))),
    ("unnoticed", |row| Some(row.unnoticed as f64)),
    ("false_deaths", |row| Some(row.false_deaths as f64)),
    ("packets_per_s", |row| row.idle?.packets_per_second),
    ("bytes_per_s", |row| row.idle?.bytes_per_second),
    ("cpu_ms_per_s", |row| Some(row.idle?.cpu_ms_per_second)),
    ("resident_kib", |row| Some(row.idle?.resident_kib)),
    ("connections", |row| row.idle?.connections),
    ("max_connections", |row| row.idle?.max_connections),
    ("starts", |row| Some((row.bootstrap_ms.len() + row.incomplete) as f64)),
    ("start_p50_ms", |row| finite(quantile(&row.bootstrap_ms, 0.5))),
    ("start_p90_ms", |row| finite(quantile(&row.bootstrap_ms, 0.9))),
    ("start_max_ms", |row| finite(quantile(&row.bootstrap_ms, 1.0))),
    ("incomplete", |row| Some(row.incomplete as f64)),
];

const HEADINGS: &[&str] = &[
    "system",
    "members",
    "deaths",
    "first, median",
    "half, median",
    "all, median",
    "all, p90",
    "all, longest",
    "not known to all",
    "false deaths",
    "packets/s",
    "bytes/s",
    "CPU ms/s",
    "resident KiB",
    "connections, mean",
    "connections, most",
    "starts",
    "start, median",
    "start, p90",
    "start, longest",
    "incomplete",
];

fn cells(row: &Row) -> Vec<String> {
    let idle = |value: fn(&Idle) -> Option<f64>| row.idle.as_ref().and_then(value);
    let starts = |share| time(quantile(&row.bootstrap_ms, share));
    vec![
        row.system.clone(),
        row.members.to_string(),
        row.first_ms.len().to_string(),
        with_interval(&row.first_ms),
        time(quantile(&row.half_ms, 0.5)),
        with_interval(&row.all_ms),
        time(quantile(&row.all_ms, 0.9)),
        time(quantile(&row.all_ms, 1.0)),
        row.unnoticed.to_string(),
        row.false_deaths.to_string(),
        number(idle(|idle| idle.packets_per_second), 2),
        number(idle(|idle| idle.bytes_per_second), 0),
        number(idle(|idle| Some(idle.cpu_ms_per_second)), 3),
        number(idle(|idle| Some(idle.resident_kib)), 0),
        number(idle(|idle| idle.connections), 1),
        number(idle(|idle| idle.max_connections), 0),
        (row.bootstrap_ms.len() + row.incomplete).to_string(),
        starts(0.5),
        starts(0.9),
        starts(1.0),
        row.incomplete.to_string(),
    ]
}
