//! The report on offices.

use super::{
    Report, Row,
    table::{Column, column, csv, markdown, number, time},
};
use crate::experiment::LeaderCase;

pub(super) fn report(rows: &[Row]) -> Report {
    let columns = |is_for_people: bool| -> Vec<Column> {
        let millis = move |value: f64| match is_for_people {
            true => time(value),
            false => number(value, 1),
        };
        let next = move |name, heading, share: f64| {
            column(name, heading, move |row| millis(row.samples("next").quantile(share)))
        };
        vec![
            column("case", "the holder", |row| case(row).to_owned()),
            column("n", "members", |row| row.n().to_string()),
            column("runs", "runs", |row| row.runs.to_string()),
            next("next_p50_ms", "next holder, median", 0.5),
            next("next_p90_ms", "p90", 0.9),
            next("next_p99_ms", "p99", 0.99),
            column("next_max_ms", "at most", move |row| millis(row.samples("next").max())),
            column("first_p50_ms", "first holder, median", move |row| {
                millis(row.samples("first").quantile(0.5))
            }),
            column("messages_s", "messages/s of a member before", |row| {
                number(row.samples("messages").mean(), 2)
            }),
        ]
    };
    let mut text = "# Offices\n\nAll members of a cluster on a simulated LAN stand for an office and vote, with the default lease \
                    of 2 s. Its holder ends at a random moment. The time is from then until another member holds the office. A \
                    holder that dies or is stopped keeps its lease, which was renewed up to 0.5 s before; one that leaves or drains \
                    releases it. The first holder is measured from when the members stand for the office, 1 s after their start; \
                    voters grant nothing in the first 2 s. Messages are all that are sent, pings included.\n\n"
        .to_owned();
    text += &markdown(rows, &columns(true));
    Report { name: "leadership".to_owned(), text, csv: csv(rows, &columns(false)) }
}

fn case(row: &Row) -> &'static str {
    match LeaderCase::of(row.point.get("case")) {
        Some(LeaderCase::Killed) => "process killed",
        Some(LeaderCase::HostDown) => "host down",
        Some(LeaderCase::Stopped) => "process stopped",
        Some(LeaderCase::Leaves) => "leaves",
        Some(LeaderCase::Drains) => "drains",
        None => "–",
    }
}
