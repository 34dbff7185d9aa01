//! Group commit: what arrives while the last batch is being written is written together in the next.
//!
//! One task with one connection of its own empties a queue. It waits for one request, takes whatever
//! else has queued up, and has all of it decided in one transaction; there is no timer, so a lone
//! request is served at once and a crowd makes its own batches. Callers hold no connection while
//! they wait, and a full queue says so at once.

use std::{
    collections::HashSet,
    future::Future,
    iter::Sum,
    marker::PhantomData,
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use domain::CheckoutId;
use sqlx::{Connection as _, PgConnection, error::DatabaseError, postgres::PgConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use super::Part;
use crate::{Error, said};

/// How many requests may wait. By Little's law a fifth of a second at 20,000 a second.
const WAITING_MAX: usize = 4096;
/// How many are decided together.
const BATCH_MAX: usize = 512;
/// How long a batch whose connection was lost goes on trying before its callers are told.
const PATIENCE: Duration = Duration::from_secs(5);
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// How often a batch is run again because it met another process's transaction.
const CLASHES_MAX: u32 = 20;

/// What a queue's batches do.
pub(super) trait Work: Send + 'static {
    /// What callers ask for. Asking twice must come to the same as asking once.
    type Request: Send + Sync;
    /// What they are told.
    type Answer: Send;

    /// Of one checkout's requests a batch holds one; the others wait for the next.
    fn checkout(request: &Self::Request) -> CheckoutId;

    /// Decides a batch, all of it or nothing, with one answer for each request in their order.
    fn decide(
        conn: &mut PgConnection,
        batch: &[&Self::Request],
    ) -> impl Future<Output = Result<Vec<Self::Answer>, Error>> + Send;
}

struct Ticket<W: Work> {
    request: W::Request,
    reply: oneshot::Sender<Result<W::Answer, Error>>,
}

/// What a queue has done since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// How many batches were committed.
    pub batches: u64,
    /// How many requests those held.
    pub requests: u64,
    /// How long its connection was at work, in microseconds.
    pub busy_us: u64,
}

impl Sum for Served {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            batches: sum.batches + part.batches,
            requests: sum.requests + part.requests,
            busy_us: sum.busy_us + part.busy_us,
        })
    }
}

#[derive(Default)]
struct Counters {
    batches: AtomicU64,
    requests: AtomicU64,
    busy_us: AtomicU64,
}

/// The way into a queue. Its task ends with the last clone.
pub(super) struct Queue<W: Work> {
    tickets: mpsc::Sender<Ticket<W>>,
    counters: Arc<Counters>,
}

impl<W: Work> Clone for Queue<W> {
    fn clone(&self) -> Self {
        Self { tickets: self.tickets.clone(), counters: Arc::clone(&self.counters) }
    }
}

impl<W: Work> Queue<W> {
    /// Starts the task. It connects when there is something to do.
    pub(super) fn start(part: Part, options: &PgConnectOptions) -> Self {
        // A plan made while a table was small must not go on scanning it when it is not, and need not be
        // made anew for every batch. A statement stuck behind somebody's lock gives way, and its callers
        // are told to come again.
        let options = options.clone().options([
            ("enable_seqscan", "off"),
            ("plan_cache_mode", "force_generic_plan"),
            ("statement_timeout", "5s"),
        ]);
        let (tickets, waiting) = mpsc::channel(WAITING_MAX);
        let counters = Arc::new(Counters::default());
        let server = Server::<W> {
            part,
            options,
            conn: None,
            counters: Arc::clone(&counters),
            work: PhantomData,
        };
        tokio::spawn(server.run(waiting));
        Self { tickets, counters }
    }

    /// Waits for the request's batch to be committed. [`Error::Busy`] at once if too many wait.
    pub(super) async fn ask(&self, request: W::Request) -> Result<W::Answer, Error> {
        let (reply, answer) = oneshot::channel();
        self.tickets.try_send(Ticket { request, reply }).map_err(|_| Error::Busy)?;
        answer.await.map_err(|_| Error::Busy)?
    }

    pub(super) fn served(&self) -> Served {
        Served {
            batches: self.counters.batches.load(Ordering::Relaxed),
            requests: self.counters.requests.load(Ordering::Relaxed),
            busy_us: self.counters.busy_us.load(Ordering::Relaxed),
        }
    }
}

impl Counters {
    fn count(&self, requests: usize, took: Duration) {
        let add = |counter: &AtomicU64, value| {
            counter.fetch_add(u64::try_from(value).unwrap_or(u64::MAX), Ordering::Relaxed);
        };
        add(&self.batches, 1);
        add(&self.requests, requests as u128);
        add(&self.busy_us, took.as_micros());
    }
}

struct Server<W> {
    part: Part,
    options: PgConnectOptions,
    conn: Option<PgConnection>,
    counters: Arc<Counters>,
    work: PhantomData<fn() -> W>,
}

impl<W: Work> Server<W> {
    async fn run(mut self, mut waiting: mpsc::Receiver<Ticket<W>>) {
        let mut tickets = Vec::new();
        loop {
            if tickets.is_empty() && waiting.recv_many(&mut tickets, BATCH_MAX).await == 0 {
                return;
            }
            while tickets.len() < BATCH_MAX
                && let Ok(ticket) = waiting.try_recv()
            {
                tickets.push(ticket);
            }
            let batch = one_of_each(&mut tickets);
            self.serve(batch).await;
        }
    }

    /// Answers every ticket of a batch. One that no database will take is found by halving, so that it
    /// fails alone.
    async fn serve(&mut self, batch: Vec<Ticket<W>>) {
        let began = Instant::now();
        let mut clashes = 0;
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let (trouble, error) = match self.decide(&part).await {
                Ok(answers) => {
                    debug_assert_eq!(answers.len(), part.len());
                    for (ticket, answer) in part.into_iter().zip(answers) {
                        // A caller that has gone will ask again.
                        drop(ticket.reply.send(Ok(answer)));
                    }
                    continue;
                }
                Err(failure) => failure,
            };
            match trouble {
                // Safe to repeat, even if it was committed unheard: asking twice equals asking once.
                Trouble::Lost => {
                    self.conn = None;
                    if began.elapsed() < PATIENCE {
                        sleep(RECONNECT_PAUSE).await;
                        parts.push(part);
                    } else {
                        tell_all(part, &error);
                    }
                }
                Trouble::Clash if clashes < CLASHES_MAX => {
                    clashes += 1;
                    parts.push(part);
                }
                Trouble::Clash | Trouble::Late => tell_all(part, &error),
                Trouble::Poison if part.len() == 1 => {
                    for ticket in part {
                        drop(ticket.reply.send(Err(Error::Broken(said(&error)))));
                    }
                }
                Trouble::Poison => {
                    let second = part.split_off(part.len() / 2);
                    parts.push(second);
                    parts.push(part);
                }
            }
        }
    }

    async fn decide(&mut self, part: &[Ticket<W>]) -> Result<Vec<W::Answer>, (Trouble, Error)> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            missing => {
                let connecting = timeout(CONNECT_LIMIT, connect(self.part, &self.options));
                let connected = connecting.await.unwrap_or_else(|_| {
                    Err(Error::Unavailable("its database does not answer".to_owned()))
                });
                missing.insert(connected.map_err(|error| (Trouble::Lost, error))?)
            }
        };
        let requests: Vec<&W::Request> = part.iter().map(|ticket| &ticket.request).collect();
        let began = Instant::now();
        let answers =
            W::decide(conn, &requests).await.map_err(|error| (Trouble::of(&error), error))?;
        self.counters.count(requests.len(), began.elapsed());
        Ok(answers)
    }
}

/// A connection to the database that holds this part of the stock.
async fn connect(part: Part, options: &PgConnectOptions) -> Result<PgConnection, Error> {
    let mut conn = PgConnection::connect_with(options).await?;
    part.verify(&mut conn).await?;
    Ok(conn)
}

/// Takes the first ticket of each checkout; the others are left, and so are those whose callers have
/// gone.
fn one_of_each<W: Work>(tickets: &mut Vec<Ticket<W>>) -> Vec<Ticket<W>> {
    let mut seen = HashSet::new();
    let (batch, later) = mem::take(tickets)
        .into_iter()
        .filter(|ticket| !ticket.reply.is_closed())
        .partition(|ticket| seen.insert(W::checkout(&ticket.request)));
    *tickets = later;
    batch
}

fn tell_all<W: Work>(part: Vec<Ticket<W>>, error: &Error) {
    tracing::warn!(error = %said(error), waiting = part.len(), "stock cannot be booked: {} callers are told to come again", part.len());
    for ticket in part {
        drop(ticket.reply.send(Err(Error::Unavailable(said(error)))));
    }
}

/// What an error means for the batch that met it.
enum Trouble {
    /// The connection is gone, or will be: a new one may do.
    Lost,
    /// Another transaction was in the way: the same again may do.
    Clash,
    /// Somebody holds a lock for too long.
    Late,
    /// One of the requests is not to be had.
    Poison,
}

impl Trouble {
    fn of(error: &Error) -> Self {
        let error = match error {
            Error::Database(error) => error,
            Error::Busy | Error::Unavailable(_) => return Self::Clash,
            Error::Corrupt { .. } | Error::Broken(_) => return Self::Poison,
        };
        let Some(code) = error.as_database_error().and_then(DatabaseError::code) else {
            return match error {
                sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::Decode(_)
                | sqlx::Error::Encode(_)
                | sqlx::Error::RowNotFound => Self::Poison,
                _ => Self::Lost,
            };
        };
        match code.as_ref() {
            // Deadlock, serialization, and a row that another process wrote in the same moment.
            "40P01" | "40001" | "23505" => Self::Clash,
            "57014" | "55P03" => Self::Late,
            code if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => {
                Self::Lost
            }
            _ => Self::Poison,
        }
    }
}
