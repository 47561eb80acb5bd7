//! `phin send`: sends a message to one member through a running node.

use std::time::Duration;

use phin::{Message, Topic};

use crate::{
    client::{Client, Target, in_path},
    failure::Failure,
    http::send::MAX_SEND_TIMEOUT,
    input::bytes_of,
    message::Delivered,
    show::Form,
};

/// Send a message to one member, and wait until its application has taken it
///
/// Success means that a subscription of the topic at the member has the message in its queue, such as an application, or a
/// `phin watch --topic` there. Otherwise the error names the reason: no subscription, a full queue, the member died, left, was
/// restarted, or did not answer in time.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin send n2 jobs/resize 'image 17'\n  \
                        phin send n2 config - --timeout 2s < config.bin")]
pub(crate) struct Args {
    /// The member's name, its id, or the first 8 digits of its id or more
    member: String,
    /// The topic of the message: 1 to 128 bytes, without spaces and invisible characters
    topic: Topic,
    /// The message, at most 16 MiB; `-` reads it from standard input
    #[arg(allow_negative_numbers = true)]
    text: String,
    /// How long to wait for the member, such as 2s; at most 1m [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = timeout, conflicts_with = "datagram")]
    timeout: Option<Duration>,
    /// Only for this run of the member's process; default: the one in the list
    #[arg(long, value_name = "NUMBER", conflicts_with = "datagram")]
    generation: Option<u32>,
    /// Send one packet that may be lost, and wait for nothing; about 1,000 bytes fit
    #[arg(long)]
    datagram: bool,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn send(args: &Args) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let body = bytes_of(&args.text, "a message to one member", Message::MAX_SENT_BYTES)?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(timeout) = args.timeout {
        query.append_pair("timeout", &humantime::format_duration(timeout).to_string());
    }
    if let Some(generation) = args.generation {
        query.append_pair("generation", &generation.to_string());
    }
    if args.datagram {
        query.append_pair("datagram", "true");
    }
    let (member, topic) = (in_path(&args.member), in_path(args.topic.as_str()));
    let path = format!("/v1/send/{member}/{topic}?{}", query.finish());
    let answer: Delivered = client.post_bytes(&path, &body)?;
    let Delivered { delivered, member, bytes, .. } = &answer;
    let (to, how) = (member.label(), if delivered.is_some() { "delivered" } else { "sent" });
    args.form.print(&answer, &format!("{how} to {to}, {bytes} bytes"))
}

fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(timeout) if timeout <= MAX_SEND_TIMEOUT => Ok(timeout),
        Ok(_) | Err(_) => Err("expected a duration up to 1m, such as 2s".to_owned()),
    }
}
