//! Expected results from papers and arithmetic.

use crate::{experiment::Point, protocols::ProtocolKind};

/// The expected time in milliseconds until the first member knows of a silent death, without one-way delays.
pub(super) fn first_known_ms(protocol: ProtocolKind, point: &Point) -> Option<f64> {
    let n = point.get("n");
    let is_gone = point.count("kill") == 1;
    let is_unknown = point.count("kill") == 2;
    // SWIM §3.1: the expected number of periods until some member probes the dead one, with random choice.
    let first_probe = std::f64::consts::E / (std::f64::consts::E - 1.0);
    // Every member is probed once a period, so the next probe is half a period away; then the tolerance.
    let phin = |period: f64, tolerance: f64| {
        let tolerance = match (is_gone, is_unknown) {
            (true, _) => 0.0,
            (_, true) => 3.0 * tolerance,
            (false, false) => tolerance,
        };
        period / 2.0 + tolerance
    };
    Some(
        1e3 * match protocol {
            ProtocolKind::Phin | ProtocolKind::PhinEvict => phin(1.0, 1.0),
            ProtocolKind::PhinCalm2 => phin(2.0, 1.0),
            ProtocolKind::PhinCalm4 => phin(4.0, 1.0),
            ProtocolKind::PhinCalm8 => phin(8.0, 1.0),
            ProtocolKind::PhinEager => phin(1.0, 0.3),
            ProtocolKind::PhinFast => phin(0.2, 0.3),
            ProtocolKind::PhinWan => phin(3.0, 3.0),
            // The probe fails at its period's end; suspicion then lasts at least 4 log10(n) s (Lifeguard §IV.B).
            ProtocolKind::Lifeguard => first_probe + 4.0 * libm::log10(n).max(1.0),
            // 3 ⌈ln(n + 1)⌉ periods (SWIM §5).
            ProtocolKind::Swim => first_probe + 3.0 * libm::ceil(libm::log(n + 1.0)),
            // The last heartbeat is half an interval old.
            ProtocolKind::Heartbeat => 4.5,
            ProtocolKind::HeartbeatPhi
            | ProtocolKind::Chitchat
            | ProtocolKind::Flood
            | ProtocolKind::Serf => return None,
        },
    )
}

/// Messages per member and second of a calm cluster.
pub(super) fn idle_messages(protocol: ProtocolKind, point: &Point) -> f64 {
    match protocol {
        // A ping and an ack per period.
        ProtocolKind::Phin
        | ProtocolKind::PhinEager
        | ProtocolKind::PhinEvict
        | ProtocolKind::Lifeguard
        | ProtocolKind::Swim => 2.0,
        ProtocolKind::PhinFast => 10.0,
        ProtocolKind::PhinCalm2 => 1.0,
        ProtocolKind::PhinCalm4 => 0.5,
        ProtocolKind::PhinCalm8 => 0.25,
        ProtocolKind::PhinWan => 2.0 / 3.0,
        // A digest to three others, their answers and the answers to those.
        ProtocolKind::Chitchat => 9.0,
        // It only keeps its connections open.
        ProtocolKind::Flood => 0.8,
        ProtocolKind::Serf => 0.0,
        ProtocolKind::Heartbeat | ProtocolKind::HeartbeatPhi => point.get("n") - 1.0,
    }
}
