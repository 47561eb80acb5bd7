use std::{fs::File, io::Read, process::Command, sync::mpsc, thread};

use tempfile::TempDir;
use tokio::task::spawn_blocking;

use super::*;

/// A script for the shell, with these arguments from `$0` on. It is no file, because a file that is written while another
/// thread starts a program may be busy.
pub(crate) fn shell(script: &str, arguments: &[&str]) -> Program {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned());
    let program = Program::new("/bin/sh").unwrap().with_arguments(["-c".into(), script.into()]);
    program.with_arguments(arguments)
}

/// A FIFO. The processes that hold it open are seen at its other end.
pub(crate) fn fifo(directory: &TempDir, name: &str) -> String {
    let path = directory.path().join(name).to_str().unwrap().to_owned();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

/// Waits until a process has written a byte to the FIFO. Meanwhile a paused clock stands still.
pub(crate) async fn written(fifo: &str) -> File {
    let fifo = fifo.to_owned();
    let opened = spawn_blocking(move || {
        let mut fifo = File::open(fifo).unwrap();
        fifo.read_exact(&mut [0]).unwrap();
        fifo
    });
    opened.await.unwrap()
}

/// Waits until no process holds the FIFO open, and returns what was written.
pub(crate) fn text_until_closed(mut fifo: File) -> String {
    let (sender, closed) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        fifo.read_to_string(&mut text).unwrap();
        sender.send(text)
    });
    closed.recv_timeout(PATIENCE).expect("a process still holds the FIFO open")
}

/// Only a failure takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_program_reads_its_input_and_its_output_is_returned() {
    let output = shell("cat; echo 1>&2 problem; exit 3", &[]).output(b"in\n", PATIENCE, 100).await;
    let output = output.unwrap();
    assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"in\n"[..], Some(3)));
    let cut = shell("printf abcdef", &[]).output(b"", PATIENCE, 3).await.unwrap();
    assert_eq!((cut.stdout.as_slice(), cut.status.code()), (&b"abc"[..], Some(0)));
}

#[tokio::test]
async fn output_written_just_before_the_end_is_not_lost() {
    // More than one read of the pipe takes, and the end at once.
    let program = shell("head -c 60000 /dev/zero; exit 0", &[]);
    for _ in 0..20 {
        let output = program.output(b"", PATIENCE, 100_000).await.unwrap();
        assert_eq!(output.stdout.len(), 60_000);
    }
}

#[tokio::test]
async fn a_program_that_is_gone_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("program");
    std::fs::copy("/bin/sh", &path).unwrap();
    let program = Program::new(path.to_str().unwrap()).unwrap();
    std::fs::remove_file(path).unwrap();
    let error = program.output(b"", PATIENCE, 0).await.unwrap_err();
    let RunError::NotRun(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn the_time_limit_kills_the_program_and_its_child_processes() {
    let directory = tempfile::tempdir().unwrap();
    let held = fifo(&directory, "held");
    let program = shell("exec 3>$0; sleep 1000 & echo >&3; sleep 1000", &[&held]);
    let limit = Duration::from_secs(30);
    // The clock advances as soon as nothing is left to do but to wait: when both processes run.
    let (result, held) = tokio::join!(program.output(b"", limit, 0), written(&held));
    let error = result.unwrap_err();
    assert!(matches!(error, RunError::TimedOut { .. }), "{error}");
    text_until_closed(held);
}

#[tokio::test]
async fn the_exit_of_the_program_ends_its_child_processes() {
    let directory = tempfile::tempdir().unwrap();
    let held = fifo(&directory, "held");
    // The child holds the standard output open, too.
    let program = shell("exec 3>$0; sleep 1000 & echo >&3; exit 7", &[&held]);
    let (result, held) = tokio::join!(program.output(b"", PATIENCE, 0), written(&held));
    assert_eq!(result.unwrap().status.code(), Some(7));
    text_until_closed(held);
}

#[tokio::test]
async fn a_run_that_is_given_up_ends_its_processes() {
    let directory = tempfile::tempdir().unwrap();
    let held = fifo(&directory, "held");
    let program = shell("exec 3>$0; sleep 1000 & echo >&3; sleep 1000", &[&held]);
    let held = tokio::select! {
        result = program.output(b"", PATIENCE, 0) => panic!("{result:?}"),
        held = written(&held) => held,
    };
    text_until_closed(held);
}

#[tokio::test]
async fn a_flood_of_output_does_not_block_the_program() {
    let flood = "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; yes | head -c 3000000";
    let output = shell(flood, &[]).output(b"", PATIENCE, 10).await.unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 10));
}

#[tokio::test]
async fn a_program_need_not_read_its_input() {
    let input = vec![b'x'; 1_000_000];
    let output = shell("exit 0", &[]).output(&input, PATIENCE, 0).await.unwrap();
    assert!(output.status.success(), "a broken pipe is no failure");
}

#[tokio::test(start_paused = true)]
async fn the_time_limit_holds_while_the_input_is_written() {
    let input = vec![b'x'; 1_000_000];
    let directory = tempfile::tempdir().unwrap();
    let held = fifo(&directory, "held");
    let hangs = shell("exec 3>$0; echo >&3; sleep 1000", &[&held]);
    let (result, _) = tokio::join!(hangs.output(&input, PATIENCE, 0), written(&held));
    assert!(matches!(result, Err(RunError::TimedOut { .. })), "{result:?}");
}

#[test]
fn arguments_have_spaces_between_them_and_no_quotes() {
    let program = Program::parse(" /bin/sh  -c\ttrue ").unwrap();
    assert_eq!(
        (program.path(), &program.arguments[..]),
        (Path::new("/bin/sh"), &["-c", "true"].map(str::to_owned)[..])
    );
    for quoted in ["/bin/sh -c 'a b'", "/bin/sh \"a\"", "/bin/sh a\\ b", "/bin/sh `a`"] {
        assert!(Program::parse(quoted).unwrap_err().contains("no shell"), "{quoted}");
    }
    assert_eq!(Program::parse("  ").unwrap_err(), "expected the path of a program");
}
