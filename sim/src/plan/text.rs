//! A plan as readable text.

use std::fmt::Write;

use super::{
    Binding, Checked, Detection, Deviation, PerYear, Plan, Quantiles, Range, WhatIf,
    load::{COSTS_FROM, MEMORY_FORMULA},
};

impl Plan {
    /// The plan as text, with the results of a check if there was one.
    pub fn to_text(&self, checked: Option<&Checked>) -> String {
        let mut text = self.detection_text();
        text += &self.load_text();
        text += &self.mistakes_text(checked);
        text += &self.bindings_text();
        if let Some(checked) = checked {
            text += &self.check_text(checked);
        }
        text
    }

    fn detection_text(&self) -> String {
        let heading = ["silence", "suspected p50", "p90", "p99", "known to all p50", "p90", "p99"];
        let mut rows = vec![heading.map(str::to_owned)];
        for Detection { kind, suspected, known, .. } in &self.detection {
            let times = |Quantiles { p50, p90, p99 }: Quantiles| [p50, p90, p99].map(time);
            let [a, b, c] = suspected.map_or(["-"; 3].map(str::to_owned), times);
            let [d, e, f] = times(*known);
            let name = format!("{} ({})", kind.as_str(), kind.explained());
            rows.push([name, a, b, c, d, e, f]);
        }
        table("A death is noticed after", 1, &rows)
    }

    fn load_text(&self) -> String {
        let load = &self.load;
        let mut text = "\nA member\n".to_owned();
        let mut line = |name: &str, value: String| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {name:<12} {value}");
        };
        line(
            "idle",
            format!(
                "{} messages, {} packets, {} bytes a second",
                number(load.messages),
                number(load.packets),
                number(load.bytes)
            ),
        );
        let costs = load.deaths.iter().map(|cost| {
            format!("{} {:.0} ({} kB)", cost.kind.as_str(), cost.messages, number(cost.bytes / 1e3))
        });
        line("each death", format!("messages more: {}", costs.collect::<Vec<_>>().join(", ")));
        let Range { least, most } = load.cpu_ms;
        line("CPU", format!("{} to {} ms a second", number(least), number(most)));
        let Range { least, most } = load.memory_mib;
        line("memory", format!("{least:.0} to {most:.0} MiB: {MEMORY_FORMULA}"));
        line("connections", format!("{:.0}", load.connections));
        line("measured on", COSTS_FROM.to_owned());
        text
    }

    fn mistakes_text(&self, checked: Option<&Checked>) -> String {
        let mut text = "\nLive members in a year, in the whole cluster\n".to_owned();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<44} {value}");
        };
        let mistakes = &self.mistakes;
        if let Some(found) = mistakes.from_stalls {
            line("suspected because they stall", per_year(found.suspicions));
            line("declared dead, if stalls stop the host", per_year(found.deaths_of_hosts));
            line("declared dead, if only the process", per_year(found.deaths_of_processes));
        } else {
            line("because they stall", "unknown: give --pause or --metrics".to_owned());
        }
        line("suspected because of independent loss", at_most(mistakes.suspicions_from_loss));
        line("declared dead because of independent loss", at_most(mistakes.deaths_from_loss));
        match checked {
            Some(checked) => line(
                "declared dead in the simulations",
                format!(
                    "{} in {} member-hours: at most {} (95 %)",
                    checked.false_deaths,
                    number(checked.member_hours),
                    number(checked.most_false_deaths(self))
                ),
            ),
            None => line("bursts of loss, partitions", "not modelled".to_owned()),
        }
        text
    }

    fn bindings_text(&self) -> String {
        let mut text = "\nWhat binds\n".to_owned();
        for binding in &self.bindings {
            let _ = writeln!(text, "  {:<8} {}", binding.kind.as_str(), bound(binding));
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }

    fn check_text(&self, checked: &Checked) -> String {
        let heading = ["silence", "", "", "model", "simulated", "95 % interval", "deviation"];
        let mut rows = vec![heading.map(str::to_owned)];
        for found in &checked.comparisons {
            let kinds = [("suspected", &found.suspected), ("known to all", &found.known)];
            for (what, deviations) in kinds {
                rows.extend(deviations.iter().map(|deviation| {
                    let Deviation { share, model, measured, interval: (low, high) } = *deviation;
                    [
                        found.kind.as_str().to_owned(),
                        what.to_owned(),
                        format!("p{:.0}", share * 100.0),
                        time(model),
                        time(measured),
                        format!("{} to {}", time(low), time(high)),
                        percent(deviation.relative()),
                    ]
                }));
            }
            rows.push(pair(found.kind.as_str(), "messages of a death", found.messages));
        }
        rows.push(pair("none", "messages/s", checked.messages));
        rows.push(pair("none", "bytes/s, without acknowledgements", checked.bytes));
        let deaths = checked.comparisons.iter().map(|found| found.deaths).min().unwrap_or(0);
        let unnoticed: usize = checked.comparisons.iter().map(|found| found.unnoticed).sum();
        let mut text = table(&format!("Check, {deaths} deaths of each kind"), 3, &rows);
        if unnoticed > 0 {
            let _ = writeln!(text, "  {unnoticed} deaths were not known to all in time");
        }
        if checked.false_suspicions > 0 {
            let _ = writeln!(text, "  {} false suspicions", checked.false_suspicions);
        }
        format!("\n{text}")
    }
}

/// The setting that binds, in a sentence.
fn bound(Binding { setting, value, share, halved, .. }: &Binding) -> String {
    let value = value.map_or(String::new(), |value| format!(" {}", time(value)));
    let mut text = format!("{setting}{value}: {:.0} % of the median", share * 100.0);
    if let Some(WhatIf { value, known_p50, false_deaths, messages }) = halved {
        let _ = write!(text, "; with {} it is {}", time(*value), time(*known_p50));
        if let Some(deaths) = false_deaths {
            let _ = write!(text, ", and {} false deaths a year from stalls", per_year(*deaths));
        }
        if let Some(messages) = messages {
            let _ = write!(text, ", at {} messages a second", number(*messages));
        }
    }
    text
}

fn pair(kind: &str, what: &str, (model, measured): (f64, f64)) -> [String; 7] {
    [
        kind.to_owned(),
        what.to_owned(),
        String::new(),
        number(model),
        number(measured),
        String::new(),
        percent(measured / model - 1.0),
    ]
}

/// A title, and rows with columns of equal width: the first ones to the left, the others to the right.
fn table<const N: usize>(title: &str, left: usize, rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let mut text = format!("{title}\n");
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column).unwrap_or(0);
            let _ = match column < left {
                true => write!(line, "  {cell:<width$}"),
                false => write!(line, "  {cell:>width$}"),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Seconds, with a unit that fits.
fn time(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => "-".to_owned(),
        s if s < 0.9995 => format!("{:.0} ms", s * 1e3),
        s if s < 99.5 => format!("{s:.2} s"),
        s => format!("{s:.0} s"),
    }
}

/// A number with three digits.
fn number(value: f64) -> String {
    match value {
        v if v >= 99.5 => format!("{v:.0}"),
        v if v >= 9.95 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// Two digits: the model does not have more.
fn rough(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{v:.0e}"),
        v if v >= 100.0 => {
            let scale = libm::pow(10.0, libm::floor(libm::log10(v)) - 1.0);
            format!("{:.0}", (v / scale).round() * scale)
        }
        v if v >= 10.0 => format!("{v:.0}"),
        v if v >= 0.1 => format!("{v:.1}"),
        v if v >= 0.01 => format!("{v:.2}"),
        _ => "less than 0.01".to_owned(),
    }
}

fn per_year(PerYear { least, most }: PerYear) -> String {
    match (rough(least), rough(most)) {
        (least, most) if least == most => most,
        (least, most) => format!("{least} to {most}"),
    }
}

fn at_most(value: f64) -> String {
    let value = rough(value);
    if value.starts_with("less") { value } else { format!("at most {value}") }
}

fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:+.0} %", share * 100.0) } else { "-".to_owned() }
}

/// A share in words.
pub(super) fn one_in(share: f64) -> String {
    match 1.0 / share {
        few if few < 1.05 => "all".to_owned(),
        few if few < 10.0 => format!("{:.0} in 100", share * 100.0),
        many => format!("one in {}", rough(many)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_are_known() {
        assert_eq!(
            [0.0123, 0.9996, 12.345, 100.2].map(time),
            ["12 ms", "1.00 s", "12.35 s", "100 s"]
        );
        assert_eq!(
            [0.0, 0.05, 3.21, 45.6, 1234.0, 2.5e7].map(rough),
            ["less than 0.01", "0.05", "3.2", "46", "1200", "2e7"]
        );
        assert_eq!(per_year(PerYear { least: 0.0, most: 31.0 }), "less than 0.01 to 31");
        assert_eq!([1.0, 0.35, 0.001].map(one_in), ["all", "35 in 100", "one in 1000"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows = [["kind", "a"], ["x", "100 ms"]].map(|row| row.map(str::to_owned));
        assert_eq!(table("T", 1, &rows), "T\n  kind       a\n  x     100 ms\n");
    }
}
