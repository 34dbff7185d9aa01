//! Whole lives of simulated orders in a whole shop, ten thousand if need be: bought, declined, called off,
//! left to run out, refunded, shipped; with a card network that loses answers and tells nonsense, and with
//! everybody at work killed every few seconds. What each customer was told, what the books say and what
//! the card network did must fit together, for each life and for all of them.
//!
//! A life is drawn from the run's seed and its own number, and can be lived again alone.

mod aftermath;
mod judge;
mod life;
mod plan;
mod reaper;
mod tally;
mod world;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fastrand::Rng;
use futures::StreamExt as _;
use reqwest::{Client, redirect};
use tests::{Shop, Spec};
use tokio::time::timeout;

use self::{
    judge::Lived,
    life::{End, Life},
    plan::{Plan, skus},
    tally::Tally,
    world::{Journal, World},
};

const WORKERS: usize = 2;
/// How many lives are lived at the same time.
const AT_ONCE: usize = 32;
/// How long a life may last.
const LIFE_MAX: Duration = Duration::from_secs(240);
/// After so many lives that went wrong no more are begun.
const WRONG_MAX: usize = 5;
/// How much of the stock that rare things would need there is of them, in percent.
const RARE_PERCENT: i64 = 40;
const HOLD: Duration = Duration::from_secs(6);
const PAYMENT_WINDOW: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lives_in_a_shop_where_everybody_is_killed_end_as_everybody_was_told() {
    live(&Run { seed: 1, numbers: (0..150).collect(), complete: false }).await;
}

/// `LIVES` and `LIVES_SEED` say how many and which; `LIVES_ONLY` is the number of one that is to be lived
/// again alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: for a change to a step of the checkout, and for the record"]
async fn ten_thousand_lives() {
    let number =
        |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seed = number("LIVES_SEED").unwrap_or(1);
    let lives = number("LIVES").unwrap_or(10_000);
    let only = number("LIVES_ONLY");
    let numbers: Vec<u64> = only.map_or_else(|| (0..lives).collect(), |only| vec![only]);
    // Too few to have met everything.
    let complete = numbers.len() >= 1000;
    live(&Run { seed, numbers, complete }).await;
}

/// Which lives.
struct Run {
    seed: u64,
    numbers: Vec<u64>,
    /// Whether everything must have happened.
    complete: bool,
}

async fn live(run: &Run) {
    let (seed, numbers) = (run.seed, &run.numbers);
    let world = Arc::new(open(seed).await);
    let plans: Vec<Plan> = numbers.iter().map(|number| Plan::drawn(seed, *number)).collect();
    let received = stock(&world, &plans).await;

    let done = AtomicBool::new(false);
    let reaping = reaper::reap(&world, WORKERS, Rng::with_seed(seed), &done);
    let begun = Instant::now();
    let living = async {
        let lived = live_all(&world, seed, plans).await;
        done.store(true, Ordering::Relaxed);
        (lived, begun.elapsed())
    };
    let (((lived, wrong), took), ()) = futures::join!(living, reaping);

    world.tally.read(&world.shop.log("paysim"));
    eprintln!("{}", world.tally.summary());
    let sold = lived.iter().filter(|(life, _)| life.end == End::Sold).count();
    let mut lasted: Vec<Duration> = lived.iter().map(|(_, lasted)| *lasted).collect();
    lasted.sort_unstable();
    eprintln!(
        "seed {seed}: {} lives in {took:.1?}, {:.1} lives/s, {:.1} orders/s; a life lasted {:.1?} at the median, {:.1?} at the most",
        lived.len(),
        per_second(lived.len(), took),
        per_second(sold, took),
        lasted.get(lasted.len() / 2).copied().unwrap_or_default(),
        lasted.last().copied().unwrap_or_default(),
    );
    if run.complete {
        world.come_to_rest().await;
    }
    world.shop.assert_lawful().await;
    assert!(wrong.is_empty(), "lives of seed {seed} that went wrong, as told above: {wrong:?}");
    let lived: Vec<Lived> = lived.into_iter().map(|(life, _)| life).collect();
    world.judge(&lived, &received).await;
    eprintln!("all quiet after {:.1?}, and every law holds", begun.elapsed());
    if run.complete {
        let missing = world.tally.missing(u64::try_from(numbers.len()).expect("a count"));
        assert!(missing.is_empty(), "what the run is there for did not happen: {missing:#?}");
    }
}

/// A shop where a customer is given seconds, and a card network that goes wrong by itself, too.
async fn open(seed: u64) -> World {
    let network = [
        ("--fault-seed", seed.to_string()),
        ("--fault-rate-percent", "4".to_owned()),
        ("--fault-hold-ms", "500".to_owned()),
        ("--webhook-fault-seed", seed.to_string()),
        ("--webhook-fault-rate-percent", "10".to_owned()),
    ];
    let spec = Spec {
        workers: WORKERS,
        hold: HOLD,
        payment_window: PAYMENT_WINDOW,
        network_arguments: network
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect(),
        ..Spec::default()
    };
    let shop = Shop::open_with(spec).await;
    let operator = shop.operator("ada").await;
    let browser = Client::builder()
        .redirect(redirect::Policy::none())
        .timeout(Duration::from_secs(20))
        .build()
        .expect("a client");
    World { shop, operator, tally: Tally::default(), browser }
}

/// Puts everything on sale: enough of most things, too little of the rare ones.
async fn stock(world: &World, plans: &[Plan]) -> BTreeMap<String, i64> {
    let mut received = BTreeMap::new();
    for (sku, plenty) in skus() {
        let lines = plans.iter().flat_map(|plan| &plan.lines);
        let wanted: i64 = lines.filter(|(name, _)| *name == sku).map(|(_, units)| units).sum();
        // One more, for there is no stock of nothing.
        let units = 1 + if plenty { wanted } else { wanted * RARE_PERCENT / 100 };
        world.shop.stock(&sku, units, plan::price(&sku)).await;
        received.insert(sku, units);
    }
    received
}

/// Lives them all, so many at a time. Those that went well with how long they lasted, and the numbers of
/// those that went wrong, of which everything is printed.
async fn live_all(
    world: &Arc<World>,
    seed: u64,
    plans: Vec<Plan>,
) -> (Vec<(Lived, Duration)>, Vec<u64>) {
    let wrong = Mutex::new(Vec::new());
    let all = futures::stream::iter(plans).map(|plan| {
        let wrong = &wrong;
        async move {
            if wrong.lock().expect("unpoisoned").len() >= WRONG_MAX {
                return None;
            }
            let (number, journal, begun) = (plan.number, Journal::new(), Instant::now());
            let about = format!("{plan:#?}");
            let life = one_life(Arc::clone(world), plan, journal.clone());
            let why = match tokio::spawn(timeout(LIFE_MAX, life)).await {
                Ok(Ok(lived)) => return Some((lived, begun.elapsed())),
                Ok(Err(_)) => format!("it lasted longer than {LIFE_MAX:?}"),
                Err(panicked) => format!("{panicked}"),
            };
            let text = journal.text();
            eprintln!(
                "life {number} of seed {seed} went wrong: {why}\n{about}\n{text}\nagain alone: LIVES_SEED={seed} LIVES_ONLY={number}"
            );
            wrong.lock().expect("unpoisoned").push(number);
            None
        }
    });
    let lived = all.buffer_unordered(AT_ONCE).filter_map(async |lived| lived).collect().await;
    (lived, wrong.into_inner().expect("unpoisoned"))
}

async fn one_life(world: Arc<World>, plan: Plan, journal: Journal) -> Lived {
    let life = Life::begin(world, plan, journal).await;
    let end = life.shop().await;
    life.judge_end(end).await;
    let came =
        if end == End::Sold { life.after_sale().await } else { life.after_no_sale(end).await };
    life.judge(end, &came).await;
    life.world.disarm(life.checkout).await;
    Lived { checkout: life.checkout, end, lines: life.plan.lines, restocked: came.restocked }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for reading")]
fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
