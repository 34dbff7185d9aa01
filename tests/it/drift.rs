//! A card network that has set other money aside than the customer agreed to: it is never taken for the
//! payment, whether it says so at once or when it is asked again.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tests::{Answer, Customer, Liar, Payment, Shop, Spec};

use crate::{admin::resolve, saga::attention, webhooks::redirect};

const LET_GO: Payment = Payment { authorizations: 1, captures: 0, voids: 1, refunds: 0 };
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn another_amount_or_currency_than_was_agreed_is_never_sold_for_and_goes_back_when_given_up()
{
    for (field, value) in
        [("amount", json!(1)), ("amount", json!(129_900)), ("currency", json!("usd"))]
    {
        let (shop, liar) = shop().await;
        liar.lie(field, value.clone());
        let ada = shop.customer().await.with("MUG-1", 1).await;

        let parked = ada.buy("pm_card_visa").await;

        assert_never_sold(&shop, &ada, &parked, &format!("{field} {value}")).await;
    }
}

/// The bank's customer has confirmed, and the answer to the next look is the first about approved money.
#[tokio::test]
async fn another_amount_after_the_customer_confirmed_with_their_bank_is_never_sold_for() {
    let (shop, liar) = shop().await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let asked = ada.buy("pm_card_threeDSecure2Required").await;
    assert_eq!(asked.state(), Some("action_required"), "{:#}", asked.body);
    liar.lie("amount", json!(1));

    shop.answer_bank(redirect(&asked), "approve").await;

    ada.until(asked.checkout(), "needs_attention").await;
    assert_never_sold(&shop, &ada, &asked, "after 3-D Secure").await;
}

async fn shop() -> (Shop, Liar) {
    let liar = Liar::start().await;
    let shop = Shop::open_with(Spec {
        attention_after: SECOND,
        worker_settings: vec![("PAYMENTS_URL", liar.url.clone())],
        ..Spec::default()
    })
    .await;
    liar.speak_for(&shop.paysim_url);
    shop.stock("MUG-1", 1, 1299).await;
    (shop, liar)
}

/// Nothing is placed, people are called for, the stock waits for them, and what they give up is undone.
async fn assert_never_sold(shop: &Shop, ada: &Customer, parked: &Answer, what: &str) {
    let checkout = parked.checkout();
    assert_eq!(parked.status, StatusCode::ACCEPTED, "{what}: {:#}", parked.body);
    assert_eq!(attention(shop, checkout).await, "payments.authorize does not finish", "{what}");
    assert_eq!(ada.checkout(checkout).await.state(), Some("needs_attention"), "{what}");
    assert_eq!(shop.order_state(checkout).await.as_deref(), Some("pending"), "{what}");
    assert_eq!(shop.counters("MUG-1").await, (0, 1, 0), "{what}");
    assert_eq!(shop.payment(checkout).await.authorizations, 1, "{what}");

    let told = resolve(&shop.operator("olga").await, checkout, "give_up").await;

    assert_eq!(told.status, StatusCode::ACCEPTED, "{what}: {:#}", told.body);
    let cancelled = ada.until(checkout, "cancelled").await;
    assert_eq!(cancelled.body["problem"]["code"], "cancelled", "{what}: {:#}", cancelled.body);
    assert_eq!(shop.payment(checkout).await, LET_GO, "{what}");
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 0), "{what}");
    shop.assert_lawful().await;
}
