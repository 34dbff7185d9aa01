//! Claims about processes: they end when told, when dropped, and when their parent is killed. Servers are tested in
//! `servers.rs`; here only those that a killed parent must not leave behind.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use devstack::{Error, Program, Signal, Supervised};

const LIMIT: Duration = Duration::from_secs(20);

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Alive and not merely unburied.
fn runs(pid: u32) -> bool {
    let state = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output();
    let state = state.expect("ps runs").stdout;
    !state.is_empty() && !state.starts_with(b"Z")
}

fn sleeper() -> Program {
    Program::new("sleeper", "/bin/sleep").arg("600")
}

/// A shell command that says "up" in the log once it is so far.
fn shell(script: &str, log: &Path) -> Supervised {
    let program = Program::new("shell", "/bin/sh").args(["-c", script]).log(log);
    let started = Supervised::start(program).expect("a shell starts");
    eventually("the shell is up", || fs::read_to_string(log).is_ok_and(|text| text.contains("up")));
    started
}

fn temporary_file(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("devstack-{name}-{}.log", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

#[test]
fn the_pid_is_the_programs_own_and_kill_now_ends_it_at_once() {
    let log = temporary_file("own-pid");
    let shell = shell("echo up $$; exec sleep 600", &log);
    let said = fs::read_to_string(&log).expect("the log is there");

    assert_eq!(said.trim(), format!("up {}", shell.pid()));
    let status = shell.kill_now().expect("it can be killed");

    assert_eq!(status.to_string(), "signal: 9 (SIGKILL)");
    assert!(!runs(shell.pid()));
    fs::remove_file(log).expect("the log is ours");
}

#[tokio::test]
async fn terminate_lets_a_program_finish_and_kills_one_that_resists() {
    let log = temporary_file("resists");
    let polite = shell("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done", &log);
    let status = polite.terminate(LIMIT).await.expect("it ends");
    assert_eq!(status.code(), Some(3));
    assert!(fs::read_to_string(&log).expect("the log is there").contains("bye"));

    fs::remove_file(&log).expect("the log is ours");
    let rude = shell("trap '' TERM; echo up; while :; do sleep 0.01; done", &log);
    let status = rude.terminate(Duration::from_millis(50)).await.expect("it ends");
    assert_eq!(status.to_string(), "signal: 9 (SIGKILL)");
    fs::remove_file(log).expect("the log is ours");
}

#[test]
fn a_dropped_handle_ends_its_process_also_in_a_panic() {
    let caught = std::panic::catch_unwind(|| {
        let sleeper = Supervised::start(sleeper()).expect("sleep starts");
        std::panic::panic_any(sleeper.pid());
    });
    let pid = *caught.expect_err("it panicked").downcast::<u32>().expect("the panic says the pid");
    assert!(!runs(pid));
}

#[test]
fn a_frozen_process_can_be_thawed_and_restarted() {
    let log = temporary_file("thawed");
    let shell = shell("while :; do echo up; sleep 0.01; done", &log);
    let state = |pid: u32| {
        let output = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output();
        String::from_utf8(output.expect("ps runs").stdout).expect("ps writes text")
    };
    shell.signal(Signal::Stop).expect("it can be signalled");
    eventually("it is stopped", || state(shell.pid()).starts_with('T'));
    shell.signal(Signal::Continue).expect("it can be signalled");
    eventually("it runs again", || !state(shell.pid()).starts_with('T'));

    let first = shell.pid();
    let again = shell.restart().expect("it starts again");
    assert_ne!(again.pid(), first);
    assert!(!runs(first));
    assert!(runs(again.pid()));
    drop(again);
    fs::remove_file(log).expect("the log is ours");
}

#[test]
fn the_children_of_a_whole_group_end_with_it() {
    let log = temporary_file("group");
    let program = Program::new("shell", "/bin/sh").args(["-c", "sleep 600 & echo up $!; wait"]);
    // A shell lets its background jobs ignore this signal, as a stubborn child would.
    let program = program.stop_signal(Signal::Interrupt);
    let shell = Supervised::start(program.whole_group().log(&log)).expect("a shell starts");
    eventually("the shell is up", || {
        fs::read_to_string(&log).is_ok_and(|text| text.ends_with('\n'))
    });
    let said = fs::read_to_string(&log).expect("the log is there");
    let child = said.trim().trim_start_matches("up ").parse().expect("a pid");
    assert!(runs(child));

    drop(shell);

    eventually("its child is gone", || !runs(child));
    fs::remove_file(log).expect("the log is ours");
}

#[tokio::test]
async fn a_program_that_does_not_exist_says_so() {
    let missing = Supervised::start(Program::new("ghost", "/nonexistent/ghost"));
    let error = missing.expect_err("there is no such program");
    assert!(matches!(error, Error::Io { .. }));
    assert_eq!(error.to_string(), "could not start ghost (/nonexistent/ghost)");
}

#[test]
fn a_killed_parent_leaves_no_server_and_no_file_behind() {
    let mut parent = Command::new(env!("CARGO_BIN_EXE_scratch-servers"))
        .env_remove("DATABASE_URL")
        .env_remove("TEMPORAL_ADDRESS")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program was built for this test");
    let lines = BufReader::new(parent.stdout.take().expect("it is piped")).lines();
    let ports: Vec<u16> =
        lines.take(2).map(|line| port_of(&line.expect("it prints text"))).collect();
    let scratch = scratch_directories(parent.id());
    let children = processes_mentioning(&scratch);
    assert_eq!(scratch.len(), 2, "one directory for each server: {scratch:?}");
    assert!(children >= 2, "the servers run from there");
    assert!(ports.iter().all(|port| listens(*port)));

    parent.kill().expect("it can be killed");
    parent.wait().expect("it can be waited for");

    eventually("no process is left", || processes_mentioning(&scratch) == 0);
    eventually("no port is left open", || !ports.iter().any(|port| listens(*port)));
    eventually("no directory is left", || scratch_directories(parent.id()).is_empty());
}

/// `NAME=postgres://postgres@127.0.0.1:PORT/database` or `NAME=127.0.0.1:PORT`.
fn port_of(line: &str) -> u16 {
    let after_host = line.split("127.0.0.1:").nth(1).expect("an address on loopback");
    let digits = after_host.split('/').next().expect("the first part");
    digits.parse().expect("a port")
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn scratch_directories(parent: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(std::env::temp_dir()).expect("there is a temporary directory");
    let ours = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| {
            name.starts_with("holdfast-") && name.contains(&format!("-{parent}-"))
        })
    };
    entries.flatten().map(|entry| entry.path()).filter(ours).collect()
}

/// Servers and their watchers name the scratch directory among their arguments.
fn processes_mentioning(directories: &[PathBuf]) -> usize {
    let output = Command::new("ps").args(["-e", "-o", "args="]).output().expect("ps runs");
    let processes = String::from_utf8_lossy(&output.stdout).into_owned();
    let mentions = |line: &&str| {
        directories.iter().any(|directory| line.contains(&*directory.to_string_lossy()))
    };
    processes.lines().filter(mentions).count()
}
