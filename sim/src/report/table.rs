//! CSV and Markdown from the same columns.

use super::Row;

/// A column: its name in CSV, its heading in tables, its value.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) heading: &'static str,
    pub(super) value: Box<dyn Fn(&Row) -> String>,
}

pub(super) fn column(
    name: &'static str,
    heading: &'static str,
    value: impl Fn(&Row) -> String + 'static,
) -> Column {
    Column { name: name.to_owned(), heading, value: Box::new(value) }
}

/// Comma-separated values with a heading.
pub(super) fn csv(rows: &[Row], columns: &[Column]) -> String {
    let heading: Vec<_> = columns.iter().map(|column| column.name.clone()).collect();
    let lines = rows.iter().map(|row| columns.iter().map(|c| (c.value)(row)).collect::<Vec<_>>());
    let lines = std::iter::once(heading).chain(lines);
    lines.map(|cells| cells.join(",") + "\n").collect()
}

/// A Markdown table.
pub(super) fn markdown(rows: &[Row], columns: &[Column]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut table = line(columns.iter().map(|column| column.heading.to_owned()).collect());
    let rule = columns.iter().enumerate().map(|(place, _)| if place == 0 { "---" } else { "---:" });
    table += &line(rule.map(str::to_owned).collect());
    for row in rows {
        table += &line(columns.iter().map(|column| (column.value)(row)).collect());
    }
    table
}

/// Formats a number with this many decimals; NaN as a dash.
pub(super) fn number(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { "–".to_owned() }
}

/// Milliseconds, human-readable.
pub(super) fn time(millis: f64) -> String {
    match millis {
        m if !m.is_finite() => "–".to_owned(),
        m if m < 1_000.0 => format!("{m:.0} ms"),
        m => format!("{:.2} s", m / 1_000.0),
    }
}

/// A quantile in milliseconds with its 95 % confidence interval, human-readable.
pub(super) fn with_interval(samples: &phin_report::Samples, share: f64) -> String {
    if samples.is_empty() {
        return "–".to_owned();
    }
    let (from, to) = samples.interval(share);
    let seconds = |millis: f64| format!("{:.2}", millis / 1_000.0);
    format!("{} ({}–{})", time(samples.quantile(share)), seconds(from), seconds(to))
}
