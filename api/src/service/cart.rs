//! The caller's own cart.

use std::collections::HashMap;

use domain::{CustomerId, Money, Quantity, Sku};
use store::cart::{CartView, Change, Expected};

use super::Service;
use crate::error::{Error, FieldError};

/// Where a SKU stands in a request, to say there that it is none.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// `/sku` and `/quantity` of the body.
    Body,
    /// The path names the SKU; `/quantity` of the body.
    Path,
}

/// A cart, and what can be had of it.
pub(crate) struct Cart {
    pub(crate) view: CartView,
    /// How many of each SKU are available now; a SKU of which that cannot be told now is not there.
    pub(crate) available: HashMap<Sku, i64>,
}

impl Service {
    pub(crate) async fn cart(&self, caller: CustomerId) -> Result<Cart, Error> {
        let view = store::cart::get(&mut *self.connection().await?, caller).await?;
        Ok(self.beside_stock(view).await)
    }

    pub(crate) async fn cart_add(
        &self,
        caller: CustomerId,
        expected: Expected<'_>,
        sku: Sku,
        quantity: Quantity,
    ) -> Result<Cart, Error> {
        let change =
            store::cart::add(&mut *self.connection().await?, caller, expected, &sku, quantity)
                .await?;
        Ok(self.beside_stock(answer(change, &sku, Place::Body)?).await)
    }

    pub(crate) async fn cart_set(
        &self,
        caller: CustomerId,
        expected: Expected<'_>,
        sku: Sku,
        quantity: Quantity,
        place: Place,
    ) -> Result<Cart, Error> {
        let change =
            store::cart::set(&mut *self.connection().await?, caller, expected, &sku, quantity)
                .await?;
        Ok(self.beside_stock(answer(change, &sku, place)?).await)
    }

    pub(crate) async fn cart_remove(
        &self,
        caller: CustomerId,
        expected: Expected<'_>,
        sku: Sku,
    ) -> Result<Cart, Error> {
        let change =
            store::cart::remove(&mut *self.connection().await?, caller, expected, &sku).await?;
        Ok(self.beside_stock(answer(change, &sku, Place::Path)?).await)
    }

    async fn beside_stock(&self, view: CartView) -> Cart {
        let skus: Vec<Sku> = view.lines.iter().map(|line| line.sku.clone()).collect();
        Cart { available: self.0.shards.levels(&skus).await, view }
    }
}

/// What the cart costs at today's prices, if they add up to one amount.
pub(crate) fn total(cart: &CartView) -> Option<Money> {
    let mut amounts = cart.lines.iter().map(|line| line.current_price.checked_mul(line.quantity));
    let first = amounts.next()?.ok()?;
    amounts.try_fold(first, |sum, amount| sum.checked_add(amount.ok()?).ok())
}

fn answer(change: Change, sku: &Sku, place: Place) -> Result<CartView, Error> {
    let at_sku = |code, detail: String| {
        Error::Invalid(vec![match place {
            Place::Body => FieldError::at("/sku", code, detail),
            Place::Path => FieldError::parameter("sku", code, detail),
        }])
    };
    let at_quantity =
        |code, detail: String| Error::Invalid(vec![FieldError::at("/quantity", code, detail)]);
    match change {
        Change::Done(cart) => Ok(cart),
        Change::VersionConflict { version } => Err(Error::CartVersionConflict { version }),
        Change::Locked { checkout_id } => {
            Err(Error::unsold(domain::Problem::CartLocked { checkout_id }))
        }
        Change::UnknownSku => match place {
            Place::Body => Err(at_sku("unknown_sku", format!("the catalog has no {sku}"))),
            Place::Path => Err(Error::NotFound),
        },
        Change::NotOnSale => Err(at_sku("not_on_sale", format!("{sku} is not sold"))),
        Change::TooManyLines => {
            Err(at_sku("too_many_lines", format!("a cart has at most {} lines", domain::LINES_MAX)))
        }
        Change::TooManyUnits { quantity } => Err(at_quantity(
            "too_many_units",
            format!(
                "the cart has {quantity} of {sku}, and at most {} fit",
                domain::sku::QUANTITY_MAX
            ),
        )),
    }
}
