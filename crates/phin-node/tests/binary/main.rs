//! Tests of the binary: every test runs it as a process.

#![expect(clippy::unwrap_used, reason = "clippy takes only functions marked as tests for tests")]

mod admission;
mod answers;
mod browser;
mod bundles;
mod certificates;
mod commands;
mod conflicts;
mod dashboards;
mod data;
mod demo;
mod expel;
mod forget;
mod harness;
mod hooks;
mod http;
mod info;
mod keys;
mod lead;
mod leave;
mod logs;
mod membership;
mod messages;
mod output;
mod page;
mod pings;
mod placement;
mod queries;
mod reload;
mod restart;
mod rtt;
mod settings;
mod signals;
mod supervisor;
mod systemd;
mod tags;
mod tokens;
mod top;
mod traces;
mod watch;
mod why;
