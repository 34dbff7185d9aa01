//! The checks. Each makes its own payment, and asserts what the provider has in the end.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    Check,
    scripts::{
        authorized, canceled, captured, created, ok, part, parts, refunds, refused_card, too_much,
        unexpected_state,
    },
    world::{
        Kind::{Localstripe, Scripted},
        World, heard,
    },
};
use crate::{
    fixtures::{action_required, charge, error, eur, found, intent, listed, payment, refund},
    provider::{Answer, Provider},
};
use domain::{AuthorizeOutcome, CaptureOutcome, VoidOutcome};
use payments::{
    Error, Intent, IntentId, IntentStatus, RefundId, RefundOutcome, Whose,
    webhook::{EventKind, Secrets},
};

const NO_AMOUNT_RECEIVED: &str =
    "its intents do not say how much was captured, and without it a capture is not believed";
const SECRET: &str = "whsec_4eC39HqLyjWDarjtT1zdp7dc";
const PAGE: &str = "https://bank.example/3ds";

macro_rules! check {
    ($run:ident, $script:expr $(, $kind:ident: $why:expr)* $(,)?) => {
        Check {
            name: stringify!($run),
            run: |world| Box::pin($run(world)),
            script: || $script.into_iter().collect(),
            except: &[$(($kind, $why)),*],
        }
    };
}

pub(super) fn all() -> Vec<Check> {
    vec![
        check!(a_created_intent_is_found_by_its_id, [created(), created()]),
        check!(a_payment_is_approved, [created(), authorized(), authorized()]),
        check!(
            an_authorization_is_captured_whole,
            [created(), authorized(), captured(), captured(), captured()],
            Localstripe: NO_AMOUNT_RECEIVED,
        ),
        check!(a_decline_is_an_outcome, [created(), refused_card()]),
        check!(
            a_decline_encloses_its_intent,
            [created(), refused_card()],
            Localstripe: "its decline is about the request instead of the card, and encloses nothing",
        ),
        check!(
            a_canceled_payment_gives_no_money,
            [created(), authorized(), canceled(), canceled(), unexpected_state(), canceled()],
        ),
        check!(
            a_capture_after_a_cancel_is_refused,
            [created(), authorized(), canceled(), unexpected_state()],
            Localstripe: "it answers 200, and takes the money of a canceled intent",
        ),
        check!(
            a_captured_payment_is_paid_back_by_a_void,
            [created(), authorized(), captured(), captured(), ok(&refund("succeeded"))],
            Localstripe: NO_AMOUNT_RECEIVED,
        ),
        check!(a_part_is_refunded_once_for_each_reference, parts()),
        check!(
            more_than_is_left_is_not_refunded,
            [
                created(), authorized(), captured(),
                refunds(&[]), ok(&part("re_1", "r1", 1000)),
                refunds(&[part("re_1", "r1", 1000)]), too_much(),
                refunds(&[part("re_1", "r1", 1000)]), refunds(&[part("re_1", "r1", 1000)]),
            ],
            Localstripe: "it pays back more than there is",
        ),
        check!(
            a_refund_is_found_by_its_id,
            [
                created(),
                authorized(),
                captured(),
                refunds(&[]),
                ok(&part("re_1", "r1", 500)),
                ok(&part("re_1", "r1", 500)),
            ],
        ),
        check!(
            a_repeated_create_gives_the_same_intent,
            [created(), Answer::replay(200, &intent("requires_confirmation")), created()],
            Localstripe: "it ignores idempotency keys, and makes another",
        ),
        check!(
            the_intents_of_a_payment_are_found,
            [created(), ok(&found(&[intent("requires_confirmation")]))],
            Localstripe: "it has no search",
        ),
        check!(
            the_intents_of_a_time_are_listed,
            [created(), ok(&listed(&[intent("requires_confirmation")], false))],
            Localstripe: "its list cannot be asked for a time, and has the oldest first",
        ),
        check!(
            the_refunds_of_a_time_are_listed,
            [
                created(),
                authorized(),
                captured(),
                refunds(&[]),
                ok(&part("re_1", "r1", 500)),
                refunds(&[part("re_1", "r1", 500)]),
            ],
            Localstripe: "its list cannot be asked for a time",
        ),
        check!(
            a_customer_who_passes_is_approved,
            [created(), ok(&action_required(PAGE)), authorized()],
        ),
        check!(
            a_customer_who_must_act_is_sent_to_a_page,
            [created(), ok(&action_required(PAGE))],
            Localstripe: "it wants its own script to do it",
        ),
        check!(
            an_intent_that_is_not_there_is_refused,
            [Answer::json(404, &error("invalid_request_error", "resource_missing"))],
        ),
        check!(
            an_event_is_signed_as_we_verify_it,
            [],
            Scripted: "it sends no events",
        ),
    ]
}

fn now_unix_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(now.as_secs()).expect("and not for long")
}

async fn a_created_intent_is_found_by_its_id(world: World) {
    let intent = world.created("pm_card_visa").await;
    assert_eq!((intent.charge, &intent.status), (charge(), &IntentStatus::RequiresConfirmation));
    assert_eq!(world.stripe.retrieve(&intent.id).await.expect("an intent"), intent);
}

async fn a_payment_is_approved(world: World) {
    let intent = world.authorized().await;
    let now = world.stripe.retrieve(&intent.id).await.expect("an intent");
    assert_eq!((now.status, now.captured_minor), (IntentStatus::RequiresCapture, 0));
}

async fn an_authorization_is_captured_whole(world: World) {
    let Intent { id, .. } = world.authorized().await;
    for retry in [0, 1] {
        let outcome = world.stripe.settle_capture(&id, &charge(), retry).await;
        assert_eq!(outcome.expect("an outcome"), CaptureOutcome::Captured);
    }
    let now = world.stripe.retrieve(&id).await.expect("an intent");
    assert_eq!((now.status, now.captured_minor), (IntentStatus::Succeeded, 1999));
}

async fn a_decline_is_an_outcome(world: World) {
    let intent = world.created(world.declined_card()).await;
    let outcome = world.stripe.settle_authorization(intent, 0).await.expect("an outcome");
    assert!(matches!(outcome, AuthorizeOutcome::Declined { .. }), "{outcome:?}");
}

async fn a_decline_encloses_its_intent(world: World) {
    let intent = world.created(world.declined_card()).await;
    let now = world.stripe.confirm(&intent.id, &charge(), 0).await.expect("an intent");
    let decline_code = Some("insufficient_funds".to_owned());
    assert_eq!(now.status, IntentStatus::RequiresPaymentMethod { decline_code });
}

async fn a_canceled_payment_gives_no_money(world: World) {
    let intent = world.authorized().await;
    let outcome = world.stripe.settle_void(&intent, 0).await.expect("an outcome");
    assert_eq!(outcome, VoidOutcome::Voided);
    let outcome = world.stripe.settle_void(&intent, 1).await.expect("an outcome");
    assert_eq!(outcome, VoidOutcome::Voided);
    let outcome = world.stripe.settle_capture(&intent.id, &charge(), 0).await;
    let code = "canceled".to_owned();
    assert_eq!(outcome.expect("an outcome"), CaptureOutcome::Refused { code });
}

async fn a_capture_after_a_cancel_is_refused(world: World) {
    let Intent { id, .. } = world.authorized().await;
    world.stripe.cancel(&id, &charge(), 0).await.expect("an intent");
    let result = world.stripe.capture(&id, &charge(), 0).await;
    assert!(matches!(result, Err(Error::Refused { .. })), "{result:?}");
}

async fn a_captured_payment_is_paid_back_by_a_void(world: World) {
    let intent = world.captured().await;
    let now = world.stripe.retrieve(&intent.id).await.expect("an intent");
    let outcome = world.stripe.settle_void(&now, 0).await.expect("an outcome");
    assert_eq!(outcome, VoidOutcome::Refunded);
}

async fn settle(world: &World, id: &IntentId, minor: i64, reference: &str) -> RefundOutcome {
    let settled = world.stripe.settle_refund(id, &charge(), eur(minor), reference).await;
    settled.expect("an outcome")
}

async fn made(world: &World, id: &IntentId, minor: i64, reference: &str) -> RefundId {
    match settle(world, id, minor, reference).await {
        RefundOutcome::Refunded { provider_ref } => provider_ref,
        other => panic!("{other:?}"),
    }
}

async fn a_part_is_refunded_once_for_each_reference(world: World) {
    let Intent { id, .. } = world.captured().await;
    let first = made(&world, &id, 500, "r1").await;
    assert_eq!(made(&world, &id, 500, "r1").await, first);
    let second = made(&world, &id, 500, "r2").await;
    assert_eq!(made(&world, &id, 500, "r2").await, second);
    let refunds = world.stripe.refunds(&id).await.expect("refunds");
    let mut seen: Vec<_> =
        refunds.iter().map(|refund| (refund.reference.as_deref(), &refund.id)).collect();
    seen.sort_by_key(|(reference, _)| *reference);
    assert_eq!(seen, [(Some("r1"), &first), (Some("r2"), &second)]);
}

async fn more_than_is_left_is_not_refunded(world: World) {
    let Intent { id, .. } = world.captured().await;
    made(&world, &id, 1000, "r1").await;
    let outcome = settle(&world, &id, 1500, "r2").await;
    assert!(matches!(outcome, RefundOutcome::Refused { .. }), "{outcome:?}");
    assert_eq!(world.stripe.refunds(&id).await.expect("refunds").len(), 1);
}

async fn a_refund_is_found_by_its_id(world: World) {
    let Intent { id, .. } = world.captured().await;
    let made = made(&world, &id, 500, "r1").await;
    let refund = world.stripe.retrieve_refund(&made).await.expect("a refund");
    assert_eq!((refund.intent, refund.amount), (id, eur(500)));
    assert_eq!(refund.reference.as_deref(), Some("r1"));
}

async fn a_repeated_create_gives_the_same_intent(world: World) {
    let first = world.created("pm_card_visa").await;
    assert_eq!(world.created("pm_card_visa").await, first);
}

async fn the_intents_of_a_payment_are_found(world: World) {
    let intent = world.created("pm_card_visa").await;
    assert_eq!(world.stripe.find(payment()).await.expect("intents"), [intent]);
}

async fn the_intents_of_a_time_are_listed(world: World) {
    let intent = world.created("pm_card_visa").await;
    let page = world.stripe.list(0..now_unix_s() + 60, None).await.expect("a page");
    let [listed] = &page.items[..] else { panic!("{page:?}") };
    assert_eq!((&listed.whose, page.has_more), (&Whose::Ours(intent), false));
}

async fn the_refunds_of_a_time_are_listed(world: World) {
    let Intent { id, .. } = world.captured().await;
    let made = made(&world, &id, 500, "r1").await;
    let page = world.stripe.list_refunds(0..now_unix_s() + 60, None).await.expect("a page");
    let [listed] = &page.items[..] else { panic!("{page:?}") };
    assert_eq!((&listed.id, &listed.intent, listed.amount_minor), (&made, &Some(id), 500));
    assert_eq!((listed.reference.as_deref(), listed.undone), (Some("r1"), false));
}

async fn a_customer_who_passes_is_approved(world: World) {
    let intent = world.created(&world.asking_card().await).await;
    let asked = world.stripe.confirm(&intent.id, &charge(), 0).await.expect("an intent");
    assert!(matches!(asked.status, IntentStatus::RequiresAction { .. }), "{asked:?}");
    world.pass(&asked).await;
    let outcome = world.stripe.settle_authorization(asked, 1).await.expect("an outcome");
    assert!(matches!(outcome, AuthorizeOutcome::Approved(_)), "{outcome:?}");
}

async fn a_customer_who_must_act_is_sent_to_a_page(world: World) {
    let intent = world.created(&world.asking_card().await).await;
    let outcome = world.stripe.settle_authorization(intent, 0).await.expect("an outcome");
    assert!(matches!(outcome, AuthorizeOutcome::ActionRequired { .. }), "{outcome:?}");
}

async fn an_intent_that_is_not_there_is_refused(world: World) {
    let id = IntentId::try_from("pi_nobodys".to_owned()).expect("an id");
    let result = world.stripe.retrieve(&id).await;
    assert!(matches!(result, Err(Error::Refused { .. })), "{result:?}");
}

async fn an_event_is_signed_as_we_verify_it(world: World) {
    // More than are sent: other payments have events, too.
    let receiver = Provider::start([(); 64].map(|()| Answer::with(200, &[], ""))).await;
    let world = world.telling(&receiver, SECRET).await;
    let Intent { id, .. } = world.captured().await;
    let secrets: Secrets = SECRET.parse().expect("a secret");
    let event = heard(&receiver, |request| {
        let header = request.header("stripe-signature").expect("a signature");
        let event = secrets.verify(header, request.body.as_bytes(), now_unix_s());
        let event = event.expect("the provider's own event");
        // One provider tells of every change, another only of the last.
        let captured = EventKind::Intent("payment_intent.succeeded".to_owned());
        (event.intent.as_ref() == Some(&id) && event.kind == captured).then_some(event)
    })
    .await;
    assert_eq!((event.payment, event.attempt), (Some(payment()), Some(1)));
}
