//! Reports: from samples to CSV, a Markdown table and SVG plots.

use std::collections::BTreeMap;

use phin_report::Samples;

use crate::{
    experiment::{Experiment, Point, SampleLine},
    protocols::ProtocolKind,
};

mod analytic;
mod cells;
mod data;
mod detection;
mod distribution;
mod gray;
mod leadership;
mod liars;
mod mass;
mod messages;
mod others;
mod plots;
mod stalls;
mod survivors;
mod table;

/// The results of all runs of one protocol at one point.
#[derive(Clone, Debug)]
struct Row {
    protocol: ProtocolKind,
    point: Point,
    runs: usize,
    /// Whether network and settings are the defaults, for which there are expected results.
    is_usual: bool,
    metrics: BTreeMap<String, Vec<f64>>,
}

impl Row {
    fn samples(&self, metric: &str) -> Samples {
        Samples::new(self.metrics.get(metric).cloned().unwrap_or_default())
    }

    fn sum(&self, metric: &str) -> f64 {
        self.metrics.get(metric).map_or(0.0, |values| values.iter().sum())
    }

    fn expected_first_ms(&self) -> Option<f64> {
        analytic::first_known_ms(self.protocol, &self.point).filter(|_| self.is_usual)
    }

    fn n(&self) -> u32 {
        self.point.count("n")
    }
}

/// A file of a report.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its name.
    pub name: String,
    /// Its contents.
    pub text: String,
}

/// The note in a report with other than the default conditions.
pub const UNUSUAL: &str =
    "The network or the settings are others than said above; see the command.";

/// Writes the reports on all experiments in the samples. Omits expected results if the conditions were not the
/// defaults.
pub fn reports(lines: &[SampleLine], command: &str, is_usual: bool) -> Vec<Page> {
    let mut files = Vec::new();
    for &experiment in <Experiment as clap::ValueEnum>::value_variants() {
        let rows = rows(lines, experiment, is_usual);
        if rows.is_empty() {
            continue;
        }
        let Report { name, mut text, csv } = match experiment {
            Experiment::Detection | Experiment::Loss => detection::report(experiment, &rows),
            Experiment::Distribution => distribution::report(&rows),
            Experiment::Slow => others::slow(&rows),
            Experiment::Pause => others::pause(&rows),
            Experiment::Bootstrap => others::bootstrap(&rows),
            Experiment::Partition => others::partition(&rows),
            Experiment::Calm => others::calm(&rows),
            Experiment::Survivors => survivors::report(&rows),
            Experiment::Data => data::report(&rows),
            Experiment::Messages => messages::report(&rows),
            Experiment::Leadership => leadership::report(&rows),
            Experiment::Liars => liars::report(&rows),
            Experiment::Stalls => stalls::report(&rows),
            Experiment::Mass => mass::report(&rows),
            Experiment::Gray => gray::report(&rows),
            Experiment::Rapid => gray::rapid(&rows),
        };
        if !is_usual {
            text += &format!("\n{UNUSUAL}\n");
        }
        text += &format!("\nMade with `{command}`.\n");
        let (images, text) = illustrate(experiment, &csv, &text, is_usual);
        files.push(Page { name: format!("{name}.csv"), text: csv });
        files.extend(images);
        files.push(Page { name: format!("{name}.md"), text });
    }
    files
}

/// A report before its plots are drawn.
struct Report {
    name: String,
    text: String,
    csv: String,
}

/// Draws the plots of an experiment from the CSV of its report, and inserts them before the last paragraph of its
/// text, replacing earlier plots.
pub fn illustrate(
    experiment: Experiment,
    csv: &str,
    text: &str,
    is_usual: bool,
) -> (Vec<Page>, String) {
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("![")).collect();
    let without = lines.join("\n");
    let (before, last) = match without.rfind("\nMade with ") {
        Some(place) => without.split_at(place),
        None => (without.as_str(), ""),
    };
    let mut shown = before.trim_end().to_owned() + "\n";
    let mut pages = Vec::new();
    for figure in plots::figures(experiment, &cells::Cells::read(csv), is_usual) {
        if let Some(svg) = figure.svg() {
            shown += &format!("\n![{}]({})\n", figure.title, figure.file);
            pages.push(Page { name: figure.file, text: svg });
        }
    }
    (pages, shown + last + "\n")
}

/// The samples of an experiment, by protocol and point, in order.
fn rows(lines: &[SampleLine], experiment: Experiment, is_usual: bool) -> Vec<Row> {
    let mut rows: BTreeMap<(ProtocolKind, Vec<u64>), Row> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.experiment == experiment.as_str()) {
        let protocol = <ProtocolKind as clap::ValueEnum>::from_str(&line.protocol, false);
        let Ok(protocol) = protocol else {
            continue;
        };
        let row = rows.entry((protocol, line.point.key())).or_insert_with(|| Row {
            protocol,
            point: line.point.clone(),
            runs: 0,
            is_usual,
            metrics: BTreeMap::new(),
        });
        row.runs += usize::from(line.metric == line_metric(experiment));
        row.metrics.entry(line.metric.clone()).or_default().extend(&line.values);
    }
    rows.into_values().collect()
}

/// A metric that every run has once.
const fn line_metric(experiment: Experiment) -> &'static str {
    match experiment {
        Experiment::Detection
        | Experiment::Loss
        | Experiment::Distribution
        | Experiment::Calm
        | Experiment::Stalls => "seconds",
        Experiment::Slow => "false_positives",
        Experiment::Pause => "declared",
        Experiment::Bootstrap => "complete",
        Experiment::Partition => "healed",
        Experiment::Survivors | Experiment::Messages => "all",
        Experiment::Data => "known",
        Experiment::Leadership => "next",
        Experiment::Liars => "false_deaths",
        Experiment::Mass | Experiment::Gray | Experiment::Rapid => "load",
    }
}
