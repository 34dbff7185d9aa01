//! The shop's client of a card provider that speaks Stripe's `PaymentIntents` API, with manual
//! capture.
//!
//! Every call has one of three results, and they are never confused:
//!
//! | result | meaning | examples |
//! |---|---|---|
//! | `Ok` | the provider's definite word, held against what was asked | an intent, a decline |
//! | [`Error::Refused`] | the provider said no and did nothing | 400, 402 without an intent, 404 |
//! | [`Error::Unknown`] | anything after which we do not know | no connection, time-out, broken answer, redirect, 5xx, 401, 403, 409, 429, a key used otherwise before, an answer that is unreadable or about other money |
//!
//! Refusals are the narrow class, named one by one; whatever is not on the list is unknown. An unknown
//! is retried or looked up, never taken for a no: the money may have moved.
//!
//! [`Stripe`] has the plain calls. Its `settle_…` methods build on them what a step of a checkout
//! needs: they act, look again after an unknown, and answer only what is certain. [`webhook`] tells the
//! provider's events from anybody else's. Nothing here knows the database or the workflow engine, and
//! nothing here waits and tries again by itself.
//!
//! For `https` the process needs a TLS crypto provider. Installing one is global, so it is left to the
//! binary: `rustls::crypto::ring::default_provider().install_default()` before [`Stripe::new`].
#![warn(missing_docs)]

use std::time::Duration;

mod calls;
mod client;
mod error;
mod id;
mod intent;
mod list;
mod refund;
mod settle;
mod settle_refund;
pub mod webhook;
mod wire;

pub use self::{
    client::{Config, SetupError, Stripe},
    error::{Doubt, Error},
    id::{EventId, IntentId, InvalidEventId, InvalidIntentId, InvalidRefundId, RefundId},
    intent::{Charge, Intent, IntentStatus},
    list::{Listed, ListedRefund, Page, Whose},
    refund::{Refund, RefundStatus},
    settle_refund::RefundOutcome,
};

/// The version of the provider's API whose answers this client reads. Sent with each call, so that
/// the account's own default cannot change their shape.
pub const API_VERSION: &str = "2024-06-20";
/// The largest answer that is read.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// The longest a look-up may take that follows at once on an unknown outcome.
pub const LOOK_AGAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the provider remembers an idempotency key. After this, repeating a `create` makes a second
/// intent, so [`Stripe::settle_creation`] begins no attempt again that is older.
pub const KEY_LIFETIME: Duration = Duration::from_hours(24);
/// How much earlier a key counts as forgotten: clocks differ, and a call takes its time.
pub const KEY_MARGIN: Duration = Duration::from_mins(15);
/// The most keys that one `create` goes through. Each was used up by a stored failure of the provider.
pub const CREATE_KEYS_MAX: u32 = 4;
/// The most intents one look-up by payment reads; there are at most [`domain::payment::ATTEMPTS_MAX`].
pub const INTENTS_FOUND_MAX: usize = 20;
/// The most intents on one page of [`Stripe::list`]. Strangers may be large, and all must fit into
/// [`ANSWER_BYTES_MAX`].
pub const INTENT_PAGE: usize = 20;
/// The most refunds on one page.
pub const REFUND_PAGE: usize = 100;
/// The most pages of one intent's refunds that are read. An intent with more was not paid back by us.
pub const REFUND_PAGES_MAX: usize = 5;
/// The most keys that one refund goes through. Each was used up by a stored failure of the provider.
pub const REFUND_KEYS_MAX: u32 = 4;
/// The longest reference of a refund that [`Stripe::settle_refund`] makes. Escaped, and with all that
/// stands around it, it must fit into the 255 characters of a key.
pub const REFERENCE_CHARS_MAX: usize = 60;
