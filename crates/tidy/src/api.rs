//! The types that a crate's public signatures mention, as far as its tokens show.

use std::collections::BTreeSet;

use crate::{Source, Token};

impl Source<'_> {
    /// The tokens of public signatures that name one of these crates, or something imported from it: in re-exports,
    /// functions, fields, enums, traits, constants, aliases, and headers of trait implementations.
    ///
    /// This reads tokens and resolves nothing. It therefore relies on `unreachable_pub`, so that `pub` means public, and
    /// does not see macros, the associated types of trait implementations, or such for types of other files.
    pub fn public_mentions(&self, crates: &BTreeSet<String>) -> Vec<&Token> {
        let foreign = self.foreign_names(crates);
        let mentions = |token: &&Token| foreign.contains(&*token.text);
        self.signatures().into_iter().flatten().filter(mentions).collect()
    }

    /// These crates, what is imported from them here, and aliases of either.
    fn foreign_names(&self, crates: &BTreeSet<String>) -> BTreeSet<&str> {
        let tokens = self.tokens();
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for (at, token) in tokens.iter().enumerate() {
            let follows_path = at > 0 && tokens[at - 1].text == "::";
            if follows_path || !crates.contains(&token.text) {
                continue;
            }
            names.insert(&tokens[at].text);
            if is_import(&tokens[..at]) {
                names.extend(imported_name(&tokens[at..]));
            }
        }
        for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.text == "type") {
            let end = at + until(&tokens[at..], &[";"]);
            let is_foreign = tokens[at..end].iter().any(|token| names.contains(&*token.text));
            if is_foreign && !token.is_test {
                names.extend(tokens.get(at + 1).map(|name| &*name.text));
            }
        }
        names
    }

    /// Whether this is the header of an implementation of a trait for a type that the file makes public.
    fn is_for_public(&self, header: &[Token]) -> bool {
        let mut after = header.iter().skip_while(|token| token.text != "for").skip(1);
        after.find(|token| token.text != "&").is_some_and(|name| {
            let is_public = |kind| self.find(&format!("pub {kind} {}", name.text)).next().is_some();
            is_public("struct") || is_public("enum")
        })
    }

    fn signatures(&self) -> Vec<&[Token]> {
        let tokens = self.tokens();
        let signature = |(at, token): (usize, &Token)| {
            let rest = &tokens[at..];
            let end = match token.text.as_str() {
                _ if token.is_test => return None,
                "pub" => public_signature(rest)?,
                "impl" if begins_item(&tokens[..at]) => {
                    let end = until(rest, &["{"]);
                    self.is_for_public(&rest[..end]).then_some(end)?
                }
                _ => return None,
            };
            Some(&rest[..end])
        };
        tokens.iter().enumerate().filter_map(signature).collect()
    }
}

/// Where the signature ends that begins with this `pub`; `None` if it is not public after all, or its parts are looked at
/// one by one.
fn public_signature(tokens: &[Token]) -> Option<usize> {
    let kind = tokens.iter().skip(1).find(|token| !matches!(&*token.text, "async" | "unsafe"))?;
    Some(match kind.text.as_str() {
        "(" | "mod" => return None,
        "use" | "type" => until(tokens, &[";"]),
        "enum" | "trait" => until(tokens, &["}"]) + 1,
        "struct" => until(tokens, &["{", "(", ";"]),
        "const" if tokens.iter().skip(1).take(3).all(|token| token.text != "fn") => {
            until(tokens, &["=", ";"])
        }
        "fn" | "const" => until(tokens, &["{", ";"]),
        // A field.
        _ => until(tokens, &[","]),
    })
}

/// How many tokens come before one of these outside of brackets, or before the end of the brackets that all are in.
fn until(tokens: &[Token], ends: &[&str]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        let text = token.text.as_str();
        if depth == 0 && ends.contains(&text) {
            return at;
        }
        match text {
            "(" | "[" | "{" | "<" => depth += 1,
            ">" if tokens[at - 1].text == "-" => {}
            ")" | "]" | "}" | ">" => depth -= 1,
            _ => {}
        }
        if depth < 0 || (depth == 0 && text == "}" && ends.contains(&"}")) {
            return at;
        }
    }
    tokens.len()
}

/// Whether a path that begins here is imported: `use` is before it, or before the braces that it is in.
fn is_import(before: &[Token]) -> bool {
    let start = before.iter().rposition(|token| matches!(&*token.text, "use" | ";" | "fn" | "="));
    start.is_some_and(|start| before[start].text == "use")
}

/// The name in this file of the path that begins here.
fn imported_name(path: &[Token]) -> Option<&str> {
    let end = path.iter().position(|token| matches!(&*token.text, "," | ";" | "}" | "{"))?;
    let name = path[..end].last().map(|token| token.text.as_str())?;
    // A module itself is used under its parent's name. Each path inside braces is looked at by itself.
    if name == "::" {
        return None;
    }
    if name == "self" {
        path[..end].iter().rev().nth(2).map(|token| &*token.text)
    } else {
        Some(name)
    }
}

fn begins_item(before: &[Token]) -> bool {
    before.last().is_none_or(|token| matches!(&*token.text, "}" | ";" | "]" | "unsafe" | "{"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::File;

    fn mentions(text: &str) -> Vec<usize> {
        let file = File { path: "src/a.rs".to_owned(), text: text.to_owned() };
        let source = Source::read(&file).unwrap();
        let crates = BTreeSet::from(["tokio".to_owned()]);
        source.public_mentions(&crates).into_iter().map(|token| token.line).collect()
    }

    #[test]
    fn what_is_public_is_looked_at_and_nothing_else() {
        for public in [
            "pub use tokio::sync::watch;",
            "pub fn f(a: tokio::time::Instant) {}",
            "use tokio::time::Instant; pub async fn f() -> Result<u8, Instant> {}",
            "use std::fmt; use tokio::{sync::{mpsc, watch::{self, Sender}}}; pub fn f(a: Sender<u8>);",
            "use tokio::{sync::{mpsc, watch::{self, Sender}}}; pub fn f(a: watch::Sender<u8>);",
            "use tokio::time::Instant as T; pub struct A { a: u8, pub b: Vec<T> }",
            "pub struct A(pub tokio::time::Instant);",
            "pub enum A { B, C(tokio::time::Instant) }",
            "pub trait A { fn f(&self) -> tokio::time::Instant; }",
            "type T = tokio::time::Instant; pub const A: T = f();",
            "pub type T = Vec<tokio::time::Instant>;",
            "pub struct A; impl From<tokio::time::Instant> for A { }",
            "pub enum A { B } impl<'a> tokio::T for A { }",
            "use tokio::time::Instant; impl A { pub fn f(&self, a: &mut Option<Instant>) {} }",
        ] {
            assert!(!mentions(public).is_empty(), "{public}");
        }
        for hidden in [
            "use tokio::time::Instant; pub fn f() { Instant::now() }",
            "pub struct A { a: tokio::time::Instant, pub b: std::time::Instant }",
            "pub struct A<'a>(tokio::time::Instant);",
            "pub(crate) fn f(a: tokio::time::Instant) {}",
            "use tokio::time::Instant; pub struct A { a: Instant } impl A { fn f(a: Instant) {} }",
            "pub const A: u8 = tokio::time::f();",
            "pub fn f() -> impl Future { tokio::time::sleep() }",
            "#[cfg(test)] mod tests { pub fn f(a: tokio::time::Instant) {} }",
            "struct A; impl From<tokio::time::Instant> for A { }",
            "pub fn f(a: my::tokio::Instant) {}",
            "/// Not `tokio`.\npub fn f() {}",
        ] {
            assert_eq!(mentions(hidden), [], "{hidden}");
        }
    }
}
