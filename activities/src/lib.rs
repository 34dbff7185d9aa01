//! What the steps do to the world: one struct and one block of activities per resource.
//!
//! An activity returns only when it knows what happened. A business answer is a value; trouble that
//! may pass is an error, which the engine retries; a bug goes through [`failure`] and is not
//! retried. Each is idempotent by the id of its checkout or refund, so running it twice equals running it once. SQL
//! stands in `store`, HTTP in `payments`; transactions are opened and closed here, but for
//! those of the stock's queues.

pub mod failure;
mod fulfilment;
mod heartbeat;
mod holds;
mod inventory;
mod orders;
mod payments;
mod reconciliation;
mod refunds;

pub use self::{
    fulfilment::Fulfilment, holds::Holds, inventory::Inventory, orders::Orders, payments::Payments,
    reconciliation::Reconciler, refunds::Refunds,
};
