//! The report on clusters of which few members survive.

use phin_report::{Axis, Plot, Series, Style};

use super::{
    Row,
    table::{Column, column, csv, markdown, number, time},
};
use crate::experiment::PATIENCE_OF_SURVIVORS;

pub(super) fn pages(rows: &[Row]) -> Vec<(String, String)> {
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
         “≥” marks what had not happened by then. False deaths are those of all runs, at each survivor. A single survivor hears nobody, so it is \
         isolated, and cannot tell the death of all others from a fault of its own.\n\n",
        PATIENCE_OF_SURVIVORS.as_secs()
    );
    text += &markdown(rows, &columns(true));
    let title = "Time until every survivor knows of every death, median (T = 1 s, P = 1 s, LAN)";
    let plot = Plot {
        title: title.to_owned(),
        x: Axis::log("survivors"),
        y: Axis::log("seconds").capped_at(cap / 1e3),
        series: series(rows),
    };
    let mut pages = vec![("survivors.csv".to_owned(), csv(rows, &columns(false)))];
    if let Ok(svg) = plot.svg() {
        text += &format!("\n![{}](survivors.svg)\n", plot.title);
        pages.push(("survivors.svg".to_owned(), svg));
    }
    pages.push(("survivors.md".to_owned(), text));
    pages
}

fn killed(row: &Row) -> &'static str {
    if row.point.count("kill") == 0 { "hosts" } else { "processes" }
}

/// One for each protocol, kind of death and size.
fn series(rows: &[Row]) -> Vec<Series> {
    let several = rows.iter().any(|row| row.protocol != rows[0].protocol);
    let of = |row: &Row| {
        let protocol = if several { format!("{}, ", row.protocol) } else { String::new() };
        format!("{protocol}{} of {}", killed(row), row.n())
    };
    let mut series: Vec<Series> = Vec::new();
    for row in rows {
        let system = of(row);
        let point = (row.point.get("survivors"), row.samples("all").quantile(0.5) / 1e3);
        match series.iter_mut().find(|series| series.system == system) {
            Some(series) => series.points.push(point),
            None => series.push(Series {
                system,
                what: "",
                style: Style::Measured,
                points: vec![point],
            }),
        }
    }
    series.iter_mut().for_each(|s| s.points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    series
}
