//! The reports on slow members, pauses, bootstrap and partitions.

use super::{
    Report, Row,
    table::{Column, column, csv, markdown, number, time},
};

pub(super) fn slow(rows: &[Row]) -> Report {
    let columns = vec![
        column("protocol", "protocol", |row| row.protocol.to_string()),
        column("n", "members", |row| row.n().to_string()),
        column("slow", "slow", |row| row.point.count("c").to_string()),
        column("blocked_s", "blocked, s", |row| row.point.get("d").to_string()),
        column("open_s", "between, s", |row| row.point.get("i").to_string()),
        column("runs", "runs", |row| row.runs.to_string()),
        column("false_positives", "verdicts on healthy members", |row| {
            row.sum("false_positives").to_string()
        }),
        column("false_positives_at_healthy", "of these at healthy members", |row| {
            row.sum("false_positives_at_healthy").to_string()
        }),
        column("members_declared", "healthy members declared dead", |row| {
            row.sum("members_declared").to_string()
        }),
        column("slow_declared", "verdicts on slow members", |row| {
            row.sum("slow_declared").to_string()
        }),
        column("messages_per_member_s", "messages/s", |row| {
            number(row.sum("messages") / row.sum("seconds"), 2)
        }),
    ];
    let intro = "# Slow members\n\nLifeguard's experiment: for two minutes some members are blocked again and again (what they \
                 send and receive waits, their timers run). A verdict is counted at each member that hears of it, as in the \
                 paper; expected of a detector that doubts itself first is none on healthy members.\n\n";
    pages("slow", intro, rows, &columns)
}

pub(super) fn pause(rows: &[Row]) -> Report {
    let columns = vec![
        column("protocol", "protocol", |row| row.protocol.to_string()),
        column("n", "members", |row| row.n().to_string()),
        column("paused", "what stops", |row| {
            if row.point.count("host") == 1 { "host" } else { "process" }.to_owned()
        }),
        column("seconds", "for, s", |row| row.point.get("seconds").to_string()),
        column("runs", "runs", |row| row.runs.to_string()),
        column("suspected_p50_ms", "suspected after, median", |row| {
            time(row.samples("suspected").quantile(0.5))
        }),
        column("declared", "declared dead in", |row| {
            format!("{:.0} %", 100.0 * row.samples("declared").mean())
        }),
        column("back_p50_ms", "alive everywhere after waking, median", |row| {
            time(row.samples("back").quantile(0.5))
        }),
        column("back_max_ms", "at most", |row| time(row.samples("back").max())),
        column("others_declared", "verdicts on others", |row| {
            row.sum("others_declared").to_string()
        }),
    ];
    let intro = "# Pauses\n\nOne member stops and goes on: its process alone (SIGSTOP: the kernel of its host goes on), or its \
                 whole host.\n\n";
    pages("pause", intro, rows, &columns)
}

pub(super) fn bootstrap(rows: &[Row]) -> Report {
    let columns = vec![
        column("protocol", "protocol", |row| row.protocol.to_string()),
        column("n", "members", |row| row.n().to_string()),
        column("runs", "runs", |row| row.runs.to_string()),
        column("complete_p50_ms", "all lists complete, median", |row| {
            time(row.samples("complete").quantile(0.5))
        }),
        column("complete_max_ms", "at most", |row| time(row.samples("complete").max())),
        column("messages_per_member", "messages of a member", |row| {
            number(row.samples("messages").mean(), 0)
        }),
        column("bytes_per_member", "bytes of a member", |row| {
            number(row.samples("bytes").mean(), 0)
        }),
        column("false_positives", "false deaths", |row| row.sum("false_positives").to_string()),
    ];
    let intro = "# Bootstrap\n\nAll members start within 100 ms, each knowing nothing but where the first three are, on a \
                 simulated LAN of 1 Gbit/s links.\n\n";
    pages("bootstrap", intro, rows, &columns)
}

pub(super) fn partition(rows: &[Row]) -> Report {
    let columns = vec![
        column("protocol", "protocol", |row| row.protocol.to_string()),
        column("n", "members", |row| row.n().to_string()),
        column("seconds", "split for, s", |row| row.point.get("seconds").to_string()),
        column("runs", "runs", |row| row.runs.to_string()),
        column("healed_p50_ms", "whole again after, median", |row| {
            time(row.samples("healed").quantile(0.5))
        }),
        column("healed_max_ms", "at most", |row| time(row.samples("healed").max())),
        column("false_positives_own_side", "verdicts on one's own side", |row| {
            row.sum("false_positives_own_side").to_string()
        }),
        column("messages_per_member", "messages of a member until then", |row| {
            number(row.samples("messages").mean(), 0)
        }),
    ];
    let intro = "# Partition\n\nThe network is cut in two halves and healed; the time is that from healing until every list \
                 holds every member again, without outside help. 30 minutes mean that it never happened.\n\n";
    pages("partition", intro, rows, &columns)
}

pub(super) fn calm(rows: &[Row]) -> Report {
    let per_second = |row: &Row, metric| row.sum(metric) / row.sum("seconds");
    let columns = vec![
        column("protocol", "protocol", |row| row.protocol.to_string()),
        column("n", "members", |row| row.n().to_string()),
        column("loss", "packets lost", |row| format!("{} %", row.point.get("loss") * 100.0)),
        column("runs", "runs", |row| row.runs.to_string()),
        column("messages_per_member_s", "messages/s while calm", move |row| {
            number(per_second(row, "messages"), 2)
        }),
        column("bytes_per_member_s", "bytes/s while calm", move |row| {
            number(per_second(row, "bytes"), 0)
        }),
        column("first_p50_ms", "first death known by all, median", |row| {
            time(row.samples("first").quantile(0.5))
        }),
        column("first_p99_ms", "p99", |row| time(row.samples("first").quantile(0.99))),
        column("second_p50_ms", "a second one after it, median", |row| {
            time(row.samples("second").quantile(0.5))
        }),
        column("second_p99_ms", "p99", |row| time(row.samples("second").quantile(0.99))),
        column("false_positives", "false deaths", |row| row.sum("false_positives").to_string()),
    ];
    let intro = "# Calm\n\nNothing happens for 80 s, so periods become as long as they may; then messages are counted for 64 \
                 s, and the hosts of two members go down one after the other. `phin` has its period of 1 s always; `phin-calm2`, \
                 `4` and `8` let it grow to 2, 4 and 8 s while no probe fails and the list does not change.\n\n";
    pages("calm", intro, rows, &columns)
}

fn pages(name: &str, intro: &str, rows: &[Row], columns: &[Column]) -> Report {
    let text = intro.to_owned() + &markdown(rows, columns);
    Report { name: name.to_owned(), text, csv: csv(rows, columns) }
}
