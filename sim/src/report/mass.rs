//! The report on many deaths at one moment, and on splits.

use super::{
    Report, Row,
    table::{Column, column, csv, markdown, number, time},
};
use crate::experiment::{MassCase, PATIENCE_OF_MASS};

pub(super) fn report(rows: &[Row]) -> Report {
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| a.point.get("case").total_cmp(&b.point.get("case")));
    let (splits, deaths): (Vec<_>, Vec<_>) =
        sorted.iter().cloned().partition(|row| case(row) == Some(MassCase::Split));
    let mut text = "# Many at once\n\nHosts of a simulated LAN go down at the same moment, or it is cut in two halves for 5 s. Load is \
                    that of a member: in the first 5 s after the deaths or the end of the cut, and in the worst 5 s, in the mean of all \
                    and of the member that sent most. What did not happen within 120 s counts as that.\n"
        .to_owned();
    if !deaths.is_empty() {
        text += "\n**Hosts go down.** Times are until all survivors know of a death, of all deaths of all runs; the last one is \
                 the time until all know of all, at most.\n\n";
        text += &markdown(&deaths, &joined([about(true), of_deaths(true), load()]));
    }
    if !splits.is_empty() {
        text += "\n**A split of 5 s.** Whole again means that every list has every member, without outside help; the time is from \
                 the end of the cut. The share removed is that of the other half that a member holds for dead then, in the \
                 mean.\n\n";
        text += &markdown(&splits, &joined([about(true), of_splits(true), load()]));
    }
    let all = joined([about(false), of_deaths(false), of_splits(false), load()]);
    Report { name: "mass".to_owned(), text, csv: csv(&sorted, &all) }
}

fn joined<const N: usize>(columns: [Vec<Column>; N]) -> Vec<Column> {
    columns.into_iter().flatten().collect()
}

fn about(is_for_people: bool) -> Vec<Column> {
    vec![
        column("case", "what", move |row| {
            let (name, words) = match case(row) {
                Some(MassCase::Third) => ("third", "a third dies"),
                Some(MassCase::Half) => ("half", "half die"),
                Some(MassCase::Split) => ("split", "split"),
                None => ("–", "–"),
            };
            if is_for_people { words } else { name }.to_owned()
        }),
        column("protocol", "protocol", |row| row.protocol.to_string()),
        column("n", "members", |row| row.n().to_string()),
        column("runs", "runs", |row| row.runs.to_string()),
    ]
}

fn of_deaths(is_for_people: bool) -> Vec<Column> {
    let millis = millis(is_for_people);
    vec![
        column("first_p50_ms", "first knows, median", move |row| {
            millis(row.samples("first").quantile(0.5))
        }),
        column("all_p50_ms", "all know, median", move |row| {
            millis(row.samples("all").quantile(0.5))
        }),
        column("all_p99_ms", "p99", move |row| millis(row.samples("all").quantile(0.99))),
        column("last_max_ms", "the last one", move |row| millis(row.samples("last").max())),
    ]
}

fn of_splits(is_for_people: bool) -> Vec<Column> {
    let millis = millis(is_for_people);
    vec![
        column("removed_percent", "other half removed, %", |row| {
            number(row.samples("removed").mean(), 0)
        }),
        column("whole_p50_ms", "whole again, median", move |row| {
            millis(row.samples("whole").quantile(0.5))
        }),
        column("whole_max_ms", "at most", move |row| millis(row.samples("whole").max())),
    ]
}

fn load() -> Vec<Column> {
    vec![
        column("first_messages_s", "messages/s in the first 5 s", |row| {
            number(row.samples("first_load").mean(), 1)
        }),
        column("load_messages_s", "in the worst 5 s", |row| number(row.samples("load").mean(), 1)),
        column("worst_messages_s", "of the worst member", |row| {
            number(row.samples("worst_load").max(), 1)
        }),
        column("false_deaths", "false deaths", |row| row.sum("false_positives").to_string()),
    ]
}

/// Milliseconds; in tables they have their unit, and a sign if they were cut off.
fn millis(is_for_people: bool) -> impl Fn(f64) -> String + Copy {
    let cap = PATIENCE_OF_MASS.as_secs_f64() * 1e3;
    move |value: f64| match is_for_people {
        true if value >= cap => format!("≥ {}", time(cap)),
        true => time(value),
        false => number(value, 1),
    }
}

fn case(row: &Row) -> Option<MassCase> {
    MassCase::of(row.point.get("case"))
}
