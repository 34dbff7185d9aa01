//! What is told from outside of a payment: believed to be worth a look, however it comes, and never more
//! than that. What comes for a payment that is over is in `late`.

use std::time::Duration;

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use store::inbox;
use temporalio_client::WorkflowSignalOptions;
use tests::{Answer, Customer, Payment, Shop, Spec, WEBHOOK_SECRET, event, eventually, signature};
use workflows::{ChangedAttempt, CheckoutWorkflow};

const ONCE: Payment = Payment { authorizations: 1, captures: 1, voids: 0, refunds: 0 };
/// Longer than any test: whatever is seen sooner, somebody told of.
const NOBODY_ASKS: Duration = Duration::from_secs(600);
const CARD_WITH_BANK: &str = "pm_card_threeDSecure2Required";
const CAPTURABLE: &str = "payment_intent.amount_capturable_updated";

#[tokio::test]
async fn a_confirmation_is_seen_by_its_webhook_alone() {
    let shop = shop_where_nobody_asks().await;
    let (ada, asked) = asked_by_bank(&shop).await;

    // The browser is closed at the bank, and never comes back.
    shop.answer_bank(redirect(&asked), "approve").await;

    ada.until(asked.checkout(), "completed").await;
    assert_eq!(shop.payment(asked.checkout()).await, ONCE);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_confirmation_is_seen_by_the_browser_coming_back_alone_whatever_it_brings() {
    let shop = shop_where_nobody_asks().await;
    let (ada, asked) = asked_by_bank(&shop).await;
    shop.webhook_fault("lose", 100).await;
    let back = shop.answer_bank(redirect(&asked), "approve").await;
    assert!(back.ends_with("redirect_status=succeeded"), "{back}");

    // It lies, and it comes twice.
    let lie = back.replace("succeeded", "failed&payment_intent_client_secret=secret");
    for _ in 0..2 {
        let page = reqwest::get(&lie).await.expect("an answer");
        assert_eq!(page.status(), StatusCode::OK);
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        let page = page.text().await.expect("a page");
        assert!(page.contains("is being checked") && !page.contains("<script"), "{page}");
    }

    ada.until(asked.checkout(), "completed").await;
    assert_eq!(shop.payment(asked.checkout()).await, ONCE);
    let told = shop.inbox(asked.checkout()).await;
    let told: Vec<&str> = told.iter().map(|arrival| arrival.provider.as_str()).collect();
    assert_eq!(told.iter().filter(|provider| **provider == "browser").count(), 1, "{told:?}");
    shop.assert_lawful().await;
}

#[tokio::test]
async fn with_every_webhook_lost_and_no_browser_back_a_confirmation_is_found_by_asking() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    shop.webhook_fault("lose", 100).await;
    let (ada, asked) = asked_by_bank(&shop).await;

    shop.answer_bank(redirect(&asked), "approve").await;

    ada.until(asked.checkout(), "completed").await;
    assert_eq!(shop.payment(asked.checkout()).await, ONCE);
    assert_eq!(shop.inbox(asked.checkout()).await, []);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_success_told_before_our_own_answer_advances_the_checkout_once() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    shop.fault("confirm", "timeout_after", Duration::from_secs(3)).await;
    let buying = tokio::spawn({
        let ada = ada.clone();
        async move { ada.buy("pm_card_visa").await }
    });
    let checkout = shop.under_way().await;
    eventually("the success is told", || async {
        let told = shop.inbox(checkout).await;
        told.iter().any(|arrival| arrival.kind == CAPTURABLE).then_some(())
    })
    .await;
    assert_eq!(shop.order_state(checkout).await.as_deref(), Some("pending"));

    let bought = buying.await.expect("an answer");

    assert_eq!(bought.state(), Some("completed"), "{:#}", bought.body);
    shop.carried(checkout, CAPTURABLE).await;
    assert_eq!(shop.payment(checkout).await, ONCE);
    assert_eq!(shop.counters("MUG-1").await, (0, 0, 1));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn the_same_webhook_fifty_times_at_once_has_one_effect() {
    let shop = shop_where_nobody_asks().await;
    let (ada, asked) = asked_by_bank(&shop).await;
    let checkout = asked.checkout();
    shop.webhook_fault("lose", 100).await;
    shop.answer_bank(redirect(&asked), "approve").await;
    let told = event("evt_often", CAPTURABLE, &shop.intent(checkout).await, checkout, 1);

    let answers = join_all((0..50).map(|_| shop.tell(&told))).await;

    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK), "{answers:?}");
    ada.until(checkout, "completed").await;
    assert_eq!(shop.payment(checkout).await, ONCE);
    let rows = shop.inbox(checkout).await;
    assert_eq!(rows.iter().filter(|row| row.event_id == "evt_often").count(), 1, "{rows:?}");
    shop.assert_lawful().await;
}

#[tokio::test]
async fn events_that_come_late_twice_or_out_of_order_move_nothing_back() {
    let shop = Shop::open().await;
    shop.stock("MUG-1", 2, 1299).await;
    shop.webhook_fault("reorder", 3).await;
    shop.webhook_fault("duplicate", 3).await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let bought = crate::expiry::start(&ada).await;
    ada.pay(bought, "pm_card_visa_chargeDeclined").await;
    let paid = ada.pay(bought, "pm_card_visa").await;
    assert_eq!(paid.state(), Some("completed"), "{:#}", paid.body);
    let bea = shop.customer().await.with("MUG-1", 1).await;
    let cancelled = crate::expiry::start(&bea).await;
    bea.pay(cancelled, "pm_card_visa_chargeDeclined").await;
    assert_eq!(bea.cancel(cancelled).await.state(), Some("cancelled"));
    shop.fulfilment(bought).await;
    let before = shop.contents().await;

    for _ in 0..2 {
        shop.resend_webhooks(bought).await;
        shop.resend_webhooks(cancelled).await;
    }
    let lost = shop.intent(bought).await;
    let dispute = event("evt_dispute", "charge.dispute.created", &lost, bought, 2);
    let failed = event("evt_late", "payment_intent.payment_failed", &lost, bought, 1);
    for told in [dispute, failed] {
        assert_eq!(shop.tell(&told).await.status, StatusCode::OK);
    }

    shop.carried(bought, "charge.dispute.created").await;
    shop.carried(bought, "payment_intent.succeeded").await;
    shop.carried(cancelled, "payment_intent.payment_failed").await;
    assert_eq!(shop.contents().await, before);
    assert_eq!(shop.payment(bought).await, ONCE);
    assert_eq!(shop.counters("MUG-1").await, (1, 0, 1));
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_message_too_many_too_early_or_of_another_attempt_is_harmless() {
    let shop = shop_where_nobody_asks().await;
    let ada = shop.customer().await.with("MUG-1", 1).await;
    let checkout = crate::expiry::start(&ada).await;
    let signal = async |attempts: &[u32]| {
        let handle = shop.engine.get_workflow_handle::<CheckoutWorkflow>(checkout.to_string());
        for attempt in attempts {
            let changed = ChangedAttempt { attempt: *attempt };
            let options = WorkflowSignalOptions::default();
            let sent = handle.signal(CheckoutWorkflow::payment_changed, changed, options).await;
            sent.expect("it is running");
        }
    };

    signal(&[0, 1, 1, 2, 7]).await;
    let asked = ada.pay(checkout, CARD_WITH_BANK).await;
    signal(&[0, 2, 7, 1, 1, 1, 1]).await;
    let waiting = ada.checkout(checkout).await;
    assert_eq!(waiting.state(), Some("action_required"), "{:#}", waiting.body);
    shop.webhook_fault("lose", 100).await;
    shop.answer_bank(redirect(&asked), "approve").await;
    signal(&[7, 1, 1, 2]).await;

    ada.until(checkout, "completed").await;
    assert_eq!(shop.payment(checkout).await, ONCE);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn what_was_written_down_before_the_api_died_is_carried_and_what_was_not_is_sent_again() {
    let shop = shop_where_nobody_asks().await;
    let (ada, before) = asked_by_bank(&shop).await;
    let (bea, after) = asked_by_bank(&shop).await;
    shop.kill_worker(0);
    shop.answer_bank(redirect(&before), "approve").await;
    eventually("the confirmation is written down", || async {
        let told = shop.inbox(before.checkout()).await;
        told.iter().any(|arrival| arrival.kind == CAPTURABLE).then_some(())
    })
    .await;

    shop.kill_api();
    eventually("the API is gone", || async { reqwest::get(&shop.api_url).await.err() }).await;
    shop.answer_bank(redirect(&after), "approve").await;
    shop.start_worker(0);

    eventually("the first is sold, without an API", || async {
        (shop.order_state(before.checkout()).await.as_deref() == Some("paid")).then_some(())
    })
    .await;
    let told = shop.inbox(after.checkout()).await;
    assert!(told.iter().all(|arrival| arrival.kind != CAPTURABLE), "{told:?}");
    shop.start_api().await;
    shop.carried(after.checkout(), CAPTURABLE).await;
    ada.until(before.checkout(), "completed").await;
    bea.until(after.checkout(), "completed").await;
    shop.assert_lawful().await;
}

#[tokio::test]
async fn what_is_forged_stale_or_no_event_is_refused_and_leaves_no_row() {
    let shop = shop_where_nobody_asks().await;
    let (ada, asked) = asked_by_bank(&shop).await;
    let checkout = asked.checkout();
    shop.carried(checkout, "payment_intent.created").await;
    shop.carried(checkout, "payment_intent.requires_action").await;
    let before = shop.inbox(checkout).await;
    let intent = shop.intent(checkout).await;
    let body = event("evt_forged", CAPTURABLE, &intent, checkout, 1).to_string();
    let now = Duration::ZERO;
    let good = signature(WEBHOOK_SECRET, now, &body);
    let other_body = signature(WEBHOOK_SECRET, now, &body.replace("evt_forged", "evt_signed"));
    for bad in [
        signature("whsec_of_somebody_else_entirely", now, &body),
        signature(WEBHOOK_SECRET, Duration::from_secs(301), &body),
        other_body,
        good.replace("v1=", "v0="),
        good[..good.len() - 1].to_owned(),
        "t=now,v1=00".to_owned(),
        String::new(),
    ] {
        let refused = shop.tell_signed(&bad, &body).await;
        assert_eq!(
            (refused.status, refused.code()),
            (StatusCode::BAD_REQUEST, Some("invalid_signature")),
            "{bad}: {}",
            refused.text
        );
    }
    for no_event in ["", "{}", "null", r#"{"object":"event","id":"x"}"#] {
        let refused = shop.tell_signed(&signature(WEBHOOK_SECRET, now, no_event), no_event).await;
        assert_eq!(
            (refused.status, refused.code()),
            (StatusCode::BAD_REQUEST, Some("malformed")),
            "{no_event}"
        );
    }
    let large = format!("{body}{}", " ".repeat(64 * 1024));
    let refused = shop.tell_signed(&signature(WEBHOOK_SECRET, now, &large), &large).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);

    assert_eq!(shop.inbox(checkout).await, before);
    // Not one of those was wrong in more than it was meant to be.
    assert_eq!(shop.tell_signed(&good, &body).await.status, StatusCode::OK);
    assert_eq!(shop.inbox(checkout).await.len(), before.len() + 1);
    ada.cancel(checkout).await;
    shop.assert_lawful().await;
}

#[tokio::test]
async fn a_webhook_that_arrives_forged_or_stale_first_arrives_in_the_end() {
    let shop = shop_where_nobody_asks().await;
    for fault in ["forge", "stale"] {
        let (ada, asked) = asked_by_bank(&shop).await;
        shop.webhook_fault(fault, 1).await;
        shop.answer_bank(redirect(&asked), "approve").await;
        ada.until(asked.checkout(), "completed").await;
    }
    shop.assert_lawful().await;
}

#[tokio::test]
async fn events_about_nothing_of_ours_are_taken_and_change_nothing() {
    let shop = Shop::open().await;
    let nobody = domain::CheckoutId::from(uuid::Uuid::from_u128(7));
    let mut account = event("evt_account", "account.updated", "pi_x", nobody, 1);
    account["data"]["object"] = json!({ "object": "account", "id": "acct_1" });
    let mut stranger = event("evt_stranger", CAPTURABLE, "pi_stranger", nobody, 1);
    stranger["data"]["object"]["metadata"] = json!({ "payment_id": "of another shop" });
    let unknown = event("evt_unknown", CAPTURABLE, "pi_unknown", nobody, 99);

    for told in [account, stranger, unknown] {
        let answer = shop.tell(&told).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    for query in ["", "?payment_intent=pi_unknown&redirect_status=succeeded", "?payment_intent=%00"]
    {
        let page = shop.customer().await.get(&format!("/v1/payments/return{query}")).await;
        assert_eq!(page.status, StatusCode::OK, "{query}");
        assert!(page.text.contains("is being checked"), "{query}");
    }

    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM inbox")
        .fetch_one(&shop.db)
        .await
        .expect("a count");
    assert_eq!(rows, 0);
    shop.assert_lawful().await;
}

#[tokio::test]
async fn what_was_carried_long_ago_is_forgotten_a_few_at_a_time_and_nothing_else() {
    const NINETY_DAYS_MS: u64 = 90 * 24 * 3600 * 1000;
    let shop = Shop::open().await;
    shop.stock("MUG-1", 1, 1299).await;
    let sold = shop.customer().await.with("MUG-1", 1).await.buy("pm_card_visa").await.checkout();
    shop.carried(sold, "payment_intent.succeeded").await;
    let dispute = |id: &str| event(id, "charge.dispute.created", "pi_of_another", sold, 1);
    for id in ["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"] {
        assert_eq!(shop.tell(&dispute(id)).await.status, StatusCode::OK);
    }
    shop.carried(sold, "charge.dispute.created").await;
    let all = shop.inbox(sold).await.len();
    let carried = async |id: &str, days_ago: Option<i32>| {
        let sql = "UPDATE inbox SET carried_at = now() - $2 * interval '1 day', due_at = now() + interval '1 hour' WHERE event_id = $1";
        let aged = sqlx::query(sql).bind(id).bind(days_ago).execute(&shop.db).await;
        assert_eq!(aged.expect("an update").rows_affected(), 1, "{id}");
    };
    for id in ["evt_1", "evt_2", "evt_3"] {
        carried(id, Some(91)).await;
    }
    carried("evt_4", Some(89)).await;
    carried("evt_5", None).await;

    let mut conn = shop.db.acquire().await.expect("a connection");
    let mut forgotten = Vec::new();
    for _ in 0..3 {
        forgotten.push(inbox::forget(&mut conn, NINETY_DAYS_MS, 2).await.expect("a count"));
    }
    assert_eq!(forgotten, [2, 1, 0]);
    let kept = shop.inbox(sold).await;
    let known = |id: &str| kept.iter().any(|arrival| arrival.event_id == id);
    assert_eq!((kept.len(), known("evt_4"), known("evt_5")), (all - 3, true, true), "{kept:?}");
    // What is not forgotten is not taken in again.
    assert_eq!(shop.tell(&dispute("evt_4")).await.status, StatusCode::OK);
    assert_eq!(shop.inbox(sold).await, kept);

    carried("evt_4", Some(91)).await;
    carried("evt_5", Some(0)).await;
    shop.kill_worker(0);
    shop.start_worker(0);
    eventually("a worker forgets the rest", || async {
        (shop.inbox(sold).await.len() == all - 4).then_some(())
    })
    .await;
    shop.worker_ready(0).await;
    shop.assert_lawful().await;
}

async fn shop_where_nobody_asks() -> Shop {
    let shop = Shop::open_with(Spec { action_poll: NOBODY_ASKS, ..Spec::default() }).await;
    shop.stock("MUG-1", 3, 1299).await;
    shop
}

/// Somebody whose bank wants to be asked first.
async fn asked_by_bank(shop: &Shop) -> (Customer, Answer) {
    let customer = shop.customer().await.with("MUG-1", 1).await;
    let asked = customer.buy(CARD_WITH_BANK).await;
    assert_eq!(asked.state(), Some("action_required"), "{:#}", asked.body);
    (customer, asked)
}

pub(crate) fn redirect(asked: &Answer) -> &str {
    let url: &Value = &asked.body["next_action"]["url"];
    url.as_str().unwrap_or_else(|| panic!("no redirect in {:#}", asked.body))
}
