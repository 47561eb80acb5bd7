//! A plan as JSON, for programs.

use std::fmt;

use super::{
    Binding, Checked, Comparison, Cost, Detection, Deviation, Kind, PerYear, Plan, Quantiles,
    Range, WhatIf,
};

/// A value. Numbers that JSON does not have are null.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Number(f64),
    Text(String),
    List(Vec<Self>),
    Map(Vec<(&'static str, Self)>),
}

impl Plan {
    /// The plan as JSON, with the results of a check if there was one. Times are in seconds.
    pub fn to_json(&self, checked: Option<&Checked>) -> String {
        let config = &self.inputs.config;
        let seconds = |duration: std::time::Duration| Json::Number(duration.as_secs_f64());
        let network = &self.inputs.network;
        let mut plan = vec![
            ("members", Json::Number(self.inputs.members.into())),
            ("loss", Json::Number(network.loss)),
            ("period", seconds(config.period)),
            ("max_period", config.max_period.map_or(Json::Null, seconds)),
            ("pause_tolerance", seconds(config.pause_tolerance)),
            ("hang_tolerance", seconds(config.hang_tolerance)),
            ("rings", Json::Number(config.rings.into())),
            ("detection", Json::List(self.detection.iter().map(detection).collect())),
            ("load", self.load_json()),
            ("mistakes_per_year", self.mistakes_json()),
            ("binding", Json::List(self.bindings.iter().map(binding).collect())),
            ("warnings", Json::List(self.warnings.iter().cloned().map(Json::Text).collect())),
        ];
        plan.extend(checked.map(|checked| ("check", self.check_json(checked))));
        format!("{}\n", Json::Map(plan))
    }

    fn load_json(&self) -> Json {
        let load = &self.load;
        let cost = |Cost { kind, messages, bytes }: &Cost| {
            Json::Map(vec![
                ("kind", name(*kind)),
                ("messages", Json::Number(*messages)),
                ("bytes", Json::Number(*bytes)),
            ])
        };
        Json::Map(vec![
            ("messages_per_second", Json::Number(load.messages)),
            ("packets_per_second", Json::Number(load.packets)),
            ("bytes_per_second", Json::Number(load.bytes)),
            ("death", Json::List(load.deaths.iter().map(cost).collect())),
            ("cpu_ms_per_second", range(load.cpu_ms)),
            ("connections", Json::Number(load.connections)),
            ("memory_mib", range(load.memory_mib)),
        ])
    }

    fn mistakes_json(&self) -> Json {
        let mistakes = &self.mistakes;
        let stalls = mistakes.from_stalls.map_or(Json::Null, |found| {
            Json::Map(vec![
                ("suspicions", per_year(found.suspicions)),
                ("deaths_if_hosts_stall", per_year(found.deaths_of_hosts)),
                ("deaths_if_processes_stall", per_year(found.deaths_of_processes)),
            ])
        });
        Json::Map(vec![
            ("from_stalls", stalls),
            ("deaths_from_loss_at_most", Json::Number(mistakes.deaths_from_loss)),
            ("suspicions_from_loss_at_most", Json::Number(mistakes.suspicions_from_loss)),
        ])
    }

    fn check_json(&self, checked: &Checked) -> Json {
        let pair = |(model, measured): (f64, f64)| {
            Json::Map(vec![("model", Json::Number(model)), ("measured", Json::Number(measured))])
        };
        let comparison = |found: &Comparison| {
            let all = |of: &[Deviation]| Json::List(of.iter().map(deviation).collect());
            Json::Map(vec![
                ("kind", name(found.kind)),
                ("deaths", Json::Number(found.deaths as f64)),
                ("unnoticed", Json::Number(found.unnoticed as f64)),
                ("suspected", all(&found.suspected)),
                ("known", all(&found.known)),
                ("messages", pair(found.messages)),
            ])
        };
        Json::Map(vec![
            ("detection", Json::List(checked.comparisons.iter().map(comparison).collect())),
            ("messages_per_second", pair(checked.messages)),
            ("simulated_bytes_per_second", pair(checked.bytes)),
            ("member_hours", Json::Number(checked.member_hours)),
            ("false_deaths", Json::Number(checked.false_deaths as f64)),
            ("false_deaths_per_year_at_most", Json::Number(checked.most_false_deaths(self))),
            ("false_suspicions", Json::Number(checked.false_suspicions as f64)),
        ])
    }
}

fn detection(detection: &Detection) -> Json {
    let terms = Detection::TERMS.into_iter().zip(detection.terms.map(Json::Number)).collect();
    Json::Map(vec![
        ("kind", name(detection.kind)),
        ("suspected", detection.suspected.map_or(Json::Null, quantiles)),
        ("known", quantiles(detection.known)),
        ("terms_of_median", Json::Map(terms)),
    ])
}

fn binding(Binding { kind, setting, value, share, halved }: &Binding) -> Json {
    let number = |value: &Option<f64>| value.map_or(Json::Null, Json::Number);
    let what_if = |WhatIf { value, known_p50, false_deaths, messages }: &WhatIf| {
        Json::Map(vec![
            ("value", Json::Number(*value)),
            ("known_p50", Json::Number(*known_p50)),
            ("false_deaths_per_year", false_deaths.map_or(Json::Null, per_year)),
            ("messages_per_second", number(messages)),
        ])
    };
    Json::Map(vec![
        ("kind", name(*kind)),
        ("setting", Json::Text((*setting).to_owned())),
        ("value", number(value)),
        ("share", Json::Number(*share)),
        ("halved", halved.as_ref().map_or(Json::Null, what_if)),
    ])
}

fn deviation(deviation: &Deviation) -> Json {
    let (low, high) = deviation.interval;
    Json::Map(vec![
        ("share", Json::Number(deviation.share)),
        ("model", Json::Number(deviation.model)),
        ("measured", Json::Number(deviation.measured)),
        ("interval", Json::List(vec![Json::Number(low), Json::Number(high)])),
        ("deviation", Json::Number(deviation.relative())),
    ])
}

fn name(kind: Kind) -> Json {
    Json::Text(kind.as_str().to_owned())
}

fn quantiles(Quantiles { p50, p90, p99 }: Quantiles) -> Json {
    let number = Json::Number;
    Json::Map(vec![("p50", number(p50)), ("p90", number(p90)), ("p99", number(p99))])
}

fn range(Range { least, most }: Range) -> Json {
    Json::Map(vec![("least", Json::Number(least)), ("most", Json::Number(most))])
}

fn per_year(PerYear { least, most }: PerYear) -> Json {
    range(Range { least, most })
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) if number.is_finite() => write!(f, "{number}"),
            Self::Null | Self::Number(_) => f.write_str("null"),
            Self::Text(text) => quoted(f, text),
            Self::List(values) => {
                f.write_str("[")?;
                for (place, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if place > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Map(entries) => {
                f.write_str("{")?;
                for (place, (key, value)) in entries.iter().enumerate() {
                    f.write_str(if place > 0 { "," } else { "" })?;
                    quoted(f, key)?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(f, "\\{character}")?,
            control if control.is_control() => write!(f, "\\u{:04x}", u32::from(control))?,
            other => write!(f, "{other}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_json() {
        let text = Json::Text("a \"b\"\\\n".to_owned());
        let numbers = [1.0, 0.25, f64::NAN, f64::INFINITY].map(Json::Number).to_vec();
        let value = Json::Map(vec![("t", text), ("n", Json::List(numbers)), ("z", Json::Null)]);
        let expected = r#"{"t":"a \"b\"\\\u000a","n":[1,0.25,null,null],"z":null}"#;
        assert_eq!(value.to_string(), expected);
    }
}
