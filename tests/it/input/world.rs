//! A shop that bad input may not change, and how a refusal must look. No tests.

use std::collections::BTreeMap;

use domain::CheckoutId;
use serde_json::json;
use tests::{Answer, Customer, Shop};

/// Every endpoint that needs a token. `CHK` and `ORD` stand for ids of the first customer's.
pub(super) const ENDPOINTS: [(&str, &str); 12] = [
    ("GET", "/v1/cart"),
    ("POST", "/v1/cart/items"),
    ("PUT", "/v1/cart/items/MUG-1"),
    ("DELETE", "/v1/cart/items/MUG-1"),
    ("POST", "/v1/checkouts"),
    ("GET", "/v1/checkouts/CHK"),
    ("POST", "/v1/checkouts/CHK/payment"),
    ("POST", "/v1/checkouts/CHK/cancel"),
    ("GET", "/v1/checkouts/CHK/events"),
    ("GET", "/v1/orders"),
    ("GET", "/v1/orders/ORD"),
    ("GET", "/v1/orders?limit=1"),
];
/// Those that read a JSON body.
pub(super) const WITH_BODY: [(&str, &str); 4] = [
    ("POST", "/v1/cart/items"),
    ("PUT", "/v1/cart/items/MUG-1"),
    ("POST", "/v1/checkouts"),
    ("POST", "/v1/checkouts/CHK/payment"),
];
/// Those that take none, or an empty object.
pub(super) const WITHOUT_BODY: [(&str, &str); 2] =
    [("POST", "/v1/sessions"), ("POST", "/v1/checkouts/CHK/cancel")];
pub(super) const JSON: (&str, &[u8]) = ("Content-Type", b"application/json");
pub(super) const KEY: (&str, &[u8]) = ("Idempotency-Key", b"k");

/// A shop that nothing may change.
pub(super) struct World {
    pub(super) shop: Shop,
    /// Has a checkout that waits to be paid.
    pub(super) ada: Customer,
    pub(super) waiting: CheckoutId,
    /// Has something in her cart.
    pub(super) bea: Customer,
    before: BTreeMap<String, String>,
}

impl World {
    pub(super) async fn open() -> Self {
        let shop = Shop::open().await;
        shop.stock("MUG-1", 10, 1299).await;
        let ada = shop.customer().await.with("MUG-1", 2).await;
        let waiting = ada.start("once", json!({})).await.checkout();
        let bea = shop.customer().await.with("MUG-1", 1).await;
        let before = shop.contents().await;
        Self { shop, ada, waiting, bea, before }
    }

    pub(super) fn path(&self, template: &str) -> String {
        let order = self.waiting.order().to_string();
        template.replace("CHK", &self.waiting.to_string()).replace("ORD", &order)
    }

    /// Sends it as the customer whose it is.
    pub(super) async fn send(
        &self,
        (method, path): (&str, &str),
        headers: &[(&str, &[u8])],
        body: &[u8],
    ) -> Answer {
        let customer = if path.contains("CHK") { &self.ada } else { &self.bea };
        let method = method.parse().expect("a method");
        customer.send_bytes(method, &self.path(path), headers, body.to_vec()).await
    }

    /// Claims that nothing has changed and that no answer was our fault.
    pub(super) async fn assert_unharmed(self) {
        assert_eq!(self.shop.contents().await, self.before);
        let metrics = self.ada.get("/metrics").await.text;
        // It was not ready until it was.
        let ours = |line: &&str| line.contains("status=\"5") && !line.contains("/readyz");
        assert_eq!(metrics.lines().filter(ours).collect::<Vec<_>>(), Vec::<&str>::new());
        assert_eq!(self.ada.cancel(self.waiting).await.state(), Some("cancelled"));
        self.shop.assert_lawful().await;
    }
}

/// Claims that the answer is the problem of that code, in full.
pub(super) fn assert_problem(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (status, Some(code)),
        "{what}: {}",
        answer.text
    );
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{what}");
    assert_eq!(answer.body["status"], status, "{what}");
    assert_eq!(answer.body["type"], format!("urn:holdfast:problem:{code}"), "{what}");
    for member in ["title", "detail"] {
        assert!(
            answer.body[member].as_str().is_some_and(|text| !text.is_empty()),
            "{what}: {}",
            answer.text
        );
    }
}
