//! The report on detection: by size, or by loss.

use phin_report::{Axis, Plot, Series, Style};

use super::{
    Row,
    analytic::idle_messages,
    by_protocol,
    table::{Column, column, csv, markdown, number, time, with_interval},
};
use crate::experiment::Experiment;

pub(super) fn pages(experiment: Experiment, rows: &[Row]) -> Vec<(String, String)> {
    let name = experiment.as_str();
    let (x, x_axis) = match experiment {
        Experiment::Loss => ("loss", Axis::linear("packets lost, %")),
        _ => ("n", Axis::log("members")),
    };
    let scale = if x == "loss" { 100.0 } else { 1.0 };
    let at = |row: &Row| row.point.get(x) * scale;
    let what = match rows.first().map_or(0, |row| row.point.count("kill")) {
        0 => "hosts went down",
        1 => "processes were killed on hosts that live",
        _ => "hosts behind firewalls went down",
    };
    let mut pages = vec![(format!("{name}.csv"), csv(rows, &csv_columns()))];
    let mut text = format!(
        "# Time until a death is known, by {}\n\nMembers' {what}, one after the other, on a simulated LAN (one-way delay \
         log-normal around 0.25 ms). *First*: one member declared it dead; *half*, *all*: so many of the living knew; \
         *from first to all*: how long the verdict itself took. In brackets the 95 % confidence interval, in seconds. \
         *Expected*: what papers and arithmetic give for the first. Bytes are those of IP packets of a calm cluster; the \
         handshakes of new connections are counted, transport acknowledgements are not.\n\n",
        if x == "loss" { "packet loss" } else { "cluster size" },
    );
    text += &markdown(rows, &columns());
    let load_axis = match experiment {
        Experiment::Loss => Axis::linear("messages per second"),
        _ => Axis::log("messages per second"),
    };
    let plots = [
        (
            "all",
            "time until every live member knows of a death",
            Axis::log("seconds"),
            latency_series(rows, at),
        ),
        ("load", "messages sent by a member of a calm cluster", load_axis, load_series(rows, at)),
    ];
    for (kind, title, y, series) in plots {
        let plot = Plot { title: title.to_owned(), x: x_axis, y, series };
        // A plot that cannot be drawn is left out; the numbers are in the table.
        if let Ok(svg) = plot.svg() {
            text += &format!("\n![{}]({name}-{kind}.svg)\n", plot.title);
            pages.push((format!("{name}-{kind}.svg"), svg));
        }
    }
    pages.push((format!("{name}.md"), text));
    pages
}

fn csv_columns() -> Vec<Column> {
    let quantile = |metric: &'static str, share: f64| {
        move |row: &Row| format!("{:.1}", row.samples(metric).quantile(share))
    };
    vec![
        column("protocol", "", |row| row.protocol.to_string()),
        column("n", "", |row| row.n().to_string()),
        column("loss", "", |row| row.point.get("loss").to_string()),
        column("kills", "", |row| row.samples("all").len().to_string()),
        column("first_p50_ms", "", quantile("first", 0.5)),
        column("first_p99_ms", "", quantile("first", 0.99)),
        column("all_p50_ms", "", quantile("all", 0.5)),
        column("all_p99_ms", "", quantile("all", 0.99)),
        column("all_max_ms", "", |row| format!("{:.1}", row.samples("all").max())),
        column("messages_per_member_s", "", |row| format!("{:.2}", per_second(row, "messages"))),
        column("bytes_per_member_s", "", |row| format!("{:.0}", per_second(row, "bytes"))),
        column("false_positives", "", |row| row.sum("false_positives").to_string()),
    ]
}

fn columns() -> Vec<Column> {
    vec![
        column("", "protocol", |row| row.protocol.to_string()),
        column("", "members", |row| row.n().to_string()),
        column("", "loss", |row| format!("{} %", row.point.get("loss") * 100.0)),
        column("", "deaths", |row| row.samples("all").len().to_string()),
        column("", "expected", |row| row.expected_first_ms().map_or("–".to_owned(), time)),
        column("", "first, median", |row| with_interval(&row.samples("first"), 0.5)),
        column("", "half, median", |row| time(row.samples("median").quantile(0.5))),
        column("", "all, median", |row| with_interval(&row.samples("all"), 0.5)),
        column("", "all, p99", |row| with_interval(&row.samples("all"), 0.99)),
        column("", "all, max", |row| time(row.samples("all").max())),
        column("", "from first to all, p99", |row| time(row.samples("spread").quantile(0.99))),
        column("", "not known to all in 2 min", |row| row.sum("unnoticed").to_string()),
        column("", "messages/s", |row| number(per_second(row, "messages"), 2)),
        column("", "bytes/s", |row| number(per_second(row, "bytes"), 0)),
        column("", "false deaths", |row| row.sum("false_positives").to_string()),
    ]
}

fn per_second(row: &Row, metric: &str) -> f64 {
    row.sum(metric) / row.sum("seconds")
}

fn latency_series(rows: &[Row], at: impl Fn(&Row) -> f64) -> Vec<Series> {
    let seconds = |row: &Row, share| row.samples("all").quantile(share) / 1e3;
    let mut series = Vec::new();
    for own in by_protocol(rows) {
        let protocol = own[0].protocol;
        let points =
            |value: &dyn Fn(&Row) -> f64| own.iter().map(|row| (at(row), value(row))).collect();
        let mut add = |what, style, points| {
            series.push(Series { system: protocol.to_string(), what, style, points });
        };
        add("median", Style::Measured, points(&|row| seconds(row, 0.5)));
        add("p99", Style::Tail, points(&|row| seconds(row, 0.99)));
        let expected = |row: &Row| row.expected_first_ms().map_or(f64::NAN, |ms| ms / 1e3);
        add("the first knows, expected", Style::Expected, points(&expected));
    }
    series
}

fn load_series(rows: &[Row], at: impl Fn(&Row) -> f64) -> Vec<Series> {
    let mut series = Vec::new();
    for own in by_protocol(rows) {
        let system = own[0].protocol.to_string();
        let measured = own.iter().map(|row| (at(row), per_second(row, "messages"))).collect();
        let (what, style) = ("measured", Style::Measured);
        series.push(Series { system: system.clone(), what, style, points: measured });
        let expected = own
            .iter()
            .filter(|row| row.is_usual)
            .map(|row| (at(row), idle_messages(row.protocol, &row.point)))
            .collect();
        let (what, style) = ("expected without loss", Style::Expected);
        series.push(Series { system, what, style, points: expected });
    }
    series
}
