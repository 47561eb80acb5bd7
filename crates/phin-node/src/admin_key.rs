//! Admin keys in files and settings: the private half for an operator's machine, the public half for nodes.

use std::path::Path;

use phin::{AdminKey, AdminPublicKey};

use crate::{failure::Failure, private_file, text_file};

/// Reads the private half from a file that only its owner can read.
pub(crate) fn read_private(path: &Path) -> Result<AdminKey, Failure> {
    let pem = private_file::read(path).map_err(|error| Failure::Runtime(error.to_string()))?;
    AdminKey::from_pem(&pem).map_err(|error| Failure::runtime(path.display(), &error))
}

/// Reads the public halves that a setting names: each a key, or a file with one key a line.
pub(crate) fn read_public(text: &str) -> Result<Vec<AdminPublicKey>, String> {
    let mut keys = Vec::new();
    for named in text.split(',').map(str::trim).filter(|named| !named.is_empty()) {
        match named.parse() {
            Ok(key) => keys.push(key),
            Err(_) => keys.extend(read_file(named)?),
        }
    }
    keys.sort_unstable();
    keys.dedup();
    match keys.len() {
        0 => Err("it has no key".to_owned()),
        1..=MAX_KEYS => Ok(keys),
        many => Err(format!("it has {many} keys, more than {MAX_KEYS}")),
    }
}

fn read_file(path: &str) -> Result<Vec<AdminPublicKey>, String> {
    let text = text_file::read(path).map_err(|error| {
        format!("{path} is no key (64 hexadecimal digits), and no file: {error}")
    })?;
    if text.contains("PRIVATE KEY") {
        return Err(format!(
            "{path} has a private key, which no node needs; give the node the public one, which `phin key admin` wrote beside it"
        ));
    }
    let lines = text.lines().map(str::trim);
    let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    keys.map(|line| line.parse().map_err(|error| format!("{path}: {error}"))).collect()
}

/// The most admin keys of a node.
const MAX_KEYS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_as_text_and_from_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let [one, two] = [(); 2].map(|()| AdminKey::generate());
        let [first, second] = [&one, &two].map(AdminKey::public_key);
        std::fs::write(path("two"), format!("# alice\n{first}\n\n# bob\n{second}\n")).unwrap();
        std::fs::write(path("private"), one.to_pem().as_str()).unwrap();
        std::fs::write(path("other"), "text\n").unwrap();
        let mut both = vec![first, second];
        both.sort_unstable();
        assert_eq!(read_public(&first.to_string()), Ok(vec![first]));
        assert_eq!(read_public(&format!("{first}, {}", path("two"))), Ok(both));
        for (text, problem) in [
            (path("private"), "private key"),
            (path("other"), "64 hexadecimal digits"),
            (path("missing"), "no file"),
            (String::new(), "no key"),
        ] {
            let found = read_public(&text).unwrap_err();
            assert!(found.contains(problem), "{found}");
        }
    }
}
