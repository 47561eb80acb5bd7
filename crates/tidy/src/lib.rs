//! Reads the workspace for the checks in `tests/promises`: its files, its Rust as tokens, its tables in Markdown.
//!
//! The checks keep the promises that no compiler keeps and that would rot unseen. Where a rule has to be broken, the
//! line or the one above it says so in a comment, with a reason: `tidy: allow RULE: REASON`. In a `//!` comment that
//! holds for the whole file.

mod api;
mod files;
mod markdown;
mod source;

pub use files::{File, Violations, files, root};
pub use markdown::{Row, table};
pub use source::{Source, Token, check_sources};
