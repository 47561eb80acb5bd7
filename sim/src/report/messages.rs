//! The report on messages to all members.

use super::{
    Report, Row,
    table::{Column, column, csv, markdown, number, time},
};
use crate::experiment::MessageCase;

pub(super) fn report(rows: &[Row]) -> Report {
    let section = |title: &str, cases: &'static [MessageCase], columns: Vec<Vec<Column>>| {
        let is_of =
            |row: &&Row| MessageCase::of(row.point.get("case")).is_some_and(|c| cases.contains(&c));
        let rows: Vec<_> = rows.iter().filter(is_of).cloned().collect();
        let columns: Vec<_> = columns.into_iter().flatten().collect();
        match rows.is_empty() {
            true => String::new(),
            false => format!("\n{title}\n\n{}", markdown(&rows, &columns)),
        }
    };
    let mut text = "# Messages to all members\n\nOn a simulated LAN. Each message has 1 KiB. Times are from its publication until it \
                    is delivered to the application of every other member. The hops of a message are those of its longest path. \
                    Redundancy is how often more than once a member receives it (relative message redundancy of the Plumtree \
                    paper). Bytes on the wire include headers, and are what was sent more than while nobody published, for each \
                    member and message; control messages are announcements, requests and prunes.\n"
        .to_owned();
    text += &section(
        "## Bursts\n\nEach publisher publishes 100 messages, one every 100 ms. `Loss` is 10 % of all packets. `Deaths` are those \
         of a tenth of the hosts at once in the middle; `lacking` counts the messages that members that live to the end did \
         not receive, and `reported` how many of those they were told of.",
        &[MessageCase::One, MessageCase::Ten, MessageCase::Loss, MessageCase::Deaths],
        vec![
            head(true),
            times(),
            vec![
                column("within_second", "within 1 s", within_second),
                column("lacking", "lacking", |row| row.sum("lacking").to_string()),
                column("reported", "reported", |row| row.sum("reported").to_string()),
            ],
        ],
    );
    text += &section(
        "## Cost of bursts\n\nThe costs of the same runs. `First` is the first message of each publisher, of which all tree links are still \
         to be found; `steady` the last fifty.",
        &[MessageCase::One, MessageCase::Ten, MessageCase::Loss, MessageCase::Deaths],
        vec![head(true), hops(), redundancy(), bytes(), controls()],
    );
    text += &section(
        "## One message every 3 s, in three ways\n\nTwenty messages, each of a random member. `flood` passes each new message on \
         to the next members of all eight rings. `serf` gossips to three random members every 200 ms, on datagrams of up to \
         1,400 bytes, each event 4 ⌈log₁₀(n + 1)⌉ times.",
        &[MessageCase::Spaced],
        vec![
            head(false),
            times(),
            hops(),
            vec![
                column("rmr", "redundancy", |row| number(row.samples("rmr").mean(), 2)),
                column("lacking", "lacking", |row| row.sum("lacking").to_string()),
            ],
            vec![wire()],
            controls(),
        ],
    );
    text += &section(
        "## Deaths under full load\n\nHosts die one after the other, over links of 1 Gbit/s, while the publishers publish 256 \
         messages of 1 KiB a second each, and while nobody publishes. Times are until all know of the death.",
        &[MessageCase::Loaded, MessageCase::Idle],
        vec![
            head(true),
            vec![
                column("publishers", "publishers", |row| {
                    number(row.samples("publishers").max(), 0)
                }),
                column("deaths", "deaths", |row| row.samples("all").len().to_string()),
            ],
            times(),
            vec![
                column("load", "bytes/s of a member", |row| {
                    number(row.samples("wire_bytes").mean(), 0)
                }),
                column("false_positives", "false deaths", |row| {
                    row.sum("false_positives").to_string()
                }),
            ],
        ],
    );
    let columns = [head(true), times(), hops(), redundancy(), bytes(), controls()];
    let mut columns: Vec<_> = columns.into_iter().flatten().collect();
    columns.extend([
        column("within_second", "", within_second),
        column("lacking", "", |row| row.sum("lacking").to_string()),
        column("reported", "", |row| row.sum("reported").to_string()),
        column("false_positives", "", |row| row.sum("false_positives").to_string()),
    ]);
    Report { name: "messages".to_owned(), text, csv: csv(rows, &columns) }
}

fn head(has_case: bool) -> Vec<Column> {
    let mut head = vec![
        column("protocol", "protocol", |row| row.protocol.to_string()),
        column("n", "members", |row| row.n().to_string()),
    ];
    if has_case {
        head.push(column("case", "case", |row| case(row).to_owned()));
    }
    head
}

fn times() -> Vec<Column> {
    vec![
        column("all_p50_ms", "to all, median", |row| time(row.samples("all").quantile(0.5))),
        column("all_p99_ms", "p99", |row| time(row.samples("all").quantile(0.99))),
        column("all_max_ms", "at most", |row| time(row.samples("all").max())),
    ]
}

fn hops() -> Vec<Column> {
    vec![
        column("last_hop_mean", "hops, mean", |row| number(row.samples("last_hop").mean(), 1)),
        column("last_hop_max", "at most", |row| number(row.samples("last_hop").max(), 0)),
    ]
}

fn redundancy() -> Vec<Column> {
    let mean = |metric: &'static str| move |row: &Row| number(row.samples(metric).mean(), 2);
    vec![
        column("rmr_first", "redundancy, first", mean("rmr_first")),
        column("rmr", "100 messages", mean("rmr")),
        column("rmr_steady", "steady", mean("rmr_steady")),
    ]
}

fn wire() -> Column {
    column("wire_bytes", "bytes on the wire", |row| number(row.samples("wire_bytes").mean(), 0))
}

fn bytes() -> Vec<Column> {
    let steady = |row: &Row| number(row.samples("steady_bytes").mean(), 0);
    vec![wire(), column("steady_bytes", "steady", steady)]
}

fn controls() -> Vec<Column> {
    let mean = |row: &Row| number(row.samples("controls").mean(), 1);
    vec![column("controls", "control messages", mean)]
}

/// The share of all deliveries that happened within a second, in percent; of those that lived it is not known.
fn within_second(row: &Row) -> String {
    let share = row.sum("within_second") / row.sum("readers");
    if MessageCase::of(row.point.get("case")) == Some(MessageCase::Deaths) {
        return "–".to_owned();
    }
    if share.is_finite() { format!("{:.3} %", share * 100.0) } else { "–".to_owned() }
}

fn case(row: &Row) -> &'static str {
    match MessageCase::of(row.point.get("case")) {
        Some(MessageCase::One) => "one publisher",
        Some(MessageCase::Ten) => "ten publishers",
        Some(MessageCase::Loss) => "ten; loss",
        Some(MessageCase::Deaths) => "ten; deaths",
        Some(MessageCase::Spaced) => "one by one",
        Some(MessageCase::Loaded) => "at the limit",
        Some(MessageCase::Idle) => "nobody publishes",
        None => "",
    }
}
