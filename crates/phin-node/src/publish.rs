//! `phin publish`: publishes a message to all members through a running node.

use phin::{Filter, Publication, Topic};

use crate::{
    client::{Client, Target, in_path},
    failure::Failure,
    input::bytes_of,
    message::Published,
    show::Form,
};

/// Publish a message to all members
///
/// The node at --http signs the message and sends it to all members. Those that subscribe to the topic receive it once, in order
/// with the node's other messages: see `phin watch --topic`. Success means that the message was sent, not that all have it.
/// Members that join later do not receive it.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  phin publish deploy/started v42\n  \
                        phin publish cache/flush users --filter role=web\n  \
                        tar c config | phin publish config -")]
pub(crate) struct Args {
    /// The topic of the message: 1 to 128 bytes, without spaces and invisible characters
    topic: Topic,
    /// The message, at most 64 KiB; `-` reads it from standard input
    #[arg(allow_negative_numbers = true)]
    text: String,
    /// Only for members whose tags match
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: Filter,
    /// Replace an earlier message of this node, topic and key where it still waits to be read
    #[arg(long, value_name = "KEY")]
    coalesce: Option<String>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn publish(args: &Args) -> Result<(), Failure> {
    let client = Client::new(&args.target)?;
    let body = bytes_of(&args.text, "a message to all", Publication::MAX_BODY_BYTES)?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("filter", &args.filter.to_string());
    if let Some(key) = &args.coalesce {
        query.append_pair("coalesce", key);
    }
    let path = format!("/v1/publish/{}?{}", in_path(args.topic.as_str()), query.finish());
    let published: Published = client.post_bytes(&path, &body)?;
    let Published { topic, sequence, bytes } = &published;
    let text = format!("published to {topic}, {bytes} bytes, number {sequence}");
    args.form.print(&published, &text)
}
