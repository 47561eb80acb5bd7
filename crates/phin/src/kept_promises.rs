//! The promises of this node as a voter, as it keeps them for its next run.

use std::time::Duration;

use phin_swim::{Generation, Promise, Promises, Term};

use crate::sealed::{seal, unseal};

/// The text of a file: a line with the floor, and one for each promise.
pub(crate) fn encode(promises: &Promises) -> String {
    let floor = std::iter::once(Line::Floor(promises.floor));
    let lines: Vec<_> = floor.chain(promises.of.iter().cloned().map(Line::Promise)).collect();
    encode_lines(&lines)
}

/// The promises in a file that is whole and exactly as [`encode`] makes it.
pub(crate) fn decode(content: &[u8]) -> Option<Promises> {
    let mut promises = Promises::default();
    for line in unseal(FORMAT, content, decode_line, encode_lines)? {
        match line {
            Line::Floor(floor) => promises.floor = floor,
            Line::Promise(promise) => promises.of.push(promise),
        }
    }
    Some(promises)
}

enum Line {
    Floor(Term),
    Promise(Promise),
}

fn encode_lines(lines: &[Line]) -> String {
    seal(FORMAT, lines.iter().map(encode_line))
}

fn encode_line(line: &Line) -> String {
    match line {
        Line::Floor(term) => format!("floor {term}"),
        Line::Promise(Promise { office, term, candidate, generation, lease }) => {
            format!("{office} {term} {candidate} {} {}", generation.0, lease.as_millis())
        }
    }
}

fn decode_line(line: &str) -> Option<Line> {
    let mut words = line.split(' ');
    let mut word = || words.next();
    let (office, term) = (word()?, Term(word()?.parse().ok()?));
    let Some(candidate) = word() else {
        return Some(Line::Floor(term));
    };
    Some(Line::Promise(Promise {
        office: office.parse().ok()?,
        term,
        candidate: candidate.parse().ok()?,
        generation: Generation(word()?.parse().ok()?),
        lease: Duration::from_millis(word()?.parse().ok()?),
    }))
}

/// No file is longer: 1,024 offices of at most 64 bytes, each with a term, an id and two more numbers.
pub(crate) const MAX_FILE_BYTES: u64 = 1_100 * 192;
const FORMAT: &str = "phin-promises 1";

#[cfg(test)]
mod tests {
    use phin_swim::MemberId;

    use super::*;

    fn promises() -> Promises {
        let promise = |office: &str, term| Promise {
            office: office.parse().unwrap(),
            term: Term(term),
            candidate: MemberId([7; 16]),
            generation: Generation(u32::MAX),
            lease: Duration::from_millis(2_000),
        };
        Promises { floor: Term(3), of: vec![promise("floor", 1), promise("größe", u64::MAX)] }
    }

    #[test]
    fn promises_survive_their_text() {
        for promises in [Promises::default(), promises()] {
            let text = encode(&promises);
            assert_eq!(decode(text.as_bytes()), Some(promises));
            assert!(text.len() as u64 <= MAX_FILE_BYTES);
        }
    }

    #[test]
    fn a_torn_or_changed_file_is_not_read() {
        let text = encode(&promises());
        for length in 0..text.len() {
            assert_eq!(decode(&text.as_bytes()[..length]), None);
        }
        assert_eq!(decode(text.replace("floor 1", "floor 2").as_bytes()), None);
    }
}
