//! Suggests the probable subcommand for a mistyped one.

use clap::{
    Command, Parser,
    error::{ContextKind, ContextValue, Error},
};

/// Parses the command line, or exits as clap does.
pub(crate) fn parse<C: Parser>() -> C {
    C::try_parse().unwrap_or_else(|error| with_suggestion(error, &C::command()).exit())
}

/// Adds a suggestion if clap makes none. Clap uses Jaro similarity, which compares only letters at the same position in
/// texts of up to three letters: `rn` is as far from `run` as from any other name.
fn with_suggestion(mut error: Error, command: &Command) -> Error {
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    if error.get(ContextKind::SuggestedSubcommand).is_some() {
        return error;
    }
    let is_slip = |name: &&str| strsim::damerau_levenshtein(unknown, name) <= MAX_SLIPS;
    let meant = command.get_subcommands().map(Command::get_name).find(is_slip).map(str::to_owned);
    if let Some(meant) = meant {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![meant]));
    }
    error
}

/// Two slips would turn one three-letter name into another.
const MAX_SLIPS: usize = 1;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::Cli;

    fn answer(arguments: &[&str]) -> String {
        match Cli::try_parse_from(arguments) {
            Ok(_) => panic!("{arguments:?} is no slip"),
            Err(error) => with_suggestion(error, &Cli::command()).to_string(),
        }
    }

    #[test]
    fn a_mistyped_subcommand_is_answered_with_the_one_that_was_meant() {
        for (slip, meant) in
            [("rn", "run"), ("urn", "run"), ("wyh", "why"), ("ky", "key"), ("membrs", "members")]
        {
            let answer = answer(&["phin", slip]);
            assert!(answer.contains(&format!("'{meant}'")), "{slip}: {answer}");
        }
        assert!(!answer(&["phin", "frobnicate"]).contains("similar"));
    }
}
