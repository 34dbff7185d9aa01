//! Money that comes for a payment that is over: it goes back in full. No workflow waits for it, so this
//! is no activity; it is as idempotent as one.

use ::payments::{Error, Intent, IntentId, IntentStatus, Refund, RefundStatus};
use domain::{Difference, PaymentId, VoidOutcome};
use serde_json::json;
use store::{
    case::{self, Finding},
    payment,
};

use super::{Payments, Trouble, intent_id};

impl Payments {
    /// Looks at what a closed payment holds at the provider, and gives back what it finds: all that the
    /// provider calls by this name, or else by any we noted. `None` if there is nothing to give back,
    /// as there never is while a payment is open. `retry` counts the looks for the same reason before.
    pub async fn return_late(
        &self,
        payment_id: PaymentId,
        provider_ref: Option<&str>,
        retry: u32,
    ) -> anyhow::Result<Option<VoidOutcome>> {
        let looked = self.look_late(payment_id, provider_ref, retry).await;
        looked.map_err(|trouble| anyhow::anyhow!("{trouble}"))
    }

    async fn look_late(
        &self,
        payment_id: PaymentId,
        provider_ref: Option<&str>,
        retry: u32,
    ) -> Result<Option<VoidOutcome>, Trouble> {
        let references: Vec<String> = {
            let mut conn = self.pool.acquire().await?;
            if !payment::closed(&mut conn, payment_id).await? {
                return Ok(None);
            }
            if let Some(named) = provider_ref {
                vec![named.to_owned()]
            } else {
                let attempts = payment::attempts(&mut conn, payment_id).await?;
                attempts.into_iter().filter_map(|row| row.provider_ref).collect()
            }
        };
        let mut returned = None;
        for reference in references {
            let intent = match self.provider.retrieve(&intent_id(&reference)?).await {
                Ok(intent) => intent,
                // The provider knows no such thing, so it holds no money.
                Err(Error::Refused { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            returned = self.return_one(payment_id, &intent, retry).await?.or(returned);
        }
        Ok(returned)
    }

    /// Money that was paid back may come back to us, days later. Nobody's workflow waits for that, and to pay
    /// it back once more the same way would only repeat it, so it is a case for people; whether it is a new one.
    pub(crate) async fn check_paid_back(
        &self,
        payment_id: PaymentId,
        id: &IntentId,
    ) -> Result<bool, Trouble> {
        let refunds = self.provider.refunds(id).await?;
        let failed = |refund: &Refund| {
            matches!(refund.status, RefundStatus::Failed | RefundStatus::Canceled)
        };
        let Some(last) = refunds.first().filter(|_| refunds.iter().all(failed)) else {
            return Ok(false);
        };
        let kept = Finding {
            difference: Difference::UnreturnedMoney,
            subject: payment_id.to_string(),
            order_id: Some(payment_id.checkout().order()),
            facts: json!({ "intent": id.as_str(), "refund": last.id.as_str() }),
        };
        let mut tx = self.pool.begin().await?;
        payment::book_came_back(&mut tx, payment_id, id.as_str()).await?;
        let opened = case::open(&mut tx, &kept).await?;
        tx.commit().await?;
        if opened {
            tracing::warn!(payment.id = %payment_id, "what was paid back of {payment_id} came back: a case for people");
        }
        Ok(opened)
    }

    async fn return_one(
        &self,
        payment_id: PaymentId,
        intent: &Intent,
        retry: u32,
    ) -> Result<Option<VoidOutcome>, Trouble> {
        let reference = intent.id.as_str();
        if intent.charge.payment != payment_id {
            tracing::error!(payment.id = %payment_id, "{reference} was told of as {payment_id}'s, and is for another payment");
            return Ok(None);
        }
        let charge = &intent.charge;
        let money_came = match intent.status {
            // Nobody but us can take these further, and of a closed payment we never do. There may have been
            // money, let go by a look that died before it could say so.
            IntentStatus::RequiresPaymentMethod { .. }
            | IntentStatus::RequiresConfirmation
            | IntentStatus::Canceled => {
                let mut conn = self.pool.acquire().await?;
                if !payment::set_aside(&mut conn, reference).await? {
                    return Ok(None);
                }
                true
            }
            IntentStatus::Succeeded => {
                let mut conn = self.pool.acquire().await?;
                if payment::refunded(&mut conn, reference).await? {
                    drop(conn);
                    self.check_paid_back(payment_id, &intent.id).await?;
                    return Ok(None);
                }
                true
            }
            IntentStatus::RequiresCapture => {
                let mut tx = self.pool.begin().await?;
                let (attempt, amount) = (charge.attempt, charge.amount);
                payment::book_came(&mut tx, payment_id, attempt, reference, amount).await?;
                tx.commit().await?;
                true
            }
            IntentStatus::RequiresAction { .. } | IntentStatus::Processing => false,
        };
        let outcome = self.provider.settle_void(intent, retry).await?;
        let refunded = outcome == VoidOutcome::Refunded;
        // The bank may have approved between the look and the cancellation.
        if !money_came && !refunded && !self.provider.retrieve(&intent.id).await?.approved {
            return Ok(None);
        }
        let mut tx = self.pool.begin().await?;
        payment::book_returned(
            &mut tx,
            payment_id,
            charge.attempt,
            reference,
            charge.amount,
            refunded,
        )
        .await?;
        tx.commit().await?;
        tracing::warn!(
            payment.id = %payment_id,
            amount_minor = charge.amount.minor(),
            currency = charge.amount.currency().code(),
            refunded,
            "money came for {payment_id} after it was closed, and was given back"
        );
        Ok(Some(outcome))
    }
}
