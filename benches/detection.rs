//! How soon the living know of a death, by cluster size, with real nodes: `phin bench detect` as a bench target.
//!
//! `cargo bench --bench detection -- --sizes 8,64 --kill silent`; without `cargo bench`'s own `--bench`, as in tests, the
//! smallest cluster that there can be.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, Command, FromArgMatches};
use phin_bench::{Launcher, Options, Phin, System, enter, measure, serve, spin};

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == "child") {
        return child(&arguments[1..]);
    }
    let measured = take_flag(&mut arguments, "--bench");
    if !measured {
        arguments = SMALLEST.iter().map(Into::into).collect();
    }
    let system: &'static dyn System = if measured { &Phin::Lan } else { &Phin::Fast };
    match run(system, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error closed there is nobody left to tell.
            let _ = io::stderr().write_all(format!("error: {error}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn run(system: &'static dyn System, arguments: Vec<OsString>) -> Result<(), String> {
    let command = Options::augment_args(Command::new("detection"));
    let name = OsString::from("detection");
    let matches = command.get_matches_from(std::iter::once(name).chain(arguments));
    let options = Options::from_arg_matches(&matches).map_err(|error| error.to_string())?;
    let network = enter();
    let launcher = Launcher::new(["child"]).map_err(|error| error.to_string())?;
    let mut report = measure(&[system], &options, &launcher, network)?;
    report.command = "cargo bench --bench detection".to_owned();
    if let Some(out) = &options.out {
        let written = report.write(out, &options.stem("nodes"), options.simulated.as_deref());
        written.map_err(|error| error.to_string())?;
    }
    io::stdout().write_all(report.markdown().as_bytes()).map_err(|error| error.to_string())
}

fn child(arguments: &[OsString]) -> ExitCode {
    let name = arguments.first().and_then(|name| name.to_str()).unwrap_or_default();
    if name == Launcher::BUSY {
        spin();
        return ExitCode::SUCCESS;
    }
    let system = Phin::ALL.into_iter().find(|system| system.name() == name);
    match system.map(serve) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(_)) | None => ExitCode::FAILURE,
    }
}

fn take_flag(arguments: &mut Vec<OsString>, flag: &str) -> bool {
    let before = arguments.len();
    arguments.retain(|argument| argument != flag);
    arguments.len() < before
}

const SMALLEST: &[&str] =
    &["--sizes", "3", "--kills", "1", "--bootstraps", "1", "--idle", "100ms", "--settle", "100ms"];
