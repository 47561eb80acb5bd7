//! [`RecentLines`]: the last log lines, for a bundle of diagnostics.

use std::collections::VecDeque;

/// The last log lines: at most [`MAX_LINES`], and [`MAX_BYTES`] together. The oldest are dropped.
#[derive(Debug, Default)]
pub(super) struct RecentLines {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl RecentLines {
    /// Adds a line, without its colours, and cut if it is longer than [`MAX_LINE_BYTES`].
    pub(super) fn push(&mut self, line: &[u8]) {
        let mut line = without_colours(line);
        if line.len() > MAX_LINE_BYTES {
            line.truncate(MAX_LINE_BYTES - 1);
            line.push(b'\n');
        }
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > MAX_LINES || self.bytes > MAX_BYTES {
            let dropped = self.lines.pop_front();
            self.bytes -= dropped.map_or(0, |line| line.len());
        }
    }

    /// All of them, the oldest first.
    pub(super) fn to_text(&self) -> String {
        let bytes: Vec<u8> = self.lines.iter().flatten().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A line without the sequences that colour it (ECMA-48 §5.4).
fn without_colours(line: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.windows(2).position(|two| two == b"\x1b[") {
        plain.extend_from_slice(&rest[..at]);
        let sequence = &rest[at + 2..];
        let end = sequence.iter().position(|byte| (0x40..=0x7e).contains(byte));
        rest = end.map_or(&[], |end| &sequence[end + 1..]);
    }
    plain.extend_from_slice(rest);
    plain
}

const MAX_LINES: usize = 2_000;
const MAX_BYTES: usize = 512 * 1024;
const MAX_LINE_BYTES: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_within_limits_and_without_colours() {
        let mut recent = RecentLines::default();
        recent.push(b"\x1b[2m2026\x1b[0m \x1b[32m INFO\x1b[0m node started\n");
        assert_eq!(recent.to_text(), "2026  INFO node started\n");
        for number in 0..MAX_LINES + 5 {
            recent.push(format!("line {number}\n").as_bytes());
        }
        let text = recent.to_text();
        assert!(text.starts_with("line 5\n") && text.ends_with("line 2004\n"), "{text}");
        for _ in 0..MAX_LINES {
            recent.push(&[b'x'; 2 * MAX_LINE_BYTES]);
        }
        let text = recent.to_text();
        assert_eq!((text.len(), text.len()), (MAX_BYTES, recent.bytes));
        assert!(text.lines().all(|line| line.len() == MAX_LINE_BYTES - 1));
    }
}
