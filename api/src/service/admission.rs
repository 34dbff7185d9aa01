//! Admission: what a checkout cannot have, or not soon, is said before a workflow is started for it.
//!
//! A short-lived view of the stock of every SKU that is being asked for, and the checkouts that this
//! process has let in and that are not decided yet. Both are brought up to date by one task, so asking
//! costs no query. The view only ever refuses; who may have the stock is decided where the stock is.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{CheckoutId, ShortLine, Sku, StockLine};
use store::{PgPool, inventory::Shards};
use tokio::time::{Instant, sleep};

/// What was seen longer ago refuses nobody.
const VIEW_LIFETIME: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A SKU that nobody has asked for in this time is not looked at any more.
const INTEREST: Duration = Duration::from_secs(5);
/// From so many a second on who ask for a SKU, they are a crowd: only then does its view refuse.
/// Anybody else's checkout is decided where the stock is, at the price of a workflow.
const CROWD_PER_S: f64 = 10.0;
/// Who would be decided later than this is told to come again.
const SOON: Duration = Duration::from_secs(5);
/// As many are let in whatever was measured.
const UNDECIDED_MIN: usize = 64;
/// One that is not decided after this has gone astray, and stands in nobody's way.
const UNDECIDED_FOR: Duration = Duration::from_secs(60);
/// Checkouts a second, until it is measured.
const FIRST_GUESS: f64 = 20.0;
/// How much of a measured rate is the last look's.
const NEWS: f64 = 0.2;
const RETRY_AFTER_MAX: u32 = 60;

/// Why a checkout is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// These lines are short, and nobody before this one can give them back.
    OutOfStock(Vec<ShortLine>),
    /// The database that keeps this SKU's stock does not answer.
    Unreachable(Sku),
    /// It would not be decided soon, or what it wants may go to those before it.
    Throttled {
        /// After so many seconds it is worth another try.
        retry_after_s: u32,
    },
}

/// The door of this process. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Admission(Arc<Mutex<State>>);

impl Admission {
    /// A door that looks at these databases for as long as anybody holds it.
    pub(crate) fn watching(db: PgPool, shards: Shards) -> Self {
        let admission = Self::default();
        tokio::spawn(keep_looking(Arc::downgrade(&admission.0), db, shards));
        admission
    }

    /// Lets a checkout in, or says why not. One that is in already is in.
    pub(crate) fn admit(&self, id: CheckoutId, lines: &[StockLine]) -> Result<(), Refusal> {
        self.state().admit(Instant::now(), id, lines)
    }

    /// The checkout is decided, or was not started. Whether it may have taken what it wanted.
    pub(crate) fn leave(&self, id: CheckoutId, took: bool) {
        self.state().leave(id, if took { Count::DecidedSince } else { Count::Nowhere });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct State {
    skus: HashMap<Sku, View>,
    undecided: HashMap<CheckoutId, Entry>,
    /// Decided since the last look.
    decided: u32,
    looked_at: Option<Instant>,
    /// Checkouts decided in a second, while there are any.
    rate: f64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            skus: HashMap::new(),
            undecided: HashMap::new(),
            decided: 0,
            looked_at: None,
            rate: FIRST_GUESS,
        }
    }
}

struct View {
    seen: Option<(Instant, i64)>,
    /// The last look came back with nothing.
    silent: bool,
    asked_at: Instant,
    /// How many asked for it since the last look, and how many a second before.
    asks: u32,
    asks_per_s: f64,
    /// Units that those let in want, and that the decided may have taken since `seen`.
    wanted: i64,
    /// Of those, the units of such as were decided since the look under way was begun,
    decided_since: i64,
    /// and before, so that it sees what they took.
    decided_before: i64,
}

impl View {
    fn crowded(&self) -> bool {
        self.asks_per_s >= CROWD_PER_S || f64::from(self.asks) >= CROWD_PER_S
    }

    fn available(&self, now: Instant) -> Option<i64> {
        self.seen.filter(|(at, _)| now.duration_since(*at) < VIEW_LIFETIME).map(|(_, units)| units)
    }
}

/// Where the units of one who leaves go on being counted.
#[derive(Clone, Copy)]
enum Count {
    Nowhere,
    DecidedSince,
    DecidedBefore,
}

struct Entry {
    since: Instant,
    lines: Vec<StockLine>,
}

impl State {
    fn admit(&mut self, now: Instant, id: CheckoutId, lines: &[StockLine]) -> Result<(), Refusal> {
        if self.undecided.contains_key(&id) {
            return Ok(());
        }
        let (mut short, mut contested) = (Vec::new(), false);
        for line in lines {
            let view = self.skus.entry(line.sku.clone()).or_insert(View {
                seen: None,
                silent: false,
                asked_at: now,
                asks: 0,
                asks_per_s: 0.0,
                wanted: 0,
                decided_since: 0,
                decided_before: 0,
            });
            view.asked_at = now;
            view.asks += 1;
            if view.silent && view.available(now).is_none() {
                return Err(Refusal::Unreachable(line.sku.clone()));
            }
            let wanted = i64::from(line.quantity);
            let Some(available) = view.available(now).filter(|_| view.crowded()) else { continue };
            if available < wanted {
                short.push(ShortLine { sku: line.sku.clone(), wanted, available });
            }
            contested |= available - view.wanted < wanted;
        }
        if !short.is_empty() {
            return Err(Refusal::OutOfStock(short));
        }
        if contested || self.undecided.len() >= self.capacity() {
            return Err(Refusal::Throttled { retry_after_s: self.retry_after_s() });
        }
        for line in lines {
            if let Some(view) = self.skus.get_mut(&line.sku) {
                view.wanted += i64::from(line.quantity);
            }
        }
        self.undecided.insert(id, Entry { since: now, lines: lines.to_vec() });
        Ok(())
    }

    fn leave(&mut self, id: CheckoutId, count: Count) {
        let Some(entry) = self.undecided.remove(&id) else { return };
        self.decided += 1;
        for line in entry.lines {
            let Some(view) = self.skus.get_mut(&line.sku) else { continue };
            let units = i64::from(line.quantity);
            match count {
                Count::Nowhere => view.wanted -= units,
                Count::DecidedSince => view.decided_since += units,
                Count::DecidedBefore => view.decided_before += units,
            }
        }
    }

    /// How many may be undecided at once.
    fn capacity(&self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is positive, and far below where it matters"
        )]
        let soon = (self.rate * SOON.as_secs_f64()) as usize;
        soon.max(UNDECIDED_MIN)
    }

    fn retry_after_s(&self) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "small and positive"
        )]
        let seconds = (self.undecided.len() as f64 / self.rate.max(1.0)).ceil() as u32;
        seconds.clamp(1, RETRY_AFTER_MAX)
    }

    /// What is to be looked at: the SKUs that are asked for, and the checkouts that may be decided.
    fn questions(&mut self, now: Instant) -> (Vec<Sku>, Vec<CheckoutId>) {
        let astray: Vec<CheckoutId> = self
            .undecided
            .iter()
            .filter(|(_, entry)| now.duration_since(entry.since) > UNDECIDED_FOR)
            .map(|(id, _)| *id)
            .collect();
        for id in astray {
            self.leave(id, Count::Nowhere);
        }
        self.skus.retain(|_, view| view.wanted > 0 || now.duration_since(view.asked_at) < INTEREST);
        for view in self.skus.values_mut() {
            view.decided_before += mem::take(&mut view.decided_since);
        }
        (self.skus.keys().cloned().collect(), self.undecided.keys().copied().collect())
    }

    /// What was seen. A SKU that is not there could not be looked at.
    fn answers(
        &mut self,
        asked_at: Instant,
        skus: &[Sku],
        levels: &HashMap<Sku, i64>,
        decided: Vec<CheckoutId>,
    ) {
        // They were decided before the stock was looked at.
        for id in decided {
            self.leave(id, Count::DecidedBefore);
        }
        for sku in skus {
            let Some(view) = self.skus.get_mut(sku) else { continue };
            view.silent = !levels.contains_key(sku);
            if let Some(units) = levels.get(sku) {
                view.seen = Some((asked_at, *units));
                view.wanted -= mem::take(&mut view.decided_before);
            }
        }
        let decided = mem::take(&mut self.decided);
        let Some(before) = self.looked_at.replace(asked_at) else { return };
        let seconds = asked_at.duration_since(before).as_secs_f64().max(f64::EPSILON);
        let blend = |old: f64, count: u32| old * (1.0 - NEWS) + f64::from(count) / seconds * NEWS;
        for view in self.skus.values_mut() {
            view.asks_per_s = blend(view.asks_per_s, mem::take(&mut view.asks));
        }
        if decided > 0 || !self.undecided.is_empty() {
            self.rate = blend(self.rate, decided);
        }
    }
}

async fn keep_looking(state: std::sync::Weak<Mutex<State>>, db: PgPool, shards: Shards) {
    loop {
        sleep(LOOK_EVERY).await;
        let Some(state) = state.upgrade() else { return };
        let asked_at = Instant::now();
        let (skus, undecided) = lock(&state).questions(asked_at);
        if skus.is_empty() && undecided.is_empty() {
            lock(&state).looked_at = None;
            continue;
        }
        match look(&db, &shards, &skus, &undecided).await {
            Ok((levels, decided)) => lock(&state).answers(asked_at, &skus, &levels, decided),
            // Views grow old then, and refuse nobody.
            Err(error) => tracing::warn!(%error, "the stock cannot be looked at"),
        }
    }
}

async fn look(
    db: &PgPool,
    shards: &Shards,
    skus: &[Sku],
    undecided: &[CheckoutId],
) -> Result<(HashMap<Sku, i64>, Vec<CheckoutId>), store::Error> {
    // In this order: a unit may be seen as taken and still be counted as wanted, but not be forgotten.
    let mut decided = shards.reserved(undecided).await;
    decided.extend(store::checkout::finished(&mut *db.acquire().await?, undecided).await?);
    let levels = shards.levels(skus).await;
    Ok((levels, decided.into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use std::slice;

    use uuid::Uuid;

    use super::*;

    fn line(units: i64) -> StockLine {
        StockLine {
            sku: "MUG".parse().expect("a SKU"),
            quantity: units.try_into().expect("a quantity"),
        }
    }

    fn id(number: u128) -> CheckoutId {
        CheckoutId::from(Uuid::from_u128(number))
    }

    /// A state that has just seen so many units, which a crowd is after.
    fn seen(now: Instant, units: i64) -> State {
        let mut state = State::default();
        state.admit(now, id(u128::MAX), &[line(1)]).expect("nothing is known yet");
        state.leave(id(u128::MAX), Count::Nowhere);
        let mug = line(1).sku;
        state.answers(
            now,
            slice::from_ref(&mug),
            &HashMap::from([(mug.clone(), units)]),
            Vec::new(),
        );
        state.skus.values_mut().for_each(|view| view.asks_per_s = CROWD_PER_S);
        state
    }

    #[test]
    fn what_is_sold_out_is_refused_with_what_there_is() {
        let now = Instant::now();
        let mut state = seen(now, 2);

        let refused = state.admit(now, id(1), &[line(3)]);

        let short = ShortLine { sku: line(1).sku, wanted: 3, available: 2 };
        assert_eq!(refused, Err(Refusal::OutOfStock(vec![short])));
        assert_eq!(state.admit(now, id(2), &[line(2)]), Ok(()));
    }

    #[test]
    fn a_single_customer_is_always_let_in() {
        let now = Instant::now();
        let mut state = seen(now, 0);
        state.skus.values_mut().for_each(|view| (view.asks, view.asks_per_s) = (0, 0.0));

        assert_eq!(state.admit(now, id(1), &[line(1)]), Ok(()));
    }

    #[test]
    fn a_view_refuses_nobody_once_its_lifetime_is_over() {
        let now = Instant::now();
        let mut state = seen(now, 0);

        assert!(state.admit(now, id(1), &[line(1)]).is_err());
        assert_eq!(state.admit(now + VIEW_LIFETIME, id(1), &[line(1)]), Ok(()));
    }

    #[test]
    fn no_more_are_let_in_than_there_is_stock_for_until_some_are_decided() {
        let now = Instant::now();
        let mut state = seen(now, 2);
        assert_eq!(state.admit(now, id(1), &[line(1)]), Ok(()));
        assert_eq!(state.admit(now, id(2), &[line(1)]), Ok(()));

        assert!(matches!(
            state.admit(now, id(3), &[line(1)]),
            Err(Refusal::Throttled { retry_after_s: 1 })
        ));
        assert_eq!(state.admit(now, id(1), &[line(1)]), Ok(()), "one that is in stays in");

        let mug = line(1).sku;
        state.answers(now, slice::from_ref(&mug), &HashMap::from([(mug.clone(), 2)]), vec![id(1)]);
        assert_eq!(state.admit(now, id(3), &[line(1)]), Ok(()), "the first gave it back");
    }

    #[test]
    fn no_more_are_let_in_than_can_be_decided_soon() {
        let now = Instant::now();
        let mut state = seen(now, 1_000_000);
        let capacity = u128::try_from(state.capacity()).expect("it fits");
        for number in 0..capacity {
            assert_eq!(state.admit(now, id(number), &[line(1)]), Ok(()));
        }

        let refused = state.admit(now, id(capacity), &[line(1)]);

        assert_eq!(
            refused,
            Err(Refusal::Throttled { retry_after_s: u32::try_from(SOON.as_secs()).expect("fits") })
        );
    }

    #[test]
    fn one_that_went_astray_stands_in_nobodys_way() {
        let now = Instant::now();
        let mut state = seen(now, 1);
        state.admit(now, id(1), &[line(1)]).expect("there is one");

        let later = now + UNDECIDED_FOR + Duration::from_secs(1);
        let (_, undecided) = state.questions(later);

        assert_eq!(undecided, []);
        assert_eq!(state.admit(later, id(2), &[line(1)]), Ok(()));
    }
}
