//! Mail: the customer is written to at the address of their checkout, as it is when the mail is sent.
//! What it says is in `letter.rs`.

use std::time::Duration;

use domain::OrderId;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp,
};
use sqlx::PgPool;
use store::{
    delivery::{self, Due},
    order,
};
use tokio::time::timeout;

use super::{
    MailSettings, REST, REST_IN_TROUBLE, Trouble, UnderWay, chain,
    letter::{self, Text},
    settle,
};

/// How many mails are under way at once, in one worker.
const AT_ONCE_MAX: usize = 4;
/// How long a mail server may take to take a mail. Some let strangers wait for a while.
const TRY_LIMIT: Duration = Duration::from_secs(20);
/// How long a delivery stays with whoever took it. Longer than a try can take, with room to write down
/// how it went.
const LEASE: Duration = Duration::from_secs(30);

/// Whoever writes to customers.
#[derive(Clone)]
pub(super) struct Mailer {
    pool: PgPool,
    smtp: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    tries_max: u32,
}

impl Mailer {
    pub(super) fn new(pool: PgPool, tries_max: u32, mail: &MailSettings) -> anyhow::Result<Self> {
        // What is wrong with it might quote it, and it may have a password.
        let smtp = AsyncSmtpTransport::<Tokio1Executor>::from_url(&mail.smtp_url.0)
            .map_err(|_| anyhow::anyhow!("SMTP_URL is no smtp:// or smtps:// address"))?
            .timeout(Some(TRY_LIMIT))
            .build();
        Ok(Self { pool, smtp, from: mail.from.clone(), tries_max })
    }

    pub(super) async fn run(&self) {
        let mut under_way = UnderWay::new();
        loop {
            let room = AT_ONCE_MAX - under_way.busy().len();
            let rest = match self.take(room).await {
                Ok(mails) => {
                    for due in mails {
                        under_way.begin((), self.clone().attempt(due));
                    }
                    REST
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "mail waits");
                    REST_IN_TROUBLE
                }
            };
            under_way.rest(rest).await;
        }
    }

    async fn take(&self, room: usize) -> Result<Vec<Due>, store::Error> {
        if room == 0 {
            return Ok(Vec::new());
        }
        let mut conn = self.pool.acquire().await?;
        delivery::take_mails(&mut conn, i64::try_from(room).unwrap_or(i64::MAX), LEASE).await
    }

    async fn attempt(self, due: Due) {
        let told = match timeout(TRY_LIMIT, self.mail(&due)).await {
            Ok(told) => told,
            Err(_) => Err(Trouble::Passing("the mail server did not answer in time".to_owned())),
        };
        settle(&self.pool, self.tries_max, &due, told).await;
    }

    async fn mail(&self, due: &Due) -> Result<(), Trouble> {
        let order_id: OrderId = due.event.data["order_id"]
            .as_str()
            .and_then(|id| id.parse().ok())
            .ok_or(Trouble::Lasting("the event names no order"))?;
        let letter = async {
            let mut conn = self.pool.acquire().await?;
            order::letter::find(&mut conn, order_id).await
        };
        let letter = letter
            .await
            .map_err(|error| Trouble::Passing(chain(&error)))?
            .ok_or(Trouble::Lasting("there is no such order"))?;
        let text = letter::write(&due.event.topic, &due.event.data, order_id, &letter)
            .ok_or(Trouble::Lasting("there is nothing to write about it"))?;
        let message = self.message(due, &letter.email, text)?;
        self.smtp.send(message).await.map(drop).map_err(|error| refused(&error))
    }

    /// The same at every try, its id included, so that a mailbox can tell a repeated one.
    fn message(&self, due: &Due, to: &str, text: Text) -> Result<Message, Trouble> {
        let to = to.parse().map_err(|_| Trouble::Lasting("the address cannot be written to"))?;
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .message_id(Some(format!("<{}@{}>", due.id, self.from.email.domain())))
            .subject(text.subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text.body)
            .map_err(|_| Trouble::Lasting("the mail cannot be put together"))
    }
}

/// In our own words: a mail server likes to quote the address that it refuses.
fn refused(error: &smtp::Error) -> Trouble {
    Trouble::Passing(match error.status() {
        Some(code) => format!("the mail server answered {code}"),
        None if error.is_timeout() => "the mail server did not answer in time".to_owned(),
        None => "the mail server cannot be reached, or cannot be understood".to_owned(),
    })
}
