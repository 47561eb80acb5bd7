use std::{fs, io::Write, thread, time::Instant};

use futures::stream;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::{
    hooks::counters::Counts,
    program::tests::{PATIENCE, fifo, shell, text_until_closed, written},
};

/// One hook, whose events come from the test.
struct Bench {
    events: mpsc::UnboundedSender<Vec<Arrival>>,
    hooks: Hooks,
    directory: TempDir,
}

impl Bench {
    /// Starts a hook that runs this script for the shell. `$0` is a FIFO that holds up a run that reads it, `$1` a FIFO for the
    /// script to write to, and `$2` a file.
    fn start(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [gate, held] = ["gate", "held"].map(|name| fifo(&directory, name));
        let file = directory.path().join("file");
        let program = shell(script, &[&gate, &held, file.to_str().unwrap()]);
        let (events, mut arriving) = mpsc::unbounded_channel();
        let source = stream::poll_fn(move |context| arriving.poll_recv(context));
        let hooks = Hooks::with_sources(1, [(program, source)], PATIENCE);
        Self { events, hooks, directory }
    }

    fn send(&self, arrivals: impl IntoIterator<Item = Arrival>) {
        self.events.send(arrivals.into_iter().collect()).unwrap();
    }

    /// Sends lines with the numbers in this range.
    fn send_lines(&self, numbers: std::ops::Range<usize>) {
        self.send(numbers.map(|number| Arrival::Line(format!("{number}\n").into_bytes())));
    }

    /// Waits until the counters are as wanted.
    async fn until(&self, is_wanted: impl Fn(Counts) -> bool) {
        let started = Instant::now();
        loop {
            let counts = self.hooks.counters[0].counts();
            if is_wanted(counts) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{counts:?}");
            tokio::task::yield_now().await;
        }
    }

    /// Lets the run that waits at the gate go on, and those to come.
    fn open_gate(&self) {
        fs::write(self.path("open"), "").unwrap();
        let gate = self.path("gate");
        // Opening it waits for the reader.
        thread::spawn(move || fs::OpenOptions::new().write(true).open(gate)?.write_all(b"\n"));
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// The lines that the script has written.
    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("file")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// Waits at the gate until it is opened, and then writes its input and a line `end` to the file.
const WRITE: &str = "[ -e ${0%gate}open ] || read x <$0; cat >>$2; echo end >>$2";

/// Hangs with a child process that hangs, too.
const HANG: &str = "exec 3>$1; sleep 1000 & echo >&3; sleep 1000";

fn numbers(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|number| number.to_string())
}

#[tokio::test]
async fn events_during_a_run_are_the_next_runs_in_order() {
    let bench = Bench::start(WRITE);
    bench.send_lines(0..1);
    bench.until(|counts| counts.is_running).await;
    bench.send_lines(1..131);
    bench.until(|counts| counts.events_waiting == 130).await;
    assert_eq!(bench.hooks.counters[0].counts().runs, 1, "one at a time");
    bench.open_gate();
    bench.until(|counts| counts.runs == 4 && !counts.is_running).await;
    let mut expected = Vec::new();
    for batch in [0..1, 1..65, 65..129, 129..131] {
        expected.extend(numbers(batch).chain(["end".to_owned()]));
    }
    assert_eq!(bench.lines(), expected);
    assert_eq!(bench.hooks.counters[0].counts(), Counts { runs: 4, ..Counts::default() });
}

#[tokio::test]
async fn a_program_learns_where_it_missed_events() {
    let bench = Bench::start(WRITE);
    bench.send_lines(0..1);
    bench.until(|counts| counts.is_running).await;
    bench.send_lines(1..1_035);
    bench.until(|counts| counts.events_missed == 10).await;
    bench.send([Arrival::Missed(5)]);
    bench.until(|counts| counts.events_missed == 15).await;
    bench.open_gate();
    bench.until(|counts| counts.events_waiting == 0 && !counts.is_running).await;
    bench.send_lines(2_000..2_001);
    bench.until(|counts| counts.runs == 19 && !counts.is_running).await;
    let lines: Vec<_> = bench.lines().into_iter().filter(|line| line != "end").collect();
    assert_eq!(lines[..1_025], numbers(0..1_025).collect::<Vec<_>>());
    let missed: serde_json::Value = serde_json::from_str(&lines[1_025]).unwrap();
    assert_eq!((&missed["event"], &missed["events"]), (&"missed".into(), &15.into()));
    assert_eq!(lines[1_026..], ["2000"]);
}

#[tokio::test]
async fn each_kind_of_failure_is_counted_and_the_next_events_come() {
    let mut bench = Bench::start("read number; exit $number");
    bench.send_lines(3..4);
    bench.until(|counts| counts.failed == 1).await;
    bench.send_lines(0..1);
    bench.until(|counts| counts.runs == 2 && !counts.is_running).await;
    assert_eq!(bench.hooks.counters[0].counts().failed, 1, "exit code 0 is none");
    bench.hooks.kill().await;

    // A program that is there at first.
    let path = bench.path("program");
    fs::copy("/bin/sh", &path).unwrap();
    let program = Program::new(&path).unwrap();
    fs::remove_file(path).unwrap();
    let source = stream::iter([vec![Arrival::Line(b"0\n".to_vec())]]).chain(stream::pending());
    bench.hooks = Hooks::with_sources(1, [(program, source)], PATIENCE);
    bench.until(|counts| counts.not_run == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_hangs_is_killed_and_counted() {
    let bench = Bench::start(HANG);
    bench.send_lines(0..1);
    let held = written(&bench.path("held")).await;
    tokio::time::advance(PATIENCE).await;
    bench.until(|counts| counts.timed_out == 1 && !counts.is_running).await;
    text_until_closed(held);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_node_waits_for_no_program() {
    let mut bench = Bench::start(HANG);
    bench.send_lines(0..1);
    let held = written(&bench.path("held")).await;
    bench.send_lines(1..2);
    let began = tokio::time::Instant::now();
    bench.hooks.finish().await;
    assert!(began.elapsed() <= MAX_CLOSING_TIME + Duration::from_millis(1), "of the paused clock");
    text_until_closed(held);
    assert_eq!(bench.hooks.counters[0].counts().runs, 1, "no further run");
}

#[tokio::test(start_paused = true)]
async fn a_run_may_end_when_the_node_stops() {
    let mut bench = Bench::start(WRITE);
    bench.send_lines(0..1);
    bench.until(|counts| counts.is_running).await;
    bench.send_lines(1..2);
    bench.until(|counts| counts.events_waiting == 1).await;
    bench.hooks.closing.send_replace(true);
    bench.open_gate();
    // The clock stands still as long as the test has something to do.
    bench.until(|counts| !counts.is_running).await;
    bench.hooks.finish().await;
    assert_eq!(bench.lines(), ["0", "end"], "no further run");
}

#[tokio::test]
async fn runs_are_killed_when_the_node_stops_at_once() {
    let mut bench = Bench::start(HANG);
    bench.send_lines(0..1);
    let held = written(&bench.path("held")).await;
    bench.hooks.kill().await;
    text_until_closed(held);
}
