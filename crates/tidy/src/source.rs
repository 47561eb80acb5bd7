//! Rust source as a flat list of tokens, in which neither comments nor the insides of strings can be mistaken for code.

use proc_macro2::{Delimiter, Group, LexError, Spacing, TokenStream, TokenTree};

use crate::{File, Violations, files};

/// One token: a word, a mark, a bracket, or a literal. `::` and `=>` are one token each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    /// As it is written.
    pub text: String,
    /// On which line it stands.
    pub line: usize,
    /// Whether it belongs to a test: to a file of tests, or an item under `#[cfg(test)]`.
    pub is_test: bool,
}

/// A Rust file, read.
#[derive(Debug)]
pub struct Source<'a> {
    file: &'a File,
    tokens: Vec<Token>,
}

impl<'a> Source<'a> {
    /// Reads a file.
    ///
    /// # Errors
    /// If the file is not Rust.
    pub fn read(file: &'a File) -> Result<Self, LexError> {
        let mut tokens = Tokens { list: Vec::new(), is_test: file.is_test() };
        tokens.extend(file.text.parse()?);
        Ok(Self { file, tokens: tokens.list })
    }

    /// The first tokens of each occurrence of this sequence of tokens, which are separated by spaces.
    pub fn find<'s>(&'s self, pattern: &'s str) -> impl Iterator<Item = &'s Token> {
        self.positions(pattern).map(|position| &self.tokens[position])
    }

    /// The token before one of [`Source::find`].
    pub fn before(&self, token: &Token) -> Option<&Token> {
        let position = self.tokens.iter().position(|other| std::ptr::eq(other, token))?;
        self.tokens.get(position.checked_sub(1)?)
    }

    /// Whether the line, the one above it, or the file as a whole says that this rule may be broken, and why.
    pub fn allows(&self, rule: &str, line: usize) -> bool {
        let marker = format!("tidy: allow {rule}: ");
        let is_marked = |text: &str| {
            let comment = text.find("//").map(|start| &text[start..]);
            comment.and_then(|c| c.split_once(&marker)).is_some_and(|(_, why)| !why.is_empty())
        };
        self.file.text.lines().enumerate().any(|(index, text)| {
            let is_near = index + 1 == line || index + 2 == line || text.starts_with("//!");
            is_near && is_marked(text)
        })
    }

    /// The variants of an enum with their lines; empty without such an enum.
    pub fn variants(&self, name: &str) -> Vec<(&str, usize)> {
        let Some(start) = self.positions(&format!("enum {name} {{")).next() else {
            return Vec::new();
        };
        let mut variants = Vec::new();
        let (mut depth, mut is_named) = (0, false);
        for token in &self.tokens[start + 3..] {
            match token.text.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" if depth == 0 => break,
                "}" | ")" | "]" => depth -= 1,
                "," if depth == 0 => is_named = false,
                "#" => {}
                word if depth == 0 && !is_named => {
                    variants.push((word, token.line));
                    is_named = true;
                }
                _ => {}
            }
        }
        variants
    }

    /// The number that a function with this name, matching on `Self::…`, gives a variant.
    pub fn number_of(&self, function: &str, variant: &str) -> Option<&str> {
        let start = self.positions(&format!("fn {function} (")).next()?;
        let body = &self.tokens[start..];
        let arm = body
            .windows(3)
            .position(|w| w[0].text == "Self" && w[1].text == "::" && w[2].text == variant)?;
        let arrow = body[arm..].iter().position(|token| token.text == "=>")?;
        Some(&body.get(arm + arrow + 1)?.text)
    }

    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    fn positions(&self, pattern: &str) -> impl Iterator<Item = usize> {
        let pattern: Vec<_> = pattern.split(' ').map(str::to_owned).collect();
        let windows = self.tokens.windows(pattern.len()).enumerate();
        windows
            .filter(move |(_, window)| window.iter().map(|token| &token.text).eq(&pattern))
            .map(|(position, _)| position)
    }
}

/// Checks every Rust file of the workspace; one that is not Rust fails too.
///
/// # Panics
/// Names all violations.
#[track_caller]
pub fn check_sources(check: impl Fn(&File, &Source<'_>, &mut Violations)) {
    let mut violations = Violations::default();
    for file in files().iter().filter(|file| file.is_rust()) {
        match Source::read(file) {
            Ok(source) => check(file, &source, &mut violations),
            Err(error) => {
                violations.add(&file.path, error.span().start().line, "this is not Rust");
            }
        }
    }
    violations.assert_none();
}

struct Tokens {
    list: Vec<Token>,
    is_test: bool,
}

impl Tokens {
    fn extend(&mut self, stream: TokenStream) {
        let was_test = self.is_test;
        let mut trees = stream.into_iter().peekable();
        while let Some(tree) = trees.next() {
            match tree {
                TokenTree::Punct(mark) => {
                    let is_pair = mark.spacing() == Spacing::Joint
                        && matches!(trees.peek(), Some(TokenTree::Punct(next))
                            if matches!((mark.as_char(), next.as_char()), (':', ':') | ('=', '>')));
                    let second = if is_pair { trees.next() } else { None };
                    let second = second.map(|tree| tree.to_string()).unwrap_or_default();
                    self.push(format!("{mark}{second}"), mark.span().start().line);
                    let is_cfg_test = mark.as_char() == '#'
                        && matches!(trees.peek(), Some(TokenTree::Group(g)) if is_cfg_test(g));
                    self.is_test |= is_cfg_test;
                    if mark.as_char() == ';' {
                        self.is_test = was_test;
                    }
                }
                TokenTree::Group(group) => {
                    self.extend_by_group(&group);
                    if group.delimiter() == Delimiter::Brace {
                        self.is_test = was_test;
                    }
                }
                TokenTree::Ident(_) | TokenTree::Literal(_) => {
                    self.push(tree.to_string(), tree.span().start().line);
                }
            }
        }
        self.is_test = was_test;
    }

    fn extend_by_group(&mut self, group: &Group) {
        let (open, close) = match group.delimiter() {
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::None => ("", ""),
        };
        let prefix = match open {
            "{" => self.path_before(),
            _ => Vec::new(),
        };
        if prefix.is_empty() {
            self.push(open.to_owned(), group.span_open().start().line);
            self.extend(group.stream());
            self.push(close.to_owned(), group.span_close().start().line);
            return;
        }
        // `use a::{b, c::d};` is read as `use a::{a::b, a::c::d};`, so that each path is found whole.
        self.push(open.to_owned(), group.span_open().start().line);
        let trees: Vec<_> = group.stream().into_iter().collect();
        for path in trees.split(|tree| matches!(tree, TokenTree::Punct(p) if p.as_char() == ',')) {
            self.list.extend(prefix.iter().cloned().map(|token| match path.first() {
                Some(first) => Token { line: first.span().start().line, ..token },
                None => token,
            }));
            self.extend(path.iter().cloned().collect());
            self.push(",".to_owned(), group.span_close().start().line);
        }
        self.push(close.to_owned(), group.span_close().start().line);
    }

    /// The path that ends here in `::`, or nothing.
    fn path_before(&self) -> Vec<Token> {
        let mut start = self.list.len();
        let is_at = |at: usize, text: &str| self.list.get(at).is_some_and(|t| t.text == text);
        while start >= 2 && is_at(start - 1, "::") {
            start -= 2;
        }
        self.list[start..].to_vec()
    }

    fn push(&mut self, text: String, line: usize) {
        self.list.push(Token { text, line, is_test: self.is_test });
    }
}

/// Whether these brackets of an attribute say `cfg(test)`, alone or with more.
fn is_cfg_test(group: &Group) -> bool {
    let mut tokens = Tokens { list: Vec::new(), is_test: false };
    tokens.extend(group.stream());
    let has = |text| tokens.list.iter().any(|token| token.text == text);
    tokens.list.first().is_some_and(|t| t.text == "cfg") && has("test") && !has("not")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> File {
        File { path: "src/a.rs".to_owned(), text: text.to_owned() }
    }

    fn lines(text: &str, pattern: &str) -> Vec<(usize, bool)> {
        let file = file(text);
        let source = Source::read(&file).unwrap();
        source.find(pattern).map(|token| (token.line, token.is_test)).collect()
    }

    #[test]
    fn comments_and_strings_are_no_code() {
        let text = "/// HashMap\n// HashMap\nconst A: &str = \"HashMap\";\n/* HashMap */\n";
        assert_eq!(lines(text, "HashMap"), []);
        assert_eq!(lines("\nfn f() { g!(Instant::now()) }", "Instant :: now"), [(2, false)]);
    }

    #[test]
    fn paths_are_whole_in_groups_of_imports() {
        let text = "use std::{\n    fmt,\n    time::{Duration, Instant},\n};";
        assert_eq!(lines(text, "std :: time :: Instant"), [(3, false)]);
        assert_eq!(lines(text, "std :: fmt"), [(2, false)]);
        assert_eq!(lines("use crate::{Instant, time};", "time :: Instant"), []);
    }

    #[test]
    fn tests_are_told_apart() {
        let text = "#[cfg(test)]\nuse a::A;\nfn f() { A }\n#[cfg(test)]\nmod t { fn g() { A } }\nA";
        assert_eq!(lines(text, "A"), [(2, true), (3, false), (5, true), (6, false)]);
        assert_eq!(lines("#[cfg(not(test))] fn f() { A }", "A"), [(1, false)]);
    }

    #[test]
    fn an_exception_needs_a_reason_and_a_place() {
        let file =
            file("// tidy: allow sleep: it is the subject\nsleep();\n\n// tidy: allow clock: \n");
        let source = Source::read(&file).unwrap();
        assert!(source.allows("sleep", 1) && source.allows("sleep", 2));
        assert!(!source.allows("sleep", 3) && !source.allows("thread", 2));
        assert!(!source.allows("clock", 4));
    }

    #[test]
    fn variants_and_their_numbers_are_read() {
        let text = "enum E { /// Doc, of A.\n A(u8, u8),\n #[x] B { c: u8 },\n C = 3 }
            impl E { fn kind(&self) -> u8 { match self { Self::A(..) => 1, Self::B { .. } => 2 } } }";
        let file = file(text);
        let source = Source::read(&file).unwrap();
        assert_eq!(source.variants("E"), [("A", 2), ("B", 3), ("C", 4)]);
        assert_eq!(source.number_of("kind", "B"), Some("2"));
        assert_eq!(source.number_of("kind", "C"), None);
        assert_eq!(source.variants("F"), []);
    }
}
