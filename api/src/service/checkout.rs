//! Checkouts: started once per key, followed, paid and called off.
//!
//! Where a checkout stands, the rows say that its steps leave in the database, and the engine whether it
//! waits for somebody. Whoever has just told its workflow something has its answer, which is newer.

mod watch;

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{
    CheckoutId, CheckoutState, CustomerId, Money, OrderId, OrderState, PaymentMethod, Problem,
    payment::ATTEMPTS_MAX,
};
use store::{
    checkout::{CheckoutRow, Finished, NewCheckout, OrderLineRow, OrderRow, Registered},
    inventory::Hold,
    payment::AttemptState,
};
use workflows::{CheckoutInput, CheckoutStatus, NextAction};

use super::{
    Service,
    admission::Refusal,
    request::{CheckoutRequest, IdempotencyKey},
};
use crate::{
    engine::{Standing, Started, Told},
    error::{Error, Unsold},
};

/// A checkout as its customer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkout {
    pub(crate) id: CheckoutId,
    pub(crate) state: CheckoutState,
    pub(crate) order_id: Option<OrderId>,
    pub(crate) total: Option<Money>,
    pub(crate) lines: Vec<OrderLineRow>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) next_action: Option<NextAction>,
    pub(crate) attempts: u32,
    pub(crate) problem: Option<Problem>,
    pub(crate) created_at: DateTime<Utc>,
}

/// A checkout that was asked for, and whether it had been asked for before.
pub(crate) struct Asked {
    pub(crate) checkout: Checkout,
    pub(crate) replayed: bool,
    /// Nothing was decided while the caller waited.
    ongoing: bool,
}

impl Service {
    /// Starts a checkout, or finds the one that this key started, and waits a little for its outcome.
    pub(crate) async fn checkout_start(
        &self,
        caller: CustomerId,
        key: &IdempotencyKey,
        request: CheckoutRequest,
        wait: Duration,
    ) -> Result<Asked, Error> {
        let id = CheckoutId::derive(caller, key.as_str());
        let request = request.checked()?;
        self.let_in(caller, id).await?;
        let started = self.start_admitted(caller, id, request, wait).await;
        match &started {
            // It is in the way of others until it is decided.
            Ok(Asked { ongoing: true, .. }) => {}
            Ok(asked) => self.0.admission.leave(id, asked.checkout.problem.is_none()),
            Err(_) => self.0.admission.leave(id, false),
        }
        started
    }

    /// Refuses at once what cannot be had, or not soon, unless this checkout was started before.
    async fn let_in(&self, caller: CustomerId, id: CheckoutId) -> Result<(), Error> {
        let mut conn = self.connection().await?;
        let lines = store::cart::stock_lines(&mut conn, caller).await?;
        match self.0.admission.admit(id, &lines) {
            Ok(()) => Ok(()),
            Err(_) if store::checkout::registered(&mut conn, id).await? => Ok(()),
            Err(Refusal::Unreachable(sku)) => {
                Err(Error::Unavailable(anyhow::anyhow!("the stock of {sku} cannot be reached")))
            }
            Err(Refusal::OutOfStock(lines)) => Err(Error::unsold(Problem::OutOfStock { lines })),
            Err(Refusal::Throttled { retry_after_s }) => Err(Error::Throttled { retry_after_s }),
        }
    }

    async fn start_admitted(
        &self,
        caller: CustomerId,
        id: CheckoutId,
        request: CheckoutRequest,
        wait: Duration,
    ) -> Result<Asked, Error> {
        let replayed = match self.register(caller, id, &request).await? {
            Registered::New => false,
            Registered::Same { finished: false } => true,
            Registered::Same { finished: true } => {
                let row = self.row(caller, id).await?;
                return Ok(Asked {
                    checkout: compose(row, None, None, None),
                    replayed: true,
                    ongoing: false,
                });
            }
            Registered::Other => return Err(Error::IdempotencyKeyReused),
            Registered::CartEmpty => return Err(Error::unsold(Problem::CartEmpty)),
        };
        let input = CheckoutInput {
            checkout_id: id,
            customer_id: caller,
            expected_total: request.expected_total,
            payment: request.payment,
            timing: self.0.timing.clone(),
        };
        let started = self.0.engine.start(input, replayed, wait).await?;
        let ongoing = matches!(started, Started::Ongoing);
        let checkout = match started {
            Started::Answered(status) if !replayed || status.state().finished() => {
                self.answered(caller, id, *status).await?
            }
            // Its answer may be the one that was given when it first rested, long ago.
            Started::Answered(_) | Started::Ended | Started::Ongoing => {
                self.checkout(caller, id).await?
            }
        };
        Ok(Asked { checkout, replayed, ongoing })
    }

    /// The caller's checkout as it stands.
    pub(crate) async fn checkout(
        &self,
        caller: CustomerId,
        id: CheckoutId,
    ) -> Result<Checkout, Error> {
        let row = self.row(caller, id).await?;
        if row.finished.is_some() {
            return Ok(compose(row, None, None, None));
        }
        let published = match self.0.engine.standing(id).await {
            Ok(Standing::Over(status)) => return self.answered(caller, id, *status).await,
            Ok(Standing::UnderWay(state)) => state,
            Ok(Standing::Unknown) => None,
            // Some word is better than none.
            Err(error) => {
                error.log();
                None
            }
        };
        // Read after that was published, so that it is not older.
        let row = self.row(caller, id).await?;
        let hold = match &row.order {
            Some(order) if row.finished.is_none() => self.hold(order).await,
            _ => None,
        };
        Ok(compose(row, hold, published, None))
    }

    /// The same, given what its workflow answered.
    async fn answered(
        &self,
        caller: CustomerId,
        id: CheckoutId,
        status: CheckoutStatus,
    ) -> Result<Checkout, Error> {
        Ok(compose(self.row(caller, id).await?, None, None, Some(status)))
    }

    /// Tries to pay, and waits a little for the outcome. A decline that leaves tries is an error, too:
    /// what was asked for did not happen. One that was asked for before, under its key, is told how the
    /// checkout stands also when that is over.
    pub(crate) async fn checkout_pay(
        &self,
        caller: CustomerId,
        id: CheckoutId,
        method: PaymentMethod,
        key: Option<&IdempotencyKey>,
        wait: Duration,
    ) -> Result<Checkout, Error> {
        let key = key.map(IdempotencyKey::as_str);
        let over = self.row(caller, id).await?.finished.is_some();
        let told = match key {
            None if over => Told::Refused,
            // It may have been this one's doing, and the answer was lost.
            Some(key) if over => self.0.engine.told_to_pay(id, key).await?,
            _ => self.0.engine.submit_payment(id, method, key, wait).await?,
        };
        match told {
            Told::Answered(status) => {
                let checkout = self.answered(caller, id, *status).await?;
                match (&checkout.problem, checkout.state) {
                    (Some(Problem::PaymentDeclined { .. }), CheckoutState::AwaitingPayment) => {
                        Err(checkout.into_unsold())
                    }
                    _ => checkout.sold(),
                }
            }
            Told::Ongoing => self.checkout(caller, id).await,
            Told::Refused => Err(self.invalid_state(caller, id).await?),
        }
    }

    /// Calls the checkout off, and waits a little until it is undone. One that was called off before is
    /// answered the same.
    pub(crate) async fn checkout_cancel(
        &self,
        caller: CustomerId,
        id: CheckoutId,
        wait: Duration,
    ) -> Result<Checkout, Error> {
        let row = self.row(caller, id).await?;
        match &row.finished {
            Some(Finished { state: CheckoutState::Cancelled, .. }) => {
                return Ok(compose(row, None, None, None));
            }
            Some(Finished { state, .. }) => {
                return Err(Error::InvalidState { state: *state, checkout_id: id });
            }
            None => {}
        }
        match self.0.engine.cancel(id, wait).await? {
            Told::Answered(status) => {
                let checkout = self.answered(caller, id, *status).await?;
                // It came too late, though it was let in.
                if checkout.state == CheckoutState::Completed {
                    return Err(Error::InvalidState { state: checkout.state, checkout_id: id });
                }
                Ok(checkout)
            }
            Told::Ongoing => self.checkout(caller, id).await,
            Told::Refused => {
                let checkout = self.checkout(caller, id).await?;
                // It was under way when this was asked, and is called off: the answer was lost, not the word.
                if checkout.state == CheckoutState::Cancelled {
                    return Ok(checkout);
                }
                Err(Error::InvalidState { state: checkout.state, checkout_id: id })
            }
        }
    }

    async fn register(
        &self,
        caller: CustomerId,
        id: CheckoutId,
        request: &CheckoutRequest,
    ) -> Result<Registered, Error> {
        let address = serde_json::to_value(&request.shipping_address)
            .map_err(|e| Error::Internal(e.into()))?;
        let new = NewCheckout {
            id,
            customer_id: caller,
            fingerprint: request.fingerprint(),
            email: &request.email,
            shipping_address: &address,
        };
        Ok(store::checkout::register(&mut *self.connection().await?, new).await?)
    }

    async fn hold(&self, order: &OrderRow) -> Option<Hold> {
        let places = self.0.shards.places(order.lines.iter().map(|line| &line.sku));
        match self.0.shards.hold(order.id.checkout(), &places).await {
            Ok(hold) => hold,
            // Some word is better than none.
            Err(error) => {
                Error::from(error).log();
                None
            }
        }
    }

    async fn row(&self, caller: CustomerId, id: CheckoutId) -> Result<CheckoutRow, Error> {
        let mut conn = self.connection().await?;
        store::checkout::find(&mut conn, caller, id).await?.ok_or(Error::NotFound)
    }

    pub(super) async fn invalid_state(
        &self,
        caller: CustomerId,
        id: CheckoutId,
    ) -> Result<Error, Error> {
        let state = self.checkout(caller, id).await?.state;
        Ok(Error::InvalidState { state, checkout_id: id })
    }
}

impl Checkout {
    /// The checkout, unless it ended without a sale: then its problem, as an error.
    pub(crate) fn sold(self) -> Result<Self, Error> {
        match self.state {
            CheckoutState::Failed | CheckoutState::Cancelled | CheckoutState::Expired => {
                Err(self.into_unsold())
            }
            CheckoutState::Validating
            | CheckoutState::Reserving
            | CheckoutState::AwaitingPayment
            | CheckoutState::Authorizing
            | CheckoutState::ActionRequired
            | CheckoutState::Placing
            | CheckoutState::Capturing
            | CheckoutState::Completed
            | CheckoutState::Compensating
            | CheckoutState::NeedsAttention => Ok(self),
        }
    }

    fn into_unsold(self) -> Error {
        let Some(problem) = self.problem else {
            return Error::Internal(anyhow::anyhow!(
                "{} ended without a sale and without a reason",
                self.id
            ));
        };
        let declined = matches!(problem, Problem::PaymentDeclined { .. });
        let tries =
            if self.state.finished() { 0 } else { ATTEMPTS_MAX.saturating_sub(self.attempts) };
        Error::Checkout(Box::new(Unsold {
            // A cart locked by another checkout names that one, not this.
            checkout_id: (!matches!(problem, Problem::CartLocked { .. })).then_some(self.id),
            state: Some(self.state),
            attempts_left: declined.then_some(tries),
            problem,
        }))
    }
}

/// What the customer sees, given the rows and what the engine or the workflow says.
fn compose(
    row: CheckoutRow,
    hold: Option<Hold>,
    published: Option<CheckoutState>,
    status: Option<CheckoutStatus>,
) -> Checkout {
    let stage = stage(&row, hold, published);
    let attempt = row.attempt.as_ref();
    let declined = attempt.filter(|attempt| attempt.state == AttemptState::Declined);
    let declined = declined.and_then(|attempt| attempt.decline_code.clone());
    let mut checkout = Checkout {
        id: row.id,
        state: match published {
            Some(CheckoutState::NeedsAttention) if row.finished.is_none() => {
                CheckoutState::NeedsAttention
            }
            _ => stage,
        },
        order_id: row.order.as_ref().map(|order| order.id),
        total: row.order.as_ref().map(|order| order.total),
        expires_at: hold.filter(|hold| hold.held).map(|hold| hold.expires_at),
        next_action: match (stage, attempt.and_then(|attempt| attempt.redirect_url.clone())) {
            (CheckoutState::AwaitingPayment, _) => Some(NextAction::SubmitPayment),
            (CheckoutState::ActionRequired, Some(url)) => Some(NextAction::Redirect { url }),
            _ => None,
        },
        attempts: attempt.map_or(0, |attempt| attempt.number),
        problem: declined.map(|decline_code| Problem::PaymentDeclined { decline_code }),
        lines: row.order.map(|order| order.lines).unwrap_or_default(),
        created_at: row.created_at,
    };
    match (row.finished, status) {
        (Some(finished), _) => {
            checkout.expires_at = None;
            checkout.problem = finished.problem;
        }
        (None, Some(status)) => {
            checkout.state = status.state();
            checkout.total = checkout.total.or(status.total);
            checkout.expires_at = status.expires_at;
            checkout.next_action = status.next_action;
            checkout.attempts = status.attempts;
            checkout.problem = status.problem;
        }
        (None, None) => {}
    }
    checkout
}

/// How far a checkout got, as its steps left it in the database. A step under way leaves nothing yet,
/// so this may lag by one. What is published may be older, and tells only whether it waits for a payment.
fn stage(row: &CheckoutRow, hold: Option<Hold>, published: Option<CheckoutState>) -> CheckoutState {
    if let Some(finished) = &row.finished {
        return finished.state;
    }
    let Some(order) = &row.order else {
        return CheckoutState::Validating;
    };
    match (order.state, hold) {
        (OrderState::Pending, _) if row.closed => CheckoutState::Compensating,
        (OrderState::Pending, None) => CheckoutState::Reserving,
        (OrderState::Pending, Some(hold)) if hold.held => {
            match row.attempt.as_ref().map(|attempt| attempt.state) {
                Some(AttemptState::Started) => CheckoutState::Authorizing,
                Some(AttemptState::ActionRequired) => CheckoutState::ActionRequired,
                Some(AttemptState::Approved | AttemptState::Captured) => CheckoutState::Placing,
                Some(AttemptState::Declined | AttemptState::Closed) | None => match published {
                    Some(CheckoutState::AwaitingPayment) => CheckoutState::AwaitingPayment,
                    _ => CheckoutState::Authorizing,
                },
            }
        }
        (OrderState::Pending, Some(_)) | (OrderState::Cancelled, _) => CheckoutState::Compensating,
        (OrderState::Placed | OrderState::Paid, _) => CheckoutState::Capturing,
        (
            OrderState::PartiallyShipped
            | OrderState::Shipped
            | OrderState::Delivered
            | OrderState::Refunded,
            _,
        ) => CheckoutState::Completed,
    }
}
