//! The programs that run on events, and those that answer queries.

use std::{collections::BTreeSet, time::Duration};

use phin::{Config, Filter, Topic};

use super::{
    layers::Layers,
    place::{Placed, SettingsError},
};
use crate::{
    answers::Answer,
    hooks::{Hook, HookEvent, Trigger},
    program::Program,
    run::RESERVED_TOPICS,
};

/// The programs of a node.
#[derive(Debug)]
pub(crate) struct Hooks {
    pub(crate) hooks: Vec<Hook>,
    pub(crate) answers: Vec<Answer>,
    /// The time that each run has.
    pub(crate) limit: Duration,
}

impl Hooks {
    pub(super) fn take(layers: &mut Layers, config: &Config) -> Result<Self, SettingsError> {
        let limit = layers.duration("hook-timeout", config)?.and_then(|limit| limit.value);
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        let hooks = programs(layers, "on", hook)?;
        let mut topics = BTreeSet::new();
        let answers = programs(layers, "answer", |line| {
            let answer = answer(line)?;
            match topics.insert(answer.topic.clone()) {
                true => Ok(answer),
                false => Err(format!("the topic {} has a program already", answer.topic)),
            }
        })?;
        Ok(Self { hooks, answers, limit })
    }
}

/// The programs of a setting, one a line.
fn programs<T>(
    layers: &mut Layers,
    name: &'static str,
    mut parse: impl FnMut(&str) -> Result<T, String>,
) -> Result<Vec<T>, SettingsError> {
    let Some(Placed { value: text, place }) = layers.take_text(name) else {
        return Ok(Vec::new());
    };
    let invalid = |value: &str, problem| {
        let (place, value) = (place.clone(), value.to_owned());
        SettingsError::Invalid { place, value, problem }
    };
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.len() > MAX_PROGRAMS {
        return Err(invalid(&text, format!("a node has at most {MAX_PROGRAMS} of these programs")));
    }
    lines.into_iter().map(|line| parse(line).map_err(|problem| invalid(line, problem))).collect()
}

/// Parses `TOPIC=PROGRAM`.
fn answer(text: &str) -> Result<Answer, String> {
    let (topic, program) = text.split_once('=').ok_or_else(|| EXPECTED_ANSWER.to_owned())?;
    if topic.trim().starts_with(RESERVED_TOPICS) {
        return Err(format!("nodes answer topics that begin with {RESERVED_TOPICS} by themselves"));
    }
    Ok(Answer { topic: self::topic(topic.trim())?, program: Program::parse(program)? })
}

/// Parses `EVENT[,EVENT…]=PROGRAM`, with a filter in brackets after the events or without.
fn hook(text: &str) -> Result<Hook, String> {
    let (events, filter, program) = split(text).ok_or_else(|| EXPECTED.to_owned())?;
    let filter: Filter = filter.parse().map_err(|error: phin::FilterError| error.to_string())?;
    let (events, topics) = events_and_topics(events)?;
    let other = events.iter().find(|event| !event.is_about_a_member());
    if let Some(other) = other
        && !filter.is_empty()
    {
        let name = other.name();
        return Err(format!("{name} is about the node itself, so it has no filter of members"));
    }
    Ok(Hook { trigger: Trigger { events, topics, filter }, program: Program::parse(program)? })
}

/// The events, the filter without its brackets, and the program.
fn split(text: &str) -> Option<(&str, &str, &str)> {
    let (before, program) = text.split_once('=')?;
    let Some((events, _)) = before.split_once('[') else {
        return Some((before, "", program));
    };
    // A filter has `=` too.
    let (filter, program) = text[events.len() + 1..].split_once("]=")?;
    Some((events, filter, program))
}

fn events_and_topics(names: &str) -> Result<(Vec<HookEvent>, Vec<Topic>), String> {
    let (mut events, mut topics) = (Vec::new(), Vec::new());
    for name in names.split(',').map(str::trim) {
        match name.strip_prefix(TOPIC) {
            Some(topic) => topics.push(self::topic(topic)?),
            None => events.push(event(name)?),
        }
    }
    Ok((events, topics))
}

fn topic(name: &str) -> Result<Topic, String> {
    name.parse().map_err(|error: phin::TopicError| format!("the topic {name:?}: {error}"))
}

fn event(name: &str) -> Result<HookEvent, String> {
    HookEvent::ALL.into_iter().find(|event| event.name() == name).ok_or_else(|| {
        let names = HookEvent::ALL.map(HookEvent::name).join(", ");
        format!("{name:?} is no event that runs a program; allowed are {names}, {TOPIC}NAME")
    })
}

/// The prefix of an event that stands for the messages of a topic.
const TOPIC: &str = "topic:";
const EXPECTED: &str = "expected EVENT[,EVENT]=PROGRAM, such as dead,left=/usr/local/bin/notify, or with a filter, \
                        dead[role=db]=/usr/local/bin/notify";
const EXPECTED_ANSWER: &str = "expected TOPIC=PROGRAM, such as disk/free=/usr/local/bin/disk-free";
const DEFAULT_LIMIT: Duration = Duration::from_secs(30);
/// The limit for each kind: each has a task and a queue, and perhaps a process, or up to 64 of them.
const MAX_PROGRAMS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<&'static str>, String) {
        let Hook { trigger, .. } = hook(text).unwrap();
        (trigger.events.into_iter().map(HookEvent::name).collect(), trigger.filter.to_string())
    }

    #[test]
    fn a_hook_is_events_a_filter_and_a_program() {
        assert_eq!(parsed("dead=/bin/sh"), (vec!["dead"], "".into()));
        assert_eq!(parsed("dead, left=/bin/sh a=b [c]=d"), (vec!["dead", "left"], "".into()));
        let filter = "role=db|web,zone!=b".to_owned();
        assert_eq!(parsed("joined[role=db|web,zone!=b]=/bin/sh"), (vec!["joined"], filter));
        let hook = hook("isolated,reconnected=/bin/sh").unwrap();
        assert_eq!(hook.trigger.events, [HookEvent::Isolated, HookEvent::Reconnected]);
    }

    #[test]
    fn a_hook_takes_topics_and_events() {
        let Hook { trigger, .. } = hook("topic:a/b:c, dead,topic:d[role=db]=/bin/sh").unwrap();
        assert_eq!(trigger.events, [HookEvent::Change(phin::Change::Dead)]);
        assert_eq!(trigger.topics.iter().map(Topic::as_str).collect::<Vec<_>>(), ["a/b:c", "d"]);
        assert_eq!(trigger.filter.to_string(), "role=db");
    }

    #[test]
    fn a_text_that_is_no_hook_says_why() {
        for (text, expected) in [
            ("dead", "expected EVENT"),
            ("dead[role=db=/bin/sh", "expected EVENT"),
            (
                "died=/bin/sh",
                "\"died\" is no event that runs a program; allowed are joined, suspect",
            ),
            ("=/bin/sh", "\"\" is no event"),
            ("dead=", "expected the path of a program"),
            ("topic:=/bin/sh", "the topic \"\": a topic has 1 to 128 bytes"),
            ("topic:a b=/bin/sh", "the topic \"a b\": a topic cannot contain ' '"),
            ("topic:a,isolated[role=db]=/bin/sh", "isolated is about the node itself"),
            ("dead[role]=/bin/sh", "a filter consists of terms"),
            ("dead,isolated[role=db]=/bin/sh", "isolated is about the node itself"),
            ("dead=/no/such/program", "/no/such/program: No such file"),
            ("dead=/bin", "/bin: it is not an executable file"),
            ("dead=/bin/sh -c 'echo dead'", "quotes and backslashes have no meaning"),
        ] {
            let problem = hook(text).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
    }

    #[test]
    fn an_answer_is_a_topic_and_a_program() {
        assert_eq!(answer("disk/free = /bin/sh a=b").unwrap().topic.as_str(), "disk/free");
        for (text, expected) in [
            ("/bin/sh", "expected TOPIC=PROGRAM"),
            ("phin/keys=/bin/sh", "nodes answer topics that begin with phin/"),
            ("=/bin/sh", "the topic \"\": a topic has 1 to 128 bytes"),
            ("disk/free=", "expected the path of a program"),
            ("disk/free=/no/such/program", "/no/such/program: No such file"),
        ] {
            let problem = answer(text).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
    }

    /// The table of the documentation has the events, besides those about the stream.
    #[test]
    fn every_event_of_the_documentation_runs_programs() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/events.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (_, table) = text.split_once("| `event` | Fields besides `at` |\n|---|---|\n").unwrap();
        let rows = table.lines().take_while(|line| line.starts_with('|'));
        let cells = rows.filter_map(|row| row.split('|').nth(1));
        let documented = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
        let mut documented: Vec<_> =
            documented.filter(|name| !["missed", "snapshot", "departed"].contains(name)).collect();
        let mut names = HookEvent::ALL.map(HookEvent::name).to_vec();
        documented.sort_unstable();
        names.sort_unstable();
        assert_eq!(documented, names);
    }
}
