//! The report on detection: by size, or by loss.

use std::collections::BTreeSet;

use phin_report::{Plot, Series, Style};

use super::{
    Row,
    analytic::{first_known_ms, idle_messages},
    table::{Column, column, csv, markdown, number, time, with_interval},
};
use crate::experiment::Experiment;

pub(super) fn pages(experiment: Experiment, rows: &[Row]) -> Vec<(String, String)> {
    let name = experiment.as_str();
    let (x, x_label) = match experiment {
        Experiment::Loss => ("loss", "packets lost, %"),
        _ => ("n", "members"),
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
         log-normal around 0.25 ms). *First*: one member declared it dead; *half*, *all*: so many of the living knew. In \
         brackets the 95 % confidence interval, in seconds. *Expected*: what papers and arithmetic give for the first. \
         Bytes are those of IP packets of a calm cluster; the handshakes of new connections are counted, transport \
         acknowledgements are not.\n\n",
        if x == "loss" { "packet loss" } else { "cluster size" },
    );
    text += &markdown(rows, &columns());
    let series = |tail: bool| latency_series(rows, at, tail);
    let mut plots = vec![(
        "all",
        "time until every live member knows of a death",
        "milliseconds",
        series(true),
    )];
    let load = load_series(rows, at);
    plots.push((
        "load",
        "messages sent by a member of a calm cluster",
        "messages per second",
        load,
    ));
    for (kind, title, y_label, series) in plots {
        let title = title.to_owned();
        let plot = Plot { title, x_label, y_label, series };
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
        column("", "expected", |row| {
            first_known_ms(row.protocol, &row.point).map_or("–".to_owned(), time)
        }),
        column("", "first, median", |row| with_interval(&row.samples("first"), 0.5)),
        column("", "half, median", |row| time(row.samples("median").quantile(0.5))),
        column("", "all, median", |row| with_interval(&row.samples("all"), 0.5)),
        column("", "all, p99", |row| with_interval(&row.samples("all"), 0.99)),
        column("", "all, max", |row| time(row.samples("all").max())),
        column("", "not known to all in 2 min", |row| row.sum("unnoticed").to_string()),
        column("", "messages/s", |row| number(per_second(row, "messages"), 2)),
        column("", "bytes/s", |row| number(per_second(row, "bytes"), 0)),
        column("", "false deaths", |row| row.sum("false_positives").to_string()),
    ]
}

fn per_second(row: &Row, metric: &str) -> f64 {
    row.sum(metric) / row.sum("seconds")
}

fn latency_series(rows: &[Row], at: impl Fn(&Row) -> f64, tail: bool) -> Vec<Series> {
    let mut series = Vec::new();
    let protocols: BTreeSet<_> = rows.iter().map(|row| row.protocol).collect();
    for (color, &protocol) in protocols.iter().enumerate() {
        let own = || rows.iter().filter(|row| row.protocol == protocol);
        let mut add = |label: String, style, points: Vec<(f64, f64)>| {
            let mut points: Vec<_> =
                points.into_iter().filter(|(x, y)| *x > 0.0 && y.is_finite()).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            series.push(Series { label, color, style, points });
        };
        let quantile = |share| own().map(|r| (at(r), r.samples("all").quantile(share))).collect();
        add(format!("{protocol}, median"), Style::Measured, quantile(0.5));
        if tail {
            add(format!("{protocol}, p99"), Style::Tail, quantile(0.99));
        }
        let expected: Vec<_> =
            own().filter_map(|r| Some((at(r), first_known_ms(protocol, &r.point)?))).collect();
        if !expected.is_empty() {
            add(format!("{protocol}, first, expected"), Style::Expected, expected);
        }
    }
    series
}

fn load_series(rows: &[Row], at: impl Fn(&Row) -> f64) -> Vec<Series> {
    let mut series = Vec::new();
    let protocols: BTreeSet<_> = rows.iter().map(|row| row.protocol).collect();
    for (color, &protocol) in protocols.iter().enumerate() {
        let own = || rows.iter().filter(|row| row.protocol == protocol && at(row) > 0.0);
        let mut points: Vec<_> = own().map(|r| (at(r), per_second(r, "messages"))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        series.push(Series { label: protocol.to_string(), color, style: Style::Measured, points });
        let mut points: Vec<_> =
            own().map(|r| (at(r), idle_messages(protocol, &r.point))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let label = format!("{protocol}, expected");
        series.push(Series { label, color, style: Style::Expected, points });
    }
    series
}
