//! The reports on members in trouble that are not dead, and on Rapid's experiments.

use super::{
    Report, Row,
    table::{Column, column, csv, markdown, number, time},
};
use crate::experiment::{GrayCase, NEVER, RapidCase};

pub(super) fn report(rows: &[Row]) -> Report {
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| a.point.get("case").total_cmp(&b.point.get("case")));
    let columns = |is_for_people: bool| {
        let about = || about(is_for_people, gray_words);
        (about(), of_troubled(is_for_people), about(), of_others(is_for_people))
    };
    let (about, troubled, about_others, others) = columns(true);
    let mut text = "# Members in trouble\n\nFor two minutes, members of a simulated LAN are neither well nor dead: one in a hundred \
                    loses 80 % of what it sends, or of what it should receive, or receives nothing for 20 s and everything for 20 s in \
                    turn; 12 of 128 can open no new connection, nor can others with them, while 30 members join; packets above \
                    1,000 bytes to and from one member are lost, those that open connections among them, while 30 members join; \
                    half are blocked again and again for 16 or 32 s and open for 1 ms in between, or a quarter for 8 s and 64 ms. \
                    `phin-evict` removes members that are degraded for 20 s.\n\n**Those in trouble.** *Reported*: another member \
                    reports it as degraded, the first one, all of its observers, and all members that are well; medians, and a dash \
                    where that did not happen. *Flaps*: how often a report ended while the trouble lasted, for each member that \
                    reported. *Removed*: declared dead by a member that is well, when first, and how often in the mean list.\n\n"
        .to_owned();
    text += &markdown(&sorted, &joined([about, troubled]));
    text += "\n**The others.** Removed are members that are well, from lists of others that are. Verdicts on them count in every \
             list, also of members in trouble. Suspicions count at each member that learns of them, in the first minute and in the \
             second one. Load is that of a member: in the mean of the two minutes, in the worst and in the last 5 s, and of the member \
             that sent most in 5 s. Newcomers are in the lists of those that are well, and of those in trouble, so long after they \
             came.\n\n";
    text += &markdown(&sorted, &joined([about_others, others]));
    let (about, troubled, _, others) = columns(false);
    let csv = csv(&sorted, &joined([about, troubled, others]));
    Report { name: "gray".to_owned(), text, csv }
}

pub(super) fn rapid(rows: &[Row]) -> Report {
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| a.point.get("case").total_cmp(&b.point.get("case")));
    let columns = |is_for_people: bool| -> Vec<Column> {
        let millis = millis(is_for_people);
        let own = vec![
            column("removed", "members that are well removed", |row| range(row, "removed")),
            column("verdicts", "verdicts on them", |row| row.sum("verdicts").to_string()),
            column("known_max_ms", "crashes known to all, at most", move |row| {
                millis(row.samples("known").max())
            }),
            column("gray_removed", "of the troubled removed", troubled_removed),
            column("gray_removals", "times from a list", |row| {
                number(row.samples("gray_removals").mean(), 2)
            }),
            column("degraded_observers_ms", "reported by their observers", move |row| {
                millis(row.samples("degraded_observers").quantile(0.5))
            }),
            column("messages_s", "messages/s", |row| {
                number(row.sum("messages") / row.sum("seconds"), 1)
            }),
            column("worst_messages_s", "of the worst member", |row| {
                number(row.samples("worst_load").max(), 1)
            }),
        ];
        joined([about(is_for_people, rapid_words), own])
    };
    let mut text = "# Rapid's experiments\n\nRapid (Suresh et al., USENIX ATC 2018) is measured where one member in a hundred crashes, \
                    loses all that it should receive for 20 s in every 40 s, or loses 80 % of its packets; Akka and memberlist then \
                    remove members that work. Here each lasts for two minutes, on a simulated LAN. Members that are well should stay in \
                    the lists of all others that are; where runs differ, the least and the most are given. Verdicts count in every \
                    list. A report says that a member is degraded: the time until all of its observers made it, in the median. \
                    `phin-evict` removes members that are degraded for 20 s. Load is the mean of the two minutes, and that of the \
                    member that sent most in 5 s.\n\n"
        .to_owned();
    text += &markdown(&sorted, &columns(true));
    Report { name: "rapid".to_owned(), text, csv: csv(&sorted, &columns(false)) }
}

fn joined<const N: usize>(columns: [Vec<Column>; N]) -> Vec<Column> {
    columns.into_iter().flatten().collect()
}

fn about(is_for_people: bool, words: fn(&Row) -> (&'static str, &'static str)) -> Vec<Column> {
    vec![
        column("case", "trouble", move |row| {
            let (name, words) = words(row);
            if is_for_people { words } else { name }.to_owned()
        }),
        column("protocol", "protocol", |row| row.protocol.to_string()),
        column("n", "members", |row| row.n().to_string()),
        column("gray", "in trouble", |row| number(row.samples("gray").mean(), 0)),
        column("runs", "runs", |row| row.runs.to_string()),
    ]
}

fn of_troubled(is_for_people: bool) -> Vec<Column> {
    let millis = millis(is_for_people);
    let median = move |name, heading, metric: &'static str| {
        column(name, heading, move |row| millis(row.samples(metric).quantile(0.5)))
    };
    vec![
        median("degraded_first_ms", "reported by the first", "degraded_first"),
        median("degraded_observers_ms", "by its observers", "degraded_observers"),
        median("degraded_all_ms", "by all", "degraded_all"),
        column("flaps", "flaps", |row| number(row.samples("flaps").mean(), 2)),
        column("gray_removed", "removed", troubled_removed),
        median("gray_removed_ms", "after", "gray_removed_after"),
        column("gray_removals", "times from a list", |row| {
            number(row.samples("gray_removals").mean(), 2)
        }),
    ]
}

fn of_others(is_for_people: bool) -> Vec<Column> {
    let millis = millis(is_for_people);
    vec![
        column("removed", "removed", |row| range(row, "removed")),
        column("verdicts", "verdicts on them", |row| row.sum("verdicts").to_string()),
        column("healthy_degraded", "reported as degraded", |row| range(row, "healthy_degraded")),
        column("early_suspicions", "suspicions, 1st minute", |row| {
            number(row.samples("early_suspicions").mean(), 0)
        }),
        column("late_suspicions", "2nd", |row| number(row.samples("late_suspicions").mean(), 0)),
        column("messages_s", "messages/s", |row| {
            number(row.sum("messages") / row.sum("seconds"), 1)
        }),
        column("load_messages_s", "worst 5 s", |row| number(row.samples("load").max(), 1)),
        column("last_messages_s", "last 5 s", |row| number(row.samples("last_load").mean(), 1)),
        column("worst_messages_s", "of the worst member", |row| {
            number(row.samples("worst_load").max(), 1)
        }),
        column("newcomers_healthy_ms", "newcomers known to the well", move |row| {
            millis(row.samples("newcomers_healthy").max())
        }),
        column("newcomers_gray_ms", "to those in trouble", move |row| {
            millis(row.samples("newcomers_gray").max())
        }),
    ]
}

/// How many of the members in trouble were removed, of how many, in all runs.
fn troubled_removed(row: &Row) -> String {
    format!("{} of {}", row.sum("gray_removed"), row.sum("gray"))
}

/// The least and the most of all runs.
fn range(row: &Row, metric: &str) -> String {
    let samples = row.samples(metric);
    match (samples.quantile(0.0), samples.max()) {
        (least, most) if least < most => format!("{least}–{most}"),
        (_, most) => number(most, 0),
    }
}

/// Milliseconds, in tables with their unit; a dash where something did not happen.
fn millis(is_for_people: bool) -> impl Fn(f64) -> String + Copy {
    move |value: f64| match is_for_people {
        _ if value >= NEVER => "–".to_owned(),
        true => time(value),
        false => number(value, 1),
    }
}

fn gray_words(row: &Row) -> (&'static str, &'static str) {
    match GrayCase::of(row.point.get("case")) {
        Some(GrayCase::SendLoss) => ("send-loss", "80 % of what is sent"),
        Some(GrayCase::ReceiveLoss) => ("receive-loss", "80 % of what is received"),
        Some(GrayCase::FlipFlop) => ("flip-flop", "receives nothing, 20 s of 40 s"),
        Some(GrayCase::NoConnections) => ("no-connections", "no new connections"),
        Some(GrayCase::LargePackets) => ("large-packets", "large packets"),
        Some(GrayCase::SlowHalf16) => ("slow-half-16s", "half blocked for 16 s"),
        Some(GrayCase::SlowHalf32) => ("slow-half-32s", "half blocked for 32 s"),
        Some(GrayCase::SlowQuarter8) => ("slow-quarter-8s", "a quarter blocked for 8 s"),
        None => ("–", "–"),
    }
}

fn rapid_words(row: &Row) -> (&'static str, &'static str) {
    match RapidCase::of(row.point.get("case")) {
        Some(RapidCase::Crashes) => ("crashes", "crash"),
        Some(RapidCase::FlipFlop) => ("flip-flop", "receive nothing, 20 s of 40 s"),
        Some(RapidCase::SendLoss) => ("send-loss", "lose 80 % of what they send"),
        Some(RapidCase::ReceiveLoss) => ("receive-loss", "lose 80 % of what they should receive"),
        None => ("–", "–"),
    }
}
