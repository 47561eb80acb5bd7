//! A deterministic simulator of membership protocols on a simulated network: the real `phin_swim::Swim` with its real
//! messages, and four other protocols to compare with.
//!
//! A [`Simulation`] is one run: hosts, processes, the network, faults, and oracles that know the truth. Time and
//! randomness come only from the run, so a seed gives one [trace hash](TraceHash) on every machine.
//! `docs/reference/simulator.md` describes the binary.

pub mod arbitrary;
mod asking;
pub mod baselines;
mod clock;
mod connection;
mod experiment;
mod fault;
mod id;
mod keys;
mod latency;
mod ledger;
mod liar;
mod lie;
mod machines;
mod measure;
mod network;
mod node;
pub mod oracle;
mod packet;
mod phin;
pub mod plan;
mod protocols;
mod queue;
mod report;
mod runner;
pub mod scenario;
mod settings;
mod simulation;
mod soak;
mod summary;
mod trace;
mod traffic;
mod truth;
mod world;

pub use experiment::{
    Conditions, DataCase, Experiment, GrayCase, Job, LeaderCase, LiarCase, MalformedLine, MassCase,
    MessageCase, Metrics, Point, RapidCase, SampleLine, StallCase, run_jobs,
};
pub use fault::{Data, Fault, OnePath, Scope, Stalls, Write};
pub use latency::Latency;
pub use ledger::{
    DataLedger, Death, FalseVerdict, Ledger, MessageLedger, OfficeLedger, OfficeTerm, Publication,
    Published,
};
pub use lie::{Lie, Lies};
pub use measure::{Kill, Load, Measured, Measurement};
pub use network::{Hosts, NetworkConfig, Packets, Rule, RuleId};
pub use node::*;
pub use phin::Phin;
pub use phin_report::Samples;
pub use protocols::{ProtocolKind, SettingsError};
pub use report::{Page, UNUSUAL, illustrate, reports};
pub use runner::{Shard, cores, run_all};
pub use simulation::{Setup, Simulation};
pub use soak::{FaultKind, random_scenario, random_signed_scenario};
pub use summary::Summary;
pub use trace::TraceHash;
pub use traffic::{PartBytes, Traffic};
pub use truth::{Life, TrueNode, Truth};
