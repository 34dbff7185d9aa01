//! Stripe's rules for `Idempotency-Key` without their storage: which requests count as the same, and
//! that one key is worked on by one request at a time.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use crate::{error::ApiError, form::Form};

const KEY_CHARS_MAX: usize = 255;

/// A key with what it stands for.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) value: String,
    pub(crate) fingerprint: [u8; 32],
}

impl Key {
    pub(crate) fn parse(value: &[u8], path: &str, form: &Form) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(value).unwrap_or_default();
        if text.is_empty() || text.chars().count() > KEY_CHARS_MAX {
            let message = format!("Idempotency-Key must have 1 to {KEY_CHARS_MAX} characters.");
            return Err(ApiError::invalid(None, message));
        }
        Ok(Self { value: text.to_owned(), fingerprint: fingerprint(path, form) })
    }
}

/// The same path and the same parameters, in whatever order, have the same fingerprint.
fn fingerprint(path: &str, form: &Form) -> [u8; 32] {
    let mut hash = Sha256::new();
    // Lengths go in before texts, so that no two different requests can spell the same bytes.
    let mut field = |text: &str| {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    };
    field(path);
    for (name, value) in form.sorted() {
        field(name);
        field(value);
    }
    hash.finalize().into()
}

/// The keys being worked on right now. In memory, for there is one process per network; should two
/// ever share a database, the table's primary key still lets only one of them win.
#[derive(Debug, Default, Clone)]
pub(crate) struct InFlight {
    keys: Arc<Mutex<HashSet<String>>>,
}

/// The right to work on a key, given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    in_flight: InFlight,
    key: String,
}

impl InFlight {
    /// `None` when another request holds the key.
    pub(crate) fn claim(&self, key: &str) -> Option<Claim> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.to_owned()).then(|| Claim { in_flight: self.clone(), key: key.to_owned() })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut keys = self.in_flight.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str, form: &str) -> Key {
        let form = Form::parse(form.as_bytes()).expect("a well-formed form");
        Key::parse(b"k", path, &form).expect("a valid key")
    }

    #[test]
    fn the_order_of_parameters_does_not_matter_and_their_content_does() {
        let first = key("/v1/refunds", "amount=1&payment_intent=pi_1").fingerprint;
        assert_eq!(first, key("/v1/refunds", "payment_intent=pi_1&amount=1").fingerprint);
        assert_ne!(first, key("/v1/refunds", "amount=2&payment_intent=pi_1").fingerprint);
        assert_ne!(first, key("/v1/other", "amount=1&payment_intent=pi_1").fingerprint);
    }

    #[test]
    fn moving_a_letter_between_name_and_value_is_another_request() {
        assert_ne!(key("/p", "ab=c").fingerprint, key("/p", "a=bc").fingerprint);
        assert_ne!(key("/p", "a=b&c=d").fingerprint, key("/p", "a=bcd").fingerprint);
    }

    #[test]
    fn keys_have_a_length() {
        let form = Form::default();
        assert!(Key::parse(b"", "/p", &form).is_err());
        assert!(Key::parse("k".repeat(256).as_bytes(), "/p", &form).is_err());
        assert!(Key::parse("k".repeat(255).as_bytes(), "/p", &form).is_ok());
    }

    #[test]
    fn one_request_at_a_time_holds_a_key() {
        let in_flight = InFlight::default();
        let claim = in_flight.claim("k").expect("the first claim");
        assert!(in_flight.claim("k").is_none());
        assert!(in_flight.claim("other").is_some());
        drop(claim);
        assert!(in_flight.claim("k").is_some());
    }
}
