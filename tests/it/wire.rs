//! Bytes that are hardly HTTP: the server refuses them, or hangs up, and lives.

use std::{net::SocketAddr, time::Duration};

use serde_json::json;
use tests::{Shop, checkout_body};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The server hung up without a word, or with one that is not HTTP/1.1.
const SILENCE: Option<u16> = None;

/// What is sent, whether the client then hangs up, and what may come back.
type Case = (&'static str, Vec<u8>, bool, &'static [Option<u16>]);

#[tokio::test]
async fn bytes_that_are_no_request_are_refused_and_change_nothing() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 10, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let before = shop.contents().await;
    let server: SocketAddr =
        shop.api_url.trim_start_matches("http://").parse().expect("an address");
    let head = format!(
        "Host: {server}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\n",
        ada.token()
    );

    for (what, request, hang_up, expected) in
        no_requests(&head).into_iter().chain(bad_bodies(&head))
    {
        let status = exchange(server, &request, hang_up).await;
        assert!(expected.contains(&status), "{what}: {status:?}");
        assert_eq!(ada.get("/livez").await.status.as_u16(), 200, "after {what}");
    }

    assert_eq!(shop.contents().await, before);
    shop.assert_lawful().await;
}

fn no_requests(head: &str) -> Vec<Case> {
    let get = |path: &[u8], rest: &str| {
        [b"GET ", path, b" HTTP/1.1\r\n", head.as_bytes(), rest.as_bytes()].concat()
    };
    let long = "y".repeat(70_000);
    vec![
        (
            "a TLS greeting",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n".to_vec(),
            false,
            &[Some(400)],
        ),
        ("zeros", vec![0; 4096], false, &[Some(400), SILENCE]),
        (
            "an HTTP/2 preface and garbage",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff".to_vec(),
            true,
            &[SILENCE],
        ),
        ("a path that is no UTF-8", get(b"/v1/cart/\xff", "\r\n"), false, &[Some(400), Some(404)]),
        (
            "a version from the future",
            format!("GET /v1/cart HTTP/9.9\r\n{head}\r\n").into(),
            false,
            &[Some(400)],
        ),
        ("a header without a colon", get(b"/v1/cart", "nonsense\r\n\r\n"), false, &[Some(400)]),
        ("a zero byte in a header", get(b"/v1/cart", "X: \0\r\n\r\n"), false, &[Some(400)]),
        (
            "a thousand headers",
            get(b"/v1/cart", &format!("{}\r\n", "X: y\r\n".repeat(1000))),
            false,
            &[Some(431)],
        ),
        (
            "an endless header",
            get(b"/v1/cart", &format!("X: {}\r\n\r\n", long.repeat(15))),
            false,
            &[Some(431), SILENCE],
        ),
        (
            "an endless path",
            get(format!("/{long}").as_bytes(), "\r\n"),
            false,
            &[Some(414), SILENCE],
        ),
    ]
}

fn bad_bodies(head: &str) -> Vec<Case> {
    let post = |more: String| format!("POST /v1/checkouts HTTP/1.1\r\n{head}{more}").into_bytes();
    let body = checkout_body(json!({})).to_string();
    let (length, cut) = (body.len(), &body[..body.len() / 2]);
    let large = " ".repeat(70_000);
    let chunk =
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    vec![
        (
            "a negative length",
            post(format!("Content-Length: -1\r\n\r\n{body}")),
            false,
            &[Some(400)],
        ),
        (
            "two lengths",
            post(format!("Content-Length: 1\r\nContent-Length: 2\r\n\r\n{body}")),
            false,
            &[Some(400)],
        ),
        (
            "chunks that are none",
            post(format!("Transfer-Encoding: chunked\r\n\r\nZZ\r\n{body}\r\n")),
            false,
            &[Some(400)],
        ),
        (
            "half a body",
            post(format!("Content-Length: {}\r\n\r\n{cut}", cut.len())),
            false,
            &[Some(400)],
        ),
        (
            "a body that ends early",
            post(format!("Content-Length: {length}\r\n\r\n{cut}")),
            true,
            &[Some(400), SILENCE],
        ),
        ("a body that is too large, in chunks", post(chunk), false, &[Some(413)]),
    ]
}

/// Sends these bytes, and reads the status of the first answer, if there is one.
async fn exchange(server: SocketAddr, request: &[u8], hang_up: bool) -> Option<u16> {
    let mut stream = TcpStream::connect(server).await.expect("a connection");
    // It may hang up before it has read everything, and then what it said may be lost.
    let _ = stream.write_all(request).await;
    if hang_up {
        let _ = stream.shutdown().await;
    }
    let mut line = [0; "HTTP/1.1 400".len()];
    match timeout(Duration::from_secs(10), stream.read_exact(&mut line)).await {
        Ok(Ok(_)) => std::str::from_utf8(&line).ok()?.strip_prefix("HTTP/1.1 ")?.parse().ok(),
        Ok(Err(_)) => SILENCE,
        Err(elapsed) => panic!("neither an answer nor an end: {elapsed}"),
    }
}
