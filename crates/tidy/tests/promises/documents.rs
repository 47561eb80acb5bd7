//! The tables of `docs/protocol.md` say what the enums say.

use tidy::{File, Source, Violations, table};

const PROTOCOL: &str = "docs/protocol.md";

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
