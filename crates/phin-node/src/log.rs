//! `phin log`: shows which lines a running node logs, and changes that for a while.

use std::{
    io::{self, Write},
    time::Duration,
};

use crate::{
    client::{Client, Target},
    failure::Failure,
    http::parse_for,
    logging::LogStatus,
    settings::log_filter,
};

/// Show which lines a running node logs, or change that for a while
///
/// The node logs what FILTER selects for the time of --for, and then what its settings select (phin run --log). A later call
/// replaces an earlier one. A reload ends it too if it applies another --log.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin log\n  phin log info,phin_swim=debug --for 5m\n  \
                        phin log --reset")]
pub(crate) struct Args {
    /// A level (error, warn, info, debug, trace, off), or filters such as info,phin_swim=debug; without it, print the present one
    #[arg(value_parser = log_filter)]
    filter: Option<String>,
    /// How long FILTER is in effect, such as 5m; 1s to 24h
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_for, default_value = "10m", requires = "filter")]
    duration: Duration,
    /// Return to the filter of the settings at once
    #[arg(long, conflicts_with = "filter")]
    reset: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub(crate) fn log(args: &Args) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let status: LogStatus = match &args.filter {
        Some(filter) => {
            let duration = humantime::format_duration(args.duration).to_string().replace(' ', "");
            client.put_bytes(&format!("/v1/log?for={duration}"), filter.as_bytes())?
        }
        None if args.reset => client.delete("/v1/log")?,
        None => client.get("/v1/log")?,
    };
    let text = match args.json {
        true => serde_json::to_string(&status).expect("it is plain data") + "\n",
        false => text(&status),
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn text(status: &LogStatus) -> String {
    let LogStatus { filter, setting, remaining_s } = status;
    // Another node may send any number.
    let remaining =
        remaining_s.and_then(|seconds| Duration::try_from_secs_f64(seconds.ceil()).ok());
    match remaining {
        None => format!("{filter}\n"),
        Some(remaining) => {
            let remaining = humantime::format_duration(remaining);
            format!("{filter} for another {remaining}, then {setting}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_until_when() {
        let status = |remaining_s| {
            let (filter, setting) = ("debug".to_owned(), "info".to_owned());
            text(&LogStatus { filter, setting, remaining_s })
        };
        assert_eq!(status(None), "debug\n");
        assert_eq!(status(Some(299.2)), "debug for another 5m, then info\n");
        assert_eq!(status(Some(f64::NAN)), "debug\n");
    }
}
