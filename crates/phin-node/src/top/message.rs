//! The messages that change the screen, and what they contain.

use phin::MemberId;
use ratatui::crossterm::event::KeyEvent;

use crate::{
    client::{Client, RequestError},
    events::{Line, MemberList},
    info::{self, NodeInfo},
    links::LinkList,
    rings::MemberRings,
    rtt,
    suspicion::Why,
};

/// Something that happened.
pub(crate) enum Input {
    Message(Message),
    /// The process was stopped, and goes on.
    Continued,
    /// A signal asks the process to end.
    Signal(u8),
    /// The terminal is gone.
    Ended,
}

/// A change of what the screen shows.
#[derive(Debug)]
pub(crate) enum Message {
    Answer(Box<Answer>),
    NoAnswer(String),
    /// The list with which a stream of changes begins.
    Snapshot(Box<MemberList>),
    Event(Box<Line>),
    StreamLost(String),
    Why(MemberId, Result<Box<Why>, String>),
    Rings(MemberId, Result<Box<MemberRings>, String>),
    Key(KeyEvent),
    /// The width and height of the terminal.
    Resized(u16, u16),
    /// Only time has passed.
    Tick,
}

/// The node itself, its links, and all members, as it describes them.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) node: NodeInfo,
    pub(crate) links: LinkList,
    /// `None` if it was not requested: it is long, and its changes come by themselves.
    pub(crate) list: Option<MemberList>,
}

/// A question about one member.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Question {
    Why(MemberId),
    Rings(MemberId),
}

impl Answer {
    /// Requests the short answers, and the list too if it is wanted.
    pub(crate) fn get(client: &Client, wants_list: bool) -> Result<Self, RequestError> {
        let list = if wants_list { Some(client.get("/v1/members")?) } else { None };
        Ok(Self { node: client.get(info::PATH)?, links: client.get(rtt::LINKS)?, list })
    }
}
