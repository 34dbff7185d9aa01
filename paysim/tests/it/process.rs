//! The binary as a process: its errors, its end, and what survives a kill.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use devstack::TestDatabase;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    endpoint::{Endpoint, SECRET},
    harness::{client, database},
};

/// A started binary, killed with the test.
struct Process {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Process {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_paysim"))
            .args(args)
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        Self { child, stderr }
    }

    fn start_on_free_port(database: &TestDatabase) -> (Self, String) {
        Self::start_on_free_port_with(database, &[])
    }

    fn start_on_free_port_with(database: &TestDatabase, args: &[&str]) -> (Self, String) {
        let always = ["--listen", "127.0.0.1:0", "--database-url", database.url()];
        let mut process = Self::start(&[&always, args].concat());
        let mut line = String::new();
        // Ends at the latest with the process, whose stderr then ends too.
        while !line.contains("listens on") {
            line.clear();
            let read = process.stderr.read_line(&mut line).expect("stderr is text");
            assert!(read > 0, "the process ended before it listened");
        }
        let address = line.split("listens on ").nth(1).expect("the address follows");
        let address = address.split_whitespace().next().expect("the address is a word");
        (process, format!("http://{address}"))
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().expect("kill runs");
        assert!(status.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone in the good case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_ledger_survives_a_kill() {
    let database = database().await;
    let client = client();
    let (mut process, url) = Process::start_on_free_port(&database);
    let fields = [
        ("amount", "1000"),
        ("currency", "eur"),
        ("confirm", "true"),
        ("payment_method", "pm_card_visa"),
    ];
    let create = |url: &str| {
        let request = client.post(format!("{url}/v1/payment_intents")).bearer_auth("sk_test_it");
        request.header("Idempotency-Key", "k").form(&fields).send()
    };
    let first: Value = create(&url).await.expect("an answer").json().await.expect("JSON");
    process.signal("-KILL");
    process.child.wait().expect("the process is reaped");

    let (_process, url) = Process::start_on_free_port(&database);
    let again: Value = create(&url).await.expect("an answer").json().await.expect("JSON");
    assert_eq!(first, again);
    let ledger = client.get(format!("{url}/ledger")).send().await.expect("an answer");
    let ledger: Value = ledger.json().await.expect("JSON");
    assert_eq!(ledger["entries"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn deliveries_survive_a_kill() {
    let database = database().await;
    let endpoint = Endpoint::start(&[]).await;
    endpoint.usually(503);
    let args = [
        "--webhook-url",
        &*endpoint.url,
        "--webhook-secret",
        SECRET,
        "--webhook-retry-ms",
        "10",
        "--webhook-timeout-ms",
        "200",
    ];
    let (mut process, url) = Process::start_on_free_port_with(&database, &args);
    let fields = [("amount", "1000"), ("currency", "eur")];
    let create = client().post(format!("{url}/v1/payment_intents")).bearer_auth("sk_test_it");
    create.form(&fields).send().await.expect("an answer");
    endpoint.received_count(2).await;
    process.signal("-KILL");
    process.child.wait().expect("the process is reaped");
    endpoint.usually(200);
    let before = endpoint.received().len();

    let (_process, _url) = Process::start_on_free_port_with(&database, &args);
    let received = endpoint.received_count(before + 1).await;
    assert_eq!(received[before].event, received[0].event);
    assert!(received[before].valid);
}

#[tokio::test]
async fn a_webhook_url_needs_a_secret_and_must_be_a_web_address() {
    let database = database().await;
    for (args, named) in [
        (&["--webhook-url", "http://127.0.0.1:1/"][..], "secret"),
        (
            &["--webhook-url", "ftp://shop.example/", "--webhook-secret", "s"][..],
            "ftp://shop.example/",
        ),
    ] {
        let always = ["--listen", "127.0.0.1:0", "--database-url", database.url()];
        let mut process = Process::start(&[&always, args].concat());
        let mut message = String::new();
        process.stderr.read_to_string(&mut message).expect("stderr is text");
        assert_eq!(process.child.wait().expect("the process ends").code(), Some(1));
        assert!(message.contains(named), "{message}");
    }
}

#[tokio::test]
async fn a_signal_ends_it_at_once_even_with_a_connection_held() {
    let database = database().await;
    let client = client();
    for signal in ["-TERM", "-INT"] {
        let (mut process, url) = Process::start_on_free_port(&database);
        let faults = format!("{url}/faults");
        let order =
            json!({ "operation": "retrieve", "kind": "timeout_before", "delay_ms": 600_000 });
        client.post(&faults).json(&order).send().await.expect("an answer");
        let search = format!("{url}/v1/payment_intents/search?query=metadata['a']:'b'");
        let held = tokio::spawn(client.get(search).bearer_auth("sk_test_it").send());
        // The fault is used up as soon as it holds the connection.
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let armed = client.get(&faults).send().await.expect("an answer");
            let armed: Value = armed.json().await.expect("JSON");
            if armed["armed"] == json!([]) {
                break;
            }
            assert!(Instant::now() < deadline, "the connection is never held");
            sleep(Duration::from_millis(5)).await;
        }
        let signalled_at = Instant::now();
        process.signal(signal);
        let status = tokio::task::spawn_blocking(move || process.child.wait()).await;
        let status = status.expect("the wait ends").expect("the process is reaped");
        assert!(status.success(), "{signal}: {status}");
        assert!(
            signalled_at.elapsed() < Duration::from_secs(8),
            "it waited for the held connection"
        );
        assert!(held.await.expect("the request ends").is_err());
    }
}

#[test]
fn a_taken_port_is_named_with_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    let address = taken.local_addr().expect("a bound listener has an address");
    let args = ["--listen", &address.to_string(), "--database-url", "postgres://nowhere/x"];
    let mut process = Process::start(&args);
    let mut message = String::new();
    process.stderr.read_to_string(&mut message).expect("stderr is text");
    let status = process.child.wait().expect("the process ends");
    assert_eq!(status.code(), Some(1));
    assert!(message.contains(&address.port().to_string()), "{message}");
    assert!(message.contains("--listen"), "{message}");
}
