//! The table of members: which columns fit, and their texts.

use std::time::Duration;

use phin::{MemberState, ServingState};
use ratatui::{
    style::Style,
    text::{Line, Span},
};

use super::{Theme, cell, compact};
use crate::{
    events::degraded,
    rtt,
    text::{escaped, readable},
    top::{
        model::Model,
        order::{EVIDENCE, Row, Trouble},
    },
};

/// The columns, with their widths.
pub(super) struct Columns(Vec<(Column, usize)>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Column {
    Name,
    State,
    Phi,
    Rtt,
    Loss,
    For,
    Serving,
    Notes,
    /// Notes, or else tags, where there is no room for both.
    NotesOrTags,
    Tags,
    Address,
}

impl Column {
    const fn title(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::State => "STATE",
            Self::Phi => "PHI",
            Self::Rtt => "RTT",
            Self::Loss => "LOSS",
            Self::For => "FOR",
            Self::Serving => "SERVING",
            Self::Notes => "NOTES",
            Self::NotesOrTags => "NOTES, TAGS",
            Self::Tags => "TAGS",
            Self::Address => "ADDRESS",
        }
    }

    const fn is_number(self) -> bool {
        matches!(self, Self::Phi | Self::Rtt | Self::Loss | Self::For)
    }
}

impl Columns {
    /// The columns that fit. The narrower the screen, the fewer there are.
    pub(super) fn fit<'a>(
        model: &Model,
        width: usize,
        rows: impl Iterator<Item = &'a Row> + Clone,
    ) -> Self {
        let longest = |text: fn(&Model, &Row) -> String| {
            rows.clone().map(|row| Span::raw(text(model, row)).width()).max().unwrap_or(0)
        };
        let name = longest(name).clamp(4, (width / 4).clamp(8, 40));
        let mut columns = vec![(Column::Name, name), (Column::State, 7)];
        let sized = [
            (Column::Phi, 5, 30),
            (Column::Rtt, 7, 40),
            (Column::Loss, 6, 60),
            (Column::For, 4, 50),
            (Column::Serving, 8, 72),
        ];
        let fitting = sized.into_iter().filter(|(_, _, least)| width >= *least);
        columns.extend(fitting.map(|(column, width, _)| (column, width)));
        if width >= WIDE {
            columns.push((Column::Address, longest(address).max(7)));
        }
        let used: usize = columns.iter().map(|(_, width)| width + 1).sum();
        let rest = width.saturating_sub(used);
        if rest >= LEAST_FOR_BOTH {
            let notes = longest(notes).clamp(5, rest / 2);
            columns.extend([(Column::Notes, notes), (Column::Tags, rest - notes - 1)]);
        } else if rest >= 5 {
            columns.push((Column::NotesOrTags, rest));
        }
        Self(columns)
    }

    pub(super) fn heading(&self) -> Line<'static> {
        let title =
            |&(column, width): &(Column, usize)| Span::raw(aligned(column, column.title(), width));
        Line::from(self.0.iter().map(title).collect::<Vec<_>>())
    }

    pub(super) fn row(&self, model: &Model, row: &Row, theme: Theme) -> Line<'static> {
        let spans = self.0.iter().map(|&(column, width)| {
            let text = text(column, model, row);
            Span::styled(aligned(column, &text, width), style(column, row, theme))
        });
        Line::from(spans.collect::<Vec<_>>())
    }
}

/// The text with so many columns and a space after it.
fn aligned(column: Column, text: &str, width: usize) -> String {
    let text = cell(text, width);
    let space = " ".repeat(width.saturating_sub(Span::raw(&*text).width()));
    if column.is_number() { format!("{space}{text} ") } else { format!("{text}{space} ") }
}

fn text(column: Column, model: &Model, row: &Row) -> String {
    let member = &row.member;
    let is_live = member.member.state.is_live();
    match column {
        Column::Name => name(model, row),
        Column::State => member.member.state.to_string(),
        Column::Phi => member.phi.map_or("-".into(), |phi| format!("{phi:.1}")),
        Column::Rtt => rtt::milliseconds(member.rtt_ms).replace(" ms", "ms").replace(" s", "s"),
        Column::Loss => rtt::percent(row.loss()).replace(" %", "%"),
        Column::For => row.since.map_or("-".into(), |since| {
            compact(model.now().wall.duration_since(since).unwrap_or(Duration::ZERO))
        }),
        Column::Serving if is_live => serving(&member.member.serving).into(),
        Column::Serving => "-".into(),
        Column::Notes => notes(model, row),
        Column::NotesOrTags => match notes(model, row) {
            notes if notes.is_empty() => member.member.tags.to_string(),
            notes => notes,
        },
        Column::Tags => member.member.tags.to_string(),
        Column::Address => address(model, row),
    }
}

const fn serving(state: &ServingState) -> &'static str {
    match state {
        ServingState::Serving => "yes",
        ServingState::Draining => "draining",
        ServingState::NotServing(_) => "NO",
    }
}

fn style(column: Column, row: &Row, theme: Theme) -> Style {
    let warning_if = |is_bad: bool| if is_bad { theme.warning() } else { Style::new() };
    let member = &row.member;
    match column {
        Column::Name | Column::State | Column::Notes => theme.trouble(row.trouble),
        Column::Phi => warning_if(member.phi.is_some_and(|phi| phi >= EVIDENCE)),
        Column::Loss => warning_if(row.is_lossy()),
        Column::Serving => {
            let is_live = member.member.state.is_live();
            warning_if(is_live && member.member.serving != ServingState::Serving)
        }
        Column::NotesOrTags if row.trouble.is_any() => theme.trouble(row.trouble),
        Column::NotesOrTags | Column::Rtt | Column::For | Column::Tags | Column::Address => {
            if matches!(row.trouble, Trouble::LongDead | Trouble::Left) {
                theme.calm()
            } else {
                Style::new()
            }
        }
    }
}

fn name(model: &Model, row: &Row) -> String {
    let is_me = model.list().is_some_and(|list| list.me == row.member.member.id);
    let name = escaped(&row.member.member.name.to_string());
    if is_me { format!("{name} (self)") } else { name }
}

fn address(_: &Model, row: &Row) -> String {
    row.member.member.addr.to_string()
}

/// All that is wrong with a member, in words.
fn notes(_: &Model, row: &Row) -> String {
    let member = &row.member;
    let mut notes = Vec::new();
    let failing = member.failing.failing_links.len();
    let is_degraded = member.failing.degraded_since.is_some();
    notes.extend(degraded(is_degraded, member.member.flaws));
    match failing {
        0 => {}
        1 => notes.push("not reached by 1 observer".to_owned()),
        several => notes.push(format!("not reached by {several}")),
    }
    if let Some(until) = &member.suppressed_until {
        let until = readable(until);
        let time = until.split_once('T').map_or(until.as_str(), |(_, time)| time);
        let time: String = time.chars().take("03:04".len()).collect();
        notes.push(format!("suppressed until {time} UTC"));
    }
    if !member.namesakes.is_empty() {
        notes.push("its name is not unique".into());
    }
    if let (true, Some(reason)) =
        (member.member.state == MemberState::Alive, member.member.serving.reason())
    {
        notes.push(format!("not serving: {reason}"));
    }
    if member.member.state.is_live() && row.is_lossy() {
        notes.push("loses pings".into());
    }
    if row.is_earlier_run {
        notes.push("an earlier run".into());
    }
    escaped(&notes.join(", "))
}

/// The width from which on addresses are shown.
const WIDE: usize = 140;
/// The room from which on notes and tags have a column each.
const LEAST_FOR_BOTH: usize = 44;
