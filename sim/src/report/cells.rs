//! Reads the CSV of a report. Plots are drawn only from it, so they can be redrawn without a simulation.

/// Lines of named cells.
pub(super) struct Cells {
    heading: Vec<String>,
    lines: Vec<Vec<String>>,
}

/// One line.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    heading: &'a [String],
    cells: &'a [String],
}

impl Cells {
    pub(super) fn read(csv: &str) -> Self {
        let split = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
        let mut lines = csv.lines().map(split);
        let heading = lines.next().unwrap_or_default();
        Self { heading, lines: lines.collect() }
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.lines.iter().map(|cells| Line { heading: &self.heading, cells })
    }

    /// The values of a column, each once, in order of appearance.
    pub(super) fn values(&self, column: &str) -> Vec<&str> {
        let mut values = Vec::new();
        for line in self.lines() {
            let value = line.text(column);
            if !value.is_empty() && !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }
}

impl<'a> Line<'a> {
    /// The text in a column; empty if there is no such column.
    pub(super) fn text(self, column: &str) -> &'a str {
        let place = self.heading.iter().position(|name| name == column);
        place.and_then(|place| self.cells.get(place)).map_or("", String::as_str)
    }

    /// The number in a column, without its unit; times in milliseconds. NaN if there is none.
    pub(super) fn number(self, column: &str) -> f64 {
        let text = self.text(column);
        let (digits, factor) = match text.split_once(' ') {
            Some((digits, "s")) => (digits, 1e3),
            Some((digits, _)) => (digits, 1.0),
            None => (text, 1.0),
        };
        digits.parse::<f64>().map_or(f64::NAN, |number| number * factor)
    }
}
