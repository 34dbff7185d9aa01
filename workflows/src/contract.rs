//! Every activity's name, input and outcome: the agreement between workflows and workers.
//!
//! Names are explicit, since a running workflow knows an activity by its name and a renamed struct
//! would orphan it. Each takes one struct, so that fields can be added without breaking a history.
//! An outcome is a definite business answer. Trouble that may pass is an error, retried by the
//! engine; "unknown" is never an answer.
//!
//! Carts stay in the database: a step is told the checkout's id and reads the lines it needs, so a
//! cart of a hundred lines costs a history no more than a cart of one.
#![expect(
    clippy::needless_pass_by_value,
    clippy::unimplemented,
    reason = "these are signatures: the macro takes the types, and no body is ever run"
)]

pub mod reconciling;
pub mod shipping;

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{
    Attempt, Authorization, AuthorizeOutcome, CaptureOutcome, CheckoutId, CustomerId, Money,
    OrderId, PaymentMethod, Problem, RefundId, RefundProblem, RefundPurpose, RefundState,
    ShortLine, VoidOutcome,
};
use serde::{Deserialize, Serialize};
use temporalio_macros::activity_definitions;

/// How long a step may take, on its fast path and on its slow one.
#[derive(Debug, Clone, Copy)]
pub struct StepLimits {
    /// The one try as a local activity. Short: it runs inside the workflow task.
    pub fast_timeout: Duration,
    /// Each try as a regular activity, of which there may be any number.
    pub slow_timeout: Duration,
    /// How soon the engine notices that the worker running a slow try is gone.
    pub heartbeat_timeout: Duration,
    /// The longest pause between two slow tries.
    pub retry_interval_max: Duration,
}

/// Steps that are one transaction in our own database: milliseconds, or something is wrong.
pub const DATABASE: StepLimits = StepLimits {
    fast_timeout: Duration::from_secs(2),
    slow_timeout: Duration::from_secs(15),
    heartbeat_timeout: Duration::from_secs(4),
    retry_interval_max: Duration::from_secs(10),
};

/// Steps that ask the card network: a second is ordinary, and an outage may last minutes.
pub const PROVIDER: StepLimits = StepLimits {
    fast_timeout: Duration::from_secs(4),
    slow_timeout: Duration::from_secs(30),
    heartbeat_timeout: Duration::from_secs(4),
    retry_interval_max: Duration::from_secs(20),
};

/// What `orders.open` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OpenInput {
    /// Which checkout.
    pub checkout_id: CheckoutId,
    /// Whose cart.
    pub customer_id: CustomerId,
    /// What the customer agreed to pay, if they said.
    pub expected_total: Option<Money>,
}

/// How `orders.open` ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum OpenOutcome {
    /// The quote is frozen, the cart is locked, the order is pending.
    Opened {
        /// What it costs.
        total: Money,
        /// How many SKUs.
        lines: u32,
        /// The attempt at paying that is under way, if an earlier run began one.
        #[serde(default)]
        begun: Option<BegunAttempt>,
    },
    /// Nothing was written, for a reason of the customer's.
    Refused {
        /// The reason.
        problem: Problem,
    },
}

/// An attempt at paying that an earlier run of the checkout began.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BegunAttempt {
    /// Which.
    pub attempt: Attempt,
    /// With what.
    pub method: PaymentMethod,
}

/// What `inventory.reserve` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReserveInput {
    /// Which checkout; its order holds the lines.
    pub checkout_id: CheckoutId,
    /// How long to hold, in milliseconds from now on the database's clock.
    pub hold_ms: u64,
}

/// How `inventory.reserve` ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ReserveOutcome {
    /// Every line is held.
    Reserved {
        /// Until when, on the database's clock.
        expires_at: DateTime<Utc>,
    },
    /// Nothing is held.
    SoldOut {
        /// Every line that is short.
        lines: Vec<ShortLine>,
    },
    /// This checkout's reservation was resolved before; it cannot be taken again.
    Ended,
}

/// Why held stock goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseReason {
    /// The checkout gave it back.
    Released,
    /// The hold ran out.
    Expired,
}

/// What `inventory.release` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReleaseInput {
    /// Which checkout.
    pub checkout_id: CheckoutId,
    /// Why.
    pub reason: ReleaseReason,
}

/// What `inventory.expire_due` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExpireDueInput {
    /// The most reservations to free in one go.
    pub limit: u32,
}

/// What `inventory.expire_due` did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExpireDueOutcome {
    /// How many holds were freed.
    pub expired: u32,
    /// How many were left because their payment is in flight.
    pub in_flight: u32,
    /// Milliseconds until the next hold runs out, if any is held.
    pub next_due_in_ms: Option<u64>,
}

/// What `payments.authorize` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuthorizeInput {
    /// Which checkout.
    pub checkout_id: CheckoutId,
    /// Which try.
    pub attempt: Attempt,
    /// How much to set aside.
    pub amount: Money,
    /// From where.
    pub method: PaymentMethod,
    /// The hold must last at least this long from now, in milliseconds; it is extended once per
    /// attempt if it would not.
    pub hold_at_least_ms: u64,
}

/// How `payments.authorize` ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuthorizeReply {
    /// The provider's definite word.
    pub outcome: AuthorizeOutcome,
    /// Until when the stock is held now.
    pub hold_expires_at: Option<DateTime<Utc>>,
}

/// What `payments.capture` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CaptureInput {
    /// Which checkout.
    pub checkout_id: CheckoutId,
    /// What was authorized.
    pub authorization: Authorization,
}

/// What `payments.close` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CloseInput {
    /// Which checkout.
    pub checkout_id: CheckoutId,
}

/// How `payments.close` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CloseOutcome {
    /// No attempt can be begun or confirmed any more, and the sale cannot become final.
    Closed,
    /// The sale is final: a task that was lost had got so far. There is nothing to undo.
    Sold,
}

/// What `payments.void` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VoidInput {
    /// Which checkout.
    pub checkout_id: CheckoutId,
}

/// What `orders.place` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlaceInput {
    /// Which checkout.
    pub checkout_id: CheckoutId,
    /// What was authorized.
    pub authorization: Authorization,
    /// The hold must last at least this long from now, in milliseconds, to cover the capture.
    pub hold_at_least_ms: u64,
}

/// How `orders.place` ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum PlaceOutcome {
    /// The order is placed and its stock is still held.
    Placed,
    /// The stock went back before the money came.
    HoldEnded,
}

/// What `orders.settle` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SettleInput {
    /// Which checkout.
    pub checkout_id: CheckoutId,
}

/// Why `orders.settle` did not make a sale final. Nothing is said of one that is: workers that know of no
/// reason say that, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unsettled {
    /// It is being undone, by a task that was lost.
    Undone,
}

/// What `orders.cancel` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CancelInput {
    /// Which checkout.
    pub checkout_id: CheckoutId,
    /// Why, for the customer and the record.
    pub problem: Problem,
}

/// What `refunds.request` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefundRequest {
    /// Which refund.
    pub refund_id: RefundId,
    /// Of which order.
    pub order_id: OrderId,
    /// What for.
    pub purpose: RefundPurpose,
    /// How much; without, all that is left.
    pub amount: Option<Money>,
    /// Why, in one word.
    pub reason: String,
    /// Who asks.
    pub actor: String,
    /// What they call it.
    pub reference: String,
}

/// How `refunds.request` ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RefundReply {
    /// It is written down, now or before.
    Taken {
        /// How much goes back.
        amount: Money,
        /// How it stands.
        state: RefundState,
    },
    /// Nothing was written, for a reason of the order's or the request's.
    NotTaken {
        /// The reason.
        problem: RefundProblem,
    },
}

/// What `refunds.settle` needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SettleRefundInput {
    /// Which refund.
    pub refund_id: RefundId,
}

/// How `refunds.settle` ended: the provider's definite word, which may not be its last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefundOutcome {
    /// How the refund stands.
    pub state: RefundState,
    /// Why it failed or was refused.
    pub code: Option<String>,
}

/// Orders: the record of the sale.
pub struct Orders;

#[activity_definitions]
impl Orders {
    /// Freezes the quote, locks the cart and mints the order as pending. Undone by `orders.cancel`.
    #[activity(name = "orders.open")]
    pub fn open(input: OpenInput) -> OpenOutcome {
        unimplemented!()
    }

    /// Turns the pending order into a placed one and confirms its hold.
    #[activity(name = "orders.place")]
    pub fn place(input: PlaceInput) -> PlaceOutcome {
        unimplemented!()
    }

    /// Makes a captured checkout final in one transaction, and then its stock sold.
    #[activity(name = "orders.settle")]
    pub fn settle(input: SettleInput) -> Option<Unsettled> {
        unimplemented!()
    }

    /// Cancels the order and unlocks the cart; bars the checkout from opening later.
    #[activity(name = "orders.cancel")]
    pub fn cancel(input: CancelInput) {
        unimplemented!()
    }
}

/// Inventory: stock held for a checkout.
pub struct Inventory;

#[activity_definitions]
impl Inventory {
    /// Holds every line or none. Undone by `inventory.release`.
    #[activity(name = "inventory.reserve")]
    pub fn reserve(input: ReserveInput) -> ReserveOutcome {
        unimplemented!()
    }

    /// Gives the held stock back; bars the checkout from reserving later.
    #[activity(name = "inventory.release")]
    pub fn release(input: ReleaseInput) {
        unimplemented!()
    }

    /// Frees holds that ran out, whatever became of their workflows.
    #[activity(name = "inventory.expire_due")]
    pub fn expire_due(input: ExpireDueInput) -> ExpireDueOutcome {
        unimplemented!()
    }
}

/// Payments: the card network's definite word.
pub struct Payments;

#[activity_definitions]
impl Payments {
    /// Sets the money aside. Undone by `payments.void`.
    #[activity(name = "payments.authorize")]
    pub fn authorize(input: AuthorizeInput) -> AuthorizeReply {
        unimplemented!()
    }

    /// Takes the money that was set aside. The point of no return.
    #[activity(name = "payments.capture")]
    pub fn capture(input: CaptureInput) -> CaptureOutcome {
        unimplemented!()
    }

    /// Bars the sale from becoming final, unless it is. To come before every undo.
    #[activity(name = "payments.close")]
    pub fn close(input: CloseInput) -> CloseOutcome {
        unimplemented!()
    }

    /// Makes sure that no attempt of this closed payment holds money, or ever will.
    #[activity(name = "payments.void")]
    pub fn void(input: VoidInput) -> VoidOutcome {
        unimplemented!()
    }
}

/// Refunds: money on its way back after a sale.
pub struct Refunds;

#[activity_definitions]
impl Refunds {
    /// Writes the refund down and sets its amount aside, or says why it is not taken on.
    #[activity(name = "refunds.request")]
    pub fn request(input: RefundRequest) -> RefundReply {
        unimplemented!()
    }

    /// Makes the refund unless it was made, and writes down how it stands.
    #[activity(name = "refunds.settle")]
    pub fn settle_refund(input: SettleRefundInput) -> RefundOutcome {
        unimplemented!()
    }
}

// The macro's modules are private; the markers are what workers implement and workflows call.
pub use self::{
    inventory::{ExpireDue, Release, Reserve},
    orders::{Cancel, Open, Place, Settle},
    payments::{Authorize, Capture, Close, Void},
    refunds::{Request, SettleRefund},
};
