//! The report on clusters in which few members survive.

use super::{
    Report, Row,
    table::{Column, column, csv, markdown, number, time},
};
use crate::experiment::PATIENCE_OF_SURVIVORS;

pub(super) fn report(rows: &[Row]) -> Report {
    let cap = PATIENCE_OF_SURVIVORS.as_secs_f64() * 1e3;
    let at_least = move |millis: f64| match millis < cap {
        true => time(millis),
        false => format!("≥ {}", time(cap)),
    };
    let columns = move |is_for_people: bool| -> Vec<Column> {
        let millis = move |value: f64| match is_for_people {
            true => at_least(value),
            false => format!("{value:.1}"),
        };
        vec![
            column("protocol", "protocol", |row| row.protocol.to_string()),
            column("killed", "killed", |row| killed(row).to_owned()),
            column("n", "members", |row| row.n().to_string()),
            column("survivors", "survivors", |row| row.point.count("survivors").to_string()),
            column("runs", "runs", |row| row.runs.to_string()),
            column("all_p50_ms", "all deaths known, median", move |row| {
                millis(row.samples("all").quantile(0.5))
            }),
            column("all_max_ms", "at most", move |row| millis(row.samples("all").max())),
            column("not_in_time", "runs in which some death stayed unknown", |row| {
                let unknown = row.metrics.get("unknown").into_iter().flatten();
                unknown.filter(|&&deaths| deaths > 0.0).count().to_string()
            }),
            column("messages_per_survivor_s", "messages/s of a survivor until then", |row| {
                number(row.sum("messages") / row.sum("survivor_seconds"), 1)
            }),
            column("peak_messages_s", "in the worst second", |row| {
                number(row.samples("peak").max(), 0)
            }),
            column("isolated_percent", "survivors that became isolated, %", |row| {
                let survivors = row.runs as f64 * row.point.get("survivors");
                number(100.0 * row.sum("isolated") / survivors, 0)
            }),
            column("false_deaths", "false deaths", |row| row.sum("false_positives").to_string()),
        ]
    };
    let mut text = format!(
        "# Few survivors\n\nAll but a few members of a cluster die at the same moment, on a simulated LAN: their processes, \
         or their whole hosts. The time is from then until every survivor knows of every death. A run ends after {} s: \
         “≥” marks what had not happened by then. False deaths are those of all runs, at each survivor. A single survivor receives nothing, so it is \
         isolated, and cannot tell the death of all others from a fault of its own.\n\n",
        PATIENCE_OF_SURVIVORS.as_secs()
    );
    text += &markdown(rows, &columns(true));
    Report { name: "survivors".to_owned(), text, csv: csv(rows, &columns(false)) }
}

fn killed(row: &Row) -> &'static str {
    if row.point.count("kill") == 0 { "hosts" } else { "processes" }
}
