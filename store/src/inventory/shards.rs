//! Where the stock is kept: in the shop's own database, or split over several by the hash of the SKU.
//!
//! A checkout's hold is one row in each database that keeps some of its SKUs. No transaction spans two
//! of them: each part is held, sold and given back by itself, and the order, which stands in the shop's
//! database, decides what becomes of all of them. A database that cannot be reached fails what needs
//! it, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use domain::{CheckoutId, Sku};
use futures::future::{join_all, try_join_all};
use sqlx::{PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    hold::{self, Hold},
    part::{self, Part, StockUrls},
};
use crate::{Error, PoolConnection, said};

/// How long somebody who only wants to look waits for one database.
const LOOK_LIMIT: Duration = Duration::from_millis(500);

/// The databases that some SKUs' stock is kept in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places(BTreeSet<Part>);

impl Places {
    pub(super) fn iter(&self) -> impl Iterator<Item = Part> {
        self.0.iter().copied()
    }
}

impl From<Part> for Places {
    fn from(part: Part) -> Self {
        Self(BTreeSet::from([part]))
    }
}

/// The databases of the stock. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Shards(Arc<[Shard]>);

#[derive(Debug)]
struct Shard {
    part: Part,
    pool: PgPool,
    /// Whether the database was found to hold this part.
    verified: AtomicBool,
}

impl Shards {
    /// All stock in one database, usually the shop's own.
    pub fn one(pool: PgPool) -> Self {
        Self(Arc::new([Shard::new(0, 1, pool)]))
    }

    /// Stock split over these databases in this order, or kept in the shop's own if there are none.
    /// Connects when it must.
    pub fn open(shop: &PgPool, urls: &StockUrls, connections_max: u32) -> Result<Self, Error> {
        let parts = urls.iter().count();
        if parts == 0 {
            return Ok(Self::one(shop.clone()));
        }
        let shards = urls.iter().enumerate().map(|(number, url)| {
            Ok(Shard::new(number, parts, crate::connect(url, connections_max)?))
        });
        Ok(Self(shards.collect::<Result<_, Error>>()?))
    }

    /// Writes into each database which part it holds, and into the shop's own how many there are. What
    /// was written before must say the same.
    pub async fn claim(&self, shop: &PgPool) -> Result<(), Error> {
        for Shard { part, pool, .. } in &*self.0 {
            let mut conn = pool.acquire().await?;
            part.claim(&mut conn).await?;
            part.verify(&mut conn).await?;
        }
        let parts = self.0.len();
        let said = part::claim_none(&mut *shop.acquire().await?, parts).await?;
        if usize::try_from(said).is_ok_and(|said| said == parts) {
            return Ok(());
        }
        Err(Error::Broken(format!(
            "this shop's stock is kept in {said} databases, and {parts} are given: stock is not moved \
             between databases by itself, and INVENTORY_DATABASE_URLS must name all of them"
        )))
    }

    /// Refuses databases that hold other parts than they are given for. One that does not answer is
    /// verified once it does.
    pub async fn verify(&self) -> Result<(), Error> {
        for part in self.parts() {
            match timeout(LOOK_LIMIT, self.acquire(part)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error @ Error::Unavailable(_))) => return Err(error),
                Ok(Err(_)) | Err(_) => tracing::warn!("{} cannot be reached yet", part.name()),
            }
        }
        Ok(())
    }

    /// A connection to the database that holds this part.
    pub async fn acquire(&self, part: Part) -> Result<PoolConnection, Error> {
        self.0[part.number()].acquire().await
    }

    /// The parts, one for each database.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        self.0.iter().map(|shard| shard.part)
    }

    /// The part that a SKU's stock is in: by the hash of its name, which is the same for every process
    /// and version. A UUID of the name is such a hash, and this crate has it at hand.
    pub fn part_of(&self, sku: &Sku) -> Part {
        if let [only] = &*self.0 {
            return only.part;
        }
        let (high, low) = Uuid::new_v5(&Uuid::NAMESPACE_OID, sku.as_str().as_bytes()).as_u64_pair();
        let number = (high ^ low) % u64::try_from(self.0.len()).expect("a few");
        self.0[usize::try_from(number).expect("less than a few")].part
    }

    /// Where these SKUs' stock is kept.
    pub fn places<'a>(&self, skus: impl IntoIterator<Item = &'a Sku>) -> Places {
        Places(skus.into_iter().map(|sku| self.part_of(sku)).collect())
    }

    /// The one place there is, if stock is not split: then nobody needs to know any SKU.
    pub fn only_place(&self) -> Option<Places> {
        let [only] = &*self.0 else { return None };
        Some(only.part.into())
    }

    /// How many units of each SKU are available; one that was never received has none. A SKU whose
    /// database does not answer is not among them.
    pub async fn levels(&self, skus: &[Sku]) -> HashMap<Sku, i64> {
        let mut by_place: BTreeMap<Part, Vec<Sku>> = BTreeMap::new();
        for sku in skus {
            by_place.entry(self.part_of(sku)).or_default().push(sku.clone());
        }
        let looks = by_place.into_iter().map(|(part, skus)| async move {
            self.look(part, async |conn| levels(conn, &skus).await).await
        });
        join_all(looks).await.into_iter().flatten().flatten().collect()
    }

    /// Those of the checkouts that have a reservation, held or resolved, in a database that answers.
    pub async fn reserved(&self, checkouts: &[CheckoutId]) -> HashSet<CheckoutId> {
        let looks = self.parts().map(|part| async move {
            self.look(part, async |conn| hold::known(conn, checkouts).await).await
        });
        join_all(looks).await.into_iter().flatten().flatten().collect()
    }

    /// The checkout's hold, the first to run out of those in several places. `None` if a place has
    /// none.
    pub async fn hold(&self, id: CheckoutId, places: &Places) -> Result<Option<Hold>, Error> {
        let looks = places
            .iter()
            .map(|part| async move { hold::find(&mut *self.acquire(part).await?, id).await });
        let holds: Option<Vec<Hold>> = try_join_all(looks).await?.into_iter().collect();
        Ok(holds.and_then(|holds| {
            let held = holds.iter().all(|hold| hold.held);
            let expires_at = holds.iter().map(|hold| hold.expires_at).min()?;
            Some(Hold { held, expires_at })
        }))
    }

    /// Makes a hold last at least so long from now. `None` if it is not, or not everywhere, held.
    pub async fn extend(
        &self,
        id: CheckoutId,
        places: &Places,
        at_least_ms: u64,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let extensions = places.iter().map(|part| async move {
            hold::extend(&mut *self.acquire(part).await?, id, at_least_ms).await
        });
        let ends: Option<Vec<_>> = try_join_all(extensions).await?.into_iter().collect();
        Ok(ends.and_then(|ends| ends.into_iter().min()))
    }

    /// Makes what is held last at least so long from now, wherever that can be reached.
    pub async fn postpone(
        &self,
        id: CheckoutId,
        places: &Places,
        at_least_ms: u64,
    ) -> Result<(), Error> {
        let extensions = places.iter().map(|part| async move {
            hold::extend(&mut *self.acquire(part).await?, id, at_least_ms).await
        });
        or_all_down(join_all(extensions).await).map(drop)
    }

    /// Whether a hold, wherever it is still held, has run out.
    pub async fn ran_out(&self, id: CheckoutId, places: &Places) -> Result<bool, Error> {
        let looks = places
            .iter()
            .map(|part| async move { hold::ran_out(&mut *self.acquire(part).await?, id).await });
        let looks = try_join_all(looks).await?;
        Ok(looks.iter().flatten().all(|ran_out| *ran_out) && looks.iter().any(Option::is_some))
    }

    /// The held reservations that have run out, oldest first: at most so many from each database that
    /// answers.
    pub async fn due(&self, limit: u32) -> Result<Vec<CheckoutId>, Error> {
        let looks = self
            .0
            .iter()
            .map(|pool| async move { hold::due(&mut *pool.acquire().await?, limit).await });
        let mut seen = HashSet::new();
        let due = or_all_down(join_all(looks).await)?;
        Ok(due.into_iter().flatten().filter(|id| seen.insert(*id)).collect())
    }

    /// Milliseconds until the next held reservation runs out; zero if one already has.
    pub async fn next_due_in_ms(&self) -> Result<Option<u64>, Error> {
        let looks = self
            .0
            .iter()
            .map(|shard| async move { hold::next_due_in_ms(&mut *shard.acquire().await?).await });
        Ok(or_all_down(join_all(looks).await)?.into_iter().flatten().min())
    }

    /// How to reach a part's database, for somebody with a connection of their own.
    pub(super) fn options(&self, part: Part) -> Arc<PgConnectOptions> {
        self.0[part.number()].pool.connect_options()
    }

    /// For those who would rather not know than wait.
    async fn look<T>(
        &self,
        part: Part,
        look: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Option<T> {
        let seen = async { look(&mut *self.acquire(part).await?).await };
        let trouble = match timeout(LOOK_LIMIT, seen).await {
            Ok(Ok(seen)) => return Some(seen),
            Ok(Err(error)) => said(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(error = trouble, "{} cannot be looked at", part.name());
        None
    }
}

impl Shard {
    fn new(number: usize, parts: usize, pool: PgPool) -> Self {
        Self { part: Part::new(number, parts), pool, verified: AtomicBool::new(false) }
    }

    async fn acquire(&self) -> Result<PoolConnection, Error> {
        let mut conn = self.pool.acquire().await?;
        if !self.verified.load(Ordering::Relaxed) {
            self.part.verify(&mut conn).await?;
            self.verified.store(true, Ordering::Relaxed);
        }
        Ok(conn)
    }
}

/// What those say that answer, with a warning for each that does not; the trouble, if none does.
fn or_all_down<T>(answers: Vec<Result<T, Error>>) -> Result<Vec<T>, Error> {
    let (mut known, mut trouble) = (Vec::new(), None);
    for answer in answers {
        match answer {
            Ok(answer) => known.push(answer),
            Err(error) => {
                tracing::warn!(error = said(&error), "a part of the stock does not answer");
                trouble = Some(error);
            }
        }
    }
    match trouble {
        Some(error) if known.is_empty() => Err(error),
        _ => Ok(known),
    }
}

async fn levels(conn: &mut PgConnection, skus: &[Sku]) -> Result<Vec<(Sku, i64)>, Error> {
    let names: Vec<String> = skus.iter().map(ToString::to_string).collect();
    let rows = sqlx::query!("SELECT sku, available FROM inventory WHERE sku = ANY ($1)", &names)
        .fetch_all(conn)
        .await?;
    let received: HashMap<String, i64> =
        rows.into_iter().map(|row| (row.sku, row.available)).collect();
    let level = |sku: &Sku| received.get(sku.as_str()).copied().unwrap_or(0);
    Ok(skus.iter().map(|sku| (sku.clone(), level(sku))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sku_stays_where_it_is_and_every_part_has_its_share() {
        let urls = (0..4).map(|part| format!("postgres://nobody@localhost/stock{part}"));
        let urls: StockUrls = urls.collect::<Vec<_>>().join(", ").parse().expect("addresses");
        let shop = PgPool::connect_lazy("postgres://nobody@localhost/shop").expect("an address");
        let shards = Shards::open(&shop, &urls, 1).expect("pools");
        let number = |sku: &str| shards.part_of(&sku.parse().expect("a SKU")).number();
        let mut counts = [0; 4];
        for sku in 0..4000 {
            counts[number(&format!("SKU-{sku}"))] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        // Another answer would look for a running shop's stock where it is not.
        let known = ["MUG-BLUE-350", "TEA-1", "POT-1", "MUG-1"].map(number);
        assert_eq!(known, [2, 3, 2, 0]);
    }
}
