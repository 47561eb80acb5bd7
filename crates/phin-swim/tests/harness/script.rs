//! The words of a script.

use std::time::Duration;

use phin_swim::{Disconnection, NotTaken, QueryAnswer, ServingState, Tags, Unreachable};

/// Messages with a fate of their own: from, to (each perhaps anyone), of a kind, so many more of them.
pub(crate) struct Rule {
    fate: Fate,
    from: Option<usize>,
    to: Option<usize>,
    kind: Option<String>,
    count: Option<u32>,
    /// The share of messages that it treats so.
    share: f64,
}

/// The treatment of a message by the network.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Fate {
    Arrives,
    Lost,
    Twice,
    Late(Duration),
}

impl Rule {
    /// Reads `drop A->B`, `duplicate A->B` or `delay A->B TIME`, each with `[kind=K] [count=C] [share=P%]`.
    pub(crate) fn read(line: &str) -> Self {
        let words: Vec<_> = line.split_whitespace().collect();
        let (from, to) = words[1].split_once("->").unwrap();
        let side = |name| (name != "*").then(|| number(name));
        let fate = match words[0] {
            "drop" => Fate::Lost,
            "duplicate" => Fate::Twice,
            "delay" => Fate::Late(duration(words[2])),
            word => panic!("no fate called {word}"),
        };
        Self {
            fate,
            from: side(from),
            to: side(to),
            kind: text(line, "kind").map(str::to_owned),
            count: text(line, "count").map(|count| count.parse().unwrap()),
            share: text(line, "share").map_or(1.0, share),
        }
    }

    pub(crate) fn is_about(&self, from: usize, to: usize, kinds: &[&str]) -> bool {
        self.kind.as_deref().is_none_or(|kind| kinds.contains(&kind))
            && self.from.is_none_or(|rule| rule == from)
            && self.to.is_none_or(|rule| rule == to)
            && self.count != Some(0)
    }

    /// The treatment of one more such message, of which this share are luckier.
    pub(crate) fn take(&mut self, luck: f64) -> Fate {
        if luck >= self.share {
            return Fate::Arrives;
        }
        if let Some(count) = &mut self.count {
            *count -= 1;
        }
        self.fate
    }
}

/// A share, such as `80%`.
pub(crate) fn share(text: &str) -> f64 {
    text.trim_end_matches('%').parse::<f64>().unwrap() / 100.0
}

/// Whether a node's host answers questions: always, never (a firewall), or no more (it is down).
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Host {
    Answers,
    Never,
    Down,
}

pub(crate) fn host(word: &str) -> Host {
    match word {
        "answers" => Host::Answers,
        "never" => Host::Never,
        "down" => Host::Down,
        _ => panic!("a host answers, never or is down, not `{word}`"),
    }
}

pub(crate) fn disconnection(word: &str) -> Disconnection {
    match word {
        "idle" => Disconnection::Idle,
        "closed" => Disconnection::Closed,
        "reset" => Disconnection::Reset,
        "lost" => Disconnection::Lost,
        _ => panic!("no disconnection is `{word}`"),
    }
}

pub(crate) fn unreachable(word: &str) -> Unreachable {
    match word {
        "no-answer" => Unreachable::NoAnswer,
        "refused" => Unreachable::Refused,
        "other-identity" => Unreachable::OtherIdentity,
        "not-admitted" => Unreachable::NotAdmitted,
        _ => panic!("no member is unreachable for `{word}`"),
    }
}

/// The reaction of an application to messages.
pub(crate) fn takes(word: &str) -> Result<(), NotTaken> {
    match word {
        "all" => Ok(()),
        "nothing" => Err(NotTaken::QueueFull),
        "no-topic" => Err(NotTaken::NoReceiver),
        _ => panic!("an application takes all, nothing or no-topic, not `{word}`"),
    }
}

/// Tags, each a word `KEY=VALUE`.
pub(crate) fn tags(words: &[&str]) -> Tags {
    let mut tags = Tags::new();
    words.iter().filter_map(|word| word.split_once('=')).for_each(|(k, v)| tags.set(k, v).unwrap());
    tags
}

/// A serving state, with the reason if there is one.
pub(crate) fn serving(words: &[&str]) -> ServingState {
    match words[0] {
        "serving" => ServingState::Serving,
        "draining" => ServingState::Draining,
        "not-serving" => {
            ServingState::NotServing(words[1..].join(" ").as_str().try_into().unwrap())
        }
        word => panic!("no serving state is `{word}`"),
    }
}

pub(crate) fn number(name: &str) -> usize {
    name.trim_start_matches('n').parse().unwrap_or_else(|_| panic!("no node: {name}"))
}

/// The first `nX..nY` in a line, and the nodes it stands for.
pub(crate) fn range(line: &str) -> Option<(&str, std::ops::RangeInclusive<usize>)> {
    let word = line.split_whitespace().find(|word| word.starts_with('n') && word.contains(".."))?;
    let (first, last) = word.split_once("..")?;
    Some((word, number(first)..=number(last)))
}

/// The value of `key=` in a line.
pub(crate) fn text<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
    pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
}

pub(crate) fn option(line: &str, key: &str) -> u64 {
    text(line, key).unwrap_or_else(|| panic!("no {key}= in `{line}`")).parse().unwrap()
}

pub(crate) fn duration(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(millis.parse().unwrap()),
        None => Duration::from_secs_f64(text.trim_end_matches('s').parse().unwrap()),
    }
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// Nodes in few words, with how often each stands there: `n1-n3 n5(2)`.
pub(crate) fn nodes(nodes: &[usize]) -> String {
    let mut counts: Vec<(usize, usize)> = Vec::new();
    let mut nodes = nodes.to_vec();
    nodes.sort_unstable();
    for node in nodes {
        match counts.last_mut() {
            Some((last, count)) if *last == node => *count += 1,
            _ => counts.push((node, 1)),
        }
    }
    let mut words = Vec::new();
    while let Some(&(first, count)) = counts.first() {
        let is_run = |&(at, &(node, times)): &(usize, &(usize, usize))| {
            count == 1 && times == 1 && node == first + at
        };
        let run = counts.iter().enumerate().take_while(is_run).count().max(1);
        words.push(match (count, run) {
            (2.., _) => format!("n{first}({count})"),
            (_, 1) => format!("n{first}"),
            (_, 2) => format!("n{first} n{}", first + 1),
            (_, run) => format!("n{first}-n{}", first + run - 1),
        });
        counts.drain(..run);
    }
    words.join(" ")
}

/// The answer of an application to queries.
pub(crate) fn answers(word: &str) -> Option<fn(&str) -> QueryAnswer> {
    match word {
        "later" => None,
        "echo" => Some(|text| QueryAnswer::Reply(text.as_bytes().into())),
        "no-handler" => Some(|_| QueryAnswer::NoHandler),
        "refused" => Some(|_| QueryAnswer::Refused),
        "busy" => Some(|_| QueryAnswer::Busy),
        _ => panic!("no application answers {word}"),
    }
}
