//! `phin`: a node of a cluster, and the commands of an operator.

mod admin_key;
mod answers;
mod brief;
mod cert;
mod changes;
mod client;
mod completions;
mod content;
mod data;
mod debug;
mod demo;
mod diagnostics;
mod events;
mod expel;
mod failure;
mod forget;
mod hooks;
mod http;
mod info;
mod input;
mod key;
mod lead;
mod leader;
mod leave;
mod lines;
mod links;
mod log;
mod logging;
mod members;
mod message;
mod office;
mod ping;
mod place;
mod private_file;
mod probe;
mod profile;
mod program;
mod publish;
mod query;
mod reload;
mod reply;
mod rings;
mod rtt;
mod run;
mod send;
mod serve;
mod settings;
mod show;
mod slips;
mod supervisor;
mod suspicion;
mod system;
mod table;
mod tags;
mod text;
mod text_file;
mod token;
mod top;
mod traces;
mod watch;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Cluster membership: every member knows, within moments, who else is alive.
#[derive(Parser)]
#[command(name = "phin", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Example: see a cluster of five notice a death\n  phin demo")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Run(Box<run::Args>),
    Members(members::Args),
    Top(top::Args),
    Live(probe::LiveArgs),
    Ready(probe::ReadyArgs),
    Info(info::Args),
    Why(why::Args),
    Rtt(rtt::Args),
    Ping(ping::Args),
    Place(place::Args),
    Data(data::Args),
    Publish(publish::Args),
    Query(query::Args),
    Send(send::Args),
    Watch(watch::Args),
    Leader(leader::Args),
    Lead(lead::Args),
    LeadGuard(lead::GuardArgs),
    LeadExec(lead::ExecArgs),
    Tags(tags::Args),
    Drain(serve::DrainArgs),
    Serve(serve::ServeArgs),
    Log(log::Args),
    Debug(debug::Args),
    Reload(reload::Args),
    Leave(leave::Args),
    Forget(forget::Args),
    Expel(expel::ExpelArgs),
    Readmit(expel::ReadmitArgs),
    Key(key::Args),
    Cert(cert::Args),
    Completions(completions::Args),
}

fn main() -> ExitCode {
    let result = match slips::parse::<Cli>().command {
        Command::Demo(args) => demo::demo(&args),
        Command::Run(args) => run::run(&args),
        Command::Members(args) => members::members(&args),
        Command::Top(args) => top::top(&args),
        Command::Live(args) => probe::live(&args),
        Command::Ready(args) => probe::ready(&args),
        Command::Info(args) => info::info(&args),
        Command::Why(args) => why::why(&args),
        Command::Rtt(args) => rtt::rtt(&args),
        Command::Ping(args) => ping::ping(&args),
        Command::Place(args) => place::place(&args),
        Command::Data(args) => data::data(&args),
        Command::Publish(args) => publish::publish(&args),
        Command::Query(args) => query::query(&args),
        Command::Send(args) => send::send(&args),
        Command::Watch(args) => watch::watch(&args),
        Command::Leader(args) => leader::leader(&args),
        Command::Lead(args) => lead::lead(&args),
        Command::LeadGuard(args) => lead::guard(&args),
        Command::LeadExec(args) => lead::exec(&args),
        Command::Tags(args) => tags::tags(&args),
        Command::Drain(args) => serve::drain(&args),
        Command::Serve(args) => serve::serve(&args),
        Command::Log(args) => log::log(&args),
        Command::Debug(args) => debug::debug(&args),
        Command::Reload(args) => reload::reload(&args),
        Command::Leave(args) => leave::leave(&args),
        Command::Forget(args) => forget::forget(&args),
        Command::Expel(args) => expel::expel(&args),
        Command::Readmit(args) => expel::readmit(&args),
        Command::Key(args) => key::key(&args),
        Command::Cert(args) => cert::cert(&args),
        Command::Completions(args) => completions::completions(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests;
