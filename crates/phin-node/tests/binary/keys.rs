//! `phin key`.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::harness::{failure_of, output_of, phin};

#[test]
fn a_key_goes_to_standard_output() {
    let [one, two] = [(); 2].map(|()| output_of(&["key", "new"]));
    assert!(one.status.success() && one.stderr.is_empty());
    let key = String::from_utf8(one.stdout).unwrap();
    assert_eq!(key.len(), 65);
    assert!(key.trim_end().chars().all(|digit| digit.is_ascii_hexdigit()));
    assert_ne!(key.into_bytes(), two.stdout);
}

#[test]
fn a_key_file_is_for_its_owner_alone_and_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.key");
    let arguments = ["key", "new", "--out", path.to_str().unwrap()];
    assert!(output_of(&arguments).status.success());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let key = fs::read_to_string(&path).unwrap();
    let error = failure_of(&mut phin(&arguments), 1);
    assert!(error.contains("exists already"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), key);
}

#[test]
fn a_file_that_a_shell_made_for_all_to_read_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.key");
    let file = fs::File::create(&path).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o644)).unwrap();
    let output = phin(&["key", "new"]).stdout(file).output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("chmod 600"));
}
