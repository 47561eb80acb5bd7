//! The promises of the workspace that no compiler keeps. A failure names the place and what to do there.

mod api;
mod commands;
mod documents;
mod edges;
mod habits;
mod purity;
