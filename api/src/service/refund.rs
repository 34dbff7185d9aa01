//! Giving money back: for an operator all or a part of what was captured, for a customer by calling a paid
//! order off. Both are one refund, asked for here and carried out by the workers.

use std::time::Duration;

use domain::{
    CustomerId, Money, OrderId, OrderState, RefundId, RefundProblem, RefundPurpose, RefundState,
    refund::{CANCEL_REFERENCE, REASON_CHARS_MAX, REFERENCE_CHARS_MAX},
};
use store::{order::read::OrderDetail, refund::RefundRow, shipment::Shipment};
use workflows::{Looking, RefundInput, RefundTiming};

use super::Service;
use crate::{
    auth::Operator,
    error::{Error, FieldError},
};

/// Why a customer's refund is asked for.
const CANCELLED: &str = "cancelled";

/// A refund as an operator asks for it.
pub(crate) struct NewRefund {
    /// Without, all that is left.
    pub(crate) amount: Option<Money>,
    pub(crate) reason: String,
    pub(crate) reference: String,
}

impl NewRefund {
    fn checked(self) -> Result<Self, Error> {
        let mut errors = Vec::new();
        if self.amount.is_some_and(|amount| amount.minor() == 0) {
            errors.push(FieldError::at("/amount/minor", "out_of_range", "at least 1"));
        }
        if !is_word(&self.reason) {
            let detail = format!(
                "1 to {REASON_CHARS_MAX} small letters, digits and underscores, such as damaged"
            );
            errors.push(FieldError::at("/reason", "invalid_value", detail));
        }
        if !is_reference(&self.reference) || self.reference == CANCEL_REFERENCE {
            let detail = format!(
                "1 to {REFERENCE_CHARS_MAX} visible ASCII characters, and not `{CANCEL_REFERENCE}`"
            );
            errors.push(FieldError::at("/reference", "invalid_value", detail));
        }
        if errors.is_empty() { Ok(self) } else { Err(Error::Invalid(errors)) }
    }
}

impl Service {
    /// Gives back all or a part of what an order brought in, and waits a little for the provider's word.
    /// The refund, and whether it had been asked for before.
    pub(crate) async fn refund(
        &self,
        operator: &Operator,
        order_id: OrderId,
        new: NewRefund,
        wait: Duration,
    ) -> Result<(RefundRow, bool), Error> {
        let NewRefund { amount, reason, reference } = new.checked()?;
        let input = RefundInput {
            refund_id: RefundId::derive(order_id, &reference),
            order_id,
            purpose: RefundPurpose::PayBack,
            amount,
            reason,
            actor: operator.as_str().to_owned(),
            reference,
            timing: self.refund_timing(),
            looking: Looking::default(),
        };
        self.give_back(input, wait).await
    }

    /// An order's refunds, oldest first, and how much could still be given back.
    pub(crate) async fn refunds(
        &self,
        order_id: OrderId,
    ) -> Result<(Vec<RefundRow>, Money), Error> {
        let mut conn = self.connection().await?;
        let left = store::refund::left(&mut conn, order_id).await?.ok_or(Error::NotFound)?;
        Ok((store::refund::of_order(&mut conn, order_id).await?, left))
    }

    /// Calls a paid order off that is not shipped: it will not be, and all its money goes back. The order
    /// after it; one that was called off before is answered the same.
    pub(crate) async fn order_cancel(
        &self,
        caller: CustomerId,
        order_id: OrderId,
        wait: Duration,
    ) -> Result<(OrderDetail, Vec<Shipment>), Error> {
        let order = self.order(caller, order_id).await?;
        let state = order.0.summary.state;
        match state {
            OrderState::Cancelled | OrderState::Refunded => return Ok(order),
            OrderState::Paid => {}
            OrderState::Pending
            | OrderState::Placed
            | OrderState::PartiallyShipped
            | OrderState::Shipped
            | OrderState::Delivered => {
                let problem = RefundProblem::InvalidState { state };
                return Err(Error::Refund { order_id, problem });
            }
        }
        let input = RefundInput {
            refund_id: RefundId::derive(order_id, CANCEL_REFERENCE),
            order_id,
            purpose: RefundPurpose::CallOff,
            amount: None,
            reason: CANCELLED.to_owned(),
            actor: caller.to_string(),
            reference: CANCEL_REFERENCE.to_owned(),
            timing: self.refund_timing(),
            looking: Looking::default(),
        };
        match self.give_back(input, wait).await {
            // All of it may be on its way back already; the order is called off all the same.
            Ok(_) | Err(Error::Refund { problem: RefundProblem::ExceedsCaptured { .. }, .. }) => {
                self.order(caller, order_id).await
            }
            Err(error) => Err(error),
        }
    }

    async fn give_back(
        &self,
        input: RefundInput,
        wait: Duration,
    ) -> Result<(RefundRow, bool), Error> {
        let (id, order_id, amount) = (input.refund_id, input.order_id, input.amount);
        let known = {
            let mut conn = self.connection().await?;
            if store::order::state(&mut conn, order_id).await?.is_none() {
                return Err(Error::NotFound);
            }
            store::refund::find(&mut conn, id).await?
        };
        let known = known.map(|row| same(row, order_id, amount)).transpose()?;
        // What is not decided may have lost its workflow, and is started again then.
        let decided =
            |row: &&RefundRow| !matches!(row.state, RefundState::Requested | RefundState::Pending);
        if let Some(row) = known.as_ref().filter(decided) {
            return Ok((row.clone(), true));
        }
        let asked = self.0.engine.refund(input, wait).await?;
        if let Some(problem) = asked.word.and_then(|word| word.problem) {
            return Err(Error::Refund { order_id, problem });
        }
        let row = store::refund::find(&mut *self.connection().await?, id).await?;
        let late = || Error::Unavailable(anyhow::anyhow!("{id} is not written down yet"));
        Ok((same(row.ok_or_else(late)?, order_id, amount)?, asked.replayed || known.is_some()))
    }

    fn refund_timing(&self) -> RefundTiming {
        RefundTiming {
            attention_after_ms: self.0.timing.attention_after_ms,
            look_after_ms: self.0.timing.action_poll_ms,
        }
    }
}

/// The refund, unless another amount is meant by its reference. One that is not said contradicts nothing.
fn same(row: RefundRow, order_id: OrderId, amount: Option<Money>) -> Result<RefundRow, Error> {
    match amount {
        Some(amount) if amount != row.amount => {
            let problem = RefundProblem::ReferenceReused { amount: row.amount };
            Err(Error::Refund { order_id, problem })
        }
        Some(_) | None => Ok(row),
    }
}

/// A code and no sentence: it travels through the engine, where no personal data belongs.
fn is_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=REASON_CHARS_MAX).contains(&text.len()) && text.bytes().all(plain)
}

pub(super) fn is_reference(text: &str) -> bool {
    (1..=REFERENCE_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}
