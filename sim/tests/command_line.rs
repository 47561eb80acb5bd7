//! The binary as people use it, and as they slip.

use std::{
    io::Read,
    path::Path,
    process::{Command, Output, Stdio},
};

fn phin_sim(folder: &Path, args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phin-sim"));
    let command = command.current_dir(folder).args(args.split(' ').filter(|arg| !arg.is_empty()));
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn slips_are_told_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = "about = \"x\"\nnodes = 30\nlasts = \"60s\"\n[[event]]\nat = \"20s\"\n\
                    do = \"crash-host\"\nwho = \"99\"\n";
    std::fs::write(folder.path().join("s.toml"), scenario).unwrap();
    std::fs::write(folder.path().join("s.samples"), "nonsense\n").unwrap();
    let cases = [
        ("detect --kills 0", "--kills"),
        ("detect --sizes 0", "--sizes"),
        ("detect --sizes 1", "2..="),
        ("detect --loss 2", "from 0 to 1"),
        ("detect --loss 101%", "from 0 to 1"),
        ("detect --delay soon", "span of time"),
        ("detect --zones 0", "1 to 64"),
        ("detect --protocol consul", "lifeguard"),
        ("detect --protocol swim --period 1s", "not of swim"),
        ("detect --sizes 8 --rings 99", "rings"),
        ("detect --shard 0/2", "--out"),
        ("detect --sizes 8 --kills 1 --protocol phin --out s.toml/x", "s.toml/x"),
        ("sweep pause --kill host", "--kill"),
        ("sweep pause --loss 1%,2%", "one --loss"),
        ("sweep pause --survivors 3", "--survivors"),
        ("sweep survivors --survivors 0", "--survivors"),
        ("sweep pause --case one", "--case"),
        ("sweep data --case one", "no case one"),
        ("sweep stalls --case third", "no case third"),
        ("sweep mass --kill process", "--kill"),
        ("sweep gray --case crashes", "no case crashes"),
        ("run nope.toml", "nope.toml"),
        ("run s.toml", "s.toml: line 7: event 1, `who`"),
        ("merge nope.samples", "nope.samples"),
        ("merge s.samples", "s.samples"),
        ("soak --seeds 5", "A..B"),
        ("plan", "--members"),
        ("plan --members 1", "cluster of 1"),
        ("plan --members 8 --loss 90%", "at most 0.5"),
        ("plan --members 8 --rings 99", "rings"),
        ("plan --members 8 --pause 300ms", "p99=300ms"),
        ("plan --members 8 --pauses-per-hour 3", "--pause"),
        ("plan --members 8 --rtt 1ms --delay 1ms", "--delay"),
        ("plan --members 8 --deaths 5", "--check"),
        ("plan --metrics nope.txt", "nope.txt"),
        ("plan --metrics s.toml", "no metrics of phin"),
    ];
    for (args, expected) in cases {
        let output = phin_sim(folder.path(), args);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args}: {error}");
        assert!(error.contains(expected) && !error.contains("panicked"), "{args}: {error}");
    }
}

#[test]
fn reports_are_written_only_where_they_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let files = || {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let args = "detect --sizes 8 --kills 1 --protocol phin --delay 2ms --period 500ms";
    let output = phin_sim(folder.path(), args);
    assert!(output.status.success() && text(&output.stdout).contains("| phin | 8 |"));
    assert!(files().is_empty(), "{:?}", files());
    assert!(phin_sim(folder.path(), &format!("{args} --out here")).status.success());
    assert_eq!(files(), ["here"]);
}

#[test]
fn help_has_the_names_of_protocols_and_examples() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["detect", "sweep"] {
        let help = text(&phin_sim(folder.path(), &format!("{command} --help")).stdout);
        for expected in ["heartbeat-phi", "phin-wan", "Examples:", "--delay", "--pause-tolerance"] {
            assert!(help.contains(expected), "{command}: {expected}");
        }
    }
}

#[test]
fn a_plan_says_what_it_is_made_for() {
    let folder = tempfile::tempdir().unwrap();
    let args = "plan --members 500 --loss 1% --rtt 0.5ms --pause p50=20ms,p99=300ms";
    let output = phin_sim(folder.path(), args);
    let out = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for expected in [
        "members      500 (given)",
        "loss         1.00 % (given)",
        "how often: assumed",
        "known to all p50",
        "declared dead, if stalls stop the host",
        "silent   pause_tolerance 1.00 s",
    ] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
    let json = text(&phin_sim(folder.path(), &format!("{args} --json")).stdout);
    assert!(json.starts_with("{\"members\":500,\"loss\":0.01,"), "{json}");
}

#[test]
fn a_plan_takes_what_a_live_node_knows() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = "phin_members{state=\"alive\"} 42\nphin_driver_pauses_total 9\n\
                   phin_probe_round_trip_seconds{member=\"00\",name=\"a\"} 0.004\n\
                   phin_driver_max_lag_seconds 0.4\nphin_swim_pings_sent_total 36000\n";
    std::fs::write(folder.path().join("m.txt"), metrics).unwrap();
    let from_file = phin_sim(folder.path(), "plan --metrics m.txt --loss 2%");
    let out = text(&from_file.stdout);
    for expected in [
        "members      42 (metrics)",
        "loss         2.00 % (given)",
        "round trip   4 ms (metrics)",
        "metrics: 9 pauses of 50 ms or more in about 10.0 h",
    ] {
        assert!(out.contains(expected), "{expected}: {out}{}", text(&from_file.stderr));
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_phin-sim"));
    let command = command.args(["plan", "--metrics", "-", "--loss", "2%"]);
    let file = std::fs::File::open(folder.path().join("m.txt")).unwrap();
    let from_input = command.stdin(file).output().unwrap();
    assert_eq!(text(&from_input.stdout), out);
}

#[test]
fn a_check_puts_simulations_beside_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    let args = "plan --members 8 --period 500ms --hang-tolerance 2s --check --deaths 8";
    let output = phin_sim(folder.path(), args);
    let out = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for expected in ["Check, 8 deaths of each kind", "deviation", "member-hours"] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
}

#[test]
fn one_file_is_reported_on() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = "about = \"x\"\nnodes = 8\nlasts = \"40s\"\n[[event]]\nat = \"20s\"\n\
                    do = \"crash-host\"\nwho = \"5\"\n";
    std::fs::write(folder.path().join("s.toml"), scenario).unwrap();
    let output = phin_sim(folder.path(), "run s.toml --loss 2% --delay 5ms");
    let out = text(&output.stdout);
    assert!(out.starts_with("ok      s.toml seed 1"), "{out}");
    for line in ["deaths", "m5 at 20.000s: suspected after", "load", "falsely dead", "isolated"] {
        assert!(out.contains(line), "{line}: {out}");
    }
    // An impossible demand, so that the line that repeats the run is seen.
    let demand = format!("{scenario}[expect]\nknown-within = \"1ms\"\n");
    std::fs::write(folder.path().join("s.toml"), demand).unwrap();
    let output = phin_sim(folder.path(), "run s.toml --loss 2% --delay 5ms --report");
    assert_eq!(output.status.code(), Some(1));
    let again = "phin-sim run s.toml --seed 1 --trace --loss 2% --delay 5ms\n";
    assert!(text(&output.stdout).contains(again), "{}", text(&output.stdout));
}

#[test]
fn a_reader_that_goes_ends_the_output_quietly() {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut command = Command::new(env!("CARGO_BIN_EXE_phin-sim"));
    let command =
        command.current_dir(scenarios).args(["run", "calm.toml", "--seed", "1", "--trace"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!((child.wait().unwrap().code(), error.as_str()), (Some(0), ""));
}
