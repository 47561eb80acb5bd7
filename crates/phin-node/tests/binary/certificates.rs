//! `phin cert`, and clusters that admit by certificate.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use phin::{
    Identity,
    certificates::{self, CertificateAuthority, Validity},
};
use rustix::process::Signal;

use crate::harness::{Node, PATIENCE, failure_of, output_of, phin, run, run_at, text};

fn ca(dir: &Path) {
    assert!(output_of(&["cert", "ca", "--dir", dir.to_str().unwrap()]).status.success());
}

fn issue(name: &str, dir: &Path) -> std::process::Output {
    let [ca, ca_key] = ["ca.pem", "ca.key"].map(|file| dir.join(file));
    let [ca, ca_key] = [ca.to_str().unwrap(), ca_key.to_str().unwrap()];
    let dir = dir.to_str().unwrap();
    output_of(&["cert", "issue", name, "--ca", ca, "--ca-key", ca_key, "--dir", dir])
}

fn start(name: &str, dir: &Path, seed: Option<&str>) -> Node {
    let file = |suffix: &str| dir.join(suffix).to_str().unwrap().to_owned();
    let [ca, cert, key] =
        [file("ca.pem"), file(&format!("{name}.pem")), file(&format!("{name}.key"))];
    let arguments = ["--name", name, "--ca", &ca, "--cert", &cert, "--key", &key];
    let join: Vec<_> = seed.into_iter().flat_map(|seed| ["--join", seed]).collect();
    Node::spawn(&mut run(&[&arguments[..], &join].concat()))
}

/// The number of days between the two dates that `phin cert show` prints for a certificate.
fn valid_days(file: &Path) -> i64 {
    let shown = output_of(&["cert", "show", file.to_str().unwrap()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let date = |label: &str| -> jiff::Timestamp {
        let line = shown.lines().find_map(|line| line.trim().strip_prefix(label)).unwrap();
        line.trim().parse().unwrap()
    };
    let seconds = date("valid until").as_second() - date("valid from").as_second();
    (seconds + 43_200) / 86_400
}

#[test]
fn a_certificate_is_valid_for_a_year_and_its_ca_for_ten() {
    let directory = tempfile::tempdir().unwrap();
    ca(directory.path());
    let issued = issue("n1", directory.path());
    assert_eq!(String::from_utf8(issued.stderr).unwrap(), "", "its CA outlives it");
    assert_eq!(valid_days(&directory.path().join("ca.pem")), 3_650);
    assert_eq!(valid_days(&directory.path().join("n1.pem")), 365);
}

#[test]
fn two_nodes_with_certificates_of_one_ca_form_a_cluster() {
    let directory = tempfile::tempdir().unwrap();
    ca(directory.path());
    for name in ["n1", "n2"] {
        assert!(issue(name, directory.path()).status.success());
    }
    let n1 = start("n1", directory.path(), None);
    let mut n2 = start("n2", directory.path(), Some(&n1.addr));
    let joined = n1.event_of("joined", "n2");
    n2.event_of("joined", "n1");
    let shown = output_of(&["cert", "show", directory.path().join("n2.pem").to_str().unwrap()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let id = text(&joined["member"]["id"]);
    assert!(shown.contains(&format!("node id      {id} (assigned by the CA)\n")), "{shown}");
    n2.signal(Signal::TERM);
    n1.event_of("left", "n2");
    assert!(n2.wait().success());
}

#[test]
fn a_node_has_the_name_of_its_certificate_and_warns_before_that_expires() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    ca(directory.path());
    let [ca, ca_key, cert, key] = [file("ca.pem"), file("ca.key"), file("n1.pem"), file("n1.key")];
    let dir = directory.path().to_str().unwrap();
    let issued = ["cert", "issue", "n1", "--ca", &ca, "--ca-key", &ca_key, "--dir", dir];
    assert!(output_of(&[&issued[..], &["--days", "5"]].concat()).status.success());
    let n1 = Node::spawn(&mut run(&["--ca", &ca, "--cert", &cert, "--key", &key]));
    let warning = n1.log("this node's certificate expires soon");
    assert!(warning["days"] == 4 || warning["days"] == 5, "{warning}");
    assert_eq!(n1.get("/v1/members").json()["members"][0]["name"], "n1");
    assert!(n1.get("/metrics").body.contains("\nphin_certificate_expiry_timestamp_seconds "));
}

/// A member with an expired certificate is not reached: without this, only its own log would show why it is dead.
#[test]
fn why_names_the_certificate_that_has_expired() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    ca(directory.path());
    for name in ["n1", "n2"] {
        assert!(issue(name, directory.path()).status.success());
    }
    let n1 = start("n1", directory.path(), None);
    let mut n2 = start("n2", directory.path(), Some(&n1.addr));
    n1.event_of("joined", "n2");
    let why = || n1.get("/v1/members/n2/why").json();
    assert!(why()["refused"].is_null());
    n2.signal(Signal::KILL);
    n2.wait();
    n1.event_of("dead", "n2");

    // It returns to its address with its key, but no valid certificate.
    let [ca_pem, ca_key, key] =
        ["ca.pem", "ca.key", "n2.key"].map(|name| fs::read_to_string(file(name)).unwrap());
    let authority = CertificateAuthority::new(ca_pem, ca_key.into());
    let hour = Duration::from_secs(3_600);
    let now = SystemTime::now();
    let past = Validity { not_before: now - 2 * hour, not_after: now - hour };
    let key = Identity::from_pem(&key).unwrap().public_key();
    fs::write(file("n2.pem"), certificates::issue_with_id(&authority, "n2", &key, past).unwrap())
        .unwrap();
    let [ca, cert, key] = ["ca.pem", "n2.pem", "n2.key"].map(file);
    let [ca, cert, key] = [&ca, &cert, &key].map(|path| path.to_str().unwrap());
    let _n2 = Node::spawn(&mut run_at(&n2.addr, &["--ca", ca, "--cert", cert, "--key", key]));
    n1.log("handshake refused");
    let start = Instant::now();
    let told = loop {
        let told = why();
        if !told["refused"].is_null() {
            break told;
        }
        assert!(start.elapsed() < PATIENCE, "{told}");
    };
    let refused = &told["refused"];
    assert_eq!(refused["reason"], "the certificate has expired", "{told}");
    assert_eq!((&refused["by"], &refused["addr"]), (&"us".into(), &n2.addr.clone().into()));
    let words = output_of(&["why", "n2", "--http", &n1.http]);
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.contains("this node refuses it (the certificate has expired)"), "{words}");
}

#[test]
fn a_certificate_of_another_ca_is_refused() {
    let [ours, theirs] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for (directory, name) in [(&ours, "n1"), (&theirs, "n2")] {
        ca(directory.path());
        assert!(issue(name, directory.path()).status.success());
    }
    let n1 = start("n1", ours.path(), None);
    let n2 = start("n2", theirs.path(), Some(&n1.addr));
    let log = n2.log("a seed refuses this node");
    assert!(text(&log["reason"]).contains("refused"), "{log}");
}

#[test]
fn the_file_that_does_not_fit_is_named_and_no_address() {
    let directory = tempfile::tempdir().unwrap();
    ca(directory.path());
    for name in ["n1", "n2"] {
        assert!(issue(name, directory.path()).status.success());
    }
    let empty = directory.path().join("empty.pem");
    fs::write(&empty, "no certificate").unwrap();
    for (ca, cert, flag) in [
        ("ca.pem", "n2.pem", "--cert"),
        ("ca.pem", "empty.pem", "--cert"),
        ("empty.pem", "n1.pem", "--ca"),
    ] {
        let [ca, cert, key] = [ca, cert, "n1.key"].map(|file| directory.path().join(file));
        let [ca, cert, key] = [&ca, &cert, &key].map(|path| path.to_str().unwrap());
        let files = ["run", "--bind", "127.0.0.1:0", "--ca", ca, "--cert", cert, "--key", key];
        let error = failure_of(&mut phin(&files), 2);
        assert!(error.starts_with(&format!("error: {flag}: ")), "{error}");
        assert!(!error.contains("listen"), "{error}");
    }
}

#[test]
fn private_keys_are_for_their_owner_alone_and_nothing_is_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    ca(directory.path());
    assert!(issue("n1", directory.path()).status.success());
    for name in ["ca.key", "n1.key"] {
        let mode = fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let before = fs::read(directory.path().join("n1.pem")).unwrap();
    let again = issue("n1", directory.path());
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8(again.stderr).unwrap().contains("already exists"));
    let dir = directory.path().to_str().unwrap();
    assert!(failure_of(&mut phin(&["cert", "ca", "--dir", dir]), 1).contains("already exists"));
    assert_eq!(fs::read(directory.path().join("n1.pem")).unwrap(), before);
}

/// The node id that `phin cert show` prints, and where it comes from.
fn id_in(file: &Path) -> String {
    let shown = output_of(&["cert", "show", file.to_str().unwrap()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    shown.lines().find_map(|line| line.strip_prefix("  node id      ")).unwrap().to_owned()
}

#[test]
fn a_name_keeps_its_id_through_renewals_and_another_ca() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let file = |name: &str| path(name).to_str().unwrap().to_owned();
    ca(directory.path());
    assert!(issue("n1", directory.path()).status.success());
    let id = id_in(&path("n1.pem"));
    assert!(id.ends_with(" (assigned by the CA)"), "{id}");
    let cert = |arguments: &[&str]| {
        let output = output_of(&[&["cert"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let [n1, old_ca, old_key, next] =
        [file("n1.pem"), file("ca.pem"), file("ca.key"), file("next")];
    let of_old = ["--ca", &old_ca, "--ca-key", &old_key];
    // A new key for the name.
    cert(&[&["issue", "n1", "--dir", &file("again")], &of_old[..]].concat());
    assert_eq!(id_in(&path("again/n1.pem")), id);
    cert(&[&["renew", &n1, "--dir", &file("renewed")], &of_old[..]].concat());
    assert_eq!(id_in(&path("renewed/n1.pem")), id);
    assert!(!path("renewed/n1.key").exists());
    let own_key = file("n1.key");
    let plain = ["issue", "n1", "--no-assigned-id", "--key", &own_key, "--dir", &file("plain")];
    cert(&[&plain, &of_old[..]].concat());
    assert!(id_in(&path("plain/n1.pem")).ends_with(" (of its key)"));

    cert(&["ca", "--dir", &next]);
    let both =
        fs::read_to_string(&old_ca).unwrap() + &fs::read_to_string(path("next/ca.pem")).unwrap();
    fs::write(path("both.pem"), both).unwrap();
    let of_new = ["--ca", &file("both.pem"), "--ca-key", &file("next/ca.key")];
    let renew = ["renew", &n1, "--dir", &file("next")];
    cert(&[&renew, &of_new[..]].concat());
    assert_eq!(id_in(&path("next/n1.pem")), id);
    let error = failure_of(&mut phin(&[&["cert"][..], &renew, &of_new].concat()), 1);
    assert!(error.contains("already exists"), "{error}");
    // The CA of the certificate has to be known.
    let alone = ["--ca", &file("next/ca.pem"), "--ca-key", &file("next/ca.key")];
    let error = failure_of(&mut phin(&[&["cert"][..], &renew, &alone].concat()), 1);
    assert!(error.contains("of no CA in the file of --ca"), "{error}");
}

#[test]
fn a_node_that_requires_assigned_ids_refuses_one_without_and_both_say_so() {
    let directory = tempfile::tempdir().unwrap();
    ca(directory.path());
    assert!(issue("n1", directory.path()).status.success());
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let [pem, ca_key, dir] = [file("ca.pem"), file("ca.key"), file("")];
    let plain = ["cert", "issue", "n2", "--no-assigned-id", "--ca", &pem, "--ca-key", &ca_key];
    assert!(output_of(&[&plain[..], &["--dir", &dir]].concat()).status.success());
    let (cert, key) = (file("n1.pem"), file("n1.key"));
    let own = ["--ca", &pem, "--cert", &cert, "--key", &key, "--assigned-ids", "require"];
    let n1 = Node::spawn(&mut run(&own));
    let n2 = start("n2", directory.path(), Some(&n1.addr));
    let reason = "the certificate assigns no id, and assigned ids are required";
    assert!(text(&n2.log("a seed refuses this node")["reason"]).contains(reason));
    assert_eq!(n1.log("handshake refused")["reason"], reason);
    assert!(n1.get("/metrics").body.contains("_refusals_total{reason=\"id_not_assigned\"} "));
    // A node does not start with a rule that its own certificate breaks.
    let (cert, key) = (file("n2.pem"), file("n2.key"));
    let own = ["run", "--bind", "127.0.0.1:0", "--ca", &pem, "--cert", &cert, "--key", &key];
    let error = failure_of(&mut phin(&[&own[..], &["--assigned-ids", "require"]].concat()), 2);
    assert!(error.starts_with("error: --cert: "), "{error}");
    assert!(error.contains("no CA assigned the id"), "{error}");
}

#[test]
fn names_that_are_no_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    ca(directory.path());
    for name in ["../n1", ".hidden", "a b", "ca", ""] {
        let output = issue(name, directory.path());
        assert_eq!(output.status.code(), Some(2), "{name:?}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing was written");
}

#[test]
fn what_is_no_certificate_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("no.pem");
    fs::write(&path, "no certificate").unwrap();
    let path = path.to_str().unwrap();
    assert!(failure_of(&mut phin(&["cert", "show", path]), 1).contains(path));
}
