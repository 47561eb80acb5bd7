//! Checks objects against the fields that Kubernetes knows. A field with a slip in its name would be refused, or ignored.

use std::collections::BTreeMap;

use serde_yaml_ng::Value;

/// The fields of each type.
pub(super) struct Fields(BTreeMap<&'static str, BTreeMap<&'static str, Field>>);

struct Field {
    holds: &'static str,
    is_required: bool,
}

impl Fields {
    pub(super) fn read() -> Self {
        let mut types = BTreeMap::<_, BTreeMap<_, _>>::new();
        let lines = include_str!("fields.txt").lines().filter(|line| !line.starts_with('#'));
        for line in lines {
            let (path, holds) = line.split_once(' ').unwrap();
            let (of, field) = path.split_once('.').unwrap();
            let name = field.trim_end_matches('!');
            types.entry(of).or_default().insert(name, Field { holds, is_required: name != field });
        }
        Self(types)
    }

    /// The mistakes in an object of this type, with the path of each place.
    pub(super) fn problems(&self, object: &Value, of: &str, path: &str) -> Vec<String> {
        let wrong = |what: &str| vec![format!("{path}: {what}")];
        if let Some(inner) = of.strip_prefix('[').and_then(|of| of.strip_suffix(']')) {
            let Some(list) = object.as_sequence() else { return wrong("is no list") };
            let each = list.iter().enumerate();
            return each
                .flat_map(|(at, v)| self.problems(v, inner, &format!("{path}[{at}]")))
                .collect();
        }
        if let Some(inner) = of.strip_prefix('{').and_then(|of| of.strip_suffix('}')) {
            let Some(map) = object.as_mapping() else { return wrong("is no map") };
            let each = map.iter().filter_map(|(key, value)| Some((key.as_str()?, value)));
            return each
                .flat_map(|(key, v)| self.problems(v, inner, &format!("{path}.{key}")))
                .collect();
        }
        match self.0.get(of) {
            Some(fields) => self.of_type(object, fields, path),
            None if of.split('|').any(|of| is_plain(object, of)) => Vec::new(),
            None => wrong(&format!("is no {of}: {object:?}")),
        }
    }

    fn of_type(
        &self,
        object: &Value,
        fields: &BTreeMap<&'static str, Field>,
        path: &str,
    ) -> Vec<String> {
        let Some(map) = object.as_mapping() else { return vec![format!("{path}: is no object")] };
        let mut problems = Vec::new();
        for (key, value) in map {
            let key = key.as_str().unwrap_or("?");
            match fields.get(key) {
                Some(field) => {
                    problems.extend(self.problems(value, field.holds, &format!("{path}.{key}")));
                }
                None => problems.push(format!("{path}: has no field {key}")),
            }
        }
        let missing =
            fields.iter().filter(|(name, field)| field.is_required && map.get(name).is_none());
        problems.extend(missing.map(|(name, _)| format!("{path}: lacks {name}")));
        problems
    }
}

fn is_plain(value: &Value, of: &str) -> bool {
    match of {
        "string" => value.is_string(),
        // An octal number, which the parser of these tests takes for a text.
        "integer" => value.is_i64() || value.as_str().is_some_and(|text| octal(text).is_some()),
        "boolean" => value.is_bool(),
        _ => false,
    }
}

/// A number such as 0440, as YAML 1.1 has it.
pub(super) fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix('0')?, 8).ok()
}

#[test]
fn slips_are_found() {
    let fields = Fields::read();
    let problems = |text: &str| {
        let object = serde_yaml_ng::from_str(text).unwrap();
        fields.problems(&object, "Probe", "probe")
    };
    assert!(problems("httpGet: {path: /livez, port: http}\nperiodSeconds: 1").is_empty());
    let cases = [
        ("httpGet: {path: /livez}", "probe.httpGet: lacks port"),
        ("httpget: {path: /livez, port: 1}", "probe: has no field httpget"),
        ("periodSeconds: 1s", "probe.periodSeconds: is no integer: String(\"1s\")"),
        ("exec: {command: phin}", "probe.exec.command: is no list"),
        ("httpGet: 1", "probe.httpGet: is no object"),
    ];
    for (text, expected) in cases {
        assert_eq!(problems(text), [expected], "{text}");
    }
}
