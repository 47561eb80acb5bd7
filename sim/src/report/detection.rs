//! The report on detection: by size, or by loss.

use super::{
    Report, Row,
    table::{Column, column, csv, markdown, number, time, with_interval},
};
use crate::experiment::Experiment;

pub(super) fn report(experiment: Experiment, rows: &[Row]) -> Report {
    let what = match rows.first().map_or("host", killed) {
        "host" => "hosts went down",
        "process" => "processes were killed on hosts that live",
        _ => "hosts behind firewalls went down",
    };
    let text = format!(
        "# Time until a death is known, by {}\n\nMembers' {what}, one after the other, on a simulated LAN (one-way delay \
         log-normal around 0.25 ms). *First*: one member declared it dead; *half*, *all*: so many of the living knew; \
         *from first to all*: how long the verdict itself took. In brackets the 95 % confidence interval, in seconds. \
         *Expected*: what papers and arithmetic give for the first. Bytes are those of IP packets of a calm cluster; the \
         handshakes of new connections are counted, transport acknowledgements are not.\n\n",
        if experiment == Experiment::Loss { "packet loss" } else { "cluster size" },
    );
    Report {
        name: experiment.as_str().to_owned(),
        text: text + &markdown(rows, &columns()),
        csv: csv(rows, &csv_columns()),
    }
}

/// The kind of death.
fn killed(row: &Row) -> &'static str {
    match row.point.count("kill") {
        0 => "host",
        1 => "process",
        _ => "firewalled host",
    }
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
        column("killed", "", |row| killed(row).to_owned()),
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
