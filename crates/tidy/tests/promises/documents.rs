//! The tables of `docs/reference/protocol.md` say what the enums say.

use std::collections::BTreeSet;

use tidy::{File, Source, Violations, files, root, table};

const PROTOCOL: &str = "docs/reference/protocol.md";
const SECURITY: &str = "docs/explanation/security.md";

#[test]
fn every_message_stands_in_the_protocol_with_its_kind() {
    let mut violations = Violations::default();
    let (file, rows) =
        compare("## Messages", "crates/phin-swim/src/wire/part.rs", "Part", &mut violations);
    let source = Source::read(&file).unwrap();
    for row in rows {
        let (part, kind) = (&row.cells[0], row.cells.get(1).map(String::as_str));
        let number = source.number_of("kind", part);
        if number.is_some() && number != kind {
            let what = format!(
                "`{part}` is kind {} by `Part::kind`: write that in the second column",
                number.unwrap_or_default()
            );
            violations.add(PROTOCOL, row.line, &what);
        }
    }
    violations.assert_none();
}

#[test]
fn every_state_stands_in_the_protocol() {
    let mut violations = Violations::default();
    compare("## States", "crates/phin-swim/src/member.rs", "MemberState", &mut violations);
    violations.assert_none();
}

#[test]
fn every_timer_stands_in_the_protocol() {
    let mut violations = Violations::default();
    compare("## Timers", "crates/phin-swim/src/timers.rs", "Timer", &mut violations);
    violations.assert_none();
}

#[test]
fn every_part_of_a_frame_stands_in_the_protocol() {
    let mut violations = Violations::default();
    let frame = "crates/phin-swim/src/watch/frame.rs";
    compare("## Watchers", frame, "WatchPart", &mut violations);
    violations.assert_none();
}

/// Compares the first column of a table with the variants of an enum, both ways; returns the enum's file and the table.
fn compare(
    heading: &str,
    path: &str,
    name: &str,
    violations: &mut Violations,
) -> (File, Vec<tidy::Row>) {
    let file =
        File::read(path).unwrap_or_else(|| panic!("{path}: is gone; tell tidy where {name} is"));
    let protocol = File::read(PROTOCOL).unwrap_or_else(|| panic!("{PROTOCOL}: is gone"));
    let source = Source::read(&file).unwrap_or_else(|_| panic!("{path}: this is not Rust"));
    let variants = source.variants(name);
    assert!(!variants.is_empty(), "{path}: has no enum {name}; tell tidy where it is");
    let (heading_line, rows) = table(&protocol, heading)
        .unwrap_or_else(|| panic!("{PROTOCOL}: has no `{heading}` with the table of {name}"));
    for &(variant, line) in &variants {
        if !rows.iter().any(|row| row.cells[0] == variant) {
            let what = format!(
                "`{name}::{variant}` is not in {PROTOCOL}: add a row | `{variant}` | … to the table under \
                 `{heading}`, line {heading_line}"
            );
            violations.add(path, line, &what);
        }
    }
    for row in &rows {
        if !variants.iter().any(|(variant, _)| *variant == row.cells[0]) {
            let what =
                format!("`{name}` in {path} has no `{}`: remove or rename the row", row.cells[0]);
            violations.add(PROTOCOL, row.line, &what);
        }
    }
    (file, rows)
}

/// Each claim on what an attacker can do names tests or scenarios, and these exist.
#[test]
fn every_claim_about_an_attacker_is_shown_by_a_test() {
    let mut violations = Violations::default();
    let files = files();
    let tests: BTreeSet<_> = files.iter().filter(|file| file.is_rust()).flat_map(tests).collect();
    let is_scenario = |name| root().join(format!("sim/scenarios/{name}.toml")).exists();
    let page = File::read(SECURITY).unwrap_or_else(|| panic!("{SECURITY}: is gone"));
    let lines = page.text.lines().enumerate();
    let lines = lines.skip_while(|(_, line)| *line != "## Who can do what").skip(1);
    let rows = lines.take_while(|(_, line)| !line.starts_with("## "));
    let claims: Vec<_> = rows.filter(|(_, line)| line.starts_with('|')).collect();
    assert!(claims.len() > 20, "{SECURITY}: has no claims under `## Who can do what`");
    for (at, claim) in claims {
        let shown_by = claim.trim_end_matches([' ', '|']).rsplit('|').next().unwrap_or_default();
        let names: Vec<_> = shown_by.split('`').skip(1).step_by(2).collect();
        let is_head = shown_by.trim() == "Shown by" || shown_by.starts_with("--");
        if names.is_empty() && !is_head {
            violations.add(SECURITY, at + 1, "name a test or scenario that shows this");
        }
        for name in names {
            if !tests.contains(name) && !is_scenario(name) {
                violations.add(SECURITY, at + 1, &format!("`{name}` is no test and no scenario"));
            }
        }
    }
    violations.assert_none();
}

/// The functions of a file that are marked as tests.
fn tests(file: &File) -> impl Iterator<Item = &str> {
    let after_mark = file.text.split("test]").chain(file.text.split("test(")).skip(1);
    after_mark.filter_map(|rest| {
        let (_, rest) = rest.split_once("fn ")?;
        rest.split_once('(').map(|(name, _)| name)
    })
}

/// A link leads to a file, and to a heading of it.
#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut violations = Violations::default();
    let files = files();
    let documents: Vec<_> = files.iter().filter(|file| file.path.ends_with(".md")).collect();
    assert!(documents.iter().any(|file| file.path == "README.md"), "there are documents");
    for file in &documents {
        for (line, link) in links(&file.text) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = resolve(&file.path, path);
            let document = documents.iter().find(|document| document.path == target);
            let is_there = root().join(&target).exists();
            let has_anchor = anchor.is_empty()
                || document.is_none_or(|document| headings(&document.text).any(|h| h == anchor));
            if !is_there || !has_anchor {
                violations.add(&file.path, line, &format!("`{link}` leads nowhere"));
            }
        }
    }
    violations.assert_none();
}

/// The relative links of a document, each with its line; what stands in code is none.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    let prose = text.lines().enumerate().filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    prose.flat_map(|(at, line)| {
        let ends = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        let links = ends.map(|(link, _)| link).filter(|link| !link.contains(':'));
        links.map(move |link| (at + 1, link))
    })
}

/// The path that a link in this document means.
fn resolve(from: &str, link: &str) -> String {
    if link.is_empty() {
        return from.to_owned();
    }
    let mut parts: Vec<_> = from.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors of a document's headings, as GitHub makes them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let titles = text.lines().filter_map(|line| line.strip_prefix('#'));
    titles.map(|title| {
        let title = title.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}
