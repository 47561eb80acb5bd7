//! Fingerprints of settings and of the files that they name, by which a reload finds what changed.

use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Read,
};

/// A fingerprint of each setting that is given. Those of credentials include the content of their files.
///
/// They are taken before the settings are read: a file that changes in between is then read again, not missed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fingerprints {
    of_settings: BTreeMap<&'static str, u64>,
    /// The path of each file with credentials.
    files: BTreeMap<&'static str, String>,
}

impl Fingerprints {
    pub(super) fn take<'a>(texts: impl Iterator<Item = (&'static str, &'a str)>) -> Self {
        let mut taken = Self::default();
        for (name, text) in texts {
            let is_file = CREDENTIAL_FILES.contains(&name);
            taken.of_settings.insert(name, fingerprint(name, text));
            if is_file {
                taken.files.insert(name, text.to_owned());
            }
        }
        taken
    }

    /// The settings that differ, in one or the other, in alphabetical order.
    pub(crate) fn changed(&self, read: &Self) -> Vec<&'static str> {
        let names = self.of_settings.keys().chain(read.of_settings.keys());
        let differs = |name: &&&str| self.of_settings.get(**name) != read.of_settings.get(**name);
        let mut changed: Vec<_> = names.filter(differs).copied().collect();
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// Takes over the fingerprints of these settings.
    pub(crate) fn take_over(&mut self, read: &Self, names: &[&'static str]) {
        for &name in names {
            match read.of_settings.get(name) {
                Some(&fingerprint) => self.of_settings.insert(name, fingerprint),
                None => self.of_settings.remove(name),
            };
            match read.files.get(name) {
                Some(path) => self.files.insert(name, path.clone()),
                None => self.files.remove(name),
            };
        }
    }

    /// The fingerprints of the files with credentials as they are now, and whether one differs.
    pub(crate) fn of_files_now(&self) -> (Vec<u64>, bool) {
        let now: Vec<_> =
            self.files.iter().map(|(name, path)| (name, fingerprint(name, path))).collect();
        let differs = now.iter().any(|(name, now)| self.of_settings.get(**name) != Some(now));
        (now.into_iter().map(|(_, now)| now).collect(), differs)
    }
}

/// The fingerprint of a setting, and of the files that it names.
fn fingerprint(name: &str, text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let files = match CREDENTIAL_FILES.contains(&name) {
        // Keys as text are no files, which does not change.
        true if name == ADMIN_KEY => text.split(',').map(str::trim).collect(),
        true => vec![text],
        false => Vec::new(),
    };
    for file in files {
        let mut content = Vec::new();
        let read = fs::File::open(file)
            .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut content))
            .map_err(|error| error.kind());
        (read, content).hash(&mut hasher);
    }
    hasher.finish()
}

/// The settings that name files with credentials.
pub(crate) const CREDENTIAL_FILES: [&str; 7] =
    [ADMIN_KEY, "ca", "cert", "crl", "http-token-file", "key", "key-file"];
/// The one of them that can name several.
const ADMIN_KEY: &str = "admin-key";
/// As much of a file as counts: more than is read of it.
const MAX_BYTES: u64 = 2 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: &[(&'static str, &str)]) -> Fingerprints {
        Fingerprints::take(settings.iter().copied())
    }

    #[test]
    fn settings_and_contents_of_credentials_count() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster.key").to_str().unwrap().to_owned();
        let given = || of(&[("key-file", &path), ("log", "info"), ("on", "dead=/bin/true")]);
        let mut before = given();
        assert!(before.changed(&given()).is_empty());
        fs::write(&path, "one").unwrap();
        let after = of(&[("key-file", &path), ("log", "debug"), ("name", "n1")]);
        assert_eq!(before.changed(&after), ["key-file", "log", "name", "on"]);
        assert!(before.of_files_now().1);
        before.take_over(&after, &["key-file", "on", "name"]);
        assert_eq!(before.changed(&after), ["log"]);
        let (one, differs) = before.of_files_now();
        assert!(!differs);
        // The same content under another file: a volume that was swapped.
        fs::rename(&path, format!("{path}.old")).unwrap();
        assert!(before.of_files_now().1);
        fs::write(&path, "one").unwrap();
        assert_eq!(before.of_files_now(), (one, false));
        fs::write(&path, "two").unwrap();
        assert!(before.of_files_now().1);
    }
}
