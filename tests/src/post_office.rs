//! A mail server: takes mail over SMTP, keeps it, and refuses as told. Just enough of RFC 5321 for a
//! client that sends one mail after the other.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::eventually;

/// A mail as it was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mail {
    /// To whom, as the envelope says.
    pub to: Vec<String>,
    /// Headers, an empty line and the text.
    pub message: String,
}

impl Mail {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.message.split("\r\n\r\n").next()?;
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

#[derive(Clone, Default)]
struct Desk {
    taken: Arc<Mutex<Vec<Mail>>>,
    refusals: Arc<Mutex<VecDeque<&'static str>>>,
    refused: Arc<Mutex<usize>>,
}

/// A mail server on this machine.
pub struct PostOffice {
    /// Its address, as the worker is told it.
    pub url: String,
    desk: Desk,
}

impl PostOffice {
    /// Opens, and answers the first recipients with these lines, such as `550 unknown`.
    pub async fn open_refusing(refusals: impl IntoIterator<Item = &'static str>) -> Self {
        let desk = Desk {
            refusals: Arc::new(Mutex::new(refusals.into_iter().collect())),
            ..Desk::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("smtp://{}", listener.local_addr().expect("an address"));
        let clerk = desk.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, clerk.clone()));
            }
        });
        Self { url, desk }
    }

    /// The mails taken so far.
    pub fn taken(&self) -> Vec<Mail> {
        self.desk.taken.lock().expect("unpoisoned").clone()
    }

    /// How many recipients were refused.
    pub fn refused(&self) -> usize {
        *self.desk.refused.lock().expect("unpoisoned")
    }

    /// The mails, once there are so many.
    pub async fn takes(&self, count: usize) -> Vec<Mail> {
        eventually(&format!("{count} mails are taken"), || async {
            let taken = self.taken();
            (taken.len() >= count).then_some(taken)
        })
        .await
    }
}

/// One client. That it hangs up in between is its own affair.
async fn serve(stream: TcpStream, desk: Desk) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(b"220 post.test\r\n").await?;
    let mut mail = Mail::default();
    while let Some(line) = lines.next_line().await? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" | "HELO" => "250 post.test".to_owned(),
            "MAIL" => {
                mail = Mail::default();
                "250 ok".to_owned()
            }
            "RCPT" => recipient(&line, &mut mail, &desk),
            "DATA" => {
                writer.write_all(b"354 go on\r\n").await?;
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    // A point at the start of a line was doubled on its way.
                    mail.message += line.strip_prefix('.').unwrap_or(&line);
                    mail.message += "\r\n";
                }
                desk.taken.lock().expect("unpoisoned").push(std::mem::take(&mut mail));
                "250 taken".to_owned()
            }
            "QUIT" => return writer.write_all(b"221 bye\r\n").await,
            "RSET" | "NOOP" => "250 ok".to_owned(),
            _ => "502 unknown".to_owned(),
        };
        writer.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

/// Like others, it quotes the address that it refuses.
fn recipient(line: &str, mail: &mut Mail, desk: &Desk) -> String {
    let address = line.split(['<', '>']).nth(1).unwrap_or_default();
    if let Some(refusal) = desk.refusals.lock().expect("unpoisoned").pop_front() {
        *desk.refused.lock().expect("unpoisoned") += 1;
        return format!("{refusal} <{address}>");
    }
    mail.to.push(address.to_owned());
    "250 ok".to_owned()
}
