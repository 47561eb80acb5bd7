//! Asks the node: what it knows of its links again and again, the changes of the list as they happen, the list itself if needed,
//! and about one member.
//!
//! Each of the three has a thread, so that a slow answer delays nothing else, and a client of its own. After a failure it makes
//! a new one, which reads the token again.

use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    thread,
    time::{Duration, Instant},
};

use phin::MemberId;

use super::message::{Answer, Input, Message, Question};
use crate::{
    client::{Client, RequestError, Target, member_path},
    events::Line,
    failure::with_causes,
    watch::{Arriving, Events, MAX_DELAY, MIN_DELAY, PATH},
};

/// The threads, which end with the process.
pub(crate) struct Source {
    refresh: SyncSender<()>,
    questions: SyncSender<Question>,
}

impl Source {
    pub(crate) fn start(target: &Target, interval: Duration, inbox: &SyncSender<Input>) -> Self {
        let (refresh, refreshes) = mpsc::sync_channel(1);
        let (questions, asked) = mpsc::sync_channel(1);
        let send = |inbox: SyncSender<Input>| {
            move |message| inbox.send(Input::Message(message)).map_err(|_| Closed)
        };
        spawn(target, send(inbox.clone()), move |target, send| {
            poll(target, interval, &refreshes, send)
        });
        spawn(target, send(inbox.clone()), follow);
        spawn(target, send(inbox.clone()), move |target, send| answer(target, &asked, send));
        Self { refresh, questions }
    }

    /// Requests the list soon, with the other answers.
    pub(crate) fn refresh(&self) {
        // If one is due already, this one is too.
        let _ = self.refresh.try_send(());
    }

    /// Asks about a member. If another question is due, this one is dropped; the next answer repeats it.
    pub(crate) fn ask(&self, question: Question) {
        let _ = self.questions.try_send(question);
    }
}

/// The screen has ended.
struct Closed;

type Ended = Result<std::convert::Infallible, Closed>;

fn spawn<S>(target: &Target, send: S, run: impl FnOnce(&Target, &S) -> Ended + Send + 'static)
where
    S: Fn(Message) -> Result<(), Closed> + Send + 'static,
{
    let target = target.clone();
    thread::spawn(move || run(&target, &send));
}

/// Requests the short answers in each interval, and with them the list if asked.
fn poll(
    target: &Target,
    interval: Duration,
    refreshes: &Receiver<()>,
    send: &impl Fn(Message) -> Result<(), Closed>,
) -> Ended {
    let mut client = Client::new(target);
    // The first answer is there already.
    let mut next_at = Instant::now() + interval;
    let mut list_at = None;
    let mut earliest_list_at = Instant::now();
    loop {
        let wake_at = list_at.map_or(next_at, |at: Instant| at.min(next_at));
        match refreshes.recv_timeout(wake_at.saturating_duration_since(Instant::now())) {
            Ok(()) => {
                // Several changes at once are one request.
                list_at.get_or_insert(earliest_list_at.max(Instant::now() + MIN_DELAY));
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Closed),
        }
        let began = Instant::now();
        let wants_list = list_at.take_if(|at| *at <= began).is_some();
        let answer = match &client {
            Ok(client) => Answer::get(client, wants_list).map_err(|error| with_causes(&error)),
            Err(failure) => Err(failure.text().to_owned()),
        };
        next_at = Instant::now() + interval;
        if wants_list {
            // A long list must not keep the node busy.
            earliest_list_at = Instant::now() + began.elapsed() * MOST_WORK;
        }
        let message = match answer {
            Ok(answer) => Message::Answer(Box::new(answer)),
            Err(error) => {
                client = Client::new(target);
                Message::NoAnswer(error)
            }
        };
        send(message)?;
    }
}

/// Follows the changes, and connects again when the stream is lost.
fn follow(target: &Target, send: &impl Fn(Message) -> Result<(), Closed>) -> Ended {
    let mut delay = MIN_DELAY;
    loop {
        let stream = Client::new(target)
            .map_err(|failure| failure.text().to_owned())
            .and_then(|client| client.stream(PATH).map_err(|error| with_causes(&error)));
        match stream {
            Ok(stream) => {
                delay = MIN_DELAY;
                for event in Events::of(stream) {
                    let Some(message) = message_of(event) else {
                        break;
                    };
                    send(message)?;
                }
                send(Message::StreamLost("the stream of changes ended".into()))?;
            }
            Err(error) => send(Message::StreamLost(error))?,
        }
        thread::sleep(delay);
        delay = (delay * 2).min(MAX_DELAY);
    }
}

/// The message of an event; `None` if it is not from phin.
fn message_of(event: Arriving) -> Option<Message> {
    if event.name == "snapshot" {
        return Some(Message::Snapshot(Box::new(serde_json::from_str(&event.data).ok()?)));
    }
    let line: Line = serde_json::from_str(&event.data).ok()?;
    Some(Message::Event(Box::new(line)))
}

/// Answers questions about one member.
fn answer(
    target: &Target,
    asked: &Receiver<Question>,
    send: &impl Fn(Message) -> Result<(), Closed>,
) -> Ended {
    let mut client = Client::new(target);
    loop {
        let question = asked.recv().map_err(|_| Closed)?;
        let Ok(working) = &client else {
            client = Client::new(target);
            continue;
        };
        let path = |id: MemberId, what| member_path(&id.to_string(), what);
        let message = match question {
            Question::Why(id) => Message::Why(id, told(working.get(&path(id, "why")))),
            Question::Rings(id) => Message::Rings(id, told(working.get(&path(id, "rings")))),
        };
        if matches!(message, Message::Why(_, Err(_)) | Message::Rings(_, Err(_))) {
            client = Client::new(target);
        }
        send(message)?;
    }
}

fn told<T>(answer: Result<T, RequestError>) -> Result<Box<T>, String> {
    answer.map(Box::new).map_err(|error| with_causes(&error))
}

/// The wait before a list, in multiples of the time that the last one took: it takes at most a twentieth of the time.
const MOST_WORK: u32 = 20;
