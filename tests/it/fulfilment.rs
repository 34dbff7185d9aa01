//! From the outbox to the fulfilment: every paid order begins one, whoever dies on the way.

use domain::CheckoutId;
use tests::{Shop, eventually};

#[tokio::test]
async fn a_paid_order_begins_its_fulfilment_once_though_it_is_announced_twice() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let sold = shop.customer().await.with("MUG-1", 1).await.buy("pm_card_visa").await.checkout();
    let run = shop.fulfilment(sold).await;
    carried(&shop, sold).await;

    // As if the worker had died between starting the fulfilment and writing that down.
    sqlx::query("UPDATE outbox SET carried_at = NULL").execute(&shop.db).await.expect("an update");

    carried(&shop, sold).await;
    assert_eq!(shop.fulfilment(sold).await, run);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_declined_order_begins_no_fulfilment() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 2, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let declined = ada.buy("pm_card_visa_chargeDeclined").await.checkout();

    // The relay goes by order, so once a later sale has come through, an earlier one would have.
    let sold = ada.buy("pm_card_visa").await.checkout();
    shop.fulfilment(sold).await;

    assert_eq!(shop.fulfilment_run(declined).await, None);
    shop.assert_lawful().await;
}

async fn carried(shop: &Shop, checkout: CheckoutId) {
    eventually("the sale's event is carried", || async {
        sqlx::query_scalar::<_, i64>(
            "SELECT id FROM outbox WHERE cause = $1 AND topic = 'order.paid' AND carried_at IS NOT NULL",
        )
        .bind(checkout.order().to_string())
        .fetch_optional(&shop.db)
        .await
        .expect("a query")
    })
    .await;
}
