//! The statements of administrators that a node has, as it keeps them for its next run.

use std::sync::Arc;

use phin_swim::{AdminStatement, Expelling};

use crate::sealed::{seal, unseal};

/// The text of a file with a line for each statement.
pub(crate) fn encode(statements: &[Arc<AdminStatement>]) -> String {
    seal(FORMAT, statements.iter().map(|statement| encode_line(statement)))
}

/// The statements in a file that is whole and exactly as [`encode`] makes it. Their signatures are checked by the core.
pub(crate) fn decode(content: &[u8]) -> Option<Vec<AdminStatement>> {
    let statements = unseal(FORMAT, content, decode_line, encode)?;
    Some(statements.into_iter().map(Arc::unwrap_or_clone).collect())
}

fn encode_line(statement: &AdminStatement) -> String {
    statement.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decode_line(line: &str) -> Option<Arc<AdminStatement>> {
    let digits = line.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes = digits.map(|pair| u8::from_str_radix(pair?, 16).ok());
    AdminStatement::from_bytes(&bytes.collect::<Option<Vec<_>>>()?).map(Arc::new)
}

/// No file is longer: two digits for each byte of as many statements as there may be, and a line feed.
pub(crate) const MAX_FILE_BYTES: u64 =
    (Expelling::MAX_STATEMENTS * (2 * AdminStatement::MAX_BYTES + 1) + 64) as u64;
const FORMAT: &str = "phin-expulsions 1";

#[cfg(test)]
mod tests {
    use phin_swim::{MemberId, Standing};

    use super::*;
    use crate::AdminKey;

    #[test]
    fn statements_survive_their_text_and_a_torn_file_is_not_read() {
        let key = AdminKey::generate();
        let of = |number, standing| {
            Arc::new(key.sign(AdminStatement::new([1; 8], MemberId([number; 16]), standing, 7)))
        };
        let statements = [of(1, Standing::Expelled), of(2, Standing::Readmitted)];
        for count in 0..=2 {
            let text = encode(&statements[..count]);
            let found = decode(text.as_bytes()).unwrap();
            assert!(found.iter().eq(statements[..count].iter().map(|one| &**one)));
            for length in 0..text.len() {
                assert_eq!(decode(&text.as_bytes()[..length]), None);
            }
        }
    }
}
