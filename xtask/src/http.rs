//! Just enough of an HTTP client to ask a program on this machine whether it is ready. Not for anything beyond loopback.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time,
};

const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn good(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// One request to 127.0.0.1, without a body.
pub(crate) async fn request(method: &str, port: u16, path: &str) -> anyhow::Result<Answer> {
    time::timeout(ANSWER_LIMIT, exchange(method, port, path))
        .await
        .with_context(|| format!("port {port} did not answer {method} {path} in time"))?
}

async fn exchange(method: &str, port: u16, path: &str) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    // By version 1.0 the other side says everything as it is, and then closes.
    let head =
        format!("{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        bail!("port {port} does not speak HTTP");
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Answer {
        status: status.with_context(|| format!("port {port} does not speak HTTP"))?,
        body: body.to_owned(),
    })
}
