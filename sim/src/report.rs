//! Reports: from samples to CSV, a Markdown table and SVG plots.

use std::collections::BTreeMap;

use phin_report::Samples;

use crate::{
    experiment::{Experiment, Point, SampleLine},
    protocols::ProtocolKind,
};

mod analytic;
mod detection;
mod distribution;
mod others;
mod survivors;
mod table;

/// What the runs of one protocol at one point gave together.
#[derive(Clone, Debug)]
struct Row {
    protocol: ProtocolKind,
    point: Point,
    runs: usize,
    /// Whether network and settings are those that the expectations are for.
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
    /// What is in it.
    pub text: String,
}

/// The reports on all experiments that the samples are of. What theory leads one to expect is left out where the
/// conditions were not the usual ones.
pub fn reports(lines: &[SampleLine], command: &str, is_usual: bool) -> Vec<Page> {
    let mut files = Vec::new();
    for &experiment in <Experiment as clap::ValueEnum>::value_variants() {
        let rows = rows(lines, experiment, is_usual);
        if rows.is_empty() {
            continue;
        }
        let pages = match experiment {
            Experiment::Detection | Experiment::Loss => detection::pages(experiment, &rows),
            Experiment::Distribution => distribution::pages(&rows),
            Experiment::Slow => others::slow(&rows),
            Experiment::Pause => others::pause(&rows),
            Experiment::Bootstrap => others::bootstrap(&rows),
            Experiment::Partition => others::partition(&rows),
            Experiment::Calm => others::calm(&rows),
            Experiment::Survivors => survivors::pages(&rows),
        };
        for (name, mut text) in pages {
            if name.ends_with(".md") {
                if !is_usual {
                    text.push_str("\nThe network or the settings are others than said above; see the command.\n");
                }
                text.push_str(&format!("\nMade with `{command}`.\n"));
            }
            files.push(Page { name, text });
        }
    }
    files
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

/// The rows of each protocol.
fn by_protocol(rows: &[Row]) -> impl Iterator<Item = &[Row]> {
    rows.chunk_by(|a, b| a.protocol == b.protocol)
}

/// A metric that each run has once.
const fn line_metric(experiment: Experiment) -> &'static str {
    match experiment {
        Experiment::Detection | Experiment::Loss | Experiment::Distribution | Experiment::Calm => {
            "seconds"
        }
        Experiment::Slow => "false_positives",
        Experiment::Pause => "declared",
        Experiment::Bootstrap => "complete",
        Experiment::Partition => "healed",
        Experiment::Survivors => "all",
    }
}
