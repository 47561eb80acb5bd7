//! The state of the screen, and how messages change it. It has no clock: each message comes with the time.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use phin::{Change, Filter, MemberId, MemberState};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    event_log::EventLog,
    message::{Answer, Message, Question},
    order::{Row, Sort, Trouble},
    screen,
};
use crate::{
    events::{Changed, DetailedMember, Failing, MemberList, What},
    info::NodeInfo,
    links::KnownLink,
    members::earlier_runs,
    rings::MemberRings,
    suspicion::Why,
    text::rfc3339,
};

/// The time of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Since the start of the command.
    pub(crate) clock: Duration,
    pub(crate) wall: SystemTime,
}

/// The choices of the command line.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The node in messages.
    pub(crate) base: String,
    pub(crate) interval: Duration,
    pub(crate) filter: Filter,
    pub(crate) sort: Sort,
    /// Whether earlier runs of members are shown.
    pub(crate) shows_all: bool,
}

/// The things to do after a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Effect {
    Quit,
    Suspend,
    Redraw,
    /// Request the list.
    Refresh,
    Ask(Question),
}

/// The content of the screen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum View {
    Members,
    /// The evidence for or against a member, from this line on.
    Why {
        id: MemberId,
        scroll: usize,
    },
    Help {
        scroll: usize,
    },
}

/// The content of the panel below the members.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Panel {
    Events,
    /// The selected member, with its places on the rings.
    Member,
}

/// A text that is being typed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Prompt {
    Filter {
        text: String,
        error: Option<String>,
    },
    /// A part of a name, and the one before it.
    Find {
        before: String,
    },
}

/// The last answer about one member.
type Told<T> = Option<(MemberId, Result<Box<T>, String>)>;

/// The list, without its members.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListInfo {
    pub(crate) me: MemberId,
    pub(crate) version: u64,
    pub(crate) converged: Option<bool>,
}

/// The answers of the node.
#[derive(Clone, Debug, Default)]
struct Contact {
    answered_at: Option<Duration>,
    /// Since when it does not answer, and the last error.
    failing: Option<(Duration, String)>,
    /// Why changes are not followed.
    stream_lost: Option<String>,
}

pub(crate) struct Model {
    options: Options,
    now: Now,
    size: (u16, u16),
    node: Option<NodeInfo>,
    links: BTreeMap<MemberId, KnownLink>,
    list: Option<ListInfo>,
    listed_at: Option<Duration>,
    rows: Vec<Row>,
    /// The rows that are shown, in their order.
    shown: Vec<usize>,
    /// The selected member; `None` while the first row is selected, whichever it is.
    selected: Option<MemberId>,
    cursor: usize,
    /// The first row on the screen.
    offset: usize,
    is_reversed: bool,
    /// Only members with this part in their name are shown.
    find: String,
    view: View,
    panel: Panel,
    prompt: Option<Prompt>,
    why: Told<Why>,
    rings: Told<MemberRings>,
    /// The question that was asked last.
    asked: Option<Question>,
    log: EventLog,
    contact: Contact,
}

impl Model {
    pub(crate) fn new(options: Options, now: Now) -> Self {
        Self {
            options,
            now,
            size: (80, 24),
            node: None,
            links: BTreeMap::new(),
            list: None,
            listed_at: None,
            rows: Vec::new(),
            shown: Vec::new(),
            selected: None,
            cursor: 0,
            offset: 0,
            is_reversed: false,
            find: String::new(),
            view: View::Members,
            panel: Panel::Events,
            prompt: None,
            why: None,
            rings: None,
            asked: None,
            log: EventLog::default(),
            contact: Contact::default(),
        }
    }

    /// Takes a message in, and says what is to be done.
    pub(crate) fn update(&mut self, now: Now, message: Message) -> Vec<Effect> {
        self.now = now;
        let mut effects = Vec::new();
        let is_answer = matches!(message, Message::Answer(_));
        match message {
            Message::Answer(answer) => {
                self.take_answer(*answer);
                effects.extend(self.is_list_due().then_some(Effect::Refresh));
            }
            Message::NoAnswer(error) => self.take_failure(error),
            Message::Snapshot(list) => {
                self.contact.stream_lost = None;
                self.take_list(*list);
            }
            Message::Event(line) => {
                self.log.push(&line);
                if let What::Changed(changed) = &line.what {
                    self.take_change(&line.at, changed);
                    // It has what events do not say, such as the end of a suppression.
                    effects.push(Effect::Refresh);
                }
            }
            Message::StreamLost(error) => self.contact.stream_lost = Some(error),
            Message::Why(id, why) => self.why = Some((id, why)),
            Message::Rings(id, rings) => self.rings = Some((id, rings)),
            Message::Key(key) => effects = self.take_key(key),
            Message::Resized(width, height) => self.size = (width, height),
            Message::Tick => {}
        }
        let wanted = self.question();
        if wanted != self.asked || is_answer {
            effects.extend(wanted.map(Effect::Ask));
            self.asked = wanted;
        }
        self.scroll_to_cursor();
        effects
    }

    pub(crate) const fn now(&self) -> Now {
        self.now
    }

    pub(crate) const fn options(&self) -> &Options {
        &self.options
    }

    /// The last description of the node by itself.
    pub(crate) const fn node(&self) -> Option<&NodeInfo> {
        self.node.as_ref()
    }

    pub(crate) const fn list(&self) -> Option<ListInfo> {
        self.list
    }

    pub(crate) const fn view(&self) -> View {
        self.view
    }

    pub(crate) const fn panel(&self) -> Panel {
        self.panel
    }

    pub(crate) const fn prompt(&self) -> Option<&Prompt> {
        self.prompt.as_ref()
    }

    pub(crate) fn find(&self) -> &str {
        &self.find
    }

    pub(crate) const fn is_reversed(&self) -> bool {
        self.is_reversed
    }

    pub(crate) const fn log(&self) -> &EventLog {
        &self.log
    }

    pub(crate) fn stream_lost(&self) -> Option<&str> {
        self.contact.stream_lost.as_deref()
    }

    /// Since how long the node does not answer, and why.
    pub(crate) fn failing(&self) -> Option<(Duration, &str)> {
        let (since, error) = self.contact.failing.as_ref()?;
        Some((self.now.clock.saturating_sub(*since), error))
    }

    /// The age of the list, if the node has answered.
    pub(crate) fn age(&self) -> Option<Duration> {
        Some(self.now.clock.saturating_sub(self.contact.answered_at?))
    }

    /// All members, in no order.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The members that are shown, in their order.
    pub(crate) fn shown(&self) -> impl ExactSizeIterator<Item = &Row> + Clone {
        self.shown.iter().map(|&index| &self.rows[index])
    }

    pub(crate) const fn cursor(&self) -> usize {
        self.cursor
    }

    pub(crate) const fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn selected_row(&self) -> Option<&Row> {
        self.shown.get(self.cursor).map(|&index| &self.rows[index])
    }

    /// The evidence about a member, if the node has answered.
    pub(crate) fn why_of(&self, id: MemberId) -> Option<Result<&Why, &str>> {
        of(&self.why, id)
    }

    /// The places of a member on the rings, if the node has answered.
    pub(crate) fn rings_of(&self, id: MemberId) -> Option<Result<&MemberRings, &str>> {
        of(&self.rings, id)
    }

    fn take_answer(&mut self, answer: Answer) {
        let Answer { node, links, list } = answer;
        let at = rfc3339(self.now.wall);
        self.contact.answered_at = Some(self.now.clock);
        if self.contact.failing.take().is_some() {
            // Changes may have been missed.
            self.listed_at = None;
            self.log.note(&at, "connected", format!("{} answers again", self.options.base));
        }
        let has_restarted =
            self.node.as_ref().is_some_and(|before| before.started_at != node.started_at);
        if has_restarted {
            self.listed_at = None;
            self.log.note(&at, "restarted", "the node has started again".into());
        }
        self.node = Some(node);
        self.links = links.links.into_iter().map(|link| (link.member.id, link)).collect();
        match list {
            Some(list) => self.take_list(list),
            None => {
                self.apply_links();
                self.arrange();
            }
        }
    }

    /// Whether the list is to be requested: if its changes do not come by themselves, or now and then.
    fn is_list_due(&self) -> bool {
        let age = self.listed_at.map(|at| self.now.clock.saturating_sub(at));
        let limit = match self.contact.stream_lost {
            Some(_) => self.options.interval,
            None => LIST_AGE,
        };
        age.is_none_or(|age| age >= limit)
    }

    fn take_failure(&mut self, error: String) {
        let since = match &self.contact.failing {
            Some((since, _)) => *since,
            None => {
                let at = rfc3339(self.now.wall);
                self.log.note(&at, "lost", error.clone());
                self.now.clock
            }
        };
        self.contact.failing = Some((since, error));
    }

    fn take_list(&mut self, list: MemberList) {
        self.listed_at = Some(self.now.clock);
        let MemberList { me, version, converged, members, .. } = list;
        self.list = Some(ListInfo { me, version, converged });
        let are_earlier = earlier_runs(&members);
        let rows = members.into_iter().zip(are_earlier);
        self.rows = rows.map(|(member, is_earlier)| Row::new(member, is_earlier)).collect();
        self.apply_links();
        self.arrange();
    }

    /// Puts what the node knows of its links to the members.
    fn apply_links(&mut self) {
        for row in &mut self.rows {
            row.set_link(self.links.get(&row.member.member.id).cloned());
        }
    }

    /// Applies a change, until the list comes with it.
    fn take_change(&mut self, at: &str, changed: &Changed) {
        let info = &changed.event.member;
        let known = self.rows.iter().position(|row| row.member.member.id == info.id);
        if changed.event.change == Change::Forgotten {
            self.rows.retain(|row| row.member.member.id != info.id);
            return self.arrange();
        }
        let index = known.unwrap_or_else(|| {
            self.rows.push(new_row(info.clone()));
            self.rows.len() - 1
        });
        let row = &mut self.rows[index];
        if known.is_none() || row.member.member.state != info.state {
            at.clone_into(&mut row.member.since);
            row.since = at.parse::<Timestamp>().ok().map(SystemTime::from);
        }
        row.member.member = info.clone();
        if matches!(info.state, MemberState::Dead | MemberState::Left) {
            row.set_link(None);
        }
        self.arrange();
    }

    /// Finds what is shown, and its order. The selected member stays selected.
    fn arrange(&mut self) {
        let Self { rows, options, find, .. } = self;
        let find = find.to_lowercase();
        for row in rows.iter_mut() {
            let age = row.since.and_then(|since| self.now.wall.duration_since(since).ok());
            row.trouble = Trouble::of(row, age.unwrap_or_default());
        }
        let is_shown = |row: &Row| {
            let member = &row.member.member;
            (options.shows_all || !row.is_earlier_run)
                && options.filter.matches_tags(&member.tags)
                && (find.is_empty() || member.name.as_str().to_lowercase().contains(&find))
        };
        let mut shown: Vec<_> = (0..rows.len()).filter(|&index| is_shown(&rows[index])).collect();
        shown.sort_by(|&a, &b| {
            let order = options.sort.compare(&rows[a], &rows[b]);
            if self.is_reversed { order.reverse() } else { order }
        });
        let id_of = |index: &usize| rows[*index].member.member.id;
        let place = self.selected.and_then(|id| shown.iter().position(|index| id_of(index) == id));
        let last = shown.len().saturating_sub(1);
        self.cursor = match self.selected {
            None => 0,
            Some(_) => place.unwrap_or(self.cursor.min(last)),
        };
        self.shown = shown;
    }

    fn scroll_to_cursor(&mut self) {
        let rows = screen::rows_on_screen(self, self.size.1).max(1);
        let last_offset = self.shown.len().saturating_sub(rows);
        let lowest = self.cursor.saturating_sub(rows - 1);
        self.offset = self.offset.clamp(lowest, self.cursor.max(lowest)).min(last_offset);
    }

    /// The question whose answer the screen shows.
    fn question(&self) -> Option<Question> {
        match (self.view, self.panel) {
            (View::Why { id, .. }, _) => Some(Question::Why(id)),
            (View::Members, Panel::Member) => {
                Some(Question::Rings(self.selected_row()?.member.member.id))
            }
            (View::Members, Panel::Events) | (View::Help { .. }, _) => None,
        }
    }

    fn take_key(&mut self, key: KeyEvent) -> Vec<Effect> {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return vec![Effect::Quit],
            KeyCode::Char('z') if is_control => return vec![Effect::Suspend],
            KeyCode::Char('l') if is_control => return vec![Effect::Redraw, Effect::Refresh],
            _ => {}
        }
        if self.prompt.is_some() {
            self.take_prompt_key(key, is_control);
            return Vec::new();
        }
        if is_control {
            return Vec::new();
        }
        if key.code == KeyCode::Char('q') {
            return vec![Effect::Quit];
        }
        match self.view {
            View::Members => self.take_member_key(key.code),
            View::Why { .. } | View::Help { .. } => self.take_page_key(key.code),
        }
        Vec::new()
    }

    /// A key where the members are shown.
    fn take_member_key(&mut self, code: KeyCode) {
        let page = screen::rows_on_screen(self, self.size.1).saturating_sub(1).max(1);
        match code {
            KeyCode::Up | KeyCode::Char('k') => self.select(self.cursor.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.cursor + 1),
            KeyCode::PageUp => self.select(self.cursor.saturating_sub(page)),
            KeyCode::PageDown => self.select(self.cursor + page),
            KeyCode::Home | KeyCode::Char('g') => {
                self.selected = None;
                self.arrange();
            }
            KeyCode::End | KeyCode::Char('G') => self.select(usize::MAX),
            KeyCode::Enter | KeyCode::Char('w') => {
                if let Some(row) = self.selected_row() {
                    self.view = View::Why { id: row.member.member.id, scroll: 0 };
                }
            }
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.view = View::Help { scroll: 0 },
            KeyCode::Char('/') => self.prompt = Some(Prompt::Find { before: self.find.clone() }),
            KeyCode::Char('f') => {
                let text = self.options.filter.to_string();
                self.prompt = Some(Prompt::Filter { text, error: None });
            }
            KeyCode::Char('s') => {
                self.options.sort = self.options.sort.next();
                self.arrange();
            }
            KeyCode::Char('r') => {
                self.is_reversed = !self.is_reversed;
                self.arrange();
            }
            KeyCode::Char('a') => {
                self.options.shows_all = !self.options.shows_all;
                self.arrange();
            }
            KeyCode::Char('e') => self.panel = Panel::Events,
            KeyCode::Char('m') => self.panel = Panel::Member,
            KeyCode::Tab => {
                self.panel = match self.panel {
                    Panel::Events => Panel::Member,
                    Panel::Member => Panel::Events,
                };
            }
            KeyCode::Esc => {
                self.find.clear();
                self.options.filter = Filter::default();
                self.arrange();
            }
            _ => {}
        }
    }

    /// Selects a row, or the last one.
    fn select(&mut self, row: usize) {
        self.cursor = row.min(self.shown.len().saturating_sub(1));
        self.selected = self.selected_row().map(|row| row.member.member.id);
    }

    /// A key on a page of text.
    fn take_page_key(&mut self, code: KeyCode) {
        let (width, height) = self.size;
        let room = screen::page_room(height);
        let page = room.saturating_sub(1).max(1);
        let last = screen::page_lines(self, width).saturating_sub(room);
        let (View::Why { scroll, .. } | View::Help { scroll }) = &mut self.view else {
            return;
        };
        *scroll = match code {
            KeyCode::Up | KeyCode::Char('k') => scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => *scroll + 1,
            KeyCode::PageUp => scroll.saturating_sub(page),
            KeyCode::PageDown | KeyCode::Char(' ') => *scroll + page,
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => last,
            KeyCode::Esc | KeyCode::Enter | KeyCode::Char('w' | '?' | 'h') | KeyCode::Backspace => {
                self.view = View::Members;
                return;
            }
            _ => *scroll,
        }
        .min(last);
    }

    fn take_prompt_key(&mut self, key: KeyEvent, is_control: bool) {
        let Some(prompt) = &mut self.prompt else {
            return;
        };
        let text = match prompt {
            Prompt::Filter { text, error } => {
                *error = None;
                text
            }
            Prompt::Find { .. } => &mut self.find,
        };
        match key.code {
            KeyCode::Char('u') if is_control => text.clear(),
            KeyCode::Char('w') if is_control => {
                let kept = text.trim_end().rfind([' ', ',']).map_or(0, |at| at + 1);
                text.truncate(kept);
            }
            KeyCode::Char('h') if is_control => _ = text.pop(),
            KeyCode::Backspace => _ = text.pop(),
            KeyCode::Char(c)
                if !is_control
                    && phin::is_printable(c)
                    && text.len() + c.len_utf8() <= Filter::MAX_BYTES =>
            {
                text.push(c);
            }
            KeyCode::Enter => self.enter(),
            KeyCode::Esc => self.cancel(),
            _ => {}
        }
        if matches!(self.prompt, Some(Prompt::Find { .. })) {
            self.arrange();
        }
    }

    /// Applies the text that was typed.
    fn enter(&mut self) {
        let Some(Prompt::Filter { text, error }) = &mut self.prompt else {
            self.prompt = None;
            return;
        };
        match text.trim().parse() {
            Ok(filter) => {
                self.options.filter = filter;
                self.prompt = None;
                self.arrange();
            }
            Err(wrong) => *error = Some(wrong.to_string()),
        }
    }

    fn cancel(&mut self) {
        if let Some(Prompt::Find { before }) = self.prompt.take() {
            self.find = before;
            self.arrange();
        }
    }
}

/// The last answer, if it is about this member.
fn of<T>(told: &Told<T>, id: MemberId) -> Option<Result<&T, &str>> {
    let (about, answer) = told.as_ref()?;
    (*about == id).then(|| answer.as_deref().map_err(String::as_str))
}

/// A member of which only a change is known.
fn new_row(member: phin::MemberInfo) -> Row {
    let member = DetailedMember {
        member,
        phi: None,
        rtt_ms: None,
        since: String::new(),
        suppressed_until: None,
        namesakes: Vec::new(),
        failing: Failing::default(),
    };
    Row::new(member, false)
}

/// The age at which the list is requested again though its changes come by themselves.
const LIST_AGE: Duration = Duration::from_secs(60);
