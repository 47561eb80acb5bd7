//! The report on the distribution of the time until a death is known, beside the distribution that `docs/explanation/detector.md`
//! predicts: a wait for the next ping that is uniform over a period, then the tolerance.

use super::{
    Report, Row,
    plots::SHARES,
    table::{Column, column, csv, markdown, number, time},
};

/// The kinds of death, in the order of the experiment's points, and their tolerances in milliseconds.
const KINDS: [(&str, f64); 3] =
    [("a process", 0.0), ("a host", 1_000.0), ("a host behind a firewall", 3_000.0)];
/// The protocol period in milliseconds.
const PERIOD: f64 = 1_000.0;

pub(super) fn report(rows: &[Row]) -> Report {
    let mut text = "# Distribution of the time until a death is known\n\nMembers of a cluster with the LAN profile die one \
                    after the other at random moments; measured is when the last of the others knows. *Expected* is the wait \
                    for the next ping, uniform over T = 1 s, plus the tolerance: none for a process whose host lives, P = 1 s \
                    for a host that used to answer, 3 P for one that never did. *Distance* is the largest difference between \
                    the two distributions (Kolmogorov and Smirnov); chance alone makes it exceed the last column in one case \
                    of a hundred.\n\n"
        .to_owned();
    text += &markdown(rows, &columns());
    let mut cells = columns();
    for share in SHARES {
        cells.push(Column {
            name: format!("q{share:02}_ms"),
            heading: "",
            value: Box::new(move |row| {
                format!("{:.1}", row.samples("all").quantile(f64::from(share) / 100.0))
            }),
        });
    }
    Report { name: "distribution".to_owned(), text, csv: csv(rows, &cells) }
}

fn columns() -> Vec<Column> {
    let expected = |row: &Row, share: f64| kind(row).1 + share * PERIOD;
    vec![
        column("died", "died", |row| kind(row).0.to_owned()),
        column("n", "members", |row| row.n().to_string()),
        column("deaths", "deaths", |row| row.samples("all").len().to_string()),
        column("p10_ms", "10 %", |row| time(row.samples("all").quantile(0.1))),
        column("p10_expected_ms", "expected", move |row| time(expected(row, 0.1))),
        column("p50_ms", "median", |row| time(row.samples("all").quantile(0.5))),
        column("p50_expected_ms", "expected", move |row| time(expected(row, 0.5))),
        column("p90_ms", "90 %", |row| time(row.samples("all").quantile(0.9))),
        column("p90_expected_ms", "expected", move |row| time(expected(row, 0.9))),
        column("p99_ms", "99 %", |row| time(row.samples("all").quantile(0.99))),
        column("p99_expected_ms", "expected", move |row| time(expected(row, 0.99))),
        column("distance", "distance", |row| number(distance(row), 3)),
        column("distance_by_chance", "by chance", |row| {
            number(1.63 / (row.samples("all").len() as f64).sqrt(), 3)
        }),
    ]
}

fn kind(row: &Row) -> (&'static str, f64) {
    match row.point.count("kill") {
        0 => KINDS[1],
        1 => KINDS[0],
        _ => KINDS[2],
    }
}

/// The largest difference between the measured and the expected share, over all moments.
fn distance(row: &Row) -> f64 {
    let samples = row.samples("all");
    let count = samples.len() as f64;
    let sorted = (0..samples.len()).map(|rank| samples.quantile((rank as f64 + 0.5) / count));
    let differences = sorted.enumerate().map(|(rank, at)| {
        let expected = ((at - kind(row).1) / PERIOD).clamp(0.0, 1.0);
        let (before, after) = (rank as f64 / count, (rank as f64 + 1.0) / count);
        (expected - before).abs().max((after - expected).abs())
    });
    differences.fold(0.0, f64::max)
}
