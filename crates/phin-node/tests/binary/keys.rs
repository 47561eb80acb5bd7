//! `phin key`.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use crate::harness::{KEY, failure_of, output_of, phin};

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
    assert!(error.contains("already exists"), "{error}");
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

#[test]
fn a_key_that_is_no_file_is_said_to_be_none_and_waited_for_by_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    let error = failure_of(&mut phin(&["run", "--bind", "127.0.0.1:0", "--key-file", path]), 2);
    assert!(error.contains("directory") && !error.contains("chmod"), "{error}");

    let data_dir = tempfile::tempdir().unwrap();
    let identity = data_dir.path().join("identity.key");
    let run = ["run", "--bind", "127.0.0.1:0", "--data-dir", data_dir.path().to_str().unwrap()];
    let failure = || failure_of(phin(&run).env("PHIN_CLUSTER_KEY", KEY), 1);
    fs::create_dir(&identity).unwrap();
    let of_directory = failure();
    fs::remove_dir(&identity).unwrap();
    // Opening a pipe would wait for a writer.
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&identity).status().unwrap().success());
    let of_pipe = failure();
    for error in [of_directory, of_pipe] {
        assert!(error.starts_with("error: --data-dir: "), "{error}");
        assert!(error.contains("identity.key") && error.contains("not a file"), "{error}");
        assert!(!error.contains("make it 600"), "{error}");
    }
}
