//! A provider that answers by script, one answer per request in order, and remembers what it was
//! asked. It speaks just enough HTTP/1.1, byte by byte, to also answer wrongly or not at all.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use url::{Url, form_urlencoded};

const TIMEOUT: Duration = Duration::from_secs(20);
const SILENT_TIMEOUT: Duration = Duration::from_millis(400);

pub(crate) struct Provider {
    pub(crate) url: Url,
    /// How long a client should wait: long, for a busy machine's sake, unless silence is in the script.
    pub(crate) timeout: Duration,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    script: VecDeque<Answer>,
    requests: Vec<Request>,
    connections: usize,
    unscripted: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// Method and path, such as `POST /v1/refunds`.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| &**value)
    }

    pub(crate) fn key(&self) -> &str {
        self.header("idempotency-key").unwrap_or("none")
    }

    pub(crate) fn form(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }
}

#[derive(Clone)]
pub(crate) struct Answer {
    bytes: Vec<u8>,
    end: End,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    KeepAlive,
    Reset,
    Silence,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::with(status, &[("content-type", "application/json")], &body.to_string())
    }

    /// A stored answer, repeated.
    pub(crate) fn replay(status: u16, body: &Value) -> Self {
        Self::with(status, &[("idempotent-replayed", "true")], &body.to_string())
    }

    pub(crate) fn with(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let length = body.len();
        let mut text = format!("HTTP/1.1 {status} S\r\ncontent-length: {length}\r\n");
        for (name, value) in headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text.extend(["\r\n", body]);
        Self { bytes: text.into_bytes(), end: End::KeepAlive }
    }

    /// Takes the request and says nothing, until the client gives up.
    pub(crate) fn silence() -> Self {
        Self { bytes: Vec::new(), end: End::Silence }
    }

    /// Takes the request and resets the connection.
    pub(crate) fn reset() -> Self {
        Self { bytes: Vec::new(), end: End::Reset }
    }

    /// Leaves out the last bytes of the answer and resets the connection instead.
    pub(crate) fn cut_short_by(mut self, bytes: usize) -> Self {
        self.bytes.truncate(self.bytes.len().saturating_sub(bytes));
        Self { end: End::Reset, ..self }
    }

    /// Leaves out the last bytes of the answer and stays silent instead.
    pub(crate) fn stuck_before_the_last(mut self, bytes: usize) -> Self {
        self.bytes.truncate(self.bytes.len().saturating_sub(bytes));
        Self { end: End::Silence, ..self }
    }
}

impl Provider {
    pub(crate) async fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let script: VecDeque<Answer> = script.into_iter().collect();
        let silent = script.iter().any(|answer| answer.end == End::Silence);
        let timeout = if silent { SILENT_TIMEOUT } else { TIMEOUT };
        let state = State { script, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().expect("no test panics while holding it").connections += 1;
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        let url = format!("http://{address}").parse().expect("a URL");
        Self { url, timeout, state, server }
    }

    /// What was asked. By now the script must have been played to its end, and no further.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let state = self.state.lock().expect("no test panics while holding it");
        assert_eq!((state.script.len(), state.unscripted), (0, 0), "{:#?}", state.requests);
        state.requests.clone()
    }

    /// What was asked up to now, whatever is left of the script.
    pub(crate) fn heard(&self) -> Vec<Request> {
        self.state.lock().expect("no test panics while holding it").requests.clone()
    }

    /// The idempotency keys of all requests, `none` for those without.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.requests().iter().map(|request| request.key().to_owned()).collect()
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.lock().expect("no test panics while holding it").connections
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    while let Some(request) = read(&mut stream).await {
        let answer = {
            let mut state = state.lock().expect("no test panics while holding it");
            state.requests.push(request);
            if state.script.is_empty() {
                state.unscripted += 1;
            }
            state.script.pop_front().unwrap_or_else(Answer::reset)
        };
        // The client may be gone already; what it makes of that is what the tests look at.
        let _ = stream.write_all(&answer.bytes).await;
        match answer.end {
            End::KeepAlive => {}
            End::Silence => {
                let _ = stream.read(&mut [0]).await;
                return;
            }
            End::Reset => {
                stream.set_zero_linger().expect("a connected socket");
                return;
            }
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).expect("ASCII headers");
    let mut lines = head.split("\r\n");
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().expect("a length"));
    while bytes.len() < head_end + 4 + length {
        stream.read_buf(&mut bytes).await.ok()?;
    }
    let body = String::from_utf8(bytes[head_end + 4..].to_vec()).expect("a form is ASCII");
    Some(Request { line, headers, body })
}
