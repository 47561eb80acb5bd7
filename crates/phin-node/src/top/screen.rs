//! Draws the model: lines of text, with the same words whether or not there are colours.
//!
//! All texts that come from nodes pass [`cell`] or [`wrapped`], which escape them.

mod columns;
mod pages;

use std::time::Duration;

use phin::MemberState;
use ratatui::{
    buffer::Buffer,
    style::{Color, Modifier, Style},
    text::{Line, Span},
};

use super::{
    model::{Model, Panel, Prompt, View},
    order::{Row, Trouble},
};
use crate::{
    rings::{MemberRings, RingNeighbour},
    rtt::{milliseconds, percent},
    text::{escaped, readable, short},
};
use columns::Columns;
use pages::{help_lines, why_lines};

/// How to mark what matters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Theme {
    pub(crate) is_colourful: bool,
}

/// The lines that each part of the screen has.
struct Layout {
    header: usize,
    has_heading: bool,
    rows: usize,
    /// With its title; 0 if there is no room.
    panel: usize,
    has_footer: bool,
}

impl Theme {
    /// A style in this colour, if there are colours.
    fn colour(self, colour: Color) -> Style {
        if self.is_colourful { Style::new().fg(colour) } else { Style::new() }
    }

    fn warning(self) -> Style {
        self.colour(Color::Yellow)
    }

    fn alarm(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn calm(self) -> Style {
        self.colour(Color::DarkGray)
    }

    fn trouble(self, trouble: Trouble) -> Style {
        match trouble {
            Trouble::Suspect | Trouble::Dead => self.alarm(),
            Trouble::Degraded
            | Trouble::FailingLinks
            | Trouble::Evidence
            | Trouble::Suppressed
            | Trouble::NameConflict
            | Trouble::NotServing
            | Trouble::Loss
            | Trouble::Draining => self.warning(),
            Trouble::None => Style::new(),
            Trouble::LongDead | Trouble::Left => self.calm(),
        }
    }
}

impl Layout {
    fn of(model: &Model, height: u16) -> Self {
        let height = usize::from(height);
        let header = HEADER + usize::from(model.failing().is_some());
        let header = header.min(height.saturating_sub(1));
        let has_heading = height >= header + 2;
        let has_footer = height >= header + 4;
        let rest = height - header - usize::from(has_heading) - usize::from(has_footer);
        if rest < LEAST_WITH_PANEL {
            return Self { header, has_heading, rows: rest, panel: 0, has_footer };
        }
        // The panel has the lines that members do not need, and some in any case.
        let most_rows = rest - (rest / 3).clamp(6, 12);
        let rows = model.shown().len().clamp(LEAST_ROWS, most_rows);
        Self { header, has_heading, rows, panel: rest - rows, has_footer }
    }
}

/// How many members the screen shows.
pub(super) fn rows_on_screen(model: &Model, height: u16) -> usize {
    Layout::of(model, height).rows
}

/// How many lines of a page of text the screen shows.
pub(super) fn page_room(height: u16) -> usize {
    usize::from(height).saturating_sub(PAGE_FRAME)
}

/// How many lines the present page of text has.
pub(super) fn page_lines(model: &Model, width: u16) -> usize {
    let width = usize::from(width);
    match model.view() {
        View::Members => 0,
        View::Why { id, .. } => why_lines(model, id, width).len(),
        View::Help { .. } => help_lines(width).len(),
    }
}

pub(crate) fn draw(model: &Model, theme: Theme, buffer: &mut Buffer) {
    let (width, height) = (usize::from(buffer.area.width), usize::from(buffer.area.height));
    if width < LEAST_WIDTH || height < LEAST_HEIGHT {
        put(buffer, 0, &Line::raw(cell("too small", width)));
        return;
    }
    match model.view() {
        View::Members => draw_members(model, theme, buffer),
        View::Why { id, scroll } => {
            let name = model.rows().iter().find(|row| row.member.member.id == id);
            let name = name
                .map_or_else(|| short(&id.to_string()), |row| row.member.member.name.to_string());
            let lines = why_lines(model, id, width);
            draw_page(model, theme, &format!("why {name}"), &lines, scroll, buffer);
        }
        View::Help { scroll } => {
            draw_page(model, theme, "help", &help_lines(width), scroll, buffer);
        }
    }
}

/// The members as plain text, all of them.
pub(crate) fn to_text(model: &Model, width: usize) -> String {
    let theme = Theme { is_colourful: false };
    let columns = Columns::fit(model, width, model.shown());
    let mut lines = header(model, width, theme);
    lines.push(Line::raw(""));
    lines.push(columns.heading());
    lines.extend(model.shown().map(|row| columns.row(model, row, theme)));
    let text = lines.iter().map(|line| {
        let text: String = line.spans.iter().map(|span| &*span.content).collect();
        format!("{}\n", text.trim_end())
    });
    text.collect()
}

fn draw_members(model: &Model, theme: Theme, buffer: &mut Buffer) {
    let layout = Layout::of(model, buffer.area.height);
    let width = usize::from(buffer.area.width);
    let mut y = 0;
    for line in header(model, width, theme).iter().take(layout.header) {
        put(buffer, y, line);
        y += 1;
    }
    let visible = || model.shown().skip(model.offset()).take(layout.rows);
    let columns = Columns::fit(model, width, visible());
    if layout.has_heading {
        let style = Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED);
        put(buffer, y, &columns.heading().style(style));
        y += 1;
    }
    for (index, row) in visible().enumerate() {
        let mut line = columns.row(model, row, theme);
        if model.offset() + index == model.cursor() {
            // Marks the whole line, also without colours.
            let length = line.width();
            line.push_span(" ".repeat(width.saturating_sub(length)));
            line = line.style(Style::new().add_modifier(Modifier::REVERSED));
        }
        put(buffer, y + index, &line);
    }
    if model.shown().len() == 0 && layout.rows > 0 {
        put(buffer, y, &Line::raw(cell(nothing_shown(model), width)));
    }
    y += layout.rows;
    if layout.panel > 0 {
        for (index, line) in panel(model, theme, width, layout.panel).iter().enumerate() {
            put(buffer, y + index, line);
        }
        y += layout.panel;
    }
    if layout.has_footer {
        put(buffer, y, &footer(model, theme, width));
    }
}

fn nothing_shown(model: &Model) -> &'static str {
    match (model.options().filter.is_empty(), model.find().is_empty()) {
        (true, true) => "no member is known",
        (false, true) => "no member matches the filter; esc removes it",
        (_, false) => "no member has such a name; esc shows all",
    }
}

fn draw_page(
    model: &Model,
    theme: Theme,
    title: &str,
    lines: &[String],
    scroll: usize,
    buffer: &mut Buffer,
) {
    let (width, height) = (usize::from(buffer.area.width), usize::from(buffer.area.height));
    let state = contact(model, theme);
    put(buffer, 0, &between(rule(title, theme), state, width));
    let room = page_room(buffer.area.height);
    // The list may have changed since the last key.
    let scroll = scroll.min(lines.len().saturating_sub(room));
    for (index, line) in lines.iter().skip(scroll).take(room).enumerate() {
        put(buffer, index + 1, &Line::raw(line.as_str()));
    }
    let more = lines.len().saturating_sub(scroll + room);
    let more = if more > 0 { format!("  {more} more lines") } else { String::new() };
    let keys = format!("esc back  up/down scroll  q quit{more}");
    put(buffer, height - 1, &Line::styled(cell(&keys, width), theme.calm()));
}

/// The node, its members, and what is shown of them.
fn header(model: &Model, width: usize, theme: Theme) -> Vec<Line<'static>> {
    let mut lines = vec![between(node_line(model, theme), contact(model, theme), width)];
    if let Some((_, error)) = model.failing() {
        let age = model.age().map_or(String::new(), |age| format!("data {} old, ", seconds(age)));
        let text = format!("{age}trying again: {error}");
        lines.push(Line::styled(cell(&text, width), theme.alarm()));
    }
    lines.push(counts_line(model, theme, width));
    lines.push(Line::styled(cell(&selection(model), width), theme.calm()));
    lines
}

fn node_line(model: &Model, theme: Theme) -> Vec<Span<'static>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![Span::styled("phin top", bold)];
    let Some(node) = model.node() else {
        return spans;
    };
    spans.push(Span::styled(format!("  {}", escaped(&node.name)), bold));
    match &node.not_ready {
        None => spans.push(Span::raw("  ready")),
        Some(why) => {
            spans.push(Span::styled(format!("  NOT READY: {}", escaped(why)), theme.warning()));
        }
    }
    let up = compact(Duration::from_millis(node.uptime_ms));
    let (cluster, version) = (escaped(&node.cluster), escaped(&node.version));
    let base = escaped(&model.options().base);
    spans.push(Span::raw(format!("  cluster {cluster}  up {up}  phin {version}  {base}")));
    spans
}

/// Whether the node answers.
fn contact(model: &Model, theme: Theme) -> Span<'static> {
    let late = model.options().interval * 3 + Duration::from_secs(5);
    match (model.failing(), model.age()) {
        (Some((since, _)), _) => {
            Span::styled(format!("NO DATA for {}", seconds(since)), theme.alarm())
        }
        (None, Some(age)) if age > late => {
            Span::styled(format!("data {} old", seconds(age)), theme.warning())
        }
        (None, _) => Span::styled("live", theme.colour(Color::Green)),
    }
}

fn counts_line(model: &Model, theme: Theme, width: usize) -> Line<'static> {
    let rows = model.rows();
    let count = |state| rows.iter().filter(|row| row.member.member.state == state).count();
    let [alive, suspect, dead, left] =
        [MemberState::Alive, MemberState::Suspect, MemberState::Dead, MemberState::Left].map(count);
    let troubled = rows.iter().filter(|row| row.trouble.is_any() && !row.is_earlier_run).count();
    let marked = |count: usize, style: Style| if count > 0 { style } else { Style::new() };
    let mut line = Line::from(vec![
        Span::raw(format!("{} members: {alive} alive, ", rows.len())),
        Span::styled(format!("{suspect} suspect"), marked(suspect, theme.alarm())),
        Span::raw(", "),
        Span::styled(format!("{dead} dead"), marked(dead, theme.alarm())),
        Span::raw(format!(", {left} left  ")),
        Span::styled(format!("{troubled} in trouble"), marked(troubled, theme.warning())),
    ]);
    if let Some(node) = model.node() {
        match node.converged {
            false => line.push_span(Span::styled("  NOT CONVERGED", theme.warning())),
            true => line.push_span("  converged"),
        }
        line.push_span(format!("  list {}", node.list_version));
    }
    cut(line, width)
}

/// Which members are shown, and in which order.
fn selection(model: &Model) -> String {
    let options = model.options();
    let (shown, all) = (model.shown().len(), model.rows().len());
    let mut text = format!("by {}", options.sort.as_str());
    if model.is_reversed() {
        text.push_str(", reversed");
    }
    if !options.filter.is_empty() {
        text.push_str(&format!("  filter {}", options.filter));
    }
    if !model.find().is_empty() {
        text.push_str(&format!("  name has {:?}", model.find()));
    }
    match shown == all {
        true => text.push_str(&format!("  {all} shown")),
        false => text.push_str(&format!("  {shown} of {all} shown")),
    }
    if model.offset() > 0 {
        text.push_str(&format!(", from {} on", model.offset() + 1));
    }
    let hidden = model.rows().iter().filter(|row| row.is_earlier_run).count();
    if !options.shows_all && hidden > 0 {
        text.push_str(&format!("  without {hidden} earlier runs (a)"));
    }
    text
}

/// The panel with its title: exactly so many lines.
fn panel(model: &Model, theme: Theme, width: usize, lines: usize) -> Vec<Line<'static>> {
    let room = lines.saturating_sub(1);
    let (title, content) = match model.panel() {
        Panel::Events => (events_title(model), events(model, theme, width, room)),
        Panel::Member => ("selected member (e: events)".to_owned(), member(model, width)),
    };
    let mut spans = rule(&title, theme);
    let length: usize = spans.iter().map(Span::width).sum();
    spans.push(Span::styled("─".repeat(width.saturating_sub(length + 1)), theme.calm()));
    let mut shown = vec![cut(Line::from(spans), width)];
    shown.extend(content.into_iter().take(room));
    shown
}

fn events_title(model: &Model) -> String {
    match model.stream_lost() {
        None => format!("{} events, UTC (m: member)", model.log().seen()),
        Some(error) => format!("events, not followed: {}", escaped(error)),
    }
}

fn events(model: &Model, theme: Theme, width: usize, room: usize) -> Vec<Line<'static>> {
    let entries: Vec<_> = model.log().last(room).collect();
    if entries.is_empty() {
        return vec![Line::styled(cell("none since this screen began", width), theme.calm())];
    }
    let line = |entry: &&super::event_log::Entry| {
        let style = match entry.event {
            "suspect" | "dead" | "lost" | "isolated" => theme.alarm(),
            "degraded" | "suppressed" | "name-conflict" | "missed" | "restarted" => theme.warning(),
            _ => Style::new(),
        };
        let event = Span::styled(format!("{:13}", entry.event), style);
        let text = escaped(&entry.text);
        cut(Line::from(vec![Span::raw(format!("{} ", entry.at)), event, Span::raw(text)]), width)
    };
    entries.iter().map(line).collect()
}

/// The selected member, with its places on the rings.
fn member(model: &Model, width: usize) -> Vec<Line<'static>> {
    let Some(row) = model.selected_row() else {
        return vec![Line::raw("none")];
    };
    let detailed = &row.member;
    let info = &detailed.member;
    let (generation, incarnation) = (info.generation.0, info.incarnation.0);
    let mut lines = vec![
        format!(
            "{} ({})  {}  generation {generation}, incarnation {incarnation}  {} since {}",
            info.name,
            short(&info.id.to_string()),
            info.addr,
            info.state,
            readable(&detailed.since),
        ),
        links_text(model, row),
    ];
    match model.rings_of(info.id) {
        None => lines.push("rings: asking …".into()),
        Some(Err(error)) => lines.push(format!("rings: {error}")),
        Some(Ok(rings)) => lines.extend(ring_lines(rings, row)),
    }
    if !info.tags.is_empty() {
        lines.push(format!("tags: {}", info.tags));
    }
    let wrapped = lines.iter().flat_map(|line| wrapped(line, width));
    wrapped.map(Line::raw).collect()
}

fn links_text(model: &Model, row: &Row) -> String {
    if model.list().is_some_and(|list| list.me == row.member.member.id) {
        return "this is the queried node".into();
    }
    let Some(link) = row.link.as_ref().filter(|link| link.observed) else {
        return "not measured: this node does not observe it".into();
    };
    let rtt = milliseconds(link.rtt_ms);
    let (p99, loss) = (milliseconds(link.rtt_p99_ms), percent(link.loss));
    let samples = link.rtt_samples.unwrap_or_default();
    format!("round trip {rtt}, p99 {p99}, loss {loss}, {samples} measured")
}

/// The neighbours of a member on the rings. Those that are not alive, or do not reach it, are marked.
fn ring_lines(rings: &MemberRings, row: &Row) -> Vec<String> {
    if !rings.member.state.is_live() {
        return vec!["rings: none, as only live members are on the rings".into()];
    }
    let fails = |id| row.member.failing.failing_links.iter().any(|link| link.observer.id == id);
    let listed = |neighbours: &[RingNeighbour], is_observer: bool| {
        let shown = neighbours.iter().map(|next| {
            let mark = match next.state {
                _ if is_observer && fails(next.member.id) => " (does not reach it)".to_owned(),
                Some(MemberState::Alive) => String::new(),
                Some(state) => format!(" ({state})"),
                None => " (gone)".to_owned(),
            };
            format!("{}{mark}", next.member.label())
        });
        shown.collect::<Vec<_>>().join(", ")
    };
    let or_none = |names: String| if names.is_empty() { "none".to_owned() } else { names };
    let all = rings.observers.iter().all(|next| next.rings.is_empty());
    let how = if all { "all observe all" } else { "by the rings" };
    vec![
        format!("observed by ({how}): {}", or_none(listed(&rings.observers, true))),
        format!("observes: {}", or_none(listed(&rings.subjects, false))),
    ]
}

fn footer(model: &Model, theme: Theme, width: usize) -> Line<'static> {
    let (label, text, hint) = match model.prompt() {
        None => return Line::styled(cell(KEYS, width), theme.calm()),
        Some(Prompt::Filter { text, error }) => ("filter: ", text.as_str(), error.as_deref()),
        Some(Prompt::Find { .. }) => ("name: ", model.find(), None),
    };
    let cursor = Span::styled(" ", Style::new().add_modifier(Modifier::REVERSED));
    let style = if hint.is_some() { theme.alarm() } else { theme.calm() };
    let hint = hint.unwrap_or("enter applies, esc cancels");
    // The end of the text stays visible.
    let room = width.saturating_sub(label.len() + 1);
    let text = end_of(&escaped(text), room);
    let spans = vec![
        Span::raw(label),
        Span::raw(text),
        cursor,
        Span::styled(format!("  {}", escaped(hint)), style),
    ];
    cut(Line::from(spans), width)
}

/// A title in a horizontal line.
fn rule(title: &str, theme: Theme) -> Vec<Span<'static>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    vec![Span::styled("── ", theme.calm()), Span::styled(escaped(title), bold), Span::raw(" ")]
}

/// A line with one text at its beginning and one at its end, which is shown whole.
fn between(left: Vec<Span<'static>>, right: Span<'static>, width: usize) -> Line<'static> {
    let room = width.saturating_sub(right.width() + 2);
    let mut line = cut(Line::from(left), room);
    line.push_span(" ".repeat((room + 2).saturating_sub(line.width())));
    line.push_span(right);
    line
}

/// A line of at most so many columns. The spans are escaped already.
fn cut(line: Line<'static>, width: usize) -> Line<'static> {
    if line.width() <= width {
        return line;
    }
    let mut room = width;
    let mut spans = Vec::new();
    for span in line.spans {
        if span.width() <= room {
            room -= span.width();
            spans.push(span);
            continue;
        }
        spans.push(Span::styled(cell(&span.content, room), span.style));
        break;
    }
    Line { spans, ..line }
}

/// A text of at most so many columns, escaped. A longer one ends in `…`.
fn cell(text: &str, width: usize) -> String {
    let text = escaped(text);
    if text.is_ascii() && text.len() <= width {
        return text;
    }
    let mut room = width;
    let mut shown = String::new();
    for c in text.chars() {
        let mut bytes = [0; 4];
        let columns = Span::raw(&*c.encode_utf8(&mut bytes)).width();
        if columns > room {
            while Span::raw(&*shown).width() >= width && shown.pop().is_some() {}
            if width > 0 {
                shown.push('…');
            }
            return shown;
        }
        room -= columns;
        shown.push(c);
    }
    shown
}

/// The last so many columns of a text that is escaped.
fn end_of(text: &str, width: usize) -> String {
    let mut start = 0;
    while Span::raw(&text[start..]).width() > width {
        start += text[start..].chars().next().map_or(1, char::len_utf8);
    }
    text[start..].to_owned()
}

/// A text as lines of at most so many columns, escaped. Words stay whole if they fit.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let text = escaped(text);
    let mut lines = vec![String::new()];
    for word in text.split_inclusive(' ') {
        let line = lines.last().map_or("", String::as_str);
        let length = Span::raw(line).width();
        if length > 0 && length + Span::raw(word.trim_end()).width() > width {
            lines.push(String::new());
        }
        for c in word.chars() {
            let line = lines.last_mut().expect("there is a first line");
            if c != ' ' && Span::raw(&**line).width() >= width {
                lines.push(c.to_string());
            } else {
                line.push(c);
            }
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// Writes a line, which may be longer than the buffer is wide.
fn put(buffer: &mut Buffer, y: usize, line: &Line<'_>) {
    let area = buffer.area;
    if let Some(y) = u16::try_from(y).ok().filter(|y| *y < area.height) {
        buffer.set_line(area.x, area.y + y, line, area.width);
    }
}

/// A duration in its largest unit, such as `12s` or `3d`.
fn compact(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3_600 => format!("{}m", seconds / 60),
        seconds @ 3_600..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn seconds(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

const KEYS: &str =
    "q quit  ? help  enter why  / name  f filter  s sort  r reverse  a all  m member";
/// The lines of the header while the node answers.
const HEADER: usize = 3;
/// Lines for members beside a panel, even if there are fewer: the panel stays where it is while the first ones come and go.
const LEAST_ROWS: usize = 5;
/// Rows from which on there is room for a panel.
const LEAST_WITH_PANEL: usize = 13;
/// The smallest screen that shows anything.
const LEAST_WIDTH: usize = 20;
const LEAST_HEIGHT: usize = 3;
/// The lines of a page that are no text: title and keys.
const PAGE_FRAME: usize = 2;
