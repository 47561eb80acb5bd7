//! The trace of a run: a hash of all deliveries and notices, and its text if requested.

use std::{fmt, io::Write};

use crate::node::Instant;

/// A 64-bit hash over words in order, mixed with SplitMix64's finaliser; the same on every machine.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TraceHash(u64);

impl TraceHash {
    /// Adds a word.
    pub const fn word(&mut self, word: u64) {
        self.0 = mix(self.0 ^ word);
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
        self.word(bytes.len() as u64);
    }
}

impl TraceHash {
    pub(crate) const fn value(self) -> u64 {
        self.0
    }
}

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// SplitMix64's finaliser.
pub(crate) const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Collects the hash, and writes lines if requested.
#[derive(Default)]
pub(crate) struct Trace {
    pub(crate) hash: TraceHash,
    writer: Option<Box<dyn Write + Send>>,
}

impl Trace {
    pub(crate) fn write_to(&mut self, writer: Box<dyn Write + Send>) {
        self.writer = Some(writer);
    }

    pub(crate) const fn is_read(&self) -> bool {
        self.writer.is_some()
    }

    /// Writes a line if requested. After an error, writes no more.
    pub(crate) fn line(&mut self, at: Instant, text: fmt::Arguments<'_>) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        let time = at.since_start();
        let (seconds, micros) = (time.as_secs(), time.subsec_micros());
        if writeln!(writer, "{seconds:5}.{micros:06}s {text}").is_err() {
            self.writer = None;
        }
    }
}
