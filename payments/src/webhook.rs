//! Events as the provider delivers them: whether one is the provider's, and what it is about. How it
//! arrives over HTTP, and what is done about it, is the caller's.
//!
//! An event is a hint that something changed, and no more than that. It may be late, come twice or
//! overtake another, and what it encloses is how things stood when it was written. So [`Event`] names
//! what changed and says nothing of how it stands now: whoever gets one looks the payment up, with
//! [`Stripe::retrieve`](crate::Stripe::retrieve), and acts on that answer alone. A lost event must cost
//! nothing but time, and a repeated one nothing at all.

use std::str::FromStr;

use domain::{Attempt, PaymentId};

use crate::{EventId, IntentId, RefundId};

mod body;
mod header;
mod signature;

pub use self::signature::{
    HEADER_BYTES_MAX, InvalidSecret, SECRET_CHARS_MIN, Secret, TOLERANCE_S, Unsigned, verify,
};

/// The largest event that is read.
pub const EVENT_BYTES_MAX: usize = 256 * 1024;
/// The most secrets that are tried. Two stand side by side while one replaces the other.
pub const SECRETS_MAX: usize = 8;

/// Why a text is no list of secrets. It never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecrets {
    /// There is none, or too many.
    #[error("between 1 and {SECRETS_MAX} signing secrets are needed")]
    Count,
    /// One of them cannot be a secret.
    #[error(transparent)]
    Secret(#[from] InvalidSecret),
}

/// The signing secrets of an endpoint: one, or several while they are being replaced.
#[derive(Debug, Clone)]
pub struct Secrets(Vec<Secret>);

/// The secrets as one text, with commas or spaces between them.
impl FromStr for Secrets {
    type Err = InvalidSecrets;

    fn from_str(text: &str) -> Result<Self, InvalidSecrets> {
        let separator = |char: char| char == ',' || char.is_whitespace();
        let secrets: Vec<&str> = text.split(separator).filter(|part| !part.is_empty()).collect();
        if !(1..=SECRETS_MAX).contains(&secrets.len()) {
            return Err(InvalidSecrets::Count);
        }
        Ok(Self(secrets.into_iter().map(str::parse).collect::<Result<_, _>>()?))
    }
}

impl Secrets {
    /// Reads a delivery, if it is the provider's and fresh: `header` is its `Stripe-Signature`, `body`
    /// the bytes exactly as they came, and `now_unix_s` our time in seconds since 1970.
    pub fn verify(&self, header: &str, body: &[u8], now_unix_s: i64) -> Result<Event, Rejected> {
        if body.len() > EVENT_BYTES_MAX {
            return Err(Rejected::TooLarge);
        }
        verify(&self.0, header, body, now_unix_s)?;
        body::read(body)
    }
}

/// Why a delivery is not taken. Whatever the reason, nothing may be done about what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The body is larger than anything the provider sends.
    #[error("the delivery is too large")]
    TooLarge,
    /// It is not the provider's, or not fresh.
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
    /// Signed by the provider, and not an event as we know them.
    #[error("the event cannot be understood: {0}")]
    UnreadableEvent(String),
}

/// What the provider says has changed. See [the module](self) on how little that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The provider's id; the same in every delivery of this event.
    pub id: EventId,
    /// What changed.
    pub kind: EventKind,
    /// When it was written, in seconds since 1970. Two events may have come in any order.
    pub created_unix_s: i64,
    /// The intent it is about, if it is about one.
    pub intent: Option<IntentId>,
    /// Our payment, if the object carries our name for it.
    pub payment: Option<PaymentId>,
    /// Which attempt at that payment.
    pub attempt: Option<Attempt>,
    /// The refund it is about, if it is about one.
    pub refund: Option<RefundId>,
    /// What we called that refund.
    pub reference: Option<String>,
}

/// What changed, with the provider's whole word for it, which is for the log: it must decide nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// An intent: `payment_intent.succeeded` and its like.
    Intent(String),
    /// A refund: `refund.updated`, `charge.refunded` and their like.
    Refund(String),
    /// A charge or a dispute about one: `charge.captured`, `charge.dispute.created` and their like.
    Charge(String),
    /// Something that is none of a payment's.
    Other(String),
}

impl EventKind {
    /// The provider's word for it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Intent(word) | Self::Refund(word) | Self::Charge(word) | Self::Other(word) => {
                word
            }
        }
    }
}
