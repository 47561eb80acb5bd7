//! Texts of lines with a checksum: the form of the files that a node keeps, so that a torn one is noticed.

/// A text of lines: the format, these, and a checksum over all of that.
pub(crate) fn seal(format: &str, lines: impl Iterator<Item = String>) -> String {
    let mut text = format!("{format}\n");
    lines.for_each(|line| text.extend([&*line, "\n"]));
    let checksum = checksum(text.as_bytes());
    text + &format!("{checksum:016x}\n")
}

/// The values of the lines of a sealed text, if it is whole and `encode` makes exactly that text of them.
pub(crate) fn unseal<T>(
    format: &str,
    content: &[u8],
    decode_line: fn(&str) -> Option<T>,
    encode: fn(&[T]) -> String,
) -> Option<Vec<T>> {
    let text = std::str::from_utf8(content).ok()?;
    let (lines, _checksum) = text.strip_prefix(format)?.strip_suffix('\n')?.rsplit_once('\n')?;
    let said: Option<Vec<_>> = lines.lines().skip(1).map(decode_line).collect();
    said.filter(|said| text == encode(said))
}

/// FNV-1a, 64 bits: it is to find torn files, not forged ones.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
