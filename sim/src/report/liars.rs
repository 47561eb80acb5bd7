//! The report on liars among the observers of a member.

use super::{
    Report, Row,
    table::{column, csv, number, time},
};
use crate::experiment::{LiarCase, PATIENCE_OF_LIARS};

pub(super) fn report(rows: &[Row]) -> Report {
    let known = |row: &Row, share: f64| number(row.samples("known").quantile(share), 1);
    let columns = vec![
        column("n", "", |row| row.n().to_string()),
        column("observers", "", |row| row.point.count("observers").to_string()),
        column("majority", "", |row| majority(row).to_string()),
        column("loss", "", |row| row.point.get("loss").to_string()),
        column("lie", "", name),
        column("died", "", |row| died(row).to_owned()),
        column("liars", "", |row| row.point.count("liars").to_string()),
        column("signed_votes", "", |row| if is_signed(row) { "require" } else { "off" }.to_owned()),
        column("runs", "", |row| row.runs.to_string()),
        column("missing_mean_percent", "", |row| number(row.samples("missing_mean").mean(), 4)),
        column("missing_worst_percent", "", |row| number(row.samples("missing_worst").max(), 4)),
        column("false_deaths", "", |row| row.sum("false_deaths").to_string()),
        column("others_declared", "", |row| row.sum("others_declared").to_string()),
        column("known_p50_ms", "", move |row| known(row, 0.5)),
        column("known_max_ms", "", move |row| known(row, 1.0)),
    ];
    let mut rows: Vec<_> = rows.to_vec();
    rows.sort_by_key(|row| {
        let place = |name: &str| row.point.count(name);
        (place("n"), row.point.get("loss").to_bits(), place("case"), place("kill"), place("liars"))
    });
    let mut text = format!(
        "# Liars\n\nSome observers of one member lie about it to all others, each 50 ms, on a simulated LAN. They hold the \
         cluster key, act together, and know each other's keys. Where votes are signed (`require`), a verdict needs the \
         signatures of more than half of the observers: rows from that majority on are **bold**. A healthy member is one \
         that does not lie.\n\n\
         - **A living member is accused** for 60 s. *Missing* is the share of that time in which it is not in the list of \
         a healthy member, in the mean of members and runs, and at the worst member of all runs. *False deaths* are those that \
         healthy members report, in all runs.\n\
         - **A death is hidden.** The time is from the death until all healthy members know of it. The liars say nothing of \
         what they find themselves. After {} s a run ends: “≥”.\n\n\
         Without a name, figures are those of the lie that achieves most.\n",
        PATIENCE_OF_LIARS.as_secs()
    );
    let mut clusters: Vec<&Row> = Vec::new();
    for row in &rows {
        if !clusters.iter().any(|known| cluster(known) == cluster(row)) {
            clusters.push(row);
        }
    }
    for first in clusters {
        let of: Vec<_> = rows.iter().filter(|row| cluster(row) == cluster(first)).collect();
        text += &section(first, &of);
    }
    Report { name: "liars".to_owned(), text, csv: csv(&rows, &columns) }
}

fn cluster(row: &Row) -> (u32, u64) {
    (row.n(), row.point.get("loss").to_bits())
}

/// The tables of one cluster.
fn section(first: &Row, rows: &[&Row]) -> String {
    let (n, observers, most) = (first.n(), first.point.count("observers"), majority(first));
    let loss = 100.0 * first.point.get("loss");
    let mut text = format!(
        "\n## {n} members, {observers} observers, {loss} % of packets lost\n\nA majority are {most} liars. {} runs in each \
         cell.\n",
        first.runs
    );
    let of = |hides: bool| -> Vec<&Row> {
        rows.iter().copied().filter(|row| case(row).is_some_and(LiarCase::hides) == hides).collect()
    };
    let accused = of(false);
    if !accused.is_empty() {
        text += "\n**A living member is accused.**\n\n";
        let heads = ["missing", "at the worst member", "false deaths"];
        text += &table(&accused, &heads, |rows| {
            let most =
                |value: &dyn Fn(&Row) -> f64| rows.iter().map(|row| value(row)).fold(0.0, f64::max);
            vec![
                percent(most(&|row| row.samples("missing_mean").mean())),
                percent(most(&|row| row.samples("missing_worst").max())),
                number(most(&|row| row.sum("false_deaths")), 0),
            ]
        });
        text += "\nMissing in the mean, by lie, with votes unsigned and signed:\n\n";
        text += &by_lie(&accused, |row| percent(row.samples("missing_mean").mean()));
    }
    for (kind, title) in [("process", "A process dies"), ("host", "A host dies")] {
        let hidden: Vec<_> = of(true).into_iter().filter(|row| died(row) == kind).collect();
        if hidden.is_empty() {
            continue;
        }
        text += &format!("\n**{title}, and liars hide it.**\n\n");
        text += &table(&hidden, &["known to all, median", "at most"], |rows| {
            let most = |share: f64| {
                let each = rows.iter().map(|row| row.samples("known").quantile(share));
                at_least(each.fold(0.0, f64::max))
            };
            vec![most(0.5), most(1.0)]
        });
        text += "\nKnown to all at most, by lie, with votes unsigned and signed:\n\n";
        text += &by_lie(&hidden, |row| at_least(row.samples("known").max()));
    }
    text
}

/// A row for each number of liars, and these columns for each mode, of all rows with both.
fn table(rows: &[&Row], heads: &[&str], cells: impl Fn(&[&Row]) -> Vec<String>) -> String {
    let modes = ["`off`", "`require`"];
    let heads =
        modes.iter().flat_map(|mode| heads.iter().map(move |head| format!("{mode}: {head}")));
    lines(rows, heads.collect(), |liars| {
        let of = |signed: bool| -> Vec<&Row> {
            let is_such =
                |row: &&Row| row.point.count("liars") == liars && is_signed(row) == signed;
            rows.iter().copied().filter(is_such).collect()
        };
        [cells(&of(false)), cells(&of(true))].concat()
    })
}

/// A row for each number of liars, and a column for each lie, with both modes in a cell.
fn by_lie(rows: &[&Row], cell: impl Fn(&Row) -> String) -> String {
    let mut cases: Vec<_> = rows.iter().map(|row| row.point.count("case")).collect();
    cases.sort_unstable();
    cases.dedup();
    let heads = cases.iter().map(|&case| LiarCase::of(case.into()).map_or(String::new(), words));
    lines(rows, heads.collect(), |liars| {
        let of = |case: u32, signed: bool| {
            let found = rows.iter().find(|row| {
                let is_case = row.point.count("case") == case;
                is_case && row.point.count("liars") == liars && is_signed(row) == signed
            });
            found.map_or_else(|| "–".to_owned(), |row| cell(row))
        };
        cases.iter().map(|&case| format!("{} / {}", of(case, false), of(case, true))).collect()
    })
}

/// A table with a line for each number of liars, bold from the majority on.
fn lines(rows: &[&Row], heads: Vec<String>, cells: impl Fn(u32) -> Vec<String>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let (observers, most) =
        rows.first().map_or((0, 0), |row| (row.point.count("observers"), majority(row)));
    let rule = vec!["---:".to_owned(); heads.len() + 1];
    let mut table = line(&[vec![format!("liars of {observers}")], heads].concat()) + &line(&rule);
    let mut numbers: Vec<_> = rows.iter().map(|row| row.point.count("liars")).collect();
    numbers.sort_unstable();
    numbers.dedup();
    for liars in numbers {
        let cells = [vec![liars.to_string()], cells(liars)].concat();
        let bold = |cell: &String| if liars >= most { format!("**{cell}**") } else { cell.clone() };
        table += &line(&cells.iter().map(bold).collect::<Vec<_>>());
    }
    table
}

fn case(row: &Row) -> Option<LiarCase> {
    LiarCase::of(row.point.get("case"))
}

fn name(row: &Row) -> String {
    case(row).map_or_else(|| "–".to_owned(), words)
}

fn words(case: LiarCase) -> String {
    let name = clap::ValueEnum::to_possible_value(&case);
    name.map_or_else(String::new, |name| name.get_name().to_owned())
}

fn died(row: &Row) -> &'static str {
    match (case(row).is_some_and(LiarCase::hides), row.point.count("kill")) {
        (false, _) => "–",
        (true, 0) => "host",
        (true, _) => "process",
    }
}

fn is_signed(row: &Row) -> bool {
    row.point.count("signed") == 1
}

fn majority(row: &Row) -> u32 {
    row.point.count("observers") / 2 + 1
}

/// A share of time. One that is not zero is not shown as zero.
fn percent(share: f64) -> String {
    match share {
        0.0 => "0".to_owned(),
        s if s < 0.01 => "< 0.01 %".to_owned(),
        s if s < 1.0 => number(s, 2) + " %",
        s => number(s, 1) + " %",
    }
}

fn at_least(millis: f64) -> String {
    let cap = PATIENCE_OF_LIARS.as_secs_f64() * 1e3;
    if millis < cap { time(millis) } else { format!("≥ {:.0} s", cap / 1e3) }
}
