//! Events as the provider delivers them: whether one is the provider's, and what it is about. How it
//! arrives over HTTP, and what is done about it, is the caller's.
//!
//! An event is a hint that something changed, and no more than that. It may be late, come twice or
//! overtake another, and what it encloses is how things stood when it was written. So [`Event`] names
//! what changed and says nothing of how it stands now: whoever gets one looks the payment up, with
//! [`Stripe::retrieve`](crate::Stripe::retrieve), and acts on that answer alone. A lost event must cost
//! nothing but time, and a repeated one nothing at all.

use std::{fmt, str::FromStr};

use domain::{Attempt, PaymentId};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{EventId, IntentId, RefundId};

mod body;
mod header;

/// How far the time of a signature may be from ours, in either direction. It bounds how long a recorded
/// delivery can be played again; every new delivery of an event is signed anew.
pub const TOLERANCE_S: i64 = 300;
/// The longest header that is read.
pub const HEADER_BYTES_MAX: usize = 2048;
/// The largest event that is read.
pub const EVENT_BYTES_MAX: usize = 256 * 1024;
/// The most secrets that are tried. Two stand side by side while one replaces the other.
pub const SECRETS_MAX: usize = 8;
/// The shortest secret. The provider's are longer; a shorter one was cut off or made up.
pub const SECRET_CHARS_MIN: usize = 16;

/// Why a text is no list of secrets. It never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecrets {
    /// There is none, or too many.
    #[error("between 1 and {SECRETS_MAX} signing secrets are needed")]
    Count,
    /// One of them cannot be a secret.
    #[error("a signing secret is at least {SECRET_CHARS_MIN} visible ASCII characters")]
    Secret,
}

/// The signing secrets of an endpoint: one, or several while they are being replaced.
#[derive(Clone)]
pub struct Secrets(Vec<Hmac<Sha256>>);

/// The secrets as one text, with commas or spaces between them.
impl FromStr for Secrets {
    type Err = InvalidSecrets;

    fn from_str(text: &str) -> Result<Self, InvalidSecrets> {
        let separator = |char: char| char == ',' || char.is_whitespace();
        let secrets: Vec<&str> = text.split(separator).filter(|part| !part.is_empty()).collect();
        if !(1..=SECRETS_MAX).contains(&secrets.len()) {
            return Err(InvalidSecrets::Count);
        }
        let usable = |secret: &&str| {
            secret.len() >= SECRET_CHARS_MIN && secret.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !secrets.iter().all(usable) {
            return Err(InvalidSecrets::Secret);
        }
        // The key is the whole text, `whsec_` included.
        let mac = |secret: &str| {
            Hmac::new_from_slice(secret.as_bytes()).expect("a key may have any length")
        };
        Ok(Self(secrets.into_iter().map(mac).collect()))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("count", &self.0.len()).finish_non_exhaustive()
    }
}

impl Secrets {
    /// Reads a delivery, if it is the provider's and fresh: `header` is its `Stripe-Signature`, `body`
    /// the bytes exactly as they came, and `now_unix_s` our time in seconds since 1970.
    pub fn verify(&self, header: &str, body: &[u8], now_unix_s: i64) -> Result<Event, Rejected> {
        if header.len() > HEADER_BYTES_MAX || body.len() > EVENT_BYTES_MAX {
            return Err(Rejected::TooLarge);
        }
        let header = header::parse(header)?;
        if !self.signed(&header, body) {
            return Err(Rejected::NoMatchingSignature);
        }
        // Only now, because the time is worth nothing before the signature over it is.
        match now_unix_s.saturating_sub(header.signed_at_unix_s) {
            age_s if age_s > TOLERANCE_S => Err(Rejected::TooOld),
            age_s if age_s < -TOLERANCE_S => Err(Rejected::TooNew),
            _ => body::read(body),
        }
    }

    /// Whether any of the signatures is one by any of the secrets. The comparison takes the same time
    /// wherever two differ.
    fn signed(&self, header: &header::Header<'_>, body: &[u8]) -> bool {
        self.0.iter().any(|secret| {
            let mac = secret
                .clone()
                .chain_update(header.signed_at.as_bytes())
                .chain_update(b".")
                .chain_update(body);
            header.signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
        })
    }
}

/// Why a delivery is not taken. Whatever the reason, nothing may be done about what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The header or the body is larger than anything the provider sends.
    #[error("the delivery is too large")]
    TooLarge,
    /// The header does not read as a signature header.
    #[error("the signature header has {0}")]
    MalformedHeader(&'static str),
    /// None of the signatures is by one of our secrets over this body.
    #[error("no signature matches")]
    NoMatchingSignature,
    /// Signed by the provider, too long ago: somebody may be playing it again.
    #[error("it was signed more than {TOLERANCE_S} s ago")]
    TooOld,
    /// Signed by the provider, at a time that is still to come: one of the two clocks is wrong.
    #[error("it was signed more than {TOLERANCE_S} s in the future")]
    TooNew,
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
