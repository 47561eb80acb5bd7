//! SVG plots that need no explanation: axes with units, a legend, and what was expected, dashed.

use std::collections::BTreeSet;

use plotters::{coord::Shift, prelude::*};

use crate::axis::{Axis, Ticks};

/// A plot of several systems: lines over the horizontal axis, or, where that has one value only, a row for each system.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What stands above it.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis; where systems have rows, the horizontal one.
    pub y: Axis,
    /// What is drawn, in this order in the legend.
    pub series: Vec<Series>,
}

/// Points of one system.
#[derive(Clone, Debug)]
pub struct Series {
    /// Whose they are. Series of one system share a colour.
    pub system: String,
    /// What of it they are, such as "median".
    pub what: &'static str,
    /// How they are drawn.
    pub style: Style,
    /// From left to right. What is not finite is left out.
    pub points: Vec<(f64, f64)>,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Style {
    /// A line with dots.
    Measured,
    /// Triangles without a line.
    Tail,
    /// A dashed line.
    Expected,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'b, SVGBackend<'a>, Cartesian2d<Ticks, Ticks>>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

impl Plot {
    /// The plot as SVG text.
    ///
    /// # Errors
    /// What the plotter says; nothing that is known leads to one.
    pub fn svg(&self) -> Result<String, String> {
        let plot = self.finite();
        let mut text = String::new();
        let root = SVGBackend::with_string(&mut text, (900, 560)).into_drawing_area();
        let drawn =
            if plot.has_one_place() { plot.draw_rows(&root) } else { plot.draw_lines(&root) };
        drawn.map_err(|error| error.to_string())?;
        drop(root);
        Ok(text)
    }

    fn finite(&self) -> Self {
        let mut plot = self.clone();
        for series in &mut plot.series {
            series.points.retain(|(x, y)| x.is_finite() && y.is_finite());
        }
        plot.series.retain(|series| !series.points.is_empty());
        plot
    }

    fn has_one_place(&self) -> bool {
        let mut places = self.points().map(|point| point.0);
        let first = places.next();
        places.all(|place| Some(place) == first)
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.series.iter().flat_map(|series| series.points.iter().copied())
    }

    /// The systems, each once, in the order of their first series.
    fn systems(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let systems = self.series.iter().map(|series| series.system.as_str());
        systems.filter(|system| seen.insert(*system)).collect()
    }

    fn color(&self, series: &Series) -> RGBColor {
        let systems = self.systems();
        color_of(systems.iter().position(|system| *system == series.system).unwrap_or(0))
    }

    fn draw_lines<'a>(&self, root: &Area<'a>) -> Drawn<'a> {
        root.fill(&WHITE)?;
        let (root, legend) = root.split_horizontally(700);
        self.draw_legend(&legend)?;
        let (at, values): (Vec<_>, Vec<_>) = self.points().unzip();
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(45)
            .y_label_area_size(70)
            .build_cartesian_2d(self.x.ticks_at(&at), self.y.ticks(&values))?;
        draw_mesh(&mut chart, self.x.label, self.y.label)?;
        // What comes first in the legend hides what comes later, where lines lie on each other.
        for series in self.series.iter().rev() {
            draw_series(&mut chart, series.style, self.color(series), &series.points)?;
        }
        // On top of everything, so that no measured point hides them.
        for series in &self.series {
            let capped = series.points.iter().copied().filter(|point| self.y.is_capped(point.1));
            let (color, text) = (self.color(series), ("sans-serif", 13).into_font());
            let marks = |p| {
                EmptyElement::at(p)
                    + Circle::new((0, 0), 4, WHITE.filled())
                    + Circle::new((0, 0), 4, color)
                    + Text::new("≥", (-4, -20), text.clone())
            };
            chart.draw_series(capped.map(marks))?;
        }
        root.present()
    }

    /// A row for each system, the least on top.
    fn draw_rows<'a>(&self, root: &Area<'a>) -> Drawn<'a> {
        root.fill(&WHITE)?;
        let (root, legend) = root.split_horizontally(700);
        self.draw_styles(&legend, 50)?;
        let least = |system: &str| {
            let own = self.series.iter().filter(|series| series.system == system);
            own.flat_map(|series| &series.points).map(|point| point.1).fold(f64::MAX, f64::min)
        };
        let mut systems = self.systems();
        systems.sort_by(|a, b| least(b).total_cmp(&least(a)));
        let values: Vec<_> = self.points().map(|point| point.1).collect();
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(45)
            .y_label_area_size(150)
            .build_cartesian_2d(self.y.ticks(&values), Ticks::rows(&systems))?;
        draw_mesh(&mut chart, self.y.label, "")?;
        for series in &self.series {
            let row = systems.iter().position(|system| *system == series.system).unwrap_or(0);
            let points: Vec<_> = series.points.iter().map(|point| (point.1, row as f64)).collect();
            draw_series(&mut chart, series.style, color_of(0), &points)?;
        }
        root.present()
    }

    /// Beside the plot, so that it hides nothing: the systems by colour, then what the marks mean.
    fn draw_legend<'a>(&self, area: &Area<'a>) -> Drawn<'a> {
        let mut y = 50;
        for (number, system) in self.systems().into_iter().enumerate() {
            let color = color_of(number);
            area.draw(&PathElement::new([(4, y), (28, y)], color.stroke_width(3)))?;
            area.draw(&Text::new(system.to_owned(), (36, y - 6), ("sans-serif", 13)))?;
            y += 20;
        }
        self.draw_styles(area, y + 14)
    }

    fn draw_styles<'a>(&self, area: &Area<'a>, mut y: i32) -> Drawn<'a> {
        let styles: BTreeSet<_> =
            self.series.iter().map(|series| (series.style, series.what)).collect();
        for (style, what) in styles.into_iter().filter(|(_, what)| !what.is_empty()) {
            let segment = |from: i32, to: i32| PathElement::new([(from, y), (to, y)], BLACK);
            match style {
                Style::Measured => {
                    area.draw(&segment(4, 28))?;
                    area.draw(&Circle::new((16, y), 3, BLACK.filled()))?;
                }
                Style::Tail => area.draw(&TriangleMarker::new((16, y), 5, BLACK.filled()))?,
                Style::Expected => {
                    area.draw(&segment(4, 10))?;
                    area.draw(&segment(14, 20))?;
                    area.draw(&segment(24, 28))?;
                }
            }
            area.draw(&Text::new(what, (36, y - 6), ("sans-serif", 13)))?;
            y += 20;
        }
        Ok(())
    }
}

fn draw_series<'a>(
    chart: &mut Chart<'a, '_>,
    style: Style,
    color: RGBColor,
    points: &[(f64, f64)],
) -> Drawn<'a> {
    let marks = || points.iter().copied();
    match style {
        Style::Measured => {
            chart.draw_series(LineSeries::new(marks(), color.stroke_width(2)))?;
            chart.draw_series(marks().map(|p| Circle::new(p, 3, color.filled())))?;
        }
        Style::Tail => {
            chart.draw_series(marks().map(|p| TriangleMarker::new(p, 5, color.filled())))?;
        }
        // One point makes no line.
        Style::Expected if points.len() == 1 => {
            chart.draw_series(marks().map(|p| Cross::new(p, 5, color)))?;
        }
        Style::Expected => {
            chart.draw_series(DashedLineSeries::new(marks(), 6, 4, color.stroke_width(1)))?;
        }
    }
    Ok(())
}

/// Lines at the ticks, and what stands at them.
fn draw_mesh<'a>(chart: &mut Chart<'a, '_>, x_label: &str, y_label: &str) -> Drawn<'a> {
    chart
        .configure_mesh()
        .x_desc(x_label)
        .y_desc(y_label)
        .max_light_lines(0)
        .bold_line_style(RGBColor(220, 220, 220))
        .draw()
}

/// Colours that are told apart, also by those who see few.
fn color_of(number: usize) -> RGBColor {
    // Okabe and Ito's palette, then what is still different from it.
    const COLORS: [RGBColor; 10] = [
        RGBColor(213, 94, 0),
        RGBColor(0, 114, 178),
        RGBColor(0, 158, 115),
        RGBColor(204, 121, 167),
        RGBColor(86, 180, 233),
        RGBColor(230, 159, 0),
        RGBColor(0, 0, 0),
        RGBColor(140, 140, 140),
        RGBColor(122, 73, 34),
        RGBColor(91, 44, 131),
    ];
    COLORS[number % COLORS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: &[(&str, &[(f64, f64)])]) -> String {
        let series = points.iter().map(|(system, points)| Series {
            system: (*system).to_owned(),
            what: "median",
            style: Style::Measured,
            points: points.to_vec(),
        });
        let (x, y) = (Axis::log("members"), Axis::log("seconds"));
        let plot = Plot { title: "how long".to_owned(), x, y, series: series.collect() };
        plot.svg().unwrap()
    }

    #[test]
    fn a_plot_says_what_it_shows() {
        let svg = plot(&[("phin", &[(8.0, 1.5), (64.0, 1.6)]), ("serf", &[(8.0, f64::NAN)])]);
        for text in ["how long", "members", "seconds", "phin", "median", "64"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(!svg.contains("serf"), "of what was not measured there is nothing");
    }

    #[test]
    fn one_size_gives_a_row_for_each_system_the_least_on_top() {
        let svg = plot(&[("phin", &[(32.0, 1.0)]), ("serf", &[(32.0, 8.0)])]);
        let place = |name: &str| {
            let before = &svg[..svg.find(&format!("{name}\n")).unwrap()];
            let y = before.rfind(" y=\"").unwrap() + 4;
            before[y..].split('"').next().unwrap().parse::<i32>().unwrap()
        };
        assert!(place("phin") < place("serf"));
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert!(plot(&[]).contains("how long"));
    }
}
