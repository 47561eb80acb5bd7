//! The files of the workspace, and violations in them.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

/// The folder of the workspace.
///
/// # Panics
/// Outside of `cargo test`. The path at compile time would be wrong if two workspaces share a target folder.
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo tells a test where it is");
    let root = Path::new(&package).ancestors().nth(2);
    root.expect("the crate is two folders below the root").to_owned()
}

/// A text file of the workspace.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path from the root, with forward slashes.
    pub path: String,
    /// Its content.
    pub text: String,
}

impl File {
    /// Reads the file at this path from the root; `None` where there is none, or no text.
    pub fn read(path: &str) -> Option<Self> {
        let text = fs::read_to_string(root().join(path)).ok()?;
        Some(Self { path: path.to_owned(), text })
    }

    /// Whether it lies in this folder, which ends with a slash.
    pub fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        Path::new(&self.path).extension() == Some(OsStr::new("rs"))
    }

    /// Whether nothing but tests is in it.
    pub fn is_test(&self) -> bool {
        let parts = || self.path.split('/');
        self.is_rust() && parts().any(|part| part == "tests" || part == "tests.rs")
    }
}

/// Every text file of the workspace in the order of their paths, without what is built.
pub fn files() -> Vec<File> {
    let mut files = Vec::new();
    collect(&root(), "", &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !is_built(&name) => {
                collect(&entry.path(), &format!("{path}/"), files);
            }
            Ok(kind) if kind.is_file() => files.extend(File::read(&path)),
            _ => {}
        }
    }
}

fn is_built(folder: &str) -> bool {
    matches!(folder, ".git" | "target")
}

/// Violations, each with its place and its fix.
#[derive(Debug, Default)]
pub struct Violations(Vec<String>);

impl Violations {
    /// Notes one.
    pub fn add(&mut self, path: &str, line: usize, what: &str) {
        self.0.push(format!("{path}:{line}: {what}"));
    }

    /// Fails the test that asks, if there is any.
    ///
    /// # Panics
    /// Names all of them.
    #[track_caller]
    pub fn assert_none(self) {
        assert!(self.0.is_empty(), "{} found\n{}\n", self.0.len(), self.0.join("\n"));
    }
}
