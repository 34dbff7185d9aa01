//! A refund that ends definite, and is made once for each reference however often and however late it
//! is asked for. The calls themselves stand in `refund`.

use std::time::Duration;

use domain::Money;

use crate::{
    Charge, Doubt, Error, IntentId, LOOK_AGAIN_TIMEOUT, REFERENCE_CHARS_MAX, REFUND_KEYS_MAX,
    Refund, RefundId, RefundStatus, Stripe,
    refund::{held_to, refund_key},
};

/// How a refund ended, for certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundOutcome {
    /// The money is on its way to the customer. Their bank may still send it back, days later; the
    /// provider then says so by an event, and the refund becomes failed.
    Refunded {
        /// The provider's id of the refund.
        provider_ref: RefundId,
    },
    /// The provider has accepted it and carries it out, when our balance there or the customer allows.
    /// It counts against what is left to refund.
    Pending {
        /// The provider's id of the refund.
        provider_ref: RefundId,
    },
    /// It was made and did not work, or was called off: the money is ours again. Trying once more takes
    /// another reference.
    Failed {
        /// The provider's id of the refund.
        provider_ref: RefundId,
        /// The provider's reason.
        reason: String,
    },
    /// The provider will not make it, and none was made. More than is left cannot be paid back, for
    /// one.
    Refused {
        /// The provider's reason.
        code: String,
    },
}

impl Stripe {
    /// Pays back all or a part of a captured intent, once for each `reference`, or finds out how that
    /// refund ended. An error is unknown, or it refuses the request unasked because it cannot be made.
    ///
    /// It may be repeated at will, by several callers and after any time. A key alone would not give
    /// that: it is forgotten after [`crate::KEY_LIFETIME`], and it may hold a failure of the provider's
    /// that says nothing of what was done. So the intent's refunds are looked through first, every time,
    /// and again after every unknown: one that carries our reference is the answer.
    ///
    /// Unlike the other steps this one takes no count of retries, because no count may choose the key. A
    /// second part of the money can be paid back as well as the first, so a new key while the request
    /// under the old one is still on its way could pay twice. The next key is used only when the provider
    /// repeats a failure stored under the one before, which proves that request over, and the refund is
    /// then seen not to exist.
    pub async fn settle_refund(
        &self,
        id: &IntentId,
        charge: &Charge,
        amount: Money,
        reference: &str,
    ) -> Result<RefundOutcome, Error> {
        possible(charge, amount, reference)?;
        if let Some(refund) = self.look_for_refund(id, amount, reference, None).await? {
            return Ok(outcome(refund));
        }
        let mut nth = 0;
        loop {
            let key = refund_key(charge, reference, nth);
            let error = match self.refund_under(&key, id, charge, amount, reference).await {
                Ok((refund, false)) => return Ok(outcome(refund)),
                // Repeated from when it was made, and it may have failed since.
                Ok((made, true)) => {
                    let now = self.look_for_refund(id, amount, reference, None).await?;
                    let now = now.filter(|now| now.id == made.id);
                    let lost = || Error::unknown("refund", Doubt::Mismatch("refund"));
                    return now.map(outcome).ok_or_else(lost);
                }
                Err(error) => error,
            };
            let within = Some(LOOK_AGAIN_TIMEOUT);
            match self.look_for_refund(id, amount, reference, within).await {
                Ok(Some(refund)) => return Ok(outcome(refund)),
                Ok(None) => {}
                Err(blind) => return Err(error.or_unknown(blind)),
            }
            nth += 1;
            match error {
                Error::Refused { code, .. } => return Ok(RefundOutcome::Refused { code }),
                Error::Unknown { doubt: Doubt::Stored(_), .. } if nth < REFUND_KEYS_MAX => {}
                error @ Error::Unknown { .. } => return Err(error),
            }
        }
    }

    /// The refund with our reference. Were there several, one that holds money tells more than one that
    /// failed.
    async fn look_for_refund(
        &self,
        id: &IntentId,
        amount: Money,
        reference: &str,
        within: Option<Duration>,
    ) -> Result<Option<Refund>, Error> {
        let refunds = self.refunds_within(id, within).await?;
        let ours = refunds
            .into_iter()
            .filter(|refund| refund.reference.as_deref() == Some(reference))
            .max_by_key(|refund| match refund.status {
                RefundStatus::Succeeded => 2,
                RefundStatus::Pending | RefundStatus::RequiresAction => 1,
                RefundStatus::Failed | RefundStatus::Canceled => 0,
            });
        if let Some(refund) = &ours {
            held_to("list refunds", refund, id, amount)?;
        }
        Ok(ours)
    }
}

/// Refuses what no provider could make, or could not be found again by its reference.
fn possible(charge: &Charge, amount: Money, reference: &str) -> Result<(), Error> {
    let plain = reference.bytes().all(|byte| byte.is_ascii_graphic());
    let (code, what) = match () {
        () if !(1..=REFERENCE_CHARS_MAX).contains(&reference.len()) || !plain => (
            "reference_unsupported",
            format!("a reference is 1 to {REFERENCE_CHARS_MAX} visible ASCII characters"),
        ),
        () if amount.currency() != charge.amount.currency() => (
            "currency_unsupported",
            format!("{} cannot pay back {}", amount.currency(), charge.amount.currency()),
        ),
        () if amount.minor() < 1 => {
            ("amount_too_small", "a refund is of at least one minor unit".to_owned())
        }
        () => return Ok(()),
    };
    Err(Error::Refused {
        call: "refund",
        code: code.to_owned(),
        message: format!("{what}; the provider was not asked"),
        card_error: false,
        intent: None,
    })
}

fn outcome(refund: Refund) -> RefundOutcome {
    let Refund { id: provider_ref, status, failure_reason, .. } = refund;
    match status {
        RefundStatus::Succeeded => RefundOutcome::Refunded { provider_ref },
        RefundStatus::Pending | RefundStatus::RequiresAction => {
            RefundOutcome::Pending { provider_ref }
        }
        RefundStatus::Failed => RefundOutcome::Failed {
            provider_ref,
            reason: failure_reason.unwrap_or_else(|| "unknown".to_owned()),
        },
        RefundStatus::Canceled => {
            RefundOutcome::Failed { provider_ref, reason: "canceled".to_owned() }
        }
    }
}
