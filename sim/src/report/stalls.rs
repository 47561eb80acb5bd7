//! The report on members that stall.

use super::{
    Report, Row,
    table::{Column, column, csv, markdown, number, time},
};
use crate::experiment::StallCase;

pub(super) fn report(rows: &[Row]) -> Report {
    let columns = |is_for_people: bool| -> Vec<Column> {
        let millis = move |value: f64| match is_for_people {
            true => time(value),
            false => number(value, 1),
        };
        let quantile = move |name, heading, metric: &'static str, share: f64| {
            column(name, heading, move |row| millis(row.samples(metric).quantile(share)))
        };
        let case = move |row: &Row| match is_for_people {
            true => words(row),
            false => name(row),
        };
        vec![
            column("case", "members stall", move |row| case(row).to_owned()),
            column("protocol", "protocol", |row| row.protocol.to_string()),
            column("n", "members", |row| row.n().to_string()),
            column("deaths", "deaths", |row| row.samples("all").len().to_string()),
            quantile("first_p50_ms", "first knows, median", "first", 0.5),
            quantile("first_p99_ms", "p99", "first", 0.99),
            quantile("all_p50_ms", "all know, median", "all", 0.5),
            quantile("all_p99_ms", "p99", "all", 0.99),
            column("unnoticed", "not in 120 s", |row| row.sum("unnoticed").to_string()),
            column("early_messages_s", "messages/s at first", |row| {
                number(row.sum("early_messages") / row.sum("early_seconds"), 1)
            }),
            column("messages_s", "then", |row| number(row.sum("messages") / row.sum("seconds"), 1)),
            column("busy_messages_s", "while hosts die", |row| {
                number(row.sum("busy_messages") / row.sum("busy_seconds"), 1)
            }),
            column("wrongly_dead", "living members declared dead", |row| {
                row.sum("wrongly_dead").to_string()
            }),
            column("suspicions_per_member_min", "suspicions of living ones a minute", |row| {
                number(60.0 * row.sum("false_suspicions") / row.sum("lived"), 2)
            }),
        ]
    };
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| a.point.get("case").total_cmp(&b.point.get("case")));
    let mut text = "# Stalls\n\nMembers stall all the time, each about once a second (0.5 to 1.5 s after the end of its last \
                    stall): neither process nor kernel timers run, and packets wait. Meanwhile hosts go down one after the other, \
                    on a simulated LAN. *First*: one member declared it dead; *all*: every living member knew, as soon as it ran. \
                    Messages are those of a member: in the first half minute, in the next one, still without a death, and then \
                    while hosts die. A suspicion counts at each member that learns of it, and its rate is that of one member.\n\n"
        .to_owned();
    text += &markdown(&sorted, &columns(true));
    Report { name: "stalls".to_owned(), text, csv: csv(&sorted, &columns(false)) }
}

fn words(row: &Row) -> &'static str {
    match StallCase::of(row.point.get("case")) {
        Some(StallCase::Short) => "50–200 ms",
        Some(StallCase::Long) => "300–500 ms",
        Some(StallCase::Starved) => "50–200 ms, a fifth 250–1,000 ms; 10 % loss",
        None => "–",
    }
}

fn name(row: &Row) -> &'static str {
    match StallCase::of(row.point.get("case")) {
        Some(StallCase::Short) => "short",
        Some(StallCase::Long) => "long",
        Some(StallCase::Starved) => "starved",
        None => "–",
    }
}
