//! The card network's side of a payment, played by a test: events as it would send them, and what it does
//! about money without being asked by the shop.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::CheckoutId;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Shop, WEBHOOK_SECRET};
use crate::{Answer, eventually};

impl Shop {
    /// Sends a body to the webhook, with this for a signature.
    pub async fn tell_signed(&self, signature: &str, body: &str) -> Answer {
        let headers = [("Stripe-Signature", signature.as_bytes())];
        let anybody = self.customer().await.anonymous();
        let body = body.as_bytes().to_vec();
        anybody.send_bytes(Method::POST, "/v1/webhooks/stripe", &headers, body).await
    }

    /// Sends an event to the webhook as the card network would.
    pub async fn tell(&self, event: &Value) -> Answer {
        let body = event.to_string();
        self.tell_signed(&signature(WEBHOOK_SECRET, Duration::ZERO, &body), &body).await
    }

    /// The card network's id of the last attempt at a checkout's payment, once we have noted it.
    pub async fn intent(&self, checkout: CheckoutId) -> String {
        eventually("the payment has an intent", || async {
            sqlx::query_scalar::<_, Option<String>>(
                "SELECT provider_ref FROM payment_attempt WHERE payment_id = $1
                 ORDER BY attempt DESC LIMIT 1",
            )
            .bind(checkout.uuid())
            .fetch_optional(&self.db)
            .await
            .expect("a query")
            .flatten()
        })
        .await
    }

    /// Arms a fault of the card network's webhooks, for so many of the next.
    pub async fn webhook_fault(&self, kind: &str, times: u32) {
        self.control_network("webhooks/faults", json!({ "kind": kind, "times": times })).await;
    }

    /// Has the card network send all events of a payment again.
    pub async fn resend_webhooks(&self, checkout: CheckoutId) {
        let what = json!({ "payment_id": checkout.payment().to_string() });
        self.control_network("webhooks/resend", what).await;
    }

    /// Has the issuer take back what it had approved, as it does after some days.
    pub async fn lapse(&self, intent: &str) {
        let what = json!({ "payment_intent": intent });
        self.control_network("authorizations/expire", what).await;
    }

    /// Asks something of the card network by its own API, as somebody else with a key might.
    pub async fn ask_network(&self, path: &str, form: &[(&str, &str)]) -> Value {
        self.by_key(path, self.http.post(format!("{}/v1/{path}", self.paysim_url)).form(form)).await
    }

    /// Reads something there in the same way.
    pub async fn read_network(&self, path: &str) -> Value {
        self.by_key(path, self.http.get(format!("{}/v1/{path}", self.paysim_url))).await
    }

    async fn by_key(&self, path: &str, asked: RequestBuilder) -> Value {
        let answer = asked.bearer_auth("sk_test_of_somebody_else").send().await.expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "{path}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    async fn control_network(&self, path: &str, what: Value) {
        let url = format!("{}/{path}", self.paysim_url);
        let answer = self.http.post(url).json(&what).send().await.expect("an answer");
        assert!(
            answer.status().is_success(),
            "{path}: {}",
            answer.text().await.unwrap_or_default()
        );
    }
}

/// A signature over a body, made so long ago.
pub fn signature(secret: &str, ago: Duration, body: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let at = now.saturating_sub(ago).as_secs();
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    let mac = mac.chain_update(format!("{at}.{body}")).finalize().into_bytes();
    let hex: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at},v1={}", hex.concat())
}

/// An event about a refund, by the card network's ids of it and of what it gives back, and by our name for
/// it.
pub fn refund_event(id: &str, kind: &str, refund: &str, intent: &str, reference: &str) -> Value {
    let metadata = json!({ "reference": reference });
    json!({
        "id": id, "object": "event", "api_version": "2024-06-20", "created": 1_700_000_000, "type": kind,
        "data": { "object": {
            "object": "refund", "id": refund, "payment_intent": intent, "status": "succeeded", "metadata": metadata,
        } },
        "livemode": false, "pending_webhooks": 1,
    })
}

/// An event about an intent, which it says is an attempt at a checkout's payment.
pub fn event(id: &str, kind: &str, intent: &str, checkout: CheckoutId, attempt: u32) -> Value {
    let metadata = json!({
        "payment_id": checkout.payment().to_string(), "attempt": attempt.to_string(),
    });
    json!({
        "id": id, "object": "event", "api_version": "2024-06-20", "created": 1_700_000_000, "type": kind,
        "data": { "object": { "object": "payment_intent", "id": intent, "metadata": metadata } },
        "livemode": false, "pending_webhooks": 1,
    })
}
