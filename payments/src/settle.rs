//! What a checkout's steps need: act, look again when the outcome is unknown, and answer only what is
//! certain. Each method may be repeated at will. None waits or loops: with an unknown outcome it
//! returns, and whoever calls tries again later, counting `retry` up from 0.

use std::time::Duration;

use domain::{Authorization, AuthorizeOutcome, CaptureOutcome, Money, PaymentMethod, VoidOutcome};

use crate::{
    Charge, Doubt, Error, Intent, IntentId, IntentStatus, KEY_LIFETIME, KEY_MARGIN,
    LOOK_AGAIN_TIMEOUT, RefundStatus, Stripe,
    calls::{held_to, key},
};

/// The authorization ran out; the provider may say so while the intent still looks capturable.
const EXPIRED: &str = "charge_expired_for_capture";
/// Ours, for an attempt that can neither be begun again nor be found.
const ATTEMPT_TOO_OLD: &str = "attempt_too_old";
/// There is nothing left to pay back.
const ALREADY_REFUNDED: &str = "charge_already_refunded";

impl Stripe {
    /// Makes or finds the intent of an attempt that was begun `age` ago, which is when its `create` was
    /// first about to be sent, as our own books tell it.
    ///
    /// While the provider surely remembers the attempt's keys, this is [`Stripe::create`]. After that the
    /// same request would make a second intent beside the first, so it is never sent again: the intent is
    /// looked for by what it carries, and an attempt without one is refused. A search lags, so an intent
    /// may exist for all that, but not one that can take money: it was not made known to us, so it
    /// was not confirmed, and from here on it never is. Paying then takes another attempt.
    pub async fn settle_creation(
        &self,
        charge: &Charge,
        method: &PaymentMethod,
        age: Duration,
    ) -> Result<Intent, Error> {
        const CALL: &str = "create";
        if age < KEY_LIFETIME.saturating_sub(KEY_MARGIN) {
            return self.create(charge, method).await;
        }
        let intents = self.find(charge.payment).await?;
        let mut ours = intents.into_iter().filter(|found| found.charge.attempt == charge.attempt);
        match (ours.next(), ours.next()) {
            (Some(found), None) => {
                // What a search shows is as old as its index.
                let now = self.retrieve(&found.id).await?;
                held_to(CALL, &now, Some(&found.id), charge)?;
                Ok(now)
            }
            (Some(_), Some(_)) => Err(Error::unknown(CALL, Doubt::Mismatch("number of intents"))),
            (None, _) => Err(Error::Refused {
                call: CALL,
                code: ATTEMPT_TOO_OLD.to_owned(),
                message: "its keys may be forgotten, so the provider was not asked to".to_owned(),
                card_error: false,
                intent: None,
            }),
        }
    }

    /// Brings an intent, as created or as last seen, to a definite authorization outcome. An error is
    /// either unknown, or a refusal after which the intent was seen to be untouched.
    pub async fn settle_authorization(
        &self,
        intent: Intent,
        retry: u32,
    ) -> Result<AuthorizeOutcome, Error> {
        let mut intent = intent;
        if retry > 0 {
            intent = self.look_again(&intent.id, &intent.charge).await?;
        }
        if untried(&intent) {
            intent = self.confirm_or_look(&intent, retry).await?;
        }
        authorization(intent)
    }

    /// Captures an authorization, or finds out why it cannot be captured any more.
    pub async fn settle_capture(
        &self,
        id: &IntentId,
        charge: &Charge,
        retry: u32,
    ) -> Result<CaptureOutcome, Error> {
        if retry > 0 {
            let now = self.look_again(id, charge).await?;
            if now.status != IntentStatus::RequiresCapture {
                return capture(&now, None);
            }
        }
        match self.capture(id, charge, retry).await {
            Ok(intent) => capture(&intent, None),
            Err(error) => match self.look_again(id, charge).await {
                Ok(now) => capture(&now, Some(error)),
                Err(blind) => Err(error.or_unknown(blind)),
            },
        }
    }

    /// Makes sure that an intent, as last seen, holds and keeps no money: it is cancelled, or paid back
    /// in full if it was captured.
    pub async fn settle_void(&self, intent: &Intent, retry: u32) -> Result<VoidOutcome, Error> {
        let (id, charge) = (&intent.id, &intent.charge);
        if retry > 0 {
            let now = self.look_again(id, charge).await?;
            if at_rest(&now) {
                return self.void(&now, retry, None).await;
            }
        } else if at_rest(intent) {
            return self.void(intent, retry, None).await;
        }
        match self.cancel(id, charge, retry).await {
            Ok(now) => self.void(&now, retry, None).await,
            Err(error) => match self.look_again(id, charge).await {
                Ok(now) => self.void(&now, retry, Some(error)).await,
                Err(blind) => Err(error.or_unknown(blind)),
            },
        }
    }

    async fn confirm_or_look(&self, intent: &Intent, retry: u32) -> Result<Intent, Error> {
        let (id, charge) = (&intent.id, &intent.charge);
        let error = match self.confirm(id, charge, retry).await {
            Ok(intent) => return Ok(intent),
            Err(error) => error,
        };
        match self.look_again(id, charge).await {
            Ok(now) if untried(&now) => Err(error),
            Ok(now) => Ok(now),
            Err(blind) => Err(error.or_unknown(blind)),
        }
    }

    async fn void(
        &self,
        intent: &Intent,
        retry: u32,
        error: Option<Error>,
    ) -> Result<VoidOutcome, Error> {
        match intent.status {
            IntentStatus::Canceled => Ok(VoidOutcome::Voided),
            IntentStatus::Succeeded => self.undo(intent, retry).await,
            _ => Err(unsettled("cancel", intent, error)),
        }
    }

    /// Pays back all that was captured. A retry may use a new key here too, because the provider pays
    /// back no more than it took: a second refund in full is refused as such.
    async fn undo(&self, intent: &Intent, retry: u32) -> Result<VoidOutcome, Error> {
        let (id, charge) = (&intent.id, &intent.charge);
        let amount = Money::new(intent.captured_minor, charge.amount.currency())
            .expect("a captured amount lies within its intent's");
        let key = key(charge, "undo", retry);
        match self.refund_under(&key, id, charge, amount, "undo").await {
            // Pending is the provider's promise; should it break it, it says so by an event days later.
            Ok((refund, _)) => match refund.status {
                RefundStatus::Succeeded | RefundStatus::Pending => Ok(VoidOutcome::Refunded),
                RefundStatus::RequiresAction | RefundStatus::Failed | RefundStatus::Canceled => {
                    Err(unsettled("refund", intent, None))
                }
            },
            Err(Error::Refused { code, .. }) if code == ALREADY_REFUNDED => {
                Ok(VoidOutcome::Refunded)
            }
            Err(error) => Err(unsettled("refund", intent, Some(error))),
        }
    }

    /// Looks once and shortly; who could not be reached a moment ago may be down.
    async fn look_again(&self, id: &IntentId, charge: &Charge) -> Result<Intent, Error> {
        let now = self.retrieve_within(id, Some(LOOK_AGAIN_TIMEOUT)).await?;
        held_to("retrieve", &now, Some(id), charge)?;
        Ok(now)
    }
}

/// Whether nothing has been asked of the issuer.
fn untried(intent: &Intent) -> bool {
    matches!(
        intent.status,
        IntentStatus::RequiresConfirmation
            | IntentStatus::RequiresPaymentMethod { decline_code: None }
    )
}

/// Whether the intent can never change again.
fn at_rest(intent: &Intent) -> bool {
    matches!(intent.status, IntentStatus::Canceled | IntentStatus::Succeeded)
}

fn authorization(intent: Intent) -> Result<AuthorizeOutcome, Error> {
    match intent.status {
        // Captured already, by an earlier run whose capture was not recorded.
        IntentStatus::RequiresCapture | IntentStatus::Succeeded => {
            Ok(AuthorizeOutcome::Approved(Authorization {
                attempt: intent.charge.attempt,
                provider_ref: intent.id.to_string(),
            }))
        }
        IntentStatus::RequiresPaymentMethod { decline_code: Some(decline_code) } => {
            Ok(AuthorizeOutcome::Declined { decline_code })
        }
        IntentStatus::RequiresAction { url: Some(url) } => {
            Ok(AuthorizeOutcome::ActionRequired { url })
        }
        IntentStatus::Canceled => Ok(AuthorizeOutcome::Closed),
        IntentStatus::RequiresAction { url: None }
        | IntentStatus::RequiresPaymentMethod { decline_code: None }
        | IntentStatus::RequiresConfirmation
        | IntentStatus::Processing => Err(unsettled("confirm", &intent, None)),
    }
}

/// What an intent says about its capture, after the capture itself failed with `error` if it did.
fn capture(intent: &Intent, error: Option<Error>) -> Result<CaptureOutcome, Error> {
    let refused = |code: &str| Ok(CaptureOutcome::Refused { code: code.to_owned() });
    match &intent.status {
        IntentStatus::Succeeded if intent.captured_minor == intent.charge.amount.minor() => {
            Ok(CaptureOutcome::Captured)
        }
        IntentStatus::Succeeded => {
            Err(Error::unknown("capture", Doubt::Mismatch("captured amount")))
        }
        IntentStatus::Canceled => refused("canceled"),
        // The issuer took the authorization back.
        IntentStatus::RequiresPaymentMethod { decline_code: Some(code) } => refused(code),
        // A refusal for any other reason is about our request, and a better one may still capture.
        IntentStatus::RequiresCapture => match error {
            Some(Error::Refused { code, card_error, .. }) if card_error || code == EXPIRED => {
                refused(&code)
            }
            error => Err(unsettled("capture", intent, error)),
        },
        IntentStatus::RequiresPaymentMethod { decline_code: None }
        | IntentStatus::RequiresConfirmation
        | IntentStatus::RequiresAction { .. }
        | IntentStatus::Processing => Err(unsettled("capture", intent, error)),
    }
}

/// The unknown that is left when an intent is seen in no state to conclude from. An `error` that was
/// unknown itself tells more than this, and stays.
fn unsettled(call: &'static str, intent: &Intent, error: Option<Error>) -> Error {
    let doubt = Doubt::Unsettled(intent.status.as_str());
    match error {
        Some(error) if error.is_unknown() => error,
        Some(error) => Error::unknown_because(call, doubt, error),
        None => Error::unknown(call, doubt),
    }
}
