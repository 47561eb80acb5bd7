//! Reads the workspace for the checks in `tests/promises`: its files, its Rust as tokens, its tables in Markdown.
//!
//! The checks enforce rules that no compiler enforces. To break a rule, give the reason in a comment on that line or
//! the one above it: `tidy: allow RULE: REASON`. In a `//!` comment it holds for the whole file.

mod api;
mod files;
mod markdown;
mod source;

pub use files::{File, Violations, files, root};
pub use markdown::{Row, table};
pub use source::{Source, Token, check_sources};
