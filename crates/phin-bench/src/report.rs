//! Reports: JSON with every sample, CSV and a Markdown table of their quantiles, and SVG plots.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use phin_report::{Axis, Plot, Samples, Series, Style};
use serde::{Deserialize, Serialize};

use crate::{Idle, Machine, Row};

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
}

impl Report {
    /// Writes the report as `NAME.md`, `.csv`, `.json` and plots `NAME-….svg` into a folder, which is made if it is
    /// missing. `simulated` is the CSV of `phin-sim detect`, whose curves the plots show dashed.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn write(
        &self,
        out: &Path,
        name: &str,
        simulated: Option<&Path>,
    ) -> io::Result<Vec<PathBuf>> {
        let simulated = simulated.map(fs::read_to_string).transpose()?;
        let simulated = simulated.map(|text| Simulated::read(&text)).unwrap_or_default();
        let mut text = self.markdown();
        let mut files = Vec::new();
        for (kind, plot) in self.plots(&simulated) {
            let file = format!("{name}-{kind}.svg");
            text += &format!("\n![{}]({file})\n", plot.title);
            files.push((file, plot.svg().map_err(io::Error::other)?));
        }
        files.push((format!("{name}.csv"), self.csv()));
        files.push((format!("{name}.json"), self.json()? + "\n"));
        files.push((format!("{name}.md"), text));
        write_all(out, files)
    }

    /// One JSON object with every sample.
    ///
    /// # Errors
    /// None that is known.
    pub fn json(&self) -> io::Result<String> {
        serde_json::to_string(self).map_err(io::Error::other)
    }

    /// A human-readable table, with where and how it was measured.
    pub fn markdown(&self) -> String {
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
        text += &table(&self.rows);
        text += &settings_table(&self.settings);
        let busy = match self.busy {
            0 => String::new(),
            busy => format!("; {busy} processes did nothing but keep cores busy"),
        };
        text += &format!("\n{}", self.machine.describe(&busy));
        text + &format!("Made with `{}`.\n", self.command)
    }

    /// One line for each row.
    pub fn csv(&self) -> String {
        let heading: Vec<_> = COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let line = |row: &Row| -> Vec<String> {
            COLUMNS
                .iter()
                .map(|(_, value)| (value)(row).map(|v| format!("{v:.3}")).unwrap_or_default())
                .collect()
        };
        let lines = self.rows.iter().map(|row| {
            let mut cells = vec![row.system.clone(), self.kill.clone(), self.busy.to_string()];
            cells.extend(line(row));
            cells
        });
        let start =
            ["system", "kill", "busy"].map(str::to_owned).into_iter().chain(heading).collect();
        std::iter::once(start)
            .chain(lines)
            .map(|cells: Vec<String>| cells.join(",") + "\n")
            .collect()
    }

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

    fn plots(&self, simulated: &Simulated) -> Vec<(&'static str, Plot)> {
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
type Column = (&'static str, fn(&Row) -> Option<f64>);

/// The columns of CSV after system, kill and busy; a value that is not known is left empty.
const COLUMNS: &[Column] = &[
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

fn table(rows: &[Row]) -> String {
    let headings = [
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
    let mut text =
        format!("| {} |\n| --- |{}\n", headings.join(" | "), " ---: |".repeat(headings.len() - 1));
    for row in rows {
        let idle = |value: fn(&Idle) -> Option<f64>| row.idle.as_ref().and_then(value);
        let starts = |share| time(quantile(&row.bootstrap_ms, share));
        let cells = [
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
        ];
        text += &format!("| {} |\n", cells.join(" | "));
    }
    for row in rows {
        if let Some(failure) = &row.failure {
            text += &format!(
                "\n{} with {} members was not measured to its end: {failure}\n",
                row.system, row.members
            );
        }
    }
    text
}

/// The settings of each system.
pub(crate) fn settings_table(settings: &BTreeMap<String, String>) -> String {
    let heading = "\n| system | settings |\n| --- | --- |\n".to_owned();
    let lines = settings.iter().map(|(system, settings)| format!("| {system} | {settings} |\n"));
    heading + &lines.collect::<String>()
}

/// Writes files into a folder, which is made if it is missing.
pub(crate) fn write_all(out: &Path, files: Vec<(String, String)>) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(out)?;
    let write = |(file, text)| {
        let path = out.join(file);
        fs::write(&path, text).map(|()| path)
    };
    files.into_iter().map(write).collect()
}

/// A value that may be unknown, human-readable.
pub(crate) fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.decimals$}"))
}

/// The smallest sample that this share of all is not above; not a number where there is none.
pub(crate) fn quantile(samples: &[f64], share: f64) -> f64 {
    Samples::new(samples.to_vec()).quantile(share)
}

pub(crate) fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// The median with its 95 % confidence interval.
pub(crate) fn with_interval(samples: &[f64]) -> String {
    let samples = Samples::new(samples.to_vec());
    if samples.is_empty() {
        return "–".to_owned();
    }
    let (from, to) = samples.interval(0.5);
    format!("{} ({:.2}–{:.2})", time(samples.quantile(0.5)), from / 1e3, to / 1e3)
}

/// Milliseconds, human-readable.
pub(crate) fn time(millis: f64) -> String {
    match millis {
        m if !m.is_finite() => "–".to_owned(),
        m if m < 1_000.0 => format!("{m:.0} ms"),
        m => format!("{:.2} s", m / 1e3),
    }
}
