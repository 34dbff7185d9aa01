//! Stock: received, reserved, committed, given back. A reservation resolves at most once.
//!
//! The heart is one conditional decrement: a row changes only where `available >= quantity`, and the
//! database applies that atomically, so two buyers of the last unit cannot both have it.
//! Callers do not write to a popular row one by one: `queue.rs` gathers what they ask for, and
//! `reserve.rs` and `resolve.rs` decide it together. `shards.rs` knows which database keeps which SKU.

mod hold;
mod part;
mod queue;
mod receipt;
mod recount;
mod reserve;
mod resolve;
mod shards;

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use domain::{CheckoutId, ShortLine, StockLine};
use futures::future::{join_all, try_join_all};

pub use self::{
    hold::{Hold, held},
    part::{Part, StockUrls},
    queue::Served,
    receipt::{Level, Receipt, Received, book, level, receive},
    recount::{Recounted, miscounted, recount},
    shards::{Places, Shards},
};
use self::{queue::Queue, reserve::Reserve, resolve::Resolve};
use crate::Error;

/// How a reserve ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// Every line is held, from now or from an earlier run of the same reserve.
    Held {
        /// Until when, on the database's clock.
        expires_at: DateTime<Utc>,
    },
    /// These lines are short. Where stock is split, what could be had of the others is held until it is
    /// given back.
    SoldOut(Vec<ShortLine>),
    /// The reservation was released or expired before; it cannot be taken again.
    Ended,
}

/// What becomes of a held reservation, once and for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Its units are sold.
    Committed,
    /// The checkout gave it back.
    Released,
    /// The hold ran out.
    Expired,
}

impl Resolution {
    const ALL: [Self; 3] = [Self::Committed, Self::Released, Self::Expired];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }

    fn parse(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|resolution| resolution.as_str() == name)
            .ok_or(Error::corrupt("reservation", "state"))
    }
}

/// The queues of one database's stock.
struct Queues {
    reserve: Queue<Reserve>,
    resolve: Queue<Resolve>,
}

/// The stock of the shop. Reservations and what becomes of them go through two queues for each database
/// that keeps stock, so that a crowd at one SKU is served in batches; see `queue.rs`. Clones share the
/// queues.
#[derive(Clone)]
pub struct Inventory {
    shards: Shards,
    queues: Arc<[Queues]>,
}

impl Inventory {
    /// The stock kept in these databases. To be called within a runtime, which keeps its queues going.
    pub fn new(shards: Shards) -> Self {
        let queues = shards.parts().map(|part| {
            let options = shards.options(part);
            Queues { reserve: Queue::start(part, &options), resolve: Queue::start(part, &options) }
        });
        Self { queues: queues.collect(), shards }
    }

    /// Where the stock is kept.
    pub fn shards(&self) -> &Shards {
        &self.shards
    }

    /// Holds every line, or says which are short, for so long on the database's clock. The lines name
    /// each SKU once. Running it twice holds once. [`Error::Busy`] if too many wait before it. Anything
    /// but a hold may leave a part of it where stock is split, to be given back like a hold.
    pub async fn reserve(
        &self,
        checkout_id: CheckoutId,
        lines: Vec<StockLine>,
        hold_ms: u64,
    ) -> Result<Reserved, Error> {
        let hold_ms = i64::try_from(hold_ms).unwrap_or(i64::MAX);
        let mut parts: BTreeMap<Part, Vec<StockLine>> = BTreeMap::new();
        for line in lines {
            parts.entry(self.shards.part_of(&line.sku)).or_default().push(line);
        }
        let asked = parts.into_iter().map(|(part, lines)| {
            self.queues[part.number()].reserve.ask(reserve::Request { checkout_id, lines, hold_ms })
        });
        // All of them to the end: every short line is to be named.
        let answers = join_all(asked).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let nothing = || Error::Broken(format!("{checkout_id} asks for nothing"));
        answers.into_iter().reduce(Reserved::and).ok_or_else(nothing)
    }

    /// Turns the held units of a paid order into sold ones, once. That nothing is held is a broken
    /// invariant: a paid order's hold can neither be given back nor run out.
    pub async fn sell(&self, checkout_id: CheckoutId, places: &Places) -> Result<(), Error> {
        for came in self.resolve(checkout_id, places, Resolution::Committed).await? {
            match came {
                Some(Resolution::Committed) => {}
                Some(Resolution::Released | Resolution::Expired) | None => {
                    return Err(Error::Broken(format!(
                        "{checkout_id} is paid, but its stock is not held"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Gives held units back, once; what was never held is barred from being held later. What the
    /// reservation has come to, which is another thing if somebody was quicker.
    pub async fn give_back(
        &self,
        checkout_id: CheckoutId,
        places: &Places,
        resolution: Resolution,
    ) -> Result<Resolution, Error> {
        let mut came_to = resolution;
        for came in self.resolve(checkout_id, places, resolution).await? {
            let came = came.ok_or_else(|| {
                Error::Unavailable(format!("the stock of {checkout_id} is being reserved"))
            })?;
            if came != resolution {
                came_to = came;
            }
        }
        Ok(came_to)
    }

    async fn resolve(
        &self,
        checkout_id: CheckoutId,
        places: &Places,
        resolution: Resolution,
    ) -> Result<Vec<Option<Resolution>>, Error> {
        let request = resolve::Request { checkout_id, resolution };
        let asked = places.iter().map(|part| self.queues[part.number()].resolve.ask(request));
        try_join_all(asked).await
    }

    /// What the queues of reservations have done.
    pub fn reserved(&self) -> Served {
        self.queues.iter().map(|queues| queues.reserve.served()).sum()
    }

    /// What the queues of sales and returns have done.
    pub fn resolved(&self) -> Served {
        self.queues.iter().map(|queues| queues.resolve.served()).sum()
    }
}

impl Reserved {
    /// What the answers of two databases come to.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Ended, _) | (_, Self::Ended) => Self::Ended,
            (Self::SoldOut(mut short), Self::SoldOut(more)) => {
                short.extend(more);
                short.sort_by(|one, other| one.sku.cmp(&other.sku));
                Self::SoldOut(short)
            }
            (Self::SoldOut(short), Self::Held { .. })
            | (Self::Held { .. }, Self::SoldOut(short)) => Self::SoldOut(short),
            (Self::Held { expires_at: one }, Self::Held { expires_at: other }) => {
                Self::Held { expires_at: one.min(other) }
            }
        }
    }
}
