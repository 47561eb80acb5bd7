//! This node's own data, as it keeps it for its next run.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use phin_swim::MemberData;

use crate::sealed::{seal, unseal};

/// A key of this node's data.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct KeptEntry {
    pub(crate) key: String,
    pub(crate) value: Arc<[u8]>,
    /// In whole milliseconds.
    pub(crate) expires_at: Option<SystemTime>,
}

/// The text of a file with a line for each key.
pub(crate) fn encode(entries: &[KeptEntry]) -> String {
    seal(FORMAT, entries.iter().map(encode_line))
}

/// The entries in a file that is whole and exactly as [`encode`] makes it.
pub(crate) fn decode(content: &[u8]) -> Option<Vec<KeptEntry>> {
    unseal(FORMAT, content, decode_line, encode)
}

fn encode_line(KeptEntry { key, value, expires_at }: &KeptEntry) -> String {
    let since_epoch = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let expires_at =
        expires_at.map_or(NEVER.to_owned(), |at| since_epoch(at).as_millis().to_string());
    let value: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{expires_at} {key} {value}")
}

fn decode_line(line: &str) -> Option<KeptEntry> {
    let mut words = line.splitn(3, ' ');
    let expires_at = match words.next()? {
        NEVER => None,
        millis => Some(UNIX_EPOCH.checked_add(Duration::from_millis(millis.parse().ok()?))?),
    };
    let (key, value) = (words.next()?.to_owned(), words.next()?);
    let digits = value.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes = digits.map(|pair| u8::from_str_radix(pair?, 16).ok());
    Some(KeptEntry { key, value: bytes.collect::<Option<_>>()?, expires_at })
}

/// No file is longer: two digits for each byte of a value, and of each key itself, its expiry, and two spaces and a line feed.
pub(crate) const MAX_FILE_BYTES: u64 =
    (2 * MemberData::MAX_BYTES + 64 * MemberData::MAX_KEYS) as u64;
const FORMAT: &str = "phin-data 1";
const NEVER: &str = "-";

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<KeptEntry> {
        let entry = |key: &str, value: &[u8], expires_at| KeptEntry {
            key: key.to_owned(),
            value: value.into(),
            expires_at,
        };
        let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        vec![
            entry("port", b"80", None),
            entry("lease/a", b"\0\xff\n", Some(at)),
            entry("empty", b"", None),
        ]
    }

    #[test]
    fn entries_survive_their_text() {
        for count in 0..=3 {
            let entries = &entries()[..count];
            assert_eq!(decode(encode(entries).as_bytes()).as_deref(), Some(entries));
        }
        assert!(encode(&entries()).contains("\n- port 3830\n1700000000123 lease/a 00ff0a\n"));
    }

    #[test]
    fn any_single_damage_is_found() {
        let whole = encode(&entries()).into_bytes();
        for end in 0..whole.len() {
            assert_eq!(decode(&whole[..end]), None, "torn after {end} bytes");
        }
        for place in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[place] ^= 1 << bit;
                assert_eq!(decode(&damaged), None, "bit {bit} of byte {place} is turned");
            }
        }
    }

    #[test]
    fn the_longest_data_fits_the_longest_file() {
        let value = vec![0; MemberData::MAX_BYTES / MemberData::MAX_KEYS - 4];
        let entry = |number: usize| KeptEntry {
            key: format!("{number:04}"),
            value: value.as_slice().into(),
            expires_at: Some(UNIX_EPOCH + Duration::from_millis(u64::MAX / 1_000)),
        };
        let entries: Vec<_> = (0..MemberData::MAX_KEYS).map(entry).collect();
        assert!(encode(&entries).len() as u64 <= MAX_FILE_BYTES);
    }
}
