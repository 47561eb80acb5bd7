//! The changes of an update, in words for the log.

use phin_swim::{Event, Member};

/// The fields that changed, each as `name: before -> after`.
pub(crate) fn changes(event: &Event) -> String {
    let Some(before) = &event.before else { return String::new() };
    let changed = FIELDS.iter().filter_map(|(name, field)| {
        let (before, after) = (field(before), field(&event.member));
        (before != after).then(|| format!("{name}: {before} -> {after}"))
    });
    changed.collect::<Vec<_>>().join("; ")
}

type Field = (&'static str, fn(&Member) -> String);

const FIELDS: [Field; 4] = [
    ("name", |member| member.name().to_owned()),
    ("addr", |member| member.addr().to_string()),
    ("tags", tags),
    ("serving", |member| member.serving().to_string()),
];

fn tags(member: &Member) -> String {
    let tags: Vec<_> = member.tags().map(|(key, value)| format!("{key}={value}")).collect();
    if tags.is_empty() { "none".to_owned() } else { tags.join(",") }
}
