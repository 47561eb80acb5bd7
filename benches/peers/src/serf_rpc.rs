//! serf's RPC: MessagePack over TCP. A request is a header and a body; a reply is a header, and a body for some commands.

use std::{
    collections::HashMap,
    io::{BufReader, Write},
    net::{SocketAddr, TcpStream},
};

use phin_bench::{Answers, Reporter, holds};
use rmp_serde::{Serializer, from_read};
use serde::{Deserialize, Serialize};

/// A connection to an agent.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
    requests: u64,
}

impl Connection {
    pub(crate) fn open(addr: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(addr).map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let mut connection = Self { reader: BufReader::new(stream), requests: 0 };
        connection.call("handshake", &Handshake { version: 1 })?;
        Ok(connection)
    }

    /// Publishes a user event.
    pub(crate) fn publish(&mut self, text: &str) -> Result<(), String> {
        self.call("event", &UserEvent { name: NAME, payload: text, coalesce: false })?;
        Ok(())
    }

    /// Asks all members, and returns once the agent says that the query has ended. The agent names nobody who did not reply.
    pub(crate) fn query(&mut self, text: &str, answers: &mut Answers) -> Result<(), String> {
        let no_nodes: Vec<String> = Vec::new();
        self.call(
            "query",
            &Query {
                nodes: no_nodes,
                tags: HashMap::new(),
                ack: false,
                timeout: 0,
                name: NAME,
                payload: text,
            },
        )?;
        loop {
            self.header()?;
            let record: Record = self.read()?;
            match &*record.kind {
                "response" => answers.reply(),
                "done" => return Ok(()),
                _ => {}
            }
        }
    }

    /// Reports the events of the agent, and answers its queries with their own text, until the agent ends. Calls `ready` once
    /// the agent has agreed.
    pub(crate) fn follow(
        mut self,
        member: &str,
        reporter: &Reporter,
        ready: impl FnOnce(),
    ) -> Result<(), String> {
        let stream = self.call("stream", &Stream { kind: "user,query" })?;
        ready();
        loop {
            // Else it is the reply to a response, which has no body.
            if self.header()?.seq != stream {
                continue;
            }
            let Record { event, id, payload, .. } = self.read()?;
            let payload = payload.unwrap_or_default();
            match &*event {
                "user" => reporter.message(&payload),
                "query" if !holds(payload.as_bytes(), member) => {
                    self.send("respond", &Respond { id, payload: &payload })?;
                }
                _ => {}
            }
        }
    }

    /// Sends a request and waits for its header. Returns its number.
    fn call(&mut self, command: &str, body: &impl Serialize) -> Result<u64, String> {
        let number = self.send(command, body)?;
        self.header()?;
        Ok(number)
    }

    fn send(&mut self, command: &str, body: &impl Serialize) -> Result<u64, String> {
        self.requests += 1;
        let mut bytes = Vec::new();
        let header = RequestHeader { command, seq: self.requests };
        for written in [write(&mut bytes, &header), write(&mut bytes, body)] {
            written.map_err(|error| error.to_string())?;
        }
        self.reader.get_mut().write_all(&bytes).map_err(|error| error.to_string())?;
        Ok(self.requests)
    }

    fn header(&mut self) -> Result<ReplyHeader, String> {
        let header: ReplyHeader = self.read()?;
        match header.error.is_empty() {
            true => Ok(header),
            false => Err(format!("serf refused: {}", header.error)),
        }
    }

    fn read<T: for<'a> Deserialize<'a>>(&mut self) -> Result<T, String> {
        from_read(&mut self.reader).map_err(|error| format!("serf's RPC: {error}"))
    }
}

fn write(bytes: &mut Vec<u8>, value: &impl Serialize) -> Result<(), rmp_serde::encode::Error> {
    value.serialize(&mut Serializer::new(bytes).with_struct_map())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RequestHeader<'a> {
    command: &'a str,
    seq: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Handshake {
    version: i32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct UserEvent<'a> {
    name: &'a str,
    payload: &'a str,
    coalesce: bool,
}

#[derive(Serialize)]
struct Query<'a> {
    #[serde(rename = "FilterNodes")]
    nodes: Vec<String>,
    #[serde(rename = "FilterTags")]
    tags: HashMap<String, String>,
    #[serde(rename = "RequestAck")]
    ack: bool,
    /// In nanoseconds; 0 for the default.
    #[serde(rename = "Timeout")]
    timeout: u64,
    #[serde(rename = "Name")]
    name: &'a str,
    #[serde(rename = "Payload")]
    payload: &'a str,
}

#[derive(Serialize)]
struct Stream<'a> {
    #[serde(rename = "Type")]
    kind: &'a str,
}

#[derive(Serialize)]
struct Respond<'a> {
    #[serde(rename = "ID")]
    id: u64,
    #[serde(rename = "Payload")]
    payload: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReplyHeader {
    seq: u64,
    error: String,
}

/// The records of a stream or a query. Payloads are text here.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Record {
    event: String,
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "ID")]
    id: u64,
    /// Not there at the end of a query.
    payload: Option<String>,
}

/// The name of all events and queries.
const NAME: &str = "bench";
