//! Giving money back: what an intent's refunds may add up to, and how the word on one can change, which
//! is pending at first or fails after it seemed done. Pure, like `intent`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::{
    card::{Card, Refunding},
    error::ApiError,
    intent::{Change, EntryKind, Intent, Outcome, Status, new_id},
    words::words,
};

/// Why refunds fail here. Stripe has more reasons; a shop can do nothing about any of them.
const FAILURE_REASON: &str = "expired_or_canceled_card";

words! {
    /// How a refund stands.
    enum RefundStatus {
        Pending = "pending",
        Succeeded = "succeeded",
        Failed = "failed",
    }
}

/// Money given back.
#[derive(Debug, Clone)]
pub(crate) struct Refund {
    pub(crate) id: String,
    pub(crate) payment_intent: String,
    pub(crate) charge: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) reason: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) status: RefundStatus,
    pub(crate) failure_reason: Option<String>,
    /// What becomes of it after a while.
    pub(crate) settles_to: Option<RefundStatus>,
    pub(crate) created_at: DateTime<Utc>,
}

impl Intent {
    /// Pays captured money back; without an amount all that is left of it.
    pub(crate) fn refund(
        mut self,
        amount: Option<i64>,
        reason: Option<&str>,
        metadata: &BTreeMap<String, String>,
        at: DateTime<Utc>,
    ) -> Outcome {
        let charge = match &self.charge {
            Some(charge) if self.status == Status::Succeeded => charge.clone(),
            Some(_) | None => {
                let message = format!(
                    "This PaymentIntent ({}) does not have a successful charge to refund.",
                    self.id,
                );
                let error = ApiError::unexpected_state_because(message);
                return self.refused(error);
            }
        };
        let left = self.amount_captured - self.amount_refunded;
        if left == 0 {
            let message = format!("Charge {charge} has already been refunded.");
            let error = ApiError::invalid(Some("charge_already_refunded"), message);
            return self.refused(error);
        }
        let amount = amount.unwrap_or(left);
        if amount > left {
            let message = format!(
                "Refund amount ({amount}) is greater than unrefunded amount on charge ({left})."
            );
            let error = ApiError::invalid_param("amount", "amount_too_large", message);
            return self.refused(error);
        }
        self.amount_refunded += amount;
        let card = self.payment_method.as_deref().and_then(|name| Card::find(name).ok());
        let (status, settles_to) = card.map_or(Refunding::AtOnce, Card::refunding).words();
        let refund = Refund {
            id: new_id("re"),
            payment_intent: self.id.clone(),
            charge,
            amount,
            currency: self.currency.clone(),
            reason: reason.map(str::to_owned),
            metadata: metadata.clone(),
            status,
            failure_reason: None,
            settles_to,
            created_at: at,
        };
        Outcome::Done(Change {
            refund: Some(refund),
            ..self.changed(vec![(EntryKind::Refunded, amount)])
        })
    }

    /// Hears the last word on one of the intent's refunds. What could not be paid back is the shop's
    /// again, and can be refunded once more.
    pub(crate) fn settle(mut self, refund: Refund, to: RefundStatus) -> Outcome {
        let refund = match refund.settle(to) {
            Ok(refund) => refund,
            Err(error) => return self.refused(error),
        };
        let mut entries = Vec::new();
        if to == RefundStatus::Failed {
            self.amount_refunded -= refund.amount;
            entries.push((EntryKind::RefundFailed, refund.amount));
        }
        Outcome::Done(Change { refund: Some(refund), ..self.changed(entries) })
    }
}

impl Refunding {
    /// The first word on a refund, and the last one if that is another.
    fn words(self) -> (RefundStatus, Option<RefundStatus>) {
        match self {
            Self::AtOnce => (RefundStatus::Succeeded, None),
            Self::SucceedsLater => (RefundStatus::Pending, Some(RefundStatus::Succeeded)),
            Self::FailsLater => (RefundStatus::Succeeded, Some(RefundStatus::Failed)),
        }
    }
}

impl Refund {
    /// The refund with its last word. One that failed stays so, and none becomes pending again.
    fn settle(self, to: RefundStatus) -> Result<Self, ApiError> {
        let forward = match (self.status, to) {
            (RefundStatus::Pending, RefundStatus::Succeeded | RefundStatus::Failed)
            | (RefundStatus::Succeeded, RefundStatus::Failed) => true,
            (
                RefundStatus::Pending | RefundStatus::Succeeded | RefundStatus::Failed,
                RefundStatus::Pending,
            )
            | (RefundStatus::Succeeded | RefundStatus::Failed, RefundStatus::Succeeded)
            | (RefundStatus::Failed, RefundStatus::Failed) => false,
        };
        if !forward {
            let message = format!(
                "The refund {} is {} and cannot become {}.",
                self.id,
                self.status.as_str(),
                to.as_str(),
            );
            return Err(ApiError::invalid(None, message));
        }
        let failed = to == RefundStatus::Failed;
        Ok(Self {
            status: to,
            failure_reason: failed.then(|| FAILURE_REASON.to_owned()),
            settles_to: None,
            ..self
        })
    }
}
