//! Measures the time until a death is known, and the load.

use super::{Job, Metrics, in_millis, metrics};
use crate::{
    measure::{Kill, Measurement},
    network::NetworkConfig,
    node::secs,
};

pub(super) fn run(job: &Job) -> Metrics {
    let point = &job.point;
    let nodes = point.count("n");
    let measurement = Measurement {
        nodes,
        network: NetworkConfig { loss: point.get("loss"), ..job.network() },
        warm_up: secs(30),
        kills: point.count("kills"),
        kill: match point.count("kill") {
            0 => Kill::Host,
            1 => Kill::Process,
            _ => Kill::Firewalled,
        },
        patience: secs(120),
        load: None,
        faults: Vec::new(),
    };
    let measured = measurement.run(job.seed, job.make(nodes));
    let (messages, bytes, seconds) = measured.idle;
    metrics([
        ("first", in_millis(&measured.first)),
        ("median", in_millis(&measured.median)),
        ("all", in_millis(&measured.all)),
        ("spread", in_millis(&measured.spread)),
        ("suspected", in_millis(&measured.suspected)),
        ("unnoticed", vec![f64::from(measured.unnoticed)]),
        ("messages", vec![messages as f64]),
        ("bytes", vec![bytes as f64]),
        ("seconds", vec![seconds]),
        ("false_positives", vec![measured.false_positives as f64]),
        ("false_suspicions", vec![measured.false_suspicions as f64]),
    ])
}
