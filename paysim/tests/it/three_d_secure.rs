//! The page on which a buyer answers her bank, used as her browser would: the page is fetched, and its
//! form is posted without a key.

use reqwest::{Method, StatusCode, header::LOCATION};

use crate::harness::{Network, authorization, client, entries, id};

#[tokio::test]
async fn the_buyer_passes_or_fails_three_d_secure_on_a_page() {
    let network = Network::start().await;
    for (result, status, payment_id) in [
        ("approve", "requires_capture", "pay_pass"),
        ("decline", "requires_payment_method", "pay_fail"),
    ] {
        let fields = authorization("pm_card_authenticationRequired", payment_id);
        let intent = network.post("/v1/payment_intents", &fields).await.ok();
        assert_eq!(intent["status"], "requires_action");
        assert_eq!(intent["next_action"]["type"], "redirect_to_url");
        let redirect = &intent["next_action"]["redirect_to_url"];
        assert_eq!(redirect["return_url"], "https://shop.example/back");
        let path = format!("/3ds/{}", id(&intent));
        assert_eq!(redirect["url"], network.url(&path));
        assert!(network.ledger(payment_id).await.is_empty());

        let page = network.request(Method::GET, &path).send().await.expect("a page");
        let page = page.text().await.expect("a page is text");
        assert!(
            page.contains("10.00 EUR") && page.contains("Approve") && page.contains("Decline"),
            "{page}"
        );

        let answer =
            network.post_request(&path, &[("result", result)]).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let after = network.intent(&id(&intent)).await;
        assert_eq!(after["status"], status);
        assert!(after["next_action"].is_null());

        let again =
            network.post_request(&path, &[("result", result)]).send().await.expect("an answer");
        assert_eq!(again.status(), StatusCode::CONFLICT);
    }
    let failed = network.get("/v1/payment_intents", &[("limit", "1")]).await.ok();
    let code = &failed["data"][0]["last_payment_error"]["code"];
    assert_eq!(code, "payment_intent_authentication_failure");
    assert_eq!(network.ledger("pay_pass").await, entries(&[("authorized", 1000)]));
    assert_eq!(network.ledger("pay_fail").await, entries(&[("declined", 1000)]));
}

#[tokio::test]
async fn the_browser_is_sent_back_to_the_shop_with_the_result() {
    let network = Network::start().await;
    for (result, status) in [("approve", "succeeded"), ("decline", "failed")] {
        let (intent, path) = waiting(&network, result).await;
        let (answered, location, _) = press(&network, &path, result).await;
        assert_eq!(answered, StatusCode::SEE_OTHER);
        let back =
            format!("https://shop.example/back?payment_intent={intent}&redirect_status={status}");
        assert_eq!(location.as_deref(), Some(&*back));
    }
}

#[tokio::test]
async fn without_a_return_url_the_page_itself_says_how_it_went() {
    let network = Network::start().await;
    for (result, said) in [("approve", "succeeded"), ("decline", "failed")] {
        let mut fields = authorization("pm_card_threeDSecure2Required", result);
        fields.retain(|(name, _)| *name != "return_url");
        let intent = id(&network.post("/v1/payment_intents", &fields).await.ok());
        let (status, _, page) = press(&network, &format!("/3ds/{intent}"), result).await;
        assert_eq!(status, StatusCode::OK);
        assert!(page.contains(&format!("Authentication {said}")), "{page}");
    }
}

#[tokio::test]
async fn an_answered_or_canceled_payment_says_so_and_leads_back_to_the_shop() {
    let network = Network::start().await;
    let (_, approved) = waiting(&network, "pay_1").await;
    press(&network, &approved, "approve").await;
    let (_, declined) = waiting(&network, "pay_2").await;
    press(&network, &declined, "decline").await;
    let (intent, canceled) = waiting(&network, "pay_3").await;
    network.post(&format!("/v1/payment_intents/{intent}/cancel"), &[]).await.ok();

    for (path, said, result) in [
        (&approved, "approved already", "redirect_status=succeeded"),
        (&declined, "was declined", "redirect_status=failed"),
        (&canceled, "was canceled", "redirect_status=failed"),
    ] {
        let events = network.events().await.len();
        let shown = client().get(network.url(path)).send().await.expect("a page");
        assert_eq!(shown.status(), StatusCode::CONFLICT);
        let shown = shown.text().await.expect("a page is text");
        for button in ["approve", "decline"] {
            let (status, _, page) = press(&network, path, button).await;
            assert_eq!(status, StatusCode::CONFLICT);
            assert_eq!(page, shown);
        }
        assert!(shown.contains(said) && shown.contains(result), "{shown}");
        assert!(!shown.contains("<button"), "{shown}");
        assert_eq!(network.events().await.len(), events, "a late answer was told");
    }
}

#[tokio::test]
async fn a_return_url_cannot_write_into_the_page() {
    let network = Network::start().await;
    let mut fields = authorization("pm_card_authenticationRequired", "pay_1");
    fields.retain(|(name, _)| *name != "return_url");
    fields.push(("return_url", "https://shop.example/\"><script>"));
    let intent = id(&network.post("/v1/payment_intents", &fields).await.ok());
    let path = format!("/3ds/{intent}");
    press(&network, &path, "approve").await;
    let (_, _, page) = press(&network, &path, "approve").await;
    assert!(page.contains("Back to the shop") && !page.contains("<script>"), "{page}");
}

#[tokio::test]
async fn an_answer_that_is_none_is_refused() {
    let network = Network::start().await;
    let (intent, path) = waiting(&network, "pay_1").await;
    let (status, _, _) = press(&network, &path, "perhaps").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(network.intent(&intent).await["status"], "requires_action");
}

/// An intent that waits for its buyer, and the path of her page.
async fn waiting(network: &Network, payment_id: &str) -> (String, String) {
    let fields = authorization("pm_card_authenticationRequired", payment_id);
    let intent = id(&network.post("/v1/payment_intents", &fields).await.ok());
    let path = format!("/3ds/{intent}");
    (intent, path)
}

/// Presses a button of the page and gives the status, where it leads and what is shown.
async fn press(
    network: &Network,
    path: &str,
    result: &str,
) -> (StatusCode, Option<String>, String) {
    let form = client().post(network.url(path)).form(&[("result", result)]);
    let answer = form.send().await.expect("an answer");
    let location = answer.headers().get(LOCATION);
    let location = location.map(|url| url.to_str().expect("a URL is ASCII").to_owned());
    (answer.status(), location, answer.text().await.expect("a page is text"))
}
