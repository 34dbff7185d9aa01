//! A stranger's imitation of Stripe, as a process of its own: how it is started and what it wants that
//! Stripe does not. It is under the GPL, so nothing of it is linked or copied.

use std::{
    env,
    fs::OpenOptions,
    net::{Ipv6Addr, TcpListener},
    path::Path,
    time::Duration,
};

use devstack::{Program, Supervised, ports, tools};
use tokio::{
    net::TcpStream,
    sync::OnceCell,
    time::{Instant, sleep},
};
use url::Url;

const READY_LIMIT: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(20);
/// How often it is started anew because another process took its port.
const STARTS_MAX: u32 = 5;
/// It writes all it knows there, whatever the system's temporary directory is, and never reads it.
const STORE: &str = "/tmp/localstripe.pickle";

/// One for all tests: what they make has names of its own. It dies with this process.
static SERVER: OnceCell<Localstripe> = OnceCell::const_new();

#[derive(Debug)]
pub(crate) struct Localstripe {
    pub(crate) url: Url,
    _server: Supervised,
}

/// Why it cannot run on this machine at all, if it cannot.
pub(crate) fn impossible() -> Option<&'static str> {
    // It listens there and nowhere else, and that takes IPv4 in as well.
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).err().map(|_| "this machine has no IPv6")
}

pub(crate) async fn localstripe() -> &'static Localstripe {
    SERVER.get_or_init(start).await
}

async fn start() -> Localstripe {
    let packages = tokio::task::spawn_blocking(|| tools::localstripe(&|line| eprintln!("{line}")));
    let packages = packages.await.expect("no panic").expect("localstripe can be fetched");
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(STORE)
        .unwrap_or_else(|error| panic!("localstripe must write to {STORE}: {error}"));
    for _ in 0..STARTS_MAX {
        if let Some(server) = try_start(&packages).await {
            return server;
        }
    }
    panic!("localstripe found no port");
}

/// `None` when it ended at once.
async fn try_start(packages: &Path) -> Option<Localstripe> {
    let port = ports::free().expect("a free port");
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("localstripe-{port}.log"));
    let server = Supervised::start(
        Program::new("localstripe", "python3")
            .args(["-m", "localstripe", "--from-scratch", "--port", &port.to_string()])
            .env("PYTHONPATH", packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .log(&log),
    );
    let server = server.expect("python3 can be started");
    let begun = Instant::now();
    loop {
        if server.exited().expect("its state is known").is_some() {
            return None;
        }
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            let url = format!("http://127.0.0.1:{port}").parse().expect("a URL");
            return Some(Localstripe { url, _server: server });
        }
        assert!(begun.elapsed() < READY_LIMIT, "localstripe is not ready, see {}", log.display());
        sleep(READY_POLL).await;
    }
}
