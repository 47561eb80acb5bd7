//! The plots of each report, from its CSV.

use phin_report::{Axis, Plot, Series, Style, side_by_side};

use super::{
    analytic::{first_known_ms, idle_messages},
    cells::{Cells, Line},
};
use crate::{
    experiment::{Experiment, PATIENCE_OF_SURVIVORS, Point},
    protocols::ProtocolKind,
};

/// A plot, possibly with several panels, and the name of its file.
pub(super) struct Figure {
    pub(super) file: String,
    /// A description for readers who cannot see the plot.
    pub(super) title: String,
    panels: Vec<Plot>,
}

impl Figure {
    fn one(file: &str, plot: Plot) -> Self {
        Self { file: format!("{file}.svg"), title: plot.title.clone(), panels: vec![plot] }
    }

    fn panels(file: &str, title: &str, panels: Vec<Plot>) -> Self {
        Self { file: format!("{file}.svg"), title: title.to_owned(), panels }
    }

    /// The SVG; `None` if it cannot be drawn. The numbers are in the table.
    pub(super) fn svg(&self) -> Option<String> {
        match self.panels.as_slice() {
            [] => None,
            [plot] => plot.svg().ok(),
            panels => side_by_side(panels).ok(),
        }
    }
}

/// The plots of an experiment's CSV. Expected results apply only to the default network and settings.
pub(super) fn figures(experiment: Experiment, cells: &Cells, is_usual: bool) -> Vec<Figure> {
    let about = About { cells, is_usual };
    match experiment {
        Experiment::Detection | Experiment::Loss => detection(experiment, &about),
        Experiment::Distribution => vec![distribution(&about)],
        Experiment::Slow => vec![slow(&about)],
        Experiment::Pause => vec![pause(&about)],
        Experiment::Bootstrap => vec![bootstrap(&about)],
        Experiment::Partition => vec![partition(&about)],
        Experiment::Calm => vec![calm(&about)],
        Experiment::Survivors => vec![survivors(&about)],
        Experiment::Liars => vec![liars(&about)],
        Experiment::Data
        | Experiment::Messages
        | Experiment::Leadership
        | Experiment::Stalls
        | Experiment::Mass
        | Experiment::Gray
        | Experiment::Rapid => Vec::new(),
    }
}

/// Cells, and the subtitle of their plot.
struct About<'a> {
    cells: &'a Cells,
    is_usual: bool,
}

impl About<'_> {
    /// The subtitle: these parts, the cluster size if there is only one, and the settings.
    fn subtitle(&self, parts: &[String]) -> String {
        let mut parts = parts.to_vec();
        if let [n] = self.cells.values("n").as_slice() {
            parts.insert(0, format!("{n} members"));
        }
        if !self.is_usual {
            parts.push("network and settings: see the command".to_owned());
            return parts.join("; ");
        }
        parts.push("simulated LAN".to_owned());
        let mut protocols = self.cells.values("protocol");
        if protocols.is_empty() {
            protocols.push("phin");
        }
        let settings =
            [("phin", "phin: T = 1 s, P = 1 s"), ("phin-fast", "phin-fast: T = 0.2 s, P = 0.3 s")];
        let used = settings.iter().filter(|(name, _)| protocols.contains(name));
        parts.extend(used.map(|(_, settings)| (*settings).to_owned()));
        parts.join("; ")
    }

    /// The number of items at each point, from a column.
    fn counts(&self, column: &str, what: &str) -> String {
        let counts = self.cells.lines().map(|line| line.number(column)).filter(|n| n.is_finite());
        let (least, most) = counts.fold((f64::MAX, 0.0_f64), |(a, b), n| (a.min(n), b.max(n)));
        match least < most {
            true => format!("{least} to {most} {what} at each point"),
            false => format!("{most} {what} at each point"),
        }
    }

    /// One series for each protocol, with the worst of several values at one place.
    fn by_protocol(
        &self,
        what: &'static str,
        style: Style,
        is_shown: impl Fn(Line<'_>) -> bool,
        point: impl Fn(Line<'_>) -> (f64, f64),
    ) -> Vec<Series> {
        let lines = || self.cells.lines().filter(|line| is_shown(*line));
        grouped(what, style, lines().map(|line| (line.text("protocol").to_owned(), point(line))))
    }
}

/// One series for each name, with the worst of several values at one place.
fn grouped(
    what: &'static str,
    style: Style,
    points: impl Iterator<Item = (String, (f64, f64))>,
) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    for (system, (x, y)) in points {
        let place = series.iter().position(|series| series.system == system);
        let place = place.unwrap_or_else(|| {
            series.push(Series { system, what, style, points: Vec::new() });
            series.len() - 1
        });
        let points = &mut series[place].points;
        match points.iter_mut().find(|point| point.0 == x) {
            Some(point) => point.1 = point.1.max(y),
            None => points.push((x, y)),
        }
    }
    series.iter_mut().for_each(|own| own.points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    series
}

fn protocol(line: Line<'_>) -> Option<ProtocolKind> {
    <ProtocolKind as clap::ValueEnum>::from_str(line.text("protocol"), false).ok()
}

fn detection(experiment: Experiment, about: &About<'_>) -> Vec<Figure> {
    let name = experiment.as_str();
    let is_loss = experiment == Experiment::Loss;
    let x_axis = match is_loss {
        true => Axis::linear("packets lost, %"),
        false => Axis::log("members"),
    };
    let x = move |line: Line<'_>| match is_loss {
        true => 100.0 * line.number("loss"),
        false => line.number("n"),
    };
    let killed = match about.cells.values("killed").as_slice() {
        ["process"] => "processes killed, their hosts live",
        ["host"] => "hosts down",
        ["firewalled host"] => "hosts behind firewalls down",
        _ => "deaths one after the other",
    };
    let subtitle = about.subtitle(&[killed.to_owned(), about.counts("kills", "deaths")]);
    let expected = |value: &dyn Fn(ProtocolKind, &Point) -> Option<f64>| {
        let lines = about.cells.lines().filter(|_| about.is_usual);
        let points = lines.filter_map(|line| {
            let kill = match line.text("killed") {
                "process" => 1.0,
                "firewalled host" => 2.0,
                _ => 0.0,
            };
            let point = Point::default().with("n", line.number("n")).with("kill", kill);
            Some((line.text("protocol").to_owned(), (x(line), value(protocol(line)?, &point)?)))
        });
        grouped("expected", Style::Expected, points)
    };
    let measured = |what, style, column: &'static str, divisor: f64| {
        about.by_protocol(what, style, |_| true, |line| (x(line), line.number(column) / divisor))
    };
    let plot = |title: &str, y: Axis, series: Vec<Series>| Plot {
        title: title.to_owned(),
        subtitle: subtitle.clone(),
        x: x_axis,
        y,
        series,
    };
    let seconds = Axis::log("seconds").capped_at(PATIENCE_OF_A_DEATH);
    let mut first = measured("median", Style::Measured, "first_p50_ms", 1e3);
    first.extend(measured("p99", Style::Tail, "first_p99_ms", 1e3));
    first.extend(expected(&|protocol, at| Some(first_known_ms(protocol, at)? / 1e3)));
    let mut all = measured("median", Style::Measured, "all_p50_ms", 1e3);
    all.extend(measured("p99", Style::Tail, "all_p99_ms", 1e3));
    let mut load = measured("measured", Style::Measured, "messages_per_member_s", 1.0);
    let calm = expected(&|protocol, at| Some(idle_messages(protocol, at)));
    load.extend(calm.into_iter().map(|own| Series { what: "expected without loss", ..own }));
    let load_axis = match is_loss {
        true => Axis::linear("messages per second"),
        false => Axis::log("messages per second"),
    };
    vec![
        Figure::one(
            &format!("{name}-first"),
            plot("Time until the first member knows of a death", seconds, first),
        ),
        Figure::one(
            &format!("{name}-all"),
            plot("Time until every live member knows of a death", seconds, all),
        ),
        Figure::one(
            &format!("{name}-load"),
            plot("Messages sent by a member of a calm cluster", load_axis, load),
        ),
    ]
}

fn distribution(about: &About<'_>) -> Figure {
    let mut series = Vec::new();
    for line in about.cells.lines() {
        let system = line.text("died").to_owned();
        let expected = |share: &str| line.number(&format!("p{share}_expected_ms")) / 1e3;
        let measured = SHARES.map(|share| {
            (line.number(&format!("q{share:02}_ms")) / 1e3, 1.0 - f64::from(share) / 100.0)
        });
        let (what, style, points) = ("measured", Style::Curve, measured.to_vec());
        series.push(Series { system: system.clone(), what, style, points });
        // The line is straight, so two of its points give the ends.
        let (p10, p90) = (expected("10"), expected("90"));
        let slope = (p90 - p10) / 0.8;
        let points = vec![(p10 - 0.1 * slope, 1.0), (p90 + 0.1 * slope, 0.0)];
        let (what, style) = ("expected", Style::Expected);
        series.push(Series { system, what, style, points });
    }
    let plot = Plot {
        title: "Share of deaths not yet known to all".to_owned(),
        subtitle: about.subtitle(&[about.counts("deaths", "deaths")]).replace("point", "kind"),
        x: Axis::linear("seconds since the death"),
        y: Axis::linear("share of deaths"),
        series,
    };
    Figure::one("distribution", plot)
}

fn slow(about: &About<'_>) -> Figure {
    let point = |line: Line<'_>| {
        (line.number("slow"), line.number("false_positives") / line.number("runs"))
    };
    let plot = Plot {
        title: "Verdicts on healthy members while others are slow".to_owned(),
        subtitle: about.subtitle(&["worst of 20 rhythms of being slow, 2 min each".to_owned()]),
        x: Axis::log("slow members"),
        y: Axis::log("verdicts in a run"),
        series: about.by_protocol("", Style::Measured, |_| true, point),
    };
    Figure::one("slow", plot)
}

fn pause(about: &About<'_>) -> Figure {
    let panels =
        [("process", "A process is paused; its host answers"), ("host", "A host is paused")];
    let panels = panels.map(|(kind, title)| Plot {
        title: title.to_owned(),
        subtitle: about.subtitle(&[about.counts("runs", "runs")]),
        x: Axis::log("length of the pause, seconds"),
        y: Axis::linear("runs in which it was declared dead, %"),
        series: about.by_protocol(
            "",
            Style::Measured,
            |line| line.text("paused") == kind,
            |line| (line.number("seconds"), line.number("declared")),
        ),
    });
    Figure::panels("pause", "Paused processes and hosts that are declared dead", panels.to_vec())
}

fn bootstrap(about: &About<'_>) -> Figure {
    let point = |line: Line<'_>| (line.number("n"), line.number("complete_p50_ms") / 1e3);
    let plot = Plot {
        title: "Time until all lists are complete when all start at once, median".to_owned(),
        subtitle: about.subtitle(&[about.counts("runs", "runs"), "1 Gbit/s links".to_owned()]),
        x: Axis::log("members"),
        y: Axis::log("seconds").capped_at(PATIENCE_OF_A_DEATH),
        series: about.by_protocol("", Style::Measured, |_| true, point),
    };
    Figure::one("bootstrap", plot)
}

fn partition(about: &About<'_>) -> Figure {
    let lengths = about.cells.values("seconds");
    let panels = lengths.iter().map(|seconds| Plot {
        title: format!("A split of {seconds} s"),
        subtitle: about.subtitle(&[about.counts("runs", "runs")]),
        x: Axis::log("members"),
        y: Axis::log("seconds until whole again, median").capped_at(PATIENCE_OF_A_SPLIT),
        series: about.by_protocol(
            "",
            Style::Measured,
            |line| line.text("seconds") == *seconds,
            |line| (line.number("n"), line.number("healed_p50_ms") / 1e3),
        ),
    });
    let title = "Time until the halves of a healed split are whole again";
    Figure::panels("partition", title, panels.collect())
}

fn calm(about: &About<'_>) -> Figure {
    let point = |line: Line<'_>| (line.number("loss"), line.number("first_p50_ms") / 1e3);
    let plot = Plot {
        title: "Time until all know of the first death after a calm, median".to_owned(),
        subtitle: about.subtitle(&["hosts down".to_owned(), about.counts("runs", "runs")]),
        x: Axis::linear("packets lost, %"),
        y: Axis::linear("seconds"),
        series: about.by_protocol("", Style::Measured, |_| true, point),
    };
    Figure::one("calm", plot)
}

fn survivors(about: &About<'_>) -> Figure {
    let several = about.cells.values("protocol").len() > 1;
    let name = |line: Line<'_>| match several {
        true => format!("{}, {} members", line.text("protocol"), line.text("n")),
        false => format!("{} members", line.text("n")),
    };
    let kinds =
        [("processes", "All other processes are killed"), ("hosts", "All other hosts go down")];
    let cap = PATIENCE_OF_SURVIVORS.as_secs_f64();
    let panels = kinds.iter().filter(|(kind, _)| about.cells.values("killed").contains(kind));
    let panels = panels.map(|(kind, title)| {
        let lines = || about.cells.lines().filter(|line| line.text("killed") == *kind);
        let series = |what, style, column: &'static str| {
            let point = |line: Line<'_>| (line.number("survivors"), line.number(column) / 1e3);
            grouped(what, style, lines().map(|line| (name(line), point(line))))
        };
        let mut all = series("median", Style::Measured, "all_p50_ms");
        all.extend(series("longest", Style::Tail, "all_max_ms"));
        Plot {
            title: (*title).to_owned(),
            subtitle: about.subtitle(&[about.counts("runs", "runs")]),
            x: Axis::log("survivors"),
            y: Axis::log("seconds until all know of all deaths").capped_at(cap),
            series: all,
        }
    });
    let title = "Time until every survivor knows of every death";
    Figure::panels("survivors", title, panels.collect())
}

fn liars(about: &About<'_>) -> Figure {
    let panels = [
        (
            "–",
            "A living member is accused",
            "missing_mean_percent",
            "missing from lists, % of the time",
        ),
        ("process", "A process dies, hidden", "known_max_ms", "seconds until all know, at most"),
        ("host", "A host dies, hidden", "known_max_ms", "seconds until all know, at most"),
    ];
    let panels = panels.into_iter().filter(|panel| about.cells.values("died").contains(&panel.0));
    let panels = panels.map(|(died, title, column, unit)| {
        let series = |what, style, mode: &'static str| {
            let is_shown = move |line: &Line<'_>| {
                line.text("died") == died && line.text("signed_votes") == mode
            };
            let divisor = if died == "–" { 1.0 } else { 1e3 };
            let lines = about.cells.lines().filter(is_shown);
            let points = lines.map(|line| {
                let share = 100.0 * line.number("liars") / line.number("observers");
                let system = format!("{} members", line.text("n"));
                (system, (share, line.number(column) / divisor))
            });
            grouped(what, style, points)
        };
        let mut all = series("votes unsigned", Style::Expected, "off");
        all.extend(series("votes signed", Style::Measured, "require"));
        Plot {
            title: title.to_owned(),
            subtitle: about
                .subtitle(&["the lie that achieves most".to_owned(), about.counts("runs", "runs")]),
            x: Axis::linear("liars among the observers, %"),
            y: Axis::linear(unit),
            series: all,
        }
    });
    let title = "What liars achieve, by their share of the observers";
    Figure::panels("liars", title, panels.collect())
}

/// The percentages at which the CSV has quantiles of a distribution.
pub(super) const SHARES: [u8; 23] =
    [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 98, 99, 100];
/// The longest wait of measurements of single deaths and of starts, in seconds.
const PATIENCE_OF_A_DEATH: f64 = 120.0;
/// The longest wait after a split has healed, in seconds.
const PATIENCE_OF_A_SPLIT: f64 = 1_800.0;
