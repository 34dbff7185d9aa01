//! Money on its way back, as this shop sees it, and the calls about it, one request each. When a refund
//! is asked for, and what to conclude, stands in `settle_refund`.

use std::time::Duration;

use domain::Money;
use url::form_urlencoded::byte_serialize;

use crate::{
    Charge, Doubt, Error, IntentId, REFUND_PAGE, REFUND_PAGES_MAX, RefundId, Stripe,
    calls::{key, unsupported},
    wire,
};

/// Where refunds are.
pub(crate) const REFUNDS: &str = "v1/refunds";

/// Money on its way back to the customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// The provider's id.
    pub id: RefundId,
    /// The intent it pays back.
    pub intent: IntentId,
    /// How much goes back.
    pub amount: Money,
    /// How far it is.
    pub status: RefundStatus,
    /// What we called it; `None` when it was made by hand or by another system.
    pub reference: Option<String>,
    /// Why it did not work, in the provider's word, when it did not and the provider says.
    pub failure_reason: Option<String>,
}

/// How far a refund is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundStatus {
    /// Accepted; the provider carries it out.
    Pending,
    /// The customer must act before the money can arrive.
    RequiresAction,
    /// Handed to the card network.
    Succeeded,
    /// It did not work; the money is ours again.
    Failed,
    /// Called off; the money is ours again.
    Canceled,
}

impl Stripe {
    /// Pays back all or a part of a captured intent, under one key for each `reference`.
    ///
    /// Only [`Stripe::settle_refund`] pays back once however late it is repeated: the provider forgets
    /// the key after [`crate::KEY_LIFETIME`], and until then may repeat a failure of its own under it.
    pub async fn refund(
        &self,
        id: &IntentId,
        charge: &Charge,
        amount: Money,
        reference: &str,
    ) -> Result<Refund, Error> {
        let key = refund_key(charge, reference, 0);
        Ok(self.refund_under(&key, id, charge, amount, reference).await?.0)
    }

    /// The refund, and whether it is a repeated answer, which may be out of date.
    pub(crate) async fn refund_under(
        &self,
        key: &str,
        id: &IntentId,
        charge: &Charge,
        amount: Money,
        reference: &str,
    ) -> Result<(Refund, bool), Error> {
        const CALL: &str = "refund";
        if amount.currency() != charge.amount.currency() {
            return Err(unsupported(CALL, amount.currency()));
        }
        let form = [
            ("payment_intent", id.to_string()),
            ("amount", amount.minor().to_string()),
            ("metadata[payment_id]", charge.payment.to_string()),
            ("metadata[attempt]", charge.attempt.to_string()),
            ("metadata[reference]", reference.to_owned()),
        ];
        let answer = self.post(CALL, REFUNDS, key, &form).await?;
        let refund = wire::refund(&answer.body).map_err(|why| self.unreadable(CALL, why))?;
        held_to(CALL, &refund, id, amount)?;
        Ok((refund, answer.replayed))
    }

    /// The refund as it is now. What it pays back is not checked, for that is what the caller asks.
    pub async fn retrieve_refund(&self, id: &RefundId) -> Result<Refund, Error> {
        const CALL: &str = "retrieve refund";
        let answer = self.get(CALL, &format!("{REFUNDS}/{id}"), &[], None).await?;
        let refund = wire::refund(&answer.body).map_err(|why| self.unreadable(CALL, why))?;
        if refund.id == *id { Ok(refund) } else { Err(Error::unknown(CALL, Doubt::Mismatch("id"))) }
    }

    /// Every refund of an intent, whoever made it, newest first. Unlike a search, the list has no lag: a
    /// refund that is not on it was not there when it was asked for.
    pub async fn refunds(&self, id: &IntentId) -> Result<Vec<Refund>, Error> {
        self.refunds_within(id, None).await
    }

    /// The time is for each page.
    pub(crate) async fn refunds_within(
        &self,
        id: &IntentId,
        within: Option<Duration>,
    ) -> Result<Vec<Refund>, Error> {
        const CALL: &str = "list refunds of an intent";
        let mut refunds: Vec<Refund> = Vec::new();
        for _ in 0..REFUND_PAGES_MAX {
            let mut query =
                vec![("payment_intent", id.to_string()), ("limit", REFUND_PAGE.to_string())];
            if let Some(last) = refunds.last() {
                query.push(("starting_after", last.id.to_string()));
            }
            let answer = self.get(CALL, REFUNDS, &query, within).await?;
            let page = wire::refunds(&answer.body).map_err(|why| self.unreadable(CALL, why))?;
            if page.items.iter().any(|refund| refund.intent != *id) {
                return Err(Error::unknown(CALL, Doubt::Mismatch("intent")));
            }
            refunds.extend(page.items);
            if !page.has_more {
                return Ok(refunds);
            }
        }
        Err(Error::unknown(CALL, Doubt::TooLarge))
    }
}

/// `pay_x/1/refund/r1`, or `pay_x/1/refund/r1/2` for the third key.
pub(crate) fn refund_key(charge: &Charge, reference: &str, nth: u32) -> String {
    // A key is a header, so whatever the reference is made of must become plain.
    let reference: String = byte_serialize(reference.as_bytes()).collect();
    key(charge, &format!("refund/{reference}"), nth)
}

/// Refuses to take an answer about one refund for the answer about another.
pub(crate) fn held_to(
    call: &'static str,
    refund: &Refund,
    id: &IntentId,
    amount: Money,
) -> Result<(), Error> {
    match () {
        () if refund.intent != *id => Err(Error::unknown(call, Doubt::Mismatch("intent"))),
        () if refund.amount != amount => Err(Error::unknown(call, Doubt::Mismatch("amount"))),
        () => Ok(()),
    }
}
