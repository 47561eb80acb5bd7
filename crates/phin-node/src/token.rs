//! Bearer tokens of the HTTP interface (RFC 6750).

use std::{fmt, path::Path};

use subtle::{Choice, ConstantTimeEq};

use crate::private_file::{self, PrivateFileError};

/// One or more tokens. A node accepts each of them; a command sends the first.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Tokens(Vec<String>);

/// Why a text has no tokens. The errors do not repeat it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("{path}: {source}")]
    Malformed { path: String, source: Malformed },
    #[error(transparent)]
    File(#[from] PrivateFileError),
}

/// A text that has no tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("there is no token; `phin key token` makes one")]
    Empty,
    #[error("there are more than {MAX_TOKENS} tokens")]
    TooMany,
    #[error(
        "token {number} has {found} characters; allowed are {MIN_CHARS} to {MAX_CHARS}, such as those of `phin key token`"
    )]
    Length { number: usize, found: usize },
    #[error("token {number} contains a character that is no letter, digit or one of -._~+/=")]
    Character { number: usize },
}

impl Tokens {
    /// Parses tokens with white space between them. `#` begins a comment, up to the end of its line.
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let mut tokens = Vec::new();
        for (number, token) in (1..).zip(lines.flat_map(str::split_whitespace)) {
            if number > MAX_TOKENS {
                return Err(Malformed::TooMany);
            }
            if !(MIN_CHARS..=MAX_CHARS).contains(&token.len()) {
                return Err(Malformed::Length { number, found: token.chars().count() });
            }
            if !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
            {
                return Err(Malformed::Character { number });
            }
            tokens.push(token.to_owned());
        }
        if tokens.is_empty() { Err(Malformed::Empty) } else { Ok(Self(tokens)) }
    }

    /// Reads a file that only its owner can read.
    pub(crate) fn read(path: &Path) -> Result<Self, TokenError> {
        let malformed = |source| TokenError::Malformed { path: path.display().to_string(), source };
        Self::parse(&private_file::read(path)?).map_err(malformed)
    }

    /// The token that a command sends.
    pub(crate) fn first(&self) -> &str {
        &self.0[0]
    }

    /// Whether this is one of the tokens. The time that this takes depends only on the lengths (CWE-208).
    pub(crate) fn admit(&self, given: &str) -> bool {
        let matches = self.0.iter().map(|token| token.as_bytes().ct_eq(given.as_bytes()));
        matches.fold(Choice::from(0), |any, one| any | one).into()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

/// Enough that guessing is hopeless, at the rate that a node answers.
const MIN_CHARS: usize = 16;
const MAX_CHARS: usize = 512;
/// More than a rotation needs.
const MAX_TOKENS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_of_a_file_is_admitted_and_the_first_is_sent() {
        let tokens = Tokens::parse("new-0123456789abc # since May\n\n# old\nold-0123456789abc\n");
        let tokens = tokens.unwrap();
        assert_eq!(tokens.first(), "new-0123456789abc");
        assert!(tokens.admit("new-0123456789abc") && tokens.admit("old-0123456789abc"));
        for other in ["", "new-0123456789ab", "new-0123456789abd", "new-0123456789abc "] {
            assert!(!tokens.admit(other), "{other:?}");
        }
        assert!(!format!("{tokens:?}").contains("0123"));
    }

    #[test]
    fn a_text_that_is_no_token_says_why_and_is_not_repeated() {
        let long = "x".repeat(513);
        let many = "0123456789abcdef ".repeat(9);
        for (text, expected) in [
            ("", Malformed::Empty),
            (" # 0123456789abcdef\n", Malformed::Empty),
            ("0123456789abcde", Malformed::Length { number: 1, found: 15 }),
            (&long, Malformed::Length { number: 1, found: 513 }),
            ("0123456789abcdef 0123456789\u{e4}bcdef", Malformed::Character { number: 2 }),
            (&many, Malformed::TooMany),
        ] {
            let error = Tokens::parse(text).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.to_string().contains("0123"), "{error}");
        }
    }
}
