//! Goods that came back and can be sold again: an operator's decision, apart from the money.

use std::collections::BTreeMap;

use domain::{LINES_MAX, OrderId, RefundProblem, Sku, refund::REFERENCE_CHARS_MAX};
use store::{
    inventory::{self, Receipt, Received},
    restock::{self, Restock, Restocked},
};

use super::{
    Service,
    admin::{RECEIPT_TEXT_CHARS_MAX, text_fits},
    refund::is_reference,
};
use crate::{
    auth::Operator,
    error::{Error, FieldError},
};

/// Why the stock of a restock is booked in.
const RECEIPT_REASON: &str = "return";

/// What an operator puts on the shelf again.
pub(crate) struct NewRestock {
    pub(crate) lines: Vec<(Sku, i64)>,
    pub(crate) reason: String,
    pub(crate) reference: String,
}

impl Service {
    /// Restocks lines of an order, once per reference and never more than was sold. Whether it had been
    /// done before. It is written down first, and booked after: repeating it mends what came between.
    pub(crate) async fn restock(
        &self,
        operator: &Operator,
        order_id: OrderId,
        new: &NewRestock,
    ) -> Result<bool, Error> {
        let lines = checked(new)?;
        let restock = Restock {
            order_id,
            lines: &lines,
            reason: &new.reason,
            reference: &new.reference,
            actor: operator.as_str(),
        };
        let replayed = match self.note(restock).await?.ok_or(Error::NotFound)? {
            Restocked::Noted => false,
            Restocked::Known => true,
            Restocked::Other => return Err(Error::RestockReferenceReused),
            Restocked::Exceeds(lines) => return Err(Error::RestockExceedsSold(lines)),
            Restocked::InvalidState(state) => {
                let problem = RefundProblem::InvalidState { state };
                return Err(Error::Refund { order_id, problem });
            }
        };
        let reference = format!("restock/{order_id}/{}", new.reference);
        for (sku, quantity) in &lines {
            let receipt = Receipt {
                sku,
                delta: *quantity,
                reason: RECEIPT_REASON,
                reference: &reference,
                actor: operator.as_str(),
            };
            let (received, _) = inventory::book(&mut *self.stock_of(sku).await?, receipt).await?;
            if !matches!(received, Received::Booked | Received::Known) {
                let wrong = anyhow::anyhow!("{reference} of {sku} was booked as {received:?}");
                return Err(Error::Internal(wrong));
            }
        }
        if !replayed {
            tracing::info!(order.id = %order_id, operator = operator.as_str(), "{} lines of {order_id} restocked", lines.len());
        }
        Ok(replayed)
    }

    async fn note(&self, restock: Restock<'_>) -> Result<Option<Restocked>, Error> {
        let mut tx = self.0.db.begin().await.map_err(store::Error::from)?;
        let noted = restock::note(&mut tx, restock).await?;
        tx.commit().await.map_err(store::Error::from)?;
        Ok(noted)
    }
}

fn checked(new: &NewRestock) -> Result<BTreeMap<Sku, i64>, Error> {
    let mut errors = Vec::new();
    let mut lines = BTreeMap::new();
    if !(1..=LINES_MAX).contains(&new.lines.len()) {
        errors.push(FieldError::at("/lines", "out_of_range", format!("1 to {LINES_MAX} lines")));
    }
    for (number, (sku, quantity)) in new.lines.iter().enumerate() {
        if *quantity < 1 {
            let pointer = format!("/lines/{number}/quantity");
            errors.push(FieldError::at(pointer, "out_of_range", "at least 1"));
        }
        if lines.insert(sku.clone(), *quantity).is_some() {
            let pointer = format!("/lines/{number}/sku");
            errors.push(FieldError::at(pointer, "invalid_value", "each SKU stands there once"));
        }
    }
    if !text_fits(&new.reason) {
        let detail = format!("1 to {RECEIPT_TEXT_CHARS_MAX} characters");
        errors.push(FieldError::at("/reason", "out_of_range", detail));
    }
    if !is_reference(&new.reference) {
        let detail = format!("1 to {REFERENCE_CHARS_MAX} visible ASCII characters");
        errors.push(FieldError::at("/reference", "invalid_value", detail));
    }
    if errors.is_empty() { Ok(lines) } else { Err(Error::Invalid(errors)) }
}
