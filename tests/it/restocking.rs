//! What customers sent back: put on the shelf again once, and never more of it than was sold.

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use tests::Shop;

use crate::refunds::{Admin, PRICE};

#[tokio::test]
async fn what_came_back_is_put_on_the_shelf_once_and_never_more_than_was_sold() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 3, PRICE).await;
    let eve = shop.customer().await.with("MUG-1", 3).await;
    let sold = eve.buy("pm_card_visa").await.checkout();
    let ada = Admin(shop.operator("ada").await);

    let answers = join_all((0..5).map(|_| ada.restock(sold, "MUG-1", 2, "box-1"))).await;
    let too_many = ada.restock(sold, "MUG-1", 2, "box-2").await;
    let other = ada.restock(sold, "MUG-1", 1, "box-1").await;
    let unsold = ada.restock(sold, "POT-1", 1, "box-3").await;

    let first = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert_eq!(first, 1, "{answers:#?}");
    assert!(answers.iter().all(|answer| answer.status.is_success()), "{answers:#?}");
    assert_eq!(
        (too_many.status, too_many.code(), &too_many.body["lines"]),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            Some("restock_exceeds_sold"),
            &json!([{ "sku": "MUG-1", "wanted": 2, "left": 1 }])
        )
    );
    assert_eq!((other.status, other.code()), (StatusCode::CONFLICT, Some("reference_reused")));
    assert_eq!(unsold.code(), Some("restock_exceeds_sold"), "{:#}", unsold.body);
    assert_eq!(shop.counters("MUG-1").await, (2, 0, 3));

    // As if the API had died between writing it down and booking it in.
    let noted = "INSERT INTO restock (order_id, reference, sku, quantity, reason, actor) VALUES ($1, 'box-4', 'MUG-1', 1, 'x', 'ada')";
    let counted = "UPDATE order_line SET restocked = restocked + 1 WHERE order_id = $1";
    for statement in [noted, counted] {
        sqlx::query(statement).bind(sold.uuid()).execute(&shop.db).await.expect("it is written");
    }
    let mended = ada.restock(sold, "MUG-1", 1, "box-4").await;
    assert_eq!(mended.status, StatusCode::OK, "{:#}", mended.body);
    assert_eq!(shop.counters("MUG-1").await, (3, 0, 3));
    shop.assert_lawful().await;
}
