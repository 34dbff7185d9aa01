//! An attempt has one intent, also when the provider has forgotten the key that it was made under.

use std::time::Duration;

use payments::{Doubt, Error, Intent, IntentStatus, KEY_LIFETIME, KEY_MARGIN, Stripe};
use serde_json::{Value, json};

use crate::{
    fixtures::{INTENT, bent, charge, client, config, found, intent, known, method, payment},
    paysim::Network,
    provider::{Answer, Provider},
};

const FORGOTTEN: Duration = KEY_LIFETIME.saturating_sub(KEY_MARGIN);

fn ok(body: &Value) -> Answer {
    Answer::json(200, body)
}

/// What an attempt of this age ends in; `lines` are the expected requests.
async fn create(
    age: Duration,
    script: impl IntoIterator<Item = Answer>,
    lines: &[&str],
) -> Result<Intent, Error> {
    let provider = Provider::start(script).await;
    let result = client(&provider).settle_creation(&charge(), &method(), age).await;
    let requests = provider.requests();
    let seen: Vec<_> =
        requests.iter().filter_map(|request| request.line.split('?').next()).collect();
    assert_eq!(seen, lines);
    result
}

const CREATE: &str = "POST /v1/payment_intents";
const FIND: &str = "GET /v1/payment_intents/search";

fn retrieve() -> String {
    format!("GET /v1/payment_intents/{INTENT}")
}

#[track_caller]
fn doubt(result: Result<Intent, Error>) -> Doubt {
    match result {
        Err(Error::Unknown { doubt, .. }) => doubt,
        other => panic!("not unknown: {other:?}"),
    }
}

#[tokio::test]
async fn a_young_attempt_is_created_under_its_key() {
    for age in [Duration::ZERO, FORGOTTEN.saturating_sub(Duration::from_nanos(1))] {
        let script = [ok(&intent("requires_confirmation"))];
        let made = create(age, script, &[CREATE]).await.expect("an intent");
        assert_eq!(made, known(IntentStatus::RequiresConfirmation));
    }
}

#[tokio::test]
async fn an_old_attempt_is_found_and_never_created_again() {
    let second = bent("canceled", "/metadata/attempt", json!("2"));
    for age in [FORGOTTEN, KEY_LIFETIME, Duration::MAX] {
        let list = found(&[intent("requires_confirmation"), second.clone()]);
        let script = [ok(&list), ok(&intent("requires_capture"))];
        let seen = create(age, script, &[FIND, &retrieve()]).await.expect("an intent");
        assert_eq!(seen, known(IntentStatus::RequiresCapture));
        match create(age, [ok(&found(std::slice::from_ref(&second)))], &[FIND]).await {
            Err(Error::Refused { code, .. }) => assert_eq!(code, "attempt_too_old"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_old_attempt_that_cannot_be_looked_for_is_unknown() {
    let trouble = Answer::json(503, &json!({}));
    assert_eq!(doubt(create(KEY_LIFETIME, [trouble.clone()], &[FIND]).await), Doubt::Status(503));
    let list = || ok(&found(&[intent("requires_confirmation")]));
    let result = create(KEY_LIFETIME, [list(), trouble], &[FIND, &retrieve()]).await;
    assert_eq!(doubt(result), Doubt::Status(503));
    let dearer = ok(&bent("requires_confirmation", "/amount", json!(2999)));
    let result = create(KEY_LIFETIME, [list(), dearer], &[FIND, &retrieve()]).await;
    assert_eq!(doubt(result), Doubt::Mismatch("amount"));
    let both = found(&[intent("canceled"), bent("canceled", "/id", json!("pi_twin"))]);
    let result = create(KEY_LIFETIME, [ok(&both)], &[FIND]).await;
    assert_eq!(doubt(result), Doubt::Mismatch("number of intents"));
}

#[tokio::test]
async fn a_network_that_forgot_the_key_still_has_one_intent_of_the_attempt() {
    let network = Network::start(|config| config.idempotency_key_lifetime_s = 0).await;
    let stripe = Stripe::new(config(network.url.clone())).expect("a client");
    let first = stripe.settle_creation(&charge(), &method(), Duration::ZERO).await;
    let first = first.expect("an intent");
    let again = stripe.settle_creation(&charge(), &method(), KEY_LIFETIME).await;
    assert_eq!(again.expect("an intent"), first);
    let intents = stripe.find(payment()).await.expect("intents");
    assert_eq!(intents, std::slice::from_ref(&first));
    // What it guards against: the plain call makes a twin.
    assert_ne!(stripe.create(&charge(), &method()).await.expect("an intent").id, first.id);
}
