//! Rules for the whole command line.

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
