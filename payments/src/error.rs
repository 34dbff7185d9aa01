//! What a call may fail with: a definite refusal or an unknown outcome. How HTTP and JSON map to
//! these is `client`'s and `wire`'s business.

use std::error::Error as StdError;

use crate::Intent;

/// Why a call has no answer to act on.
///
/// Neither form ever carries the API key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// We do not know what the provider did. Look the payment up, or repeat the call; never conclude.
    #[error("the outcome of `{call}` is unknown: {doubt}")]
    Unknown {
        /// The call whose outcome is unknown.
        call: &'static str,
        /// What makes it so.
        doubt: Doubt,
        /// The cause below, if there is one.
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// The provider said no, and this call changed nothing.
    #[error("the provider refused `{call}`: {message} ({code})")]
    Refused {
        /// The call that was refused.
        call: &'static str,
        /// The provider's reason: its decline code, else its error code, else its error type.
        code: String,
        /// The provider's sentence about it.
        message: String,
        /// Whether the card or its issuer is the reason, rather than the request or its moment.
        card_error: bool,
        /// The payment as it is after the refusal, when the provider enclosed it.
        intent: Option<Box<Intent>>,
    },
}

impl Error {
    pub(crate) fn unknown(call: &'static str, doubt: Doubt) -> Self {
        Self::Unknown { call, doubt, source: None }
    }

    /// An unknown that was found because of `cause`, which stays visible below it.
    pub(crate) fn unknown_because(call: &'static str, doubt: Doubt, cause: Self) -> Self {
        Self::Unknown { call, doubt, source: Some(Box::new(cause)) }
    }

    /// Whether we do not know what the provider did.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Unknown { .. } => true,
            Self::Refused { .. } => false,
        }
    }

    /// Of two failures in a row the one that tells: once anything is unknown, all of it is.
    pub(crate) fn or_unknown(self, later: Self) -> Self {
        if self.is_unknown() { self } else { later }
    }
}

/// What makes an outcome unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// No connection came about.
    #[error("the provider could not be reached")]
    Unreachable,
    /// The time for the whole call ran out.
    #[error("the provider did not answer in time")]
    TimedOut,
    /// The connection broke before the answer was complete.
    #[error("the connection broke before the answer was complete")]
    Interrupted,
    /// A status that says nothing about this payment: a redirect, a conflict, a limit, trouble with
    /// our key or with the provider.
    #[error("the provider answered {0}")]
    Status(u16),
    /// The provider repeats a failure of its own that it stored under the idempotency key. However
    /// often it is asked with this key, it will say nothing else.
    #[error("the provider repeats its earlier answer {0}")]
    Stored(u16),
    /// The idempotency key was used before for another request, and what that one did is unknown.
    #[error("the idempotency key was used before for a different request")]
    KeyReused,
    /// The answer is longer than [`crate::ANSWER_BYTES_MAX`].
    #[error("the answer is too large")]
    TooLarge,
    /// The answer does not read as what the call should give.
    #[error("the answer cannot be understood: {0}")]
    Unreadable(String),
    /// The answer is about something else than what was asked.
    #[error("the answer's {0} is not the one asked about")]
    Mismatch(&'static str),
    /// The provider was asked and answered, but the payment has not come to rest.
    #[error("the payment is `{0}`")]
    Unsettled(&'static str),
}
