//! An axis: the positions of values, and the labels.

use std::{collections::BTreeSet, ops::Range};

use plotters::coord::{
    ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter},
    types::RangedCoordf64,
};

/// One axis of a plot.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// The quantity, with its unit.
    pub label: &'static str,
    /// The scale.
    pub scale: Scale,
    /// The end of measurement: values from here on are lower bounds, and are drawn as such.
    pub cap: Option<f64>,
}

/// The scale of an axis.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scale {
    /// Equal steps are equally far apart; it begins at zero.
    Linear,
    /// Equal ratios are; zero has a place of its own, before the smallest value.
    Log,
}

impl Axis {
    /// An axis of equal steps.
    pub const fn linear(label: &'static str) -> Self {
        Self { label, scale: Scale::Linear, cap: None }
    }

    /// An axis of equal ratios.
    pub const fn log(label: &'static str) -> Self {
        Self { label, scale: Scale::Log, cap: None }
    }

    /// The same axis, on which measuring ended at this value.
    pub const fn capped_at(self, cap: f64) -> Self {
        Self { cap: Some(cap), ..self }
    }

    /// Whether a value says only that the true one is no smaller.
    pub(crate) fn is_capped(self, value: f64) -> bool {
        self.cap.is_some_and(|cap| value >= cap)
    }

    /// The axis for these values: round numbers stand beside it.
    pub(crate) fn ticks(self, values: &[f64]) -> Ticks {
        // Above what is capped there is room for the sign that says so.
        let room = self.cap.filter(|_| values.iter().any(|&value| self.is_capped(value)));
        let values: Vec<_> = values.iter().copied().chain(room.map(|cap| cap * 1.4)).collect();
        let values = values.as_slice();
        let (least, most) = span(values);
        let labels = match self.scale {
            Scale::Linear => linear_labels(most),
            Scale::Log => log_labels(least, most),
        };
        Ticks::new(self.scale, values, labels)
    }

    /// The axis for these values, where few are different: they themselves stand beside it.
    pub(crate) fn ticks_at(self, values: &[f64]) -> Ticks {
        let different: BTreeSet<_> = values.iter().map(|value| value.to_bits()).collect();
        // On a linear axis those next to zero would stand on each other.
        if self.scale == Scale::Linear || different.len() > MAX_LABELS {
            return self.ticks(values);
        }
        Ticks::new(self.scale, values, different.into_iter().map(f64::from_bits).collect())
    }
}

/// An axis that is ready to be drawn.
pub(crate) struct Ticks {
    scale: Scale,
    /// The position of zero on a logarithmic axis.
    zero: f64,
    /// The position of the break in such an axis.
    gap: Option<f64>,
    /// The range of positions.
    places: Range<f64>,
    labels: Vec<(f64, String)>,
}

impl Ticks {
    fn new(scale: Scale, values: &[f64], mut labels: Vec<f64>) -> Self {
        let (least, most) = span(values);
        let has_zero = scale == Scale::Linear || values.iter().any(|&value| value <= 0.0);
        labels.retain(|&label| label > 0.0);
        if has_zero {
            labels.insert(0, 0.0);
        }
        let labels = labels.into_iter().map(|value| (value, value.to_string())).collect();
        if scale == Scale::Linear {
            return Self { scale, zero: 0.0, gap: None, places: 0.0..most * 1.05, labels };
        }
        let (from, to) = (least.log10(), most.log10());
        let margin = ((to - from) * 0.05).max(0.05);
        let zero = from - 3.0 * margin;
        let gap = has_zero.then(|| 10_f64.powf(from - 1.5 * margin));
        let from = if has_zero { zero } else { from - margin };
        Self { scale, zero, gap, places: from..to + margin, labels }
    }

    /// A value between zero and the logarithms, where a logarithmic axis shows zero: there it has a break.
    pub(crate) const fn gap(&self) -> Option<f64> {
        self.gap
    }

    /// A row for each name, the first at the bottom.
    pub(crate) fn rows(names: &[&str]) -> Self {
        let labels = names.iter().enumerate().map(|(row, name)| (row as f64, (*name).to_owned()));
        let places = -0.7..names.len() as f64 - 0.3;
        Self { scale: Scale::Linear, zero: 0.0, gap: None, places, labels: labels.collect() }
    }

    fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log if value > 0.0 => value.log10(),
            Scale::Log => self.zero,
        }
    }
}

impl Ranged for Ticks {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        RangedCoordf64::from(self.places.clone()).map(&self.place(*value), limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.labels.iter().map(|label| label.0).collect()
    }

    fn range(&self) -> Range<f64> {
        let value = |place: f64| if self.scale == Scale::Log { 10_f64.powf(place) } else { place };
        value(self.places.start)..value(self.places.end)
    }
}

impl ValueFormatter<f64> for Ticks {
    fn format_ext(&self, value: &f64) -> String {
        let label = self.labels.iter().find(|label| label.0 == *value);
        label.map(|(_, text)| text.clone()).unwrap_or_default()
    }
}

/// The smallest value above zero and the largest; something where there is none.
fn span(values: &[f64]) -> (f64, f64) {
    let positive = values.iter().filter(|&&value| value > 0.0);
    let (least, most) = positive
        .fold((f64::MAX, 0.0_f64), |(least, most), &value| (least.min(value), most.max(value)));
    if most > 0.0 { (least, most) } else { (1.0, 10.0) }
}

/// Steps of 1, 2 or 5 times a power of ten, some five of them.
fn linear_labels(most: f64) -> Vec<f64> {
    let power = 10_f64.powf((most / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step = step.into_iter().find(|step| most / step <= 6.0).unwrap_or(most);
    (1..=6)
        .map(|number| rounded(f64::from(number) * step))
        .filter(|&at| at <= most * 1.05)
        .collect()
}

/// 1, 2 and 5 times powers of ten; more of them where all is within one.
fn log_labels(least: f64, most: f64) -> Vec<f64> {
    let factors: &[f64] = match most / least {
        ratio if ratio > 1e3 => &[1.0],
        ratio if ratio > 10.0 => &[1.0, 2.0, 5.0],
        _ => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0],
    };
    let powers = least.log10().floor() as i32..=most.log10().ceil() as i32;
    let values =
        powers.flat_map(|power| factors.iter().map(move |f| rounded(f * 10_f64.powi(power))));
    values.filter(|&value| value >= least * 0.9 && value <= most * 1.1).collect()
}

/// Without the last digits, in which products of decimal fractions are off.
fn rounded(value: f64) -> f64 {
    let digits = 10_f64.powi(12 - value.abs().log10().floor() as i32);
    (value * digits).round() / digits
}

/// Up to this many different values are each written beside an axis.
const MAX_LABELS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &Ticks) -> Vec<&str> {
        ticks.labels.iter().map(|label| label.1.as_str()).collect()
    }

    #[test]
    fn measured_sizes_stand_beside_their_axis() {
        let ticks = Axis::log("members").ticks_at(&[8.0, 32.0, 512.0, 8.0]);
        assert_eq!(labels(&ticks), ["8", "32", "512"]);
    }

    #[test]
    fn round_numbers_stand_beside_the_others() {
        let log = Axis::log("seconds").ticks(&[0.03, 26.6]);
        assert_eq!(labels(&log), ["0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10", "20"]);
        let narrow = Axis::log("packets").ticks(&[2.0, 4.7]);
        assert_eq!(labels(&narrow), ["2", "3", "4", "5"]);
        let linear = Axis::linear("%").ticks(&[3.0, 100.0]);
        assert_eq!(labels(&linear), ["0", "20", "40", "60", "80", "100"]);
    }

    #[test]
    fn a_linear_axis_has_round_numbers_whatever_was_measured() {
        let ticks = Axis::linear("loss").ticks_at(&[0.1, 1.0, 25.0]);
        assert_eq!(labels(&ticks), ["0", "5", "10", "15", "20", "25"]);
    }

    #[test]
    fn zero_has_a_place_on_a_logarithmic_axis_and_is_told() {
        let ticks = Axis::log("verdicts").ticks(&[0.0, 3.0, 900.0]);
        assert!(ticks.places.contains(&ticks.place(0.0)) && ticks.place(0.0) < ticks.place(3.0));
        assert_eq!(labels(&ticks).first(), Some(&"0"));
        let without = Axis::log("verdicts").ticks(&[3.0, 900.0]);
        assert!(!labels(&without).contains(&"0"));
    }

    #[test]
    fn nothing_but_zeros_can_be_drawn() {
        assert_eq!(labels(&Axis::log("verdicts").ticks(&[0.0])).first(), Some(&"0"));
    }
}
