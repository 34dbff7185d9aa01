//! Telling others: gives the outbox's events out to those who listen, and brings each delivery to its
//! consumer. What a delivery looks like on its way is in `post.rs` and `mail.rs`.
//!
//! Every worker does this; they share the rows by locks and leases. A delivery that was made but could
//! not be marked is made again under the same event's id.

mod letter;
mod mail;
mod post;
mod reach;

use std::{collections::HashMap, time::Duration};

use domain::delivery::next_pause;
use lettre::message::Mailbox;
use sqlx::PgPool;
use store::delivery::{self, Due};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::sleep,
};

use self::{mail::Mailer, post::Poster};

/// How many events are given out in one statement.
const BATCH: i64 = 64;
/// How long to rest when there was nothing to do.
const REST: Duration = Duration::from_millis(250);
/// How long to rest when the database did not do as asked.
const REST_IN_TROUBLE: Duration = Duration::from_secs(2);

/// How the shop tells others.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How often a delivery is tried before it is given up.
    pub(crate) tries_max: u32,
    /// Whether endpoints may be where only this network reaches.
    pub(crate) allow_private: bool,
    /// How mail is sent, if any is.
    pub(crate) mail: Option<MailSettings>,
}

/// How mail is sent.
#[derive(Debug, Clone)]
pub(crate) struct MailSettings {
    /// The mail server, with what it wants to know of us.
    pub(crate) smtp_url: SmtpUrl,
    /// Whom it is from.
    pub(crate) from: Mailbox,
}

/// An address that may have a password in it, and is never printed.
#[derive(Clone)]
pub(crate) struct SmtpUrl(String);

impl std::fmt::Debug for SmtpUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SmtpUrl(..)")
    }
}

impl std::str::FromStr for SmtpUrl {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// Whoever tells others.
pub(crate) struct Notifier {
    pool: PgPool,
    poster: Poster,
    mailer: Option<Mailer>,
}

/// Why a try failed.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The next try may go better. What is said has no personal data.
    Passing(String),
    /// No try will ever go better.
    Lasting(&'static str),
}

impl Notifier {
    pub(crate) fn new(pool: PgPool, settings: &Settings) -> anyhow::Result<Self> {
        let tries_max = settings.tries_max;
        Ok(Self {
            poster: Poster::new(pool.clone(), tries_max, settings.allow_private)?,
            mailer: settings
                .mail
                .as_ref()
                .map(|mail| Mailer::new(pool.clone(), tries_max, mail))
                .transpose()?,
            pool,
        })
    }

    /// Goes on until it is dropped.
    pub(crate) async fn run(self) {
        let mail_topics: Vec<String> =
            self.mailer.iter().flat_map(|_| letter::TOPICS.map(Into::into)).collect();
        let mails = async {
            if let Some(mailer) = &self.mailer {
                mailer.run().await;
            }
        };
        tokio::join!(give_out(&self.pool, &mail_topics), self.poster.run(), mails);
    }
}

async fn give_out(pool: &PgPool, mail_topics: &[String]) {
    loop {
        let given_out = async {
            let mut conn = pool.acquire().await?;
            delivery::fan_out(&mut conn, mail_topics, BATCH).await
        };
        match given_out.await {
            Ok(BATCH) => {}
            Ok(_) => sleep(REST).await,
            Err(error) => {
                tracing::warn!(error = chain(&error), "events wait to be given out");
                sleep(REST_IN_TROUBLE).await;
            }
        }
    }
}

/// Writes down how a try went.
async fn settle(pool: &PgPool, tries_max: u32, due: &Due, told: Result<(), Trouble>) {
    let written = async {
        let mut conn = pool.acquire().await?;
        let (error, pause) = match told {
            Ok(()) => return delivery::delivered(&mut conn, due.id).await,
            Err(Trouble::Passing(error)) => {
                (error, next_pause(due.tries, due.tried_for, tries_max))
            }
            Err(Trouble::Lasting(error)) => (error.to_owned(), None),
        };
        if pause.is_none() {
            let (id, topic, tries) = (due.id, &due.event.topic, due.tries);
            tracing::error!(delivery.id = %id, error, "{id} of {topic} is given up after {tries} tries");
        }
        delivery::failed(&mut conn, due, &error, pause).await
    };
    if let Err(error) = written.await {
        // Nothing is lost: it is tried again when its lease is over.
        tracing::warn!(delivery.id = %due.id, error = chain(&error), "a delivery is unaccounted for");
    }
}

/// Tries under way, by what they keep busy.
struct UnderWay<T> {
    tries: JoinSet<()>,
    busy: HashMap<Id, T>,
}

impl<T: Copy> UnderWay<T> {
    fn new() -> Self {
        Self { tries: JoinSet::new(), busy: HashMap::new() }
    }

    fn begin(&mut self, keeps_busy: T, attempt: impl Future<Output = ()> + Send + 'static) {
        let task = self.tries.spawn(attempt);
        self.busy.insert(task.id(), keeps_busy);
    }

    fn busy(&self) -> Vec<T> {
        self.busy.values().copied().collect()
    }

    /// Until one of them ends, or for so long.
    async fn rest(&mut self, rest: Duration) {
        if self.tries.is_empty() {
            return sleep(rest).await;
        }
        tokio::select! {
            ended = self.tries.join_next_with_id() => self.ended(ended),
            () = sleep(rest) => {}
        }
        while let Some(ended) = self.tries.try_join_next_with_id() {
            self.ended(Some(ended));
        }
    }

    fn ended(&mut self, ended: Option<Result<(Id, ()), JoinError>>) {
        match ended {
            None => {}
            Some(Ok((id, ()))) => drop(self.busy.remove(&id)),
            Some(Err(error)) => {
                tracing::error!(%error, "a delivery's try broke");
                self.busy.remove(&error.id());
            }
        }
    }
}

/// An error with what is below it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(below) = source {
        text = format!("{text}: {below}");
        source = below.source();
    }
    text
}
