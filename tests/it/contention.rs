//! Many want what there is little of, at once: never is more sold than there is, never less, and
//! everybody gets a definite answer.

use std::time::Duration;

use domain::CheckoutId;
use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{Answer, Customer, Shop};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};
use uuid::Uuid;

const BUYERS: usize = 200;
/// A crowd may have to wait longer than one customer: it is the whole load of a machine.
const CROWDS_PATIENCE: Duration = Duration::from_secs(150);

/// Two crowds at once would only measure the machine.
static ONE_CROWD: Mutex<()> = Mutex::const_new(());

/// How one buyer's checkout ended.
struct End {
    /// Of one that was refused at the door there is none.
    id: Option<CheckoutId>,
    state: String,
    /// Null where it sold.
    problem: Value,
}

#[tokio::test]
async fn of_two_hundred_who_want_the_last_unit_exactly_one_gets_it() {
    sell_to_the_crowd(1).await;
}

#[tokio::test]
async fn fifty_units_go_to_exactly_fifty_of_two_hundred() {
    sell_to_the_crowd(50).await;
}

/// Each of a crowd wants one unit, at once.
async fn sell_to_the_crowd(units: i64) {
    let _one = ONE_CROWD.lock().await;
    let shop = Shop::open().await;
    shop.stock("MUG-1", units, 1299).await;
    let crowd =
        join_all((0..BUYERS).map(|_| async { shop.customer().await.with("MUG-1", 1).await })).await;

    let ends = join_all(crowd.iter().map(buy)).await;

    for end in ends.iter().filter(|end| end.state != "completed") {
        assert_eq!(
            (end.state.as_str(), &end.problem["code"]),
            ("failed", &json!("out_of_stock")),
            "{:?}",
            end.id
        );
        assert_eq!(end.problem["lines"], json!([{ "sku": "MUG-1", "wanted": 1, "available": 0 }]));
    }
    let sold = ends.iter().filter(|end| end.state == "completed").count();
    assert_eq!(sold, usize::try_from(units).expect("few"));
    assert_eq!(shop.counters("MUG-1").await, (0, 0, units));
    let network = shop.network_totals().await;
    assert_eq!((network.authorizations, network.captures), (units, units));
    shop.assert_lawful().await;
}

/// The carts share SKUs pairwise, so that their buyers meet in every order; whoever locked the rows of
/// the stock in the order of their cart would meet in a deadlock.
#[tokio::test]
async fn carts_that_overlap_are_sold_whole_or_not_at_all() {
    const EACH: i64 = 10;
    const PAIRS: [[&str; 2]; 3] = [["MUG-1", "POT-1"], ["POT-1", "TEA-1"], ["TEA-1", "MUG-1"]];

    let _one = ONE_CROWD.lock().await;
    let shop = Shop::open().await;
    for sku in ["MUG-1", "POT-1", "TEA-1"] {
        shop.stock(sku, EACH, 1000).await;
    }
    let crowd = join_all((0..45).map(|number: usize| {
        let [first, second] = PAIRS[number % PAIRS.len()];
        async { shop.customer().await.with(first, 1).await.with(second, 1).await }
    }))
    .await;

    let ends = join_all(crowd.iter().map(buy)).await;

    let mut sold_units = 0;
    let mut left = Vec::new();
    for sku in ["MUG-1", "POT-1", "TEA-1"] {
        let (available, reserved, sold) = shop.counters(sku).await;
        assert_eq!((available + sold, reserved), (EACH, 0), "{sku}");
        sold_units += sold;
        left.extend((available > 0).then_some(sku));
    }
    let sold = ends.iter().filter(|end| end.state == "completed").count();
    assert_eq!(usize::try_from(sold_units).expect("few"), 2 * sold);
    // Of each pair more were wanted than there was, so no pair can be left.
    assert!(left.len() <= 1, "{left:?} are left, though somebody who wanted them was refused");
    for end in ends.iter().filter(|end| end.state != "completed") {
        let short = end.problem["lines"]
            .as_array()
            .unwrap_or_else(|| panic!("{:?} {}", end.id, end.problem));
        assert!(!short.is_empty() && short.iter().all(|line| line["available"] == 0), "{short:?}");
    }
    shop.assert_lawful().await;
}

/// Buys as a patient client would: with the same key until there is a definite answer, and no sooner
/// again than the shop asks for.
async fn buy(customer: &Customer) -> End {
    let key = Uuid::new_v4().to_string();
    let answered = async {
        loop {
            let answer = customer.buy_as(&key, "pm_card_visa").await;
            match answer.status {
                StatusCode::CREATED | StatusCode::CONFLICT => break answer,
                // It goes on; asking again waits for its end.
                StatusCode::ACCEPTED => {}
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                    let seconds = answer.headers["retry-after"]
                        .to_str()
                        .ok()
                        .and_then(|text| text.parse().ok());
                    sleep(Duration::from_secs(seconds.expect("a number of seconds"))).await;
                }
                _ => panic!("{} {}", answer.status, answer.text),
            }
        }
    };
    let answer = timeout(CROWDS_PATIENCE, answered).await.expect("a definite answer in time");
    if answer.body.get("checkout_id").is_none() && answer.body.get("id").is_none() {
        assert_eq!(answer.code(), Some("out_of_stock"), "{:#}", answer.body);
        return End { id: None, state: "failed".to_owned(), problem: answer.body };
    }
    let over = customer.checkout(answer.checkout()).await;
    assert_told_the_same(&answer, &over);
    End {
        id: Some(answer.checkout()),
        state: over.state().unwrap_or_default().to_owned(),
        problem: over.body["problem"].clone(),
    }
}

/// What the buyer was told is how it ended.
fn assert_told_the_same(answer: &Answer, over: &Answer) {
    match answer.status {
        StatusCode::CREATED => assert_eq!(over.state(), Some("completed")),
        StatusCode::CONFLICT => assert_eq!(over.body["problem"]["code"], answer.body["code"]),
        _ => {}
    }
}
