//! Screens as text, and what keys and answers do.
//!
//! `UPDATE_SCREENS=1` writes the screens in `src/top/screens` anew. A line of theirs begins with `>` if it is marked as a
//! whole, as the selected member is, else with `|`.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use phin::{Change, EventInfo, MemberId, MemberState, ServingState};
use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::{Color, Modifier},
    text::Span,
};
use serde_json::json;

use super::{
    message::{Answer, Message, Question},
    model::{Effect, Model, Now, Options},
    order::{Row, Sort, Trouble},
    screen::{self, Theme},
};
use crate::{
    brief::BriefMember,
    events::{Changed, DetailedMember, Failing, Line, MemberList, What},
    info::NodeInfo,
    links::{KnownLink, LinkList},
    rings::MemberRings,
    suspicion::Why,
    text::rfc3339,
};

/// 2026-01-02T03:04:05Z.
const WALL: Duration = Duration::from_secs(1_767_323_045);

fn at(seconds: u64) -> Now {
    let clock = Duration::from_secs(seconds);
    Now { clock, wall: SystemTime::UNIX_EPOCH + WALL + clock }
}

/// The time so long before the start.
fn ago(seconds: u64) -> String {
    rfc3339(SystemTime::UNIX_EPOCH + WALL - Duration::from_secs(seconds))
}

fn id(number: u32) -> MemberId {
    // The digits that are shown differ.
    format!("{number:08x}{:024x}", 0).parse().unwrap()
}

/// A member that is in its state for an hour.
pub(super) fn member(number: u32, name: &str, state: &str) -> DetailedMember {
    let member = json!({
        "id": id(number), "name": name, "addr": format!("10.0.0.{}:7646", number % 250),
        "generation": 1, "incarnation": 0, "state": state,
        "phi": null, "rtt_ms": null, "since": ago(3_600),
    });
    serde_json::from_value(member).unwrap()
}

pub(super) fn row(number: u32, name: &str) -> Row {
    Row::new(member(number, name, "alive"), false)
}

fn in_state(number: u32, name: &str, state: &str, seconds_ago: u64) -> Row {
    Row::new(DetailedMember { since: ago(seconds_ago), ..member(number, name, state) }, false)
}

/// A member that the node observes.
pub(super) fn observed(number: u32, name: &str) -> Row {
    let mut row = row(number, name);
    row.set_link(Some(KnownLink {
        member: BriefMember { id: id(number), name: Some(name.to_owned()) },
        observed: true,
        phi: Some(0.0),
        rtt_ms: Some(0.42 + f64::from(number)),
        rtt_p99_ms: Some(1.3 + f64::from(number)),
        rtt_samples: Some(120),
        loss: Some(0.001),
        failing: Failing::default(),
    }));
    row
}

fn with_link(mut row: Row, change: impl FnOnce(&mut KnownLink)) -> Row {
    let mut link = row.link.clone().unwrap();
    change(&mut link);
    row.set_link(Some(link));
    row
}

fn failing(row: Row, observers: &[u32], is_degraded: bool) -> Row {
    let links: Vec<_> = observers
        .iter()
        .map(|&number| {
            let observer = json!({ "id": id(number), "name": format!("n{number}") });
            json!({ "observer": observer, "since": ago(30), "pings_missed": 9 })
        })
        .collect();
    let degraded_since = is_degraded.then(|| ago(20));
    let failing = json!({ "degraded_since": degraded_since, "failing_links": links });
    with_link(row, |link| link.failing = serde_json::from_value(failing).unwrap())
}

fn tagged(mut row: Row, tags: &[(&str, &str)]) -> Row {
    for (key, value) in tags {
        row.member.member.tags.set(key, value).unwrap();
    }
    row
}

fn serving(mut row: Row, serving: ServingState) -> Row {
    row.member.member.serving = serving;
    row
}

fn node() -> NodeInfo {
    let node = json!({
        "id": id(1), "name": "n1", "version": "0.1.0", "cluster": "shop",
        "generation": 1, "incarnation": 0, "state": "alive", "serving": { "state": "serving" },
        "addr": "10.0.0.1:7646", "advertised": "10.0.0.1:7646", "nat_addr": null,
        "http": "127.0.0.1:7647", "data_dir": null,
        "started_at": ago(7_500), "now": ago(0), "uptime_ms": 7_500_000,
        "ready": true, "not_ready": null, "isolated": false, "converged": true,
        "members": { "alive": 7, "suspect": 1, "dead": 2, "left": 1 },
        "list_version": 42, "fingerprint": "00",
        "credentials": { "kind": "key", "expires": null },
        "settings": {
            "period_ms": 1_000, "rings": 8, "phi_threshold": 8.0, "pause_tolerance_ms": 1_000,
            "hang_tolerance_ms": 10_000, "indirect_probes": 3, "signed_votes": "off",
            "retention_ms": 86_400_000,
        },
    });
    serde_json::from_value(node).unwrap()
}

fn list(rows: &[Row]) -> MemberList {
    let members = rows.iter().map(|row| row.member.clone()).collect();
    let fingerprint = "00".to_owned();
    MemberList { me: id(1), version: 42, fingerprint, converged: Some(true), members }
}

fn answer(node: NodeInfo, rows: &[Row]) -> Message {
    let links = LinkList { links: rows.iter().filter_map(|row| row.link.clone()).collect() };
    Message::Answer(Box::new(Answer { node, links, list: Some(list(rows)) }))
}

/// A list with every kind of trouble.
fn troubled() -> Vec<Row> {
    let web = |row, zone| tagged(row, &[("role", "web"), ("zone", zone)]);
    let db = |row| tagged(row, &[("role", "db")]);
    let mut n5 = with_link(web(observed(5, "n5"), "b"), |link| link.phi = Some(4.27));
    n5.member.member.state = MemberState::Suspect;
    n5.member.since = ago(3);
    let mut n12 = row(12, "n12");
    let in_ten_minutes = SystemTime::UNIX_EPOCH + WALL + Duration::from_secs(600);
    n12.member.suppressed_until = Some(rfc3339(in_ten_minutes));
    let disk_full = ServingState::NotServing("disk full".try_into().unwrap());
    vec![
        web(row(1, "n1"), "a"),
        db(observed(2, "n2")),
        db(row(3, "n3")),
        in_state(4, "n4", "left", 3_600),
        n5,
        web(in_state(6, "n6", "dead", 75), "a"),
        failing(observed(7, "n7"), &[1, 2, 3], true),
        failing(observed(8, "n8"), &[2], false),
        serving(db(observed(9, "n9")), disk_full),
        serving(db(observed(10, "n10")), ServingState::Draining),
        with_link(observed(11, "n11"), |link| link.loss = Some(0.13)),
        n12,
        in_state(13, "n13", "dead", 90_000),
        // The same name as a live member.
        in_state(14, "n2", "dead", 4_000),
    ]
}

fn options() -> Options {
    Options {
        base: "http://127.0.0.1:7647".into(),
        interval: Duration::from_secs(1),
        filter: phin::Filter::default(),
        sort: Sort::Trouble,
        shows_all: false,
    }
}

/// A model that has these members, on a screen of this size.
fn model(rows: &[Row], width: u16, height: u16) -> Model {
    let mut model = Model::new(options(), at(0));
    model.update(at(0), answer(node(), rows));
    model.update(at(0), Message::Resized(width, height));
    model
}

fn event(change: Change, row: &Row) -> Message {
    let event = EventInfo::new(change, row.member.member.clone(), 43);
    let what = What::Changed(Changed { event, refusal: None });
    Message::Event(Box::new(Line { at: ago(0), what }))
}

/// The evidence about a member that died, with its votes.
fn why(of: &Row) -> Box<Why> {
    let vote = |number: u32, phi: f64| {
        json!({
            "observer": { "id": id(number), "name": format!("n{number}") }, "silent_since": ago(78),
            "pings_missed": 4, "phi": phi, "silence": "gone",
        })
    };
    let suspicion = json!({
        "generation": 1, "incarnation": 0, "began_at": ago(78), "ended_at": ago(75), "silent_ms": 3_000,
        "outcome": "dead", "silence": "gone", "phi": 9.1, "votes": [vote(2, 5.0), vote(3, 4.1)],
    });
    let DetailedMember { member, since, .. } = &of.member;
    let why = json!({ "member": member, "since": since, "suspicion": suspicion });
    Box::new(serde_json::from_value(why).unwrap())
}

fn rings(of: &Row) -> Box<MemberRings> {
    let next = |number: u32, state: &str| json!({ "id": id(number), "name": format!("n{number}"), "state": state, "rings": [number] });
    let rings = json!({
        "member": of.member.member, "rings": 8, "live": 20,
        "observers": [next(1, "alive"), next(2, "alive"), next(5, "suspect")],
        "subjects": [next(2, "alive"), next(9, "alive")],
    });
    Box::new(serde_json::from_value(rings).unwrap())
}

fn press(model: &mut Model, keys: &str) -> Vec<Effect> {
    keys.chars().flat_map(|key| key_of(model, KeyCode::Char(key))).collect()
}

fn key_of(model: &mut Model, code: KeyCode) -> Vec<Effect> {
    model.update(at(0), Message::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn control(model: &mut Model, key: char) -> Vec<Effect> {
    let key = KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL);
    model.update(at(0), Message::Key(key))
}

fn drawn(model: &Model, width: u16, height: u16, is_colourful: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let theme = Theme { is_colourful };
    terminal.draw(|frame| screen::draw(model, theme, frame.buffer_mut())).unwrap();
    terminal.backend().buffer().clone()
}

/// The lines on the screen, each with its mark.
fn text_of(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let last = buffer[(buffer.area.width - 1, y)].modifier;
        text.push(if last.contains(Modifier::REVERSED) { '>' } else { '|' });
        let mut hidden = 0;
        let mut line = String::new();
        for x in 0..buffer.area.width {
            if hidden > 0 {
                hidden -= 1;
                continue;
            }
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            // A wide character hides the cells after it.
            hidden = Span::raw(symbol).width().saturating_sub(1);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Compares a text with the file of this name.
fn assert_screen(name: &str, text: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/top/screens");
    let path = folder.join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_SCREENS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name}: UPDATE_SCREENS=1 writes it");
}

fn assert_drawn(name: &str, model: &Model, width: u16, height: u16) {
    assert_screen(name, &text_of(&drawn(model, width, height, true)));
}

#[test]
fn the_members_are_shown_by_trouble() {
    for (name, width, height) in
        [("members-150x30", 150, 30), ("members-80x24", 80, 24), ("members-40x12", 40, 12)]
    {
        let rows = troubled();
        let mut model = model(&rows, width, height);
        model.update(at(0), event(Change::Suspect, &rows[4]));
        model.update(at(0), event(Change::Dead, &rows[5]));
        assert_drawn(name, &model, width, height);
    }
}

#[test]
fn the_smallest_screens_are_of_some_use() {
    for (width, height) in [(20, 3), (24, 6), (60, 8), (19, 10), (1, 1)] {
        let model = model(&troubled(), width, height);
        let text = text_of(&drawn(&model, width, height, true));
        let is_shown = width >= 20;
        assert_eq!(text.contains("live"), is_shown, "{width}x{height}\n{text}");
        assert_eq!(text.contains("n5"), is_shown, "{width}x{height}\n{text}");
    }
    assert_drawn("smallest-24x6", &model(&troubled(), 24, 6), 24, 6);
}

#[test]
fn a_node_that_does_not_answer_is_named_with_the_age_of_the_list() {
    let mut model = model(&troubled(), 80, 24);
    let error = "http://127.0.0.1:7647 does not answer; does a node run there with --http?";
    model.update(at(2), Message::NoAnswer(error.into()));
    model.update(at(2), Message::StreamLost(error.into()));
    model.update(at(14), Message::NoAnswer(error.into()));
    assert_drawn("no-data-80x24", &model, 80, 24);

    let node = NodeInfo { started_at: ago(1), ..node() };
    model.update(at(15), answer(node, &troubled()));
    model.update(at(15), Message::Snapshot(Box::new(list(&troubled()))));
    let text = text_of(&drawn(&model, 80, 24, true));
    assert!(!text.contains("NO DATA") && !text.contains("not followed"), "{text}");
    assert!(
        text.contains("answers again") && text.contains("the node has started again"),
        "{text}"
    );
}

#[test]
fn an_old_list_is_marked_even_without_an_error() {
    let mut model = model(&troubled(), 80, 24);
    model.update(at(9), Message::Tick);
    assert!(text_of(&drawn(&model, 80, 24, true)).contains("data 9 s old"));
}

#[test]
fn a_node_that_is_not_ready_says_why() {
    let not_ready = Some("the node is draining".to_owned());
    let mut model = model(&troubled(), 80, 24);
    let node = NodeInfo { ready: false, not_ready, converged: false, ..node() };
    model.update(at(1), answer(node, &troubled()));
    let text = text_of(&drawn(&model, 80, 24, true));
    assert!(text.contains("NOT READY: the node is draining"), "{text}");
    assert!(text.contains("NOT CONVERGED"), "{text}");
}

/// The list is long, and its changes come by themselves.
#[test]
fn the_list_is_requested_only_where_its_changes_are_missing() {
    let mut model = model(&troubled(), 80, 24);
    let short = || {
        let links = LinkList { links: Vec::new() };
        Message::Answer(Box::new(Answer { node: node(), links, list: None }))
    };
    assert_eq!(model.update(at(59), short()), []);
    assert_eq!(model.update(at(60), short()), [Effect::Refresh]);
    model.update(at(60), Message::Snapshot(Box::new(list(&troubled()))));
    assert_eq!(model.update(at(62), short()), []);
    model.update(at(62), Message::StreamLost("gone".into()));
    assert_eq!(model.update(at(63), short()), [Effect::Refresh]);
    model.update(at(64), Message::Snapshot(Box::new(list(&troubled()))));
    assert_eq!(model.update(at(64), short()), []);
    // A node that was away has missed changes, and one that restarted has another list.
    model.update(at(65), Message::NoAnswer("gone".into()));
    assert_eq!(model.update(at(65), short()), [Effect::Refresh]);
    model.update(at(66), Message::Snapshot(Box::new(list(&troubled()))));
    let links = LinkList { links: Vec::new() };
    let node = NodeInfo { started_at: ago(1), ..node() };
    let restarted = Message::Answer(Box::new(Answer { node, links, list: None }));
    assert_eq!(model.update(at(66), restarted), [Effect::Refresh]);
}

#[test]
fn links_are_those_of_the_last_answer() {
    let rows = troubled();
    let mut model = model(&rows, 80, 24);
    let phi = |model: &Model| model.rows()[4].member.phi;
    assert_eq!(phi(&model), Some(4.27));
    // The list of a stream may be older.
    let mut later = list(&rows);
    later.members[4].phi = Some(1.0);
    model.update(at(1), Message::Snapshot(Box::new(later)));
    assert_eq!(phi(&model), Some(4.27));
    let answer = Answer { node: node(), links: LinkList { links: Vec::new() }, list: None };
    model.update(at(1), Message::Answer(Box::new(answer)));
    assert_eq!((phi(&model), model.rows()[4].link.is_none()), (None, true));
}

#[test]
fn the_evidence_is_a_page() {
    let mut model = model(&troubled(), 90, 20);
    assert_eq!(press(&mut model, "jw"), [Effect::Ask(Question::Why(id(6)))]);
    assert!(text_of(&drawn(&model, 90, 20, true)).contains("asking the node"));
    model.update(at(0), Message::Why(id(6), Ok(why(&troubled()[5]))));
    assert_drawn("why-90x20", &model, 90, 20);
    // It stays about this member, whatever the order becomes.
    model.update(at(0), Message::Snapshot(Box::new(list(&[row(1, "n1")]))));
    let text = text_of(&drawn(&model, 90, 20, true));
    assert!(text.contains("why 00000006") && text.contains("n6 (00000006) is dead"), "{text}");
    key_of(&mut model, KeyCode::Esc);
    assert!(text_of(&drawn(&model, 90, 20, true)).contains("1 members"));
}

#[test]
fn a_page_scrolls_within_its_bounds() {
    let mut model = model(&troubled(), 60, 10);
    press(&mut model, "?");
    assert_drawn("help-60x10", &model, 60, 10);
    key_of(&mut model, KeyCode::End);
    let end = text_of(&drawn(&model, 60, 10, true));
    assert!(end.contains("dead for longer; left."), "{end}");
    for _ in 0..3 {
        key_of(&mut model, KeyCode::PageDown);
    }
    assert_eq!(text_of(&drawn(&model, 60, 10, true)), end);
    key_of(&mut model, KeyCode::Up);
    assert_ne!(text_of(&drawn(&model, 60, 10, true)), end, "it is not beyond the end");
    key_of(&mut model, KeyCode::Home);
    assert!(text_of(&drawn(&model, 60, 10, true)).contains("|Keys"));
}

#[test]
fn the_selected_member_has_its_rings_in_the_panel() {
    let mut model = model(&troubled(), 100, 24);
    press(&mut model, "jjj");
    let ask = |number| [Effect::Ask(Question::Rings(id(number)))];
    assert_eq!(press(&mut model, "m"), ask(8));
    model.update(at(0), Message::Rings(id(8), Ok(rings(&troubled()[7]))));
    assert_drawn("member-100x24", &model, 100, 24);
    // Each answer asks again, and so does another selection.
    assert_eq!(model.update(at(1), answer(node(), &troubled())), ask(8));
    assert_eq!(press(&mut model, "k"), ask(7));
    assert!(text_of(&drawn(&model, 100, 24, true)).contains("rings: asking"));
    assert_eq!(press(&mut model, "e"), []);
}

#[test]
fn a_filter_is_typed_checked_and_applied() {
    let mut model = model(&troubled(), 80, 24);
    press(&mut model, "frole");
    key_of(&mut model, KeyCode::Enter);
    assert_drawn("filter-80x24", &model, 80, 24);
    press(&mut model, "=we");
    control(&mut model, 'w');
    press(&mut model, "role=web");
    key_of(&mut model, KeyCode::Enter);
    let names = |model: &Model| {
        model.shown().map(|row| row.member.member.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&model), ["n5", "n6", "n1"]);
    let text = text_of(&drawn(&model, 80, 24, true));
    assert!(text.contains("filter role=web  3 of 14 shown"), "{text}");
    press(&mut model, "/N1");
    assert_eq!(names(&model), ["n1"]);
    key_of(&mut model, KeyCode::Esc);
    assert_eq!(names(&model), ["n5", "n6", "n1"], "esc restores the name before");
    key_of(&mut model, KeyCode::Esc);
    assert_eq!(names(&model).len(), 13);
    press(&mut model, "/nobody");
    let text = text_of(&drawn(&model, 80, 24, true));
    assert!(text.contains("no member has such a name"), "{text}");
}

#[test]
fn a_prompt_takes_every_letter_and_no_control_character() {
    let mut model = model(&troubled(), 80, 24);
    assert_eq!(press(&mut model, "/q?\u{202e}\u{7}"), []);
    assert_eq!(model.find(), "q?");
    control(&mut model, 'u');
    assert_eq!(model.find(), "");
    press(&mut model, &"ä".repeat(2_000));
    assert_eq!(model.find().len(), phin::Filter::MAX_BYTES);
    assert!(text_of(&drawn(&model, 80, 24, true)).contains("name: ää"));
    assert_eq!(control(&mut model, 'c'), [Effect::Quit]);
}

#[test]
fn the_selection_stays_with_its_member() {
    let mut model = model(&troubled(), 80, 24);
    press(&mut model, "jj");
    let selected = |model: &Model| model.selected_row().unwrap().member.member.id;
    assert_eq!((selected(&model), model.cursor()), (id(7), 2));
    let mut dying = observed(2, "n2");
    dying.member.member.state = MemberState::Suspect;
    assert_eq!(model.update(at(0), event(Change::Suspect, &dying)), [Effect::Refresh]);
    assert_eq!((selected(&model), model.cursor()), (id(7), 3));
    // The first row is selected whichever it is.
    key_of(&mut model, KeyCode::Home);
    assert_eq!((selected(&model), model.cursor()), (id(5), 0));
    model.update(at(0), event(Change::Alive, &observed(5, "n5")));
    assert_eq!((selected(&model), model.cursor()), (id(2), 0));
    key_of(&mut model, KeyCode::End);
    assert_eq!(model.cursor(), 12);
    press(&mut model, "jjj");
    assert_eq!(model.cursor(), 12);
    // If it is gone, its neighbour is selected.
    model.update(at(0), Message::Snapshot(Box::new(list(&[row(1, "n1")]))));
    assert_eq!((model.cursor(), selected(&model)), (0, id(1)));
    model.update(at(0), Message::Snapshot(Box::new(list(&[]))));
    assert_eq!(press(&mut model, "jkwGg"), []);
    drawn(&model, 80, 24, true);
}

#[test]
fn a_change_is_shown_before_the_next_list() {
    let mut model = model(&[observed(2, "n2")], 80, 24);
    let mut changed = observed(2, "n2");
    changed.member.member.state = MemberState::Dead;
    model.update(at(0), event(Change::Dead, &changed));
    let dead = model.selected_row().unwrap();
    let DetailedMember { phi, since, .. } = &dead.member;
    assert_eq!((dead.trouble, phi, since), (Trouble::Dead, &None, &ago(0)));
    model.update(at(0), event(Change::Joined, &row(3, "n3")));
    assert_eq!(model.rows().len(), 2);
    model.update(at(0), event(Change::Forgotten, &changed));
    assert_eq!(model.rows().len(), 1);
    let text = text_of(&drawn(&model, 80, 24, true));
    assert!(text.contains("03:04:05.000 dead         n2"), "{text}");
}

#[test]
fn earlier_runs_and_orders_are_chosen_by_keys() {
    let mut model = model(&troubled(), 80, 24);
    assert_eq!(model.shown().len(), 13);
    press(&mut model, "a");
    assert_eq!(model.shown().len(), 14);
    assert!(text_of(&drawn(&model, 80, 24, true)).contains("an earlier run"));
    let first = |model: &Model| model.shown().next().unwrap().member.member.name.to_string();
    let mut firsts = Vec::new();
    for _ in 0..6 {
        press(&mut model, "s");
        firsts.push(first(&model));
    }
    assert_eq!(firsts, ["n1", "n5", "n11", "n11", "n5", "n5"]);
    press(&mut model, "r");
    assert_eq!(first(&model), "n4");
}

#[test]
fn control_keys_have_effects() {
    let mut model = model(&troubled(), 80, 24);
    assert_eq!(press(&mut model, "q"), [Effect::Quit]);
    assert_eq!(control(&mut model, 'c'), [Effect::Quit]);
    assert_eq!(control(&mut model, 'z'), [Effect::Suspend]);
    assert_eq!(control(&mut model, 'l'), [Effect::Redraw, Effect::Refresh]);
    assert_eq!(control(&mut model, 'q'), []);
}

/// Names and tags are chosen by nodes, and errors come from whatever answers.
#[test]
fn hostile_texts_cannot_draw_elsewhere() {
    let wide = tagged(observed(2, "日本語日本語日本語日本語日本語"), &[("a", "日本語")]);
    let marks = observed(3, "e\u{301}\u{301}\u{301}\u{301}n3");
    let long = tagged(observed(4, &"x".repeat(64)), &[("note", &"y".repeat(100))]);
    let rows = [wide, marks, long];
    let mut model = model(&rows, 60, 16);
    let error = "\u{1b}[2J\u{1b}]0;title\u{7}\r\n\u{202e}gone";
    model.update(at(0), Message::NoAnswer(error.into()));
    model.update(at(0), Message::StreamLost(error.into()));
    let node = NodeInfo { not_ready: Some(error.into()), name: error.into(), ..node() };
    model.update(at(0), answer(node, &rows));
    model.update(at(0), Message::NoAnswer(error.into()));
    assert_drawn("hostile-60x16", &model, 60, 16);
    let mut texts = vec![text_of(&drawn(&model, 60, 16, true))];
    press(&mut model, "mjw");
    texts.push(text_of(&drawn(&model, 60, 16, true)));
    let asked = model.selected_row().unwrap().member.member.id;
    model.update(at(0), Message::Why(asked, Err(error.into())));
    model.update(at(0), Message::Rings(asked, Err(error.into())));
    texts.push(text_of(&drawn(&model, 60, 16, true)));
    key_of(&mut model, KeyCode::Esc);
    texts.push(text_of(&drawn(&model, 60, 24, true)));
    // Wide enough for all texts, so that none is cut, which escapes it too.
    press(&mut model, "e");
    texts.push(text_of(&drawn(&model, 300, 24, true)));
    let shown = texts.last().unwrap();
    assert!(
        shown.contains("not followed: \\u{1b}[2J") && shown.contains("\\u{202e}gone"),
        "{shown}"
    );
    texts.push(screen::to_text(&model, 60));
    for text in texts {
        let odd = text.chars().find(|&c| c != '\n' && !phin::is_printable(c));
        assert_eq!(odd, None, "{text}");
    }
}

#[test]
fn without_colours_nothing_is_coloured_and_nothing_is_lost() {
    for keys in ["", "m", "?", "jw", "fx"] {
        let mut model = model(&troubled(), 100, 30);
        press(&mut model, keys);
        let [plain, coloured] = [false, true].map(|is| drawn(&model, 100, 30, is));
        assert_eq!(text_of(&plain), text_of(&coloured));
        assert!(
            plain.content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
        );
        assert!(coloured.content().iter().any(|cell| cell.fg != Color::Reset));
    }
}

#[test]
fn once_prints_all_members_as_text() {
    let mut model = model(&troubled(), 80, 24);
    model.update(at(0), Message::Resized(10, 3));
    let text = screen::to_text(&model, 160);
    assert_screen("once", &text);
    assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 160), "{text}");
}

/// The duration is shown with `--nocapture`.
#[test]
fn five_thousand_members_are_a_list_like_any_other() {
    let members = |count: u32| {
        let name = |number| format!("node-{number:04}");
        let member = |number| tagged(observed(number, &name(number)), &[("role", "web")]);
        (1..=count).map(member).collect::<Vec<_>>()
    };
    let rows = members(5_000);
    let json = serde_json::to_vec(&list(&rows)).unwrap();
    let began = Instant::now();
    let read: MemberList = serde_json::from_slice(&json).unwrap();
    let parsed = began.elapsed();
    let mut model = model(&rows[..8], 120, 40);
    let began = Instant::now();
    model.update(at(0), Message::Snapshot(Box::new(read)));
    let taken = began.elapsed();
    let began = Instant::now();
    for _ in 0..20 {
        press(&mut model, "j");
        drawn(&model, 120, 40, true);
    }
    let frame = began.elapsed() / 20;
    key_of(&mut model, KeyCode::End);
    let text = text_of(&drawn(&model, 120, 40, true));
    assert!(text.contains("node-5000") && text.contains("from 4977 on"), "{text}");
    eprintln!(
        "5,000 members, {} bytes of JSON: read in {parsed:?}, taken in {taken:?}, a frame in {frame:?}",
        json.len()
    );
}
