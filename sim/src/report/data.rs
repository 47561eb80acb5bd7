//! The report on member data.

use super::{
    Report, Row,
    table::{Column, column, csv, markdown, number, time},
};
use crate::experiment::DataCase;

pub(super) fn report(rows: &[Row]) -> Report {
    let known = || -> Vec<Column> {
        vec![
            column("known_p50_ms", "known to all, median", |row| {
                time(row.samples("known").quantile(0.5))
            }),
            column("known_p99_ms", "p99", |row| time(row.samples("known").quantile(0.99))),
            column("known_max_ms", "at most", |row| time(row.samples("known").max())),
        ]
    };
    let bytes = |name, heading, metric: &'static str| {
        column(name, heading, move |row| number(row.samples(metric).mean(), 0))
    };
    let list = || {
        column("list_max_ms", "all members known, at most", |row| time(row.samples("list").max()))
    };
    let is_of = |cases: &'static [DataCase]| {
        move |row: &&Row| DataCase::of(row.point.get("case")).is_some_and(|c| cases.contains(&c))
    };
    let head = || {
        vec![
            column("protocol", "protocol", |row| row.protocol.to_string()),
            column("n", "members", |row| row.n().to_string()),
        ]
    };
    let section = |title: &str, cases: &'static [DataCase], columns: Vec<Column>| {
        let rows: Vec<_> = rows.iter().filter(is_of(cases)).cloned().collect();
        match rows.is_empty() {
            true => String::new(),
            false => format!("\n{title}\n\n{}", markdown(&rows, &columns)),
        }
    };
    let with = |columns: Vec<Vec<Column>>| columns.into_iter().flatten().collect::<Vec<_>>();
    let mut text = "# Member data\n\nOn a simulated LAN. Each member has 200 bytes of data from the start, unless said. \
                    `chitchat` is the same with chitchat's digests and deltas, without its failure detector.\n"
        .to_owned();
    text += &section(
        "## A change of 200 bytes\n\nSingle changes of random members, from the moment in which the owner publishes them: it \
         first waits up to 50 ms for other writes. Bytes are those of a change, for each member. Those on the wire include \
         headers and are what was sent more than in the same time without changes; the others are payloads. Idle bytes are \
         for each member and second, those of pings and repair included.",
        &[DataCase::Change],
        with(vec![
            head(),
            known(),
            vec![
                bytes("wire_bytes", "bytes on the wire", "wire_bytes"),
                bytes("change_bytes", "changes", "change_bytes"),
                bytes("announced_bytes", "announcements", "announced_bytes"),
                bytes("asked_bytes", "requests", "asked_bytes"),
                bytes("fingerprint_bytes", "on each ping and ack", "fingerprint_bytes"),
                bytes("idle_bytes", "idle bytes/s", "idle_bytes"),
            ],
        ]),
    );
    text += &section(
        "## After a split\n\nTwo halves are split for 30 s, in which each member changes 200 bytes. Times are from its end \
         until every member has the last data of every other; bytes are those until then, for each member.",
        &[DataCase::Heal],
        with(vec![
            head(),
            vec![list()],
            known(),
            vec![bytes("wire_bytes", "bytes on the wire", "wire_bytes")],
        ]),
    );
    text += &section(
        "## A newcomer\n\nOne more member joins, where each has 16 KiB of data, over links of 1 Gbit/s. Times are from its \
         start. Bytes are those sent by all members until then.",
        &[DataCase::Newcomer],
        with(vec![
            head(),
            vec![list()],
            known(),
            vec![bytes("wire_bytes", "bytes on the wire", "wire_bytes")],
        ]),
    );
    text += &section(
        "## Deaths while everybody writes\n\nHosts or processes die one after the other, while every member changes 200 bytes \
         each 5 s, and while nobody writes.",
        &[DataCase::HostLoaded, DataCase::HostIdle, DataCase::ProcessLoaded, DataCase::ProcessIdle],
        with(vec![
            head(),
            vec![
                column("case", "killed", |row| case(row).to_owned()),
                column("deaths", "deaths", |row| row.samples("known").len().to_string()),
            ],
            known(),
            vec![
                bytes("idle_bytes", "bytes/s of a member before", "idle_bytes"),
                column("false_positives", "false deaths", |row| {
                    row.sum("false_positives").to_string()
                }),
            ],
        ]),
    );
    let csv_columns = with(vec![
        head(),
        vec![column("case", "", |row| case(row).to_owned()), list()],
        known(),
        [
            "wire_bytes",
            "change_bytes",
            "announced_bytes",
            "asked_bytes",
            "fingerprint_bytes",
            "idle_bytes",
        ]
        .map(|name| column(name, "", move |row| number(row.samples(name).mean(), 1)))
        .into(),
    ]);
    Report { name: "data".to_owned(), text, csv: csv(rows, &csv_columns) }
}

fn case(row: &Row) -> &'static str {
    match DataCase::of(row.point.get("case")) {
        Some(DataCase::Change) => "change",
        Some(DataCase::Heal) => "heal",
        Some(DataCase::Newcomer) => "newcomer",
        Some(DataCase::HostLoaded) => "hosts; all write",
        Some(DataCase::HostIdle) => "hosts; nobody writes",
        Some(DataCase::ProcessLoaded) => "processes; all write",
        Some(DataCase::ProcessIdle) => "processes; nobody writes",
        None => "",
    }
}
