//! `GET /metrics`: counters, members by state, and links, in the OpenMetrics text that Prometheus reads.

use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use phin::{Cluster, Data, Link, MemberState, Members, Standing, Stats, Unreached};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use rustix::time::{ClockId, clock_gettime};

use super::{
    counters::{COUNTERS, Counter, GAUGES, OFFICE_REFUSALS, REFUSALS, SENDS},
    node::Node,
    refusal::Refusal,
};
use crate::{answers, hooks};

/// The values of one answer, taken at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    members: Members,
    data: Data,
    /// The number of ids that are expelled.
    expelled: usize,
    links: Vec<Link>,
    unreached: Vec<Unreached>,
    stats: Stats,
    is_joined: bool,
    is_isolated: bool,
    is_converged: bool,
    http_connections_closed: u64,
    http_unauthorized: u64,
    certificate_end: Option<SystemTime>,
    hooks: Vec<Arc<hooks::Counters>>,
    answers: Vec<Arc<answers::Counters>>,
    /// The spans sent and dropped, if traces are sent.
    spans: Option<(u64, u64)>,
}

pub(super) async fn metrics(State(node): State<Node>) -> Result<impl IntoResponse, Refusal> {
    let text = text_of(Snapshot::of(&node).await?).map_err(|error| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write metrics: {error}"))
    })?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text))
}

pub(super) fn text_of(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("phin");
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.encode_members(&mut encoder)?;
        self.encode_data(&mut encoder)?;
        self.encode_links(&mut encoder)?;
        self.encode_counters(&mut encoder)?;
        self.encode_transport(&mut encoder)?;
        self.encode_lag(&mut encoder)?;
        encode_process(&mut encoder)?;
        if !self.hooks.is_empty() {
            self.encode_hooks(&mut encoder)?;
        }
        if !self.answers.is_empty() {
            self.encode_answers(&mut encoder)?;
        }
        Ok(())
    }
}

fn expelled(cluster: &Cluster) -> usize {
    let statements = cluster.expulsions();
    statements.iter().filter(|statement| statement.standing == Standing::Expelled).count()
}

impl Snapshot {
    pub(super) async fn of(node: &Node) -> Result<Self, Refusal> {
        Ok(Self {
            members: node.cluster.members(),
            data: node.cluster.data(),
            expelled: expelled(&node.cluster),
            links: node.cluster.links().await.map_err(Refusal::stopped)?,
            unreached: node.cluster.unreached().await.map_err(Refusal::stopped)?,
            stats: node.cluster.stats().await.map_err(Refusal::stopped)?,
            is_joined: node.cluster.is_joined(),
            is_isolated: node.cluster.is_isolated(),
            is_converged: node.cluster.is_converged(),
            http_connections_closed: node.connections.closed_for_others(),
            http_unauthorized: node.guard.unauthorized(),
            certificate_end: node.expiry.as_ref().and_then(|expiry| expiry.ends_at()),
            hooks: node.programs.hooks(),
            answers: node.programs.answers(),
            spans: node.spans.as_ref().map(|spans| (spans.sent(), spans.dropped())),
        })
    }

    fn encode_members(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let states =
            [MemberState::Alive, MemberState::Suspect, MemberState::Dead, MemberState::Left];
        let counts = states.map(|state| {
            let count = self.members.iter().filter(|member| member.state() == state).count();
            ([("state", Cow::from(state.as_str()))], count as f64)
        });
        encode_gauges(encoder, "members", "Members in the list, by state", None, counts)?;
        let names = ["serving", "draining", "not-serving"].map(Cow::from);
        let live: Vec<_> =
            self.members.live().map(|member| Cow::from(member.serving().as_str())).collect();
        let mine = Cow::from(self.members.me().serving().as_str());
        let is_mine = names.clone().map(|name| {
            let is_mine = f64::from(u8::from(name == mine));
            ([("state", name)], is_mine)
        });
        let help = "1 for the serving state that this node announces";
        encode_gauges(encoder, "serving", help, None, is_mine)?;
        let counts = names.map(|name| {
            let count = live.iter().filter(|state| **state == name).count();
            ([("state", name)], count as f64)
        });
        encode_gauges(encoder, "members_serving", "Live members, by serving state", None, counts)?;
        let version = [([], self.members.version() as f64)];
        encode_gauges(encoder, "list_version", "Version of the membership list", None, version)?;
        let conflicts = [([], self.members.name_conflicts() as f64)];
        let help = "Live members whose name another live member has too";
        encode_gauges(encoder, "name_conflicts", help, None, conflicts)?;
        let held = [([], self.members.suppressed_len() as f64)];
        let help = "Members suppressed, because they died and returned too often lately";
        encode_gauges(encoder, "members_suppressed", help, None, held)?;
        let expelled = [([], self.expelled as f64)];
        let help = "Ids that a statement of an administrator expels";
        encode_gauges(encoder, "members_expelled", help, None, expelled)?;
        let joined = [([], f64::from(u8::from(self.is_joined)))];
        encode_gauges(
            encoder,
            "joined",
            "1 if the node has joined its cluster, else 0",
            None,
            joined,
        )?;
        let isolated = [([], f64::from(u8::from(self.is_isolated)))];
        let help = "1 if the node receives nothing from any member and declares none dead, else 0";
        encode_gauges(encoder, "isolated", help, None, isolated)?;
        let converged = [([], f64::from(u8::from(self.is_converged)))];
        let help = "1 if the members heard lately have the same list of live members, else 0";
        encode_gauges(encoder, "converged", help, None, converged)?;
        let since_epoch = |end: SystemTime| end.duration_since(SystemTime::UNIX_EPOCH);
        let end = self.certificate_end.and_then(|end| since_epoch(end).ok());
        if let Some(end) = end {
            let help = "When the node's certificate or its CA expires, as a Unix time";
            let unit = Some(&Unit::Seconds);
            let end = [([], end.as_secs_f64())];
            encode_gauges(encoder, "certificate_expiry_timestamp", help, unit, end)?;
        }
        let build = [([("version", Cow::from(env!("CARGO_PKG_VERSION")))], 1.0)];
        encode_gauges(encoder, "build_info", "Release that the node runs; always 1", None, build)
    }

    /// Encodes one line per observed member: at most as many as rings, in a cluster of any size.
    fn encode_links(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let label = |link: &Link| {
            let name = self.members.get(link.id).map_or("", |member| member.name());
            [("member", Cow::from(link.id.to_string())), ("name", Cow::from(name.to_owned()))]
        };
        let links = || self.links.iter();
        let round_trips = links().filter_map(|link| {
            link.round_trip.map(|round_trip| (label(link), round_trip.as_secs_f64()))
        });
        let help = "Typical round trip to an observed member";
        encode_gauges(encoder, "probe_round_trip", help, Some(&Unit::Seconds), round_trips)?;
        let help =
            "Evidence that an observed member is dead: -log10 of the probability of its silence";
        encode_gauges(encoder, "phi", help, None, links().map(|link| (label(link), link.phi)))?;
        let losses = links().map(|link| (label(link), link.loss));
        let help = "Estimated share of probes lost on the way to an observed member";
        encode_gauges(encoder, "probe_loss_ratio", help, None, losses)?;
        let degraded = self.unreached.iter().filter(|unreached| unreached.degraded_since.is_some());
        let degraded = [([], degraded.count() as f64)];
        let help = "Live members that are degraded, as far as this node knows";
        encode_gauges(encoder, "degraded_members", help, None, degraded)?;
        let failing = [([], self.unreached.iter().map(|u| u.links.len()).sum::<usize>() as f64)];
        let help = "Links on which a live member is not reached, as far as this node knows";
        encode_gauges(encoder, "failing_links", help, None, failing)
    }

    fn encode_data(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let own = self.data.of(self.members.me().id());
        let keys = [([], own.map_or(0, |own| own.len()) as f64)];
        encode_gauges(encoder, "data_own_keys", "Keys of this node's member data", None, keys)?;
        let bytes = Some(&Unit::Bytes);
        let own_bytes = [([], own.map_or(0, |own| own.bytes()) as f64)];
        let help = "Bytes of this node's member data, keys included";
        encode_gauges(encoder, "data_own", help, bytes, own_bytes)?;
        let known = [([], self.data.iter().map(|(_, of)| of.bytes()).sum::<usize>() as f64)];
        let help = "Bytes of the member data known here of all members, keys included";
        encode_gauges(encoder, "data_known", help, bytes, known)?;
        let owners = self.data.iter().filter(|(_, of)| !of.is_empty()).count();
        let help = "Members with data, dead ones included";
        encode_gauges(encoder, "data_members", help, None, [([], owners as f64)])
    }

    fn encode_counters(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for Counter { name, help, count } in COUNTERS {
            encode_counter(encoder, name, help, count(&self.stats))?;
        }
        let help = "Messages sent reliably to one member, by how they ended";
        let mut family =
            encoder.encode_descriptor("swim_sends", help, None, MetricType::Counter)?;
        for (outcome, count) in SENDS {
            let labels = [("outcome", *outcome)];
            ConstCounter::new(count(&self.stats)).encode(family.encode_family(&labels)?)?;
        }
        let help = "Requests for an office that this node refused, by reason";
        let name = "swim_office_refusals";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (reason, count) in OFFICE_REFUSALS {
            let labels = [("reason", *reason)];
            ConstCounter::new(count(&self.stats)).encode(family.encode_family(&labels)?)?;
        }
        let help = "HTTP connections closed to make room for others";
        encode_counter(encoder, "http_connections_closed", help, self.http_connections_closed)?;
        let help = "HTTP requests refused because they had no valid token";
        encode_counter(encoder, "http_unauthorized", help, self.http_unauthorized)?;
        let Some((sent, dropped)) = self.spans else {
            return Ok(());
        };
        encode_counter(encoder, "otlp_spans", "Spans that the collector of traces took", sent)?;
        let help = "Spans that the collector did not take, or for which there was no room";
        encode_counter(encoder, "otlp_spans_dropped", help, dropped)
    }

    fn encode_hooks(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let each = || self.hooks.iter().map(|hook| (hook_labels(hook), hook.counts()));
        let help = "Runs of a program on events, those included that could not start";
        let runs = each().map(|(labels, counts)| (labels, counts.runs));
        encode_counters(encoder, "hook_runs", help, runs)?;
        let help =
            "Runs of a program on events that failed, by reason: exit code, time limit, no start";
        let failures = each().flat_map(|([hook, program], counts)| {
            let reasons =
                [("exit", counts.failed), ("timeout", counts.timed_out), ("start", counts.not_run)];
            reasons.map(|(reason, count)| {
                let reason = ("reason", Cow::from(reason));
                ([hook.clone(), program.clone(), reason], count)
            })
        });
        encode_counters(encoder, "hook_failures", help, failures)?;
        let help = "Events that a program did not receive, because it was too slow";
        let missed = each().map(|(labels, counts)| (labels, counts.events_missed));
        encode_counters(encoder, "hook_events_missed", help, missed)?;
        let waiting = each().map(|(labels, counts)| (labels, counts.events_waiting as f64));
        let help = "Events that wait for the next run of a program";
        encode_gauges(encoder, "hook_events_waiting", help, None, waiting)?;
        let running =
            each().map(|(labels, counts)| (labels, f64::from(u8::from(counts.is_running))));
        encode_gauges(encoder, "hook_running", "1 while a program on events runs", None, running)
    }

    fn encode_answers(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let each = || self.answers.iter().map(|answer| (answer_labels(answer), answer.counts()));
        let help = "Runs of a program that answers queries, those included that could not start";
        let runs = each().map(|(labels, counts)| (labels, counts.runs));
        encode_counters(encoder, "answer_runs", help, runs)?;
        let help = "Runs of a program that answers queries without a reply, by reason: exit code, length, time, no start";
        let failures = each().flat_map(|([topic, program], counts)| {
            let reasons = [
                ("exit", counts.refused),
                ("too_long", counts.too_long),
                ("timeout", counts.timed_out),
                ("start", counts.not_run),
            ];
            reasons.map(|(reason, count)| {
                let reason = ("reason", Cow::from(reason));
                ([topic.clone(), program.clone(), reason], count)
            })
        });
        encode_counters(encoder, "answer_failures", help, failures)?;
        let running = each().map(|(labels, counts)| (labels, counts.running as f64));
        let help = "Runs under way of a program that answers queries";
        encode_gauges(encoder, "answer_running", help, None, running)
    }

    fn encode_transport(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Handshakes refused by either side, by reason";
        let name = "transport_refusals";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (reason, count) in REFUSALS {
            let labels = [("reason", *reason)];
            ConstCounter::new(count(&self.stats)).encode(family.encode_family(&labels)?)?;
        }
        for (name, help, count) in GAUGES {
            encode_gauges(encoder, name, help, None, [([], count(&self.stats) as f64)])?;
        }
        Ok(())
    }

    fn encode_lag(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let driver = &self.stats.driver;
        let help = "Time by which the node woke later than its deadlines, in total";
        let lag = ConstCounter::new(driver.total_lag.as_secs_f64());
        let unit = Some(&Unit::Seconds);
        lag.encode(encoder.encode_descriptor("driver_lag", help, unit, MetricType::Counter)?)?;
        let help = "Longest time by which the node woke after a deadline";
        encode_gauges(encoder, "driver_max_lag", help, unit, [([], driver.max_lag.as_secs_f64())])
    }
}

fn encode_process(encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help = "CPU time of the process, in user and kernel mode";
    let time = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default();
    let (unit, kind) = (Some(&Unit::Seconds), MetricType::Counter);
    let counter = ConstCounter::new(time.as_secs_f64());
    counter.encode(encoder.encode_descriptor("process_cpu", help, unit, kind)?)
}

fn encode_counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    count: u64,
) -> Result<(), fmt::Error> {
    let counter = ConstCounter::new(count);
    counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
}

fn hook_labels(hook: &hooks::Counters) -> [(&'static str, Cow<'static, str>); 2] {
    let program = hook.program.display().to_string();
    [("hook", Cow::from(hook.number.to_string())), ("program", Cow::from(program))]
}

fn answer_labels(answer: &answers::Counters) -> [(&'static str, Cow<'static, str>); 2] {
    let program = answer.program.display().to_string();
    [("topic", Cow::from(answer.topic.to_string())), ("program", Cow::from(program))]
}

fn encode_counters<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    counters: impl IntoIterator<Item = ([(&'static str, Cow<'static, str>); N], u64)>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, count) in counters {
        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn encode_gauges<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    gauges: impl IntoIterator<Item = ([(&'static str, Cow<'static, str>); N], f64)>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (labels, value) in gauges {
        if N == 0 {
            return ConstGauge::new(value).encode(family);
        }
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
