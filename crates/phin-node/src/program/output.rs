//! Logging the output of a program.

use std::path::Path;

use tracing::{debug, warn};

/// Takes the output of a program, piece by piece. It keeps a limited part.
pub(crate) trait Sink: Send {
    /// Returns the number of bytes that it keeps; it discards the others.
    fn take(&mut self, bytes: &[u8]) -> usize;
}

/// Keeps the beginning of the output.
pub(super) struct Captured {
    bytes: Vec<u8>,
    max_bytes: usize,
}

/// Logs the output line by line. Beyond a limit, it is discarded, and a last line of the log reports how much. On drop, the
/// rest is logged.
pub(crate) struct Logged {
    log: Box<dyn FnMut(Logging<'_>) + Send>,
    /// The line in progress.
    line: Vec<u8>,
    /// Bytes that were logged, or are in the line in progress.
    lines: usize,
    bytes: usize,
    discarded_bytes: u64,
}

/// A line to be logged.
enum Logging<'a> {
    Line(&'a str),
    Discarded { bytes: u64 },
}

impl Captured {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { bytes: Vec::new(), max_bytes }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Sink for Captured {
    fn take(&mut self, bytes: &[u8]) -> usize {
        let kept = bytes.len().min(self.max_bytes - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..kept]);
        kept
    }
}

impl Logged {
    fn new(log: impl FnMut(Logging<'_>) + Send + 'static) -> Self {
        let (lines, bytes, discarded_bytes) = (0, 0, 0);
        Self { log: Box::new(log), line: Vec::new(), lines, bytes, discarded_bytes }
    }

    /// Logs standard output at `debug`.
    pub(crate) fn stdout(program: &Path) -> Self {
        let program = program.display().to_string();
        Self::new(move |logging| match logging {
            Logging::Line(line) => debug!(program, line, "output of a program"),
            Logging::Discarded { bytes } => {
                debug!(program, bytes, "further output of a program is discarded");
            }
        })
    }

    /// Logs standard error at `warn`.
    pub(crate) fn stderr(program: &Path) -> Self {
        let program = program.display().to_string();
        Self::new(move |logging| match logging {
            Logging::Line(line) => warn!(program, line, "error output of a program"),
            Logging::Discarded { bytes } => {
                warn!(program, bytes, "further error output of a program is discarded");
            }
        })
    }

    /// Adds to the line in progress what has room.
    fn extend(&mut self, piece: &[u8]) -> usize {
        let room = match self.lines {
            MAX_LINES => 0,
            _ => (MAX_LINE_BYTES - self.line.len()).min(MAX_BYTES - self.bytes),
        };
        let kept = piece.len().min(room);
        self.line.extend_from_slice(&piece[..kept]);
        self.bytes += kept;
        self.discarded_bytes += (piece.len() - kept) as u64;
        kept
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim_end();
        if !line.is_empty() {
            (self.log)(Logging::Line(line));
            self.lines += 1;
        }
        self.line.clear();
    }
}

impl Sink for Logged {
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut kept = 0;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            kept += self.extend(piece);
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
        kept
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.end_line();
        if self.discarded_bytes > 0 {
            (self.log)(Logging::Discarded { bytes: self.discarded_bytes });
        }
    }
}

/// Bytes of a line that are logged; the rest of it is discarded.
const MAX_LINE_BYTES: usize = 4 * 1_024;
/// Lines and bytes of each stream that are logged in one run. The log itself holds 256 lines for a slow reader.
const MAX_LINES: usize = 64;
const MAX_BYTES: usize = 64 * 1_024;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// The lines logged for output that comes in these pieces.
    fn logged(pieces: &[&[u8]]) -> (Vec<String>, u64) {
        let all = Arc::new(Mutex::new((Vec::new(), 0)));
        let seen = Arc::clone(&all);
        let mut sink = Logged::new(move |logging| match logging {
            Logging::Line(line) => seen.lock().unwrap().0.push(line.to_owned()),
            Logging::Discarded { bytes } => seen.lock().unwrap().1 += bytes,
        });
        for piece in pieces {
            sink.take(piece);
        }
        drop(sink);
        Arc::try_unwrap(all).unwrap().into_inner().unwrap()
    }

    #[test]
    fn lines_are_logged_whole_in_whatever_pieces_they_come() {
        let (lines, discarded) = logged(&[b"one\r\n\ntw", b"o\nthree", b" \xff"]);
        assert_eq!(
            (&lines[..], discarded),
            (&["one", "two", "three \u{fffd}"].map(str::to_owned)[..], 0)
        );
        assert_eq!(logged(&[]), (Vec::new(), 0));
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_logged() {
        let long = [vec![b'x'; MAX_LINE_BYTES + 1_000], b"\nnext\n".to_vec()].concat();
        let (lines, discarded) = logged(&[&long]);
        assert_eq!(lines, ["x".repeat(MAX_LINE_BYTES), "next".into()]);
        // The line feed too.
        assert_eq!(discarded, 1_001);
    }

    #[test]
    fn a_flood_is_counted_and_not_logged() {
        let (lines, discarded) = logged(&[&b"spam\n".repeat(100_000)]);
        assert_eq!((lines.len(), discarded), (MAX_LINES, (100_000 - MAX_LINES as u64) * 5));
        // Without any line feed, and of nothing else.
        for byte in [b'x', b'\n'] {
            let (lines, discarded) = logged(&vec![&[byte; 1_000][..]; 1_000]);
            let kept: usize = lines.iter().map(String::len).sum();
            assert!(kept <= MAX_LINE_BYTES && discarded >= 1_000_000 - MAX_BYTES as u64, "{byte}");
        }
    }

    #[test]
    fn the_beginning_is_captured() {
        let mut captured = Captured::new(5);
        let kept = [&b"abc"[..], b"defg", b"h"].map(|piece| captured.take(piece));
        assert_eq!(kept, [3, 2, 0]);
        assert_eq!(captured.into_bytes(), b"abcde");
    }
}
