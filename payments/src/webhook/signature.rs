//! Signatures as Stripe writes them: an HMAC-SHA256 over a time, a point and a body, in a header
//! `t=…,v1=…[,v1=…]`. Whoever signs in this way, and whoever is believed for it, does it by what is here.

use std::{fmt, fmt::Write as _, str::FromStr};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::header::{self, Header};

/// How far the time of a signature may be from ours, in either direction. It bounds how long a recorded
/// delivery can be played again; every new delivery of an event is signed anew.
pub const TOLERANCE_S: i64 = 300;
/// The longest header that is read.
pub const HEADER_BYTES_MAX: usize = 2048;
/// The shortest secret. A shorter one was cut off or made up.
pub const SECRET_CHARS_MIN: usize = 16;

/// Why a text is no secret. It never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signing secret is at least {SECRET_CHARS_MIN} visible ASCII characters")]
pub struct InvalidSecret;

/// What one party signs with and the other compares with. It is never printed.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

impl FromStr for Secret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        if text.len() < SECRET_CHARS_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidSecret);
        }
        // The key is the whole text, `whsec_` included.
        let mac = Hmac::new_from_slice(text.as_bytes());
        Ok(Self(mac.expect("a key may have any length")))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// The header that shows the body to be by whoever has this secret, at that time.
    pub fn sign(&self, now_unix_s: i64, body: &[u8]) -> String {
        let mut header = format!("t={now_unix_s},v1=");
        for byte in self.mac(&now_unix_s.to_string(), body).finalize().into_bytes() {
            write!(header, "{byte:02x}").expect("a string takes every character");
        }
        header
    }

    fn mac(&self, signed_at: &str, body: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(signed_at).chain_update(b".").chain_update(body)
    }
}

/// Why a body is not taken for genuine. Nothing may be done about what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// The header is larger than any that is sent.
    #[error("the signature header is too large")]
    TooLarge,
    /// The header does not read as a signature header.
    #[error("the signature header has {0}")]
    MalformedHeader(&'static str),
    /// None of the signatures is by one of the secrets over this body.
    #[error("no signature matches")]
    NoMatchingSignature,
    /// Genuine, and signed too long ago: somebody may be playing it again.
    #[error("it was signed more than {TOLERANCE_S} s ago")]
    TooOld,
    /// Genuine, and signed at a time that is still to come: one of the two clocks is wrong.
    #[error("it was signed more than {TOLERANCE_S} s in the future")]
    TooNew,
}

/// Whether the body, the bytes exactly as they came, was signed with one of the secrets just now.
pub fn verify(
    secrets: &[Secret],
    header: &str,
    body: &[u8],
    now_unix_s: i64,
) -> Result<(), Unsigned> {
    if header.len() > HEADER_BYTES_MAX {
        return Err(Unsigned::TooLarge);
    }
    let Header { signed_at, signed_at_unix_s, signatures } = header::parse(header)?;
    // The comparison takes the same time wherever two differ.
    let signed = secrets.iter().any(|secret| {
        let mac = secret.mac(signed_at, body);
        signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
    });
    if !signed {
        return Err(Unsigned::NoMatchingSignature);
    }
    // Only now, because the time is worth nothing before the signature over it is.
    match now_unix_s.saturating_sub(signed_at_unix_s) {
        age_s if age_s > TOLERANCE_S => Err(Unsigned::TooOld),
        age_s if age_s < -TOLERANCE_S => Err(Unsigned::TooNew),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_another_tool_computes() {
        // printf '1700000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_of_the_tests
        let expected = "11c7ea6f1eb0e540c365e292d095a8b1356740f40c1be64e0c818f9108f6b90f";
        let secret: Secret = "whsec_of_the_tests".parse().expect("long enough");
        let header = secret.sign(1_700_000_000, br#"{"id":"evt_1"}"#);
        assert_eq!(header, format!("t=1700000000,v1={expected}"));
        assert_eq!(verify(&[secret], &header, br#"{"id":"evt_1"}"#, 1_700_000_100), Ok(()));
    }
}
