//! Rules for the whole command line.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use clap::CommandFactory;

use super::*;

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_subcommand_shows_an_example() {
    fn check(command: &mut clap::Command) {
        // Hidden ones are for phin itself.
        if command.get_name() == "help" || command.is_hide_set() {
            return;
        }
        let help = command.render_long_help().to_string();
        assert!(help.contains("Example"), "phin {} --help has no example", command.get_name());
        command.get_subcommands_mut().for_each(check);
    }
    check(&mut Cli::command());
}

/// `man/` has the pages of this command line. `UPDATE_DOCS=1` writes them.
#[test]
fn the_manual_has_a_page_for_each_command() {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = BTreeMap::new();
    add_pages(&command, &mut pages);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        for (name, text) in &pages {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    let present = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name());
    let present: BTreeSet<_> = present.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(present, pages.keys().cloned().collect(), "UPDATE_DOCS=1 writes them");
    for (name, text) in pages {
        let present = fs::read_to_string(folder.join(&name)).unwrap();
        assert_eq!(present, text, "{name}: UPDATE_DOCS=1 writes it");
    }
    assert!(present.contains("phin-key-new.1") && !present.contains("phin-lead-guard.1"));
}

/// Adds the page of a command, and those of its subcommands, by the names of their files.
fn add_pages(command: &clap::Command, pages: &mut BTreeMap<String, String>) {
    let page = clap_mangen::Man::new(command.clone())
        .source(concat!("phin ", env!("CARGO_PKG_VERSION")))
        .manual("phin");
    let (name, mut text) = (page.get_filename(), Vec::new());
    page.render(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap().replace(".SH EXTRA\n", ".SH EXAMPLES\n");
    // Not every formatter reads UTF-8.
    let escaped = text.chars().map(|c| match c.is_ascii() {
        true => c.to_string(),
        false => format!("\\[u{:04X}]", u32::from(c)),
    });
    pages.insert(name, escaped.collect());
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        add_pages(command, pages);
    }
}
