//! The API key goes to the provider and nowhere else, and a configuration that would leak or lose it
//! makes no client.

use std::error::Error as StdError;

use payments::{Error, SetupError, Stripe};
use serde_json::json;
use url::Url;

use crate::{
    fixtures::{API_KEY, charge, client, config, id, intent},
    provider::{Answer, Provider},
};

fn printed(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut below: Option<&dyn StdError> = error.source();
    while let Some(cause) = below {
        text.extend([cause.to_string(), format!("{cause:?}")]);
        below = cause.source();
    }
    text
}

#[tokio::test]
async fn no_error_shows_the_api_key_even_when_the_provider_says_it() {
    let padded = format!("{}{API_KEY}", "x".repeat(293));
    let refusal = |message: &str| json!({"error": {"type": "invalid_request_error", "code": API_KEY, "message": message}});
    let mut leaking = intent("requires_capture");
    leaking["status"] = json!(API_KEY);
    let provider = Provider::start([
        Answer::json(400, &refusal(&format!("Invalid API Key provided: {API_KEY}"))),
        Answer::json(400, &refusal(&padded)),
        Answer::json(401, &refusal(API_KEY)),
        Answer::json(200, &leaking),
        Answer::silence(),
        Answer::reset(),
    ])
    .await;
    let stripe = client(&provider);
    for _ in 0..6 {
        let error = stripe.confirm(&id(), &charge(), 0).await.expect_err("no intent");
        let text = printed(&error);
        assert!(!text.contains(&API_KEY[..API_KEY.len() - 4]), "{text}");
    }
    assert_eq!(provider.requests().len(), 6);
}

#[test]
fn neither_the_client_nor_its_configuration_prints_the_api_key() {
    let config = config("https://api.stripe.com".parse().expect("a URL"));
    let text =
        format!("{config:?} {config:#?} {:?}", Stripe::new(config.clone()).expect("a client"));
    assert!(text.contains("https://api.stripe.com/"), "{text}");
    assert!(!text.contains(API_KEY), "{text}");
}

#[test]
fn an_unusable_base_url_or_key_makes_no_client() {
    for url in [
        "ftp://api.stripe.com",
        "file:///etc",
        "https://user:secret@api.stripe.com",
        "https://api.stripe.com/?a=b",
        "https://api.stripe.com/#a",
    ] {
        let url: Url = url.parse().expect("a URL");
        assert!(matches!(Stripe::new(config(url)), Err(SetupError::BaseUrl)));
    }
    for key in ["", "sk test", "sk_\r\nx-injected: 1", "sk_ü"] {
        let mut config = config("https://api.stripe.com".parse().expect("a URL"));
        config.api_key = key.to_owned();
        let error = Stripe::new(config).expect_err("no client");
        assert!(matches!(error, SetupError::ApiKey));
    }
}
