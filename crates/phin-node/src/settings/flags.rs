//! The flags of `phin run` that are settings. They stay texts here, so that the same rules read flags, environment
//! and file.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::table::{In, Kind, SETTINGS, Setting};

/// The flags on the command line, by the names of their settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags(Vec<(&'static str, String)>);

impl Flags {
    pub(super) fn given(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.0.iter().cloned()
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        command.args(with_flag().map(to_arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given =
            with_flag().filter_map(|setting| Some((setting.name, given(setting, matches)?)));
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The flags of a client that is no member: those of its credentials.
#[derive(Clone, Debug, Default)]
pub(crate) struct CredentialFlags(pub(super) Flags);

impl Args for CredentialFlags {
    fn augment_args(command: Command) -> Command {
        let to_arg = |setting| to_arg(setting).help_heading(CREDENTIALS).requires(THROUGH);
        command.args(of_credentials().map(to_arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for CredentialFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given =
            of_credentials().filter_map(|setting| Some((setting.name, given(setting, matches)?)));
        Ok(Self(Flags(given.collect())))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn of_credentials() -> impl Iterator<Item = &'static Setting> {
    let names = ["config", "cluster", "key-file", "ca", "cert", "key", "crl"];
    with_flag().filter(move |setting| names.contains(&setting.name))
}

fn with_flag() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| setting.layers != In::Variable)
}

fn to_arg(setting: &'static Setting) -> Arg {
    let Setting { name, value, kind, default, help, details, is_detector, .. } = *setting;
    let default = if default.is_empty() { "".into() } else { format!("default: {default}") };
    let mut limits = vec![kind.allowed(), default];
    limits.retain(|text| !text.is_empty());
    let limits = limits.join("; ");
    let help = if limits.is_empty() { help.to_owned() } else { format!("{help} [{limits}]") };
    let arg = Arg::new(name).long(setting.long()).help(help.clone());
    let arg = if details.is_empty() { arg } else { arg.long_help(format!("{help}\n\n{details}")) };
    let arg = if is_detector { arg.help_heading(DETECTOR) } else { arg };
    match kind {
        Kind::Switch => arg.action(ArgAction::SetTrue),
        Kind::Texts | Kind::Lines | Kind::Tags => arg.value_name(value).action(ArgAction::Append),
        Kind::Text
        | Kind::Boolean
        | Kind::Word(_)
        | Kind::Port
        | Kind::Bytes(_)
        | Kind::Count(_)
        | Kind::Number(_)
        | Kind::Duration(_) => arg.value_name(value),
    }
}

/// The text of a flag on the command line, in the form of its variable.
fn given(setting: &Setting, matches: &ArgMatches) -> Option<String> {
    match setting.kind {
        Kind::Switch => matches.get_flag(setting.name).then(|| "true".to_owned()),
        Kind::Texts | Kind::Lines | Kind::Tags => {
            let texts: Vec<_> = matches.get_many::<String>(setting.name)?.cloned().collect();
            Some(texts.join(if let Kind::Texts = setting.kind { "," } else { "\n" }))
        }
        Kind::Text
        | Kind::Boolean
        | Kind::Word(_)
        | Kind::Port
        | Kind::Bytes(_)
        | Kind::Count(_)
        | Kind::Number(_)
        | Kind::Duration(_) => matches.get_one::<String>(setting.name).cloned(),
    }
}

/// The flag that makes a client of a command.
const THROUGH: &str = "through";
const CREDENTIALS: &str = "Credentials with --through, as those of phin run";
const DETECTOR: &str = "Detector (the defaults fit most clusters)";
