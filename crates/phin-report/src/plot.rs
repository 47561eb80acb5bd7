//! SVG plots that need no explanation: axes with units, a legend, and what was expected, dashed.

use std::collections::BTreeSet;

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::axis::{Axis, Ticks};

/// A plot of several systems: lines over the horizontal axis, or one row for each system if that axis has only one
/// value.
#[derive(Clone, Debug)]
pub struct Plot {
    /// The title.
    pub title: String,
    /// The subtitle: sizes, settings and the number of samples. May be empty.
    pub subtitle: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis; the horizontal one if systems have rows.
    pub y: Axis,
    /// The series, in the order of the legend.
    pub series: Vec<Series>,
}

/// Points of one system.
#[derive(Clone, Debug)]
pub struct Series {
    /// The system. Series of one system share a colour.
    pub system: String,
    /// The quantity, such as "median".
    pub what: &'static str,
    /// How they are drawn.
    pub style: Style,
    /// The points from left to right. Values that are not finite are omitted.
    pub points: Vec<(f64, f64)>,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Style {
    /// A line with dots.
    Measured,
    /// A line of so many points that dots would hide it.
    Curve,
    /// Triangles without a line.
    Tail,
    /// A dashed line.
    Expected,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'b, SVGBackend<'a>, Cartesian2d<Ticks, Ticks>>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// Draws several plots of the same systems beside each other, with one legend, as SVG text.
///
/// # Errors
/// If the plotter fails, for which no cause is known.
pub fn side_by_side(plots: &[Plot]) -> Result<String, String> {
    let plots: Vec<_> = plots.iter().map(Plot::finite).collect();
    let mut legend = match plots.first() {
        Some(first) => first.clone(),
        None => return Ok(String::new()),
    };
    legend.series = plots.iter().flat_map(|plot| plot.series.clone()).collect();
    let width = PANEL * u32::try_from(plots.len()).unwrap_or(1);
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, (width + LEGEND, HEIGHT)).into_drawing_area();
    let drawn = || {
        root.fill(&WHITE)?;
        let (panels, beside) = root.split_horizontally(width);
        legend.draw_legend(&beside, true)?;
        for (plot, panel) in plots.iter().zip(panels.split_evenly((1, plots.len()))) {
            // The colours are those of the common legend.
            plot.draw_lines(&panel, &legend)?;
        }
        root.present()
    };
    let drawn: Drawn<'_> = drawn();
    drawn.map_err(|error| error.to_string())?;
    drop(root);
    Ok(text)
}

impl Plot {
    /// Draws the plot as SVG text.
    ///
    /// # Errors
    /// If the plotter fails, for which no cause is known.
    pub fn svg(&self) -> Result<String, String> {
        let plot = self.finite();
        let mut text = String::new();
        let size = (WIDTH + LEGEND, HEIGHT);
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        let drawn = || {
            root.fill(&WHITE)?;
            let (area, legend) = root.split_horizontally(WIDTH);
            match plot.has_one_place() {
                true => {
                    plot.draw_styles(&legend, 50, false)?;
                    plot.draw_rows(&area)?;
                }
                false => {
                    plot.draw_legend(&legend, true)?;
                    plot.draw_lines(&area, &plot)?;
                }
            }
            root.present()
        };
        let drawn: Drawn<'_> = drawn();
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

    /// The title and what stands below it, above the middle of the chart.
    fn draw_title<'a>(&self, area: &Area<'a>, left: u32) -> Drawn<'a> {
        let (width, _) = area.dim_in_pixel();
        let middle = i32::try_from((width + left) / 2).unwrap_or(0);
        let centred = Pos::new(HPos::Center, VPos::Top);
        let title = ("sans-serif", 18).into_font().color(&BLACK).pos(centred);
        area.draw(&Text::new(self.title.clone(), (middle, 8), title))?;
        let gray = RGBColor(80, 80, 80);
        let subtitle = ("sans-serif", 12).into_font().color(&gray).pos(centred);
        area.draw(&Text::new(self.subtitle.clone(), (middle, 32), subtitle))
    }

    fn draw_lines<'a>(&self, area: &Area<'a>, colors: &Self) -> Drawn<'a> {
        self.draw_title(area, LABELS)?;
        let (at, values): (Vec<_>, Vec<_>) = self.points().unzip();
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .margin_top(TITLE)
            .x_label_area_size(45)
            .y_label_area_size(LABELS)
            .build_cartesian_2d(self.x.ticks_at(&at), self.y.ticks(&values))?;
        draw_mesh(&mut chart, self.x.label, self.y.label)?;
        if let Some(beside) = self.y.ticks(&values).gap() {
            draw_break(&chart, beside)?;
        }
        // The first in the legend is drawn last. If lines overlap, the lower ones are thicker.
        let lines = self.series.iter().enumerate().filter(|(_, s)| s.style != Style::Expected);
        for (number, series) in lines.rev() {
            let color = colors.color(series);
            draw_series(&mut chart, series, color, &self.series[..number])?;
        }
        for series in self.series.iter().filter(|series| series.style == Style::Expected) {
            draw_series(&mut chart, series, colors.color(series), &[])?;
        }
        self.draw_capped(&mut chart, colors)
    }

    /// Draws lower bounds as open marks, one around the other if several are at one place.
    fn draw_capped<'a>(&self, chart: &mut Chart<'a, '_>, colors: &Self) -> Drawn<'a> {
        let mut places: Vec<((f64, f64), Vec<RGBColor>)> = Vec::new();
        for series in self.series.iter().filter(|series| series.style != Style::Expected) {
            for &point in series.points.iter().filter(|point| self.y.is_capped(point.1)) {
                let color = colors.color(series);
                match places.iter_mut().find(|(place, _)| *place == point) {
                    Some((_, here)) if here.contains(&color) => {}
                    Some((_, here)) => here.push(color),
                    None => places.push((point, vec![color])),
                }
            }
        }
        for (point, here) in places {
            let text = ("sans-serif", 13).into_font();
            for (ring, color) in here.iter().enumerate().rev() {
                let radius = 4 + 3 * u32::try_from(ring).unwrap_or(0);
                chart.draw_series([Circle::new(point, radius, WHITE.filled())])?;
                chart.draw_series([Circle::new(point, radius, color.stroke_width(2))])?;
            }
            let above = -20 - 3 * i32::try_from(here.len()).unwrap_or(0);
            let mark = EmptyElement::at(point) + Text::new("≥", (-4, above), text);
            chart.draw_series([mark])?;
        }
        Ok(())
    }

    /// A row for each system, the least on top.
    fn draw_rows<'a>(&self, area: &Area<'a>) -> Drawn<'a> {
        self.draw_title(area, 2 * LABELS)?;
        let least = |system: &str| {
            let own = self.series.iter().filter(|series| series.system == system);
            own.flat_map(|series| &series.points).map(|point| point.1).fold(f64::MAX, f64::min)
        };
        let mut systems = self.systems();
        systems.sort_by(|a, b| least(b).total_cmp(&least(a)));
        let values: Vec<_> = self.points().map(|point| point.1).collect();
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .margin_top(TITLE)
            .x_label_area_size(45)
            .y_label_area_size(2 * LABELS)
            .build_cartesian_2d(self.y.ticks(&values), Ticks::rows(&systems))?;
        draw_mesh(&mut chart, self.y.label, "")?;
        for series in &self.series {
            let row = systems.iter().position(|system| *system == series.system).unwrap_or(0);
            let points = series.points.iter().map(|point| (point.1, row as f64)).collect();
            let own = Series { points, ..series.clone() };
            draw_series(&mut chart, &own, color_of(0), &[])?;
        }
        Ok(())
    }

    /// Beside the plot, so that it hides nothing: the systems by colour, then what the marks mean.
    fn draw_legend<'a>(&self, area: &Area<'a>, has_lines: bool) -> Drawn<'a> {
        let mut y = 60;
        for (number, system) in self.systems().into_iter().enumerate() {
            let color = color_of(number);
            let own = || self.series.iter().filter(|series| series.system == system);
            match own().any(Series::is_line) {
                true => area.draw(&PathElement::new([(4, y), (28, y)], color.stroke_width(3)))?,
                false => area.draw(&Circle::new((16, y), 4, color.filled()))?,
            }
            area.draw(&Text::new(system.to_owned(), (36, y - 6), ("sans-serif", 13)))?;
            y += 20;
        }
        self.draw_styles(area, y + 14, has_lines)
    }

    fn draw_styles<'a>(&self, area: &Area<'a>, mut y: i32, has_lines: bool) -> Drawn<'a> {
        let what: BTreeSet<_> =
            self.series.iter().map(|series| (series.style, series.what)).collect();
        for (style, what) in what.into_iter().filter(|(_, what)| !what.is_empty()) {
            let segment = |from: i32, to: i32| PathElement::new([(from, y), (to, y)], BLACK);
            let mut own = self.series.iter().filter(|s| (s.style, s.what) == (style, what));
            let is_line = has_lines && own.any(Series::is_line);
            match style {
                Style::Measured => {
                    if is_line {
                        area.draw(&segment(4, 28))?;
                    }
                    area.draw(&Circle::new((16, y), 3, BLACK.filled()))?;
                }
                Style::Curve => area.draw(&PathElement::new(
                    [(4, y), (28, y)],
                    BLACK.mix(CURVE_OPACITY).stroke_width(CURVE_WIDTH),
                ))?,
                Style::Tail => area.draw(&TriangleMarker::new((16, y), 5, BLACK.filled()))?,
                Style::Expected if is_line => {
                    area.draw(&segment(4, 10))?;
                    area.draw(&segment(14, 20))?;
                    area.draw(&segment(24, 28))?;
                }
                Style::Expected => area.draw(&Cross::new((16, y), 5, BLACK))?,
            }
            area.draw(&Text::new(what, (36, y - 6), ("sans-serif", 13)))?;
            y += 20;
        }
        if self.points().any(|point| self.y.is_capped(point.1)) {
            area.draw(&Circle::new((16, y), 4, BLACK))?;
            area.draw(&Text::new("longer than a run", (36, y - 6), ("sans-serif", 13)))?;
        }
        Ok(())
    }
}

impl Series {
    /// Whether it is drawn as a line: one point makes none.
    fn is_line(&self) -> bool {
        self.style != Style::Tail && self.points.len() > 1
    }
}

/// Draws a series; the more of the series `above` it share a part of it, the thicker that part is, so that it is seen.
fn draw_series<'a>(
    chart: &mut Chart<'a, '_>,
    series: &Series,
    color: RGBColor,
    above: &[Series],
) -> Drawn<'a> {
    let points = &series.points;
    let marks = || points.iter().copied();
    let same_style = || above.iter().filter(|other| other.style == series.style);
    match series.style {
        Style::Measured => {
            for pair in points.windows(2) {
                let is_hidden = |other: &&Series| other.points.windows(2).any(|own| own == pair);
                let hidden = u32::try_from(same_style().filter(is_hidden).count()).unwrap_or(0);
                let style = color.stroke_width(2 + 4 * hidden);
                chart.draw_series(LineSeries::new(pair.iter().copied(), style))?;
            }
            for point in marks() {
                let is_hidden = |other: &&Series| other.points.contains(&point);
                let hidden = u32::try_from(same_style().filter(is_hidden).count()).unwrap_or(0);
                chart.draw_series([Circle::new(point, 3 + 3 * hidden, color.filled())])?;
            }
        }
        Style::Curve => {
            let style = color.mix(CURVE_OPACITY).stroke_width(CURVE_WIDTH);
            chart.draw_series(LineSeries::new(marks(), style))?;
        }
        Style::Tail => {
            chart.draw_series(marks().map(|p| TriangleMarker::new(p, 5, color.filled())))?;
        }
        Style::Expected if !series.is_line() => {
            chart.draw_series(marks().map(|p| Cross::new(p, 5, color)))?;
        }
        Style::Expected => {
            chart.draw_series(DashedLineSeries::new(marks(), 6, 4, color.stroke_width(1)))?;
        }
    }
    Ok(())
}

/// Two strokes through the vertical axis, between zero and where the logarithms begin.
fn draw_break<'a>(chart: &Chart<'a, '_>, value: f64) -> Drawn<'a> {
    let area = chart.plotting_area();
    let left = area.get_x_axis_pixel_range().start;
    let y = area.map_coordinate(&(0.0, value)).1;
    let root = area.strip_coord_spec();
    let (x0, y0) = root.get_base_pixel();
    let (x, y) = (left - x0, y - y0);
    for offset in [-3, 3] {
        let stroke = [(x - 6, y + offset + 3), (x + 6, y + offset - 3)];
        root.draw(&PathElement::new(stroke, BLACK.stroke_width(2)))?;
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

/// Colours that colour-blind readers can distinguish.
fn color_of(number: usize) -> RGBColor {
    // Okabe and Ito's palette, then further distinct colours.
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

/// The width of a plot without its legend.
const WIDTH: u32 = 700;
/// The width of one of several plots.
const PANEL: u32 = 480;
const LEGEND: u32 = 230;
const HEIGHT: u32 = 560;
/// The width of the labels of the vertical axis.
const LABELS: u32 = 75;
/// The height of the title.
const TITLE: u32 = 58;
const CURVE_OPACITY: f64 = 0.4;
const CURVE_WIDTH: u32 = 4;

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
        let (title, subtitle) = ("how long".to_owned(), "ten deaths".to_owned());
        let plot = Plot { title, subtitle, x, y, series: series.collect() };
        plot.svg().unwrap()
    }

    #[test]
    fn a_plot_says_what_it_shows() {
        let svg = plot(&[("phin", &[(8.0, 1.5), (64.0, 1.6)]), ("serf", &[(8.0, f64::NAN)])]);
        for text in ["how long", "ten deaths", "members", "seconds", "phin", "median", "64"] {
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
    fn what_lies_on_each_other_is_seen() {
        let points: &[(f64, f64)] = &[(8.0, 1.5), (64.0, 1.6)];
        let one = plot(&[("phin", points), ("serf", &[(8.0, 2.5), (64.0, 2.6)])]);
        let both = plot(&[("phin", points), ("serf", points)]);
        // The one below is wider, and so are its dots.
        let wide = |svg: &str| svg.matches("stroke-width=\"6\"").count();
        let large = |svg: &str| svg.matches(" r=\"6\"").count();
        assert_eq!((wide(&one), large(&one)), (0, 0));
        assert_eq!((wide(&both), large(&both)), (1, 2));
    }

    #[test]
    fn what_was_not_measured_to_its_end_is_a_lower_bound() {
        let points = vec![(8.0, 1.5), (64.0, 300.0)];
        let series = ["swim", "serf"].map(|system| Series {
            system: system.to_owned(),
            what: "",
            style: Style::Measured,
            points: points.clone(),
        });
        let (x, y) = (Axis::log("members"), Axis::log("seconds"));
        let (title, subtitle) = (String::new(), String::new());
        let mut plot = Plot { title, subtitle, x, y, series: series.to_vec() };
        assert!(!plot.svg().unwrap().contains('≥'));
        plot.y = y.capped_at(300.0);
        let svg = plot.svg().unwrap();
        assert_eq!(svg.matches('≥').count(), 1, "once for both");
        assert!(svg.contains("longer than a run"));
        assert_eq!(svg.matches("fill=\"#FFFFFF\"").count(), 3, "both open, on white ground");
    }

    #[test]
    fn a_logarithmic_axis_is_broken_where_it_shows_zero() {
        let strokes = |svg: &str| svg.matches("stroke=\"#000000\" stroke-width=\"2\"").count();
        let with = plot(&[("phin", &[(8.0, 0.0), (64.0, 1.6)])]);
        let without = plot(&[("phin", &[(8.0, 0.1), (64.0, 1.6)])]);
        assert_eq!((strokes(&with), strokes(&without)), (2, 0));
    }

    #[test]
    fn the_legend_shows_a_line_only_where_there_is_one() {
        let legend_line = |svg: &str| svg.matches("stroke-width=\"3\"").count();
        let line = plot(&[("phin", &[(8.0, 1.5), (64.0, 1.6)])]);
        let dots = plot(&[("phin", &[(8.0, 1.5)]), ("serf", &[(64.0, 1.6)])]);
        assert_eq!((legend_line(&line), legend_line(&dots)), (1, 0));
    }

    #[test]
    fn panels_have_one_legend() {
        let series = Series {
            system: "phin".to_owned(),
            what: "",
            style: Style::Measured,
            points: vec![(1.0, 2.0), (2.0, 4.0)],
        };
        let panel = |title: &str| Plot {
            title: title.to_owned(),
            subtitle: String::new(),
            x: Axis::linear("s"),
            y: Axis::linear("%"),
            series: vec![series.clone()],
        };
        let svg = side_by_side(&[panel("left one"), panel("right one")]).unwrap();
        assert!(svg.contains("left one") && svg.contains("right one"));
        assert_eq!(svg.matches("phin\n").count(), 1);
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert!(plot(&[]).contains("how long"));
    }
}
