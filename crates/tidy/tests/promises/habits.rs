//! Habits that hold in every file.

use tidy::{Source, Token, Violations, check_sources, files};

#[test]
fn nothing_is_unfinished_or_ignored() {
    check_sources(|file, source, violations| {
        for (pattern, what) in [
            ("todo !", "finish it, or leave it out and open an issue"),
            ("unimplemented !", "finish it, or make the case impossible"),
            ("# [ ignore", "make the test fit to run always, or remove it"),
        ] {
            source.find(pattern).for_each(|token| violations.add(&file.path, token.line, what));
        }
        for (index, line) in file.text.lines().enumerate() {
            let is_comment = line.trim_start().starts_with("//");
            if is_comment && line.split_once("```").is_some_and(|(_, tag)| tag.contains("ignore")) {
                let what = "let the example run, or at least compile (`no_run`)";
                violations.add(&file.path, index + 1, what);
            }
        }
    });
}

#[test]
fn no_test_sleeps() {
    let what = "wait for what should happen, not for time to pass; where time itself is the subject, say \
                `// tidy: allow sleep: REASON`";
    check_sources(|file, source, violations| {
        let sleeps = ["sleep (", "sleep_until (", "sleep_ms (", "park_timeout ("];
        for token in sleeps.into_iter().flat_map(|call| source.find(call)) {
            if token.is_test && is_function(source, token) && !source.allows("sleep", token.line) {
                violations.add(&file.path, token.line, what);
            }
        }
    });
}

#[test]
fn modules_are_named_files() {
    let mut violations = Violations::default();
    for file in files() {
        if file.path.ends_with("/mod.rs") && !file.path.contains("/tests/") {
            let what = "move it to a file beside its folder: `foo.rs` and `foo/`";
            violations.add(&file.path, 1, what);
        }
    }
    violations.assert_none();
}

#[test]
fn no_path_of_one_machine() {
    let mut violations = Violations::default();
    for file in files() {
        for (index, line) in file.text.lines().enumerate() {
            for folder in ["work", "root", "home"].into_iter().filter(|f| has_absolute(line, f)) {
                let what = format!("`/{folder}` is on one machine only: make the path relative");
                violations.add(&file.path, index + 1, &what);
            }
        }
    }
    violations.assert_none();
}

#[test]
fn sentences_of_comments_name_their_subject() {
    let what = "name the thing: a sentence does not begin with a bare What or Who as its subject";
    let mut violations = Violations::default();
    for file in files().into_iter().filter(|file| file.is_rust()) {
        for (line, text) in comments(&file.text) {
            let sentences = text.split_inclusive(['.', '?']).map(str::trim_start);
            let is_bare = |sentence: &str| {
                let word = sentence.split(' ').next().unwrap_or_default();
                !sentence.ends_with('?')
                    && ["What", "Whatever", "Who", "Whoever", "Whom", "Whose"].contains(&word)
            };
            if sentences.into_iter().any(is_bare) {
                violations.add(&file.path, line, what);
            }
        }
    }
    violations.assert_none();
}

/// The paragraphs of comments, each as one line, with the number of its first line.
fn comments(text: &str) -> Vec<(usize, String)> {
    let mut paragraphs: Vec<(usize, String)> = Vec::new();
    let mut is_open = false;
    for (index, line) in text.lines().enumerate() {
        let comment = line.trim_start().strip_prefix("//");
        let comment = comment.map(|comment| comment.trim_start_matches(['/', '!']).trim());
        match comment.filter(|comment| !comment.is_empty()) {
            Some(comment) if is_open => {
                let (_, paragraph) = paragraphs.last_mut().expect("one is open");
                paragraph.push(' ');
                paragraph.push_str(comment);
            }
            Some(comment) => paragraphs.push((index + 1, comment.to_owned())),
            None => {}
        }
        is_open = comment.is_some_and(|comment| !comment.is_empty());
    }
    paragraphs
}

/// Whether this word is a function's, called: neither a method nor a definition.
fn is_function(source: &Source<'_>, word: &Token) -> bool {
    let before = source.before(word).map(|token| token.text.as_str());
    !matches!(before, Some("." | "fn"))
}

/// Whether an absolute path in this folder stands on the line: not one that merely has a folder of that name.
fn has_absolute(line: &str, folder: &str) -> bool {
    line.match_indices(&format!("/{folder}/")).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before
            .is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | '-' | '.' | '/' | '}' | '*'))
    })
}
