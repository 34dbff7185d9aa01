//! The database's own guard over the books: what it refuses whoever asks.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::harness::{Network, entries};

#[tokio::test]
async fn the_ledger_cannot_be_rewritten() {
    let network = Network::start().await;
    network.authorize("pay_1").await;
    let mut connection = connect(&network).await;
    for sql in
        ["UPDATE ledger_entry SET amount = 1", "DELETE FROM ledger_entry", "TRUNCATE ledger_entry"]
    {
        let refused =
            sqlx::query(sql).execute(&mut connection).await.expect_err("it was rewritten");
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
    assert_eq!(network.ledger("pay_1").await, entries(&[("authorized", 1000)]));
}

#[tokio::test]
async fn events_cannot_be_rewritten() {
    let network = Network::start().await;
    network.authorize("pay_1").await;
    let mut connection = connect(&network).await;
    for sql in
        ["UPDATE event SET type = 'refund.failed'", "DELETE FROM event", "TRUNCATE event CASCADE"]
    {
        let refused =
            sqlx::query(sql).execute(&mut connection).await.expect_err("it was rewritten");
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
    assert_eq!(network.events().await.len(), 2);
}

#[tokio::test]
async fn impossible_books_are_refused_by_name() {
    let network = Network::start().await;
    let intent = network.authorize("pay_1").await;
    network.post(&format!("/v1/payment_intents/{intent}/capture"), &[]).await.ok();
    network.post("/v1/refunds", &[("payment_intent", &intent), ("amount", "1")]).await.ok();
    let mut connection = connect(&network).await;
    let entry = |kind: &str| {
        format!(
            "INSERT INTO ledger_entry (payment_intent, kind, amount, currency, metadata, at) \
             VALUES ('{intent}', '{kind}', 1000, 'eur', '{{}}', now())",
        )
    };
    let delivery = |columns: &str, values: &str| {
        format!(
            "INSERT INTO webhook_delivery (event, url, due_at, created_at, {columns}) \
             SELECT min(id), 'http://shop.example/', now(), now(), {values} FROM event",
        )
    };
    for (sql, constraint) in [
        (
            "UPDATE payment_intent SET amount_captured = 1001".to_owned(),
            "payment_intent_captured_within_authorized",
        ),
        (
            "UPDATE payment_intent SET amount_refunded = 1001".to_owned(),
            "payment_intent_refunded_within_captured",
        ),
        (
            "UPDATE payment_intent SET status = 'requires_capture'".to_owned(),
            "payment_intent_status_agrees_with_money",
        ),
        ("UPDATE refund SET status = 'failed'".to_owned(), "refund_failure_has_reason"),
        ("UPDATE refund SET status = 'pending'".to_owned(), "refund_pending_settles"),
        ("UPDATE refund SET settles_to = 'pending'".to_owned(), "refund_settles_forward"),
        (delivery("state", "'lost'"), "webhook_delivery_lost_on_purpose"),
        (delivery("state", "'delivered'"), "webhook_delivery_delivered_has_time"),
        (delivery("fault", "'melt'"), "webhook_delivery_fault_known"),
        (delivery("resent, fault", "true, 'delay'"), "webhook_delivery_resent_is_faultless"),
        (entry("authorized"), "ledger_entry_authorized_once"),
        (entry("captured"), "ledger_entry_ended_once"),
        (entry("voided"), "ledger_entry_ended_once"),
    ] {
        // Only the id made by the network goes into these texts.
        let result = sqlx::query(AssertSqlSafe(sql.clone())).execute(&mut connection).await;
        let error = result.expect_err(&sql);
        let violated = error.as_database_error().and_then(|error| error.constraint());
        assert_eq!(violated, Some(constraint), "{sql}: {error}");
    }
}

#[tokio::test]
async fn lost_database_connections_cost_an_error_and_no_books() {
    let network = Network::start().await;
    let intent = network.authorize("pay_1").await;
    let mut connection = connect(&network).await;
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sqlx::query(sql).execute(&mut connection).await.expect("connections are ended");
    let capture = format!("/v1/payment_intents/{intent}/capture");
    // Each dead connection in the pool of four may cost its finder one 500, which is not kept.
    let mut attempts = 0;
    loop {
        let reply = network.post_with_key("k", &capture, &[]).await;
        if reply.status == 200 {
            break;
        }
        reply.error(500, "api_error", None);
        attempts += 1;
        assert!(attempts <= 4, "the pool does not recover");
    }
    assert_eq!(network.ledger("pay_1").await, entries(&[("authorized", 1000), ("captured", 1000)]));
}

async fn connect(network: &Network) -> PgConnection {
    PgConnection::connect(network.database.url()).await.expect("the test's database is there")
}
