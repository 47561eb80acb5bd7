//! `phin completions`: a script that makes a shell complete the words of the command line.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{Cli, failure::Failure};

/// Print a script that completes the commands and flags of phin in a shell
///
/// A package installs the script where the shell looks for it. The script belongs to this version of phin: print it again after
/// an upgrade.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  phin completions bash > ~/.local/share/bash-completion/completions/phin\n  \
                        phin completions zsh > /usr/share/zsh/site-functions/_phin\n  \
                        phin completions fish > ~/.config/fish/completions/phin.fish"
)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn completions(args: &Args) -> Result<(), Failure> {
    Ok(io::stdout().write_all(&script(args.shell))?)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn each_shell_learns_every_command_and_its_flags() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            let command = Cli::command();
            let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
            for command in shown {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
            for word in ["pause-tolerance", "revoke"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
