//! What those who run the shop ask for: the books' audit, and stock in and out.

use domain::{CheckoutId, CheckoutState, Sku};
use store::{
    PoolConnection,
    inventory::{self, Level, Receipt, Received},
    law::{self, Audit, When},
    resolution,
};
use workflows::Resolution;

use super::Service;
use crate::{
    auth::Operator,
    engine::Told,
    error::{Error, FieldError},
};

/// The most units of one receipt.
pub(crate) const RECEIPT_UNITS_MAX: i64 = 1_000_000_000;
/// The longest reason and the longest reference of a receipt, in characters.
pub(crate) const RECEIPT_TEXT_CHARS_MAX: usize = 200;

/// Stock that comes in or, negative, goes out.
pub(crate) struct NewReceipt {
    pub(crate) quantity: i64,
    pub(crate) reason: String,
    pub(crate) reference: String,
}

impl Service {
    /// Every law that holds at every moment, checked now.
    pub(crate) async fn audit(&self) -> Result<Audit, Error> {
        Ok(law::audit(&self.0.db, &self.0.shards, When::Always).await?)
    }

    /// The counters of a SKU of the catalog.
    pub(crate) async fn level(&self, sku: &Sku) -> Result<Level, Error> {
        self.in_catalog(sku).await?;
        let mut conn = self.stock_of(sku).await?;
        Ok(inventory::level(&mut conn, sku).await?)
    }

    /// Books a receipt. The counters after it, and whether it had been booked before.
    pub(crate) async fn receive(
        &self,
        operator: &Operator,
        sku: &Sku,
        receipt: NewReceipt,
    ) -> Result<(Level, bool), Error> {
        let NewReceipt { quantity, reason, reference } = receipt;
        let quantity_fits =
            quantity != 0 && (-RECEIPT_UNITS_MAX..=RECEIPT_UNITS_MAX).contains(&quantity);
        let checks = [
            ("/quantity", quantity_fits, format!("1 to {RECEIPT_UNITS_MAX} units, in or out")),
            ("/reason", text_fits(&reason), format!("1 to {RECEIPT_TEXT_CHARS_MAX} characters")),
            (
                "/reference",
                text_fits(&reference),
                format!("1 to {RECEIPT_TEXT_CHARS_MAX} characters"),
            ),
        ];
        let wrong = checks.into_iter().filter(|(_, fits, _)| !fits);
        let wrong: Vec<_> =
            wrong.map(|(at, _, detail)| FieldError::at(at, "out_of_range", detail)).collect();
        if !wrong.is_empty() {
            return Err(Error::Invalid(wrong));
        }
        self.in_catalog(sku).await?;
        let receipt = Receipt {
            sku,
            delta: quantity,
            reason: &reason,
            reference: &reference,
            actor: operator.as_str(),
        };
        let mut conn = self.stock_of(sku).await?;
        let (received, level) = inventory::book(&mut conn, receipt).await?;
        let replayed = match received {
            Received::Booked => false,
            Received::Known => true,
            Received::Other { delta } => return Err(Error::ReferenceReused { quantity: delta }),
            Received::TooFew { available, reserved } => {
                return Err(Error::InsufficientStock { available, reserved });
            }
        };
        if !replayed {
            tracing::info!(sku = %sku, quantity, operator = operator.as_str(), "{quantity} units of {sku} booked");
        }
        Ok((level, replayed))
    }

    /// Tells a checkout that needs attention to try again, or to turn back. Where it stood then.
    pub(crate) async fn resolve(
        &self,
        operator: &Operator,
        id: CheckoutId,
        action: Resolution,
        reason: &str,
    ) -> Result<CheckoutState, Error> {
        checked_reason(reason)?;
        let (customer, asked) = {
            let mut conn = self.connection().await?;
            let customer = resolution::customer_of(&mut conn, id).await?.ok_or(Error::NotFound)?;
            let (name, actor) = (action.as_str(), operator.as_str());
            (customer, resolution::ask(&mut conn, id, name, actor, reason).await?)
        };
        let state = match self.0.engine.resolve(id, action).await? {
            Told::Answered(status) => status.state(),
            Told::Ongoing => CheckoutState::NeedsAttention,
            Told::Refused => return Err(self.invalid_state(customer, id).await?),
        };
        resolution::mark_taken(&mut *self.connection().await?, asked).await?;
        tracing::info!(checkout.id = %id, operator = operator.as_str(), "{} told {id}", action.as_str());
        Ok(state)
    }

    pub(super) async fn stock_of(&self, sku: &Sku) -> Result<PoolConnection, Error> {
        Ok(self.0.shards.acquire(self.0.shards.part_of(sku)).await?)
    }

    async fn in_catalog(&self, sku: &Sku) -> Result<(), Error> {
        if store::catalog::has(&mut *self.connection().await?, sku).await? {
            return Ok(());
        }
        Err(Error::NotFound)
    }
}

/// What an operator gives for a reason.
pub(super) fn checked_reason(reason: &str) -> Result<(), Error> {
    if text_fits(reason) {
        return Ok(());
    }
    let detail = format!("1 to {RECEIPT_TEXT_CHARS_MAX} characters");
    Err(Error::Invalid(vec![FieldError::at("/reason", "out_of_range", detail)]))
}

pub(super) fn text_fits(text: &str) -> bool {
    (1..=RECEIPT_TEXT_CHARS_MAX).contains(&text.chars().count())
        && !text.chars().any(char::is_control)
}
