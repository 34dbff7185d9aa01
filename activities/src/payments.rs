//! The payment steps: authorize, capture, and the undo of both.
//!
//! Each writes down what it is about to ask before it asks, and what it was told after. Between the
//! two only the provider knows, so a step that is run again looks there first.

mod late;

use std::{error::Error, fmt, sync::Arc};

use ::payments::{Charge, Intent, IntentId, IntentStatus, Stripe};
use chrono::{DateTime, Utc};
use domain::{
    Attempt, Authorization, AuthorizeOutcome, CaptureOutcome, CheckoutId, PaymentId, VoidOutcome,
};
use store::{
    PgPool,
    payment::{self, AttemptRow, AttemptState, Begun},
};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use workflows::contract::{
    self, AuthorizeInput, AuthorizeReply, CaptureInput, CloseInput, CloseOutcome, VoidInput,
};

use crate::{failure, heartbeat, holds::Holds};

/// What keeps a step of a payment or a refund from a definite answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    Database(store::Error),
    Provider(::payments::Error),
    /// What the provider calls the payment is not a name it gives.
    BadReference(String),
}

impl From<store::Error> for Trouble {
    fn from(error: store::Error) -> Self {
        Self::Database(error)
    }
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<::payments::Error> for Trouble {
    fn from(error: ::payments::Error) -> Self {
        Self::Provider(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => f.write_str(&failure::chain(error)),
            Self::Provider(error) => f.write_str(&failure::chain(error)),
            Self::BadReference(reference) => write!(f, "no intent id: {reference}"),
        }
    }
}

impl From<Trouble> for ActivityError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Database(error) => failure::database(error),
            // Even a refusal is only another try here: where it is an answer, it was taken as one.
            Trouble::Provider(error) => anyhow::anyhow!(failure::chain(&error)).into(),
            trouble @ Trouble::BadReference(_) => {
                failure::fatal("bad_provider_ref", &*Box::<dyn Error>::from(trouble.to_string()))
            }
        }
    }
}

/// The money of checkouts, at one provider. Clones share its connections.
#[derive(Clone)]
pub struct Payments {
    pool: PgPool,
    holds: Holds,
    provider: Stripe,
}

impl Payments {
    /// Payments written down in this database and carried out by this provider, for what is held.
    pub fn new(pool: PgPool, holds: Holds, provider: Stripe) -> Self {
        Self { pool, holds, provider }
    }

    async fn authorize_attempt(
        &self,
        input: AuthorizeInput,
        retry: u32,
    ) -> Result<AuthorizeReply, Trouble> {
        let payment_id = input.checkout_id.payment();
        let Some((begun, hold_expires_at)) = self.begin(&input).await? else {
            return Ok(reply(AuthorizeOutcome::HoldEnded));
        };
        let row = match begun {
            Begun::Open(row) => row,
            Begun::Closed => return Ok(reply(AuthorizeOutcome::Closed)),
        };
        if let Some(outcome) = decided(&row) {
            return Ok(AuthorizeReply { outcome, hold_expires_at });
        }
        let charge = Charge { payment: payment_id, attempt: input.attempt, amount: input.amount };
        let asked = match &row.provider_ref {
            // It was there, so that the provider does not know it decides nothing: the key may be another's.
            Some(reference) => Ok(self.provider.look_up(&intent_id(reference)?, &charge).await?),
            // By the method that it was begun with, which a lost task may have been told and this one not.
            None => self.provider.settle_creation(&charge, &row.method, row.age).await,
        };
        let asked = match asked {
            Ok(intent) => {
                if !self.note(payment_id, input.attempt, &intent).await? {
                    return Ok(reply(AuthorizeOutcome::Closed));
                }
                self.provider.settle_authorization(intent, retry).await
            }
            Err(error) => Err(error),
        };
        let outcome = match asked {
            Ok(outcome) => outcome,
            Err(::payments::Error::Refused { code, .. }) => {
                AuthorizeOutcome::Declined { decline_code: code }
            }
            Err(error) => return Err(error.into()),
        };
        let outcome = self.write_down(payment_id, input.attempt, outcome).await?;
        Ok(AuthorizeReply { outcome, hold_expires_at })
    }

    /// Writes the attempt down. Before that, and once, its hold is made to last for it; `None` if there
    /// is nothing held to pay for.
    async fn begin(
        &self,
        input: &AuthorizeInput,
    ) -> Result<Option<(Begun, Option<DateTime<Utc>>)>, store::Error> {
        let payment_id = input.checkout_id.payment();
        let begun = {
            let mut conn = self.pool.acquire().await?;
            payment::begun(&mut conn, payment_id, input.attempt).await?
        };
        let mut hold_expires_at = None;
        if !begun {
            hold_expires_at = self.holds.extend(input.checkout_id, input.hold_at_least_ms).await?;
            if hold_expires_at.is_none() {
                return Ok(None);
            }
        }
        let mut tx = self.pool.begin().await?;
        let begun =
            payment::begin_attempt(&mut tx, payment_id, input.attempt, &input.method).await?;
        tx.commit().await?;
        Ok(Some((begun, hold_expires_at)))
    }

    async fn note(
        &self,
        payment_id: PaymentId,
        attempt: Attempt,
        intent: &Intent,
    ) -> Result<bool, store::Error> {
        let mut conn = self.pool.acquire().await?;
        payment::note_provider_ref(&mut conn, payment_id, attempt, intent.id.as_str()).await
    }

    /// Writes the provider's word down. An attempt that was undone meanwhile stays undone.
    async fn write_down(
        &self,
        payment_id: PaymentId,
        attempt: Attempt,
        outcome: AuthorizeOutcome,
    ) -> Result<AuthorizeOutcome, store::Error> {
        let (state, decline_code) = match &outcome {
            AuthorizeOutcome::Approved(_) => (AttemptState::Approved, None),
            AuthorizeOutcome::Declined { decline_code } => {
                (AttemptState::Declined, Some(decline_code.as_str()))
            }
            AuthorizeOutcome::ActionRequired { .. } => (AttemptState::ActionRequired, None),
            AuthorizeOutcome::Closed | AuthorizeOutcome::HoldEnded => (AttemptState::Closed, None),
        };
        let mut tx = self.pool.begin().await?;
        let row = payment::decide(&mut tx, payment_id, attempt, state, decline_code).await?;
        if let AuthorizeOutcome::ActionRequired { url } = &outcome {
            payment::note_redirect(&mut tx, payment_id, attempt, url).await?;
        }
        tx.commit().await?;
        Ok(if row.state == AttemptState::Closed { AuthorizeOutcome::Closed } else { outcome })
    }

    async fn capture_authorization(
        &self,
        input: CaptureInput,
        retry: u32,
    ) -> Result<CaptureOutcome, Trouble> {
        let payment_id = input.checkout_id.payment();
        let attempt = input.authorization.attempt;
        let (amount, row) = {
            let mut conn = self.pool.acquire().await?;
            payment::find(&mut conn, payment_id, attempt).await?
        };
        if row.state == AttemptState::Captured {
            return Ok(CaptureOutcome::Captured);
        }
        let id = intent_id(&input.authorization.provider_ref)?;
        let outcome = self
            .provider
            .settle_capture(&id, &Charge { payment: payment_id, attempt, amount }, retry)
            .await?;
        if outcome == CaptureOutcome::Captured {
            let mut tx = self.pool.begin().await?;
            payment::decide(&mut tx, payment_id, attempt, AttemptState::Captured, None).await?;
            tx.commit().await?;
        }
        Ok(outcome)
    }

    async fn close_payment(&self, checkout_id: CheckoutId) -> Result<CloseOutcome, store::Error> {
        let mut tx = self.pool.begin().await?;
        let closed = payment::close(&mut tx, checkout_id.payment()).await?;
        tx.commit().await?;
        Ok(if closed { CloseOutcome::Closed } else { CloseOutcome::Sold })
    }

    async fn void_payment(
        &self,
        checkout_id: CheckoutId,
        retry: u32,
    ) -> Result<VoidOutcome, Trouble> {
        let payment_id = checkout_id.payment();
        if self.close_payment(checkout_id).await? == CloseOutcome::Sold {
            let sold = format!("{checkout_id} is sold, and cannot be voided");
            return Err(store::Error::Broken(sold).into());
        }
        let attempts = {
            let mut conn = self.pool.acquire().await?;
            payment::attempts(&mut conn, payment_id).await?
        };
        let mut undone = VoidOutcome::Voided;
        for row in attempts {
            let outcome = match &row.provider_ref {
                Some(reference) if row.state != AttemptState::Declined => {
                    let id = intent_id(reference)?;
                    let intent = self.provider.retrieve(&id).await?;
                    self.write_down_unheard(payment_id, &row, &intent).await?;
                    let outcome = self.provider.settle_void(&intent, retry).await?;
                    if outcome == VoidOutcome::Voided && !intent.approved {
                        // The bank may have approved between the look and the cancellation.
                        let now = self.provider.retrieve(&id).await?;
                        self.write_down_unheard(payment_id, &row, &now).await?;
                    }
                    outcome
                }
                // Never made known to us, so never confirmed; or refused by the issuer for good.
                Some(_) | None => VoidOutcome::Voided,
            };
            let refunded = outcome == VoidOutcome::Refunded;
            let mut tx = self.pool.begin().await?;
            payment::book_undone(&mut tx, payment_id, row.attempt, refunded).await?;
            tx.commit().await?;
            if refunded {
                undone = outcome;
            }
        }
        Ok(undone)
    }

    /// Writes down what the provider did and nobody heard, before it is undone: the books tell of
    /// both.
    async fn write_down_unheard(
        &self,
        payment_id: PaymentId,
        row: &AttemptRow,
        intent: &Intent,
    ) -> Result<(), store::Error> {
        let done = match intent.status {
            IntentStatus::Succeeded => AttemptState::Captured,
            _ if intent.approved => AttemptState::Approved,
            _ => return Ok(()),
        };
        let mut tx = self.pool.begin().await?;
        payment::decide(&mut tx, payment_id, row.attempt, done, None).await?;
        Ok(tx.commit().await?)
    }

    /// For a hold that ran out while its payment was in flight: asks the provider, and closes the
    /// payment if no money is set aside or on its way. `false` if some is, or if nobody can say. A payment that
    /// is closed already is undone whatever it holds.
    pub(crate) async fn abandon(&self, checkout_id: CheckoutId) -> bool {
        match self.try_abandon(checkout_id).await {
            Ok(abandoned) => abandoned,
            Err(trouble) => {
                tracing::warn!(checkout.id = %checkout_id, ?trouble, "cannot tell how the payment of {checkout_id} stands");
                false
            }
        }
    }

    async fn try_abandon(&self, checkout_id: CheckoutId) -> Result<bool, Trouble> {
        let payment_id = checkout_id.payment();
        let (closed, attempts) = {
            let mut conn = self.pool.acquire().await?;
            let closed = payment::closed(&mut conn, payment_id).await?;
            (closed, payment::attempts(&mut conn, payment_id).await?)
        };
        // What is closed can never be sold, so its money goes back, whoever began to undo it.
        if !closed && self.may_bring_money(&attempts).await? {
            return Ok(false);
        }
        // Counts up, so that an answer which the provider keeps with a key does not stand for good.
        let minutes = attempts.iter().map(|row| row.age.as_secs() / 60).max().unwrap_or_default();
        let retry = u32::try_from(minutes).unwrap_or(u32::MAX).saturating_add(1);
        self.void_payment(checkout_id, retry).await.map(|_| true)
    }

    /// Whether money is set aside, taken or on its way, as the provider says.
    async fn may_bring_money(&self, attempts: &[AttemptRow]) -> Result<bool, Trouble> {
        for reference in attempts.iter().filter_map(|row| row.provider_ref.as_ref()) {
            let status = self.provider.retrieve(&intent_id(reference)?).await?.status;
            if matches!(
                status,
                IntentStatus::RequiresCapture | IntentStatus::Succeeded | IntentStatus::Processing
            ) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What an earlier run of the same attempt already came to.
fn decided(row: &AttemptRow) -> Option<AuthorizeOutcome> {
    match (row.state, &row.provider_ref) {
        (AttemptState::Approved | AttemptState::Captured, Some(reference)) => {
            Some(AuthorizeOutcome::Approved(Authorization {
                attempt: row.attempt,
                provider_ref: reference.clone(),
            }))
        }
        (AttemptState::Declined, _) => Some(AuthorizeOutcome::Declined {
            decline_code: row.decline_code.clone().unwrap_or_else(|| "generic_decline".to_owned()),
        }),
        (AttemptState::Closed, _) => Some(AuthorizeOutcome::Closed),
        (AttemptState::Approved | AttemptState::Captured, None)
        | (AttemptState::Started | AttemptState::ActionRequired, _) => None,
    }
}

pub(crate) fn intent_id(reference: &str) -> Result<IntentId, Trouble> {
    reference.to_owned().try_into().map_err(|_| Trouble::BadReference(reference.to_owned()))
}

fn reply(outcome: AuthorizeOutcome) -> AuthorizeReply {
    AuthorizeReply { outcome, hold_expires_at: None }
}

/// How often this step was tried before. The one quick try comes before all patient ones.
fn retry(ctx: &ActivityContext) -> u32 {
    let info = ctx.info();
    if info.is_local { info.attempt.saturating_sub(1) } else { info.attempt }
}

#[activities]
impl Payments {
    #[activity(definition = contract::Authorize)]
    pub async fn authorize(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: AuthorizeInput,
    ) -> Result<AuthorizeReply, ActivityError> {
        let retry = retry(&ctx);
        Ok(heartbeat::during(&ctx, self.authorize_attempt(input, retry)).await?)
    }

    #[activity(definition = contract::Capture)]
    pub async fn capture(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: CaptureInput,
    ) -> Result<CaptureOutcome, ActivityError> {
        let retry = retry(&ctx);
        Ok(heartbeat::during(&ctx, self.capture_authorization(input, retry)).await?)
    }

    #[activity(definition = contract::Close)]
    pub async fn close(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: CloseInput,
    ) -> Result<CloseOutcome, ActivityError> {
        heartbeat::during(&ctx, self.close_payment(input.checkout_id))
            .await
            .map_err(failure::database)
    }

    #[activity(definition = contract::Void)]
    pub async fn void(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: VoidInput,
    ) -> Result<VoidOutcome, ActivityError> {
        let retry = retry(&ctx);
        Ok(heartbeat::during(&ctx, self.void_payment(input.checkout_id, retry)).await?)
    }
}
