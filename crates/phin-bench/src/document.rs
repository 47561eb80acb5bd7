//! Parts that all reports share: their files, their output, and how their numbers are written.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use phin_report::{Plot, Samples};
use serde::Serialize;

use crate::{Common, Machine};

/// A report of one command: JSON with every sample, CSV, and Markdown tables.
pub trait Document: Serialize {
    /// The command, which the report names.
    fn command(&mut self) -> &mut String;

    /// Human-readable tables, with where and how it was measured.
    fn markdown(&self) -> String;

    /// One line for each row.
    fn csv(&self) -> String;

    /// Plots, each with the end of its file name.
    ///
    /// # Errors
    /// A file with further curves cannot be read.
    fn plots(&self) -> io::Result<Vec<(&'static str, Plot)>> {
        Ok(Vec::new())
    }

    /// One JSON object with every sample.
    ///
    /// # Errors
    /// None that is known.
    fn json(&self) -> io::Result<String> {
        serde_json::to_string(self).map_err(io::Error::other)
    }

    /// Writes the report as `NAME.md`, `.csv`, `.json` and plots `NAME-….svg` into a folder, which is made if it is missing.
    ///
    /// # Errors
    /// A file cannot be read or written.
    fn write(&self, out: &Path, name: &str) -> io::Result<Vec<PathBuf>> {
        let mut text = self.markdown();
        let mut files = Vec::new();
        for (kind, plot) in self.plots()? {
            let file = format!("{name}-{kind}.svg");
            text += &format!("\n![{}]({file})\n", plot.title);
            files.push((file, plot.svg().map_err(io::Error::other)?));
        }
        files.push((format!("{name}.csv"), self.csv()));
        files.push((format!("{name}.json"), self.json()? + "\n"));
        files.push((format!("{name}.md"), text));
        fs::create_dir_all(out)?;
        let write = |(file, text)| {
            let path = out.join(file);
            fs::write(&path, text).map(|()| path)
        };
        files.into_iter().map(write).collect()
    }

    /// Names the command that runs in the report, writes it where the options say, and prints it.
    ///
    /// # Errors
    /// A file or standard output cannot be written.
    fn deliver(mut self, options: &Common, name: &str) -> Result<(), String>
    where
        Self: Sized,
    {
        *self.command() = running_command();
        if let Some(out) = &options.out {
            let written = self.write(out, name);
            written.map_err(|error| format!("cannot write the report: {error}"))?;
        }
        let text = match options.json {
            true => self.json().map_err(|error| error.to_string())? + "\n",
            false => self.markdown(),
        };
        match io::stdout().write_all(text.as_bytes()) {
            // A reader such as `head` stopped reading: no error.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(format!("cannot write to standard output: {error}"))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// The command that runs: the name of the program, and its arguments.
fn running_command() -> String {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy();
    std::iter::once(program.into_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// A column of CSV, with its heading.
pub(crate) type Column<R> = (&'static str, fn(&R) -> Option<f64>);

/// A line for each row: what `first` has of it, under these headings, then its columns. A value that is not known is left
/// empty.
pub(crate) fn csv<R>(
    headings: &[&str],
    first: impl Fn(&R) -> Vec<String>,
    columns: &[Column<R>],
    rows: &[R],
) -> String {
    let names = columns.iter().map(|(name, _)| *name);
    let mut text = headings.iter().copied().chain(names).collect::<Vec<_>>().join(",") + "\n";
    for row in rows {
        let value = |value: Option<f64>| value.map(|v| format!("{v:.3}")).unwrap_or_default();
        let mut cells = first(row);
        cells.extend(columns.iter().map(|(_, column)| value(column(row))));
        text += &(cells.join(",") + "\n");
    }
    text
}

/// A table whose columns are numbers, except for the first.
pub(crate) fn table(headings: &[&str], lines: impl IntoIterator<Item = Vec<String>>) -> String {
    let numbers = " ---: |".repeat(headings.len() - 1);
    let mut text = format!("| {} |\n| --- |{numbers}\n", headings.join(" | "));
    for cells in lines {
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text
}

/// Why rows have less than was asked for: of each, its system, its members, and its failure.
pub(crate) fn failures<'a>(
    rows: impl Iterator<Item = (&'a str, usize, &'a Option<String>)>,
) -> String {
    let line = |(system, members, failure): (&str, usize, &Option<String>)| {
        let failure = failure.as_ref()?;
        Some(format!("\n{system} with {members} members was not measured to its end: {failure}\n"))
    };
    rows.filter_map(line).collect()
}

/// The end of a report: the settings of each system, the machine, with a remark on its load, and the command.
pub(crate) fn ending(
    settings: &BTreeMap<String, String>,
    machine: &Machine,
    remark: &str,
    command: &str,
) -> String {
    let lines = settings.iter().map(|(system, settings)| format!("| {system} | {settings} |\n"));
    let lines: String = lines.collect();
    format!(
        "\n| system | settings |\n| --- | --- |\n{lines}\n{}Made with `{command}`.\n",
        machine.describe(remark)
    )
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

/// Milliseconds, with a decimal where they are few.
pub(crate) fn fine_time(millis: f64) -> String {
    if millis < 10.0 { format!("{millis:.1} ms") } else { time(millis) }
}

/// The median with its 95 % confidence interval, for times that may be a few milliseconds.
pub(crate) fn fine_median(samples: &[f64]) -> String {
    let samples = Samples::new(samples.to_vec());
    if samples.is_empty() {
        return "–".to_owned();
    }
    let (from, to) = samples.interval(0.5);
    format!("{} ({}–{})", fine_time(samples.quantile(0.5)), fine_time(from), fine_time(to))
}
