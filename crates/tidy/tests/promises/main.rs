//! The promises of the workspace that no compiler keeps. A failure names the place and what to do there.

mod api;
mod cargo;
mod commands;
mod dependencies;
mod documents;
mod edges;
mod habits;
mod packages;
mod purity;
