//! What the scripted provider says to the checks: Stripe's words, as its documentation has them.

use serde_json::{Value, json};

use crate::{
    fixtures::{decline_with, declined, error, intent, listed, referenced},
    provider::Answer,
};

pub(super) fn ok(body: &Value) -> Answer {
    Answer::json(200, body)
}

pub(super) fn created() -> Answer {
    ok(&intent("requires_confirmation"))
}

pub(super) fn authorized() -> Answer {
    ok(&intent("requires_capture"))
}

pub(super) fn captured() -> Answer {
    ok(&intent("succeeded"))
}

pub(super) fn canceled() -> Answer {
    ok(&intent("canceled"))
}

pub(super) fn refused_card() -> Answer {
    Answer::json(402, &decline_with(&declined()))
}

pub(super) fn unexpected_state() -> Answer {
    Answer::json(400, &error("invalid_request_error", "payment_intent_unexpected_state"))
}

pub(super) fn too_much() -> Answer {
    Answer::json(400, &error("invalid_request_error", "amount_too_large"))
}

pub(super) fn part(id: &str, reference: &str, amount_minor: i64) -> Value {
    let mut refund = referenced(id, reference, "succeeded");
    refund["amount"] = json!(amount_minor);
    refund
}

pub(super) fn refunds(refunds: &[Value]) -> Answer {
    ok(&listed(refunds, false))
}

pub(super) fn parts() -> [Answer; 10] {
    let (first, second) = (part("re_1", "r1", 500), part("re_2", "r2", 500));
    let one = refunds(std::slice::from_ref(&first));
    let both = refunds(&[second.clone(), first.clone()]);
    [
        created(),
        authorized(),
        captured(),
        refunds(&[]),
        ok(&first),
        one.clone(),
        one,
        ok(&second),
        both.clone(),
        both,
    ]
}
