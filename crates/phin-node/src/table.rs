//! Human-readable tables: drawn and coloured on a terminal, plain columns elsewhere.

use std::io::{self, IsTerminal};

use comfy_table::{Attribute, Cell, Color, Table, presets};

use crate::text::is_colourful;

/// Creates a table with these columns, without lines and colours.
pub(crate) fn plain(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.force_no_tty();
    table.set_header(columns.iter().map(Cell::new));
    table
}

/// Creates a table with these columns for standard output.
pub(crate) fn new(columns: &[&str]) -> Table {
    let mut table = Table::new();
    if io::stdout().is_terminal() {
        table.load_style(presets::UTF8_BORDERS_ONLY);
    } else {
        table.load_style(presets::NOTHING);
    }
    if is_colourful(&io::stdout()) {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(columns.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    table
}

/// A member's state, in its colour.
pub(crate) fn state(state: &str) -> Cell {
    let colour = match state {
        "alive" => Color::Green,
        "dead" => Color::Red,
        _ if state.starts_with("alive, ") || state.starts_with("suspect") => Color::Yellow,
        _ => Color::DarkGrey,
    };
    Cell::new(state).fg(colour)
}

/// The table as text, without trailing spaces, with a final line feed.
pub(crate) fn text(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
