//! The commands of the README are those that CI runs.

use tidy::File;

#[test]
fn the_readme_and_ci_say_the_same_commands() {
    for path in ["README.md", ".ci/run"] {
        let file = File::read(path).unwrap_or_else(|| panic!("{path}: is missing; write it"));
        for command in ["cargo run -- demo", "cargo test --workspace"] {
            assert!(
                file.text.contains(command),
                "{path}:1: does not say `{command}`, which the README promises and CI keeps; add it, or \
                 change it in README.md, .ci/run, CONTRIBUTING.md and here"
            );
        }
    }
}
