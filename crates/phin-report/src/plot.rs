//! SVG plots that need no explanation: axes with units, a legend, and what was expected, dashed.

use plotters::{
    coord::{Shift, ranged1d::ValueFormatter},
    prelude::*,
};

/// A plot; both axes are logarithmic.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What stands above it.
    pub title: String,
    /// What the horizontal axis is, with its unit.
    pub x_label: &'static str,
    /// What the vertical axis is, with its unit.
    pub y_label: &'static str,
    /// What is drawn, in this order in the legend.
    pub series: Vec<Series>,
}

/// A line through points, or what was expected.
#[derive(Clone, Debug)]
pub struct Series {
    /// What the legend calls it.
    pub label: String,
    /// The number of its colour; there are seven, and then again the first.
    pub color: usize,
    /// How it is drawn.
    pub style: Style,
    /// From left to right; both coordinates above zero.
    pub points: Vec<(f64, f64)>,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Style {
    /// A line with dots.
    Measured,
    /// Triangles without a line.
    Tail,
    /// A dashed line.
    Expected,
}

impl Plot {
    /// The plot as SVG text.
    ///
    /// # Errors
    /// What the plotter says; nothing that is known leads to one.
    pub fn svg(&self) -> Result<String, String> {
        let mut text = String::new();
        let root = SVGBackend::with_string(&mut text, (900, 560)).into_drawing_area();
        self.draw(&root).map_err(|error| error.to_string())?;
        drop(root);
        Ok(text)
    }

    fn draw<'a>(
        &self,
        root: &DrawingArea<SVGBackend<'a>, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
        root.fill(&WHITE)?;
        let (root, legend) = root.split_horizontally(660);
        self.draw_legend(&legend)?;
        let points = || self.series.iter().flat_map(|series| &series.points);
        let (x_from, x_to) = span(points().map(|point| point.0));
        let (y_from, y_to) = span(points().map(|point| point.1));
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(45)
            .y_label_area_size(70)
            .build_cartesian_2d(
                (x_from * 0.9..x_to * 1.1).log_scale(),
                (y_from * 0.8..y_to * 1.25).log_scale(),
            )?;
        chart
            .configure_mesh()
            .x_desc(self.x_label)
            .y_desc(self.y_label)
            .x_label_formatter(&short)
            .y_label_formatter(&short)
            .light_line_style(WHITE)
            .draw()?;
        for series in &self.series {
            let color = color_of(series.color);
            let points = || series.points.iter().copied();
            match series.style {
                Style::Measured => {
                    chart.draw_series(LineSeries::new(points(), color.stroke_width(2)))?;
                    chart.draw_series(points().map(|p| Circle::new(p, 3, color.filled())))?;
                }
                Style::Tail => {
                    let marks = points().map(|p| TriangleMarker::new(p, 5, color.filled()));
                    chart.draw_series(marks)?;
                }
                Style::Expected => {
                    let style = color.stroke_width(1);
                    chart.draw_series(DashedLineSeries::new(points(), 6, 4, style))?;
                }
            }
        }
        root.present()
    }

    /// Beside the plot, so that it hides nothing.
    fn draw_legend<'a>(
        &self,
        area: &DrawingArea<SVGBackend<'a>, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
        let mut y = 50;
        for series in &self.series {
            let color = color_of(series.color);
            let segment = |from: i32, to: i32| PathElement::new([(from, y), (to, y)], color);
            match series.style {
                Style::Measured => {
                    let line = [(4, y), (28, y)];
                    area.draw(&PathElement::new(line, color.stroke_width(2)))?;
                    area.draw(&Circle::new((16, y), 3, color.filled()))?;
                }
                Style::Tail => area.draw(&TriangleMarker::new((16, y), 5, color.filled()))?,
                Style::Expected => {
                    area.draw(&segment(4, 10))?;
                    area.draw(&segment(14, 20))?;
                    area.draw(&segment(24, 28))?;
                }
            }
            area.draw(&Text::new(series.label.clone(), (36, y - 6), ("sans-serif", 13)))?;
            y += 20;
        }
        Ok(())
    }
}

/// Colours that are told apart, also by those who see few.
fn color_of(number: usize) -> RGBColor {
    // Okabe and Ito's palette.
    const COLORS: [RGBColor; 7] = [
        RGBColor(213, 94, 0),
        RGBColor(0, 114, 178),
        RGBColor(0, 158, 115),
        RGBColor(204, 121, 167),
        RGBColor(86, 180, 233),
        RGBColor(230, 159, 0),
        RGBColor(0, 0, 0),
    ];
    COLORS[number % COLORS.len()]
}

/// The smallest and the largest positive value; something where there is none.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let positive = values.filter(|&value| value.is_finite() && value > 0.0);
    let (from, to) =
        positive.fold((f64::MAX, 0.0_f64), |(from, to), value| (from.min(value), to.max(value)));
    if to > 0.0 { (from, to) } else { (1.0, 10.0) }
}

fn short(value: &f64) -> String {
    let formatter = |value: f64| {
        <plotters::coord::types::RangedCoordf64 as ValueFormatter<f64>>::format(&value)
    };
    match *value {
        v if v >= 1.0 && v.fract() == 0.0 => format!("{v:.0}"),
        v => formatter(v),
    }
}
